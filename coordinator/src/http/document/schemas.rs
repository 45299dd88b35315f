//! The values that bodies and parameters are made of, as JSON Schema: what exactly is accepted, and what is answered. The types
//! here hold nothing; a field that says `#[schema(value_type = s::Name)]` is described by the schema of that name. What must
//! hold: each says what the parser of that value says, no more and no less; the contract test asks the server.

use crate::domain::Kind;
use crate::domain::container::DesiredState as Desired;
use crate::domain::converge::Standing as Standings;
use crate::domain::diagnosis::{Fault as Faults, Severity as Severities};
use crate::domain::job::{JobKind as JobKinds, JobState as JobStates};
use crate::domain::quota::MAX_LIMIT;
use crate::domain::template::Provisioner as Provisioners;
use crate::domain::user::Scope;
use dockerforge_protocol::ids;
use dockerforge_protocol::spec::MAX_SECRET;
use serde_json::{Value, json};
use std::borrow::Cow;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

macro_rules! schemas {
    ($($name:ident = $schema:expr;)*) => {
        $(
            pub(in crate::http) struct $name;
            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    // Its place is taken by what is below.
                    RefOr::T(Schema::default())
                }
            }
            impl ToSchema for $name {
                fn name() -> Cow<'static, str> {
                    Cow::Borrowed(stringify!($name))
                }
            }
        )*
        /// All of them, by name.
        pub(super) fn all() -> Vec<(&'static str, Value)> {
            vec![$((stringify!($name), $schema)),*]
        }
    };
}

fn words<'a>(description: &str, words: impl IntoIterator<Item = &'a str>) -> Value {
    json!({"type": "string", "description": description, "enum": words.into_iter().collect::<Vec<_>>()})
}

fn text(description: &str, pattern: &str, example: &str) -> Value {
    json!({"type": "string", "description": description, "pattern": pattern, "example": example})
}

fn id(description: &str, prefix: &str) -> Value {
    text(description, &format!("^{prefix}_[0-9a-f]{{32}}$"), &format!("{prefix}_0192f0c1a2b37c4d8e5f60718293a4b5"))
}

fn whole(description: &str, from: u64, to: u64) -> Value {
    json!({"type": "integer", "description": description, "minimum": from, "maximum": to})
}

/// A text that may become an argument of a program.
fn argument() -> Value {
    json!({"type": "string", "pattern": NO_NUL})
}

fn map(description: &str, names: &Value, values: &Value) -> Value {
    json!({"type": "object", "description": description, "propertyNames": names, "additionalProperties": values})
}

fn at_most(mut schema: Value, keyword: &str, most: u64) -> Value {
    schema[keyword] = most.into();
    schema
}

const NO_NUL: &str = "^[^\\u0000]*$";
const VARIABLE: &str = "^[A-Za-z_][A-Za-z0-9_]{0,255}$";
const KIND_OF_EVENT: &str = "^[a-z_]{1,32}\\.([*]|[a-z_]{1,32})$";
const RUN_LIST_ITEM: &str = "^(recipe\\[[A-Za-z0-9_][A-Za-z0-9_-]{0,127}(::[A-Za-z0-9_][A-Za-z0-9_-]{0,127})?\\]|role\\[[A-Za-z0-9_][A-Za-z0-9_-]{0,127}\\]|[A-Za-z0-9_][A-Za-z0-9_-]{0,127}(::[A-Za-z0-9_][A-Za-z0-9_-]{0,127})?)$";
const EXPOSED: &str =
    "^([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])(/(tcp|udp))?$";
const DAY_SECONDS: u64 = 24 * 3600;

