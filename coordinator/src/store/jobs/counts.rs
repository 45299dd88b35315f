//! The queue in figures, for those who run the coordinator.

use super::super::rows::{time, unsigned, word};
use super::super::{Conn, StoreError, on};
use crate::domain::Timestamp;
use crate::domain::job::{JobKind, JobState};

/// How many unfinished jobs of one kind are in one state.
pub struct Open {
    /// Of this kind.
    pub kind: JobKind,
    /// In this state.
    pub state: JobState,
    /// So many.
    pub count: u64,
    /// When the oldest of them was asked for.
    pub oldest: Timestamp,
}

/// The unfinished jobs of all users, counted.
pub async fn count_by_kind(conn: &mut Conn) -> Result<Vec<Open>, StoreError> {
    let rows: Vec<(String, String, i64, i64)> = on!(conn, |c| sqlx::query_as(
        "SELECT kind, state, COUNT(*), MIN(created_at) FROM jobs WHERE ended_at IS NULL GROUP BY kind, state"
    )
    .fetch_all(c)
    .await?);
    rows.into_iter()
        .map(|(kind, state, count, oldest)| {
            Ok(Open {
                kind: word("jobs.kind", &kind, JobKind::parse(&kind))?,
                state: word("jobs.state", &state, JobState::parse(&state))?,
                count: unsigned("jobs.count", count)?,
                oldest: time("jobs.created_at", oldest)?,
            })
        })
        .collect()
}
