//! All SQL of the queue: finding jobs here, changing their state in `changes`, giving them to hosts in
//! `claim`.

use super::pages::{self, Condition, List, Value};
use super::rows::{maybe_json, maybe_time, time, unsigned, word};
use super::{Conn, StoreError, is_postgres, micros, on};
use crate::domain::Timestamp;
use crate::domain::job::{Job, JobError, JobKind, JobState, Subject};
use crate::domain::page::{Found, Page};
use dockerforge_protocol::ids::{ContainerId, HostId, ImageId, JobId, UserId};
use dockerforge_protocol::report::{Attempt, Progress};
use sqlx::QueryBuilder;
use uuid::Uuid;

#[derive(sqlx::FromRow)]
struct JobRow {
    id: Uuid,
    user_id: Uuid,
    host_id: Option<Uuid>,
    parent_id: Option<Uuid>,
    kind: String,
    subject_kind: String,
    subject_id: Uuid,
    state: String,
    attempt: i64,
    refusals: i64,
    command: Option<String>,
    progress_step: Option<String>,
    progress_percent: Option<i64>,
    error_kind: Option<String>,
    error_detail: Option<String>,
    product: Option<String>,
    log_size: i64,
    log_base: i64,
    created_at: i64,
    started_at: Option<i64>,
    ended_at: Option<i64>,
    deadline_at: i64,
    log_removed_at: Option<i64>,
}

/// The columns of a job. Its command may be large, and few ask for it.
macro_rules! columns {
    () => {
        columns!("CAST(NULL AS TEXT) AS command")
    };
    ($command:literal) => {
        concat!(
            "id, user_id, host_id, parent_id, kind, subject_kind, subject_id, state, attempt, refusals, ",
            $command,
            ", progress_step, progress_percent, error_kind, error_detail, product, log_size, log_base, created_at, started_at, ",
            "ended_at, deadline_at, log_removed_at"
        )
    };
}
macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT ", columns!(), " FROM jobs ", $rest)
    };
}
macro_rules! select_whole {
    ($rest:literal) => {
        concat!("SELECT ", columns!("command"), " FROM jobs ", $rest)
    };
}

/// What a draining host leaves where it is: jobs that would make something on it.
macro_rules! not_held_back {
    () => {
        "(q.kind NOT IN ('container.create', 'image.build', 'image.pull', 'image.copy') \
         OR NOT EXISTS (SELECT 1 FROM hosts h WHERE h.id = q.host_id AND h.draining = TRUE))"
    };
}

mod changes;
mod claim;
mod counts;
mod retention;

pub use changes::*;
pub use claim::claim;
pub use counts::{Open, count_by_kind};
pub use retention::{forget, forget_logs};

fn subject_parts(subject: Subject) -> (&'static str, Uuid) {
    match subject {
        Subject::Container(id) => ("container", id.uuid()),
        Subject::Image(id) => ("image", id.uuid()),
        Subject::Host(id) => ("host", id.uuid()),
        Subject::User(id) => ("user", id.uuid()),
    }
}

fn subject(kind: &str, id: Uuid) -> Result<Subject, StoreError> {
    match kind {
        "container" => Ok(Subject::Container(ContainerId::from_uuid(id))),
        "image" => Ok(Subject::Image(ImageId::from_uuid(id))),
        "host" => Ok(Subject::Host(HostId::from_uuid(id))),
        "user" => Ok(Subject::User(UserId::from_uuid(id))),
        other => Err(StoreError::corrupt("jobs.subject_kind", other)),
    }
}

