//! Hosts: what they show, how they fall silent, and how they go.

use dockerforge_tests::{client::Host, cluster::Cluster, docker::Witness, env, wait};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn a_new_host_waits_for_its_agent_and_names_the_command_to_run() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let body = json!({"name": "vps-1", "labels": {"region": "eu"}});
    let answer = api.post("/v1/hosts", &body).await.expect(201);
    let host: Host = answer.body();
    assert_eq!(answer.header("location"), Some(format!("/v1/hosts/{}", host.id).as_str()));
    assert_eq!((host.state.as_str(), host.labels["region"].as_str()), ("pending", "eu"));
    assert!(host.docker.is_none() && host.enrolled_at.is_none() && host.unusable.is_some(), "{host:?}");

    let token = answer.json["join"]["token"].as_str().unwrap();
    let command = answer.json["join"]["command"].as_str().unwrap();
    let expected = format!("dockerforge-agent run --coordinator https://{} --token {token}", cluster.agent_port());
    assert_eq!(command, expected);
    let shown = api.get(&format!("/v1/hosts/{}", host.id)).await.expect(200);
    assert!(!shown.text.contains(token), "the token is shown once");
    api.post("/v1/hosts", &body).await.problem(409, "name-taken");
    assert_eq!(api.all::<Host>("/v1/hosts?state=pending").await.len(), 1);
    assert_eq!(api.all::<Host>("/v1/hosts?state=online").await.len(), 0);
}

#[tokio::test]
async fn an_online_host_shows_its_versions_capacity_usage_and_heartbeat() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let mut agent = cluster.host(&api, "vps").await;
    let host = wait::until(15, "a heartbeat with usage", async || {
        let host = api.host(&agent.host).await;
        let complete = host.usage.is_some() && host.docker.as_ref().is_some_and(|d| d["ping_age_ms"].is_u64());
        if complete { Ok(host) } else { Err(format!("{host:?}")) }
    })
    .await;
    let version = agent.docker.raw().version().await.unwrap();
    let docker = host.docker.unwrap();
    assert_eq!(docker["version"].as_str(), version.version.as_deref());
    assert_eq!(docker["api_version"].as_str(), version.api_version.as_deref());
    assert!(docker["ping_age_ms"].as_u64().unwrap() < 20_000, "{docker}");
    let cpus = std::thread::available_parallelism().unwrap().get() as u64;
    let capacity = host.capacity.unwrap();
    assert_eq!(capacity["cpus"].as_u64(), Some(cpus));
    assert!(capacity["memory"].as_u64().unwrap() > 100_000_000, "{capacity}");
    assert!(host.usage.unwrap()["memory_used"].as_u64().unwrap() > 0);
    assert!(host.agent_version.is_some() && host.hostname.is_some() && host.enrolled_at.is_some());
    assert_eq!(host.unusable, None);

    let seen = host.last_seen_at.unwrap();
    wait::until(15, "the heartbeat moves on", async || {
        let now = agent.api.host(&agent.host).await.last_seen_at.unwrap();
        wait::check(now > seen, now)
    })
    .await;
    agent.process().terminate(15).await;
}

#[tokio::test]
async fn a_silent_host_becomes_unreachable_and_its_containers_unknown_and_back() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let mut agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let container = agent.container("blog", &image, json!({})).await;
    api.observed(&container, "running", 10).await;

    agent.process().signal("STOP");
    let host = agent.host_is("unreachable", 60).await;
    assert!(host.unusable.is_some(), "{host:?}");
    api.observed(&container, "unknown", 5).await;
    assert_eq!(Witness::first().of_container(&container).await.len(), 1, "silence kills nothing");

    agent.process().signal("CONT");
    agent.is_online(45).await;
    api.observed(&container, "running", 10).await;
}

#[tokio::test]
async fn deleting_a_host_removes_what_is_ours_on_it_and_revokes_its_agent() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let mut agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let container = agent.container("blog", &image, json!({})).await;

    let job = api.delete(&format!("/v1/hosts/{}", agent.host)).await.accepted();
    assert_eq!(job.kind, "host.delete");
    api.post("/v1/containers", &json!({"name": "late", "image": image, "host": agent.host}))
        .await
        .problem(422, "invalid");
    let ended = api.ended(&job.id, 60).await;
    assert_eq!(ended.state, "succeeded", "{ended:?}");
    api.get(&format!("/v1/hosts/{}", agent.host)).await.problem(404, "not-found");
    api.get(&format!("/v1/containers/{container}")).await.problem(404, "not-found");
    cluster.nothing_left(10).await;

    let status = agent.process().wait_ended(10).await;
    assert!(!status.success(), "{status}");
    // Its certificate opens nothing any more, and its token was used.
    agent.launch(None, &[]);
    let status = agent.process().wait_ended(20).await;
    assert!(!status.success(), "{status}");
    assert!(agent.process().output().to_lowercase().contains("revoked"), "{}", agent.process().output());
}

