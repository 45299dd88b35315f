//! What the end of a job means for whether its container is in the state of its configuration.

use super::{note, settle};
use crate::domain::container::{Container, DesiredState};
use crate::domain::job::{Ending, Job, JobError};
use crate::domain::user::UserState;
use crate::domain::{Kind, Timestamp};
use crate::queue::QueueError;
use crate::store::{self, Conn};
use dockerforge_protocol::command::{Command, Convergence};
use dockerforge_protocol::ids::ContainerId;

/// A converge ended.
pub(super) async fn ended(
    conn: &mut Conn,
    job: &Job,
    id: ContainerId,
    ending: &Ending,
    now: Timestamp,
) -> Result<(), QueueError> {
    // On another host it was another one.
    let container = store::containers::get(conn, job.user, id).await?.filter(|c| Some(c.host) == job.host);
    let why = match ending {
        Ending::Succeeded(_) => {
            store::grants::forget_shown(conn, id, job.id).await?;
            if let (Some(container), Some(to)) = (container, of_job(conn, job).await?) {
                // Jobs about a container are done one after the other: it is still the one that was converged.
                let docker_id = container.observed.docker_id.as_deref();
                store::converge::done(conn, id, docker_id, to.version).await?;
            }
            return note(conn, job, "container.converged", Kind::Container, id.uuid(), now).await;
        }
        Ending::Failed { error, .. } => format!(": {}", error.detail),
        Ending::Cancelled { .. } => " was cancelled".to_owned(),
    };
    if let Some(container) = container {
        in_vain(conn, job, &container, ending, now).await?;
    }
    // What needs what it was to make cannot be done, and has done nothing yet.
    let error = JobError::new("part-failed", format!("{} ({} of {id}){why}", job.id, job.kind.as_str()));
    for waiting in store::jobs::waiting_for(conn, job.user, job.id).await? {
        let ending = Ending::Failed { error: error.clone(), confirmed: waiting.is_untouched() };
        Box::pin(settle(conn, &waiting, &ending, now)).await?;
    }
    note(conn, job, "container.not_converged", Kind::Container, id.uuid(), now).await
}

/// A job made a container anew, whose configuration came with it if it has one. `ran` is whether it ran, and so was converged.
pub(super) async fn made(
    conn: &mut Conn,
    id: ContainerId,
    docker_id: Option<&str>,
    to: Option<&Convergence>,
    ran: bool,
) -> Result<(), QueueError> {
    match to {
        Some(to) if ran => store::converge::done(conn, id, docker_id, to.version).await?,
        _ => store::converge::made_anew(conn, id, to.is_some()).await?,
    }
    Ok(())
}

/// What a job was to converge its container to.
pub(super) async fn of_job(conn: &mut Conn, job: &Job) -> Result<Option<Convergence>, QueueError> {
    let whole = store::jobs::find_whole(conn, job.id).await?;
    Ok(whole.and_then(|whole| whole.command).as_ref().and_then(Command::convergence))
}

/// The converge that was asked for because it was due did not succeed. What its user asked for is his own business.
async fn in_vain(
    conn: &mut Conn,
    job: &Job,
    container: &Container,
    ending: &Ending,
    now: Timestamp,
) -> Result<(), QueueError> {
    let owed = store::converge::owed(conn, &[container.id]).await?.pop();
    let Some(owed) = owed.filter(|owed| owed.job == Some(job.id)) else { return Ok(()) };
    let user = store::users::get(conn, job.user).await?;
    let active = user.is_some_and(|user| user.state == UserState::Active);
    let wanted = match ending {
        // One that is to be gone has its jobs cancelled by whoever deletes it, and not by its user's wish for this one.
        Ending::Cancelled { .. } => container.desired != DesiredState::Removed,
        _ => container.desired == DesiredState::Running,
    };
    Ok(store::converge::keep(conn, &owed.after(ending, active && wanted, now)).await?)
}
