//! [`Command::ExecContainer`](dockerforge_protocol::command::Command::ExecContainer): a program in a container. What must
//! hold: it is begun at most once. That it is about to be is on the disk before it is; a life of the agent that finds that
//! and no end reports that nobody knows the outcome, and nothing tries again.

use super::secrets::{self, Redactor, Values};
use super::table::Reason;
use super::work::{Work, failed};
use super::{Ended, container, failure};
use crate::docker::{Container, DockerError, NewExec};
use bytes::Bytes;
use dockerforge_protocol::command::ExecContainer;
use dockerforge_protocol::ids::{ContainerId, UserId};
use dockerforge_protocol::inventory::ContainerState;
use dockerforge_protocol::report::{AgentFailure, FailureKind, Product};
use futures_util::StreamExt;
use std::time::Duration;

/// How often a program whose output has ended is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How often in a row Docker may not answer before the outcome is given up.
const SILENT: u32 = 50;
/// The environment variable by which a program and all that it starts are found again.
const MARK: &str = "DOCKERFORGE_EXEC";
/// Kills what carries the mark, inside the container: the agent sees no process of a container from outside. Written
/// here; the job's id is its one argument. It runs as the same user, who may look at and kill what is his.
const KILL: &str = "for p in /proc/[0-9]*; do if tr '\\0' '\\n' < \"$p/environ\" 2>/dev/null | grep -qx \"$1\"; then \
                    kill -9 \"${p#/proc/}\"; fi; done";

/// What a job is told whose program was begun and whose end nobody saw.
pub(crate) fn outcome_unknown(why: &str) -> AgentFailure {
    AgentFailure::new(
        FailureKind::OutcomeUnknown,
        format!("the program was begun, and {why}: how it ended is not known"),
    )
}

/// Runs a program in the container to its end.
pub(super) async fn exec(work: &Work<'_>, command: &ExecContainer) -> Result<Product, Ended> {
    work.done("accepted");
    if let Some((pointer, problem)) = command.problems().into_iter().next() {
        return Err(failed(FailureKind::DockerRefused, format!("the program is not valid: {pointer}: {problem}")));
    }
    let found = running(work, command.container, command.user).await?;
    let values = if command.secrets { secrets::of_job(work).await? } else { Values::new() };
    let mark = mark(work);
    let mut new = NewExec {
        command: command.command.clone(),
        env: command.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        user: command.run_as.as_ref().map(ToString::to_string),
        workdir: command.workdir.as_ref().map(ToString::to_string),
        reads: false,
    };
    new.env.push(mark.clone());
    let id = create(work, &found.id, &new).await?;
    work.done("created");
    work.step("running", None)?;
    work.begin_once().await?;
    work.done("begun");
    let mut redactor = Redactor::new(values);
    let ended = follow(work, &id, None, &mut |piece| match piece {
        Some(bytes) => work.write(&redactor.pass(bytes)),
        None => work.write(&redactor.rest()),
    })
    .await;
    work.done("ran");
    if must_be_killed(work, &ended) {
        kill(work, &found.id, new.user.as_deref(), &mark, &id).await;
    }
    ended.map(|exit_code| Product::Exec { exit_code })
}

/// By what a job's program and all that it starts are found again.
pub(super) fn mark(work: &Work<'_>) -> String {
    format!("{MARK}={}", work.attempt.job)
}

/// A container that is there and runs.
pub(super) async fn running(work: &Work<'_>, id: ContainerId, user: UserId) -> Result<Container, Ended> {
    work.step("looking for the container", None)?;
    let found = container::there(work, id, user).await?;
    if found.state == ContainerState::Running {
        return Ok(found);
    }
    let detail = format!("{id} does not run: it is {}", found.state.as_str());
    Err(failed(FailureKind::ContainerNotRunning, detail))
}

/// Prepares a program in a container.
pub(super) async fn create(work: &Work<'_>, container: &str, new: &NewExec) -> Result<String, Ended> {
    match work.settings.engine.exec_create(container, new).await {
        Err(DockerError::Conflict { message }) => Err(failed(FailureKind::ContainerNotRunning, message)),
        created => Ok(created?),
    }
}

