//! Quotas: what a user may have is held when he asks, also when he asks fifty times at once, and the refusal says how
//! much there may be, is, and was asked for.

use dockerforge_tests::{
    backend::Backend,
    client::{Answer, Api, Job},
    cluster::Cluster,
    env,
    invariants::{self, Ledger},
};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const AT_ONCE: usize = 50;

async fn patch(cluster: &Cluster, user: &str, body: Value) -> Answer {
    cluster.admin().call(Method::PATCH, &format!("/v1/users/{user}")).json(&body).send().await
}

/// How many were accepted; every other was refused for this quota and no other reason.
fn accepted(answers: Vec<Answer>, quota: &str) -> usize {
    let (yes, no): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status < 300);
    for answer in no {
        assert_eq!(answer.json["quota"], quota, "{answer}");
        assert_eq!((&answer.json["limit"], &answer.json["used"]), (&json!(10), &json!(10)), "{answer}");
        assert_eq!(answer.json["asked"], 1, "{answer}");
        answer.problem(403, "quota-exceeded");
    }
    yes.len()
}

async fn fifty_at_once_against_ten(backend: Backend) {
    let cluster = Cluster::start_on(backend).await;
    let (ana, api) = cluster.user("ana").await;
    let mut agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    // With nobody to work on them, what is accepted stays where it can be counted.
    agent.kill();

    patch(&cluster, &ana.user.id, json!({"quota": {"containers": 10}})).await.expect(200);
    let run = |i: usize| {
        let body = json!({"name": format!("c{i}"), "image": image, "host": agent.host});
        let api = api.clone();
        async move { api.post("/v1/containers", &body).await }
    };
    assert_eq!(accepted(join_all((0..AT_ONCE).map(run)).await, "containers"), 10, "I19");
    assert_eq!(api.all::<Value>("/v1/containers").await.len(), 10);
    assert_eq!(api.all::<Job>("/v1/queue?state=queued").await.len(), 10, "a refused request leaves nothing");

    patch(&cluster, &ana.user.id, json!({"quota": {"hosts": 10}})).await.expect(200);
    let hosts = (0..AT_ONCE).map(|i| {
        let (api, body) = (api.clone(), json!({"name": format!("h{i}")}));
        async move { api.post("/v1/hosts", &body).await }
    });
    assert_eq!(accepted(join_all(hosts).await, "hosts"), 9, "one was there before");

    // Ten jobs wait already: what counts is all that he asked for, whatever it is.
    patch(&cluster, &ana.user.id, json!({"quota": {"queued_jobs": 10}})).await.expect(200);
    let answer = api.post("/v1/images", &json!({"name": "x", "host": agent.host, "dockerfile": "FROM scratch"})).await;
    assert_eq!(accepted(vec![answer], "queued_jobs"), 0);

    // What was accepted is done, and nothing else.
    agent.launch(None, &[]);
    let mut ledger = Ledger::default();
    for job in api.all::<Job>("/v1/queue?state=queued").await {
        ledger.see(&job);
    }
    invariants::hold(&cluster, &api, &mut ledger, 120).await;
}

async fn one_key_from_fifty_connections(backend: Backend) {
    let cluster = Cluster::start_on(backend).await;
    let (_, api) = cluster.user("ana").await;
    let (host, _) = api.create_host("vps").await;
    let body = json!({"name": "blog", "host": host.id, "dockerfile": "FROM scratch"});
    let posts = (0..AT_ONCE).map(|_| {
        // A client of its own has connections of its own.
        let api = Api::anonymous(cluster.api()).with_key_of(&api);
        let body = body.clone();
        async move {
            api.call(Method::POST, "/v1/images").json(&body).header("idempotency-key", "k").send().await.accepted().id
        }
    });
    let ids: BTreeSet<String> = join_all(posts).await.into_iter().collect();
    assert_eq!(ids.len(), 1, "I11: {ids:?}");
    assert_eq!(api.all::<Job>("/v1/queue").await.len(), 1);
    // Its host has no agent: there is nothing to wait for.
    invariants::standing(&cluster).await;
}

#[tokio::test]
async fn of_fifty_creations_at_once_a_quota_of_ten_lets_ten_pass_on_sqlite() {
    fifty_at_once_against_ten(Backend::Sqlite).await;
}

#[tokio::test]
async fn of_fifty_creations_at_once_a_quota_of_ten_lets_ten_pass_on_postgresql() {
    fifty_at_once_against_ten(Backend::Postgres).await;
}

#[tokio::test]
async fn one_idempotency_key_from_fifty_connections_is_one_job_on_sqlite() {
    one_key_from_fifty_connections(Backend::Sqlite).await;
}

