//! `/hosts`: machines with an agent.

use super::State;
use super::conditional::tagged;
use super::document::schemas as s;
use super::error::ApiError;
use super::extract::{Caller, Check, Id, Json as Body, Object, Pairs, Query, page};
use super::jobs::{JobBody, started};
use super::respond::{self, Listing, with_location};
use super::values::{label, labels, parse_labels};
use crate::access::{Administer, Read, Write};
use crate::domain::Timestamp;
use crate::domain::diagnosis::diagnose;
use crate::domain::host::{Host, HostState};
use crate::service::hosts::{Filter, HostChange, Join, NewHost};
use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use dockerforge_protocol::ids::HostId;
use dockerforge_protocol::spec::{Labels, ResourceName};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

/// A host to be registered.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewHostBody {
    /// 1 to 63 characters of a-z, 0-9, '-', '_' or '.'.
    #[schema(value_type = s::Name, example = "vps-1")]
    name: String,
    /// Labels of your own.
    #[serde(default)]
    #[schema(value_type = s::Labels)]
    labels: Object<String>,
    /// Whether containers of all users are placed on it; for administrators. Nobody else sees it.
    #[serde(default)]
    pool: bool,
}

/// What is to change of a host; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HostChangeBody {
    /// Labels of your own, all of them.
    #[schema(value_type = Option<s::Labels>)]
    labels: Option<Object<String>>,
    /// Whether it takes no new containers and images. What it runs goes on, and what waits waits on.
    draining: Option<bool>,
}

/// A host.
#[derive(Serialize, ToSchema)]
pub struct HostBody {
    /// Its id.
    #[schema(value_type = s::HostId)]
    pub id: String,
    /// Its name.
    #[schema(value_type = s::Name)]
    pub name: String,
    /// `pending`, `online`, `unreachable`, `conflict` or `deleting`.
    #[schema(value_type = s::HostState)]
    pub state: &'static str,
    /// Its labels.
    #[schema(value_type = s::Labels)]
    pub labels: BTreeMap<String, String>,
    /// Whether containers of all users are placed on it.
    pub pool: bool,
    /// Whether it takes no new containers and images.
    pub draining: bool,
    /// When it was registered.
    #[schema(value_type = s::Time)]
    pub created_at: String,
    /// When an agent got its identity.
    #[schema(value_type = Option<s::Time>)]
    pub enrolled_at: Option<String>,
    /// When its agent was last heard of.
    #[schema(value_type = Option<s::Time>)]
    pub last_seen_at: Option<String>,
    /// Its name for itself.
    pub hostname: Option<String>,
    /// The agent's version.
    pub agent_version: Option<String>,
    /// Its Docker Engine, if that answers.
    pub docker: Option<DockerBody>,
    /// What it has.
    pub capacity: Option<CapacityBody>,
    /// What it uses, as of the last heartbeat.
    pub usage: Option<UsageBody>,
    /// Why nothing can run there now, if so. In conflict: which machines came with its identity.
    pub unusable: Option<String>,
    /// What is wrong with it now.
    pub diagnosis: Vec<DiagnosisBody>,
    /// What makes a machine this host; at the registering alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join: Option<JoinBody>,
}

/// One thing that is wrong with a host. Its beginning and its end are events, `host.diagnosed` and `host.recovered`.
#[derive(Serialize, ToSchema)]
pub struct DiagnosisBody {
    /// `agent-silent`, `docker-hung`, `disk-nearly-full`, `clock-off`, `certificate-near-its-end`, `duplicate-machine` or
    /// `agent-outdated`. Branch on this.
    #[schema(value_type = s::Fault)]
    pub kind: &'static str,
    /// `critical` where nothing can run there now, else `warning`.
    #[schema(value_type = s::Severity)]
    pub severity: &'static str,
    /// When it was noted; absent if it began just now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<s::Time>)]
    pub since: Option<String>,
    /// What to show.
    pub detail: String,
}

/// A Docker Engine.
#[derive(Serialize, ToSchema)]
pub struct DockerBody {
    /// Its version.
    pub version: String,
    /// Its API's version.
    pub api_version: String,
    /// Its platform.
    pub platform: String,
    /// Milliseconds since it last answered, as of the last heartbeat.
    pub ping_age_ms: Option<u64>,
}

/// What a host has.
#[derive(Serialize, ToSchema)]
pub struct CapacityBody {
    /// Processors.
    pub cpus: u32,
    /// Memory, bytes.
    pub memory: u64,
    /// Disk, bytes.
    pub disk: Option<u64>,
}

/// What a host uses.
#[derive(Serialize, ToSchema)]
pub struct UsageBody {
    /// One-minute load average.
    pub load: f64,
    /// Memory, bytes.
    pub memory_used: u64,
    /// Free disk, bytes.
    pub disk_free: Option<u64>,
    /// Running containers of ours; absent until the agent has listed them.
    pub containers_running: Option<u32>,
}

