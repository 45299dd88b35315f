//! Where a container goes: which of the hosts that many users share has room for it, and why the others have not. Pure:
//! the caller reads the hosts, and holds the one that is chosen before anything is written.

use super::container::Container;
use super::host::{Host, HostState};
use super::{Violation, container};
use dockerforge_protocol::command::Hardening;
use dockerforge_protocol::ids::{ContainerId, HostId, UserId};
use dockerforge_protocol::spec::{Bytes, ContainerSpec, LabelKey, Labels, MilliCpus, PidsLimit, Resources};
use std::cmp::Reverse;
use std::fmt;

/// The most processes that a container on a shared host may have.
pub const MAX_PIDS: u32 = 4096;

/// How one host is chosen of several that fit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strategy {
    /// The one with the most room left: what fails takes little with it.
    #[default]
    Spread,
    /// The one with the least room left: whole hosts stay free for what is large.
    Binpack,
    /// Any.
    Random,
}

impl Strategy {
    /// The name in the API and in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spread => "spread",
            Self::Binpack => "binpack",
            Self::Random => "random",
        }
    }

    /// The strategy that a word stands for.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Spread, Self::Binpack, Self::Random].into_iter().find(|s| s.as_str() == word)
    }
}

/// What the operator lays down for the hosts that users share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolRules {
    /// Thousandths of a processor that stay for the host itself.
    pub headroom_cpus: u64,
    /// Bytes of memory that stay for the host itself.
    pub headroom_memory: u64,
    /// What a container gets that names no processors.
    pub cpus: MilliCpus,
    /// What a container gets that names no memory.
    pub memory: Bytes,
    /// What a container gets that names no limit of processes.
    pub pids: PidsLimit,
    /// What each step of a build may use.
    pub build: Resources,
    /// How a host is chosen where nobody says.
    pub strategy: Strategy,
}

impl PoolRules {
    /// Gives a container the limits that it does not name: without any it would take what is others'. What is beyond all
    /// bounds is a violation.
    pub fn limit(&self, spec: &mut ContainerSpec) -> Option<Violation> {
        let limits = &mut spec.resources;
        limits.cpus.get_or_insert(self.cpus);
        limits.memory.get_or_insert(self.memory);
        let pids = *limits.pids.get_or_insert(self.pids);
        (pids.get() > MAX_PIDS)
            .then(|| Violation::new("/resources/pids", format!("expected at most {MAX_PIDS} on a pool host")))
    }
}

/// How a container on that host is held back, whatever its user asks for.
#[must_use]
pub const fn hardening(host: &Host) -> Hardening {
    if host.pool { Hardening::Pool } else { Hardening::Docker }
}

/// What each step of a build on that host may use, whoever builds: on a shared one it would take what is others'.
#[must_use]
pub fn build_limits(rules: &PoolRules, host: &Host) -> Resources {
    if host.pool { rules.build } else { Resources::default() }
}

/// Where somebody wants a container.
#[derive(Debug, Clone, PartialEq)]
pub enum Place {
    /// On one of his hosts.
    Host(HostId),
    /// On a shared host.
    Pool(Wish),
    /// Wherever there is room; he says nothing.
    Open,
}

/// What somebody says of the host that is to be chosen.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wish {
    /// How to choose; as the operator says where absent.
    pub strategy: Option<Strategy>,
    /// Labels that the host must have.
    pub labels: Labels,
    /// Which host it is not to be: the one that a container leaves.
    pub except: Option<HostId>,
}

/// What is set aside on a host for the containers on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reserved {
    /// Thousandths of a processor.
    pub cpus: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// How many containers.
    pub containers: u64,
}

impl Reserved {
    /// What one container needs to have set aside.
    #[must_use]
    pub fn of(spec: &ContainerSpec) -> Self {
        let limits = &spec.resources;
        Self {
            cpus: limits.cpus.map_or(0, |cpus| cpus.get().into()),
            memory: limits.memory.map_or(0, Bytes::get),
            containers: 1,
        }
    }

