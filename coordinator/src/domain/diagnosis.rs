//! What is wrong with a host, from what is known of it. Shown with the host and told as events when something begins or
//! ends. Pure: the caller keeps what was found before, so that a beginning is told once.

use super::Timestamp;
use super::host::{Host, HostState, is_silent};
use jiff::SignedDuration;

/// Age of the last good Docker ping above which Docker hangs.
pub const DOCKER_HUNG_AFTER: SignedDuration = SignedDuration::from_secs(15);
/// Part of the disk below which it is nearly full, if it is few bytes as well: a tenth of a large disk is room for many
/// images.
const DISK_RATIO: f64 = 0.10;
/// What few bytes are.
const DISK_FEW_BYTES: f64 = 20.0 * GIB;
/// Bytes below which a disk is nearly full, however small it is.
const DISK_BYTES: f64 = 2.0 * GIB;
const GIB: f64 = 1024.0 * 1024.0 * 1024.0;
/// How far an agent's clock may be from ours, milliseconds.
const CLOCK_MS: f64 = 5000.0;
/// Life of a certificate below which it should have been renewed: an agent does so at half of it at the latest.
const CERTIFICATE: SignedDuration = SignedDuration::from_hours(24 * 7);
/// How much better than its limit a figure must get for what was found to be over: at the limit itself it would come
/// and go with every heartbeat.
const SLACK: f64 = 1.2;

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The agent is not heard of.
    AgentSilent,
    /// The agent is heard of, but its Docker does not answer it.
    DockerHung,
    /// The disk with Docker's data has little room left.
    DiskNearlyFull,
    /// The machine's clock is far from the coordinator's.
    ClockOff,
    /// The agent's certificate ends soon, and was not renewed.
    CertificateNearItsEnd,
    /// Machines take turns with the host's identity.
    DuplicateMachine,
    /// The agent is older than the coordinator.
    AgentOutdated,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::AgentSilent,
        Self::DockerHung,
        Self::DiskNearlyFull,
        Self::ClockOff,
        Self::CertificateNearItsEnd,
        Self::DuplicateMachine,
        Self::AgentOutdated,
    ];

    /// The name in the API and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AgentSilent => "agent-silent",
            Self::DockerHung => "docker-hung",
            Self::DiskNearlyFull => "disk-nearly-full",
            Self::ClockOff => "clock-off",
            Self::CertificateNearItsEnd => "certificate-near-its-end",
            Self::DuplicateMachine => "duplicate-machine",
            Self::AgentOutdated => "agent-outdated",
        }
    }

    /// The fault a stored word stands for.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.as_str() == word)
    }

    /// How bad it is.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Self::AgentSilent | Self::DockerHung | Self::DuplicateMachine => Severity::Critical,
            Self::DiskNearlyFull | Self::ClockOff | Self::CertificateNearItsEnd | Self::AgentOutdated => {
                Severity::Warning
            }
        }
    }
}

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Nothing can run there now.
    Critical,
    /// It works, and will not for ever.
    Warning,
}

impl Severity {
    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}

/// A fault that was found and has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Which.
    pub fault: Fault,
    /// Since when.
    pub since: Timestamp,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// What.
    pub fault: Fault,
    /// Since when, if it was noted already.
    pub since: Option<Timestamp>,
    /// What to tell the host's owner.
    pub detail: String,
}

/// All that is wrong with a host now. `ours` is the coordinator's version.
#[must_use]
pub fn diagnose(host: &Host, now: Timestamp, ours: &str) -> Vec<Diagnosis> {
    let known = |fault| host.faults.iter().find(|known| known.fault == fault).map(|known| known.since);
    let checks: [(Fault, Option<String>); 7] = [
        (Fault::AgentSilent, silent(host, now)),
        (Fault::DockerHung, docker(host, now)),
        (Fault::DiskNearlyFull, disk(host, now, known(Fault::DiskNearlyFull).is_some())),
        (Fault::ClockOff, clock(host, now, known(Fault::ClockOff).is_some())),
        (Fault::CertificateNearItsEnd, certificate(host, now)),
        (Fault::DuplicateMachine, (host.state == HostState::Conflict).then(|| host.unusable().unwrap_or_default())),
        (Fault::AgentOutdated, outdated(host, ours)),
    ];
    let found = checks.into_iter().filter_map(|(fault, detail)| Some((fault, detail?)));
    found.map(|(fault, detail)| Diagnosis { fault, since: known(fault), detail }).collect()
}

