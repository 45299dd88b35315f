//! Containers: asking for one in one transaction with its job, seeing them, and removing them.

use super::grants::{self, Consumer, Wish};
use super::idempotency::{self, Key};
use super::launch::Launch;
use super::placement::{self, Placed};
use super::supplies::{self, SecretValue};
use super::{Result, Services, as_seen, host_access, links, once};
use crate::access::{Permit, Read, Write};
use crate::domain::container::{Container, DesiredState, Observed, port_conflict};
use crate::domain::converge::Owed;
use crate::domain::grant::Grant;
use crate::domain::host::is_silent;
use crate::domain::host_access::{audited, may_ask, may_be_on};
use crate::domain::job::{Ending, Job, JobKind, JobState, Subject};
use crate::domain::page::{Found, Page};
use crate::domain::placement::{Place, PoolRules, hardening};
use crate::domain::precondition::Precondition;
use crate::domain::{Kind, Refusal, Violation, quota};
use crate::queue::{self, Request};
pub use crate::store::containers::Filter;
use crate::store::{self, Conn};
use crate::vault::Vault;
use dockerforge_protocol::command::{Command, CreateContainer, RemoveContainer};
use dockerforge_protocol::ids::{ContainerId, HostId, ImageId, JobId, UserId};
use dockerforge_protocol::report::Product;
use dockerforge_protocol::spec::{ContainerSpec, HostNamespace, ResourceName};
use jiff::SignedDuration;

/// A container to be made.
#[derive(Clone)]
pub struct NewContainer {
    /// Its name.
    pub name: ResourceName,
    /// Of which image.
    pub image: ImageId,
    /// Where.
    pub place: Place,
    /// What it is to be.
    pub spec: ContainerSpec,
    /// The values of its secrets.
    pub secrets: Vec<SecretValue>,
    /// What its links are to provision.
    pub wishes: Vec<Wish>,
    /// How long it may wait for its host.
    pub wait: Option<SignedDuration>,
}

/// A container, and what its user may know of its host.
pub struct Seen {
    /// The container as it was seen last.
    pub container: Container,
    /// What its links have provisioned.
    pub grants: Vec<Grant>,
    /// What was asked of it because it was to be converged.
    pub owed: Option<Owed>,
    /// Its host, where that is the user's own.
    pub host: Option<HostId>,
    /// Whether that is one that users share.
    pub pool: bool,
    /// Whether its host is silent, so that nobody knows how it is now.
    pub unknown: bool,
}

impl Services {
    /// Asks for a container.
    pub async fn container_create(
        &self,
        permit: &Permit<Write>,
        key: Option<&Key>,
        new: NewContainer,
    ) -> Result<JobId> {
        let problems = new.spec.problems();
        if !problems.is_empty() {
            let violations = problems.into_iter().map(|(pointer, detail)| Violation { pointer, detail });
            return Err(Refusal::Invalid(violations.collect()).into());
        }
        // What was asked before under the same key needs nothing more.
        let known = idempotency::is_known(&mut self.store.read().await?, permit.user(), key).await?;
        let (launch, claims) = if known {
            Default::default()
        } else {
            self.launch(permit.user(), new.image, &new.spec, &new.wishes).await?
        };
        let mut insist = false;
        let result = once!({
            let (permit, key, new, rules) = (permit.clone(), key.cloned(), new.clone(), self.pool);
            let (vault, launch) = (self.vault.clone(), launch.clone());
            // The second try, if there is one, leaves nobody room to be faster.
            let search = Search { rules, insist: std::mem::replace(&mut insist, true) };
            self.store
                .write(move |conn| {
                    Box::pin(async move { create(conn, &vault, &permit, key.as_ref(), new, launch, &search).await })
                })
                .await
        });
        self.release_all(claims).await;
        let (job, host) = result.map_err(|e| e.naming(&new.name))?;
        if let Some(host) = host {
            self.signals.wake_host(host);
        }
        Ok(job)
    }

    /// One container.
    pub async fn container_get(&self, permit: &Permit<Read>, id: ContainerId) -> Result<Seen> {
        let mut conn = self.store.read().await?;
        let container =
            store::containers::get(&mut conn, permit.user(), id).await?.ok_or(Refusal::NotFound(Kind::Container))?;
        let mut seen = self.seen(&mut conn, vec![container]).await?;
        seen.pop().ok_or_else(|| Refusal::NotFound(Kind::Container).into())
    }

    /// A page of containers.
    pub async fn container_list(&self, permit: &Permit<Read>, filter: &Filter, page: Page) -> Result<Found<Seen>> {
        let mut conn = self.store.read().await?;
        if super::is_hidden(&mut conn, permit.user(), filter.host).await? {
            return Ok(Found::nothing());
        }
        let mut found = store::containers::list(&mut conn, permit.user(), filter, page).await?;
        let containers = std::mem::take(&mut found.items);
        Ok(found.with(self.seen(&mut conn, containers).await?))
    }

