//! The document of the API (OpenAPI 3.1): what the handlers say of themselves, completed by rule. `rules` adds what follows from
//! an operation's nature, `schemas` the values, `examples` the examples; here are the parts that all of it refers to.

mod examples;
pub(super) mod pages;
mod rules;
pub(super) mod schemas;

use super::problems;
use rules::Nature;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Dockerforge",
        description = "Hosts, images and containers of a hosting panel. Asynchronous operations answer 202 with the Location of a job; \
                       GET of the job answers 303 with the Location of what it made. Every error is an RFC 9457 problem; \
                       [/docs/problems](/docs/problems) lists their types. Every path is served under `/v1` and at the root.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(super::streams::LogLineBody, super::streams::StreamEndBody, super::secrets::SecretBody)),
    external_docs(url = "/docs/problems", description = "The types of problems, and what a client can do"),
    tags(
        (name = "users", description = "Users, their API tokens, and who did what"), (name = "hosts", description = "Machines with an agent"),
        (name = "images", description = "Images, and on which hosts they are"), (name = "containers", description = "Containers"),
        (name = "queue", description = "Jobs: every asynchronous operation"), (name = "events", description = "What happened"),
        (name = "ops", description = "Health")
    )
)]
struct ApiDoc;

/// The methods that an operation may have in the document.
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The whole document, made of what the handlers at these paths say.
#[must_use]
pub fn openapi(paths: utoipa::openapi::OpenApi) -> Value {
    let mut document = ApiDoc::openapi().nest("/v1", paths);
    env!("CARGO_PKG_VERSION").clone_into(&mut document.info.version);
    let mut document = serde_json::to_value(document).unwrap_or_default();
    document["security"] = json!([{"bearer": []}, {"basic": []}]);
    document["servers"] = json!([{"url": "/"}]);
    components(&mut document["components"]);
    let Some(paths) = document["paths"].as_object_mut() else { return document };
    let looked_at: Vec<String> =
        paths.iter().filter(|(_, item)| item.get("get").is_some()).map(|(p, _)| p.clone()).collect();
    for (path, item) in paths.iter_mut() {
        let locates = looked_at.contains(&format!("{path}/{{id}}"));
        for method in METHODS {
            if let Some(operation) = item.get_mut(method) {
                rules::complete(&Nature::of(path, method, operation), operation, locates);
            }
        }
    }
    document
}

fn components(components: &mut Value) {
    for (name, schema) in schemas::all() {
        components["schemas"][name] = schema;
    }
    for (name, members) in schemas::together() {
        for (keyword, value) in members {
            components["schemas"][name][keyword] = value;
        }
    }
    components["schemas"]["Problem"] = problem();
    let shown: Map<String, Value> = problems::ALL
        .iter()
        .map(|kind| {
            let summary = format!("{}: {}", kind.status.as_u16(), kind.title);
            let description = format!("{} {}", kind.meaning, kind.remedy);
            (
                kind.name.to_owned(),
                json!({"summary": summary, "description": description, "value": examples::problem(kind)}),
            )
        })
        .collect();
    components["examples"] = shown.into();
    components["headers"] = headers();
    components["parameters"] = parameters();
    components["securitySchemes"] = json!({
        "bearer": {"type": "http", "scheme": "bearer", "description": "A key, as it is shown when a user or a token is made"},
        "basic": {"type": "http", "scheme": "basic", "description": "The user's name, and a key"},
    });
}

/// The schema of every error.
fn problem() -> Value {
    let text = |description: &str| json!({"type": "string", "description": description});
    let number = |description: &str| json!({"type": "number", "description": description});
    let types: Vec<String> = problems::ALL.iter().map(|kind| kind.urn()).collect();
    let error = json!({
        "type": "object",
        "required": ["pointer", "detail"],
        "properties": {
            "pointer": text("Where it is: a JSON pointer (RFC 6901) into the body, or the name of a parameter"),
            "detail": text("What was expected"),
        },
    });
    json!({
        "type": "object",
        "description": "An error (RFC 9457, `application/problem+json`)",
        "required": ["type", "title", "status", "detail", "instance", "request_id"],
        "properties": {
            "type": {"type": "string", "enum": types, "description": "Which type of problem. Branch on this"},
            "title": text("What type of problem it is, in words"),
            "status": {"type": "integer", "minimum": 400, "maximum": 599, "description": "The status"},
            "detail": text("What is wrong with this very request"),
            "instance": text("The path that was asked"),
            "request_id": {"$ref": "#/components/schemas/RequestId"},
            "errors": {"type": "array", "items": error, "description": "All values that cannot be accepted"},
            "quota": text("Of what the quota is exceeded, in a problem of type `quota-exceeded`"),
            "limit": number("How much there may be of it"),
            "used": number("How much there is of it"),
            "asked": number("How much more was asked for"),
        },
    })
}

