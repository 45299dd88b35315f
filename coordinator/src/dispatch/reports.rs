//! The single way back: what an agent says becomes rows here. A batch of messages is one transaction, fenced by the
//! session's epoch; acknowledgements are answered to the caller, who sends them after the commit.

use super::DispatchError;
use crate::domain::Timestamp;
use crate::domain::container::{DesiredState, reconcile};
use crate::domain::image::PresenceState;
use crate::domain::job::{Job, on_finished, on_not_taken};
use crate::pki::Authority;
use crate::queue;
use crate::store::{self, Conn};
use dockerforge_protocol::ids::{HostId, JobId};
use dockerforge_protocol::inventory::Inventory;
use dockerforge_protocol::message::{FromAgent, ToAgent};
use dockerforge_protocol::report::{Attempt, Outcome, Refusal};

/// What a committed batch leads to.
#[derive(Default)]
pub(super) struct Effects {
    /// To be sent to the agent.
    pub(super) replies: Vec<ToAgent>,
    /// Jobs that changed.
    pub(super) changed: Vec<JobId>,
    /// Whether a job left the agent, so that another may be claimed.
    pub(super) freed: bool,
}

/// Carries out a batch of messages of one host's session.
pub(super) async fn apply(
    conn: &mut Conn,
    host: HostId,
    authority: &Authority,
    batch: Vec<FromAgent>,
    now: Timestamp,
) -> Result<Effects, DispatchError> {
    let mut effects = Effects::default();
    for message in batch {
        match message {
            // A second hello says nothing new; the session goes on as it was admitted.
            FromAgent::Hello(_) => {}
            FromAgent::Accepted { attempt } => {
                if own(conn, host, attempt).await?.is_some() && store::jobs::set_running(conn, attempt, now).await? {
                    effects.changed.push(attempt.job);
                }
            }
            FromAgent::NotTaken { attempt, refusal } => {
                not_taken(conn, host, attempt, &refusal, now, &mut effects).await?;
            }
            FromAgent::Progress { attempt, progress } => {
                if own(conn, host, attempt).await?.is_some() {
                    store::jobs::set_progress(conn, attempt, &progress).await?;
                    effects.changed.push(attempt.job);
                }
            }
            FromAgent::Log { attempt, offset, bytes } => log(conn, host, attempt, offset, &bytes, &mut effects).await?,
            FromAgent::Finished { attempt, outcome, .. } => {
                finished(conn, host, attempt, outcome, now, &mut effects).await?;
            }
            FromAgent::Inventory(inventory) => inventory_of(conn, host, &inventory, now).await?,
            FromAgent::Heartbeat(beat) => store::hosts::heard(conn, host, &beat, now).await?,
            FromAgent::Docker { docker } => store::hosts::set_docker(conn, host, docker.as_ref()).await?,
            FromAgent::Renew { csr } => {
                let issued = authority.issue_agent(&csr, host, now).map_err(DispatchError::Renew)?;
                store::enrolment::insert_certificate(conn, &issued.serial, host, issued.not_after, now).await?;
                effects.replies.push(ToAgent::Certificate { certificate: issued.certificate_pem });
            }
        }
    }
    effects.changed.dedup();
    Ok(effects)
}

/// The job of an attempt, if it is this host's: an agent changes nothing of another's.
async fn own(conn: &mut Conn, host: HostId, attempt: Attempt) -> Result<Option<Job>, DispatchError> {
    Ok(store::jobs::find(conn, attempt.job).await?.filter(|job| job.host == Some(host)))
}

async fn not_taken(
    conn: &mut Conn,
    host: HostId,
    attempt: Attempt,
    refusal: &Refusal,
    now: Timestamp,
    effects: &mut Effects,
) -> Result<(), DispatchError> {
    let Some(job) = own(conn, host, attempt).await? else { return Ok(()) };
    if queue::apply(conn, &job, on_not_taken(&job, attempt.number, refusal), now).await? {
        tracing::info!(job = %job.id, %host, ?refusal, "a job was not taken");
        effects.changed.push(job.id);
        effects.freed = true;
    }
    Ok(())
}

async fn finished(
    conn: &mut Conn,
    host: HostId,
    attempt: Attempt,
    outcome: Outcome,
    now: Timestamp,
    effects: &mut Effects,
) -> Result<(), DispatchError> {
    if let Some(job) = own(conn, host, attempt).await? {
        // Spread by the clock's microseconds: enough to keep retries of many hosts apart.
        let jitter = f64::from(now.subsec_microsecond()) / 1000.0;
        let decision = on_finished(&job, attempt.number, outcome, jitter);
        if queue::apply(conn, &job, decision, now).await? {
            effects.changed.push(job.id);
        }
    }
    // A repeat, or of a job that is not any more: acknowledged all the same, so that the agent forgets it.
    effects.freed = true;
    effects.replies.push(ToAgent::ResultAck { attempt });
    Ok(())
}

/// Appends a piece where the log ends. What is there already is trimmed off; a gap is not filled: the acknowledgement
/// says where the log ends, and the agent goes on from there.
async fn log(
    conn: &mut Conn,
    host: HostId,
    attempt: Attempt,
    offset: u64,
    bytes: &[u8],
    effects: &mut Effects,
) -> Result<(), DispatchError> {
    let extent = match own(conn, host, attempt).await? {
        Some(_) => store::logs::extent(conn, attempt).await?,
        None => None,
    };
    let Some((base, size)) = extent else {
        // Nobody wants this log any more.
        effects.replies.push(ToAgent::LogAck { attempt, upto: offset + bytes.len() as u64 });
        return Ok(());
    };
    let have = size.saturating_sub(base);
    let known = usize::try_from(have.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut upto = have;
    if offset <= have && known < bytes.len() && store::logs::append(conn, attempt, size, &bytes[known..]).await? {
        upto = offset + bytes.len() as u64;
        effects.changed.push(attempt.job);
    }
    effects.replies.push(ToAgent::LogAck { attempt, upto });
    Ok(())
}

/// A complete list of what is ours on the host: what it does not hold is not there.
async fn inventory_of(
    conn: &mut Conn,
    host: HostId,
    inventory: &Inventory,
    now: Timestamp,
) -> Result<(), DispatchError> {
    for container in store::containers::on_host(conn, host).await? {
        let seen = inventory.containers.iter().find(|seen| seen.container == container.id);
        if seen.is_none() && container.desired == DesiredState::Removed {
            // Its removal says so itself.
            continue;
        }
        if let Some(observed) = reconcile(&container.observed, seen, now) {
            store::containers::set_observed(conn, host, container.id, &observed).await?;
        }
    }
    for mut presence in store::images::on_host(conn, host).await? {
        let seen = inventory.images.iter().find(|seen| seen.image == presence.image);
        match (presence.state, seen) {
            (PresenceState::Present, None) => presence.state = PresenceState::Missing,
            (PresenceState::Missing, Some(seen)) => {
                presence.state = PresenceState::Present;
                presence.docker_id = Some(seen.docker_id.clone());
                presence.size = Some(seen.size);
            }
            _ => continue,
        }
        store::images::set_presence(conn, &presence).await?;
    }
    Ok(())
}
