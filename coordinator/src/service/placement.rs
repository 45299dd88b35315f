//! Where a container goes, within the transaction that makes it. What must hold: the host is held before what is set aside
//! there is counted for good, so that no two creations are promised the same room. Hosts are held before images, and
//! several hosts in the order of their ids, so that no two transactions wait for each other.

use super::containers::{NewContainer, fits};
use super::{Result, ServiceError, copies};
use crate::domain::container::Container;
use crate::domain::host::{Host, HostState};
use crate::domain::image::{Image, usable_on};
use crate::domain::placement::{
    Asked, Candidate, Obstacle, Place, PoolRules, Reserved, Wish, decide, explain, obstacles,
};
use crate::domain::{Kind, Refusal, Violation};
use crate::store::{self, Conn};
use dockerforge_protocol::ids::{ContainerId, HostId, ImageId, JobId, UserId};
use dockerforge_protocol::spec::{ContainerSpec, Labels};

/// What was found for a container.
pub(super) struct Placed {
    /// Where it goes.
    pub(super) host: Host,
    /// What it is made of.
    pub(super) image: ImageId,
    /// What has to end before it can be made.
    pub(super) after: Option<JobId>,
}

/// Finds the host and the image of a new container, holds both, and gives the container the limits that the host demands.
/// With `insist` all hosts that come into question are held first: somebody was faster at the first try.
pub(super) async fn place(
    conn: &mut Conn,
    user: UserId,
    rules: &PoolRules,
    id: ContainerId,
    new: &mut NewContainer,
    insist: bool,
) -> Result<Placed> {
    let placed = match new.place.clone() {
        Place::Host(host) => named(conn, user, rules, id, host, new).await?,
        Place::Pool(wish) => chosen(conn, user, rules, id, &wish, new, insist).await?,
        Place::Open if store::hosts::pool(conn).await?.is_empty() => {
            return Err(Refusal::invalid("/host", "name one of your hosts: there is no other to place it on").into());
        }
        Place::Open => chosen(conn, user, rules, id, &Wish::default(), new, insist).await?,
    };
    fits(conn, user, placed.host.id, id, &new.spec).await?;
    if placed.host.user != user {
        store::placement::add_tenant(conn, placed.host.id, user).await?;
    }
    Ok(placed)
}

/// The image, held, and usable on a host that is held; with the job that brings it there first, if it is not there.
pub(super) async fn image_on(
    conn: &mut Conn,
    user: UserId,
    image: ImageId,
    host: HostId,
) -> Result<(Image, Option<JobId>)> {
    store::images::hold(conn, image).await?;
    let image = visible(conn, user, image).await?;
    let presence = store::images::presence(conn, &[image.id]).await?;
    let Err(refusal) = usable_on(&image, presence.iter().find(|p| p.host == host), host) else {
        return Ok((image, None));
    };
    let sources = store::images::sources(conn, &image, &presence).await?;
    let of = store::hosts::find(conn, host).await?.map(|host| host.user);
    let Some(way) = of.and_then(|user| image.way_to(user, &sources)) else { return Err(refusal.into()) };
    let job = copies::obtain(conn, &image, way, host).await?;
    Ok((image, Some(job)))
}

async fn visible(conn: &mut Conn, user: UserId, image: ImageId) -> Result<Image> {
    let found = store::images::get_visible(conn, user, image).await?;
    found.ok_or_else(|| Refusal::invalid("/image", format!("there is no image {image}")).into())
}

