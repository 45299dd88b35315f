//! Builds on hosts that users share: only what a public template says is built there, within limits, where there is room, and
//! whoever had it built is told nothing of the host. Everything else is built on hosts of one's own.

use dockerforge_tests::{
    agent::Agent,
    archive,
    backend::Backend,
    client::{Api, Image, Job},
    cluster::Cluster,
    env,
    hosts::FarHost,
    recipes::{configuration, page, page_template, put_archive, template},
    wait,
};
use reqwest::Method;
use serde_json::json;

/// What the control group of a build's step is held to, whichever version of them the machine has.
const LIMITS: &str = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || true\n\
                      cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || true\nchanged limits\n";

async fn pool_host(cluster: &Cluster) -> Agent {
    let far = FarHost::all().remove(0);
    let agent = Agent::pool(cluster, &cluster.admin(), "shared", &json!({}), &far.docker).await;
    is_usable(&agent).await;
    agent
}

/// Online, and its Docker answers.
async fn is_usable(agent: &Agent) {
    wait::until(30, "the shared host is usable", async || {
        let host = agent.api.host(&agent.host).await;
        wait::check(host.state == "online" && host.unusable.is_none(), host)
    })
    .await;
}

/// A template of an administrator's that everybody sees.
async fn public_template(cluster: &Cluster) -> String {
    let admin = cluster.admin();
    let mut body = page();
    body["public"] = json!(true);
    body["run_list"] = json!(["page", "limits"]);
    let id = template(&admin, &body).await;
    let scripts = [
        ("page.sh", "cp \"$DOCKERFORGE_NODE\" /www/index.html\nchmod 644 /www/index.html\nchanged page\n"),
        ("limits.sh", LIMITS),
    ];
    put_archive(&admin, &id, archive::gzip(&archive::tar(&scripts))).await;
    id
}

async fn build(api: &Api, name: &str, configuration: &str) -> Job {
    api.post("/v1/images", &json!({"name": name, "configuration": configuration})).await.accepted()
}

#[tokio::test]
async fn whoever_has_no_host_has_an_image_of_a_public_template_built_and_run_on_a_shared_one() {
    let cluster = Cluster::start().await;
    let agent = pool_host(&cluster).await;
    let template = public_template(&cluster).await;
    let (_, api) = cluster.user("eva").await;
    let blog = configuration(&api, "blog", &template, json!({"title": "On a shared host"})).await;
    let job = build(&api, "blog", &blog).await;
    let image = api.succeeded(&job, 120).await;

    let log = api.log(&job.id).await.text;
    assert!(log.contains("1073741824") && log.contains("100000"), "a step is held to 1 GiB and one processor: {log}");
    let shown = api.get(&format!("/v1/queue/{}", job.id)).await;
    assert!(shown.json["host"].is_null() && !shown.text.contains(&agent.host), "{}", shown.text);
    let made = api.get(&format!("/v1/images/{image}")).await.expect(200);
    let hosts = made.json["hosts"].as_array().unwrap();
    let told = |key: &str| hosts.iter().map(|host| host[key].clone()).collect::<Vec<_>>();
    assert_eq!((&made.json["state"], told("host")), (&json!("ready"), vec![json!(null)]));
    assert_eq!((told("pool"), told("state")), (vec![json!(true)], vec![json!("present")]));
    let events = api.get("/v1/events?limit=200").await.expect(200);
    for text in [&made.text, &log, &events.text] {
        assert!(!text.contains(&agent.host), "the shared host has no name: {text}");
    }

    let body =
        json!({"name": "blog", "image": image, "command": ["sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"]});
    let job = api.post("/v1/containers", &body).await.accepted();
    let container = api.succeeded(&job, 60).await;
    api.observed(&container, "running", 30).await;
    for path in [format!("/v1/containers/{container}"), format!("/v1/images/{image}")] {
        let job = api.delete(&path).await.accepted();
        api.succeeded(&job, 60).await;
    }
    let tag = dockerforge_protocol::command::local_tag(image.parse().unwrap());
    wait::until(20, "the image is gone from the shared host", async || {
        wait::check(!agent.docker.has_image(&tag).await, &tag)
    })
    .await;
}

