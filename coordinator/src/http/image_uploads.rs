//! What is asked for with an image, whether in JSON or beside an archive, and images that come as an archive.

use super::State;
use super::error::ApiError;
use super::extract::{Caller, Check, Pairs};
use super::images::Asked;
use super::upload::Upload;
use super::values::wait;
use crate::access::{Administer, Permit, Write};
use crate::domain::image::{ImageSource, Recipe, Spread};
use crate::service::images::{ContextError, NewImage, Received};
use axum::extract::Request;
use dockerforge_protocol::ids::HostId;
use dockerforge_protocol::spec::Labels;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use utoipa::IntoParams;

/// Where the Dockerfile is if nothing else is said.
pub(super) const DOCKERFILE: &str = "Dockerfile";
/// How many hosts may be named.
const MOST_HOSTS: usize = 100;

/// What comes with an archive.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "documents the query, which is read pair by pair because build_arg may be repeated")]
pub(super) struct ArchiveQuery {
    /// With an archive: the image's name.
    name: Option<String>,
    /// With an archive: the id of the host to build on; one of `hosts` where absent.
    host: Option<String>,
    /// With an archive: `all`, `mine`, or the id of a host that it is to be on; ids may be repeated.
    hosts: Option<String>,
    /// With an archive: where the Dockerfile is in it; `Dockerfile` where absent.
    dockerfile: Option<String>,
    /// With an archive: a build argument, `NAME=value`; may be repeated.
    build_arg: Option<String>,
    /// With an archive: whether to leave the build cache alone.
    no_cache: Option<bool>,
    /// With an archive: whether every user sees it and may use it; for administrators.
    public: Option<bool>,
    /// With an archive: seconds that it may wait for its host.
    deadline: Option<i64>,
}

pub(super) fn build_args(
    check: &mut Check,
    args: impl IntoIterator<Item = (String, String)>,
) -> BTreeMap<String, String> {
    let mut map = BTreeMap::new();
    let mut size = 0;
    for (name, value) in args {
        size += name.len() + value.len();
        let pointer = format!("/build_args/{name}");
        let known = check.parse::<dockerforge_protocol::spec::EnvName>(&pointer, &name);
        if value.contains('\0') || value.len() > 64 * 1024 {
            check.refuse(&pointer, "expected at most 64 KiB without NUL characters");
        }
        if known.is_some() && map.insert(name, value).is_some() {
            check.refuse(&pointer, "this argument is given twice");
        }
    }
    if size > 256 * 1024 {
        check.refuse("/build_args", "expected at most 256 KiB in all");
    }
    map
}

/// Where an image is to be.
#[derive(Clone, Deserialize)]
#[serde(untagged, expecting = "expected \"all\", \"mine\", or a list of ids of hosts")]
pub(super) enum HostsBody {
    /// `all` or `mine`.
    Word(String),
    /// These.
    These(Vec<String>),
}

/// On which hosts an image is to be.
pub(super) fn spread(check: &mut Check, pointer: &str, asked: &HostsBody) -> Option<Spread> {
    match asked {
        HostsBody::Word(word) if word == "all" => Some(Spread::All),
        HostsBody::Word(word) if word == "mine" => Some(Spread::Mine),
        HostsBody::Word(_) => {
            check.refuse(pointer, "expected \"all\", \"mine\", or a list of ids of hosts");
            None
        }
        HostsBody::These(ids) if ids.is_empty() || ids.len() > MOST_HOSTS => {
            check.refuse(pointer, format!("expected 1 to {MOST_HOSTS} hosts"));
            None
        }
        HostsBody::These(ids) => {
            let mut known = Vec::with_capacity(ids.len());
            for (i, id) in ids.iter().enumerate() {
                let at = if pointer.starts_with('/') { format!("{pointer}/{i}") } else { pointer.to_owned() };
                let Some(id) = check.parse::<HostId>(&at, id) else { continue };
                if known.contains(&id) {
                    check.refuse(&at, "this host is named twice");
                }
                known.push(id);
            }
            Some(Spread::These(known))
        }
    }
}