/// A host that the user named: his own.
async fn named(
    conn: &mut Conn,
    user: UserId,
    rules: &PoolRules,
    id: ContainerId,
    host: HostId,
    new: &mut NewContainer,
) -> Result<Placed> {
    store::placement::hold(conn, host).await?;
    let mut violations = Vec::new();
    let found = store::hosts::get(conn, user, host).await?;
    match found.as_ref().map(|h| h.state) {
        None => violations.push(Violation::new("/host", format!("there is no host {host}"))),
        Some(HostState::Deleting) => violations.push(Violation::new("/host", format!("{host} is being deleted"))),
        Some(_) => {}
    }
    if store::images::get_visible(conn, user, new.image).await?.is_none() {
        violations.push(Violation::new("/image", format!("there is no image {}", new.image)));
    }
    let Some(found) = found.filter(|_| violations.is_empty()) else { return Err(Refusal::Invalid(violations).into()) };
    if found.draining {
        return Err(Refusal::HostDraining(host).into());
    }
    let (image, after) = image_on(conn, user, new.image, host).await?;
    if found.pool {
        limit(rules, &mut new.spec)?;
        let labels = Labels::default();
        let asked = Asked { container: id, spec: &new.spec, labels: &labels, links: &[], strategy: rules.strategy };
        let candidates = candidates(conn, std::slice::from_ref(&found), &image, &new.spec).await?;
        // Of a host that its owner names he knows the rest: what is asked of it waits until it can be done.
        let all = candidates.iter().flat_map(|candidate| obstacles(rules, &asked, candidate));
        let missing: Vec<Obstacle> = all.filter(Obstacle::is_room).collect();
        if !missing.is_empty() {
            return Err(Refusal::NothingFits(explain(user, &[found], &[(host, missing)])).into());
        }
    }
    Ok(Placed { host: found, image: image.id, after })
}

/// A shared host that fits.
async fn chosen(
    conn: &mut Conn,
    user: UserId,
    rules: &PoolRules,
    id: ContainerId,
    wish: &Wish,
    new: &mut NewContainer,
    insist: bool,
) -> Result<Placed> {
    let mut pool = store::hosts::pool(conn).await?;
    if insist {
        for host in &pool {
            store::placement::hold(conn, host.id).await?;
        }
        pool = store::hosts::pool(conn).await?;
    }
    pool.retain(|host| Some(host.id) != wish.except);
    limit(rules, &mut new.spec)?;
    if pool.iter().any(|host| host.user != user) {
        given_ports(&new.spec)?;
    }
    let image = visible(conn, user, new.image).await?;
    let links = links(conn, user, &new.spec).await?;
    let strategy = wish.strategy.unwrap_or(rules.strategy);
    let asked = Asked { container: id, spec: &new.spec, labels: &wish.labels, links: &links, strategy };
    let host = decide(rules, &asked, &candidates(conn, &pool, &image, &new.spec).await?)
        .map_err(|found| Refusal::NothingFits(explain(user, &pool, &found)))?;
    if !insist {
        store::placement::hold(conn, host).await?;
        let now = store::hosts::find(conn, host).await?.filter(|host| host.pool);
        let again = candidates(conn, now.as_slice(), &image, &new.spec).await?;
        if !again.iter().any(|candidate| obstacles(rules, &asked, candidate).is_empty()) {
            return Err(ServiceError::Outrun);
        }
    }
    let (image, after) = image_on(conn, user, new.image, host).await?;
    let host = pool.into_iter().find(|row| row.id == host).ok_or(ServiceError::Outrun)?;
    Ok(Placed { host, image: image.id, after })
}

