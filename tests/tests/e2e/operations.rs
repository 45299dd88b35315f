//! What is done with a container that is there: it is done, in the order in which it was asked, and what cannot be done
//! is refused in words.

use dockerforge_protocol::command::docker_name;
use dockerforge_tests::{agent::Agent, client::Api, cluster::Cluster, env, wait};
use serde_json::json;

/// A program that ends at once when it is told to, and counts its starts in a file of its own.
const COUNTS: &str = "echo started >> /starts; trap 'exit 0' TERM; while :; do sleep 0.1; done";

async fn starts(agent: &Agent, id: &str) -> usize {
    agent.docker.file(&docker_name(id.parse().unwrap()), "/starts").await.lines().count()
}

async fn scene(cluster: &Cluster) -> (Api, Agent, String) {
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let id = agent.container("blog", &image, json!({"command": ["sh", "-c", COUNTS]})).await;
    (api, agent, id)
}

#[tokio::test]
async fn a_container_is_stopped_started_and_restarted() {
    let cluster = Cluster::start().await;
    let (api, agent, id) = scene(&cluster).await;
    let path = |what: &str| format!("/v1/containers/{id}/{what}");
    wait::until(10, "it has started", async || wait::check(starts(&agent, &id).await == 1, ())).await;

    let job = api.post(&path("stop"), &json!({"grace": 5})).await.accepted();
    assert_eq!((job.kind.as_str(), job.resource_id()), ("container.stop", id.clone()));
    api.succeeded(&job, 30).await;
    let stopped = api.container(&id).await;
    assert_eq!((stopped.desired_state.as_str(), stopped.observed.state.as_str()), ("stopped", "exited"));
    let stopped = api.observed(&id, "exited", 5).await;
    wait::until(5, "the exit code is seen", async || {
        let code = api.container(&id).await.observed.exit_code;
        wait::check(code == Some(0), (code, &stopped))
    })
    .await;

    // Done again it is done; what is waited for is answered ended, without a body too.
    let again = api.call(reqwest::Method::POST, &path("stop")).header("prefer", "wait=30").send().await;
    assert_eq!((again.status, again.json["state"].as_str()), (200, Some("succeeded")), "{again}");

    let job = api.post(&path("start"), &json!({})).await.accepted();
    api.succeeded(&job, 30).await;
    let running = api.container(&id).await;
    assert_eq!((running.desired_state.as_str(), running.observed.state.as_str()), ("running", "running"));
    wait::until(10, "it has started again", async || wait::check(starts(&agent, &id).await == 2, ())).await;

    let job = api.post(&path("restart"), &json!({"grace": 5})).await.accepted();
    assert_eq!(job.kind, "container.restart");
    api.succeeded(&job, 30).await;
    assert_eq!(api.container(&id).await.desired_state, "running");
    wait::until(10, "it has started once more", async || wait::check(starts(&agent, &id).await == 3, ())).await;
}

#[tokio::test]
async fn what_is_asked_at_once_is_done_in_order_and_a_repeated_key_does_nothing_twice() {
    let cluster = Cluster::start().await;
    let (api, agent, id) = scene(&cluster).await;
    let mut jobs = Vec::new();
    for what in ["stop", "start", "stop", "start", "restart", "stop"] {
        jobs.push(api.post(&format!("/v1/containers/{id}/{what}"), &json!({})).await.accepted());
    }
    let call = || {
        let call = api.call(reqwest::Method::POST, &format!("/v1/containers/{id}/restart"));
        call.header("idempotency-key", "once").json(&json!({"grace": 1}))
    };
    let (first, second) = (call().send().await.accepted(), call().send().await.accepted());
    assert_eq!(first.id, second.id, "I11");
    for job in jobs.iter().chain([&first]) {
        api.succeeded(job, 60).await;
    }
    assert_eq!(api.container(&id).await.desired_state, "running");
    // The first start, two starts, the restart, and the restart of what was stopped.
    wait::until(10, "it was started five times", async || {
        let starts = starts(&agent, &id).await;
        wait::check(starts == 5, starts)
    })
    .await;
}

#[tokio::test]
async fn what_ends_by_itself_is_seen_beside_what_it_is_meant_to_do() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let ends = json!({"command": ["sh", "-c", "sleep 0.2; exit 3"], "restart": "no"});
    let id = agent.container("blog", &image, ends).await;
    let ended = api.observed(&id, "exited", 15).await;
    assert_eq!((ended.desired_state.as_str(), ended.observed.exit_code), ("running", Some(3)));
}

#[tokio::test]
async fn a_cancelled_operation_leaves_the_container_as_it_is() {
    let cluster = Cluster::start().await;
    let (api, mut agent, id) = scene(&cluster).await;
    api.observed(&id, "running", 10).await;
    agent.kill();
    let job = api.post(&format!("/v1/containers/{id}/stop"), &json!({})).await.accepted();
    assert_eq!(api.container(&id).await.desired_state, "stopped");
    api.delete(&format!("/v1/queue/{}", job.id)).await.accepted();
    assert_eq!(api.ended(&job.id, 5).await.state, "cancelled");
    assert_eq!(api.container(&id).await.desired_state, "running");
    // It waits for its host, no longer than it may.
    let job = api.post(&format!("/v1/containers/{id}/stop"), &json!({"deadline": 1})).await.accepted();
    assert_eq!(api.ended(&job.id, 60).await.error_kind(), Some("deadline"));
}

#[tokio::test]
async fn what_cannot_be_is_refused_in_words() {
    let cluster = Cluster::start().await;
    let (api, mut agent, id) = scene(&cluster).await;
    for (what, body, pointer) in [
        ("stop", json!({"grace": 301}), "/grace"),
        ("stop", json!({"grace": -1}), "/grace"),
        ("restart", json!({"grace": "soon"}), "/grace"),
        ("start", json!({"deadline": 0}), "/deadline"),
        ("stop", json!({"grace": 1, "force": true}), "/force"),
        ("start", json!({"grace": 1}), "/grace"),
    ] {
        let problem = api.post(&format!("/v1/containers/{id}/{what}"), &body).await.problem(422, "invalid");
        assert_eq!(problem.pointers(), [pointer], "{what} {body}");
    }
    let path = format!("/v1/containers/{id}/stop");
    let call = api.call(reqwest::Method::POST, &path).body("application/json", "{");
    call.send().await.problem(400, "bad-request");
    let call = api.call(reqwest::Method::POST, &path).body("text/plain", "{}");
    call.send().await.problem(415, "unsupported-media-type");
    for what in ["start", "stop", "restart"] {
        let never = format!("/v1/containers/ctr_0192f0c1a2b37c4d8e5f60718293a4b5/{what}");
        api.post(&never, &json!({})).await.problem(404, "not-found");
        api.get(&format!("/v1/containers/{id}/{what}")).await.problem(405, "method-not-allowed");
    }
    // What somebody removed by hand is not there to be stopped; what is on its way out is left alone.
    let docker_id = api.observed(&id, "running", 10).await.observed.docker_id.unwrap();
    agent.docker.remove(&docker_id).await;
    let job = api.post(&path, &json!({})).await.accepted();
    let ended = api.ended(&job.id, 30).await;
    assert_eq!((ended.state.as_str(), ended.error_kind()), ("failed", Some("container-not-found")), "{ended:?}");
    agent.kill();
    api.delete(&format!("/v1/containers/{id}")).await.accepted();
    for what in ["start", "stop", "restart"] {
        let problem = api.post(&format!("/v1/containers/{id}/{what}"), &json!({})).await.problem(409, "being-deleted");
        assert!(problem.detail.contains("container"), "{problem:?}");
    }
}
