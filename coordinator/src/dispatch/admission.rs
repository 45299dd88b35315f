//! Decides whether a connection becomes its host's session: one transaction that checks the identity, begins a new
//! epoch, and settles what the agent's journal and the queue say of each other.

use super::{DispatchError, Dispatcher, HEARTBEATS_PER_SECOND, reports};
use crate::domain::Kind;
use crate::domain::Timestamp;
use crate::domain::arrival::{Arrival, Arrived, arrive};
use crate::domain::event::Event;
use crate::domain::host::{AgentFacts, Host, HostState};
use crate::domain::job::{Decision, Job, JobState, on_hello};
use crate::pki::Peer;
use crate::queue;
use crate::store::{self, Conn};
use dockerforge_protocol::command::Command;
use dockerforge_protocol::handshake::{
    HeldState, Hello, JobVerdict, Refused, RefusedReason, Verdict, Version, Welcome,
};
use dockerforge_protocol::ids::JobId;
use dockerforge_protocol::message::Assign;
use dockerforge_protocol::report::Attempt;
use std::collections::HashMap;
use std::net::IpAddr;

/// Jobs that a hello may name: far more than an agent works on.
const MAX_HELD: usize = 4096;

/// What an admitted session begins with.
pub(super) struct Admitted {
    /// The answer to the hello.
    pub(super) welcome: Welcome,
    /// How many jobs the agent works on at a time.
    pub(super) slots: u32,
    /// What was assigned before and never reached the agent.
    pub(super) resend: Vec<Assign>,
    /// Jobs that changed.
    pub(super) changed: Vec<JobId>,
}

/// Admits a connection, or says why not.
pub(super) async fn admit(
    dispatcher: &Dispatcher,
    peer: Peer,
    from: IpAddr,
    hello: Hello,
    version: Version,
) -> Result<Admitted, Refused> {
    if hello.jobs.len() > MAX_HELD {
        return Err(refused(RefusedReason::Protocol, "a hello may name 4096 jobs"));
    }
    let shortest = u32::try_from(dispatcher.heartbeat.as_millis()).unwrap_or(5000);
    let admitted = dispatcher
        .store
        .write(move |conn| Box::pin(async move { decide(conn, &peer, from, &hello, version, shortest).await }))
        .await;
    match admitted {
        Ok(outcome) => outcome,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a session could not be admitted");
            Err(refused(RefusedReason::Unavailable, "the coordinator cannot serve now"))
        }
    }
}

fn refused(reason: RefusedReason, detail: &str) -> Refused {
    Refused { reason, detail: detail.to_owned() }
}

async fn decide(
    conn: &mut Conn,
    peer: &Peer,
    from: IpAddr,
    hello: &Hello,
    version: Version,
    shortest: u32,
) -> Result<Result<Admitted, Refused>, DispatchError> {
    let now = crate::clock::now();
    let facts = AgentFacts {
        hostname: reports::clean_name(&hello.hostname),
        agent_version: reports::clean_name(&hello.agent_version),
        instance: hello.instance,
        boot_id: reports::clean_name(&hello.boot_id),
        slots: hello.slots.clamp(1, 256),
        capacity: hello.capacity,
        docker: hello.docker.as_ref().map(reports::clean_docker),
    };
    // An enrolment that revokes this identity is seen here, or sees this session.
    store::hosts::hold_alone(conn, peer.host).await?;
    let Some(before) = store::hosts::find(conn, peer.host).await? else {
        return Ok(Err(refused(RefusedReason::Revoked, "this host was deleted")));
    };
    if !store::enrolment::certificate_is_good(conn, &peer.serial, peer.host).await? {
        return Ok(Err(refused(
            RefusedReason::Revoked,
            "this host was deleted, or enrolled anew from another machine",
        )));
    }
    if let Some(reason) = conflict(conn, &before, &facts, from, now).await? {
        return Ok(Err(refused(RefusedReason::Conflict, &reason)));
    }
    let Some(epoch) = store::hosts::begin_session(conn, peer.host, &facts, now).await? else {
        return Ok(Err(refused(RefusedReason::Revoked, "this host was deleted")));
    };
    if before.state != HostState::Online {
        let event =
            Event { user: before.user, kind: "host.online", resource: Kind::Host, id: peer.host.uuid(), detail: None };
        store::records::event(conn, &event, now).await?;
    }
    let (verdicts, resend, changed) = compare(conn, peer, hello, now).await?;
    let online = store::hosts::count_online(conn).await?;
    let spread = u32::try_from(online.saturating_mul(1000) / HEARTBEATS_PER_SECOND).unwrap_or(u32::MAX);
    let welcome = Welcome {
        version,
        coordinator_version: env!("CARGO_PKG_VERSION").to_owned(),
        epoch,
        heartbeat_ms: shortest.max(spread),
        jobs: verdicts,
    };
    Ok(Ok(Admitted { welcome, slots: facts.slots, resend, changed }))
}

