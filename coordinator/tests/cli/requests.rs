//! What is sent: bodies, build contexts, idempotency keys, and what is sent again after a failure.

use super::stub::*;
use serde_json::json;
use std::{collections::BTreeMap, fs, io::Read, os::unix::fs::symlink};

fn accepting() -> impl Fn(&Asked) -> axum::response::Response {
    |asked| match asked.line.split(' ').next() {
        Some("POST" | "PATCH" | "DELETE") => answer(202, &job("queued", 0)),
        _ => names(asked),
    }
}

#[test]
fn a_container_is_asked_for_with_all_its_options_and_only_those() {
    let stub = Stub::start(accepting());
    let ran = stub.run(&[
        "container",
        "create",
        "web",
        "--image",
        "blog",
        "--host",
        "vps",
        "-e",
        "A=b=c",
        "-e",
        "B=",
        "-p",
        "8080:80",
        "-p",
        "53/udp",
        "-v",
        "data:/data:ro",
        "--cpus",
        "0.5",
        "--memory",
        "128m",
        "--pids",
        "100",
        "--restart",
        "always",
        "-l",
        "tier=front",
        "--deadline",
        "60",
        "--",
        "sh",
        "-c",
        "echo --wait",
    ]);
    let ran = ran.ended(0);
    assert_eq!(ran.out, format!("job        {JOB}\ncontainer  {CONTAINER}\n"));
    assert_eq!(ran.err, format!("container.create is queued; follow it: dockerforge job wait {JOB}\n"));
    assert_eq!(
        stub.only("POST /v1/containers").json(),
        json!({"name": "web", "image": IMAGE, "host": HOST, "command": ["sh", "-c", "echo --wait"],
            "env": {"A": "b=c", "B": ""},
            "ports": [{"container": 80, "host": 8080, "protocol": "tcp"}, {"container": 53, "protocol": "udp"}],
            "volumes": [{"volume": "data", "target": "/data", "read_only": true}],
            "resources": {"cpus": 0.5, "memory": 134_217_728, "pids": 100}, "restart": "always",
            "labels": {"tier": "front"}, "deadline": 60})
    );
    stub.run(&["container", "create", "bare", "--image", IMAGE, "--host", HOST]).ended(0);
    assert_eq!(stub.asked().last().unwrap().json(), json!({"name": "bare", "image": IMAGE, "host": HOST}));
}

#[test]
fn a_link_names_a_container_and_what_it_is_to_make() {
    let stub = Stub::start(accepting());
    let other = "ctr_0192f0c1a2b37c4d8e5f60718293a4b5";
    let create = ["container", "create", "shop", "--image", IMAGE, "--host", HOST];
    let plain = format!("{other}:cache");
    let said = format!("{other}:mysql,provision,database=shop");
    stub.run(&[&create[..], &["--link", &plain, "--link", &said]].concat()).ended(0);
    assert_eq!(
        stub.only("POST /v1/containers").json()["links"],
        json!([{"container": other, "alias": "cache"},
            {"container": other, "alias": "mysql", "provision": {"database": "shop"}}])
    );
    stub.run(&["container", "update", other, "--link", &format!("{other}:mysql,provision")]).ended(0);
    let path = format!("PATCH /v1/containers/{other}");
    assert_eq!(stub.only(&path).json(), json!({"links": [{"container": other, "alias": "mysql", "provision": true}]}));
    stub.run(&["container", "update", other, "--no-links"]).ended(0);
    assert_eq!(stub.asked().last().unwrap().json(), json!({"links": []}));
    stub.run(&[&create[..], &["--link", "nothing"]].concat()).ended(2);
}

#[test]
fn what_a_container_is_given_of_its_host_is_said_as_docker_says_it() {
    let stub = Stub::start(accepting());
    let create = ["container", "create", "deep", "--image", IMAGE, "--host", HOST];
    let with = |more: &[&str]| stub.run(&[&create, more].concat());
    let flags = "--privileged --device /dev/fuse --cap-add NET_ADMIN --cap-drop KILL --mount-host /srv:/data:ro --network host \
                 --pid host --sysctl net.core.somaxconn=1 --runtime runc --security-opt seccomp=unconfined";
    with(&flags.split_whitespace().collect::<Vec<_>>()).ended(0);
    let body = stub.only("POST /v1/containers").json();
    assert_eq!(body["cap_drop"], json!(["KILL"]));
    assert_eq!(
        body["host_access"],
        json!({"privileged": true, "cap_add": ["NET_ADMIN"], "namespaces": ["network", "pid"], "runtime": "runc",
            "devices": [{"host": "/dev/fuse", "container": "/dev/fuse", "permissions": "rwm"}],
            "binds": [{"source": "/srv", "target": "/data", "read_only": true}],
            "sysctls": {"net.core.somaxconn": "1"}, "security_options": ["seccomp=unconfined"]})
    );
    for bad in [["--network", "bridge"], ["--pid", "container:x"], ["--mount-host", "/:/x"], ["--cap-add", "cap_x"]] {
        with(&bad).ended(2);
    }
}

