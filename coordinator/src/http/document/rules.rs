//! What follows from an operation's nature, in one place: which problems it may answer, which headers it takes and gives. A handler
//! says only what is its own: its success, and in `x-problems` the names of the problems that come of what it does.

use super::{examples, schemas};
use crate::http::problems::{self as p, Kind};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// An operation, and what there is to know of it.
#[allow(clippy::struct_excessive_bools, reason = "each is a question with an answer of its own")]
pub(super) struct Nature {
    /// Its path in the document, with the mount.
    path: String,
    /// Its method, in lower case.
    method: String,
    /// Whether it can be asked without a key.
    open: bool,
    /// Whether it changes something.
    writes: bool,
    /// Whether a body comes with it.
    body: bool,
    /// Whether its path names a thing.
    names: bool,
    /// Whether parameters may follow its path.
    query: bool,
    /// Whether it starts a job, which can be waited for.
    starts: bool,
    /// Whether it is there live as well.
    live: bool,
    /// Whether a repeat with the same Idempotency-Key is answered as the first.
    repeatable: bool,
    /// Whether it is a page of a list that ends.
    list: bool,
    /// Whether it answers one thing with its entity tag.
    tagged: bool,
}

/// POSTs for which a repeat is another one: each ticket opens one terminal.
const NOT_REPEATABLE: [&str; 1] = ["container_terminal_ticket"];
/// Other operations than POSTs that take an Idempotency-Key: this one starts a job.
const ALSO_REPEATABLE: [&str; 1] = ["container_update"];
/// Answers one thing with its entity tag.
const TAGGED: [&str; 14] = [
    "user_get",
    "user_update",
    "host_get",
    "host_update",
    "template_get",
    "template_replace",
    "template_archive",
    "configuration_get",
    "configuration_update",
    "image_get",
    "container_get",
    "job_get",
    "webhook_get",
    "webhook_update",
];
/// Answers from memory alone.
const WITHOUT_DATABASE: [&str; 1] = ["healthz"];

/// A response that carries a job.
fn carries_a_job(response: &Value) -> bool {
    response["content"]["application/json"]["schema"]["$ref"] == "#/components/schemas/JobBody"
}

impl Nature {
    pub(super) fn of(path: &str, method: &str, operation: &Value) -> Self {
        let id = operation["operationId"].as_str().unwrap_or_default();
        let is_in =
            |place: &str| operation["parameters"].as_array().is_some_and(|all| all.iter().any(|p| p["in"] == place));
        let ok = &operation["responses"]["200"]["content"];
        let live = ok.get("text/event-stream").is_some();
        let after = operation["parameters"].as_array().is_some_and(|all| all.iter().any(|p| p["name"] == "after"));
        Self {
            path: path.to_owned(),
            method: method.to_owned(),
            open: operation["security"].as_array().is_some_and(|all| all.iter().all(|one| one == &json!({}))),
            writes: method != "get" || id == "container_terminal",
            body: operation.get("requestBody").is_some(),
            names: path.contains('{'),
            query: is_in("query"),
            starts: carries_a_job(&operation["responses"]["202"]),
            live,
            repeatable: (method == "post" && !NOT_REPEATABLE.contains(&id)) || ALSO_REPEATABLE.contains(&id),
            list: after && !live,
            tagged: TAGGED.contains(&id),
        }
    }

