//! What links provision. Passwords are sealed; only `vault` can open them, and a grant that is revoked has none.

use super::rows::{document, json, text, unsigned};
use super::{Conn, StoreError, micros, on};
use crate::domain::Timestamp;
use crate::domain::grant::Grant;
use dockerforge_protocol::ids::{ContainerId, GrantId, JobId, UserId};
use sqlx::QueryBuilder;
use uuid::Uuid;

#[derive(sqlx::FromRow)]
struct GrantRow {
    id: Uuid,
    user_id: Uuid,
    container_id: Uuid,
    target_id: Uuid,
    alias: String,
    fields: String,
    secrets: String,
    sealed: Option<Vec<u8>>,
    revoked: bool,
}

impl TryFrom<GrantRow> for (Grant, Option<Vec<u8>>) {
    type Error = StoreError;
    fn try_from(row: GrantRow) -> Result<Self, StoreError> {
        let grant = Grant {
            id: GrantId::from_uuid(row.id),
            user: UserId::from_uuid(row.user_id),
            container: ContainerId::from_uuid(row.container_id),
            target: ContainerId::from_uuid(row.target_id),
            alias: text("grants.alias", &row.alias)?,
            fields: json("grants.fields", &row.fields)?,
            secrets: json("grants.secrets", &row.secrets)?,
            revoked: row.revoked,
        };
        Ok((grant, row.sealed))
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, user_id, container_id, target_id, alias, fields, secrets, sealed, revoked FROM grants ",
            $rest
        )
    };
}

/// A new grant with its password.
pub async fn insert(conn: &mut Conn, grant: &Grant, sealed: &[u8]) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query(
        "INSERT INTO grants (id, user_id, container_id, target_id, alias, fields, secrets, sealed) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
    )
    .bind(grant.id.uuid())
    .bind(grant.user.uuid())
    .bind(grant.container.uuid())
    .bind(grant.target.uuid())
    .bind(grant.alias.to_string())
    .bind(document(&grant.fields))
    .bind(document(&grant.secrets))
    .bind(sealed)
    .execute(c)
    .await?
    .rows_affected());
    Ok(())
}

/// What is granted to these containers.
pub async fn of_containers(conn: &mut Conn, ids: &[ContainerId]) -> Result<Vec<Grant>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<GrantRow> = on!(conn, |c| {
        let mut q = QueryBuilder::new(select!("WHERE revoked = FALSE AND container_id IN ("));
        let mut list = q.separated(", ");
        for id in ids {
            list.push_bind(id.uuid());
        }
        q.push(") ORDER BY id");
        q.build_query_as().fetch_all(c).await?
    });
    rows.into_iter().map(|row| <(Grant, Option<Vec<u8>>)>::try_from(row).map(|(grant, _)| grant)).collect()
}

/// What a container grants or is to take back, with the passwords of what it grants.
pub async fn of_target(conn: &mut Conn, target: ContainerId) -> Result<Vec<(Grant, Option<Vec<u8>>)>, StoreError> {
    let rows: Vec<GrantRow> = on!(conn, |c| sqlx::query_as(select!("WHERE target_id = $1 ORDER BY id"))
        .bind(target.uuid())
        .fetch_all(c)
        .await?);
    rows.into_iter().map(TryFrom::try_from).collect()
}

/// Takes a grant back: its password is forgotten, and a converge of who granted it is due.
pub async fn revoke(conn: &mut Conn, id: GrantId) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("UPDATE grants SET revoked = TRUE, sealed = NULL WHERE id = $1 AND revoked = FALSE")
        .bind(id.uuid())
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}

/// Takes back what was granted to a container that is gone, and forgets what that one granted.
pub async fn of_nobody(conn: &mut Conn, container: ContainerId) -> Result<(), StoreError> {
    for sql in [
        "UPDATE grants SET revoked = TRUE, sealed = NULL WHERE container_id = $1 AND revoked = FALSE",
        "DELETE FROM grants WHERE target_id = $1",
    ] {
        on!(conn, |c| sqlx::query(sql).bind(container.uuid()).execute(c).await?.rows_affected());
    }
    Ok(())
}

/// Notes that a job's node says of all that is revoked that it is.
pub async fn show(conn: &mut Conn, target: ContainerId, job: JobId) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("UPDATE grants SET shown_to = $2 WHERE target_id = $1 AND revoked = TRUE")
        .bind(target.uuid())
        .bind(job.uuid())
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}

/// Forgets what a job that has succeeded was shown to be revoked.
pub async fn forget_shown(conn: &mut Conn, target: ContainerId, job: JobId) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("DELETE FROM grants WHERE target_id = $1 AND shown_to = $2")
        .bind(target.uuid())
        .bind(job.uuid())
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}

/// A container that has something to take back.
#[derive(Debug, Clone, Copy)]
pub struct Due {
    /// Which.
    pub target: ContainerId,
    /// Whose it is.
    pub user: UserId,
    /// How often that was asked of it.
    pub tries: u32,
}

/// The containers that have something to take back now.
pub async fn due(conn: &mut Conn, now: Timestamp) -> Result<Vec<Due>, StoreError> {
    let rows: Vec<(Uuid, Uuid, i64)> = on!(conn, |c| sqlx::query_as(
        "SELECT target_id, user_id, MAX(tries) FROM grants WHERE revoked = TRUE AND due_at <= $1 \
         GROUP BY target_id, user_id ORDER BY MIN(due_at) LIMIT 100"
    )
    .bind(micros(now))
    .fetch_all(c)
    .await?);
    let due = |(target, user, tries)| {
        let tries = unsigned("grants.tries", tries)?;
        Ok(Due { target: ContainerId::from_uuid(target), user: UserId::from_uuid(user), tries })
    };
    rows.into_iter().map(due).collect()
}

/// Says when to look again at what a container has to take back, and whether it was asked to now; whether something was due.
pub async fn put_off(
    conn: &mut Conn,
    target: ContainerId,
    asked: bool,
    until: Timestamp,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let changed = on!(conn, |c| sqlx::query(
        "UPDATE grants SET due_at = $2, tries = tries + $3 WHERE target_id = $1 AND revoked = TRUE AND due_at <= $4"
    )
    .bind(target.uuid())
    .bind(micros(until))
    .bind(i64::from(asked))
    .bind(micros(now))
    .execute(c)
    .await?
    .rows_affected());
    Ok(changed > 0)
}
