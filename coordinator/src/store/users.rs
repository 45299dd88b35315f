//! Users and their API tokens.

use super::rows::{maybe_time, text, time, unsigned, word};
use super::{Conn, StoreError, is_postgres, micros, on};
use crate::domain::Timestamp;
use crate::domain::page::Page;
use crate::domain::user::{Scopes, Token, User, UserState};
use dockerforge_protocol::ids::{TokenId, UserId};
use sqlx::QueryBuilder;
use uuid::Uuid;

#[derive(sqlx::FromRow)]
struct UserRow {
    id: Uuid,
    name: String,
    admin: bool,
    state: String,
    suspended_at: Option<i64>,
    created_at: i64,
    revision: i64,
}

impl TryFrom<UserRow> for User {
    type Error = StoreError;
    fn try_from(row: UserRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: UserId::from_uuid(row.id),
            name: text("users.name", &row.name)?,
            admin: row.admin,
            state: match (row.state.as_str(), row.suspended_at) {
                ("active", None) => UserState::Active,
                ("active", Some(_)) => UserState::Suspended,
                _ => UserState::Deleting,
            },
            created_at: time("users.created_at", row.created_at)?,
            revision: unsigned("users.revision", row.revision)?,
        })
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT id, name, admin, state, suspended_at, created_at, revision FROM users ", $rest)
    };
}

#[derive(sqlx::FromRow)]
struct TokenRow {
    id: Uuid,
    user_id: Uuid,
    name: String,
    scopes: String,
    created_at: i64,
    expires_at: Option<i64>,
    last_used_at: Option<i64>,
}

impl TryFrom<TokenRow> for Token {
    type Error = StoreError;
    fn try_from(row: TokenRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: TokenId::from_uuid(row.id),
            user: UserId::from_uuid(row.user_id),
            name: text("tokens.name", &row.name)?,
            scopes: word("tokens.scopes", &row.scopes, Scopes::parse(&row.scopes))?,
            created_at: time("tokens.created_at", row.created_at)?,
            expires_at: maybe_time("tokens.expires_at", row.expires_at)?,
            last_used_at: maybe_time("tokens.last_used_at", row.last_used_at)?,
        })
    }
}

