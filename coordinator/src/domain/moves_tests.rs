//! The rules of moving: what holds a container where it is, and that whatever fails or is cancelled at whatever moment, it is
//! never meant to run in two places, and ends in one of two whole states.

use super::*;
use crate::domain::Timestamp;
use crate::domain::container::Observed;
use crate::domain::job::Subject;
use dockerforge_protocol::command::Hardening;
use dockerforge_protocol::ids::ImageId;
use dockerforge_protocol::spec::{ContainerSpec, HostAccess, Link, VolumeMount};
use proptest::prelude::*;

fn container(user: UserId, host: HostId, spec: ContainerSpec) -> Container {
    Container {
        id: ContainerId::new(),
        user,
        host,
        image: ImageId::new(),
        name: "web".parse().unwrap(),
        spec,
        desired: DesiredState::Running,
        observed: Observed::default(),
        converged: None,
        created_at: Timestamp::from_second(0).unwrap(),
        revision: 1,
    }
}

#[test]
fn links_volumes_of_others_and_parts_of_the_host_hold_a_container_where_it_is() {
    let (user, here, there) = (UserId::new(), HostId::new(), HostId::new());
    let data = || {
        let mount = VolumeMount { volume: "data".parse().unwrap(), target: "/data".parse().unwrap(), read_only: false };
        ContainerSpec { volumes: vec![mount], ..ContainerSpec::default() }
    };
    let own = container(user, here, data());
    let other = |host: HostId, spec: ContainerSpec| container(user, host, spec);
    let link = |to: ContainerId| {
        let link = Link { container: to, alias: "db".parse().unwrap() };
        ContainerSpec { links: vec![link], ..ContainerSpec::default() }
    };
    assert_eq!(
        movable(&own, there, &[own.clone(), other(here, ContainerSpec::default()), other(HostId::new(), data())]),
        Ok(())
    );
    let linking = other(here, link(own.id));
    assert_eq!(movable(&own, there, std::slice::from_ref(&linking)), Err(Refusal::Linked(vec![linking.id])));
    assert_eq!(movable(&linking, there, &[]), Err(Refusal::Linked(vec![own.id])));
    for host in [here, there] {
        let sharing = other(host, data());
        let refused = movable(&own, there, std::slice::from_ref(&sharing));
        assert_eq!(refused, Err(Refusal::VolumeInUse { volume: "data".to_owned(), container: sharing.id }));
        let gone = Container { desired: DesiredState::Removed, ..sharing };
        assert_eq!(movable(&own, there, &[gone]), Ok(()));
    }
    let access = HostAccess { privileged: true, ..HostAccess::default() };
    let bound = other(here, ContainerSpec { host_access: access, ..ContainerSpec::default() });
    assert_eq!(movable(&bound, there, &[]), Err(Refusal::BoundToHost(bound.id)));
}

#[test]
fn what_has_ended_by_itself_is_not_begun_anew_elsewhere() {
    let with = |restart, desired, state| {
        let spec = ContainerSpec { restart, ..ContainerSpec::default() };
        let container = container(UserId::new(), HostId::new(), spec);
        runs(&Container { desired, observed: Observed { state, ..Observed::default() }, ..container })
    };
    let (exited, running) =
        (ObservedState::Docker(ContainerState::Exited), ObservedState::Docker(ContainerState::Running));
    assert!(!with(RestartPolicy::No, DesiredState::Running, exited));
    assert!(with(RestartPolicy::No, DesiredState::Running, running));
    assert!(with(RestartPolicy::UnlessStopped, DesiredState::Running, exited));
    assert!(!with(RestartPolicy::UnlessStopped, DesiredState::Stopped, running));
}

/// What happens to the parts, and around them.
#[derive(Debug, Clone, Copy)]
enum Luck {
    /// The oldest part that is open goes well.
    Good,
    /// It fails; whether an agent had taken it.
    Bad(bool),
    /// Nothing is heard of it for a while.
    Silence,
    /// Its user cancels the move.
    Cancel,
    /// The other host is deleted without being asked.
    Deleted,
}

fn luck() -> impl Strategy<Value = Luck> {
    prop_oneof![
        6 => Just(Luck::Good),
        2 => any::<bool>().prop_map(Luck::Bad),
        2 => Just(Luck::Silence),
        1 => Just(Luck::Cancel),
        1 => Just(Luck::Deleted),
    ]
}

#[allow(clippy::struct_excessive_bools, reason = "what is true at a time")]
struct World {
    of: Move,
    parts: Vec<Job>,
    cancelled: bool,
    target_exists: bool,
    runs_here: bool,
    may_run_there: bool,
}

impl World {
    fn new(run: bool) -> Self {
        let (container, user) = (ContainerId::new(), UserId::new());
        let create = CreateContainer {
            container,
            user,
            name: "web".parse().unwrap(),
            image: ImageId::new(),
            spec: ContainerSpec::default(),
            hardening: Hardening::Docker,
            converge: None,
        };
        let (source, target) = (HostId::new(), HostId::new());
        let of = Move { job: JobId::new(), container, user, source, target, create, run, grace_s: 10 };
        Self { of, parts: Vec::new(), cancelled: false, target_exists: true, runs_here: run, may_run_there: false }
    }

