//! Looks at the clock: hosts that fell silent, jobs that waited too long or never came back, what is kept too long.
//! Takes no input; every change is conditional, so several replicas may reap at once.

use super::{QueueError, Signals, settle};
use crate::domain::event::Event;
use crate::domain::host::{LEASE, START_GRACE, UNREACHABLE_AFTER};
use crate::domain::job::{Ending, Job, JobError, LOST_AFTER};
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
}

impl Default for Config {
    fn default() -> Self {
        Self { period: Duration::from_secs(1), grace: Duration::from_secs(START_GRACE.as_secs().unsigned_abs()) }
    }
}

/// How long an Idempotency-Key is remembered.
const REMEMBER_KEYS: SignedDuration = SignedDuration::from_hours(24);

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
            && let Err(error) = tidy(&store, &sweep).await
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
    let overdue = !store::jobs::overdue(&mut conn, true, now).await?.is_empty()
        || !store::jobs::overdue(&mut conn, false, ago(now, LOST_AFTER)).await?.is_empty();
    drop(conn);
    if !silent && !overdue {
        return Ok(());
    }
    let changed: Vec<JobId> = store
        .write(move |conn| {
            Box::pin(async move {
                for (host, user) in store::hosts::mark_unreachable(conn, ago(now, UNREACHABLE_AFTER)).await? {
                    let event =
                        Event { user, kind: "host.unreachable", resource: Kind::Host, id: host.uuid(), detail: None };
                    store::records::event(conn, &event, now).await?;
                    tracing::warn!(%host, "a host is unreachable");
                }
                let mut changed = Vec::new();
                for host in store::hosts::silent_since(conn, ago(now, LEASE)).await? {
                    store::jobs::set_unknown(conn, host).await?;
                }
                for job in store::jobs::overdue(conn, true, now).await? {
                    changed.extend(expire(conn, &job, "deadline", "its host did not take it in time", now).await?);
                }
                for job in store::jobs::overdue(conn, false, ago(now, LOST_AFTER)).await? {
                    changed.extend(expire(conn, &job, "lost", "its host did not come back", now).await?);
                }
                Ok::<_, QueueError>(changed)
            })
        })
        .await?;
    for job in changed {
        signals.job_changed(job);
        signals.wake_conductor();
    }
    Ok(())
}

async fn expire(
    conn: &mut store::Conn,
    job: &Job,
    kind: &str,
    why: &str,
    now: Timestamp,
) -> Result<Option<JobId>, QueueError> {
    // One that was never given out has left nothing anywhere.
    let ending = Ending::Failed { error: JobError::new(kind, why), confirmed: job.attempt == 0 };
    Ok(settle(conn, job, &ending, now).await?.then_some(job.id))
}

async fn tidy(store: &Store, sweep: &(impl Fn(HashSet<String>) + Sync)) -> Result<(), QueueError> {
    let before = ago(crate::clock::now(), REMEMBER_KEYS);
    store
        .write(move |conn| {
            Box::pin(async move { Ok::<_, QueueError>(store::idempotency::forget(conn, before).await?) })
        })
        .await?;
    let needed = store::jobs::contexts_in_use(&mut store.read().await?).await?;
    sweep(needed.into_iter().collect());
    Ok(())
}
