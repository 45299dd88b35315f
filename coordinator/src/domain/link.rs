//! Links between containers: what a template's containers must be linked to, and whether they are.

use super::Violation;
use dockerforge_protocol::ids::{ContainerId, HostId};
use dockerforge_protocol::spec::ResourceName;

/// How many containers a refusal names.
const NAMED: usize = 10;

/// A container of a configuration, and the services that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Which.
    pub container: ContainerId,
    /// Its name.
    pub name: ResourceName,
    /// Where it is.
    pub host: HostId,
    /// What it provides.
    pub provides: Vec<ResourceName>,
}

impl Provider {
    /// Whether it is this service.
    #[must_use]
    pub fn is(&self, service: &ResourceName) -> bool {
        self.provides.contains(service)
    }
}

/// The services of those required that none of the linked containers is.
#[must_use]
pub fn missing(required: &[ResourceName], linked: &[Provider]) -> Vec<ResourceName> {
    required.iter().filter(|service| !linked.iter().any(|provider| provider.is(service))).cloned().collect()
}

/// What somebody is told whose container lacks a link to a service: what he can do. `host` is where it is to be, where that
/// is said; `providers` are his containers, `named` the hosts that he may know by their ids.
#[must_use]
pub fn unmet(service: &ResourceName, host: Option<HostId>, providers: &[Provider], named: &[HostId]) -> Violation {
    let place = |p: &Provider| if named.contains(&p.host) { p.host.to_string() } else { "a shared host".to_owned() };
    let list = |of: &[&Provider]| {
        let each = of.iter().take(NAMED).map(|p| format!("{} ({}) on {}", p.container, p.name, place(p)));
        each.collect::<Vec<_>>().join(", ")
    };
    let near = |provider: &&Provider| host.is_none_or(|host| provider.host == host);
    let (here, elsewhere): (Vec<_>, Vec<_>) = providers.iter().filter(|provider| provider.is(service)).partition(near);
    let needs = format!("its template requires {service}");
    let detail = if !here.is_empty() {
        format!("{needs}: link one of your containers that provide it: {}", list(&here))
    } else if elsewhere.is_empty() {
        format!(
            "{needs}: none of your containers provides it. Launch one on the same host, of a template that provides \
             {service}, and link it"
        )
    } else {
        format!(
            "{needs}: none of your containers on this host provides it. Those that do are linked on their own host alone: \
             {}. Make this container there, or launch one that provides {service} here",
            list(&elsewhere)
        )
    };
    Violation::new("/links", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ResourceName {
        text.parse().unwrap()
    }

    fn provider(host: HostId, provides: &str) -> Provider {
        Provider { container: ContainerId::new(), name: name("databases"), host, provides: vec![name(provides)] }
    }

    #[test]
    fn a_service_is_missing_until_a_linked_container_is_it() {
        let host = HostId::new();
        let required = [name("mysql"), name("redis")];
        assert_eq!(missing(&required, &[]), required);
        assert_eq!(missing(&required, &[provider(host, "redis")]), [name("mysql")]);
        assert!(missing(&required, &[provider(host, "redis"), provider(host, "mysql")]).is_empty());
    }

    #[test]
    fn what_is_told_names_the_containers_that_would_do() {
        let (here, there, shared) = (HostId::new(), HostId::new(), HostId::new());
        let told = |providers: &[Provider]| unmet(&name("mysql"), Some(here), providers, &[here, there]).detail;
        assert!(told(&[provider(here, "redis")]).contains("none of your containers provides it"));
        let (near, far, hidden) = (provider(here, "mysql"), provider(there, "mysql"), provider(shared, "mysql"));
        let text = told(&[near.clone(), far.clone()]);
        assert!(text.contains(&near.container.to_string()) && !text.contains(&far.container.to_string()), "{text}");
        let text = told(&[far.clone(), hidden.clone()]);
        assert!(text.contains(&format!("{} (databases) on {there}", far.container)), "{text}");
        assert!(!text.contains(&shared.to_string()) && text.contains("on a shared host"), "{text}");
        let text = unmet(&name("mysql"), None, &[far.clone(), near.clone()], &[]).detail;
        assert!([far, near].iter().all(|p| text.contains(&p.container.to_string())), "where it goes is open: {text}");
    }
}
