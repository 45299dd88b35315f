//! The single way back: what an agent says becomes rows here. A batch of messages is one transaction, fenced by the
//! session's epoch; acknowledgements are answered to the caller, who sends them after the commit.

use super::DispatchError;
use crate::domain::Timestamp;
use crate::domain::container::{DesiredState, INVENTORY_RACE, reconcile};
use crate::domain::image::PresenceState;
use crate::domain::job::{Decision, Job, on_finished, on_not_taken};
use crate::metrics;
use crate::pki::Authority;
use crate::queue;
use crate::store::{self, Conn};
use dockerforge_protocol::codec::MAX_LOG_CHUNK;
use dockerforge_protocol::ids::{ContainerId, HostId, ImageId, JobId};
use dockerforge_protocol::inventory::{DockerInfo, Inventory, ObservedContainer, ObservedImage};
use dockerforge_protocol::message::{FromAgent, ToAgent};
use dockerforge_protocol::report::{Attempt, MAX_RESOURCES, Outcome, Product, Refusal};
use jiff::SignedDuration;
use std::collections::HashMap;

/// Bytes that are kept of a name that an agent reports.
const NAME: usize = 255;
/// Bytes that are kept of the name of a step.
const STEP: usize = 256;
/// Bytes that are kept of an explanation.
const DETAIL: usize = 4096;
/// Ports that are kept of a container.
const MAX_PORTS: usize = 128;