    fn step(&self) -> Step {
        let gone = (!self.target_exists).then(|| Back::Failed(JobError::new("host-deleted", "gone")));
        let facts = Facts {
            parts: &self.parts,
            back: if self.cancelled { Some(Back::Cancelled) } else { gone },
            waits_for: None,
            may_start: true,
            target_exists: self.target_exists,
        };
        next(&self.of, &facts)
    }

    fn enqueue(&mut self, kind: JobKind, host: HostId) {
        let now = Timestamp::from_second(0).unwrap();
        self.parts.push(Job {
            id: JobId::new(),
            user: self.of.user,
            host: Some(host),
            parent: Some(self.of.job),
            kind,
            subject: Subject::Container(self.of.container),
            state: JobState::Queued,
            attempt: 0,
            refusals: 0,
            command: None,
            progress: None,
            error: None,
            product: None,
            log_size: 0,
            log_base: 0,
            created_at: now,
            started_at: None,
            ended_at: None,
            deadline_at: now,
            log_removed_at: None,
        });
    }

    /// Lets something happen to the oldest open part of a host; jobs about one container on one host are done in order.
    fn happens(&mut self, luck: Luck) {
        let (source, target) = (self.of.source, self.of.target);
        match luck {
            Luck::Cancel => self.cancelled = true,
            Luck::Deleted => {
                self.target_exists = false;
                self.may_run_there = false;
                for part in self.parts.iter_mut().filter(|p| p.host == Some(target) && !p.state.is_terminal()) {
                    part.state = JobState::Failed;
                    part.error = Some(JobError::new("host-deleted", "gone"));
                }
            }
            Luck::Silence => {}
            Luck::Good | Luck::Bad(_) => {
                let Some(part) = self.parts.iter_mut().find(|p| !p.state.is_terminal()) else { return };
                let stops = part.state == JobState::Cancelling;
                let good = matches!(luck, Luck::Good);
                if !matches!(luck, Luck::Bad(false)) {
                    part.attempt = 1;
                }
                part.state = match (good, stops) {
                    (_, true) => JobState::Cancelled,
                    (true, _) => JobState::Succeeded,
                    (false, _) => JobState::Failed,
                };
                if part.state == JobState::Failed {
                    part.error = Some(JobError::new("internal", "no luck"));
                }
                let (kind, host, done) = (part.kind, part.host, part.state == JobState::Succeeded);
                match (kind, host) {
                    (JobKind::ContainerStop, _) if done => self.runs_here = false,
                    // One that failed or was stopped may run all the same.
                    (JobKind::ContainerStart, Some(h)) if h == target && self.target_exists => {
                        self.may_run_there = true;
                    }
                    (JobKind::ContainerStart, Some(h)) if h == source && done => self.runs_here = true,
                    // What is not done is tried until it is.
                    (JobKind::ContainerRemove, _) => {
                        if let Some(part) = self.parts.iter_mut().find(|p| p.kind == kind && p.host == host) {
                            part.state = JobState::Succeeded;
                        }
                        self.may_run_there = false;
                    }
                    _ => {}
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_it_never_runs_in_two_places_and_ends_in_one(
        run: bool, lucks in proptest::collection::vec(luck(), 0..20)
    ) {
        let mut world = World::new(run);
        let mut lucks = lucks.into_iter();
        for _ in 0..200 {
            prop_assert!(!(world.runs_here && world.may_run_there), "{:?}", world.parts);
            let (source, target) = (world.of.source, world.of.target);
            match world.step() {
                Step::Wait(_) => world.happens(lucks.next().unwrap_or(Luck::Good)),
                Step::Stop => world.enqueue(JobKind::ContainerStop, source),
                Step::Receive => world.enqueue(JobKind::ContainerReceive, target),
                Step::Start => {
                    prop_assert!(!world.runs_here);
                    world.enqueue(JobKind::ContainerStart, target);
                }
                Step::Discard(_) => world.enqueue(JobKind::ContainerRemove, target),
                Step::StartAgain => {
                    prop_assert!(!world.may_run_there, "{:?}", world.parts);
                    world.enqueue(JobKind::ContainerStart, source);
                }
                Step::Cancel(id) => {
                    let part = world.parts.iter_mut().find(|part| part.id == id).unwrap();
                    part.state =
                        if part.state == JobState::Queued { JobState::Cancelled } else { JobState::Cancelling };
                }
                Step::Arrived(_) => {
                    prop_assert!(!world.runs_here && world.target_exists);
                    prop_assert_eq!(world.may_run_there, run);
                    return Ok(());
                }
                Step::Stayed(back) => {
                    let again = world.parts.iter().rfind(|p| p.kind == JobKind::ContainerStart && p.host == Some(source));
                    let failed = again.is_some_and(|again| again.state != JobState::Succeeded);
                    let told = matches!(&back, Back::Failed(error) if error.detail.contains("could not be started again"));
                    prop_assert_eq!(failed, told, "{:?}", back);
                    prop_assert!(failed || world.runs_here == run, "{:?}", world.parts);
                    prop_assert!(!world.may_run_there, "{:?}", world.parts);
                    return Ok(());
                }
            }
        }
        prop_assert!(false, "it does not end: {:?}", world.parts);
    }
}
