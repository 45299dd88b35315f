//! What is shown: tables, details, JSON, help, and every kind of refusal.

use super::stub::*;
use serde_json::{Value, json};

fn ago(seconds: i64) -> String {
    (jiff::Timestamp::now() - jiff::SignedDuration::from_secs(seconds)).to_string()
}

fn world() -> Stub {
    Stub::start(|asked| {
        let created = ago(3 * 3600 + 60);
        match asked.line.as_str() {
            "GET /v1/users" => list(&json!([
                {"id": USER, "name": "acme", "admin": false, "state": "active", "created_at": created},
                {"id": "usr_x", "name": "system", "admin": true, "state": "active", "created_at": created}])),
            "GET /v1/hosts" => list(&json!([
                {"id": HOST, "name": "vps", "state": "online", "last_seen_at": ago(2), "unusable": null,
                 "docker": {"version": "20.10.24"}, "capacity": {"cpus": 2, "memory": 4_294_967_296_u64},
                 "usage": {"memory_used": 1_610_612_736, "containers_running": 11}},
                {"id": HOST_2, "name": "vps-2", "state": "pending", "docker": null, "capacity": null, "usage": null,
                 "unusable": "no agent has joined"}])),
            "GET /v1/images" => list(&json!([
                {"id": IMAGE, "name": "blog", "state": "ready", "source": {"kind": "dockerfile"}, "created_at": created,
                 "hosts": [{"host": HOST, "state": "present", "size": 1_572_864}, {"host": HOST_2, "state": "pending"}]},
                {"id": "img_x", "name": "d12", "state": "failed", "source": {"kind": "reference", "reference": "debian:12"},
                 "created_at": created, "hosts": []}])),
            line if line.starts_with("GET /v1/containers") && !line.contains("name") => list(&json!([
                {"id": CONTAINER, "name": "web", "image": IMAGE, "host": HOST, "created_at": created,
                 "observed": {"state": "running", "ports": [{"container": 80, "host": 8080, "protocol": "tcp"},
                    {"container": 53, "host": 53, "protocol": "udp"}]}, "convergence": {"state": "due"}},
                {"id": "ctr_x", "name": "old\u{1b}[2J", "image": "img_gone", "host": HOST_2, "created_at": created,
                 "observed": {"state": "exited", "exit_code": 137, "ports": []}}])),
            line if line.starts_with("GET /v1/queue?") || line == "GET /v1/queue" => {
                let mut job = job("running", 0);
                job["created_at"] = json!(created);
                list(&json!([job]))
            }
            _ => names(asked),
        }
    })
}

#[test]
fn tables_are_aligned_under_a_header() {
    let stub = world();
    for (arguments, expected) in [
        (
            &["user", "ls"][..],
            "NAME    ID                                    STATE   ADMIN  CREATED\n\
             acme    usr_01890000000070008000000000000001  active  no     3h ago\n\
             system  usr_x                                 active  yes    3h ago\n",
        ),
        (
            &["host", "ls"],
            "NAME   ID                                    STATE    DOCKER    CPUS            MEMORY  RUNNING  SEEN      NOTE\n\
             vps    hst_01890000000070008000000000000001  online   20.10.24     2  1.5 GiB of 4 GiB       11  just now  -\n\
             vps-2  hst_01890000000070008000000000000002  pending  -            -                 -        -  -         no agent has joined\n",
        ),
        (
            &["image", "ls"],
            "NAME  ID                                    STATE   SOURCE      HOSTS      SIZE  CREATED\n\
             blog  img_01890000000070008000000000000001  ready   dockerfile  1 of 2  1.5 MiB  3h ago\n\
             d12   img_x                                 failed  debian:12   0 of 0        -  3h ago\n",
        ),
        (
            &["container", "ls", "--host", "vps"],
            "NAME          ID                                    STATE                   IMAGE     HOST   PORTS                CREATED\n\
             web           ctr_01890000000070008000000000000001  running (converge due)  blog      vps    8080->80 53->53/udp  3h ago\n\
             old\\u{1b}[2J  ctr_x                                 exited (137)            img_gone  vps-2  -                    3h ago\n",
        ),
        (
            &["job", "ls", "--state", "running"],
            "ID                                    KIND              STATE    STEP      HOST  RESOURCE                              CREATED\n\
             job_01890000000070008000000000000001  container.create  running  starting  vps   ctr_01890000000070008000000000000001  3h ago\n",
        ),
    ] {
        let ran = stub.run(arguments).ended(0);
        assert_eq!(ran.out, expected, "{arguments:?}");
        assert_eq!(ran.err, "");
    }
    assert!(stub.lines().contains(&format!("GET /v1/containers?host={HOST}")));
    assert!(stub.lines().contains(&"GET /v1/queue?state=running".to_owned()));
    assert!(stub.asked().iter().all(|a| a.header("authorization") == "Bearer dfk_secret"));
}

