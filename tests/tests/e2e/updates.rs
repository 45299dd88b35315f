//! `PATCH /containers/{id}`: what changes where the container is, what is made anew, and what is put back.

use dockerforge_protocol::command::docker_name;
use dockerforge_tests::{agent::Agent, client::Api, cluster::Cluster, env};
use reqwest::Method;
use serde_json::{Value, json};

async fn scene(cluster: &Cluster, spec: Value) -> (Api, Agent, String, String) {
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let id = agent.container("blog", &image, spec).await;
    (api, agent, image, id)
}

async fn patch(api: &Api, id: &str, body: &Value) -> dockerforge_tests::client::Answer {
    api.call(Method::PATCH, &format!("/v1/containers/{id}")).json(body).send().await
}

async fn real(agent: &Agent, id: &str) -> bollard::models::ContainerInspectResponse {
    agent.docker.inspect(&docker_name(id.parse().unwrap())).await.unwrap()
}

#[tokio::test]
async fn limits_change_while_it_runs_and_all_else_makes_it_anew_with_its_volumes_and_ports() {
    let cluster = Cluster::start().await;
    let spec = json!({"resources": {"memory": 67_108_864, "cpus": 0.5}, "ports": [{"container": 80}],
                      "volumes": [{"volume": "data", "target": "/data"}], "env": {"A": "old", "B": "kept"},
                      "command": ["sh", "-c", "echo $A >> /data/runs; exec sleep 3600"]});
    let (api, agent, image, id) = scene(&cluster, spec).await;
    let first = real(&agent, &id).await;
    let port = first.host_config.unwrap().port_bindings;
    let body = json!({"resources": {"memory": 134_217_728, "cpus": 0.25, "pids": 99}, "restart": "on-failure"});
    let job = patch(&api, &id, &body).await.accepted();
    assert_eq!(job.kind, "container.update");
    api.succeeded(&job, 30).await;
    let limited = real(&agent, &id).await;
    assert_eq!(limited.id, first.id, "it is the same container");
    let host = limited.host_config.unwrap();
    assert_eq!((host.memory, host.nano_cpus, host.pids_limit), (Some(134_217_728), Some(250_000_000), Some(99)));
    let shown = api.container(&id).await;
    assert_eq!((shown.resources, shown.restart.as_str()), (body["resources"].clone(), "on-failure"));

    let job = patch(&api, &id, &json!({"env": {"A": "new"}, "labels": {"tier": "web"}})).await.accepted();
    api.succeeded(&job, 60).await;
    let anew = real(&agent, &id).await;
    assert_ne!(anew.id, first.id);
    assert_eq!(anew.state.unwrap().running, Some(true));
    assert_eq!(anew.host_config.unwrap().port_bindings, port, "its port is the one it had");
    let name = docker_name(id.parse().unwrap());
    assert_eq!(agent.docker.file(&name, "/data/runs").await, "old\nnew\n", "its volume is the one it had");
    let shown = api.container(&id).await;
    assert_eq!((shown.env.get("A").map(String::as_str), shown.env.get("B")), (Some("new"), None));
    assert_eq!((shown.labels["tier"].as_str(), shown.image.as_str()), ("web", image.as_str()));
    assert_eq!(agent.docker.of_container(&id).await.len(), 1, "I5");

    // What is named null is as if it had never been said; another image is another container.
    let other = agent.image("other", "RUN echo other > /which\nCMD [\"sleep\", \"3600\"]").await;
    let job = patch(&api, &id, &json!({"image": other, "command": null, "restart": null})).await.accepted();
    api.succeeded(&job, 60).await;
    assert_eq!(agent.docker.file(&name, "/which").await, "other\n");
    let shown = api.container(&id).await;
    assert_eq!((shown.image, shown.command.len(), shown.restart.as_str()), (other, 0, "unless-stopped"));
    // The old image is nobody's any more.
    let job = api.delete(&format!("/v1/images/{image}")).await.accepted();
    api.ended(&job.id, 30).await;
}

