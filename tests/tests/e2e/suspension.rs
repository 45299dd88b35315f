//! Suspending a user and resuming him: on the real Docker Engine his containers stop and those that are meant to run start
//! again, and whatever he asks meanwhile is refused.

use dockerforge_tests::{
    backend::Backend,
    client::{Answer, Events, Token},
    cluster::Cluster,
    docker::Witness,
    env, wait,
};
use reqwest::Method;
use serde_json::{Value, json};

async fn set(cluster: &Cluster, user: &str, suspended: bool) -> Answer {
    let body = json!({"suspended": suspended});
    cluster.admin().call(Method::PATCH, &format!("/v1/users/{user}")).json(&body).send().await
}

async fn runs(container: &str) -> bool {
    let docker = Witness::first();
    let found = docker.of_container(container).await;
    let Some(id) = found.first().and_then(|summary| summary.id.as_deref()) else { return false };
    docker.inspect(id).await.and_then(|seen| seen.state?.running).unwrap_or(false)
}

async fn suspended_and_resumed(backend: Backend) {
    let cluster = Cluster::start_on(backend).await;
    let admin = cluster.admin();
    let (ana, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let blog = agent.container("blog", &image, json!({})).await;
    let shop = agent.container("shop", &image, json!({})).await;
    let resting = agent.container("resting", &image, json!({})).await;
    let stop = api.post(&format!("/v1/containers/{resting}/stop"), &json!({"grace": 0})).await.accepted();
    api.succeeded(&stop, 30).await;

    let job = set(&cluster, &ana.user.id, true).await.accepted();
    assert_eq!((job.kind.as_str(), job.resource_id()), ("user.suspend", ana.user.id.clone()));
    assert_eq!(admin.ended(&job.id, 60).await.state, "succeeded");
    for container in [&blog, &shop, &resting] {
        assert!(!runs(container).await, "{container}");
    }
    let path = format!("/v1/users/{}", ana.user.id);
    assert_eq!(admin.get(&path).await.expect(200).json["state"], "suspended");
    assert_eq!(set(&cluster, &ana.user.id, true).await.expect(200).json["state"], "suspended", "it is so already");

    // His key opens nothing; an administrator who acts for him sees and changes nothing.
    for answer in [api.get("/v1/containers").await, api.post("/v1/hosts", &json!({"name": "x"})).await] {
        answer.problem(403, "suspended");
    }
    let for_ana = admin.acting_for(&ana.user.id);
    let seen = for_ana.container(&blog).await;
    assert_eq!(
        (seen.desired_state.as_str(), seen.observed.state.as_str()),
        ("running", "exited"),
        "what he meant stays"
    );
    for_ana.post("/v1/hosts", &json!({"name": "x"})).await.problem(403, "suspended");
    for_ana.delete(&format!("/v1/containers/{blog}")).await.problem(403, "suspended");
    // His keys can be revoked all the same.
    let tokens = admin.get(&format!("{path}/tokens")).await.expect(200).json;
    assert_eq!(tokens["items"].as_array().unwrap().len(), 1);

    let job = set(&cluster, &ana.user.id, false).await.accepted();
    assert_eq!(job.kind, "user.resume");
    assert_eq!(admin.ended(&job.id, 60).await.state, "succeeded");
    for (container, expected) in [(&blog, true), (&shop, true), (&resting, false)] {
        assert_eq!(runs(container).await, expected, "{container}");
    }
    api.observed(&blog, "running", 20).await;
    assert_eq!(api.container(&resting).await.desired_state, "stopped");
    let audit: Vec<Value> = admin.all(&format!("/v1/audit?resource={}", ana.user.id)).await;
    let actions: Vec<&str> = audit.iter().map(|line| line["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["user.resume", "user.suspend", "user.create"]);
}

#[tokio::test]
async fn a_suspended_users_containers_stop_and_those_meant_to_run_start_when_he_is_resumed_on_sqlite() {
    suspended_and_resumed(Backend::Sqlite).await;
}

#[tokio::test]
async fn a_suspended_users_containers_stop_and_those_meant_to_run_start_when_he_is_resumed_on_postgresql() {
    suspended_and_resumed(Backend::Postgres).await;
}

#[tokio::test]
async fn what_was_asked_before_a_suspension_is_stopped_by_it_though_host_and_coordinator_were_away() {
    let mut cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let mut agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    agent.kill();
    let create = api.run(&agent.host, "blog", &image, json!({})).await;
    let container = create.resource_id();
    let suspension = set(&cluster, &ana.user.id, true).await.accepted();
    cluster.crash_and_restart().await;
    let waiting = cluster.admin().job(&suspension.id).await;
    assert!(!waiting.is_terminal(), "{waiting:?}");

    agent.launch(None, &[]);
    let ended = cluster.admin().ended(&suspension.id, 60).await;
    assert_eq!(ended.state, "succeeded", "{ended:?}");
    assert_eq!(ended.progress.map(|p| p["step"].clone()), Some(json!("0 of 1")));
    assert!(!runs(&container).await, "it was made, and then stopped");

    // Resumed before it was stopped, and suspended and resumed again: the last word counts.
    let mut last = suspension;
    for suspended in [false, true, false] {
        last = set(&cluster, &ana.user.id, suspended).await.accepted();
    }
    assert_eq!(cluster.admin().ended(&last.id, 60).await.state, "succeeded");
    assert!(runs(&container).await);
}

#[tokio::test]
async fn a_suspension_ends_streams_and_the_system_user_is_not_suspended() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let system = admin.get("/v1/users?name=system").await.json["items"][0]["id"].as_str().unwrap().to_owned();
    set(&cluster, &system, true).await.problem(409, "system-user");
    let (ana, api) = cluster.user("ana").await;
    let (host, _) = api.create_host("vps").await;
    let job = api.build(&host.id, "waits", "FROM scratch").await;
    let mut log = Events::open(&api, &format!("/v1/queue/{}/log", job.id), None).await;
    set(&cluster, &ana.user.id, true).await.accepted();
    let end = async { while log.next().await.is_some() {} };
    wait::for_end("the stream", end).await;
    api.call(Method::PATCH, &format!("/v1/users/{}", ana.user.id))
        .json(&json!({"suspended": false}))
        .send()
        .await
        .problem(403, "suspended");
}

#[tokio::test]
async fn a_suspended_user_can_be_deleted_and_the_deletion_shows_how_far_it_is() {
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    for name in ["a", "b", "c"] {
        agent.container(name, &image, json!({})).await;
    }
    let token: Token =
        api.post(&format!("/v1/users/{}/tokens", ana.user.id), &json!({"name": "ci"})).await.expect(201).body();
    set(&cluster, &ana.user.id, true).await.accepted();
    let admin = cluster.admin();
    let job = admin.delete(&format!("/v1/users/{}", ana.user.id)).await.accepted();
    let ended = admin.ended(&job.id, 60).await;
    assert_eq!(ended.state, "succeeded", "{ended:?}");
    let step = ended.progress.as_ref().and_then(|p| p["step"].as_str()).unwrap_or_default();
    assert!(step.ends_with(" of 4"), "three containers and an image: {ended:?}");
    cluster.anonymous().bearer(token.key.as_deref().unwrap()).get("/v1/hosts").await.problem(401, "unauthorized");
    cluster.nothing_left(10).await;
}