/// What of `found` is new and what of `before` is over, and what is known from now on.
#[must_use]
pub fn compare(before: &[Known], found: &[Diagnosis], now: Timestamp) -> (Vec<Diagnosis>, Vec<Fault>, Vec<Known>) {
    let begun = found.iter().filter(|d| !before.iter().any(|k| k.fault == d.fault)).cloned().collect();
    let ended = before.iter().filter(|k| !found.iter().any(|d| d.fault == k.fault)).map(|k| k.fault).collect();
    let known = found.iter().map(|d| Known { fault: d.fault, since: d.since.unwrap_or(now) }).collect();
    (begun, ended, known)
}

/// Whether what the agent told is still so.
fn is_heard(host: &Host, now: Timestamp) -> bool {
    host.agent.is_some() && host.state != HostState::Pending && !is_silent(host.state, host.last_seen_at, now)
}

fn silent(host: &Host, now: Timestamp) -> Option<String> {
    let silent = host.state != HostState::Conflict && is_silent(host.state, host.last_seen_at, now);
    let seen = host.last_seen_at.filter(|_| silent)?;
    Some(format!("its agent was last heard of at {seen}; what it runs goes on, jobs wait"))
}

fn docker(host: &Host, now: Timestamp) -> Option<String> {
    if !is_heard(host, now) {
        return None;
    }
    // The first heartbeat tells; until then nobody knows.
    let age = host.docker_ping_age_ms?;
    // An agent says at once that Docker is gone; then its silence goes on between heartbeats, too. Else it is as old as
    // the last heartbeat said: how often those come is for us to say.
    let told = SignedDuration::from_millis(i64::try_from(age).unwrap_or(i64::MAX));
    let age = if host.agent.as_ref()?.docker.is_none() { host.docker_silence(now)? } else { told };
    (age > DOCKER_HUNG_AFTER)
        .then(|| format!("its agent is connected, but Docker has not answered for {} s", age.as_secs()))
}

#[allow(clippy::cast_precision_loss, reason = "of a disk's size, for a comparison")]
fn disk(host: &Host, now: Timestamp, known: bool) -> Option<String> {
    let free = host.usage.filter(|_| is_heard(host, now))?.disk_free? as f64;
    let slack = if known { SLACK } else { 1.0 };
    let ratio = host.disk_free_ratio();
    let little = free < DISK_FEW_BYTES * slack && ratio.is_some_and(|ratio| ratio < DISK_RATIO * slack);
    let full = little || free < DISK_BYTES * slack;
    let percent = ratio.map(|ratio| format!(" ({:.1} %)", ratio * 100.0)).unwrap_or_default();
    full.then(|| format!("{:.1} GiB are free on the disk with Docker's data{percent}", free / GIB))
}

#[allow(clippy::cast_precision_loss, reason = "of milliseconds, for a comparison")]
fn clock(host: &Host, now: Timestamp, known: bool) -> Option<String> {
    let offset = host.clock_offset_ms.filter(|_| is_heard(host, now))? as f64;
    let slack = if known { SLACK } else { 1.0 };
    let way = if offset > 0.0 { "ahead of" } else { "behind" };
    (offset.abs() > CLOCK_MS / slack)
        .then(|| format!("its clock is {:.1} s {way} the coordinator's", offset.abs() / 1000.0))
}

fn certificate(host: &Host, now: Timestamp) -> Option<String> {
    let ends = host.certificate_ends_at.filter(|ends| ends.duration_since(now) < CERTIFICATE)?;
    let verb = if ends < now { "ended" } else { "ends" };
    Some(format!("its agent's certificate {verb} at {ends} and was not renewed"))
}

fn outdated(host: &Host, ours: &str) -> Option<String> {
    let theirs = &host.agent.as_ref()?.agent_version;
    (version(theirs)? < version(ours)?).then(|| format!("its agent is {theirs}, the coordinator {ours}: upgrade it"))
}

/// Major, minor and patch of a version (semver.org); nothing of what is none.
fn version(text: &str) -> Option<(u64, u64, u64)> {
    let plain = text.split(['-', '+']).next()?;
    let mut parts = plain.split('.').map(|part| part.parse().ok());
    let version = (parts.next()??, parts.next()??, parts.next()??);
    parts.next().is_none().then_some(version)
}

#[cfg(test)]
#[path = "diagnosis_tests.rs"]
mod tests;
