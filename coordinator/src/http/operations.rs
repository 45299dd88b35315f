//! `/containers/{id}/start`, `/stop`, `/restart` and `/exec`: what is done with a container that is there.

use super::State;
use super::document::schemas as s;
use super::error::ApiError;
use super::extract::{Caller, Check, Id, Json as Body, MaybeJson, Object};
use super::jobs::{JobBody, started};
use super::specs::parse_env;
use super::values::wait;
use crate::access::Write;
use crate::service::operations::{Operation, Program};
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
    #[schema(value_type = Option<s::Deadline>)]
    deadline: Option<i64>,
}

/// How to stop a container.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StopBody {
    /// Seconds that it may take to end by itself before it is killed: 0 to 300; its own `stop_grace`, or 10, where absent.
    #[schema(value_type = Option<s::StopGrace>, example = 10)]
    grace: Option<i64>,
    /// Seconds that it may wait for its host: 1 to 2592000; a day where absent.
    #[schema(value_type = Option<s::Deadline>)]
    deadline: Option<i64>,
}

/// The grace, if one is named and can be.
pub(super) fn grace(check: &mut Check, named: Option<i64>) -> Option<u32> {
    let grace = u32::try_from(named?).ok().filter(|grace| *grace <= MAX_GRACE);
    check.take("/grace", grace.ok_or("expected 0 to 300 seconds"))
}

/// A program to run in a container.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecBody {
    /// The program and its arguments. There is no shell unless you name one.
    #[schema(value_type = s::Program, example = json!(["sh", "-c", "mysqldump --all-databases > /backup/all.sql"]))]
    command: Vec<String>,
    /// Environment variables beside the container's own.
    #[serde(default)]
    #[schema(value_type = s::Environment)]
    env: Object<String>,
    /// Who it runs as: `user`, or `user:group`, by name or number; as the container's own program where absent.
    #[schema(value_type = Option<s::RunAs>)]
    user: Option<String>,
    /// The folder it begins in: an absolute path; the container's own where absent.
    #[schema(value_type = Option<s::AbsolutePath>)]
    workdir: Option<String>,
    /// Seconds within which a host has to take it, and that it may then run before it is killed: 1 to 86400; 600 where
    /// absent.
    #[schema(value_type = Option<s::ExecLimit>)]
    deadline: Option<i64>,
}

/// Seconds that a program may wait, and run, where nobody says.
const EXEC_LIMIT: u32 = 600;
/// The most that may be asked for, seconds.
const MAX_EXEC_LIMIT: u32 = 86_400;

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

/// Starts a container. One that runs is left running. One of a configuration that was made anew while it was stopped, or moved, is
/// converged then by a job of its own: its `convergence` says which, and how that stands.
#[utoipa::path(post, operation_id = "container_start", path = "/containers/{id}/start", tag = "containers", params(("id" = String, Path, description = "The container's id")),
    request_body(content = Option<StartBody>, description = "May be absent"), responses(
    (status = 202, description = "The job that does it", body = JobBody)),
    extensions(("x-problems" = json!(["being-deleted", "container-moving", "quota-exceeded"]))))]
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
    (status = 202, description = "The job that does it", body = JobBody)),
    extensions(("x-problems" = json!(["being-deleted", "container-moving", "quota-exceeded"]))))]
pub(super) async fn stop(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<ContainerId>,
    body: MaybeJson<StopBody>,
) -> Result<Response, ApiError> {
    let mut check = Check::default();
    let operation = Some(Operation::Stop(grace(&mut check, body.value.grace)));
    operate(&state, &caller, body.digest, id, check, operation, body.value.deadline).await
}

/// Stops a container and starts it, once. One that is stopped is started.
#[utoipa::path(post, operation_id = "container_restart", path = "/containers/{id}/restart", tag = "containers", params(("id" = String, Path, description = "The container's id")),
    request_body(content = Option<StopBody>, description = "May be absent"), responses(
    (status = 202, description = "The job that does it", body = JobBody)),
    extensions(("x-problems" = json!(["being-deleted", "container-moving", "quota-exceeded"]))))]
pub(super) async fn restart(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<ContainerId>,
    body: MaybeJson<StopBody>,
) -> Result<Response, ApiError> {
    let mut check = Check::default();
    let operation = Some(Operation::Restart(grace(&mut check, body.value.grace)));
    operate(&state, &caller, body.digest, id, check, operation, body.value.deadline).await
}

/// Runs a program in a container, at most once: its outputs are the job's log, its exit code the job's result. One that
/// ends with another code than 0 has succeeded all the same. Cancelling the job kills the program.
#[utoipa::path(post, operation_id = "container_exec", path = "/containers/{id}/exec", tag = "containers", params(("id" = String, Path, description = "The container's id")),
    request_body = ExecBody, responses(
    (status = 202, description = "The job that does it", body = JobBody)),
    extensions(("x-problems" = json!(["container-not-running", "being-deleted", "container-moving", "quota-exceeded"]))))]
pub(super) async fn exec(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<ContainerId>,
    body: Body<ExecBody>,
) -> Result<Response, ApiError> {
    let ExecBody { command, env, user, workdir, deadline } = body.value;
    let mut check = Check::default();
    let limit = deadline.map_or(Ok(EXEC_LIMIT), |seconds| {
        let limit = u32::try_from(seconds).ok().filter(|limit| (1..=MAX_EXEC_LIMIT).contains(limit));
        limit.ok_or("expected 1 to 86400 seconds")
    });
    let limit = check.take("/deadline", limit);
    let program = Program {
        command,
        env: parse_env(&mut check, &env),
        run_as: user.and_then(|user| check.parse("/user", &user)),
        workdir: workdir.and_then(|path| check.parse("/workdir", &path)),
        limit_s: limit.unwrap_or(EXEC_LIMIT),
    };
    let wait = Some(i64::from(program.limit_s));
    operate(&state, &caller, body.digest, id, check, Some(Operation::Exec(program)), wait).await
}
