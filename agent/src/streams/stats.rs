//! A container's figures: Docker's counters, once a second, made into what they mean over the time between two samples.

use super::open::{Ended, find, find_running};
use super::{Settings, Stream};
use crate::docker::live::Counters;
use dockerforge_protocol::inventory::ContainerState;
use dockerforge_protocol::stream::{Piece, Sample, StatsRequest, StreamEnd};
use futures_util::StreamExt;

/// Runs the figures to their end: after one sample, or when the container has ended.
pub(super) async fn run(settings: &Settings, stream: &Stream, request: &StatsRequest) -> Result<StreamEnd, Ended> {
    let container = find_running(settings, request.container).await?;
    stream.opened().await?;
    let mut counters = settings.engine.stats(&container.id).await?;
    let mut before: Option<Counters> = None;
    let mut sent: u32 = 0;
    let interval = i64::from(request.interval.unwrap_or(1).clamp(1, 60)) * 1_000_000;
    while let Some(now) = counters.next().await.transpose()? {
        let Some(last) = before else {
            before = Some(now);
            continue;
        };
        // The first comes as soon as there is one; Docker's seconds are not exact, so a tenth is allowed for.
        if now.at <= last.at || (sent > 0 && now.at - last.at < interval - 100_000) {
            continue;
        }
        stream.send(Piece::Sample(sample(&last, &now))).await?;
        sent = sent.saturating_add(1);
        before = Some(now);
        if request.interval.is_none() {
            return Ok(StreamEnd::Done { exit_code: None });
        }
    }
    let found = find(settings, request.container).await.ok();
    // Some engines cannot read the control groups of some kernels, and answer with readings in which nothing is.
    if sent == 0 && found.as_ref().is_some_and(|found| found.state == ContainerState::Running) {
        return Ok(StreamEnd::Failed { detail: "Docker gives no figures of this container".to_owned() });
    }
    Ok(StreamEnd::Done { exit_code: found.and_then(|found| found.exit_code) })
}

/// What two readings of the counters mean.
fn sample(before: &Counters, now: &Counters) -> Sample {
    let elapsed_us = u64::try_from(now.at - before.at).unwrap_or_default().max(1);
    let cpu_ns = u128::from(now.cpu.saturating_sub(before.cpu));
    // ns / µs = thousandths of the elapsed time; a per cent is a hundredth, and a thousandth of that is wanted.
    let cpu_milli_percent = u64::try_from(cpu_ns * 100 / u128::from(elapsed_us)).unwrap_or(u64::MAX);
    Sample {
        at: now.at,
        cpu_milli_percent,
        memory_used: now.memory.saturating_sub(now.memory_reclaimable),
        memory_limit: now.memory_limit,
        network_rx: now.network_rx,
        network_tx: now.network_tx,
        block_read: now.block_read,
        block_write: now.block_write,
        pids: now.pids,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_processor_fully_used_is_a_hundred_per_cent() {
        let before = Counters { at: 1_000_000, cpu: 500, ..Counters::default() };
        let now = Counters {
            at: 3_000_000,
            cpu: 500 + 2_000_000_000,
            memory: 100,
            memory_reclaimable: 30,
            ..Counters::default()
        };
        let sample = sample(&before, &now);
        assert_eq!((sample.cpu_milli_percent, sample.memory_used), (100_000, 70));
    }
}
