//! `/configurations`: what clients chose from templates, in versions, and the node that comes of it.

use super::State;
use super::conditional::tagged;
use super::document::schemas as s;
use super::documents::JsonObject;
use super::error::ApiError;
use super::extract::{Caller, Check, Id, Json as Body, Query, page};
use super::respond::{Listing, listing, with_location};
use super::templates::{VersionQuery, each};
use crate::access::{Read, Write};
use crate::domain::configuration::{Choice, Configuration};
use crate::domain::template::RunListItem;
use crate::service::configurations::{ConfigurationChange, Filter, NewConfiguration, Upgrade};
use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use dockerforge_protocol::ids::{ConfigurationId, TemplateId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// A configuration to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewConfigurationBody {
    /// 1 to 63 characters of a-z, 0-9, '-', '_' or '.'; unique among your configurations.
    #[schema(value_type = s::Name, example = "blog")]
    name: String,
    /// The id of a template.
    #[schema(value_type = s::TemplateId)]
    template: String,
    /// The version of the template; the newest where absent.
    #[schema(value_type = Option<s::Version>)]
    template_version: Option<u32>,
    /// What is chosen: what the template's schema takes. What that says is `writeOnly` is kept sealed and never shown.
    #[serde(default)]
    #[schema(value_type = s::Document, example = json!({"title": "A blog"}))]
    parameters: JsonObject,
    /// What is added to the template's run list; it has to be in the template's archive.
    #[serde(default)]
    #[schema(value_type = s::RunList)]
    run_list: Vec<String>,
    /// Attributes that are laid over all others.
    #[serde(default)]
    #[schema(value_type = s::Document)]
    attributes: JsonObject,
    /// A server of the operator's configuration service, whose node is fetched now and chosen; what else is said here is laid over
    /// it. Members of the node that the template has parameters of are parameters, all others attributes.
    riyic: Option<RiyicBody>,
}

/// A server of a riyic-compatible configuration service, `GET {api}/servers/{server}/generate_config` of which is a node.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RiyicBody {
    /// Its UUID there.
    #[schema(value_type = s::RiyicServer)]
    server: String,
}

impl RiyicBody {
    fn server(&self, check: &mut Check) -> Option<Uuid> {
        // As it stands in URLs; the library would read other forms, too.
        let server = Uuid::parse_str(&self.server).ok().filter(|_| self.server.len() == 36);
        check.take("/riyic/server", server.ok_or("expected the UUID of a server"))
    }
}

/// What is to change; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigurationChangeBody {
    /// Its name.
    #[schema(value_type = Option<s::Name>)]
    name: Option<String>,
    /// A version of its template, or `"newest"`.
    #[schema(value_type = Option<s::Upgrade>, example = "newest")]
    template_version: Option<UpgradeBody>,
    /// A merge patch (RFC 7396): members replace, `null` removes, all else stays, the secrets too.
    #[schema(value_type = Option<s::Document>)]
    parameters: Option<JsonObject>,
    /// All that is added to the template's run list from now on; it has to be in the template's archive.
    #[schema(value_type = Option<s::RunList>)]
    run_list: Option<Vec<String>>,
    /// A merge patch.
    #[schema(value_type = Option<s::Document>)]
    attributes: Option<JsonObject>,
    /// A server of the operator's configuration service, whose node is fetched now and takes the place of all that was chosen;
    /// what else is said here is laid over it.
    riyic: Option<RiyicBody>,
}

/// A version, or the newest.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a version, or \"newest\"")]
pub enum UpgradeBody {
    /// This one.
    Version(u32),
    /// `newest`.
    Word(String),
}

