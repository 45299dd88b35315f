//! Carries on the moves of containers, one look at a time: `domain::moves` says what is next, here it is done. Called by the
//! conductor within its transaction. What must hold: the container's row, then its user's, is held before anything is decided,
//! so that a deletion or a suspension comes either before or after it.

use super::conductor::{PATIENCE, Turn};
use super::{QueueError, Request, enqueue_following, settle};
use crate::domain::container::{Container, DesiredState, Observed, ObservedState};
use crate::domain::event::Event;
use crate::domain::host::{Host, HostState};
use crate::domain::image::PresenceState;
use crate::domain::job::{Ending, HOST_DELETED, Job, JobError, JobKind, JobState, Subject};
use crate::domain::moves::{Back, Facts, Move, Step, is_for, next};
use crate::domain::user::UserState;
use crate::domain::{Kind, Timestamp};
use crate::store::{self, Conn};
use dockerforge_protocol::command::{
    Command, DiscardContainer, ReceiveContainer, RemoveContainer, ResumeContainer, StartContainer, StopContainer,
};
use dockerforge_protocol::ids::{HostId, JobId};
use dockerforge_protocol::inventory::ContainerState;
use dockerforge_protocol::report::{Product, Progress};
use jiff::SignedDuration;

/// How long the new host may take to begin: until it does, the container is stopped for nothing.
const BEGIN: SignedDuration = SignedDuration::from_mins(10);
/// The least that a part may wait.
const LEAST: SignedDuration = SignedDuration::from_secs(30);

/// Looks at one move and does the next thing.
pub(super) async fn advance(
    conn: &mut Conn,
    job: &Job,
    parts: &[Job],
    turn: &mut Turn,
    now: Timestamp,
) -> Result<(), QueueError> {
    let Some(of) = store::moves::get(conn, job.id).await? else {
        let error = JobError::new("part-failed", "nothing is known of it any more");
        return end(conn, job, &Ending::Failed { error, confirmed: false }, turn, now).await;
    };
    let begun = !parts.is_empty();
    let brings = if begun { None } else { store::jobs::after(conn, job.id).await? };
    let under_way = brings.as_ref().is_some_and(|by| !by.state.is_terminal());
    if under_way {
        // Whoever lets something wait for the same image there holds that host, too.
        store::placement::hold(conn, of.target).await?;
    }
    let container = store::containers::hold(conn, of.user, of.container).await?.filter(|c| c.host == of.source);
    let user = store::users::hold(conn, of.user).await?;
    let active = user.is_some_and(|user| user.state == UserState::Active);
    let wanted = container.as_ref().is_some_and(|c| c.desired != DesiredState::Removed);
    let (source, target) = (
        store::hosts::find(conn, of.source).await?,
        store::hosts::find(conn, of.target).await?.filter(|host| host.state != HostState::Deleting),
    );
    let ready = |host: &Option<Host>| {
        host.as_ref().is_some_and(|h| {
            h.state == HostState::Online && h.agent.as_ref().is_some_and(|agent| agent.docker.is_some())
        })
    };
    let image = if begun { Image::There } else { image(conn, brings.as_ref(), &of).await? };
    let failed = |kind: &str, detail: &str| Some(Back::Failed(JobError::new(kind, detail)));
    let back = if job.state == JobState::Cancelling || !wanted {
        Some(Back::Cancelled)
    } else if !active {
        failed("suspended", "its user was suspended meanwhile")
    } else if target.is_none() {
        failed(HOST_DELETED, "the host that it was to go to was deleted")
    } else if let Image::Absent(error) = &image {
        Some(Back::Failed(error.clone()))
    } else if !begun && job.deadline_at < now {
        failed("deadline", "the hosts were not there in time")
    } else {
        None
    };
    let facts = Facts {
        parts,
        back,
        waits_for: match image {
            Image::UnderWay => Some("waiting for its image"),
            _ if !(ready(&source) && ready(&target)) => Some("waiting for the hosts"),
            _ => None,
        },
        may_start: wanted && active && source.is_some(),
        target_exists: store::hosts::find(conn, of.target).await?.is_some(),
    };
    let patience = job.deadline_at.duration_since(now).max(LEAST);
    let (id, user) = (of.container, of.user);
    match next(&of, &facts) {
        Step::Wait(what) => progress(conn, job, parts, what, turn).await,
        Step::Stop => {
            let stop = Command::StopContainer(StopContainer { container: id, user, grace_s: of.grace_s });
            part(conn, &of, JobKind::ContainerStop, of.source, stop, patience, turn, now).await
        }
        Step::Receive => {
            let receive = Command::ReceiveContainer(ReceiveContainer { create: of.create.clone() });
            let wait = patience.min(BEGIN);
            part(conn, &of, JobKind::ContainerReceive, of.target, receive, wait, turn, now).await
        }
        Step::Start => {
            let restart = of.create.spec.restart;
            let start = Command::ResumeContainer(ResumeContainer { container: id, user, restart });
            part(conn, &of, JobKind::ContainerStart, of.target, start, BEGIN, turn, now).await
        }
        Step::Arrived(docker_id) => arrived(conn, job, &of, container, docker_id, turn, now).await,
        Step::Cancel(part) => cancel(conn, part, turn, now).await,
        Step::Discard(received_by) => {
            let discard = Command::DiscardContainer(DiscardContainer { container: id, user, received_by });
            part(conn, &of, JobKind::ContainerRemove, of.target, discard, PATIENCE, turn, now).await
        }
        Step::StartAgain => {
            let start = Command::StartContainer(StartContainer { container: id, user });
            part(conn, &of, JobKind::ContainerStart, of.source, start, PATIENCE, turn, now).await
        }
        Step::Stayed(back) => {
            let ending = match back {
                Back::Cancelled => Ending::Cancelled { confirmed: true },
                Back::Failed(error) => Ending::Failed { error, confirmed: true },
            };
            store::moves::remove(conn, job.id).await?;
            if let Some(by) = brings.filter(|by| under_way && is_for(by, job.id))
                && !store::jobs::others_wait_for(conn, by.id, job.id, of.target).await?
            {
                cancel(conn, by.id, turn, now).await?;
            }
            if container.is_some() {
                note(conn, &of, "container.not_moved", now).await?;
            }
            end(conn, job, &ending, turn, now).await
        }
    }
}

