//! Join tokens and certificates.

use super::rows::{time, unsigned};
use super::{Conn, StoreError, is_postgres, micros, on};
use crate::domain::Timestamp;
use dockerforge_protocol::ids::{HostId, JoinTokenId};
use uuid::Uuid;

/// A join token as it is kept.
#[derive(Debug, Clone)]
pub struct StoredToken {
    /// Whose token it is.
    pub host: HostId,
    /// SHA-256 of its secret.
    pub secret_hash: Vec<u8>,
    /// When it stops being good.
    pub expires_at: Timestamp,
    /// The key that redeemed it and the certificate that was issued for it, PEM.
    pub redeemed: Option<(Vec<u8>, String)>,
}

#[derive(sqlx::FromRow)]
struct TokenRow {
    host_id: Uuid,
    secret_hash: Vec<u8>,
    expires_at: i64,
    used_by: Option<Vec<u8>>,
    certificate: Option<String>,
}

/// A new join token. Earlier ones of the host that were not used are void.
pub async fn insert_token(
    conn: &mut Conn,
    id: JoinTokenId,
    host: HostId,
    secret_hash: &[u8; 32],
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("DELETE FROM join_tokens WHERE host_id = $1 AND used_by IS NULL")
        .bind(host.uuid())
        .execute(c)
        .await?
        .rows_affected());
    on!(conn, |c| sqlx::query(
        "INSERT INTO join_tokens (id, host_id, secret_hash, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)"
    )
    .bind(id.uuid())
    .bind(host.uuid())
    .bind(&secret_hash[..])
    .bind(micros(now))
    .bind(micros(expires_at))
    .execute(c)
    .await?
    .rows_affected());
    Ok(())
}

/// A join token, held for the rest of the transaction: two that redeem it come one after the other.
pub async fn hold_token(conn: &mut Conn, id: JoinTokenId) -> Result<Option<StoredToken>, StoreError> {
    const SQL: &str = "SELECT host_id, secret_hash, expires_at, used_by, certificate FROM join_tokens WHERE id = $1";
    const LOCKED: &str =
        "SELECT host_id, secret_hash, expires_at, used_by, certificate FROM join_tokens WHERE id = $1 FOR UPDATE";
    let sql = if is_postgres(conn) { LOCKED } else { SQL };
    let row: Option<TokenRow> = on!(conn, |c| sqlx::query_as(sql).bind(id.uuid()).fetch_optional(c).await?);
    row.map(|row| {
        Ok(StoredToken {
            host: HostId::from_uuid(row.host_id),
            secret_hash: row.secret_hash,
            expires_at: time("join_tokens.expires_at", row.expires_at)?,
            redeemed: row.used_by.zip(row.certificate),
        })
    })
    .transpose()
}

/// Marks a token as redeemed by a key, with the certificate that was issued for it.
pub async fn redeem_token(
    conn: &mut Conn,
    id: JoinTokenId,
    key: &[u8; 32],
    certificate: &str,
) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query(
        "UPDATE join_tokens SET used_by = $2, certificate = $3 WHERE id = $1 AND used_by IS NULL"
    )
    .bind(id.uuid())
    .bind(&key[..])
    .bind(certificate)
    .execute(c)
    .await?
    .rows_affected());
    Ok(())
}

/// Notes a certificate that was issued.
pub async fn insert_certificate(
    conn: &mut Conn,
    serial: &str,
    host: HostId,
    not_after: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query(
        "INSERT INTO certificates (serial, host_id, not_after, created_at) VALUES ($1, $2, $3, $4)"
    )
    .bind(serial)
    .bind(host.uuid())
    .bind(not_after)
    .bind(micros(now))
    .execute(c)
    .await?
    .rows_affected());
    Ok(())
}

/// Whether a certificate may open a session of this host.
pub async fn certificate_is_good(conn: &mut Conn, serial: &str, host: HostId) -> Result<bool, StoreError> {
    let good = on!(conn, |c| sqlx::query(
        "SELECT 1 FROM certificates WHERE serial = $1 AND host_id = $2 AND revoked_at IS NULL"
    )
    .bind(serial)
    .bind(host.uuid())
    .fetch_optional(c)
    .await?
    .is_some());
    Ok(good)
}

/// Revokes all certificates of a host.
pub async fn revoke_certificates(conn: &mut Conn, host: HostId, now: Timestamp) -> Result<u64, StoreError> {
    let revoked =
        on!(conn, |c| sqlx::query("UPDATE certificates SET revoked_at = $2 WHERE host_id = $1 AND revoked_at IS NULL")
            .bind(host.uuid())
            .bind(micros(now))
            .execute(c)
            .await?
            .rows_affected());
    unsigned("certificates.count", i64::try_from(revoked).unwrap_or(i64::MAX))
}

/// Whether a certificate was issued to this host since a time.
pub async fn issued_since(conn: &mut Conn, host: HostId, since: Timestamp) -> Result<bool, StoreError> {
    Ok(on!(conn, |c| sqlx::query("SELECT 1 FROM certificates WHERE host_id = $1 AND created_at > $2 LIMIT 1")
        .bind(host.uuid())
        .bind(micros(since))
        .fetch_optional(c)
        .await?
        .is_some()))
}

/// Forgets the certificates that can authenticate nobody: those that expired before `expired`, and those that were
/// revoked before `revoked`. Answers how many. One that a renewal superseded stays until it expires: its agent may have
/// lost the new one.
pub async fn forget_certificates(conn: &mut Conn, expired: Timestamp, revoked: Timestamp) -> Result<u64, StoreError> {
    Ok(on!(conn, |c| sqlx::query("DELETE FROM certificates WHERE not_after < $1 OR revoked_at < $2")
        .bind(micros(expired))
        .bind(micros(revoked))
        .execute(c)
        .await?
        .rows_affected()))
}
