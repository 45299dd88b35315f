//! Users and their API tokens.

use super::rows::{text, time};
use super::{Conn, StoreError, is_postgres, micros, on};
use crate::domain::page::Page;
use crate::domain::user::{Token, User, UserState};
use dockerforge_protocol::ids::{TokenId, UserId};
use sqlx::QueryBuilder;
use uuid::Uuid;

#[derive(sqlx::FromRow)]
struct UserRow {
    id: Uuid,
    name: String,
    admin: bool,
    state: String,
    created_at: i64,
}

impl TryFrom<UserRow> for User {
    type Error = StoreError;
    fn try_from(row: UserRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: UserId::from_uuid(row.id),
            name: text("users.name", &row.name)?,
            admin: row.admin,
            state: if row.state == "active" { UserState::Active } else { UserState::Deleting },
            created_at: time("users.created_at", row.created_at)?,
        })
    }
}

#[derive(sqlx::FromRow)]
struct TokenRow {
    id: Uuid,
    user_id: Uuid,
    name: String,
    created_at: i64,
}

impl TryFrom<TokenRow> for Token {
    type Error = StoreError;
    fn try_from(row: TokenRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: TokenId::from_uuid(row.id),
            user: UserId::from_uuid(row.user_id),
            name: text("tokens.name", &row.name)?,
            created_at: time("tokens.created_at", row.created_at)?,
        })
    }
}

/// A new user.
pub async fn insert(conn: &mut Conn, user: &User) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("INSERT INTO users (id, name, admin, state, created_at) VALUES ($1, $2, $3, $4, $5)")
        .bind(user.id.uuid())
        .bind(user.name.as_str())
        .bind(user.admin)
        .bind(user.state.as_str())
        .bind(micros(user.created_at))
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}

/// Holds a user for the rest of the transaction: what is counted of his things is still so when another is added.
/// SQLite's one writer holds everything. Taken after the rows of hosts and images, so that nobody waits in a circle.
pub async fn hold(conn: &mut Conn, id: UserId) -> Result<(), StoreError> {
    if is_postgres(conn) {
        // Rows that only refer to the user may be added meanwhile.
        on!(conn, |c| sqlx::query("SELECT 1 FROM users WHERE id = $1 FOR NO KEY UPDATE")
            .bind(id.uuid())
            .fetch_optional(c)
            .await?
            .is_some());
    }
    Ok(())
}

/// One user.
pub async fn get(conn: &mut Conn, id: UserId) -> Result<Option<User>, StoreError> {
    let row: Option<UserRow> =
        on!(conn, |c| sqlx::query_as("SELECT id, name, admin, state, created_at FROM users WHERE id = $1")
            .bind(id.uuid())
            .fetch_optional(c)
            .await?);
    row.map(User::try_from).transpose()
}

/// One user by name.
pub async fn by_name(conn: &mut Conn, name: &str) -> Result<Option<User>, StoreError> {
    let row: Option<UserRow> =
        on!(conn, |c| sqlx::query_as("SELECT id, name, admin, state, created_at FROM users WHERE name = $1")
            .bind(name)
            .fetch_optional(c)
            .await?);
    row.map(User::try_from).transpose()
}

/// The user that a key belongs to, by the key's hash.
pub async fn by_key_hash(conn: &mut Conn, hash: &[u8; 32]) -> Result<Option<User>, StoreError> {
    let row: Option<UserRow> = on!(conn, |c| {
        sqlx::query_as(
        "SELECT u.id, u.name, u.admin, u.state, u.created_at FROM tokens t JOIN users u ON u.id = t.user_id WHERE t.key_hash = $1"
    )
    .bind(&hash[..])
    .fetch_optional(c)
    .await?
    });
    row.map(User::try_from).transpose()
}