#[test]
fn deletions_and_pulls_say_what_was_asked() {
    let stub = Stub::start(accepting());
    stub.run(&["host", "rm", "vps", "--force"]).ended(0);
    stub.run(&["container", "rm", "web", "--volumes"]).ended(0);
    stub.run(&["container", "rm", CONTAINER]).ended(0);
    stub.run(&["image", "rm", "blog"]).ended(0);
    stub.run(&["user", "rm", "acme"]).ended(0);
    let deleted: Vec<_> = stub.lines().into_iter().filter(|line| line.starts_with("DELETE")).collect();
    assert_eq!(
        deleted,
        [
            format!("DELETE /v1/hosts/{HOST}?force=true"),
            format!("DELETE /v1/containers/{CONTAINER}?volumes=true"),
            format!("DELETE /v1/containers/{CONTAINER}"),
            format!("DELETE /v1/images/{IMAGE}"),
            format!("DELETE /v1/users/{USER}"),
        ]
    );
    stub.run(&["image", "pull", "d12", "debian:12", "--host", "vps"]).ended(0);
    let body = stub.asked().last().unwrap().json();
    assert_eq!(body, json!({"name": "d12", "host": HOST, "reference": "debian:12"}));
}

#[test]
fn what_is_done_with_a_container_is_asked_for_by_its_name() {
    let stub = Stub::start(accepting());
    stub.run(&["container", "start", "web"]).ended(0);
    stub.run(&["container", "stop", "web", "--grace", "3"]).ended(0);
    stub.run(&["container", "restart", CONTAINER]).ended(0);
    stub.run(&["container", "stop", "web", "--grace", "301"]).ended(2);
    stub.run(&["container", "exec", "web", "-e", "A=b", "--user", "1:2", "--deadline", "5", "--", "ls", "-l"]).ended(0);
    stub.run(&["container", "exec", "web"]).ended(2);
    stub.run(&["container", "update", "web", "-e", "A=b", "--restart", "no", "--image", "blog", "--", "run"]).ended(0);
    let asked = stub.asked();
    let sent: Vec<_> =
        asked.iter().filter(|asked| !asked.line.starts_with("GET")).map(|a| (a.line.clone(), a.json())).collect();
    let path = |what: &str| format!("POST /v1/containers/{CONTAINER}/{what}");
    assert_eq!(
        sent,
        [
            (path("start"), json!({})),
            (path("stop"), json!({"grace": 3})),
            (path("restart"), json!({})),
            (path("exec"), json!({"command": ["ls", "-l"], "env": {"A": "b"}, "user": "1:2", "deadline": 5})),
            (
                format!("PATCH /v1/containers/{CONTAINER}"),
                json!({"image": IMAGE, "command": ["run"], "env": {"A": "b"}, "restart": "no"})
            )
        ]
    );
}

#[test]
fn acting_for_a_user_names_him_in_every_request_but_the_one_that_finds_him() {
    let stub = Stub::start(accepting());
    stub.run(&["--as", "acme", "container", "rm", "web"]).ended(0);
    let acted: Vec<_> = stub.asked().iter().map(|a| a.header("dockerforge-user").to_owned()).collect();
    assert_eq!(acted, ["", USER, USER]);
}

