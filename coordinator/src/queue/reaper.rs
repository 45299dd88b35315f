//! Looks at the clock: hosts that fell silent, jobs that waited too long or never came back, what is kept too long.
//! Takes no input; every change is conditional, so several replicas may reap at once.

use super::{QueueError, Signals, examine, settle};
use crate::domain::event::Event;
use crate::domain::host::{LEASE, START_GRACE, UNREACHABLE_AFTER};
use crate::domain::job::{Ending, JobError, JobState, LOST_AFTER};
use crate::domain::template::KEPT_VERSIONS;
use crate::domain::{Kind, Timestamp};
use crate::store::{self, Store};
use dockerforge_protocol::ids::JobId;
use jiff::SignedDuration;
use std::collections::HashSet;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it looks, and from when on.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Between two looks.
    pub period: Duration,
    /// How long after the start no silence is held against a host.
    pub grace: Duration,
    /// How long jobs are kept after they have ended.
    pub keep_jobs: SignedDuration,
    /// How long their logs are.
    pub keep_logs: SignedDuration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            period: Duration::from_secs(1),
            grace: Duration::from_secs(START_GRACE.as_secs().unsigned_abs()),
            keep_jobs: SignedDuration::from_hours(24 * 30),
            keep_logs: SignedDuration::from_hours(24 * 7),
        }
    }
}

/// The error of a job that no host took in time.
const DEADLINE: &str = "deadline";
/// How long an Idempotency-Key is remembered.
const REMEMBER_KEYS: SignedDuration = SignedDuration::from_hours(24);
/// How long events are kept for readers that were away.
const REMEMBER_EVENTS: SignedDuration = SignedDuration::from_hours(24 * 14);
/// Events that are forgotten in one transaction; others wait for it.
const FORGOTTEN_AT_ONCE: u32 = 1000;
/// Jobs that are. A log may have many pieces.
const JOBS_AT_ONCE: u32 = 100;
/// Templates and configurations that are looked up together to forget versions of each.
const OVERGROWN_AT_ONCE: u32 = 100;

/// How long an expired certificate is remembered: for as long as its key can prove whose host it is (30 days).
const REMEMBER_EXPIRED: SignedDuration = SignedDuration::from_hours(24 * 30);
/// How long a revoked certificate is remembered. It opens nothing either way; an hour's worth bounds renewals.
const REMEMBER_REVOKED: SignedDuration = SignedDuration::from_hours(24);

/// Looks until told to stop. `sweep` is given the contexts that are still needed, once in a while.
pub async fn run(
    store: Store,
    signals: Signals,
    config: Config,
    sweep: impl Fn(HashSet<String>) + Send + Sync,
    stop: CancellationToken,
) {
    tokio::select! {
        () = stop.cancelled() => return,
        () = tokio::time::sleep(config.grace) => {}
    }
    let mut looks: u64 = 0;
    loop {
        if let Err(error) = look(&store, &signals).await {
            tracing::error!(error = &error as &dyn std::error::Error, "the reaper could not look");
        }
        if looks.is_multiple_of(600)
            && let Err(error) = tidy(&store, config, &sweep).await
        {
            tracing::error!(error = &error as &dyn std::error::Error, "the reaper could not tidy up");
        }
        looks += 1;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(config.period) => {}
        }
    }
}

fn ago(now: Timestamp, age: SignedDuration) -> Timestamp {
    now.checked_sub(age).unwrap_or(Timestamp::MIN)
}

async fn look(store: &Store, signals: &Signals) -> Result<(), QueueError> {
    let now = crate::clock::now();
    // Nearly always there is nothing to do, and reading costs the writer nothing.
    let mut conn = store.read().await?;
    let silent = store::hosts::any_silent(&mut conn, ago(now, UNREACHABLE_AFTER)).await?;
    let mut overdue = Vec::new();
    for job in store::jobs::overdue(&mut conn, true, now).await? {
        overdue.push((job.id, DEADLINE, "its host did not take it in time"));
    }
    for job in store::jobs::overdue(&mut conn, false, ago(now, LOST_AFTER)).await? {
        overdue.push((job.id, "lost", "its host did not come back"));
    }
    drop(conn);
    if !silent && overdue.is_empty() {
        return Ok(());
    }
    store
        .write(move |conn| {
            Box::pin(async move {
                for (host, user) in store::hosts::mark_unreachable(conn, ago(now, UNREACHABLE_AFTER)).await? {
                    let event =
                        Event { user, kind: "host.unreachable", resource: Kind::Host, id: host.uuid(), detail: None };
                    store::records::event(conn, &event, now).await?;
                    tracing::warn!(%host, "a host is unreachable");
                    examine(conn, host, now).await?;
                }
                for host in store::hosts::silent_since(conn, ago(now, LEASE)).await? {
                    store::jobs::set_unknown(conn, host, now).await?;
                }
                Ok::<_, QueueError>(())
            })
        })
        .await?;
    for (job, kind, why) in overdue {
        // Each for itself: one that cannot be ended keeps nobody else's from it.
        match store.write(move |conn| Box::pin(async move { expire(conn, job, kind, why, now).await })).await {
            Ok(true) => {
                signals.job_changed(job);
                signals.wake_conductor();
            }
            Ok(false) => {}
            Err(error) => tracing::error!(%job, error = &error as &dyn std::error::Error, "a job could not be ended"),
        }
    }
    Ok(())
}