pub(super) async fn from_archive(
    state: &State,
    caller: &Caller,
    permit: &Permit<Write>,
    request: Request,
) -> Result<Asked, ApiError> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let pairs = Pairs::from_request(&request)?.0;
    let given: Vec<String> = pairs.iter().map(|(key, _)| key.clone()).collect();
    let mut check = Check::default();
    let (mut name, mut host, mut deadline, mut public) = (None, None, None, false);
    let mut hosts = Vec::new();
    let (mut dockerfile, mut no_cache, mut args) = (DOCKERFILE.to_owned(), false, Vec::new());
    for (key, value) in pairs {
        match key.as_str() {
            "name" => name = check.parse("name", &value),
            "host" => host = check.parse::<HostId>("host", &value),
            "hosts" => hosts.push(value),
            "dockerfile" => dockerfile = value,
            "public" => public = check.parse("public", &value).unwrap_or_default(),
            "no_cache" => no_cache = check.parse("no_cache", &value).unwrap_or_default(),
            "deadline" => deadline = check.parse("deadline", &value),
            "build_arg" => match value.split_once('=') {
                Some((key, value)) => args.push((key.to_owned(), value.to_owned())),
                None => check.refuse("build_arg", "expected NAME=value"),
            },
            other => check.refuse(other, "there is no such parameter"),
        }
    }
    let is_given = |parameter: &str| given.iter().any(|key| key == parameter);
    if !is_given("name") {
        check.refuse("name", "this parameter is needed");
    }
    if !is_given("host") && !is_given("hosts") {
        check.refuse("host", "this parameter is needed, or hosts");
    }
    let spread = match hosts.as_slice() {
        [] => Some(Spread::None),
        [one] if one == "all" || one == "mine" => spread(&mut check, "hosts", &HostsBody::Word(one.clone())),
        several => spread(&mut check, "hosts", &HostsBody::These(several.to_vec())),
    };
    let wait = wait(&mut check, deadline);
    let build_args = build_args(&mut check, args);
    let (name, spread) = check.finish(name.zip(spread))?;
    let public = if public { Some(caller.may(Administer)?) } else { None };
    let received = receive(state, caller, permit, host, &spread, request).await?;
    if !received.summary.has(&dockerfile) {
        state.services.context_release(received.claim).await;
        let mut check = Check::default();
        check.refuse("dockerfile", format!("the archive holds no file {dockerfile:?}"));
        return check.finish(None);
    }
    let digest = Sha256::new().chain_update(&query).chain_update(&received.context.sha256).finalize().into();
    let source =
        ImageSource::Dockerfile(Recipe { context: received.context, dockerfile, build_args, no_cache, made_of: None });
    Ok(Asked {
        new: NewImage { name, host, spread, source, labels: Labels::default(), public, wait },
        digest,
        claim: Some(received.claim),
    })
}

/// Takes the archive, unless it is clear beforehand that it is of no use. Where it is not taken to its end, the rest is
/// taken and dropped beside, so that the answer that says why is heard.
async fn receive(
    state: &State,
    caller: &Caller,
    permit: &Permit<Write>,
    host: Option<HostId>,
    spread: &Spread,
    request: Request,
) -> Result<Received, ApiError> {
    let (parts, body) = request.into_parts();
    let mut upload = Upload::new(&parts.headers, body);
    let limits = state.services.upload_limits;
    let received = async {
        if upload.size().is_some_and(|size| size > limits.compressed) {
            return Err(ContextError::TooLarge(limits.compressed).into());
        }
        // The key's own request has its answer, whatever its body would be found to be; so which body it is bound to
        // does not matter here.
        state.services.image_expect(permit, caller.key([0; 32]).as_ref(), host, spread).await?;
        Ok::<_, ApiError>(state.services.contexts.receive(&mut upload, limits).await?)
    };
    let received = received.await;
    if received.is_err() {
        upload.discard(&state.tasks);
    }
    received
}
