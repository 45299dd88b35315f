//! Webhooks and the deliveries to them.

use super::rows::{json, maybe_time, text, time, unsigned, word};
use super::{Conn, StoreError, micros, on};
use crate::domain::Timestamp;
use crate::domain::event::Kinds;
use crate::domain::page::Page;
use crate::domain::webhook::{Attempted, Delivery, DeliveryState, Webhook, WebhookState};
use dockerforge_protocol::ids::{DeliveryId, UserId, WebhookId};
use sqlx::QueryBuilder;
use uuid::Uuid;

#[derive(sqlx::FromRow)]
struct WebhookRow {
    id: Uuid,
    user_id: Uuid,
    url: String,
    kinds: String,
    everybody: bool,
    state: String,
    created_at: i64,
    revision: i64,
}

impl TryFrom<WebhookRow> for Webhook {
    type Error = StoreError;
    fn try_from(row: WebhookRow) -> Result<Self, StoreError> {
        let patterns: Vec<String> = json("webhooks.kinds", &row.kinds)?;
        Ok(Self {
            id: WebhookId::from_uuid(row.id),
            user: UserId::from_uuid(row.user_id),
            target: text("webhooks.url", &row.url)?,
            kinds: word("webhooks.kinds", &row.kinds, Kinds::try_from(patterns).ok())?,
            everybody: row.everybody,
            state: word("webhooks.state", &row.state, WebhookState::parse(&row.state))?,
            created_at: time("webhooks.created_at", row.created_at)?,
            revision: unsigned("webhooks.revision", row.revision)?,
        })
    }
}

#[derive(sqlx::FromRow)]
struct BehindRow {
    #[sqlx(flatten)]
    webhook: WebhookRow,
    event_position: i64,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, user_id, url, kinds, everybody, state, event_position, created_at, revision FROM webhooks ",
            $rest
        )
    };
}

/// A new webhook, which is sent what happens after the event at `position`.
pub async fn insert(conn: &mut Conn, webhook: &Webhook, sealed: &[u8], position: i64) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query(
        "INSERT INTO webhooks (id, user_id, url, kinds, everybody, sealed_secret, state, event_position, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
    )
    .bind(webhook.id.uuid())
    .bind(webhook.user.uuid())
    .bind(webhook.target.to_string())
    .bind(super::rows::document(&webhook.kinds.patterns()))
    .bind(webhook.everybody)
    .bind(sealed)
    .bind(webhook.state.as_str())
    .bind(position)
    .bind(micros(webhook.created_at))
    .execute(c)
    .await?
    .rows_affected());
    Ok(())
}

/// One webhook of a user's.
pub async fn get(conn: &mut Conn, user: UserId, id: WebhookId) -> Result<Option<Webhook>, StoreError> {
    let row: Option<WebhookRow> = on!(conn, |c| sqlx::query_as(select!("WHERE id = $1 AND user_id = $2"))
        .bind(id.uuid())
        .bind(user.uuid())
        .fetch_optional(c)
        .await?);
    row.map(Webhook::try_from).transpose()
}

/// A page of a user's webhooks, newest first.
pub async fn list(conn: &mut Conn, user: UserId, page: Page) -> Result<Vec<Webhook>, StoreError> {
    let rows: Vec<WebhookRow> = on!(conn, |c| {
        let mut q = QueryBuilder::new(select!("WHERE user_id = "));
        q.push_bind(user.uuid());
        if let Some(after) = page.after {
            q.push(" AND id < ").push_bind(after);
        }
        q.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(page.limit));
        q.build_query_as().fetch_all(c).await?
    });
    rows.into_iter().map(Webhook::try_from).collect()
}

/// How many webhooks a user has.
pub async fn count(conn: &mut Conn, user: UserId) -> Result<i64, StoreError> {
    Ok(on!(conn, |c| sqlx::query_scalar("SELECT COUNT(*) FROM webhooks WHERE user_id = $1")
        .bind(user.uuid())
        .fetch_one(c)
        .await?))
}

/// Where it is sent, what is, and whether.
pub async fn update(conn: &mut Conn, webhook: &Webhook) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query(
        "UPDATE webhooks SET url = $2, kinds = $3, state = $4, revision = revision + 1 WHERE id = $1"
    )
    .bind(webhook.id.uuid())
    .bind(webhook.target.to_string())
    .bind(super::rows::document(&webhook.kinds.patterns()))
    .bind(webhook.state.as_str())
    .execute(c)
    .await?
    .rows_affected());
    Ok(())
}

