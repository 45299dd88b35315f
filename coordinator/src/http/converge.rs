//! `POST /containers/{id}/converge`: a container that runs is brought to what its configuration says.

use super::State;
use super::error::{ApiError, Problem};
use super::extract::{Caller, Check, Id, MaybeJson};
use super::jobs::{JobBody, started};
use crate::access::Write;
use crate::service::converge::Converge;
use axum::extract::State as Shared;
use axum::response::Response;
use dockerforge_protocol::ids::ContainerId;
use jiff::SignedDuration;
use serde::Deserialize;
use utoipa::ToSchema;

/// Seconds that a converge may wait, and take, where nobody says.
const LIMIT: u32 = 1800;
/// The most that may be asked for, seconds.
const MAX_LIMIT: u32 = 86_400;

/// How to converge a container.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConvergeBody {
    /// The version of its configuration; the newest where absent.
    configuration_version: Option<u32>,
    /// Seconds within which its host has to take it, and that it may then take before it is killed: 1 to 86400; 1800 where
    /// absent.
    #[schema(example = 600)]
    deadline: Option<i64>,
}

/// Converges a container to its configuration, the one that its image was built of: what the configuration's run list says is
/// done in the container, which is not made anew. The job's log is what was said, its result each resource that changed;
/// a second converge changes nothing.
#[utoipa::path(post, operation_id = "container_converge", path = "/containers/{id}/converge", tag = "containers", params(("id" = String, Path, description = "The container's id")),
    request_body(content = Option<ConvergeBody>, description = "May be absent"), responses(
    (status = 202, description = "The job that does it", body = JobBody), (status = 200, description = "The job, ended within the time to wait", body = JobBody),
    (status = 400, description = "Not JSON", body = Problem), (status = 401, description = "Not signed in", body = Problem), (status = 403, description = "The token may not, the user is suspended, or his quota is used up", body = Problem), (status = 404, description = "No such container", body = Problem),
    (status = 409, description = "It is stopped, being deleted, or of no configuration", body = Problem), (status = 413, description = "Too large", body = Problem),
    (status = 415, description = "Not JSON by its type", body = Problem), (status = 422, description = "Values cannot be", body = Problem)))]
pub(super) async fn converge(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<ContainerId>,
    body: MaybeJson<ConvergeBody>,
) -> Result<Response, ApiError> {
    let permit = caller.may(Write)?;
    let mut check = Check::default();
    let limit = body.value.deadline.map_or(Ok(LIMIT), |seconds| {
        let limit = u32::try_from(seconds).ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
        limit.ok_or("expected 1 to 86400 seconds")
    });
    let limit = check.take("/deadline", limit);
    let limit_s = check.finish(limit)?;
    let wait = Some(SignedDuration::from_secs(limit_s.into()));
    let asked = Converge { version: body.value.configuration_version, limit_s, wait };
    let key = caller.key(body.digest);
    let job = state.services.container_converge(&permit, key.as_ref(), id, asked).await?;
    started(&state, &caller, job).await
}