impl TryFrom<JobRow> for Job {
    type Error = StoreError;
    fn try_from(row: JobRow) -> Result<Self, StoreError> {
        let percent = row.progress_percent.map(|p| unsigned("jobs.progress_percent", p)).transpose()?;
        Ok(Self {
            id: JobId::from_uuid(row.id),
            user: UserId::from_uuid(row.user_id),
            host: row.host_id.map(HostId::from_uuid),
            parent: row.parent_id.map(JobId::from_uuid),
            kind: word("jobs.kind", &row.kind, JobKind::parse(&row.kind))?,
            subject: subject(&row.subject_kind, row.subject_id)?,
            state: word("jobs.state", &row.state, JobState::parse(&row.state))?,
            attempt: unsigned("jobs.attempt", row.attempt)?,
            refusals: unsigned("jobs.refusals", row.refusals)?,
            command: maybe_json("jobs.command", row.command.as_deref())?,
            progress: row.progress_step.map(|step| Progress { step, percent }),
            error: row.error_kind.zip(row.error_detail).map(|(kind, detail)| JobError { kind, detail }),
            product: maybe_json("jobs.product", row.product.as_deref())?,
            log_size: unsigned("jobs.log_size", row.log_size)?,
            log_base: unsigned("jobs.log_base", row.log_base)?,
            created_at: time("jobs.created_at", row.created_at)?,
            started_at: maybe_time("jobs.started_at", row.started_at)?,
            ended_at: maybe_time("jobs.ended_at", row.ended_at)?,
            deadline_at: time("jobs.deadline_at", row.deadline_at)?,
            log_removed_at: maybe_time("jobs.log_removed_at", row.log_removed_at)?,
        })
    }
}

fn jobs(rows: Vec<JobRow>) -> Result<Vec<Job>, StoreError> {
    rows.into_iter().map(Job::try_from).collect()
}

/// Which jobs a list is of.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// In this state.
    pub state: Option<JobState>,
    /// Of this kind.
    pub kind: Option<JobKind>,
    /// On this host.
    pub host: Option<HostId>,
}

/// One job of a user's.
pub async fn get(conn: &mut Conn, user: UserId, id: JobId) -> Result<Option<Job>, StoreError> {
    let row: Option<JobRow> = on!(conn, |c| sqlx::query_as(select!("WHERE id = $1 AND user_id = $2"))
        .bind(id.uuid())
        .bind(user.uuid())
        .fetch_optional(c)
        .await?);
    row.map(Job::try_from).transpose()
}

/// One job, for the coordinator's own work; never for a user's request.
pub async fn find(conn: &mut Conn, id: JobId) -> Result<Option<Job>, StoreError> {
    let row: Option<JobRow> =
        on!(conn, |c| sqlx::query_as(select!("WHERE id = $1")).bind(id.uuid()).fetch_optional(c).await?);
    row.map(Job::try_from).transpose()
}

/// Several jobs, for the coordinator's own work; never for a user's request.
pub async fn some(conn: &mut Conn, ids: &[JobId]) -> Result<Vec<Job>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<JobRow> = on!(conn, |c| {
        let mut q = QueryBuilder::new(select!("WHERE id IN ("));
        let mut list = q.separated(", ");
        for id in ids {
            list.push_bind(id.uuid());
        }
        q.push(")");
        q.build_query_as().fetch_all(c).await?
    });
    jobs(rows)
}

/// One job, held for the rest of the transaction: what is decided from it is still so when it is written. SQLite's one
/// writer holds everything.
pub async fn hold(conn: &mut Conn, id: JobId) -> Result<Option<Job>, StoreError> {
    const SQL: &str = select!("WHERE id = $1");
    const LOCKED: &str = select!("WHERE id = $1 FOR UPDATE");
    let sql = if is_postgres(conn) { LOCKED } else { SQL };
    let row: Option<JobRow> = on!(conn, |c| sqlx::query_as(sql).bind(id.uuid()).fetch_optional(c).await?);
    row.map(Job::try_from).transpose()
}

/// One job with what its agent is asked to do.
pub async fn find_whole(conn: &mut Conn, id: JobId) -> Result<Option<Job>, StoreError> {
    let row: Option<JobRow> =
        on!(conn, |c| sqlx::query_as(select_whole!("WHERE id = $1")).bind(id.uuid()).fetch_optional(c).await?);
    row.map(Job::try_from).transpose()
}

