//! How far a log was read, and what of it comes after: kept by whoever shows a log, used by the agent to go on there.
//! What must hold: a log that is read again from a position gives every line after it, and none before it, as long as the
//! host's clock is not set back.

use super::Source;
use serde::{Deserialize, Serialize};

/// How far a log was read, for each of its sources: Docker's times grow within a source, and not across the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogPosition {
    /// Of standard output.
    pub stdout: LogMark,
    /// Of standard error.
    pub stderr: LogMark,
}

/// How far one source was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogMark {
    /// Everything before this was read, nanoseconds since 1970-01-01 UTC.
    pub at: i64,
    /// Of what has exactly this time, so many lines were read.
    pub count: u64,
}

impl LogPosition {
    /// The position before everything that was written at that time or later.
    #[must_use]
    pub const fn at(at: i64) -> Self {
        let mark = LogMark { at, count: 0 };
        Self { stdout: mark, stderr: mark }
    }

    /// Where to begin to look, whatever the source.
    #[must_use]
    pub fn earliest(&self) -> i64 {
        self.stdout.at.min(self.stderr.at)
    }

    /// Notes that a line was read.
    pub fn read(&mut self, source: Source, at: i64) {
        let mark = match source {
            Source::Stdout => &mut self.stdout,
            Source::Stderr => &mut self.stderr,
        };
        if at > mark.at {
            *mark = LogMark { at, count: 1 };
        } else if at == mark.at {
            mark.count += 1;
        }
    }

    /// What lets only those lines through that come after this position; for a log that is read anew, from
    /// [`LogPosition::earliest`] on or from before it.
    #[must_use]
    pub const fn filter(self) -> LogFilter {
        LogFilter { stdout: Some(self.stdout), stderr: Some(self.stderr) }
    }
}

/// See [`LogPosition::filter`].
#[derive(Debug, Clone, Copy)]
pub struct LogFilter {
    stdout: Option<LogMark>,
    stderr: Option<LogMark>,
}

impl LogFilter {
    /// Whether the next line of the log is after the position.
    pub fn admits(&mut self, source: Source, at: i64) -> bool {
        let waiting = match source {
            Source::Stdout => &mut self.stdout,
            Source::Stderr => &mut self.stderr,
        };
        match waiting {
            // Once one was let through, all are: a clock that was set back is not a reason to lose lines.
            None => true,
            Some(mark) if at < mark.at => false,
            Some(mark) if at == mark.at && mark.count > 0 => {
                mark.count -= 1;
                false
            }
            Some(_) => {
                *waiting = None;
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_read_again_from_any_line_gives_the_rest_exactly_once() {
        use Source::{Stderr, Stdout};
        // Equal times, and the two sources out of order, as two readers of one container write them.
        let log =
            [(Stdout, 5), (Stderr, 4), (Stdout, 5), (Stderr, 4), (Stdout, 5), (Stderr, 9), (Stdout, 7), (Stdout, 7)];
        for cut in 0..=log.len() {
            let mut position = LogPosition::default();
            for (source, at) in &log[..cut] {
                position.read(*source, *at);
            }
            let mut filter = position.filter();
            let again: Vec<_> = log.iter().filter(|(source, at)| filter.admits(*source, *at)).collect();
            assert_eq!(again, log[cut..].iter().collect::<Vec<_>>(), "cut after {cut}");
        }
    }
}
