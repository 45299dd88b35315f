//! A container: what it is meant to be, and what its host shows. Two authorities, never one column: desired state is
//! the API's, observed state the agent's.

use super::Timestamp;
use super::converge::Converged;
use core::net::IpAddr;
use dockerforge_protocol::ids::{ContainerId, HostId, ImageId, UserId};
use dockerforge_protocol::inventory::{ContainerState, Health, ObservedContainer, ObservedPort};
use dockerforge_protocol::spec::{ContainerSpec, PortMapping, ResourceName, Seconds};
use jiff::SignedDuration;

/// How long after a result an inventory that lacks the container proves nothing: it may have been read before.
pub const INVENTORY_RACE: SignedDuration = SignedDuration::from_secs(5);

/// A container.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// Whose it is.
    pub user: UserId,
    /// Where it runs.
    pub host: HostId,
    /// What it runs.
    pub image: ImageId,
    /// Its name among its user's containers.
    pub name: ResourceName,
    /// What it is to be.
    pub spec: ContainerSpec,
    /// What it is meant to do.
    pub desired: DesiredState,
    /// What its host showed last.
    pub observed: Observed,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// Grows with each change of what its user may change.
    pub revision: u64,
    /// What was converged last, if a configuration converges it: nothing until it is made.
    pub converged: Option<Converged>,
}

/// Seconds that a container may take to end, where nobody says.
const GRACE: u32 = 10;

impl Container {
    /// Seconds that it may take to end before it is killed.
    #[must_use]
    pub fn grace(&self) -> u32 {
        self.spec.stop_grace.map_or(GRACE, Seconds::get)
    }
}

/// What a container is meant to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DesiredState {
    /// Run.
    Running,
    /// Be there, and not run.
    Stopped,
    /// Be gone.
    Removed,
}

impl DesiredState {
    /// The name in the API and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Removed => "removed",
        }
    }

    /// The state a stored word stands for.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Running, Self::Stopped, Self::Removed].into_iter().find(|s| s.as_str() == word)
    }
}

/// What the host showed last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// Its state.
    pub state: ObservedState,
    /// How well it is, where it is checked.
    pub health: Option<Health>,
    /// Docker's id of it.
    pub docker_id: Option<String>,
    /// The exit code, once it has ended.
    pub exit_code: Option<i64>,
    /// When it last started.
    pub started_at: Option<Timestamp>,
    /// The ports it publishes.
    pub ports: Vec<ObservedPort>,
    /// Its address in its user's network.
    pub address: Option<IpAddr>,
    /// When this was reported.
    pub at: Option<Timestamp>,
}

/// What can be stored of a container's state. `unknown` is not among them: it is how a silent host's containers are
/// shown, and what was stored before stands again when the host is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ObservedState {
    /// Nothing was reported yet.
    #[default]
    Pending,
    /// As Docker says.
    Docker(ContainerState),
    /// It was there, and is not any more.
    Missing,
}

impl ObservedState {
    /// The name in the API and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Docker(state) => state.as_str(),
            Self::Missing => "missing",
        }
    }

    /// The state a stored word stands for.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        use ContainerState::{Created, Dead, Exited, Paused, Removing, Restarting, Running};
        [Created, Running, Paused, Restarting, Exited, Removing, Dead]
            .into_iter()
            .map(Self::Docker)
            .chain([Self::Pending, Self::Missing])
            .find(|s| s.as_str() == word)
    }
}

/// The first of the ports that a container is to publish, by their numbers, that another on its host has: because it was
/// asked for, or because it was chosen for it. One that is meant to be gone has none any more.
#[must_use]
pub fn port_conflict(
    asked: &ContainerSpec,
    except: ContainerId,
    on_host: &[Container],
) -> Option<(PortMapping, ContainerId)> {
    let others = || on_host.iter().filter(|c| c.id != except && c.desired != DesiredState::Removed);
    asked.ports.iter().find_map(|port| {
        let host = port.host?.get();
        let has = |other: &&Container| {
            let asked = other.spec.ports.iter().any(|p| p.protocol == port.protocol && p.host == port.host);
            asked || other.observed.ports.iter().any(|p| p.protocol == port.protocol && p.host == host)
        };
        others().find(has).map(|other| (*port, other.id))
    })
}

/// Whether Docker can make the one of the other where it is: only limits and the restart policy differ, and no limit is
/// taken away.
#[must_use]
pub fn changes_in_place(before: &ContainerSpec, after: &ContainerSpec) -> bool {
    let (old, new) = (&before.resources, &after.resources);
    let kept = ContainerSpec { resources: *new, restart: after.restart, ..before.clone() } == *after;
    let taken_away = (old.cpus.is_some() && new.cpus.is_none())
        || (old.memory.is_some() && new.memory.is_none())
        || (old.pids.is_some() && new.pids.is_none());
    kept && !taken_away
}

/// What a container is meant to do once something that was to change it was cancelled: go on as it was seen.
#[must_use]
pub const fn left_as(seen: ObservedState) -> DesiredState {
    match seen {
        ObservedState::Docker(ContainerState::Created | ContainerState::Exited | ContainerState::Dead) => {
            DesiredState::Stopped
        }
        _ => DesiredState::Running,
    }
}

