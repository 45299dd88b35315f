//! Delivery: what happens to jobs when a side stops, the network breaks, or Docker goes away.

use dockerforge_tests::{
    agent::Agent,
    client::{Container, Job},
    cluster::Cluster,
    env,
    hosts::FarHost,
    invariants::{self, Ledger},
    proxy::Proxy,
    wait,
};
use serde_json::json;
use std::time::{Duration, Instant};

async fn pass(seconds: u64) {
    let begun = Instant::now();
    wait::until(seconds + 5, "time passes", async || wait::check(begun.elapsed().as_secs() >= seconds, ())).await;
}

#[tokio::test]
async fn a_host_that_is_offline_keeps_its_queue() {
    let mut cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let mut agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    agent.process().terminate(15).await;

    let mut ledger = Ledger::default();
    for i in 0..3 {
        ledger.see(&api.run(&agent.host, &format!("c{i}"), &image, json!({})).await);
    }
    cluster.crash_and_restart().await;
    ledger.look(&api).await;
    assert!(ledger.jobs().all(|job| job.state == "queued"), "{:?}", ledger.jobs().collect::<Vec<_>>());
    agent.launch(None, &[]);
    agent.is_online(30).await;
    ledger.all_end(&api, 60).await;
    // Not each at the first attempt: an agent whose Docker does not answer yet does not take it, and that has a number.
    assert!(ledger.jobs().all(|job| job.state == "succeeded"), "{:?}", ledger.jobs().collect::<Vec<_>>());
    invariants::hold(&cluster, &api, &mut ledger, 30).await;
}

#[tokio::test]
async fn sigterm_drains_the_coordinator_and_loses_nothing() {
    let mut cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let mut agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let build =
        api.build(&agent.host, "slow", &format!("FROM {}\nRUN sleep 4; echo done-building", env::BASE_IMAGE)).await;
    // Its context has been fetched by then: from here on it needs no coordinator.
    api.says(&build.id, "RUN sleep 4", 30).await;
    let mut ledger = Ledger::default();
    ledger.see(&build);
    ledger.see(&api.run(&agent.host, "c", &image, json!({})).await);
    // A reader of a live stream does not hold up the end.
    let _reader = dockerforge_tests::client::Events::open(&api, &format!("/v1/queue/{}/log", build.id), None).await;
    let begun = Instant::now();
    cluster.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(agent.process().ended().is_none(), "the agent waits for its coordinator");
    cluster.launch(&[]).await;
    agent.is_online(45).await;
    ledger.all_end(&api, 60).await;
    assert!(ledger.jobs().all(|job| job.state == "succeeded"), "{:?}", ledger.jobs().collect::<Vec<_>>());
    assert_eq!(api.job(&build.id).await.attempt, 1, "the agent went on building");
    invariants::hold(&cluster, &api, &mut ledger, 30).await;
}

#[tokio::test]
async fn sigterm_ends_the_agent_politely_and_its_work_is_done_when_it_returns() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let mut agent = cluster.host(&api, "vps").await;
    let build = api.build(&agent.host, "slow", &format!("FROM {}\nRUN sleep 3; echo done", env::BASE_IMAGE)).await;
    api.reaches(&build.id, "running", 20).await;
    let status = agent.process().terminate(20).await;
    assert!(status.success(), "{status}: {}", agent.process().output());
    agent.launch(None, &[]);
    let mut ledger = Ledger::default();
    ledger.see(&api.job(&build.id).await);
    ledger.all_end(&api, 60).await;
    assert_eq!(api.job(&build.id).await.state, "succeeded");
    invariants::hold(&cluster, &api, &mut ledger, 30).await;
}

#[tokio::test]
async fn a_short_partition_is_not_noticed_by_anybody() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let proxy = Proxy::start(cluster.agent_port()).await;
    let mut agent = Agent::online_through(&cluster, proxy.address(), &api, "vps", &env::docker()).await;
    let image = agent.image("base", env::SLEEPER).await;
    let mut ledger = Ledger::default();
    proxy.freeze();
    let job = api.run(&agent.host, "c", &image, json!({})).await;
    ledger.see(&job);
    wait::always(Duration::from_secs(6), "the host is online", async || {
        let host = api.host(&agent.host).await;
        wait::check(host.state == "online", host)
    })
    .await;
    proxy.heal();
    let id = api.succeeded(&job, 30).await;
    assert_eq!(agent.docker.of_container(&id).await.len(), 1);
    agent.is_online(1).await;
    invariants::hold(&cluster, &api, &mut ledger, 30).await;
}