/// A page of a user's jobs, newest first.
pub async fn list(conn: &mut Conn, user: UserId, filter: &Filter, page: Page) -> Result<Found<Job>, StoreError> {
    let mut conditions = Vec::new();
    conditions.extend(filter.state.map(|s| Condition::Column("state", Value::Text(s.as_str().to_owned()))));
    conditions.extend(filter.kind.map(|k| Condition::Column("kind", Value::Text(k.as_str().to_owned()))));
    conditions.extend(filter.host.map(|host| Condition::Column("host_id", Value::Id(host.uuid()))));
    let list = List {
        select: select!(""),
        table: "jobs",
        scope: vec![("user_id", Value::Id(user.uuid()))],
        conditions,
        after: page.after,
        limit: page.limit,
    };
    pages::read::<JobRow, _>(conn, &list).await?.try_map(Job::try_from)
}

/// How many unfinished jobs a user has asked for; parts of others are not among them.
pub async fn count_open(conn: &mut Conn, user: UserId) -> Result<u64, StoreError> {
    let open: i64 = on!(conn, |c| sqlx::query_scalar(
        "SELECT COUNT(*) FROM jobs WHERE user_id = $1 AND ended_at IS NULL AND parent_id IS NULL"
    )
    .bind(user.uuid())
    .fetch_one(c)
    .await?);
    unsigned("jobs", open)
}

/// Which attempts of a host's jobs are to be stopped.
pub async fn cancelling_on_host(conn: &mut Conn, host: HostId) -> Result<Vec<Attempt>, StoreError> {
    let rows: Vec<(Uuid, i64)> = on!(conn, |c| sqlx::query_as(
        "SELECT id, attempt FROM jobs WHERE host_id = $1 AND state = 'cancelling' AND ended_at IS NULL"
    )
    .bind(host.uuid())
    .fetch_all(c)
    .await?);
    rows.into_iter()
        .map(|(id, attempt)| Ok(Attempt { job: JobId::from_uuid(id), number: unsigned("jobs.attempt", attempt)? }))
        .collect()
}

/// Lets a job wait until another has ended, however it ends.
pub async fn set_after(conn: &mut Conn, id: JobId, after: JobId) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("UPDATE jobs SET after_id = $2 WHERE id = $1")
        .bind(id.uuid())
        .bind(after.uuid())
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}

/// The unfinished jobs of a user that wait until this one has ended.
pub async fn waiting_for(conn: &mut Conn, user: UserId, id: JobId) -> Result<Vec<Job>, StoreError> {
    let rows: Vec<JobRow> =
        on!(conn, |c| sqlx::query_as(select!("WHERE user_id = $1 AND after_id = $2 AND ended_at IS NULL ORDER BY id"))
            .bind(user.uuid())
            .bind(id.uuid())
            .fetch_all(c)
            .await?);
    jobs(rows)
}

/// Whether another unfinished job than `except` waits until this one has ended, which is done on `host`: about something there,
/// or of many parts.
pub async fn others_wait_for(conn: &mut Conn, id: JobId, except: JobId, host: HostId) -> Result<bool, StoreError> {
    Ok(on!(conn, |c| sqlx::query(
        "SELECT 1 FROM jobs WHERE host_id = $3 AND ended_at IS NULL AND after_id = $1 AND id <> $2 \
         UNION ALL SELECT 1 FROM jobs WHERE host_id IS NULL AND ended_at IS NULL AND after_id = $1 AND id <> $2 LIMIT 1"
    )
    .bind(id.uuid())
    .bind(except.uuid())
    .bind(host.uuid())
    .fetch_optional(c)
    .await?
    .is_some()))
}

