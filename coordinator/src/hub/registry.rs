//! Which connections there are, by host. The routes admit a connection, the handshake makes it the live one, and its
//! guard takes it out again, however its task ends.
//!
//! What must hold: all is decided under one lock that is never held across an await; of the welcomed connections of a
//! host at most one is not closing, that of the newest epoch; after `stop` nothing is admitted.

use super::handle::SessionHandle;
use super::refused;
use dockerforge_protocol::handshake::RefusedReason;
use dockerforge_protocol::ids::HostId;
use dockerforge_protocol::message::ToAgent;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// See the module.
#[derive(Clone, Default)]
pub(super) struct Registry {
    table: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    stopped: bool,
    last_id: u64,
    hosts: HashMap<HostId, Vec<SessionHandle>>,
}

/// Why a connection is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotAdmitted {
    /// The hub drains.
    Stopped,
    /// The host has as many connections as it may.
    TooMany,
}

/// A connection's place in the registry, given up on drop.
pub(super) struct Place {
    pub(super) handle: SessionHandle,
    registry: Registry,
}

impl Registry {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a new connection of a host its place.
    pub(super) fn admit(
        &self,
        host: HostId,
        per_host: usize,
        outbound: usize,
    ) -> Result<(Place, mpsc::Receiver<Box<ToAgent>>), NotAdmitted> {
        let mut table = self.table();
        if table.stopped {
            return Err(NotAdmitted::Stopped);
        }
        if table.hosts.get(&host).is_some_and(|connections| connections.len() >= per_host) {
            return Err(NotAdmitted::TooMany);
        }
        table.last_id += 1;
        let (handle, receiver) = SessionHandle::new(table.last_id, host, outbound);
        // Not `or_default`: a vector grows to four places at once, and nearly every host has one connection.
        table.hosts.entry(host).or_insert_with(|| Vec::with_capacity(1)).push(handle.clone());
        Ok((Place { handle, registry: self.clone() }, receiver))
    }

    /// Makes a connection the live one of its host, and closes the one before it. A connection that was welcomed after
    /// this one, with a higher epoch, stays; this one is closed then.
    pub(super) fn welcome(&self, handle: &SessionHandle, epoch: u64) {
        let mut table = self.table();
        let superseded = || refused(RefusedReason::Superseded, "a newer connection of this host took over");
        for other in table.hosts.entry(handle.host()).or_default() {
            if other.id() == handle.id() || !other.is_live() {
                continue;
            }
            if other.epoch() < epoch { other.close(superseded()) } else { handle.close(superseded()) }
        }
        handle.welcome(epoch);
    }

    /// The live connection of a host.
    pub(super) fn live(&self, host: HostId) -> Option<SessionHandle> {
        self.table().hosts.get(&host)?.iter().find(|connection| connection.is_live()).cloned()
    }

    /// The live connections of all hosts.
    pub(super) fn all_live(&self) -> Vec<SessionHandle> {
        self.table().hosts.values().flatten().filter(|connection| connection.is_live()).cloned().collect()
    }

    /// Every connection of a host, welcomed or not.
    pub(super) fn of_host(&self, host: HostId) -> Vec<SessionHandle> {
        self.table().hosts.get(&host).cloned().unwrap_or_default()
    }

    /// Admits nothing more; answers every connection there is.
    pub(super) fn stop(&self) -> Vec<SessionHandle> {
        let mut table = self.table();
        table.stopped = true;
        table.hosts.values().flatten().cloned().collect()
    }

    fn leave(&self, handle: &SessionHandle) {
        let mut table = self.table();
        if let Some(connections) = table.hosts.get_mut(&handle.host()) {
            connections.retain(|connection| connection.id() != handle.id());
            if connections.is_empty() {
                table.hosts.remove(&handle.host());
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.registry.leave(&self.handle);
        self.handle.mark_closed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(registry: &Registry, host: HostId) -> Place {
        registry.admit(host, 8, 4).map(|(place, _)| place).unwrap()
    }

    #[test]
    fn the_newest_epoch_is_live_in_whichever_order_they_are_welcomed() {
        let (registry, host) = (Registry::default(), HostId::new());
        let (one, two, three) = (admit(&registry, host), admit(&registry, host), admit(&registry, host));
        assert!(registry.live(host).is_none(), "nobody is welcomed yet");
        registry.welcome(&one.handle, 1);
        assert_eq!(registry.live(host).unwrap().epoch(), 1);
        registry.welcome(&three.handle, 3);
        assert!(one.handle.is_closed());
        registry.welcome(&two.handle, 2);
        assert!(two.handle.is_closed() && !three.handle.is_closed());
        assert_eq!(registry.live(host).unwrap().epoch(), 3);
        assert_eq!(registry.all_live().len(), 1);
    }

    #[test]
    fn a_place_that_is_given_up_leaves_nothing_behind() {
        let (registry, host) = (Registry::default(), HostId::new());
        let (old, new) = (admit(&registry, host), admit(&registry, host));
        registry.welcome(&old.handle, 1);
        registry.welcome(&new.handle, 2);
        drop(old);
        assert_eq!(registry.live(host).unwrap().epoch(), 2, "the end of the old one is not the end of the new one");
        let handle = new.handle.clone();
        drop(new);
        assert!(handle.is_closed() && registry.table().hosts.is_empty());
    }

    #[test]
    fn a_host_has_only_so_many_connections() {
        let (registry, host) = (Registry::default(), HostId::new());
        let first = registry.admit(host, 1, 4).map(|(place, _)| place).unwrap();
        assert_eq!(registry.admit(host, 1, 4).map(|_| ()), Err(NotAdmitted::TooMany));
        assert!(registry.admit(HostId::new(), 1, 4).is_ok());
        drop(first);
        assert!(registry.admit(host, 1, 4).is_ok());
        registry.stop();
        assert_eq!(registry.admit(HostId::new(), 1, 4).map(|_| ()), Err(NotAdmitted::Stopped));
    }

    #[test]
    fn a_message_too_many_ends_the_session() {
        let (registry, host) = (Registry::default(), HostId::new());
        let (place, _receiver) = registry.admit(host, 8, 2).unwrap();
        let message = || ToAgent::Certificate { certificate: String::new() };
        assert_eq!(place.handle.send(message()), Ok(()));
        assert_eq!(place.handle.send(message()), Ok(()));
        assert_eq!(place.handle.send(message()), Err(super::super::SessionGone));
        assert!(place.handle.is_closed());
    }
}
