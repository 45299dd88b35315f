//! Everything a coordinator may ask of an agent: a closed enumeration. Each command names its effect (by an id that
//! becomes a Docker name or label), so that a repeat adopts what is there instead of making a second one.

use crate::ids::{ConfigurationId, ContainerId, ImageId, JobId, UserId};
use crate::spec::{
    AbsolutePath, CONTAINER_MOVES, ContainerSpec, EnvName, IMAGE_COPIES, ImageRef, ResourceName, Resources,
    RestartPolicy, RunAs, argument_problems, env_problems,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// One thing to do. The journal of the agent and the queue of the coordinator keep it as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    /// Make sure that the container exists as specified, and runs.
    CreateContainer(CreateContainer),
    /// Make sure that the container runs.
    StartContainer(StartContainer),
    /// Make sure that the container does not run.
    StopContainer(StopContainer),
    /// Stop the container if it runs, and start it: once a job, however often the job is attempted.
    RestartContainer(StopContainer),
    /// Run a program in the container that is running: begun at most once.
    ExecContainer(ExecContainer),
    /// Bring the container that is running to what its configuration says: repeated, it changes nothing more.
    ConvergeContainer(ConvergeContainer),
    /// Change the limits and the restart policy of the container where it is.
    UpdateContainer(UpdateContainer),
    /// Make sure that the container is as specified, by making it anew; if that cannot be, it stays as it was.
    RecreateContainer(RecreateContainer),
    /// Make sure that the container does not exist.
    RemoveContainer(RemoveContainer),
    /// Make sure that a container of another host is here too, with what is in its volumes there; it is not started.
    ReceiveContainer(ReceiveContainer),
    /// Make sure that the container that was received runs, and is well.
    ResumeContainer(ResumeContainer),
    /// Make sure that nothing is left of what was received.
    DiscardContainer(DiscardContainer),
    /// Build an image from a context.
    BuildImage(BuildImage),
    /// Make sure that a referenced image is on the host.
    PullImage(PullImage),
    /// Make sure that an image which is on other hosts is on this one too.
    CopyImage(CopyImage),
    /// Make sure that an image which is on the host is in the registry.
    PushImage(PushImage),
    /// Make sure that the image is not on the host under our name.
    RemoveImage(RemoveImage),
    /// Make sure that a user's networks (and volumes, if asked) are gone from the host. Refuses while a container of
    /// his is there.
    RemoveUser(RemoveUser),
}

impl Command {
    /// The name of the command, as refusals and logs write it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::CreateContainer(_) => "create_container",
            Self::StartContainer(_) => "start_container",
            Self::StopContainer(_) => "stop_container",
            Self::RestartContainer(_) => "restart_container",
            Self::ExecContainer(_) => "exec_container",
            Self::ConvergeContainer(_) => "converge_container",
            Self::UpdateContainer(_) => "update_container",
            Self::RecreateContainer(_) => "recreate_container",
            Self::RemoveContainer(_) => "remove_container",
            Self::ReceiveContainer(_) => "receive_container",
            Self::ResumeContainer(_) => "resume_container",
            Self::DiscardContainer(_) => "discard_container",
            Self::BuildImage(_) => "build_image",
            Self::PullImage(_) => "pull_image",
            Self::CopyImage(_) => "copy_image",
            Self::PushImage(_) => "push_image",
            Self::RemoveImage(_) => "remove_image",
            Self::RemoveUser(_) => "remove_user",
        }
    }

    /// What an agent must have named in its hello to be sent this.
    #[must_use]
    pub fn features(&self) -> Vec<&'static str> {
        match self {
            Self::CreateContainer(create) | Self::RecreateContainer(RecreateContainer { create, .. }) => {
                let converges = create.converge.as_ref().map(|_| LAUNCH_FEATURE);
                create.spec.feature().into_iter().chain(converges).collect()
            }
            Self::BuildImage(build) if !build.limits.is_empty() => vec![BUILD_LIMITS],
            Self::CopyImage(_) | Self::PushImage(_) => vec![IMAGE_COPIES],
            // What reaches into its host, and has a feature of its own, is not moved.
            Self::ReceiveContainer(_) | Self::ResumeContainer(_) | Self::DiscardContainer(_) => vec![CONTAINER_MOVES],
            _ => Vec::new(),
        }
    }

    /// What it converges a container to, if it does.
    #[must_use]
    pub fn convergence(&self) -> Option<Convergence> {
        match self {
            Self::CreateContainer(create) | Self::RecreateContainer(RecreateContainer { create, .. }) => {
                create.converge.clone()
            }
            Self::ConvergeContainer(command) => Some(Convergence {
                configuration: command.configuration,
                version: command.version,
                context: command.context.clone(),
                limit_s: command.limit_s,
            }),
            _ => None,
        }
    }
}

