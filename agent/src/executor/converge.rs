//! [`Command::ConvergeContainer`](dockerforge_protocol::command::Command::ConvergeContainer): what converges a container is
//! laid down in it, and runs there towards the node. What must hold: the node's secrets are read from a pipe and are nowhere
//! on a disk of ours; of two attempts of one job only one runs; a converge that is repeated changes nothing more.

use super::outcomes::Outcomes;
use super::work::{Work, failed};
use super::{Ended, container, exec};
use crate::docker::NewExec;
use bytes::Bytes;
use dockerforge_protocol::command::{ContextRef, ConvergeContainer};
use dockerforge_protocol::inventory::ContainerState;
use dockerforge_protocol::report::{FailureKind, Product, ResourceOutcome};
use secrecy::ExposeSecret;
use std::time::Duration;

/// Where the archive is unpacked: the folder that [`CONVERGE_HOME`](dockerforge_protocol::command::CONVERGE_HOME) is in.
const PARENT: &str = "/opt";
/// Removes what one left that was interrupted, before it ran or while it did: the node, with its secrets, is in memory then.
const SWEEP: &str = "rm -rf /opt/dockerforge.next /dev/shm/dockerforge.*";
/// Removes what one job's left, which is its argument: another one may run.
const SWEEP_JOB: &str = "rm -rf \"/dev/shm/dockerforge.$1\".*";
/// How long that may take after a converge that was killed.
const SWEEPING: Duration = Duration::from_secs(10);
/// Puts what was unpacked in the place of what was there, and runs it. Written here; nothing of a user's is in it.
const RUN: &str = "rm -rf /opt/dockerforge && mv /opt/dockerforge.next /opt/dockerforge && \
                   exec sh /opt/dockerforge/converge.sh run";
/// Who converges.
const ROOT: &str = "0:0";

/// Brings a container to what its configuration says.
pub(super) async fn converge(work: &Work<'_>, command: &ConvergeContainer) -> Result<Product, Ended> {
    work.done("accepted");
    let found = exec::running(work, command.container, command.user).await?;
    let resources = within(work, &found.id, &command.context).await?;
    Ok(Product::Converged { resources })
}

/// Ends what an attempt of an earlier life of the agent began of a job that does not go on, and removes its node. Best effort: the
/// next converge looks again.
pub(super) async fn undo(work: &Work<'_>, command: &ConvergeContainer) {
    let Ok(found) = container::there(work, command.container, command.user).await else { return };
    if found.state == ContainerState::Running {
        let job = work.attempt.job.to_string();
        let _ = exec::kill_marked(work, &found.id, Some(ROOT), &exec::mark(work)).await;
        let _ = exec::shell(work, &found.id, Some(ROOT), &[SWEEP_JOB, "sh", &job]).await;
    }
}

/// Brings a container that runs, by Docker's id of it, to what the job's node says; answers what changed.
pub(super) async fn within(
    work: &Work<'_>,
    container: &str,
    context: &ContextRef,
) -> Result<Vec<ResourceOutcome>, Ended> {
    let mark = exec::mark(work);
    // What an attempt before this one began may go on.
    exec::kill_marked(work, container, Some(ROOT), &mark).await?;
    exec::shell(work, container, Some(ROOT), &[SWEEP]).await?;

    work.step("fetching what converges it", None)?;
    let unavailable = |error: super::SupplyError| failed(FailureKind::ContextUnavailable, error.to_string());
    let supplies = &work.settings.supplies;
    let node = work.unless_stopped(supplies.node(work.attempt.job)).await?.map_err(unavailable)?;
    let context = work.unless_stopped(supplies.context(work.attempt.job, context)).await?.map_err(unavailable)?;
    work.step("laying it down", None)?;
    work.settings.engine.container_unpack(container, PARENT, context).await?;
    work.done("unpacked");

    let input = Bytes::copy_from_slice(node.json.expose_secret().as_bytes());
    let new = NewExec {
        command: ["sh", "-c", RUN].map(str::to_owned).to_vec(),
        env: vec![mark.clone(), format!("DOCKERFORGE_NODE_SIZE={}", input.len())],
        user: Some(ROOT.to_owned()),
        workdir: None,
        reads: true,
    };
    let id = exec::create(work, container, &new).await?;
    work.step("converging", None)?;
    let mut outcomes = Outcomes::without(&node.secrets);
    let ended = exec::follow(work, &id, Some(input), &mut |piece| {
        work.write(&outcomes.pass(piece.unwrap_or_default(), piece.is_none()));
    })
    .await;
    work.done("ran");
    if exec::must_be_killed(work, &ended) {
        exec::kill(work, container, Some(ROOT), &mark, &id).await;
        // Best effort: the next one looks again, and memory goes with the container.
        let swept = exec::shell(work, container, Some(ROOT), &[SWEEP]);
        let _ = tokio::time::timeout(SWEEPING, swept).await;
    }
    match ended? {
        0 => Ok(outcomes.resources()),
        code => Err(failed(FailureKind::ConvergeFailed, outcomes.explain(code))),
    }
}