#[tokio::test]
async fn on_postgres_too_whoever_asks_for_all_hosts_and_has_none_has_it_built_on_a_shared_one() {
    let cluster = Cluster::start_on(Backend::Postgres).await;
    let _agent = pool_host(&cluster).await;
    let template = public_template(&cluster).await;
    let (_, api) = cluster.user("eva").await;
    let blog = configuration(&api, "blog", &template, json!({"title": "x"})).await;
    let asked = |hosts: &str| json!({"name": "i", "configuration": blog, "hosts": hosts});
    let mine = api.post("/v1/images", &asked("mine")).await.problem(422, "invalid");
    assert_eq!(mine.pointers(), ["/hosts"]);
    let job = api.post("/v1/images", &asked("all")).await.accepted();
    api.succeeded(&job, 120).await;
    let own = page_template(&api).await;
    let own = configuration(&api, "own", &own, json!({"title": "x"})).await;
    let body = json!({"name": "own", "configuration": own, "hosts": "all"});
    assert_eq!(api.post("/v1/images", &body).await.problem(422, "invalid").pointers(), ["/hosts"]);
}

#[tokio::test]
async fn what_is_no_public_templates_is_built_on_hosts_of_ones_own_alone() {
    let cluster = Cluster::start().await;
    let _agent = pool_host(&cluster).await;
    let (_, api) = cluster.user("ana").await;
    let own = page_template(&api).await;
    let configuration = configuration(&api, "page", &own, json!({"title": "x"})).await;
    for body in [
        json!({"name": "i", "configuration": configuration}),
        json!({"name": "i", "dockerfile": format!("FROM {}\nADD http://127.0.0.1:1/ /x\n", env::BASE_IMAGE)}),
        json!({"name": "i", "reference": "debian:12"}),
    ] {
        let problem = api.post("/v1/images", &body).await.problem(422, "invalid");
        assert_eq!(problem.pointers(), ["/host"], "{body}");
    }
    let packed = archive::tar(&[("Dockerfile", "FROM scratch\n")]);
    let upload = api.call(Method::POST, "/v1/images?name=i").body("application/x-tar", packed).send().await;
    assert_eq!(upload.problem(422, "invalid").pointers(), ["host"]);
    assert_eq!(api.all::<Image>("/v1/images").await.len(), 0);

    // On one's own host it is one's own affair.
    let agent = cluster.host(&api, "vps").await;
    let body = json!({"name": "i", "configuration": configuration, "host": agent.host});
    let job = api.post("/v1/images", &body).await.accepted();
    let image = api.succeeded(&job, 120).await;
    let made = api.get(&format!("/v1/images/{image}")).await.expect(200).json;
    assert_eq!(made["hosts"][0]["host"], json!(agent.host));
}

#[tokio::test]
async fn where_no_shared_host_can_build_it_the_answer_says_why() {
    let cluster = Cluster::start().await;
    let template = public_template(&cluster).await;
    let (_, api) = cluster.user("eva").await;
    let blog = configuration(&api, "blog", &template, json!({"title": "x"})).await;
    let body = json!({"name": "i", "configuration": blog});
    let none = api.post("/v1/images", &body).await.problem(422, "invalid");
    assert_eq!(none.pointers(), ["/host"]);

    let mut agent = pool_host(&cluster).await;
    let drain = async |on: bool| {
        let path = format!("/v1/hosts/{}", agent.host);
        cluster.admin().call(Method::PATCH, &path).json(&json!({"draining": on})).send().await.expect(200);
    };
    drain(true).await;
    let draining = api.post("/v1/images", &body).await.problem(409, "nothing-fits");
    assert_eq!(draining.pointers(), ["pool-1"]);
    drain(false).await;

    // An older agent would build without limits: it is not asked.
    agent.kill();
    agent.launch(None, &[("FAILPOINTS", "agent.link.features=return")]);
    wait::until(30, "it is the older one that is connected", async || {
        let output = agent.process().output();
        wait::check(output.matches("session is live").count() == 2, output)
    })
    .await;
    is_usable(&agent).await;
    let job = build(&api, "i", &blog).await;
    let ended = api.ended(&job.id, 60).await;
    assert_eq!((ended.state.as_str(), ended.error.unwrap().kind()), ("failed", "unsupported"));
}

#[tokio::test]
async fn what_is_added_to_a_public_templates_run_list_is_of_its_archive() {
    let cluster = Cluster::start().await;
    let template = public_template(&cluster).await;
    let (_, api) = cluster.user("eva").await;
    for name in ["nowhere", "busybox", "extra::more"] {
        let body = json!({"name": "c", "template": template, "parameters": {"title": "x"}, "run_list": [name]});
        let problem = api.post("/v1/configurations", &body).await.problem(422, "invalid");
        assert_eq!(problem.pointers(), ["/run_list/0"]);
    }
}
