//! A job: one asynchronous operation, durable.
//!
//! ```text
//! queued ──claimed──▶ assigned ──accepted──▶ running ──report──▶ succeeded | failed | cancelled
//!   ▲  ▲                 │  │                 │  │
//!   │  └────not taken────┘  └──host silent────┴──┴─▶ unknown ──hello──▶ running | queued | failed
//!   └──retryable failure, interrupted──────────────────┘
//! assigned, running, unknown ──user──▶ cancelling ──report──▶ cancelled (or what the report says)
//! ```
//! Terminal never changes. Every write names the attempt it is about, so a late report of an earlier attempt is void. A
//! number is never given to a second attempt, not even when the first was not taken.

mod kind;

pub use kind::{JobKind, Subject};

use super::Timestamp;
use dockerforge_protocol::command::Command;
use dockerforge_protocol::handshake::{HeldState, Verdict};
use dockerforge_protocol::ids::{HostId, JobId, UserId};
use dockerforge_protocol::report::{
    AgentFailure, Attempt, FailureKind, Outcome, Product, Progress, Refusal as NotTaken,
};
use jiff::SignedDuration;

/// Attempts after which a retryable failure is final.
pub const MAX_ATTEMPTS: u32 = 5;
/// How long a job waits before it looks again for a host that has what it is to bring.
pub const SOURCE_AGAIN: SignedDuration = SignedDuration::from_secs(10);
/// How long a job may wait for its host where its user says nothing.
pub const DEFAULT_WAIT: SignedDuration = SignedDuration::from_hours(24);
/// How long after its deadline a job of an unreachable host is given up as lost.
pub const LOST_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// The error of a job whose host was deleted without being asked.
pub const HOST_DELETED: &str = "host-deleted";

/// A job.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Who sees it and may cancel it.
    pub user: UserId,
    /// Where it is done; `None` for one that the coordinator carries out by means of others.
    pub host: Option<HostId>,
    /// The job that it is a part of.
    pub parent: Option<JobId>,
    /// What it does.
    pub kind: JobKind,
    /// What it is about.
    pub subject: Subject,
    /// How it stands.
    pub state: JobState,
    /// The number of the attempt in work, or of the last; 0 before the first.
    pub attempt: u32,
    /// How many of the attempts no agent took.
    pub refusals: u32,
    /// What the agent is asked to do.
    pub command: Option<Command>,
    /// How far it is.
    pub progress: Option<Progress>,
    /// Why it failed, once it has.
    pub error: Option<JobError>,
    /// What it made, once it has.
    pub product: Option<Product>,
    /// Bytes of log kept.
    pub log_size: u64,
    /// Where in the log the attempt in work begins.
    pub log_base: u64,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When an agent first took it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// When it ends by itself if nobody could take it.
    pub deadline_at: Timestamp,
    /// When its log was removed, if that is so.
    pub log_removed_at: Option<Timestamp>,
}

impl Job {
    /// Which state it is in, as a number for whoever wants to cancel it in that state alone.
    #[must_use]
    pub fn revision(&self) -> u64 {
        let state = JobState::ALL.iter().position(|state| *state == self.state).unwrap_or_default();
        u64::from(self.attempt) * 16 + state as u64
    }

    /// The attempt in work.
    #[must_use]
    pub const fn current(&self) -> Attempt {
        Attempt { job: self.id, number: self.attempt }
    }

    /// How many attempts count: those that an agent took, and the one that is given out now.
    #[must_use]
    pub const fn tries(&self) -> u32 {
        self.attempt.saturating_sub(self.refusals)
    }

    /// Whether no agent has ever taken it: it has left nothing anywhere.
    #[must_use]
    pub const fn is_untouched(&self) -> bool {
        self.tries() == 0
    }

    /// Whether no attempt that was taken came before the one in work: what an earlier one did may be there in part,
    /// whatever the agent says of the last.
    #[must_use]
    pub const fn is_first_attempt(&self) -> bool {
        self.tries() <= 1
    }

    /// Whether a job that this is a part of may go on: it did what it should, or its host was deleted without being
    /// asked, and what it was to remove there is nobody's business any more.
    #[must_use]
    pub fn is_done_for_parent(&self) -> bool {
        self.state == JobState::Succeeded || self.error.as_ref().is_some_and(|error| error.kind == HOST_DELETED)
    }
}

/// A job to be enqueued.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Its id.
    pub id: JobId,
    /// Whose it is.
    pub user: UserId,
    /// Where it is done.
    pub host: Option<HostId>,
    /// What it is a part of.
    pub parent: Option<JobId>,
    /// What it does.
    pub kind: JobKind,
    /// What it is about.
    pub subject: Subject,
    /// What the agent is asked to do.
    pub command: Option<Command>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it ends by itself if nobody could take it.
    pub deadline_at: Timestamp,
}