    async fn seen(&self, conn: &mut Conn, containers: Vec<Container>) -> Result<Vec<Seen>> {
        let mut hosts: Vec<HostId> = containers.iter().map(|c| c.host).collect();
        hosts.sort_unstable();
        hosts.dedup();
        let ids: Vec<ContainerId> = containers.iter().map(|c| c.id).collect();
        let mut grants = store::grants::of_containers(conn, &ids).await?;
        let owed = store::converge::owed(conn, &ids).await?;
        let standings = store::placement::standings(conn, &hosts).await?;
        let now = crate::clock::now();
        let seen = |container: Container| {
            // What a change is to bring is not there yet.
            let is_there = |grant: &mut Grant| grant.container == container.id && grant.is_in(&container.spec.secrets);
            let own = grants.extract_if(.., is_there).collect();
            let host = standings.iter().find(|host| host.id == container.host);
            Seen {
                unknown: host.is_some_and(|host| is_silent(host.state, host.last_seen_at, now)),
                host: host.filter(|host| host.owner == container.user).map(|host| host.id),
                pool: host.is_some_and(|host| host.pool),
                grants: own,
                owed: owed.iter().find(|owed| owed.container == container.id).cloned(),
                container,
            }
        };
        Ok(containers.into_iter().map(seen).collect())
    }

    /// Asks for a container to be gone. Asked again while it is on its way out, answers the job that does it.
    pub async fn container_delete(
        &self,
        permit: &Permit<Write>,
        id: ContainerId,
        volumes: bool,
        seen: &Precondition,
    ) -> Result<JobId> {
        let (permit, seen) = (permit.clone(), seen.clone());
        let (job, host, changed) = self
            .store
            .write(move |conn| Box::pin(async move { delete(conn, &permit, id, volumes, &seen).await }))
            .await?;
        for job in changed {
            self.signals.job_changed(job);
        }
        self.signals.wake_host(host);
        // It may have been on its way.
        self.signals.wake_conductor();
        Ok(job)
    }
}

/// How a host is looked for: by which rules, and whether nobody may be faster this time.
struct Search {
    rules: PoolRules,
    insist: bool,
}

/// The job, and the host that has it; no host where it was asked for before.
async fn create(
    conn: &mut Conn,
    vault: &Vault,
    permit: &Permit<Write>,
    key: Option<&Key>,
    mut new: NewContainer,
    launch: Launch,
    search: &Search,
) -> Result<(JobId, Option<HostId>)> {
    let now = crate::clock::now();
    let (user, job) = (permit.user(), JobId::new());
    if let Some(replay) = idempotency::begin(conn, user, key, Kind::Job, job.uuid(), None, now).await? {
        return Ok((JobId::from_uuid(replay.id), None));
    }
    may_ask(&new.spec, permit.scopes(), &new.place)?;
    let id = ContainerId::new();
    grants::hold(conn, user, &new.spec, &new.wishes).await?;
    let named = if let Place::Host(host) = &new.place { Some(*host) } else { None };
    links::suffice(conn, user, named, new.image, &new.spec).await?;
    let Placed { host, image, after } =
        placement::place(conn, user, &search.rules, id, &mut new, search.insist).await?;
    may_be_on(&new.spec, user, &host)?;
    host_access::demand_for_volumes(conn, user, host.id, id, &new.spec, permit.scopes()).await?;
    let consumer = Consumer { user, id, name: &new.name, scopes: permit.scopes() };
    let (granted, values) = grants::plan(conn, &consumer, &mut new.spec, &new.wishes, &launch.providers).await?;
    new.secrets.extend(values);
    queue::admit(conn, user, |limits| quota::of_container(limits, &new.spec.resources)).await?;

    let container = Container {
        id,
        user,
        host: host.id,
        image,
        name: new.name.clone(),
        spec: new.spec.clone(),
        desired: DesiredState::Running,
        observed: Observed::default(),
        created_at: now,
        revision: 1,
        converged: None,
    };
    store::containers::insert(conn, &container).await?;
    supplies::keep(conn, vault, user, id, &new.secrets).await?;
    let detail = audited(None, &new.spec);
    let command = Command::CreateContainer(CreateContainer {
        container: container.id,
        user,
        name: new.name,
        image,
        spec: new.spec,
        hardening: hardening(&host),
        converge: launch.converge,
    });
    let request = Request {
        id: job,
        user,
        work: Some((host.id, command)),
        parent: None,
        kind: JobKind::ContainerCreate,
        subject: Subject::Container(container.id),
        wait: new.wait,
    };
    queue::enqueue(conn, request, now).await?;
    let after = grants::begin(conn, vault, granted, &launch.providers, job, (after, new.wait), now).await?;
    if let Some(after) = after {
        store::jobs::set_after(conn, job, after).await?;
    }
    let (origin, uuid) = (permit.origin(), container.id.uuid());
    store::records::audit_with(conn, origin, "container.create", Kind::Container, uuid, detail.as_deref(), now).await?;
    Ok((job, Some(host.id)))
}

