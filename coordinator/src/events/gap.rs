//! When a gap in the ids of events may be passed: once no transaction is left that could fill it.

use std::time::{Duration, Instant};

/// How long a gap is waited at in any case: between taking an id and getting a number of its own a transaction is not
/// seen among those under way.
const AT_LEAST: Duration = Duration::from_secs(1);
/// How soon a gap is looked at again.
const SOON: Duration = Duration::from_millis(100);

/// The gap that the reader stands before, if it does.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    before: Option<Gap>,
}

#[derive(Debug)]
struct Gap {
    /// The event behind it.
    event: i64,
    /// No transaction that has this number or a later one can fill it.
    fillers: i64,
    since: Instant,
}

impl Gaps {
    /// Whether what lies before `event` may be passed. `in_flight` is what [`crate::store::events::in_flight`] says.
    pub(super) fn passed(&mut self, event: i64, in_flight: Option<(i64, i64)>) -> bool {
        self.passed_at(event, in_flight, Instant::now())
    }

    fn passed_at(&mut self, event: i64, in_flight: Option<(i64, i64)>, now: Instant) -> bool {
        let Some((oldest, next)) = in_flight else { return true };
        // An event that shows up within the gap moves its end, but not who may fill the rest of it.
        let gap = match &mut self.before {
            Some(gap) if gap.event >= event => gap,
            _ => self.before.insert(Gap { event, fillers: next, since: now }),
        };
        let over = oldest >= gap.fillers && now.duration_since(gap.since) >= AT_LEAST;
        // One that is passed stays noted while events behind it are read in the same look.
        if over && gap.event == event {
            self.before = None;
        }
        over
    }

    /// How long to wait for a wake-up: less while there is a gap.
    pub(super) fn patience(&self, usual: Duration) -> Duration {
        if self.before.is_some() { SOON } else { usual }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writer_leaves_no_gaps_to_wait_at() {
        assert!(Gaps::default().passed(9, None));
    }

    #[test]
    fn a_gap_is_passed_when_all_who_could_fill_it_have_ended() {
        let (mut gaps, begun) = (Gaps::default(), Instant::now());
        let later = begun + AT_LEAST;
        assert!(!gaps.passed_at(9, Some((100, 120)), begun), "119 may still be filling it");
        assert!(!gaps.passed_at(9, Some((119, 300)), later), "119 is still under way");
        assert!(gaps.passed_at(9, Some((120, 300)), later));
        assert_eq!(gaps.patience(LONG), LONG);
    }

    #[test]
    fn a_gap_is_waited_at_for_a_moment_even_if_nothing_is_under_way() {
        let (mut gaps, begun) = (Gaps::default(), Instant::now());
        assert!(!gaps.passed_at(9, Some((120, 120)), begun));
        assert!(gaps.patience(LONG) < LONG);
        assert!(gaps.passed_at(9, Some((120, 120)), begun + AT_LEAST));
    }

    const LONG: Duration = Duration::from_secs(60);
}
