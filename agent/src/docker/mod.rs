//! What the agent asks of a Docker Engine: exactly these calls, with a deadline each and one taxonomy of failures. The
//! executor and the inventory call it; [`engine`] is the real one (the only user of bollard), [`fake`] the deterministic
//! one of the tests. What must hold: every call ends, and a call that timed out or lost its connection may have had its
//! effect, so callers ask again by name instead of assuming.

pub mod engine;
#[cfg(feature = "testing")]
pub mod fake;
pub mod live;
pub mod transfer;

use bytes::Bytes;
use dockerforge_protocol::inventory::{ContainerState, DockerInfo, Health, ObservedPort};
use dockerforge_protocol::spec::{Healthcheck, HostAccess, PortProtocol, Resources};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The answer of a call.
pub type Call<'a, T> = BoxFuture<'a, Result<T, DockerError>>;
/// What the daemon sends while it works.
pub type Events<T> = BoxStream<'static, Result<T, DockerError>>;
/// A build context on its way to the daemon.
pub type ContextStream = BoxStream<'static, std::io::Result<Bytes>>;
/// Labels of an object.
pub type LabelMap = BTreeMap<String, String>;

/// What lies under a failure; no one branches on it.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// How a call fails.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// The daemon does not answer or the connection broke. The call may have had its effect.
    #[error("Docker does not answer ({call})")]
    Unavailable {
        /// Which call.
        call: &'static str,
        /// What the transport said.
        #[source]
        source: Cause,
    },
    /// The call took longer than its deadline. It may still have its effect.
    #[error("Docker did not answer within {} s ({call})", after.as_secs())]
    Timeout {
        /// Which call.
        call: &'static str,
        /// The deadline.
        after: Duration,
    },
    /// What the call names is not there (404).
    #[error("{message}")]
    NotFound {
        /// Docker's words.
        message: String,
    },
    /// The call conflicts with what is there (409).
    #[error("{message}")]
    Conflict {
        /// Docker's words.
        message: String,
    },
    /// The daemon's disk is full.
    #[error("{message}")]
    DiskFull {
        /// Docker's words.
        message: String,
    },
    /// A build found a layer in the cache that the removal of another image has taken meanwhile.
    #[error("{message}")]
    CacheGone {
        /// Docker's words.
        message: String,
    },
    /// The daemon refused for another reason.
    #[error("{message}")]
    Refused {
        /// The HTTP status; 0 where the refusal stood in a stream.
        status: u16,
        /// Docker's words.
        message: String,
    },
    /// The daemon answered something that is not its API.
    #[error("Docker's answer could not be read ({call})")]
    Protocol {
        /// Which call.
        call: &'static str,
        /// What could not be read.
        #[source]
        source: Cause,
    },
}

/// A network of ours, or somebody else's under our name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Docker's id.
    pub id: String,
    /// Its labels.
    pub labels: LabelMap,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: LabelMap,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Docker's id: `sha256:…`.
    pub id: String,
    /// Bytes.
    pub size: u64,
    /// `repository:tag` of each of its tags.
    pub tags: Vec<String>,
    /// Its labels.
    pub labels: LabelMap,
    /// When it was made, microseconds since 1970-01-01 UTC; a list of images does not tell it.
    pub created_at: Option<i64>,
    /// The digests of its uncompressed layers, the lowest first; a list of images does not tell them.
    pub layers: Vec<String>,
}

/// A container in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerLine {
    /// Docker's id.
    pub id: String,
    /// Its Docker name.
    pub name: String,
    /// Its labels.
    pub labels: LabelMap,
    /// Its state.
    pub state: ContainerState,
    /// The ports it publishes.
    pub ports: Vec<ObservedPort>,
    /// The first address it has in a network.
    pub address: Option<IpAddr>,
}

/// A container in detail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Docker's id.
    pub id: String,
    /// Its labels.
    pub labels: LabelMap,
    /// Its state.
    pub state: ContainerState,
    /// How well it is, where it is checked.
    pub health: Option<Health>,
    /// The exit code, once it has ended.
    pub exit_code: Option<i64>,
    /// How long it may take to end, where it was made so.
    pub stop_timeout: Option<Duration>,
    /// When it last started, microseconds since 1970-01-01 UTC.
    pub started_at: Option<i64>,
    /// The names of the volumes it mounts.
    pub volumes: Vec<String>,
    /// The files and folders of the host that it mounts.
    pub binds: Vec<PathBuf>,
}

