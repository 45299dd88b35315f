//! How much each user may have, and how much he has. His own limits are columns of his row, the defaults columns of the
//! cluster's.

use super::rows::unsigned;
use super::{Conn, StoreError, on};
use crate::domain::quota::{Amounts, Change, Changes, Counted, Limits};
use dockerforge_protocol::ids::UserId;
use sqlx::QueryBuilder;

const fn column(counted: Counted) -> &'static str {
    match counted {
        Counted::Containers => "quota_containers",
        Counted::RunningContainers => "quota_running_containers",
        Counted::Cpus => "quota_cpus",
        Counted::Memory => "quota_memory",
        Counted::Images => "quota_images",
        Counted::Hosts => "quota_hosts",
        Counted::QueuedJobs => "quota_queued_jobs",
    }
}

/// A limit as it is stored: none above `domain::quota::MAX_LIMIT` is ever given.
fn stored(limit: u64) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A user's limits: his own, and the defaults where he has none.
pub async fn limits(conn: &mut Conn, user: UserId) -> Result<Limits, StoreError> {
    type Row = (Option<i64>, Option<i64>, Option<i64>, Option<i64>, Option<i64>, Option<i64>, Option<i64>);
    let columns: Vec<String> = Counted::ALL
        .into_iter()
        .map(|c| format!("COALESCE(u.{0}, (SELECT MAX({0}) FROM cluster))", column(c)))
        .collect();
    let row: Option<Row> = on!(conn, |c| {
        let mut q = QueryBuilder::new("SELECT ");
        q.push(columns.join(", ")).push(" FROM users u WHERE u.id = ").push_bind(user.uuid());
        q.build_query_as().fetch_optional(c).await?
    });
    let mut limits = Limits::default();
    let Some(row) = row else { return Ok(limits) };
    let values = [row.0, row.1, row.2, row.3, row.4, row.5, row.6];
    for (counted, value) in Counted::ALL.into_iter().zip(values) {
        limits.set(counted, value.map(|value| unsigned(column(counted), value)).transpose()?);
    }
    Ok(limits)
}

/// Changes a user's own limits.
pub async fn set_limits(conn: &mut Conn, user: UserId, changes: &Changes) -> Result<(), StoreError> {
    for counted in Counted::ALL {
        let limit = match changes.get(counted) {
            Change::Keep => continue,
            Change::Default => None,
            Change::Limit(limit) => Some(stored(limit)),
        };
        on!(conn, |c| {
            let mut q = QueryBuilder::new("UPDATE users SET ");
            q.push(column(counted)).push(" = ").push_bind(limit);
            q.push(", revision = revision + 1 WHERE id = ").push_bind(user.uuid());
            q.build().execute(c).await?.rows_affected()
        });
    }
    Ok(())
}

/// Notes the defaults.
pub async fn set_defaults(conn: &mut Conn, defaults: &Limits) -> Result<(), StoreError> {
    for counted in Counted::ALL {
        on!(conn, |c| {
            let mut q = QueryBuilder::new("UPDATE cluster SET ");
            q.push(column(counted)).push(" = ").push_bind(defaults.get(counted).map(stored));
            q.build().execute(c).await?.rows_affected()
        });
    }
    Ok(())
}

/// How much a user has of what is asked about; 0 of all else.
pub async fn usage(conn: &mut Conn, user: UserId, about: impl Fn(Counted) -> bool) -> Result<Amounts, StoreError> {
    use Counted::{Containers, Cpus, Hosts, Images, Memory, QueuedJobs, RunningContainers};
    let mut used = Amounts::default();
    if [Containers, RunningContainers, Cpus, Memory].into_iter().any(&about) {
        let row: (i64, i64, i64, i64) = on!(conn, |c| {
            sqlx::query_as(
                "SELECT COUNT(*), COUNT(CASE WHEN desired = 'running' THEN 1 END), CAST(COALESCE(SUM(cpus), 0) AS BIGINT), \
                 CAST(COALESCE(SUM(memory), 0) AS BIGINT) FROM containers WHERE user_id = $1 AND desired <> 'removed'",
            )
            .bind(user.uuid())
            .fetch_one(c)
            .await?
        });
        for (counted, value) in [(Containers, row.0), (RunningContainers, row.1), (Cpus, row.2), (Memory, row.3)] {
            used.set(counted, unsigned("containers", value)?);
        }
    }
    for (counted, sql) in [
        (Images, "SELECT COUNT(*) FROM images WHERE user_id = $1 AND state <> 'deleting'"),
        (Hosts, "SELECT COUNT(*) FROM hosts WHERE user_id = $1 AND state <> 'deleting'"),
    ] {
        if about(counted) {
            let count: i64 = on!(conn, |c| sqlx::query_scalar(sql).bind(user.uuid()).fetch_one(c).await?);
            used.set(counted, unsigned("count", count)?);
        }
    }
    if about(QueuedJobs) {
        used.set(QueuedJobs, super::jobs::count_open(conn, user).await?);
    }
    Ok(used)
}