#[tokio::test]
async fn a_revoked_agent_is_off_within_two_seconds() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    // A busy machine may hold up one of them; it does not hold up each of three.
    let mut took = Vec::new();
    for name in ["one", "two", "three"] {
        let mut agent = cluster.host(&api, name).await;
        let begun = std::time::Instant::now();
        let job = api.delete(&format!("/v1/hosts/{}?force=true", agent.host)).await.accepted();
        agent.process().wait_ended(10).await;
        took.push(begun.elapsed());
        assert_eq!(api.ended(&job.id, 5).await.state, "succeeded");
        if took.iter().any(|took| *took < Duration::from_secs(2)) {
            return;
        }
    }
    panic!("I16: {took:?}");
}

#[tokio::test]
async fn a_dead_host_is_forgotten_by_force_and_only_by_force() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let mut agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let container = agent.container("blog", &image, json!({})).await;
    agent.kill();

    let waiting = api.delete(&format!("/v1/hosts/{}", agent.host)).await.accepted();
    assert!(!api.job(&waiting.id).await.is_terminal(), "nobody can ask a dead host");
    let forced = api.delete(&format!("/v1/hosts/{}?force=true", agent.host)).await.accepted();
    assert_eq!(api.ended(&forced.id, 20).await.state, "succeeded");
    assert_eq!(api.ended(&waiting.id, 20).await.state, "succeeded");
    api.get(&format!("/v1/hosts/{}", agent.host)).await.problem(404, "not-found");
    api.get(&format!("/v1/containers/{container}")).await.problem(404, "not-found");
    assert_eq!(Witness::first().of_container(&container).await.len(), 1, "what is on a dead host is left alone");
}

#[tokio::test]
async fn deleting_a_dead_host_by_force_lets_the_deletions_that_wait_for_it_end_well() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let mut agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    agent.kill();

    let waiting = api.delete(&format!("/v1/images/{image}")).await.accepted();
    assert!(!api.job(&waiting.id).await.is_terminal(), "nobody can ask a dead host");
    let forced = api.delete(&format!("/v1/hosts/{}?force=true", agent.host)).await.accepted();
    assert_eq!(api.ended(&forced.id, 20).await.state, "succeeded");
    let ended = api.ended(&waiting.id, 20).await;
    assert_eq!(ended.state, "succeeded", "nothing is left there to be deleted: {ended:?}");
    api.get(&format!("/v1/images/{image}")).await.problem(404, "not-found");
}

#[tokio::test]
async fn the_containers_of_a_host_that_falls_silent_while_it_is_deleted_are_unknown() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let mut agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let container = agent.container("blog", &image, json!({})).await;
    agent.process().signal("STOP");
    let deletion = api.delete(&format!("/v1/hosts/{}", agent.host)).await.accepted();
    api.observed(&container, "unknown", 60).await;
    assert_eq!(api.host(&agent.host).await.state, "deleting");
    agent.process().signal("CONT");
    assert_eq!(api.ended(&deletion.id, 90).await.state, "succeeded");
}

#[tokio::test]
async fn a_host_that_never_had_an_agent_goes_at_once() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (host, _) = api.create_host("vps").await;
    let job = api.delete(&format!("/v1/hosts/{}", host.id)).await.accepted();
    assert_eq!(api.ended(&job.id, 10).await.state, "succeeded");
    api.get(&format!("/v1/hosts/{}", host.id)).await.problem(404, "not-found");
}

#[tokio::test]
async fn a_repeated_request_for_a_join_token_gets_the_same_token() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (host, _) = api.create_host("vps").await;
    let ask = |key: &'static str| {
        let path = format!("/v1/hosts/{}/token", host.id);
        api.call(reqwest::Method::POST, &path).header("Idempotency-Key", key).send()
    };
    let first = ask("a").await.expect(201).json["token"].clone();
    assert_eq!(ask("a").await.expect(201).json["token"], first);
    assert_ne!(ask("b").await.expect(201).json["token"], first);
}
