//! What happened, and who did it: rows that are only ever added, in the transaction of the change they are about.

use super::{Conn, StoreError, micros, on};
use crate::domain::event::{Event, Origin, of_job};
use crate::domain::job::JobState;
use crate::domain::{Kind, Timestamp};
use dockerforge_protocol::ids::JobId;
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
    on!(conn, |c| {
        sqlx::query(
        "INSERT INTO audit (at, actor_id, user_id, action, resource_kind, resource_id, request_id, remote) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
    )
    .bind(micros(now))
    .bind(origin.actor.uuid())
    .bind(origin.user.uuid())
    .bind(action)
    .bind(resource.as_str())
    .bind(id)
    .bind(origin.request.to_string())
    .bind(origin.remote.to_string())
    .execute(c)
    .await?
    .rows_affected()
    });
    Ok(())
}
