//! A user's network and volumes on this host: made when a container needs them, removed with the user. What must hold:
//! a network or volume that is not ours is neither used nor removed, whatever its name.

use super::work::{Work, failed};
use super::{Ended, failure};
use crate::docker::DockerError;
use dockerforge_protocol::command::{RemoveUser, labels, network_name, volume_name};
use dockerforge_protocol::ids::UserId;
use dockerforge_protocol::report::{FailureKind, Product};
use dockerforge_protocol::spec::VolumeName;

/// Makes sure that the user's network is there, and answers its name.
pub(super) async fn ensure(work: &Work<'_>, user: UserId) -> Result<String, Ended> {
    let name = network_name(user);
    // Docker lets two networks have one name where they are made at the same moment.
    let _one_at_a_time = work.keys.lock(&name).await;
    let taken = || failed(FailureKind::NameTaken, format!("a network named {name} is on the host and is not ours"));
    match work.settings.engine.network_inspect(&name).await {
        Ok(network) if work.is_ours(&network.labels, user) => return Ok(name),
        Ok(_) => return Err(taken()),
        Err(DockerError::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    match work.settings.engine.network_create(&name, &work.labels(user)).await {
        Ok(()) => Ok(name),
        Err(DockerError::Conflict { .. }) => {
            let found = work.settings.engine.network_inspect(&name).await?;
            if work.is_ours(&found.labels, user) { Ok(name) } else { Err(taken()) }
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes sure that a named volume of the user is there, and answers its Docker name.
pub(super) async fn ensure_volume(work: &Work<'_>, user: UserId, volume: &VolumeName) -> Result<String, Ended> {
    let name = volume_name(user, volume);
    let _one_at_a_time = work.keys.lock(&name).await;
    let taken = || failed(FailureKind::NameTaken, format!("a volume named {name} is on the host and is not ours"));
    match work.settings.engine.volume_inspect(&name).await {
        Ok(found) if work.is_ours(&found.labels, user) => return Ok(name),
        Ok(_) => return Err(taken()),
        Err(DockerError::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let mut with = work.labels(user);
    with.insert(labels::VOLUME.to_owned(), volume.to_string());
    work.settings.engine.volume_create(&name, &with).await?;
    Ok(name)
}

/// Makes sure that a named volume of the user is there, made by this job and empty, and answers its Docker name. One that was
/// there before stays as it is: what is in it is the user's.
pub(super) async fn fresh_volume(work: &Work<'_>, user: UserId, volume: &VolumeName) -> Result<String, Ended> {
    let name = volume_name(user, volume);
    {
        let _one_at_a_time = work.keys.lock(&name).await;
        match work.settings.engine.volume_inspect(&name).await {
            Ok(found)
                if work.is_ours(&found.labels, user)
                    && found.labels.get(labels::JOB) == Some(&work.attempt.job.to_string()) =>
            {
                match work.settings.engine.volume_remove(&name).await {
                    Ok(()) | Err(DockerError::NotFound { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(found) if work.is_ours(&found.labels, user) => {
                let detail = format!("a volume {volume} of the user's is on the host already, with what is in it");
                return Err(failed(FailureKind::NameTaken, detail));
            }
            Ok(_) => {
                let detail = format!("a volume named {name} is on the host and is not ours");
                return Err(failed(FailureKind::NameTaken, detail));
            }
            Err(DockerError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    ensure_volume(work, user, volume).await
}

/// Removes volumes of the user that no container uses.
pub(super) async fn remove_volumes(work: &Work<'_>, user: UserId, names: &[String]) -> Result<(), Ended> {
    for name in names {
        let found = match work.settings.engine.volume_inspect(name).await {
            Ok(found) => found,
            Err(DockerError::NotFound { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        // An anonymous volume goes with its container; only what we named carries the volume's label.
        if !work.is_ours(&found.labels, user) || !found.labels.contains_key(labels::VOLUME) {
            continue;
        }
        match work.settings.engine.volume_remove(name).await {
            Ok(()) | Err(DockerError::NotFound { .. }) => {}
            Err(DockerError::Conflict { .. }) => {
                work.say(&format!("the volume {name} is kept: another container uses it\n"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// [`Command::RemoveUser`](dockerforge_protocol::command::Command::RemoveUser).
pub(super) async fn remove_user(work: &Work<'_>, command: &RemoveUser) -> Result<Product, Ended> {
    work.done("accepted");
    let engine = &work.settings.engine;
    work.step("looking for containers", None)?;
    let containers = engine.container_list(&work.filters(command.user)).await?;
    if let Some(container) = containers.first() {
        let name = container.labels.get(labels::CONTAINER).unwrap_or(&container.id);
        let detail = format!("{} containers of the user are on the host, {name} among them", containers.len());
        return Err(failed(FailureKind::DockerRefused, detail));
    }
    work.step("removing the network", None)?;
    let name = network_name(command.user);
    {
        let _one_at_a_time = work.keys.lock(&name).await;
        match engine.network_inspect(&name).await {
            Ok(network) if work.is_ours(&network.labels, command.user) => match engine.network_remove(&name).await {
                Ok(()) | Err(DockerError::NotFound { .. }) => {}
                Err(error) => return Err(Ended::Failed(failure(&error, FailureKind::DockerRefused))),
            },
            Ok(_) | Err(DockerError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    work.done("network");
    if command.volumes {
        work.step("removing the volumes", None)?;
        let volumes = engine.volume_list(&work.filters(command.user)).await?;
        let names: Vec<String> = volumes.into_iter().map(|v| v.name).collect();
        remove_volumes(work, command.user, &names).await?;
    }
    Ok(Product::Nothing)
}