async fn expire(conn: &mut store::Conn, job: JobId, kind: &str, why: &str, now: Timestamp) -> Result<bool, QueueError> {
    let Some(job) = store::jobs::hold(conn, job).await? else { return Ok(false) };
    // It may have been claimed since it was seen.
    if kind == DEADLINE && (job.state != JobState::Queued || job.started_at.is_some()) {
        return Ok(false);
    }
    // One that was never given out has left nothing anywhere.
    let ending = Ending::Failed { error: JobError::new(kind, why), confirmed: job.is_untouched() };
    settle(conn, &job, &ending, now).await
}

async fn tidy(store: &Store, config: Config, sweep: &(impl Fn(HashSet<String>) + Sync)) -> Result<(), QueueError> {
    let now = crate::clock::now();
    let forgotten = store
        .write(move |conn| {
            Box::pin(async move {
                store::idempotency::forget(conn, ago(now, REMEMBER_KEYS)).await?;
                let (expired, revoked) = (ago(now, REMEMBER_EXPIRED), ago(now, REMEMBER_REVOKED));
                Ok::<_, QueueError>(store::enrolment::forget_certificates(conn, expired, revoked).await?)
            })
        })
        .await?;
    if forgotten > 0 {
        tracing::info!(forgotten, "certificates that can authenticate nobody were forgotten");
    }
    loop {
        let before = ago(crate::clock::now(), REMEMBER_EVENTS);
        let gone = store
            .write(move |conn| {
                Box::pin(
                    async move { Ok::<_, QueueError>(store::events::forget(conn, before, FORGOTTEN_AT_ONCE).await?) },
                )
            })
            .await?;
        if gone < u64::from(FORGOTTEN_AT_ONCE) {
            break;
        }
    }
    forget_jobs(store, config).await?;
    forget_versions(store).await?;
    let mut conn = store.read().await?;
    let mut needed: HashSet<String> = store::jobs::contexts_in_use(&mut conn).await?.into_iter().collect();
    needed.extend(store::templates::archives(&mut conn).await?);
    drop(conn);
    sweep(needed);
    Ok(())
}

/// Removes the logs of jobs that ended long ago, and then the jobs that did so longer ago.
async fn forget_jobs(store: &Store, config: Config) -> Result<(), QueueError> {
    let now = crate::clock::now();
    let (logs, jobs) = (ago(now, config.keep_logs), ago(now, config.keep_jobs));
    loop {
        let gone = store.write(move |conn| {
            Box::pin(async move {
                let logs = store::jobs::forget_logs(conn, logs, now, JOBS_AT_ONCE).await?;
                let jobs = store::jobs::forget(conn, jobs, JOBS_AT_ONCE).await?;
                Ok::<_, QueueError>((logs, jobs))
            })
        });
        let (logs, jobs) = gone.await?;
        if logs + jobs > 0 {
            tracing::info!(logs, jobs, "jobs that ended long ago were removed");
        }
        // Fewer than a whole piece of both: that was the last.
        if logs.max(jobs) < u64::from(JOBS_AT_ONCE) {
            return Ok(());
        }
    }
}

/// Forgets the versions of these things that nobody needs; how many there were. Whoever comes to need one holds the thing as well.
macro_rules! forget_of {
    ($store:expr, $things:ident) => {{
        let (mut forgotten, mut after) = (0, None);
        loop {
            let mut conn = $store.read().await?;
            let found = store::$things::overgrown(&mut conn, KEPT_VERSIONS, OVERGROWN_AT_ONCE, after).await?;
            drop(conn);
            let Some(last) = found.last().copied() else { break forgotten };
            for id in found {
                let forget = $store.write(move |conn| {
                    Box::pin(async move {
                        store::$things::hold(conn, id).await?;
                        Ok::<_, QueueError>(store::$things::forget_versions(conn, id, KEPT_VERSIONS).await?)
                    })
                });
                forgotten += forget.await?;
            }
            after = Some(last);
        }
    }};
}

/// Forgets the versions of configurations, and then of templates, that are older than those which are kept anyway, and that
/// nothing is of.
async fn forget_versions(store: &Store) -> Result<(), QueueError> {
    let forgotten = forget_of!(store, configurations) + forget_of!(store, templates);
    if forgotten > 0 {
        tracing::info!(forgotten, "versions of templates and configurations that nothing is of were removed");
    }
    Ok(())
}