/// The job that has to end before this one, if there is one and it is not forgotten.
pub async fn after(conn: &mut Conn, id: JobId) -> Result<Option<Job>, StoreError> {
    let row: Option<JobRow> = on!(conn, |c| sqlx::query_as(select!(
        "WHERE id = (SELECT whole.after_id FROM jobs whole WHERE whole.id = $1)"
    ))
    .bind(id.uuid())
    .fetch_optional(c)
    .await?);
    row.map(Job::try_from).transpose()
}

/// Whether a host has jobs that wait for it alone.
pub async fn any_queued(conn: &mut Conn, host: HostId) -> Result<bool, StoreError> {
    Ok(on!(conn, |c| sqlx::query(concat!(
        "SELECT 1 FROM jobs q WHERE q.host_id = $1 AND q.state = 'queued' AND q.ended_at IS NULL AND ",
        not_held_back!(),
        " LIMIT 1"
    ))
    .bind(host.uuid())
    .fetch_optional(c)
    .await?
    .is_some()))
}

/// The unfinished jobs of a host, oldest first, without those that wait.
pub async fn active_on_host(conn: &mut Conn, host: HostId) -> Result<Vec<Job>, StoreError> {
    let rows: Vec<JobRow> = on!(conn, |c| sqlx::query_as(select_whole!(
        "WHERE host_id = $1 AND ended_at IS NULL AND state <> 'queued' ORDER BY id"
    ))
    .bind(host.uuid())
    .fetch_all(c)
    .await?);
    jobs(rows)
}

/// All unfinished jobs of a host, oldest first.
pub async fn open_on_host(conn: &mut Conn, host: HostId) -> Result<Vec<Job>, StoreError> {
    let rows: Vec<JobRow> =
        on!(conn, |c| sqlx::query_as(select!("WHERE host_id = $1 AND ended_at IS NULL ORDER BY id"))
            .bind(host.uuid())
            .fetch_all(c)
            .await?);
    jobs(rows)
}

/// The unfinished jobs about one thing, oldest first.
pub async fn open_about(conn: &mut Conn, about: Subject) -> Result<Vec<Job>, StoreError> {
    let (kind, id) = subject_parts(about);
    let rows: Vec<JobRow> = on!(conn, |c| sqlx::query_as(select!(
        "WHERE subject_id = $2 AND subject_kind = $1 AND ended_at IS NULL ORDER BY id"
    ))
    .bind(kind)
    .bind(id)
    .fetch_all(c)
    .await?);
    jobs(rows)
}

/// The same with their commands.
pub async fn open_about_whole(conn: &mut Conn, about: Subject) -> Result<Vec<Job>, StoreError> {
    let (kind, id) = subject_parts(about);
    let rows: Vec<JobRow> = on!(conn, |c| sqlx::query_as(select_whole!(
        "WHERE subject_id = $2 AND subject_kind = $1 AND ended_at IS NULL ORDER BY id"
    ))
    .bind(kind)
    .bind(id)
    .fetch_all(c)
    .await?);
    jobs(rows)
}

/// The unfinished jobs of a user, oldest first.
pub async fn open_of_user(conn: &mut Conn, user: UserId) -> Result<Vec<Job>, StoreError> {
    let rows: Vec<JobRow> =
        on!(conn, |c| sqlx::query_as(select!("WHERE user_id = $1 AND ended_at IS NULL ORDER BY id"))
            .bind(user.uuid())
            .fetch_all(c)
            .await?);
    jobs(rows)
}

/// The parts of a job, oldest first.
pub async fn parts(conn: &mut Conn, parent: JobId) -> Result<Vec<Job>, StoreError> {
    let rows: Vec<JobRow> = on!(conn, |c| sqlx::query_as(select!("WHERE parent_id = $1 ORDER BY id"))
        .bind(parent.uuid())
        .fetch_all(c)
        .await?);
    jobs(rows)
}