/// Whether a program that was followed goes on and must not: the job was stopped, and not because the agent ends.
pub(super) fn must_be_killed<T>(work: &Work<'_>, ended: &Result<T, Ended>) -> bool {
    matches!(ended, Err(Ended::Stopped)) && work.stop.reason() != Some(Reason::Shutdown)
}

/// Begins a prepared program and follows it to its end: each piece of what it writes goes to `sink`, and then nothing.
/// Answers what it ended with.
pub(super) async fn follow(
    work: &Work<'_>,
    id: &str,
    input: Option<Bytes>,
    sink: &mut (dyn FnMut(Option<&[u8]>) + Send),
) -> Result<i64, Ended> {
    let engine = &work.settings.engine;
    let mut output = match engine.exec_start(id, input).await {
        Ok(output) => output,
        Err(error @ (DockerError::Unavailable { .. } | DockerError::Timeout { .. } | DockerError::Protocol { .. })) => {
            return Err(Ended::Failed(outcome_unknown(&crate::report(&error))));
        }
        // Refused: nothing was begun.
        Err(error @ DockerError::Conflict { .. }) => {
            return Err(Ended::Failed(failure(&error, FailureKind::ContainerNotRunning)));
        }
        Err(error) => return Err(Ended::Failed(failure(&error, FailureKind::DockerRefused))),
    };
    while let Some(piece) = work.unless_stopped(output.next()).await? {
        match piece {
            Ok(bytes) => sink(Some(&bytes)),
            // The output is lost; the end can still be asked for.
            Err(error) => {
                work.say(&format!("\nthe rest of the output is lost: {}\n", crate::report(&error)));
                break;
            }
        }
    }
    sink(None);
    let mut silent = 0;
    loop {
        match engine.exec_inspect(id).await {
            Ok(exec) => {
                silent = 0;
                if let Some(exit_code) = exec.exit_code.filter(|_| !exec.running) {
                    return Ok(exit_code);
                }
            }
            Err(DockerError::NotFound { .. }) => {
                return Err(Ended::Failed(outcome_unknown("Docker has forgotten it")));
            }
            Err(error) => {
                silent += 1;
                if silent > SILENT {
                    return Err(Ended::Failed(outcome_unknown(&crate::report(&error))));
                }
            }
        }
        work.unless_stopped(tokio::time::sleep(LOOK)).await?;
    }
}

/// Kills all in a container that carries a mark.
pub(super) async fn kill_marked(
    work: &Work<'_>,
    container: &str,
    user: Option<&str>,
    mark: &str,
) -> Result<(), DockerError> {
    shell(work, container, user, &[KILL, "sh", mark]).await
}

/// Runs a few lines of shell of ours in a container to their end: they, their name, and their arguments.
pub(super) async fn shell(
    work: &Work<'_>,
    container: &str,
    user: Option<&str>,
    lines: &[&str],
) -> Result<(), DockerError> {
    let engine = &work.settings.engine;
    let words = ["sh", "-c"].iter().chain(lines).map(|word| (*word).to_owned());
    let new = NewExec { command: words.collect(), user: user.map(str::to_owned), ..NewExec::default() };
    let id = engine.exec_create(container, &new).await?;
    let mut output = engine.exec_start(&id, None).await?;
    while let Some(Ok(_)) = output.next().await {}
    Ok(())
}

/// Kills the program and what it started; says so in the log where that cannot be done.
pub(super) async fn kill(work: &Work<'_>, container: &str, user: Option<&str>, mark: &str, id: &str) {
    let engine = &work.settings.engine;
    let killed = async {
        kill_marked(work, container, user, mark).await?;
        for _ in 0..25 {
            if !engine.exec_inspect(id).await?.running {
                return Ok::<_, DockerError>(true);
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(false)
    };
    match tokio::time::timeout(Duration::from_secs(30), killed).await {
        Ok(Ok(true) | Err(DockerError::NotFound { .. } | DockerError::Conflict { .. })) => {}
        other => {
            tracing::warn!(?other, job = %work.attempt.job, "a program that was to be killed may go on");
            work.say("\nthe program could not be killed; it ends with its container\n");
        }
    }
}
