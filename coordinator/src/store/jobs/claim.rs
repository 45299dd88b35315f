//! Claims: which waiting jobs of a host are next, and their assignment. Reads little however long the queue is: users are
//! hopped through on the index, and of each only the oldest job that could go is looked up.

use super::super::records;
use super::super::rows::{unsigned, word};
use super::super::{Conn, StoreError, is_postgres, micros, on};
use super::{JobRow, jobs};
use crate::domain::Timestamp;
use crate::domain::job::{Job, JobState};
use crate::domain::share::{Candidate, Lane, Places, choose};
use dockerforge_protocol::ids::{HostId, JobId, UserId};
use sqlx::QueryBuilder;
use uuid::Uuid;

/// The states of a job that has a place on its host, as a list of SQL. Not `<> 'queued'`: that would read the whole queue.
macro_rules! in_work {
    () => {
        "state IN ('assigned', 'running', 'unknown', 'cancelling')"
    };
}

/// Claims what a host can take: fairly between users (`domain::share`), no more than it has places for, nothing about a
/// thing that another unfinished job is about and came before. Each claimed job begins its next attempt.
pub async fn claim(conn: &mut Conn, host: HostId, places: Places, now: Timestamp) -> Result<Vec<Job>, StoreError> {
    let mut free = places;
    for (lane, jobs) in busy(conn, host).await? {
        free.take(lane, jobs);
    }
    let mut claimed = Vec::new();
    loop {
        let mut candidates = Vec::new();
        for lane in Lane::ALL {
            if free.of(lane) > 0 {
                candidates.extend(waiting(conn, host, lane, now).await?);
            }
        }
        // One a user and lane in each round; a round that gets nothing is the last.
        let got = assign(conn, &choose(candidates, &mut free)).await?;
        if got.is_empty() {
            break;
        }
        claimed.extend(got);
    }
    claimed.sort_by_key(|job| job.id);
    for job in &claimed {
        records::job_event(conn, job.id, JobState::Assigned, None, now).await?;
    }
    Ok(claimed)
}

/// How many jobs a host has in work in each lane.
async fn busy(conn: &mut Conn, host: HostId) -> Result<Vec<(Lane, u32)>, StoreError> {
    const SQL: &str = concat!(
        "SELECT lane, COUNT(*) FROM jobs WHERE host_id = $1 AND ended_at IS NULL AND ",
        in_work!(),
        " GROUP BY lane"
    );
    let rows: Vec<(String, i64)> = on!(conn, |c| sqlx::query_as(SQL).bind(host.uuid()).fetch_all(c).await?);
    rows.into_iter()
        .map(|(lane, count)| Ok((word("jobs.lane", &lane, Lane::parse(&lane))?, unsigned("jobs.count", count)?)))
        .collect()
}

/// The oldest job that could go of each user who has one waiting.
async fn waiting(conn: &mut Conn, host: HostId, lane: Lane, now: Timestamp) -> Result<Vec<Candidate>, StoreError> {
    const SQL: &str = concat!(
        // From each user to the next on the index: as many steps as there are users, not jobs.
        "WITH RECURSIVE waiting (user_id) AS (",
        "SELECT (SELECT user_id FROM jobs WHERE host_id = $1 AND lane = $2 AND state = 'queued' ORDER BY user_id LIMIT 1) ",
        "UNION ALL SELECT (SELECT j.user_id FROM jobs j WHERE j.host_id = $1 AND j.lane = $2 AND j.state = 'queued' ",
        "AND j.user_id > waiting.user_id ORDER BY j.user_id LIMIT 1) FROM waiting WHERE waiting.user_id IS NOT NULL), ",
        "oldest AS (SELECT w.user_id, (SELECT q.id FROM jobs q WHERE q.host_id = $1 AND q.lane = $2 AND q.state = 'queued' ",
        "AND q.user_id = w.user_id AND q.run_after <= $3 AND NOT EXISTS (SELECT 1 FROM jobs o WHERE o.subject_id = q.subject_id ",
        "AND o.host_id = q.host_id AND o.ended_at IS NULL AND o.id <> q.id AND (o.state <> 'queued' OR o.id < q.id)) ",
        "ORDER BY q.id LIMIT 1) AS id FROM waiting w WHERE w.user_id IS NOT NULL) ",
        "SELECT id, user_id, (SELECT COUNT(*) FROM jobs WHERE host_id = $1 AND ended_at IS NULL AND user_id = oldest.user_id AND ",
        in_work!(),
        ") FROM oldest WHERE id IS NOT NULL"
    );
    let rows: Vec<(Uuid, Uuid, i64)> =
        on!(conn, |c| sqlx::query_as(SQL).bind(host.uuid()).bind(lane.as_str()).bind(micros(now)).fetch_all(c).await?);
    rows.into_iter()
        .map(|(id, user, running)| {
            let (id, user) = (JobId::from_uuid(id), UserId::from_uuid(user));
            Ok(Candidate { id, user, lane, running: unsigned("jobs.count", running)? })
        })
        .collect()
}

/// queued → assigned, for those of these that still are and that nobody holds.
async fn assign(conn: &mut Conn, ids: &[JobId]) -> Result<Vec<Job>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let lock = if is_postgres(conn) { ") AND state = 'queued' FOR UPDATE SKIP LOCKED" } else { ")" };
    let rows: Vec<JobRow> = on!(conn, |c| {
        let mut q = QueryBuilder::new(
            "UPDATE jobs SET state = 'assigned', attempt = attempt + 1, log_base = log_size WHERE state = 'queued' AND id IN \
             (SELECT id FROM jobs WHERE id IN (",
        );
        let mut list = q.separated(", ");
        for id in ids {
            list.push_bind(id.uuid());
        }
        q.push(lock).push(concat!(") RETURNING ", columns!("command")));
        q.build_query_as().fetch_all(c).await?
    });
    jobs(rows)
}
