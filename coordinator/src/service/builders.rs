//! Where an image is built whose user names no host, and what a build may use. What must hold: on a host that users share
//! nothing is built but what a public template says, for the steps of a build run as root there, with the network of the
//! host's own containers, and fetch what they are told.

use super::{Result, ServiceError};
use crate::domain::Refusal;
use crate::domain::host::{Host, HostState};
use crate::domain::image::{ImageSource, Recipe};
use crate::domain::placement::{Asked, Candidate, PoolRules, build_limits, decide, explain};
use crate::store::{self, Conn};
use dockerforge_protocol::ids::{ContainerId, HostId, ImageId, UserId};
use dockerforge_protocol::spec::{ContainerSpec, Labels, Resources};

/// The shared host that builds an image; to be held, and then taken. `pointer` is where the request could name another.
pub(super) async fn chosen(
    conn: &mut Conn,
    user: UserId,
    rules: &PoolRules,
    image: ImageId,
    source: &ImageSource,
    pointer: &str,
) -> Result<HostId> {
    if !is_ours(conn, user, source).await? {
        let detail = "name one of your hosts: on those that all users share, only images of public templates are built";
        return Err(Refusal::invalid(pointer, detail).into());
    }
    let pool = store::hosts::pool(conn).await?;
    if pool.is_empty() {
        return Err(Refusal::invalid(pointer, "name one of your hosts: there is no other to build it on").into());
    }
    let ids: Vec<HostId> = pool.iter().map(|host| host.id).collect();
    let reserved = store::placement::reserved(conn, &ids).await?;
    let candidate = |host: &Host| Candidate {
        reserved: reserved.iter().find(|(id, _)| *id == host.id).map(|(_, sum)| *sum).unwrap_or_default(),
        image: true,
        containers: Vec::new(),
        host: host.clone(),
    };
    let candidates: Vec<Candidate> = pool.iter().map(candidate).collect();
    let spec = ContainerSpec { resources: rules.build, ..ContainerSpec::default() };
    // A build is gone before long: it needs the room now, and none is set aside for it.
    let asked = Asked {
        container: ContainerId::from_uuid(image.uuid()),
        spec: &spec,
        labels: &Labels::default(),
        links: &[],
        strategy: rules.strategy,
    };
    Ok(decide(rules, &asked, &candidates).map_err(|found| Refusal::NothingFits(explain(user, &pool, &found)))?)
}

/// Takes a shared host that was chosen, and is held by now.
pub(super) async fn take(conn: &mut Conn, user: UserId, host: HostId) -> Result<()> {
    let still = |host: &Host| host.pool && !host.draining && host.state != HostState::Deleting;
    store::hosts::find(conn, host).await?.filter(still).ok_or(ServiceError::Outrun)?;
    store::placement::add_tenant(conn, host, user).await?;
    Ok(())
}

/// Whether an image is made of a public template, which are administrators' alone.
async fn is_ours(conn: &mut Conn, user: UserId, source: &ImageSource) -> Result<bool> {
    let ImageSource::Dockerfile(Recipe { made_of: Some(of), .. }) = source else { return Ok(false) };
    let configuration = super::configurations::named(conn, user, of.configuration, Some(of.version)).await?;
    Ok(super::configurations::made_of(conn, &configuration).await?.public)
}

/// What a build on a host may use.
pub(super) async fn limits(conn: &mut Conn, rules: &PoolRules, host: HostId) -> Result<Resources> {
    let host = store::hosts::find(conn, host).await?;
    Ok(host.map(|host| build_limits(rules, &host)).unwrap_or_default())
}