#[test]
fn colours_come_when_they_are_asked_for() {
    let stub = world();
    let ran = stub.run(&["image", "ls", "--color", "always"]).ended(0);
    assert!(ran.out.contains("\u{1b}[32mready\u{1b}[0m ") && ran.out.contains("\u{1b}[31mfailed\u{1b}[0m"), "{ran:?}");
    assert!(!stub.run(&["image", "ls"]).out.contains('\u{1b}'));
}

#[test]
fn json_is_the_servers_untouched() {
    const BODY: &str = "{ \"next\":null,\n\"items\" : [ {\"b\":1.50,\"a\":\"\\u00f1\"} ] }";
    let stub = Stub::start(|_| axum::response::IntoResponse::into_response(BODY));
    for arguments in [["host", "ls", "--json"], ["--json", "host", "ls"]] {
        assert_eq!(stub.run(&arguments).ended(0).out, format!("{BODY}\n"));
    }
    let show = stub.run(&["container", "show", CONTAINER, "--json"]).ended(0);
    assert_eq!(show.out, format!("{BODY}\n"));
}

#[test]
fn a_list_tells_that_it_goes_on_and_all_of_it_can_be_had() {
    let stub = Stub::start(|asked| {
        let item = |name: &str| json!([{"id": "usr_x", "name": name}]);
        match asked.line.as_str() {
            "GET /v1/users" | "GET /v1/users?limit=1" => answer(200, &json!({"items": item("first"), "next": "c1"})),
            "GET /v1/users?after=c1" => list(&item("second")),
            _ => names(asked),
        }
    });
    let page = stub.run(&["user", "ls", "--limit", "1"]).ended(0);
    assert!(page.out.contains("first") && !page.out.contains("second"));
    assert_eq!(page.err, "there are more: --all, or --after c1\n");
    let all = stub.run(&["user", "ls", "--all"]).ended(0);
    assert!(all.out.contains("first") && all.out.contains("second") && all.err.is_empty(), "{all:?}");
    assert_eq!(stub.run(&["user", "ls", "--all", "--json"]).ended(0).out.lines().count(), 2);
}

#[test]
fn show_has_every_field_on_a_line() {
    let stub = Stub::start(|asked| match asked.line.as_str() {
        line if line.ends_with(HOST) => answer(
            200,
            &json!({"state": "online", "name": "vps", "id": HOST, "capacity": {"memory": 2_147_483_648_u64}, "new": true}),
        ),
        _ => names(asked),
    });
    let ran = stub.run(&["host", "show", "vps"]).ended(0);
    assert_eq!(
        ran.out,
        format!("id        {HOST}\nname      vps\nstate     online\ncapacity\n  memory  2 GiB\nnew       yes\n")
    );
}

