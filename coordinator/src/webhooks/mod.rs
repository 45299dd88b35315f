//! Events on their way to webhooks: a delivery is made of each event that a webhook wants, durably, and sent until it is
//! taken or given up. Run once a process by `app`; every step is conditional, so several replicas may do this at once.
//!
//! What must hold: an event is delivered at least once, also over a crash at any point; one receiver that is slow or
//! gone keeps no other from its events; nothing is read from a receiver but its status.

mod body;
mod send;

use crate::domain::event::Event;
use crate::domain::webhook::{self, Attempted, Delivery, DeliveryState, Next, SECRET, Webhook};
use crate::domain::{Kind, Timestamp};
use crate::events::{Feed, FeedError};
use crate::metrics;
use crate::store::webhooks::Due;
use crate::store::{self, Conn, Store, StoreError};
use crate::vault::{Vault, VaultError};
use dockerforge_protocol::ids::{DeliveryId, UserId};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use jiff::SignedDuration;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::pin::pin;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

pub use send::{NoSender, Sender};

/// Events that become deliveries in one transaction.
const PIECE: u32 = 200;
/// Deliveries under way at once.
const AT_ONCE: usize = 32;
/// Of them for one user: what is claimed is not due for as long as its attempt lasts, so that receivers that do not answer
/// would otherwise take one place after the other.
const FOR_ONE: u32 = 4;
/// How long to wait at most for something to do.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long a claim lasts: longer than an attempt may take.
const CLAIM: SignedDuration = SignedDuration::from_secs(60);
/// How long deliveries that have ended are shown.
const REMEMBER: SignedDuration = SignedDuration::from_hours(24 * 7);

/// What sends events to webhooks.
pub struct Courier {
    /// The database.
    pub store: Store,
    /// The events.
    pub feed: Feed,
    /// The webhooks' secrets.
    pub vault: Vault,
    /// What makes the requests.
    pub sender: Sender,
}