/// See [`Command::CreateContainer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateContainer {
    /// Gives the Docker name, which makes creation a compare-and-set in Docker.
    pub container: ContainerId,
    /// Whose it is; gives its network and the namespace of its volumes.
    pub user: UserId,
    /// The name its user gave it: its DNS alias in the user's network.
    pub name: ResourceName,
    /// The image to run, by the name [`local_tag`] gives it on the host.
    pub image: ImageId,
    /// What it is to be.
    pub spec: ContainerSpec,
    /// How it is held back, whatever its user asks for.
    #[serde(default, skip_serializing_if = "Hardening::is_docker")]
    pub hardening: Hardening,
    /// What it is brought to as soon as it runs: only then is it made. An agent that does not name [`LAUNCH_FEATURE`] is
    /// never sent this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub converge: Option<Convergence>,
}

/// What an agent names that converges a container when it makes it.
pub const LAUNCH_FEATURE: &str = "launch-converge";

/// What a container is brought to. The node with its secrets is asked of the coordinator, as for
/// [`Command::ConvergeContainer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Convergence {
    /// To which configuration.
    pub configuration: ConfigurationId,
    /// In which version.
    pub version: u32,
    /// What to lay down in the container, as [`ConvergeContainer::context`].
    pub context: ContextRef,
    /// Seconds that it may take beyond what making the container may.
    pub limit_s: u32,
}

/// How a container is held back beyond what Docker does anyway.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hardening {
    /// Docker's own defaults: its capabilities, its seccomp profile.
    #[default]
    Docker,
    /// As on hosts that many users share: no program gains privileges that its parent did not have, some of Docker's
    /// default capabilities are not given, and processors, memory and processes are limited.
    Pool,
}

impl Hardening {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference to the field")]
    const fn is_docker(&self) -> bool {
        matches!(self, Self::Docker)
    }
}

impl CreateContainer {
    /// A fingerprint of everything that decides what the container is: SHA-256 of the command's JSON, in hex. Kept as
    /// a label, so that a container found under the name is adopted only if it is the one that was asked for.
    #[must_use]
    pub fn spec_hash(&self) -> String {
        // What it is converged to says how it is inside, and is no part of what Docker is asked for.
        let made = Self { converge: None, ..self.clone() };
        // Maps are ordered and there are no floats: equal commands give equal bytes.
        let json = serde_json::to_vec(&made).unwrap_or_default();
        hex::encode(Sha256::digest(json))
    }
}

/// See [`Command::StartContainer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartContainer {
    /// Which.
    pub container: ContainerId,
    /// Whose it is.
    pub user: UserId,
}

/// See [`Command::StopContainer`] and [`Command::RestartContainer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopContainer {
    /// Which.
    pub container: ContainerId,
    /// Whose it is.
    pub user: UserId,
    /// Seconds it may take to end by itself before it is killed.
    pub grace_s: u32,
}

