//! The command line covers the API: each operation of the document has a command here that asks it, and each command asks
//! for something. An operation that is new in the document fails this test until it has its command.

use super::stub::*;
use clap::Subcommand;
use dockerforge_coordinator::cli;
use serde_json::json;
use std::collections::BTreeSet;

const TOKEN: &str = "tok_01890000000070008000000000000001";
const WEBHOOK: &str = "whk_01890000000070008000000000000001";

/// Each operation, and a command that asks it.
const COMMANDS: [(&str, &str); 70] = [
    ("user_create", "user create acme"),
    ("user_list", "user ls"),
    ("user_get", "user show acme"),
    ("user_get", "user quota acme"),
    ("user_update", "user quota acme --hosts 3"),
    ("user_update", "user suspend acme"),
    ("user_update", "user resume acme"),
    ("user_delete", "user rm acme"),
    ("token_create", "user token create acme ci"),
    ("token_list", "user token ls acme"),
    ("token_delete", "user token rm acme TOKEN"),
    ("host_create", "host create vps"),
    ("host_list", "host ls"),
    ("host_get", "host show vps"),
    ("host_update", "host update vps --drain"),
    ("host_token", "host token vps"),
    ("host_delete", "host rm vps"),
    ("template_create", "template create -"),
    ("template_list", "template ls"),
    ("template_get", "template show page"),
    ("template_replace", "template replace page -"),
    ("template_archive", "template archive page Cargo.toml"),
    ("template_delete", "template rm page"),
    ("configuration_create", "configuration create mine --template page"),
    ("configuration_list", "configuration ls"),
    ("configuration_get", "configuration show mine"),
    ("configuration_node", "configuration node mine"),
    ("configuration_update", "configuration update mine --upgrade"),
    ("configuration_delete", "configuration rm mine"),
    ("image_create", "image build d12 --host vps --configuration mine"),
    ("image_create", "image pull d12 debian:12 --host vps"),
    ("image_create", "image pull d12 debian:12 --hosts vps --hosts vps"),
    ("image_create", "image build d12 --host vps -f -"),
    ("image_list", "image ls"),
    ("image_get", "image show blog"),
    ("image_delete", "image rm blog"),
    ("container_create", "container create web --image blog --host vps"),
    ("container_list", "container ls"),
    ("container_get", "container show web"),
    ("container_update", "container update web --restart no"),
    ("container_delete", "container rm web"),
    ("container_start", "container start web"),
    ("container_stop", "container stop web"),
    ("container_restart", "container restart web"),
    ("container_exec", "container exec web -- true"),
    ("container_converge", "container converge web"),
    ("container_move", "container move web --host vps"),
    ("container_move", "container move web --place spread"),
    ("container_logs", "container logs web"),
    ("container_logs", "container logs -f web"),
    ("container_stats", "container stats web"),
    ("container_terminal", "container terminal web"),
    ("container_terminal", "container exec -it web -- sh"),
    ("job_list", "job ls"),
    ("job_get", "job show JOB"),
    ("job_get", "job wait JOB"),
    ("job_cancel", "job cancel JOB"),
    ("job_log", "job log JOB"),
    ("event_list", "event ls"),
    ("event_list", "event follow --since 7"),
    ("webhook_create", "webhook create https://panel.example/"),
    ("webhook_list", "webhook ls"),
    ("webhook_get", "webhook show WEBHOOK"),
    ("webhook_update", "webhook update WEBHOOK --disable"),
    ("webhook_delete", "webhook rm WEBHOOK"),
    ("delivery_list", "webhook deliveries WEBHOOK"),
    ("audit_list", "audit ls"),
    ("container_terminal_ticket", NONE),
    ("healthz", NONE),
    ("readyz", NONE),
];

/// A ticket is for browsers, which cannot send a key with a websocket; health is for what watches over the coordinator.
const NONE: &str = "";

/// The operations of the document: id, method, and the parts of the path.
fn operations() -> Vec<(String, String, Vec<String>)> {
    let document = serde_json::to_value(dockerforge_coordinator::http::openapi()).unwrap();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if let Some(id) = operation["operationId"].as_str() {
                let parts = path.split('/').map(str::to_owned).collect();
                found.push((id.to_owned(), method.to_uppercase(), parts));
            }
        }
    }
    found
}

/// All commands that have none below them, in words.
fn leaves(command: &clap::Command, above: &str, found: &mut BTreeSet<String>) {
    for below in command.get_subcommands() {
        let words = format!("{above} {}", below.get_name()).trim().to_owned();
        if below.has_subcommands() {
            leaves(below, &words, found);
        } else {
            found.insert(words);
        }
    }
}

#[test]
fn each_operation_of_the_document_has_a_command_that_asks_it_and_each_command_asks_something() {
    let operations = operations();
    let served: BTreeSet<&str> = operations.iter().map(|(id, ..)| id.as_str()).collect();
    let listed: BTreeSet<&str> = COMMANDS.iter().map(|(id, _)| *id).collect();
    assert_eq!(served, listed, "left: operations of the document, right: those of the table");

    let mut commands = BTreeSet::new();
    leaves(&cli::Command::augment_subcommands(clap::Command::new("dockerforge")), "", &mut commands);
    let unlisted: Vec<_> = commands
        .iter()
        .filter(|words| !COMMANDS.iter().any(|(_, line)| format!("{line} ").starts_with(&format!("{words} "))))
        .collect();
    assert!(unlisted.is_empty(), "commands that ask nothing of the table: {unlisted:?}");

    for (operation, line) in COMMANDS.iter().filter(|(_, line)| *line != NONE) {
        // What it is answered is no matter here, but each command ends.
        let stub = Stub::start(|asked| match asked.line.split(' ').next() {
            Some("GET") if asked.line.contains("?name=") => names(asked),
            Some("GET") => problem(409, "No", "not now", &json!([])),
            _ => answer(202, &job("queued", 0)),
        });
        let line = line.replace("TOKEN", TOKEN).replace("WEBHOOK", WEBHOOK).replace("JOB", JOB);
        let words: Vec<&str> = line.split(' ').collect();
        // A template is JSON, and a Dockerfile may be anything.
        let ran = stub.run_with(&words, b"{}");
        assert_ne!(ran.code, Some(2), "{line}: wrong usage: {ran:?}");
        let (_, method, path) = operations.iter().find(|(id, ..)| id == operation).unwrap();
        let asks = |asked: &String| {
            let (verb, target) = asked.split_once(' ').unwrap();
            let parts: Vec<&str> = target.split('?').next().unwrap().split('/').collect();
            verb == method
                && parts.len() == path.len()
                && parts.iter().zip(path).all(|(part, wanted)| part == wanted || wanted.starts_with('{'))
        };
        assert!(stub.lines().iter().any(asks), "{line} does not ask {operation}: {:?}", stub.lines());
    }
}