#[test]
fn a_post_whose_connection_fails_is_sent_again_with_the_same_key() {
    // Two connections close before an answer; the third answer breaks off; the fourth is whole.
    let stub = Stub::dropping(2, |asked| match asked.earlier {
        0 => pieces("application/json", vec!["{\"id\":".to_owned()], true),
        _ => answer(201, &json!({"id": USER, "name": "acme", "key": "dfk_new"})),
    });
    let ran = stub.run(&["user", "create", "acme"]).ended(0);
    assert_eq!(ran.out, format!("user  {USER}\nkey  dfk_new\n"));
    let keys: Vec<_> = stub.asked().iter().map(|a| a.header("idempotency-key").to_owned()).collect();
    assert_eq!(keys.len(), 2);
    assert!(keys[0] == keys[1] && keys[0].parse::<uuid::Uuid>().is_ok(), "{keys:?}");
    // Another command is another wish.
    stub.run(&["user", "create", "acme"]).ended(0);
    assert_ne!(stub.asked().last().unwrap().header("idempotency-key"), keys[0]);
}

#[test]
fn a_post_is_given_up_after_three_repetitions() {
    let stub = Stub::dropping(4, |_| answer(201, &json!({})));
    let ran = stub.run(&["user", "create", "acme"]).ended(4);
    assert!(ran.err.contains("was lost before its answer was complete"), "{ran:?}");
    assert_eq!(stub.asked().len(), 0, "a fifth attempt was made");
}

#[test]
fn a_deletion_that_may_have_arrived_is_not_sent_again() {
    let stub = Stub::dropping(1, accepting());
    stub.run(&["container", "rm", CONTAINER]).ended(4);
    assert_eq!(stub.asked().len(), 0);
}

pub fn unpacked(body: &[u8]) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(body));
    archive
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let what = match entry.header().entry_type() {
                tar::EntryType::Directory => "dir".to_owned(),
                tar::EntryType::Symlink => format!("-> {}", entry.link_name().unwrap().unwrap().display()),
                _ => format!("{:o} {text}", entry.header().mode().unwrap()),
            };
            assert_eq!(entry.header().uid().unwrap(), 0);
            (path, what)
        })
        .collect()
}

#[test]
fn a_folder_is_sent_without_what_its_ignore_file_names_and_again_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let long = format!("keep/{}.txt", "long".repeat(50));
    for (path, text) in [
        ("Dockerfile", "FROM busybox\n"),
        (".dockerignore", "Dockerfile\n.dockerignore\nsecret\n**/*.log\n!keep/this.log\n"),
        ("app.sh", "#!/bin/sh\n"),
        ("secret/key", "k"),
        ("keep/this.log", "l"),
        ("keep/that.log", "l"),
        (&long, "x"),
    ] {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let mode = if text.starts_with('#') { 0o755 } else { 0o644 };
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
    symlink("app.sh", folder.path().join("link")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();

    let stub = Stub::start(|asked| match (asked.line.starts_with("POST"), asked.earlier) {
        (true, 0) => pieces("application/json", vec!["{".to_owned()], true),
        (true, _) => answer(202, &job("queued", 0)),
        _ => names(asked),
    });
    let path = folder.path().to_str().unwrap();
    stub.run(&[
        "image",
        "build",
        "blog",
        path,
        "--host",
        "vps",
        "--build-arg",
        "A=b&c",
        "--build-arg",
        "B=",
        "--no-cache",
    ])
    .ended(0);
    let sent: Vec<_> = stub.asked().into_iter().filter(|a| a.line.starts_with("POST")).collect();
    assert_eq!(sent.len(), 2);
    assert!(sent[0].body == sent[1].body, "the repetition had another body");
    assert_eq!(sent[0].header("idempotency-key"), sent[1].header("idempotency-key"));
    assert_eq!(
        sent[0].line,
        format!(
            "POST /v1/images?name=blog&host={HOST}&dockerfile=Dockerfile&build_arg=A%3Db%26c&build_arg=B%3D&no_cache=true"
        )
    );
    assert_eq!(sent[0].header("content-type"), "application/gzip");
    let entries = unpacked(&sent[0].body);
    let expected = [
        (".dockerignore", "644 Dockerfile\n.dockerignore\nsecret\n**/*.log\n!keep/this.log\n"),
        ("Dockerfile", "644 FROM busybox\n"),
        ("app.sh", "755 #!/bin/sh\n"),
        ("keep/", "dir"),
        (&long, "644 x"),
        ("keep/this.log", "644 l"),
        ("link", "-> app.sh"),
    ];
    let entries: Vec<_> = entries.iter().map(|(k, v)| (k.trim_end_matches('/'), v.as_str())).collect();
    let expected: Vec<_> = expected.iter().map(|(k, v)| (k.trim_end_matches('/'), *v)).collect();
    assert_eq!(entries, expected);
}

#[test]
fn a_dockerfile_alone_and_one_of_another_name_are_sent() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("docker")).unwrap();
    fs::write(folder.path().join("docker/Prod"), "FROM a\n").unwrap();
    let (path, file) = (folder.path().to_str().unwrap(), folder.path().join("docker/Prod"));
    let stub = Stub::start(accepting());
    for name in ["docker/Prod", file.to_str().unwrap()] {
        stub.run(&["image", "build", "b", path, "-f", name, "--host", HOST]).ended(0);
        let sent = stub.asked().pop().unwrap();
        assert!(sent.line.ends_with("&dockerfile=docker%2FProd"), "{}", sent.line);
        assert!(unpacked(&sent.body).contains_key("docker/Prod"));
    }
    stub.run(&["image", "build", "b", "-f", file.to_str().unwrap(), "--host", HOST]).ended(0);
    assert_eq!(
        unpacked(&stub.asked().pop().unwrap().body),
        [("Dockerfile".to_owned(), "644 FROM a\n".to_owned())].into()
    );
    stub.run_with(&["image", "build", "b", "-f", "-", "--host", HOST], b"FROM stdin\n").ended(0);
    assert_eq!(unpacked(&stub.asked().pop().unwrap().body)["Dockerfile"], "644 FROM stdin\n");
}