/// See [`Command::ExecContainer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecContainer {
    /// In which.
    pub container: ContainerId,
    /// Whose it is.
    pub user: UserId,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Environment variables beside the container's own.
    #[serde(default)]
    pub env: BTreeMap<EnvName, String>,
    /// Who it runs as; as the container's own program where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_as: Option<RunAs>,
    /// The folder it begins in; the container's own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<AbsolutePath>,
    /// Seconds that it may run before it is killed.
    pub limit_s: u32,
    /// Whether the container has secrets, which must not stand in the job's log.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secrets: bool,
}

impl ExecContainer {
    /// The rules that span fields, as [`ContainerSpec::problems`].
    #[must_use]
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if self.command.is_empty() {
            problems.push(("/command".to_owned(), "expected a program".to_owned()));
        }
        argument_problems("/command", &self.command, &mut problems);
        env_problems(&self.env, &mut problems);
        problems
    }
}

/// See [`Command::ConvergeContainer`]. The node with its secrets is asked of the coordinator while the job is in work
/// ([`crate::enrolment::NODE_PATH`]): it stands in no command and no journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConvergeContainer {
    /// Which.
    pub container: ContainerId,
    /// Whose it is.
    pub user: UserId,
    /// To which configuration.
    pub configuration: ConfigurationId,
    /// In which version.
    pub version: u32,
    /// What to lay down in the container under [`CONVERGE_HOME`]: the provisioner's files and the template's archive.
    pub context: ContextRef,
    /// Seconds that it may take before it is killed.
    pub limit_s: u32,
}

/// The folder in a container with what converges it.
pub const CONVERGE_HOME: &str = "/opt/dockerforge";
/// What a line begins with in which a converge says, as JSON, what became of a resource: see
/// [`crate::report::ResourceOutcome`].
pub const OUTCOME_MARK: &str = "dockerforge-outcome: ";

/// See [`Command::UpdateContainer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateContainer {
    /// Which.
    pub container: ContainerId,
    /// Whose it is.
    pub user: UserId,
    /// Its limits from now on; one that is absent stays as it is.
    pub resources: Resources,
    /// When Docker restarts it from now on.
    pub restart: RestartPolicy,
}

/// See [`Command::RecreateContainer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecreateContainer {
    /// What it is to be.
    pub create: CreateContainer,
    /// Whether it is meant to run.
    pub run: bool,
    /// Seconds that the one that is there may take to end before it is killed.
    pub grace_s: u32,
}

/// See [`Command::RemoveContainer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveContainer {
    /// Which.
    pub container: ContainerId,
    /// Whose it is.
    pub user: UserId,
    /// Whether the named volumes it mounts go too, those that no other container mounts.
    pub volumes: bool,
}

/// See [`Command::ReceiveContainer`]. What is in its volumes is asked of the coordinator while the job is in work
/// ([`crate::enrolment::VOLUMES_PATH`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiveContainer {
    /// What it is to be.
    pub create: CreateContainer,
}

/// See [`Command::ResumeContainer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumeContainer {
    /// Which.
    pub container: ContainerId,
    /// Whose it is.
    pub user: UserId,
    /// When Docker restarts it, which tells whether one that has ended may have ended well.
    pub restart: RestartPolicy,
}

/// See [`Command::DiscardContainer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscardContainer {
    /// Which.
    pub container: ContainerId,
    /// Whose it is.
    pub user: UserId,
    /// The job that received it: what another one made stays.
    pub received_by: JobId,
}

/// See [`Command::BuildImage`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildImage {
    /// Gives the tag.
    pub image: ImageId,
    /// Whose it is.
    pub user: UserId,
    /// The context to fetch from the coordinator.
    pub context: ContextRef,
    /// Where the Dockerfile stands in the context.
    pub dockerfile: String,
    /// `--build-arg`s, in order of name.
    #[serde(default)]
    pub build_args: std::collections::BTreeMap<String, String>,
    /// Whether Docker's build cache is not to be used.
    #[serde(default)]
    pub no_cache: bool,
    /// What each step of it may use: processors and memory alone.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub limits: Resources,
}