#[test]
fn keys_and_join_commands_stand_on_lines_of_their_own() {
    let stub = Stub::start(|asked| match asked.line.as_str() {
        "POST /v1/users" => answer(201, &json!({"id": USER, "name": "acme", "key": "dfk_new"})),
        "POST /v1/hosts" => answer(
            201,
            &json!({"id": HOST, "name": "vps",
            "join": {"token": "dfj1_x", "expires_at": ago(-905), "command": "dockerforge-agent run --token dfj1_x"}}),
        ),
        line if line == format!("POST /v1/hosts/{HOST}/token") => answer(
            201,
            &json!({"token": "dfj1_y", "expires_at": ago(-905), "command": "agent dfj1_y",
                "cloud_init": "#cloud-config\nruncmd: []\n"}),
        ),
        line if line == format!("POST /v1/users/{USER}/tokens") => answer(201, &json!({"id": "tok_1", "key": "dfk_t"})),
        _ => names(asked),
    });
    let user = stub.run(&["user", "create", "acme", "--admin"]).ended(0);
    assert_eq!(user.out, format!("user  {USER}\nkey  dfk_new\n"));
    assert_eq!(stub.only("POST /v1/users").json(), json!({"name": "acme", "admin": true}));
    let host = stub.run(&["host", "create", "vps", "-l", "region=eu"]).ended(0);
    assert_eq!(
        host.out,
        format!(
            "host  {HOST}\n\nRun this on the machine, as root (the token is good for one use; it expires in 15m):\n\n\
             dockerforge-agent run --token dfj1_x\n\n"
        )
    );
    assert_eq!(stub.only("POST /v1/hosts").json(), json!({"name": "vps", "labels": {"region": "eu"}}));
    assert!(stub.run(&["host", "token", "vps"]).ended(0).out.contains("\nagent dfj1_y\n"));
    // For a file, and where there is none it says why.
    let document = stub.run(&["host", "token", "vps", "--cloud-init"]).ended(0);
    assert_eq!(document.out, "#cloud-config\nruncmd: []\n");
    let none = stub.run(&["host", "create", "vps", "--cloud-init"]);
    assert!(none.code != Some(0) && none.out.is_empty() && none.err.contains("agent-binary"), "{none:?}");
    assert_eq!(stub.run(&["user", "token", "create", "acme", "ci"]).ended(0).out, "token  tok_1\nkey  dfk_t\n");
}

#[test]
fn a_refusal_is_a_line_and_one_more_for_each_pointer() {
    let stub = Stub::start(|_| {
        let errors =
            json!([{"pointer": "/name", "detail": "is taken"}, {"pointer": "/labels/x", "detail": "bad\u{1b}[1m"}]);
        problem(422, "Invalid request", "2 fields are wrong", &errors)
    });
    let ran = stub.run(&["user", "create", "acme"]).ended(1);
    assert_eq!(ran.out, "");
    assert_eq!(ran.err, "error: Invalid request: 2 fields are wrong\n  /name: is taken\n  /labels/x: bad\\u{1b}[1m\n");
    assert_eq!(stub.asked().len(), 1, "a refusal is not tried again");
}

