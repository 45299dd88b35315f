//! Carries out the jobs that consist of others: deleting an image, a host, a user; suspending and resuming one; moving a container. It takes no input: woken or not, it
//! looks at each such job, at its parts and at what is left to do, and does the next thing. What is to be done is
//! read from the rows every time, so a restart loses nothing.

use super::{QueueError, Request, Signals, enqueue_following, moves, settle};
use crate::domain::event::Event;
use crate::domain::job::{Ending, Job, JobError, JobKind, JobState, Subject};
use crate::domain::{Kind, Timestamp};
use crate::store::{self, Conn, Store};
use dockerforge_protocol::command::{Command, RemoveContainer, RemoveImage, RemoveUser};
use dockerforge_protocol::ids::{HostId, ImageId, JobId, UserId};
use dockerforge_protocol::report::{FailureKind, Product, Progress};
use jiff::SignedDuration;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it looks without being woken.
const POLL: Duration = Duration::from_secs(2);
/// How long a part may wait for its host: what is to be taken away, or out of service, waits for a machine that is away.
pub const PATIENCE: SignedDuration = SignedDuration::from_hours(24 * 30);

/// What one look at a job came to.
#[derive(Default)]
pub(super) struct Turn {
    /// Hosts that have something to claim now.
    pub(super) wake: Vec<HostId>,
    /// Hosts whose identity is void from now on.
    revoked: Vec<HostId>,
    /// Jobs that changed.
    pub(super) changed: Vec<JobId>,
    /// Whether something has to end first.
    waits: bool,
}

