//! The one row that says which installation this database is of.

use super::{Conn, StoreError, micros, on};
use dockerforge_protocol::ids::ClusterId;
use jiff::Timestamp;
use uuid::Uuid;

/// The cluster's id, made at the first call.
pub async fn cluster_id(conn: &mut Conn, now: Timestamp) -> Result<ClusterId, StoreError> {
    let known: Option<Uuid> =
        on!(conn, |c| sqlx::query_scalar("SELECT id FROM cluster ORDER BY created_at, id LIMIT 1")
            .fetch_optional(c)
            .await?);
    if let Some(id) = known {
        return Ok(ClusterId::from_uuid(id));
    }
    let id = ClusterId::new();
    on!(conn, |c| sqlx::query("INSERT INTO cluster (id, created_at) VALUES ($1, $2)")
        .bind(id.uuid())
        .bind(micros(now))
        .execute(c)
        .await?
        .rows_affected());
    Ok(id)
}