/// Docker's name of the host's network.
pub const HOST_NETWORK: &str = "host";

/// A container to make. Made by the executor alone, from a parsed spec: no field here comes from a user's JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is one of Docker's own")]
pub struct NewContainer {
    /// Its Docker name.
    pub name: String,
    /// The image's name on the host.
    pub image: String,
    /// Program and arguments; the image's own where empty.
    pub command: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Its labels.
    pub labels: LabelMap,
    /// The network it joins; [`HOST_NETWORK`] is none of its own.
    pub network: String,
    /// Its DNS name there.
    pub alias: String,
    /// Names of its own for other containers: the other's Docker name, the alias.
    pub links: Vec<(String, String)>,
    /// Container port, protocol, host port.
    pub ports: Vec<(u16, PortProtocol, u16)>,
    /// Volume name, path in the container, whether read-only.
    pub volumes: Vec<(String, String, bool)>,
    /// Whether nothing of the image is copied into volumes that are empty, as Docker does otherwise.
    pub keep_volumes: bool,
    /// Billionths of a processor.
    pub nano_cpus: Option<i64>,
    /// Bytes of memory; no swap on top.
    pub memory: Option<i64>,
    /// Processes and threads.
    pub pids: Option<i64>,
    /// A folder with a volume of the container's own, without a name, that goes with it.
    pub private: Option<&'static str>,
    /// Docker's name of the restart policy.
    pub restart: &'static str,
    /// The program before `command`; the image's own where absent.
    pub entrypoint: Option<Vec<String>>,
    /// Who it runs as; as the image says where absent.
    pub user: Option<String>,
    /// The folder it begins in; as the image says where absent.
    pub workdir: Option<String>,
    /// Its own name; Docker's short id where absent.
    pub hostname: Option<String>,
    /// Path and bytes of each file system in memory.
    pub tmpfs: Vec<(String, Option<i64>)>,
    /// Whether its root is read-only.
    pub read_only: bool,
    /// Whether Docker's init is its first process.
    pub init: bool,
    /// How it is checked; as the image says where absent.
    pub healthcheck: Option<Healthcheck>,
    /// The signal that asks it to end.
    pub stop_signal: Option<String>,
    /// Seconds that it may take to end.
    pub stop_timeout: Option<i64>,
    /// Whether no program of it may gain privileges that its parent did not have.
    pub no_new_privileges: bool,
    /// Which of Docker's default capabilities it does not have.
    pub drop_capabilities: Vec<String>,
    /// What it is given of the host, the sources of its mounts without links.
    pub host: HostAccess,
}

/// What can be changed of a container where it is; what is absent stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Billionths of a processor.
    pub nano_cpus: Option<i64>,
    /// Bytes of memory; no swap on top.
    pub memory: Option<i64>,
    /// Processes and threads.
    pub pids: Option<i64>,
    /// Docker's name of the restart policy.
    pub restart: &'static str,
}

/// A program to run in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewExec {
    /// Program and arguments.
    pub command: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Who it runs as; as the container's own program where absent.
    pub user: Option<String>,
    /// The folder it begins in; the container's own where absent.
    pub workdir: Option<String>,
    /// Whether it is given something to read.
    pub reads: bool,
}

/// A program in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exec {
    /// Whether it runs.
    pub running: bool,
    /// What it ended with, once it has.
    pub exit_code: Option<i64>,
}

/// An image to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBuild {
    /// `repository:tag` of the result.
    pub tag: String,
    /// The Dockerfile in the context.
    pub dockerfile: String,
    /// `--build-arg`s.
    pub args: BTreeMap<String, String>,
    /// Labels of the result.
    pub labels: LabelMap,
    /// Whether the cache is left aside.
    pub no_cache: bool,
    /// What each step may use.
    pub limits: Resources,
}

/// One message of a build or a pull.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Text for the log, as it comes.
    pub text: String,
    /// The layer it is about (pull).
    pub layer: Option<String>,
    /// Done and to do, bytes (pull).
    pub bytes: Option<(u64, u64)>,
}

/// Something happened to a container or an image; only a hint to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// Docker's id of the object.
    pub id: String,
}

/// A Docker Engine.
pub trait Engine: live::Live + transfer::Transfer {
    /// Whether it answers.
    fn ping(&self) -> Call<'_, ()>;
    /// What it is.
    fn version(&self) -> Call<'_, DockerInfo>;
    /// What of the host is its own: its socket, its data, its containerd's socket, where it tells.
    fn own_paths(&self) -> Call<'_, Vec<PathBuf>>;
    /// What happens, from now on. Ends when the connection does.
    fn events(&self) -> Call<'_, Events<Hint>>;

