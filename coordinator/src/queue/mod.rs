//! The durable queue: jobs are enqueued in their caller's transaction and settled in one transaction with their effect
//! on what they are about. Called by the services, the dispatcher and the reaper. The rows are the only authority;
//! the wake-ups here only say "look", and everybody who waits for one also looks by himself now and then.

mod conductor;
mod reaper;
mod settle;
mod signals;

pub use conductor::run as run_conductor;
pub use reaper::{Config as ReaperConfig, run as run_reaper};
pub use settle::{apply, settle};
pub use signals::{JobWatch, Signals};

use crate::domain::job::{DEFAULT_WAIT, JobKind, NewJob, QUEUE_LIMIT, Subject};
use crate::domain::{Refusal, Timestamp};
use crate::store::{self, Conn, StoreError};
use dockerforge_protocol::command::Command;
use dockerforge_protocol::ids::{HostId, JobId, UserId};
use jiff::SignedDuration;

/// Why something was not enqueued, or not settled.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// A rule forbids it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a job is to be; the rest follows.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its id, known to the caller beforehand.
    pub id: JobId,
    /// Whose job it is.
    pub user: UserId,
    /// Where it is done, and what the agent is asked; `None` for what the coordinator carries out itself.
    pub work: Option<(HostId, Command)>,
    /// What it is a part of.
    pub parent: Option<JobId>,
    /// What it does.
    pub kind: JobKind,
    /// What it is about.
    pub subject: Subject,
    /// How long it may wait for its host; a day where nothing is said.
    pub wait: Option<SignedDuration>,
}

/// Enqueues what a user asks for, in the caller's transaction; counts against the jobs that he may have unfinished.
pub async fn enqueue(conn: &mut Conn, request: Request, now: Timestamp) -> Result<JobId, QueueError> {
    enqueue_within(conn, request, QUEUE_LIMIT, now).await
}

/// As [`enqueue`], where the user may have `limit` unfinished jobs.
pub async fn enqueue_within(
    conn: &mut Conn,
    request: Request,
    limit: u32,
    now: Timestamp,
) -> Result<JobId, QueueError> {
    // Held until the commit: of requests that come at once, each counts what the one before has added.
    store::users::hold(conn, request.user).await?;
    if store::jobs::count_open(conn, request.user, limit).await? >= i64::from(limit) {
        return Err(Refusal::QueueFull { limit }.into());
    }
    enqueue_following(conn, request, now).await
}

/// Enqueues what follows from another job: its parts, or the cleaning up behind it. Never refused, or it could not end.
pub async fn enqueue_following(conn: &mut Conn, request: Request, now: Timestamp) -> Result<JobId, QueueError> {
    let (host, command) = request.work.unzip();
    let wait = request.wait.unwrap_or(DEFAULT_WAIT);
    let job = NewJob {
        id: request.id,
        user: request.user,
        host,
        parent: request.parent,
        kind: request.kind,
        subject: request.subject,
        command,
        created_at: now,
        deadline_at: now.checked_add(wait).unwrap_or(Timestamp::MAX),
    };
    store::jobs::insert(conn, &job).await?;
    fail::fail_point!("coordinator.job.enqueued");
    Ok(job.id)
}
