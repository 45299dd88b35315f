//! `/images`: asking for images by reference, Dockerfile or archive, seeing where they are, and removing them.

use super::State;
use super::conditional::tagged;
use super::document::schemas as s;
use super::error::ApiError;
use super::extract::{Caller, Check, Id, Json as Body, LabelParam, Labelled, Object, Pairs, media_type, page};
use super::image_uploads::{ArchiveQuery, DOCKERFILE, HostsBody, build_args, from_archive, spread};
use super::jobs::{JobBody, JobErrorBody, ProgressBody, started};
use super::respond::{self, Listing};
use super::upload::is_archive;
use super::values::{label_filter, labels, parse_labels, wait};
use crate::access::{Administer, Read, Write};
use crate::domain::image::{Image, ImageSource, Recipe, Spread};
use crate::domain::registry::InRegistry;
use crate::service::images::{Claim, Filter, NewImage, Placed, Standing};
use axum::extract::{FromRequest, Request, State as Shared};
use axum::response::Response;
use dockerforge_protocol::command::LOCAL_REGISTRY;
use dockerforge_protocol::ids::{ConfigurationId, ImageId, JobId};
use dockerforge_protocol::spec::{ImageRef, ResourceName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use utoipa::{IntoParams, ToSchema};

/// An image to be made: built from a `configuration`, or from the text of a `dockerfile` without other files, or pulled by
/// `reference`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewImageBody {
    /// 1 to 63 characters of a-z, 0-9, '-', '_' or '.'; unique among your images.
    #[schema(value_type = s::Name, example = "blog")]
    name: String,
    /// The id of the host to make it on; one of your own in `hosts` where absent. With a `configuration` of a public template both may
    /// be absent: it is then built on a host that all users share.
    #[schema(value_type = Option<s::HostId>, example = "hst_0192f0c1a2b37c4d8e5f60718293a4b5")]
    host: Option<String>,
    /// The hosts that it is to be on: `mine` are all your own, `all` also those that everybody shares, or a list of ids of your
    /// own. It is made on one, and goes from there to the others; a host that is offline gets it when it is back.
    #[schema(value_type = Option<s::Hosts>)]
    hosts: Option<HostsBody>,
    /// The id of a configuration to build it from.
    #[schema(value_type = Option<s::ConfigurationId>)]
    configuration: Option<String>,
    /// The version of the configuration; the newest where absent.
    #[schema(value_type = Option<s::Version>)]
    configuration_version: Option<u32>,
    /// What to pull. An image of that reference that is on the host already is used where its registry does not answer. On further
    /// hosts it is the same image, copied from those that have it.
    #[schema(value_type = Option<s::ImageReference>, example = "debian:12")]
    reference: Option<String>,
    /// The text of a Dockerfile.
    #[schema(value_type = Option<s::Dockerfile>)]
    dockerfile: Option<String>,
    /// Build arguments.
    #[serde(default)]
    #[schema(value_type = s::BuildArguments)]
    build_args: Object<String>,
    /// Whether to leave the build cache alone.
    #[serde(default)]
    no_cache: bool,
    /// Labels of your own.
    #[serde(default)]
    #[schema(value_type = s::Labels)]
    labels: Object<String>,
    /// Whether every user sees it and may use it; for administrators.
    #[serde(default)]
    public: bool,
    /// Seconds that it may wait for its host: 1 to 2592000; a day where absent.
    #[schema(value_type = Option<s::Deadline>)]
    deadline: Option<i64>,
}

/// An image.
#[derive(Serialize, ToSchema)]
pub struct ImageBody {
    /// Its id.
    #[schema(value_type = s::ImageId)]
    pub id: String,
    /// Its name.
    #[schema(value_type = s::Name)]
    pub name: String,
    /// `pending`, `ready` or `deleting`.
    #[schema(value_type = s::ImageState)]
    pub state: &'static str,
    /// Whether every user sees it.
    pub public: bool,
    /// Where it comes from.
    pub source: SourceBody,
    /// Its labels.
    #[schema(value_type = s::Labels)]
    pub labels: BTreeMap<String, String>,
    /// On which hosts it is.
    pub hosts: Vec<PresenceBody>,
    /// Where it is in the registry, once it is there; for the image's owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry: Option<InRegistryBody>,
    /// When it was asked for.
    #[schema(value_type = s::Time)]
    pub created_at: String,
}

