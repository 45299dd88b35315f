//! `/templates`: what configurations are made of, in versions, and their archives.

use super::State;
use super::conditional::tagged;
use super::document::schemas as s;
use super::documents::JsonObject;
use super::error::ApiError;
use super::extract::{Caller, Check, Id, Json as Body, Query, media_type, page};
use super::provisions::{self, ProvisionBody};
use super::respond::{Listing, listing, with_location};
use super::upload::Upload;
use crate::access::{Administer, Read, Write};
use crate::domain::template::{Provisioner, RunListItem, Running, Template, TemplateSpec};
use crate::service::images::ContextError;
use crate::service::templates::{ARCHIVE_LIMITS, NewTemplate};
use axum::Json;
use axum::extract::{Request, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use dockerforge_protocol::ids::TemplateId;
use dockerforge_protocol::spec::{AbsolutePath, PortProtocol, ResourceName};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::num::NonZeroU16;
use utoipa::{IntoParams, ToSchema};

/// The most bytes of a description.
const MAX_DESCRIPTION: usize = 4096;
/// The most of what a template names: ports, volumes, services.
const MAX_NAMED: usize = 32;

/// A template to be made, or all that one says from now on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTemplateBody {
    /// 1 to 63 characters of a-z, 0-9, '-', '_' or '.'; unique among your templates.
    #[schema(value_type = s::Name, example = "wordpress")]
    name: String,
    /// What it is for.
    #[serde(default)]
    #[schema(value_type = s::Description, example = "A blog on Apache and PHP")]
    description: String,
    /// What images are based on: a reference.
    #[schema(value_type = s::ImageReference, example = "debian:12")]
    base: String,
    /// `chef-solo`, `ansible` or `shell`. Chef is in the base image or nowhere, and who chooses it has accepted Chef's licence.
    #[schema(value_type = s::Provisioner, example = "ansible")]
    provisioner: String,
    /// What is converged, in this order: `recipe[name]`, `recipe[name::part]`, `role[name]` or a name.
    #[schema(value_type = s::RunList)]
    run_list: Vec<String>,
    /// Attributes that hold where nothing else is said.
    #[serde(default)]
    #[schema(value_type = s::Document)]
    attributes: JsonObject,
    /// What may be chosen: a JSON Schema (draft 2020-12) of an object, without references. What is `writeOnly` is a secret.
    #[serde(default)]
    #[schema(value_type = s::ParameterSchema)]
    parameters: JsonObject,
    /// Services that its containers must be linked to.
    #[serde(default)]
    #[schema(value_type = s::Services, example = json!(["mysql"]))]
    requires: Vec<String>,
    /// Services that its containers are.
    #[serde(default)]
    #[schema(value_type = s::Services)]
    provides: Vec<String>,
    /// How its containers provision those that are linked to them; not at all where absent.
    provision: Option<ProvisionBody>,
    /// How its containers run.
    #[serde(default)]
    run: RunningBody,
    /// Whether every user sees it and may use it; for administrators.
    #[serde(default)]
    public: bool,
}

/// How a template's containers run.
#[derive(Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunningBody {
    /// The program and its arguments; the base image's where empty.
    #[serde(default)]
    #[schema(value_type = s::Arguments)]
    command: Vec<String>,
    /// The ports that they serve: `80`, `53/udp`.
    #[serde(default)]
    #[schema(value_type = s::Exposed)]
    expose: Vec<String>,
    /// The folders whose content outlives a container: absolute paths.
    #[serde(default)]
    #[schema(value_type = s::MountPoints)]
    volumes: Vec<String>,
    /// The signal that asks them to end; the base image's where absent.
    #[schema(value_type = Option<s::StopSignal>)]
    stop_signal: Option<String>,
}

