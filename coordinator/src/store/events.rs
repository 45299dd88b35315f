//! Events as their readers see them: in the order of their ids, up to the horizon that `events` keeps. They are added by
//! [`super::records::event`], in the transaction of what they are about.

use super::rows::{time, word};
use super::{Conn, StoreError, is_postgres, micros, on};
use crate::domain::event::Happened;
use crate::domain::{Kind, Timestamp};
use dockerforge_protocol::ids::UserId;
use sqlx::QueryBuilder;
use uuid::Uuid;

#[derive(sqlx::FromRow)]
struct EventRow {
    id: i64,
    at: i64,
    user_id: Uuid,
    kind: String,
    resource_kind: String,
    resource_id: Uuid,
    detail: Option<String>,
}

impl TryFrom<EventRow> for Happened {
    type Error = StoreError;
    fn try_from(row: EventRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id,
            at: time("events.at", row.at)?,
            user: UserId::from_uuid(row.user_id),
            kind: row.kind,
            resource: word("events.resource_kind", &row.resource_kind, Kind::parse(&row.resource_kind))?,
            resource_id: row.resource_id,
            detail: row.detail,
        })
    }
}

/// Which events: those after one, up to another, of one user or of all.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// Later than this one.
    pub after: i64,
    /// Not later than this one.
    pub upto: i64,
    /// Of this user; of everybody where absent.
    pub user: Option<UserId>,
    /// How many at most.
    pub limit: u32,
}

/// Events in the order in which they happened.
pub async fn list(conn: &mut Conn, range: Range) -> Result<Vec<Happened>, StoreError> {
    let rows: Vec<EventRow> = on!(conn, |c| {
        let mut q = QueryBuilder::new(
            "SELECT id, at, user_id, kind, resource_kind, resource_id, detail FROM events WHERE id > ",
        );
        q.push_bind(range.after).push(" AND id <= ").push_bind(range.upto);
        if let Some(user) = range.user {
            q.push(" AND user_id = ").push_bind(user.uuid());
        }
        q.push(" ORDER BY id LIMIT ").push_bind(i64::from(range.limit));
        q.build_query_as().fetch_all(c).await?
    });
    rows.into_iter().map(Happened::try_from).collect()
}

/// The last event that there is; 0 before the first.
pub async fn newest(conn: &mut Conn) -> Result<i64, StoreError> {
    Ok(on!(conn, |c| sqlx::query_scalar("SELECT COALESCE(MAX(id), 0) FROM events").fetch_one(c).await?))
}

/// The last event that is not kept any more; 0 where all are.
pub async fn forgotten(conn: &mut Conn) -> Result<i64, StoreError> {
    Ok(on!(conn, |c| sqlx::query_scalar("SELECT COALESCE(MAX(events_forgotten), 0) FROM cluster").fetch_one(c).await?))
}

/// Forgets events older than this, at most so many at a time; how many went. The newest stays, so that ids go on.
pub async fn forget(conn: &mut Conn, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
    let upto: Option<i64> = on!(conn, |c| {
        sqlx::query_scalar(
        "SELECT MAX(id) FROM (SELECT id FROM events WHERE at < $1 AND id < (SELECT MAX(id) FROM events) ORDER BY id LIMIT $2) AS old"
    )
    .bind(micros(before))
    .bind(i64::from(limit))
    .fetch_one(c)
    .await?
    });
    let Some(upto) = upto else { return Ok(0) };
    on!(conn, |c| sqlx::query("UPDATE cluster SET events_forgotten = $1 WHERE events_forgotten < $1")
        .bind(upto)
        .execute(c)
        .await?
        .rows_affected());
    Ok(on!(conn, |c| sqlx::query("DELETE FROM events WHERE id <= $1").bind(upto).execute(c).await?.rows_affected()))
}

/// Which transactions are under way: all older ones than the first have ended, none has begun with the second.
/// `None` on SQLite, where one writer makes ids and commits in one order.
pub async fn in_flight(conn: &mut Conn) -> Result<Option<(i64, i64)>, StoreError> {
    if !is_postgres(conn) {
        return Ok(None);
    }
    // Words of PostgreSQL alone (9.26.8, pg_snapshot); never prepared on SQLite.
    let bounds: (i64, i64) = on!(conn, |c| {
        sqlx::query_as(
            "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, pg_snapshot_xmax(pg_current_snapshot())::text::bigint",
        )
        .fetch_one(c)
        .await?
    });
    Ok(Some(bounds))
}
