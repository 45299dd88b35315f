//! Examples: a request that is accepted for each body, and what the main resources look like. They are one story: the user ana,
//! her host, an image on it, a container of that, and what happened meanwhile. Tests hold each of them against its schema, and
//! send each request to a coordinator.

use crate::http::problems::Kind;
use serde_json::{Map, Value, json};

const USER: &str = "usr_0192f0c1a2b37c4d8e5f60718293a4b5";
const TOKEN: &str = "tok_0192f0c1a2b37c4d8e5f60718293a4b5";
const HOST: &str = "hst_0192f0c1a2b37c4d8e5f60718293a4b5";
const TEMPLATE: &str = "tpl_0192f0c1a2b37c4d8e5f60718293a4b5";
const CONFIGURATION: &str = "cfg_0192f0c1a2b37c4d8e5f60718293a4b5";
const IMAGE: &str = "img_0192f0c1a2b37c4d8e5f60718293a4b5";
const CONTAINER: &str = "ctr_0192f0c1a2b37c4d8e5f60718293a4b5";
const JOB: &str = "job_0192f0c1a2b37c4d8e5f60718293a4b5";
const WEBHOOK: &str = "whk_0192f0c1a2b37c4d8e5f60718293a4b5";
const DELIVERY: &str = "dlv_0192f0c1a2b37c4d8e5f60718293a4b5";
const REQUEST: &str = "req_0192f0c1a2b37c4d8e5f60718293a4b5";
const THEN: &str = "2026-01-31T12:00:00.123456Z";
const DIGEST: &str = "sha256:0d17b565c37bcbd895e9d92315a05c1c3c9a29f762b011a10c54a66cd53c9b31";

fn referred(media: &Value) -> Option<&str> {
    media["schema"]["$ref"].as_str()?.strip_prefix("#/components/schemas/")
}

/// Adds to a body of a request what can be sent.
pub(super) fn of_request(media: &mut Value) {
    let shown = match referred(media) {
        Some(name) => requests(name),
        // An archive, which no text shows.
        None => return,
    };
    let shown: Map<String, Value> =
        shown.into_iter().map(|(name, value)| (name.to_owned(), json!({"value": value}))).collect();
    if !shown.is_empty() {
        media["examples"] = shown.into();
    }
}

/// Adds to an answer what it looks like.
pub(super) fn of_answer(media: &mut Value) {
    let Some(name) = referred(media) else { return };
    let shown = match name.strip_prefix("Listing_") {
        Some(of) => {
            let next = (of == "EventBody").then_some("4711");
            resource(of).map(|one| json!({"items": [one], "next": next}))
        }
        None => resource(name),
    };
    if let Some(shown) = shown {
        media["example"] = shown;
    }
}

/// A problem of each kind.
pub(super) fn problem(kind: &Kind) -> Value {
    let mut problem = json!({
        "type": kind.urn(),
        "title": kind.title,
        "status": kind.status.as_u16(),
        "detail": kind.meaning,
        "instance": "/v1/containers",
        "request_id": REQUEST,
    });
    match kind.name {
        "invalid" => {
            problem["detail"] = "/ports/0/container: expected a port: 1 to 65535".into();
            problem["errors"] = json!([{"pointer": "/ports/0/container", "detail": "expected a port: 1 to 65535"}]);
        }
        "quota-exceeded" => {
            problem["detail"] = "this needs 1 more of containers, of which 20 of at most 20 are used".into();
            for (member, value) in
                [("quota", json!("containers")), ("limit", 20.into()), ("used", 20.into()), ("asked", 1.into())]
            {
                problem[member] = value;
            }
        }
        "nothing-fits" => {
            problem["errors"] =
                json!([{"pointer": "host 1", "detail": "64 MiB of memory are left, 128 MiB are asked for"}]);
        }
        _ => {}
    }
    problem
}