/// A template, in a version.
#[derive(Serialize, ToSchema)]
pub struct TemplateBody {
    /// Its id.
    #[schema(value_type = s::TemplateId)]
    pub id: String,
    /// Its name.
    #[schema(value_type = s::Name)]
    pub name: String,
    /// What it is for.
    #[schema(value_type = s::Description)]
    pub description: String,
    /// Whether every user sees it.
    pub public: bool,
    /// Which version this is.
    #[schema(value_type = s::Version)]
    pub version: u32,
    /// What images are based on.
    #[schema(value_type = s::ImageReference)]
    pub base: String,
    /// `chef-solo`, `ansible` or `shell`.
    #[schema(value_type = s::Provisioner)]
    pub provisioner: &'static str,
    /// What is converged.
    #[schema(value_type = s::RunList)]
    pub run_list: Vec<String>,
    /// Attributes that hold where nothing else is said.
    #[schema(value_type = s::Document)]
    pub attributes: Map<String, Value>,
    /// What may be chosen: a JSON Schema.
    #[schema(value_type = s::ParameterSchema)]
    pub parameters: Map<String, Value>,
    /// Services that its containers must be linked to.
    #[schema(value_type = s::Services)]
    pub requires: Vec<String>,
    /// Services that its containers are.
    #[schema(value_type = s::Services)]
    pub provides: Vec<String>,
    /// How its containers provision those that are linked to them, if they do.
    pub provision: Option<ProvisionBody>,
    /// How its containers run.
    pub run: RunningBody,
    /// Its cookbooks, roles or scripts.
    pub archive: Option<ArchiveBody>,
    /// When the template was made.
    #[schema(value_type = s::Time)]
    pub created_at: String,
    /// When this version was.
    #[schema(value_type = s::Time)]
    pub changed_at: String,
}

/// An archive as it is kept.
#[derive(Serialize, ToSchema)]
pub struct ArchiveBody {
    /// SHA-256 of its canonical form.
    pub sha256: String,
    /// The size of that, bytes.
    pub size: u64,
}

impl TemplateBody {
    fn of(template: &Template) -> Self {
        let TemplateSpec { description, base, provisioner, run_list, attributes, parameters, .. } = &template.spec;
        let TemplateSpec { requires, provides, provision, run, .. } = &template.spec;
        let texts = |names: &[ResourceName]| names.iter().map(ToString::to_string).collect();
        Self {
            id: template.id.to_string(),
            name: template.name.to_string(),
            description: description.clone(),
            public: template.public,
            version: template.version,
            base: base.to_string(),
            provisioner: provisioner.as_str(),
            run_list: run_list.iter().map(RunListItem::to_string).collect(),
            attributes: attributes.members().clone(),
            parameters: parameters.members().clone(),
            requires: texts(requires),
            provides: texts(provides),
            provision: provision.as_ref().map(provisions::shown),
            run: RunningBody {
                command: run.command.clone(),
                expose: run.expose.iter().map(|(port, protocol)| format!("{port}/{protocol}")).collect(),
                volumes: run.volumes.iter().map(ToString::to_string).collect(),
                stop_signal: run.stop_signal.as_ref().map(ToString::to_string),
            },
            archive: template.archive.as_ref().map(|a| ArchiveBody { sha256: a.sha256.clone(), size: a.size }),
            created_at: template.created_at.to_string(),
            changed_at: template.changed_at.to_string(),
        }
    }
}

/// Each element of a list read, with its pointer where it cannot be.
pub(super) fn each<T: std::str::FromStr<Err: std::fmt::Display>>(
    check: &mut Check,
    pointer: &str,
    texts: &[String],
) -> Vec<T> {
    texts.iter().enumerate().filter_map(|(i, text)| check.parse(&format!("{pointer}/{i}"), text)).collect()
}

fn port(check: &mut Check, pointer: &str, text: &str) -> Option<(NonZeroU16, PortProtocol)> {
    let (port, protocol) = match text.split_once('/') {
        None => (text, PortProtocol::Tcp),
        Some((port, "tcp")) => (port, PortProtocol::Tcp),
        Some((port, "udp")) => (port, PortProtocol::Udp),
        Some(_) => ("", PortProtocol::Tcp),
    };
    let plain = !port.starts_with('0') && port.bytes().all(|b| b.is_ascii_digit());
    let port = port.parse().ok().filter(|_| plain);
    let port = port.ok_or("expected a port from 1 to 65535, alone or with /tcp or /udp");
    check.take(pointer, port).map(|port| (port, protocol))
}

