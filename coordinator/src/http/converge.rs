//! `POST /containers/{id}/converge`: a container that runs is brought to what its configuration says. And whether it is there,
//! as a container shows it.

use super::State;
use super::document::schemas as s;
use super::error::ApiError;
use super::extract::{Caller, Check, Id, MaybeJson};
use super::jobs::{JobBody, started};
use crate::access::Write;
use crate::domain::container::Container;
use crate::domain::converge::{Converged, Owed, Standing};
use crate::service::converge::Converge;
use axum::extract::State as Shared;
use axum::response::Response;
use dockerforge_protocol::ids::ContainerId;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
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
    #[schema(value_type = Option<s::Version>)]
    configuration_version: Option<u32>,
    /// Seconds within which its host has to take it, and that it may then take before it is killed: 1 to 86400; 1800 where
    /// absent.
    #[schema(value_type = Option<s::ExecLimit>, example = 600)]
    deadline: Option<i64>,
}

/// How a container stands to its configuration.
#[derive(Serialize, ToSchema)]
pub struct ConvergenceBody {
    /// `converged`; `due`: it was made anew since (changed while it was stopped, or moved), and is converged by itself once it
    /// runs; `failed`, or `cancelled`: that converge did not succeed five times, or was cancelled, and is not asked for again
    /// until the container is made anew. `POST …/converge` does it at any time.
    #[schema(value_type = s::Standing)]
    pub state: &'static str,
    /// The version of its configuration that it was converged to.
    #[schema(value_type = Option<s::Version>)]
    pub configuration_version: Option<u32>,
    /// The converge that was last asked for because it is due.
    #[schema(value_type = Option<s::JobId>)]
    pub job: Option<String>,
}

impl ConvergenceBody {
    pub(super) fn of(container: &Container, last: &Converged, owed: Option<&Owed>) -> Self {
        let docker_id = container.observed.docker_id.as_deref();
        let state = Standing::of(docker_id, last, owed);
        let owed = owed.filter(|owed| state != Standing::Converged && docker_id == Some(owed.docker_id.as_str()));
        Self {
            state: state.as_str(),
            configuration_version: last.version.filter(|_| state == Standing::Converged),
            job: owed.and_then(|owed| owed.job).map(|job| job.to_string()),
        }
    }
}

/// Converges a container to its configuration, the one that its image was built of: what the configuration's run list says is
/// done in the container, which is not made anew. The job's log is what was said, its result each resource that changed;
/// a second converge changes nothing.
#[utoipa::path(post, operation_id = "container_converge", path = "/containers/{id}/converge", tag = "containers", params(("id" = String, Path, description = "The container's id")),
    request_body(content = Option<ConvergeBody>, description = "May be absent"), responses(
    (status = 202, description = "The job that does it", body = JobBody)),
    extensions(("x-problems" = json!(["being-deleted", "container-moving", "container-not-running", "not-configured", "quota-exceeded"]))))]
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