/// A configuration, in a version.
#[derive(Serialize, ToSchema)]
pub struct ConfigurationBody {
    /// Its id.
    #[schema(value_type = s::ConfigurationId)]
    pub id: String,
    /// Its name.
    #[schema(value_type = s::Name)]
    pub name: String,
    /// Of which template.
    #[schema(value_type = s::TemplateId)]
    pub template: String,
    /// Of which version of that.
    #[schema(value_type = s::Version)]
    pub template_version: u32,
    /// Which version this is.
    #[schema(value_type = s::Version)]
    pub version: u32,
    /// What was chosen, without its secrets.
    #[schema(value_type = s::Document)]
    pub parameters: Map<String, Value>,
    /// Where in the parameters its secrets are: JSON pointers (RFC 6901).
    #[schema(value_type = s::Pointers)]
    pub secrets: Vec<String>,
    /// What is added to the template's run list.
    #[schema(value_type = s::RunList)]
    pub run_list: Vec<String>,
    /// Attributes that are laid over all others.
    #[schema(value_type = s::Document)]
    pub attributes: Map<String, Value>,
    /// When the configuration was made.
    #[schema(value_type = s::Time)]
    pub created_at: String,
    /// When this version was.
    #[schema(value_type = s::Time)]
    pub changed_at: String,
}

impl ConfigurationBody {
    fn of(configuration: &Configuration) -> Self {
        let Choice { parameters, run_list, attributes } = &configuration.choice;
        Self {
            id: configuration.id.to_string(),
            name: configuration.name.to_string(),
            template: configuration.template.to_string(),
            template_version: configuration.template_version,
            version: configuration.version,
            parameters: parameters.members().clone(),
            secrets: configuration.secrets.clone(),
            run_list: run_list.iter().map(RunListItem::to_string).collect(),
            attributes: attributes.members().clone(),
            created_at: configuration.created_at.to_string(),
            changed_at: configuration.changed_at.to_string(),
        }
    }
}

/// Makes a configuration, in its first version.
#[utoipa::path(post, operation_id = "configuration_create", path = "/configurations", tag = "configurations", request_body = NewConfigurationBody, responses(
    (status = 201, description = "The configuration", body = ConfigurationBody)),
    extensions(("x-problems" = json!(["name-taken", "quota-exceeded", "riyic-unavailable"]))))]
pub(super) async fn create(
    Shared(state): Shared<State>,
    caller: Caller,
    body: Body<NewConfigurationBody>,
) -> Result<Response, ApiError> {
    let permit = caller.may(Write)?;
    let key = caller.key(body.digest);
    let body = body.value;
    let mut check = Check::default();
    let (name, template) = (check.parse("/name", &body.name), check.parse("/template", &body.template));
    let run_list = each(&mut check, "/run_list", &body.run_list);
    let riyic = body.riyic.and_then(|riyic| riyic.server(&mut check));
    let (name, template) = check.finish(name.zip(template))?;
    let choice = Choice { parameters: body.parameters.0, run_list, attributes: body.attributes.0 };
    let new = NewConfiguration { name, template, template_version: body.template_version, choice, riyic };
    let configuration = state.services.configuration_create(&permit, key.as_ref(), new).await?;
    let location = format!("{}/configurations/{}", caller.context.mount, configuration.id);
    Ok(with_location((StatusCode::CREATED, Json(ConfigurationBody::of(&configuration))).into_response(), &location))
}

/// Which configurations.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ConfigurationQuery {
    /// Only the one of this name.
    name: Option<String>,
    /// Only those of this template.
    template: Option<String>,
    /// Rows of a page: 1 to 200, 50 where absent.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// The user's configurations, each in its newest version, newest first.
#[utoipa::path(get, operation_id = "configuration_list", path = "/configurations", tag = "configurations", params(ConfigurationQuery), responses(
    (status = 200, description = "A page of configurations", body = Listing<ConfigurationBody>)))]
pub(super) async fn list(
    Shared(state): Shared<State>,
    caller: Caller,
    Query(query): Query<ConfigurationQuery>,
) -> Result<Response, ApiError> {
    let mut check = Check::default();
    let page = page(&mut check, query.limit, query.after.as_deref(), ConfigurationId::uuid);
    let name = query.name.as_deref().and_then(|text| check.parse("name", text));
    let template = query.template.as_deref().and_then(|text| check.parse::<TemplateId>("template", text));
    check.finish(Some(()))?;
    let filter = Filter { name, template };
    let configurations = state.services.configuration_list(&caller.may(Read)?, &filter, page).await?;
    let items = configurations.iter().map(ConfigurationBody::of).collect();
    Ok(listing(&caller.context, items, page.limit, |configuration: &ConfigurationBody| configuration.id.clone()))
}