    /// The network of that name.
    fn network_inspect<'a>(&'a self, name: &'a str) -> Call<'a, Network>;
    /// Makes a bridge network; [`DockerError::Conflict`] where the name exists.
    fn network_create<'a>(&'a self, name: &'a str, labels: &'a LabelMap) -> Call<'a, ()>;
    /// Removes a network.
    fn network_remove<'a>(&'a self, name: &'a str) -> Call<'a, ()>;

    /// The volume of that name.
    fn volume_inspect<'a>(&'a self, name: &'a str) -> Call<'a, Volume>;
    /// Makes a local volume without options; the existing one where the name exists.
    fn volume_create<'a>(&'a self, name: &'a str, labels: &'a LabelMap) -> Call<'a, ()>;
    /// Removes a volume; [`DockerError::Conflict`] while it is in use.
    fn volume_remove<'a>(&'a self, name: &'a str) -> Call<'a, ()>;
    /// The volumes that carry all these labels, each `key=value`.
    fn volume_list<'a>(&'a self, labels: &'a [String]) -> Call<'a, Vec<Volume>>;

    /// The image of that reference.
    fn image_inspect<'a>(&'a self, reference: &'a str) -> Call<'a, Image>;
    /// Gives an image one more `repository:tag`, taking it from another image that has it.
    fn image_tag<'a>(&'a self, reference: &'a str, tag: &'a str) -> Call<'a, ()>;
    /// Removes a tag, and the image with its last one; [`DockerError::Conflict`] while a container uses it.
    fn image_remove<'a>(&'a self, reference: &'a str) -> Call<'a, ()>;
    /// The images that have a tag of this pattern.
    fn image_list<'a>(&'a self, pattern: &'a str) -> Call<'a, Vec<Image>>;
    /// Pulls; the end of the stream without an error is success.
    fn image_pull<'a>(&'a self, name: &'a str, tag: &'a str) -> Call<'a, Events<Output>>;
    /// Builds; dropping the stream stops the build. The end of the stream without an error is success.
    fn image_build<'a>(&'a self, build: &'a NewBuild, context: ContextStream) -> Call<'a, Events<Output>>;

    /// Makes a container and answers Docker's id; [`DockerError::Conflict`] where the name exists.
    fn container_create<'a>(&'a self, container: &'a NewContainer) -> Call<'a, String>;
    /// Unpacks an archive (tar) into a folder that is in the container, or in a volume of it, whether it runs or not.
    fn container_unpack<'a>(&'a self, id: &'a str, folder: &'a str, archive: ContextStream) -> Call<'a, ()>;
    /// Starts it; no error where it runs.
    fn container_start<'a>(&'a self, id: &'a str) -> Call<'a, ()>;
    /// Stops it, killing it after the grace; no error where it does not run.
    fn container_stop<'a>(&'a self, id: &'a str, grace: Duration) -> Call<'a, ()>;
    /// Removes it even if it runs, with its anonymous volumes.
    fn container_remove<'a>(&'a self, id: &'a str) -> Call<'a, ()>;
    /// Gives it another name; [`DockerError::Conflict`] where the name exists.
    fn container_rename<'a>(&'a self, id: &'a str, name: &'a str) -> Call<'a, ()>;
    /// Changes its limits and its restart policy.
    fn container_update<'a>(&'a self, id: &'a str, limits: &'a Limits) -> Call<'a, ()>;
    /// Prepares a program in a running container and answers Docker's id of it; nothing runs yet.
    /// [`DockerError::Conflict`] where the container does not run.
    fn exec_create<'a>(&'a self, container: &'a str, exec: &'a NewExec) -> Call<'a, String>;
    /// Begins a prepared program, which reads `input` if it reads, and answers what it writes, to both of its outputs.
    /// Dropping the stream does not stop it.
    fn exec_start<'a>(&'a self, id: &'a str, input: Option<Bytes>) -> Call<'a, Events<Bytes>>;
    /// How a program stands.
    fn exec_inspect<'a>(&'a self, id: &'a str) -> Call<'a, Exec>;
    /// The container of that name or id.
    fn container_inspect<'a>(&'a self, id: &'a str) -> Call<'a, Container>;
    /// The containers, running or not, that carry all these labels, each `key=value`.
    fn container_list<'a>(&'a self, labels: &'a [String]) -> Call<'a, Vec<ContainerLine>>;
}
