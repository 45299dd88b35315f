//! `/containers`: asking for containers, seeing what they are meant to do and what they do, and removing them.

use super::State;
use super::conditional::tagged;
use super::converge::ConvergenceBody;
use super::document::schemas as s;
use super::error::ApiError;
use super::extract::{Caller, Check, Id, Json as Body, LabelParam, Labelled, Object, Query, objects_only, page};
use super::host_access::HostAccessBody;
use super::jobs::{JobBody, started};
use super::respond::{self, Listing};
use super::secrets::SecretBody;
use super::specs::{Change, HealthcheckBody, LinkBody, PortBody, ResourcesBody, Said, SpecBody, TmpfsBody, VolumeBody};
use super::values::{label_filter, parse_labels_at, wait};
use crate::access::{Read, Write};
use crate::domain::container::ObservedState;
use crate::domain::placement::{Place, Strategy, Wish};
use crate::service::containers::{Filter, NewContainer, Seen};
use axum::extract::State as Shared;
use axum::response::Response;
use dockerforge_protocol::ids::ContainerId;
use dockerforge_protocol::inventory::Health;
use dockerforge_protocol::spec::{ContainerSpec, ResourceName};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A container to be made. What is not named here cannot be asked for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewContainerBody {
    /// 1 to 63 characters of a-z, 0-9, '-', '_' or '.'; unique among your containers.
    #[schema(value_type = s::Name, example = "blog")]
    name: String,
    /// The id of an image that is on the host.
    #[schema(value_type = s::ImageId, example = "img_0192f0c1a2b37c4d8e5f60718293a4b5")]
    image: String,
    /// The id of one of your hosts. Without it, it is placed on one of the hosts that users share, if there are any.
    #[schema(value_type = Option<s::HostId>, example = "hst_0192f0c1a2b37c4d8e5f60718293a4b5")]
    host: Option<String>,
    /// Instead of `host`: how one of the hosts that users share is chosen. A container there has limits in any case, is held
    /// back more, and gets its ports.
    placement: Option<WishBody>,
    /// The program and its arguments; the image's own where absent.
    #[schema(value_type = Option<s::Arguments>)]
    command: Option<Vec<String>>,
    /// Environment variables.
    #[schema(value_type = Option<s::Environment>)]
    env: Option<Object<String>>,
    /// Published ports.
    ports: Option<Vec<PortBody>>,
    /// Named volumes.
    volumes: Option<Vec<VolumeBody>>,
    /// Limits.
    resources: Option<ResourcesBody>,
    /// `no`, `on-failure`, `always` or `unless-stopped`, which is what it is where absent.
    #[schema(value_type = Option<s::RestartPolicy>)]
    restart: Option<String>,
    /// Labels of your own.
    #[schema(value_type = Option<s::Labels>)]
    labels: Option<Object<String>>,
    /// The program before `command`; the image's own where absent.
    #[schema(value_type = Option<s::Arguments>)]
    entrypoint: Option<Vec<String>>,
    /// Who it runs as: `user`, or `user:group`, by name or number; as the image says where absent.
    #[schema(value_type = Option<s::RunAs>)]
    user: Option<String>,
    /// The folder it begins in: an absolute path; as the image says where absent.
    #[schema(value_type = Option<s::AbsolutePath>)]
    workdir: Option<String>,
    /// The name it has for itself: a DNS label.
    #[schema(value_type = Option<s::DnsLabel>)]
    hostname: Option<String>,
    /// File systems in memory.
    tmpfs: Option<Vec<TmpfsBody>>,
    /// Whether it can write to its volumes and file systems in memory alone.
    read_only: Option<bool>,
    /// Whether a small init is its first process.
    init: Option<bool>,
    /// How one knows that it is well; the image's own check where absent, none with `"none"`.
    healthcheck: Option<HealthcheckBody>,
    /// The signal that asks it to end, as `SIGTERM`.
    #[schema(value_type = Option<s::StopSignal>)]
    stop_signal: Option<String>,
    /// Seconds that it may take to end: 1 to 300; 10 where absent.
    #[schema(value_type = Option<s::Grace>)]
    stop_grace: Option<u64>,
    /// Containers of yours on the same host, by names of this container's own.
    links: Option<Vec<LinkBody>>,
    /// Secrets, by the names of their files or variables.
    #[schema(value_type = Option<s::Secrets>)]
    secrets: Option<Object<SecretBody>>,
    /// Which of Docker's default capabilities it does not have, without `CAP_`; or `ALL`.
    #[schema(example = json!(["NET_RAW"]))]
    cap_drop: Option<Vec<String>>,
    /// What it is given of its host. Needs a token with the scope `host:root`.
    host_access: Option<HostAccessBody>,
    /// Seconds that it may wait for its host: 1 to 2592000; a day where absent.
    #[schema(value_type = Option<s::Deadline>)]
    deadline: Option<i64>,
}

