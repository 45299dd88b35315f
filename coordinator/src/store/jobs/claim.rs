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
use std::collections::BTreeMap;
use uuid::Uuid;

/// Claims what a host can take: fairly between users (`domain::share`), no more than it has places for, nothing about a
/// thing that another unfinished job is about and came before. Each claimed job begins its next attempt.
pub async fn claim(conn: &mut Conn, host: HostId, places: Places, now: Timestamp) -> Result<Vec<Job>, StoreError> {
    let (mut free, mut running) = (places, BTreeMap::new());
    for (lane, user, jobs) in busy(conn, host).await? {
        free.take(lane, jobs);
        *running.entry(user).or_default() += jobs;
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
        let got = assign(conn, &choose(candidates, &mut running, &mut free)).await?;
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

/// How many jobs each user has in work on a host, in each lane.
async fn busy(conn: &mut Conn, host: HostId) -> Result<Vec<(Lane, UserId, u32)>, StoreError> {
    // Not `<> 'queued'`: that would read the whole queue.
    let rows: Vec<(String, Uuid, i64)> = on!(conn, |c| sqlx::query_as(
        "SELECT lane, user_id, COUNT(*) FROM jobs WHERE host_id = $1 AND ended_at IS NULL \
         AND state IN ('assigned', 'running', 'unknown', 'cancelling') GROUP BY lane, user_id"
    )
    .bind(host.uuid())
    .fetch_all(c)
    .await?);
    rows.into_iter()
        .map(|(lane, user, count)| {
            let lane = word("jobs.lane", &lane, Lane::parse(&lane))?;
            Ok((lane, UserId::from_uuid(user), unsigned("jobs.count", count)?))
        })
        .collect()
}

/// The oldest job that could go of each user who has one waiting.
async fn waiting(conn: &mut Conn, host: HostId, lane: Lane, now: Timestamp) -> Result<Vec<Candidate>, StoreError> {
    const SQL: &str = concat!(
        // From each user to the next on the index: as many steps as there are users, not jobs.
        "WITH RECURSIVE waiting (user_id) AS (",
        "SELECT (SELECT user_id FROM jobs WHERE host_id = $1 AND lane = $2 AND state = 'queued' ORDER BY user_id LIMIT 1) ",
        "UNION ALL SELECT (SELECT j.user_id FROM jobs j WHERE j.host_id = $1 AND j.lane = $2 AND j.state = 'queued' ",
        "AND j.user_id > waiting.user_id ORDER BY j.user_id LIMIT 1) FROM waiting WHERE waiting.user_id IS NOT NULL) ",
        "SELECT w.user_id, (SELECT q.id FROM jobs q WHERE q.host_id = $1 AND q.lane = $2 AND q.state = 'queued' ",
        "AND q.user_id = w.user_id AND q.run_after <= $3 AND NOT EXISTS (SELECT 1 FROM jobs o WHERE o.subject_id = q.subject_id ",
        "AND o.host_id = q.host_id AND o.ended_at IS NULL AND o.id <> q.id AND (o.state <> 'queued' OR o.id < q.id) ",
        // A program that runs in a container keeps nobody from stopping it.
        "AND (o.kind <> 'container.exec' OR o.state = 'queued')) AND ",
        not_held_back!(),
        // What is to be had from the registry can be had without it, too, where the host that pushes it fell silent; what waits for
        // a converge needs what that one makes.
        " AND NOT EXISTS (SELECT 1 FROM jobs a WHERE a.id = q.after_id ",
        "AND ((a.ended_at IS NULL AND NOT (a.kind = 'image.push' AND a.state = 'unknown')) ",
        "OR (a.kind = 'container.converge' AND a.state <> 'succeeded'))) ",
        "ORDER BY q.id LIMIT 1) FROM waiting w WHERE w.user_id IS NOT NULL"
    );
    let rows: Vec<(Uuid, Option<Uuid>)> =
        on!(conn, |c| sqlx::query_as(SQL).bind(host.uuid()).bind(lane.as_str()).bind(micros(now)).fetch_all(c).await?);
    let candidate = |(user, id): (Uuid, Option<Uuid>)| {
        // All that this user has waiting may wait for something else.
        Some(Candidate { id: JobId::from_uuid(id?), user: UserId::from_uuid(user), lane })
    };
    Ok(rows.into_iter().filter_map(candidate).collect())
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
