//! Brings jobs to hosts. One task per live session: woken, it claims what its host can take and sends it; what comes
//! back is committed and only then acknowledged. A wake-up says look, never what. `hub` hands over each connection that
//! knocks and knows nothing of jobs; `app` ties the two together.

mod admission;
mod reports;
mod session;

use crate::hub::Knock;
use crate::pki::Authority;
use crate::queue::{QueueError, Signals};
use crate::store::Store;
use crate::tasks::Tasks;
use dockerforge_protocol::handshake::Refused;
use dockerforge_protocol::ids::HostId;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Ends every connection of a host, with a reason.
pub type Close = dyn Fn(HostId, &Refused) + Send + Sync;

/// What the sessions work with. Cheap to clone.
#[derive(Clone)]
pub struct Dispatcher {
    /// The database.
    pub store: Store,
    /// The wake-ups.
    pub signals: Signals,
    /// The certificate authority, for renewals.
    pub authority: Arc<Authority>,
    /// Runs the sessions' tasks.
    pub tasks: Tasks,
    /// Ends every connection of a host.
    pub close: Arc<Close>,
    /// The shortest time between two heartbeats of one host.
    pub heartbeat: Duration,
}

/// Heartbeats a second that one coordinator takes at most: beyond that, the period grows with the number of hosts.
const HEARTBEATS_PER_SECOND: u64 = 50;

/// Why a session's work could not be done.
#[derive(Debug, thiserror::Error)]
enum DispatchError {
    /// The queue or the database.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A certificate could not be renewed.
    #[error("a certificate could not be renewed")]
    Renew(#[source] crate::pki::PkiError),
    /// The agent sent what this protocol does not allow.
    #[error("the agent sent more log in one message than is allowed")]
    Protocol,
    /// A newer session of the host has begun.
    #[error("a newer session of this host has begun")]
    Superseded,
}

impl From<crate::store::StoreError> for DispatchError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Queue(error.into())
    }
}

impl Dispatcher {
    /// Serves every connection that knocks, until the channel ends or all tasks are told to stop.
    pub async fn run(self, mut knocks: mpsc::Receiver<Knock>) {
        let stop = self.tasks.token();
        loop {
            let knock = tokio::select! {
                () = stop.cancelled() => return,
                knock = knocks.recv() => knock,
            };
            let Some(knock) = knock else { return };
            self.tasks.spawn("dispatch.session", session::serve(self.clone(), knock));
        }
    }
}
