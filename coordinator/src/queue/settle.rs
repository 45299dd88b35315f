//! The end of a job, with its effect on what it is about: one transaction, so that neither is ever there without the
//! other. Also carries out the decisions of `domain::job` that do not end one.

mod converge;
mod image;

use super::{QueueError, Request, enqueue_following};
use crate::domain::container::{DesiredState, Observed, ObservedState, left_as, made_anew, operated};
use crate::domain::event::Event;
use crate::domain::job::{Decision, Ending, Job, JobKind, Subject};
use crate::domain::placement::Reserved;
use crate::domain::user::UserState;
use crate::domain::{Kind, Timestamp};
use crate::metrics;
use crate::store::{self, Conn};
use dockerforge_protocol::command::{Command, RecreateContainer, RemoveContainer, StartContainer};
use dockerforge_protocol::ids::{ContainerId, JobId, UserId};
use dockerforge_protocol::inventory::ContainerState;
use dockerforge_protocol::report::Product;
use dockerforge_protocol::spec::ContainerSpec;
use uuid::Uuid;

/// Carries out a decision about a job's current attempt; whether anything changed.
pub async fn apply(conn: &mut Conn, job: &Job, decision: Decision, now: Timestamp) -> Result<bool, QueueError> {
    match decision {
        Decision::Ignore => Ok(false),
        Decision::Run => {
            let changed = store::jobs::set_running(conn, job.current(), now).await?;
            if changed && job.started_at.is_none() {
                metrics::job_started(job.kind.as_str(), now.duration_since(job.created_at).unsigned_abs());
            }
            Ok(changed)
        }
        Decision::Requeue { delay, counts } => {
            let run_after = now.checked_add(delay).unwrap_or(now);
            Ok(store::jobs::requeue(conn, job.current(), counts, run_after, now).await?)
        }
        Decision::End(ending) => settle(conn, job, &ending, now).await,
    }
}

/// Ends a job; whether it had not ended before.
pub async fn settle(conn: &mut Conn, job: &Job, ending: &Ending, now: Timestamp) -> Result<bool, QueueError> {
    if !store::jobs::end(conn, job.current(), ending, now).await? {
        return Ok(false);
    }
    let took = job.started_at.map(|started| now.duration_since(started).unsigned_abs());
    metrics::job_ended(job.kind.as_str(), ending.state().as_str(), took);
    match (job.kind, job.subject) {
        (JobKind::ContainerCreate, Subject::Container(id)) => container_created(conn, job, id, ending, now).await?,
        (JobKind::ContainerStart | JobKind::ContainerStop | JobKind::ContainerRestart, Subject::Container(id)) => {
            container_operated(conn, job, id, ending, now).await?;
        }
        (JobKind::ContainerUpdate, Subject::Container(id)) => container_updated(conn, job, id, ending, now).await?,
        (JobKind::ContainerConverge, Subject::Container(id)) => converge::ended(conn, job, id, ending, now).await?,
        (JobKind::ContainerDelete, Subject::Container(id)) => container_deleted(conn, job, id, ending, now).await?,
        (JobKind::ImageBuild | JobKind::ImagePull, Subject::Image(id)) => {
            image::made(conn, job, id, ending, now).await?;
        }
        (JobKind::ImageCopy, Subject::Image(id)) => image::copied(conn, job, id, ending, now).await?,
        (JobKind::ImagePush, Subject::Image(id)) => image::pushed(conn, job, id, ending, now).await?,
        (JobKind::UserRemove, Subject::User(user)) => {
            if let (Ending::Succeeded(_), Some(host)) = (ending, job.host) {
                store::placement::remove_tenant(conn, host, user).await?;
            }
        }
        (JobKind::ImageRemove, Subject::Image(id)) => {
            if let (Ending::Succeeded(_), Some(host)) = (ending, job.host) {
                store::images::remove_presence(conn, id, host).await?;
            }
        }
        _ => {}
    }
    Ok(true)
}