/// The headers of answers, by their names here; those that are not always there once more as `…Maybe`.
fn headers() -> Value {
    let text = json!({"type": "string"});
    let seconds = json!({"type": "integer", "minimum": 0});
    let all = [
        (
            "RequestId",
            "Which request it was, for whoever looks into the log",
            json!({"$ref": "#/components/schemas/RequestId"}),
        ),
        (
            "Location",
            "Where to look: at the job, or at what was made",
            json!({"type": "string", "format": "uri-reference"}),
        ),
        (
            "PreferenceApplied",
            "How long the answer may have waited (RFC 7240): `wait=<seconds>`",
            json!({"type": "string", "pattern": "^wait=[0-9]+$"}),
        ),
        ("RetryAfter", "Seconds after which to ask again", seconds.clone()),
        ("Link", "The next page, with `rel=\"next\"` (RFC 8288); absent on the last", text.clone()),
        ("LogNext", "The offset after what was answered", seconds),
        (
            "EntityTag",
            "What If-Match and If-None-Match may name (RFC 9110, 8.8.3): it changes with the answer",
            json!({"type": "string", "pattern": "^\"[0-9]+-[0-9a-f]{24}(-gzip)?\"$"}),
        ),
        ("Authenticate", "How to sign in", text),
    ];
    let mut headers = Map::new();
    for (name, description, schema) in all {
        let mut header = json!({"description": description, "schema": schema});
        headers.insert(format!("{name}Maybe"), header.clone());
        header["required"] = true.into();
        headers.insert(name.to_owned(), header);
    }
    headers.into()
}

/// The headers of requests.
fn parameters() -> Value {
    let all = [
        (
            "DockerforgeUser",
            "Dockerforge-User",
            "For administrators: acts for the user with this id",
            json!({"$ref": "#/components/schemas/UserId"}),
        ),
        (
            "IdempotencyKey",
            "Idempotency-Key",
            "1 to 255 printable ASCII characters. A repeat with the same key, within a day, does nothing again and is answered as the first",
            json!({"type": "string", "pattern": "^[!-~]([ -~]{0,253}[!-~])?$", "example": "7c1f3a52"}),
        ),
        (
            "Prefer",
            "Prefer",
            "`wait=<seconds>` (RFC 7240), at most 60: how long to wait for the job to end before answering. Others are left alone",
            json!({"type": "string", "example": "wait=10"}),
        ),
        (
            "IfMatch",
            "If-Match",
            "Does it only if the thing is as this entity tag of it says, as far as its user changes it (RFC 9110, 13.1.1); `*`: if it is there",
            json!({"type": "string", "pattern": "^([*]|(W/)?\"[!#-~]*\"(, *(W/)?\"[!#-~]*\")*)$", "example": "*"}),
        ),
        (
            "IfNoneMatch",
            "If-None-Match",
            "Answers 304 without a body if the answer is the one with this entity tag (RFC 9110, 13.1.2)",
            json!({"type": "string", "example": "\"3-9f2c41d07a6b8e5f00112233\""}),
        ),
        (
            "LastEventId",
            "Last-Event-ID",
            "Of a live stream: goes on behind the event with this id",
            json!({"$ref": "#/components/schemas/EventId"}),
        ),
        (
            "LastLogOffset",
            "Last-Event-ID",
            "Of a live log: goes on behind the event with this id, an offset",
            json!({"type": "string", "pattern": "^[0-9]{1,18}$", "example": "1024"}),
        ),
        (
            "LastLogPosition",
            "Last-Event-ID",
            "Of a live log: goes on behind the event with this id",
            json!({"type": "string", "example": "2026-01-31T12:00:00.000000000Z+1,1970-01-01T00:00:00.000000000Z+0"}),
        ),
    ];
    let parameter = |(key, name, description, schema): (&str, &str, &str, Value)| {
        (
            key.to_owned(),
            json!({"name": name, "in": "header", "required": false, "description": description, "schema": schema}),
        )
    };
    Value::Object(all.into_iter().map(parameter).collect())
}
