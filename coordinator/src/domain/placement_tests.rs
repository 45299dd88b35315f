//! The rules of placement: what keeps a container from a host, which of several is taken, and that no host is ever promised
//! more than it has.

use super::Strategy;
use super::*;
use crate::domain::Timestamp;
use crate::domain::host::AgentFacts;
use dockerforge_protocol::ids::InstanceId;
use dockerforge_protocol::inventory::{Capacity, DockerInfo};
use dockerforge_protocol::spec::Resources;
use proptest::prelude::*;
use std::collections::BTreeMap;

const MIB: u64 = 1024 * 1024;

fn rules() -> PoolRules {
    PoolRules {
        headroom_cpus: 500,
        headroom_memory: 512 * MIB,
        cpus: 250.try_into().unwrap(),
        memory: (256 * MIB).try_into().unwrap(),
        pids: 256.try_into().unwrap(),
        build: Resources::default(),
        strategy: Strategy::Spread,
    }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    let map: BTreeMap<_, _> = pairs.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect();
    Labels::try_from(map).unwrap()
}

fn candidate(cpus: u32, memory_mib: u64) -> Candidate {
    let agent = AgentFacts {
        hostname: "m".to_owned(),
        agent_version: "1".to_owned(),
        instance: InstanceId::new(),
        boot_id: "b".to_owned(),
        slots: 4,
        capacity: Capacity { cpus, memory: memory_mib * MIB, disk: None },
        docker: Some(DockerInfo {
            version: "28".to_owned(),
            api_version: "1.48".to_owned(),
            platform: "linux/amd64".to_owned(),
        }),
    };
    let host = Host {
        id: HostId::new(),
        user: UserId::new(),
        name: "pool".parse().unwrap(),
        state: HostState::Online,
        labels: labels(&[("zone", "a")]),
        created_at: Timestamp::UNIX_EPOCH,
        enrolled_at: None,
        last_seen_at: None,
        agent: Some(agent),
        session_epoch: 1,
        docker_ping_age_ms: Some(1),
        usage: None,
        certificate_ends_at: None,
        clock_offset_ms: None,
        faults: Vec::new(),
        conflict: None,
        pool: true,
        draining: false,
        revision: 1,
    };
    Candidate { host, reserved: Reserved::default(), image: true, containers: Vec::new() }
}

fn spec(milli: u64, mib: u64) -> ContainerSpec {
    let resources =
        Resources { cpus: Some(milli.try_into().unwrap()), memory: Some((mib * MIB).try_into().unwrap()), pids: None };
    ContainerSpec { resources, ..ContainerSpec::default() }
}

fn place(
    strategy: Strategy,
    spec: &ContainerSpec,
    hosts: &[Candidate],
) -> Result<HostId, Vec<(HostId, Vec<Obstacle>)>> {
    let none = Labels::default();
    let asked = Asked { container: ContainerId::new(), spec, labels: &none, links: &[], strategy };
    decide(&rules(), &asked, hosts)
}

/// Places as many as fit; answers how many went to each host.
fn fill(strategy: Strategy, spec: &ContainerSpec, hosts: &mut [Candidate], most: usize) -> Vec<u64> {
    for _ in 0..most {
        let Ok(chosen) = place(strategy, spec, hosts) else { break };
        let host = hosts.iter_mut().find(|c| c.host.id == chosen).unwrap();
        let need = Reserved::of(spec);
        host.reserved.cpus += need.cpus;
        host.reserved.memory += need.memory;
        host.reserved.containers += 1;
    }
    hosts.iter().map(|c| c.reserved.containers).collect()
}

#[test]
fn spread_takes_turns_and_binpack_fills_one_first() {
    let mut hosts = [candidate(4, 8192), candidate(4, 8192)];
    assert_eq!(fill(Strategy::Spread, &spec(500, 256), &mut hosts.clone(), 4), [2, 2]);
    let mut packed = fill(Strategy::Binpack, &spec(500, 256), &mut hosts, 4);
    packed.sort_unstable();
    assert_eq!(packed, [0, 4]);
}

