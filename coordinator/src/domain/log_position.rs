//! How a position in a container's log is written: as the id of an event, which `Last-Event-ID` brings back. `<time>+<count>`
//! of stdout, a comma, the same of stderr; times are RFC 3339 in UTC with nanoseconds, as Docker writes them.

use super::Timestamp;
use dockerforge_protocol::stream::{LogMark, LogPosition};

/// A text is not a position in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected the id of an event of this log")]
pub struct NoPosition;

/// A time in nanoseconds since 1970 as Docker writes it.
#[must_use]
pub fn moment(at: i64) -> String {
    let time = Timestamp::from_nanosecond(i128::from(at)).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{time:.9}")
}

/// A position as an event's id.
#[must_use]
pub fn print(position: &LogPosition) -> String {
    let mark = |mark: &LogMark| format!("{}+{}", moment(mark.at), mark.count);
    format!("{},{}", mark(&position.stdout), mark(&position.stderr))
}

/// The position that an event's id stands for.
///
/// # Errors
/// It is none.
pub fn parse(text: &str) -> Result<LogPosition, NoPosition> {
    let (stdout, stderr) = text.split_once(',').ok_or(NoPosition)?;
    Ok(LogPosition { stdout: mark(stdout)?, stderr: mark(stderr)? })
}

fn mark(text: &str) -> Result<LogMark, NoPosition> {
    let (at, count) = text.split_once('+').ok_or(NoPosition)?;
    let at: Timestamp = at.parse().map_err(|_| NoPosition)?;
    let at = i64::try_from(at.as_nanosecond()).map_err(|_| NoPosition)?;
    Ok(LogMark { at, count: count.parse().map_err(|_| NoPosition)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockerforge_protocol::stream::Source;

    #[test]
    fn a_position_reads_back_as_it_is_written() {
        let mut position = LogPosition::at(0);
        position.read(Source::Stdout, 1_700_000_000_123_456_789);
        position.read(Source::Stdout, 1_700_000_000_123_456_789);
        let text = print(&position);
        assert_eq!(text, "2023-11-14T22:13:20.123456789Z+2,1970-01-01T00:00:00.000000000Z+0");
        assert_eq!(parse(&text), Ok(position));
        for bad in ["", "5", "x+1,y+2", "2023-11-14T22:13:20Z+1", "2023-11-14T22:13:20Z+1,2023-11-14T22:13:20Z+-1"] {
            assert_eq!(parse(bad), Err(NoPosition), "{bad}");
        }
    }
}