schemas! {
    UserId = id("The id of a user", ids::UserId::PREFIX);
    TokenId = id("The id of an API token", ids::TokenId::PREFIX);
    HostId = id("The id of a host", ids::HostId::PREFIX);
    TemplateId = id("The id of a template", ids::TemplateId::PREFIX);
    ConfigurationId = id("The id of a configuration", ids::ConfigurationId::PREFIX);
    ImageId = id("The id of an image", ids::ImageId::PREFIX);
    ContainerId = id("The id of a container", ids::ContainerId::PREFIX);
    JobId = id("The id of a job", ids::JobId::PREFIX);
    WebhookId = id("The id of a webhook", ids::WebhookId::PREFIX);
    DeliveryId = id("The id of a delivery", ids::DeliveryId::PREFIX);
    RequestId = id("The id of a request", ids::RequestId::PREFIX);
    RiyicServer = json!({"type": "string", "format": "uuid", "description": "The UUID of a server in the configuration service",
        "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$", "example": "6f2f9a3e-8d0c-4a53-9a52-5a3c1f1f7f10"});
    EventId = text("The place of an event in the order of all events", "^[0-9]{1,18}$", "4711");

    Time = json!({"type": "string", "format": "date-time", "description": "RFC 3339, in UTC",
        "example": "2026-01-31T12:00:00.123456Z"});
    Name = text("1 to 63 characters of a-z, 0-9, '-', '_' or '.', beginning and ending with a letter or digit",
        "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$", "blog");
    Labels = at_most(map("Labels of your own; keys under `dev.dockerforge` are reserved",
        &json!({"pattern": "^[a-z0-9]([a-z0-9._/-]{0,126}[a-z0-9])?$", "not": {"pattern": "^dev[.]dockerforge"}}),
        &json!({"type": "string", "maxLength": 1024, "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]*$",
            "description": "At most 1024 bytes of UTF-8"})), "maxProperties", 64);
    Environment = at_most(map("Environment variables, 256 KiB in all", &json!({"pattern": VARIABLE}), &argument()),
        "maxProperties", 1024);
    BuildArguments = map("Build arguments: 64 KiB each, 256 KiB in all", &json!({"pattern": VARIABLE}), &argument());
    Secrets = at_most(map("Secrets, by the names of their files or variables", &json!({"pattern": VARIABLE}),
        &json!({"$ref": "#/components/schemas/SecretBody"})), "maxProperties", 64);
    SecretText = json!({"type": "string", "writeOnly": true, "minLength": 1, "maxLength": MAX_SECRET, "pattern": NO_NUL,
        "description": "At most 65536 bytes of UTF-8"});
    SecretForm = words("`file`: a file of its name in `/run/secrets`; `env`: an environment variable", ["file", "env"]);

    Arguments = json!({"type": "array", "items": argument(), "maxItems": 1024, "description": "128 KiB in all"});
    Program = json!({"type": "array", "items": argument(), "minItems": 1, "maxItems": 1024, "description": "128 KiB in all"});
    AbsolutePath = at_most(text("An absolute path below `/`, without `.`, `..`, `:` or empty parts",
        "^(/([^/:.\\u0000-\\u001f\\u007f-\\u009f][^/:\\u0000-\\u001f\\u007f-\\u009f]*|[.][^/:.\\u0000-\\u001f\\u007f-\\u009f][^/:\\u0000-\\u001f\\u007f-\\u009f]*|[.][.][^/:\\u0000-\\u001f\\u007f-\\u009f]+))+$",
        "/var/lib/data"), "maxLength", 4096);
    DnsLabel = text("A DNS label", "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", "mysql");
    RunAs = text("`user`, or `user:group`, by name or number",
        "^[A-Za-z0-9_.][A-Za-z0-9_.-]{0,63}(:[A-Za-z0-9_.][A-Za-z0-9_.-]{0,63})?$", "www-data");
    StopSignal = words("The signal that asks it to end",
        ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGKILL"]);
    RestartPolicy = words("When Docker starts it again", ["no", "on-failure", "always", "unless-stopped"]);
    Protocol = words("Of a port", ["tcp", "udp"]);
    Strategy = words("`spread`: the host with the most room left; `binpack`: the one with the least; `random`",
        ["spread", "binpack", "random"]);
    ImageReference = at_most(text("An image in a registry, as `debian:12`",
        "^((([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])([.]([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*(:[0-9]+)?/)?[a-z0-9]+(([._]|__|-*)[a-z0-9]+)*(/[a-z0-9]+(([._]|__|-*)[a-z0-9]+)*)*)(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-fA-F]{64})?$",
        "debian:12"), "maxLength", 255);
    Dockerfile = json!({"type": "string", "pattern": "\\S", "description": "The text of a Dockerfile",
        "example": "FROM debian:12\nCMD [\"sleep\", \"infinity\"]\n"});
    ReceiverUrl = at_most(text(
        "http or https, without a name, a password or a fragment",
        "^https?://[^\\s@#]+$",
        "https://panel.example/hooks/dockerforge",
    ), "maxLength", 2048);

    Port = whole("A port", 1, 65_535);
    Cpus = json!({"type": "number", "description": "Processors, with a fraction of three digits", "minimum": 0.01, "maximum": 1024});
    Memory = whole("Bytes: 6 MiB to 16 TiB", 6 * 1024 * 1024, 1 << 44);
    Pids = whole("Processes and threads", 1, 4_194_304);
    Retries = whole("Failures in a row", 1, 100);
    Grace = whole("Seconds", 1, 300);
    StopGrace = whole("Seconds that it may take to end by itself before it is killed", 0, 300);
    Deadline = whole("Seconds that it may wait for its host; a day where absent", 1, 30 * DAY_SECONDS);
    ExecLimit = whole("Seconds within which a host has to take it, and that it may then run", 1, DAY_SECONDS);
    Limit = whole("How much there may be; bytes of memory", 0, MAX_LIMIT);
    CpuLimit = json!({"type": "number", "description": "Processors, with a fraction of three digits", "minimum": 0, "maximum": 1e9});
    Amount = json!({"type": "number", "minimum": 0, "description": "An amount; processors have a fraction"});

    Scopes = json!({"type": "array", "minItems": 1, "items": {"type": "string", "enum": Scope::ALL.map(Scope::as_str)},
        "description": "What a token may do; each includes `read`", "example": ["read", "write"]});
    UserState = words("How a user stands", ["active", "suspended", "deleting"]);
    HostState = words("How a host stands", ["pending", "online", "unreachable", "conflict", "deleting"]);
    Fault = words("What is wrong with a host", Faults::ALL.map(Faults::as_str));
    Severity = words("`critical` where nothing can run there now",
        [Severities::Critical.as_str(), Severities::Warning.as_str()]);
    ImageState = words("How an image stands", ["pending", "ready", "deleting"]);
    ImageSource = words("Where an image comes from", ["configuration", "dockerfile", "reference"]);
    Version = whole("A version, from 1", 1, u32::MAX.into());
    Upgrade = json!({"description": "A version, or the newest",
        "anyOf": [{"type": "integer", "minimum": 1, "maximum": u32::MAX}, {"const": "newest"}]});
    Provisioner = words("What converges it", Provisioners::ALL.map(Provisioners::as_str));
    RunList = at_most(json!({"type": "array", "uniqueItems": true, "items": {"type": "string", "pattern": RUN_LIST_ITEM},
        "description": "What is converged, in this order", "example": ["recipe[wordpress]"]}), "maxItems", 100);
    Document = json!({"type": "object", "description": "Attributes: at most 256 KiB of JSON, 32 levels, no NUL characters",
        "propertyNames": {"not": {"enum": ["run_list", "dockerforge"]}}});
    Node = json!({"type": "object", "required": ["run_list", "dockerforge"],
        "description": "A node as `chef-solo -j` reads it: the run list beside the attributes",
        "properties": {"run_list": {"type": "array", "items": {"type": "string"}}, "dockerforge": {"type": "object"}}});
    ParameterSchema = json!({"type": "object",
        "description": "A JSON Schema (draft 2020-12) of an object, without references"});
    Services = at_most(json!({"type": "array", "items": {"$ref": "#/components/schemas/Name"}}), "maxItems", 32);
    Exposed = at_most(json!({"type": "array", "items": {"type": "string", "pattern": EXPOSED}, "example": ["80", "53/udp"]}),
        "maxItems", 32);
    MountPoints = at_most(json!({"type": "array", "items": {
        "allOf": [{"$ref": "#/components/schemas/AbsolutePath"}, {"pattern": "^[^$\\\\]*$"}]}}), "maxItems", 32);
    Description = at_most(json!({"type": "string", "pattern": NO_NUL, "description": "At most 4096 bytes of UTF-8"}),
        "maxLength", 4096);
    Pointers = json!({"type": "array", "items": {"type": "string"}, "description": "JSON pointers (RFC 6901)"});
    AccountFields = json!({"type": "object", "maxProperties": 16,
        "propertyNames": {"pattern": "^[a-z][a-z0-9_]{0,31}$", "not": {"enum": ["alias", "password"]}},
        "additionalProperties": {"type": "object", "required": ["pattern"], "additionalProperties": false, "properties": {
            "pattern": {"type": "string", "format": "regex", "maxLength": 1024, "pattern": NO_NUL,
                "description": "Which values it may have, at most 64 characters: a regular expression"},
            "unique": {"type": "boolean", "default": false,
                "description": "Whether no two accounts in one container may have the same"}}},
        "example": {"database": {"pattern": "^[A-Za-z0-9_]{1,64}$"}, "user": {"pattern": "^[A-Za-z0-9_]{1,64}$", "unique": true}}});
    AccountSecrets = json!({"type": "object", "minProperties": 1, "maxProperties": 16,
        "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]{0,255}$"},
        "additionalProperties": {"type": "string", "minLength": 1, "maxLength": 1024, "pattern": NO_NUL},
        "example": {"DB_HOST": "{alias}", "DB_USER": "{user}", "DB_PASSWORD": "{password}"}});
    LinkProvision = json!({"description": "`true`, or what the account is to be called: values by the names of fields",
        "anyOf": [{"type": "boolean"}, {"type": "object", "maxProperties": 16, "additionalProperties": {"type": "string"}}],
        "example": {"database": "blog", "user": "blog"}});
    Standing = words("How a container stands to its configuration", Standings::ALL.map(Standings::as_str));
    OutcomeStatus = words("What became of a resource in a converge", ["changed", "failed"]);
    PresenceState = words("How an image stands on a host: `pending` while it is on its way there, `missing` if it was removed by hand, \
        `failed` if it could not be brought there", ["pending", "present", "missing", "failed"]);
    Hosts = json!({"description": "`mine` are all your own hosts, `all` also those that everybody shares, a list your own of these ids",
        "oneOf": [{"type": "string", "enum": ["all", "mine"]},
            {"type": "array", "minItems": 1, "maxItems": 100, "uniqueItems": true, "items": {"$ref": "#/components/schemas/HostId"}}]});
    DesiredState = words("What a container is meant to do",
        [Desired::Running.as_str(), Desired::Stopped.as_str(), Desired::Removed.as_str()]);
    ObservedState = words("What a host shows of a container: `pending` before its first report, else as Docker says; `missing` if \
        it was removed by hand, `unknown` while its host is silent",
        ["pending", "created", "running", "paused", "restarting", "exited", "removing", "dead", "missing", "unknown"]);
    SeenState = words("What was last observed of a container",
        ["pending", "created", "running", "paused", "restarting", "exited", "removing", "dead", "missing"]);
    Health = words("What a container's health check says", ["starting", "healthy", "unhealthy"]);
    JobKind = words("What a job does", JobKinds::ALL.map(JobKinds::as_str));
    JobState = words("How a job stands", JobStates::ALL.map(JobStates::as_str));
    ResourceKind = words("What a job is about", ["container", "image", "host", "user"]);
    ThingKind = words("A kind of thing", [Kind::User, Kind::Token, Kind::Host, Kind::Template, Kind::Configuration, Kind::Image, Kind::Container, Kind::Job, Kind::Webhook]
        .map(Kind::as_str));
    FailureType = text("Why a job failed: `urn:dockerforge:problem:<name>`. Agents that are newer may have names of their own",
        "^urn:dockerforge:problem:[a-z-]+$", "urn:dockerforge:problem:build-failed");
    EventKind = text("What happened: `<kind of thing>.<what happened>`", "^[a-z_]+[.][a-z_]+$", "container.created");
    EventKinds = json!({"type": "array", "maxItems": 32, "items": {"type": "string", "pattern": KIND_OF_EVENT},
        "description": "Kinds of events: `container.created`, or `container.*`; all where empty", "example": ["container.*", "job.failed"]});
    AuditAction = text("What was done", "^[a-z_]{1,32}[.][a-z_]{1,32}$", "container.create");
    WebhookState = words("Whether events are sent", ["active", "disabled"]);
    DeliveryState = words("How a delivery stands", ["pending", "delivered", "failed"]);
    LogSource = words("Where a line was written", ["stdout", "stderr"]);
}

