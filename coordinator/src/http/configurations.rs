//! `/configurations`: what clients chose from templates, in versions, and the node that comes of it.

use super::State;
use super::documents::JsonObject;
use super::error::{ApiError, Problem};
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

/// A configuration to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewConfigurationBody {
    /// 1 to 63 characters of a-z, 0-9, '-', '_' or '.'; unique among your configurations.
    #[schema(example = "blog")]
    name: String,
    /// The id of a template.
    #[schema(example = "tpl_0192f0c1a2b37c4d8e5f60718293a4b5")]
    template: String,
    /// The version of the template; the newest where absent.
    template_version: Option<u32>,
    /// What is chosen: what the template's schema takes. What that says is `writeOnly` is kept sealed and never shown.
    #[serde(default)]
    #[schema(value_type = Object, example = json!({"title": "A blog"}))]
    parameters: JsonObject,
    /// What is added to the template's run list.
    #[serde(default)]
    run_list: Vec<String>,
    /// Attributes that are laid over all others.
    #[serde(default)]
    #[schema(value_type = Object)]
    attributes: JsonObject,
}

/// What is to change; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigurationChangeBody {
    /// Its name.
    name: Option<String>,
    /// A version of its template, or `"newest"`.
    #[schema(value_type = Option<Value>, example = "newest")]
    template_version: Option<UpgradeBody>,
    /// A merge patch (RFC 7396): members replace, `null` removes, all else stays, the secrets too.
    #[schema(value_type = Option<Object>)]
    parameters: Option<JsonObject>,
    /// All that is added to the template's run list from now on.
    run_list: Option<Vec<String>>,
    /// A merge patch.
    #[schema(value_type = Option<Object>)]
    attributes: Option<JsonObject>,
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
    pub id: String,
    /// Its name.
    pub name: String,
    /// Of which template.
    pub template: String,
    /// Of which version of that.
    pub template_version: u32,
    /// Which version this is.
    pub version: u32,
    /// What was chosen, without its secrets.
    #[schema(value_type = Object)]
    pub parameters: Map<String, Value>,
    /// Where in the parameters its secrets are: JSON pointers (RFC 6901).
    pub secrets: Vec<String>,
    /// What is added to the template's run list.
    pub run_list: Vec<String>,
    /// Attributes that are laid over all others.
    #[schema(value_type = Object)]
    pub attributes: Map<String, Value>,
    /// When the configuration was made.
    pub created_at: String,
    /// When this version was.
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
    (status = 201, description = "The configuration", body = ConfigurationBody), (status = 400, description = "Not JSON", body = Problem),
    (status = 401, description = "Not signed in", body = Problem), (status = 403, description = "The token may not, the user is suspended, or there are too many already", body = Problem),
    (status = 409, description = "The name is taken", body = Problem), (status = 413, description = "Too large", body = Problem),
    (status = 415, description = "Not JSON by its type", body = Problem), (status = 422, description = "Values cannot be, or name nothing", body = Problem)))]
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
    let (name, template) = check.finish(name.zip(template))?;
    let choice = Choice { parameters: body.parameters.0, run_list, attributes: body.attributes.0 };
    let new = NewConfiguration { name, template, template_version: body.template_version, choice };
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
    (status = 200, description = "A page of configurations", body = Listing<ConfigurationBody>),
    (status = 401, description = "Not signed in", body = Problem), (status = 403, description = "The token may not, or the user is suspended", body = Problem), (status = 422, description = "A parameter cannot be", body = Problem)))]
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
    (status = 200, description = "The configuration", body = ConfigurationBody),
    (status = 401, description = "Not signed in", body = Problem), (status = 403, description = "The token may not, or the user is suspended", body = Problem), (status = 404, description = "No such configuration, or no such version of it", body = Problem),
    (status = 422, description = "A parameter cannot be", body = Problem)))]
pub(super) async fn get(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<ConfigurationId>,
    Query(query): Query<VersionQuery>,
) -> Result<Json<ConfigurationBody>, ApiError> {
    let found = state.services.configuration_get(&caller.may(Read)?, id, query.version).await?;
    Ok(Json(ConfigurationBody::of(&found)))
}

/// The node of a configuration as `chef-solo -j` reads it: `run_list` beside the attributes, which are the schema's
/// defaults, the template's attributes, the parameters and the additions, each merged over those before. Secrets are left out;
/// `dockerforge.secrets` says where they belong.
#[utoipa::path(get, operation_id = "configuration_node", path = "/configurations/{id}/node", tag = "configurations", params(("id" = String, Path, description = "The configuration's id"), VersionQuery), responses(
    (status = 200, description = "The node", body = Value),
    (status = 401, description = "Not signed in", body = Problem), (status = 403, description = "The token may not, or the user is suspended", body = Problem), (status = 404, description = "No such configuration, or no such version of it", body = Problem),
    (status = 422, description = "A parameter cannot be", body = Problem)))]
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
    (status = 200, description = "The configuration in its new version", body = ConfigurationBody), (status = 400, description = "Not JSON", body = Problem),
    (status = 401, description = "Not signed in", body = Problem), (status = 403, description = "The token may not, or the user is suspended", body = Problem), (status = 404, description = "No such configuration", body = Problem),
    (status = 409, description = "The name is taken, or it was changed at the same time again and again", body = Problem), (status = 413, description = "Too large", body = Problem),
    (status = 415, description = "Not JSON by its type", body = Problem), (status = 422, description = "Values cannot be, or name nothing", body = Problem)))]
pub(super) async fn update(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<ConfigurationId>,
    body: Body<ConfigurationChangeBody>,
) -> Result<Json<ConfigurationBody>, ApiError> {
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
    check.finish(Some(()))?;
    let change = ConfigurationChange {
        name,
        upgrade,
        parameters: body.parameters.map(|parameters| parameters.0),
        run_list,
        attributes: body.attributes.map(|attributes| attributes.0),
    };
    Ok(Json(ConfigurationBody::of(&state.services.configuration_update(&permit, id, change).await?)))
}

/// Removes a configuration with all its versions; not while images are made of it.
#[utoipa::path(delete, operation_id = "configuration_delete", path = "/configurations/{id}", tag = "configurations", params(("id" = String, Path, description = "The configuration's id")), responses(
    (status = 204, description = "It is gone"),
    (status = 401, description = "Not signed in", body = Problem), (status = 403, description = "The token may not, or the user is suspended", body = Problem), (status = 404, description = "No such configuration", body = Problem),
    (status = 409, description = "Images use it", body = Problem)))]
pub(super) async fn delete(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<ConfigurationId>,
) -> Result<StatusCode, ApiError> {
    state.services.configuration_delete(&caller.may(Write)?, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
