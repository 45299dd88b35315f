//! Converges that nobody asks for: a container of a configuration that was made anew without running (changed while it was
//! stopped, moved to another host) is converged once it runs. Run beside everything else; takes no input.
//!
//! What must hold: what is due is read from the rows, so that nothing is lost with a process or a session; of several
//! coordinators, and of a user who asks for it himself, one has it done; what fails or is cancelled is not asked for for ever
//! (`domain::converge`).

use super::converge::request;
use super::{Result, ServiceError, Services};
use crate::domain::Timestamp;
use crate::domain::container::Container;
use crate::domain::converge::Owed;
use crate::domain::host_access::reaches;
use crate::queue;
use crate::store::{self, Conn};
use dockerforge_protocol::command::Convergence;
use dockerforge_protocol::ids::{ContainerId, HostId, UserId};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it is looked for what is due.
const POLL: Duration = Duration::from_secs(1);

impl Services {
    /// Lets containers that are due be converged, until told to stop.
    pub async fn run_due(self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(POLL)).await.is_some() {
            if let Err(error) = self.converge_due().await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "it could not be looked for what is to be converged"
                );
            }
        }
    }

    async fn converge_due(&self) -> Result<()> {
        let due = store::converge::due(&mut self.store.read().await?, None, crate::clock::now()).await?;
        for (container, user) in due {
            // Each for itself: one that cannot be converged keeps nobody else's from it.
            if let Err(error) = self.converge_one(container, user).await {
                tracing::warn!(%container, error = &error as &dyn std::error::Error, "a container that is due could not be converged");
                let in_vain =
                    self.store.write(move |conn| Box::pin(async move { in_vain(conn, container, user).await })).await;
                in_vain?;
            }
        }
        Ok(())
    }

    async fn converge_one(&self, id: ContainerId, user: UserId) -> Result<()> {
        let Some(seen) = store::containers::get(&mut self.store.read().await?, user, id).await? else { return Ok(()) };
        // Whoever says what runs as root in such a container may do so on its host, and here nobody says who he is.
        let prepared = if reaches(&seen.spec) { None } else { self.launch_context(user, seen.image).await? };
        let Some((to, claim)) = prepared else {
            let left = self
                .store
                .write(move |conn| Box::pin(async move { store::converge::made_anew(conn, id, false).await }))
                .await;
            return left.map_err(ServiceError::from);
        };
        fail::fail_point!("coordinator.due.prepared");
        let asked = self.store.write(move |conn| Box::pin(async move { ask(conn, &seen, to).await })).await;
        fail::fail_point!("coordinator.due.asked");
        self.context_release(claim).await;
        if let Some(host) = asked? {
            self.signals.wake_host(host);
        }
        Ok(())
    }
}

/// Asks for it, if it is still due; where.
async fn ask(conn: &mut Conn, seen: &Container, to: Convergence) -> Result<Option<HostId>> {
    let now = crate::clock::now();
    let Some((container, owed)) = hold(conn, seen.id, seen.user, now).await? else { return Ok(None) };
    if container.image != seen.image || reaches(&container.spec) {
        // What was prepared is not for what it is now.
        return Ok(None);
    }
    let job = queue::enqueue_following(conn, request(&container, to, None), now).await?;
    store::converge::keep(conn, &Owed { job: Some(job), ..owed }).await?;
    Ok(Some(container.host))
}

/// Notes that it could not be asked for.
async fn in_vain(conn: &mut Conn, id: ContainerId, user: UserId) -> Result<()> {
    let now = crate::clock::now();
    let Some((_, owed)) = hold(conn, id, user, now).await? else { return Ok(()) };
    store::converge::keep(conn, &owed.failed(now)).await?;
    Ok(())
}

/// A container that is still due, held, and what was asked of it before. Who asks for something to be done with it holds it, too.
async fn hold(
    conn: &mut Conn,
    id: ContainerId,
    user: UserId,
    now: Timestamp,
) -> std::result::Result<Option<(Container, Owed)>, ServiceError> {
    let Some(container) = store::containers::hold(conn, user, id).await? else { return Ok(None) };
    if store::converge::due(conn, Some(id), now).await?.is_empty() {
        return Ok(None);
    }
    let Some(docker_id) = container.observed.docker_id.clone() else { return Ok(None) };
    let owed = store::converge::owed(conn, &[id]).await?.pop().filter(|owed| owed.docker_id == docker_id);
    let owed = owed.unwrap_or_else(|| Owed::new(id, docker_id, now));
    Ok(Some((container, owed)))
}
