//! Randomness for timing: backoff, heartbeats, renewals. Not for secrets. Used by whoever must not do a thing at the
//! moment at which everybody else does it.

use std::time::Duration;

/// A number below `end`, which must not be 0, evenly enough for timing.
#[must_use]
pub fn below(end: u32) -> u32 {
    // Without the kernel's randomness the clock still spreads agents.
    getrandom::u32().unwrap_or_else(|_| std::time::SystemTime::now().elapsed().map_or(7, |d| d.subsec_nanos()))
        % end.max(1)
}

/// A duration spread evenly over ±10 % of it.
#[must_use]
pub fn tenth(period: Duration) -> Duration {
    period * (900 + below(201)) / 1000
}

/// Full jitter: evenly between nothing and `least · 2^failures`, at most `most`.
#[must_use]
pub fn backoff(failures: u32, least: Duration, most: Duration) -> Duration {
    let ceiling = least.saturating_mul(1 << failures.min(20)).min(most);
    ceiling * below(1001) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_to_its_ceiling_and_is_spread() {
        let (least, most) = (Duration::from_millis(100), Duration::from_secs(30));
        for failures in [0, 1, 5, 30, u32::MAX] {
            assert!((0..200).all(|_| backoff(failures, least, most) <= most));
        }
        assert!((0..200).all(|_| backoff(0, least, most) <= least));
        assert!((0..200).any(|_| backoff(30, least, most) > most / 2));
        assert!((0..200).any(|_| backoff(30, least, most) < most / 2));
    }

    #[test]
    fn a_period_is_spread_by_a_tenth() {
        let period = Duration::from_secs(10);
        assert!((0..500).all(|_| (Duration::from_secs(9)..=Duration::from_secs(11)).contains(&tenth(period))));
    }
}