/// Why no machine is let in with this host's identity, if so: it was copied.
async fn conflict(
    conn: &mut Conn,
    host: &Host,
    facts: &AgentFacts,
    from: IpAddr,
    now: Timestamp,
) -> Result<Option<String>, DispatchError> {
    match host.state {
        HostState::Conflict => return Ok(host.unusable()),
        // What is left on it is to go, whichever machine it is.
        HostState::Deleting => return Ok(None),
        HostState::Pending | HostState::Online | HostState::Unreachable => {}
    }
    let (instance, boot_id, hostname) = (facts.instance, facts.boot_id.clone(), facts.hostname.clone());
    let known = store::hosts::arrivals(conn, host.id).await?;
    match arrive(&known, Arrival { instance, boot_id, hostname, from, at: now }) {
        Arrived::Same => Ok(None),
        Arrived::Other(arrivals) => {
            store::hosts::set_arrivals(conn, host.id, &arrivals).await?;
            Ok(None)
        }
        Arrived::Copied(reason) => {
            store::hosts::set_conflict(conn, host.id, &reason).await?;
            let (user, id, detail) = (host.user, host.id.uuid(), Some(reason.clone()));
            let event = Event { user, kind: "host.conflict", resource: Kind::Host, id, detail };
            store::records::event(conn, &event, now).await?;
            queue::examine(conn, host.id, now).await?;
            tracing::error!(host = %host.id, reason, "a host is in conflict");
            Ok(Some(reason))
        }
    }
}

/// What the journal holds, against what the queue has given out.
async fn compare(
    conn: &mut Conn,
    peer: &Peer,
    hello: &Hello,
    now: Timestamp,
) -> Result<(Vec<JobVerdict>, Vec<Assign>, Vec<JobId>), DispatchError> {
    let held: HashMap<Attempt, HeldState> = hello.jobs.iter().map(|job| (job.attempt, job.state)).collect();
    let mut verdicts: HashMap<Attempt, Verdict> = HashMap::new();
    let (mut resend, mut changed) = (Vec::new(), Vec::new());
    for job in store::jobs::active_on_host(conn, peer.host).await? {
        let state = held.get(&job.current()).copied();
        let (verdict, decision) = on_hello(&job, state);
        if state.is_some() {
            verdicts.insert(job.current(), verdict);
        } else if job.state == JobState::Assigned && decision == Decision::Ignore {
            resend.extend(assignment(&job));
        }
        if queue::apply(conn, &job, decision, now).await? {
            changed.push(job.id);
        }
    }
    // What is not among this host's unfinished jobs is over, or was never its own.
    let verdict = |attempt| verdicts.get(&attempt).copied().unwrap_or(Verdict::Forget);
    let verdicts = held.into_keys().map(|attempt| JobVerdict { attempt, verdict: verdict(attempt) }).collect();
    Ok((verdicts, resend, changed))
}

/// The message that gives a job's current attempt to its agent.
pub(super) fn assignment(job: &Job) -> Option<Assign> {
    let command = job.command.clone()?;
    let limit = match &command {
        Command::ExecContainer(exec) => u64::from(exec.limit_s) * 1000,
        Command::ConvergeContainer(converge) => u64::from(converge.limit_s) * 1000,
        command => {
            let making = u64::try_from(job.kind.time_limit().as_millis()).unwrap_or(u64::MAX);
            let converging = command.convergence().map_or(0, |convergence| u64::from(convergence.limit_s) * 1000);
            making.saturating_add(converging)
        }
    };
    Some(Assign { attempt: job.current(), command, deadline_ms: limit })
}
