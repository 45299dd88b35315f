//! What a session still has to say. It holds no messages: it compares what this session has said with what is so now
//! (the executor's table, the inventory) and makes the messages that are missing, control before logs. So a reconnect
//! loses nothing and a slow connection queues nothing. The session's writer asks, its reader notes acknowledgements.

use super::Link;
use crate::executor::JobView;
use dockerforge_protocol::codec::{LOG_WINDOW, MAX_LOG_CHUNK};
use dockerforge_protocol::message::FromAgent;
use dockerforge_protocol::report::{Attempt, Outcome};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A result that is not acknowledged within this is sent again.
const RESULT_AGAIN: Duration = Duration::from_secs(30);
/// How long after a result the whole list is sent once more: the coordinator takes nothing for missing that was made just now, and
/// would not hear again of what was removed within that time.
const AFTER_RESULT: Duration = Duration::from_secs(7);

/// What this session has said about one attempt, and what its coordinator has acknowledged.
#[derive(Debug, Default)]
struct Said {
    accepts: u64,
    progress: u64,
    /// Bytes of log that were sent.
    sent: u64,
    /// Bytes of log that are committed.
    acked: u64,
    finished: Option<Instant>,
    /// Nothing is said: the hello told of it and the welcome did not decide it, or it is over and about to go.
    muted: bool,
}

/// What a session has said.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    said: BTreeMap<Attempt, Said>,
    /// Which list was sent, and when.
    inventory: Option<(u64, Instant)>,
    /// When the last result was acknowledged, until the list was sent after it.
    result: Option<Instant>,
    docker: Option<bool>,
}

impl Outbound {
    /// An attempt that the hello told of, before it is decided.
    pub(super) fn told(&mut self, attempt: Attempt) {
        self.said.insert(attempt, Said { muted: true, ..Said::default() });
    }

    /// The coordinator wants its reports, and the log from this offset.
    pub(super) fn wanted(&mut self, attempt: Attempt, log_from: u64) {
        let known = Said { sent: log_from, acked: log_from, ..Said::default() };
        self.said.insert(attempt, known);
    }

    /// The attempt is assigned in this session: it will be reported.
    pub(super) fn assigned(&mut self, attempt: Attempt) {
        let said = self.said.entry(attempt).or_default();
        said.muted = false;
        said.finished = None;
    }

    /// Log is committed up to here.
    pub(super) fn log_acked(&mut self, attempt: Attempt, upto: u64) {
        if let Some(said) = self.said.get_mut(&attempt) {
            said.acked = said.acked.max(upto);
            said.sent = said.sent.max(said.acked);
        }
    }

    /// The result is committed, or the job forgotten.
    pub(super) fn gone(&mut self, attempt: Attempt) {
        self.result = Some(Instant::now());
        // It stands in the table until the executor has dropped it.
        self.said.entry(attempt).or_default().muted = true;
    }

    /// The messages that are due now, at most one piece of log for each job.
    pub(super) fn due(&mut self, link: &Link) -> Vec<FromAgent> {
        let mut messages = Vec::new();
        let (docker, up) = link.observed.docker();
        // The hello said what Docker is.
        if self.docker.replace(up).is_some_and(|before| before != up) {
            messages.push(FromAgent::Docker { docker });
        }
        for (attempt, refusal) in link.executor.table().refusals() {
            messages.push(FromAgent::NotTaken { attempt, refusal });
        }
        let views = link.executor.table().views();
        self.said.retain(|attempt, _| link.executor.table().holds(*attempt));
        let mut logs = Vec::new();
        for view in views {
            let said = self.said.entry(view.attempt).or_default();
            if !said.muted {
                said.control(&view, &mut messages);
                said.log(&view, &mut logs);
                said.end(&view, &mut messages);
            }
        }
        let (version, inventory) = link.observed.inventory();
        // The whole list is the truth: it is sent again once in a while, for what the coordinator made of the last one.
        let settled = self.result.is_some_and(|at| at.elapsed() >= AFTER_RESULT);
        let again = |at: Instant| up && (settled || at.elapsed() >= link.resend_every);
        let is_new = self.inventory.is_none_or(|(sent, at)| sent != version || again(at));
        if let Some(inventory) = inventory
            && is_new
        {
            self.inventory = Some((version, Instant::now()));
            self.result = self.result.filter(|_| !settled);
            messages.push(FromAgent::Inventory((*inventory).clone()));
        }
        messages.append(&mut logs);
        messages
    }

    /// Whether the connection was lost on a Docker state that the next hello will tell.
    pub(super) fn begin(&mut self, docker_up: bool) {
        self.docker = Some(docker_up);
    }
}

impl Said {
    fn control(&mut self, view: &JobView, messages: &mut Vec<FromAgent>) {
        let attempt = view.attempt;
        if self.accepts < view.accepts {
            self.accepts = view.accepts;
            messages.push(FromAgent::Accepted { attempt });
        }
        let (changes, progress) = &view.progress;
        if self.progress < *changes
            && view.finished.is_none()
            && let Some(progress) = progress
        {
            self.progress = *changes;
            messages.push(FromAgent::Progress { attempt, progress: progress.clone() });
        }
    }

    fn log(&mut self, view: &JobView, logs: &mut Vec<FromAgent>) {
        let window = self.acked.saturating_add(LOG_WINDOW).saturating_sub(self.sent);
        let end = view.finished.as_ref().map_or_else(|| view.log.end(), |(_, end)| *end);
        let most =
            usize::try_from(window.min(end.saturating_sub(self.sent))).unwrap_or(MAX_LOG_CHUNK).min(MAX_LOG_CHUNK);
        if most == 0 {
            return;
        }
        match view.log.read(self.sent, most) {
            Ok(bytes) => {
                let offset = self.sent;
                self.sent += bytes.len() as u64;
                logs.push(FromAgent::Log { attempt: view.attempt, offset, bytes });
            }
            Err(error) => {
                // The log is given up; the job's result is worth more.
                tracing::warn!(%error, job = %view.attempt.job, "a job's log cannot be read; the rest is given up");
                self.sent = u64::MAX;
                self.acked = u64::MAX;
            }
        }
    }

    fn end(&mut self, view: &JobView, messages: &mut Vec<FromAgent>) {
        let Some((outcome, log_end)) = &view.finished else { return };
        let again = self.finished.is_none_or(|at| at.elapsed() >= RESULT_AGAIN);
        if self.acked >= *log_end && again {
            self.finished = Some(Instant::now());
            messages.push(finished(view.attempt, outcome.clone(), *log_end));
        }
    }
}

/// The report of an end.
pub(super) fn finished(attempt: Attempt, outcome: Outcome, log_end: u64) -> FromAgent {
    FromAgent::Finished { attempt, outcome, log_end }
}
