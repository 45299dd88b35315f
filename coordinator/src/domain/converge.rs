//! Whether a container is in the state of its configuration. What a converge writes is in the container's own files, and a
//! container that was made anew has new ones: so the one that was converged last is remembered by Docker's id of it, and a
//! container with another id is due. Nobody has to notice that it was made anew.
//!
//! ```text
//! converged ──made anew, moved──▶ due ──a converge succeeds, whoever asked for it──▶ converged
//!                                  ├──it failed MAX_TRIES times──▶ failed     (until made anew, or converged by its user)
//!                                  └──its user cancelled it──────▶ cancelled  (the same)
//! ```

use super::Timestamp;
use super::job::Ending;
use dockerforge_protocol::ids::{ContainerId, JobId};
use jiff::SignedDuration;

/// How often one that is due is converged in vain before nobody tries any more.
pub const MAX_TRIES: u32 = 5;
/// The wait after the first of these; each next one is twice as long.
const FIRST_WAIT: SignedDuration = SignedDuration::from_secs(60);
/// How long one is left alone whose converge ended for a reason that is not its own.
const LATER: SignedDuration = SignedDuration::from_secs(5);

/// What a container that a configuration converges was when it was converged last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Converged {
    /// Docker's id of it then; none where it never was, or was made anew as one of another image since.
    pub docker_id: Option<String>,
    /// To which version of its configuration, where that is known.
    pub version: Option<u32>,
}

/// What was asked of a container because it was due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    /// Which.
    pub container: ContainerId,
    /// Docker's id of it; of another one nothing was asked yet.
    pub docker_id: String,
    /// The job that was asked for last.
    pub job: Option<JobId>,
    /// How often it was tried in vain.
    pub tries: u32,
    /// When it may be asked for again.
    pub due_at: Timestamp,
    /// Why it is not.
    pub ended: Option<Ended>,
}

/// Why nobody tries any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was tried often enough.
    Failed,
    /// Its user did not want it.
    Cancelled,
}

impl Ended {
    /// The name in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// What a stored word stands for.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Failed, Self::Cancelled].into_iter().find(|ended| ended.as_str() == word)
    }
}

impl Owed {
    /// Nothing was asked yet of this one.
    #[must_use]
    pub const fn new(container: ContainerId, docker_id: String, now: Timestamp) -> Self {
        Self { container, docker_id, job: None, tries: 0, due_at: now, ended: None }
    }

    /// What the end of its job makes of it. `wanted` is whether that says something of it: one that was stopped, suspended or
    /// deleted meanwhile is due again whenever it runs again.
    #[must_use]
    pub fn after(self, ending: &Ending, wanted: bool, now: Timestamp) -> Self {
        let later = now.checked_add(LATER).unwrap_or(now);
        match ending {
            Ending::Succeeded(_) => self,
            _ if !wanted => Self { due_at: later, ..self },
            Ending::Cancelled { .. } => Self { ended: Some(Ended::Cancelled), ..self },
            // No host had it: that says nothing of the container.
            Ending::Failed { error, .. } if ["deadline", "lost"].contains(&error.kind.as_str()) => {
                Self { due_at: later, ..self }
            }
            Ending::Failed { .. } => self.failed(now),
        }
    }

    /// It was tried in vain.
    #[must_use]
    pub fn failed(self, now: Timestamp) -> Self {
        let tries = self.tries + 1;
        let wait = FIRST_WAIT * (1 << self.tries.min(MAX_TRIES));
        let due_at = now.checked_add(wait).unwrap_or(now);
        Self { tries, due_at, ended: (tries >= MAX_TRIES).then_some(Ended::Failed), ..self }
    }
}

/// How a container stands to its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A converge has brought it there.
    Converged,
    /// It was made anew since, and is converged as soon as it runs.
    Due,
    /// The same, and that did not succeed.
    Failed,
    /// The same, and its user did not want it.
    Cancelled,
}

impl Standing {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Converged, Self::Due, Self::Failed, Self::Cancelled];

    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Converged => "converged",
            Self::Due => "due",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// How one stands that has this id of Docker's.
    #[must_use]
    pub fn of(docker_id: Option<&str>, last: &Converged, owed: Option<&Owed>) -> Self {
        if last.docker_id.is_some() && last.docker_id.as_deref() == docker_id {
            return Self::Converged;
        }
        match owed.filter(|owed| docker_id == Some(owed.docker_id.as_str())).and_then(|owed| owed.ended) {
            None => Self::Due,
            Some(Ended::Failed) => Self::Failed,
            Some(Ended::Cancelled) => Self::Cancelled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job::JobError;
    use dockerforge_protocol::report::Product;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn owed() -> Owed {
        Owed { job: Some(JobId::new()), ..Owed::new(ContainerId::new(), "new".to_owned(), at(0)) }
    }

    fn failed(kind: &str) -> Ending {
        Ending::Failed { error: JobError::new(kind, "why not"), confirmed: true }
    }

    #[test]
    fn what_fails_is_tried_ever_less_often_and_then_not_at_all() {
        let (mut owed, mut waits) = (owed(), Vec::new());
        while owed.ended.is_none() {
            owed = owed.after(&failed("converge-failed"), true, at(0));
            waits.push(owed.due_at.as_second());
        }
        assert_eq!((waits, owed.ended), (vec![60, 120, 240, 480, 960], Some(Ended::Failed)));
    }

    #[test]
    fn what_its_user_cancelled_is_over_and_what_ended_with_the_container_or_its_host_is_not() {
        let cancelled = Ending::Cancelled { confirmed: true };
        assert_eq!(owed().after(&cancelled, true, at(0)).ended, Some(Ended::Cancelled));
        for (ending, wanted) in [
            (cancelled, false),
            (failed("container-not-running"), false),
            (failed("deadline"), true),
            (failed("lost"), true),
        ] {
            let after = owed().after(&ending, wanted, at(0));
            assert_eq!((after.tries, after.due_at, after.ended), (0, at(5), None), "{ending:?}");
        }
        assert_eq!(owed().after(&Ending::Succeeded(Product::Nothing), true, at(1)).due_at, at(0));
    }

    #[test]
    fn a_container_is_due_until_the_one_that_is_there_is_converged() {
        let last = |id: Option<&str>| Converged { docker_id: id.map(str::to_owned), version: Some(1) };
        let given_up = Owed { ended: Some(Ended::Failed), ..owed() };
        for (docker_id, converged, asked, standing) in [
            (Some("new"), Some("new"), None, Standing::Converged),
            (Some("new"), Some("old"), None, Standing::Due),
            (Some("new"), None, Some(&owed()), Standing::Due),
            (None, None, None, Standing::Due),
            (Some("new"), Some("old"), Some(&given_up), Standing::Failed),
            (Some("newer"), Some("old"), Some(&given_up), Standing::Due),
        ] {
            assert_eq!(Standing::of(docker_id, &last(converged), asked), standing, "{docker_id:?} {converged:?}");
        }
    }
}
