//! Images: asking for one in one transaction with its job, seeing where they are, and removing them everywhere.

use super::idempotency::{self, Key};
use super::{Result, Services, as_seen, builders, copies, once};
use crate::access::{Administer, Permit, Read, Write};
pub use crate::build::archive::ArchiveError;
pub use crate::build::{Claim, ContextError, Received};
use crate::domain::host::{Host, HostState};
use crate::domain::image::{Image, ImageOnHost, ImageSource, ImageState, PresenceState, Recipe, Spread, deletable};
use crate::domain::job::{Ending, Job, JobKind, JobState, Subject};
use crate::domain::page::{Found, Page};
use crate::domain::placement::PoolRules;
use crate::domain::precondition::Precondition;
use crate::domain::quota::{Amounts, Counted};
use crate::domain::{Kind, Refusal};
use crate::queue::{self, Request};
pub use crate::store::images::Filter;
use crate::store::{self, Conn};
use dockerforge_protocol::command::{BuildImage, Command, PullImage, RemoveImage};
use dockerforge_protocol::ids::{HostId, ImageId, JobId, UserId};
use dockerforge_protocol::spec::{Labels, ResourceName};
use jiff::SignedDuration;

/// An image to be made.
#[derive(Clone)]
pub struct NewImage {
    /// Its name.
    pub name: ResourceName,
    /// On which host it is made; on one of those that it is to be on where none is named, or on one that users share.
    pub host: Option<HostId>,
    /// On which others it is to be.
    pub spread: Spread,
    /// Where it comes from.
    pub source: ImageSource,
    /// Its labels.
    pub labels: Labels,
    /// Whether every user sees it and may use it. Only with leave to administer, for an administrator himself.
    pub public: Option<Permit<Administer>>,
    /// How long it may wait for its host.
    pub wait: Option<SignedDuration>,
}

/// An image, and where it is.
pub struct Placed {
    /// The image.
    pub image: Image,
    /// On which hosts, and how.
    pub hosts: Vec<Standing>,
}

/// How an image stands on a host.
#[derive(Clone)]
pub struct Standing {
    /// Whether it is there.
    pub presence: ImageOnHost,
    /// The host is another's, which all users share: which one it is stays unsaid.
    pub pool: bool,
    /// The job that brings it there or could not, to whom the image belongs.
    pub job: Option<Job>,
}

impl Services {
    /// Asks for an image.
    pub async fn image_create(&self, permit: &Permit<Write>, key: Option<&Key>, new: NewImage) -> Result<JobId> {
        if new.public.is_some() && permit.origin().actor != permit.user() {
            let detail = "a public image is an administrator's own: act for nobody else";
            return Err(Refusal::invalid("/public", detail).into());
        }
        let rules = self.pool;
        let result = once!({
            let (permit, key, new) = (permit.clone(), key.cloned(), new.clone());
            self.store
                .write(move |conn| Box::pin(async move { create(conn, &permit, key.as_ref(), new, &rules).await }))
                .await
        });
        let (job, host) = result.map_err(|e| e.naming(&new.name))?;
        if let Some(host) = host {
            self.signals.wake_host(host);
        }
        Ok(job)
    }

    /// The job that the same request started before, if it did: what it needed then may be gone by now.
    pub async fn image_asked(&self, permit: &Permit<Write>, key: Option<&Key>) -> Result<Option<JobId>> {
        let replay = idempotency::replay(&mut self.store.read().await?, permit.user(), key, Kind::Job).await?;
        Ok(replay.map(|replay| JobId::from_uuid(replay.id)))
    }

    /// Whether an image could be made on these hosts, before anything large is received for it. What was asked before under
    /// the same key is not judged anew: its answer is known.
    pub async fn image_expect(
        &self,
        permit: &Permit<Write>,
        key: Option<&Key>,
        host: Option<HostId>,
        spread: &Spread,
    ) -> Result<()> {
        let mut conn = self.store.read().await?;
        if idempotency::is_known(&mut conn, permit.user(), key).await? {
            return Ok(());
        }
        choose(&mut conn, permit.user(), &self.pool, host, spread, None).await.map(drop)
    }

