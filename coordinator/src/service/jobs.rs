//! Jobs: what the queue shows, cancelling, and waiting.

use super::{Result, Services};
use crate::access::{Permit, Read, Write};
use crate::domain::container::ObservedState;
use crate::domain::job::{Cancellation, Ending, Job, JobKind, JobState, Subject, on_cancel};
use crate::domain::page::{Found, Page};
use crate::domain::precondition::Precondition;
use crate::domain::{Kind, Refusal};
use crate::queue;
pub use crate::store::jobs::Filter;
use crate::store::{self, Conn};
use dockerforge_protocol::ids::{HostId, JobId};
use std::time::Duration;

/// How long to wait at most for a wake-up before looking: another replica may have changed the row.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Services {
    /// One job.
    pub async fn job_get(&self, permit: &Permit<Read>, id: JobId) -> Result<Job> {
        let mut conn = self.store.read().await?;
        let job = store::jobs::get(&mut conn, permit.user(), id).await?.ok_or(Refusal::NotFound(Kind::Job))?;
        Ok(shown(&mut conn, permit, vec![job]).await?.pop().ok_or(Refusal::NotFound(Kind::Job))?)
    }

    /// A page of jobs.
    pub async fn job_list(&self, permit: &Permit<Read>, filter: &Filter, page: Page) -> Result<Found<Job>> {
        let mut conn = self.store.read().await?;
        if super::is_hidden(&mut conn, permit.user(), filter.host).await? {
            return Ok(Found::nothing());
        }
        let mut found = store::jobs::list(&mut conn, permit.user(), filter, page).await?;
        let jobs = std::mem::take(&mut found.items);
        Ok(found.with(shown(&mut conn, permit, jobs).await?))
    }

    /// One job once it has ended, or as it is when the time is over.
    pub async fn job_wait(&self, permit: &Permit<Read>, id: JobId, time: Duration) -> Result<Job> {
        let end = tokio::time::Instant::now() + time;
        // Registered before the first look, so that no change falls in between.
        let mut watch = self.signals.watch_job(id);
        loop {
            let job = self.job_get(permit, id).await?;
            if job.state.is_terminal() || tokio::time::Instant::now() >= end {
                return Ok(job);
            }
            let _ = tokio::time::timeout_at(end.min(tokio::time::Instant::now() + LOOK_AGAIN), watch.changed()).await;
        }
    }

    /// A piece of a job's log from an offset on; with the job as it was before the piece was read, so that a log that
    /// ends there ends for good if the job had ended.
    pub async fn job_log(&self, permit: &Permit<Read>, id: JobId, offset: u64, limit: usize) -> Result<(Job, Vec<u8>)> {
        let mut conn = self.store.read().await?;
        let job = store::jobs::get(&mut conn, permit.user(), id).await?.ok_or(Refusal::NotFound(Kind::Job))?;
        if job.log_removed_at.is_some() {
            return Err(Refusal::LogRemoved(id).into());
        }
        let bytes =
            if offset < job.log_size { store::logs::read(&mut conn, id, offset, limit).await? } else { Vec::new() };
        Ok((job, bytes))
    }

    /// Cancels a job: at once if nobody works on it, else as soon as its host says that it has stopped.
    pub async fn job_cancel(&self, permit: &Permit<Write>, id: JobId, seen: &Precondition) -> Result<()> {
        let (permit, seen) = (permit.clone(), seen.clone());
        let host =
            self.store.write(move |conn| Box::pin(async move { cancel(conn, &permit, id, &seen).await })).await?;
        self.signals.job_changed(id);
        self.signals.wake_conductor();
        if let Some(host) = host {
            self.signals.wake_host(host);
        }
        Ok(())
    }
}

/// Jobs without the hosts that are not their user's.
async fn shown(conn: &mut Conn, permit: &Permit<Read>, mut jobs: Vec<Job>) -> Result<Vec<Job>> {
    let mut hosts: Vec<HostId> = jobs.iter().filter_map(|job| job.host).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let foreign = store::placement::foreign(conn, permit.user(), &hosts).await?;
    for job in &mut jobs {
        job.host = job.host.filter(|host| !foreign.contains(host));
    }
    Ok(jobs)
}

async fn cancel(conn: &mut Conn, permit: &Permit<Write>, id: JobId, seen: &Precondition) -> Result<Option<HostId>> {
    let now = crate::clock::now();
    let job = store::jobs::hold(conn, id).await?.filter(|job| job.user == permit.user());
    let job = job.ok_or(Refusal::NotFound(Kind::Job))?;
    seen.check(Kind::Job, Some(job.revision()))?;
    if job.state.is_terminal() {
        return Err(Refusal::JobEnded(id).into());
    }
    if !cancellable(conn, &job).await? {
        return Err(Refusal::NotCancellable(id).into());
    }
    match on_cancel(job.state) {
        Cancellation::TooLate => return Err(Refusal::JobEnded(id).into()),
        // An attempt that was made before may have left something.
        Cancellation::Ended => {
            queue::settle(conn, &job, &Ending::Cancelled { confirmed: job.is_untouched() }, now).await?;
        }
        Cancellation::Asked => {
            store::jobs::set_cancelling(conn, id, now).await?;
        }
    }
    store::records::audit(conn, permit.origin(), "job.cancel", Kind::Job, id.uuid(), now).await?;
    Ok(job.host)
}

/// What the coordinator carries out by means of others goes on, and so does a deletion that has begun, or that cleans up
/// behind a creation: a container that is half gone cannot be meant to run. A converge that others wait for can be cancelled,
/// and they with it.
async fn cancellable(conn: &mut Conn, job: &Job) -> Result<bool> {
    // A container that moves is where it was until it has arrived.
    if job.kind == JobKind::ContainerMove {
        return Ok(true);
    }
    if job.kind.is_conducted() || (job.parent.is_some() && job.kind != JobKind::ContainerConverge) {
        return Ok(false);
    }
    let (JobKind::ContainerDelete, Subject::Container(id)) = (job.kind, job.subject) else { return Ok(true) };
    let untouched = job.state == JobState::Queued && job.is_untouched();
    let container = store::containers::get(conn, job.user, id).await?;
    Ok(untouched && container.is_some_and(|c| c.observed.state != ObservedState::Pending))
}
