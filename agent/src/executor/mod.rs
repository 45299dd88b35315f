//! Takes assignments, works on them, and keeps what became of them until the coordinator has it. The session calls it;
//! it calls the journal and Docker. What must hold: nothing is worked on before it stands in the journal, an outcome
//! stands in the journal before it is shown to a session, at most `slots` jobs are in work, and jobs on one container
//! or image run one after the other.

mod archive;
mod container;
mod converge;
mod copy;
mod exec;
mod follow;
mod host;
mod image;
mod keys;
mod layers;
mod network;
mod operate;
mod outcomes;
mod ports;
mod quoted;
mod receive;
mod registry;
mod remove;
mod run;
mod secrets;
mod steps;
mod table;
mod update;
mod words;
mod work;

pub use run::Executor;
pub(crate) use run::now_us;
pub use secrets::Values;
pub use table::{JobView, Reason, Stop, Table};
pub use work::{Node, Supplies, SupplyError};

use crate::docker::{DockerError, Engine};
use crate::policy::Policy;
use crate::volumes::Carriers;
use dockerforge_protocol::ids::{ClusterId, HostId};
use dockerforge_protocol::report::{AgentFailure, FailureKind};
use std::path::PathBuf;
use std::sync::Arc;

/// What an executor works with.
pub struct Settings {
    /// Whose labels mark what is ours.
    pub cluster: ClusterId,
    /// The host this is.
    pub host: HostId,
    /// Jobs in work at a time.
    pub slots: usize,
    /// Where logs wait.
    pub spool: PathBuf,
    /// Where parts of images wait until all of them have come.
    pub layers: PathBuf,
    /// Bytes of log kept for one attempt.
    pub spool_limit: u64,
    /// What the host's owner allows.
    pub policy: Policy,
    /// The agent's own folders and files on the host, which no container is given.
    pub own_paths: Vec<PathBuf>,
    /// The Docker Engine.
    pub engine: Arc<dyn Engine>,
    /// What makes volumes accessible.
    pub carriers: Carriers,
    /// Where build contexts and secrets come from.
    pub supplies: Arc<dyn Supplies>,
    /// Whether Docker answers, as the inventory's watch sees it.
    pub docker_up: tokio::sync::watch::Receiver<bool>,
}

/// How a step ends early.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The job was stopped; its [`Stop`] says why.
    Stopped,
    /// The job failed.
    Failed(AgentFailure),
}

impl From<AgentFailure> for Ended {
    fn from(failure: AgentFailure) -> Self {
        Self::Failed(failure)
    }
}

impl From<DockerError> for Ended {
    fn from(error: DockerError) -> Self {
        Self::Failed(failure(&error, FailureKind::DockerRefused))
    }
}

/// What a Docker failure is to the coordinator; `refused` is what a plain refusal means where it happened.
pub(crate) fn failure(error: &DockerError, refused: FailureKind) -> AgentFailure {
    let kind = match error {
        DockerError::Unavailable { .. } | DockerError::Protocol { .. } => FailureKind::DockerUnavailable,
        DockerError::Timeout { .. } => FailureKind::DockerTimeout,
        DockerError::DiskFull { .. } => FailureKind::DiskFull,
        DockerError::NotFound { .. }
        | DockerError::Conflict { .. }
        | DockerError::CacheGone { .. }
        | DockerError::Refused { .. } => refused,
    };
    AgentFailure::new(kind, crate::report(error))
}

/// The names at which a test build can be killed, in the order in which a job passes them.
pub const FAULT_POINTS: &[&str] = &[
    "agent.journal.accepted",
    "agent.container.create.accepted",
    "agent.container.create.network",
    "agent.container.create.volumes",
    "agent.container.create.image",
    "agent.container.create.created",
    "agent.container.create.started",
    "agent.container.create.finished-journalled",
    "agent.container.start.accepted",
    "agent.container.start.started",
    "agent.container.start.finished-journalled",
    "agent.container.stop.accepted",
    "agent.container.stop.stopped",
    "agent.container.stop.finished-journalled",
    "agent.container.restart.accepted",
    "agent.container.restart.noted",
    "agent.container.restart.stopped",
    "agent.container.restart.started",
    "agent.container.restart.finished-journalled",
    "agent.container.exec.accepted",
    "agent.container.exec.created",
    "agent.container.exec.begun",
    "agent.container.exec.ran",
    "agent.container.exec.finished-journalled",
    "agent.container.limit.accepted",
    "agent.container.limit.updated",
    "agent.container.limit.finished-journalled",
    "agent.container.recreate.accepted",
    "agent.container.recreate.stopped",
    "agent.container.recreate.kept",
    "agent.container.recreate.created",
    "agent.container.recreate.started",
    "agent.container.recreate.well",
    "agent.container.recreate.removed",
    "agent.container.recreate.finished-journalled",
    "agent.container.delete.accepted",
    "agent.container.delete.stopped",
    "agent.container.delete.removed",
    "agent.container.delete.finished-journalled",
    "agent.container.receive.accepted",
    "agent.container.receive.emptied",
    "agent.container.receive.filled",
    "agent.container.receive.network",
    "agent.container.receive.volumes",
    "agent.container.receive.image",
    "agent.container.receive.created",
    "agent.container.receive.finished-journalled",
    "agent.container.resume.accepted",
    "agent.container.resume.started",
    "agent.container.resume.finished-journalled",
    "agent.container.discard.accepted",
    "agent.container.discard.removed",
    "agent.container.discard.finished-journalled",
    "agent.image.build.accepted",
    "agent.image.build.context",
    "agent.image.build.building",
    "agent.image.build.built",
    "agent.image.build.finished-journalled",
    "agent.image.pull.accepted",
    "agent.image.pull.pulled",
    "agent.image.pull.tagged",
    "agent.image.pull.finished-journalled",
    "agent.image.copy.accepted",
    "agent.image.copy.pulled",
    "agent.image.copy.fetched",
    "agent.image.copy.loaded",
    "agent.image.copy.finished-journalled",
    "agent.image.push.accepted",
    "agent.image.push.tagged",
    "agent.image.push.pushed",
    "agent.image.push.finished-journalled",
    "agent.image.delete.accepted",
    "agent.image.delete.removed",
    "agent.image.delete.finished-journalled",
    "agent.user.delete.accepted",
    "agent.user.delete.network",
    "agent.user.delete.finished-journalled",
];