    /// Ends the claim of a request that is decided: a context that nothing needs then is gone at once.
    pub async fn context_release(&self, claim: Claim) {
        let sha256 = claim.sha256().to_owned();
        let needed = async {
            let asked = async {
                let mut conn = self.store.read().await?;
                Ok::<_, store::StoreError>(
                    store::jobs::context_in_use(&mut conn, &sha256).await?
                        || store::templates::is_archive(&mut conn, &sha256).await?,
                )
            };
            // Where it cannot be told, it stays; the sweep looks again.
            asked.await.unwrap_or(true)
        };
        if let Err(error) = self.contexts.release(claim, needed).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "a build context could not be removed");
        }
    }

    /// One image.
    pub async fn image_get(&self, permit: &Permit<Read>, id: ImageId) -> Result<Placed> {
        let mut conn = self.store.read().await?;
        let image =
            store::images::get_visible(&mut conn, permit.user(), id).await?.ok_or(Refusal::NotFound(Kind::Image))?;
        let hosts = store::images::presence(&mut conn, &[id]).await?;
        let hosts = shown(&mut conn, permit, std::slice::from_ref(&image), hosts).await?;
        Ok(Placed { image: as_told(image, permit), hosts })
    }

    /// A page of images.
    pub async fn image_list(&self, permit: &Permit<Read>, filter: &Filter, page: Page) -> Result<Found<Placed>> {
        let mut conn = self.store.read().await?;
        if super::is_hidden(&mut conn, permit.user(), filter.host).await? {
            return Ok(Found::nothing());
        }
        let mut found = store::images::list(&mut conn, permit.user(), filter, page).await?;
        let images = std::mem::take(&mut found.items);
        let ids: Vec<ImageId> = images.iter().map(|image| image.id).collect();
        let all = store::images::presence(&mut conn, &ids).await?;
        let all = shown(&mut conn, permit, &images, all).await?;
        let placed = |image: Image| {
            let hosts = all.iter().filter(|standing| standing.presence.image == image.id).cloned().collect();
            Placed { image: as_told(image, permit), hosts }
        };
        Ok(found.with(images.into_iter().map(placed).collect()))
    }

    /// Asks for an image to be gone from everywhere. Asked again while it is on its way out, answers the job that does it.
    pub async fn image_delete(&self, permit: &Permit<Write>, id: ImageId, seen: &Precondition) -> Result<JobId> {
        let (permit, seen) = (permit.clone(), seen.clone());
        let (job, hosts, changed) =
            self.store.write(move |conn| Box::pin(async move { delete(conn, &permit, id, &seen).await })).await?;
        for host in hosts {
            self.signals.wake_host(host);
        }
        for job in changed {
            self.signals.job_changed(job);
        }
        self.signals.wake_conductor();
        Ok(job)
    }
}

/// Where it is in the registry is its owner's business.
fn as_told(mut image: Image, permit: &Permit<Read>) -> Image {
    if image.user != permit.user() {
        image.registry = None;
    }
    image
}

/// Where an image is on others' hosts is their owners' business, unless it is the user's own on a host that all share; and how it
/// comes to a host is its own user's.
async fn shown(
    conn: &mut Conn,
    permit: &Permit<Read>,
    images: &[Image],
    mut hosts: Vec<ImageOnHost>,
) -> Result<Vec<Standing>> {
    let mut ids: Vec<HostId> = hosts.iter().map(|presence| presence.host).collect();
    ids.sort_unstable();
    ids.dedup();
    let foreign = store::placement::foreign(conn, permit.user(), &ids).await?;
    let own = |id: ImageId| images.iter().any(|image| image.id == id && image.user == permit.user());
    hosts.retain(|presence| own(presence.image) || !foreign.contains(&presence.host));
    let unsettled = |p: &&ImageOnHost| matches!(p.state, PresenceState::Pending | PresenceState::Failed);
    let ids: Vec<JobId> = hosts.iter().filter(unsettled).filter(|p| own(p.image)).filter_map(|p| p.job).collect();
    let jobs = store::jobs::some(conn, &ids).await?;
    let standing = |presence: ImageOnHost| {
        let job = jobs.iter().find(|job| presence.job == Some(job.id)).cloned();
        Standing { pool: foreign.contains(&presence.host), presence, job }
    };
    Ok(hosts.into_iter().map(standing).collect())
}