/// Where an image comes from.
#[derive(Serialize, ToSchema)]
pub struct SourceBody {
    /// `configuration`, `dockerfile` or `reference`.
    #[schema(value_type = s::ImageSource)]
    pub kind: &'static str,
    /// The configuration that it was built from.
    #[schema(value_type = Option<s::ConfigurationId>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration: Option<String>,
    /// The version of that.
    #[schema(value_type = Option<s::Version>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration_version: Option<u32>,
    /// What was pulled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Where the Dockerfile was in its context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dockerfile: Option<String>,
    /// SHA-256 of the context in its canonical form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_sha256: Option<String>,
}

/// An image in the registry that hosts have it from.
#[derive(Serialize, ToSchema)]
pub struct InRegistryBody {
    /// The registry and the name in it.
    pub repository: String,
    /// The digest of its manifest, `sha256:…`.
    pub digest: String,
}

impl InRegistryBody {
    fn of(there: &InRegistry) -> Option<Self> {
        Some(Self { repository: there.repository.clone(), digest: there.digest.clone()? })
    }
}

/// An image on a host.
#[derive(Serialize, ToSchema)]
pub struct PresenceBody {
    /// Which host; null for one that all users share.
    #[schema(value_type = Option<s::HostId>, required)]
    pub host: Option<String>,
    /// Whether it is one that all users share. Such hosts are told of to the image's owner alone.
    pub pool: bool,
    /// `pending` while it is on its way there, `present`, `missing` if it was removed by hand, or `failed`.
    #[schema(value_type = s::PresenceState)]
    pub state: &'static str,
    /// Docker's id of it there.
    pub docker_id: Option<String>,
    /// Its size, bytes.
    pub size: Option<u64>,
    /// The job that brings it there, or could not; for the image's owner.
    #[schema(value_type = Option<s::JobId>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// How far that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressBody>,
    /// Why it could not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<JobErrorBody>,
}

impl PresenceBody {
    fn of(standing: &Standing) -> Self {
        let (presence, job) = (&standing.presence, standing.job.as_ref());
        Self {
            host: (!standing.pool).then(|| presence.host.to_string()),
            pool: standing.pool,
            state: presence.state.as_str(),
            docker_id: presence.docker_id.clone(),
            size: presence.size,
            job: job.map(|job| job.id.to_string()),
            progress: job
                .filter(|job| !job.state.is_terminal())
                .and_then(|job| job.progress.as_ref())
                .map(ProgressBody::of),
            error: job.and_then(|job| job.error.as_ref()).map(JobErrorBody::of),
        }
    }
}

impl ImageBody {
    fn of(placed: &Placed) -> Self {
        let Image { id, name, state, public, source, labels: own, created_at, registry, .. } = &placed.image;
        let source = match source {
            ImageSource::Reference(reference) => SourceBody {
                kind: "reference",
                configuration: None,
                configuration_version: None,
                reference: Some(reference.to_string()),
                dockerfile: None,
                context_sha256: None,
            },
            ImageSource::Dockerfile(recipe) => SourceBody {
                kind: if recipe.made_of.is_some() { "configuration" } else { "dockerfile" },
                configuration: recipe.made_of.map(|of| of.configuration.to_string()),
                configuration_version: recipe.made_of.map(|of| of.version),
                reference: None,
                dockerfile: Some(recipe.dockerfile.clone()),
                context_sha256: Some(recipe.context.sha256.clone()),
            },
        };
        Self {
            id: id.to_string(),
            name: name.to_string(),
            state: state.as_str(),
            public: *public,
            source,
            labels: labels(own),
            hosts: placed.hosts.iter().map(PresenceBody::of).collect(),
            registry: registry.as_ref().and_then(InRegistryBody::of),
            created_at: created_at.to_string(),
        }
    }
}

/// Asks for an image: pulled by reference or built from a Dockerfile (JSON), or built from an archive that is the body
/// (`application/x-tar` or `application/gzip`, with its parameters in the query).
#[utoipa::path(post, operation_id = "image_create", path = "/images", tag = "images", params(ArchiveQuery),
    request_body(content((NewImageBody = "application/json"), (Vec<u8> = "application/x-tar"), (Vec<u8> = "application/gzip"))), responses(
    (status = 202, description = "The job that makes it", body = JobBody)),
    extensions(("x-problems" = json!(["name-taken", "host-draining", "nothing-fits", "invalid-archive", "quota-exceeded"]))))]
