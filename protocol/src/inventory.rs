//! What an agent may publish about its host. An agent tells what it sees; what a container was meant to be is not its
//! to say, so there is no state here that only a coordinator may decide (deleted, unknown).

use crate::ids::{ContainerId, ImageId};
use crate::spec::PortProtocol;
use serde::{Deserialize, Serialize};

/// A complete list of what is ours on a host, read from Docker. A container that is not in it is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// Our containers.
    pub containers: Vec<ObservedContainer>,
    /// Our images.
    pub images: Vec<ObservedImage>,
}

/// A container as Docker shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedContainer {
    /// From its label.
    pub container: ContainerId,
    /// Docker's id of it.
    pub docker_id: String,
    /// Its state.
    pub state: ContainerState,
    /// How well it is, where it is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// The exit code, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// When it last started, microseconds since 1970-01-01 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<i64>,
    /// The ports it publishes now.
    #[serde(default)]
    pub ports: Vec<ObservedPort>,
    /// Its address in its user's network.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "address_text")]
    pub address: Option<std::net::IpAddr>,
}

/// Addresses as text, whatever the format says of itself: MessagePack would write the octets of an address, and a
/// reader inside a tagged union is not told that it reads MessagePack and expects text.
mod address_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::{borrow::Cow, net::IpAddr};

    #[allow(clippy::ref_option, reason = "serde calls it with a reference to the field")]
    pub(super) fn serialize<S: Serializer>(address: &Option<IpAddr>, serializer: S) -> Result<S::Ok, S::Error> {
        match address {
            Some(address) => serializer.collect_str(address),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
        let text = Option::<Cow<'de, str>>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

/// The states of Docker Engine API 1.41.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Running.
    Running,
    /// Frozen.
    Paused,
    /// Between an end and the next start, by its restart policy.
    Restarting,
    /// Ended.
    Exited,
    /// Being removed.
    Removing,
    /// Docker could not remove it.
    Dead,
}

impl ContainerState {
    /// The name in the API, in the database and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Removing => "removing",
            Self::Dead => "dead",
        }
    }
}

/// How well a container is by its health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It was not found well yet, and failures do not count yet.
    Starting,
    /// Its last check was passed.
    Healthy,
    /// It failed as many checks in a row as it may.
    Unhealthy,
}

impl Health {
    /// The name in the API, in the database and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }

    /// The health a stored word stands for.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Starting, Self::Healthy, Self::Unhealthy].into_iter().find(|h| h.as_str() == word)
    }
}

/// A published port as Docker bound it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObservedPort {
    /// Inside the container.
    pub container: u16,
    /// On the host.
    pub host: u16,
    /// TCP or UDP.
    pub protocol: PortProtocol,
}

/// An image of ours that is on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedImage {
    /// From its tag.
    pub image: ImageId,
    /// Docker's id of it: `sha256:…`.
    pub docker_id: String,
    /// Its size in bytes.
    pub size: u64,
}

/// The sign of life, from the agent's main loop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Milliseconds since Docker last answered a ping, or, if it never did, since the agent began to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docker_ping_age_ms: Option<u64>,
    /// Jobs in work.
    pub running_jobs: u32,
    /// What the host uses now.
    pub usage: Usage,
    /// The host's clock, microseconds since 1970-01-01 UTC.
    pub clock_us: i64,
}

/// What a host uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// One-minute load average, in thousandths.
    pub load_milli: u64,
    /// Bytes of memory in use.
    pub memory_used: u64,
    /// Bytes free on the disk that holds Docker's data, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_free: Option<u64>,
    /// Our containers that run; absent until the agent has listed them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containers_running: Option<u32>,
}

/// What a host has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Processors.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of the disk that holds Docker's data, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<u64>,
}

/// The Docker Engine of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DockerInfo {
    /// The engine's version: `20.10.24`.
    pub version: String,
    /// The newest API version it speaks: `1.41`.
    pub api_version: String,
    /// `linux/amd64`.
    pub platform: String,
}
