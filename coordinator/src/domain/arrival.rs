//! The machines that come with one host's identity, and when they show that it was copied. Admission asks at each
//! session's beginning.
//!
//! A machine is an installation and a boot: a restart of the kernel makes another one, and what was before it does not
//! come back. Two copies of one machine supersede each other, so each of them comes back again and again.

use super::Timestamp;
use core::fmt::Write;
use core::net::IpAddr;
use dockerforge_protocol::ids::InstanceId;
use jiff::SignedDuration;

/// Machines that are remembered of a host.
const REMEMBERED: usize = 8;
/// How often machines that had been superseded may come back. Once may be a machine that was put back to a snapshot.
const RETURNS: usize = 2;
/// Within this time. A superseded agent stays away for 30 to 60 s.
const WITHIN: SignedDuration = SignedDuration::from_mins(10);

/// A machine that came, and was not the one that came before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// The installation of the agent; a copied machine has the same.
    pub instance: InstanceId,
    /// The kernel's boot id, which no two machines share.
    pub boot_id: String,
    /// The machine's name for itself.
    pub hostname: String,
    /// Where it dialled from.
    pub from: IpAddr,
    /// When.
    pub at: Timestamp,
}

/// What one more session of a host is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrived {
    /// The machine that came last, again.
    Same,
    /// Another machine: what is remembered from now on.
    Other(Vec<Arrival>),
    /// Machines take turns. What to tell the host's owner.
    Copied(String),
}

impl Arrival {
    fn is_machine(&self, other: &Self) -> bool {
        (self.instance, &self.boot_id) == (other.instance, &other.boot_id)
    }
}

/// What a machine is to those that came before it, the newest last.
#[must_use]
pub fn arrive(before: &[Arrival], new: Arrival) -> Arrived {
    if before.last().is_some_and(|last| last.is_machine(&new)) {
        return Arrived::Same;
    }
    let now = new.at;
    let mut all = before.to_vec();
    all.push(new);
    let came_before = |i: usize| all[..i].iter().any(|earlier| earlier.is_machine(&all[i]));
    let returns = (0..all.len()).filter(|&i| now.duration_since(all[i].at) <= WITHIN && came_before(i)).count();
    if returns >= RETURNS {
        return Arrived::Copied(in_words(&all));
    }
    let superfluous = all.len().saturating_sub(REMEMBERED);
    all.drain(..superfluous);
    Arrived::Other(all)
}

fn in_words(all: &[Arrival]) -> String {
    let mut machines: Vec<&Arrival> = Vec::new();
    for arrival in all.iter().rev().take(RETURNS + 1) {
        if !machines.iter().any(|known| known.is_machine(arrival)) {
            machines.push(arrival);
        }
    }
    let mut text = "it was copied: machines take turns with its identity".to_owned();
    for (i, machine) in machines.iter().enumerate() {
        let before = if i == 0 { ':' } else { ',' };
        // Writing to a string does not fail.
        let _ = write!(text, "{before} {} from {} (boot {})", machine.hostname, machine.from, machine.boot_id);
    }
    text.push_str("; turn the copies off and enrol the right one with a fresh join token");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    fn machine(boot: &str, second: i64) -> Arrival {
        Arrival {
            instance: InstanceId::from_uuid(uuid::Uuid::nil()),
            boot_id: boot.to_owned(),
            hostname: "vps".to_owned(),
            from: Ipv4Addr::LOCALHOST.into(),
            at: Timestamp::from_second(second).unwrap(),
        }
    }

    /// How many of these, one every so many seconds, are let in.
    fn admitted(boots: &[&str], apart: i64) -> usize {
        let mut known = Vec::new();
        for (i, boot) in boots.iter().enumerate() {
            match arrive(&known, machine(boot, i64::try_from(i).unwrap() * apart)) {
                Arrived::Same => {}
                Arrived::Other(all) => known = all,
                Arrived::Copied(_) => return i,
            }
        }
        assert!(known.len() <= REMEMBERED);
        boots.len()
    }

    #[test]
    fn two_machines_that_take_turns_are_a_copy_at_the_third_swap() {
        assert_eq!(admitted(&["a", "b", "a", "b", "a"], 45), 3);
        assert_eq!(admitted(&["a", "a", "b", "b", "a", "a", "b"], 10), 6);
        assert_eq!(admitted(&["a", "b", "c", "a", "b", "c"], 45), 4, "three copies");
        let Arrived::Copied(why) = arrive(&[machine("a", 0), machine("b", 1), machine("a", 2)], machine("b", 3)) else {
            panic!("not noticed");
        };
        assert_eq!(why.matches("vps from 127.0.0.1").count(), 2, "{why}");
    }

    #[test]
    fn a_machine_that_restarts_or_reconnects_is_none() {
        assert_eq!(admitted(&["a"; 50], 1), 50);
        let boots: Vec<String> = (0..50).map(|boot| boot.to_string()).collect();
        assert_eq!(admitted(&boots.iter().map(String::as_str).collect::<Vec<_>>(), 1), 50);
        assert_eq!(admitted(&["a", "b", "a"], 1), 3, "put back to a snapshot");
        assert_eq!(admitted(&["a", "b", "a", "b"], 3600), 4, "again, an hour later");
    }
}