/// What is seen of a container after a job of this name has succeeded, as long as its host says nothing newer; `None`
/// where it was seen so already.
#[must_use]
pub fn operated(known: &Observed, running: bool, docker_id: &str, now: Timestamp) -> Option<Observed> {
    let state = if running { ContainerState::Running } else { ContainerState::Exited };
    let seen = known.state == ObservedState::Docker(state) && known.docker_id.as_deref() == Some(docker_id);
    let stays = !running && known.docker_id.as_deref() == Some(docker_id);
    (!seen).then(|| Observed {
        state: ObservedState::Docker(state),
        docker_id: Some(docker_id.to_owned()),
        started_at: known.started_at.filter(|_| stays),
        at: Some(now),
        ..Observed::default()
    })
}

/// What is seen of a container that was made anew, and started if it is to run; `None` as for [`operated`].
#[must_use]
pub fn made_anew(known: &Observed, run: bool, docker_id: &str, now: Timestamp) -> Option<Observed> {
    if run {
        return operated(known, true, docker_id, now);
    }
    (known.docker_id.as_deref() != Some(docker_id)).then(|| Observed {
        state: ObservedState::Docker(ContainerState::Created),
        docker_id: Some(docker_id.to_owned()),
        at: Some(now),
        ..Observed::default()
    })
}

/// What a report says of a container, in our terms.
#[must_use]
pub fn observe(seen: &ObservedContainer, now: Timestamp) -> Observed {
    Observed {
        state: ObservedState::Docker(seen.state),
        health: seen.health,
        docker_id: Some(seen.docker_id.clone()),
        exit_code: seen.exit_code,
        started_at: seen.started_at.and_then(|us| Timestamp::from_microsecond(us).ok()),
        ports: seen.ports.clone(),
        address: seen.address,
        at: Some(now),
    }
}

/// What a complete inventory makes of what was known of one container; `None` if nothing changes.
#[must_use]
pub fn reconcile(known: &Observed, seen: Option<&ObservedContainer>, now: Timestamp) -> Option<Observed> {
    match seen {
        Some(seen) => {
            let new = observe(seen, now);
            (Observed { at: known.at, ..new.clone() } != *known).then_some(new)
        }
        None => match known.state {
            ObservedState::Pending | ObservedState::Missing => None,
            ObservedState::Docker(_) if known.at.is_some_and(|at| now.duration_since(at) < INVENTORY_RACE) => None,
            ObservedState::Docker(_) => Some(Observed {
                state: ObservedState::Missing,
                health: None,
                ports: Vec::new(),
                address: None,
                at: Some(now),
                ..known.clone()
            }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn seen(state: ContainerState) -> ObservedContainer {
        ObservedContainer {
            container: ContainerId::new(),
            docker_id: "d".to_owned(),
            state,
            health: None,
            exit_code: None,
            started_at: None,
            ports: vec![],
            address: None,
        }
    }

    #[test]
    fn a_container_that_was_seen_and_is_not_listed_any_more_is_missing() {
        let known = observe(&seen(ContainerState::Running), at(0));
        let new = reconcile(&known, None, at(60)).unwrap();
        assert_eq!(new.state, ObservedState::Missing);
        assert_eq!(reconcile(&new, None, at(61)), None);
    }

    #[test]
    fn an_inventory_read_before_the_container_was_made_does_not_make_it_missing() {
        let known = observe(&seen(ContainerState::Running), at(0));
        assert_eq!(reconcile(&known, None, at(1)), None);
        assert_eq!(reconcile(&Observed::default(), None, at(60)), None);
    }

    #[test]
    fn what_was_cancelled_leaves_the_container_as_it_is_seen() {
        assert_eq!(left_as(ObservedState::Docker(ContainerState::Exited)), DesiredState::Stopped);
        assert_eq!(left_as(ObservedState::Docker(ContainerState::Restarting)), DesiredState::Running);
        assert_eq!(left_as(ObservedState::Pending), DesiredState::Running);
    }

    #[test]
    fn only_limits_that_stay_and_the_restart_policy_change_in_place() {
        let spec = |text: &str| serde_json::from_str::<ContainerSpec>(text).unwrap();
        let before = spec(r#"{"env":{"A":"b"},"resources":{"pids":10}}"#);
        assert!(changes_in_place(
            &before,
            &spec(r#"{"env":{"A":"b"},"resources":{"pids":20,"cpus":500},"restart":"no"}"#)
        ));
        assert!(!changes_in_place(&before, &spec(r#"{"env":{"A":"b"}}"#)), "a limit is taken away");
        assert!(!changes_in_place(&before, &spec(r#"{"env":{"A":"c"},"resources":{"pids":10}}"#)));
    }

    #[test]
    fn a_report_that_came_before_the_jobs_end_is_kept() {
        let known = Observed { exit_code: Some(3), ..observe(&seen(ContainerState::Exited), at(0)) };
        assert_eq!(operated(&known, false, "d", at(1)), None);
        let running = operated(&known, true, "d", at(1)).unwrap();
        assert_eq!((running.state, running.exit_code), (ObservedState::Docker(ContainerState::Running), None));
        assert!(operated(&known, false, "another", at(1)).is_some());
        assert_eq!(made_anew(&known, false, "d", at(1)), None);
        let made = made_anew(&known, false, "another", at(1)).unwrap();
        assert_eq!((made.state, made.exit_code), (ObservedState::Docker(ContainerState::Created), None));
    }

    #[test]
    fn an_unchanged_report_changes_nothing() {
        let known = observe(&seen(ContainerState::Running), at(0));
        assert_eq!(reconcile(&known, Some(&seen(ContainerState::Running)), at(9)), None);
        assert!(reconcile(&known, Some(&seen(ContainerState::Exited)), at(9)).is_some());
    }
}