#[test]
fn a_refused_key_is_told_with_where_it_came_from() {
    let stub = Stub::start(|_| problem(401, "Unauthorized", "the key is not known", &Value::Null));
    let ran = stub.run(&["host", "ls"]).ended(1);
    assert!(ran.err.starts_with("error: Unauthorized: the key is not known\n"), "{ran:?}");
    assert!(ran.err.contains("the key came from the variable DOCKERFORGE_KEY"), "{ran:?}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "dfk_file\n").unwrap();
    let path = file.path().to_str().unwrap();
    // An option beats the environment.
    let ran = stub.run(&["host", "ls", "--key-file", path]).ended(1);
    assert!(ran.err.contains(&format!("the key came from the file {path}")), "{ran:?}");
    assert_eq!(stub.asked().last().unwrap().header("authorization"), "Bearer dfk_file");
    let ran = stub.run(&["host", "ls", "--key", "dfk_option", "--key-file", path]).ended(1);
    assert!(ran.err.contains("given with --key") && !ran.err.contains("dfk_"), "{ran:?}");
}

#[test]
fn what_is_no_coordinator_is_said_to_be_none() {
    let stub = Stub::start(|_| axum::response::IntoResponse::into_response("<html>welcome</html>"));
    let ran = stub.run(&["host", "ls"]).ended(1);
    assert!(ran.err.contains("is it a Dockerforge coordinator?"), "{ran:?}");
}

#[test]
fn nobody_at_the_url_is_exit_code_4_and_says_what_to_do() {
    // A port that nobody is given by chance, as another test might be.
    let url = "http://127.0.0.1:1";
    let ran = finish(program(url).args(["host", "ls"]).spawn().unwrap()).ended(4);
    assert!(
        ran.err.starts_with(&format!("error: cannot reach the coordinator at {url}: Connection refused")),
        "{ran:?}"
    );
    let https = finish(program(&url.replace("http:", "https:")).args(["host", "ls"]).spawn().unwrap()).ended(4);
    assert!(https.err.contains("Connection refused"), "{https:?}");
    assert!(ran.err.contains("dockerforge serve") && ran.err.contains("--url"), "{ran:?}");
}

#[test]
fn help_documents_the_exit_codes_and_never_shows_the_key() {
    let stub = world();
    let help = stub.run(&["--help"]).ended(0);
    assert!(help.out.contains("Exit codes") && help.out.contains("DOCKERFORGE_KEY_FILE"), "{help:?}");
    for arguments in [&["--help"][..], &["host", "create", "--help"], &["host", "create", "-h"]] {
        assert!(!stub.run(arguments).ended(0).out.contains("dfk_secret"));
    }
}

#[test]
fn unknown_and_ambiguous_names_are_told() {
    let stub = Stub::start(|asked| match asked.line.as_str() {
        // A filter that matches loosely, and in pages.
        "GET /v1/hosts?name=a" => answer(200, &json!({"items": [{"id": HOST, "name": "ab"}], "next": "p"})),
        "GET /v1/hosts?name=a&after=p" => list(&json!([{"id": HOST_2, "name": "b"}])),
        "GET /v1/images?name=x" => list(&json!([{"id": "img_1", "name": "x"}, {"id": "img_2", "name": "x"},
            {"id": "img_3", "name": "x", "state": "deleting"}])),
        _ => names(asked),
    });
    let unknown = stub.run(&["host", "show", "a"]).ended(1);
    assert_eq!(unknown.err, "error: there is no host named \"a\"\n");
    let ambiguous = stub.run(&["image", "rm", "x"]).ended(1);
    assert_eq!(ambiguous.err, "error: several images are named \"x\": say which by its id\n  img_1\n  img_2\n");
}

#[test]
fn wrong_usage_is_exit_code_2_and_nothing_is_sent() {
    let stub = world();
    for arguments in [
        &["frobnicate"][..],
        &["host", "create", "UPPER"],
        &["host", "create", "vps", "--label", "dev.dockerforge.x=1"],
        &["image", "build", "blog", "--host", "vps"],
        &["image", "build", "blog", ".", "--host", "vps", "--build-arg", "A"],
        &["image", "pull", "blog", "debian:12"],
        &["image", "pull", "blog", "http://x/y", "--host", "vps"],
        &["container", "create", "web", "--image", "blog", "--host", "vps", "--place", "spread"],
        &["container", "create", "web", "--image", "blog", "--place", "nearby"],
        &["container", "create", "web", "--image", "blog", "--host", "vps", "-p", "70000"],
        &["container", "create", "web", "--image", "blog", "--host", "vps", "-v", "/etc:/etc"],
        &["container", "create", "web", "--image", "blog", "--host", "vps", "--memory", "lots"],
        &["container", "create", "web", "--image", "blog", "--host", "vps", "--restart", "sometimes"],
        &["container", "create", "web", "--image", "blog", "--host", "vps", "sh"],
        &["container", "exec", "web", "-i", "--", "sh"],
        &["container", "exec", "web", "-it", "--wait", "--", "sh"],
        &["completion", "csh"],
        &["job", "wait", "ctr_01890000000070008000000000000001"],
        &["job", "ls", "--state", "done"],
        &["host", "ls", "--limit", "0"],
        &["host", "ls", "--url", "ftp://x"],
        &["host", "ls", "--url", "http://admin:dfk_secret@x"],
        &["host", "ls", "--key-file", "/nowhere/key"],
        &["host", "ls", "--key", "a\nb"],
    ] {
        let ran = stub.run(arguments).ended(2);
        assert!(ran.out.is_empty() && ran.err.starts_with("error: ") && !ran.err.contains("dfk_secret"), "{ran:?}");
    }
    assert_eq!(stub.lines(), Vec::<String>::new());
}

#[test]
fn a_shell_gets_a_script_that_knows_every_command() {
    let stub = world();
    for (shell, word) in [("bash", "complete -F"), ("zsh", "#compdef dockerforge"), ("fish", "complete -c dockerforge")]
    {
        let ran = stub.run(&["completion", shell]).ended(0);
        assert!(ran.out.contains(word) && ran.out.contains("secret-env"), "{shell}: {}", ran.out.len());
    }
    assert_eq!(stub.lines(), Vec::<String>::new());
}

#[test]
fn events_are_a_table_with_where_to_go_on_and_all_pages_end_where_a_page_leads_no_further() {
    let event = |id: usize| {
        json!({"id": id.to_string(), "kind": "job.queued", "at": "2025-01-01T00:00:00Z", "user": USER,
        "resource": {"kind": "job", "id": JOB}, "detail": null})
    };
    let stub = Stub::start(move |asked| match asked.line.as_str() {
        "GET /v1/events?limit=2" => answer(200, &json!({"items": [event(4), event(5)], "next": "5"})),
        "GET /v1/events?after=5&limit=2" => answer(200, &json!({"items": [event(9)], "next": "9"})),
        "GET /v1/events?after=9&limit=2" => answer(200, &json!({"items": [], "next": "9"})),
        _ => names(asked),
    });
    let ran = stub.run(&["event", "ls", "--limit", "2"]).ended(0);
    assert_eq!(ran.out.lines().count(), 3, "{ran:?}");
    assert!(ran.out.starts_with("ID  WHEN") && ran.out.contains(JOB), "{ran:?}");
    assert_eq!(ran.err, "there may be more: --all, or --since 5\n");
    let ran = stub.run(&["event", "ls", "--limit", "2", "--all"]).ended(0);
    assert_eq!((ran.out.lines().count(), ran.err.as_str()), (4, ""), "{ran:?}");
    let ran = stub.run(&["event", "ls", "--limit", "2", "--all", "--json"]).ended(0);
    assert_eq!(ran.out.lines().count(), 2, "a page a document: {ran:?}");
}

#[test]
fn followed_events_go_on_after_the_last_one_that_was_shown() {
    let stub = Stub::start(|asked| {
        let event = |id: u32| {
            format!("event: job.queued\nid: {id}\ndata: {{\"id\":\"{id}\",\"kind\":\"job.queued\",\"at\":\"t\"}}\n\n")
        };
        match (asked.line.as_str(), asked.header("last-event-id"), asked.earlier) {
            ("GET /v1/events?after=3&kind=job.*", "", 0) => {
                pieces("text/event-stream", vec!["event: ready\nid: 3\ndata: {}\n\n".to_owned(), event(4)], true)
            }
            ("GET /v1/events?after=3&kind=job.*", "4", 1) => pieces("text/event-stream", vec![event(5)], false),
            _ => problem(410, "Forgotten", "what comes after 5 is not kept any more", &json!([])),
        }
    });
    let ran = stub.run(&["event", "follow", "--since", "3", "--kind", "job.*"]).ended(1);
    assert_eq!(ran.out, "t  job.queued\nt  job.queued\n");
    assert!(ran.err.contains("not kept any more"), "{ran:?}");
    assert_eq!(stub.asked().last().unwrap().header("last-event-id"), "5");
}