async fn container_created(
    conn: &mut Conn,
    job: &Job,
    id: ContainerId,
    ending: &Ending,
    now: Timestamp,
) -> Result<(), QueueError> {
    let Some(host) = job.host else { return Ok(()) };
    match ending {
        Ending::Succeeded(Product::Container { docker_id }) => {
            // An inventory that came before the result knows more than the result does.
            let known = store::containers::get(conn, job.user, id).await?.map(|c| c.observed);
            if known.is_some_and(|observed| observed.docker_id.as_deref() != Some(docker_id)) {
                let observed = Observed {
                    state: ObservedState::Docker(ContainerState::Running),
                    docker_id: Some(docker_id.clone()),
                    at: Some(now),
                    ..Observed::default()
                };
                store::containers::set_observed(conn, host, id, &observed).await?;
            }
            let to = converge::of_job(conn, job).await?;
            converge::made(conn, id, Some(docker_id), to.as_ref(), true).await?;
            note(conn, job, "container.created", Kind::Container, id.uuid(), now).await
        }
        Ending::Failed { confirmed: true, .. } | Ending::Cancelled { confirmed: true } => {
            store::containers::remove(conn, id).await?;
            note(conn, job, "container.not_created", Kind::Container, id.uuid(), now).await
        }
        // Something of it may be on the host: it is taken away like any container.
        Ending::Succeeded(_) | Ending::Failed { .. } | Ending::Cancelled { .. } => {
            store::containers::set_desired(conn, id, DesiredState::Removed).await?;
            let remove = RemoveContainer { container: id, user: job.user, volumes: false };
            let request = Request {
                id: JobId::new(),
                user: job.user,
                work: Some((host, Command::RemoveContainer(remove))),
                parent: job.parent,
                kind: JobKind::ContainerDelete,
                subject: Subject::Container(id),
                wait: Some(super::PATIENCE),
            };
            enqueue_following(conn, request, now).await.map(|_| ())
        }
    }
}

async fn container_operated(
    conn: &mut Conn,
    job: &Job,
    id: ContainerId,
    ending: &Ending,
    now: Timestamp,
) -> Result<(), QueueError> {
    // One that moves is on its new host only once all of it is done.
    let found = store::containers::get(conn, job.user, id).await?.filter(|c| Some(c.host) == job.host);
    let Some(container) = found else { return Ok(()) };
    let (running, event) = match job.kind {
        JobKind::ContainerStop => (false, "container.stopped"),
        JobKind::ContainerRestart => (true, "container.restarted"),
        _ => (true, "container.started"),
    };
    match ending {
        Ending::Succeeded(product) => {
            if let Product::Container { docker_id } = product
                && let Some(observed) = operated(&container.observed, running, docker_id, now)
            {
                store::containers::set_observed(conn, container.host, id, &observed).await?;
            }
            note(conn, job, event, Kind::Container, id.uuid(), now).await
        }
        // A part of a suspension says nothing of what its user wants.
        Ending::Cancelled { .. } if job.parent.is_some() => Ok(()),
        Ending::Cancelled { .. } => {
            // What was asked after it, or that it is to be gone, still holds.
            let later = store::jobs::open_about(conn, Subject::Container(id)).await?;
            if container.desired != DesiredState::Removed && !later.iter().any(|other| other.id > job.id) {
                store::containers::set_desired(conn, id, left_as(container.observed.state)).await?;
            }
            Ok(())
        }
        // It is still meant to be so; who asked sees that it is not, and why.
        Ending::Failed { .. } => Ok(()),
    }
}

