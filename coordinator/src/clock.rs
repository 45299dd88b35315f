//! The wall clock, to the microsecond that the database keeps: what is answered now is what is read back later. The
//! domain has no clock; whoever calls it passes the time.

use jiff::Timestamp;

/// Now.
#[must_use]
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}
