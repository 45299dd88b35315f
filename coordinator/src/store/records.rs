//! What happened, and who did it: rows that are only ever added, in the transaction of the change they are about.

use super::pages::{self, Condition, List, Value};
use super::rows::{text, time, word};
use super::{Conn, StoreError, micros, on};
use crate::domain::event::{AuditLine, Event, Origin, of_job};
use crate::domain::job::JobState;
use crate::domain::page::Found;
use crate::domain::{Kind, Timestamp};
use dockerforge_protocol::ids::{JobId, UserId};
use uuid::Uuid;

/// Adds an event.
pub async fn event(conn: &mut Conn, event: &Event, now: Timestamp) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query(
        "INSERT INTO events (at, user_id, kind, resource_kind, resource_id, detail) VALUES ($1, $2, $3, $4, $5, $6)"
    )
    .bind(micros(now))
    .bind(event.user.uuid())
    .bind(event.kind)
    .bind(event.resource.as_str())
    .bind(event.id)
    .bind(event.detail.as_deref())
    .execute(c)
    .await?
    .rows_affected());
    Ok(())
}

/// Adds the event that a job became something; to its user.
pub(super) async fn job_event(
    conn: &mut Conn,
    job: JobId,
    became: JobState,
    detail: Option<&str>,
    now: Timestamp,
) -> Result<(), StoreError> {
    on!(conn, |c| {
        sqlx::query(
        "INSERT INTO events (at, user_id, kind, resource_kind, resource_id, detail) SELECT $2, user_id, $3, $4, id, $5 FROM jobs WHERE id = $1"
    )
    .bind(job.uuid())
    .bind(micros(now))
    .bind(of_job(became))
    .bind(Kind::Job.as_str())
    .bind(detail)
    .execute(c)
    .await?
    .rows_affected()
    });
    Ok(())
}

/// The kinds of a resource's events, oldest first.
pub async fn events_of(conn: &mut Conn, resource: Kind, id: Uuid) -> Result<Vec<String>, StoreError> {
    Ok(on!(conn, |c| sqlx::query_scalar(
        "SELECT kind FROM events WHERE resource_kind = $1 AND resource_id = $2 ORDER BY id"
    )
    .bind(resource.as_str())
    .bind(id)
    .fetch_all(c)
    .await?))
}

/// Adds an audit line: `action` as `container.create`.
pub async fn audit(
    conn: &mut Conn,
    origin: &Origin,
    action: &'static str,
    resource: Kind,
    id: Uuid,
    now: Timestamp,
) -> Result<(), StoreError> {
    audit_with(conn, origin, action, resource, id, None, now).await
}

/// The same, with more about it in words.
pub async fn audit_with(
    conn: &mut Conn,
    origin: &Origin,
    action: &'static str,
    resource: Kind,
    id: Uuid,
    detail: Option<&str>,
    now: Timestamp,
) -> Result<(), StoreError> {
    on!(conn, |c| {
        sqlx::query(
        "INSERT INTO audit (at, actor_id, user_id, action, resource_kind, resource_id, request_id, remote, detail) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
    )
    .bind(micros(now))
    .bind(origin.actor.uuid())
    .bind(origin.user.uuid())
    .bind(action)
    .bind(resource.as_str())
    .bind(id)
    .bind(origin.request.to_string())
    .bind(origin.remote.to_string())
    .bind(detail)
    .execute(c)
    .await?
    .rows_affected()
    });
    Ok(())
}

/// Which lines of the audit.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// On behalf of this user.
    pub user: Option<UserId>,
    /// Of this action.
    pub action: Option<String>,
    /// About this thing.
    pub resource: Option<(Kind, Uuid)>,
    /// From before this line.
    pub after: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct AuditRow {
    id: i64,
    at: i64,
    actor_id: Uuid,
    user_id: Uuid,
    action: String,
    resource_kind: String,
    resource_id: Uuid,
    request_id: String,
    remote: String,
    detail: Option<String>,
}

impl TryFrom<AuditRow> for AuditLine {
    type Error = StoreError;
    fn try_from(row: AuditRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id,
            at: time("audit.at", row.at)?,
            origin: Origin {
                actor: UserId::from_uuid(row.actor_id),
                user: UserId::from_uuid(row.user_id),
                request: text("audit.request_id", &row.request_id)?,
                remote: text("audit.remote", &row.remote)?,
            },
            action: row.action,
            resource: word("audit.resource_kind", &row.resource_kind, Kind::parse(&row.resource_kind))?,
            resource_id: row.resource_id,
            detail: row.detail,
        })
    }
}

/// A page of the audit, newest first.
pub async fn list_audit(
    conn: &mut Conn,
    filter: &AuditFilter,
    limit: u32,
) -> Result<Found<AuditLine, i64>, StoreError> {
    let mut conditions = Vec::new();
    conditions.extend(filter.user.map(|user| Condition::Column("user_id", Value::Id(user.uuid()))));
    conditions.extend(filter.action.clone().map(|action| Condition::Column("action", Value::Text(action))));
    // An id is of one kind alone: it need not be asked for.
    conditions.extend(filter.resource.map(|(_, id)| Condition::Column("resource_id", Value::Id(id))));
    let list = List {
        select: "SELECT id, at, actor_id, user_id, action, resource_kind, resource_id, request_id, remote, detail FROM audit ",
        table: "audit",
        scope: Vec::new(),
        conditions,
        after: filter.after,
        limit,
    };
    pages::read::<AuditRow, _>(conn, &list).await?.try_map(AuditLine::try_from)
}