#[tokio::test]
async fn what_does_not_run_is_put_back_and_the_job_says_why() {
    let cluster = Cluster::start().await;
    let (api, agent, _, id) = scene(&cluster, json!({"env": {"A": "old"}})).await;
    let before = real(&agent, &id).await.id;
    for (body, kind) in [
        (json!({"env": {"A": "new"}, "command": ["/no/such/program"]}), "docker-refused"),
        (json!({"command": ["sh", "-c", "exit 3"]}), "exited-early"),
        (
            json!({"healthcheck": {"command": "false", "interval": 1, "retries": 1}, "env": {"A": "new"}}),
            "exited-early",
        ),
    ] {
        let job = patch(&api, &id, &body).await.accepted();
        let ended = api.ended(&job.id, 60).await;
        assert_eq!((ended.state.as_str(), ended.error_kind()), ("failed", Some(kind)), "{body}: {ended:?}");
        let back = real(&agent, &id).await;
        assert_eq!((back.id.clone(), back.state.unwrap().running), (before.clone(), Some(true)), "{body}");
        assert_eq!(api.container(&id).await.env["A"], "old", "{body}: the row keeps what is there");
        assert_eq!(agent.docker.of_container(&id).await.len(), 1, "I5");
    }
    // One that is healthy is taken.
    let well = json!({"healthcheck": {"command": "true", "interval": 1, "retries": 1}});
    let job = patch(&api, &id, &well).await.accepted();
    api.succeeded(&job, 60).await;
    assert_eq!(api.observed(&id, "running", 10).await.rest["healthcheck"]["command"], "true");
}

#[tokio::test]
async fn what_cannot_be_changed_is_refused_in_words() {
    let cluster = Cluster::start().await;
    let (api, mut agent, image, id) = scene(&cluster, json!({"ports": [{"container": 80, "host": 31_911}]})).await;
    for (body, pointer) in [
        (json!({"name": "x"}), "/name"),
        (json!({"host": "x"}), "/host"),
        (json!({"privileged": true}), "/privileged"),
        (json!({"env": {"A=B": "x"}}), "/env/A=B"),
        (json!({"resources": {"memory": 1}}), "/resources/memory"),
        (json!({"image": "x"}), "/image"),
        (json!({"image": "img_0192f0c1a2b37c4d8e5f60718293a4b5"}), "/image"),
        (json!({"links": [{"container": id, "alias": "self"}]}), "/links/0/container"),
    ] {
        let problem = patch(&api, &id, &body).await.problem(422, "invalid");
        assert_eq!(problem.pointers(), [pointer], "{body}");
    }
    patch(&api, "ctr_0192f0c1a2b37c4d8e5f60718293a4b5", &json!({})).await.problem(404, "not-found");
    let other = agent.container("other", &image, json!({})).await;
    let taken = json!({"ports": [{"container": 81, "host": 31_911}]});
    let problem = patch(&api, &other, &taken).await.problem(409, "port-taken");
    assert!(problem.detail.contains(&id), "{problem:?}");
    // While one change waits another cannot be worked out; a cancelled one changes nothing.
    agent.kill();
    let job = patch(&api, &id, &json!({"env": {"A": "b"}})).await.accepted();
    let problem = patch(&api, &id, &json!({"env": {"B": "c"}})).await.problem(409, "being-changed");
    assert!(problem.detail.contains(&job.id), "{problem:?}");
    api.delete(&format!("/v1/queue/{}", job.id)).await.accepted();
    assert_eq!(api.ended(&job.id, 10).await.state, "cancelled");
    assert!(api.container(&id).await.env.is_empty());
    api.delete(&format!("/v1/containers/{id}")).await.accepted();
    patch(&api, &id, &json!({})).await.problem(409, "being-deleted");
}
