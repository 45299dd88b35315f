//! Starting, stopping and restarting a container that is there. What must hold: each is done again without harm, a
//! restart happens once a job however often the job is attempted, and what is not ours is left alone.

use super::container::there;
use super::work::{Work, failed};
use super::{Ended, container, host, update};
use crate::docker::{Container, DockerError};
use dockerforge_protocol::command::{ResumeContainer, StartContainer, StopContainer};
use dockerforge_protocol::inventory::ContainerState;
use dockerforge_protocol::report::{FailureKind, Product};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a container may take to end by itself where it was not made with a time of its own.
const GRACE: Duration = Duration::from_secs(10);

/// What a restart found before it changed anything: with a container that started at another time since, it is done.
/// Times are compared for being equal only, so that a clock that is set meanwhile does no harm.
#[derive(Serialize, Deserialize, PartialEq, Eq)]
struct Before {
    docker_id: String,
    started_at: Option<i64>,
}

/// Makes sure that the container runs.
pub(super) async fn start(work: &Work<'_>, command: &StartContainer) -> Result<Product, Ended> {
    work.done("accepted");
    work.step("looking for the container", Some(10))?;
    let found = there(work, command.container, command.user).await?;
    // A container that was to move, and stays.
    work.settings.carriers.sweep(command.container).await?;
    work.step("starting", Some(50))?;
    start_now(work, &found).await?;
    work.done("started");
    Ok(Product::Container { docker_id: found.id })
}

/// Makes sure that the container runs that came from another host, and is well. One that is not is stopped again: its old
/// place is still there.
pub(super) async fn resume(work: &Work<'_>, command: &ResumeContainer) -> Result<Product, Ended> {
    work.done("accepted");
    work.step("looking for the container", Some(10))?;
    let found = there(work, command.container, command.user).await?;
    work.step("starting", Some(30))?;
    start_now(work, &found).await?;
    work.done("started");
    work.step("waiting for it to be well", Some(60))?;
    if let Err(ended) = update::well(work, &found.id, command.restart).await {
        if matches!(&ended, Ended::Failed(failure) if !failure.retryable()) {
            work.settings.engine.container_stop(&found.id, found.stop_timeout.unwrap_or(GRACE)).await?;
        }
        return Err(ended);
    }
    Ok(Product::Container { docker_id: found.id })
}

/// Makes sure that the container does not run.
pub(super) async fn stop(work: &Work<'_>, command: &StopContainer) -> Result<Product, Ended> {
    work.done("accepted");
    work.step("looking for the container", Some(10))?;
    let found = there(work, command.container, command.user).await?;
    work.step("stopping", Some(50))?;
    work.settings.engine.container_stop(&found.id, grace(command)).await?;
    work.done("stopped");
    Ok(Product::Container { docker_id: found.id })
}

/// Stops the container if it runs, and starts it.
pub(super) async fn restart(work: &Work<'_>, command: &StopContainer) -> Result<Product, Ended> {
    work.done("accepted");
    work.step("looking for the container", Some(10))?;
    let found = there(work, command.container, command.user).await?;
    let now = Before { docker_id: found.id.clone(), started_at: found.started_at };
    let before = work.noted::<Before>();
    if before.is_none() {
        work.note(&now)?;
    }
    work.done("noted");
    if before.is_some_and(|before| before != now) {
        // It has started since the job began: by an attempt that did not live to tell.
        return Ok(Product::Container { docker_id: found.id });
    }
    if !matches!(found.state, ContainerState::Created | ContainerState::Exited) {
        work.step("stopping", Some(30))?;
        work.settings.engine.container_stop(&found.id, grace(command)).await?;
        work.done("stopped");
    }
    // From here on a stop is not heeded: what was running does not stay stopped because a restart was cancelled.
    work.progress("starting", Some(70));
    start_now(work, &found).await?;
    work.done("started");
    Ok(Product::Container { docker_id: found.id })
}

fn grace(command: &StopContainer) -> Duration {
    Duration::from_secs(command.grace_s.into())
}

async fn start_now(work: &Work<'_>, found: &Container) -> Result<(), Ended> {
    host::still_allowed(work, found).await?;
    match work.settings.engine.container_start(&found.id).await {
        Ok(()) => Ok(()),
        Err(DockerError::Refused { message, .. }) if container::is_port_taken(&message) => {
            Err(failed(FailureKind::PortTaken, format!("a port of the host is taken: {message}")))
        }
        Err(error) => Err(error.into()),
    }
}
