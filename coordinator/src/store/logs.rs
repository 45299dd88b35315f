//! What jobs wrote. Pieces are appended only where the one before ends, so a log has no gaps and no doubles.

use super::rows::unsigned;
use super::{Conn, StoreError, on};
use dockerforge_protocol::ids::JobId;
use dockerforge_protocol::report::Attempt;
use uuid::Uuid;

/// Where the log of this attempt begins and ends now, if the attempt is in work.
pub async fn extent(conn: &mut Conn, attempt: Attempt) -> Result<Option<(u64, u64)>, StoreError> {
    let row: Option<(i64, i64)> = on!(conn, |c| sqlx::query_as(
        "SELECT log_base, log_size FROM jobs WHERE id = $1 AND attempt = $2 AND ended_at IS NULL"
    )
    .bind(attempt.job.uuid())
    .bind(i64::from(attempt.number))
    .fetch_optional(c)
    .await?);
    row.map(|(base, size)| Ok((unsigned("jobs.log_base", base)?, unsigned("jobs.log_size", size)?))).transpose()
}

/// Appends bytes at the end, which is at `position`; whether that is still the end.
pub async fn append(conn: &mut Conn, attempt: Attempt, position: u64, bytes: &[u8]) -> Result<bool, StoreError> {
    let at = i64::try_from(position).unwrap_or(i64::MAX);
    let grown = on!(conn, |c| {
        sqlx::query(
        "UPDATE jobs SET log_size = log_size + $4 WHERE id = $1 AND attempt = $2 AND log_size = $3 AND ended_at IS NULL"
    )
    .bind(attempt.job.uuid())
    .bind(i64::from(attempt.number))
    .bind(at)
    .bind(i64::try_from(bytes.len()).unwrap_or(i64::MAX))
    .execute(c)
    .await?
    .rows_affected()
    });
    if grown == 0 {
        return Ok(false);
    }
    on!(conn, |c| sqlx::query("INSERT INTO job_logs (job_id, position, bytes) VALUES ($1, $2, $3)")
        .bind(attempt.job.uuid())
        .bind(at)
        .bind(bytes)
        .execute(c)
        .await?
        .rows_affected());
    Ok(true)
}

/// Bytes from `offset` on, at most about `limit`.
pub async fn read(conn: &mut Conn, job: JobId, offset: u64, limit: usize) -> Result<Vec<u8>, StoreError> {
    let from = i64::try_from(offset).unwrap_or(i64::MAX);
    let to = from.saturating_add(i64::try_from(limit).unwrap_or(i64::MAX));
    // The piece that holds the offset is the last one that begins at or before it.
    let rows: Vec<(Uuid, i64, Vec<u8>)> = on!(conn, |c| {
        sqlx::query_as(
        "SELECT job_id, position, bytes FROM job_logs WHERE job_id = $1 AND position >= \
         COALESCE((SELECT MAX(position) FROM job_logs WHERE job_id = $1 AND position <= $2), 0) AND position < $3 ORDER BY position LIMIT 4096"
    )
    .bind(job.uuid())
    .bind(from)
    .bind(to)
    .fetch_all(c)
    .await?
    });
    let mut bytes = Vec::new();
    for (_, position, piece) in rows {
        let skip = usize::try_from(from.saturating_sub(position).max(0)).unwrap_or(usize::MAX);
        bytes.extend_from_slice(piece.get(skip..).unwrap_or_default());
        if bytes.len() >= limit {
            break;
        }
    }
    Ok(bytes)
}
