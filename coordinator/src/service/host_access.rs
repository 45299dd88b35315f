//! Whether a container reaches into its host, as the rows tell it, and whether a token may touch it then. Called by the
//! other use cases within their transactions.

use super::Result;
use crate::domain::Refusal;
use crate::domain::container::Container;
use crate::domain::host_access::{makes_reaching, may_touch, reaches, writes_where_another_reaches};
use crate::domain::job::Subject;
use crate::domain::user::{Scope, Scopes};
use crate::store::{self, Conn};
use dockerforge_protocol::ids::{ContainerId, HostId, UserId};
use dockerforge_protocol::spec::ContainerSpec;

/// Demands the scope for a container that reaches into its host: now, or once a job about it that is not over has ended.
/// The row says what it is only then, while the next job already finds it so.
pub(super) async fn demand(conn: &mut Conn, container: &Container, scopes: Scopes) -> Result<()> {
    if scopes.has(Scope::HostRoot) {
        return Ok(());
    }
    let open = store::jobs::open_about_whole(conn, Subject::Container(container.id)).await?;
    let soon = open.iter().filter_map(|job| job.command.as_ref()).any(makes_reaching);
    Ok(may_touch(soon || reaches(&container.spec), scopes)?)
}

/// Demands the scope for a container that writes to a volume of one that reaches into the host.
pub(super) async fn demand_for_volumes(
    conn: &mut Conn,
    user: UserId,
    host: HostId,
    id: ContainerId,
    spec: &ContainerSpec,
    scopes: Scopes,
) -> Result<()> {
    if scopes.has(Scope::HostRoot) || spec.volumes.iter().all(|mount| mount.read_only) {
        return Ok(());
    }
    let on_host = store::containers::on_host(conn, host).await?;
    if writes_where_another_reaches(spec, user, id, &on_host) {
        return Err(Refusal::ScopeMissing(Scope::HostRoot).into());
    }
    Ok(())
}
