//! `/containers/{id}/start`, `/stop` and `/restart`: what is done with a container that is there.

use super::State;
use super::error::{ApiError, Problem};
use super::extract::{Caller, Check, Id, MaybeJson};
use super::jobs::{JobBody, started};
use super::values::wait;
use crate::access::Write;
use crate::service::operations::Operation;
use axum::extract::State as Shared;
use axum::response::Response;
use dockerforge_protocol::ids::ContainerId;
use serde::Deserialize;
use utoipa::ToSchema;

/// The most that may be asked for, seconds.
const MAX_GRACE: u32 = 300;

/// How to start a container.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartBody {
    /// Seconds that it may wait for its host: 1 to 2592000; a day where absent.
    deadline: Option<i64>,
}

/// How to stop a container.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StopBody {
    /// Seconds that it may take to end by itself before it is killed: 0 to 300; its own `stop_grace`, or 10, where absent.
    #[schema(example = 10)]
    grace: Option<i64>,
    /// Seconds that it may wait for its host: 1 to 2592000; a day where absent.
    deadline: Option<i64>,
}

impl StopBody {
    /// The grace, if one is named; `None` if it cannot be.
    fn grace(&self, check: &mut Check) -> Option<Option<u32>> {
        let Some(grace) = self.grace else { return Some(None) };
        let grace = u32::try_from(grace).ok().filter(|grace| *grace <= MAX_GRACE);
        check.take("/grace", grace.ok_or("expected 0 to 300 seconds")).map(Some)
    }
}

async fn operate(
    state: &State,
    caller: &Caller,
    digest: [u8; 32],
    id: ContainerId,
    mut check: Check,
    operation: Option<Operation>,
    deadline: Option<i64>,
) -> Result<Response, ApiError> {
    let permit = caller.may(Write)?;
    let wait = wait(&mut check, deadline);
    let operation = check.finish(operation)?;
    let key = caller.key(digest);
    let job = state.services.container_operate(&permit, key.as_ref(), id, operation, wait).await?;
    started(state, caller, job).await
}

/// Starts a container. One that runs is left running.
#[utoipa::path(post, operation_id = "container_start", path = "/containers/{id}/start", tag = "containers", params(("id" = String, Path, description = "The container's id")),
    request_body(content = Option<StartBody>, description = "May be absent"), responses(
    (status = 202, description = "The job that does it", body = JobBody), (status = 200, description = "The job, ended within the time to wait", body = JobBody),
    (status = 400, description = "Not JSON", body = Problem), (status = 401, description = "Not signed in", body = Problem), (status = 404, description = "No such container", body = Problem),
    (status = 409, description = "It is being deleted", body = Problem), (status = 413, description = "Too large", body = Problem),
    (status = 415, description = "Not JSON by its type", body = Problem), (status = 422, description = "Values cannot be", body = Problem),
    (status = 429, description = "Too many jobs are waiting", body = Problem)))]
pub(super) async fn start(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<ContainerId>,
    body: MaybeJson<StartBody>,
) -> Result<Response, ApiError> {
    let operation = Some(Operation::Start);
    operate(&state, &caller, body.digest, id, Check::default(), operation, body.value.deadline).await
}

/// Stops a container. It stays, with all it has written, and is not started again until somebody asks.
#[utoipa::path(post, operation_id = "container_stop", path = "/containers/{id}/stop", tag = "containers", params(("id" = String, Path, description = "The container's id")),
    request_body(content = Option<StopBody>, description = "May be absent"), responses(
    (status = 202, description = "The job that does it", body = JobBody), (status = 200, description = "The job, ended within the time to wait", body = JobBody),
    (status = 400, description = "Not JSON", body = Problem), (status = 401, description = "Not signed in", body = Problem), (status = 404, description = "No such container", body = Problem),
    (status = 409, description = "It is being deleted", body = Problem), (status = 413, description = "Too large", body = Problem),
    (status = 415, description = "Not JSON by its type", body = Problem), (status = 422, description = "Values cannot be", body = Problem),
    (status = 429, description = "Too many jobs are waiting", body = Problem)))]
pub(super) async fn stop(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<ContainerId>,
    body: MaybeJson<StopBody>,
) -> Result<Response, ApiError> {
    let mut check = Check::default();
    let operation = body.value.grace(&mut check).map(Operation::Stop);
    operate(&state, &caller, body.digest, id, check, operation, body.value.deadline).await
}

/// Stops a container and starts it, once. One that is stopped is started.
#[utoipa::path(post, operation_id = "container_restart", path = "/containers/{id}/restart", tag = "containers", params(("id" = String, Path, description = "The container's id")),
    request_body(content = Option<StopBody>, description = "May be absent"), responses(
    (status = 202, description = "The job that does it", body = JobBody), (status = 200, description = "The job, ended within the time to wait", body = JobBody),
    (status = 400, description = "Not JSON", body = Problem), (status = 401, description = "Not signed in", body = Problem), (status = 404, description = "No such container", body = Problem),
    (status = 409, description = "It is being deleted", body = Problem), (status = 413, description = "Too large", body = Problem),
    (status = 415, description = "Not JSON by its type", body = Problem), (status = 422, description = "Values cannot be", body = Problem),
    (status = 429, description = "Too many jobs are waiting", body = Problem)))]
pub(super) async fn restart(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<ContainerId>,
    body: MaybeJson<StopBody>,
) -> Result<Response, ApiError> {
    let mut check = Check::default();
    let operation = body.value.grace(&mut check).map(Operation::Restart);
    operate(&state, &caller, body.digest, id, check, operation, body.value.deadline).await
}