#[tokio::test]
async fn a_half_open_connection_is_given_up_and_results_come_after_it_heals() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let proxy = Proxy::start(cluster.agent_port()).await;
    let mut agent = Agent::online_through(&cluster, proxy.address(), &api, "vps", &env::docker()).await;
    let mut ledger = Ledger::default();
    let build = api.build(&agent.host, "slow", &format!("FROM {}\nRUN sleep 5; echo spooled", env::BASE_IMAGE)).await;
    // Only what runs on the host alone can go on without a network.
    api.says(&build.id, "Running in", 20).await;
    ledger.see(&api.job(&build.id).await);
    proxy.freeze();
    agent.host_is("unreachable", 60).await;
    // Silence is not failure: when the lease of a minute is over, nobody knows.
    api.reaches(&build.id, "unknown", 90).await;
    proxy.heal();
    agent.is_online(45).await;
    let ended = api.ended(&build.id, 30).await;
    assert_eq!((ended.state.as_str(), ended.attempt), ("succeeded", 1), "finished meanwhile, and not run twice");
    assert!(api.log(&build.id).await.text.contains("spooled"));
    ledger.see(&ended);
    invariants::hold(&cluster, &api, &mut ledger, 30).await;
}

#[tokio::test]
async fn many_jobs_at_once_are_each_done_once_on_a_slow_network() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let proxy = Proxy::start(cluster.agent_port()).await;
    let agent = Agent::online_through(&cluster, proxy.address(), &api, "vps", &env::docker()).await;
    let image = agent.image("base", env::SLEEPER).await;
    proxy.slow(Duration::from_millis(40));
    let mut ledger = Ledger::default();
    ledger.stranger(&agent.docker).await;
    let asked = (0..12).map(|i| {
        let api = api.clone();
        let (host, image) = (agent.host.clone(), image.clone());
        async move { api.run(&host, &format!("c{i}"), &image, json!({})).await }
    });
    for job in futures_util::future::join_all(asked).await {
        ledger.see(&job);
    }
    for _ in 0..3 {
        pass(1).await;
        proxy.cut();
        pass(1).await;
        proxy.slow(Duration::from_millis(40));
        ledger.look(&api).await;
    }
    ledger.all_end(&api, 90).await;
    assert!(ledger.jobs().all(|job| job.state == "succeeded"), "{:?}", ledger.jobs().collect::<Vec<_>>());
    invariants::hold(&cluster, &api, &mut ledger, 30).await;
    let containers: Vec<Container> = api.all("/v1/containers").await;
    assert_eq!(containers.len(), 12);
}

#[tokio::test]
async fn docker_that_is_gone_is_seen_and_its_jobs_wait_for_it() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let far = FarHost::all().pop().expect("two further hosts");
    let mut agent = Agent::online(&cluster, &api, "vps", &far.docker).await;
    let image = agent.image("base", env::SLEEPER).await;
    let first = agent.container("first", &image, json!({})).await;
    api.observed(&first, "running", 10).await;
    let mut ledger = Ledger::default();

    let stopped = far.crash();
    let host = wait::until(20, "the host says that its Docker does not answer", async || {
        let host = api.host(&agent.host).await;
        if host.unusable.is_some() { Ok(host) } else { Err(format!("{host:?}")) }
    })
    .await;
    assert_eq!(host.state, "online", "the agent is there, its Docker is not: {host:?}");
    assert!(host.unusable.unwrap().to_lowercase().contains("docker"));
    let job = api.run(&agent.host, "second", &image, json!({})).await;
    ledger.see(&job);
    wait::always(Duration::from_secs(4), "the job waits and does not fail", async || {
        let job = api.job(&job.id).await;
        wait::check(!job.is_terminal(), job)
    })
    .await;
    drop(stopped);
    let second = api.succeeded(&job, 60).await;
    agent.is_online(20).await;
    wait::until(20, "the host is usable again", async || {
        let host = api.host(&agent.host).await;
        wait::check(host.unusable.is_none() && host.docker.is_some(), host)
    })
    .await;
    api.observed(&second, "running", 20).await;
    ledger.see(&api.ended(&job.id, 1).await);
    let jobs: Vec<Job> = api.all("/v1/queue?state=failed").await;
    assert!(jobs.is_empty(), "{jobs:?}");
    invariants::hold(&cluster, &api, &mut ledger, 60).await;
}