    /// The problems that any operation like this may answer.
    fn problems(&self, id: &str) -> Vec<&'static Kind> {
        let mut all = vec![p::INTERNAL];
        let mut add = |applies: bool, kinds: &[&'static Kind]| {
            if applies {
                all.extend_from_slice(kinds);
            }
        };
        add(
            !self.open,
            &[p::UNAUTHORIZED, p::TOKEN_EXPIRED, p::FORBIDDEN, p::SCOPE_MISSING, p::SUSPENDED, p::TOO_MANY_FAILURES],
        );
        // The user that somebody acts for may not be there, as what the path names may not.
        add(!self.open || self.names, &[p::NOT_FOUND]);
        add(!WITHOUT_DATABASE.contains(&id), &[p::UNAVAILABLE]);
        add(self.writes, &[p::CONFLICT, p::DISK_FULL]);
        // A header or a body that cannot be read.
        add(matches!(self.method.as_str(), "post" | "patch"), &[p::BAD_REQUEST]);
        add(self.body, &[p::TOO_LARGE, p::UNSUPPORTED_MEDIA_TYPE]);
        add(self.body || self.query, &[p::INVALID]);
        add(self.repeatable, &[p::IDEMPOTENCY_MISMATCH]);
        add(!self.open, &[p::RATE_LIMITED]);
        // An If-Match that cannot be read, or that names what is not so any more.
        add(self.conditional(), &[p::BAD_REQUEST, p::PRECONDITION_FAILED]);
        all
    }

    /// Whether it changes one thing that may have been changed since it was looked at.
    fn conditional(&self) -> bool {
        self.names && matches!(self.method.as_str(), "patch" | "put" | "delete")
    }

    /// The headers that it takes.
    fn headers(&self) -> Vec<&'static str> {
        let all = [
            ("DockerforgeUser", !self.open),
            ("IdempotencyKey", self.repeatable),
            ("Prefer", self.starts || (self.method == "get" && self.path.ends_with("/queue/{id}"))),
            ("LastEventId", self.live && self.path.ends_with("/events")),
            ("LastLogOffset", self.live && self.path.ends_with("/queue/{id}/log")),
            ("LastLogPosition", self.live && self.path.ends_with("/containers/{id}/logs")),
            ("IfMatch", self.conditional()),
            ("IfNoneMatch", self.tagged && self.method == "get"),
        ];
        all.into_iter().filter_map(|(name, takes)| takes.then_some(name)).collect()
    }

    /// The headers of an answer, and whether each is always there.
    fn answered_headers(&self, status: &str, locates: bool) -> Vec<(&'static str, &'static str, bool)> {
        let of_job = self.starts && matches!(status, "200" | "202");
        let polled = self.method == "get" && self.path.ends_with("/queue/{id}");
        let all = [
            ("x-request-id", "RequestId", true, true),
            ("Location", "Location", status == "303" || status == "202" || (status == "201" && locates), true),
            ("Location", "Location", of_job && status == "200", false),
            ("Preference-Applied", "PreferenceApplied", of_job, false),
            ("Retry-After", "RetryAfter", polled && status == "200", false),
            ("Link", "Link", self.list && status == "200", false),
            ("ETag", "EntityTag", self.tagged && matches!(status, "200" | "304"), self.method == "get"),
            ("Dockerforge-Log-Next", "LogNext", status == "200" && self.path.ends_with("/queue/{id}/log"), false),
            ("WWW-Authenticate", "Authenticate", status == "401", true),
            ("Retry-After", "RetryAfter", status == "429" || (status == "503" && !self.open), true),
        ];
        all.into_iter().filter(|(_, _, applies, _)| *applies).map(|(name, of, _, always)| (name, of, always)).collect()
    }
}