/// What an agent names in its hello that holds builds to limits.
pub const BUILD_LIMITS: &str = "build-limits";

/// A build context that the coordinator keeps: a canonical, uncompressed tar, served to the agent that holds the job (see
/// [`crate::enrolment::CONTEXT_PATH`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextRef {
    /// SHA-256 of the tar, in lower-case hex.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
}

/// See [`Command::PullImage`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullImage {
    /// Gives the tag.
    pub image: ImageId,
    /// Whose it is.
    pub user: UserId,
    /// What to pull. An image of that reference that is on the host already is used where the registry has none.
    pub reference: ImageRef,
}

/// See [`Command::CopyImage`]. Where it is to be had, and what its content is, is asked of the coordinator while the job is
/// in work ([`crate::enrolment::COPIES_PATH`]): when it was enqueued, the image may not have been built yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyImage {
    /// Which, and the tag it gets.
    pub image: ImageId,
    /// Whose it is.
    pub user: UserId,
}

/// See [`Command::PushImage`]. Where to, and with what right, is asked of the coordinator as for [`CopyImage`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushImage {
    /// Which.
    pub image: ImageId,
    /// Whose it is.
    pub user: UserId,
}

/// See [`Command::RemoveImage`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveImage {
    /// Which.
    pub image: ImageId,
    /// Whose it is.
    pub user: UserId,
}

/// See [`Command::RemoveUser`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveUser {
    /// Whose things go.
    pub user: UserId,
    /// Whether his named volumes go too.
    pub volumes: bool,
}

/// The Docker name of a container of ours.
#[must_use]
pub fn docker_name(container: ContainerId) -> String {
    format!("df-{container}")
}

/// The Docker name under which a container is kept while it is made anew.
#[must_use]
pub fn kept_name(container: ContainerId) -> String {
    format!("df-{container}-old")
}

/// What the names of our images on a host begin with. The `.invalid` registry (RFC 2606) makes sure that nobody ever pulls or
/// pushes them by mistake.
pub const LOCAL_REGISTRY: &str = "dockerforge.invalid";

/// The repository and tag of an image of ours on a host.
#[must_use]
pub fn local_tag(image: ImageId) -> String {
    format!("{LOCAL_REGISTRY}/{image}:latest")
}

/// The Docker name of a user's network on a host.
#[must_use]
pub fn network_name(user: UserId) -> String {
    format!("df-{user}")
}

/// The Docker name of a user's named volume on a host.
#[must_use]
pub fn volume_name(user: UserId, volume: &crate::spec::VolumeName) -> String {
    format!("df-{user}-{volume}")
}

/// The labels that mark what is ours. A container, network or volume without [`labels::CLUSTER`] of our cluster is never touched;
/// what an image is, its name says.
pub mod labels {
    /// The cluster that made it.
    pub const CLUSTER: &str = "dev.dockerforge.cluster";
    /// The host it was made for.
    pub const HOST: &str = "dev.dockerforge.host";
    /// Whose it is.
    pub const USER: &str = "dev.dockerforge.user";
    /// The container's id.
    pub const CONTAINER: &str = "dev.dockerforge.container";
    /// The image's id.
    pub const IMAGE: &str = "dev.dockerforge.image";
    /// The job that made it.
    pub const JOB: &str = "dev.dockerforge.job";
    /// The fingerprint of what it was asked to be.
    pub const SPEC_HASH: &str = "dev.dockerforge.spec-hash";
    /// The ports of the host that were chosen for it: `80/tcp=20123`, with commas between.
    pub const PORTS: &str = "dev.dockerforge.ports";
    /// The volume's name as its user wrote it.
    pub const VOLUME: &str = "dev.dockerforge.volume";
    /// The container whose volume this one, which never runs, makes accessible for a while.
    pub const CARRIES: &str = "dev.dockerforge.carries";
}
