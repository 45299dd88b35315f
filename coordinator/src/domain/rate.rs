//! How many requests somebody may make: a bucket of tokens that fills at a steady rate, as the time at which it is full
//! again (the generic cell rate algorithm). Pure: the clock is a parameter.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// How fast, and how many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second.
    pub per_second: NonZeroU32,
    /// Requests at once.
    pub burst: NonZeroU32,
}

/// What is left after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Requests that may follow at once.
    pub requests: u32,
    /// Until all may.
    pub full_in: Duration,
}

impl Rate {
    fn each(self) -> Duration {
        Duration::from_secs(1) / self.per_second.get()
    }

    /// Until an empty bucket is full.
    #[must_use]
    pub fn window(self) -> Duration {
        self.each() * self.burst.get()
    }

    /// Takes a token from a bucket that is full at `full_at`; answers when it is full then, and what is left.
    ///
    /// # Errors
    /// How long to wait, if there is none.
    pub fn take(self, full_at: Option<Instant>, now: Instant) -> Result<(Instant, Left), Duration> {
        let full_at = full_at.map_or(now, |at| at.max(now)) + self.each();
        let full_in = full_at.saturating_duration_since(now);
        let Some(room) = self.window().checked_sub(full_in) else {
            return Err(full_in.saturating_sub(self.window()));
        };
        let requests = u32::try_from(room.as_nanos() / self.each().as_nanos().max(1)).unwrap_or(u32::MAX);
        Ok((full_at, Left { requests, full_in }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_one_for_each_tick() {
        let rate = Rate { per_second: NonZeroU32::new(10).unwrap(), burst: NonZeroU32::new(3).unwrap() };
        let begin = Instant::now();
        let mut bucket = None;
        for left in [2, 1, 0] {
            let (full_at, then) = rate.take(bucket, begin).unwrap();
            assert_eq!(then.requests, left);
            bucket = Some(full_at);
        }
        assert_eq!(rate.take(bucket, begin), Err(Duration::from_millis(100)));
        let (full_at, left) = rate.take(bucket, begin + Duration::from_millis(100)).unwrap();
        assert_eq!((left.requests, left.full_in), (0, rate.window()));
        assert_eq!(rate.take(Some(full_at), begin + Duration::from_secs(9)).unwrap().1.requests, 2);
    }
}
