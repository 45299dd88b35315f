//! The life of a job on the agent: taken, journalled, worked on, its outcome journalled, forgotten. See the parent
//! module for what must hold.

use super::keys::Keys;
use super::table::{Held, Reason, State, Stop, Table};
use super::work::{Work, fault, kind, note_path};
use super::{
    Ended, Settings, container, converge, copy, exec, image, layers, network, operate, receive, registry, remove,
    update,
};
use crate::journal::spool::Spool;
use crate::journal::{Accepted, Entry, Journal};
use crate::tasks::Tasks;
use dockerforge_protocol::command::Command;
use dockerforge_protocol::handshake::{JobVerdict, Verdict};
use dockerforge_protocol::message::Assign;
use dockerforge_protocol::report::{AgentFailure, Attempt, FailureKind, Outcome, Product, Refusal};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Semaphore;

/// How long the clean-up of stopped work may take.
const UNDO: Duration = Duration::from_secs(60);
/// How long to wait before a refusing journal is tried again.
const JOURNAL_AGAIN: Duration = Duration::from_secs(1);

/// A handle of the executor. Clones are the same executor.
#[derive(Clone)]
pub struct Executor {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    journal: Journal,
    tasks: Tasks,
    table: Table,
    keys: Keys,
    slots: Semaphore,
    draining: AtomicBool,
}

/// Now, microseconds since 1970-01-01 UTC by the host's clock.
pub(crate) fn now_us() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|d| i64::try_from(d.as_micros()).ok())
        .unwrap_or_default()
}

impl Executor {
    /// An executor that holds what the journal held. Nothing runs until a session decides it.
    #[must_use]
    pub fn new(settings: Settings, journal: Journal, tasks: Tasks, entries: Vec<Entry>) -> Self {
        let table = Table::default();
        for entry in entries {
            let attempt = entry.accepted.attempt;
            let log = Arc::new(Spool::open(&settings.spool, attempt, settings.spool_limit));
            let state = match entry.finished {
                Some((outcome, log_end)) => State::Finished { outcome, log_end },
                None if entry.begun => {
                    let failure = exec::outcome_unknown("the agent was interrupted");
                    State::Finished { outcome: Outcome::Failed { failure }, log_end: log.seal() }
                }
                None => State::Interrupted,
            };
            let held =
                Held { accepted: entry.accepted, log, stop: Stop::default(), state, progress: (0, None), accepts: 0 };
            table.lock().held.insert(attempt.job, held);
        }
        tasks.spawn("sweep", layers::sweep_always(settings.layers.clone(), tasks.token()));
        let slots = Semaphore::new(settings.slots);
        let draining = AtomicBool::new(false);
        Self { inner: Arc::new(Inner { settings, journal, tasks, table, keys: Keys::default(), slots, draining }) }
    }

