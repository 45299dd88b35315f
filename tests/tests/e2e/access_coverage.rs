//! Who may do what: every operation of the API's own document with every kind of principal, under both mounts, against
//! one table. An operation without a row fails, and so does a row without an operation. What another user is answered is
//! what he would be answered of an id that never was, and holds nothing of the owner's (I14).

use crate::access_world::{Asked, Principal, Things, World};
use dockerforge_tests::{
    client::{Answer, Api},
    cluster::Cluster,
    invariants::{self, Ledger},
};
use std::collections::{BTreeMap, BTreeSet};

/// A row an operation, a column a principal. A number is the status of an answer that is no problem; a word is a problem of
/// [`PROBLEMS`].
const TABLE: &str = "
operation                 none wrong expired revoked suspended reader   owner    other    admin    acting

user_create               key  key   expired key     suspended admin    admin    admin    201      201
user_list                 key  key   expired key     suspended admin    admin    admin    200      200
user_get                  key  key   expired key     suspended 200      200      absent   200      200
user_update               key  key   expired key     suspended admin    admin    admin    200      200
user_delete               key  key   expired key     suspended admin    admin    admin    202      202
token_create              key  key   expired key     suspended scope    201      absent   201      201
token_list                key  key   expired key     suspended 200      200      absent   200      200
token_delete              key  key   expired key     suspended scope    204      absent   204      204

host_create               key  key   expired key     suspended scope    201      201      201      201
host_list                 key  key   expired key     suspended 200      200      200      200      200
host_get                  key  key   expired key     suspended 200      200      absent   absent   200
host_update               key  key   expired key     suspended scope    200      absent   absent   200
host_delete               key  key   expired key     suspended scope    202      absent   absent   202
host_token                key  key   expired key     suspended scope    201      absent   absent   201

template_create           key  key   expired key     suspended scope    201      201      201      201
template_list             key  key   expired key     suspended 200      200      200      200      200
template_get              key  key   expired key     suspended 200      200      absent   absent   200
template_replace          key  key   expired key     suspended scope    200      absent   absent   200
template_archive          key  key   expired key     suspended scope    200      absent   absent   200
template_delete           key  key   expired key     suspended scope    204      absent   absent   204

configuration_create      key  key   expired key     suspended scope    201      invalid  invalid  201
configuration_list        key  key   expired key     suspended 200      200      200      200      200
configuration_get         key  key   expired key     suspended 200      200      absent   absent   200
configuration_node        key  key   expired key     suspended 200      200      absent   absent   200
configuration_update      key  key   expired key     suspended scope    200      absent   absent   200
configuration_delete      key  key   expired key     suspended scope    204      absent   absent   204

image_create              key  key   expired key     suspended scope    202      invalid  invalid  202
image_list                key  key   expired key     suspended 200      200      200      200      200
image_get                 key  key   expired key     suspended 200      200      absent   absent   200
image_delete              key  key   expired key     suspended scope    202      absent   absent   202

container_create          key  key   expired key     suspended scope    202      invalid  invalid  202
container_list            key  key   expired key     suspended 200      200      200      200      200
container_get             key  key   expired key     suspended 200      200      absent   absent   200
container_update          key  key   expired key     suspended scope    202      absent   absent   202
container_delete          key  key   expired key     suspended scope    202      absent   absent   202
container_start           key  key   expired key     suspended scope    202      absent   absent   202
container_stop            key  key   expired key     suspended scope    202      absent   absent   202
container_restart         key  key   expired key     suspended scope    202      absent   absent   202
container_exec            key  key   expired key     suspended scope    202      absent   absent   202
container_converge        key  key   expired key     suspended scope    202      absent   absent   202
container_move            key  key   expired key     suspended scope    202      absent   absent   202
container_logs            key  key   expired key     suspended 200      200      absent   absent   200
container_stats           key  key   expired key     suspended 200      200      absent   absent   200
container_terminal        key  key   expired key     suspended scope    upgrade  absent   absent   upgrade
container_terminal_ticket key  key   expired key     suspended scope    201      absent   absent   201

job_list                  key  key   expired key     suspended 200      200      200      200      200
job_get                   key  key   expired key     suspended 200      200      absent   absent   200
job_cancel                key  key   expired key     suspended scope    202      absent   absent   202
job_log                   key  key   expired key     suspended 200      200      absent   absent   200

event_list                key  key   expired key     suspended 200      200      200      200      200
webhook_create            key  key   expired key     suspended scope    201      201      201      201
webhook_list              key  key   expired key     suspended 200      200      200      200      200
webhook_get               key  key   expired key     suspended 200      200      absent   absent   200
webhook_update            key  key   expired key     suspended scope    200      absent   absent   200
webhook_delete            key  key   expired key     suspended scope    204      absent   absent   204
delivery_list             key  key   expired key     suspended 200      200      absent   absent   200
audit_list                key  key   expired key     suspended admin    admin    admin    200      200

healthz                   200  200   200     200     200       200      200      200      200      200
readyz                    200  200   200     200     200       200      200      200      200      200
";

/// What the words of the table stand for.
const PROBLEMS: [(&str, u16, &str); 8] = [
    ("key", 401, "unauthorized"),
    ("expired", 401, "token-expired"),
    ("suspended", 403, "suspended"),
    ("scope", 403, "scope-missing"),
    ("admin", 403, "forbidden"),
    ("absent", 404, "not-found"),
    ("invalid", 422, "invalid"),
    ("upgrade", 426, "not-a-websocket"),
];

