//! What the end of a job means for the image that it is about: made, brought to one more host, or not.

use super::note;
use crate::domain::image::{ImageOnHost, ImageState, PresenceState};
use crate::domain::job::{Ending, Job, JobError, JobKind, JobState, Subject};
use crate::domain::{Kind, Timestamp};
use crate::queue::{PATIENCE, QueueError, Request, enqueue_following, push_first};
use crate::store::{self, Conn};
use dockerforge_protocol::command::{Command, RemoveImage};
use dockerforge_protocol::ids::{HostId, ImageId, JobId};
use dockerforge_protocol::report::{FailureKind, Product};
use dockerforge_protocol::spec::is_digest;

fn standing(job: &Job, image: ImageId, host: HostId, state: PresenceState, now: Timestamp) -> ImageOnHost {
    ImageOnHost { image, host, state, docker_id: None, size: None, changed_at: now, job: Some(job.id) }
}

fn present(job: &Job, image: ImageId, host: HostId, docker_id: &str, size: u64, now: Timestamp) -> ImageOnHost {
    let there = standing(job, image, host, PresenceState::Present, now);
    ImageOnHost { docker_id: Some(docker_id.to_owned()), size: Some(size), ..there }
}

/// A build or a pull ended.
pub(super) async fn made(
    conn: &mut Conn,
    job: &Job,
    id: ImageId,
    ending: &Ending,
    now: Timestamp,
) -> Result<(), QueueError> {
    let Some(host) = job.host else { return Ok(()) };
    let known = store::images::get(conn, job.user, id).await?.map(|image| image.state);
    match ending {
        Ending::Succeeded(Product::Image { docker_id, size }) => {
            let presence = present(job, id, host, docker_id, *size, now);
            store::images::set_presence(conn, &presence).await?;
            if known == Some(ImageState::Pending) {
                store::images::set_made(conn, id, docker_id).await?;
                push_before_copies(conn, id, now).await?;
            }
            note(conn, job, "image.created", Kind::Image, id.uuid(), now).await
        }
        // One more host did not get it; on the others it stays. What may be left there goes with the image.
        Ending::Failed { .. } | Ending::Cancelled { .. } if known == Some(ImageState::Ready) => {
            not_there(conn, job, id, host, ending, now).await
        }
        Ending::Failed { confirmed: true, .. } | Ending::Cancelled { confirmed: true } => {
            drop_copies(conn, job, id, now).await?;
            store::images::remove(conn, id).await?;
            note(conn, job, "image.not_created", Kind::Image, id.uuid(), now).await
        }
        Ending::Succeeded(_) | Ending::Failed { .. } | Ending::Cancelled { .. } => {
            drop_copies(conn, job, id, now).await?;
            delete(conn, job, id, host, now).await
        }
    }
}

/// The copies that waited for an image to be made wait until it is in the registry, where there is one.
async fn push_before_copies(conn: &mut Conn, id: ImageId, now: Timestamp) -> Result<(), QueueError> {
    let Some(image) = store::images::find(conn, id).await? else { return Ok(()) };
    let open = store::jobs::open_about(conn, Subject::Image(id)).await?;
    let copies = open.iter().filter(|job| job.kind == JobKind::ImageCopy && job.state == JobState::Queued);
    let copies: Vec<_> = copies.filter_map(|job| Some((job.id, job.host?))).collect();
    push_first(conn, &image, &copies, now).await
}

/// A push to the registry ended. Whatever came of it, the copies that waited for it go on.
pub(super) async fn pushed(
    conn: &mut Conn,
    job: &Job,
    id: ImageId,
    ending: &Ending,
    now: Timestamp,
) -> Result<(), QueueError> {
    if store::images::get(conn, job.user, id).await?.is_none() {
        return Ok(());
    }
    match ending {
        Ending::Succeeded(Product::Pushed { digest }) if is_digest(digest) => {
            store::images::set_pushed(conn, id, digest).await?;
            note(conn, job, "image.pushed", Kind::Image, id.uuid(), now).await
        }
        Ending::Succeeded(_) | Ending::Failed { .. } | Ending::Cancelled { .. } => {
            note(conn, job, "image.not_pushed", Kind::Image, id.uuid(), now).await
        }
    }
}

/// A copy to one more host ended.
pub(super) async fn copied(
    conn: &mut Conn,
    job: &Job,
    id: ImageId,
    ending: &Ending,
    now: Timestamp,
) -> Result<(), QueueError> {
    let Some(host) = job.host else { return Ok(()) };
    if store::images::get(conn, job.user, id).await?.is_none() {
        return Ok(());
    }
    match ending {
        Ending::Succeeded(Product::Image { docker_id, size }) => {
            let presence = present(job, id, host, docker_id, *size, now);
            store::images::set_presence(conn, &presence).await?;
            note(conn, job, "image.copied", Kind::Image, id.uuid(), now).await
        }
        Ending::Succeeded(_) | Ending::Failed { .. } | Ending::Cancelled { .. } => {
            note(conn, job, "image.not_copied", Kind::Image, id.uuid(), now).await?;
            not_there(conn, job, id, host, ending, now).await
        }
    }
}

async fn not_there(
    conn: &mut Conn,
    job: &Job,
    id: ImageId,
    host: HostId,
    ending: &Ending,
    now: Timestamp,
) -> Result<(), QueueError> {
    // A later job may bring it there already.
    let standings = store::images::presence(conn, &[id]).await?;
    if standings.iter().any(|p| p.host == host && p.job.is_some_and(|other| other != job.id)) {
        return Ok(());
    }
    if matches!(ending, Ending::Cancelled { confirmed: true }) {
        return Ok(store::images::remove_presence(conn, id, host).await?);
    }
    Ok(store::images::set_presence(conn, &standing(job, id, host, PresenceState::Failed, now)).await?)
}

/// The image was not made: nothing of it is to be brought anywhere.
async fn drop_copies(conn: &mut Conn, made: &Job, id: ImageId, now: Timestamp) -> Result<(), QueueError> {
    for job in store::jobs::open_about(conn, Subject::Image(id)).await? {
        if job.id == made.id || !job.kind.brings_image() {
            continue;
        }
        if job.state == JobState::Queued {
            let detail = format!("the image was not made: see {}", made.id);
            let error = JobError::new(FailureKind::ImageNotFound.as_str(), detail);
            store::jobs::end(conn, job.current(), &Ending::Failed { error, confirmed: true }, now).await?;
        } else {
            store::jobs::set_cancelling(conn, job.id, now).await?;
        }
    }
    Ok(())
}

/// What an interrupted build may have left is taken away like any image.
async fn delete(conn: &mut Conn, job: &Job, id: ImageId, host: HostId, now: Timestamp) -> Result<(), QueueError> {
    store::images::set_state(conn, id, ImageState::Deleting).await?;
    let whole = Request {
        id: JobId::new(),
        user: job.user,
        work: None,
        parent: job.parent,
        kind: JobKind::ImageDelete,
        subject: Subject::Image(id),
        wait: Some(PATIENCE),
    };
    let parent = enqueue_following(conn, whole.clone(), now).await?;
    let remove = Command::RemoveImage(RemoveImage { image: id, user: job.user });
    let part = Request {
        id: JobId::new(),
        work: Some((host, remove)),
        parent: Some(parent),
        kind: JobKind::ImageRemove,
        ..whole
    };
    enqueue_following(conn, part, now).await.map(|_| ())
}
