//! `PATCH /containers/{id}`: changing what a container is.

use super::State;
use super::document::schemas as s;
use super::error::ApiError;
use super::extract::{Caller, Check, Id, Json as Body, Object, Patched};
use super::host_access::HostAccessBody;
use super::jobs::{JobBody, started};
use super::secrets::SecretBody;
use super::specs::{Change, HealthcheckBody, LinkBody, PortBody, ResourcesBody, Said, TmpfsBody, VolumeBody};
use super::values::wait;
use crate::access::{Read, Write};
use crate::service::updates::Update;
use axum::extract::State as Shared;
use axum::response::Response;
use dockerforge_protocol::ids::ContainerId;
use serde::Deserialize;
use utoipa::ToSchema;

/// What is to be another from now on. What is named replaces what was there, as a whole; `null` is as if it had never
/// been said; what is not named stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateBody {
    /// The id of an image that is on the host.
    #[schema(value_type = Option<s::ImageId>)]
    image: Option<String>,
    /// The program and its arguments.
    #[serde(default)]
    #[schema(value_type = Option<s::Arguments>)]
    command: Patched<Vec<String>>,
    /// Environment variables, all of them.
    #[serde(default)]
    #[schema(value_type = Option<s::Environment>)]
    env: Patched<Object<String>>,
    /// Published ports.
    #[serde(default)]
    #[schema(value_type = Option<Vec<PortBody>>)]
    ports: Patched<Vec<PortBody>>,
    /// Named volumes.
    #[serde(default)]
    #[schema(value_type = Option<Vec<VolumeBody>>)]
    volumes: Patched<Vec<VolumeBody>>,
    /// Limits. Where nothing but these and `restart` changes, and none is taken away, the container runs on.
    #[serde(default)]
    #[schema(value_type = Option<ResourcesBody>)]
    resources: Patched<ResourcesBody>,
    /// `no`, `on-failure`, `always` or `unless-stopped`.
    #[serde(default)]
    #[schema(value_type = Option<s::RestartPolicy>)]
    restart: Patched<String>,
    /// Labels of your own, all of them.
    #[serde(default)]
    #[schema(value_type = Option<s::Labels>)]
    labels: Patched<Object<String>>,
    /// The program before `command`.
    #[serde(default)]
    #[schema(value_type = Option<s::Arguments>)]
    entrypoint: Patched<Vec<String>>,
    /// Who it runs as.
    #[serde(default)]
    #[schema(value_type = Option<s::RunAs>)]
    user: Patched<String>,
    /// The folder it begins in.
    #[serde(default)]
    #[schema(value_type = Option<s::AbsolutePath>)]
    workdir: Patched<String>,
    /// The name it has for itself.
    #[serde(default)]
    #[schema(value_type = Option<s::DnsLabel>)]
    hostname: Patched<String>,
    /// File systems in memory.
    #[serde(default)]
    #[schema(value_type = Option<Vec<TmpfsBody>>)]
    tmpfs: Patched<Vec<TmpfsBody>>,
    /// Whether it can write to its volumes and file systems in memory alone.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    read_only: Patched<bool>,
    /// Whether a small init is its first process.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    init: Patched<bool>,
    /// How one knows that it is well.
    #[serde(default)]
    #[schema(value_type = Option<HealthcheckBody>)]
    healthcheck: Patched<HealthcheckBody>,
    /// The signal that asks it to end.
    #[serde(default)]
    #[schema(value_type = Option<s::StopSignal>)]
    stop_signal: Patched<String>,
    /// Seconds that it may take to end.
    #[serde(default)]
    #[schema(value_type = Option<s::Grace>)]
    stop_grace: Patched<u64>,
    /// Containers that it finds by names of its own. A link that says of `provision` what it has keeps it; what a link that is
    /// not named any more has provisioned is taken back: its account goes, its data stay.
    #[serde(default)]
    #[schema(value_type = Option<Vec<LinkBody>>)]
    links: Patched<Vec<LinkBody>>,
    /// Secrets. One without a value keeps the value it has.
    #[serde(default)]
    #[schema(value_type = Option<s::Secrets>)]
    secrets: Patched<Object<SecretBody>>,
    /// Which of Docker's default capabilities it does not have.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    cap_drop: Patched<Vec<String>>,
    /// What it is given of its host, all of it. A container that is given any of it is only changed with a token that has
    /// the scope `host:root`, whatever the change.
    #[serde(default)]
    #[schema(value_type = Option<HostAccessBody>)]
    host_access: Patched<HostAccessBody>,
    /// Seconds that it may wait for its host: 1 to 2592000; a day where absent.
    #[schema(value_type = Option<s::Deadline>)]
    deadline: Option<i64>,
}

/// Changes what a container is. Limits and the restart policy change while it runs; for all else it is stopped and made
/// anew, its volumes kept. If the new one does not run, or does not become healthy, the old one is put back and the job
/// fails. One of a configuration is converged before the old one goes; where it is stopped, once it is started.
#[utoipa::path(patch, operation_id = "container_update", path = "/containers/{id}", tag = "containers", params(("id" = String, Path, description = "The container's id")),
    request_body = UpdateBody, responses(
    (status = 202, description = "The job that does it", body = JobBody)),
    extensions(("x-problems" = json!(["being-changed", "container-moving", "volume-in-use", "being-deleted", "container-not-running", "port-taken", "image-not-ready", "nothing-fits", "quota-exceeded"]))))]
pub(super) async fn update(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<ContainerId>,
    body: Body<UpdateBody>,
) -> Result<Response, ApiError> {
    let permit = caller.may(Write)?;
    let key = caller.key(body.digest);
    let before = state.services.container_get(&caller.may(Read)?, id).await?.container.spec;
    let body = body.value;
    let mut check = Check::default();
    let image = body.image.map(|image| check.parse("/image", &image));
    let wait = wait(&mut check, body.deadline);
    let change = Change {
        command: body.command,
        env: body.env,
        ports: body.ports,
        volumes: body.volumes,
        resources: body.resources,
        restart: body.restart,
        labels: body.labels,
        entrypoint: body.entrypoint,
        user: body.user,
        workdir: body.workdir,
        hostname: body.hostname,
        tmpfs: body.tmpfs,
        read_only: body.read_only,
        init: body.init,
        healthcheck: body.healthcheck,
        stop_signal: body.stop_signal,
        stop_grace: body.stop_grace,
        links: body.links,
        secrets: body.secrets,
        cap_drop: body.cap_drop,
        host_access: body.host_access,
    };
    let Said { spec: after, secrets, wishes } = change.apply(&mut check, before.clone());
    check.finish(Some(()))?;
    let update = Update { before, after, secrets, wishes, image: image.flatten(), wait, seen: caller.seen.clone() };
    let job = state.services.container_update(&permit, key.as_ref(), id, update).await?;
    started(&state, &caller, job).await
}
