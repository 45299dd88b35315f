//! Changing what a container is: one transaction that decides how, and the job that does it. The row keeps what the
//! container is until the job has succeeded. Called by `http`.

use super::containers::fits;
use super::grants::{self, Consumer, Wish};
use super::idempotency::{self, Key};
use super::launch::Launch;
use super::operations::{Begun, begin};
use super::supplies::{self, SecretValue};
use super::{Result, Services, host_access, links, once, placement};
use crate::access::{Permit, Write};
use crate::domain::container::{DesiredState, changes_in_place};
use crate::domain::host_access::{audited, may_be_on, may_touch, reaches};
use crate::domain::job::{JobKind, Subject};
use crate::domain::placement::{PoolRules, Reserved, hardening};
use crate::domain::precondition::Precondition;
use crate::domain::{Kind, Refusal, quota};
use crate::queue::{self, Request};
use crate::store::{self, Conn};
use crate::vault::Vault;
use dockerforge_protocol::command::{Command, CreateContainer, RecreateContainer, UpdateContainer};
use dockerforge_protocol::ids::{ContainerId, HostId, ImageId, JobId};
use dockerforge_protocol::spec::ContainerSpec;
use jiff::SignedDuration;

/// A change of a container.
#[derive(Clone)]
pub struct Update {
    /// What the container was when the change was worked out; what is another meanwhile is not changed.
    pub before: ContainerSpec,
    /// What it is to be.
    pub after: ContainerSpec,
    /// The values of the secrets that are new in it.
    pub secrets: Vec<SecretValue>,
    /// What its links are to provision, where anything is said of links.
    pub wishes: Option<Vec<Wish>>,
    /// Of which image, if of another.
    pub image: Option<ImageId>,
    /// How long the job may wait for its host.
    pub wait: Option<SignedDuration>,
    /// From which state of it.
    pub seen: Precondition,
}

impl Services {
    /// Asks for a container to be changed.
    pub async fn container_update(
        &self,
        permit: &Permit<Write>,
        key: Option<&Key>,
        id: ContainerId,
        update: Update,
    ) -> Result<JobId> {
        let user = permit.user();
        // What was asked before under the same key needs nothing more, and neither does what changes where it is.
        let known = idempotency::is_known(&mut self.store.read().await?, user, key).await?;
        let otherwise = update.image.is_some() || update.wishes.is_some();
        let (launch, claims) = if !known && (otherwise || !changes_in_place(&update.before, &update.after)) {
            let container = store::containers::get(&mut self.store.read().await?, user, id).await?;
            let image = container.map(|container| update.image.unwrap_or(container.image));
            let image = image.ok_or(Refusal::NotFound(Kind::Container))?;
            self.launch(user, image, &update.after, update.wishes.as_deref().unwrap_or_default()).await?
        } else {
            Default::default()
        };
        let result = once!({
            let (permit, key, update, rules) = (permit.clone(), key.cloned(), update.clone(), self.pool);
            let (vault, changed) = (self.vault.clone(), (update, launch.clone()));
            self.store
                .write(move |conn| {
                    Box::pin(async move { change(conn, &vault, &permit, key.as_ref(), id, changed, &rules).await })
                })
                .await
        });
        self.release_all(claims).await;
        let (job, host) = result?;
        if let Some(host) = host {
            self.signals.wake_host(host);
        }
        Ok(job)
    }
}