/// Which host makes an image, and on which others it is to be. Without `what` it is one that only hosts of one's own make.
async fn choose(
    conn: &mut Conn,
    user: UserId,
    rules: &PoolRules,
    host: Option<HostId>,
    spread: &Spread,
    what: Option<(ImageId, &ImageSource)>,
) -> Result<(HostId, Vec<HostId>)> {
    let serves = |host: &Host| host.state != HostState::Deleting && !host.draining && host.agent.is_some();
    let mut on = match spread {
        Spread::None => Vec::new(),
        Spread::These(ids) => {
            let mut on = Vec::with_capacity(ids.len());
            for (i, id) in ids.iter().enumerate() {
                on.push(named(conn, user, *id, &format!("/hosts/{i}")).await?);
            }
            on
        }
        Spread::Mine | Spread::All => {
            let mut on = Vec::new();
            for id in store::hosts::all_of_user(conn, user).await? {
                on.extend(store::hosts::get(conn, user, id).await?.filter(serves));
            }
            if *spread == Spread::All {
                on.extend(store::hosts::pool(conn).await?.into_iter().filter(serves).filter(|host| host.user != user));
            }
            on
        }
    };
    let maker = if let Some(host) = host {
        named(conn, user, host, "/host").await?.id
    } else {
        let own = || on.iter().filter(|host| host.user == user);
        let maker = own().find(|host| host.state == HostState::Online).or_else(|| own().next());
        match (maker, spread, what) {
            (Some(maker), ..) => maker.id,
            (None, Spread::None, Some((id, source))) => {
                builders::chosen(conn, user, rules, id, source, "/host").await?
            }
            (None, Spread::All, Some((id, source))) => {
                builders::chosen(conn, user, rules, id, source, "/hosts").await?
            }
            (None, ..) => {
                return Err(Refusal::invalid("/hosts", "you have no host of your own that could make it").into());
            }
        }
    };
    on.retain(|host| host.id != maker);
    let mut others: Vec<HostId> = on.into_iter().map(|host| host.id).collect();
    others.sort_unstable();
    others.dedup();
    Ok((maker, others))
}

async fn named(conn: &mut Conn, user: UserId, id: HostId, pointer: &str) -> Result<Host> {
    let host = store::hosts::get(conn, user, id).await?;
    let host = host.ok_or_else(|| Refusal::invalid(pointer, format!("there is no host {id}")))?;
    if host.state == HostState::Deleting {
        return Err(Refusal::invalid(pointer, format!("{id} is being deleted")).into());
    }
    if host.draining {
        return Err(Refusal::HostDraining(id).into());
    }
    Ok(host)
}

/// The job that makes it, and the host that does; no host where it was asked for before.
async fn create(
    conn: &mut Conn,
    permit: &Permit<Write>,
    key: Option<&Key>,
    new: NewImage,
    rules: &PoolRules,
) -> Result<(JobId, Option<HostId>)> {
    let now = crate::clock::now();
    let (user, job) = (permit.user(), JobId::new());
    if let Some(replay) = idempotency::begin(conn, user, key, Kind::Job, job.uuid(), None, now).await? {
        return Ok((JobId::from_uuid(replay.id), None));
    }
    let id = ImageId::new();
    let (host, others) = choose(conn, user, rules, new.host, &new.spread, Some((id, &new.source))).await?;
    let mut held: Vec<HostId> = others.iter().copied().chain([host]).collect();
    held.sort_unstable();
    for id in held {
        store::hosts::hold(conn, id).await?;
    }
    // What was chosen may have changed until it was held.
    if new.host.is_none() && store::hosts::get(conn, user, host).await?.is_none() {
        builders::take(conn, user, host).await?;
    } else {
        named(conn, user, host, "/host").await?;
    }
    if let ImageSource::Dockerfile(Recipe { made_of: Some(of), .. }) = &new.source {
        store::configurations::hold(conn, of.configuration).await?;
        super::configurations::named(conn, user, of.configuration, Some(of.version)).await?;
    }
    queue::admit(conn, user, |_| Ok(Amounts::of(&[(Counted::Images, 1)]))).await?;
    let image = Image {
        id,
        user,
        name: new.name,
        state: ImageState::Pending,
        public: new.public.is_some(),
        source: new.source,
        labels: new.labels,
        created_at: now,
        revision: 1,
        docker_id: None,
        registry: None,
    };
    store::images::insert(conn, &image).await?;
    store::images::set_presence(conn, &ImageOnHost::on_its_way(image.id, host, job, now)).await?;
    let (kind, command) = match &image.source {
        ImageSource::Reference(reference) => {
            (JobKind::ImagePull, Command::PullImage(PullImage { image: image.id, user, reference: reference.clone() }))
        }
        ImageSource::Dockerfile(recipe) => (
            JobKind::ImageBuild,
            Command::BuildImage(BuildImage {
                image: image.id,
                user,
                context: recipe.context.clone(),
                dockerfile: recipe.dockerfile.clone(),
                build_args: recipe.build_args.clone(),
                no_cache: recipe.no_cache,
                limits: builders::limits(conn, rules, host).await?,
            }),
        ),
    };
    let subject = Subject::Image(image.id);
    let request = Request { id: job, user, work: Some((host, command)), parent: None, kind, subject, wait: new.wait };
    queue::enqueue(conn, request, now).await?;
    for other in others {
        copies::follow(conn, &image, other, job, new.wait).await?;
    }
    store::records::audit(conn, permit.origin(), "image.create", Kind::Image, image.id.uuid(), now).await?;
    Ok((job, Some(host)))
}

