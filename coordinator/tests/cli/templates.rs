//! Templates, configurations and what is made of them: what is sent for each option, and what is told of a converge.

use super::requests::unpacked;
use super::stub::*;
use serde_json::{Value, json};
use std::{fs, io::Write};

fn accepting() -> Stub {
    Stub::start(|asked| match asked.line.split('/').nth(2) {
        _ if asked.line.contains("?name=") => names(asked),
        Some(what) if what.starts_with("templates") => {
            answer(201, &json!({"id": TEMPLATE, "name": "page", "version": 2}))
        }
        Some(what) if what.starts_with("configurations") => {
            answer(200, &json!({"id": CONFIGURATION, "name": "mine", "version": 3}))
        }
        _ => answer(202, &job("queued", 0)),
    })
}

/// The bodies that were sent with this method, the last of them.
fn sent(stub: &Stub, line: &str) -> Value {
    let asked = stub.asked().pop().unwrap();
    assert_eq!(asked.line, line);
    asked.json()
}

#[test]
fn a_template_is_a_file_and_its_archive_a_folder_or_an_archive_that_is_sent_compressed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("page.json"), r#"{"name": "page"}"#).unwrap();
    fs::create_dir(at("scripts")).unwrap();
    for name in ["page.sh", ".dockerignore"] {
        fs::write(folder.path().join("scripts").join(name), "true\n").unwrap();
    }
    let stub = accepting();
    let create = ["template", "create", &at("page.json"), "--archive", &at("scripts"), "--public"];
    assert_eq!(stub.run(&create).ended(0).out, format!("template  {TEMPLATE}\nversion   2\n"));
    assert_eq!(stub.only("POST /v1/templates").json(), json!({"name": "page", "public": true}));
    let archive = stub.only(&format!("PUT /v1/templates/{TEMPLATE}/archive"));
    assert_eq!(archive.header("content-type"), "application/gzip");
    assert_eq!(unpacked(&archive.body).into_keys().collect::<Vec<_>>(), [".dockerignore", "page.sh"], "all of it");

    // An archive that is there already, plain and compressed.
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_path_with_name(at("page.json"), "x").unwrap();
    let tar = tar.into_inner().unwrap();
    fs::write(at("a.tar"), &tar).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(fs::File::create(at("a.tgz")).unwrap(), flate2::Compression::best());
    gzip.write_all(&tar).unwrap();
    gzip.finish().unwrap();
    for name in ["a.tar", "a.tgz"] {
        stub.run(&["template", "archive", "page", &at(name)]).ended(0);
        let body = stub.asked().pop().unwrap().body;
        let mut plain = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&body[..]), &mut plain).unwrap();
        assert!(plain == tar, "{name}");
    }
    stub.run(&["template", "replace", "page", &at("page.json")]).ended(0);
    assert_eq!(sent(&stub, &format!("PUT /v1/templates/{TEMPLATE}")), json!({"name": "page"}));

    let before = stub.asked().len();
    let missing = stub.run(&["template", "create", &at("page.json"), "--archive", &at("nowhere")]).ended(1);
    assert!(missing.err.contains("nowhere"), "{missing:?}");
    assert!(stub.run(&["template", "create", &at("a.tar")]).ended(2).err.contains("expected JSON"));
    assert_eq!(stub.asked().len(), before, "nothing is made of what cannot be read");
}

#[test]
fn a_template_whose_archive_is_refused_is_told_of() {
    let stub = Stub::start(|asked| match asked.line.split(' ').next() {
        Some("POST") => answer(201, &json!({"id": TEMPLATE, "version": 1})),
        _ => problem(422, "Invalid archive", "it leaves its tree", &json!([])),
    });
    let ran = stub.run_with(&["template", "create", "-", "--archive", "src"], b"{}").ended(1);
    assert!(ran.err.contains(&format!("dockerforge template archive {TEMPLATE}")), "{ran:?}");
    assert!(ran.err.contains("it leaves its tree"), "{ran:?}");
}

#[test]
fn a_choice_is_made_of_files_and_of_single_values_and_a_secret_comes_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("parameters"), r#"{"page": {"title": "old", "lang": "en"}}"#).unwrap();
    fs::write(at("attributes"), r#"{"php": {"memory": "64M"}}"#).unwrap();
    fs::write(at("secret"), "s3cret\n").unwrap();
    let stub = accepting();
    let secret = format!("db.password=@{}", at("secret"));
    let create = ["configuration", "create", "mine", "--template", "page", "--version", "2", "--parameters"];
    let rest = ["--set", "page.title=A blog", "--set", "port=80", "--set", &secret, "--run", "recipe[backup]"];
    let ran = stub.run(&[&create[..], &[&at("parameters")], &rest, &["--attributes", &at("attributes")]].concat());
    assert_eq!(ran.ended(0).out, format!("configuration  {CONFIGURATION}\nversion        3\n"));
    assert_eq!(
        stub.only("POST /v1/configurations").json(),
        json!({"name": "mine", "template": TEMPLATE, "template_version": 2, "run_list": ["recipe[backup]"],
            "parameters": {"page": {"title": "A blog", "lang": "en"}, "port": 80, "db": {"password": "s3cret"}},
            "attributes": {"php": {"memory": "64M"}}})
    );
    stub.run_with(&["configuration", "create", "bare", "--template", TEMPLATE, "--parameters", "-"], b"{}").ended(0);
    let bare = json!({"name": "bare", "template": TEMPLATE, "parameters": {}});
    assert_eq!(sent(&stub, "POST /v1/configurations"), bare);
}

