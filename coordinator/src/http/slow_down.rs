//! Who failed to sign in lately, and how long he has to wait. Keys are 256 random bits, so this keeps nobody from
//! guessing them: it keeps a client with a wrong key, or a guesser, from costing much, and makes them visible.
//!
//! What must hold: the table is bounded; nobody can lock a user out from addresses other than his own; and since many
//! users may share an address (a panel on loopback), that alone never keeps a right key out. How many wrong ones an address
//! may send at once is the business of `rates`.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Failures after which it slows down.
const FREE: u32 = 5;
/// How long a failure counts.
const MEMORY: Duration = Duration::from_secs(15 * 60);
/// The longest wait; the first is a second, and each further failure doubles it.
const LONGEST: Duration = Duration::from_secs(60);
/// Names and addresses that are remembered; beyond that, those that failed longest ago are forgotten.
const REMEMBERED: usize = 4096;
/// The longest name that anybody has.
const MAX_NAME: usize = 63;

/// Where sign-ins come from, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    /// Somebody who says that he is this user, at an address.
    Name(String, IpAddr),
    /// Anybody at an address.
    Address(IpAddr),
}

#[derive(Debug, Clone, Copy)]
struct Record {
    count: u32,
    last: Instant,
}

/// The failures. For all requests of one coordinator.
#[derive(Debug, Default)]
pub struct SignInFailures {
    records: Mutex<HashMap<Who, Record>>,
}

impl SignInFailures {
    fn lock(&self) -> MutexGuard<'_, HashMap<Who, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long this name has to wait at this address, before its key is even looked at.
    pub(super) fn wait_of_name(&self, name: Option<&str>, address: IpAddr, now: Instant) -> Option<Duration> {
        wait(self.lock().get(&of_name(name?, address)?)?, now)
    }

    /// How long a wrong key from this address has to wait; a right one need not.
    pub(super) fn wait_of_address(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        wait(self.lock().get(&Who::Address(network(address)))?, now)
    }

    /// Notes a wrong key.
    pub(super) fn failed(&self, name: Option<&str>, address: IpAddr, now: Instant) {
        let mut records = self.lock();
        let named = name.and_then(|name| of_name(name, address));
        for who in named.into_iter().chain([Who::Address(network(address))]) {
            if !records.contains_key(&who) && records.len() >= REMEMBERED {
                make_room(&mut records, now);
            }
            let record = records.entry(who).or_insert(Record { count: 0, last: now });
            if now.saturating_duration_since(record.last) > MEMORY {
                record.count = 0;
            }
            *record = Record { count: record.count.saturating_add(1), last: now };
        }
    }

    /// Notes a right key: what went wrong under the name is forgotten. The address is not: it may be many people's.
    pub(super) fn succeeded(&self, name: Option<&str>, address: IpAddr) {
        if let Some(who) = name.and_then(|name| of_name(name, address)) {
            self.lock().remove(&who);
        }
    }
}

fn of_name(name: &str, address: IpAddr) -> Option<Who> {
    (name.len() <= MAX_NAME).then(|| Who::Name(name.to_owned(), network(address)))
}

/// One subscriber's addresses as one: of IPv6, the first 64 bits.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn wait(record: &Record, now: Instant) -> Option<Duration> {
    let over = record.count.checked_sub(FREE)?;
    let delay = Duration::from_secs(1 << over.min(6)).min(LONGEST);
    (record.last + delay).checked_duration_since(now).filter(|left| !left.is_zero())
}

fn make_room(records: &mut HashMap<Who, Record>, now: Instant) {
    records.retain(|_, record| now.saturating_duration_since(record.last) <= MEMORY);
    if records.len() >= REMEMBERED
        && let Some(oldest) = records.iter().min_by_key(|(_, record)| record.last).map(|(who, _)| who.clone())
    {
        records.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

    fn fail(failures: &SignInFailures, name: &str, times: u32, now: Instant) {
        for _ in 0..times {
            failures.failed(Some(name), HERE, now);
        }
    }

    #[test]
    fn the_fifth_failure_slows_a_name_down_at_its_address_alone_and_each_further_one_twice_as_much() {
        let (failures, now) = (SignInFailures::default(), Instant::now());
        fail(&failures, "ana", 4, now);
        assert_eq!(failures.wait_of_name(Some("ana"), HERE, now), None);
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            fail(&failures, "ana", 1, now);
            assert_eq!(failures.wait_of_name(Some("ana"), HERE, now), Some(Duration::from_secs(seconds)));
        }
        assert_eq!(failures.wait_of_name(Some("ana"), THERE, now), None);
        assert_eq!(failures.wait_of_name(Some("eva"), HERE, now), None);
        assert_eq!(failures.wait_of_name(None, HERE, now), None);
        assert!(failures.wait_of_address(HERE, now).is_some());
        assert_eq!(failures.wait_of_name(Some("ana"), HERE, now + LONGEST), None, "it is slowed, not locked out");
    }

    #[test]
    fn what_is_long_ago_and_what_a_right_key_followed_do_not_count() {
        let (failures, now) = (SignInFailures::default(), Instant::now());
        fail(&failures, "ana", 4, now);
        let later = now + MEMORY + Duration::from_secs(1);
        fail(&failures, "ana", 1, later);
        assert_eq!(failures.wait_of_name(Some("ana"), HERE, later), None);
        fail(&failures, "ana", 3, later);
        failures.succeeded(Some("ana"), HERE);
        fail(&failures, "ana", 1, later);
        assert_eq!(failures.wait_of_name(Some("ana"), HERE, later), None);
        assert!(failures.wait_of_address(HERE, later).is_some(), "the address has failed all the same");
    }

    #[test]
    fn one_network_is_one_address() {
        let (failures, now) = (SignInFailures::default(), Instant::now());
        for host in 0..5 {
            failures.failed(None, IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host)), now);
        }
        assert!(failures.wait_of_address(THERE, now).is_some());
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest_first() {
        let (failures, now) = (SignInFailures::default(), Instant::now());
        for second in 0..u64::try_from(2 * REMEMBERED).unwrap() {
            // All within the memory.
            failures.failed(Some(&format!("u{second}")), HERE, now + Duration::from_millis(second));
        }
        let records = failures.lock();
        assert!(records.len() <= REMEMBERED, "{}", records.len());
        assert!(records.contains_key(&Who::Address(HERE)) && !records.contains_key(&Who::Name("u0".to_owned(), HERE)));
        drop(records);
        failures.failed(Some(&"x".repeat(10_000)), HERE, now);
        assert!(failures.lock().keys().all(|who| !matches!(who, Who::Name(name, _) if name.len() > MAX_NAME)));
    }
}
