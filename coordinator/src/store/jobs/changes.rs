//! What changes a job's state. Every change is one UPDATE whose condition names the state and the attempt it changes: of
//! two that decide at once, one finds nothing to change. With each goes its event, in the same transaction.

use super::super::records;
use super::super::rows::document;
use super::super::{Conn, StoreError, micros, on};
use super::subject_parts;
use crate::domain::Timestamp;
use crate::domain::job::{Ending, JobState, NewJob};
use crate::domain::share::Lane;
use dockerforge_protocol::command::Command;
use dockerforge_protocol::ids::{HostId, JobId};
use dockerforge_protocol::report::Attempt;
use uuid::Uuid;

/// Enqueues a job.
pub async fn insert(conn: &mut Conn, job: &NewJob) -> Result<(), StoreError> {
    let (subject_kind, subject_id) = subject_parts(job.subject);
    // One that the coordinator carries out itself is in work as soon as it is there.
    let (state, started) = match job.host {
        Some(_) => (JobState::Queued, None),
        None => (JobState::Running, Some(micros(job.created_at))),
    };
    let context = job.command.as_ref().and_then(Command::convergence).map(|convergence| convergence.context.sha256);
    on!(conn, |c| {
        sqlx::query(
        "INSERT INTO jobs (id, user_id, host_id, parent_id, kind, subject_kind, subject_id, state, command, run_after, deadline_at, created_at, started_at, lane, \
         context_sha256) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $10, $12, $13, $14)"
    )
    .bind(job.id.uuid())
    .bind(job.user.uuid())
    .bind(job.host.map(HostId::uuid))
    .bind(job.parent.map(JobId::uuid))
    .bind(job.kind.as_str())
    .bind(subject_kind)
    .bind(subject_id)
    .bind(state.as_str())
    .bind(job.command.as_ref().map(document))
    .bind(micros(job.created_at))
    .bind(micros(job.deadline_at))
    .bind(started)
    .bind(Lane::of(job.kind).as_str())
    .bind(context)
    .execute(c)
    .await?
    .rows_affected()
    });
    // Also for one that begins at once: it was asked for.
    records::job_event(conn, job.id, JobState::Queued, None, job.created_at).await
}

/// assigned or unknown → running; whether it was so.
pub async fn set_running(conn: &mut Conn, attempt: Attempt, now: Timestamp) -> Result<bool, StoreError> {
    let changed = on!(conn, |c| {
        sqlx::query(
        "UPDATE jobs SET state = 'running', started_at = COALESCE(started_at, $3) WHERE id = $1 AND attempt = $2 AND state IN ('assigned', 'unknown')"
    )
    .bind(attempt.job.uuid())
    .bind(i64::from(attempt.number))
    .bind(micros(now))
    .execute(c)
    .await?
    .rows_affected()
    });
    noted(conn, changed, attempt.job, JobState::Running, None, now).await
}

/// Back to the queue, not before `run_after`; whether the attempt was still in work. One that does not count as a try
/// keeps its number all the same.
pub async fn requeue(
    conn: &mut Conn,
    attempt: Attempt,
    counts: bool,
    run_after: Timestamp,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let changed = on!(conn, |c| {
        sqlx::query(
        "UPDATE jobs SET state = 'queued', refusals = refusals + $3, run_after = $4, progress_step = NULL, progress_percent = NULL \
         WHERE id = $1 AND attempt = $2 AND state IN ('assigned', 'running', 'unknown')"
    )
    .bind(attempt.job.uuid())
    .bind(i64::from(attempt.number))
    .bind(i64::from(!counts))
    .bind(micros(run_after))
    .execute(c)
    .await?
    .rows_affected()
    });
    noted(conn, changed, attempt.job, JobState::Queued, None, now).await
}

/// Asks for a job to be stopped; whether it was in work.
pub async fn set_cancelling(conn: &mut Conn, id: JobId, now: Timestamp) -> Result<bool, StoreError> {
    let changed = on!(conn, |c| sqlx::query(
        "UPDATE jobs SET state = 'cancelling' WHERE id = $1 AND state IN ('assigned', 'running', 'unknown')"
    )
    .bind(id.uuid())
    .execute(c)
    .await?
    .rows_affected());
    noted(conn, changed, id, JobState::Cancelling, None, now).await
}

/// Ends a job; whether it had not ended before: the first ending stands.
pub async fn end(conn: &mut Conn, attempt: Attempt, ending: &Ending, now: Timestamp) -> Result<bool, StoreError> {
    let (product, error) = match ending {
        Ending::Succeeded(product) => (Some(document(product)), None),
        Ending::Failed { error, .. } => (None, Some(error)),
        Ending::Cancelled { .. } => (None, None),
    };
    let changed = on!(conn, |c| sqlx::query(
        "UPDATE jobs SET state = $3, product = $4, error_kind = $5, error_detail = $6, ended_at = $7 \
         WHERE id = $1 AND attempt = $2 AND ended_at IS NULL"
    )
    .bind(attempt.job.uuid())
    .bind(i64::from(attempt.number))
    .bind(ending.state().as_str())
    .bind(product)
    .bind(error.map(|e| e.kind.as_str()))
    .bind(error.map(|e| e.detail.as_str()))
    .bind(micros(now))
    .execute(c)
    .await?
    .rows_affected());
    noted(conn, changed, attempt.job, ending.state(), error.map(|e| e.detail.as_str()), now).await
}

/// assigned, running → unknown for all jobs of a host; answers which.
pub async fn set_unknown(conn: &mut Conn, host: HostId, now: Timestamp) -> Result<Vec<JobId>, StoreError> {
    let ids: Vec<Uuid> = on!(conn, |c| {
        sqlx::query_scalar(
        "UPDATE jobs SET state = 'unknown' WHERE host_id = $1 AND state IN ('assigned', 'running') AND ended_at IS NULL RETURNING id"
    )
    .bind(host.uuid())
    .fetch_all(c)
    .await?
    });
    let ids: Vec<JobId> = ids.into_iter().map(JobId::from_uuid).collect();
    for id in &ids {
        records::job_event(conn, *id, JobState::Unknown, None, now).await?;
    }
    Ok(ids)
}

/// Whether an UPDATE changed the job; if it did, with the event that says so.
async fn noted(
    conn: &mut Conn,
    changed: u64,
    id: JobId,
    became: JobState,
    detail: Option<&str>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    if changed == 1 {
        records::job_event(conn, id, became, detail, now).await?;
    }
    Ok(changed == 1)
}