pub(super) async fn create(
    Shared(state): Shared<State>,
    caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let permit = caller.may(Write)?;
    let Asked { new, digest, claim } = match media_type(request.headers()).as_deref() {
        Some("application/json") => match from_json(&state, &caller, request).await? {
            ControlFlow::Continue(asked) => asked,
            ControlFlow::Break(job) => return started(&state, &caller, job).await,
        },
        kind if is_archive(kind) => from_archive(&state, &caller, &permit, request).await?,
        _ => return Err(ApiError::unsupported("send JSON, or an archive as application/x-tar or application/gzip")),
    };
    let job = state.services.image_create(&permit, caller.key(digest).as_ref(), new).await;
    // Refused or a repeat: what came with it is not kept.
    if let Some(claim) = claim {
        state.services.context_release(claim).await;
    }
    started(&state, &caller, job?).await
}

/// What is asked for.
pub(super) struct Asked {
    pub(super) new: NewImage,
    /// Of the body, for the Idempotency-Key.
    pub(super) digest: [u8; 32],
    /// On the context that came with it.
    pub(super) claim: Option<Claim>,
}

/// Where an image that is asked for in JSON comes from.
enum Origin {
    Reference(ImageRef),
    Configuration(ConfigurationId),
    Dockerfile(String),
}

/// Exactly one of three.
fn origin(
    check: &mut Check,
    reference: Option<&str>,
    configuration: Option<&str>,
    dockerfile: Option<String>,
    build_args: &BTreeMap<String, String>,
) -> Option<Origin> {
    let takes_none = |check: &mut Check, pointer: &str| {
        if !build_args.is_empty() {
            check.refuse(pointer, "build_args are for a dockerfile");
        }
    };
    match (reference, configuration, dockerfile) {
        (Some(reference), None, None) => {
            takes_none(check, "/build_args");
            let parsed = check.parse::<ImageRef>("/reference", reference);
            if parsed.as_ref().is_some_and(|reference| reference.registry() == LOCAL_REGISTRY) {
                check.refuse(
                    "/reference",
                    "it is a name that images have on hosts, and no reference: use the image itself",
                );
                return None;
            }
            parsed.map(Origin::Reference)
        }
        (None, Some(configuration), None) => {
            takes_none(check, "/build_args");
            check.parse("/configuration", configuration).map(Origin::Configuration)
        }
        (None, None, Some(text)) if text.trim().is_empty() => {
            check.refuse("/dockerfile", "expected the text of a Dockerfile");
            None
        }
        (None, None, Some(text)) => Some(Origin::Dockerfile(text)),
        (None, None, None) => {
            check.refuse("", "expected one of configuration, dockerfile and reference");
            None
        }
        (_, _, Some(_)) => {
            check.refuse("/dockerfile", "expected one of configuration, dockerfile and reference, not several");
            None
        }
        (Some(_), Some(_), None) => {
            check.refuse("/reference", "expected one of configuration, dockerfile and reference, not several");
            None
        }
    }
}

