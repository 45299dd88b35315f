//! What a repeated request gets.

use super::rows::word;
use super::{Conn, StoreError, micros, on};
use crate::domain::{Kind, Timestamp};
use dockerforge_protocol::ids::UserId;
use uuid::Uuid;

/// What a request with an Idempotency-Key came to.
#[derive(Debug, Clone)]
pub struct Stored {
    /// A hash of method, path and body.
    pub fingerprint: Vec<u8>,
    /// What it made or started: a job for an asynchronous operation.
    pub kind: Kind,
    /// Which one.
    pub id: Uuid,
    /// What was shown once only, sealed under a key that is derived from the Idempotency-Key.
    pub sealed: Option<Vec<u8>>,
}

#[derive(sqlx::FromRow)]
struct Row {
    fingerprint: Vec<u8>,
    resource_kind: String,
    resource_id: Uuid,
    sealed: Option<Vec<u8>>,
}

/// What a key was used for.
pub async fn get(conn: &mut Conn, user: UserId, key_hash: &[u8; 32]) -> Result<Option<Stored>, StoreError> {
    let row: Option<Row> = on!(conn, |c| {
        sqlx::query_as(
        "SELECT fingerprint, resource_kind, resource_id, sealed FROM idempotency WHERE user_id = $1 AND key_hash = $2"
    )
    .bind(user.uuid())
    .bind(&key_hash[..])
    .fetch_optional(c)
    .await?
    });
    row.map(|row| {
        let kind = word("idempotency.resource_kind", &row.resource_kind, Kind::parse(&row.resource_kind))?;
        Ok(Stored { fingerprint: row.fingerprint, kind, id: row.resource_id, sealed: row.sealed })
    })
    .transpose()
}

/// Notes what a key was used for; fails on [`super::Constraint::IdempotencyKey`] if another was faster.
pub async fn insert(
    conn: &mut Conn,
    user: UserId,
    key_hash: &[u8; 32],
    stored: &Stored,
    now: Timestamp,
) -> Result<(), StoreError> {
    on!(conn, |c| {
        sqlx::query(
        "INSERT INTO idempotency (user_id, key_hash, fingerprint, resource_kind, resource_id, sealed, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)"
    )
    .bind(user.uuid())
    .bind(&key_hash[..])
    .bind(&stored.fingerprint[..])
    .bind(stored.kind.as_str())
    .bind(stored.id)
    .bind(stored.sealed.as_deref())
    .bind(micros(now))
    .execute(c)
    .await?
    .rows_affected()
    });
    Ok(())
}

/// Forgets keys from before a time.
pub async fn forget(conn: &mut Conn, before: Timestamp) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("DELETE FROM idempotency WHERE created_at < $1")
        .bind(micros(before))
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}