    /// What the executor holds.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.inner.table
    }

    /// Takes an assignment, or says in the table why not.
    pub fn assign(&self, assign: Assign) {
        let attempt = assign.attempt;
        let refusal = self.take(assign);
        if let Some(refusal) = refusal {
            self.inner.table.lock().refusals.push((attempt, refusal));
        }
        self.inner.table.ring();
    }

    fn take(&self, assign: Assign) -> Option<Refusal> {
        let Assign { attempt, command, deadline_ms } = assign;
        let inner = &self.inner;
        let mut jobs = inner.table.lock();
        let working = jobs.in_work();
        match jobs.held.get_mut(&attempt.job) {
            Some(held) if held.accepted.attempt == attempt => {
                // Held already: it is said again. An interrupted one is begun, for the coordinator wants it done.
                held.accepts += 1;
                if held.state == State::Interrupted {
                    held.revive();
                    drop(jobs);
                    self.begin(attempt);
                }
                return None;
            }
            Some(held) if matches!(held.state, State::Accepting | State::Running) => {
                // Another attempt is in work: it must end first.
                held.stop.stop(Reason::Forgotten);
                return Some(Refusal::Busy);
            }
            Some(held) => held.log.remove(),
            None => {}
        }
        if inner.draining.load(Ordering::Relaxed) {
            return Some(Refusal::Draining);
        }
        if working >= inner.settings.slots {
            return Some(Refusal::Busy);
        }
        if !*inner.settings.docker_up.borrow() {
            return Some(Refusal::DockerDown);
        }
        let deadline_us = now_us().saturating_add(i64::try_from(deadline_ms.saturating_mul(1000)).unwrap_or(i64::MAX));
        let accepted = Accepted { attempt, command, deadline_us };
        let log = Arc::new(Spool::open(&inner.settings.spool, attempt, inner.settings.spool_limit));
        let held = Held {
            accepted: accepted.clone(),
            log,
            stop: Stop::default(),
            state: State::Accepting,
            progress: (0, None),
            accepts: 1,
        };
        jobs.held.insert(attempt.job, held);
        drop(jobs);
        let executor = self.clone();
        inner.tasks.spawn("job", async move { executor.accept(accepted).await });
        None
    }

    async fn accept(self, accepted: Accepted) {
        let attempt = accepted.attempt;
        let written = self.inner.journal.accept(accepted).await;
        {
            let mut jobs = self.inner.table.lock();
            match written {
                Ok(()) => {
                    fail::fail_point!("agent.journal.accepted");
                    if let Some(held) = jobs.get(attempt) {
                        held.state = State::Running;
                    }
                }
                Err(error) => {
                    jobs.held.remove(&attempt.job);
                    jobs.refusals.push((attempt, Refusal::JournalUnwritable { detail: crate::report(&error) }));
                    drop(jobs);
                    return self.inner.table.ring();
                }
            }
        }
        self.inner.table.ring();
        self.work(attempt).await;
    }

    fn begin(&self, attempt: Attempt) {
        let executor = self.clone();
        self.inner.tasks.spawn("job", async move { executor.work(attempt).await });
    }

    /// The coordinator's decision on a held job. The log's offset is the session's business.
    pub fn decide(&self, verdict: &JobVerdict) {
        let attempt = verdict.attempt;
        let mut jobs = self.inner.table.lock();
        let Some(held) = jobs.get(attempt) else { return };
        let log_from = match verdict.verdict {
            Verdict::Continue { log_from } => log_from,
            Verdict::Cancel { log_from } => {
                held.stop.stop(Reason::Cancelled);
                log_from
            }
            Verdict::Forget => {
                drop(jobs);
                return self.forget(attempt);
            }
        };
        if held.state == State::Interrupted {
            held.log.extend_to(log_from);
            held.revive();
            drop(jobs);
            self.begin(attempt);
        }
    }

    /// Stops a job. Answers whether it is held; one that is not is reported as cancelled by the session.
    #[must_use]
    pub fn cancel(&self, attempt: Attempt) -> bool {
        let mut jobs = self.inner.table.lock();
        let Some(held) = jobs.get(attempt) else { return false };
        held.stop.stop(Reason::Cancelled);
        if held.state == State::Interrupted {
            // Nobody works on it: what it left is cleaned up by putting it back in work, which ends at its first step.
            held.revive();
            drop(jobs);
            self.begin(attempt);
        }
        true
    }

    /// The coordinator has the result, or wants none: the job is dropped, its work stopped.
    pub fn forget(&self, attempt: Attempt) {
        let mut jobs = self.inner.table.lock();
        let Some(held) = jobs.get(attempt) else { return };
        match held.state {
            // Its task drops it when it has stopped.
            State::Accepting | State::Running => held.stop.stop(Reason::Forgotten),
            State::Interrupted | State::Finished { .. } => {
                drop(jobs);
                let executor = self.clone();
                self.inner.tasks.spawn("forget", async move { executor.drop_job(attempt).await });
            }
        }
    }

    async fn drop_job(&self, attempt: Attempt) {
        let held = {
            let mut jobs = self.inner.table.lock();
            if jobs.get(attempt).is_none() {
                return;
            }
            jobs.held.remove(&attempt.job)
        };
        self.inner.journal.forget(attempt.job).await;
        if let Some(held) = held {
            held.log.remove();
            if held.state == State::Interrupted {
                // Another attempt, which needs what this one noted, may follow; or none, and what it left is to go.
                self.inner.undo_interrupted(&held).await;
                return self.inner.table.ring();
            }
            if matches!(&held.state, State::Finished { outcome: Outcome::Failed { failure }, .. } if failure.retryable())
            {
                // The next attempt may need what this one noted.
                return self.inner.table.ring();
            }
            let _ = std::fs::remove_file(note_path(&self.inner.settings, attempt.job));
        }
        self.inner.table.ring();
    }

    /// Takes no more work.
    pub fn drain(&self) {
        self.inner.draining.store(true, Ordering::Relaxed);
    }

    /// Stops all work without an outcome: the next life of the agent decides it with the coordinator.
    pub fn halt(&self) {
        for held in self.inner.table.lock().held.values() {
            held.stop.stop(Reason::Shutdown);
        }
    }

    /// Works on a job that is in the journal, until its outcome is there too.
    async fn work(self, attempt: Attempt) {
        let inner = &*self.inner;
        let Some((accepted, log, stop)) = inner
            .table
            .lock()
            .get(attempt)
            .map(|held| (held.accepted.clone(), Arc::clone(&held.log), held.stop.clone()))
        else {
            return;
        };
        let kind = kind(&accepted.command);
        let work = Work {
            settings: &inner.settings,
            table: &inner.table,
            keys: &inner.keys,
            journal: &inner.journal,
            attempt,
            log: &log,
            stop: &stop,
            kind,
        };
        let begun = std::time::Instant::now();
        let ended = AssertUnwindSafe(inner.bounded(&work, &accepted)).catch_unwind().await.unwrap_or_else(|panic| {
            // A job that nobody works on any more must not look as if somebody did.
            let text = crate::tasks::panic_text(&*panic);
            tracing::error!(job = %attempt.job, panic = text, "the work on a job panicked");
            Err(Ended::Failed(AgentFailure::new(FailureKind::Internal, format!("the agent failed: {text}"))))
        });
        let outcome = match ended {
            Ok(product) => Outcome::Succeeded { product },
            Err(Ended::Failed(failure)) => Outcome::Failed { failure },
            Err(Ended::Stopped) => match stop.reason() {
                Some(Reason::Shutdown) => return,
                Some(Reason::Forgotten) => return self.drop_job(attempt).await,
                Some(Reason::Deadline) => Outcome::Failed {
                    failure: AgentFailure::new(
                        FailureKind::Deadline,
                        "the job's deadline passed; its work was stopped",
                    ),
                },
                Some(Reason::Cancelled) | None => Outcome::Cancelled,
            },
        };
        let log_end = log.seal();
        tracing::info!(job = %attempt.job, attempt = attempt.number, kind, elapsed_ms = begun.elapsed().as_millis(),
            outcome = outcome_name(&outcome), "job ended");
        loop {
            match inner.journal.finish(attempt, outcome.clone(), log_end).await {
                Ok(()) => break,
                // The effect is there and must be reported: a full disk may have room again.
                Err(error) if stop.reason() != Some(Reason::Shutdown) => {
                    tracing::error!(error = crate::report(&error), job = %attempt.job, "an outcome cannot be journalled; trying again");
                    tokio::select! {
                        () = tokio::time::sleep(JOURNAL_AGAIN) => {}
                        () = inner.tasks.token().cancelled_owned() => return,
                    }
                }
                Err(_) => return,
            }
        }
        fault(kind, "finished-journalled");
        if stop.reason() == Some(Reason::Forgotten) {
            return self.drop_job(attempt).await;
        }
        if let Some(held) = inner.table.lock().get(attempt) {
            held.state = State::Finished { outcome, log_end };
        }
        inner.table.ring();
    }
}