fn running(check: &mut Check, body: RunningBody) -> Running {
    let expose: Vec<_> =
        body.expose.iter().enumerate().filter_map(|(i, text)| port(check, &format!("/run/expose/{i}"), text)).collect();
    let volumes: Vec<AbsolutePath> = each(check, "/run/volumes", &body.volumes);
    for (pointer, count) in [("/run/expose", expose.len()), ("/run/volumes", volumes.len())] {
        if count > MAX_NAMED {
            check.refuse(pointer, format!("expected at most {MAX_NAMED}"));
        }
    }
    for (i, path) in volumes.iter().enumerate() {
        // Docker expands variables there.
        if path.to_string().contains(['$', '\\']) {
            check.refuse(&format!("/run/volumes/{i}"), "expected a path without '$' and '\\'");
        }
    }
    let mut problems = Vec::new();
    dockerforge_protocol::spec::argument_problems("/run/command", &body.command, &mut problems);
    for (pointer, detail) in problems {
        check.refuse(&pointer, detail);
    }
    let stop_signal = body.stop_signal.as_deref().and_then(|signal| check.parse("/run/stop_signal", signal));
    Running { command: body.command, expose, volumes, stop_signal }
}

/// A body as what a template is to be.
fn read(caller: &Caller, body: NewTemplateBody) -> Result<NewTemplate, ApiError> {
    let mut check = Check::default();
    let name = check.parse("/name", &body.name);
    let base = check.parse("/base", &body.base);
    let provisioner = Provisioner::parse(&body.provisioner).ok_or("expected chef-solo, ansible or shell");
    let provisioner = check.take("/provisioner", provisioner);
    let run_list = each(&mut check, "/run_list", &body.run_list);
    let (requires, provides) =
        (each(&mut check, "/requires", &body.requires), each(&mut check, "/provides", &body.provides));
    for (pointer, count) in [("/requires", requires.len()), ("/provides", provides.len())] {
        if count > MAX_NAMED {
            check.refuse(pointer, format!("expected at most {MAX_NAMED}"));
        }
    }
    if body.description.len() > MAX_DESCRIPTION || body.description.contains('\0') {
        check.refuse("/description", format!("expected at most {MAX_DESCRIPTION} bytes without NUL characters"));
    }
    let provision = body.provision.as_ref().and_then(|provision| provisions::parse(&mut check, provision));
    let run = running(&mut check, body.run);
    let public = if body.public { Some(caller.may(Administer)?) } else { None };
    let ((name, base), provisioner) = check.finish(name.zip(base).zip(provisioner))?;
    let spec = TemplateSpec {
        description: body.description,
        base,
        provisioner,
        run_list,
        attributes: body.attributes.0,
        parameters: body.parameters.0,
        requires,
        provides,
        provision,
        run,
    };
    Ok(NewTemplate { name, public, spec })
}

/// Makes a template, in its first version. Its archive is put beside it.
#[utoipa::path(post, operation_id = "template_create", path = "/templates", tag = "templates", request_body = NewTemplateBody, responses(
    (status = 201, description = "The template", body = TemplateBody)),
    extensions(("x-problems" = json!(["name-taken", "quota-exceeded"]))))]
pub(super) async fn create(
    Shared(state): Shared<State>,
    caller: Caller,
    body: Body<NewTemplateBody>,
) -> Result<Response, ApiError> {
    let permit = caller.may(Write)?;
    let key = caller.key(body.digest);
    let new = read(&caller, body.value)?;
    let template = state.services.template_create(&permit, key.as_ref(), new).await?;
    let location = format!("{}/templates/{}", caller.context.mount, template.id);
    Ok(with_location((StatusCode::CREATED, Json(TemplateBody::of(&template))).into_response(), &location))
}

/// Which templates.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TemplateQuery {
    /// Only those of this name.
    name: Option<String>,
    /// Rows of a page: 1 to 200, 50 where absent.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// The user's templates and the public ones, each in its newest version, newest first.
#[utoipa::path(get, operation_id = "template_list", path = "/templates", tag = "templates", params(TemplateQuery), responses(
    (status = 200, description = "A page of templates", body = Listing<TemplateBody>)))]