#[test]
fn a_context_that_cannot_be_sent_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let stub = Stub::start(accepting());
    let ran = stub.run(&["image", "build", "b", path, "--host", HOST]).ended(1);
    assert!(ran.err.contains("there is no Dockerfile in"), "{ran:?}");
    let ran = stub.run(&["image", "build", "b", "/nowhere/at/all", "--host", HOST]).ended(1);
    assert!(ran.err.contains("/nowhere/at/all"), "{ran:?}");
    fs::write(folder.path().join("Dockerfile"), "FROM a\n").unwrap();
    let outside = ["image", "build", "b", path, "-f", "../Dockerfile", "--host", HOST];
    assert!(stub.run(&outside).ended(1).err.contains("there is no ../Dockerfile in"));
    assert_eq!(stub.asked().len(), 0);
    // What cannot be read shows only while it is packed: Linux refuses to read this one, to root too.
    fs::create_dir(folder.path().join("deep")).unwrap();
    let odd = std::ffi::OsStr::new("deep");
    let odd = folder.path().join(odd).join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff"));
    fs::write(odd, "x").unwrap();
    let ran = stub.run(&["image", "build", "b", path, "--host", HOST]).ended(1);
    assert!(ran.err.contains("cannot be sent: it cannot be read") && ran.err.contains("not UTF-8"), "{ran:?}");
}

#[test]
fn a_context_that_is_refused_before_all_of_it_was_sent_shows_the_refusal() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("Dockerfile"), "FROM a\n").unwrap();
    let noise: Vec<u8> = (0..400_000).flat_map(|_| *uuid::Uuid::new_v4().as_bytes()).collect();
    fs::write(folder.path().join("noise"), noise).unwrap();
    let path = folder.path().to_str().unwrap();
    let stub = Stub::hasty(|_| problem(422, "Invalid request", "no such host", &json!([])));
    let ran = stub.run(&["image", "build", "b", path, "--host", HOST]).ended(1);
    assert_eq!(ran.err, "error: Invalid request: no such host\n");
}

#[test]
fn tokens_are_listed_and_revoked_by_name() {
    const TOKEN: &str = "tok_01890000000070008000000000000001";
    let tokens = || json!([{"id": TOKEN, "name": "ci", "scopes": ["read", "write"], "created_at": "x"}, {"id": "tok_2", "name": "ci-2"}]);
    let stub = Stub::start(move |asked| match asked.line.as_str() {
        line if line.starts_with(&format!("GET /v1/users/{USER}/tokens")) => list(&tokens()),
        line if line.starts_with("DELETE") => {
            axum::response::IntoResponse::into_response(axum::http::StatusCode::NO_CONTENT)
        }
        _ => names(asked),
    });
    let ran = stub.run(&["user", "token", "ls", "acme"]).ended(0);
    let columns: Vec<&str> = ran.out.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(columns, ["ci", TOKEN, "read,write", "x", "-", "-"]);
    let ran = stub.run(&["user", "token", "rm", "acme", "ci"]).ended(0);
    assert_eq!((ran.out.as_str(), ran.err), ("", format!("the token {TOKEN} is revoked\n")));
    stub.only(&format!("DELETE /v1/users/{USER}/tokens/{TOKEN}"));
}

