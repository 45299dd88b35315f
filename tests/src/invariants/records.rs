//! What has to hold in the database of a cluster under test, as no answer of the API shows it: each check is a query that
//! finds what breaks an invariant, and finds nothing.

use super::FOLLOWS;
use crate::{
    backend::{Backend, Reader},
    cluster::Cluster,
};
use std::collections::BTreeMap;

/// The invariant, and a query for whatever breaks it. `{id:x}` stands for the column x, an id, as text.
const BREACHES: [(&str, &str); 11] = [
    (
        "I2, I8: a job that has ended, ended once",
        "SELECT {id:j.id} FROM jobs j WHERE j.ended_at IS NOT NULL AND 1 <> (SELECT COUNT(*) FROM events e \
         WHERE e.resource_kind = 'job' AND e.resource_id = j.id AND e.kind IN ('job.succeeded', 'job.failed', 'job.cancelled'))",
    ),
    (
        "I11: what an Idempotency-Key stands for is there once",
        "SELECT {id:i.resource_id} FROM idempotency i WHERE i.resource_kind = 'job' \
         AND 1 <> (SELECT COUNT(*) FROM jobs j WHERE j.id = i.resource_id AND j.user_id = i.user_id)",
    ),
    (
        "I12: each piece of a log begins where the one before it ends, the first at 0",
        "SELECT {id:p.job_id} FROM (SELECT job_id, position, COALESCE(LAG(position + LENGTH(bytes)) \
         OVER (PARTITION BY job_id ORDER BY position), 0) AS due FROM job_logs) p WHERE p.position <> p.due",
    ),
    (
        "I12: a log is as long as its job says",
        "SELECT {id:j.id} FROM jobs j WHERE j.log_removed_at IS NULL AND j.log_size <> \
         COALESCE((SELECT MAX(l.position + LENGTH(l.bytes)) FROM job_logs l WHERE l.job_id = j.id), 0)",
    ),
    (
        "I14: a container is on a host and of an image of its own user's, or of one for all",
        "SELECT {id:c.id} FROM containers c JOIN hosts h ON h.id = c.host_id JOIN images i ON i.id = c.image_id \
         WHERE (h.user_id <> c.user_id AND NOT h.pool) OR (i.user_id <> c.user_id AND NOT i.public)",
    ),
    (
        "I14: a job about a container is its user's",
        "SELECT {id:j.id} FROM jobs j JOIN containers c ON c.id = j.subject_id WHERE j.user_id <> c.user_id",
    ),
    (
        "I15: a job about a container that never moved is done on the container's host",
        "SELECT {id:j.id} FROM jobs j JOIN containers c ON c.id = j.subject_id WHERE j.host_id <> c.host_id \
         AND NOT EXISTS (SELECT 1 FROM jobs m WHERE m.subject_id = c.id AND m.kind = 'container.move')",
    ),
    (
        "I15: what was asked last of a container that moved is done where it is, or belongs to the move",
        "SELECT {id:j.id} FROM jobs j JOIN containers c ON c.id = j.subject_id \
         WHERE j.host_id <> c.host_id AND j.ended_at IS NULL AND j.kind <> 'container.exec' AND NOT EXISTS \
         (SELECT 1 FROM jobs m WHERE m.id = j.parent_id AND m.kind = 'container.move')",
    ),
    (
        "I5: a container is on its way as long as the job that moves it",
        "SELECT {id:m.job_id} FROM moves m JOIN jobs j ON j.id = m.job_id WHERE j.ended_at IS NOT NULL",
    ),
    (
        "I15: an image is on hosts of its own user's, or on those that users share, or is for all",
        "SELECT {id:i.id} FROM image_hosts a JOIN images i ON i.id = a.image_id JOIN hosts h ON h.id = a.host_id \
         WHERE h.user_id <> i.user_id AND NOT h.pool AND NOT i.public",
    ),
    (
        "I17: no key has redeemed the join tokens of two hosts",
        "SELECT {id:a.host_id} FROM join_tokens a JOIN join_tokens b ON a.used_by = b.used_by AND a.host_id <> b.host_id",
    ),
];

/// Each query in the words of one database.
fn in_words_of(backend: Backend, query: &str) -> String {
    let mut parts = query.split('{');
    let mut sql = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (what, rest) = part.split_once('}').expect("a brace is closed");
        let (kind, column) = what.split_once(':').expect("a kind and a column");
        sql += &match (kind, backend) {
            ("id", Backend::Sqlite) => format!("LOWER(HEX({column}))"),
            ("id", Backend::Postgres) => format!("REPLACE(CAST({column} AS TEXT), '-', '')"),
            _ => column.to_owned(),
        };
        sql += rest;
    }
    sql
}

/// I2, I8, I10, I11, I12, I14, I15 and I17, as far as the database shows them.
///
/// # Panics
/// Naming the invariant that does not hold.
pub async fn hold(cluster: &Cluster) {
    let mut reader = cluster.database().reader(&cluster.data()).await;
    for (invariant, query) in BREACHES {
        let found = reader.texts(&in_words_of(reader.backend(), query)).await;
        assert!(found.is_empty(), "{invariant}: {found:?}");
    }
    transitions(&mut reader).await;
}

/// I10: the states of each job follow each other as they may, by its events.
async fn transitions(reader: &mut Reader) {
    let query = "SELECT {id:resource_id} || ' ' || kind FROM events WHERE resource_kind = 'job' ORDER BY id";
    let mut states: BTreeMap<String, String> = BTreeMap::new();
    for line in reader.texts(&in_words_of(reader.backend(), query)).await {
        let (job, kind) = line.split_once(' ').expect("an id and a kind");
        let state = kind.trim_start_matches("job.");
        let Some(before) = states.insert(job.to_owned(), state.to_owned()) else { continue };
        let allowed = FOLLOWS.iter().find(|(from, _)| *from == before).is_some_and(|(_, next)| next.contains(&state));
        assert!(allowed || before == state, "I10: {job} became {state} after {before}");
    }
}