/// The unfinished jobs that the coordinator carries out itself, oldest first.
pub async fn open_conducted(conn: &mut Conn) -> Result<Vec<JobId>, StoreError> {
    let ids: Vec<Uuid> =
        on!(conn, |c| sqlx::query_scalar("SELECT id FROM jobs WHERE host_id IS NULL AND ended_at IS NULL ORDER BY id")
            .fetch_all(c)
            .await?);
    Ok(ids.into_iter().map(JobId::from_uuid).collect())
}

/// Whether an unfinished job still needs this context.
pub async fn context_in_use(conn: &mut Conn, sha256: &str) -> Result<bool, StoreError> {
    Ok(on!(conn, |c| sqlx::query(
        "SELECT 1 FROM images WHERE state = 'pending' AND context_sha256 = $1 \
         UNION ALL SELECT 1 FROM jobs WHERE context_sha256 = $1 AND ended_at IS NULL LIMIT 1"
    )
    .bind(sha256)
    .fetch_optional(c)
    .await?
    .is_some()))
}

/// Which contexts unfinished jobs still need.
pub async fn contexts_in_use(conn: &mut Conn) -> Result<Vec<String>, StoreError> {
    Ok(on!(conn, |c| sqlx::query_scalar(
        "SELECT context_sha256 FROM images WHERE state = 'pending' AND context_sha256 IS NOT NULL \
         UNION SELECT context_sha256 FROM jobs WHERE context_sha256 IS NOT NULL AND ended_at IS NULL"
    )
    .fetch_all(c)
    .await?))
}

/// Notes how far a job is.
pub async fn set_progress(conn: &mut Conn, attempt: Attempt, progress: &Progress) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query(
        "UPDATE jobs SET progress_step = $3, progress_percent = $4 WHERE id = $1 AND attempt = $2 AND ended_at IS NULL"
    )
    .bind(attempt.job.uuid())
    .bind(i64::from(attempt.number))
    .bind(progress.step.as_str())
    .bind(progress.percent.map(i64::from))
    .execute(c)
    .await?
    .rows_affected());
    Ok(())
}

/// Jobs whose deadline passed before `before`, in one of two conditions: still waiting, or in work.
pub async fn overdue(conn: &mut Conn, waiting: bool, before: Timestamp) -> Result<Vec<Job>, StoreError> {
    const WAITING: &str = select!(
        "WHERE ended_at IS NULL AND host_id IS NOT NULL AND state = 'queued' AND started_at IS NULL AND deadline_at < $1 ORDER BY id LIMIT 100"
    );
    const IN_WORK: &str = select!(
        "WHERE ended_at IS NULL AND host_id IS NOT NULL AND (state <> 'queued' OR started_at IS NOT NULL) AND deadline_at < $1 ORDER BY id LIMIT 100"
    );
    let sql = if waiting { WAITING } else { IN_WORK };
    let rows: Vec<JobRow> = on!(conn, |c| sqlx::query_as(sql).bind(micros(before)).fetch_all(c).await?);
    jobs(rows)
}

/// Removes all jobs of a user, their logs with them. Those that the coordinator still carries out (the deletion of
/// another user that he asked for, or his own) are the system user's from here on.
pub async fn remove_of_user(conn: &mut Conn, user: UserId) -> Result<(), StoreError> {
    on!(conn, |c| {
        sqlx::query(
        "UPDATE jobs SET user_id = (SELECT id FROM users WHERE name = $2) WHERE user_id = $1 AND host_id IS NULL AND ended_at IS NULL"
    )
    .bind(user.uuid())
    .bind(crate::domain::user::SYSTEM)
    .execute(c)
    .await?
    .rows_affected()
    });
    for sql in [
        "DELETE FROM job_logs WHERE job_id IN (SELECT id FROM jobs WHERE user_id = $1)",
        "UPDATE jobs SET parent_id = NULL WHERE parent_id IN (SELECT id FROM jobs WHERE user_id = $1)",
        "DELETE FROM jobs WHERE user_id = $1",
    ] {
        on!(conn, |c| sqlx::query(sql).bind(user.uuid()).execute(c).await?.rows_affected());
    }
    Ok(())
}