#[test]
fn a_token_is_asked_for_with_scopes_and_an_end_only_where_they_are_named() {
    let made = json!({"id": "tok_01890000000070008000000000000001", "key": "dfk_new"});
    let stub = Stub::start(move |asked| if asked.line.starts_with("POST") { answer(201, &made) } else { names(asked) });
    stub.run(&["user", "token", "create", "acme", "plain"]).ended(0);
    assert_eq!(stub.asked().last().unwrap().json(), json!({"name": "plain"}));
    let expires = ["--expires", "2100-01-01T00:00:00Z"];
    stub.run(&["user", "token", "create", "acme", "ci", "--scope", "read,host:root", expires[0], expires[1]]).ended(0);
    let body = json!({"name": "ci", "scopes": ["read", "host:root"], "expires_at": "2100-01-01T00:00:00Z"});
    assert_eq!(stub.asked().last().unwrap().json(), body);
    let sent = stub.asked().len();
    stub.run(&["user", "token", "create", "acme", "x", "--scope", "root"]).ended(2);
    stub.run(&["user", "token", "create", "acme", "x", "--expires", "yesterday"]).ended(2);
    assert_eq!(stub.asked().len(), sent, "what is mistyped is not sent");
}

#[test]
fn quotas_suspension_and_the_audit_are_asked_for_as_the_api_has_them() {
    let user = json!({"id": USER, "name": "acme", "state": "active", "quota": {"containers": 5, "cpus": null, "memory": 1 << 30},
        "usage": {"containers": 2, "cpus": 0.5, "memory": 1 << 20}});
    let audit = json!([{"id": 7, "at": "x", "actor": USER, "user": USER, "action": "host.create",
        "resource": {"kind": "host", "id": HOST}, "remote": "127.0.0.1"}]);
    let stub = Stub::start(move |asked| match asked.line.as_str() {
        line if line.starts_with("GET /v1/audit") => list(&audit),
        line if line.starts_with("PATCH") && asked.json()["suspended"] == true => answer(202, &job("running", 0)),
        line if line.starts_with("PATCH") || line.starts_with(&format!("GET /v1/users/{USER}")) => answer(200, &user),
        _ => names(asked),
    });
    let ran = stub.run(&["user", "quota", "acme"]).ended(0);
    let rows: Vec<Vec<&str>> = ran
        .out
        .lines()
        .skip(1)
        .map(|line| line.split("  ").filter(|c| !c.is_empty()).map(str::trim).collect())
        .collect();
    assert_eq!(rows, [vec!["containers", "2", "5"], vec!["cpus", "0.5", "no limit"], vec!["memory", "1 MiB", "1 GiB"]]);
    stub.run(&["user", "quota", "acme", "--cpus", "1.5", "--memory", "2g", "--hosts", "default"]).ended(0);
    let body = json!({"quota": {"cpus": 1.5, "memory": 2_147_483_648_u64, "hosts": null}});
    assert_eq!(stub.only(&format!("PATCH /v1/users/{USER}")).json(), body);
    assert!(stub.run(&["user", "suspend", "acme"]).ended(0).out.contains(JOB));
    let ran = stub.run(&["user", "resume", "acme"]).ended(0);
    assert_eq!(ran.err, "acme is in service already\n");
    assert_eq!(stub.asked().last().unwrap().json(), json!({"suspended": false}));
    let ran = stub.run(&["audit", "ls", "--user", "acme", "--action", "host.create", "--resource", HOST]).ended(0);
    let columns: Vec<&str> = ran.out.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(columns, ["x", "host.create", HOST, USER, "-", "127.0.0.1"]);
    stub.only(&format!("GET /v1/audit?user={USER}&action=host.create&resource={HOST}"));
}

