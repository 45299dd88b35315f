//! P5: what an idle agent costs the coordinator: memory, all included, and processor time for heartbeats.

use super::{fleet::Fleet, report::Report};
use dockerforge_tests::{cluster::Cluster, wait};
use std::time::{Duration, Instant};

const AGENTS: usize = 500;
const WATCHED: Duration = Duration::from_secs(15);

/// Adds P5.
pub async fn measure(report: &mut Report) {
    let mut cluster = Cluster::start().await;
    let (_, api) = cluster.user("bench").await;
    // What is paid once (caches, pools, the allocator's first arenas) is not the agents'.
    let first = Fleet::start(&cluster, &api, 10).await;
    first.stop().await;
    let (_, api) = cluster.user("fleet").await;
    let before = cluster.process().rss();
    let fleet = Fleet::start(&cluster, &api, AGENTS).await;
    let (begun, cpu) = (Instant::now(), cluster.process().cpu());
    wait::until(60, "some heartbeats have passed", async || wait::check(begun.elapsed() > WATCHED, ())).await;
    let cpu = cluster.process().cpu().saturating_sub(cpu);
    let after = cluster.process().rss();
    let each = after.saturating_sub(before) as f64 / AGENTS as f64 / 1024.0;
    report.add(
        "P5",
        format!("memory at the coordinator per idle agent, {AGENTS} simulated agents, enrolled in this run"),
        format!("{each:.1} KiB"),
        "≤ 20 KiB",
        format!(
            "{} → {} MiB; {:.1} % of a core for heartbeats every 5 s",
            before >> 20,
            after >> 20,
            cpu.as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0
        ),
    );
    fleet.stop().await;
}