#[test]
fn each_obstacle_is_named_and_others_learn_nothing_of_a_host() {
    let good = candidate(4, 8192);
    let none = Labels::default();
    let found = |candidate: &Candidate, spec: &ContainerSpec, labels: &Labels| {
        let asked = Asked { container: ContainerId::new(), spec, labels, links: &[], strategy: Strategy::Spread };
        obstacles(&rules(), &asked, candidate)
    };
    let small = spec(100, 64);
    assert_eq!(found(&good, &small, &none), []);
    assert_eq!(found(&good, &small, &labels(&[("zone", "a")])), []);
    assert_eq!(found(&good, &small, &labels(&[("zone", "b")])), [Obstacle::Label("zone".parse().unwrap())]);
    assert_eq!(found(&good, &spec(3501, 64), &none), [Obstacle::Cpus(3500, 3501)]);
    assert_eq!(found(&good, &spec(3500, 7680), &none), []);
    assert_eq!(found(&good, &spec(3500, 7681), &none), [Obstacle::Memory(7680 * MIB, 7681 * MIB)]);
    let no_image = Candidate { image: false, ..good.clone() };
    assert_eq!(found(&no_image, &small, &none), [Obstacle::Image]);
    let mut draining = good.clone();
    draining.host.draining = true;
    assert_eq!(found(&draining, &small, &none), [Obstacle::Draining]);
    let mut copied = good.clone();
    (copied.host.state, copied.host.conflict) = (HostState::Conflict, Some("machines m1 and m2".to_owned()));
    let conflict = found(&copied, &small, &none);
    assert_eq!(conflict, [Obstacle::State(HostState::Conflict, "machines m1 and m2".to_owned())]);
    let told = |user, found: &[Obstacle]| explain(user, &[copied.host.clone()], &[(copied.host.id, found.to_vec())]);
    assert_eq!(told(copied.host.user, &conflict)[0].pointer, copied.host.id.to_string());
    let strangers = told(UserId::new(), &conflict).remove(0);
    assert_eq!((strangers.pointer.as_str(), strangers.detail.as_str()), ("pool-1", "it is conflict"));
    let mut silent = good.clone();
    silent.host.docker_ping_age_ms = Some(60_000);
    assert!(matches!(found(&silent, &small, &none)[..], [Obstacle::Docker(_)]));
    let linked = [(ContainerId::new(), HostId::new())];
    let asked = Asked {
        container: ContainerId::new(),
        spec: &small,
        labels: &none,
        links: &linked,
        strategy: Strategy::Random,
    };
    assert_eq!(obstacles(&rules(), &asked, &good), [Obstacle::Linked(linked[0].0)]);
}

#[test]
fn a_container_on_a_shared_host_has_limits_whatever_it_says() {
    let mut bare = ContainerSpec::default();
    assert_eq!(rules().limit(&mut bare), None);
    let given = bare.resources;
    assert_eq!((given.cpus, given.memory, given.pids), (Some(rules().cpus), Some(rules().memory), Some(rules().pids)));
    bare.resources.pids = Some(PidsLimit::try_from(4097).unwrap());
    assert_eq!(rules().limit(&mut bare).unwrap().pointer, "/resources/pids");
}

#[test]
fn nobody_gets_anything_where_there_is_nothing() {
    for strategy in [Strategy::Spread, Strategy::Binpack, Strategy::Random] {
        assert_eq!(place(strategy, &spec(100, 64), &[]), Err(vec![]));
        assert_eq!(Strategy::parse(strategy.as_str()), Some(strategy));
    }
}

fn strategies() -> impl proptest::strategy::Strategy<Value = Strategy> {
    prop_oneof![Just(Strategy::Spread), Just(Strategy::Binpack), Just(Strategy::Random)]
}

proptest! {
    #[test]
    fn no_host_is_promised_more_than_it_has_and_none_that_fits_is_left_out(
        strategy in strategies(),
        sizes in prop::collection::vec((1u32..8, 512u64..8192), 1..5),
        asks in prop::collection::vec((10u64..2000, 6u64..2048), 1..60),
    ) {
        let mut hosts: Vec<Candidate> = sizes.iter().map(|(cpus, memory)| candidate(*cpus, *memory)).collect();
        for (milli, mib) in asks {
            let spec = spec(milli, mib);
            match place(strategy, &spec, &hosts) {
                Ok(chosen) => {
                    let host = hosts.iter_mut().find(|c| c.host.id == chosen).unwrap();
                    host.reserved.cpus += milli;
                    host.reserved.memory += mib * MIB;
                    host.reserved.containers += 1;
                    let capacity = host.host.agent.as_ref().unwrap().capacity;
                    prop_assert!(host.reserved.cpus + 500 <= u64::from(capacity.cpus) * 1000);
                    prop_assert!(host.reserved.memory + 512 * MIB <= capacity.memory);
                }
                Err(found) => {
                    prop_assert_eq!(found.len(), hosts.len());
                    prop_assert!(found.iter().all(|(_, obstacles)| !obstacles.is_empty()));
                }
            }
        }
    }

    #[test]
    fn spread_over_equal_hosts_never_differs_by_more_than_one(count in 1usize..6, containers in 1usize..40) {
        let mut hosts: Vec<Candidate> = (0..count).map(|_| candidate(4, 8192)).collect();
        let spread = fill(Strategy::Spread, &spec(100, 64), &mut hosts, containers);
        prop_assert!(spread.iter().max().unwrap() - spread.iter().min().unwrap() <= 1, "{:?}", spread);
    }
}
