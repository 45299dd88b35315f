//! Ports of the host for those that a user leaves to us. Docker would choose others at each start; what is chosen here is
//! bound by number, so that it stays the same as long as the container is there. Where each one is stands in a label,
//! which tells of containers that do not run too. What must hold: no two containers of ours are given the same port.

use crate::docker::{ContainerLine, LabelMap};
use dockerforge_protocol::command::labels;
use dockerforge_protocol::ids::ContainerId;
use dockerforge_protocol::spec::{PortMapping, PortProtocol};
use std::collections::BTreeSet;
use std::num::NonZero;
use std::ops::RangeInclusive;

/// Below the range from which Linux takes the ports of outgoing connections (32768 to 60999, ip(7)).
const RANGE: RangeInclusive<u16> = 20_000..=29_999;

/// Container port, protocol, port of the host.
pub(super) type Published = (u16, PortProtocol, u16);

/// The label's text.
pub(super) fn to_label(ports: &[Published]) -> String {
    ports.iter().map(|(port, protocol, host)| format!("{port}/{protocol}={host}")).collect::<Vec<_>>().join(",")
}

/// What a container's label says.
pub(super) fn of_labels(labels: &LabelMap) -> Vec<Published> {
    let text = labels.get(labels::PORTS).map(String::as_str).unwrap_or_default();
    let one = |text: &str| {
        let (inside, host) = text.split_once('=')?;
        let (port, protocol) = inside.split_once('/')?;
        let protocol = if protocol == "udp" { PortProtocol::Udp } else { PortProtocol::Tcp };
        Some((port.parse().ok()?, protocol, host.parse().ok()?))
    };
    text.split(',').filter_map(one).collect()
}

/// The ports of the host that other containers of ours have, whether they run or not.
pub(super) fn taken(lines: &[ContainerLine], except: ContainerId) -> BTreeSet<u16> {
    let except = except.to_string();
    let others = lines.iter().filter(|line| line.labels.get(labels::CONTAINER) != Some(&except));
    others
        .flat_map(|line| {
            let bound = line.ports.iter().map(|port| port.host);
            bound.chain(of_labels(&line.labels).into_iter().map(|(.., host)| host)).collect::<Vec<_>>()
        })
        .collect()
}

/// A port of the host for each that is asked for: the one that was named, the one it had before, or the next free one;
/// `None` where none is free. Where the search begins follows from the container's id, so that two hosts differ.
pub(super) fn choose(
    container: ContainerId,
    asked: &[PortMapping],
    before: &[Published],
    taken: &BTreeSet<u16>,
) -> Option<Vec<Published>> {
    let span = RANGE.end() - RANGE.start() + 1;
    let seed = container.uuid().as_u128() % u128::from(span);
    let mut next = RANGE.start() + u16::try_from(seed).unwrap_or_default();
    let stays = |port: &PortMapping| {
        let same = |(inside, protocol, host): &&Published| {
            *inside == port.container.get() && *protocol == port.protocol && RANGE.contains(host)
        };
        before.iter().filter(same).map(|(.., host)| *host).find(|host| !taken.contains(host))
    };
    // What is named or stays is given away before anything new is looked for.
    let mut given: BTreeSet<u16> = asked.iter().filter_map(|port| port.host.map(NonZero::get)).collect();
    let mut hosts: Vec<Option<u16>> = Vec::with_capacity(asked.len());
    for port in asked {
        hosts.push(port.host.map(NonZero::get).or_else(|| stays(port).filter(|host| given.insert(*host))));
    }
    let mut chosen = Vec::with_capacity(asked.len());
    for (port, host) in asked.iter().zip(hosts) {
        let host = match host {
            Some(host) => host,
            None => (0..span).find_map(|_| {
                let this = next;
                next = if next == *RANGE.end() { *RANGE.start() } else { next + 1 };
                (!taken.contains(&this) && given.insert(this)).then_some(this)
            })?,
        };
        chosen.push((port.container.get(), port.protocol, host));
    }
    Some(chosen)
}

/// Which of the ports that were chosen here Docker's words complain about.
pub(super) fn complained(asked: &[PortMapping], published: &[Published], text: &str) -> Option<u16> {
    let ours = asked.iter().zip(published).filter(|(asked, _)| asked.host.is_none()).map(|(_, (.., host))| *host);
    super::container::is_port_taken(text).then(|| {
        ours.into_iter().find(|host| text.contains(&format!(":{host} ")) || text.contains(&format!(":{host}:")))
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(container: u16, host: Option<u16>) -> PortMapping {
        let number = |n| std::num::NonZeroU16::new(n).unwrap();
        PortMapping { container: number(container), host: host.map(number), protocol: PortProtocol::Tcp }
    }

    #[test]
    fn what_is_named_is_taken_and_the_rest_is_free_and_stays() {
        let id = ContainerId::new();
        let asked = [port(80, None), port(81, Some(8081)), port(82, None)];
        let first = choose(id, &asked, &[], &BTreeSet::new()).unwrap();
        assert_eq!(first[1], (81, PortProtocol::Tcp, 8081));
        assert!(RANGE.contains(&first[0].2) && RANGE.contains(&first[2].2) && first[0].2 != first[2].2);
        let labels = LabelMap::from([(labels::PORTS.to_owned(), to_label(&first))]);
        assert_eq!(of_labels(&labels), first);
        assert_eq!(choose(ContainerId::new(), &asked, &first, &BTreeSet::new()).unwrap(), first);
        let taken = BTreeSet::from([first[0].2]);
        let second = choose(id, &asked, &first, &taken).unwrap();
        assert!(second[0].2 != first[0].2 && second[2] == first[2]);
    }

    #[test]
    fn a_full_range_is_told() {
        assert_eq!(choose(ContainerId::new(), &[port(80, None)], &[], &RANGE.collect()), None);
    }

    #[test]
    fn docker_s_words_name_the_port() {
        let (asked, published) = ([port(80, None)], [(80, PortProtocol::Tcp, 20_001)]);
        let said = |text: &str| complained(&asked, &published, text);
        assert_eq!(said("Bind for 0.0.0.0:20001 failed: port is already allocated"), Some(20_001));
        assert_eq!(said("listen tcp4 0.0.0.0:20001: bind: address already in use"), Some(20_001));
        assert_eq!(said("Bind for 0.0.0.0:2000 failed: port is already allocated"), None);
        assert_eq!(said("no such file"), None);
    }
}
