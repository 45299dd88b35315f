//! The durable queue: jobs are enqueued in their caller's transaction and settled in one transaction with their effect
//! on what they are about. Called by the services, the dispatcher and the reaper. The rows are the only authority;
//! the wake-ups here only say "look", and everybody who waits for one also looks by himself now and then.

mod conductor;
mod examine;
mod moves;
mod reaper;
mod registry;
mod settle;
mod signals;

pub use conductor::{PATIENCE, run as run_conductor};
pub use examine::examine;
pub use reaper::{Config as ReaperConfig, run as run_reaper};
pub use registry::push_first;
pub use settle::{apply, settle};
pub use signals::{JobWatch, Signals};

use crate::domain::job::{DEFAULT_WAIT, JobKind, NewJob, Subject};
use crate::domain::quota::{self, Amounts, Counted, Limits};
use crate::domain::{Kind, Refusal, Timestamp};
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

/// Holds a user's quota for what he asks for now, until the end of the caller's transaction: of two that ask at once, the
/// second counts what the first made. `asked` is made of his limits. Refuses also who is suspended or deleted by now.
pub async fn admit(
    conn: &mut Conn,
    user: UserId,
    asked: impl FnOnce(&Limits) -> Result<Amounts, Refusal>,
) -> Result<(), QueueError> {
    let held = store::users::hold(conn, user).await?.ok_or(Refusal::NotFound(Kind::User))?;
    held.state.in_service()?;
    let limits = store::quotas::limits(conn, user).await?;
    let asked = asked(&limits)?;
    // What has no limit need not be counted.
    let matters = |counted| asked.get(counted) > 0 && limits.get(counted).is_some();
    let used = store::quotas::usage(conn, user, matters).await?;
    Ok(quota::admit(&limits, &used, &asked)?)
}

/// Enqueues what a user asks for, in the caller's transaction; counts against the jobs that he may have unfinished.
pub async fn enqueue(conn: &mut Conn, request: Request, now: Timestamp) -> Result<JobId, QueueError> {
    admit(conn, request.user, |_| Ok(Amounts::of(&[(Counted::QueuedJobs, 1)]))).await?;
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
