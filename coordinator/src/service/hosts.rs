//! Hosts: registering one, its join token, taking it out of service.

use super::idempotency::{self, Key};
use super::{Result, Services, as_seen, once, random};
use crate::access::{Administer, Permit, Read, Write};
use crate::domain::host::{Host, HostState};
use crate::domain::job::{Ending, HOST_DELETED, JobError, JobKind, JobState, Subject};
use crate::domain::page::{Found, Page};
use crate::domain::precondition::Precondition;
use crate::domain::quota::{Amounts, Counted};
use crate::domain::{Kind, Refusal, Timestamp};
use crate::queue::{self, Request};
pub use crate::store::hosts::Filter;
use crate::store::{self, Conn};
use dockerforge_protocol::enrolment::JoinToken;
use dockerforge_protocol::ids::{HostId, JobId, JoinTokenId};
use dockerforge_protocol::report::Product;
use dockerforge_protocol::spec::{Labels, ResourceName};
use jiff::SignedDuration;
use secrecy::SecretString;

/// How long a join token is good.
pub const TOKEN_LIFE: SignedDuration = SignedDuration::from_mins(15);

/// A host to be registered.
#[derive(Clone)]
pub struct NewHost {
    /// Its name.
    pub name: ResourceName,
    /// Its labels.
    pub labels: Labels,
    /// Whether containers of all users are placed on it. Only with leave to administer, for an administrator himself.
    pub pool: Option<Permit<Administer>>,
}

/// What is to change of a host; what is absent stays.
#[derive(Clone, Default)]
pub struct HostChange {
    /// Its labels, all of them.
    pub labels: Option<Labels>,
    /// Whether it takes nothing new.
    pub draining: Option<bool>,
}

/// What makes a machine this host.
pub struct Join {
    /// The token in full.
    pub token: SecretString,
    /// When it stops being good.
    pub expires_at: Timestamp,
}

impl Services {
    /// Registers a host.
    pub async fn host_create(&self, permit: &Permit<Write>, key: Option<&Key>, new: NewHost) -> Result<(Host, Join)> {
        if new.pool.is_some() && permit.origin().actor != permit.user() {
            return Err(Refusal::invalid("/pool", "a pool host is an administrator's own: act for nobody else").into());
        }
        let token = self.fresh_token()?;
        let taken = new.name.clone();
        let result = once!({
            let (permit, key, new, token) = (permit.clone(), key.cloned(), new.clone(), token.clone());
            self.store
                .write(move |conn| Box::pin(async move { create(conn, &permit, key.as_ref(), new, token).await }))
                .await
        });
        result.map_err(|e| e.naming(&taken))
    }

    /// A fresh join token for a host that has no working agent.
    pub async fn host_token(&self, permit: &Permit<Write>, key: Option<&Key>, id: HostId) -> Result<Join> {
        let token = self.fresh_token()?;
        once!({
            let (permit, key, token) = (permit.clone(), key.cloned(), token.clone());
            self.store
                .write(move |conn| Box::pin(async move { join_again(conn, &permit, key.as_ref(), id, token).await }))
                .await
        })
    }

    fn fresh_token(&self) -> Result<JoinToken> {
        Ok(JoinToken { id: JoinTokenId::new(), secret: random()?, ca_pin: self.authority.pin() })
    }

    /// One host.
    pub async fn host_get(&self, permit: &Permit<Read>, id: HostId) -> Result<Host> {
        store::hosts::get(&mut self.store.read().await?, permit.user(), id)
            .await?
            .ok_or_else(|| Refusal::NotFound(Kind::Host).into())
    }

    /// A page of hosts.
    pub async fn host_list(&self, permit: &Permit<Read>, filter: &Filter, page: Page) -> Result<Found<Host>> {
        Ok(store::hosts::list(&mut self.store.read().await?, permit.user(), filter, page).await?)
    }