/// What is asked for, or the job of the same request before.
async fn from_json(state: &State, caller: &Caller, request: Request) -> Result<ControlFlow<JobId, Asked>, ApiError> {
    let mut check = Check::default();
    for (name, _) in Pairs::from_request(&request)?.0 {
        check.refuse(&name, "parameters come with an archive; JSON says everything in its body");
    }
    check.finish(Some(()))?;
    let Body { value: body, digest } = Body::<NewImageBody>::from_request(request, state).await?;
    let mut check = Check::default();
    let name = check.parse("/name", &body.name);
    let host = body.host.as_deref().and_then(|host| check.parse("/host", host));
    let spread = body.hosts.as_ref().map_or(Some(Spread::None), |hosts| spread(&mut check, "/hosts", hosts));
    if body.host.is_none() && body.hosts.is_none() && body.configuration.is_none() {
        check.refuse("/host", "name the host to make it on, or with `hosts` those that it is to be on");
    }
    let labels = parse_labels(&mut check, &body.labels);
    let wait = wait(&mut check, body.deadline);
    let build_args = build_args(&mut check, body.build_args.0);
    let public = if body.public { Some(caller.may(Administer)?) } else { None };
    let from =
        origin(&mut check, body.reference.as_deref(), body.configuration.as_deref(), body.dockerfile, &build_args);
    match &from {
        Some(Origin::Reference(_)) if body.no_cache => check.refuse("/no_cache", "what is pulled is not built"),
        Some(Origin::Configuration(_)) | None => {}
        Some(_) if body.configuration_version.is_some() => {
            check.refuse("/configuration_version", "expected a configuration beside it");
        }
        Some(_) => {}
    }
    let (((name, spread), labels), from) = check.finish(name.zip(spread).zip(labels).zip(from))?;
    let (source, claim) = match from {
        Origin::Reference(reference) => (ImageSource::Reference(reference), None),
        Origin::Configuration(id) => {
            let (permit, version) = (caller.may(Write)?, body.configuration_version);
            // The configuration may be gone since, or another in what it would come to now.
            if let Some(job) = state.services.image_asked(&permit, caller.key(digest).as_ref()).await? {
                return Ok(ControlFlow::Break(job));
            }
            let made = state.services.configuration_recipe(&permit, id, version, body.no_cache).await?;
            (ImageSource::Dockerfile(made.0), Some(made.1))
        }
        Origin::Dockerfile(text) => {
            let (context, claim) = state.services.contexts.from_dockerfile(&text).await?;
            let dockerfile = DOCKERFILE.to_owned();
            let recipe = Recipe { context, dockerfile, build_args, no_cache: body.no_cache, made_of: None };
            (ImageSource::Dockerfile(recipe), Some(claim))
        }
    };
    Ok(ControlFlow::Continue(Asked {
        new: NewImage { name, host, spread, source, labels, public, wait },
        digest,
        claim,
    }))
}

/// Which images.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ImageQuery {
    /// Only the one of this name.
    name: Option<String>,
    /// Only those on this host.
    host: Option<String>,
    /// Rows of a page: 1 to 200, 50 where absent.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// The images that the user may use: his own and the public ones, newest first.
#[utoipa::path(get, operation_id = "image_list", path = "/images", tag = "images", params(ImageQuery, LabelParam), responses(
    (status = 200, description = "A page of images", body = Listing<ImageBody>)))]
pub(super) async fn list(
    Shared(state): Shared<State>,
    caller: Caller,
    Labelled(query, labels): Labelled<ImageQuery>,
) -> Result<Response, ApiError> {
    let mut check = Check::default();
    let page = page(&mut check, query.limit, query.after.as_deref(), ImageId::uuid);
    let host = query.host.as_deref().and_then(|text| check.parse("host", text));
    let name = query.name.as_deref().and_then(|text| check.parse::<ResourceName>("name", text));
    let labels = label_filter(&mut check, &labels);
    let labels = check.finish(labels)?;
    let filter = Filter { name: name.map(|name| name.to_string()), host, labels };
    let found = state.services.image_list(&caller.may(Read)?, &filter, page).await?.cursor(ImageId::from_uuid);
    let bodies = found.items.iter().map(ImageBody::of).collect();
    Ok(respond::page(&caller.context, found.with(bodies), page.limit, |image| image.id.clone()))
}

/// One image, and on which hosts it is.
#[utoipa::path(get, operation_id = "image_get", path = "/images/{id}", tag = "images", params(("id" = String, Path, description = "The image's id")), responses(
    (status = 200, description = "The image", body = ImageBody)))]
pub(super) async fn get(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<ImageId>,
) -> Result<Response, ApiError> {
    let placed = state.services.image_get(&caller.may(Read)?, id).await?;
    Ok(tagged(placed.image.revision, &ImageBody::of(&placed)))
}

/// Removes an image from everywhere. Refused while a container uses it.
#[utoipa::path(delete, operation_id = "image_delete", path = "/images/{id}", tag = "images", params(("id" = String, Path, description = "The image's id")), responses(
    (status = 202, description = "The job that does it", body = JobBody)),
    extensions(("x-problems" = json!(["not-owner", "image-in-use", "image-not-ready", "quota-exceeded"]))))]
pub(super) async fn delete(
    Shared(state): Shared<State>,
    caller: Caller,
    Id(id): Id<ImageId>,
) -> Result<Response, ApiError> {
    let job = state.services.image_delete(&caller.may(Write)?, id, &caller.seen).await?;
    started(&state, &caller, job).await
}