/// Completes an operation. `locates`: whether what it makes can be looked at under a path of its own.
pub(super) fn complete(nature: &Nature, operation: &mut Value, locates: bool) {
    let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
    parameters(nature, operation);
    bodies(operation);
    if nature.starts {
        waited_for(&mut operation["responses"]);
    }
    if nature.tagged && nature.method == "get" {
        operation["responses"]["304"] = json!({"description": "It is as `If-None-Match` says: use what you have"});
    }
    let own = operation.as_object_mut().and_then(|members| members.remove("x-problems")).unwrap_or_default();
    let own = own.as_array().into_iter().flatten().filter_map(|name| p::named(name.as_str()?));
    let mut by_status: BTreeMap<String, Vec<&'static Kind>> = BTreeMap::new();
    for kind in nature.problems(&id).into_iter().chain(own) {
        let of_status = by_status.entry(kind.status.as_u16().to_string()).or_default();
        if !of_status.contains(&kind) {
            of_status.push(kind);
        }
    }
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    for (status, kinds) in by_status {
        // One that the handler describes itself is as it says.
        responses.entry(status).or_insert_with(|| problem(&kinds));
    }
    for (status, response) in responses {
        for (name, of, always) in nature.answered_headers(status, locates) {
            let of = if always { of.to_owned() } else { format!("{of}Maybe") };
            response["headers"][name] = json!({"$ref": format!("#/components/headers/{of}")});
        }
        if let Some(content) = response.get_mut("content").and_then(Value::as_object_mut) {
            content.values_mut().for_each(examples::of_answer);
        }
    }
}

/// The answer that is one of these problems.
fn problem(kinds: &[&'static Kind]) -> Value {
    let said: Vec<String> = kinds.iter().map(|kind| format!("`{}`: {}.", kind.name, kind.title)).collect();
    let shown: Map<String, Value> = kinds
        .iter()
        .map(|kind| (kind.name.to_owned(), json!({"$ref": format!("#/components/examples/{}", kind.name)})))
        .collect();
    let types: Vec<String> = kinds.iter().map(|kind| kind.urn()).collect();
    let schema =
        json!({"allOf": [{"$ref": "#/components/schemas/Problem"}, {"properties": {"type": {"enum": types}}}]});
    json!({
        "description": said.join(" "),
        "content": {"application/problem+json": {"schema": schema, "examples": shown}},
    })
}

fn parameters(nature: &Nature, operation: &mut Value) {
    let mut all = operation["parameters"].as_array().cloned().unwrap_or_default();
    for parameter in &mut all {
        let name = parameter["name"].as_str().unwrap_or_default().to_owned();
        match schemas::of_parameter(&nature.path, &name) {
            Some(schema) => parameter["schema"] = schema,
            None => never_null(&mut parameter["schema"]),
        }
    }
    all.extend(nature.headers().into_iter().map(|name| json!({"$ref": format!("#/components/parameters/{name}")})));
    if !all.is_empty() {
        operation["parameters"] = all.into();
    }
}

/// A parameter is there or not, and so is a body; neither is `null`.
fn never_null(schema: &mut Value) {
    if let Some(types) = schema["type"].as_array() {
        let kept: Vec<&Value> = types.iter().filter(|kind| *kind != "null").collect();
        if let [one] = kept[..] {
            schema["type"] = one.clone();
        }
    }
    let others = |one: &&Value| one["type"] != "null";
    if let Some([one]) = schema["oneOf"].as_array().map(|all| all.iter().filter(others).collect::<Vec<_>>()).as_deref()
    {
        *schema = (*one).clone();
    }
}

fn bodies(operation: &mut Value) {
    let content = operation.pointer_mut("/requestBody/content").and_then(Value::as_object_mut);
    for body in content.into_iter().flat_map(Map::values_mut) {
        never_null(&mut body["schema"]);
        examples::of_request(body);
    }
}

/// Who waits for a job that ends in time is answered 200.
fn waited_for(responses: &mut Value) {
    let job = json!({"$ref": "#/components/schemas/JobBody"});
    let description = "The job, which ended within the time that `Prefer: wait` says";
    let ended = json!({"description": description, "content": {"application/json": {"schema": job}}});
    match responses.get_mut("200") {
        None => responses["200"] = ended,
        Some(other) => {
            let schema = other["content"]["application/json"]["schema"].take();
            other["content"]["application/json"]["schema"] = json!({"anyOf": [schema, job]});
            let own = other["description"].as_str().unwrap_or_default();
            other["description"] = format!("{own}; or: {description}").into();
        }
    }
}