async fn change(
    conn: &mut Conn,
    vault: &Vault,
    permit: &Permit<Write>,
    key: Option<&Key>,
    id: ContainerId,
    (mut update, launch): (Update, Launch),
    rules: &PoolRules,
) -> Result<(JobId, Option<HostId>)> {
    let user = permit.user();
    // Its host is held before it is, as by whoever reports what is on a host.
    let held = store::containers::get(conn, user, id).await?.map(|container| container.host);
    if let Some(host) = held {
        store::placement::hold(conn, host).await?;
    }
    let (container, job, now) = match begin(conn, user, key, id).await? {
        Begun::New { container, job, now } => (*container, job, now),
        Begun::Again(job) => return Ok((job, None)),
    };
    if held != Some(container.host) {
        // It moved meanwhile.
        return Err(super::ServiceError::Outrun);
    }
    update.seen.check(Kind::Container, Some(container.revision))?;
    host_access::demand(conn, &container, permit.scopes()).await?;
    may_touch(reaches(&update.after), permit.scopes())?;
    // The row says what the container is once that job has ended: until then nobody knows what there is to change.
    let open = store::jobs::open_about(conn, Subject::Container(id)).await?;
    if let Some(other) = open.iter().find(|other| other.kind == JobKind::ContainerUpdate) {
        return Err(Refusal::BeingChanged(other.id).into());
    }
    if container.spec != update.before {
        return Err(Refusal::Changed(Kind::Container).into());
    }
    let wishes = grants::after_change(conn, id, &container.spec, &mut update.after, update.wishes.as_deref()).await?;
    grants::hold(conn, user, &update.after, &wishes).await?;
    store::revisions::advance_container(conn, id).await?;
    let host = placement::stay(conn, rules, &container, &mut update.after).await?;
    may_be_on(&update.after, user, &host)?;
    host_access::demand_for_volumes(conn, user, host.id, id, &update.after, permit.scopes()).await?;
    let detail = audited(Some(&container.spec), &update.after);
    let (was, will) = (&container.spec, &update.after);
    queue::admit(conn, user, |limits| quota::of_change(limits, &was.resources, &will.resources)).await?;
    // Nobody knows yet which of the two it will be.
    store::containers::set_reserved(conn, id, Reserved::of(was).larger(Reserved::of(will))).await?;
    let new_image = update.image.filter(|image| *image != container.image);
    let mut after = None;
    if let Some(new) = new_image {
        (_, after) = placement::image_on(conn, user, new, container.host).await?;
        store::containers::set_next_image(conn, id, Some(new)).await?;
    }
    fits(conn, user, container.host, id, &update.after).await?;
    if new_image.is_some() || container.spec.links != update.after.links {
        let image = new_image.unwrap_or(container.image);
        links::suffice(conn, user, Some(container.host), image, &update.after).await?;
    }
    let image = store::images::get_visible(conn, user, new_image.unwrap_or(container.image)).await?;
    let of = image.and_then(|image| image.source.made_of()).map(|of| of.configuration);
    if launch.converge.as_ref().is_some_and(|converge| of != Some(converge.configuration)) {
        // It has become one of another image since that was prepared.
        return Err(Refusal::Changed(Kind::Container).into());
    }
    let consumer = Consumer { user, id, name: &container.name, scopes: permit.scopes() };
    let (granted, values) = grants::plan(conn, &consumer, &mut update.after, &wishes, &launch.providers).await?;
    update.secrets.extend(values);
    supplies::keep(conn, vault, user, id, &update.secrets).await?;
    let grace_s = container.grace();
    let command = if new_image.is_none() && changes_in_place(&container.spec, &update.after) {
        let ContainerSpec { resources, restart, .. } = update.after;
        Command::UpdateContainer(UpdateContainer { container: id, user, resources, restart })
    } else {
        Command::RecreateContainer(RecreateContainer {
            create: CreateContainer {
                container: id,
                user,
                name: container.name,
                image: new_image.unwrap_or(container.image),
                spec: update.after,
                hardening: hardening(&host),
                converge: launch.converge,
            },
            run: container.desired == DesiredState::Running,
            grace_s,
        })
    };
    let request = Request {
        id: job,
        user,
        work: Some((container.host, command)),
        parent: None,
        kind: JobKind::ContainerUpdate,
        subject: Subject::Container(id),
        wait: update.wait,
    };
    queue::enqueue(conn, request, now).await?;
    let after = grants::begin(conn, vault, granted, &launch.providers, job, (after, update.wait), now).await?;
    if let Some(after) = after {
        store::jobs::set_after(conn, job, after).await?;
    }
    let (origin, uuid) = (permit.origin(), id.uuid());
    store::records::audit_with(conn, origin, "container.update", Kind::Container, uuid, detail.as_deref(), now).await?;
    Ok((job, Some(container.host)))
}