/// How a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// Waiting for its host.
    Queued,
    /// Given to the host's session; not yet confirmed.
    Assigned,
    /// In the agent's journal, in work.
    Running,
    /// Its host is silent.
    Unknown,
    /// To be stopped; the agent has yet to say that it is.
    Cancelling,
    /// Over: the effect is there.
    Succeeded,
    /// Over: it is not.
    Failed,
    /// Over: it was stopped.
    Cancelled,
}

impl JobState {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Assigned,
        Self::Running,
        Self::Unknown,
        Self::Cancelling,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The name in the API and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Assigned => "assigned",
            Self::Running => "running",
            Self::Unknown => "unknown",
            Self::Cancelling => "cancelling",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state a stored word stands for.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == word)
    }

    /// Whether it never changes again.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// Why a job failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobError {
    /// What to branch on: a failure of the agent's, or one of `lost`, `deadline`, `part-failed`, `host-deleted`.
    pub kind: String,
    /// What to show.
    pub detail: String,
}

impl JobError {
    /// An error of a kind.
    #[must_use]
    pub fn new(kind: &str, detail: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), detail: detail.into() }
    }
}

impl From<AgentFailure> for JobError {
    fn from(failure: AgentFailure) -> Self {
        Self::new(failure.kind.as_str(), failure.detail)
    }
}

/// How a job ends.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// The effect is there.
    Succeeded(Product),
    /// It is not.
    Failed {
        /// Why.
        error: JobError,
        /// Whether the agent itself said so, and so has cleaned up after itself; if not, something may be left.
        confirmed: bool,
    },
    /// It was stopped.
    Cancelled {
        /// As for `Failed`.
        confirmed: bool,
    },
}

impl Ending {
    /// The state it ends in.
    #[must_use]
    pub const fn state(&self) -> JobState {
        match self {
            Self::Succeeded(_) => JobState::Succeeded,
            Self::Failed { .. } => JobState::Failed,
            Self::Cancelled { .. } => JobState::Cancelled,
        }
    }
}

/// What to do with a job.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Nothing: the report is a repeat, or late.
    Ignore,
    /// It is in work.
    Run,
    /// Back to the queue.
    Requeue {
        /// How long to wait before it may be claimed again.
        delay: SignedDuration,
        /// Whether the attempt counts.
        counts: bool,
    },
    /// It is over.
    End(Ending),
}

/// The wait before attempt `next`: 2 s doubling up to 5 min, spread by ±20 % with `jitter` in 0..=1.
#[must_use]
pub fn retry_delay(next: u32, jitter: f64) -> SignedDuration {
    let base = 2.0_f64.powi(i32::try_from(next.saturating_sub(1).clamp(1, 10)).unwrap_or(10)).min(300.0);
    SignedDuration::from_secs_f64(base * (0.8 + 0.4 * jitter.clamp(0.0, 1.0)))
}

/// What the end of an attempt makes of its job. `jitter` as in [`retry_delay`].
#[must_use]
pub fn on_finished(job: &Job, attempt: u32, outcome: Outcome, jitter: f64) -> Decision {
    if job.state.is_terminal() || job.state == JobState::Queued || job.attempt != attempt {
        return Decision::Ignore;
    }
    match outcome {
        Outcome::Succeeded { product } => Decision::End(Ending::Succeeded(product)),
        Outcome::Cancelled => Decision::End(Ending::Cancelled { confirmed: job.is_first_attempt() }),
        // Who asked for it to stop does not want it tried again.
        Outcome::Failed { failure } if job.state == JobState::Cancelling => {
            Decision::End(Ending::Cancelled { confirmed: job.is_first_attempt() && leaves_nothing(&failure) })
        }
        // It waits for another host, as it waits for its own: until its deadline.
        Outcome::Failed { failure } if failure.kind == FailureKind::SourceUnavailable => {
            Decision::Requeue { delay: SOURCE_AGAIN, counts: false }
        }
        Outcome::Failed { failure } if failure.retryable() && job.tries() < MAX_ATTEMPTS => {
            Decision::Requeue { delay: retry_delay(job.tries() + 1, jitter), counts: true }
        }
        Outcome::Failed { failure } => {
            let confirmed = job.is_first_attempt() && leaves_nothing(&failure);
            let error = if failure.retryable() {
                let detail = format!("{} (given up after {} attempts)", failure.detail, job.tries());
                JobError::new(failure.kind.as_str(), detail)
            } else {
                failure.into()
            };
            Decision::End(Ending::Failed { error, confirmed })
        }
    }
}