/// A page of all users, newest first.
pub async fn list(conn: &mut Conn, name: Option<&str>, page: Page) -> Result<Vec<User>, StoreError> {
    let rows: Vec<UserRow> = on!(conn, |c| {
        let mut q = QueryBuilder::new("SELECT id, name, admin, state, created_at FROM users WHERE 1 = 1");
        if let Some(name) = name {
            q.push(" AND name = ").push_bind(name.to_owned());
        }
        if let Some(after) = page.after {
            q.push(" AND id < ").push_bind(after);
        }
        q.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(page.limit));
        q.build_query_as().fetch_all(c).await?
    });
    rows.into_iter().map(User::try_from).collect()
}

/// Puts a user on his way out; whether he was in service.
pub async fn mark_deleting(conn: &mut Conn, id: UserId) -> Result<bool, StoreError> {
    let changed = on!(conn, |c| sqlx::query("UPDATE users SET state = 'deleting' WHERE id = $1 AND state = 'active'")
        .bind(id.uuid())
        .execute(c)
        .await?
        .rows_affected());
    Ok(changed == 1)
}

/// Removes the row of a user of whom nothing else is left, with his tokens and what was kept of his requests.
pub async fn remove(conn: &mut Conn, id: UserId) -> Result<(), StoreError> {
    for sql in [
        "DELETE FROM host_tenants WHERE user_id = $1",
        "DELETE FROM tokens WHERE user_id = $1",
        "DELETE FROM idempotency WHERE user_id = $1",
        "DELETE FROM deliveries WHERE webhook_id IN (SELECT id FROM webhooks WHERE user_id = $1)",
        "DELETE FROM webhooks WHERE user_id = $1",
        "DELETE FROM data_keys WHERE user_id = $1",
        "DELETE FROM users WHERE id = $1",
    ] {
        on!(conn, |c| sqlx::query(sql).bind(id.uuid()).execute(c).await?.rows_affected());
    }
    Ok(())
}

/// A new token, with the SHA-256 of its key.
pub async fn insert_token(conn: &mut Conn, token: &Token, hash: &[u8; 32]) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query(
        "INSERT INTO tokens (id, user_id, name, key_hash, created_at) VALUES ($1, $2, $3, $4, $5)"
    )
    .bind(token.id.uuid())
    .bind(token.user.uuid())
    .bind(token.name.as_str())
    .bind(&hash[..])
    .bind(micros(token.created_at))
    .execute(c)
    .await?
    .rows_affected());
    Ok(())
}

/// One token of a user's.
pub async fn get_token(conn: &mut Conn, user: UserId, id: TokenId) -> Result<Option<Token>, StoreError> {
    let row: Option<TokenRow> = on!(conn, |c| sqlx::query_as(
        "SELECT id, user_id, name, created_at FROM tokens WHERE user_id = $1 AND id = $2"
    )
    .bind(user.uuid())
    .bind(id.uuid())
    .fetch_optional(c)
    .await?);
    row.map(Token::try_from).transpose()
}

/// The tokens of a user, newest first.
pub async fn list_tokens(conn: &mut Conn, user: UserId) -> Result<Vec<Token>, StoreError> {
    let rows: Vec<TokenRow> = on!(conn, |c| sqlx::query_as(
        "SELECT id, user_id, name, created_at FROM tokens WHERE user_id = $1 ORDER BY id DESC LIMIT 1000"
    )
    .bind(user.uuid())
    .fetch_all(c)
    .await?);
    rows.into_iter().map(Token::try_from).collect()
}

/// Revokes one token; whether it was there.
pub async fn remove_token(conn: &mut Conn, user: UserId, id: TokenId) -> Result<bool, StoreError> {
    let removed = on!(conn, |c| sqlx::query("DELETE FROM tokens WHERE user_id = $1 AND id = $2")
        .bind(user.uuid())
        .bind(id.uuid())
        .execute(c)
        .await?
        .rows_affected());
    Ok(removed == 1)
}

/// Revokes all tokens of a user.
pub async fn remove_tokens(conn: &mut Conn, user: UserId) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("DELETE FROM tokens WHERE user_id = $1")
        .bind(user.uuid())
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}