/// Whether it was active until now.
pub async fn disable(conn: &mut Conn, id: WebhookId) -> Result<bool, StoreError> {
    let changed = on!(conn, |c| sqlx::query(
        "UPDATE webhooks SET state = 'disabled', revision = revision + 1 WHERE id = $1 AND state = 'active'"
    )
    .bind(id.uuid())
    .execute(c)
    .await?
    .rows_affected());
    Ok(changed == 1)
}

/// Removes it, with its deliveries.
pub async fn remove(conn: &mut Conn, id: WebhookId) -> Result<(), StoreError> {
    for sql in ["DELETE FROM deliveries WHERE webhook_id = $1", "DELETE FROM webhooks WHERE id = $1"] {
        on!(conn, |c| sqlx::query(sql).bind(id.uuid()).execute(c).await?.rows_affected());
    }
    Ok(())
}

/// Active webhooks with events before the horizon that no deliveries were made of yet, and where each of them is.
pub async fn behind(conn: &mut Conn, horizon: i64) -> Result<Vec<(Webhook, i64)>, StoreError> {
    let rows: Vec<BehindRow> = on!(conn, |c| {
        sqlx::query_as(select!(
        "AS w WHERE state = 'active' AND event_position < $1 AND \
         (everybody OR EXISTS (SELECT 1 FROM events AS e WHERE e.user_id = w.user_id AND e.id > w.event_position AND e.id <= $1))"
    ))
    .bind(horizon)
    .fetch_all(c)
    .await?
    });
    rows.into_iter().map(|row| Ok((row.webhook.try_into()?, row.event_position))).collect()
}

/// Moves a webhook on from one event to another; whether it was at the first.
pub async fn advance(conn: &mut Conn, id: WebhookId, from: i64, to: i64) -> Result<bool, StoreError> {
    let moved =
        on!(conn, |c| sqlx::query("UPDATE webhooks SET event_position = $3 WHERE id = $1 AND event_position = $2")
            .bind(id.uuid())
            .bind(from)
            .bind(to)
            .execute(c)
            .await?
            .rows_affected());
    Ok(moved == 1)
}

/// A new delivery, to be tried now.
pub async fn insert_delivery(conn: &mut Conn, delivery: &Delivery, body: &str) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query(
        "INSERT INTO deliveries (id, webhook_id, event_id, kind, body, state, next_at, created_at) \
         VALUES ($1, $2, $3, $4, $5, 'pending', $6, $6) ON CONFLICT DO NOTHING"
    )
    .bind(delivery.id.uuid())
    .bind(delivery.webhook.uuid())
    .bind(delivery.event)
    .bind(&delivery.kind)
    .bind(body)
    .bind(micros(delivery.created_at))
    .execute(c)
    .await?
    .rows_affected());
    Ok(())
}

/// A delivery that is due, with all that its sending needs.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Due {
    id: Uuid,
    webhook_id: Uuid,
    user_id: Uuid,
    next_at: i64,
    attempts: i64,
    /// Whether its owner is an administrator.
    pub admin: bool,
    /// Where to.
    pub url: String,
    /// What.
    pub body: String,
    /// Under which secret it is signed, sealed.
    pub sealed_secret: Vec<u8>,
}

impl Due {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> DeliveryId {
        DeliveryId::from_uuid(self.id)
    }

    /// Its webhook.
    #[must_use]
    pub fn webhook(&self) -> WebhookId {
        WebhookId::from_uuid(self.webhook_id)
    }

    /// Whose it is.
    #[must_use]
    pub fn user(&self) -> UserId {
        UserId::from_uuid(self.user_id)
    }

    /// Which attempt the next one is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        u32::try_from(self.attempts).unwrap_or(u32::MAX).saturating_add(1)
    }
}

