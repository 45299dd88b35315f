//! `/containers`: asking for containers, seeing what they are meant to do and what they do, and removing them.

use super::State;
use super::error::{ApiError, Problem};
use super::extract::{Caller, Check, Id, Json as Body, Object, Query, page};
use super::jobs::{JobBody, started};
use super::respond::{Listing, listing};
use super::values::{labels, parse_labels, wait};
use crate::access::{Read, Write};
use crate::domain::container::ObservedState;
use crate::service::containers::{Filter, NewContainer, Seen};
use axum::Json;
use axum::extract::State as Shared;
use axum::response::Response;
use dockerforge_protocol::ids::ContainerId;
use dockerforge_protocol::spec::ResourceName;
use dockerforge_protocol::spec::{
    Bytes, ContainerSpec, MilliCpus, PidsLimit, PortMapping, PortProtocol, Resources, RestartPolicy, VolumeMount,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::NonZeroU16;
use utoipa::{IntoParams, ToSchema};

/// A container to be made. What is not named here cannot be asked for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewContainerBody {
    /// 1 to 63 characters of a-z, 0-9, '-', '_' or '.'; unique among your containers.
    #[schema(example = "blog")]
    name: String,
    /// The id of an image that is on the host.
    #[schema(example = "img_0192f0c1a2b37c4d8e5f60718293a4b5")]
    image: String,
    /// The id of one of your hosts.
    #[schema(example = "hst_0192f0c1a2b37c4d8e5f60718293a4b5")]
    host: String,
    /// The program and its arguments; the image's own where absent.
    #[serde(default)]
    command: Vec<String>,
    /// Environment variables.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    env: Object<String>,
    /// Published ports.
    #[serde(default)]
    ports: Vec<PortBody>,
    /// Named volumes.
    #[serde(default)]
    volumes: Vec<VolumeBody>,
    /// Limits.
    #[serde(default)]
    resources: ResourcesBody,
    /// `no`, `on-failure`, `always` or `unless-stopped`, which is what it is where absent.
    restart: Option<String>,
    /// Labels of your own.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    labels: Object<String>,
    /// Seconds that it may wait for its host: 1 to 2592000; a day where absent.
    deadline: Option<i64>,
}

/// A published port.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PortBody {
    /// In the container: 1 to 65535.
    #[schema(example = 80)]
    container: i64,
    /// On the host: 1 to 65535; Docker chooses where absent.
    #[schema(example = 8080)]
    host: Option<i64>,
    /// `tcp`, or `udp`.
    #[serde(default = "tcp")]
    #[schema(example = "tcp")]
    protocol: String,
}

fn tcp() -> String {
    PortProtocol::Tcp.to_string()
}

/// A named volume in a container.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeBody {
    /// Its name among your volumes on that host; made where it is absent.
    #[schema(example = "data")]
    volume: String,
    /// Where it appears: an absolute path.
    #[schema(example = "/var/lib/data")]
    target: String,
    /// Whether the container may only read it.
    #[serde(default)]
    read_only: bool,
}

/// Limits.
#[derive(Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourcesBody {
    /// Processors: 0.01 to 1024.
    #[schema(example = 0.5)]
    cpus: Option<f64>,
    /// Memory, bytes: at least 6 MiB.
    #[schema(example = 134_217_728)]
    memory: Option<u64>,
    /// Processes.
    #[schema(example = 100)]
    pids: Option<u64>,
}

/// A container.
#[derive(Serialize, ToSchema)]
pub struct ContainerBody {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it runs.
    pub image: String,
    /// Where.
    pub host: String,
    /// What it is meant to do: `running`, `stopped` or `removed`.
    pub desired_state: &'static str,
    /// What its host shows.
    pub observed: ObservedBody,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// Published ports, as asked for.
    pub ports: Vec<PortBody>,
    /// Named volumes.
    pub volumes: Vec<VolumeBody>,
    /// Limits.
    pub resources: ResourcesBody,
    /// When Docker starts it again.
    pub restart: &'static str,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When it was asked for.
    pub created_at: String,
}

/// What a host shows of a container.
#[derive(Serialize, ToSchema)]
pub struct ObservedBody {
    /// `pending` before its first report; Docker's `created`, `running`, `paused`, `restarting`, `exited`, `removing`, `dead`;
    /// `missing` if it was removed by hand; `unknown` while its host is silent.
    pub state: &'static str,
    /// Docker's id of it.
    pub docker_id: Option<String>,
    /// How it ended, if it has.
    pub exit_code: Option<i64>,
    /// When it last started.
    pub started_at: Option<String>,
    /// The ports it publishes now.
    pub ports: Vec<ObservedPortBody>,
    /// Its address in your network on that host.
    pub address: Option<String>,
    /// When this was reported.
    pub observed_at: Option<String>,
}

/// A port as it is published.
#[derive(Serialize, ToSchema)]
pub struct ObservedPortBody {
    /// In the container.
    pub container: u16,
    /// On the host.
    pub host: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
}

