//! The live connections of agents. An agent dials the agent port ([`listener`]), opens a websocket, introduces itself
//! ([`handshake`]) and stays ([`session`]). `app` makes the [`Hub`] and gives it the end of a channel; whoever holds
//! the other end (dispatch) answers each [`Knock`], and talks to the agent through its [`SessionHandle`].
//!
//! What must hold: nothing here decides what an agent is told, and nothing here touches the database. One connection is
//! one task, and each way for it to end is a variant of [`SessionEnd`]. Of the sessions of a host the newest epoch is
//! live. Nothing is buffered without bound: a full inbound queue stops reading, a full outbound one ends the session.

mod end;
mod frame;
mod handle;
mod handshake;
mod io;
pub mod listener;
mod registry;
mod routes;
mod session;

pub use crate::pki::{Conversation, Peer};
pub use end::SessionEnd;
pub use handle::{Inbound, SessionGone, SessionHandle};
pub use routes::routes;

use crate::tasks::Tasks;
use dockerforge_protocol::handshake::{Hello, Refused, RefusedReason, Version, Welcome};
use dockerforge_protocol::ids::HostId;
use registry::Registry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// The times and sizes of a session.
#[derive(Debug, Clone)]
pub struct HubConfig {
    /// From the opening of the websocket to a complete hello.
    pub hello: Duration,
    /// From the hello to the answer to the [`Knock`].
    pub answer: Duration,
    /// Between two pings of ours, on average; each session keeps a period of its own within ±10 % of it.
    pub ping: Duration,
    /// Without a byte from the agent for so long, it is taken for gone.
    pub silence: Duration,
    /// For the last word and the closing handshake. Beyond it the socket is dropped: a revoked agent is to be off
    /// within 2 s.
    pub farewell: Duration,
    /// Messages that wait to be written to the agent. One more ends the session.
    pub outbound: usize,
    /// Messages that wait to be taken from [`Inbound`]. When it is full the socket is not read.
    pub inbound: usize,
    /// Websockets that one host may have at a time. More than one is a reconnect or a copied machine; many are an
    /// attempt to fill the coordinator's memory, which the owner of a host can make.
    pub per_host: usize,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            hello: Duration::from_secs(15),
            answer: Duration::from_secs(30),
            ping: Duration::from_secs(10),
            silence: Duration::from_secs(20),
            farewell: Duration::from_millis(1500),
            outbound: 256,
            inbound: 64,
            per_host: 4,
        }
    }
}

/// An agent at the door: its hello is well-formed and fits its certificate. Whoever takes it decides.
#[derive(Debug)]
pub struct Knock {
    /// Who it is, by its certificate. Whether that was revoked is not known here.
    pub peer: Peer,
    /// Where it dials from.
    pub remote: SocketAddr,
    /// What it says of itself.
    pub hello: Hello,
    /// The version that both sides speak.
    pub version: Version,
    /// The way to it. What is sent before the answer is delivered after the welcome.
    pub session: SessionHandle,
    /// What it says from now on; ends with the session.
    pub inbound: Inbound,
    /// Where the decision goes. Dropping it turns the agent away as [`RefusedReason::Unavailable`].
    pub answer: oneshot::Sender<Result<Welcome, Refused>>,
}

/// All live connections of agents to this process. Clones are the same hub.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

struct Inner {
    knocks: mpsc::Sender<Knock>,
    tasks: Tasks,
    config: HubConfig,
    registry: Registry,
}

impl Hub {
    /// A hub without connections. Each agent that introduces itself becomes a [`Knock`] on the channel.
    #[must_use]
    pub fn new(knocks: mpsc::Sender<Knock>, tasks: Tasks, config: HubConfig) -> Self {
        Self { inner: Arc::new(Inner { knocks, tasks, config, registry: Registry::default() }) }
    }

    /// The live session of a host: welcomed, not closing, of the newest epoch.
    #[must_use]
    pub fn session(&self, host: HostId) -> Option<SessionHandle> {
        self.inner.registry.live(host)
    }

    /// All live sessions, one a host.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionHandle> {
        self.inner.registry.all_live()
    }

    /// How many hosts have a live session.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions().len()
    }

    /// Whether no host has a live session.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends every connection of a host, those that are not yet welcomed included, so that a decision against the host
    /// cannot be overtaken by an answer that was on its way. Answers whether there was one. Their sockets are closed
    /// within 2 s, whether or not the peer reads.
    #[must_use = "whether there was a connection is often what the caller wants to log"]
    pub fn close_host(&self, host: HostId, why: &Refused) -> bool {
        let connections = self.inner.registry.of_host(host);
        for connection in &connections {
            connection.close(why.clone());
        }
        !connections.is_empty()
    }

    /// Takes no more connections, ends those that are there, and waits for them, at most this long. Answers how many
    /// were still open then.
    pub async fn drain(&self, why: Refused, deadline: Duration) -> usize {
        let until = Instant::now() + deadline;
        let connections = self.inner.registry.stop();
        for connection in &connections {
            connection.close(why.clone());
        }
        let mut open = 0;
        for connection in connections {
            if tokio::time::timeout_at(until, connection.closed()).await.is_err() {
                open += 1;
            }
        }
        open
    }
}

/// A refusal with an explanation.
fn refused(reason: RefusedReason, detail: impl Into<String>) -> Refused {
    Refused { reason, detail: detail.into() }
}