#[tokio::test]
async fn one_idempotency_key_from_fifty_connections_is_one_job_on_postgresql() {
    one_key_from_fifty_connections(Backend::Postgres).await;
}

#[tokio::test]
async fn quota_and_usage_are_shown_and_a_limit_below_the_use_takes_nothing_away() {
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let mut agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let path = format!("/v1/users/{}", ana.user.id);
    let limits = json!({"cpus": 1.5, "memory": 128 << 20, "images": 1, "hosts": 1});
    let shown = patch(&cluster, &ana.user.id, json!({"quota": limits})).await.expect(200).json;
    assert_eq!((&shown["quota"]["cpus"], &shown["quota"]["hosts"]), (&json!(1.5), &json!(1)));
    assert_eq!(shown["quota"]["containers"], 10_000, "what is not named keeps the default");

    // Where there is a quota, a container without a limit could take all of it.
    let body = |name: &str, resources: Value| json!({"name": name, "image": image, "host": agent.host, "resources": resources});
    let problem = api.post("/v1/containers", &body("c", json!({}))).await.problem(422, "invalid");
    assert_eq!(problem.pointers(), ["/resources/cpus", "/resources/memory"]);
    let job = api.post("/v1/containers", &body("c", json!({"cpus": 1, "memory": 64 << 20}))).await.accepted();
    let container = api.succeeded(&job, 60).await;
    let more = api.post("/v1/containers", &body("d", json!({"cpus": 0.75, "memory": 16 << 20}))).await;
    let numbers = ["quota", "limit", "used", "asked"].map(|member| more.json[member].clone());
    assert_eq!(numbers, [json!("cpus"), json!(1.5), json!(1), json!(0.75)], "{more}");
    assert_eq!(
        more.problem(403, "quota-exceeded").detail,
        "this needs 0.75 more of cpus, of which 1 of at most 1.5 are used"
    );

    let usage = api.get(&path).await.expect(200).json["usage"].clone();
    let expected = json!({"containers": 1, "running_containers": 1, "cpus": 1, "memory": 64 << 20, "images": 1, "hosts": 1, "queued_jobs": 0});
    assert_eq!(usage, expected);

    // Lowered below what is used: all stays, and goes on to work.
    let none = json!({"containers": 0, "running_containers": 0, "cpus": 0, "memory": 0, "images": 0, "hosts": 0});
    patch(&cluster, &ana.user.id, json!({"quota": none})).await.expect(200);
    assert_eq!(api.container(&container).await.observed.state, "running");
    api.post("/v1/hosts", &json!({"name": "other"})).await.problem(403, "quota-exceeded");
    let job = api.delete(&format!("/v1/containers/{container}")).await.accepted();
    api.succeeded(&job, 60).await;
    assert_eq!(api.get(&path).await.json["usage"]["cpus"], 0, "what is gone does not count");

    // null is the default again.
    let defaults =
        json!({"cpus": null, "memory": null, "images": null, "containers": null, "running_containers": null});
    let shown = patch(&cluster, &ana.user.id, json!({"quota": defaults})).await.expect(200).json;
    assert_eq!((&shown["quota"]["cpus"], &shown["quota"]["images"]), (&Value::Null, &json!(10_000)));
    agent.container("d", &image, json!({})).await;
    agent.kill();
}

#[tokio::test]
async fn only_an_administrator_changes_quotas_and_only_to_what_can_be() {
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let path = format!("/v1/users/{}", ana.user.id);
    api.call(Method::PATCH, &path).json(&json!({"quota": {"hosts": 99}})).send().await.problem(403, "forbidden");
    for (body, pointer) in [
        (json!({"quota": {"hosts": -1}}), "/quota/hosts"),
        (json!({"quota": {"hosts": 1.5}}), "/quota/hosts"),
        (json!({"quota": {"memory": 9_007_199_254_740_992_u64}}), "/quota/memory"),
        (json!({"quota": {"cpus": -0.5}}), "/quota/cpus"),
        (json!({"quota": {"cpus": "many"}}), "/quota/cpus"),
        (json!({"quota": {"pods": 1}}), "/quota/pods"),
        (json!({"quota": null}), "/quota"),
        (json!({"name": "eva"}), "/name"),
    ] {
        let problem = patch(&cluster, &ana.user.id, body.clone()).await.problem(422, "invalid");
        assert_eq!(problem.pointers(), [pointer], "{body}");
    }
    patch(&cluster, "usr_00000000000000000000000000000000", json!({})).await.problem(404, "not-found");
    let unchanged = api.get(&path).await.json;
    assert_eq!(unchanged["quota"]["hosts"], 10_000);
}