/// A text of an agent's as it is kept: without NUL, which PostgreSQL cannot store, and of a bounded size.
fn clean(text: &str, limit: usize) -> String {
    let end = (0..=limit.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    text[..end].replace('\0', "\u{fffd}")
}

/// As [`clean`], of a name.
pub(super) fn clean_name(text: &str) -> String {
    clean(text, NAME)
}

/// As [`clean`], of what an agent says of its Docker.
pub(super) fn clean_docker(docker: &DockerInfo) -> DockerInfo {
    DockerInfo {
        version: clean_name(&docker.version),
        api_version: clean_name(&docker.api_version),
        platform: clean_name(&docker.platform),
    }
}

/// As [`clean`], of how an attempt ended.
fn clean_outcome(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Failed { mut failure } => {
            failure.detail = clean(&failure.detail, DETAIL);
            Outcome::Failed { failure }
        }
        Outcome::Succeeded { product: Product::Container { docker_id } } => {
            Outcome::Succeeded { product: Product::Container { docker_id: clean_name(&docker_id) } }
        }
        Outcome::Succeeded { product: Product::Image { docker_id, size } } => {
            Outcome::Succeeded { product: Product::Image { docker_id: clean_name(&docker_id), size } }
        }
        Outcome::Succeeded { product: Product::Pushed { digest } } => {
            Outcome::Succeeded { product: Product::Pushed { digest: clean_name(&digest) } }
        }
        Outcome::Succeeded { product: Product::Converged { mut resources } } => {
            resources.truncate(MAX_RESOURCES);
            for outcome in &mut resources {
                outcome.resource = clean_name(&outcome.resource);
                outcome.detail = clean(&outcome.detail, DETAIL);
            }
            Outcome::Succeeded { product: Product::Converged { resources } }
        }
        Outcome::Succeeded { .. } | Outcome::Cancelled => outcome,
    }
}

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
            // A second hello says nothing new; the session goes on as it was admitted. Streams are the hub's.
            FromAgent::Hello(_)
            | FromAgent::StreamOpened { .. }
            | FromAgent::StreamRefused { .. }
            | FromAgent::StreamData { .. }
            | FromAgent::StreamCredit { .. }
            | FromAgent::StreamEnd { .. } => {}
            FromAgent::Accepted { attempt } => {
                if let Some(job) = own(conn, host, attempt).await?
                    && job.attempt == attempt.number
                    && queue::apply(conn, &job, Decision::Run, now).await?
                {
                    effects.changed.push(attempt.job);
                }
            }
            FromAgent::NotTaken { attempt, refusal } => {
                not_taken(conn, host, attempt, &refusal, now, &mut effects).await?;
            }
            FromAgent::Progress { attempt, mut progress } => {
                progress.step = clean(&progress.step, STEP);
                progress.percent = progress.percent.map(|percent| percent.min(100));
                if own(conn, host, attempt).await?.is_some() {
                    store::jobs::set_progress(conn, attempt, &progress).await?;
                    effects.changed.push(attempt.job);
                }
            }
            FromAgent::Log { bytes, .. } if bytes.len() > MAX_LOG_CHUNK => return Err(DispatchError::Protocol),
            FromAgent::Log { attempt, offset, bytes } => log(conn, host, attempt, offset, &bytes, &mut effects).await?,
            FromAgent::Finished { attempt, outcome, .. } => {
                finished(conn, host, attempt, outcome, now, &mut effects).await?;
            }
            FromAgent::Inventory(inventory) => inventory_of(conn, host, &inventory, now).await?,
            FromAgent::Heartbeat(beat) => {
                store::hosts::heard(conn, host, &beat, now).await?;
                queue::examine(conn, host, now).await?;
            }
            FromAgent::Docker { docker } => {
                store::hosts::set_docker(conn, host, docker.as_ref().map(clean_docker).as_ref()).await?;
            }
            FromAgent::Renew { csr } => {
                // Once an hour is far more than an agent needs, and bounds what one can make us sign.
                let hour = now.checked_sub(SignedDuration::from_hours(1)).unwrap_or(now);
                if store::enrolment::issued_since(conn, host, hour).await? {
                    continue;
                }
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
    Ok(store::jobs::hold(conn, attempt.job).await?.filter(|job| job.host == Some(host)))
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
        let decision = on_finished(&job, attempt.number, clean_outcome(outcome), jitter);
        let stale = decision == Decision::Ignore;
        if queue::apply(conn, &job, decision, now).await? {
            effects.changed.push(job.id);
        } else if !stale {
            // It changed under the decision: the agent says it again, and it is decided anew.
            return Ok(());
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
        effects.replies.push(ToAgent::LogAck { attempt, upto: offset.saturating_add(bytes.len() as u64) });
        return Ok(());
    };
    let have = size.saturating_sub(base);
    let known = usize::try_from(have.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut upto = have;
    if offset <= have && known < bytes.len() && store::logs::append(conn, attempt, size, &bytes[known..]).await? {
        upto = offset + bytes.len() as u64;
        metrics::job_logged(upto - have);
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
    let listed: HashMap<ContainerId, &ObservedContainer> =
        inventory.containers.iter().map(|seen| (seen.container, seen)).collect();
    for (container, desired, known) in store::containers::observed_on_host(conn, host).await? {
        let seen = listed.get(&container).copied();
        if seen.is_none() && desired == DesiredState::Removed {
            // Its removal says so itself.
            continue;
        }
        if let Some(mut observed) = reconcile(&known, seen, now) {
            observed.docker_id = observed.docker_id.map(|id| clean_name(&id));
            observed.ports.truncate(MAX_PORTS);
            store::containers::set_observed(conn, host, container, &observed).await?;
        }
    }
    let images: HashMap<ImageId, &ObservedImage> = inventory.images.iter().map(|seen| (seen.image, seen)).collect();
    for mut presence in store::images::on_host(conn, host).await? {
        let seen = images.get(&presence.image).copied();
        match (presence.state, seen) {
            // An inventory that was read before the image was made does not make it missing.
            (PresenceState::Present, None) if now.duration_since(presence.changed_at) < INVENTORY_RACE => continue,
            (PresenceState::Present, None) => presence.state = PresenceState::Missing,
            (PresenceState::Missing | PresenceState::Failed, Some(seen)) => {
                presence.state = PresenceState::Present;
                presence.docker_id = Some(clean_name(&seen.docker_id));
                presence.size = Some(seen.size);
            }
            _ => continue,
        }
        presence.changed_at = now;
        store::images::set_presence(conn, &presence).await?;
    }
    Ok(())
}
