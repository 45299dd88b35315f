//! Suspending a user and resuming him. Suspended, his tokens open nothing and all his containers are stopped; what each is
//! meant to do stays as he said, so that resuming him starts those that are meant to run, and no others.
//!
//! What must hold: his row is held before his containers are looked at. What he asked for before is committed and gets its
//! part; what he asks for afterwards is refused. The parts are in order with all else about their containers.

use super::Result;
use crate::access::{Administer, Permit};
use crate::domain::container::{Container, DesiredState};
use crate::domain::job::{JobKind, Subject};
use crate::domain::user::{SYSTEM, User, UserState};
use crate::domain::{Kind, Refusal, Timestamp};
use crate::queue::{self, Request};
use crate::store::{self, Conn};
use dockerforge_protocol::command::{Command, StartContainer, StopContainer};
use dockerforge_protocol::ids::{HostId, JobId};
use jiff::SignedDuration;

/// How long a part may wait for its host: a machine that is away is stopped when it is back.
const PATIENCE: SignedDuration = SignedDuration::from_hours(24 * 30);

/// What was begun.
pub(super) struct Begun {
    /// The job that consists of all the others.
    pub job: JobId,
    /// Who has something to do.
    pub hosts: Vec<HostId>,
}

/// Suspends or resumes a user whose row is held; nothing where he is so already. Asked again while it is under way,
/// answers the job that does it.
pub(super) async fn set(
    conn: &mut Conn,
    permit: &Permit<Administer>,
    user: &User,
    suspended: bool,
    now: Timestamp,
) -> Result<Option<Begun>> {
    let (kind, action) =
        if suspended { (JobKind::UserSuspend, "user.suspend") } else { (JobKind::UserResume, "user.resume") };
    if suspended == (user.state == UserState::Suspended) {
        let open = store::jobs::open_about(conn, Subject::User(user.id)).await?;
        // Who asked for it sees it; for another it is done.
        let own = open.iter().rfind(|job| job.kind == kind && job.user == permit.origin().actor);
        return Ok(own.map(|job| Begun { job: job.id, hosts: Vec::new() }));
    }
    if suspended && user.name.as_str() == SYSTEM {
        return Err(Refusal::SystemUser.into());
    }
    store::users::set_suspended(conn, user.id, suspended.then_some(now)).await?;
    let whole = Request {
        id: JobId::new(),
        user: permit.origin().actor,
        work: None,
        parent: None,
        kind,
        subject: Subject::User(user.id),
        wait: Some(PATIENCE),
    };
    let job = queue::enqueue_following(conn, whole, now).await?;
    let mut hosts = Vec::new();
    let containers = store::containers::all_of_user(conn, user.id).await?;
    // One that moves is stopped already; when it is over it is started or not, as its user is then.
    let moving = store::moves::of_user(conn, user.id).await?;
    let moves = |container: &&Container| moving.iter().any(|of| of.container == container.id);
    let meant_to_run = containers.iter().filter(|container| container.desired == DesiredState::Running);
    for container in meant_to_run.filter(|container| !moves(container)) {
        queue::enqueue_following(conn, part(container, job, suspended), now).await?;
        hosts.push(container.host);
    }
    hosts.sort_unstable();
    hosts.dedup();
    store::records::audit(conn, permit.origin(), action, Kind::User, user.id.uuid(), now).await?;
    Ok(Some(Begun { job, hosts }))
}

fn part(of: &Container, parent: JobId, stop: bool) -> Request {
    let (container, user) = (of.id, of.user);
    let (kind, command) = if stop {
        (JobKind::ContainerStop, Command::StopContainer(StopContainer { container, user, grace_s: of.grace() }))
    } else {
        (JobKind::ContainerStart, Command::StartContainer(StartContainer { container, user }))
    };
    Request {
        id: JobId::new(),
        user,
        work: Some((of.host, command)),
        parent: Some(parent),
        kind,
        subject: Subject::Container(container),
        wait: Some(PATIENCE),
    }
}
