//! Moving a container to another host, with what is in its volumes: one transaction that decides whether and where to, and
//! the job that the conductor carries out. And what the new host asks for meanwhile. Called by `http`.

use super::containers::NewContainer;
use super::idempotency::Key;
use super::operations::{Begun, begin};
use super::{Result, Services, once, placement};
use crate::access::{Permit, Write};
use crate::domain::job::{JobKind, Subject};
use crate::domain::moves::{Move, movable, runs};
use crate::domain::placement::{Place, PoolRules, hardening};
use crate::domain::{Kind, Refusal, quota};
use crate::queue::{self, Request};
use crate::relay::{NotOpened, Reader, Relay};
use crate::store::{self, Conn};
use dockerforge_protocol::command::{Command, CreateContainer};
use dockerforge_protocol::ids::{ContainerId, HostId, JobId};
use dockerforge_protocol::spec::VolumeName;
use dockerforge_protocol::stream::{StreamRequest, VolumeRequest};
use jiff::SignedDuration;

/// Where a container is to go, and how.
#[derive(Debug, Clone)]
pub struct NewMove {
    /// Where to.
    pub place: Place,
    /// Seconds that it may take to end; as it is made where absent.
    pub grace: Option<u32>,
    /// How long it may wait for its hosts.
    pub wait: Option<SignedDuration>,
}

/// Why a host is not given what is in a volume.
#[derive(Debug, thiserror::Error)]
pub enum Withheld {
    /// It has nothing to do with it.
    #[error("there is no such volume for this host")]
    Unknown,
    /// The host that has it has no session with this coordinator.
    #[error("the host that the container leaves is not connected")]
    Offline,
    /// That host does not give it.
    #[error("the host that the container leaves does not give it: {0}")]
    Refused(String),
}

impl Services {
    /// Asks for a container to be brought to another host.
    pub async fn container_move(
        &self,
        permit: &Permit<Write>,
        key: Option<&Key>,
        id: ContainerId,
        asked: NewMove,
    ) -> Result<JobId> {
        let mut insist = false;
        let (job, target) = once!({
            let (permit, key, asked, rules) = (permit.clone(), key.cloned(), asked.clone(), self.pool);
            let relay = self.relay.clone();
            let first = !std::mem::replace(&mut insist, true);
            self.store
                .write(move |conn| {
                    Box::pin(
                        async move { relocate(conn, &relay, &permit, key.as_ref(), id, asked, (&rules, !first)).await },
                    )
                })
                .await
        })?;
        if let Some(target) = target {
            // Its image may have to go there first.
            self.signals.wake_host(target);
            self.signals.wake_conductor();
        }
        Ok(job)
    }

    /// What is in a volume of the container that a job of this very host receives, from the host that it leaves.
    pub async fn job_volume(
        &self,
        serial: &str,
        host: HostId,
        job: JobId,
        volume: VolumeName,
    ) -> Result<std::result::Result<Reader, Withheld>> {
        let mut conn = self.store.read().await?;
        let found = super::supplies::in_work(&mut conn, serial, host, job).await?;
        let Some((Some(Command::ReceiveContainer(receive)), Some(whole))) = found.map(|j| (j.command, j.parent)) else {
            return Ok(Err(Withheld::Unknown));
        };
        let create = receive.create;
        let of = store::moves::get(&mut conn, whole).await?.filter(|of| of.container == create.container);
        let Some(of) = of.filter(|_| create.spec.volumes.iter().any(|mount| mount.volume == volume)) else {
            return Ok(Err(Withheld::Unknown));
        };
        drop(conn);
        let Some(streams) = (self.relay)(of.source) else { return Ok(Err(Withheld::Offline)) };
        let request = VolumeRequest { container: of.container, user: of.user, image: create.image, volume };
        let opened = async {
            let reader = streams.open(StreamRequest::Volume(request))?;
            reader.opened().await?;
            Ok(reader)
        };
        Ok(opened.await.map_err(|why: NotOpened| match why {
            NotOpened::Offline => Withheld::Offline,
            NotOpened::Refused(refusal) => Withheld::Refused(format!("{refusal:?}")),
            NotOpened::Incapable | NotOpened::Unanswered => Withheld::Refused(why.to_string()),
        }))
    }
}