/// The table by operation, each row in the order of [`Principal::ALL`].
fn table() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut rows = TABLE.lines().filter(|line| !line.is_empty()).map(|line| line.split_whitespace());
    let header: Vec<&str> = rows.next().expect("a header").skip(1).collect();
    assert_eq!(header, Principal::ALL.map(Principal::name), "the columns are the principals");
    let rows: Vec<(&str, Vec<&str>)> = rows.map(|mut row| (row.next().expect("a name"), row.collect())).collect();
    let table: BTreeMap<&str, Vec<&str>> = rows.iter().cloned().collect();
    assert_eq!(table.len(), rows.len(), "a row an operation");
    for (operation, cells) in &table {
        assert_eq!(cells.len(), header.len(), "{operation}: a cell a principal");
    }
    table
}

/// The answer as the table says it.
fn cell(answer: &Answer) -> String {
    if answer.status < 400 {
        return answer.status.to_string();
    }
    let kind = answer.json["type"].as_str().unwrap_or_default().rsplit(':').next().unwrap_or_default();
    let known = PROBLEMS.iter().find(|(_, status, name)| (*status, *name) == (answer.status, kind));
    known.map_or_else(|| format!("{} {kind}", answer.status), |(word, ..)| (*word).to_owned())
}

/// The operations of the document: their ids, methods and paths without the mount.
async fn operations(api: &Api) -> BTreeMap<String, (String, String)> {
    let document = api.get("/openapi.json").await.expect(200).json;
    let mut found = BTreeMap::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        let path = path.strip_prefix("/v1").unwrap_or(path);
        for (method, operation) in item.as_object().expect("a path item") {
            if let Some(id) = operation["operationId"].as_str() {
                let before = found.insert(id.to_owned(), (method.to_uppercase(), path.to_owned()));
                assert!(before.is_none(), "two operations are called {id}");
            }
        }
    }
    found
}

#[tokio::test]
async fn every_operation_answers_every_kind_of_principal_as_the_table_says() {
    let cluster = Cluster::start().await;
    let table = table();
    let operations = operations(&cluster.anonymous()).await;
    let (served, listed): (BTreeSet<&str>, BTreeSet<&str>) =
        (operations.keys().map(String::as_str).collect(), table.keys().copied().collect());
    assert_eq!(served, listed, "left: operations of the document, right: rows of the table");

    let mut world = World::new(&cluster).await;
    let mut wrong = Vec::new();
    for (operation, cells) in &table {
        let (method, path) = &operations[*operation];
        for (principal, expected) in Principal::ALL.into_iter().zip(cells) {
            for mount in ["/v1", ""] {
                // What is to succeed may take away what it is done to.
                let things = if expected.starts_with('2') { world.fresh(operation).await } else { world.hers.clone() };
                let ask = Asked { operation, method, path, mount };
                let answer = world.ask(principal, &ask, &things).await;
                if cell(&answer) != *expected {
                    wrong.push(format!(
                        "{operation} as {}: {}, not {expected}: {answer}",
                        principal.name(),
                        cell(&answer)
                    ));
                }
                if let Some((_, status, kind)) = PROBLEMS.iter().find(|(word, ..)| *word == cell(&answer)) {
                    answer.clone().problem(*status, kind);
                }
                if principal.is_a_stranger() {
                    world.nothing_of_hers(&answer, &ask, &things);
                }
                if *expected == "absent" {
                    let never_was = world.ask(principal, &ask, &Things::unknown()).await;
                    let said = |answer: &Answer| (cell(answer), answer.json["detail"].clone());
                    if said(&answer) != said(&never_was) {
                        wrong.push(format!("{operation}: of an id that never was {never_was}, but of hers {answer}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} cells differ:\n{}", wrong.len(), wrong.join("\n"));
    world.all_of_hers_is_as_it_was().await;
    let mut ledger = Ledger::default();
    world.forget_what_never_ends(&mut ledger).await;
    invariants::hold(&cluster, &world.owner(), &mut ledger, 120).await;
}

#[tokio::test]
async fn the_document_is_open_to_all_and_what_is_not_served_is_the_same_for_all() {
    let cluster = Cluster::start().await;
    let world = World::new(&cluster).await;
    for mount in ["/v1", ""] {
        for path in ["/openapi.json", "/docs", "/nowhere", "/"] {
            let ask = Asked { operation: "none", method: "GET", path, mount };
            let mut answers = Vec::new();
            for principal in Principal::ALL {
                let answer = world.ask(principal, &ask, &world.hers).await;
                answers.push(cell(&answer));
                world.nothing_of_hers(&answer, &ask, &world.hers);
            }
            assert!(answers.iter().all(|answer| *answer == answers[0]), "{mount}{path}: {answers:?}");
            let expected: &[&str] = match path {
                "/openapi.json" => &["200"],
                // To its page, which is `/docs/`.
                "/docs" => &["308"],
                _ => &["404 no-such-route"],
            };
            assert!(expected.contains(&answers[0].as_str()), "{mount}{path}: {}", answers[0]);
        }
    }
}
