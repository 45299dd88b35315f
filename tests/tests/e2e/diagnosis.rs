//! A host says what is wrong with it, as long as it is, and its owner hears when it begins and when it ends. Each test
//! looks only at what it is about: the machine that it runs on may have faults of its own, such as a full disk.

use dockerforge_tests::{
    agent::Agent,
    client::{Api, Diagnosis},
    cluster::Cluster,
    hosts::FarHost,
    wait,
};

const HUNG: &str = "docker-hung";
const SILENT: &str = "agent-silent";

/// Whether one thing is wrong with a host.
async fn found(api: &Api, host: &str, fault: &str) -> Option<Diagnosis> {
    api.host(host).await.diagnosis.into_iter().find(|one| one.kind == fault)
}

/// The details of a host's events of one kind about one fault, oldest first.
async fn told(api: &Api, host: &str, kind: &str, fault: &str) -> Vec<String> {
    let page = api.get("/v1/events?limit=200").await.expect(200).json;
    let events = page["items"].as_array().cloned().unwrap_or_default();
    let of_host = events.iter().filter(|event| event["kind"] == kind && event.to_string().contains(host));
    let details = of_host.filter_map(|event| event["detail"].as_str().map(str::to_owned));
    details.filter(|detail| detail.starts_with(fault)).collect()
}

#[tokio::test]
async fn a_docker_that_hangs_is_told_within_twenty_seconds_and_its_recovery_too() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let far = FarHost::all().pop().expect("two further hosts");
    let agent = Agent::online(&cluster, &api, "vps", &far.docker).await;
    let hangs = async || found(&api, &agent.host, HUNG).await;
    wait::until(10, "its Docker answers", async || {
        let host = api.host(&agent.host).await;
        let answers = host.docker.as_ref().is_some_and(|docker| docker["ping_age_ms"].is_u64());
        wait::check(answers && hangs().await.is_none(), host)
    })
    .await;

    let stopped = far.stop();
    let hung =
        wait::within(20, "its Docker hangs", async || hangs().await.ok_or_else(|| "nothing is wrong".to_owned())).await;
    assert_eq!(hung.severity, "critical", "{hung:?}");
    assert!(hung.detail.contains("Docker"), "{hung:?}");
    wait::until(10, "it is told once", async || {
        let (told, found) = (told(&api, &agent.host, "host.diagnosed", HUNG).await, hangs().await);
        wait::check(told.len() == 1 && found.as_ref().is_some_and(|one| one.since.is_some()), (told, found))
    })
    .await;

    drop(stopped);
    wait::until(20, "it has recovered", async || {
        let (told, found) = (told(&api, &agent.host, "host.recovered", HUNG).await, hangs().await);
        wait::check(told == [HUNG] && found.is_none(), (told, found))
    })
    .await;
    assert_eq!(told(&api, &agent.host, "host.diagnosed", HUNG).await.len(), 1, "told once, not with every heartbeat");
}

#[tokio::test]
async fn an_agent_that_is_silent_is_told_until_it_is_back() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let mut agent = cluster.host(&api, "vps").await;
    agent.kill();
    agent.host_is("unreachable", 60).await;
    let diagnosis = api.host(&agent.host).await.diagnosis;
    assert!(
        diagnosis.len() == 1 && diagnosis[0].kind == SILENT,
        "of a silent host nothing else is known: {diagnosis:?}"
    );
    assert!(diagnosis[0].since.is_some(), "{diagnosis:?}");
    agent.launch(None, &[]);
    agent.is_online(30).await;
    wait::until(15, "it has recovered", async || {
        let (told, found) =
            (told(&api, &agent.host, "host.recovered", SILENT).await, found(&api, &agent.host, SILENT).await);
        wait::check(told == [SILENT] && found.is_none(), (told, found))
    })
    .await;
}