/// The job, and where the container goes; no host where it was asked for before.
async fn relocate(
    conn: &mut Conn,
    relay: &Relay,
    permit: &Permit<Write>,
    key: Option<&Key>,
    id: ContainerId,
    asked: NewMove,
    (rules, insist): (&PoolRules, bool),
) -> Result<(JobId, Option<HostId>)> {
    let user = permit.user();
    let (container, job, now) = match begin(conn, user, key, id).await? {
        Begun::New { container, job, now } => (*container, job, now),
        Begun::Again(job) => return Ok((job, None)),
    };
    let source = container.host;
    let place = match asked.place {
        Place::Host(host) if host == source => {
            return Err(Refusal::invalid("/host", "it is on this host already").into());
        }
        Place::Open => {
            return Err(Refusal::invalid("/host", "name a host, or with placement how one is to be chosen").into());
        }
        Place::Pool(mut wish) => {
            wish.except = Some(source);
            Place::Pool(wish)
        }
        named @ Place::Host(_) => named,
    };
    // What it is to be elsewhere is known once it is made and as it was asked to be.
    let open = store::jobs::open_about(conn, Subject::Container(id)).await?;
    let changes = |kind| matches!(kind, JobKind::ContainerCreate | JobKind::ContainerUpdate);
    if let Some(other) = open.iter().find(|other| changes(other.kind)) {
        return Err(Refusal::BeingChanged(other.id).into());
    }
    let others = store::containers::all_of_user(conn, user).await?;
    // Before a place is looked for: what holds it where it is holds it wherever it is to go.
    movable(&container, source, &others)?;
    let mut new = NewContainer {
        name: container.name.clone(),
        image: container.image,
        place,
        spec: container.spec.clone(),
        secrets: Vec::new(),
        wishes: Vec::new(),
        wait: asked.wait,
    };
    let placed = placement::place(conn, user, rules, id, &mut new, insist).await?;
    let target = placed.host.id;
    movable(&container, target, &others)?;
    let of = Move {
        job,
        container: id,
        user,
        source,
        target,
        create: CreateContainer {
            container: id,
            user,
            name: container.name.clone(),
            image: container.image,
            spec: new.spec,
            hardening: hardening(&placed.host),
            // What a converge changed outside its volumes stays behind: its user converges it where it is then.
            converge: None,
        },
        run: runs(&container),
        grace_s: asked.grace.unwrap_or_else(|| container.grace()),
    };
    able(relay, &of)?;
    // On a shared host it may get limits that it did not have.
    let (was, will) = (&container.spec.resources, &of.create.spec.resources);
    queue::admit(conn, user, |limits| quota::of_change(limits, was, will)).await?;
    store::moves::insert(conn, &of).await?;
    let request = Request {
        id: job,
        user,
        work: None,
        parent: None,
        kind: JobKind::ContainerMove,
        subject: Subject::Container(id),
        wait: asked.wait,
    };
    queue::enqueue(conn, request, now).await?;
    if let Some(after) = placed.after {
        store::jobs::set_after(conn, job, after).await?;
    }
    store::records::audit(conn, permit.origin(), "container.move", Kind::Container, id.uuid(), now).await?;
    Ok((job, Some(target)))
}

/// Whether the agents of both hosts know how, as far as they are connected: of others it turns out on the way.
fn able(relay: &Relay, of: &Move) -> Result<()> {
    let volume = of.create.spec.volumes.first().map(|mount| mount.volume.clone());
    let Some(volume) = volume.or_else(|| "any".parse().ok()) else { return Ok(()) };
    let request = VolumeRequest { container: of.container, user: of.user, image: of.create.image, volume };
    let request = StreamRequest::Volume(request);
    let old = |host: HostId| relay(host).is_some_and(|streams| !streams.know(&request));
    if old(of.source) || old(of.target) { Err(Refusal::AgentTooOld(of.container).into()) } else { Ok(()) }
}
