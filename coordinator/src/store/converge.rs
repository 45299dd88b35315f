//! Which containers a configuration converges, which of them are due, and what was asked of those.

use super::rows::{text, time, unsigned, word};
use super::{Conn, StoreError, micros, on};
use crate::domain::Timestamp;
use crate::domain::converge::{Ended, Owed};
use dockerforge_protocol::ids::{ContainerId, JobId, UserId};
use sqlx::QueryBuilder;
use uuid::Uuid;

#[derive(sqlx::FromRow)]
struct OwedRow {
    container_id: Uuid,
    docker_id: String,
    job_id: Option<Uuid>,
    tries: i64,
    due_at: i64,
    ended: Option<String>,
}

impl TryFrom<OwedRow> for Owed {
    type Error = StoreError;
    fn try_from(row: OwedRow) -> Result<Self, StoreError> {
        let ended = row.ended.map(|ended| word("convergences.ended", &ended, Ended::parse(&ended)));
        Ok(Self {
            container: ContainerId::from_uuid(row.container_id),
            docker_id: text("convergences.docker_id", &row.docker_id)?,
            job: row.job_id.map(JobId::from_uuid),
            tries: unsigned("convergences.tries", row.tries)?,
            due_at: time("convergences.due_at", row.due_at)?,
            ended: ended.transpose()?,
        })
    }
}

/// The container that has this id of Docker's was converged, to this version of its configuration.
pub async fn done(conn: &mut Conn, id: ContainerId, docker_id: Option<&str>, version: u32) -> Result<(), StoreError> {
    set(conn, id, true, docker_id, Some(version)).await?;
    forget(conn, id).await
}

/// A container was made anew without being converged; whether a configuration is to converge it.
pub async fn made_anew(conn: &mut Conn, id: ContainerId, configured: bool) -> Result<(), StoreError> {
    set(conn, id, configured, None, None).await
}

async fn set(
    conn: &mut Conn,
    id: ContainerId,
    configured: bool,
    docker_id: Option<&str>,
    version: Option<u32>,
) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query(
        "UPDATE containers SET configured = $2, converged_docker_id = $3, converged_version = $4 WHERE id = $1"
    )
    .bind(id.uuid())
    .bind(configured)
    .bind(docker_id)
    .bind(version.map(i64::from))
    .execute(c)
    .await?
    .rows_affected());
    Ok(())
}

/// Forgets what was asked of a container because it was due.
pub async fn forget(conn: &mut Conn, id: ContainerId) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("DELETE FROM convergences WHERE container_id = $1")
        .bind(id.uuid())
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}

/// Keeps what was asked of a container because it was due, in the place of what was before.
pub async fn keep(conn: &mut Conn, owed: &Owed) -> Result<(), StoreError> {
    on!(conn, |c| {
        sqlx::query(
        "INSERT INTO convergences (container_id, docker_id, job_id, tries, due_at, ended) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (container_id) DO UPDATE SET docker_id = excluded.docker_id, job_id = excluded.job_id, \
         tries = excluded.tries, due_at = excluded.due_at, ended = excluded.ended"
    )
    .bind(owed.container.uuid())
    .bind(owed.docker_id.as_str())
    .bind(owed.job.map(JobId::uuid))
    .bind(i64::from(owed.tries))
    .bind(micros(owed.due_at))
    .bind(owed.ended.map(Ended::as_str))
    .execute(c)
    .await?
    .rows_affected()
    });
    Ok(())
}

/// What was asked of these containers because they were due.
pub async fn owed(conn: &mut Conn, ids: &[ContainerId]) -> Result<Vec<Owed>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<OwedRow> = on!(conn, |c| {
        let mut q = QueryBuilder::new(
            "SELECT container_id, docker_id, job_id, tries, due_at, ended FROM convergences WHERE container_id IN (",
        );
        let mut list = q.separated(", ");
        for id in ids {
            list.push_bind(id.uuid());
        }
        q.push(")");
        q.build_query_as().fetch_all(c).await?
    });
    rows.into_iter().map(Owed::try_from).collect()
}

/// Containers that can be converged now because they are due, or only this one if it can: each runs, on a host that is there
/// and for a user in service, and nothing is under way about it there that would do it, or end it. What is left of it on a host
/// that it moved from is not about it any more.
pub async fn due(
    conn: &mut Conn,
    only: Option<ContainerId>,
    now: Timestamp,
) -> Result<Vec<(ContainerId, UserId)>, StoreError> {
    macro_rules! due {
        ($rest:literal) => {
            concat!(
                "SELECT c.id, c.user_id FROM containers c ",
                "LEFT JOIN convergences v ON v.container_id = c.id AND v.docker_id = c.observed_docker_id ",
                // As the index has it.
                "WHERE c.configured AND (c.converged_docker_id IS NULL OR c.converged_docker_id <> c.observed_docker_id) ",
                "AND c.observed_docker_id IS NOT NULL AND c.observed_state = 'running' AND c.desired = 'running' ",
                // Not joined: what is to lead is that index, which nearly always has nothing.
                "AND EXISTS (SELECT 1 FROM hosts h WHERE h.id = c.host_id AND h.state = 'online') ",
                "AND EXISTS (SELECT 1 FROM users u WHERE u.id = c.user_id AND u.state = 'active' AND u.suspended_at IS NULL) ",
                "AND (v.container_id IS NULL OR (v.ended IS NULL AND v.due_at <= $1)) ",
                "AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.subject_id = c.id AND j.ended_at IS NULL ",
                "AND j.kind <> 'container.exec' AND (j.host_id IS NULL OR j.host_id = c.host_id)) ",
                $rest
            )
        };
    }
    let rows: Vec<(Uuid, Uuid)> = on!(conn, |c| match only {
        Some(id) => sqlx::query_as(due!("AND c.id = $2")).bind(micros(now)).bind(id.uuid()).fetch_all(c).await?,
        None => sqlx::query_as(due!("ORDER BY c.id LIMIT 100")).bind(micros(now)).fetch_all(c).await?,
    });
    Ok(rows.into_iter().map(|(id, user)| (ContainerId::from_uuid(id), UserId::from_uuid(user))).collect())
}