fn requests(schema: &str) -> Vec<(&'static str, Value)> {
    match schema {
        "NewUserBody" => {
            vec![("a client", json!({"name": "ana"})), ("an administrator", json!({"name": "root", "admin": true}))]
        }
        "UserPatch" => vec![
            ("a quota", json!({"quota": {"containers": 20, "cpus": 4.5, "memory": 8_589_934_592_u64, "images": null}})),
            ("a suspension", json!({"suspended": true})),
        ],
        "NewTokenBody" => vec![
            (
                "for a pipeline",
                json!({"name": "ci", "scopes": ["read", "write"], "expires_at": "2099-01-01T00:00:00Z"}),
            ),
            ("to look only", json!({"name": "monitoring", "scopes": ["read"]})),
        ],
        "NewHostBody" => vec![("a host", json!({"name": "vps-1", "labels": {"region": "eu", "tier": "small"}}))],
        "HostChangeBody" => vec![
            ("draining", json!({"draining": true})),
            ("other labels", json!({"labels": {"region": "eu"}, "draining": false})),
        ],
        "NewTemplateBody" => vec![("a blog", new_template()), ("databases that it is linked to", databases())],
        "NewConfigurationBody" => vec![(
            "hers",
            json!({"name": "blog", "template": TEMPLATE, "parameters": {"title": "Ana's blog", "password": "correct horse"}}),
        )],
        "ConfigurationChangeBody" => vec![
            ("another title", json!({"parameters": {"title": "Ana's other blog"}})),
            ("one more item", json!({"run_list": ["recipe[backup]"], "template_version": "newest"})),
        ],
        "ConvergeBody" => vec![("within ten minutes", json!({"deadline": 600}))],
        "NewImageBody" => vec![
            ("of a configuration", json!({"name": "blog", "host": HOST, "configuration": CONFIGURATION})),
            ("pulled", json!({"name": "debian", "host": HOST, "reference": "debian:12"})),
            (
                "built",
                json!({"name": "hello", "host": HOST, "dockerfile": "FROM debian:12\nCMD [\"echo\", \"hello\"]\n",
                "build_args": {"VERSION": "12"}, "labels": {"team": "web"}, "deadline": 3600}),
            ),
        ],
        "NewContainerBody" => vec![
            ("the least", json!({"name": "site", "image": IMAGE, "host": HOST})),
            (
                "linked to a database that comes with it",
                json!({
                    "name": "shop", "image": IMAGE, "host": HOST,
                    "links": [{"container": CONTAINER, "alias": "mysql", "provision": {"database": "shop"}}],
                }),
            ),
            (
                "a web server",
                json!({
                    "name": "blog", "image": IMAGE, "host": HOST,
                    "command": ["nginx", "-g", "daemon off;"], "env": {"TZ": "Europe/Berlin"},
                    "ports": [{"container": 80, "host": 8080, "protocol": "tcp"}],
                    "volumes": [{"volume": "data", "target": "/var/lib/data"}],
                    "resources": {"cpus": 0.5, "memory": 134_217_728, "pids": 100},
                    "restart": "unless-stopped", "labels": {"tier": "front"},
                    "tmpfs": [{"path": "/tmp", "size": 16_777_216}],
                    "healthcheck": {"command": ["wget", "-q", "-O", "-", "http://127.0.0.1/"], "interval": 10, "retries": 3},
                    "secrets": {"DB_PASSWORD": {"value": "correct horse battery staple", "as": "file"}},
                }),
            ),
        ],
        "UpdateBody" => vec![
            ("more memory", json!({"resources": {"cpus": 1, "memory": 268_435_456}})),
            ("another environment", json!({"env": {"TZ": "UTC"}, "command": null})),
        ],
        "StartBody" => vec![("within an hour", json!({"deadline": 3600}))],
        "MoveBody" => vec![("to another of your hosts", json!({"host": HOST, "grace": 30}))],
        "StopBody" => vec![("gently", json!({"grace": 30}))],
        "ExecBody" => vec![(
            "a dump",
            json!({"command": ["sh", "-c", "mysqldump --all-databases > /backup/all.sql"], "deadline": 600}),
        )],
        "NewWebhookBody" => vec![(
            "of a panel",
            json!({"url": "https://panel.example/hooks/dockerforge", "kinds": ["container.*", "job.failed"]}),
        )],
        "WebhookChangeBody" => vec![("active again", json!({"state": "active"})), ("everything", json!({"kinds": []}))],
        _ => Vec::new(),
    }
}

