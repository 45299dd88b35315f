//! What happened, for whoever watches, and who did it, for the administrator: written in the transaction of the change
//! itself.

use super::Kind;
use super::job::JobState;
use core::net::IpAddr;
use dockerforge_protocol::ids::{RequestId, UserId};
use uuid::Uuid;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// To whom it matters.
    pub user: UserId,
    /// What: `<resource>.<what happened>`, as `container.created`.
    pub kind: &'static str,
    /// To which kind of thing.
    pub resource: Kind,
    /// To which one.
    pub id: Uuid,
    /// More about it, in words.
    pub detail: Option<String>,
}

/// Who asks, on whose behalf, from where, with which request: the head of every audit line.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Who asks.
    pub actor: UserId,
    /// On whose behalf.
    pub user: UserId,
    /// With which request.
    pub request: RequestId,
    /// From where.
    pub remote: IpAddr,
}

/// What it is called that a job became this.
#[must_use]
pub const fn of_job(state: JobState) -> &'static str {
    match state {
        JobState::Queued => "job.queued",
        JobState::Assigned => "job.assigned",
        JobState::Running => "job.running",
        JobState::Unknown => "job.unknown",
        JobState::Cancelling => "job.cancelling",
        JobState::Succeeded => "job.succeeded",
        JobState::Failed => "job.failed",
        JobState::Cancelled => "job.cancelled",
    }
}
