//! Containers: what is asked is what Docker has, what Docker has is what is shown, and what cannot be is refused.

use dockerforge_protocol::command::{docker_name, labels, network_name, volume_name};
use dockerforge_tests::{
    client::{Api, Container, Job, Published},
    cluster::Cluster,
    docker::Witness,
    env, wait,
};
use serde_json::{Value, json};

#[tokio::test]
async fn a_container_is_what_was_asked_for_and_answers_over_http() {
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let image = agent
        .image("web", "RUN mkdir -p /www && echo the-page > /www/index.html\nCMD [\"httpd\", \"-f\", \"-p\", \"80\", \"-h\", \"/www\"]")
        .await;
    let asked = json!({
        "env": {"GREETING": "$ ' \\ \" é", "EMPTY": ""},
        "ports": [{"container": 80}, {"container": 5353, "protocol": "udp"}],
        "volumes": [{"volume": "data", "target": "/data"}, {"volume": "conf", "target": "/conf", "read_only": true}],
        "resources": {"cpus": 0.5, "memory": 67_108_864, "pids": 50},
        "restart": "on-failure",
        "labels": {"com.example/tier": "web"},
    });
    let job = api.run(&agent.host, "blog", &image, asked.clone()).await;
    let id = api.succeeded(&job, 60).await;
    let answer = api.get(&format!("/v1/queue/{}", job.id)).await.expect(303);
    assert_eq!(answer.header("location"), Some(format!("/v1/containers/{id}").as_str()));

    let shown = wait::until(10, "the container is seen with its port and address", async || {
        let container = api.container(&id).await;
        let complete = container.observed.ports.len() == 2 && container.observed.address.is_some();
        if complete { Ok(container) } else { Err(format!("{container:?}")) }
    })
    .await;
    assert_eq!((shown.desired_state.as_str(), shown.observed.state.as_str()), ("running", "running"));
    assert_eq!(
        (shown.name.as_str(), shown.image.as_str(), shown.host.as_deref()),
        ("blog", image.as_str(), Some(agent.host.as_str()))
    );
    assert_eq!(shown.env["GREETING"], "$ ' \\ \" é");
    assert_eq!(shown.resources, asked["resources"]);
    assert_eq!((shown.restart.as_str(), shown.labels["com.example/tier"].as_str()), ("on-failure", "web"));

    let port = shown.observed.ports.iter().find(|p| p.container == 80).unwrap();
    let page = reqwest::get(format!("http://127.0.0.1:{}/", port.host)).await.unwrap().text().await.unwrap();
    assert_eq!(page.trim(), "the-page");

    let found = agent.docker.of_container(&id).await;
    assert_eq!(found.len(), 1, "I5");
    let real = agent.docker.inspect(found[0].id.as_deref().unwrap()).await.unwrap();
    assert_eq!(real.name, Some(format!("/{}", docker_name(id.parse().unwrap()))));
    assert_eq!(shown.observed.docker_id, real.id);
    let config = real.config.unwrap();
    let environment = config.env.unwrap();
    assert!(environment.contains(&"GREETING=$ ' \\ \" é".to_owned()) && environment.contains(&"EMPTY=".to_owned()));
    let labelled = config.labels.unwrap();
    assert_eq!(labelled[labels::USER], ana.user.id);
    assert_eq!(labelled[labels::HOST], agent.host);
    assert_eq!(labelled[labels::JOB], job.id);
    assert_eq!(labelled[labels::CLUSTER], agent.cluster());
    assert_eq!(labelled["com.example/tier"], "web");
    assert_eq!(labelled[labels::SPEC_HASH].len(), 64);
    let host = real.host_config.unwrap();
    assert_eq!(
        (host.nano_cpus, host.memory, host.memory_swap),
        (Some(500_000_000), Some(67_108_864), Some(67_108_864))
    );
    assert_eq!((host.pids_limit, host.privileged), (Some(50), Some(false)));
    assert_eq!(host.restart_policy.and_then(|p| p.name).map(|n| n.to_string()).as_deref(), Some("on-failure"));
    let log = host.log_config.unwrap();
    assert_eq!(log.typ.as_deref(), Some("json-file"));
    assert!(log.config.unwrap().contains_key("max-size"), "logs are rotated");
    assert_eq!(host.network_mode, Some(network_name(ana.user.id.parse().unwrap())));
    let mut mounts: Vec<_> =
        real.mounts.unwrap().into_iter().map(|m| (m.destination.unwrap(), m.name.unwrap(), m.rw.unwrap())).collect();
    mounts.sort();
    let volume = |name: &str| volume_name(ana.user.id.parse().unwrap(), &name.parse().unwrap());
    assert_eq!(mounts, [("/conf".to_owned(), volume("conf"), false), ("/data".to_owned(), volume("data"), true)]);
}