fn new_template() -> Value {
    json!({
        "name": "blog", "description": "A blog", "base": "debian:12", "provisioner": "ansible", "run_list": ["recipe[blog]"],
        "attributes": {"blog": {"theme": "light"}},
        "parameters": {"type": "object", "required": ["title"], "properties": {
            "title": {"type": "string", "minLength": 1}, "password": {"type": "string", "minLength": 8, "writeOnly": true},
        }},
        "requires": ["mysql"],
        "run": {"command": ["apache2ctl", "-D", "FOREGROUND"], "expose": ["80"], "volumes": ["/var/www"]},
    })
}

fn databases() -> Value {
    json!({
        "name": "databases", "base": "debian:12", "provisioner": "ansible", "run_list": ["recipe[mysql-server]"],
        "provides": ["mysql"],
        "provision": {
            "fields": {
                "database": {"pattern": "^[A-Za-z0-9_]{1,64}$"}, "user": {"pattern": "^[A-Za-z0-9_]{1,64}$", "unique": true},
            },
            "secrets": {"DB_HOST": "{alias}", "DB_NAME": "{database}", "DB_USER": "{user}", "DB_PASSWORD": "{password}"},
        },
        "run": {"command": ["mariadbd"], "expose": ["3306"], "volumes": ["/var/lib/mysql"]},
    })
}

fn template() -> Value {
    let mut template = new_template();
    for (member, value) in [
        ("id", json!(TEMPLATE)),
        ("version", 1.into()),
        ("public", false.into()),
        ("provides", json!([])),
        ("provision", Value::Null),
        ("archive", json!({"sha256": DIGEST.trim_start_matches("sha256:"), "size": 10_240})),
        ("created_at", THEN.into()),
        ("changed_at", THEN.into()),
    ] {
        template[member] = value;
    }
    template["run"]["expose"] = json!(["80/tcp"]);
    template["run"]["stop_signal"] = Value::Null;
    template
}

fn job() -> Value {
    json!({
        "id": JOB, "kind": "container.create", "state": "running", "attempt": 1, "user": USER, "host": HOST, "parent": null,
        "resource": {"kind": "container", "id": CONTAINER, "href": format!("/v1/containers/{CONTAINER}")},
        "progress": {"step": "starting the container", "percent": null},
        "created_at": THEN, "started_at": THEN, "ended_at": null, "deadline_at": "2026-02-01T12:00:00Z",
        "result": null, "error": null, "log": {"size": 0, "href": format!("/v1/queue/{JOB}/log")},
    })
}

fn user() -> Value {
    json!({"id": USER, "name": "ana", "admin": false, "state": "active", "created_at": THEN})
}

fn host() -> Value {
    json!({
        "id": HOST, "name": "vps-1", "state": "online", "labels": {"region": "eu"}, "pool": false, "draining": false,
        "created_at": THEN, "enrolled_at": THEN, "last_seen_at": THEN, "hostname": "vps-1.example.org", "agent_version": "0.1.0",
        "docker": {"version": "20.10.24", "api_version": "1.41", "platform": "linux/amd64", "ping_age_ms": 12},
        "capacity": {"cpus": 4, "memory": 8_589_934_592_u64, "disk": 85_899_345_920_u64},
        "usage": {"load": 0.25, "memory_used": 1_073_741_824, "disk_free": 42_949_672_960_u64, "containers_running": 1},
        "unusable": null, "diagnosis": [],
    })
}

fn container() -> Value {
    json!({
        "id": CONTAINER, "name": "blog", "image": IMAGE, "host": HOST, "placement": {"pool": false}, "desired_state": "running",
        "observed": {
            "state": "running", "health": "healthy", "docker_id": "4f66ad9a0b2e", "exit_code": null, "started_at": THEN,
            "ports": [{"container": 80, "host": 8080, "protocol": "tcp"}], "address": "172.19.0.2", "observed_at": THEN,
        },
        "convergence": {"state": "converged", "configuration_version": 2, "job": null},
        "command": ["nginx", "-g", "daemon off;"], "env": {"TZ": "Europe/Berlin"},
        "ports": [{"container": 80, "host": 8080, "protocol": "tcp"}],
        "volumes": [{"volume": "data", "target": "/var/lib/data", "read_only": false}],
        "resources": {"cpus": 0.5, "memory": 134_217_728, "pids": 100}, "restart": "unless-stopped", "labels": {"tier": "front"},
        "entrypoint": null, "user": null, "workdir": null, "hostname": null, "tmpfs": [], "read_only": false, "init": false,
        "healthcheck": null, "stop_signal": null, "stop_grace": null, "links": [], "secrets": {"DB_PASSWORD": {"as": "file"}},
        "cap_drop": [], "host_access": null, "created_at": THEN,
    })
}

