//! The jobs that this agent holds, as the session and the executor both see them. Everything about a job that the
//! coordinator should hear stands here as state, not in a queue: a session that begins looks at the table and says what
//! its coordinator does not have yet, so nothing is lost with a connection. What must hold: a job stands here from its
//! assignment until its result is acknowledged or the coordinator forgets it, and nothing is awaited under the lock.

use crate::journal::Accepted;
use crate::journal::spool::Spool;
use dockerforge_protocol::handshake::{HeldJob, HeldState};
use dockerforge_protocol::ids::JobId;
use dockerforge_protocol::report::{Attempt, Outcome, Progress, Refusal};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Why work is stopped before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The coordinator cancelled it: it is cleaned up and reported.
    Cancelled,
    /// Its deadline passed: it is cleaned up and reported as failed.
    Deadline,
    /// The coordinator forgot it: no report.
    Forgotten,
    /// The agent ends: it stays in the journal and is decided at the next hello.
    Shutdown,
}

/// Tells work to stop. The first reason stands.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    token: CancellationToken,
    reason: Arc<Mutex<Option<Reason>>>,
}

impl Stop {
    /// Stops the work.
    pub fn stop(&self, reason: Reason) {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
        self.token.cancel();
    }

    /// Why the work was stopped, if it was.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once the work was stopped.
    pub async fn stopped(&self) {
        self.token.cancelled().await;
    }
}

/// How a job stands.
///
/// ```text
/// Accepting ─► Running ─► Finished ─► (acknowledged: gone)
///                 ▲
/// (journal) ─► Interrupted ─► (forgotten: gone)
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// On its way into the journal; nothing is promised yet.
    Accepting,
    /// In work, or waiting for its turn.
    Running,
    /// In the journal from an earlier life of the agent; nobody works on it.
    Interrupted,
    /// Ended; the result is in the journal.
    Finished { outcome: Outcome, log_end: u64 },
}

/// A job.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) accepted: Accepted,
    pub(crate) log: Arc<Spool>,
    pub(crate) stop: Stop,
    pub(crate) state: State,
    /// How far it is, and how often that changed.
    pub(crate) progress: (u64, Option<Progress>),
    /// How often its acceptance is to be said: once, and once more for each repeated assignment.
    pub(crate) accepts: u64,
}

impl Held {
    /// Puts an interrupted job back in work, and says so in its log where one was begun.
    pub(crate) fn revive(&mut self) {
        if self.log.end() > 0 {
            self.log.write(b"\nthe agent was interrupted; the work begins again\n");
        }
        self.state = State::Running;
    }
}

/// What a session has to know of one job.
#[derive(Debug, Clone)]
pub struct JobView {
    /// Which.
    pub attempt: Attempt,
    /// How often its acceptance is to be said.
    pub accepts: u64,
    /// How far it is, and how often that changed.
    pub progress: (u64, Option<Progress>),
    /// Its log.
    pub log: Arc<Spool>,
    /// Its result and the length of its log, once it has ended.
    pub finished: Option<(Outcome, u64)>,
}

/// The jobs and what was not taken.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    pub(crate) held: BTreeMap<JobId, Held>,
    /// Said once: an assignment that is never answered is sent again.
    pub(crate) refusals: Vec<(Attempt, Refusal)>,
}

impl Jobs {
    pub(crate) fn get(&mut self, attempt: Attempt) -> Option<&mut Held> {
        self.held.get_mut(&attempt.job).filter(|held| held.accepted.attempt == attempt)
    }

    pub(crate) fn in_work(&self) -> usize {
        self.held.values().filter(|h| matches!(h.state, State::Accepting | State::Running)).count()
    }
}

/// The table, and the bell that rings when it changed.
#[derive(Debug, Default)]
pub struct Table {
    jobs: Mutex<Jobs>,
    changed: Notify,
}

impl Table {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rings the bell.
    pub fn ring(&self) {
        self.changed.notify_one();
    }

    /// Returns after something changed since the last return. For one listener.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// How many jobs are in work.
    pub fn in_work(&self) -> usize {
        self.lock().in_work()
    }

    /// The jobs as a hello tells them.
    pub fn held(&self) -> Vec<HeldJob> {
        let jobs = self.lock();
        let told = jobs.held.values().filter_map(|held| {
            let (state, log_end) = match &held.state {
                State::Accepting => return None,
                State::Running => (HeldState::Running, held.log.end()),
                State::Interrupted => (HeldState::Interrupted, held.log.end()),
                State::Finished { log_end, .. } => (HeldState::Finished, *log_end),
            };
            Some(HeldJob { attempt: held.accepted.attempt, state, log_end })
        });
        told.collect()
    }

    /// The jobs that a session may report about: those that are promised.
    pub fn views(&self) -> Vec<JobView> {
        let jobs = self.lock();
        let promised = jobs.held.values().filter(|h| !matches!(h.state, State::Accepting | State::Interrupted));
        promised
            .map(|held| JobView {
                attempt: held.accepted.attempt,
                accepts: held.accepts,
                progress: held.progress.clone(),
                log: Arc::clone(&held.log),
                finished: match &held.state {
                    State::Finished { outcome, log_end } => Some((outcome.clone(), *log_end)),
                    _ => None,
                },
            })
            .collect()
    }

    /// Whether an attempt stands here, in whatever state.
    pub fn holds(&self, attempt: Attempt) -> bool {
        self.lock().get(attempt).is_some()
    }

    /// The assignments that were not taken, each once. A hello takes them away unsaid: what it does not name is assigned
    /// again, and an answer to the assignment before would be taken for the answer to that.
    pub fn refusals(&self) -> Vec<(Attempt, Refusal)> {
        std::mem::take(&mut self.lock().refusals)
    }

    /// Says how far a job is.
    pub(crate) fn progress(&self, attempt: Attempt, progress: Progress) {
        if let Some(held) = self.lock().get(attempt)
            && held.progress.1.as_ref() != Some(&progress)
        {
            held.progress = (held.progress.0 + 1, Some(progress));
        }
        self.ring();
    }
}