#[test]
fn a_change_of_a_configuration_names_what_changes_alone() {
    let stub = accepting();
    let update = |more: &[&str]| stub.run(&[&["configuration", "update", "mine"], more].concat());
    for (more, body) in [
        (
            &["--set", "a.b=1", "--unset", "c", "--unset", "a.d"][..],
            json!({"parameters": {"a": {"b": 1, "d": null}, "c": null}}),
        ),
        (&["--run", "a", "--run", "role[b]"], json!({"run_list": ["a", "role[b]"]})),
        (&["--no-run", "--name", "other"], json!({"run_list": [], "name": "other"})),
        (&["--upgrade"], json!({"template_version": "newest"})),
        (
            &["--riyic", "6f2f9a3e-8d0c-4a53-9a52-5a3c1f1f7f10"],
            json!({"riyic": {"server": "6f2f9a3e-8d0c-4a53-9a52-5a3c1f1f7f10"}}),
        ),
        (&["--upgrade", "4"], json!({"template_version": 4})),
    ] {
        update(more).ended(0);
        assert_eq!(sent(&stub, &format!("PATCH /v1/configurations/{CONFIGURATION}")), body);
    }
    for bad in [
        &[][..],
        &["--upgrade", "0"],
        &["--riyic", "mine"],
        &["--no-run", "--run", "a"],
        &["--set", "x"],
        &["--set", "a=1", "--set", "a.b=1"],
    ] {
        update(bad).ended(2);
    }
}

#[test]
fn versions_are_asked_for_and_a_node_is_printed_as_json() {
    let stub = Stub::start(|asked| match asked.line.as_str() {
        line if line.contains("/node") => answer(200, &json!({"run_list": ["recipe[page]"], "title": "a\u{9b}b"})),
        line if line == format!("GET /v1/templates/{TEMPLATE}?version=2") => answer(200, &json!({"id": TEMPLATE})),
        line if line == format!("GET /v1/configurations/{CONFIGURATION}?version=2") => answer(200, &json!({})),
        line if line == format!("GET /v1/configurations?template={TEMPLATE}") => list(&json!([
            {"id": CONFIGURATION, "name": "mine", "version": 3, "template": TEMPLATE, "template_version": 2}])),
        "GET /v1/templates" => list(&json!([{"id": TEMPLATE, "name": "page", "version": 4, "provisioner": "shell",
            "base": "debian:12", "public": true}])),
        _ => names(asked),
    });
    stub.run(&["template", "show", "page", "--version", "2"]).ended(0);
    stub.run(&["configuration", "show", "mine", "--version", "2"]).ended(0);
    let node = stub.run(&["configuration", "node", "mine", "--version", "1"]).ended(0);
    assert_eq!(node.out, "{\n  \"run_list\": [\n    \"recipe[page]\"\n  ],\n  \"title\": \"a\\u{9b}b\"\n}\n");
    assert!(stub.lines().contains(&format!("GET /v1/configurations/{CONFIGURATION}/node?version=1")));
    assert_eq!(
        stub.run(&["template", "ls"]).ended(0).out,
        "NAME  ID                                    VERSION  PROVISIONER  BASE       FOR        CHANGED\n\
         page  tpl_01890000000070008000000000000001        4  shell        debian:12  everybody  -\n"
    );
    assert_eq!(
        stub.run(&["configuration", "ls", "--template", "page"]).ended(0).out,
        "NAME  ID                                    VERSION  TEMPLATE  OF VERSION  CHANGED\n\
         mine  cfg_01890000000070008000000000000001        3  page               2  -\n"
    );
}

#[test]
fn an_image_is_built_of_a_configuration_or_of_a_folder_and_never_of_both() {
    let stub = accepting();
    let build = ["image", "build", "blog", "--host", "vps", "--configuration", "mine"];
    stub.run(&[&build[..], &["--configuration-version", "2", "--no-cache"]].concat()).ended(0);
    assert_eq!(
        sent(&stub, "POST /v1/images"),
        json!({"name": "blog", "host": HOST, "configuration": CONFIGURATION, "configuration_version": 2, "no_cache": true})
    );
    for bad in [&["."][..], &["-f", "Dockerfile"], &["--build-arg", "A=b"]] {
        stub.run(&[&build[..], bad].concat()).ended(2);
    }
    stub.run(&["image", "build", "blog", ".", "--host", "vps", "--configuration-version", "2"]).ended(2);
}

#[test]
fn a_converge_tells_each_resource_that_it_changed_or_that_none_was() {
    let outcome = json!({"resources": [{"resource": "page", "status": "changed"},
        {"resource": "service[web]", "status": "changed", "detail": "restarted"}]});
    for (result, told) in [
        (outcome, "changed   page\nchanged   service[web]  restarted\n"),
        (json!({"resources": []}), "nothing changed\n"),
    ] {
        let stub = Stub::start(move |asked| match asked.line.split(' ').nth(1).unwrap_or_default() {
            path if path.ends_with("/log") => {
                pieces("text/event-stream", vec!["event: end\ndata: succeeded\n\n".to_owned()], false)
            }
            path if path.starts_with("/v1/queue/") => {
                let mut job = job("succeeded", 0);
                job["result"] = result.clone();
                answer(200, &job)
            }
            path if path.ends_with("/converge") => answer(202, &job("queued", 0)),
            _ => names(asked),
        });
        let converge = ["container", "converge", "web", "--configuration-version", "2", "--deadline", "60", "--wait"];
        assert_eq!(stub.run(&converge).ended(0).out, told);
        let asked = stub.only(&format!("POST /v1/containers/{CONTAINER}/converge"));
        assert_eq!(asked.json(), json!({"configuration_version": 2, "deadline": 60}));
        let json = stub.run(&[&converge[..], &["--json"]].concat()).ended(0);
        assert!(json.out.starts_with('{') && !json.out.contains("nothing changed"), "{json:?}");
    }
}
