//! `POST /containers/{id}/move`: a container goes to another host, with what is in its volumes.

use super::State;
use super::containers::{WishBody, place};
use super::document::schemas as s;
use super::error::ApiError;
use super::extract::{Caller, Check, Id, Json as Body};
use super::jobs::{JobBody, started};
use super::operations::grace;
use super::values::wait;
use crate::access::Write;
use crate::service::moves::NewMove;
use axum::extract::State as Shared;
use axum::response::Response;
use dockerforge_protocol::ids::ContainerId;
use serde::Deserialize;
use utoipa::ToSchema;

/// Where a container is to go.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveBody {
    /// The id of one of your hosts. Exactly one of this and `placement`.
    #[schema(value_type = Option<s::HostId>, example = "hst_0192f0c1a2b37c4d8e5f60718293a4b5")]
    host: Option<String>,
    /// How one of the hosts that users share is chosen, another than where it is.
    placement: Option<WishBody>,
    /// Seconds that it may take to end by itself before it is killed: 0 to 300; its own `stop_grace`, or 10, where absent.
    #[schema(value_type = Option<s::StopGrace>, example = 10)]
    grace: Option<i64>,
    /// Seconds that it may wait for its hosts: 1 to 2592000; a day where absent.
    #[schema(value_type = Option<s::Deadline>)]
    deadline: Option<i64>,
}

/// Moves a container to another host, with what is in its named volumes. It keeps its id and its name. Its image is brought
/// there first, then it is stopped, its volumes are brought over, and it is started there if it was running; only then is
/// it removed where it was, and its volumes with it. Whatever fails on the way, it runs again where it was. Ports that
/// were given to it may be others there. What a program wrote outside its volumes does not come along. A container of a
/// configuration is converged where it is then, once it runs there: the last `progress` of the job says so, and `convergence` of
/// the container how that stands.
#[utoipa::path(post, operation_id = "container_move", path = "/containers/{id}/move", tag = "containers", params(("id" = String, Path, description = "The container's id")),
    request_body = MoveBody, responses(
    (status = 202, description = "The job that does it", body = JobBody)),
    extensions(("x-problems" = json!(["being-deleted", "being-changed", "container-moving", "linked", "volume-in-use",
        "bound-to-host", "port-taken", "image-not-ready", "host-draining", "nothing-fits", "agent-too-old", "quota-exceeded"]))))]
pub(super) async fn relocate(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<ContainerId>,
    body: Body<MoveBody>,
) -> Result<Response, ApiError> {
    let permit = caller.may(Write)?;
    let mut check = Check::default();
    let key = caller.key(body.digest);
    let place = place(&mut check, body.value.host.as_deref(), body.value.placement.as_ref());
    let grace = grace(&mut check, body.value.grace);
    let wait = wait(&mut check, body.value.deadline);
    let place = check.finish(place)?;
    let asked = NewMove { place, grace, wait };
    let job = state.services.container_move(&permit, key.as_ref(), id, asked).await?;
    started(&state, &caller, job).await
}
