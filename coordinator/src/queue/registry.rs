//! Images go to the registry before they are copied, where there is one and it is of use: the job that brings one there, which the
//! copies wait for, whatever becomes of it. Called where copies are asked for, and where what makes an image has ended.

use super::{QueueError, Request, enqueue_following};
use crate::domain::Timestamp;
use crate::domain::image::Image;
use crate::domain::job::{JobKind, JobState, Subject};
use crate::domain::registry::pusher;
use crate::store::{self, Conn};
use dockerforge_protocol::command::{Command, PushImage};
use dockerforge_protocol::ids::{HostId, JobId};
use jiff::SignedDuration;

/// How long a push may wait for its host: what waits for it can be had from another.
const PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// Lets copies of an image wait until it is in the registry, those that may have it from there.
pub async fn push_first(
    conn: &mut Conn,
    image: &Image,
    copies: &[(JobId, HostId)],
    now: Timestamp,
) -> Result<(), QueueError> {
    if copies.is_empty() {
        return Ok(());
    }
    let Some(place) = store::registry::place(conn).await? else { return Ok(()) };
    let repository = place.repository(image.id);
    if image.registry.as_ref().is_some_and(|there| there.repository == repository && there.digest.is_some()) {
        return Ok(());
    }
    let presence = store::images::presence(conn, &[image.id]).await?;
    let have = store::images::sources(conn, image, &presence).await?;
    let want: Vec<HostId> = copies.iter().map(|(_, host)| *host).collect();
    let want = store::registry::parties(conn, &want).await?;
    let Some(host) = pusher(place.opening, image.user, &have, &want) else { return Ok(()) };
    let open = store::jobs::open_about(conn, Subject::Image(image.id)).await?;
    let under_way = open.iter().find(|job| job.kind == JobKind::ImagePush && job.state != JobState::Cancelling);
    let push = if let Some(job) = under_way {
        job.id
    } else {
        // From here on it may be there, also if nobody hears of it: it is removed from there with the image.
        store::images::set_repository(conn, image.id, &repository).await?;
        let command = Command::PushImage(PushImage { image: image.id, user: image.user });
        let request = Request {
            id: JobId::new(),
            user: image.user,
            work: Some((host, command)),
            parent: None,
            kind: JobKind::ImagePush,
            subject: Subject::Image(image.id),
            wait: Some(PATIENCE),
        };
        enqueue_following(conn, request, now).await?
    };
    for (copy, host) in copies {
        if want.iter().any(|p| p.host == *host && place.opening.is_for(p.admin)) {
            store::jobs::set_after(conn, *copy, push).await?;
        }
    }
    Ok(())
}
