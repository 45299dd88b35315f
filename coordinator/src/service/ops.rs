//! What there is now, for those who run the coordinator: all users' hosts and jobs in figures. Read by the ops address,
//! which asks for no permit: nothing here is any user's content but the names of hosts.

use super::Result;
use crate::domain::host::{Host, HostState};
use crate::domain::job::{JobKind, JobState};
use crate::store::{self, Store};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long what was read is good enough: several who scrape cost the database no more than one.
const FRESH: Duration = Duration::from_secs(5);

/// The state of the whole, at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// How many hosts there are in each state.
    pub hosts_by_state: Vec<(HostState, u64)>,
    /// The hosts, the oldest first, up to the number that was asked for.
    pub hosts: Vec<Host>,
    /// How many unfinished jobs there are of each kind and state.
    pub jobs: Vec<(JobKind, JobState, u64)>,
    /// When the oldest waiting job of each kind was asked for.
    pub oldest_queued: Vec<(JobKind, crate::domain::Timestamp)>,
}

/// Reads snapshots. Clones share what was read last.
#[derive(Clone)]
pub struct Ops {
    store: Store,
    hosts: u32,
    last: Arc<Mutex<Option<Taken>>>,
}

/// A snapshot, and when it was taken.
struct Taken {
    at: Instant,
    snapshot: Arc<Snapshot>,
}

impl Ops {
    /// Reads from here, at most this many hosts one by one.
    #[must_use]
    pub fn new(store: Store, hosts: u32) -> Self {
        Self { store, hosts, last: Arc::default() }
    }

    /// The state of the whole, at most a few seconds old.
    pub async fn snapshot(&self) -> Result<Arc<Snapshot>> {
        // Held while reading: who comes meanwhile gets what is being read.
        let mut last = self.last.lock().await;
        if let Some(taken) = last.as_ref().filter(|taken| taken.at.elapsed() < FRESH) {
            return Ok(Arc::clone(&taken.snapshot));
        }
        let mut conn = self.store.read().await?;
        let open = store::jobs::count_by_kind(&mut conn).await?;
        let snapshot = Arc::new(Snapshot {
            hosts_by_state: store::hosts::count_by_state(&mut conn).await?,
            hosts: store::hosts::oldest(&mut conn, self.hosts).await?,
            jobs: open.iter().map(|row| (row.kind, row.state, row.count)).collect(),
            oldest_queued: open
                .iter()
                .filter(|row| row.state == JobState::Queued)
                .map(|row| (row.kind, row.oldest))
                .collect(),
        });
        *last = Some(Taken { at: Instant::now(), snapshot: Arc::clone(&snapshot) });
        Ok(snapshot)
    }
}