/// What must hold between the members of a body, beside what each of them says: keywords for its schema.
pub(super) fn together() -> [(&'static str, Vec<(&'static str, Value)>); 3] {
    let no = json!({"type": "null"});
    let pulled = json!({"required": ["reference"], "properties": {
        "reference": {"type": "string"}, "dockerfile": no, "configuration": no, "configuration_version": no,
        "build_args": {"maxProperties": 0}, "no_cache": {"const": false},
    }});
    let built = json!({"required": ["dockerfile"], "properties": {
        "dockerfile": {"type": "string"}, "reference": no, "configuration": no, "configuration_version": no,
    }});
    let configured = json!({"required": ["configuration"], "properties": {
        "configuration": {"type": "string"}, "reference": no, "dockerfile": no, "build_args": {"maxProperties": 0},
    }});
    let nowhere = json!({"properties": {"host": no, "hosts": no}});
    let two_places = json!({"required": ["host", "placement"],
        "properties": {"host": {"type": "string"}, "placement": {"type": "object"}}});
    let one_host = json!({"required": ["host"], "properties": {"host": {"type": "string"}, "placement": no}});
    let one_of_many = json!({"required": ["placement"], "properties": {"host": no, "placement": {"type": "object"}}});
    [
        ("NewImageBody", vec![("anyOf", json!([pulled, built, configured])), ("not", nowhere)]),
        ("NewContainerBody", vec![("not", two_places)]),
        ("MoveBody", vec![("oneOf", json!([one_host, one_of_many]))]),
    ]
}