/// One configuration.
#[utoipa::path(get, operation_id = "configuration_get", path = "/configurations/{id}", tag = "configurations", params(("id" = String, Path, description = "The configuration's id"), VersionQuery), responses(
    (status = 200, description = "The configuration", body = ConfigurationBody)))]
pub(super) async fn get(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<ConfigurationId>,
    Query(query): Query<VersionQuery>,
) -> Result<Response, ApiError> {
    let found = state.services.configuration_get(&caller.may(Read)?, id, query.version).await?;
    Ok(shown(&found))
}

/// A configuration with its entity tag: its version is what users change of it.
fn shown(configuration: &Configuration) -> Response {
    tagged(configuration.version.into(), &ConfigurationBody::of(configuration))
}

/// The node of a configuration as `chef-solo -j` reads it: `run_list` beside the attributes, which are the schema's
/// defaults, the template's attributes, the parameters and the additions, each merged over those before. Secrets are left out;
/// `dockerforge.secrets` says where they belong.
#[utoipa::path(get, operation_id = "configuration_node", path = "/configurations/{id}/node", tag = "configurations", params(("id" = String, Path, description = "The configuration's id"), VersionQuery), responses(
    (status = 200, description = "The node", body = s::Node)))]
pub(super) async fn node(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<ConfigurationId>,
    Query(query): Query<VersionQuery>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(state.services.configuration_node(&caller.may(Read)?, id, query.version).await?))
}

/// Changes a configuration, which makes its next version. What is made of it stays as it was until it is built or converged
/// anew.
#[utoipa::path(patch, operation_id = "configuration_update", path = "/configurations/{id}", tag = "configurations", params(("id" = String, Path, description = "The configuration's id")), request_body = ConfigurationChangeBody, responses(
    (status = 200, description = "The configuration in its new version", body = ConfigurationBody)),
    extensions(("x-problems" = json!(["name-taken", "riyic-unavailable"]))))]
pub(super) async fn update(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<ConfigurationId>,
    body: Body<ConfigurationChangeBody>,
) -> Result<Response, ApiError> {
    let permit = caller.may(Write)?;
    let body = body.value;
    let mut check = Check::default();
    let name = body.name.as_deref().and_then(|text| check.parse("/name", text));
    let upgrade = match body.template_version {
        None => None,
        Some(UpgradeBody::Version(version)) => Some(Upgrade::To(version)),
        Some(UpgradeBody::Word(word)) if word == "newest" => Some(Upgrade::Newest),
        Some(UpgradeBody::Word(_)) => check.take("/template_version", Err("expected a version, or \"newest\"")),
    };
    let run_list = body.run_list.map(|list| each(&mut check, "/run_list", &list));
    let riyic = body.riyic.and_then(|riyic| riyic.server(&mut check));
    check.finish(Some(()))?;
    let change = ConfigurationChange {
        name,
        upgrade,
        parameters: body.parameters.map(|parameters| parameters.0),
        run_list,
        attributes: body.attributes.map(|attributes| attributes.0),
        riyic,
        seen: caller.seen.clone(),
    };
    Ok(shown(&state.services.configuration_update(&permit, id, change).await?))
}

/// Removes a configuration with all its versions; not while images are made of it.
#[utoipa::path(delete, operation_id = "configuration_delete", path = "/configurations/{id}", tag = "configurations", params(("id" = String, Path, description = "The configuration's id")), responses(
    (status = 204, description = "It is gone")),
    extensions(("x-problems" = json!(["configuration-in-use"]))))]
pub(super) async fn delete(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<ConfigurationId>,
) -> Result<StatusCode, ApiError> {
    state.services.configuration_delete(&caller.may(Write)?, id, &caller.seen).await?;
    Ok(StatusCode::NO_CONTENT)
}
