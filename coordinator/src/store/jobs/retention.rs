//! What is kept of jobs that have ended: their logs for a while, the jobs for longer. In pieces, so that nobody waits long
//! for the writer. Called by the reaper.

use super::super::{Conn, StoreError, micros, on};
use crate::domain::Timestamp;
use uuid::Uuid;

/// Removes the logs of at most `limit` jobs that ended before `before`; of how many. That there was one stays noted.
pub async fn forget_logs(conn: &mut Conn, before: Timestamp, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
    let ids: Vec<Uuid> = on!(conn, |c| {
        sqlx::query_scalar(
        "SELECT id FROM jobs WHERE ended_at < $1 AND log_size > 0 AND log_removed_at IS NULL ORDER BY ended_at LIMIT $2"
    )
    .bind(micros(before))
    .bind(i64::from(limit))
    .fetch_all(c)
    .await?
    });
    for id in &ids {
        on!(conn, |c| sqlx::query("DELETE FROM job_logs WHERE job_id = $1")
            .bind(*id)
            .execute(c)
            .await?
            .rows_affected());
        on!(conn, |c| sqlx::query("UPDATE jobs SET log_removed_at = $2 WHERE id = $1")
            .bind(*id)
            .bind(micros(now))
            .execute(c)
            .await?
            .rows_affected());
    }
    Ok(ids.len() as u64)
}

/// Removes at most `limit` jobs that ended before `before`; how many. One that is the whole of parts stays as long as any
/// of them: an unfinished part needs it, and the parts of one that is gone would explain nothing.
pub async fn forget(conn: &mut Conn, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
    let ids: Vec<Uuid> = on!(conn, |c| {
        sqlx::query_scalar(
        "SELECT id FROM jobs WHERE ended_at < $1 AND NOT EXISTS (SELECT 1 FROM jobs part WHERE part.parent_id = jobs.id) \
         ORDER BY ended_at LIMIT $2"
    )
    .bind(micros(before))
    .bind(i64::from(limit))
    .fetch_all(c)
    .await?
    });
    for id in &ids {
        for sql in ["DELETE FROM job_logs WHERE job_id = $1", "DELETE FROM jobs WHERE id = $1"] {
            on!(conn, |c| sqlx::query(sql).bind(*id).execute(c).await?.rows_affected());
        }
    }
    Ok(ids.len() as u64)
}