#[derive(Debug, thiserror::Error)]
enum CourierError {
    #[error(transparent)]
    Feed(#[from] FeedError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl Courier {
    /// Sends until told to stop. What is under way then is due again after its claim.
    pub async fn run(self, stop: CancellationToken) {
        let mut happened = self.feed.changes();
        let mut under_way = FuturesUnordered::new();
        // How many of them are for each user.
        let mut busy: HashMap<UserId, u32> = HashMap::new();
        let mut tidied = None;
        loop {
            happened.mark_unchanged();
            let mut ended = Vec::new();
            let claimed = {
                let mut look = pin!(self.look(AT_ONCE - under_way.len(), &busy, &mut tidied));
                loop {
                    // What is under way goes on meanwhile: one that was given a connection of the database, and is not polled, keeps it
                    // from everybody, from this look too.
                    tokio::select! {
                        claimed = &mut look => break claimed,
                        Some(user) = under_way.next() => ended.push(user),
                    }
                }
            };
            for user in ended {
                release(&mut busy, user);
            }
            for due in claimed {
                *busy.entry(due.user()).or_default() += 1;
                under_way.push(self.attempt(due));
            }
            tokio::select! {
                () = stop.cancelled() => return,
                _ = happened.changed() => {}
                Some(user) = under_way.next() => release(&mut busy, user),
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// Makes deliveries of what happened, and claims as many as there are places for.
    async fn look(&self, places: usize, busy: &HashMap<UserId, u32>, tidied: &mut Option<Timestamp>) -> Vec<Due> {
        if let Err(error) = self.fan_out().await {
            tracing::error!(error = &error as &dyn std::error::Error, "webhooks could not be looked at");
        }
        let claimed = self.claim(places, busy).await.unwrap_or_else(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "deliveries could not be claimed");
            Vec::new()
        });
        let now = crate::clock::now();
        if tidied.is_none_or(|at| now.duration_since(at) > SignedDuration::from_hours(1)) {
            *tidied = Some(now);
            self.tidy().await;
        }
        claimed
    }

    /// Makes deliveries of all that happened.
    async fn fan_out(&self) -> Result<(), CourierError> {
        let horizon = self.feed.horizon().await?;
        loop {
            let behind = store::webhooks::behind(&mut self.store.read().await?, horizon).await?;
            if behind.is_empty() {
                return Ok(());
            }
            for (webhook, position) in behind {
                self.deliveries_of(webhook, position, horizon).await?;
            }
        }
    }

    async fn deliveries_of(&self, webhook: Webhook, position: i64, horizon: i64) -> Result<(), CourierError> {
        let user: Option<UserId> = (!webhook.everybody).then_some(webhook.user);
        let events = match self.feed.page(user, position, PIECE).await {
            Ok(events) => events,
            // It was disabled for so long that some are not kept any more: it goes on with what is.
            Err(FeedError::Forgotten(upto)) => {
                let id = webhook.id;
                self.store
                    .write(move |conn| {
                        Box::pin(async move { store::webhooks::advance(conn, id, position, upto).await })
                    })
                    .await?;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        // A page that is not full reaches to the horizon at least.
        let last = events.last().map_or(horizon, |event| event.id);
        let to = if events.len() < PIECE as usize { last.max(horizon) } else { last };
        self.store
            .write(move |conn| {
                Box::pin(async move {
                    // Another replica may have been faster, or the webhook is gone.
                    if !store::webhooks::advance(conn, webhook.id, position, to).await? {
                        return Ok(());
                    }
                    for event in events.iter().filter(|event| webhook.kinds.take(&event.kind)) {
                        let delivery = fresh(&webhook, event.id, &event.kind, crate::clock::now());
                        store::webhooks::insert_delivery(conn, &delivery, &body::of(event)).await?;
                    }
                    Ok::<_, StoreError>(())
                })
            })
            .await?;
        Ok(())
    }

    async fn claim(&self, places: usize, busy: &HashMap<UserId, u32>) -> Result<Vec<Due>, CourierError> {
        let limit = u32::try_from(places).unwrap_or(0);
        let now = crate::clock::now();
        if limit == 0 {
            return Ok(Vec::new());
        }
        let full: Vec<UserId> = busy.iter().filter(|(_, count)| **count >= FOR_ONE).map(|(user, _)| *user).collect();
        let mut due = store::webhooks::due(&mut self.store.read().await?, now, &full, FOR_ONE, limit).await?;
        let mut taken = busy.clone();
        due.retain(|one| {
            let count = taken.entry(one.user()).or_default();
            *count += 1;
            *count <= FOR_ONE
        });
        if due.is_empty() {
            return Ok(due);
        }
        let until = now.checked_add(CLAIM).unwrap_or(now);
        let claimed = self.store.write(move |conn| {
            Box::pin(async move {
                let mut claimed = Vec::new();
                for one in due {
                    if store::webhooks::claim(conn, &one, until).await? {
                        claimed.push(one);
                    }
                }
                Ok::<_, StoreError>(claimed)
            })
        });
        Ok(claimed.await?)
    }

    /// One attempt at a delivery, and what follows from it; whose it was.
    async fn attempt(&self, due: Due) -> UserId {
        let (id, webhook, user) = (due.id(), due.webhook(), due.user());
        let attempted = match self.send(&due).await {
            Ok(attempted) => attempted,
            Err(error) => {
                tracing::error!(delivery = %id, %webhook, error = &error as &dyn std::error::Error, "a delivery could not be tried");
                Attempted { status: None, error: Some("the coordinator could not sign it".to_owned()) }
            }
        };
        let next = webhook::after(due.attempt(), &attempted);
        metrics::webhook_tried(match (next, attempted.status) {
            (Next::Delivered, _) => metrics::Delivery::Taken,
            (_, Some(_)) => metrics::Delivery::Refused,
            (_, None) => metrics::Delivery::Unreachable,
        });
        let settled =
            self.store.write(move |conn| Box::pin(async move { settle(conn, &due, &attempted, next).await })).await;
        if let Err(error) = settled {
            // It is due again when the claim ends, and sent once more.
            tracing::error!(delivery = %id, error = &error as &dyn std::error::Error, "a delivery could not be settled");
        }
        user
    }

    async fn send(&self, due: &Due) -> Result<Attempted, CourierError> {
        let secret = self.vault.open(&mut self.store.read().await?, due.user(), SECRET, &due.sealed_secret).await?;
        Ok(self.sender.send(due, &secret, crate::clock::now()).await)
    }

    async fn tidy(&self) {
        let before = crate::clock::now().checked_sub(REMEMBER).unwrap_or(Timestamp::MIN);
        let gone =
            self.store.write(move |conn| Box::pin(async move { store::webhooks::forget(conn, before).await })).await;
        if let Err(error) = gone {
            tracing::error!(error = &error as &dyn std::error::Error, "old deliveries could not be forgotten");
        }
    }
}

/// One of this user's deliveries is not under way any more.
fn release(busy: &mut HashMap<UserId, u32>, user: UserId) {
    if let Entry::Occupied(mut count) = busy.entry(user) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

fn fresh(webhook: &Webhook, event: i64, kind: &str, now: Timestamp) -> Delivery {
    Delivery {
        id: DeliveryId::new(),
        webhook: webhook.id,
        event,
        kind: kind.to_owned(),
        state: DeliveryState::Pending,
        attempts: 0,
        next_at: Some(now),
        status: None,
        error: None,
        created_at: now,
        ended_at: None,
    }
}

async fn settle(conn: &mut Conn, due: &Due, attempted: &Attempted, next: Next) -> Result<(), StoreError> {
    let now = crate::clock::now();
    let (state, next_at) = match next {
        Next::Delivered => (DeliveryState::Delivered, None),
        Next::Retry(delay) => (DeliveryState::Pending, Some(now.checked_add(delay).unwrap_or(Timestamp::MAX))),
        Next::GiveUp => (DeliveryState::Failed, None),
    };
    store::webhooks::settle(conn, due.id(), attempted, state, next_at, now).await?;
    if next == Next::GiveUp && store::webhooks::disable(conn, due.webhook()).await? {
        let detail = attempted.error.clone();
        let event = Event {
            user: due.user(),
            kind: "webhook.disabled",
            resource: Kind::Webhook,
            id: due.webhook().uuid(),
            detail,
        };
        store::records::event(conn, &event, now).await?;
        tracing::warn!(webhook = %due.webhook(), "a webhook was disabled");
    }
    Ok(())
}