impl Inner {
    /// The job within its deadline, cleaned up if it was stopped.
    async fn bounded(&self, work: &Work<'_>, accepted: &Accepted) -> Result<Product, Ended> {
        let left = accepted.deadline_us.saturating_sub(now_us()).max(0);
        let deadline = tokio::time::sleep(Duration::from_micros(left.unsigned_abs()));
        let run = self.in_turn(work, &accepted.command);
        let (mut run, mut deadline) = (std::pin::pin!(run), std::pin::pin!(deadline));
        let mut passed = false;
        loop {
            tokio::select! {
                ended = &mut run => return ended,
                () = &mut deadline, if !passed => {
                    passed = true;
                    work.stop.stop(Reason::Deadline);
                }
            }
        }
    }

    async fn in_turn(&self, work: &Work<'_>, command: &Command) -> Result<Product, Ended> {
        self.settings.policy.allows(command).map_err(Ended::Failed)?;
        let key = match command {
            Command::CreateContainer(c) => c.container.to_string(),
            Command::StartContainer(c) => c.container.to_string(),
            Command::StopContainer(c) | Command::RestartContainer(c) => c.container.to_string(),
            // Programs run beside each other, and while their container is stopped; each is a thing of its own.
            Command::ExecContainer(_) => work.attempt.job.to_string(),
            Command::ConvergeContainer(c) => c.container.to_string(),
            Command::UpdateContainer(c) => c.container.to_string(),
            Command::RecreateContainer(c) => c.create.container.to_string(),
            Command::RemoveContainer(c) => c.container.to_string(),
            Command::ReceiveContainer(c) => c.create.container.to_string(),
            Command::ResumeContainer(c) => c.container.to_string(),
            Command::DiscardContainer(c) => c.container.to_string(),
            Command::BuildImage(c) => c.image.to_string(),
            Command::PullImage(c) => c.image.to_string(),
            Command::CopyImage(c) => c.image.to_string(),
            Command::PushImage(c) => c.image.to_string(),
            Command::RemoveImage(c) => c.image.to_string(),
            Command::RemoveUser(c) => c.user.to_string(),
        };
        // A stopped job does not wait: its first step ends it, and what an earlier life of it left is cleaned up.
        let _turn = work.unless_stopped(self.keys.lock(&key)).await.ok();
        let _slot = work.unless_stopped(self.slots.acquire()).await.ok();
        let ended = match command {
            Command::CreateContainer(c) => container::create(work, c).await,
            Command::StartContainer(c) => operate::start(work, c).await,
            Command::StopContainer(c) => operate::stop(work, c).await,
            Command::RestartContainer(c) => operate::restart(work, c).await,
            Command::ExecContainer(c) => exec::exec(work, c).await,
            Command::ConvergeContainer(c) => converge::converge(work, c).await,
            Command::UpdateContainer(c) => update::update(work, c).await,
            Command::RecreateContainer(c) => update::recreate(work, c).await,
            Command::RemoveContainer(c) => remove::container(work, c).await,
            Command::ReceiveContainer(c) => receive::receive(work, c).await,
            Command::ResumeContainer(c) => operate::resume(work, c).await,
            Command::DiscardContainer(c) => receive::discard(work, c).await,
            Command::BuildImage(c) => image::build(work, c).await,
            Command::PullImage(c) => image::pull(work, c).await,
            Command::CopyImage(c) => copy::copy(work, c).await,
            Command::PushImage(c) => registry::push(work, c).await,
            Command::RemoveImage(c) => remove::image(work, c).await,
            Command::RemoveUser(c) => network::remove_user(work, c).await,
        };
        if ended.is_ok() || self.undo(work, command, &ended).await {
            return ended;
        }
        match work.stop.reason() {
            // Not simply cancelled: who asked for it must know that something may be there, and have it removed.
            Some(Reason::Cancelled) => Err(Ended::Failed(AgentFailure::new(
                FailureKind::DockerUnavailable,
                "it was stopped, but Docker did not answer when what it had made was to be removed",
            ))),
            _ => ended,
        }
    }

