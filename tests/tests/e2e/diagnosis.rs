//! A host says what is wrong with it, as long as it is, and its owner hears when it begins and when it ends.

use dockerforge_tests::{
    agent::Agent,
    client::{Api, Diagnosis},
    cluster::Cluster,
    hosts::FarHost,
    wait,
};

async fn found(api: &Api, host: &str) -> Vec<Diagnosis> {
    api.host(host).await.diagnosis
}

/// The details of a host's events of one kind, oldest first.
async fn told(api: &Api, host: &str, kind: &str) -> Vec<String> {
    let page = api.get("/v1/events?limit=200").await.expect(200).json;
    let events = page["items"].as_array().cloned().unwrap_or_default();
    let of_host = events.iter().filter(|event| event["kind"] == kind && event.to_string().contains(host));
    of_host.filter_map(|event| event["detail"].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn a_docker_that_hangs_is_told_within_twenty_seconds_and_its_recovery_too() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let far = FarHost::all().pop().expect("two further hosts");
    let agent = Agent::online(&cluster, &api, "vps", &far.docker).await;
    wait::until(10, "nothing is wrong", async || {
        let found = found(&api, &agent.host).await;
        wait::check(found.is_empty(), found)
    })
    .await;

    let stopped = far.stop();
    let hung = wait::until(20, "its Docker hangs", async || {
        let found = found(&api, &agent.host).await;
        found.first().cloned().ok_or_else(|| "nothing is wrong".to_owned())
    })
    .await;
    assert_eq!((hung.kind.as_str(), hung.severity.as_str()), ("docker-hung", "critical"), "{hung:?}");
    assert!(hung.detail.contains("Docker"), "{hung:?}");
    wait::until(10, "it is told once", async || {
        let (told, found) = (told(&api, &agent.host, "host.diagnosed").await, found(&api, &agent.host).await);
        wait::check(told.len() == 1 && found.iter().all(|one| one.since.is_some()), (told, found))
    })
    .await;

    drop(stopped);
    wait::until(20, "it has recovered", async || {
        let (told, found) = (told(&api, &agent.host, "host.recovered").await, found(&api, &agent.host).await);
        wait::check(told == ["docker-hung"] && found.is_empty(), (told, found))
    })
    .await;
    assert_eq!(told(&api, &agent.host, "host.diagnosed").await.len(), 1, "told once, not with every heartbeat");
}

#[tokio::test]
async fn an_agent_that_is_silent_is_told_until_it_is_back() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let mut agent = cluster.host(&api, "vps").await;
    agent.kill();
    agent.host_is("unreachable", 60).await;
    let silent = found(&api, &agent.host).await;
    assert_eq!(silent.iter().map(|one| one.kind.as_str()).collect::<Vec<_>>(), ["agent-silent"]);
    assert!(silent[0].since.is_some(), "{silent:?}");
    agent.launch(None, &[]);
    agent.is_online(30).await;
    wait::until(15, "it has recovered", async || {
        let (told, found) = (told(&api, &agent.host, "host.recovered").await, found(&api, &agent.host).await);
        wait::check(told == ["agent-silent"] && found.is_empty(), (told, found))
    })
    .await;
}