/// The schema of a query or path parameter, by its name and the id that the path is about; nothing where the handler says
/// enough of it.
pub(super) fn of_parameter(path: &str, name: &str) -> Option<Value> {
    let listed = |schema: &str| json!({"$ref": format!("#/components/schemas/{schema}")});
    let of_path = || {
        let folder = path.trim_start_matches("/v1/").split('/').next().unwrap_or_default();
        let schema = match folder {
            "users" => "UserId",
            "hosts" => "HostId",
            "templates" => "TemplateId",
            "configurations" => "ConfigurationId",
            "images" => "ImageId",
            "containers" => "ContainerId",
            "queue" => "JobId",
            "webhooks" => "WebhookId",
            _ => return None,
        };
        Some(listed(schema))
    };
    match name {
        "id" => of_path(),
        "token" => Some(listed("TokenId")),
        "limit" => Some(whole("Rows of a page", 1, 200)),
        "after" if path.ends_with("/deliveries") => Some(listed("DeliveryId")),
        "after" if path.ends_with("/tokens") => Some(listed("TokenId")),
        "after" => of_path().or_else(|| Some(listed("EventId"))),
        "name" => Some(listed("Name")),
        "host" => Some(listed("HostId")),
        "hosts" => Some(json!({"type": "string", "pattern": "^(all|mine|hst_[0-9a-f]{32})$", "example": "mine"})),
        "image" => Some(listed("ImageId")),
        "template" => Some(listed("TemplateId")),
        "version" => Some(listed("Version")),
        "user" if path.ends_with("/audit") => Some(listed("UserId")),
        "user" => Some(listed("RunAs")),
        "action" => Some(listed("AuditAction")),
        "resource" => {
            Some(json!({"type": "string", "pattern": "^(usr|tok|hst|tpl|cfg|img|ctr|job|whk)_[0-9a-f]{32}$"}))
        }
        "label" => Some(json!({"type": "string", "example": "tier=front",
            "pattern": "^[a-z0-9]([a-z0-9._/-]{0,126}[a-z0-9])?=[^\\u0000-\\u001f\\u007f-\\u009f]*$"})),
        "kind" if path.ends_with("/queue") => Some(listed("JobKind")),
        "kind" => Some(json!({"type": "string", "example": "container.*,job.failed",
            "pattern": "^([a-z_]{1,32}[.]([*]|[a-z_]{1,32}))(,[a-z_]{1,32}[.]([*]|[a-z_]{1,32}))*$"})),
        "state" => of_state(path).map(listed),
        "stream" => Some(listed("LogSource")),
        "since" => Some(listed("Time")),
        "interval" => Some(whole("Seconds", 1, 60)),
        "tail" => Some(whole("Lines", 0, u32::MAX.into())),
        "offset" => Some(whole("A byte", 0, u64::MAX)),
        "cols" | "rows" => Some(whole("Characters", 1, 1000)),
        "build_arg" => Some(
            json!({"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,255}=[^\\u0000]*$", "example": "VERSION=12"}),
        ),
        "deadline" => Some(listed("Deadline")),
        _ => None,
    }
}

fn of_state(path: &str) -> Option<&'static str> {
    Some(match path.trim_start_matches("/v1") {
        "/queue" => "JobState",
        "/hosts" => "HostState",
        "/containers" => "SeenState",
        path if path.ends_with("/deliveries") => "DeliveryState",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain;

    #[test]
    fn the_words_of_the_document_are_those_of_the_domain() {
        type Parses = fn(&str) -> bool;
        let known: [(&str, Parses); 6] = [
            ("HostState", |word| domain::host::HostState::parse(word).is_some()),
            ("ImageState", |word| domain::image::ImageState::parse(word).is_some()),
            ("PresenceState", |word| domain::image::PresenceState::parse(word).is_some()),
            ("SeenState", |word| domain::container::ObservedState::parse(word).is_some()),
            ("WebhookState", |word| domain::webhook::WebhookState::parse(word).is_some()),
            ("DeliveryState", |word| domain::webhook::DeliveryState::parse(word).is_some()),
        ];
        let all = all();
        for (name, parses) in known {
            let (_, schema) = all.iter().find(|(of, _)| *of == name).unwrap();
            for word in schema["enum"].as_array().unwrap() {
                assert!(parses(word.as_str().unwrap()), "{name}: {word}");
            }
        }
    }
}
