//! How many requests each user may make, and how many with keys that sign nobody in may come from an address.
//!
//! What must hold: the tables are bounded; no user's requests count against another's; and a key that signed somebody in
//! lately is let in, whoever else floods from its address (a panel's users share one).

use super::State;
use super::error::ApiError;
use crate::domain::rate::{Left, Rate};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use dockerforge_protocol::ids::UserId;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Buckets that are remembered, and keys: 64 bytes each. Beyond that, those that are nearly full are forgotten.
const REMEMBERED: usize = 16_384;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Who {
    User(UserId),
    Address(IpAddr),
}

/// What a key is known by, with the name that it came with.
pub(super) type Known = [u8; 32];

/// The buckets. For all requests of one coordinator.
#[derive(Debug)]
pub struct Rates {
    rate: Option<Rate>,
    /// When each is full again; one that is not there is full.
    buckets: Mutex<HashMap<Who, Instant>>,
    known: Mutex<HashSet<Known>>,
}

/// How a user's bucket stands after a request, for its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    rate: Rate,
    left: Left,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Rates {
    /// Buckets of one size; without a rate nothing is counted.
    #[must_use]
    pub fn new(rate: Option<Rate>) -> Self {
        Self { rate, buckets: Mutex::default(), known: Mutex::default() }
    }

    /// Counts a request of a user.
    pub(super) fn of_user(&self, user: UserId, now: Instant) -> Result<Option<Standing>, ApiError> {
        let Some(rate) = self.rate else { return Ok(None) };
        self.take(rate, Who::User(user), now).map(|left| Some(Standing { rate, left }))
    }

    /// Whether a key may be looked up: one that is known may, and others unless too many wrong ones came from the address.
    pub(super) fn may_try(&self, key: &Known, address: IpAddr, now: Instant) -> Result<(), ApiError> {
        let Some(rate) = self.rate.filter(|_| !lock(&self.known).contains(key)) else { return Ok(()) };
        let full_at = lock(&self.buckets).get(&Who::Address(address)).copied();
        rate.take(full_at, now).map(|_| ()).map_err(ApiError::rate_limited)
    }

    /// A key signed somebody in.
    pub(super) fn right(&self, key: Known) {
        if self.rate.is_none() {
            return;
        }
        let mut known = lock(&self.known);
        if known.len() >= REMEMBERED && !known.contains(&key) {
            let mut kept = false;
            known.retain(|_| {
                kept = !kept;
                kept
            });
        }
        known.insert(key);
    }

    /// A request signed nobody in: without a key, or with a wrong one.
    pub(super) fn wrong(&self, key: Option<&Known>, address: IpAddr, now: Instant) -> Result<(), ApiError> {
        let Some(rate) = self.rate else { return Ok(()) };
        if let Some(key) = key {
            lock(&self.known).remove(key);
        }
        self.take(rate, Who::Address(address), now).map(|_| ())
    }

    fn take(&self, rate: Rate, who: Who, now: Instant) -> Result<Left, ApiError> {
        let mut buckets = lock(&self.buckets);
        let (full_at, left) = rate.take(buckets.get(&who).copied(), now).map_err(ApiError::rate_limited)?;
        if buckets.len() >= REMEMBERED && !buckets.contains_key(&who) {
            make_room(&mut buckets, now);
        }
        buckets.insert(who, full_at);
        Ok(left)
    }
}

/// Forgets the buckets that are full; where that is not enough, the fuller half.
fn make_room(buckets: &mut HashMap<Who, Instant>, now: Instant) {
    buckets.retain(|_, full_at| *full_at > now);
    if buckets.len() > REMEMBERED / 2 {
        let mut times: Vec<Instant> = buckets.values().copied().collect();
        let half = times.len() / 2;
        let (_, middle, _) = times.select_nth_unstable(half);
        let middle = *middle;
        buckets.retain(|_, full_at| *full_at > middle);
    }
}

/// What a key is known by.
pub(super) fn known_by(name: Option<&str>, key: &str) -> Known {
    let name = name.map_or_else(String::new, |name| format!("{name}:"));
    Sha256::new().chain_update(name).chain_update([0]).chain_update(key).finalize().into()
}

/// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10).
pub(super) fn describe(standing: Standing, headers: &mut HeaderMap) {
    let Standing { rate, left } = standing;
    let seconds = |duration: std::time::Duration| duration.as_millis().div_ceil(1000);
    let policy = format!("\"user\";q={};w={}", rate.burst, seconds(rate.window()).max(1));
    let limit = format!("\"user\";r={};t={}", left.requests, seconds(left.full_in));
    for (name, value) in [("ratelimit-policy", policy), ("ratelimit", limit)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// Counts a request without a readable key.
pub(super) fn nobody(state: &State, address: IpAddr) -> Result<(), ApiError> {
    state.rates.wrong(None, super::slow_down::network(address), Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::num::NonZeroU32;
    use std::time::Duration;

    fn rates(burst: u32) -> Rates {
        Rates::new(Some(Rate { per_second: NonZeroU32::MIN, burst: NonZeroU32::new(burst).unwrap() }))
    }

    #[test]
    fn no_users_requests_count_against_anothers_and_without_a_rate_none_do() {
        let (rates, now, ana, eva) = (rates(2), Instant::now(), UserId::new(), UserId::new());
        assert!(rates.of_user(ana, now).is_ok() && rates.of_user(ana, now).is_ok());
        assert_eq!(rates.of_user(ana, now).unwrap_err().retry_after, Some(1));
        assert!(rates.of_user(eva, now).is_ok());
        assert!(rates.of_user(ana, now + Duration::from_secs(1)).is_ok());
        let off = Rates::new(None);
        assert!((0..1000).all(|_| off.of_user(ana, now).is_ok_and(|standing| standing.is_none())));
    }

    #[test]
    fn wrong_keys_use_up_an_address_for_keys_that_nobody_knows_alone() {
        let (rates, now, here) = (rates(2), Instant::now(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        let (right, other) = (known_by(None, "right"), known_by(None, "other"));
        rates.right(right);
        assert!(rates.may_try(&other, here, now).is_ok());
        assert!(rates.wrong(Some(&other), here, now).is_ok() && rates.wrong(None, here, now).is_ok());
        assert!(rates.wrong(None, here, now).is_err() && rates.may_try(&other, here, now).is_err());
        assert!(rates.may_try(&right, here, now).is_ok());
        assert!(rates.may_try(&other, IpAddr::V4(Ipv4Addr::BROADCAST), now).is_ok());
        // A key that is void is one like any other.
        let _ = rates.wrong(Some(&right), here, now);
        assert!(rates.may_try(&right, here, now).is_err());
        assert_ne!(known_by(Some("a"), "k"), known_by(None, "k"));
    }

    #[test]
    fn the_tables_are_bounded_and_who_used_up_most_is_remembered() {
        let (rates, now, greedy) = (rates(3), Instant::now(), UserId::new());
        assert!((0..3).all(|_| rates.of_user(greedy, now).is_ok()));
        for number in 0..3 * REMEMBERED {
            rates.right(known_by(None, &number.to_string()));
            assert!(rates.of_user(UserId::new(), now).is_ok());
        }
        assert!(lock(&rates.buckets).len() <= REMEMBERED && lock(&rates.known).len() <= REMEMBERED);
        assert!(rates.of_user(greedy, now).is_err());
    }
}
