//! A machine with an agent.

use super::Timestamp;
use super::diagnosis::Known;
use dockerforge_protocol::ids::{HostId, InstanceId, UserId};
use dockerforge_protocol::inventory::{Capacity, DockerInfo, Usage};
use dockerforge_protocol::spec::{Labels, ResourceName};
use jiff::SignedDuration;

/// Silence after which a host is shown as unreachable.
pub const UNREACHABLE_AFTER: SignedDuration = SignedDuration::from_secs(15);
/// Silence after which nobody knows how the host's jobs stand.
pub const LEASE: SignedDuration = SignedDuration::from_secs(60);
/// How long after its start a coordinator holds no silence against any host: they have yet to dial in.
pub const START_GRACE: SignedDuration = SignedDuration::from_secs(30);
/// Age of the last good Docker ping above which a host is shown as not usable.
pub const DOCKER_STALE_MS: u64 = 10_000;

/// A host.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    /// Its id.
    pub id: HostId,
    /// Whose it is.
    pub user: UserId,
    /// Its name among its user's hosts.
    pub name: ResourceName,
    /// Whether it can be worked on.
    pub state: HostState,
    /// Its user's labels.
    pub labels: Labels,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When an agent got its identity.
    pub enrolled_at: Option<Timestamp>,
    /// When it was last heard of.
    pub last_seen_at: Option<Timestamp>,
    /// What its agent told of it.
    pub agent: Option<AgentFacts>,
    /// The number of its sessions so far; the number of the live one.
    pub session_epoch: u64,
    /// Milliseconds since Docker last answered the agent, as of the last heartbeat.
    pub docker_ping_age_ms: Option<u64>,
    /// What it used at the last heartbeat.
    pub usage: Option<Usage>,
    /// When the certificate that its agent holds ends.
    pub certificate_ends_at: Option<Timestamp>,
    /// How far its clock was ahead of ours at the last heartbeat of this session, milliseconds.
    pub clock_offset_ms: Option<i64>,
    /// What is known to be wrong with it.
    pub faults: Vec<Known>,
    /// Why it is in conflict, if it is.
    pub conflict: Option<String>,
    /// Whether the strategist places containers of all users on it.
    pub pool: bool,
    /// Whether it takes no new containers and images.
    pub draining: bool,
    /// Grows with each change of what its user may change.
    pub revision: u64,
}

/// What an agent tells of itself and its machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentFacts {
    /// The machine's name for itself.
    pub hostname: String,
    /// The agent's version.
    pub agent_version: String,
    /// This installation of the agent.
    pub instance: InstanceId,
    /// The kernel's boot id.
    pub boot_id: String,
    /// How many jobs it works on at a time.
    pub slots: u32,
    /// What the machine has.
    pub capacity: Capacity,
    /// Its Docker Engine, if that answers.
    pub docker: Option<DockerInfo>,
}

/// `pending → online ⇄ unreachable`, `online → conflict → online` by a fresh join token, and from each `→ deleting → gone`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostState {
    /// Registered; no agent has come yet.
    Pending,
    /// Its agent is connected, or was within [`UNREACHABLE_AFTER`].
    Online,
    /// Its agent is silent.
    Unreachable,
    /// Several machines came with its identity ([`super::arrival`]); none is let in until one enrols anew.
    Conflict,
    /// It is being taken out of service.
    Deleting,
}

impl HostState {
    /// The name in the API and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Online => "online",
            Self::Unreachable => "unreachable",
            Self::Conflict => "conflict",
            Self::Deleting => "deleting",
        }
    }

    /// The state a stored word stands for.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Pending, Self::Online, Self::Unreachable, Self::Conflict, Self::Deleting]
            .into_iter()
            .find(|s| s.as_str() == word)
    }
}

/// Whether a host is silent, so that nobody knows how what is on it does. While it is being deleted its state does not
/// say so, but the time it was last heard of does.
#[must_use]
pub fn is_silent(state: HostState, last_seen: Option<Timestamp>, now: Timestamp) -> bool {
    match state {
        HostState::Unreachable | HostState::Conflict => true,
        HostState::Deleting => last_seen.is_none_or(|seen| now.duration_since(seen) > UNREACHABLE_AFTER),
        HostState::Pending | HostState::Online => false,
    }
}

impl Host {
    /// How long ago it was heard of, if it ever was.
    #[must_use]
    pub fn silence(&self, now: Timestamp) -> Option<SignedDuration> {
        self.last_seen_at.map(|seen| now.duration_since(seen).max(SignedDuration::ZERO))
    }

    /// How long ago its Docker answered its agent, as far as that was told.
    #[must_use]
    pub fn docker_silence(&self, now: Timestamp) -> Option<SignedDuration> {
        let age = SignedDuration::from_millis(i64::try_from(self.docker_ping_age_ms?).unwrap_or(i64::MAX));
        Some(self.silence(now)?.saturating_add(age))
    }

    /// The part of the disk with Docker's data that is free, from 0 to 1.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a ratio")]
    pub fn disk_free_ratio(&self) -> Option<f64> {
        let free = self.usage?.disk_free?;
        let disk = self.agent.as_ref()?.capacity.disk.filter(|disk| *disk > 0)?;
        Some(free as f64 / disk as f64)
    }

    /// Why nothing can run there now, in words for its owner; `None` if something can.
    #[must_use]
    pub fn unusable(&self) -> Option<String> {
        match self.state {
            HostState::Pending => Some("no agent has enrolled yet: run the join command on the machine".to_owned()),
            HostState::Deleting => Some("it is being deleted".to_owned()),
            HostState::Unreachable => {
                Some("its agent has not been heard of lately; what it runs goes on, jobs wait".to_owned())
            }
            HostState::Conflict => Some(self.conflict.clone().unwrap_or_else(|| "it was copied".to_owned())),
            HostState::Online => match (self.agent.as_ref().and_then(|a| a.docker.as_ref()), self.docker_ping_age_ms) {
                (None, _) => Some("its agent is connected, but Docker does not answer there".to_owned()),
                (Some(_), Some(age)) if age > DOCKER_STALE_MS => {
                    Some(format!("its agent is connected, but Docker has not answered for {} s", age / 1000))
                }
                (Some(_), _) if self.draining => {
                    Some("it is draining: what it runs goes on, and it takes nothing new".to_owned())
                }
                (Some(_), _) => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_is_being_deleted_falls_silent_like_any_other() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let silent = |state, now| is_silent(state, Some(at(100)), at(now));
        assert!(!silent(HostState::Deleting, 115) && silent(HostState::Deleting, 116));
        assert!(is_silent(HostState::Deleting, None, at(0)));
        // Of the others the reaper has decided it.
        assert!(silent(HostState::Unreachable, 100) && !silent(HostState::Online, 1000));
    }
}