impl ContainerBody {
    fn of(seen: &Seen) -> Self {
        let (container, spec) = (&seen.container, &seen.container.spec);
        let observed = &container.observed;
        let known = observed.state != ObservedState::Pending;
        Self {
            id: container.id.to_string(),
            name: container.name.to_string(),
            image: container.image.to_string(),
            host: container.host.to_string(),
            desired_state: container.desired.as_str(),
            observed: ObservedBody {
                state: if seen.unknown && known { "unknown" } else { observed.state.as_str() },
                docker_id: observed.docker_id.clone(),
                exit_code: observed.exit_code,
                started_at: observed.started_at.map(|t| t.to_string()),
                ports: observed
                    .ports
                    .iter()
                    .map(|p| ObservedPortBody {
                        container: p.container,
                        host: p.host,
                        protocol: p.protocol.to_string(),
                    })
                    .collect(),
                address: observed.address.map(|a| a.to_string()),
                observed_at: observed.at.map(|t| t.to_string()),
            },
            command: spec.command.clone(),
            env: spec.env.iter().map(|(name, value)| (name.to_string(), value.clone())).collect(),
            ports: spec
                .ports
                .iter()
                .map(|p| PortBody {
                    container: p.container.get().into(),
                    host: p.host.map(|h| h.get().into()),
                    protocol: p.protocol.to_string(),
                })
                .collect(),
            volumes: spec
                .volumes
                .iter()
                .map(|m| VolumeBody {
                    volume: m.volume.to_string(),
                    target: m.target.to_string(),
                    read_only: m.read_only,
                })
                .collect(),
            resources: ResourcesBody {
                cpus: spec.resources.cpus.map(|c| f64::from(c.get()) / 1000.0),
                memory: spec.resources.memory.map(Bytes::get),
                pids: spec.resources.pids.map(|p| p.get().into()),
            },
            restart: spec.restart.as_str(),
            labels: labels(&spec.labels),
            created_at: container.created_at.to_string(),
        }
    }
}

fn port(check: &mut Check, pointer: &str, value: i64) -> Option<NonZeroU16> {
    let port = u16::try_from(value).ok().and_then(NonZeroU16::new);
    check.take(pointer, port.ok_or("expected a port: 1 to 65535"))
}

fn spec(check: &mut Check, body: &NewContainerBody) -> ContainerSpec {
    let mut spec = ContainerSpec { command: body.command.clone(), ..ContainerSpec::default() };
    for (name, value) in &body.env.0 {
        let name = check.parse(&format!("/env/{}", name.replace('~', "~0").replace('/', "~1")), name);
        spec.env.extend(name.map(|name| (name, value.clone())));
    }
    for (i, p) in body.ports.iter().enumerate() {
        let container = port(check, &format!("/ports/{i}/container"), p.container);
        let host = p.host.map(|host| port(check, &format!("/ports/{i}/host"), host));
        let protocol = match p.protocol.as_str() {
            "tcp" => Some(PortProtocol::Tcp),
            "udp" => Some(PortProtocol::Udp),
            _ => check.take(&format!("/ports/{i}/protocol"), Err("expected tcp or udp")),
        };
        if let (Some(container), Some(protocol), false) = (container, protocol, host == Some(None)) {
            spec.ports.push(PortMapping { container, host: host.flatten(), protocol });
        }
    }
    for (i, v) in body.volumes.iter().enumerate() {
        let volume = check.parse(&format!("/volumes/{i}/volume"), &v.volume);
        let target = check.parse(&format!("/volumes/{i}/target"), &v.target);
        spec.volumes.extend(volume.zip(target).map(|(volume, target)| VolumeMount {
            volume,
            target,
            read_only: v.read_only,
        }));
    }
    let cpus = body.resources.cpus.map(|cpus| {
        // Out of range becomes 0, which is out of range there too.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let milli = if (0.0..=1_024.0).contains(&cpus) { (cpus * 1000.0).round() as u64 } else { 0 };
        check.take("/resources/cpus", MilliCpus::try_from(milli))
    });
    let memory = body.resources.memory.map(|memory| check.take("/resources/memory", Bytes::try_from(memory)));
    let pids = body.resources.pids.map(|pids| check.take("/resources/pids", PidsLimit::try_from(pids)));
    spec.resources = Resources { cpus: cpus.flatten(), memory: memory.flatten(), pids: pids.flatten() };
    if let Some(restart) = &body.restart {
        spec.restart = check.parse::<RestartPolicy>("/restart", restart).unwrap_or_default();
    }
    spec.labels = parse_labels(check, &body.labels).unwrap_or_default();
    // Only where nothing was left out, so that what is said of an element points at that element.
    if spec.ports.len() == body.ports.len() && spec.volumes.len() == body.volumes.len() {
        for (pointer, detail) in spec.problems() {
            check.refuse(&pointer, detail);
        }
    }
    spec
}