/// Deliveries to active webhooks that are due, the oldest first: no more than a few of each user, none of those who are
/// left out.
pub async fn due(
    conn: &mut Conn,
    now: Timestamp,
    left_out: &[UserId],
    of_each: u32,
    limit: u32,
) -> Result<Vec<Due>, StoreError> {
    Ok(on!(conn, |c| {
        let mut q = QueryBuilder::new(
            "SELECT id, webhook_id, user_id, next_at, attempts, admin, url, body, sealed_secret FROM \
             (SELECT d.id, d.webhook_id, w.user_id, d.next_at, d.attempts, u.admin, w.url, d.body, w.sealed_secret, \
              ROW_NUMBER() OVER (PARTITION BY w.user_id ORDER BY d.next_at, d.event_id) AS place FROM deliveries AS d \
              JOIN webhooks AS w ON w.id = d.webhook_id JOIN users AS u ON u.id = w.user_id \
              WHERE w.state = 'active' AND d.next_at <= ",
        );
        q.push_bind(micros(now));
        for user in left_out {
            q.push(" AND w.user_id <> ").push_bind(user.uuid());
        }
        q.push(") AS due WHERE place <= ").push_bind(i64::from(of_each));
        q.push(" ORDER BY next_at LIMIT ").push_bind(i64::from(limit));
        q.build_query_as().fetch_all(c).await?
    }))
}

/// Takes a delivery on until a time, at which it is due again should nothing be heard; whether nobody else has it.
pub async fn claim(conn: &mut Conn, due: &Due, until: Timestamp) -> Result<bool, StoreError> {
    let claimed = on!(conn, |c| sqlx::query(
        "UPDATE deliveries SET next_at = $3, attempts = attempts + 1 WHERE id = $1 AND next_at = $2"
    )
    .bind(due.id)
    .bind(due.next_at)
    .bind(micros(until))
    .execute(c)
    .await?
    .rows_affected());
    Ok(claimed == 1)
}

/// What an attempt came to: tried again at a time, or ended.
pub async fn settle(
    conn: &mut Conn,
    id: DeliveryId,
    attempted: &Attempted,
    state: DeliveryState,
    next_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), StoreError> {
    on!(conn, |c| {
        sqlx::query(
        "UPDATE deliveries SET state = $2, next_at = $3, status = $4, error = $5, ended_at = $6 WHERE id = $1 AND state = 'pending'"
    )
    .bind(id.uuid())
    .bind(state.as_str())
    .bind(next_at.map(micros))
    .bind(attempted.status.map(i64::from))
    .bind(attempted.error.as_deref())
    .bind((state != DeliveryState::Pending).then(|| micros(now)))
    .execute(c)
    .await?
    .rows_affected()
    });
    Ok(())
}

#[derive(sqlx::FromRow)]
struct DeliveryRow {
    id: Uuid,
    webhook_id: Uuid,
    event_id: i64,
    kind: String,
    state: String,
    attempts: i64,
    next_at: Option<i64>,
    status: Option<i64>,
    error: Option<String>,
    created_at: i64,
    ended_at: Option<i64>,
}

impl TryFrom<DeliveryRow> for Delivery {
    type Error = StoreError;
    fn try_from(row: DeliveryRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: DeliveryId::from_uuid(row.id),
            webhook: WebhookId::from_uuid(row.webhook_id),
            event: row.event_id,
            kind: row.kind,
            state: word("deliveries.state", &row.state, DeliveryState::parse(&row.state))?,
            attempts: unsigned("deliveries.attempts", row.attempts)?,
            next_at: maybe_time("deliveries.next_at", row.next_at)?,
            status: row.status.map(|status| unsigned("deliveries.status", status)).transpose()?,
            error: row.error,
            created_at: time("deliveries.created_at", row.created_at)?,
            ended_at: maybe_time("deliveries.ended_at", row.ended_at)?,
        })
    }
}

/// A page of a webhook's deliveries, newest first; only those in a state, if one is named.
pub async fn deliveries(
    conn: &mut Conn,
    webhook: WebhookId,
    state: Option<DeliveryState>,
    page: Page,
) -> Result<Vec<Delivery>, StoreError> {
    let rows: Vec<DeliveryRow> = on!(conn, |c| {
        let mut q = QueryBuilder::new(
            "SELECT id, webhook_id, event_id, kind, state, attempts, next_at, status, error, created_at, ended_at FROM deliveries \
             WHERE webhook_id = ",
        );
        q.push_bind(webhook.uuid());
        if let Some(state) = state {
            q.push(" AND state = ").push_bind(state.as_str());
        }
        if let Some(after) = page.after {
            q.push(" AND id < ").push_bind(after);
        }
        q.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(page.limit));
        q.build_query_as().fetch_all(c).await?
    });
    rows.into_iter().map(Delivery::try_from).collect()
}

/// Forgets deliveries that ended before a time.
pub async fn forget(conn: &mut Conn, before: Timestamp) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("DELETE FROM deliveries WHERE ended_at < $1")
        .bind(micros(before))
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}