    /// Takes back what an attempt of an earlier life of the agent left and no later job would.
    async fn undo_interrupted(&self, held: &Held) {
        let work = Work {
            settings: &self.settings,
            table: &self.table,
            keys: &self.keys,
            attempt: held.accepted.attempt,
            journal: &self.journal,
            log: &held.log,
            stop: &held.stop,
            kind: kind(&held.accepted.command),
        };
        let undo = async {
            match &held.accepted.command {
                Command::PullImage(command) => image::undo_pull(&work, command).await,
                Command::CopyImage(_) | Command::PushImage(_) => registry::undo(&work).await,
                Command::ConvergeContainer(command) => converge::undo(&work, command).await,
                _ => {}
            }
        };
        if tokio::time::timeout(UNDO, undo).await.is_err() {
            tracing::warn!(job = %work.attempt.job, "what an interrupted job left could not be taken back in time");
        }
    }

    /// Removes what a job that ended otherwise than well has made; whether nothing is left that somebody would miss.
    async fn undo(&self, work: &Work<'_>, command: &Command, ended: &Result<Product, Ended>) -> bool {
        let undo = async {
            match (command, ended, work.stop.reason()) {
                // A container that another attempt may adopt, or that the next life goes on with, stays.
                (Command::CreateContainer(c), Err(Ended::Stopped), Some(Reason::Cancelled | Reason::Deadline)) => {
                    container::undo(work, c).await
                }
                (Command::RecreateContainer(c), Err(Ended::Stopped), Some(Reason::Cancelled | Reason::Deadline)) => {
                    update::go_back(work, c).await.is_ok()
                }
                (Command::ReceiveContainer(c), Err(ended), reason) => receive::undo(work, c, ended, reason).await,
                (Command::BuildImage(c), Err(_), _) => {
                    // What stays has the image's name: the next attempt takes it over, or it goes with the image.
                    image::undo_build(work, c).await;
                    true
                }
                (Command::ConvergeContainer(c), Err(Ended::Stopped), Some(reason)) if reason != Reason::Shutdown => {
                    converge::undo(work, c).await;
                    true
                }
                (Command::CopyImage(c), Err(ended), reason) => {
                    registry::undo(work).await;
                    copy::undo(work, c, ended, reason).await
                }
                (Command::PushImage(_), Err(_), _) => {
                    registry::undo(work).await;
                    true
                }
                _ => true,
            }
        };
        tokio::time::timeout(UNDO, undo).await.unwrap_or_else(|_| {
            tracing::warn!(job = %work.attempt.job, "the clean-up of a stopped job took too long");
            false
        })
    }
}

fn outcome_name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded { .. } => "succeeded",
        Outcome::Failed { failure } => failure.kind.as_str(),
        Outcome::Cancelled => "cancelled",
    }
}
