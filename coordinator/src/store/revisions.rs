//! Revisions of things: read with the row held, so that what was decided from one is still so when it is written.

use super::rows::unsigned;
use super::{Conn, StoreError, is_postgres, on};
use crate::domain::Kind;
use dockerforge_protocol::ids::UserId;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

/// The revision of a thing, held for the rest of the transaction; nothing where it is not there, or not the user's. Users
/// belong to nobody; tokens and jobs have none. SQLite's one writer holds everything.
pub async fn held(conn: &mut Conn, user: UserId, kind: Kind, id: Uuid) -> Result<Option<u64>, StoreError> {
    let (table, owner) = match kind {
        Kind::User => ("users", "id"),
        Kind::Host => ("hosts", "user_id"),
        Kind::Image => ("images", "user_id"),
        Kind::Container => ("containers", "user_id"),
        Kind::Webhook => ("webhooks", "user_id"),
        // Of templates and configurations the version is the revision, and they are held by their own.
        Kind::Template | Kind::Configuration | Kind::Token | Kind::Job => return Ok(None),
    };
    let owner_id = if kind == Kind::User { id } else { user.uuid() };
    // Rows that refer to it can still be written by others.
    let lock = if is_postgres(conn) { " FOR NO KEY UPDATE" } else { "" };
    let sql = AssertSqlSafe(format!("SELECT revision FROM {table} WHERE id = $1 AND {owner} = $2{lock}"));
    let revision: Option<i64> =
        on!(conn, |c| sqlx::query_scalar(sql).bind(id).bind(owner_id).fetch_optional(c).await?);
    revision.map(|revision| unsigned("revision", revision)).transpose()
}

/// A container is asked to become something else; its row says what only when it has.
pub async fn advance_container(conn: &mut Conn, id: dockerforge_protocol::ids::ContainerId) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("UPDATE containers SET revision = revision + 1 WHERE id = $1")
        .bind(id.uuid())
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}