    /// Changes a host's labels, and whether it drains.
    pub async fn host_update(
        &self,
        permit: &Permit<Write>,
        id: HostId,
        change: HostChange,
        seen: &Precondition,
    ) -> Result<Host> {
        let (permit, seen) = (permit.clone(), seen.clone());
        let host = self
            .store
            .write(move |conn| Box::pin(async move { update(conn, &permit, id, change, &seen).await }))
            .await?;
        // What waited while it drained.
        self.signals.wake_host(id);
        Ok(host)
    }

    /// Takes a host out of service: what is ours on it goes, then its identity. With `force` nothing is asked of it, and
    /// what is on it stays there.
    pub async fn host_delete(
        &self,
        permit: &Permit<Write>,
        id: HostId,
        force: bool,
        seen: &Precondition,
    ) -> Result<JobId> {
        let (permit, seen) = (permit.clone(), seen.clone());
        let deleted = self
            .store
            .write(move |conn| Box::pin(async move { delete(conn, &permit, id, force, &seen).await }))
            .await?;
        if deleted.revoked {
            (self.revoked)(id);
        }
        for job in deleted.changed {
            self.signals.job_changed(job);
        }
        self.signals.wake_host(id);
        self.signals.wake_conductor();
        Ok(deleted.job)
    }
}

async fn create(
    conn: &mut Conn,
    permit: &Permit<Write>,
    key: Option<&Key>,
    new: NewHost,
    token: JoinToken,
) -> Result<(Host, Join)> {
    let now = crate::clock::now();
    let user = permit.user();
    let host = Host {
        id: HostId::new(),
        user,
        name: new.name,
        state: HostState::Pending,
        labels: new.labels,
        created_at: now,
        enrolled_at: None,
        last_seen_at: None,
        agent: None,
        session_epoch: 0,
        docker_ping_age_ms: None,
        usage: None,
        certificate_ends_at: None,
        clock_offset_ms: None,
        faults: Vec::new(),
        conflict: None,
        pool: new.pool.is_some(),
        draining: false,
        revision: 1,
    };
    let text = token.reveal();
    if let Some(replay) = idempotency::begin(conn, user, key, Kind::Host, host.id.uuid(), Some(&text), now).await? {
        let host =
            store::hosts::get(conn, user, HostId::from_uuid(replay.id)).await?.ok_or(Refusal::NotFound(Kind::Host))?;
        let expires_at = host.created_at.checked_add(TOKEN_LIFE).unwrap_or(now);
        return Ok((host, Join { token: replay.secret.unwrap_or_default().into(), expires_at }));
    }
    queue::admit(conn, user, |_| Ok(Amounts::of(&[(Counted::Hosts, 1)]))).await?;
    store::hosts::insert(conn, &host).await?;
    let expires_at = now.checked_add(TOKEN_LIFE).unwrap_or(now);
    store::enrolment::insert_token(conn, token.id, host.id, &token.secret_hash(), now, expires_at).await?;
    store::records::audit(conn, permit.origin(), "host.create", Kind::Host, host.id.uuid(), now).await?;
    Ok((host, Join { token: text.into(), expires_at }))
}

async fn update(
    conn: &mut Conn,
    permit: &Permit<Write>,
    id: HostId,
    change: HostChange,
    seen: &Precondition,
) -> Result<Host> {
    let now = crate::clock::now();
    // Of two changes at once neither undoes the other's.
    store::hosts::hold_alone(conn, id).await?;
    let mut host = store::hosts::get(conn, permit.user(), id).await?.ok_or(Refusal::NotFound(Kind::Host))?;
    seen.check(Kind::Host, Some(host.revision))?;
    if host.state == HostState::Deleting {
        return Err(Refusal::BeingDeleted(Kind::Host).into());
    }
    host.labels = change.labels.unwrap_or(host.labels);
    host.draining = change.draining.unwrap_or(host.draining);
    store::hosts::update(conn, &host).await?;
    host.revision += 1;
    store::records::audit(conn, permit.origin(), "host.update", Kind::Host, id.uuid(), now).await?;
    Ok(host)
}

