//! How much a user may have. A limit is held when something is asked for; one that is lowered below what is used takes
//! nothing away.

use super::{Refusal, Violation};
use dockerforge_protocol::spec::{Bytes, Resources};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Containers that are not on their way out.
    Containers,
    /// Those of them that are meant to run.
    RunningContainers,
    /// The processors that they may use, in thousandths.
    Cpus,
    /// The memory that they may use, bytes.
    Memory,
    /// Images that are not on their way out.
    Images,
    /// Hosts that are not on their way out.
    Hosts,
    /// Jobs that have not ended, without those that follow from others.
    QueuedJobs,
}

impl Counted {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Containers,
        Self::RunningContainers,
        Self::Cpus,
        Self::Memory,
        Self::Images,
        Self::Hosts,
        Self::QueuedJobs,
    ];

    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Containers => "containers",
            Self::RunningContainers => "running_containers",
            Self::Cpus => "cpus",
            Self::Memory => "memory",
            Self::Images => "images",
            Self::Hosts => "hosts",
            Self::QueuedJobs => "queued_jobs",
        }
    }
}

/// A value for each thing that is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Each<T>([T; 7]);

impl<T: Copy> Each<T> {
    /// The value for one of them.
    #[must_use]
    pub const fn get(&self, counted: Counted) -> T {
        self.0[counted as usize]
    }

    /// Changes the value for one of them.
    pub const fn set(&mut self, counted: Counted, value: T) {
        self.0[counted as usize] = value;
    }
}

/// Processors as they are written, in thousandths; nothing for what is no amount of processors.
#[must_use]
pub fn thousandths(processors: f64) -> Option<u64> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
    (0.0..=1e9).contains(&processors).then(|| (processors * 1000.0).round() as u64)
}

/// How much a user may have of each; `None` is without limit.
pub type Limits = Each<Option<u64>>;
/// How much he has of each, or how much more is asked for.
pub type Amounts = Each<u64>;
/// What is to change of a user's own limits.
pub type Changes = Each<Change>;

/// What is to change of one limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    #[default]
    Keep,
    /// The default holds again.
    Default,
    /// This is the limit from now on.
    Limit(u64),
}

/// The largest limit that can be given: what every JSON reader holds exactly (RFC 8259, section 6).
pub const MAX_LIMIT: u64 = (1 << 53) - 1;

impl Limits {
    /// Where nothing is configured: generous, so that only a defect or malice meets them.
    #[must_use]
    pub const fn generous() -> Self {
        let many = Some(10_000);
        Self([many, many, None, None, many, many, many])
    }
}

impl Amounts {
    /// One more, or so many, of each of these.
    #[must_use]
    pub fn of(asked: &[(Counted, u64)]) -> Self {
        let mut amounts = Self::default();
        for (counted, amount) in asked {
            amounts.set(*counted, *amount);
        }
        amounts
    }
}

/// Decides whether what is asked for fits.
///
/// # Errors
/// [`Refusal::QuotaExceeded`] with the first thing that does not fit.
pub fn admit(limits: &Limits, used: &Amounts, asked: &Amounts) -> Result<(), Refusal> {
    for counted in Counted::ALL {
        let (used, asked) = (used.get(counted), asked.get(counted));
        match limits.get(counted) {
            Some(limit) if asked > 0 && used.saturating_add(asked) > limit => {
                return Err(Refusal::QuotaExceeded { counted, limit, used, asked });
            }
            _ => {}
        }
    }
    Ok(())
}

/// What a container that is to run asks for.
///
/// # Errors
/// [`Refusal::Invalid`] where a limit of the user's would mean nothing because the container has none of its own.
pub fn of_container(limits: &Limits, resources: &Resources) -> Result<Amounts, Refusal> {
    let wanted = [
        (Counted::Cpus, resources.cpus.map(|cpus| u64::from(cpus.get()))),
        (Counted::Memory, resources.memory.map(Bytes::get)),
    ];
    let unbounded = wanted.iter().filter(|(counted, amount)| amount.is_none() && limits.get(*counted).is_some());
    let violations: Vec<Violation> = unbounded
        .map(|(counted, _)| {
            let word = counted.as_str();
            Violation::new(format!("/resources/{word}"), format!("give a limit: you have a quota of {word}"))
        })
        .collect();
    if !violations.is_empty() {
        return Err(Refusal::Invalid(violations));
    }
    let mut asked = Amounts::of(&[(Counted::Containers, 1), (Counted::RunningContainers, 1)]);
    for (counted, amount) in wanted {
        asked.set(counted, amount.unwrap_or_default());
    }
    Ok(asked)
}

