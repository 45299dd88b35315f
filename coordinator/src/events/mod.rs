//! What happened, told in one order to everybody who watches: woken after commits, caught up from the store. [`Feed`] is
//! read by `http::events` and by `webhooks`; `app` runs [`Feeder::run`], one a process.
//!
//! What must hold: nobody is shown an event while an earlier one may still appear. On SQLite ids and commits have one
//! order. On PostgreSQL a transaction that took an id may commit after one that took a later id, so the feeder stops at
//! a gap until every transaction that could fill it has ended; readers see nothing beyond its horizon.

mod gap;

use crate::domain::event::Happened;
use crate::store::events::Range;
use crate::store::{self, Store, StoreError};
use dockerforge_protocol::ids::UserId;
use gap::Gaps;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

/// Events that a watcher may lag behind before it reads from the store again.
const RECENT: usize = 1024;
/// Events read from the store at a time.
const PIECE: u32 = 500;
/// How long to wait at most for a wake-up: other replicas write too.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The events, for reading. Clones are the same.
#[derive(Clone)]
pub struct Feed {
    store: Store,
    horizon: watch::Receiver<Option<i64>>,
    recent: broadcast::WeakSender<Arc<Happened>>,
}

/// Keeps a [`Feed`] going.
pub struct Feeder {
    store: Store,
    horizon: watch::Sender<Option<i64>>,
    recent: broadcast::Sender<Arc<Happened>>,
}

/// Reads on from where it is; made by [`Feed::watch`].
pub struct Watcher {
    feed: Feed,
    at: i64,
    user: Option<UserId>,
    live: broadcast::Receiver<Arc<Happened>>,
    /// Read from the store and not yet told.
    behind: std::collections::VecDeque<Arc<Happened>>,
    /// Whether what is between `at` and the oldest of `live` is still to be read from the store.
    catching_up: bool,
}

/// Why a watch begins or goes on no more.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// What was asked for is not kept any more; the last that is not.
    #[error("events up to {0} are not kept any more")]
    Forgotten(i64),
    /// The coordinator is shutting down.
    #[error("the coordinator is shutting down")]
    Stopped,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A feed, and what keeps it going.
#[must_use]
pub fn feed(store: &Store) -> (Feed, Feeder) {
    let (horizon, seen) = watch::channel(None);
    let (recent, _) = broadcast::channel(RECENT);
    let feed = Feed { store: store.clone(), horizon: seen, recent: recent.downgrade() };
    (feed, Feeder { store: store.clone(), horizon, recent })
}

impl Feeder {
    /// Follows the store until told to stop; then every watch ends.
    pub async fn run(self, stop: CancellationToken) {
        let mut commits = self.store.commits();
        let mut gaps = Gaps::default();
        loop {
            commits.mark_unchanged();
            match self.advance(&mut gaps).await {
                // There is more to read.
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "events could not be read"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tokio::time::timeout(gaps.patience(LOOK_AGAIN), commits.changed()) => {}
            }
        }
    }

    /// Reads on as far as nothing can be missing; whether there is more.
    async fn advance(&self, gaps: &mut Gaps) -> Result<bool, StoreError> {
        let mut conn = self.store.read().await?;
        let Some(at) = *self.horizon.borrow() else {
            // At the start whatever is under way counts as a gap below the newest.
            let newest = store::events::newest(&mut conn).await?;
            if gaps.passed(newest, store::events::in_flight(&mut conn).await?) {
                self.horizon.send_replace(Some(newest));
                return Ok(true);
            }
            return Ok(false);
        };
        let range = Range { after: at, upto: i64::MAX, user: None, limit: PIECE };
        let events = store::events::list(&mut conn, range).await?;
        let more = events.len() == PIECE as usize;
        let mut reached = at;
        for event in events {
            if event.id > reached + 1 && !gaps.passed(event.id, store::events::in_flight(&mut conn).await?) {
                break;
            }
            reached = event.id;
            // Nobody watches: nobody is told.
            let _ = self.recent.send(Arc::new(event));
        }
        self.horizon.send_if_modified(|horizon| {
            let moved = *horizon != Some(reached);
            *horizon = Some(reached);
            moved
        });
        Ok(more && reached > at)
    }
}

impl Feed {
    /// Everything up to here has happened, and nothing can appear before it any more.
    pub async fn horizon(&self) -> Result<i64, FeedError> {
        let mut horizon = self.horizon.clone();
        let settled = horizon.wait_for(Option::is_some).await.map_err(|_| FeedError::Stopped)?;
        settled.ok_or(FeedError::Stopped)
    }

    /// Changes when something happened.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Option<i64>> {
        self.horizon.clone()
    }

    /// A page of what is kept, from after an event on, in order.
    pub async fn page(&self, user: Option<UserId>, after: i64, limit: u32) -> Result<Vec<Happened>, FeedError> {
        let upto = self.horizon().await?;
        let mut conn = self.store.read().await?;
        let events = store::events::list(&mut conn, Range { after, upto, user, limit }).await?;
        // Looked at last: what was forgotten meanwhile may be missing from what was read.
        kept(&mut conn, after).await?;
        Ok(events)
    }

    /// Watches from after an event on, or from now on; of one user, or of all.
    pub async fn watch(&self, user: Option<UserId>, after: Option<i64>) -> Result<Watcher, FeedError> {
        // Registers before it looks.
        let live = self.recent.upgrade().ok_or(FeedError::Stopped)?.subscribe();
        let horizon = self.horizon().await?;
        if let Some(after) = after {
            kept(&mut self.store.read().await?, after).await?;
        }
        let at = after.unwrap_or(horizon);
        Ok(Watcher { feed: self.clone(), at, user, live, behind: std::collections::VecDeque::new(), catching_up: true })
    }
}

/// Whether all that came after an event is still kept.
async fn kept(conn: &mut store::Conn, after: i64) -> Result<(), FeedError> {
    let forgotten = store::events::forgotten(conn).await?;
    if after < forgotten { Err(FeedError::Forgotten(forgotten)) } else { Ok(()) }
}

impl Watcher {
    /// After which event it is.
    #[must_use]
    pub fn at(&self) -> i64 {
        self.at
    }

    /// Waits for the next event. Dropping the wait loses nothing.
    ///
    /// # Errors
    /// [`FeedError::Forgotten`] where the reader was so slow that what comes next is not kept any more.
    pub async fn next(&mut self) -> Result<Arc<Happened>, FeedError> {
        loop {
            if let Some(event) = self.behind.pop_front() {
                self.at = event.id;
                return Ok(event);
            }
            if self.catching_up {
                let events = self.feed.page(self.user, self.at, PIECE).await?;
                self.catching_up = events.len() == PIECE as usize;
                self.behind.extend(events.into_iter().map(Arc::new));
                continue;
            }
            match self.live.recv().await {
                Ok(event) if event.id <= self.at || self.user.is_some_and(|user| user != event.user) => {}
                Ok(event) => self.behind.push_back(event),
                Err(broadcast::error::RecvError::Lagged(_)) => self.catching_up = true,
                Err(broadcast::error::RecvError::Closed) => return Err(FeedError::Stopped),
            }
        }
    }
}