/// What makes a machine a host.
#[derive(Serialize, ToSchema)]
pub struct JoinBody {
    /// A single-use token; it names the coordinator's CA, so the agent trusts no other.
    pub token: String,
    /// When it stops being good.
    #[schema(value_type = s::Time)]
    pub expires_at: String,
    /// What to run on the machine, as root. Where the coordinator gives out the agent, this fetches it and installs Docker where
    /// that is missing; else the agent has to be there.
    pub command: String,
    /// The same as user data for cloud-init (`#cloud-config`), for a machine that is only just being ordered. `null` where the
    /// coordinator does not give out the agent (its setting `agent-binary`).
    #[schema(example = "#cloud-config\n…")]
    pub cloud_init: Option<String>,
}

impl HostBody {
    fn of(host: &Host) -> Self {
        let time = |t: &crate::domain::Timestamp| t.to_string();
        let agent = host.agent.as_ref();
        Self {
            id: host.id.to_string(),
            name: host.name.to_string(),
            state: host.state.as_str(),
            labels: labels(&host.labels),
            pool: host.pool,
            draining: host.draining,
            created_at: time(&host.created_at),
            enrolled_at: host.enrolled_at.as_ref().map(time),
            last_seen_at: host.last_seen_at.as_ref().map(time),
            hostname: agent.map(|a| a.hostname.clone()),
            agent_version: agent.map(|a| a.agent_version.clone()),
            docker: agent.and_then(|a| a.docker.as_ref()).map(|docker| DockerBody {
                version: docker.version.clone(),
                api_version: docker.api_version.clone(),
                platform: docker.platform.clone(),
                ping_age_ms: host.docker_ping_age_ms,
            }),
            capacity: agent.map(|a| CapacityBody {
                cpus: a.capacity.cpus,
                memory: a.capacity.memory,
                disk: a.capacity.disk,
            }),
            usage: host.usage.map(|usage| UsageBody {
                #[allow(clippy::cast_precision_loss, reason = "at most a few thousand: exact in a double")]
                load: usage.load_milli as f64 / 1000.0,
                memory_used: usage.memory_used,
                disk_free: usage.disk_free,
                containers_running: usage.containers_running,
            }),
            unusable: host.unusable(),
            diagnosis: diagnose(host, Timestamp::now(), env!("CARGO_PKG_VERSION"))
                .into_iter()
                .map(|found| DiagnosisBody {
                    kind: found.fault.as_str(),
                    severity: found.fault.severity().as_str(),
                    since: found.since.as_ref().map(time),
                    detail: found.detail,
                })
                .collect(),
            join: None,
        }
    }
}

fn join_body(state: &State, join: &Join) -> JoinBody {
    let token = join.token.expose_secret();
    let coordinator = &state.services.agent_url;
    let installer = state.services.installer.as_deref();
    JoinBody {
        token: token.to_owned(),
        expires_at: join.expires_at.to_string(),
        command: match installer {
            Some(installer) => installer.command(coordinator, token),
            None => format!("dockerforge-agent run --coordinator {coordinator} --token {token}"),
        },
        cloud_init: installer.map(|installer| installer.cloud_init(coordinator, token)),
    }
}

/// Which hosts.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "documents the query, which is read pair by pair because label may be repeated")]
struct HostQuery {
    /// Only the one of this name.
    name: Option<String>,
    /// Only those in this state.
    state: Option<String>,
    /// Only those with this label, `key=value`; may be repeated.
    label: Option<String>,
    /// Rows of a page: 1 to 200, 50 where absent.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// Registers a host. The join token is shown here alone.
#[utoipa::path(post, operation_id = "host_create", path = "/hosts", tag = "hosts", request_body = NewHostBody, responses(
    (status = 201, description = "The host, with what makes a machine it", body = HostBody)),
    extensions(("x-problems" = json!(["name-taken", "quota-exceeded"]))))]
pub(super) async fn create(
    Shared(state): Shared<State>,
    caller: Caller,
    body: Body<NewHostBody>,
) -> Result<Response, ApiError> {
    let permit = caller.may(Write)?;
    let mut check = Check::default();
    let name = check.parse("/name", &body.value.name);
    let labels = parse_labels(&mut check, &body.value.labels);
    let (name, labels) = check.finish(name.zip(labels))?;
    let pool = if body.value.pool { Some(caller.may(Administer)?) } else { None };
    let new = NewHost { name, labels, pool };
    let (host, join) = state.services.host_create(&permit, caller.key(body.digest).as_ref(), new).await?;
    let location = format!("{}/hosts/{}", caller.context.mount, host.id);
    let body = HostBody { join: Some(join_body(&state, &join)), ..HostBody::of(&host) };
    Ok(with_location((StatusCode::CREATED, Json(body)).into_response(), &location))
}

