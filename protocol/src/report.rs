//! What an agent tells about a job, and how a job fails.

use crate::ids::JobId;
use serde::{Deserialize, Serialize};

/// One attempt at a job: what every message about a job names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attempt {
    /// The job.
    pub job: JobId,
    /// Which attempt, from 1.
    pub number: u32,
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The step that began, in words: `pulling`, `build 2/5: RUN make`.
    pub step: String,
    /// How much is done, 0 to 100, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The effect is there.
    Succeeded {
        /// What came of it.
        product: Product,
    },
    /// The effect is not there.
    Failed {
        /// Why.
        failure: AgentFailure,
    },
    /// The work was stopped because it was cancelled.
    Cancelled,
}

/// What a succeeded command made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "made", rename_all = "snake_case")]
pub enum Product {
    /// Nothing to tell: the thing is gone.
    Nothing,
    /// A container, in the state that was asked for.
    Container {
        /// Docker's id of it.
        docker_id: String,
    },
    /// A program ran to its end in a container.
    Exec {
        /// What it ended with; 128 and the signal's number where a signal ended it.
        exit_code: i64,
    },
    /// A container that is as its configuration says.
    Converged {
        /// What was changed on the way there; nothing where it was so already. At most [`MAX_RESOURCES`].
        resources: Vec<ResourceOutcome>,
    },
    /// An image.
    Image {
        /// Docker's id of it: `sha256:…`.
        docker_id: String,
        /// Its size in bytes.
        size: u64,
    },
    /// An image in the registry.
    Pushed {
        /// The digest of its manifest there: `sha256:…`.
        digest: String,
    },
}

/// How many resources a report names.
pub const MAX_RESOURCES: usize = 200;

/// What became of one resource in a converge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceOutcome {
    /// Which: a task of a role, a resource of a recipe, what a script said.
    pub resource: String,
    /// `changed`, or `failed`.
    pub status: ResourceStatus,
    /// More about it, where there is more.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// See [`ResourceOutcome`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResourceStatus {
    /// It was brought to what it should be.
    Changed,
    /// It could not be.
    Failed,
}

impl ResourceStatus {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Failed => "failed",
        }
    }
}

/// Why an attempt failed, as far as somebody may branch on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// Docker does not answer or refuses the connection.
    DockerUnavailable,
    /// A Docker call took longer than its deadline.
    DockerTimeout,
    /// Docker refused what was asked: a conflict of ports, an entry point that is not in the image.
    DockerRefused,
    /// The image is neither on the host nor in its registry, or the registry refuses it.
    ImageNotFound,
    /// No host that has the image can be reached now, nor a registry.
    SourceUnavailable,
    /// What came of an image is not what its digest says.
    ImageCorrupt,
    /// The registry refuses the image.
    RegistryRefused,
    /// The registry does not answer.
    RegistryUnavailable,
    /// The image cannot be removed: containers use it.
    ImageInUse,
    /// The container is not on the host: somebody removed it by hand, or it was never made.
    ContainerNotFound,
    /// The container does not run.
    ContainerNotRunning,
    /// What was to be done at most once was begun, and nobody knows how it ended.
    OutcomeUnknown,
    /// A step of the build failed.
    BuildFailed,
    /// A resource could not be converged.
    ConvergeFailed,
    /// The build context could not be fetched from the coordinator.
    ContextUnavailable,
    /// The container's secrets could not be fetched from the coordinator.
    SecretsUnavailable,
    /// Something that is not the asked container has its Docker name.
    NameTaken,
    /// A host port is taken by something else.
    PortTaken,
    /// The container started and ended at once.
    ExitedEarly,
    /// The disk of the host is full.
    DiskFull,
    /// The local policy of the host's owner forbids it.
    Policy,
    /// The agent does not know this command.
    Unsupported,
    /// The job's deadline passed.
    Deadline,
    /// Something failed in the agent itself.
    Internal,
}

impl FailureKind {
    /// Whether another attempt may succeed without anybody changing anything.
    #[must_use]
    pub const fn retryable(self) -> bool {
        match self {
            Self::DockerUnavailable
            | Self::DockerTimeout
            | Self::ContextUnavailable
            | Self::SecretsUnavailable
            | Self::SourceUnavailable
            | Self::RegistryUnavailable
            | Self::Internal => true,
            Self::DockerRefused
            | Self::ImageNotFound
            | Self::ImageCorrupt
            | Self::RegistryRefused
            | Self::ImageInUse
            | Self::ContainerNotFound
            | Self::ContainerNotRunning
            | Self::OutcomeUnknown
            | Self::BuildFailed
            | Self::ConvergeFailed
            | Self::NameTaken
            | Self::PortTaken
            | Self::ExitedEarly
            | Self::DiskFull
            | Self::Policy
            | Self::Unsupported
            | Self::Deadline => false,
        }
    }

    /// The name in the API and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DockerUnavailable => "docker-unavailable",
            Self::DockerTimeout => "docker-timeout",
            Self::DockerRefused => "docker-refused",
            Self::ImageNotFound => "image-not-found",
            Self::SourceUnavailable => "source-unavailable",
            Self::ImageCorrupt => "image-corrupt",
            Self::RegistryRefused => "registry-refused",
            Self::RegistryUnavailable => "registry-unavailable",
            Self::ImageInUse => "image-in-use",
            Self::ContainerNotFound => "container-not-found",
            Self::ContainerNotRunning => "container-not-running",
            Self::OutcomeUnknown => "outcome-unknown",
            Self::BuildFailed => "build-failed",
            Self::ConvergeFailed => "converge-failed",
            Self::ContextUnavailable => "context-unavailable",
            Self::SecretsUnavailable => "secrets-unavailable",
            Self::NameTaken => "name-taken",
            Self::PortTaken => "port-taken",
            Self::ExitedEarly => "exited-early",
            Self::DiskFull => "disk-full",
            Self::Policy => "policy",
            Self::Unsupported => "unsupported",
            Self::Deadline => "deadline",
            Self::Internal => "internal",
        }
    }
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}: {detail}", kind.as_str())]
pub struct AgentFailure {
    /// What to branch on.
    pub kind: FailureKind,
    /// What to show: one sentence, with the thing it is about and Docker's own words where it spoke.
    pub detail: String,
}

impl AgentFailure {
    /// A failure of this kind with this explanation.
    #[must_use]
    pub fn new(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// See [`FailureKind::retryable`].
    #[must_use]
    pub const fn retryable(&self) -> bool {
        self.kind.retryable()
    }
}

/// Why an agent did not take a job that it was assigned. The attempt does not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum Refusal {
    /// All its places are taken; the job may come again when one is free.
    Busy,
    /// Docker does not answer; the job may come again when it does.
    DockerDown,
    /// It shuts down, or was told to drain.
    Draining,
    /// Its journal cannot be written, so that it cannot promise anything.
    JournalUnwritable {
        /// Why not.
        detail: String,
    },
    /// It does not know the command. Final.
    Unsupported {
        /// The command's name.
        command: String,
    },
}
