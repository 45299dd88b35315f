//! P7: GET /containers/{id} with a token, and a page of 50, with keep-alive connections.

use super::report::{Report, ms, percentile};
use dockerforge_tests::{client::Api, cluster::Cluster, env};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const CALLERS: usize = 32;
const REQUESTS_A_CALLER: usize = 1_000;
const PAGES: usize = 200;

async fn load(api: &Api, path: &str, each: usize) -> (Duration, Vec<Duration>) {
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (api, path) = (api.clone(), path.to_owned());
        callers.spawn(async move {
            let mut times = Vec::with_capacity(each);
            for _ in 0..each {
                let begun = Instant::now();
                api.get(&path).await.expect(200);
                times.push(begun.elapsed());
            }
            times
        });
    }
    let times = callers.join_all().await.into_iter().flatten().collect();
    (begun.elapsed(), times)
}

/// Adds P7.
pub async fn measure(report: &mut Report) {
    let mut cluster = Cluster::start().await;
    let (_, api) = cluster.user("bench").await;
    let agent = cluster.host(&api, "host").await;
    let image = agent.image("base", env::SLEEPER).await;
    let container = agent.container("read-me", &image, serde_json::json!({})).await;
    let path = format!("/v1/containers/{container}");
    load(&api, &path, 50).await;
    let cpu = cluster.process().cpu();
    let (took, mut times) = load(&api, &path, REQUESTS_A_CALLER).await;
    let cpu = cluster.process().cpu().saturating_sub(cpu);
    let count = times.len() as f64;
    report.add(
        "P7",
        "GET /containers/{id} with a token, SQLite",
        format!("{:.0}/s, p99 {:.1} ms", count / took.as_secs_f64(), ms(percentile(&mut times, 0.99))),
        "≥ 60,000/s, p99 ≤ 3 ms",
        format!("{CALLERS} callers; coordinator {:.0} µs CPU a request", cpu.as_secs_f64() * 1e6 / count),
    );
    // Jobs are the rows there are most of: as many as a page has, and then some.
    let (host, _) = api.create_host("empty").await;
    for i in 0..120 {
        api.build(&host.id, &format!("i{i}"), "FROM scratch").await;
    }
    let (_, mut times) = load(&api, "/v1/queue?limit=50", PAGES).await;
    report.add(
        "P7",
        "GET /queue, a page of 50 of 120 rows",
        format!("p50 {:.1} ms, p99 {:.1} ms", ms(percentile(&mut times, 0.5)), ms(percentile(&mut times, 0.99))),
        "p99 ≤ 5 ms from 2,000,000 rows",
        format!("{CALLERS} callers at once"),
    );
}
