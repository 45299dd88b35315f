//! What happened, for whoever watches, and who did it, for the administrator: written in the transaction of the change
//! itself.

use super::job::JobState;
use super::{Kind, Timestamp};
use core::net::IpAddr;
use dockerforge_protocol::ids::{RequestId, UserId};
use uuid::Uuid;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// To whom it matters.
    pub user: UserId,
    /// What: `<resource>.<what happened>`, as `container.created`.
    pub kind: &'static str,
    /// To which kind of thing.
    pub resource: Kind,
    /// To which one.
    pub id: Uuid,
    /// More about it, in words.
    pub detail: Option<String>,
}

/// An event as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// Its place in the order of all events; what a reader resumes after.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// To whom it matters.
    pub user: UserId,
    /// What: `<resource>.<what happened>`.
    pub kind: String,
    /// To which kind of thing.
    pub resource: Kind,
    /// To which one.
    pub resource_id: Uuid,
    /// More about it, in words.
    pub detail: Option<String>,
}

impl Happened {
    /// The id of the thing, in its printed form.
    #[must_use]
    pub fn resource_name(&self) -> String {
        self.resource.print_id(self.resource_id)
    }
}

/// Which kinds of events somebody wants: exact ones (`container.created`), or all about a kind of thing (`container.*`).
/// An empty one takes everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kinds(Vec<String>);

impl Kinds {
    /// How many may be named.
    pub const MAX: usize = 32;

    /// The patterns, as they were written.
    #[must_use]
    pub fn patterns(&self) -> &[String] {
        &self.0
    }

    /// Whether it takes events of this kind.
    #[must_use]
    pub fn take(&self, kind: &str) -> bool {
        self.0.is_empty()
            || self.0.iter().any(|pattern| match pattern.strip_suffix(".*") {
                Some(resource) => kind.split_once('.').is_some_and(|(of, _)| of == resource),
                None => pattern == kind,
            })
    }
}

impl TryFrom<Vec<String>> for Kinds {
    type Error = String;
    fn try_from(patterns: Vec<String>) -> Result<Self, String> {
        if patterns.len() > Self::MAX {
            return Err(format!("at most {} kinds may be named", Self::MAX));
        }
        for pattern in &patterns {
            let word =
                |w: &str| !w.is_empty() && w.len() <= 32 && w.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            let fits = pattern.split_once('.').is_some_and(|(of, what)| word(of) && (what == "*" || word(what)));
            if !fits {
                return Err(format!("{pattern:?} is no kind of event: expected as container.created, or container.*"));
            }
        }
        Ok(Self(patterns))
    }
}

/// Who asks, on whose behalf, from where, with which request: the head of every audit line.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Who asks.
    pub actor: UserId,
    /// On whose behalf.
    pub user: UserId,
    /// With which request.
    pub request: RequestId,
    /// From where.
    pub remote: IpAddr,
}

/// A line of the audit: who did what, and when.
#[derive(Debug, Clone)]
pub struct AuditLine {
    /// Where it stands: later lines have larger numbers.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub origin: Origin,
    /// What, as `container.create`.
    pub action: String,
    /// To which kind of thing.
    pub resource: Kind,
    /// To which one.
    pub resource_id: Uuid,
    /// More about it, in words: what a container is given of its host.
    pub detail: Option<String>,
}

/// What it is called that a job became this.
#[must_use]
pub const fn of_job(state: JobState) -> &'static str {
    match state {
        JobState::Queued => "job.queued",
        JobState::Assigned => "job.assigned",
        JobState::Running => "job.running",
        JobState::Unknown => "job.unknown",
        JobState::Cancelling => "job.cancelling",
        JobState::Succeeded => "job.succeeded",
        JobState::Failed => "job.failed",
        JobState::Cancelled => "job.cancelled",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(patterns: &[&str]) -> Result<Kinds, String> {
        Kinds::try_from(patterns.iter().map(|&p| p.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_kind_is_taken_by_its_name_by_its_resource_or_where_nothing_is_named() {
        let chosen = kinds(&["job.failed", "container.*"]).unwrap();
        assert!(chosen.take("job.failed") && chosen.take("container.created"));
        assert!(!chosen.take("job.queued") && !chosen.take("containers.created"));
        assert!(kinds(&[]).unwrap().take("anything.at_all"));
    }

    #[test]
    fn what_is_no_kind_is_refused() {
        for bad in ["", "job", "*", "job.", ".failed", "Job.failed", "job.failed.x", "job.f*"] {
            assert!(kinds(&[bad]).is_err(), "{bad:?} was accepted");
        }
    }
}
