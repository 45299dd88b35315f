//! Each fault at its limit, and that one which is known is not told twice.

use super::*;
use crate::domain::host::AgentFacts;
use dockerforge_protocol::ids::{HostId, InstanceId, UserId};
use dockerforge_protocol::inventory::{Capacity, DockerInfo, Usage};
use dockerforge_protocol::spec::Labels;

const GIB: u64 = 1 << 30;
const OURS: &str = "0.3.1";

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    now().checked_sub(SignedDuration::from_secs(seconds)).unwrap()
}

/// A host in the best of health.
fn host() -> Host {
    let docker = DockerInfo { version: "20".to_owned(), api_version: "1.41".to_owned(), platform: "x".to_owned() };
    let capacity = Capacity { cpus: 2, memory: 8 * GIB, disk: Some(100 * GIB) };
    let agent = AgentFacts {
        hostname: "h".to_owned(),
        agent_version: OURS.to_owned(),
        instance: InstanceId::new(),
        boot_id: "b".to_owned(),
        slots: 4,
        capacity,
        docker: Some(docker),
    };
    Host {
        id: HostId::new(),
        user: UserId::new(),
        name: "vps".parse().unwrap(),
        state: HostState::Online,
        labels: Labels::default(),
        created_at: ago(1_000_000),
        enrolled_at: Some(ago(1_000_000)),
        last_seen_at: Some(ago(3)),
        agent: Some(agent),
        session_epoch: 1,
        docker_ping_age_ms: Some(2000),
        usage: Some(Usage { disk_free: Some(50 * GIB), ..Usage::default() }),
        certificate_ends_at: Some(ago(-20 * 86_400)),
        conflict: None,
        clock_offset_ms: Some(-20),
        faults: Vec::new(),
        pool: false,
        draining: false,
        revision: 1,
    }
}

/// What is found of a host in the best of health but for this.
fn but(change: impl FnOnce(&mut Host)) -> Vec<Fault> {
    let mut host = host();
    change(&mut host);
    diagnose(&host, now(), OURS).into_iter().map(|found| found.fault).collect()
}

fn knows(host: &mut Host, fault: Fault) {
    host.faults = vec![Known { fault, since: ago(60) }];
}

#[test]
fn a_healthy_host_and_one_that_has_no_agent_yet_have_no_faults() {
    assert_eq!(but(|_| {}), []);
    assert_eq!(but(|h| (h.state, h.agent, h.last_seen_at) = (HostState::Pending, None, None)), []);
}

#[test]
fn of_a_silent_host_nothing_else_is_known() {
    let silent = |h: &mut Host| {
        (h.state, h.last_seen_at, h.docker_ping_age_ms) = (HostState::Unreachable, Some(ago(60)), Some(99_000));
        h.clock_offset_ms = Some(60_000);
        h.usage = Some(Usage { disk_free: Some(0), ..Usage::default() });
    };
    assert_eq!(but(silent), [Fault::AgentSilent]);
    let copied = |h: &mut Host| (h.state, h.conflict) = (HostState::Conflict, Some("two of it".to_owned()));
    assert_eq!(but(copied), [Fault::DuplicateMachine]);
}

#[test]
fn docker_hangs_when_the_last_good_ping_is_older_than_fifteen_seconds() {
    assert_eq!(but(|h| h.docker_ping_age_ms = Some(15_000)), []);
    assert_eq!(but(|h| h.docker_ping_age_ms = Some(15_001)), [Fault::DockerHung]);
    // As soon as the agent says that it is gone, the time since the last heartbeat counts, too.
    let gone = |age| move |h: &mut Host| (h.agent.as_mut().unwrap().docker, h.docker_ping_age_ms) = (None, Some(age));
    assert_eq!(but(gone(11_000)), []);
    assert_eq!(but(gone(12_500)), [Fault::DockerHung]);
    // Before the first heartbeat nobody knows.
    assert_eq!(but(|h| (h.agent.as_mut().unwrap().docker, h.docker_ping_age_ms) = (None, None)), []);
}

#[test]
fn a_disk_is_nearly_full_below_a_tenth_that_is_little_or_two_gib_and_until_there_is_clearly_more() {
    let free = |bytes| move |h: &mut Host| h.usage = Some(Usage { disk_free: Some(bytes), ..Usage::default() });
    assert_eq!(but(free(10 * GIB)), []);
    assert_eq!(but(free(10 * GIB - 1)), [Fault::DiskNearlyFull]);
    let small = |bytes| {
        move |h: &mut Host| {
            free(bytes)(h);
            h.agent.as_mut().unwrap().capacity.disk = None;
        }
    };
    assert_eq!(but(small(2 * GIB)), []);
    assert_eq!(but(small(2 * GIB - 1)), [Fault::DiskNearlyFull]);
    // A tenth of a large disk is room enough.
    let large = |bytes| {
        move |h: &mut Host| {
            free(bytes)(h);
            h.agent.as_mut().unwrap().capacity.disk = Some(1000 * GIB);
        }
    };
    assert_eq!(but(large(20 * GIB)), []);
    assert_eq!(but(large(20 * GIB - 1)), [Fault::DiskNearlyFull]);
    let known = |bytes| {
        move |h: &mut Host| {
            free(bytes)(h);
            knows(h, Fault::DiskNearlyFull);
        }
    };
    assert_eq!(but(known(11 * GIB)), [Fault::DiskNearlyFull]);
    assert_eq!(but(known(13 * GIB)), []);
}

#[test]
fn a_clock_is_off_by_more_than_five_seconds_either_way() {
    for (offset, off) in [(5000, false), (5001, true), (-5000, false), (-5001, true), (i64::MIN, true)] {
        assert_eq!(but(|h| h.clock_offset_ms = Some(offset)) == [Fault::ClockOff], off, "{offset}");
    }
}

#[test]
fn a_certificate_of_less_than_seven_days_was_not_renewed() {
    assert_eq!(but(|h| h.certificate_ends_at = Some(ago(-7 * 86_400))), []);
    assert_eq!(but(|h| h.certificate_ends_at = Some(ago(-7 * 86_400 + 1))), [Fault::CertificateNearItsEnd]);
    assert_eq!(but(|h| h.certificate_ends_at = Some(ago(1))), [Fault::CertificateNearItsEnd]);
}

#[test]
fn an_agent_is_outdated_by_its_version_as_numbers() {
    let of = |text: &str| but(|h| text.clone_into(&mut h.agent.as_mut().unwrap().agent_version));
    for (version, outdated) in
        [("0.3.1", false), ("0.3.0", true), ("0.2.9", true), ("0.10.0", false), ("1.0.0-rc1", false), ("test", false)]
    {
        assert_eq!(of(version) == [Fault::AgentOutdated], outdated, "{version}");
    }
}

#[test]
fn a_fault_is_told_when_it_begins_and_when_it_ends_and_not_in_between() {
    let mut host = host();
    host.docker_ping_age_ms = Some(20_000);
    let found = diagnose(&host, now(), OURS);
    let (begun, ended, known) = compare(&host.faults, &found, now());
    assert_eq!((begun.len(), ended.len()), (1, 0));
    assert_eq!(known, [Known { fault: Fault::DockerHung, since: now() }]);
    host.faults = vec![Known { fault: Fault::DockerHung, since: ago(60) }];
    let found = diagnose(&host, now(), OURS);
    assert_eq!(found[0].since, Some(ago(60)));
    assert_eq!(compare(&host.faults, &found, now()), (vec![], vec![], host.faults.clone()));
    assert_eq!(compare(&host.faults, &[], now()), (vec![], vec![Fault::DockerHung], vec![]));
}
