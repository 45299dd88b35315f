//! Which of a host's waiting jobs are next. Users share a host: the one with the fewest jobs in work there is next, and
//! among equals the oldest job, so that one user's thousand builds do not delay another's first. Work is in lanes, each
//! with its places: builds take a machine's processors, pulls its network, and neither keeps a container from stopping.

use super::job::JobKind;
use dockerforge_protocol::ids::{JobId, UserId};
use std::collections::BTreeMap;

/// A sort of work, which has places of its own on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Builds of images.
    Build,
    /// Pulls of images.
    Pull,
    /// Everything else: short work.
    Other,
}

impl Lane {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Build, Self::Pull, Self::Other];

    /// Which one a job is in.
    #[must_use]
    pub const fn of(kind: JobKind) -> Self {
        match kind {
            JobKind::ImageBuild => Self::Build,
            JobKind::ImagePull | JobKind::ImageCopy | JobKind::ImagePush | JobKind::ContainerReceive => Self::Pull,
            _ => Self::Other,
        }
    }

    /// The name in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Pull => "pull",
            Self::Other => "other",
        }
    }

    /// The lane a stored word stands for.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| lane.as_str() == word)
    }
}

/// How many jobs a host works on at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// Of all lanes together: what its agent says.
    pub all: u32,
    /// Builds.
    pub builds: u32,
    /// Pulls.
    pub pulls: u32,
    /// Everything else.
    pub others: u32,
}

impl Places {
    /// What a host has where nobody says anything else.
    #[must_use]
    pub const fn of_slots(slots: u32) -> Self {
        Self { all: slots, builds: 2, pulls: 3, others: 8 }
    }

    /// The places of one lane.
    #[must_use]
    pub fn of(&self, lane: Lane) -> u32 {
        let own = match lane {
            Lane::Build => self.builds,
            Lane::Pull => self.pulls,
            Lane::Other => self.others,
        };
        own.min(self.all)
    }

    /// Takes up to so many away; what is over-used has none left.
    pub fn take(&mut self, lane: Lane, jobs: u32) {
        let own = match lane {
            Lane::Build => &mut self.builds,
            Lane::Pull => &mut self.pulls,
            Lane::Other => &mut self.others,
        };
        *own = own.saturating_sub(jobs);
        self.all = self.all.saturating_sub(jobs);
    }
}

/// The oldest job that one user has waiting in one lane of a host, and could have now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// The job. Ids are in the order in which jobs were asked for.
    pub id: JobId,
    /// Whose it is.
    pub user: UserId,
    /// Its lane.
    pub lane: Lane,
}

/// The jobs that get a place now, in order; takes their places. `running` is how many jobs each user has in work on the
/// host, and counts these from here on.
#[must_use]
pub fn choose(mut candidates: Vec<Candidate>, running: &mut BTreeMap<UserId, u32>, free: &mut Places) -> Vec<JobId> {
    let mut chosen = Vec::new();
    loop {
        candidates.retain(|candidate| free.of(candidate.lane) > 0);
        let next = candidates.iter().enumerate().min_by_key(|(_, c)| (running.get(&c.user).copied(), c.id));
        let Some(next) = next.map(|(index, _)| index) else { return chosen };
        let next = candidates.swap_remove(next);
        free.take(next.lane, 1);
        *running.entry(next.user).or_default() += 1;
        chosen.push(next.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates<const N: usize>(of: [(UserId, Lane); N]) -> [Candidate; N] {
        of.map(|(user, lane)| Candidate { id: JobId::new(), user, lane })
    }

    #[test]
    fn who_has_the_fewest_in_work_is_next_and_among_equals_the_oldest_job() {
        let (ana, ben, eva) = (UserId::new(), UserId::new(), UserId::new());
        let of = candidates([(ana, Lane::Build), (ben, Lane::Build), (eva, Lane::Build)]);
        let mut free = Places { all: 9, builds: 2, pulls: 0, others: 0 };
        assert_eq!(choose(of.to_vec(), &mut BTreeMap::from([(ana, 2)]), &mut free), [of[1].id, of[2].id]);
        assert_eq!(free.of(Lane::Build), 0);
    }

    #[test]
    fn what_a_user_got_counts_for_the_next_place() {
        let (ana, ben) = (UserId::new(), UserId::new());
        let of = candidates([(ana, Lane::Other), (ana, Lane::Pull), (ben, Lane::Other)]);
        let mut free = Places { all: 2, builds: 2, pulls: 3, others: 8 };
        let mut running = BTreeMap::new();
        assert_eq!(choose(of.to_vec(), &mut running, &mut free), [of[0].id, of[2].id]);
        assert_eq!(running, BTreeMap::from([(ana, 1), (ben, 1)]));
    }

    #[test]
    fn a_full_lane_keeps_nobody_else_waiting() {
        let ana = UserId::new();
        let of = candidates([(ana, Lane::Build), (ana, Lane::Other)]);
        let mut free = Places::of_slots(4);
        free.take(Lane::Build, 2);
        assert_eq!(choose(of.to_vec(), &mut BTreeMap::new(), &mut free), [of[1].id]);
        free.take(Lane::Other, 9);
        assert_eq!(choose(of.to_vec(), &mut BTreeMap::new(), &mut free), Vec::<JobId>::new());
    }
}
