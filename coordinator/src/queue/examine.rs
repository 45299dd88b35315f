//! Looks at one host and tells what is newly wrong with it and what no longer is. Called in the transaction of what may
//! have changed that: a heartbeat, a silence, a conflict.

use super::QueueError;
use crate::domain::diagnosis::{compare, diagnose};
use crate::domain::event::Event;
use crate::domain::{Kind, Timestamp};
use crate::store::{self, Conn};
use dockerforge_protocol::ids::HostId;

/// Notes what began and what ended, each with an event to the host's owner.
pub async fn examine(conn: &mut Conn, id: HostId, now: Timestamp) -> Result<(), QueueError> {
    let Some(host) = store::hosts::find(conn, id).await? else { return Ok(()) };
    let found = diagnose(&host, now, env!("CARGO_PKG_VERSION"));
    let (begun, ended, known) = compare(&host.faults, &found, now);
    if begun.is_empty() && ended.is_empty() {
        return Ok(());
    }
    store::hosts::set_faults(conn, id, &known).await?;
    let told = begun.into_iter().map(|new| ("host.diagnosed", format!("{}: {}", new.fault.as_str(), new.detail)));
    let over = ended.into_iter().map(|fault| ("host.recovered", fault.as_str().to_owned()));
    for (kind, detail) in told.chain(over) {
        tracing::info!(host = %id, detail, "{kind}");
        let event = Event { user: host.user, kind, resource: Kind::Host, id: id.uuid(), detail: Some(detail) };
        store::records::event(conn, &event, now).await?;
    }
    Ok(())
}