async fn container_updated(
    conn: &mut Conn,
    job: &Job,
    id: ContainerId,
    ending: &Ending,
    now: Timestamp,
) -> Result<(), QueueError> {
    let Some(container) = store::containers::get(conn, job.user, id).await? else { return Ok(()) };
    match ending {
        Ending::Succeeded(product) => {
            match store::jobs::find_whole(conn, job.id).await?.and_then(|whole| whole.command) {
                Some(Command::UpdateContainer(update)) => {
                    let spec = ContainerSpec { resources: update.resources, restart: update.restart, ..container.spec };
                    store::containers::set_spec(conn, id, container.image, &spec).await?;
                }
                Some(Command::RecreateContainer(RecreateContainer { create, run, .. })) => {
                    store::containers::set_spec(conn, id, create.image, &create.spec).await?;
                    store::grants::forget_shown(conn, id, job.id).await?;
                    let docker_id = if let Product::Container { docker_id } = product { Some(docker_id) } else { None };
                    if let Some(observed) = docker_id.and_then(|new| made_anew(&container.observed, run, new, now)) {
                        store::containers::set_observed(conn, container.host, id, &observed).await?;
                    }
                    let docker_id = docker_id.map(String::as_str);
                    converge::made(conn, id, docker_id, create.converge.as_ref(), run).await?;
                }
                _ => {}
            }
            forget_secrets(conn, job.user, id).await?;
            note(conn, job, "container.updated", Kind::Container, id.uuid(), now).await
        }
        Ending::Failed { confirmed, .. } | Ending::Cancelled { confirmed } => {
            store::containers::set_next_image(conn, id, None).await?;
            forget_secrets(conn, job.user, id).await?;
            store::containers::set_reserved(conn, id, Reserved::of(&container.spec)).await?;
            note(conn, job, "container.not_updated", Kind::Container, id.uuid(), now).await?;
            if *confirmed || container.desired != DesiredState::Running {
                return Ok(());
            }
            // A suspended user's is stopped by a job that puts it back as well, and started when he is resumed.
            let user = store::users::get(conn, job.user).await?;
            if user.is_none_or(|user| user.state != UserState::Active) {
                return Ok(());
            }
            // It may be half made anew: starting it puts it back first.
            let start = StartContainer { container: id, user: job.user };
            let request = Request {
                id: JobId::new(),
                user: job.user,
                work: Some((container.host, Command::StartContainer(start))),
                parent: job.parent,
                kind: JobKind::ContainerStart,
                subject: Subject::Container(id),
                wait: None,
            };
            enqueue_following(conn, request, now).await.map(|_| ())
        }
    }
}

/// Forgets the values that a container's spec no longer names, or never came to name, and takes back what was granted with
/// them.
async fn forget_secrets(conn: &mut Conn, user: UserId, id: ContainerId) -> Result<(), QueueError> {
    let Some(container) = store::containers::get(conn, user, id).await? else { return Ok(()) };
    let kept: Vec<_> = container.spec.secrets.values().map(|secret| secret.id).collect();
    store::secrets::keep_only(conn, id, &kept).await?;
    for grant in store::grants::of_containers(conn, &[id]).await? {
        if !grant.is_in(&container.spec.secrets) {
            store::grants::revoke(conn, grant.id).await?;
        }
    }
    Ok(())
}

async fn container_deleted(
    conn: &mut Conn,
    job: &Job,
    id: ContainerId,
    ending: &Ending,
    now: Timestamp,
) -> Result<(), QueueError> {
    match ending {
        Ending::Succeeded(_) => {
            store::containers::remove(conn, id).await?;
            note(conn, job, "container.deleted", Kind::Container, id.uuid(), now).await
        }
        // It stays, and is meant to be there again.
        Ending::Cancelled { .. } => {
            let Some(container) = store::containers::get(conn, job.user, id).await? else { return Ok(()) };
            Ok(store::containers::set_desired(conn, id, left_as(container.observed.state)).await?)
        }
        // It is still meant to be gone; the next DELETE tries again.
        Ending::Failed { .. } => Ok(()),
    }
}

async fn note(
    conn: &mut Conn,
    job: &Job,
    kind: &'static str,
    resource: Kind,
    id: Uuid,
    now: Timestamp,
) -> Result<(), QueueError> {
    let event = Event { user: job.user, kind, resource, id, detail: None };
    Ok(store::records::event(conn, &event, now).await?)
}
