//! Container specifications that try to reach the host or somebody else's things, on real Docker with a canary on the
//! host: what cannot be asked for is refused whole, what can be is no more than it says.

use attempts::{body, doubled, refused};
use dockerforge_tests::{
    client::Api,
    cluster::Cluster,
    docker::Witness,
    env,
    invariants::{self, Ledger},
};
use reqwest::Method;
use serde_json::json;
use std::fs;

pub mod attempts;

pub async fn nothing_was_made(api: &Api, docker: &Witness, user: &str) {
    assert_eq!(api.get("/v1/containers").await.expect(200).json["items"], json!([]));
    let made = docker.containers(dockerforge_protocol::command::labels::USER, user).await;
    assert!(made.is_empty(), "{made:?}");
}

#[tokio::test]
async fn a_specification_that_asks_for_more_than_there_is_is_refused_whole() {
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let attempts = refused();
    assert!(attempts.len() >= 60, "{}", attempts.len());
    for (what, more) in &attempts {
        let answer = api.post("/v1/containers", &body(&agent.host, &image, more)).await;
        assert!(matches!(answer.status, 400 | 422), "{what}: {more} was answered {answer}");
        assert!(
            !answer.json["errors"].as_array().is_none_or(Vec::is_empty),
            "{more}: what is wrong is pointed at: {answer}"
        );
    }
    for text in doubled(&agent.host, &image) {
        let answer = api.call(Method::POST, "/v1/containers").body("application/json", text.clone()).send().await;
        assert!(matches!(answer.status, 400 | 422), "{text} was answered {answer}");
    }
    nothing_was_made(&api, &agent.docker, &ana.user.id).await;
    invariants::hold(&cluster, &api, &mut Ledger::default(), 60).await;
}

#[tokio::test]
async fn a_container_that_is_accepted_has_nothing_of_the_host_in_it() {
    let canary = tempfile::Builder::new().prefix("dockerforge-canary-").tempdir().unwrap();
    let secret = canary.path().join("secret");
    fs::write(&secret, "of the host").unwrap();
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    // Everything that may be asked for, with values that a shell or a template would trip over.
    let path = secret.display().to_string();
    let asked = json!({
        "command": ["sh", "-c", format!("cat {path}; echo mine > {path}; ls /var/run/docker.sock; sleep 600")],
        "env": {"A": format!("$(cat {path})"), "B": "`reboot`", "C": "'; reboot #", "D": "{{.HostConfig}}", "E": "\n--privileged"},
        "volumes": [{"volume": "data", "target": "/var/run"}, {"volume": "proc", "target": "/mnt", "read_only": true}],
        "ports": [{"container": 80}],
        "labels": {"com.docker.compose.project": "x", "x": "{\"Privileged\": true}"},
        "resources": {"pids": 20, "memory": 33_554_432},
    });
    let job = api.run(&agent.host, "escape", &image, asked).await;
    let id = api.succeeded(&job, 60).await;
    let found = agent.docker.of_container(&id).await;
    let real = agent.docker.inspect(found[0].id.as_deref().unwrap()).await.unwrap();
    let host = real.host_config.unwrap();
    assert_eq!(host.privileged, Some(false));
    assert!(host.binds.unwrap_or_default().is_empty());
    assert!(host.devices.unwrap_or_default().is_empty() && host.device_requests.unwrap_or_default().is_empty());
    assert!(host.cap_add.unwrap_or_default().is_empty());
    assert!(host.volumes_from.unwrap_or_default().is_empty());
    assert!(host.sysctls.unwrap_or_default().is_empty());
    for option in host.security_opt.unwrap_or_default() {
        assert!(option.starts_with("no-new-privileges"), "{option}");
    }
    for mode in [host.pid_mode, host.uts_mode, host.userns_mode] {
        assert_eq!(mode.unwrap_or_default(), "");
    }
    assert!(matches!(host.ipc_mode.as_deref(), None | Some("" | "private" | "shareable")), "{:?}", host.ipc_mode);
    assert_eq!(host.cgroup_parent.unwrap_or_default(), "");
    assert_eq!(host.network_mode.unwrap(), dockerforge_protocol::command::network_name(ana.user.id.parse().unwrap()));
    for mount in real.mounts.unwrap() {
        assert_eq!(mount.driver.as_deref(), Some("local"), "{mount:?}");
        let name = mount.name.unwrap();
        let volume = agent.docker.raw().inspect_volume(&name).await.unwrap();
        assert!(volume.options.is_empty(), "{volume:?}");
        assert!(name.starts_with("df-usr_"), "{name}");
    }
    let environment = real.config.unwrap().env.unwrap();
    assert!(environment.contains(&format!("A=$(cat {path})")), "nothing was expanded: {environment:?}");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "of the host", "the canary");
    assert_eq!(fs::read_dir(canary.path()).unwrap().count(), 1, "the canary's folder");
    invariants::hold(&cluster, &api, &mut Ledger::default(), 60).await;
}

#[tokio::test]
async fn another_users_things_cannot_be_named() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    agent.container("hers", &image, json!({"volumes": [{"volume": "data", "target": "/data"}]})).await;
    let (eva_user, eva) = cluster.user("eva").await;
    let (own, _) = eva.create_host("own").await;
    for (host, image) in [(&agent.host, &image), (&own.id, &image)] {
        eva.post("/v1/containers", &body(host, image, &json!({}))).await.problem(422, "invalid");
    }
    nothing_was_made(&eva, &agent.docker, &eva_user.user.id).await;
    invariants::hold(&cluster, &api, &mut Ledger::default(), 60).await;
}

#[tokio::test]
async fn a_build_has_nothing_of_the_host_and_none_is_made_on_anothers() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let pool = dockerforge_tests::agent::Agent::pool(&cluster, &admin, "shared", &json!({}), &env::docker()).await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    // On a shared host only its administrator builds: clients do on hosts of their own.
    let dockerfile = format!("FROM {}", env::BASE_IMAGE);
    let asked = json!({"name": "theirs", "host": pool.host, "dockerfile": dockerfile});
    assert_eq!(api.post("/v1/images", &asked).await.problem(422, "invalid").pointers(), ["/host"]);
    for (key, value) in [
        ("networkmode", json!("host")),
        ("network", json!("host")),
        ("privileged", json!(true)),
        ("security_opt", json!(["seccomp=unconfined"])),
        ("cap_add", json!(["ALL"])),
        ("host_access", json!({"privileged": true})),
        ("remote", json!("http://127.0.0.1/")),
        ("extra_hosts", json!(["x:127.0.0.1"])),
    ] {
        let mut asked = json!({"name": "more", "host": agent.host, "dockerfile": dockerfile});
        asked[key] = value;
        api.post("/v1/images", &asked).await.problem(422, "invalid");
    }
    let looks = "RUN readlink /proc/self/ns/net; readlink /proc/self/ns/pid; grep CapEff /proc/self/status; ! ls /var/run/docker.sock";
    let job = api.build(&agent.host, "looks", &format!("{dockerfile}\n{looks}\n")).await;
    api.succeeded(&job, 60).await;
    let log = api.log(&job.id).await.text;
    for namespace in ["net", "pid"] {
        let own = fs::read_link(format!("/proc/self/ns/{namespace}")).unwrap().display().to_string();
        assert!(!log.contains(&own) && log.contains(&format!("{namespace}:[")), "{own}: {log}");
    }
    // Docker's default capabilities, and no more.
    assert!(log.contains("CapEff:\t00000000a80425fb"), "{log}");
}