#[tokio::test]
async fn containers_of_one_user_find_each_other_by_name_and_those_of_another_do_not() {
    let cluster = Cluster::start().await;
    let (_, ana) = cluster.user("ana").await;
    let (_, eva) = cluster.user("eva").await;
    let hers = cluster.host(&ana, "vps").await;
    let web = hers.image("web", "RUN mkdir -p /www && echo found-you > /www/index.html").await;
    hers.container("db", &web, json!({"command": ["httpd", "-f", "-p", "80", "-h", "/www"]})).await;
    let look = json!({"command": ["sh", "-c", "for i in 1 2 3 4 5; do wget -q -O - http://db/ && exec sleep 3600; sleep 1; done; exit 7"], "restart": "no"});
    let finder = hers.container("finder", &web, look.clone()).await;
    // The second agent works on the same Docker Engine for another user: his network is another.
    let his = cluster.host(&eva, "vps").await;
    let other = his.image("web", "CMD [\"true\"]").await;
    let stranger = his.container("finder", &other, look).await;
    let seen = eva.observed(&stranger, "exited", 30).await;
    assert_eq!(seen.observed.exit_code, Some(7), "I14: another user's container was reached");
    ana.observed(&finder, "running", 1).await;
}

#[tokio::test]
async fn what_somebody_does_by_hand_is_seen() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let id = agent.container("blog", &image, json!({"restart": "no"})).await;
    let docker_id = api.observed(&id, "running", 10).await.observed.docker_id.unwrap();
    let docker = Witness::first();
    docker.kill(&docker_id).await;
    assert_eq!(api.observed(&id, "exited", 15).await.observed.exit_code, Some(137));
    docker.raw().start_container(&docker_id, None).await.unwrap();
    let running = api.observed(&id, "running", 15).await;
    assert_eq!(running.observed.exit_code, None);
    docker.raw().pause_container(&docker_id).await.unwrap();
    api.observed(&id, "paused", 15).await;
    docker.raw().unpause_container(&docker_id).await.unwrap();
    api.observed(&id, "running", 15).await;
    docker.stop(&docker_id).await;
    api.observed(&id, "exited", 15).await;
    docker.remove(&docker_id).await;
    assert_eq!(api.observed(&id, "missing", 30).await.desired_state, "running", "what is meant is not what is seen");
    // What is not there can be deleted like anything else.
    let job = api.delete(&format!("/v1/containers/{id}")).await.accepted();
    api.succeeded(&job, 30).await;
    api.get(&format!("/v1/containers/{id}")).await.problem(404, "not-found");
}