    /// Enough for either of two.
    #[must_use]
    pub fn larger(self, other: Self) -> Self {
        Self {
            cpus: self.cpus.max(other.cpus),
            memory: self.memory.max(other.memory),
            containers: self.containers.max(other.containers),
        }
    }
}

/// A host, with what counts beside its own row.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The host.
    pub host: Host,
    /// What is set aside there.
    pub reserved: Reserved,
    /// Whether the image can be used there.
    pub image: bool,
    /// The containers there, where the ports of the host are asked for by number.
    pub containers: Vec<Container>,
}

/// What is to be placed.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Which container: gives chance its dice.
    pub container: ContainerId,
    /// What it is to be, its limits among it.
    pub spec: &'a ContainerSpec,
    /// Labels that the host must have.
    pub labels: &'a Labels,
    /// The containers that it links, and where each is.
    pub links: &'a [(ContainerId, HostId)],
    /// How to choose.
    pub strategy: Strategy,
}

/// Why a container cannot go to a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// Nobody can work on it now.
    State(HostState, String),
    /// It takes nothing new.
    Draining,
    /// Docker does not answer there.
    Docker(String),
    /// It has not this label, or not with this value.
    Label(LabelKey),
    /// The image is not there.
    Image,
    /// A container that it links is elsewhere.
    Linked(ContainerId),
    /// A port is another's: `8080/tcp`.
    Port(String),
    /// Too few processors are left: thousandths left, and asked for.
    Cpus(u64, u64),
    /// Too little memory is left: bytes left, and asked for.
    Memory(u64, u64),
}

impl Obstacle {
    /// Whether there is no room: what also keeps a container from a host that its owner named.
    #[must_use]
    pub const fn is_room(&self) -> bool {
        matches!(self, Self::Cpus(..) | Self::Memory(..))
    }

    /// The obstacle in words: all that is known for the host's owner, and for others nothing of the host's insides.
    #[must_use]
    pub fn text(&self, owner: bool) -> String {
        match (self, owner) {
            (Self::State(_, detail) | Self::Docker(detail), true) => detail.clone(),
            (Self::State(state, _), false) => format!("it is {}", state.as_str()),
            (Self::Docker(_), false) => "Docker does not answer there".to_owned(),
            (Self::Cpus(left, asked), true) => {
                format!("{} processors are left, {} are asked for", Milli(*left), Milli(*asked))
            }
            (Self::Cpus(..), false) => "too few processors are left".to_owned(),
            (Self::Memory(left, asked), true) => format!("{left} bytes of memory are left, {asked} are asked for"),
            (Self::Memory(..), false) => "too little memory is left".to_owned(),
            (Self::Draining, _) => "it is draining".to_owned(),
            (Self::Label(key), _) => format!("its label {key} is another, or absent"),
            (Self::Image, _) => "the image is not there".to_owned(),
            (Self::Linked(container), _) => format!("{container}, which it links, is elsewhere"),
            (Self::Port(port), _) => format!("port {port} is taken"),
        }
    }
}

/// Thousandths as people write them.
struct Milli(u64);

impl fmt::Display for Milli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// What is left of a host for containers: thousandths of a processor, and bytes.
fn left(rules: &PoolRules, candidate: &Candidate) -> (u64, u64) {
    let capacity = candidate.host.agent.as_ref().map(|agent| &agent.capacity);
    let (cpus, memory) = capacity.map_or((0, 0), |c| (u64::from(c.cpus) * 1000, c.memory));
    (
        cpus.saturating_sub(rules.headroom_cpus).saturating_sub(candidate.reserved.cpus),
        memory.saturating_sub(rules.headroom_memory).saturating_sub(candidate.reserved.memory),
    )
}

