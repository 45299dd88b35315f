//! [`Command::ExecContainer`](dockerforge_protocol::command::Command::ExecContainer): a program in a container. What must
//! hold: it is begun at most once. That it is about to be is on the disk before it is; a life of the agent that finds that
//! and no end reports that nobody knows the outcome, and nothing tries again.

use super::secrets::{self, Redactor, Values};
use super::table::Reason;
use super::work::{Work, failed};
use super::{Ended, container, failure};
use crate::docker::{DockerError, NewExec};
use dockerforge_protocol::command::ExecContainer;
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
    work.step("looking for the container", None)?;
    let found = container::there(work, command.container, command.user).await?;
    if found.state != ContainerState::Running {
        let detail = format!("{} does not run: it is {}", command.container, found.state.as_str());
        return Err(failed(FailureKind::ContainerNotRunning, detail));
    }
    let values = if command.secrets { secrets::of_job(work).await? } else { Values::new() };
    let mark = format!("{MARK}={}", work.attempt.job);
    let mut new = NewExec {
        command: command.command.clone(),
        env: command.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        user: command.run_as.as_ref().map(ToString::to_string),
        workdir: command.workdir.as_ref().map(ToString::to_string),
    };
    new.env.push(mark.clone());
    let id = match work.settings.engine.exec_create(&found.id, &new).await {
        Err(DockerError::Conflict { message }) => return Err(failed(FailureKind::ContainerNotRunning, message)),
        created => created?,
    };
    work.done("created");
    work.step("running", None)?;
    work.begin_once().await?;
    work.done("begun");
    let ended = run(work, &id, Redactor::new(values)).await;
    work.done("ran");
    if matches!(ended, Err(Ended::Stopped)) && work.stop.reason() != Some(Reason::Shutdown) {
        kill(work, &found.id, &new, &mark, &id).await;
    }
    ended
}

async fn run(work: &Work<'_>, id: &str, mut redactor: Redactor) -> Result<Product, Ended> {
    let engine = &work.settings.engine;
    let mut output = match engine.exec_start(id).await {
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
            Ok(bytes) => work.write(&redactor.pass(&bytes)),
            // The output is lost; the end can still be asked for.
            Err(error) => {
                work.say(&format!("\nthe rest of the output is lost: {}\n", crate::report(&error)));
                break;
            }
        }
    }
    work.write(&redactor.rest());
    let mut silent = 0;
    loop {
        match engine.exec_inspect(id).await {
            Ok(exec) => {
                silent = 0;
                if let Some(exit_code) = exec.exit_code.filter(|_| !exec.running) {
                    return Ok(Product::Exec { exit_code });
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

/// Kills the program and what it started; says so in the log where that cannot be done.
async fn kill(work: &Work<'_>, container: &str, new: &NewExec, mark: &str, id: &str) {
    let engine = &work.settings.engine;
    let words = ["sh", "-c", KILL, "sh", mark];
    let killer =
        NewExec { command: words.map(str::to_owned).to_vec(), env: Vec::new(), user: new.user.clone(), workdir: None };
    let killed = async {
        let killer = engine.exec_create(container, &killer).await?;
        let mut output = engine.exec_start(&killer).await?;
        while let Some(Ok(_)) = output.next().await {}
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