/// Looks until told to stop. `revoked` is called with each host whose identity was revoked, after the commit.
pub async fn run(store: Store, signals: Signals, revoked: impl Fn(HostId) + Send + Sync, stop: CancellationToken) {
    loop {
        match look(&store, &signals, &revoked).await {
            // Something was done: something else may follow from it.
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "the conductor could not go on"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = signals.conductor_woken() => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

async fn look(store: &Store, signals: &Signals, revoked: &(impl Fn(HostId) + Sync)) -> Result<bool, QueueError> {
    let open = store::jobs::open_conducted(&mut store.read().await?).await?;
    let mut moved = false;
    for job in open {
        let turn =
            store.write(move |conn| Box::pin(async move { advance(conn, job, crate::clock::now()).await })).await;
        let turn = match turn {
            Ok(turn) => turn,
            // One that cannot go on keeps nobody else's from it.
            Err(error) => {
                tracing::error!(%job, error = &error as &dyn std::error::Error, "a job could not be carried on");
                continue;
            }
        };
        moved |= !turn.changed.is_empty() || !turn.wake.is_empty();
        turn.revoked.into_iter().for_each(revoked);
        for host in turn.wake {
            signals.wake_host(host);
        }
        for job in turn.changed {
            signals.job_changed(job);
        }
    }
    Ok(moved)
}

async fn advance(conn: &mut Conn, id: JobId, now: Timestamp) -> Result<Turn, QueueError> {
    let Some(job) = store::jobs::hold(conn, id).await?.filter(|job| !job.state.is_terminal()) else {
        return Ok(Turn::default());
    };
    let parts = store::jobs::parts(conn, id).await?;
    let mut turn = Turn::default();
    if job.kind == JobKind::ContainerMove {
        Box::pin(moves::advance(conn, &job, &parts, &mut turn, now)).await?;
        return Ok(turn);
    }
    if parts.iter().any(|part| !part.state.is_terminal()) {
        if show_progress(conn, &job, &parts).await? {
            turn.changed.push(id);
        }
        return Ok(turn);
    }
    let failed: Vec<&Job> =
        parts.iter().filter(|part| !part.is_done_for_parent() && !does_without(job.kind, part)).collect();
    if !failed.is_empty() {
        let ending = Ending::Failed { error: explain(&failed), confirmed: true };
        let changed = settle(conn, &job, &ending, now).await?;
        return Ok(Turn { changed: changed.then_some(id).into_iter().collect(), ..Turn::default() });
    }
    match (job.kind, job.subject) {
        (JobKind::ImageDelete, Subject::Image(image)) => image_gone(conn, &job, image).await?,
        (JobKind::HostDelete, Subject::Host(host)) => host_next(conn, &job, host, &parts, &mut turn, now).await?,
        (JobKind::UserDelete, Subject::User(user)) => user_next(conn, &job, user, &parts, &mut turn, now).await?,
        _ => {}
    }
    if turn.wake.is_empty() && !turn.waits && settle(conn, &job, &Ending::Succeeded(Product::Nothing), now).await? {
        let (kind, resource, uuid) = match job.subject {
            Subject::Image(id) => ("image.deleted", Kind::Image, id.uuid()),
            Subject::Host(id) => ("host.deleted", Kind::Host, id.uuid()),
            Subject::User(id) if job.kind == JobKind::UserSuspend => ("user.suspended", Kind::User, id.uuid()),
            Subject::User(id) if job.kind == JobKind::UserResume => ("user.resumed", Kind::User, id.uuid()),
            Subject::User(id) => ("user.deleted", Kind::User, id.uuid()),
            Subject::Container(id) => ("container.deleted", Kind::Container, id.uuid()),
        };
        let event = Event { user: job.user, kind, resource, id: uuid, detail: None };
        store::records::event(conn, &event, now).await?;
        turn.changed.push(id);
    }
    Ok(turn)
}

/// Notes how many of its things are done; whether that is news. The deletion of a host or a user finds its parts as it
/// goes on, so there what is left is counted, and not the parts.
async fn show_progress(conn: &mut Conn, job: &Job, parts: &[Job]) -> Result<bool, QueueError> {
    let of_thing = |part: &&Job| matches!(part.kind, JobKind::ContainerDelete | JobKind::ImageRemove);
    let succeeded = |part: &&Job| part.state == JobState::Succeeded;
    let (done, all) = match (job.kind, job.subject) {
        (JobKind::UserDelete, Subject::User(user)) => {
            let done = parts.iter().filter(of_thing).filter(succeeded).count() as u64;
            (done, done + store::users::belongings(conn, user).await?)
        }
        (JobKind::HostDelete, Subject::Host(host)) => {
            let done = parts.iter().filter(of_thing).filter(succeeded).count() as u64;
            (done, done + store::hosts::belongings(conn, host).await?)
        }
        _ => (parts.iter().filter(|part| part.state.is_terminal()).count() as u64, parts.len() as u64),
    };
    let percent = done.checked_mul(100).and_then(|n| n.checked_div(all)).and_then(|n| u8::try_from(n).ok());
    let progress = Progress { step: format!("{done} of {all}"), percent };
    let news = job.progress.as_ref() != Some(&progress);
    if news {
        store::jobs::set_progress(conn, job.current(), &progress).await?;
    }
    Ok(news)
}

/// Whether a job can succeed though this part of it did not. To a container that is stopped or started with all of its
/// user's, something else may have happened meanwhile: it is not there, or its user asked for something newer.
fn does_without(kind: JobKind, part: &Job) -> bool {
    let gone = part.error.as_ref().is_some_and(|error| error.kind == FailureKind::ContainerNotFound.as_str());
    matches!(kind, JobKind::UserSuspend | JobKind::UserResume) && (gone || part.state == JobState::Cancelled)
}

fn explain(failed: &[&Job]) -> JobError {
    let reasons: Vec<String> = failed
        .iter()
        .map(|part| match &part.error {
            Some(error) => format!("{} ({}): {}", part.id, part.kind.as_str(), error.detail),
            None => format!("{} ({}) was cancelled", part.id, part.kind.as_str()),
        })
        .collect();
    JobError::new("part-failed", reasons.join("; "))
}

/// All its hosts have removed it.
async fn image_gone(conn: &mut Conn, job: &Job, image: ImageId) -> Result<(), QueueError> {
    if store::images::get(conn, job.user, image).await?.is_some() {
        store::images::remove(conn, image).await?;
    }
    Ok(())
}

/// The next thing on the way of a host out of service: its containers, its images, what is left of its users there,
/// and last its identity.
async fn host_next(
    conn: &mut Conn,
    job: &Job,
    host: HostId,
    parts: &[Job],
    turn: &mut Turn,
    now: Timestamp,
) -> Result<(), QueueError> {
    let Some(row) = store::hosts::find(conn, host).await? else { return Ok(()) };
    // What is on its way from there is saved, and what is on its way there goes back.
    if store::moves::any_at(conn, host).await? {
        turn.waits = true;
        return Ok(());
    }
    // A host that never had an agent has nothing on it.
    if row.agent.is_some() {
        clear_host(conn, job, host, None, parts, turn, now).await?;
    }
    if turn.wake.is_empty() {
        retire_host(conn, host, turn, now).await?;
    }
    Ok(())
}

/// Enqueues what must still go from a host: of one user, or of everybody.
async fn clear_host(
    conn: &mut Conn,
    job: &Job,
    host: HostId,
    only: Option<UserId>,
    parts: &[Job],
    turn: &mut Turn,
    now: Timestamp,
) -> Result<(), QueueError> {
    let part = |owner: UserId, kind: JobKind, subject: Subject, command: Command| Request {
        id: JobId::new(),
        user: owner,
        work: Some((host, command)),
        parent: Some(job.id),
        kind,
        subject,
        wait: Some(PATIENCE),
    };
    let containers = store::containers::on_host(conn, host).await?;
    for container in containers.iter().filter(|c| only.is_none_or(|user| c.user == user)) {
        let remove = RemoveContainer { container: container.id, user: container.user, volumes: true };
        let request = part(
            container.user,
            JobKind::ContainerDelete,
            Subject::Container(container.id),
            Command::RemoveContainer(remove),
        );
        enqueue_following(conn, request, now).await?;
        turn.wake.push(host);
    }
    if !turn.wake.is_empty() {
        return Ok(());
    }
    for image in store::images::on_host(conn, host).await? {
        let Some(owner) = store::images::owner(conn, image.image).await? else { continue };
        if only.is_some_and(|user| owner != user) {
            continue;
        }
        let remove = Command::RemoveImage(RemoveImage { image: image.image, user: owner });
        enqueue_following(conn, part(owner, JobKind::ImageRemove, Subject::Image(image.image), remove), now).await?;
        turn.wake.push(host);
    }
    if !turn.wake.is_empty() {
        return Ok(());
    }
    let mut users = vec![only.unwrap_or(job.user)];
    if only.is_none() {
        users.extend(store::placement::tenants(conn, host).await?.into_iter().filter(|user| *user != job.user));
    }
    let done = |user: UserId| {
        let same = |p: &&Job| p.host == Some(host) && p.subject == Subject::User(user);
        parts.iter().filter(same).any(|p| p.kind == JobKind::UserRemove)
    };
    for user in users.into_iter().filter(|user| !done(*user)) {
        let remove = Command::RemoveUser(RemoveUser { user, volumes: true });
        enqueue_following(conn, part(user, JobKind::UserRemove, Subject::User(user), remove), now).await?;
        turn.wake.push(host);
    }
    Ok(())
}

/// Voids a host's identity and removes its row.
async fn retire_host(conn: &mut Conn, host: HostId, turn: &mut Turn, now: Timestamp) -> Result<(), QueueError> {
    store::enrolment::revoke_certificates(conn, host, now).await?;
    store::hosts::remove(conn, host).await?;
    turn.revoked.push(host);
    Ok(())
}

/// The next thing on the way of a user out of service: his things on every host, then his hosts, then his rows.
async fn user_next(
    conn: &mut Conn,
    job: &Job,
    user: UserId,
    parts: &[Job],
    turn: &mut Turn,
    now: Timestamp,
) -> Result<(), QueueError> {
    // His moves end as soon as he is not in service any more.
    if !store::moves::of_user(conn, user).await?.is_empty() {
        turn.waits = true;
        return Ok(());
    }
    let own = store::hosts::all_of_user(conn, user).await?;
    let mut hosts = own.clone();
    hosts.extend(store::containers::all_of_user(conn, user).await?.into_iter().map(|c| c.host));
    let images = store::images::all_of_user(conn, user).await?;
    hosts.extend(store::placement::hosts_of_tenant(conn, user).await?);
    hosts.extend(store::images::presence(conn, &images).await?.into_iter().map(|p| p.host));
    hosts.sort_unstable();
    hosts.dedup();
    let mut woken = Vec::new();
    for host in hosts {
        let known = store::hosts::find(conn, host).await?;
        if known.is_some_and(|row| row.agent.is_some()) {
            let mut one = Turn::default();
            clear_host(conn, job, host, Some(user), parts, &mut one, now).await?;
            woken.extend(one.wake);
        }
    }
    if !woken.is_empty() {
        turn.wake = woken;
        return Ok(());
    }
    for image in images {
        store::images::remove(conn, image).await?;
    }
    for host in own {
        retire_host(conn, host, turn, now).await?;
    }
    store::jobs::remove_of_user(conn, user).await?;
    store::users::remove(conn, user).await?;
    Ok(())
}