/// The user's hosts, newest first.
#[utoipa::path(get, operation_id = "host_list", path = "/hosts", tag = "hosts", params(HostQuery), responses(
    (status = 200, description = "A page of hosts", body = Listing<HostBody>)))]
pub(super) async fn list(
    Shared(state): Shared<State>,
    caller: Caller,
    Pairs(pairs): Pairs,
) -> Result<Response, ApiError> {
    let mut check = Check::default();
    let (mut limit, mut after, mut name, mut of_state) = (None, None, None, None);
    let mut wanted = BTreeMap::new();
    for (key, value) in pairs {
        match key.as_str() {
            "name" => name = check.parse::<ResourceName>("name", &value),
            "state" => {
                of_state = HostState::parse(&value);
                if of_state.is_none() {
                    check.refuse("state", "expected pending, online, unreachable, conflict or deleting");
                }
            }
            "label" => wanted.extend(label(&mut check, &value)),
            "limit" => limit = check.parse("limit", &value),
            "after" => after = Some(value),
            other => check.refuse(other, "there is no such parameter"),
        }
    }
    let page = page(&mut check, limit, after.as_deref(), HostId::uuid);
    let labels = check.take("label", Labels::try_from(wanted));
    let labels = check.finish(labels)?;
    let filter = Filter { name: name.map(|name| name.to_string()), state: of_state, labels };
    let found = state.services.host_list(&caller.may(Read)?, &filter, page).await?.cursor(HostId::from_uuid);
    let bodies = found.items.iter().map(HostBody::of).collect();
    Ok(respond::page(&caller.context, found.with(bodies), page.limit, |host| host.id.clone()))
}

/// One host: its heartbeat, its Docker, what it has and uses, and why it is not usable if so.
#[utoipa::path(get, operation_id = "host_get", path = "/hosts/{id}", tag = "hosts", params(("id" = String, Path, description = "The host's id")), responses(
    (status = 200, description = "The host", body = HostBody)))]
pub(super) async fn get(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<HostId>,
) -> Result<Response, ApiError> {
    let host = state.services.host_get(&caller.may(Read)?, id).await?;
    Ok(tagged(host.revision, &HostBody::of(&host)))
}

/// Changes a host's labels, or begins or ends its draining.
#[utoipa::path(patch, operation_id = "host_update", path = "/hosts/{id}", tag = "hosts", params(("id" = String, Path, description = "The host's id")), request_body = HostChangeBody, responses(
    (status = 200, description = "The host as it is now", body = HostBody)),
    extensions(("x-problems" = json!(["being-deleted"]))))]
pub(super) async fn update(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<HostId>,
    body: Body<HostChangeBody>,
) -> Result<Response, ApiError> {
    let permit = caller.may(Write)?;
    let mut check = Check::default();
    let labels = body.value.labels.as_ref().map(|labels| parse_labels(&mut check, labels));
    let labels = check.finish(Some(labels.flatten()))?;
    let change = HostChange { labels, draining: body.value.draining };
    let host = state.services.host_update(&permit, id, change, &caller.seen).await?;
    Ok(tagged(host.revision, &HostBody::of(&host)))
}

/// A fresh join token for a host whose agent is not connected; earlier ones are void. It keeps its id and history. The
/// machine that redeems it gets an identity of its own; the one before is void, and a conflict of copies ends with that.
#[utoipa::path(post, operation_id = "host_token", path = "/hosts/{id}/token", tag = "hosts", params(("id" = String, Path, description = "The host's id")), responses(
    (status = 201, description = "What makes a machine this host", body = JoinBody)),
    extensions(("x-problems" = json!(["host-connected", "being-deleted"]))))]
pub(super) async fn token(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<HostId>,
) -> Result<Response, ApiError> {
    let join = state.services.host_token(&caller.may(Write)?, caller.key([0; 32]).as_ref(), id).await?;
    Ok((StatusCode::CREATED, Json(join_body(&state, &join))).into_response())
}

/// How to delete.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeleteQuery {
    /// For a dead machine: ask nothing of it, and forget what is on it.
    #[serde(default)]
    force: bool,
}

/// Takes a host out of service: what is ours on it, then its identity, and its live connection with it.
#[utoipa::path(delete, operation_id = "host_delete", path = "/hosts/{id}", tag = "hosts", params(("id" = String, Path, description = "The host's id"), DeleteQuery), responses(
    (status = 202, description = "The job that does it", body = JobBody)),
    extensions(("x-problems" = json!(["quota-exceeded"]))))]
pub(super) async fn delete(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<HostId>,
    Query(query): Query<DeleteQuery>,
) -> Result<Response, ApiError> {
    let job = state.services.host_delete(&caller.may(Write)?, id, query.force, &caller.seen).await?;
    started(&state, &caller, job).await
}
