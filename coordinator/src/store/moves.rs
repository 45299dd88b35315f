//! Containers on their way to another host.

use super::rows::{document, json, unsigned};
use super::{Conn, StoreError, on};
use crate::domain::moves::Move;
use crate::domain::placement::Reserved;
use dockerforge_protocol::ids::{ContainerId, HostId, JobId, UserId};
use uuid::Uuid;

#[derive(sqlx::FromRow)]
struct MoveRow {
    job_id: Uuid,
    container_id: Uuid,
    user_id: Uuid,
    source_id: Uuid,
    target_id: Uuid,
    receive: String,
    run: bool,
    grace: i64,
}

impl TryFrom<MoveRow> for Move {
    type Error = StoreError;
    fn try_from(row: MoveRow) -> Result<Self, StoreError> {
        Ok(Self {
            job: JobId::from_uuid(row.job_id),
            container: ContainerId::from_uuid(row.container_id),
            user: UserId::from_uuid(row.user_id),
            source: HostId::from_uuid(row.source_id),
            target: HostId::from_uuid(row.target_id),
            create: json("moves.receive", &row.receive)?,
            run: row.run,
            grace_s: unsigned("moves.grace", row.grace)?,
        })
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT job_id, container_id, user_id, source_id, target_id, receive, run, grace FROM moves ", $rest)
    };
}

/// Notes that a container is on its way, with what is set aside for it where it goes.
pub async fn insert(conn: &mut Conn, of: &Move) -> Result<(), StoreError> {
    let reserved = Reserved::of(&of.create.spec);
    on!(conn, |c| sqlx::query(
        "INSERT INTO moves (job_id, container_id, user_id, source_id, target_id, receive, run, grace, cpus, memory) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
    )
    .bind(of.job.uuid())
    .bind(of.container.uuid())
    .bind(of.user.uuid())
    .bind(of.source.uuid())
    .bind(of.target.uuid())
    .bind(document(&of.create))
    .bind(of.run)
    .bind(i64::from(of.grace_s))
    .bind(i64::try_from(reserved.cpus).unwrap_or(i64::MAX))
    .bind(i64::try_from(reserved.memory).unwrap_or(i64::MAX))
    .execute(c)
    .await?
    .rows_affected());
    Ok(())
}

/// The move that a job carries out.
pub async fn get(conn: &mut Conn, job: JobId) -> Result<Option<Move>, StoreError> {
    let row: Option<MoveRow> =
        on!(conn, |c| sqlx::query_as(select!("WHERE job_id = $1")).bind(job.uuid()).fetch_optional(c).await?);
    row.map(Move::try_from).transpose()
}

/// The job that moves a container, if one does.
pub async fn of_container(conn: &mut Conn, id: ContainerId) -> Result<Option<JobId>, StoreError> {
    let job: Option<Uuid> = on!(conn, |c| sqlx::query_scalar("SELECT job_id FROM moves WHERE container_id = $1")
        .bind(id.uuid())
        .fetch_optional(c)
        .await?);
    Ok(job.map(JobId::from_uuid))
}

/// A user's containers that are on their way.
pub async fn of_user(conn: &mut Conn, user: UserId) -> Result<Vec<Move>, StoreError> {
    let rows: Vec<MoveRow> = on!(conn, |c| sqlx::query_as(select!("WHERE user_id = $1 ORDER BY job_id"))
        .bind(user.uuid())
        .fetch_all(c)
        .await?);
    rows.into_iter().map(Move::try_from).collect()
}

/// Whether anything is on its way from or to a host.
pub async fn any_at(conn: &mut Conn, host: HostId) -> Result<bool, StoreError> {
    Ok(on!(conn, |c| sqlx::query(
        "SELECT 1 FROM moves WHERE source_id = $1 UNION ALL SELECT 1 FROM moves WHERE target_id = $1 LIMIT 1"
    )
    .bind(host.uuid())
    .fetch_optional(c)
    .await?
    .is_some()))
}

/// A move is over.
pub async fn remove(conn: &mut Conn, job: JobId) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("DELETE FROM moves WHERE job_id = $1")
        .bind(job.uuid())
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}
