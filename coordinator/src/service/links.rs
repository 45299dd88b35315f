//! Links between containers: whether a container has those that its template requires. Called within the transactions that
//! make and change containers.

use super::Result;
use crate::domain::Refusal;
use crate::domain::link::{missing, unmet};
use crate::store::{self, Conn};
use dockerforge_protocol::ids::{ContainerId, HostId, ImageId, UserId};
use dockerforge_protocol::spec::ContainerSpec;

/// Whether a container of an image is linked to all that its template requires, as the version says that it is converged to. Who has it refused is told what would do, on this host if it is said.
pub(super) async fn suffice(
    conn: &mut Conn,
    user: UserId,
    host: Option<HostId>,
    image: ImageId,
    spec: &ContainerSpec,
) -> Result<()> {
    if store::images::get_visible(conn, user, image).await?.is_none() {
        // What it is of is nothing for him to know.
        return Ok(());
    }
    let required = store::links::required(conn, user, image).await?;
    if required.is_empty() {
        return Ok(());
    }
    let linked: Vec<ContainerId> = spec.links.iter().map(|link| link.container).collect();
    let lacking = missing(&required, &store::links::providers(conn, user, Some(&linked)).await?);
    if lacking.is_empty() {
        return Ok(());
    }
    let providers = store::links::providers(conn, user, None).await?;
    let hosts: Vec<HostId> = providers.iter().map(|provider| provider.host).collect();
    let foreign = store::placement::foreign(conn, user, &hosts).await?;
    let named: Vec<HostId> = hosts.into_iter().filter(|host| !foreign.contains(host)).collect();
    let violations = lacking.iter().map(|service| unmet(service, host, &providers, &named)).collect();
    Err(Refusal::Invalid(violations).into())
}