#[test]
fn a_container_is_placed_by_strategy_and_labels_and_not_also_by_host() {
    let stub = Stub::start(accepting());
    let create = ["container", "create", "web", "--image", "blog"];
    let place = ["--place", "binpack", "--place-label", "disk=ssd"];
    stub.run(&[&create[..], &place[..]].concat()).ended(0);
    assert_eq!(
        stub.only("POST /v1/containers").json(),
        json!({"name": "web", "image": IMAGE, "placement": {"strategy": "binpack", "labels": {"disk": "ssd"}}})
    );
    stub.run(&[&create[..], &place[..], &["--host", "vps"]].concat()).ended(2);
    stub.run(&[&create[..], &["--place", "best"]].concat()).ended(2);
}

#[test]
fn secrets_come_from_files_and_a_change_leaves_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (password, token) = (format!("P={}", file("p", "pa$$ ' \n")), format!("T={}", file("t", "token")));
    let stub = Stub::start(|asked| match asked.line.split(' ').next() {
        Some("GET") if asked.line.contains("/containers/ctr_") => {
            answer(200, &json!({"secrets": {"P": {"as": "file"}, "OLD": {"as": "env"}, "GONE": {"as": "env"}}}))
        }
        Some("POST" | "PATCH") => answer(202, &job("running", 0)),
        _ => names(asked),
    });
    let create = ["container", "create", "web", "--image", "blog", "--host", "vps"];
    stub.run(&[&create[..], &["--secret", &password, "--secret-env", &token]].concat()).ended(0);
    let secrets = json!({"P": {"value": "pa$$ ' ", "as": "file"}, "T": {"value": "token", "as": "env"}});
    assert_eq!(stub.only("POST /v1/containers").json()["secrets"], secrets);
    stub.run(&["container", "update", "web", "--secret-env", &token, "--no-secret", "GONE"]).ended(0);
    let sent = stub.asked().pop().unwrap().json();
    let secrets = json!({"P": {"as": "file"}, "OLD": {"as": "env"}, "T": {"value": "token", "as": "env"}});
    assert_eq!(sent, json!({"secrets": secrets}));
    let missing = stub.run(&[&create[..], &["--secret", "P=/nowhere/p"]].concat()).ended(2);
    assert!(missing.err.contains("/nowhere/p"), "{missing:?}");
}

#[test]
fn a_host_is_drained_and_labelled() {
    let stub = Stub::start(|asked| match asked.line.split(' ').next() {
        Some("PATCH") => answer(200, &json!({"id": HOST, "draining": true})),
        _ => names(asked),
    });
    stub.run(&["host", "update", "vps", "--drain", "-l", "zone=a"]).ended(0);
    let sent = stub.only(&format!("PATCH /v1/hosts/{HOST}")).json();
    assert_eq!(sent, json!({"labels": {"zone": "a"}, "draining": true}));
    stub.run(&["host", "update", "vps", "--drain", "--undrain"]).ended(2);
    stub.run(&["host", "update", "vps"]).ended(2);
}

#[test]
fn a_webhook_is_made_and_changed_with_what_was_said_and_nothing_else() {
    const WEBHOOK: &str = "whk_01890000000070008000000000000001";
    let stub = Stub::start(|asked| match asked.line.split(' ').next() {
        Some("POST") => answer(201, &json!({"id": WEBHOOK, "secret": "whsec_once"})),
        _ => answer(200, &json!({"id": WEBHOOK, "state": "active"})),
    });
    let ran = stub.run(&["webhook", "create", "https://panel.example/", "--kind", "job.*,user.created"]).ended(0);
    assert_eq!(ran.out, format!("webhook  {WEBHOOK}\nsecret   whsec_once\n"));
    assert_eq!(stub.asked()[0].json(), json!({"url": "https://panel.example/", "kinds": ["job.*", "user.created"]}));
    for (words, body) in [
        (&["--disable"][..], json!({"state": "disabled"})),
        (&["--enable", "--to", "https://x.example/"], json!({"state": "active", "url": "https://x.example/"})),
        (&["--all-kinds"], json!({"kinds": []})),
        (&["--kind", "job.*"], json!({"kinds": ["job.*"]})),
    ] {
        stub.run(&[&["webhook", "update", WEBHOOK], words].concat()).ended(0);
        assert_eq!(stub.asked().last().unwrap().json(), body, "{words:?}");
    }
    for wrong in [&[][..], &["--enable", "--disable"], &["--kind", "a.b", "--all-kinds"]] {
        stub.run(&[&["webhook", "update", WEBHOOK], wrong].concat()).ended(2);
    }
    stub.run(&["webhook", "show", "panel"]).ended(2);
}