/// What a container asks for in addition that is to have other limits.
///
/// # Errors
/// As [`of_container`].
pub fn of_change(limits: &Limits, before: &Resources, after: &Resources) -> Result<Amounts, Refusal> {
    if before == after {
        return Ok(Amounts::default());
    }
    let wanted = of_container(limits, after)?;
    let has =
        [(Counted::Cpus, before.cpus.map(|c| u64::from(c.get()))), (Counted::Memory, before.memory.map(Bytes::get))];
    let more = has.map(|(counted, has)| (counted, wanted.get(counted).saturating_sub(has.unwrap_or_default())));
    Ok(Amounts::of(&more))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockerforge_protocol::spec::MilliCpus;

    fn one(counted: Counted, value: u64) -> Amounts {
        Amounts::of(&[(counted, value)])
    }

    #[test]
    fn a_change_asks_for_what_it_adds_alone() {
        let resources = |cpus: u32, memory: u64| Resources {
            cpus: Some(MilliCpus::try_from(u64::from(cpus)).unwrap()),
            memory: Some(Bytes::try_from(memory).unwrap()),
            pids: None,
        };
        let (small, large) = (resources(500, 64 << 20), resources(800, 32 << 20));
        let mut limits = Limits::default();
        limits.set(Counted::Cpus, Some(1000));
        assert_eq!(of_change(&limits, &small, &large), Ok(one(Counted::Cpus, 300)));
        assert_eq!(of_change(&limits, &large, &small), Ok(one(Counted::Memory, 32 << 20)));
        assert!(matches!(of_change(&limits, &small, &Resources::default()), Err(Refusal::Invalid(_))));
    }

    #[test]
    fn each_limit_is_met_exactly() {
        for counted in Counted::ALL {
            let mut limits = Limits::default();
            limits.set(counted, Some(10));
            assert_eq!(admit(&limits, &one(counted, 9), &one(counted, 1)), Ok(()));
            let refused = Refusal::QuotaExceeded { counted, limit: 10, used: 9, asked: 2 };
            assert_eq!(admit(&limits, &one(counted, 9), &one(counted, 2)), Err(refused));
        }
    }

    #[test]
    fn a_limit_below_what_is_used_refuses_more_of_it_and_nothing_else() {
        let mut limits = Limits::default();
        limits.set(Counted::Images, Some(1));
        let used = one(Counted::Images, 5);
        assert!(admit(&limits, &used, &one(Counted::Images, 1)).is_err());
        assert_eq!(admit(&limits, &used, &one(Counted::Hosts, 1)), Ok(()));
        assert_eq!(admit(&limits, &used, &Amounts::default()), Ok(()));
    }

    #[test]
    fn a_container_without_a_limit_is_refused_only_where_there_is_a_quota_of_it() {
        let resources = Resources { memory: Some((64 << 20).try_into().unwrap()), ..Resources::default() };
        let mut limits = Limits::default();
        let asked = of_container(&limits, &resources).unwrap();
        assert_eq!((asked.get(Counted::Cpus), asked.get(Counted::Memory)), (0, 64 << 20));
        limits.set(Counted::Memory, Some(1 << 30));
        assert!(of_container(&limits, &resources).is_ok());
        limits.set(Counted::Cpus, Some(1000));
        let Err(Refusal::Invalid(violations)) = of_container(&limits, &resources) else { panic!("it was accepted") };
        assert_eq!(violations.iter().map(|v| v.pointer.as_str()).collect::<Vec<_>>(), ["/resources/cpus"]);
    }

    #[test]
    fn an_enormous_sum_is_refused_and_not_wrapped_around() {
        let mut limits = Limits::default();
        limits.set(Counted::Memory, Some(MAX_LIMIT));
        assert!(admit(&limits, &one(Counted::Memory, u64::MAX), &one(Counted::Memory, 1)).is_err());
    }
}