/// How the image stands on the new host, before anything was begun.
enum Image {
    There,
    UnderWay,
    Absent(JobError),
}

async fn image(conn: &mut Conn, brought_by: Option<&Job>, of: &Move) -> Result<Image, QueueError> {
    if brought_by.is_some_and(|by| !by.state.is_terminal()) {
        return Ok(Image::UnderWay);
    }
    let presence = store::images::presence(conn, &[of.create.image]).await?;
    if presence.iter().any(|p| p.host == of.target && p.state == PresenceState::Present) {
        return Ok(Image::There);
    }
    let error = brought_by.and_then(|by| by.error.as_ref());
    let detail = error.map_or("it was removed there", |error| error.detail.as_str());
    let kind = error.map_or("image-not-found", |error| error.kind.as_str());
    Ok(Image::Absent(JobError::new(kind, format!("its image is not on the other host: {detail}"))))
}

/// It is on its new host: from here on its row says so, and what is left on the old one goes.
async fn arrived(
    conn: &mut Conn,
    job: &Job,
    of: &Move,
    container: Option<Container>,
    docker_id: String,
    turn: &mut Turn,
    now: Timestamp,
) -> Result<(), QueueError> {
    let Some(container) = container else { return Ok(()) };
    store::containers::set_host(conn, of.container, of.target).await?;
    if container.spec != of.create.spec {
        store::containers::set_spec(conn, of.container, of.create.image, &of.create.spec).await?;
    }
    let state = if of.run { ContainerState::Running } else { ContainerState::Created };
    let observed = Observed {
        state: ObservedState::Docker(state),
        docker_id: Some(docker_id.clone()),
        at: Some(now),
        ..Observed::default()
    };
    store::containers::set_observed(conn, of.target, of.container, &observed).await?;
    store::moves::remove(conn, job.id).await?;
    note(conn, of, "container.moved", now).await?;
    // It left what a converge had written outside its volumes: the one that is there is another, and due.
    let step = match (&container.converged, of.run) {
        (None, _) => "it is there",
        (Some(_), true) => "it is there; its converge follows",
        (Some(_), false) => "it is there; it is converged once it is started",
    };
    let progress = Progress { step: step.to_owned(), percent: Some(100) };
    store::jobs::set_progress(conn, job.current(), &progress).await?;
    let remove = Command::RemoveContainer(RemoveContainer { container: of.container, user: of.user, volumes: true });
    part(conn, of, JobKind::ContainerRemove, of.source, remove, PATIENCE, turn, now).await?;
    end(conn, job, &Ending::Succeeded(Product::Container { docker_id }), turn, now).await
}

#[allow(clippy::too_many_arguments, reason = "what a part is made of")]
async fn part(
    conn: &mut Conn,
    of: &Move,
    kind: JobKind,
    host: HostId,
    command: Command,
    wait: SignedDuration,
    turn: &mut Turn,
    now: Timestamp,
) -> Result<(), QueueError> {
    let request = Request {
        id: JobId::new(),
        user: of.user,
        work: Some((host, command)),
        parent: Some(of.job),
        kind,
        subject: Subject::Container(of.container),
        wait: Some(wait),
    };
    enqueue_following(conn, request, now).await?;
    turn.wake.push(host);
    Ok(())
}

/// Ends a part, or has its host end it.
async fn cancel(conn: &mut Conn, id: JobId, turn: &mut Turn, now: Timestamp) -> Result<(), QueueError> {
    let Some(part) = store::jobs::hold(conn, id).await? else { return Ok(()) };
    let changed = if part.state == JobState::Queued {
        settle(conn, &part, &Ending::Cancelled { confirmed: part.is_untouched() }, now).await?
    } else {
        store::jobs::set_cancelling(conn, id, now).await?
    };
    if changed {
        turn.changed.push(id);
        turn.wake.extend(part.host);
    }
    Ok(())
}

async fn end(conn: &mut Conn, job: &Job, ending: &Ending, turn: &mut Turn, now: Timestamp) -> Result<(), QueueError> {
    if settle(conn, job, ending, now).await? {
        turn.changed.push(job.id);
    }
    Ok(())
}

/// Shows what is waited for: of a part that is in work, how far it is.
async fn progress(
    conn: &mut Conn,
    job: &Job,
    parts: &[Job],
    what: &'static str,
    turn: &mut Turn,
) -> Result<(), QueueError> {
    let within = parts.iter().rfind(|part| !part.state.is_terminal()).and_then(|part| part.progress.as_ref());
    let step = within.map_or_else(|| what.to_owned(), |within| format!("{what}: {}", within.step));
    let progress = Progress { step, percent: within.and_then(|within| within.percent) };
    if job.progress.as_ref() != Some(&progress) {
        store::jobs::set_progress(conn, job.current(), &progress).await?;
        turn.changed.push(job.id);
    }
    Ok(())
}

async fn note(conn: &mut Conn, of: &Move, kind: &'static str, now: Timestamp) -> Result<(), QueueError> {
    let event = Event { user: of.user, kind, resource: Kind::Container, id: of.container.uuid(), detail: None };
    Ok(store::records::event(conn, &event, now).await?)
}