impl NewContainerBody {
    /// What it says of the container's being.
    fn spec(self) -> Change {
        Change {
            command: self.command.into(),
            env: self.env.into(),
            ports: self.ports.into(),
            volumes: self.volumes.into(),
            resources: self.resources.into(),
            restart: self.restart.into(),
            labels: self.labels.into(),
            entrypoint: self.entrypoint.into(),
            user: self.user.into(),
            workdir: self.workdir.into(),
            hostname: self.hostname.into(),
            tmpfs: self.tmpfs.into(),
            read_only: self.read_only.into(),
            init: self.init.into(),
            healthcheck: self.healthcheck.into(),
            stop_signal: self.stop_signal.into(),
            stop_grace: self.stop_grace.into(),
            links: self.links.into(),
            secrets: self.secrets.into(),
            cap_drop: self.cap_drop.into(),
            host_access: self.host_access.into(),
        }
    }
}

/// How a host is chosen.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct WishBody {
    /// `spread`: the host with the most room left; `binpack`: the one with the least; `random`. As the operator says where
    /// absent.
    #[schema(value_type = Option<s::Strategy>, example = "spread")]
    strategy: Option<String>,
    /// Labels that the host must have.
    #[serde(default)]
    #[schema(value_type = s::Labels)]
    labels: Object<String>,
}

objects_only!(read WishBody);

/// What is told of where a container is.
#[derive(Serialize, ToSchema)]
pub struct PlacementBody {
    /// Whether it is on a host that users share.
    pub pool: bool,
}

/// A container.
#[derive(Serialize, ToSchema)]
pub struct ContainerBody {
    /// Its id.
    #[schema(value_type = s::ContainerId)]
    pub id: String,
    /// Its name.
    #[schema(value_type = s::Name)]
    pub name: String,
    /// What it runs.
    #[schema(value_type = s::ImageId)]
    pub image: String,
    /// Where, if on a host of yours; null on one that users share.
    #[schema(value_type = Option<s::HostId>)]
    pub host: Option<String>,
    /// What else is told of where it is.
    pub placement: PlacementBody,
    /// What it is meant to do: `running`, `stopped` or `removed`.
    #[schema(value_type = s::DesiredState)]
    pub desired_state: &'static str,
    /// What its host shows.
    pub observed: ObservedBody,
    /// Whether it is in the state of its configuration; null while it is being made, where none converges it, and where it has
    /// to be asked for because it reaches into its host (`host_access`).
    pub convergence: Option<ConvergenceBody>,
    /// What it is to be.
    #[serde(flatten)]
    pub spec: SpecBody,
    /// When it was asked for.
    #[schema(value_type = s::Time)]
    pub created_at: String,
}

/// What a host shows of a container.
#[derive(Serialize, ToSchema)]
pub struct ObservedBody {
    /// `pending` before its first report; Docker's `created`, `running`, `paused`, `restarting`, `exited`, `removing`, `dead`;
    /// `missing` if it was removed by hand; `unknown` while its host is silent.
    #[schema(value_type = s::ObservedState)]
    pub state: &'static str,
    /// `starting`, `healthy` or `unhealthy`, where it is checked.
    #[schema(value_type = Option<s::Health>)]
    pub health: Option<&'static str>,
    /// Docker's id of it.
    pub docker_id: Option<String>,
    /// How it ended, if it has.
    pub exit_code: Option<i64>,
    /// When it last started.
    #[schema(value_type = Option<s::Time>)]
    pub started_at: Option<String>,
    /// The ports it publishes now.
    pub ports: Vec<ObservedPortBody>,
    /// Its address in your network on that host.
    pub address: Option<String>,
    /// When this was reported.
    #[schema(value_type = Option<s::Time>)]
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
    #[schema(value_type = s::Protocol)]
    pub protocol: String,
}