async fn join_again(
    conn: &mut Conn,
    permit: &Permit<Write>,
    key: Option<&Key>,
    id: HostId,
    token: JoinToken,
) -> Result<Join> {
    let now = crate::clock::now();
    let expires_at = now.checked_add(TOKEN_LIFE).unwrap_or(now);
    let text = token.reveal();
    if let Some(replay) = idempotency::begin(conn, permit.user(), key, Kind::Host, id.uuid(), Some(&text), now).await? {
        return Ok(Join { token: replay.secret.unwrap_or_default().into(), expires_at });
    }
    let host = store::hosts::get(conn, permit.user(), id).await?.ok_or(Refusal::NotFound(Kind::Host))?;
    match host.state {
        HostState::Online => return Err(Refusal::HostConnected(id).into()),
        HostState::Deleting => return Err(Refusal::BeingDeleted(Kind::Host).into()),
        HostState::Pending | HostState::Unreachable | HostState::Conflict => {}
    }
    store::enrolment::insert_token(conn, token.id, id, &token.secret_hash(), now, expires_at).await?;
    store::records::audit(conn, permit.origin(), "host.token", Kind::Host, id.uuid(), now).await?;
    Ok(Join { token: text.into(), expires_at })
}

struct Deleted {
    job: JobId,
    changed: Vec<JobId>,
    revoked: bool,
}

async fn delete(
    conn: &mut Conn,
    permit: &Permit<Write>,
    id: HostId,
    force: bool,
    seen: &Precondition,
) -> Result<Deleted> {
    let now = crate::clock::now();
    let user = permit.user();
    as_seen(conn, user, Kind::Host, id.uuid(), seen).await?;
    store::hosts::get(conn, user, id).await?.ok_or(Refusal::NotFound(Kind::Host))?;
    let under_way = store::jobs::open_about(conn, Subject::Host(id)).await?;
    let known = under_way.iter().find(|job| job.kind == JobKind::HostDelete);
    if let Some(job) = known.filter(|_| !force) {
        return Ok(Deleted { job: job.id, changed: Vec::new(), revoked: false });
    }
    store::hosts::mark_deleting(conn, id).await?;
    let job = if let Some(job) = known {
        job.id
    } else {
        let subject = Subject::Host(id);
        let request = Request {
            id: JobId::new(),
            user,
            work: None,
            parent: None,
            kind: JobKind::HostDelete,
            subject,
            wait: None,
        };
        queue::enqueue(conn, request, now).await?
    };
    let mut changed = vec![job];
    for open in store::jobs::open_on_host(conn, id).await? {
        changed.push(open.id);
        if force {
            let error = JobError::new(HOST_DELETED, "its host was deleted without asking it");
            queue::settle(conn, &open, &Ending::Failed { error, confirmed: true }, now).await?;
        } else if open.kind.creates() && open.state == JobState::Queued {
            queue::settle(conn, &open, &Ending::Cancelled { confirmed: open.is_untouched() }, now).await?;
        } else if open.kind.creates() {
            store::jobs::set_cancelling(conn, open.id, now).await?;
        }
    }
    if force {
        for container in store::containers::on_host(conn, id).await? {
            store::containers::remove(conn, container.id).await?;
        }
        store::enrolment::revoke_certificates(conn, id, now).await?;
        store::hosts::remove(conn, id).await?;
        if let Some(job) = store::jobs::find(conn, job).await? {
            queue::settle(conn, &job, &Ending::Succeeded(Product::Nothing), now).await?;
        }
    }
    store::records::audit(conn, permit.origin(), "host.delete", Kind::Host, id.uuid(), now).await?;
    Ok(Deleted { job, changed, revoked: force })
}