/// Whether a container can become something else where it is. What its host demands holds as when it was made.
pub(super) async fn stay(
    conn: &mut Conn,
    rules: &PoolRules,
    container: &Container,
    after: &mut ContainerSpec,
) -> Result<Host> {
    store::placement::hold(conn, container.host).await?;
    let host = store::hosts::find(conn, container.host).await?.ok_or(Refusal::NotFound(Kind::Container))?;
    if !host.pool {
        return Ok(host);
    }
    limit(rules, after)?;
    if host.user != container.user {
        given_ports(after)?;
    }
    let (was, will) = (Reserved::of(&container.spec), Reserved::of(after));
    let reserved = store::placement::reserved(conn, &[host.id]).await?.first().map(|(_, sum)| *sum).unwrap_or_default();
    let others = Reserved {
        cpus: reserved.cpus.saturating_sub(was.cpus),
        memory: reserved.memory.saturating_sub(was.memory),
        containers: reserved.containers.saturating_sub(1),
    };
    let candidate = Candidate { host, reserved: others, image: true, containers: Vec::new() };
    let labels = Labels::default();
    let asked = Asked { container: container.id, spec: after, labels: &labels, links: &[], strategy: rules.strategy };
    // What grows needs room; what shrinks gives it back, however full the host is.
    let grows = |o: &Obstacle| match o {
        Obstacle::Cpus(..) => will.cpus > was.cpus,
        Obstacle::Memory(..) => will.memory > was.memory,
        _ => false,
    };
    let missing: Vec<Obstacle> = obstacles(rules, &asked, &candidate).into_iter().filter(grows).collect();
    if !missing.is_empty() {
        let hosts = std::slice::from_ref(&candidate.host);
        return Err(Refusal::NothingFits(explain(container.user, hosts, &[(candidate.host.id, missing)])).into());
    }
    Ok(candidate.host)
}

fn limit(rules: &PoolRules, spec: &mut ContainerSpec) -> Result<()> {
    rules.limit(spec).map_or(Ok(()), |violation| Err(Refusal::Invalid(vec![violation]).into()))
}

/// On another's host one gets a port, and does not choose it.
fn given_ports(spec: &ContainerSpec) -> Result<()> {
    let named = spec.ports.iter().enumerate().filter(|(_, port)| port.host.is_some());
    let violations: Vec<Violation> = named
        .map(|(i, _)| {
            let detail = "a pool host gives a port, one of 20000 to 29999: leave this out";
            Violation::new(format!("/ports/{i}/host"), detail)
        })
        .collect();
    if violations.is_empty() { Ok(()) } else { Err(Refusal::Invalid(violations).into()) }
}

/// Where the containers are that are to be linked.
async fn links(conn: &mut Conn, user: UserId, spec: &ContainerSpec) -> Result<Vec<(ContainerId, HostId)>> {
    let (mut known, mut violations) = (Vec::new(), Vec::new());
    for (i, link) in spec.links.iter().enumerate() {
        match store::containers::get(conn, user, link.container).await? {
            Some(container) => known.push((container.id, container.host)),
            None => violations.push(Violation::new(
                format!("/links/{i}/container"),
                format!("there is no other container {}", link.container),
            )),
        }
    }
    if violations.is_empty() { Ok(known) } else { Err(Refusal::Invalid(violations).into()) }
}

async fn candidates(conn: &mut Conn, hosts: &[Host], image: &Image, spec: &ContainerSpec) -> Result<Vec<Candidate>> {
    let ids: Vec<HostId> = hosts.iter().map(|host| host.id).collect();
    let reserved = store::placement::reserved(conn, &ids).await?;
    let presence = store::images::presence(conn, &[image.id]).await?;
    let usable = |host: &Host| usable_on(image, presence.iter().find(|p| p.host == host.id), host.id).is_ok();
    // Who may give it matters only where somebody lacks it.
    let sources =
        if hosts.iter().all(usable) { Vec::new() } else { store::images::sources(conn, image, &presence).await? };
    let by_number = spec.ports.iter().any(|port| port.host.is_some());
    let mut candidates = Vec::with_capacity(hosts.len());
    for host in hosts {
        candidates.push(Candidate {
            reserved: reserved.iter().find(|(id, _)| *id == host.id).map(|(_, sum)| *sum).unwrap_or_default(),
            image: usable(host) || image.way_to(host.user, &sources).is_some(),
            containers: if by_number { store::containers::on_host(conn, host.id).await? } else { Vec::new() },
            host: host.clone(),
        });
    }
    Ok(candidates)
}