pub(super) async fn list(
    Shared(state): Shared<State>,
    caller: Caller,
    Query(query): Query<TemplateQuery>,
) -> Result<Response, ApiError> {
    let mut check = Check::default();
    let page = page(&mut check, query.limit, query.after.as_deref(), TemplateId::uuid);
    let name = query.name.as_deref().and_then(|text| check.parse::<ResourceName>("name", text));
    check.finish(Some(()))?;
    let templates = state.services.template_list(&caller.may(Read)?, name.as_ref(), page).await?;
    let items = templates.iter().map(TemplateBody::of).collect();
    Ok(listing(&caller.context, items, page.limit, |template: &TemplateBody| template.id.clone()))
}

/// Which version.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct VersionQuery {
    /// The version, from 1; the newest where absent.
    pub(super) version: Option<u32>,
}

/// One template.
#[utoipa::path(get, operation_id = "template_get", path = "/templates/{id}", tag = "templates", params(("id" = String, Path, description = "The template's id"), VersionQuery), responses(
    (status = 200, description = "The template", body = TemplateBody)))]
pub(super) async fn get(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<TemplateId>,
    Query(query): Query<VersionQuery>,
) -> Result<Response, ApiError> {
    let template = state.services.template_get(&caller.may(Read)?, id, query.version).await?;
    Ok(shown(&template))
}

/// Says anew all that a template says, which makes its next version. Its archive stays; so do configurations, until they are
/// upgraded.
#[utoipa::path(put, operation_id = "template_replace", path = "/templates/{id}", tag = "templates", params(("id" = String, Path, description = "The template's id")), request_body = NewTemplateBody, responses(
    (status = 200, description = "The template in its new version", body = TemplateBody)),
    extensions(("x-problems" = json!(["name-taken", "not-owner", "template-in-use"]))))]
pub(super) async fn replace(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<TemplateId>,
    body: Body<NewTemplateBody>,
) -> Result<Response, ApiError> {
    let permit = caller.may(Write)?;
    let new = read(&caller, body.value)?;
    Ok(shown(&state.services.template_replace(&permit, id, new, &caller.seen).await?))
}

/// Gives a template its cookbooks, roles or scripts: a tar archive, compressed with gzip or not, of at most 64 MiB (256 MiB
/// expanded). That makes its next version.
#[utoipa::path(put, operation_id = "template_archive", path = "/templates/{id}/archive", tag = "templates", params(("id" = String, Path, description = "The template's id")),
    request_body(content((Vec<u8> = "application/x-tar"), (Vec<u8> = "application/gzip"))), responses(
    (status = 200, description = "The template in its new version", body = TemplateBody)),
    extensions(("x-problems" = json!(["not-owner", "invalid-archive"]))))]
pub(super) async fn archive(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<TemplateId>,
    request: Request,
) -> Result<Response, ApiError> {
    let permit = caller.may(Write)?;
    if !super::upload::is_archive(media_type(request.headers()).as_deref()) {
        return Err(ApiError::unsupported("send an archive as application/x-tar or application/gzip"));
    }
    let (parts, body) = request.into_parts();
    let mut upload = Upload::new(&parts.headers, body);
    let received = async {
        if upload.size().is_some_and(|size| size > ARCHIVE_LIMITS.compressed) {
            return Err(ContextError::TooLarge(ARCHIVE_LIMITS.compressed).into());
        }
        state.services.template_expect(&permit, id).await?;
        Ok::<_, ApiError>(state.services.contexts.receive(&mut upload, ARCHIVE_LIMITS).await?)
    };
    let received = received.await;
    if received.is_err() {
        upload.discard(&state.tasks);
    }
    let received = received?;
    let template = state.services.template_archive(&permit, id, received.context, &caller.seen).await;
    state.services.context_release(received.claim).await;
    Ok(shown(&template?))
}

/// A template with its entity tag: its version is what users change of it.
fn shown(template: &Template) -> Response {
    tagged(template.version.into(), &TemplateBody::of(template))
}

/// Removes a template with all its versions; not while configurations are made of it.
#[utoipa::path(delete, operation_id = "template_delete", path = "/templates/{id}", tag = "templates", params(("id" = String, Path, description = "The template's id")), responses(
    (status = 204, description = "It is gone")),
    extensions(("x-problems" = json!(["not-owner", "template-in-use"]))))]
pub(super) async fn delete(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<TemplateId>,
) -> Result<StatusCode, ApiError> {
    state.services.template_delete(&caller.may(Write)?, id, &caller.seen).await?;
    Ok(StatusCode::NO_CONTENT)
}