impl ContainerBody {
    fn of(seen: &Seen) -> Self {
        let container = &seen.container;
        let observed = &container.observed;
        let known = observed.state != ObservedState::Pending;
        let mut spec = SpecBody::of(&container.spec);
        for grant in &seen.grants {
            spec.links.iter_mut().for_each(|link| link.provisioned(grant));
        }
        Self {
            id: container.id.to_string(),
            name: container.name.to_string(),
            image: container.image.to_string(),
            host: seen.host.map(|host| host.to_string()),
            placement: PlacementBody { pool: seen.pool },
            desired_state: container.desired.as_str(),
            observed: ObservedBody {
                state: if seen.unknown && known { "unknown" } else { observed.state.as_str() },
                health: observed.health.map(Health::as_str),
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
            convergence: container
                .converged
                .as_ref()
                .map(|last| ConvergenceBody::of(container, last, seen.owed.as_ref())),
            spec,
            created_at: container.created_at.to_string(),
        }
    }
}

/// Asks for a container: it is made on its host and started. On a host that is offline, when that returns. On a host that
/// users share, which fits now or not at all: then `errors` names each host (by a number, not by its id), and why not.
#[utoipa::path(post, operation_id = "container_create", path = "/containers", tag = "containers", request_body = NewContainerBody, responses(
    (status = 202, description = "The job that makes it", body = JobBody)),
    extensions(("x-problems" = json!(["name-taken", "container-not-running", "port-taken", "container-moving", "volume-in-use", "image-not-ready", "being-deleted", "host-draining", "nothing-fits", "quota-exceeded"]))))]
pub(super) async fn create(
    Shared(state): Shared<State>,
    caller: Caller,
    body: Body<NewContainerBody>,
) -> Result<Response, ApiError> {
    let permit = caller.may(Write)?;
    let mut check = Check::default();
    let key = caller.key(body.digest);
    let (name, image) = (check.parse("/name", &body.value.name), check.parse("/image", &body.value.image));
    let place = place(&mut check, body.value.host.as_deref(), body.value.placement.as_ref());
    let wait = wait(&mut check, body.value.deadline);
    let Said { spec, secrets, wishes } = body.value.spec().apply(&mut check, ContainerSpec::default());
    let ((name, image), place) = check.finish(name.zip(image).zip(place))?;
    let new = NewContainer { name, image, place, spec, secrets, wishes: wishes.unwrap_or_default(), wait };
    let job = state.services.container_create(&permit, key.as_ref(), new).await?;
    started(&state, &caller, job).await
}

/// Where it is to go: exactly one way of saying it, or none.
pub(super) fn place(check: &mut Check, host: Option<&str>, wish: Option<&WishBody>) -> Option<Place> {
    match (host, wish) {
        (Some(_), Some(_)) => {
            check.refuse("/placement", "expected either host or placement, not both");
            None
        }
        (Some(host), None) => check.parse("/host", host).map(Place::Host),
        (None, None) => Some(Place::Open),
        (None, Some(wish)) => {
            let strategy = wish.strategy.as_deref().map(|word| {
                check.take("/placement/strategy", Strategy::parse(word).ok_or("expected spread, binpack or random"))
            });
            let labels = parse_labels_at(check, "/placement/labels", &wish.labels)?;
            Some(Place::Pool(Wish { strategy: strategy.flatten(), labels, except: None }))
        }
    }
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
    #[param(value_type = Option<s::SeenState>)]
    state: Option<String>,
    /// Rows of a page: 1 to 200, 50 where absent.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// The user's containers, newest first.
#[utoipa::path(get, operation_id = "container_list", path = "/containers", tag = "containers", params(ContainerQuery, LabelParam), responses(
    (status = 200, description = "A page of containers", body = Listing<ContainerBody>)))]
pub(super) async fn list(
    Shared(state): Shared<State>,
    caller: Caller,
    Labelled(query, labels): Labelled<ContainerQuery>,
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
    let labels = label_filter(&mut check, &labels);
    let labels = check.finish(labels)?;
    let filter = Filter { name: name.map(|name| name.to_string()), host, image, state: of_state.flatten(), labels };
    let found = state.services.container_list(&caller.may(Read)?, &filter, page).await?.cursor(ContainerId::from_uuid);
    let bodies = found.items.iter().map(ContainerBody::of).collect();
    Ok(respond::page(&caller.context, found.with(bodies), page.limit, |c| c.id.clone()))
}

/// One container: what it is meant to do, and what its host shows, side by side.
#[utoipa::path(get, operation_id = "container_get", path = "/containers/{id}", tag = "containers", params(("id" = String, Path, description = "The container's id")), responses(
    (status = 200, description = "The container", body = ContainerBody)))]
pub(super) async fn get(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<ContainerId>,
) -> Result<Response, ApiError> {
    let seen = state.services.container_get(&caller.may(Read)?, id).await?;
    Ok(tagged(seen.container.revision, &ContainerBody::of(&seen)))
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
    (status = 202, description = "The job that does it", body = JobBody)),
    extensions(("x-problems" = json!(["quota-exceeded"]))))]
pub(super) async fn delete(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<ContainerId>,
    Query(query): Query<DeleteQuery>,
) -> Result<Response, ApiError> {
    let job = state.services.container_delete(&caller.may(Write)?, id, query.volumes, &caller.seen).await?;
    started(&state, &caller, job).await
}
