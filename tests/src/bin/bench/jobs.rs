//! P2, P3 and P4: jobs through REST (authentication, tenancy, audit) → queue → mutual TLS → agent → durable result, with a
//! simulated Docker, so that what is measured is ours.

use super::{
    fleet::Fleet,
    report::{Report, ms, percentile},
};
use dockerforge_tests::{
    backend::Backend,
    client::{Api, Container},
    cluster::Cluster,
    wait,
};
use reqwest::Method;
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

const AGENTS: usize = 16;
const CALLERS: usize = 128;
const JOBS: usize = 4_000;
const ONE_BY_ONE: usize = 300;

/// One job from its POST to its end; how long it took.
async fn job(api: &Api, host: &str, image: &str, number: usize) -> Duration {
    let body = json!({"name": format!("c{number}"), "image": image, "host": host});
    let begun = Instant::now();
    let answer = api.call(Method::POST, "/v1/containers").json(&body).header("prefer", "wait=60").send().await;
    assert_eq!(answer.json["state"], "succeeded", "{answer}");
    begun.elapsed()
}

/// Adds P2, P3 and P4 for both databases.
pub async fn measure(report: &mut Report) {
    for (backend, name, goal) in
        [(Backend::Sqlite, "SQLite FULL", "≥ 20,000/s, p99 ≤ 15 ms"), (Backend::Postgres, "PostgreSQL", "≥ 10,000/s")]
    {
        on(report, backend, name, goal).await;
    }
}

/// P4, as far as one process of agents goes: everything that was made is there and runs after a kill -9 of the coordinator.
async fn after_a_crash(report: &mut Report, cluster: &mut Cluster, api: &Api, name: &str, took: Duration) {
    let (made, memory) = (ONE_BY_ONE + JOBS, cluster.process().rss());
    cluster.crash_and_restart().await;
    let begun = Instant::now();
    wait::until(120, "all that was made runs after the crash", async || {
        let running = api.all::<Container>("/v1/containers?state=running").await.len();
        wait::check(running == made, format!("{running} of {made}"))
    })
    .await;
    report.add(
        "P4",
        format!("simulated Docker: {made} containers over {AGENTS} agents, {name}, kill -9 and restart"),
        format!("{} MiB before; all `running` {:.1} s after", memory >> 20, begun.elapsed().as_secs_f64()),
        "2,000,000 over 6,100 agents ≤ 90 s, ≤ 1 GiB",
        format!("2,000,000 would take {:.0} min at this rate", took.as_secs_f64() / JOBS as f64 * 2e6 / 60.0),
    );
}

async fn on(report: &mut Report, backend: Backend, name: &str, goal: &'static str) {
    let mut cluster = Cluster::start_on(backend).await;
    let (_, api) = cluster.user("bench").await;
    let fleet = Fleet::start(&cluster, &api, AGENTS).await;
    let mut places = Vec::new();
    for (i, host) in fleet.hosts.iter().enumerate() {
        let build = api.build(host, &format!("i{i}"), "FROM scratch").await;
        places.push((host.clone(), api.succeeded(&build, 60).await));
    }
    let places = Arc::new(places);

    let mut alone = Vec::with_capacity(ONE_BY_ONE);
    for number in 0..ONE_BY_ONE {
        let (host, image) = &places[number % AGENTS];
        alone.push(job(&api, host, image, number).await);
    }
    report.add(
        "P2",
        format!("simulated Docker: one job at a time, {name}"),
        format!("p50 {:.1} ms, p99 {:.1} ms", ms(percentile(&mut alone, 0.5)), ms(percentile(&mut alone, 0.99))),
        "p50 ≤ 1.3 ms, p99 ≤ 5 ms",
        format!("{ONE_BY_ONE} jobs"),
    );

    let next = Arc::new(AtomicUsize::new(0));
    let cpu = cluster.process().cpu();
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (api, places, next) = (api.clone(), Arc::clone(&places), Arc::clone(&next));
        callers.spawn(async move {
            let mut times = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= JOBS {
                    return times;
                }
                let (host, image) = &places[number % AGENTS];
                times.push(job(&api, host, image, ONE_BY_ONE + number).await);
            }
        });
    }
    let mut times: Vec<Duration> = callers.join_all().await.into_iter().flatten().collect();
    let took = begun.elapsed();
    let cpu = cluster.process().cpu().saturating_sub(cpu);
    report.add(
        "P3",
        format!("simulated Docker: jobs a second, {CALLERS} callers, {AGENTS} agents, {name}"),
        format!("{:.0}/s, p99 {:.0} ms", times.len() as f64 / took.as_secs_f64(), ms(percentile(&mut times, 0.99))),
        goal,
        format!("{JOBS} jobs; coordinator {:.0} µs CPU a job", cpu.as_secs_f64() * 1e6 / JOBS as f64),
    );
    after_a_crash(report, &mut cluster, &api, name, took).await;
    fleet.stop().await;
}
