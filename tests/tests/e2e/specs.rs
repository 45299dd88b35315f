//! What a container may be beyond its command: each field reaches Docker as it was asked, and is shown as it was asked.

use dockerforge_protocol::command::docker_name;
use dockerforge_tests::{cluster::Cluster, env, wait};
use serde_json::json;

#[tokio::test]
async fn every_field_reaches_docker_and_is_shown() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let asked = json!({
        "entrypoint": ["/bin/sh", "-c"], "command": ["exec sleep 3600"], "user": "1000:1000", "workdir": "/var",
        "hostname": "blog", "tmpfs": [{"path": "/tmp", "size": 8_388_608}], "read_only": true, "init": true,
        "stop_signal": "SIGINT", "stop_grace": 3,
        "healthcheck": {"command": "test -e /tmp/well", "interval": 1, "timeout": 2, "retries": 1, "start_period": 1},
    });
    let id = agent.container("blog", &image, asked.clone()).await;
    let shown = api.container(&id).await;
    for (field, value) in asked.as_object().unwrap().iter().filter(|(field, _)| *field != "command") {
        assert_eq!(&shown.rest[field], value, "{field}");
    }
    let real = agent.docker.inspect(&docker_name(id.parse().unwrap())).await.unwrap();
    let (config, host) = (real.config.unwrap(), real.host_config.unwrap());
    assert_eq!(config.entrypoint.unwrap(), ["/bin/sh", "-c"]);
    assert_eq!((config.user.as_deref(), config.working_dir.as_deref()), (Some("1000:1000"), Some("/var")));
    assert_eq!((config.hostname.as_deref(), config.stop_signal.as_deref()), (Some("blog"), Some("SIGINT")));
    assert_eq!(config.stop_timeout, Some(3));
    assert_eq!((host.readonly_rootfs, host.init, host.security_opt), (Some(true), Some(true), None));
    let mounts = host.mounts.unwrap();
    assert_eq!(mounts[0].tmpfs_options.as_ref().and_then(|o| o.size_bytes), Some(8_388_608));
    wait::until(20, "its health is seen", async || {
        let health = api.container(&id).await.observed.health;
        wait::check(health.as_deref() == Some("unhealthy"), health)
    })
    .await;
}

#[tokio::test]
async fn a_linked_container_is_found_by_its_alias_also_after_it_was_restarted() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", "RUN mkdir -p /www && echo found > /www/index.html").await;
    let db = agent.container("db", &image, json!({"command": ["httpd", "-f", "-p", "80", "-h", "/www"]})).await;
    let look = "while :; do timeout 2 wget -q -O - http://mysql/ >> /found; sleep 0.2; done";
    let spec = json!({"command": ["sh", "-c", look], "links": [{"container": db, "alias": "mysql"}]});
    let web = agent.container("web", &image, spec).await;
    let file = docker_name(web.parse().unwrap());
    let found = async || agent.docker.file(&file, "/found").await.lines().count();
    wait::until(15, "it is found", async || wait::check(found().await > 0, ())).await;
    let job = api.post(&format!("/v1/containers/{db}/restart"), &json!({"grace": 1})).await.accepted();
    api.succeeded(&job, 30).await;
    let before = found().await;
    wait::until(15, "it is found again", async || wait::check(found().await > before + 1, ())).await;

    // Only what is one's own, on the same host, can be linked; the refusal names it.
    let (_, eva) = cluster.user("eva").await;
    let (host, _) = eva.create_host("own").await;
    let (elsewhere, _) = api.create_host("elsewhere").await;
    let body =
        json!({"name": "x", "image": image, "host": elsewhere.id, "links": [{"container": db, "alias": "mysql"}]});
    api.post("/v1/containers", &body).await.problem(422, "invalid");
    let theirs = json!({"name": "x", "image": image, "host": host.id, "links": [{"container": db, "alias": "mysql"}]});
    eva.post("/v1/containers", &theirs).await.problem(422, "invalid");
    let never = "ctr_0192f0c1a2b37c4d8e5f60718293a4b5";
    let body = json!({"name": "x", "image": image, "host": agent.host, "links": [{"container": never, "alias": "db"}]});
    let problem = api.post("/v1/containers", &body).await.problem(422, "invalid");
    assert_eq!(problem.pointers(), ["/links/0/container"]);
    assert!(problem.detail.contains(never), "{problem:?}");
}

#[tokio::test]
async fn a_port_is_one_containers_and_one_that_was_chosen_stays() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let id = agent.container("one", &image, json!({"ports": [{"container": 80}]})).await;
    let port = async || {
        wait::until(10, "the port is seen", async || {
            let ports = api.container(&id).await.observed.ports;
            ports.first().map(|p| p.host).ok_or_else(|| "no port".to_owned())
        })
        .await
    };
    let chosen = port().await;
    assert!((20_000..=29_999).contains(&chosen), "{chosen}");
    for what in ["stop", "start", "restart"] {
        let job = api.post(&format!("/v1/containers/{id}/{what}"), &json!({})).await.accepted();
        api.succeeded(&job, 30).await;
    }
    assert_eq!(port().await, chosen);
    let body = json!({"name": "two", "image": image, "host": agent.host, "ports": [{"container": 81, "host": chosen}]});
    let problem = api.post("/v1/containers", &body).await.problem(409, "port-taken");
    assert!(problem.detail.contains(&id) && problem.detail.contains(&chosen.to_string()), "{problem:?}");
    // The same number of the other protocol is another port.
    let udp = json!({"ports": [{"container": 81, "host": chosen, "protocol": "udp"}]});
    agent.container("two", &image, udp).await;
}
