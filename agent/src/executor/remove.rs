//! Removal of containers and images. What must hold: only what carries our labels goes, only because a job says so, and
//! what is gone already is success.

use super::work::{Work, failed};
use super::{Ended, container, network};
use crate::docker::DockerError;
use dockerforge_protocol::command::{RemoveContainer, RemoveImage, docker_name, kept_name, local_tag};
use dockerforge_protocol::report::{FailureKind, Product};
use std::time::Duration;

/// How long a container may take to end by itself where it was not made with a time of its own.
const GRACE: Duration = Duration::from_secs(10);

/// Makes sure that the container does not exist, nor what an unfinished change of it has kept under another name.
pub(super) async fn container(work: &Work<'_>, command: &RemoveContainer) -> Result<Product, Ended> {
    work.done("accepted");
    let engine = &work.settings.engine;
    let (id, user) = (command.container, command.user);
    work.step("looking for the container", Some(10))?;
    // What is left of a move would hold on to its volumes.
    work.settings.carriers.sweep(id).await?;
    let kept = container::look(work, &kept_name(id), id, user).await?;
    let current = container::look(work, &docker_name(id), id, user).await?;
    // What is gone already may have been removed by this job before it was interrupted: its volumes stand in the note.
    let mut mounted: Vec<String> = work.noted().unwrap_or_default();
    mounted.extend(kept.iter().chain(&current).flat_map(|found| found.volumes.clone()));
    mounted.sort_unstable();
    mounted.dedup();
    if let Some(found) = &current {
        work.step("stopping", Some(30))?;
        match engine.container_stop(&found.id, found.stop_timeout.unwrap_or(GRACE)).await {
            Ok(()) | Err(DockerError::NotFound { .. }) => {}
            // A container that does not stop is removed by force below.
            Err(DockerError::Refused { message, .. }) => work.say(&format!("stopping failed: {message}\n")),
            Err(error) => return Err(error.into()),
        }
        work.done("stopped");
        work.step("removing", Some(70))?;
    }
    if command.volumes && !mounted.is_empty() {
        // Once a container is gone nothing in Docker tells which volumes it mounted.
        work.note(&mounted)?;
    }
    for found in kept.iter().chain(&current) {
        match engine.container_remove(&found.id).await {
            Ok(()) | Err(DockerError::NotFound { .. }) => {}
            Err(DockerError::Conflict { message }) if message.contains("already in progress") => {}
            Err(error) => return Err(error.into()),
        }
    }
    work.done("removed");
    volumes(work, command, mounted).await
}

async fn volumes(work: &Work<'_>, command: &RemoveContainer, names: Vec<String>) -> Result<Product, Ended> {
    if command.volumes {
        work.progress("removing volumes", Some(90));
        network::remove_volumes(work, command.user, &names).await?;
    }
    Ok(Product::Nothing)
}

/// Makes sure that the image is not on the host under our name.
pub(super) async fn image(work: &Work<'_>, command: &RemoveImage) -> Result<Product, Ended> {
    work.done("accepted");
    work.step("removing", None)?;
    match work.settings.engine.image_remove(&local_tag(command.image)).await {
        Ok(()) | Err(DockerError::NotFound { .. }) => {}
        Err(DockerError::Conflict { message }) => return Err(failed(FailureKind::ImageInUse, message)),
        Err(error) => return Err(error.into()),
    }
    work.done("removed");
    Ok(Product::Nothing)
}
