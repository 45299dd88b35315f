//! Ports that are a test's own as long as it runs, between the stop and the new start of what listens on them, too. Asking
//! the kernel for any free one and giving it back would not do: another test's connection may have it a moment later.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::{linux::net::SocketAddrExt, unix::net},
};

/// Below those that the kernel gives to outgoing connections (32768), and none that a pool host publishes (20000 to
/// 29999).
const PORTS: std::ops::Range<u16> = 10_000..20_000;

/// A port that no other test takes until this is dropped.
pub struct Port {
    /// Where to listen.
    pub address: SocketAddr,
    /// An abstract name, which the kernel keeps in the same network namespace as the port and forgets with this process.
    _held: net::UnixListener,
}

impl Port {
    /// One on the loopback address.
    pub fn reserve() -> Self {
        Self::reserve_at(Ipv4Addr::LOCALHOST.into())
    }

    /// One on an address of this machine.
    ///
    /// # Panics
    /// If there is none.
    pub fn reserve_at(address: IpAddr) -> Self {
        // From a place of its own, so that tests that begin at once do not all ask for the same.
        let random = uuid::Uuid::new_v4().into_bytes();
        let offset = usize::from(u16::from_le_bytes([random[0], random[1]])) % PORTS.len();
        let taken = |port| {
            let name = net::SocketAddr::from_abstract_name(format!("dockerforge-test-port-{port}")).unwrap();
            let held = net::UnixListener::bind_addr(&name).ok()?;
            // What listens there is none of these tests.
            TcpListener::bind((address, port)).ok()?;
            Some(Self { address: (address, port).into(), _held: held })
        };
        PORTS.cycle().skip(offset).take(PORTS.len()).find_map(taken).expect("a port that nobody has")
    }
}