/// Whether what a container is to be goes together with what else is on its host: its links name the user's own
/// containers there, and its ports are nobody else's.
pub(super) async fn fits(
    conn: &mut Conn,
    user: UserId,
    host: HostId,
    id: ContainerId,
    spec: &ContainerSpec,
) -> Result<()> {
    let linked: Vec<ContainerId> = spec.links.iter().map(|link| link.container).collect();
    let known = store::containers::linkable(conn, user, host, &linked).await?;
    let missing = linked.iter().enumerate().filter(|(_, linked)| **linked == id || !known.contains(linked));
    let violations: Vec<Violation> = missing
        .map(|(i, linked)| {
            Violation::new(format!("/links/{i}/container"), format!("there is no other container {linked} on {host}"))
        })
        .collect();
    if !violations.is_empty() {
        return Err(Refusal::Invalid(violations).into());
    }
    for (i, linked) in linked.iter().enumerate() {
        let found = store::containers::get(conn, user, *linked).await?;
        if found.is_some_and(|linked| linked.spec.host_access.joins(HostNamespace::Network)) {
            let detail = format!("{linked} is in the host's network, and not in yours");
            return Err(Refusal::invalid(format!("/links/{i}/container"), detail).into());
        }
    }
    // What is on its way is not to be held on to.
    for of in store::moves::of_user(conn, user).await?.into_iter().filter(|of| of.container != id) {
        if linked.contains(&of.container) {
            return Err(Refusal::LinkedMoves(of.container).into());
        }
        let shared = spec.volumes.iter().find(|ours| of.create.spec.volumes.iter().any(|m| m.volume == ours.volume));
        if let Some(mount) = shared.filter(|_| of.source == host || of.target == host) {
            return Err(Refusal::VolumeInUse { volume: mount.volume.to_string(), container: of.container }.into());
        }
    }
    if spec.ports.iter().any(|port| port.host.is_some()) {
        let on_host = store::containers::on_host(conn, host).await?;
        if let Some((port, owner)) = port_conflict(spec, id, &on_host) {
            // Who else has it is nobody's business but his own.
            let own = on_host.iter().any(|c| c.id == owner && c.user == user);
            let named = port.host.map_or_else(String::new, |host| format!("{host}/{}", port.protocol));
            return Err(Refusal::PortTaken { port: named, owner: own.then_some(owner) }.into());
        }
    }
    Ok(())
}

async fn delete(
    conn: &mut Conn,
    permit: &Permit<Write>,
    id: ContainerId,
    volumes: bool,
    seen: &Precondition,
) -> Result<(JobId, HostId, Vec<JobId>)> {
    let now = crate::clock::now();
    let user = permit.user();
    as_seen(conn, user, Kind::Container, id.uuid(), seen).await?;
    // Held: it may be about to arrive on another host.
    let container = store::containers::hold(conn, user, id).await?.ok_or(Refusal::NotFound(Kind::Container))?;
    let open = store::jobs::open_about(conn, Subject::Container(id)).await?;
    if let Some(under_way) = open.iter().find(|job| job.kind == JobKind::ContainerDelete) {
        return Ok((under_way.id, container.host, Vec::new()));
    }
    store::containers::set_desired(conn, id, DesiredState::Removed).await?;
    let mut changed = Vec::new();
    let mut untouched = false;
    // What belongs to a move is ended by the move, which knows what has to be taken back.
    let of_move = |job: &&Job| {
        let whole = job.parent.and_then(|parent| open.iter().find(|other| other.id == parent));
        job.kind == JobKind::ContainerRemove || whole.is_some_and(|whole| whole.kind == JobKind::ContainerMove)
    };
    for job in open.iter().filter(|job| !of_move(job)) {
        changed.push(job.id);
        if job.state == JobState::Queued && job.is_untouched() {
            // No host has heard of it: it ends here, and with its creation the container.
            let ended = queue::settle(conn, job, &Ending::Cancelled { confirmed: true }, now).await?;
            untouched |= ended && job.kind == JobKind::ContainerCreate;
        } else if job.state == JobState::Queued && job.kind == JobKind::ContainerConverge {
            // What waits for it ends with it.
            queue::settle(conn, job, &Ending::Cancelled { confirmed: true }, now).await?;
        } else if job.state == JobState::Queued {
            store::jobs::end(conn, job.current(), &Ending::Cancelled { confirmed: true }, now).await?;
        } else {
            store::jobs::set_cancelling(conn, job.id, now).await?;
        }
    }
    let remove = RemoveContainer { container: id, user, volumes };
    let request = Request {
        id: JobId::new(),
        user,
        work: Some((container.host, Command::RemoveContainer(remove))),
        parent: None,
        kind: JobKind::ContainerDelete,
        subject: Subject::Container(id),
        wait: None,
    };
    let job = queue::enqueue(conn, request, now).await?;
    if untouched && let Some(job) = store::jobs::find(conn, job).await? {
        queue::settle(conn, &job, &Ending::Succeeded(Product::Nothing), now).await?;
    }
    store::records::audit(conn, permit.origin(), "container.delete", Kind::Container, id.uuid(), now).await?;
    Ok((job, container.host, changed))
}
