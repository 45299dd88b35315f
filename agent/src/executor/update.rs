//! Changing a container that is there: its limits where it is, all else by making it anew. What must hold: at most one of
//! the two runs at any time, the old one is gone only when the new one is well, and wherever a life of the agent ends the
//! next attempt goes on or goes back. Which is which stands in names and labels: the old one is kept under
//! [`kept_name`], the new one carries the job.

use super::container::{self, look, there};
use super::work::{Work, failed};
use super::{Ended, converge, ports};
use crate::docker::{Container, DockerError, Limits};
use dockerforge_protocol::command::{RecreateContainer, UpdateContainer, docker_name, kept_name, labels};
use dockerforge_protocol::ids::{ContainerId, UserId};
use dockerforge_protocol::inventory::{ContainerState, Health};
use dockerforge_protocol::report::{FailureKind, Product};
use dockerforge_protocol::spec::RestartPolicy;
use std::time::{Duration, Instant};

/// How often a new container is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long it has to run where nothing checks it.
const STEADY: Duration = Duration::from_millis(500);
/// How long it may take to become healthy where something does.
const HEALTHY: Duration = Duration::from_secs(300);

/// Changes limits and restart policy where it is.
pub(super) async fn update(work: &Work<'_>, command: &UpdateContainer) -> Result<Product, Ended> {
    work.done("accepted");
    work.step("looking for the container", Some(10))?;
    let found = there(work, command.container, command.user).await?;
    work.step("changing", Some(50))?;
    let resources = &command.resources;
    let limits = Limits {
        nano_cpus: resources.cpus.map(container::nano_cpus),
        memory: resources.memory.and_then(|memory| i64::try_from(memory.get()).ok()),
        pids: resources.pids.map(|pids| i64::from(pids.get())),
        restart: command.restart.as_str(),
    };
    work.settings.engine.container_update(&found.id, &limits).await?;
    work.done("updated");
    Ok(Product::Container { docker_id: found.id })
}

/// Makes the container anew.
pub(super) async fn recreate(work: &Work<'_>, command: &RecreateContainer) -> Result<Product, Ended> {
    work.done("accepted");
    match forward(work, command).await {
        Err(Ended::Failed(failure)) if !failure.retryable() => {
            work.say(&format!("{}\nthe container is put back as it was\n", failure.detail));
            // What cannot be put back now is tried again by the next attempt, which fails for the same reason.
            go_back(work, command).await?;
            Err(Ended::Failed(failure))
        }
        ended => ended,
    }
}

async fn forward(work: &Work<'_>, command: &RecreateContainer) -> Result<Product, Ended> {
    let create = &command.create;
    let (id, user) = (create.container, create.user);
    let engine = &work.settings.engine;
    work.step("looking for the container", Some(5))?;
    let mut current = look(work, &docker_name(id), id, user).await?;
    let mut kept = look(work, &kept_name(id), id, user).await?;
    if kept.is_some() && current.as_ref().is_some_and(|found| !is_new(work, found)) {
        current = Some(there(work, id, user).await?);
        kept = None;
    }
    let prepared = container::prepare(work, create).await?;
    let old = match (current, kept) {
        (None, None) => return Err(failed(FailureKind::ContainerNotFound, format!("{id} is not on the host"))),
        (Some(new), kept) if is_new(work, &new) => kept,
        (None, Some(kept)) => Some(kept),
        (Some(old), _) => {
            work.step("stopping", Some(40))?;
            engine.container_stop(&old.id, Duration::from_secs(command.grace_s.into())).await?;
            work.done("stopped");
            work.step("keeping the old one", Some(50))?;
            engine.container_rename(&old.id, &kept_name(id)).await?;
            work.done("kept");
            Some(old)
        }
    };
    let before = old.as_ref().map(|old| ports::of_labels(&old.labels)).unwrap_or_default();
    let new = container::make(work, create, &prepared, &before, command.run).await?;
    if command.run {
        if let Some(convergence) = &create.converge {
            converge::within(work, &new, &convergence.context).await?;
        }
        work.step("waiting for it to be well", Some(80))?;
        well(work, &new, create.spec.restart).await?;
    }
    work.done("well");
    // From here on a stop is not heeded: the new one is well, and there is no way back.
    work.progress("removing the old one", Some(95));
    if let Some(old) = old {
        match engine.container_remove(&old.id).await {
            Ok(()) | Err(DockerError::NotFound { .. }) => {}
            Err(DockerError::Conflict { message }) if message.contains("already in progress") => {}
            Err(error) => return Err(error.into()),
        }
    }
    work.done("removed");
    Ok(Product::Container { docker_id: new })
}

/// Whether a container was made by this job.
fn is_new(work: &Work<'_>, found: &Container) -> bool {
    found.labels.get(labels::JOB) == Some(&work.attempt.job.to_string())
}

/// Waits until the new one is well: healthy where something checks it, else running for a while. One that is made to
/// end may have ended well.
pub(super) async fn well(work: &Work<'_>, id: &str, restart: RestartPolicy) -> Result<(), Ended> {
    let begun = Instant::now();
    let ends = matches!(restart, RestartPolicy::No | RestartPolicy::OnFailure);
    loop {
        let found = work.settings.engine.container_inspect(id).await?;
        let early = |detail: String| Err(failed(FailureKind::ExitedEarly, detail));
        match (found.state, found.health) {
            (ContainerState::Running, Some(Health::Healthy)) => return Ok(()),
            (ContainerState::Running, None) if begun.elapsed() >= STEADY => return Ok(()),
            (_, Some(Health::Unhealthy)) => return early("the new container is not healthy".to_owned()),
            (ContainerState::Running, Some(Health::Starting)) if begun.elapsed() >= HEALTHY => {
                return early(format!("the new container was not healthy within {} s", HEALTHY.as_secs()));
            }
            (ContainerState::Running, _) => {}
            (ContainerState::Exited, _) if ends && found.exit_code == Some(0) => return Ok(()),
            (state, _) => {
                let code = found.exit_code.map_or_else(String::new, |code| format!(" with {code}"));
                return early(format!("the new container does not run: it is {}{code}", state.as_str()));
            }
        }
        work.unless_stopped(tokio::time::sleep(LOOK)).await?;
    }
}

/// Puts the container back as it was before the job.
pub(super) async fn go_back(work: &Work<'_>, command: &RecreateContainer) -> Result<(), Ended> {
    let (id, user) = (command.create.container, command.create.user);
    put_back(work, id, user).await?;
    if command.run
        && let Some(found) = look(work, &docker_name(id), id, user).await?
    {
        work.settings.engine.container_start(&found.id).await?;
    }
    Ok(())
}

/// If one is kept, what stands in its place goes and it has its name again.
pub(super) async fn put_back(work: &Work<'_>, id: ContainerId, user: UserId) -> Result<(), Ended> {
    let engine = &work.settings.engine;
    let Some(kept) = look(work, &kept_name(id), id, user).await? else { return Ok(()) };
    if let Some(unfinished) = look(work, &docker_name(id), id, user).await? {
        match engine.container_remove(&unfinished.id).await {
            Ok(()) | Err(DockerError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(engine.container_rename(&kept.id, &docker_name(id)).await?)
}