async fn delete(
    conn: &mut Conn,
    permit: &Permit<Write>,
    id: ImageId,
    seen: &Precondition,
) -> Result<(JobId, Vec<HostId>, Vec<JobId>)> {
    let now = crate::clock::now();
    let user = permit.user();
    as_seen(conn, user, Kind::Image, id.uuid(), seen).await?;
    let image = store::images::get_visible(conn, user, id).await?.ok_or(Refusal::NotFound(Kind::Image))?;
    if image.user != user {
        return Err(Refusal::NotOwner(Kind::Image).into());
    }
    let open = store::jobs::open_about(conn, Subject::Image(id)).await?;
    if let Some(under_way) = open.iter().find(|job| job.kind == JobKind::ImageDelete) {
        return Ok((under_way.id, Vec::new(), Vec::new()));
    }
    // A creation under way is cancelled by its job, so that nobody deletes by mistake what another is still waiting for.
    let creates = |job: &Job| matches!(job.kind, JobKind::ImageBuild | JobKind::ImagePull);
    if image.state == ImageState::Pending && open.iter().any(|job| creates(job) && job.state != JobState::Cancelling) {
        return Err(Refusal::ImageNotReady { image: id }.into());
    }
    // First the state, then who uses it: on PostgreSQL a creation holds the image's row until it is committed.
    store::images::set_state(conn, id, ImageState::Deleting).await?;
    let (own, others) = store::containers::using_image(conn, user, id).await?;
    deletable(&image, own, others)?;
    // What is still on its way somewhere is stopped: its host removes what came of it afterwards. What takes it off a host that
    // is itself taken out of service is that one's part.
    let mut changed = Vec::new();
    for job in open.iter().filter(|job| job.kind.brings_image()) {
        changed.push(job.id);
        if job.state == JobState::Queued {
            store::jobs::end(conn, job.current(), &Ending::Cancelled { confirmed: true }, now).await?;
        } else {
            store::jobs::set_cancelling(conn, job.id, now).await?;
        }
    }
    let (subject, wait) = (Subject::Image(id), Some(queue::PATIENCE));
    let whole = Request { id: JobId::new(), user, work: None, parent: None, kind: JobKind::ImageDelete, subject, wait };
    let job = queue::enqueue(conn, whole, now).await?;
    let mut hosts = Vec::new();
    for presence in store::images::presence(conn, &[id]).await? {
        let remove = Command::RemoveImage(RemoveImage { image: id, user });
        let work = Some((presence.host, remove));
        let part =
            Request { id: JobId::new(), user, work, parent: Some(job), kind: JobKind::ImageRemove, subject, wait };
        queue::enqueue_following(conn, part, now).await?;
        hosts.push(presence.host);
    }
    store::records::audit(conn, permit.origin(), "image.delete", Kind::Image, id.uuid(), now).await?;
    Ok((job, hosts, changed))
}