/// All that keeps a container from a host; nothing where it fits.
#[must_use]
pub fn obstacles(rules: &PoolRules, asked: &Asked<'_>, candidate: &Candidate) -> Vec<Obstacle> {
    let host = &candidate.host;
    let mut found = Vec::new();
    match host.unusable() {
        Some(detail) if host.state != HostState::Online => found.push(Obstacle::State(host.state, detail)),
        Some(_) if host.draining => found.push(Obstacle::Draining),
        Some(detail) => found.push(Obstacle::Docker(detail)),
        None => {}
    }
    let has = |key: &LabelKey| host.labels.iter().find(|(own, _)| *own == key).map(|(_, value)| value);
    found.extend(
        asked
            .labels
            .iter()
            .filter(|(key, value)| has(key) != Some(*value))
            .map(|(key, _)| Obstacle::Label(key.clone())),
    );
    if !candidate.image {
        found.push(Obstacle::Image);
    }
    let elsewhere = asked.links.iter().filter(|(_, at)| *at != host.id);
    found.extend(elsewhere.map(|(container, _)| Obstacle::Linked(*container)));
    if let Some((port, _)) = container::port_conflict(asked.spec, asked.container, &candidate.containers) {
        let number = port.host.map_or_else(String::new, |host| host.to_string());
        found.push(Obstacle::Port(format!("{number}/{}", port.protocol)));
    }
    let (need, (cpus, memory)) = (Reserved::of(asked.spec), left(rules, candidate));
    if need.cpus > cpus {
        found.push(Obstacle::Cpus(cpus, need.cpus));
    }
    if need.memory > memory {
        found.push(Obstacle::Memory(memory, need.memory));
    }
    found
}

/// The host that a container goes to.
///
/// # Errors
/// Every host with all that keeps the container from it, if it fits none.
pub fn decide(
    rules: &PoolRules,
    asked: &Asked<'_>,
    candidates: &[Candidate],
) -> Result<HostId, Vec<(HostId, Vec<Obstacle>)>> {
    let looked: Vec<_> = candidates.iter().map(|candidate| (candidate, obstacles(rules, asked, candidate))).collect();
    let fitting: Vec<&Candidate> = looked.iter().filter(|(_, found)| found.is_empty()).map(|(c, _)| *c).collect();
    // The larger of the shares of processors and of memory that are taken once it is there, in millionths.
    let taken = |candidate: &Candidate| {
        let (need, (cpus, memory)) = (Reserved::of(asked.spec), left(rules, candidate));
        let share = |used: u64, left: u64| {
            let all = u128::from(used) + u128::from(left);
            (u128::from(used) * 1_000_000).checked_div(all).unwrap_or_default()
        };
        let after =
            |reserved: u64, need: u64, left: u64| share(reserved.saturating_add(need), left.saturating_sub(need));
        after(candidate.reserved.cpus, need.cpus, cpus).max(after(candidate.reserved.memory, need.memory, memory))
    };
    let chosen = match asked.strategy {
        Strategy::Spread => fitting.iter().min_by_key(|c| (taken(c), c.reserved.containers, c.host.id)),
        Strategy::Binpack => {
            fitting.iter().min_by_key(|c| (Reverse(taken(c)), Reverse(c.reserved.containers), c.host.id))
        }
        // The lower bits of an id are random.
        Strategy::Random => asked
            .container
            .uuid()
            .as_u128()
            .checked_rem(fitting.len() as u128)
            .and_then(|i| fitting.get(usize::try_from(i).unwrap_or_default())),
    };
    chosen
        .map(|candidate| candidate.host.id)
        .ok_or_else(|| looked.into_iter().map(|(candidate, found)| (candidate.host.id, found)).collect())
}

/// The answer to one for whom no host fits. A user's own hosts have their ids; others' have numbers, which tell nothing.
#[must_use]
pub fn explain(user: UserId, pool: &[Host], found: &[(HostId, Vec<Obstacle>)]) -> Vec<Violation> {
    let one = |(i, host): (usize, &Host)| {
        let (_, obstacles) = found.iter().find(|(id, _)| *id == host.id)?;
        let own = host.user == user;
        let name = if own { host.id.to_string() } else { format!("pool-{}", i + 1) };
        let texts: Vec<String> = obstacles.iter().map(|obstacle| obstacle.text(own)).collect();
        Some(Violation::new(name, texts.join("; ")))
    };
    pool.iter().enumerate().filter_map(one).collect()
}

#[cfg(test)]
#[path = "placement_tests.rs"]
mod tests;