#[tokio::test]
async fn volumes_outlive_their_container_unless_they_are_to_go() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let data = json!([{"volume": "data", "target": "/data"}]);
    let write = json!({"volumes": data, "command": ["sh", "-c", "echo kept > /data/x; sleep 3600"]});
    let first = agent.container("one", &image, write).await;
    wait::until(10, "the file is written", async || {
        let found = agent.docker.of_container(&first).await;
        let name = found[0].names.clone().unwrap().pop().unwrap();
        let options = bollard::query_parameters::DownloadFromContainerOptionsBuilder::default().path("/data/x").build();
        let mut stream = agent.docker.raw().download_from_container(name.trim_start_matches('/'), Some(options));
        match futures_util::StreamExt::next(&mut stream).await {
            Some(Ok(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let job = api.delete(&format!("/v1/containers/{first}")).await.accepted();
    assert_eq!(job.kind, "container.delete");
    let again = api.delete(&format!("/v1/containers/{first}")).await;
    assert!(again.status == 404 || again.accepted().id == job.id, "a repeated deletion is the same job");
    api.succeeded(&job, 30).await;
    assert_eq!(agent.docker.of_cluster(&agent.cluster()).await.volumes.len(), 1);

    let read = json!({"volumes": data, "command": ["sh", "-c", "grep -q kept /data/x && exec sleep 3600; exit 9"], "restart": "no"});
    let second = agent.container("two", &image, read).await;
    api.observed(&second, "running", 10).await;
    let job = api.delete(&format!("/v1/containers/{second}?volumes=true")).await.accepted();
    api.succeeded(&job, 30).await;
    assert_eq!(agent.docker.of_cluster(&agent.cluster()).await.volumes, Vec::<String>::new());
}

#[tokio::test]
async fn what_docker_cannot_start_fails_with_the_reason_and_leaves_nothing() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let job = api.run(&agent.host, "bad", &image, json!({"command": ["/no/such/program"]})).await;
    let ended = api.ended(&job.id, 30).await;
    assert_eq!((ended.state.as_str(), ended.error_kind()), ("failed", Some("docker-refused")), "{ended:?}");
    assert!(ended.error.as_ref().unwrap().detail.contains("/no/such/program"), "{ended:?}");

    let taken = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let job = api.run(&agent.host, "port", &image, json!({"ports": [{"container": 80, "host": port}]})).await;
    let ended = api.ended(&job.id, 30).await;
    assert_eq!((ended.state.as_str(), ended.error_kind()), ("failed", Some("port-taken")), "{ended:?}");
    assert!(ended.error.as_ref().unwrap().detail.contains(&port.to_string()), "{ended:?}");

    assert_eq!(api.all::<Container>("/v1/containers").await.len(), 0, "no container stays that never was");
    wait::until(10, "nothing is left on Docker but the network and the image", async || {
        let left = agent.docker.of_cluster(&agent.cluster()).await;
        wait::check(left.containers.is_empty() && left.volumes.is_empty(), left)
    })
    .await;
    // The names are free again.
    agent.container("bad", &image, json!({})).await;
}

#[tokio::test]
async fn two_containers_of_one_name_cannot_be_and_different_users_do_not_meet() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let id = agent.container("blog", &image, json!({})).await;
    let body = json!({"name": "blog", "image": image, "host": agent.host});
    let problem = api.post("/v1/containers", &body).await.problem(409, "name-taken");
    assert!(problem.detail.contains("blog"));
    assert_eq!(agent.docker.of_container(&id).await.len(), 1);
    assert_eq!(api.all::<Container>("/v1/containers").await.len(), 1);
    let job = api.delete(&format!("/v1/containers/{id}")).await.accepted();
    api.succeeded(&job, 30).await;
    agent.container("blog", &image, json!({})).await;
}

/// A host without agent, and the id of an image that is on it as far as anybody knows: none. For bodies alone.
async fn refused(api: &Api, body: Value, pointers: &[&str]) {
    let problem = api.post("/v1/containers", &body).await.problem(422, "invalid");
    assert_eq!(problem.pointers(), pointers, "{body}: {problem:?}");
}

#[tokio::test]
async fn values_that_cannot_be_are_refused_all_at_once_with_their_pointers() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (host, _) = api.create_host("vps").await;
    let image = "img_0192f0c1a2b37c4d8e5f60718293a4b5";
    let with = |field: &str, value: Value| {
        let mut body = json!({"name": "blog", "image": image, "host": host.id});
        body[field] = value;
        body
    };
    refused(&api, json!({"name": "Blog", "image": "x", "host": "y"}), &["/name", "/image", "/host"]).await;
    refused(&api, with("name", json!("a".repeat(64))), &["/name"]).await;
    refused(
        &api,
        with("ports", json!([{"container": 0}, {"container": 70_000}])),
        &["/ports/0/container", "/ports/1/container"],
    )
    .await;
    refused(&api, with("ports", json!([{"container": 80, "host": 65_536}])), &["/ports/0/host"]).await;
    refused(&api, with("ports", json!([{"container": 80, "protocol": "sctp"}])), &["/ports/0/protocol"]).await;
    refused(
        &api,
        with("ports", json!([{"container": 80, "host": 8080}, {"container": 81, "host": 8080}])),
        &["/ports/1/host"],
    )
    .await;
    refused(
        &api,
        with("volumes", json!([{"volume": "../x", "target": "data"}])),
        &["/volumes/0/volume", "/volumes/0/target"],
    )
    .await;
    refused(&api, with("volumes", json!([{"volume": "/", "target": "/host"}])), &["/volumes/0/volume"]).await;
    refused(&api, with("volumes", json!([{"volume": "a", "target": "/x/../../etc"}])), &["/volumes/0/target"]).await;
    refused(
        &api,
        with("volumes", json!([{"volume": "a", "target": "/x"}, {"volume": "b", "target": "/x"}])),
        &["/volumes/1/target"],
    )
    .await;
    refused(&api, with("env", json!({"A=B": "x"})), &["/env/A=B"]).await;
    refused(&api, with("env", json!({"A": "x\u{0}y"})), &["/env/A"]).await;
    refused(&api, with("labels", json!({"dev.dockerforge.cluster": "x"})), &["/labels/dev.dockerforge.cluster"]).await;
    refused(
        &api,
        with("resources", json!({"cpus": 0, "memory": 1, "pids": 0})),
        &["/resources/cpus", "/resources/memory", "/resources/pids"],
    )
    .await;
    refused(&api, with("restart", json!("sometimes")), &["/restart"]).await;
    refused(&api, with("deadline", json!(0)), &["/deadline"]).await;
    refused(&api, with("user", json!("a:b:c")), &["/user"]).await;
    refused(&api, with("workdir", json!("srv")), &["/workdir"]).await;
    refused(&api, with("hostname", json!("a.b")), &["/hostname"]).await;
    refused(&api, with("stop_signal", json!("SIGSTOP")), &["/stop_signal"]).await;
    refused(&api, with("stop_grace", json!(0)), &["/stop_grace"]).await;
    refused(&api, with("entrypoint", json!(["a\u{0}"])), &["/entrypoint/0"]).await;
    refused(&api, with("tmpfs", json!([{"path": "/x", "size": 1}])), &["/tmpfs/0/size"]).await;
    refused(&api, with("tmpfs", json!([{"path": "/x"}, {"path": "/x"}])), &["/tmpfs/1/path"]).await;
    refused(&api, with("healthcheck", json!("some")), &["/healthcheck"]).await;
    refused(&api, with("healthcheck", json!({"command": []})), &["/healthcheck/command"]).await;
    refused(&api, with("healthcheck", json!({"command": "x", "interval": 0})), &["/healthcheck/interval"]).await;
    refused(
        &api,
        with("links", json!([{"container": "db", "alias": "a.b"}])),
        &["/links/0/container", "/links/0/alias"],
    )
    .await;
    let other = "ctr_0192f0c1a2b37c4d8e5f60718293a4b5";
    let link = json!({"container": other, "alias": "db"});
    refused(&api, with("links", json!([link, link])), &["/links/1/alias"]).await;
    refused(&api, with("image", json!(image)), &["/image"]).await;
    // What is not in the allow-list cannot be asked for, however it is written.
    for (key, value) in [
        ("privileged", json!(true)),
        ("Privileged", json!(true)),
        ("HostConfig", json!({"Privileged": true})),
        ("hostconfig", json!({"Binds": ["/:/host"]})),
        ("Env", json!({"A": "b"})),
        ("cap_add", json!(["SYS_ADMIN"])),
        ("network", json!("host")),
        ("devices", json!([])),
    ] {
        let problem = api.post("/v1/containers", &with(key, value)).await.problem(422, "invalid");
        assert!(problem.detail.contains(key), "{key}: {problem:?}");
    }
    let options = json!([{"volume": "a", "target": "/x", "driver_opts": {"type": "none", "o": "bind", "device": "/"}}]);
    let problem = api.post("/v1/containers", &with("volumes", options)).await.problem(422, "invalid");
    assert!(problem.detail.contains("driver_opts"), "{problem:?}");
    assert_eq!(api.all::<Container>("/v1/containers").await.len(), 0);
    assert_eq!(api.all::<Job>("/v1/queue").await.len(), 0);
}

#[tokio::test]
async fn an_image_that_is_not_there_yet_is_refused_and_one_that_is_elsewhere_comes_first() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let (other, _) = api.create_host("other").await;
    let slow = api.build(&agent.host, "slow", &format!("FROM {}\nRUN sleep 600", env::BASE_IMAGE)).await;
    let body = json!({"name": "c", "image": slow.resource_id(), "host": agent.host});
    api.post("/v1/containers", &body).await.problem(409, "image-not-ready");
    let image = agent.image("base", env::SLEEPER).await;
    assert_eq!(api.all::<Container>("/v1/containers").await.len(), 0);
    api.post("/v1/containers", &json!({"name": "c", "image": image, "host": other.id})).await.accepted();
    let copies: Vec<Job> = api.all("/v1/queue?kind=image.copy").await;
    assert_eq!(copies.iter().map(|job| job.host.as_deref()).collect::<Vec<_>>(), [Some(other.id.as_str())]);
    api.delete(&format!("/v1/queue/{}", slow.id)).await.accepted();
    api.reaches(&slow.id, "cancelled", 20).await;
}

#[tokio::test]
async fn a_published_port_is_the_one_that_was_asked_for() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let reserved = dockerforge_tests::port::Port::reserve();
    let port = reserved.address.port();
    let id = agent.container("c", &image, json!({"ports": [{"container": 80, "host": port}]})).await;
    let expected = [Published { container: 80, host: port, protocol: "tcp".to_owned() }];
    wait::until(10, "the port is seen", async || {
        let observed = api.container(&id).await.observed;
        wait::check(observed.ports == expected, observed)
    })
    .await;
    assert_eq!(api.container(&id).await.ports[0]["host"], json!(port));
}