/// Asks for a container: it is made on its host and started. On a host that is offline, when that returns.
#[utoipa::path(post, operation_id = "container_create", path = "/containers", tag = "containers", request_body = NewContainerBody, responses(
    (status = 202, description = "The job that makes it", body = JobBody), (status = 200, description = "The job, ended within the time to wait", body = JobBody),
    (status = 400, description = "Not JSON", body = Problem), (status = 401, description = "Not signed in", body = Problem), (status = 403, description = "The token may not, the user is suspended, or his quota is used up", body = Problem),
    (status = 409, description = "The name is taken, or the image is not there yet", body = Problem), (status = 413, description = "Too large", body = Problem),
    (status = 415, description = "Not JSON by its type", body = Problem), (status = 422, description = "Values cannot be, or name nothing", body = Problem)))]
pub(super) async fn create(
    Shared(state): Shared<State>,
    caller: Caller,
    body: Body<NewContainerBody>,
) -> Result<Response, ApiError> {
    let permit = caller.may(Write)?;
    let mut check = Check::default();
    let (name, image, host) = (
        check.parse("/name", &body.value.name),
        check.parse("/image", &body.value.image),
        check.parse("/host", &body.value.host),
    );
    let (spec, wait) = (spec(&mut check, &body.value), wait(&mut check, body.value.deadline));
    let ((name, image), host) = check.finish(name.zip(image).zip(host))?;
    let new = NewContainer { name, image, host, spec, wait };
    let job = state.services.container_create(&permit, caller.key(body.digest).as_ref(), new).await?;
    started(&state, &caller, job).await
}

/// Which containers.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ContainerQuery {
    /// Only the one of this name.
    name: Option<String>,
    /// Only those on this host.
    host: Option<String>,
    /// Only those of this image.
    image: Option<String>,
    /// Only those that were last observed in this state.
    state: Option<String>,
    /// Rows of a page: 1 to 200, 50 where absent.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// The user's containers, newest first.
#[utoipa::path(get, operation_id = "container_list", path = "/containers", tag = "containers", params(ContainerQuery), responses(
    (status = 200, description = "A page of containers", body = Listing<ContainerBody>), (status = 401, description = "Not signed in", body = Problem), (status = 403, description = "The token may not, the user is suspended, or his quota is used up", body = Problem),
    (status = 422, description = "A parameter cannot be", body = Problem)))]
pub(super) async fn list(
    Shared(state): Shared<State>,
    caller: Caller,
    Query(query): Query<ContainerQuery>,
) -> Result<Response, ApiError> {
    let mut check = Check::default();
    let page = page(&mut check, query.limit, query.after.as_deref(), ContainerId::uuid);
    let host = query.host.as_deref().and_then(|text| check.parse("host", text));
    let image = query.image.as_deref().and_then(|text| check.parse("image", text));
    let of_state = query.state.as_deref().map(ObservedState::parse);
    if of_state == Some(None) {
        check.refuse("state", "expected an observed state");
    }
    let name = query.name.as_deref().and_then(|text| check.parse::<ResourceName>("name", text));
    check.finish(Some(()))?;
    let filter = Filter { name: name.map(|name| name.to_string()), host, image, state: of_state.flatten() };
    let seen = state.services.container_list(&caller.may(Read)?, &filter, page).await?;
    Ok(listing(&caller.context, seen.iter().map(ContainerBody::of).collect(), page.limit, |c| c.id.clone()))
}

/// One container: what it is meant to do, and what its host shows, side by side.
#[utoipa::path(get, operation_id = "container_get", path = "/containers/{id}", tag = "containers", params(("id" = String, Path, description = "The container's id")), responses(
    (status = 200, description = "The container", body = ContainerBody), (status = 401, description = "Not signed in", body = Problem), (status = 403, description = "The token may not, the user is suspended, or his quota is used up", body = Problem),
    (status = 404, description = "No such container", body = Problem)))]
pub(super) async fn get(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<ContainerId>,
) -> Result<Json<ContainerBody>, ApiError> {
    Ok(Json(ContainerBody::of(&state.services.container_get(&caller.may(Read)?, id).await?)))
}

/// How to delete.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeleteQuery {
    /// Whether its named volumes go too, those that no other container uses.
    #[serde(default)]
    volumes: bool,
}

/// Stops a container and removes it. Its volumes stay unless asked otherwise.
#[utoipa::path(delete, operation_id = "container_delete", path = "/containers/{id}", tag = "containers", params(("id" = String, Path, description = "The container's id"), DeleteQuery), responses(
    (status = 202, description = "The job that does it", body = JobBody), (status = 200, description = "The job, ended within the time to wait", body = JobBody), (status = 401, description = "Not signed in", body = Problem), (status = 403, description = "The token may not, the user is suspended, or his quota is used up", body = Problem),
    (status = 404, description = "No such container", body = Problem), (status = 422, description = "A parameter cannot be", body = Problem)))]
pub(super) async fn delete(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<ContainerId>,
    Query(query): Query<DeleteQuery>,
) -> Result<Response, ApiError> {
    let job = state.services.container_delete(&caller.may(Write)?, id, query.volumes).await?;
    started(&state, &caller, job).await
}
