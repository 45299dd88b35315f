//! What is done with a container that is there: starting, stopping, restarting it. Each is one transaction: what the
//! container is meant to do from now on, and the job that makes it so. Called by `http`.

use super::idempotency::{self, Key};
use super::{Result, Services, once};
use crate::access::{Permit, Write};
use crate::domain::container::DesiredState;
use crate::domain::job::{JobKind, Subject};
use crate::domain::{Kind, Refusal};
use crate::queue::{self, Request};
use crate::store::{self, Conn};
use dockerforge_protocol::command::{Command, StartContainer, StopContainer};
use dockerforge_protocol::ids::{ContainerId, HostId, JobId};
use dockerforge_protocol::spec::Seconds;
use jiff::SignedDuration;

/// Seconds that a container may take to end, where nobody says.
pub(super) const GRACE: u32 = 10;

/// What to do with a container.
#[derive(Debug, Clone, Copy)]
pub enum Operation {
    /// Let it run.
    Start,
    /// Let it end, killing it after that many seconds; where none are named, after its own.
    Stop(Option<u32>),
    /// The one, then the other.
    Restart(Option<u32>),
}

impl Operation {
    /// The job that does it, and what the container is meant to do from then on.
    const fn means(self) -> (JobKind, DesiredState) {
        match self {
            Self::Start => (JobKind::ContainerStart, DesiredState::Running),
            Self::Stop(_) => (JobKind::ContainerStop, DesiredState::Stopped),
            Self::Restart(_) => (JobKind::ContainerRestart, DesiredState::Running),
        }
    }
}

impl Services {
    /// Asks for something to be done with a container, after all that was asked for before; `wait` is how long it may
    /// wait for its host.
    pub async fn container_operate(
        &self,
        permit: &Permit<Write>,
        key: Option<&Key>,
        id: ContainerId,
        operation: Operation,
        wait: Option<SignedDuration>,
    ) -> Result<JobId> {
        let (job, host) = once!({
            let (permit, key) = (permit.clone(), key.cloned());
            self.store
                .write(move |conn| {
                    Box::pin(async move { operate(conn, &permit, key.as_ref(), id, operation, wait).await })
                })
                .await
        })?;
        // A repeat enqueues nothing.
        if let Some(host) = host {
            self.signals.wake_host(host);
        }
        Ok(job)
    }
}

async fn operate(
    conn: &mut Conn,
    permit: &Permit<Write>,
    key: Option<&Key>,
    id: ContainerId,
    operation: Operation,
    wait: Option<SignedDuration>,
) -> Result<(JobId, Option<HostId>)> {
    let user = permit.user();
    // Held before the job gets its id: jobs about one container are done in the order of their ids.
    let container = store::containers::hold(conn, user, id).await?;
    let (now, job) = (crate::clock::now(), JobId::new());
    if let Some(replay) = idempotency::begin(conn, user, key, Kind::Job, job.uuid(), None, now).await? {
        return Ok((JobId::from_uuid(replay.id), None));
    }
    let container = container.ok_or(Refusal::NotFound(Kind::Container))?;
    if container.desired == DesiredState::Removed {
        return Err(Refusal::BeingDeleted(Kind::Container).into());
    }
    let (kind, desired) = operation.means();
    let own = container.spec.stop_grace.map_or(GRACE, Seconds::get);
    let stop = |grace: Option<u32>| StopContainer { container: id, user, grace_s: grace.unwrap_or(own) };
    let command = match operation {
        Operation::Start => Command::StartContainer(StartContainer { container: id, user }),
        Operation::Stop(grace) => Command::StopContainer(stop(grace)),
        Operation::Restart(grace) => Command::RestartContainer(stop(grace)),
    };
    store::containers::set_desired(conn, id, desired).await?;
    let request = Request {
        id: job,
        user,
        work: Some((container.host, command)),
        parent: None,
        kind,
        subject: Subject::Container(id),
        wait,
    };
    queue::enqueue(conn, request, now).await?;
    store::records::audit(conn, permit.origin(), kind.as_str(), Kind::Container, id.uuid(), now).await?;
    Ok((job, Some(container.host)))
}
