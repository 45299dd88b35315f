//! Changing what a container is: one transaction that decides how, and the job that does it. The row keeps what the
//! container is until the job has succeeded. Called by `http`.

use super::containers::fits;
use super::idempotency::Key;
use super::operations::{Begun, begin};
use super::supplies::{self, SecretValue};
use super::{Result, Services, host_access, once, placement};
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
        let (job, host) = once!({
            let (permit, key, update, rules) = (permit.clone(), key.cloned(), update.clone(), self.pool);
            let vault = self.vault.clone();
            self.store
                .write(move |conn| {
                    Box::pin(async move { change(conn, &vault, &permit, key.as_ref(), id, update, &rules).await })
                })
                .await
        })?;
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
    mut update: Update,
    rules: &PoolRules,
) -> Result<(JobId, Option<HostId>)> {
    let user = permit.user();
    let (container, job, now) = match begin(conn, user, key, id).await? {
        Begun::New { container, job, now } => (*container, job, now),
        Begun::Again(job) => return Ok((job, None)),
    };
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
    if let Some(after) = after {
        store::jobs::set_after(conn, job, after).await?;
    }
    let (origin, uuid) = (permit.origin(), id.uuid());
    store::records::audit_with(conn, origin, "container.update", Kind::Container, uuid, detail.as_deref(), now).await?;
    Ok((job, Some(container.host)))
}