macro_rules! select_token {
    ($rest:literal) => {
        concat!("SELECT id, user_id, name, scopes, created_at, expires_at, last_used_at FROM tokens ", $rest)
    };
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

/// One user.
pub async fn get(conn: &mut Conn, id: UserId) -> Result<Option<User>, StoreError> {
    let row: Option<UserRow> =
        on!(conn, |c| sqlx::query_as(select!("WHERE id = $1")).bind(id.uuid()).fetch_optional(c).await?);
    row.map(User::try_from).transpose()
}

/// One user, held for the rest of the transaction: what is counted of his, and how he is, stays so until it is
/// committed. Last of what a transaction holds, or two could wait for each other. Rows that refer to him can still be
/// written by others; SQLite's one writer holds everything.
pub async fn hold(conn: &mut Conn, id: UserId) -> Result<Option<User>, StoreError> {
    const SQL: &str = select!("WHERE id = $1");
    const LOCKED: &str = select!("WHERE id = $1 FOR NO KEY UPDATE");
    let sql = if is_postgres(conn) { LOCKED } else { SQL };
    let row: Option<UserRow> = on!(conn, |c| sqlx::query_as(sql).bind(id.uuid()).fetch_optional(c).await?);
    row.map(User::try_from).transpose()
}

/// One user by name.
pub async fn by_name(conn: &mut Conn, name: &str) -> Result<Option<User>, StoreError> {
    let row: Option<UserRow> =
        on!(conn, |c| sqlx::query_as(select!("WHERE name = $1")).bind(name).fetch_optional(c).await?);
    row.map(User::try_from).transpose()
}

/// The token that a key opens, by the key's hash, and whose it is.
pub async fn by_key_hash(conn: &mut Conn, hash: &[u8; 32]) -> Result<Option<(User, Token)>, StoreError> {
    #[derive(sqlx::FromRow)]
    struct Row {
        #[sqlx(flatten)]
        token: TokenRow,
        user_name: String,
        admin: bool,
        state: String,
        suspended_at: Option<i64>,
        user_created_at: i64,
        revision: i64,
    }
    let row: Option<Row> = on!(conn, |c| {
        sqlx::query_as(
            "SELECT t.id, t.user_id, t.name, t.scopes, t.created_at, t.expires_at, t.last_used_at, u.name AS user_name, u.admin, \
             u.state, u.suspended_at, u.created_at AS user_created_at, u.revision \
             FROM tokens t JOIN users u ON u.id = t.user_id WHERE t.key_hash = $1",
        )
        .bind(&hash[..])
        .fetch_optional(c)
        .await?
    });
    row.map(|row| {
        let user = UserRow {
            id: row.token.user_id,
            name: row.user_name,
            admin: row.admin,
            state: row.state,
            suspended_at: row.suspended_at,
            created_at: row.user_created_at,
            revision: row.revision,
        };
        Ok((user.try_into()?, row.token.try_into()?))
    })
    .transpose()
}

/// A page of all users, newest first.
pub async fn list(conn: &mut Conn, name: Option<&str>, page: Page) -> Result<Vec<User>, StoreError> {
    let rows: Vec<UserRow> = on!(conn, |c| {
        let mut q = QueryBuilder::new(select!("WHERE 1 = 1"));
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

/// Suspends a user, or puts him in service again.
pub async fn set_suspended(conn: &mut Conn, id: UserId, since: Option<Timestamp>) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("UPDATE users SET suspended_at = $2, revision = revision + 1 WHERE id = $1")
        .bind(id.uuid())
        .bind(since.map(micros))
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}

/// How many of a user's containers, and of his images on hosts, are there still.
pub async fn belongings(conn: &mut Conn, id: UserId) -> Result<u64, StoreError> {
    let count: i64 = on!(conn, |c| sqlx::query_scalar(
        "SELECT (SELECT COUNT(*) FROM containers WHERE user_id = $1) + \
         (SELECT COUNT(*) FROM image_hosts h JOIN images i ON i.id = h.image_id WHERE i.user_id = $1)"
    )
    .bind(id.uuid())
    .fetch_one(c)
    .await?);
    unsigned("count", count)
}

/// Puts a user on his way out; whether he was in service.
pub async fn mark_deleting(conn: &mut Conn, id: UserId) -> Result<bool, StoreError> {
    let changed = on!(conn, |c| sqlx::query(
        "UPDATE users SET state = 'deleting', revision = revision + 1 WHERE id = $1 AND state = 'active'"
    )
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
        "DELETE FROM configuration_versions WHERE configuration_id IN (SELECT id FROM configurations WHERE user_id = $1)",
        "DELETE FROM configurations WHERE user_id = $1",
        "DELETE FROM template_versions WHERE template_id IN (SELECT id FROM templates WHERE user_id = $1)",
        "DELETE FROM templates WHERE user_id = $1",
        "DELETE FROM data_keys WHERE user_id = $1",
        "DELETE FROM labels WHERE user_id = $1",
        "DELETE FROM users WHERE id = $1",
    ] {
        on!(conn, |c| sqlx::query(sql).bind(id.uuid()).execute(c).await?.rows_affected());
    }
    Ok(())
}

/// A new token, with the SHA-256 of its key.
pub async fn insert_token(conn: &mut Conn, token: &Token, hash: &[u8; 32]) -> Result<(), StoreError> {
    on!(conn, |c| {
        sqlx::query(
            "INSERT INTO tokens (id, user_id, name, scopes, key_hash, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(token.id.uuid())
        .bind(token.user.uuid())
        .bind(token.name.as_str())
        .bind(token.scopes.to_string())
        .bind(&hash[..])
        .bind(micros(token.created_at))
        .bind(token.expires_at.map(micros))
        .execute(c)
        .await?
        .rows_affected()
    });
    Ok(())
}

/// Notes that a token was used, if it was not used since `before`.
pub async fn set_token_used(conn: &mut Conn, id: TokenId, now: Timestamp, before: Timestamp) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query(
        "UPDATE tokens SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= $3)"
    )
    .bind(id.uuid())
    .bind(micros(now))
    .bind(micros(before))
    .execute(c)
    .await?
    .rows_affected());
    Ok(())
}

/// One token of a user's.
pub async fn get_token(conn: &mut Conn, user: UserId, id: TokenId) -> Result<Option<Token>, StoreError> {
    let row: Option<TokenRow> = on!(conn, |c| sqlx::query_as(select_token!("WHERE user_id = $1 AND id = $2"))
        .bind(user.uuid())
        .bind(id.uuid())
        .fetch_optional(c)
        .await?);
    row.map(Token::try_from).transpose()
}

/// A page of the tokens of a user, newest first.
pub async fn list_tokens(conn: &mut Conn, user: UserId, page: Page) -> Result<Vec<Token>, StoreError> {
    let rows: Vec<TokenRow> = on!(conn, |c| {
        let mut q = QueryBuilder::new(select_token!("WHERE user_id = "));
        q.push_bind(user.uuid());
        if let Some(after) = page.after {
            q.push(" AND id < ").push_bind(after);
        }
        q.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(page.limit));
        q.build_query_as().fetch_all(c).await?
    });
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
