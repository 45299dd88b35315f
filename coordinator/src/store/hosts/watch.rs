//! Hosts as those see them who run the coordinator: how many, and what is wrong with them.

use super::super::rows::{document, json, time, unsigned, word};
use super::super::{Conn, StoreError, micros, on};
use super::HostRow;
use crate::domain::diagnosis::{Fault, Known};
use crate::domain::host::{Host, HostState};
use dockerforge_protocol::ids::HostId;
use std::collections::BTreeMap;

/// Faults as they are kept: names and microseconds.
type Document = BTreeMap<String, i64>;

pub(super) fn faults(text: &str) -> Result<Vec<Known>, StoreError> {
    let stored: Document = json("hosts.faults", text)?;
    // A fault that this version does not know is forgotten.
    let stored = stored.into_iter().filter_map(|(name, since)| Some((Fault::parse(&name)?, since)));
    stored.map(|(fault, since)| Ok(Known { fault, since: time("hosts.faults", since)? })).collect()
}

/// Keeps which faults of a host are known.
pub async fn set_faults(conn: &mut Conn, id: HostId, known: &[Known]) -> Result<(), StoreError> {
    let stored: Document = known.iter().map(|k| (k.fault.as_str().to_owned(), micros(k.since))).collect();
    on!(conn, |c| sqlx::query("UPDATE hosts SET faults = $2 WHERE id = $1")
        .bind(id.uuid())
        .bind(document(&stored))
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}

/// How many hosts of all users are in each state.
pub async fn count_by_state(conn: &mut Conn) -> Result<Vec<(HostState, u64)>, StoreError> {
    let rows: Vec<(String, i64)> =
        on!(conn, |c| sqlx::query_as(concat!("SELECT ", state!(), " AS shown, COUNT(*) FROM hosts GROUP BY shown"))
            .fetch_all(c)
            .await?);
    rows.into_iter()
        .map(|(state, count)| {
            Ok((word("hosts.state", &state, HostState::parse(&state))?, unsigned("hosts.count", count)?))
        })
        .collect()
}

/// The oldest hosts of all users, for those who run the coordinator; never for a user's request.
pub async fn oldest(conn: &mut Conn, limit: u32) -> Result<Vec<Host>, StoreError> {
    let rows: Vec<HostRow> =
        on!(conn, |c| sqlx::query_as(select!("ORDER BY id LIMIT $1")).bind(i64::from(limit)).fetch_all(c).await?);
    rows.into_iter().map(Host::try_from).collect()
}