/// What a resource looks like.
fn resource(schema: &str) -> Option<Value> {
    Some(match schema {
        "UserBody" => user(),
        "MeasuredUserBody" => {
            let mut measured = user();
            measured["quota"] = json!({"containers": 20, "running_containers": 20, "cpus": 4.5, "memory": 8_589_934_592_u64,
                "images": 10_000, "hosts": 10_000, "queued_jobs": 10_000});
            measured["usage"] = json!({"containers": 1, "running_containers": 1, "cpus": 0.5, "memory": 134_217_728, "images": 1,
                "hosts": 1, "queued_jobs": 0});
            measured
        }
        "TokenBody" => json!({"id": TOKEN, "name": "ci", "scopes": ["read", "write"], "created_at": THEN,
            "expires_at": "2099-01-01T00:00:00Z", "last_used_at": null}),
        "HostBody" => host(),
        "JoinBody" => json!({"token": "dfj_…", "expires_at": THEN,
            "command": "dockerforge-agent run --coordinator https://coordinator.example.org:7443 --token dfj_…",
            "cloud_init": null}),
        "TemplateBody" => template(),
        "ConfigurationBody" => {
            json!({"id": CONFIGURATION, "name": "blog", "template": TEMPLATE, "template_version": 1, "version": 2,
            "parameters": {"title": "Ana's blog"}, "secrets": ["/password"], "run_list": [], "attributes": {},
            "created_at": THEN, "changed_at": THEN})
        }
        "Node" => json!({"run_list": ["recipe[blog]"], "blog": {"theme": "light"}, "title": "Ana's blog",
            "dockerforge": {"configuration": CONFIGURATION, "name": "blog", "version": 2, "template": TEMPLATE, "template_version": 1,
                "secrets": ["/password"]}}),
        "ImageBody" => json!({"id": IMAGE, "name": "debian", "state": "ready", "public": false,
            "source": {"kind": "reference", "reference": "docker.io/library/debian:12"}, "labels": {},
            "hosts": [{"host": HOST, "pool": false, "state": "present", "docker_id": DIGEST, "size": 116_545_341},
                {"host": null, "pool": true, "state": "pending", "docker_id": null, "size": null, "job": JOB,
                    "progress": {"step": "layer 2 of 3: 41 MB", "percent": 30}}],
            "registry": {"repository": format!("registry.example:5000/dockerforge/{IMAGE}"), "digest": DIGEST}, "created_at": THEN}),
        "ContainerBody" => container(),
        "TicketBody" => json!({"ticket": "dft_…", "expires_in": 30}),
        "StatsBody" => json!({"at": THEN, "cpu_percent": 12.5, "memory_used": 41_943_040, "memory_limit": 134_217_728,
            "network_rx": 1024, "network_tx": 2048, "block_read": 0, "block_write": 4096, "pids": 5}),
        "JobBody" => job(),
        "EventBody" => json!({"id": "4711", "kind": "container.created", "at": THEN, "user": USER,
            "resource": {"kind": "container", "id": CONTAINER}, "detail": null}),
        "WebhookBody" => {
            json!({"id": WEBHOOK, "url": "https://panel.example/hooks/dockerforge", "kinds": ["container.*"],
            "all": false, "state": "active", "created_at": THEN, "deliveries": format!("/v1/webhooks/{WEBHOOK}/deliveries")})
        }
        "DeliveryBody" => {
            json!({"id": DELIVERY, "event": "4711", "kind": "container.created", "state": "delivered", "attempts": 1,
            "status": 204, "error": null, "created_at": THEN, "next_at": null, "ended_at": THEN})
        }
        "AuditBody" => json!({"id": 17, "at": THEN, "actor": USER, "user": USER, "action": "container.create",
            "resource": {"kind": "container", "id": CONTAINER}, "request_id": REQUEST, "remote": "127.0.0.1"}),
        "HealthBody" => json!({"status": "ok", "version": "0.1.0"}),
        _ => return None,
    })
}
