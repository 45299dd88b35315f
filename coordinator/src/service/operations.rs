//! What is done with a container that is there: starting, stopping, restarting it. Each is one transaction: what the
//! container is meant to do from now on, and the job that makes it so. Called by `http`.

use super::idempotency::{self, Key};
use super::{Result, Services, host_access, once};
use crate::access::{Permit, Write};
use crate::domain::container::{Container, DesiredState};
use crate::domain::job::{JobKind, Subject};
use crate::domain::quota::{Amounts, Counted};
use crate::domain::{Kind, Refusal, Timestamp, Violation};
use crate::queue::{self, Request};
use crate::store::{self, Conn};
use dockerforge_protocol::command::{Command, ExecContainer, StartContainer, StopContainer};
use dockerforge_protocol::ids::{ContainerId, HostId, JobId, UserId};
use dockerforge_protocol::spec::{AbsolutePath, EnvName, RunAs};
use jiff::SignedDuration;
use std::collections::BTreeMap;

/// What to do with a container.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Let it run.
    Start,
    /// Let it end, killing it after that many seconds; where none are named, after its own.
    Stop(Option<u32>),
    /// The one, then the other.
    Restart(Option<u32>),
    /// Run a program in it.
    Exec(Program),
}

/// A program to run in a container.
#[derive(Debug, Clone)]
pub struct Program {
    /// It and its arguments.
    pub command: Vec<String>,
    /// Environment variables beside the container's own.
    pub env: BTreeMap<EnvName, String>,
    /// Who it runs as.
    pub run_as: Option<RunAs>,
    /// The folder it begins in.
    pub workdir: Option<AbsolutePath>,
    /// Seconds that it may run.
    pub limit_s: u32,
}

impl Operation {
    /// The job that does it, and what the container is meant to do from then on.
    const fn means(&self) -> (JobKind, Option<DesiredState>) {
        match self {
            Self::Start => (JobKind::ContainerStart, Some(DesiredState::Running)),
            Self::Stop(_) => (JobKind::ContainerStop, Some(DesiredState::Stopped)),
            Self::Restart(_) => (JobKind::ContainerRestart, Some(DesiredState::Running)),
            Self::Exec(_) => (JobKind::ContainerExec, None),
        }
    }

    /// What the agent is asked.
    fn command(self, container: &Container) -> Command {
        let (id, user) = (container.id, container.user);
        let stop = |grace: Option<u32>| StopContainer {
            container: id,
            user,
            grace_s: grace.unwrap_or_else(|| container.grace()),
        };
        match self {
            Self::Start => Command::StartContainer(StartContainer { container: id, user }),
            Self::Stop(grace) => Command::StopContainer(stop(grace)),
            Self::Restart(grace) => Command::RestartContainer(stop(grace)),
            Self::Exec(Program { command, env, run_as, workdir, limit_s }) => {
                let secrets = !container.spec.secrets.is_empty();
                Command::ExecContainer(ExecContainer {
                    container: id,
                    user,
                    command,
                    env,
                    run_as,
                    workdir,
                    limit_s,
                    secrets,
                })
            }
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
            let (permit, key, operation) = (permit.clone(), key.cloned(), operation.clone());
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

/// How a request about a container begins.
pub(super) enum Begun {
    /// It was made before, and came to this job.
    Again(JobId),
    /// It is new: the container, held, and the job that it is to come to.
    New { container: Box<Container>, job: JobId, now: Timestamp },
}

/// Begins a request about a container that is there and stays there.
pub(super) async fn begin(conn: &mut Conn, user: UserId, key: Option<&Key>, id: ContainerId) -> Result<Begun> {
    // Held before the job gets its id: jobs about one container are done in the order of their ids.
    let container = store::containers::hold(conn, user, id).await?;
    let (now, job) = (crate::clock::now(), JobId::new());
    if let Some(replay) = idempotency::begin(conn, user, key, Kind::Job, job.uuid(), None, now).await? {
        return Ok(Begun::Again(JobId::from_uuid(replay.id)));
    }
    let container = container.ok_or(Refusal::NotFound(Kind::Container))?;
    if container.desired == DesiredState::Removed {
        return Err(Refusal::BeingDeleted(Kind::Container).into());
    }
    if let Some(moves) = store::moves::of_container(conn, id).await? {
        return Err(Refusal::Moving(moves).into());
    }
    Ok(Begun::New { container: Box::new(container), job, now })
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
    let (container, job, now) = match begin(conn, user, key, id).await? {
        Begun::New { container, job, now } => (*container, job, now),
        Begun::Again(job) => return Ok((job, None)),
    };
    let (kind, desired) = operation.means();
    if desired.is_none() && container.desired == DesiredState::Stopped {
        return Err(Refusal::NotRunning(id).into());
    }
    if desired.is_none() {
        // A program in a container that reaches into its host does, too.
        host_access::demand(conn, &container, permit.scopes()).await?;
    }
    let command = operation.command(&container);
    if let Command::ExecContainer(exec) = &command {
        let problems = exec.problems().into_iter();
        let violations: Vec<_> = problems.map(|(pointer, detail)| Violation { pointer, detail }).collect();
        if !violations.is_empty() {
            return Err(Refusal::Invalid(violations).into());
        }
    }
    if let Some(desired) = desired {
        if desired == DesiredState::Running && container.desired != DesiredState::Running {
            queue::admit(conn, user, |_| Ok(Amounts::of(&[(Counted::RunningContainers, 1)]))).await?;
        }
        store::containers::set_desired(conn, id, desired).await?;
    }
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
