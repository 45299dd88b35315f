//! The first words of a conversation. The agent says [`Hello`] within a deadline; the coordinator answers
//! [`Welcome`], which decides each job that the agent holds, or [`Refused`]. Nothing else is said before.

use crate::ids::{ClusterId, HostId, InstanceId};
use crate::inventory::{Capacity, DockerInfo};
use crate::report::Attempt;
use serde::{Deserialize, Serialize};

/// A version of the conversation.
pub type Version = u16;

/// The versions this build speaks, oldest and newest. N and N−1 are spoken by both sides, so that either side can be
/// upgraded first; at the first version there is nothing before it.
pub const SUPPORTED: (Version, Version) = (1, 1);

/// The newest version that both ranges hold.
#[must_use]
pub fn negotiate(ours: (Version, Version), theirs: (Version, Version)) -> Option<Version> {
    let newest = ours.1.min(theirs.1);
    (newest >= ours.0.max(theirs.0)).then_some(newest)
}

/// The agent introduces itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The oldest and newest version it speaks.
    pub versions: (Version, Version),
    /// The cluster it enrolled with.
    pub cluster: ClusterId,
    /// The host it is, which the coordinator compares with its certificate.
    pub host: HostId,
    /// This installation of the agent; a copied machine has the same.
    pub instance: InstanceId,
    /// The kernel's boot id (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// The agent's version.
    pub agent_version: String,
    /// The host's name for itself.
    pub hostname: String,
    /// Its Docker Engine, if that answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docker: Option<DockerInfo>,
    /// What it has.
    pub capacity: Capacity,
    /// How many jobs it works on at a time.
    pub slots: u32,
    /// The jobs it holds: accepted and not yet forgotten.
    pub jobs: Vec<HeldJob>,
    /// What it can beside what its version says, by name ([`crate::stream::FEATURE`]). What an agent does not name is not
    /// asked of it; a name that is not known means nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
}

/// A job in the agent's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldJob {
    /// Which attempt at which job.
    pub attempt: Attempt,
    /// How it stands.
    pub state: HeldState,
    /// Bytes of log that this attempt has written so far.
    pub log_end: u64,
}

/// How a held job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldState {
    /// In work now.
    Running,
    /// Accepted, then the agent died; nobody works on it now. What the attempt did may be there in part.
    Interrupted,
    /// Ended, and its result not yet acknowledged. The agent sends it after the welcome unless told to forget it.
    Finished,
}

/// The coordinator takes the session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version to speak from here.
    pub version: Version,
    /// The coordinator's version.
    pub coordinator_version: String,
    /// This session's number among the host's sessions.
    pub epoch: u64,
    /// How often to send a heartbeat, milliseconds; the agent spreads it by ±10 %.
    pub heartbeat_ms: u32,
    /// What to do with each job of the hello.
    pub jobs: Vec<JobVerdict>,
}

/// What to do with a held job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobVerdict {
    /// Which.
    pub attempt: Attempt,
    /// What.
    pub verdict: Verdict,
}

/// See [`JobVerdict`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Go on, or send the result again. The log is wanted from this offset of the attempt.
    Continue {
        /// Bytes of this attempt's log that the coordinator has.
        log_from: u64,
    },
    /// Stop the work and report it cancelled. The log is wanted from this offset of the attempt.
    Cancel {
        /// Bytes of this attempt's log that the coordinator has.
        log_from: u64,
    },
    /// The job is over or no longer this agent's: stop the work if there is any, and drop it without a report.
    Forget,
}

/// The coordinator does not take the session, or ends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// What to branch on.
    pub reason: RefusedReason,
    /// What to show.
    pub detail: String,
}

/// Why a session is refused or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusedReason {
    /// No version in common.
    Version,
    /// The certificate or the hello is of another cluster or host.
    Identity,
    /// The host was deleted or its certificate revoked. Final: the agent stops dialling until it is enrolled anew.
    Revoked,
    /// A newer connection of the same machine took over.
    Superseded,
    /// Two machines connect with one identity: it was copied.
    Conflict,
    /// What was sent is not this protocol.
    Protocol,
    /// The agent did not keep up, or was silent for too long.
    Timeout,
    /// The coordinator shuts down or cannot serve now; dial again.
    Unavailable,
}

#[cfg(test)]
mod tests {
    use super::negotiate;

    #[test]
    fn the_newest_common_version_is_spoken() {
        assert_eq!(negotiate((1, 2), (1, 1)), Some(1));
        assert_eq!(negotiate((1, 2), (2, 3)), Some(2));
        assert_eq!(negotiate((1, 1), (2, 3)), None);
        assert_eq!(negotiate((3, 4), (1, 2)), None);
    }
}