/// Whether an agent that reports this has cleaned up behind itself: one that could not reach Docker, or ran out of time,
/// could not.
fn leaves_nothing(failure: &AgentFailure) -> bool {
    !failure.retryable() && failure.kind != FailureKind::Deadline
}

/// What it means that an agent did not take a job.
#[must_use]
pub fn on_not_taken(job: &Job, attempt: u32, refusal: &NotTaken) -> Decision {
    if job.attempt != attempt || !matches!(job.state, JobState::Assigned | JobState::Cancelling | JobState::Unknown) {
        return Decision::Ignore;
    }
    if job.state == JobState::Cancelling {
        return Decision::End(Ending::Cancelled { confirmed: job.is_first_attempt() });
    }
    let wait = |seconds| Decision::Requeue { delay: SignedDuration::from_secs(seconds), counts: false };
    match refusal {
        NotTaken::Busy => wait(1),
        NotTaken::DockerDown => wait(2),
        NotTaken::Draining => wait(5),
        NotTaken::JournalUnwritable { .. } => wait(15),
        NotTaken::Unsupported { command } => Decision::End(Ending::Failed {
            error: JobError::new(
                FailureKind::Unsupported.as_str(),
                format!("the agent on this host is too old for {command}: upgrade it"),
            ),
            confirmed: job.is_first_attempt(),
        }),
    }
}

/// What a hello makes of one job that the host should have: the job as stored, and what the agent holds of its current
/// attempt. The verdict goes to the agent (for a held job), the decision to the database.
#[must_use]
pub fn on_hello(job: &Job, held: Option<HeldState>) -> (Verdict, Decision) {
    let go_on = Verdict::Continue { log_from: job.log_size.saturating_sub(job.log_base) };
    let stop = Verdict::Cancel { log_from: job.log_size.saturating_sub(job.log_base) };
    match (job.state, held) {
        (JobState::Queued | JobState::Succeeded | JobState::Failed | JobState::Cancelled, _) => {
            (Verdict::Forget, Decision::Ignore)
        }
        // Its result comes after the welcome.
        (_, Some(HeldState::Finished)) => (go_on, Decision::Ignore),
        (JobState::Cancelling, Some(HeldState::Running)) => (stop, Decision::Ignore),
        (JobState::Assigned | JobState::Running | JobState::Unknown, Some(HeldState::Running)) => {
            (go_on, Decision::Run)
        }
        // What the broken attempt did may be there in part: the next one adopts it, so a cancelled one needs cleaning up.
        (JobState::Cancelling, Some(HeldState::Interrupted)) => {
            (Verdict::Forget, Decision::End(Ending::Cancelled { confirmed: false }))
        }
        // Never reached the agent: the assignment is sent again with the same attempt.
        (JobState::Assigned, None) => (Verdict::Forget, Decision::Ignore),
        (JobState::Cancelling, None) => (Verdict::Forget, Decision::End(Ending::Cancelled { confirmed: false })),
        // An agent that has lost its journal cannot say whether it was begun.
        (JobState::Running | JobState::Unknown, None) if job.kind.at_most_once() => {
            let detail = "its host no longer knows of it: whether the program ran is not known";
            let error = JobError::new(FailureKind::OutcomeUnknown.as_str(), detail);
            (Verdict::Forget, Decision::End(Ending::Failed { error, confirmed: false }))
        }
        (_, Some(HeldState::Interrupted)) | (JobState::Running | JobState::Unknown, None) => {
            (Verdict::Forget, again(job))
        }
    }
}

fn again(job: &Job) -> Decision {
    if job.tries() >= MAX_ATTEMPTS {
        let detail = format!("the agent was interrupted in each of {} attempts", job.tries());
        return Decision::End(Ending::Failed { error: JobError::new("interrupted", detail), confirmed: false });
    }
    Decision::Requeue { delay: SignedDuration::ZERO, counts: true }
}

/// What a cancellation makes of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancellation {
    /// Nobody works on it: it is over.
    Ended,
    /// The agent has to stop it.
    Asked,
    /// It is over already.
    TooLate,
}

/// See [`Cancellation`].
#[must_use]
pub const fn on_cancel(state: JobState) -> Cancellation {
    match state {
        JobState::Queued => Cancellation::Ended,
        JobState::Assigned | JobState::Running | JobState::Unknown | JobState::Cancelling => Cancellation::Asked,
        JobState::Succeeded | JobState::Failed | JobState::Cancelled => Cancellation::TooLate,
    }
}

#[cfg(test)]
#[path = "job_tests.rs"]
mod tests;
