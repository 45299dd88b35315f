//! Removal of containers and images. What must hold: only what carries our labels goes, only because a job says so, and
//! what is gone already is success.

use super::work::{Work, failed};
use super::{Ended, container, network};
use crate::docker::DockerError;
use dockerforge_protocol::command::{RemoveContainer, RemoveImage, docker_name, local_tag};
use dockerforge_protocol::report::{FailureKind, Product};
use std::time::Duration;

/// How long a container may take to end by itself where it was not made with a time of its own.
const GRACE: Duration = Duration::from_secs(10);

/// Makes sure that the container does not exist.
pub(super) async fn container(work: &Work<'_>, command: &RemoveContainer) -> Result<Product, Ended> {
    work.done("accepted");
    let engine = &work.settings.engine;
    work.step("looking for the container", Some(10))?;
    let Some(found) = container::look(work, &docker_name(command.container), command.container, command.user).await?
    else {
        // Gone already, perhaps by this job before it was interrupted: then its volumes stand in the note.
        return volumes(work, command, work.noted().unwrap_or_default()).await;
    };
    work.step("stopping", Some(30))?;
    match engine.container_stop(&found.id, found.stop_timeout.unwrap_or(GRACE)).await {
        Ok(()) | Err(DockerError::NotFound { .. }) => {}
        // A container that does not stop is removed by force below.
        Err(DockerError::Refused { message, .. }) => work.say(&format!("stopping failed: {message}\n")),
        Err(error) => return Err(error.into()),
    }
    work.done("stopped");
    work.step("removing", Some(70))?;
    if command.volumes {
        // Once the container is gone nothing in Docker tells which volumes it mounted.
        work.note(&found.volumes)?;
    }
    match engine.container_remove(&found.id).await {
        Ok(()) | Err(DockerError::NotFound { .. }) => {}
        Err(DockerError::Conflict { message }) if message.contains("already in progress") => {}
        Err(error) => return Err(error.into()),
    }
    work.done("removed");
    volumes(work, command, found.volumes).await
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
