//! The document of the API is complete: each operation says all that it answers, each type of problem is answered somewhere,
//! each example is one, and the pages for readers are there.

use dockerforge_tests::{archive, client::Api, cluster::Cluster, env, recipes};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];
/// Problems of requests that no operation has: each of them is an answer to a path or a method that is not in the document.
const OF_NO_OPERATION: [&str; 2] = ["no-such-route", "method-not-allowed"];
/// Its 503 is the answer of a probe, not a problem.
const PROBES: [&str; 1] = ["/v1/readyz"];

async fn document(cluster: &Cluster) -> Value {
    cluster.anonymous().get("/openapi.json").await.expect(200).json
}

fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let of = |(path, item): (&String, &'_ Value)| {
        let item = item.as_object().unwrap().clone();
        METHODS
            .iter()
            .filter(|m| item.contains_key(**m))
            .map(|m| (format!("{m} {path}"), path.clone(), *m))
            .collect::<Vec<_>>()
    };
    paths.flat_map(of).map(|(name, path, method)| (name, &document["paths"][path.as_str()][method])).collect()
}

/// What a reference within the document leads to.
fn led<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap_or_else(|| panic!("{reference}")),
        None => value,
    }
}

/// A schema with the document's own beside it, so that its references lead somewhere.
fn whole(document: &Value, schema: &Value) -> Value {
    json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "allOf": [schema], "components": document["components"]})
}

fn fits(document: &Value, schema: &Value, value: &Value, what: &str) {
    let validator = jsonschema::draft202012::new(&whole(document, schema)).unwrap_or_else(|e| panic!("{what}: {e}"));
    let errors: Vec<String> = validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{what}: {errors:?}\n{value}");
}

#[tokio::test]
async fn every_operation_says_what_it_is_and_all_that_it_answers() {
    let cluster = Cluster::start().await;
    let document = document(&cluster).await;
    let (mut ids, mut answered) = (BTreeSet::new(), BTreeSet::new());
    for (name, operation) in operations(&document) {
        let text = |member: &str| operation[member].as_str().filter(|text| !text.is_empty()).is_some();
        assert!(text("operationId") && text("summary"), "{name}");
        assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{name}: its id is another's");
        assert!(operation["tags"].as_array().is_some_and(|tags| tags.len() == 1), "{name}");
        let responses = operation["responses"].as_object().unwrap();
        let mut succeeds = false;
        for (status, response) in responses {
            assert!(response["description"].as_str().is_some_and(|text| !text.is_empty()), "{name} {status}");
            assert_eq!(
                response["headers"]["x-request-id"]["$ref"], "#/components/headers/RequestId",
                "{name} {status}"
            );
            if !status.starts_with(['4', '5']) {
                succeeds = true;
                continue;
            }
            if status == "503" && PROBES.iter().any(|path| name.ends_with(path)) {
                continue;
            }
            let problem = &response["content"]["application/problem+json"];
            assert!(problem["schema"].is_object(), "{name} {status} is no problem");
            for kind in problem["examples"].as_object().unwrap().keys() {
                answered.insert(kind.clone());
            }
        }
        assert!(succeeds, "{name} never succeeds");
        assert!(operation.get("x-problems").is_none(), "{name}");
    }
    let known: BTreeSet<String> = document["components"]["examples"].as_object().unwrap().keys().cloned().collect();
    answered.extend(OF_NO_OPERATION.map(str::to_owned));
    assert_eq!(answered, known, "left: answered by an operation, right: all types of problems");
    let types = document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"].as_array().unwrap();
    assert_eq!(types.len(), known.len());
}

#[tokio::test]
async fn every_example_is_one_of_what_it_stands_for() {
    let cluster = Cluster::start().await;
    let document = document(&cluster).await;
    let mut bodies = 0;
    for (name, operation) in operations(&document) {
        let request = operation["requestBody"]["content"].as_object().into_iter().flatten();
        for (media, body) in request {
            if media == "application/json" {
                assert!(body["examples"].is_object(), "{name}: the body has no example");
            }
            for (what, example) in body["examples"].as_object().into_iter().flatten() {
                fits(&document, &body["schema"], &example["value"], &format!("{name}, {what}"));
                bodies += 1;
            }
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            for (media, body) in response["content"].as_object().into_iter().flatten() {
                let what = format!("{name} {status} {media}");
                if let Some(example) = body.get("example") {
                    fits(&document, &body["schema"], example, &what);
                } else if media == "application/json" {
                    // One that is either of two has those of both elsewhere.
                    assert!(body["schema"]["anyOf"].is_array(), "{what} has no example");
                }
                for example in body["examples"].as_object().into_iter().flatten().map(|(_, one)| one) {
                    fits(&document, &body["schema"], &led(&document, example)["value"], &what);
                }
            }
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let parameter = led(&document, parameter);
            let schema = led(&document, &parameter["schema"]);
            assert!(parameter["description"].as_str().is_some_and(|text| !text.is_empty()), "{name}: {parameter}");
            if let Some(example) = schema.get("example") {
                fits(&document, schema, example, &format!("{name}, {}", parameter["name"]));
            }
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        if let Some(example) = schema.get("example") {
            fits(&document, schema, example, name);
        }
    }
    assert!(bodies > 15, "{bodies}");
}

/// Puts the ids of things that are there into an example, which names ids of none.
fn with_real_ids(value: &Value, ids: &[&str]) -> Value {
    let real = |text: String, id: &&str| text.replace(&format!("{}_0192f0c1a2b37c4d8e5f60718293a4b5", &id[..3]), id);
    serde_json::from_str(&ids.iter().fold(value.to_string(), real)).unwrap()
}

/// Sends each example of a body to where it is to be sent.
async fn accepted(document: &Value, api: &Api, method: &str, path: &str, at: &str, ids: &[&str]) {
    let operation = &document["paths"][path][method];
    let examples = operation["requestBody"]["content"]["application/json"]["examples"].as_object();
    let examples = examples.unwrap_or_else(|| panic!("{method} {path} has no examples"));
    for (what, example) in examples {
        let body = with_real_ids(&example["value"], ids);
        let answer = api.call(method.to_uppercase().parse().unwrap(), at).json(&body).send().await;
        assert!((200..300).contains(&answer.status), "{method} {path}, {what}: {answer}");
    }
}

#[tokio::test]
async fn every_example_of_a_body_is_accepted() {
    let cluster = Cluster::start().await;
    let document = document(&cluster).await;
    let admin = cluster.admin();
    let (bob, _) = cluster.user("bob").await;
    let (carol, api) = cluster.user("carol").await;
    let mut agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let container = agent.container("running", &image, json!({})).await;
    let moves = agent.container("moves", &image, json!({})).await;
    let (elsewhere, _) = api.create_host("elsewhere").await;
    // The examples of configurations are of the example of a template.
    let examples =
        &document["paths"]["/v1/templates"]["post"]["requestBody"]["content"]["application/json"]["examples"];
    let mut body = examples["a blog"]["value"].clone();
    body["name"] = json!("told-of");
    let template = recipes::template(&api, &body).await;
    let roles = archive::tar(&[("roles/blog/tasks/main.yml", ""), ("roles/backup/tasks/main.yml", "")]);
    recipes::put_archive(&api, &template, archive::gzip(&roles)).await;
    let page = recipes::configuration(&api, "page", &recipes::page_template(&api).await, json!({"title": "x"})).await;
    let body = json!({"name": "page", "host": agent.host, "configuration": page});
    let job = api.post("/v1/images", &body).await.accepted();
    let converged = agent.container("converged", &api.succeeded(&job, 120).await, json!({})).await;
    let ledger = recipes::template(&api, &recipes::ledger()).await;
    recipes::put_archive(&api, &ledger, recipes::ledger_archive()).await;
    let ledger = recipes::configuration(&api, "ledger", &ledger, json!({})).await;
    let body = json!({"name": "ledger", "host": agent.host, "configuration": ledger});
    let job = api.post("/v1/images", &body).await.accepted();
    let provides = agent.container("ledger", &api.succeeded(&job, 120).await, json!({})).await;
    let told = recipes::configuration(&api, "told-of", &template, json!({"title": "x"})).await;
    agent.kill();
    let hook = api.post("/v1/webhooks", &json!({"url": "https://panel.example/"})).await.expect(201).json["id"].clone();
    let (hook, host) = (hook.as_str().unwrap().to_owned(), agent.host.clone());
    let (user, container, host_path, hook) = (
        format!("/v1/users/{}", carol.user.id),
        format!("/v1/containers/{container}"),
        format!("/v1/hosts/{host}"),
        format!("/v1/webhooks/{hook}"),
    );
    let ids = [host.as_str(), &image, &template, &page, &provides];
    for (api, method, path, at) in [
        (&admin, "post", "/v1/users", "/v1/users".to_owned()),
        (&admin, "patch", "/v1/users/{id}", format!("/v1/users/{}", bob.user.id)),
        (&api, "post", "/v1/users/{id}/tokens", format!("{user}/tokens")),
        (&api, "post", "/v1/hosts", "/v1/hosts".to_owned()),
        (&api, "post", "/v1/templates", "/v1/templates".to_owned()),
        (&api, "post", "/v1/configurations", "/v1/configurations".to_owned()),
        (&api, "patch", "/v1/configurations/{id}", format!("/v1/configurations/{told}")),
        (&api, "post", "/v1/images", "/v1/images".to_owned()),
        (&api, "post", "/v1/containers/{id}/converge", format!("/v1/containers/{converged}/converge")),
        (&api, "post", "/v1/containers", "/v1/containers".to_owned()),
        (&api, "post", "/v1/containers/{id}/move", format!("/v1/containers/{moves}/move")),
        (&api, "post", "/v1/containers/{id}/exec", format!("{container}/exec")),
        (&api, "post", "/v1/containers/{id}/start", format!("{container}/start")),
        (&api, "post", "/v1/containers/{id}/restart", format!("{container}/restart")),
        (&api, "post", "/v1/containers/{id}/stop", format!("{container}/stop")),
        (&api, "post", "/v1/webhooks", "/v1/webhooks".to_owned()),
        (&api, "patch", "/v1/webhooks/{id}", hook),
        (&api, "patch", "/v1/hosts/{id}", host_path),
    ] {
        // It moves to another host.
        let ids = if path.ends_with("/move") { vec![elsewhere.id.as_str()] } else { ids.to_vec() };
        accepted(&document, api, method, path, &at, &ids).await;
    }
    // One change at a time.
    let changes = &document["paths"]["/v1/containers/{id}"]["patch"]["requestBody"]["content"]["application/json"];
    for (what, example) in changes["examples"].as_object().unwrap() {
        let answer = api.patch(&container, &example["value"]).await;
        assert_eq!(answer.status, 202, "{what}: {answer}");
        api.delete(&format!("/v1/queue/{}", answer.json["id"].as_str().unwrap())).await.expect(202);
    }
}

#[tokio::test]
async fn the_pages_for_readers_load_nothing_from_elsewhere() {
    let cluster = Cluster::start().await;
    let anonymous = cluster.anonymous();
    for path in ["/docs", "/v1/docs"] {
        assert_eq!(anonymous.get(path).await.header("location"), Some("/docs/"), "{path}");
    }
    let page = anonymous.get("/docs/").await.expect(200);
    assert!(
        page.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'")),
        "{page}"
    );
    let loaded: Vec<&str> =
        page.text.split(['"', '\'']).filter(|part| part.ends_with(".js") || part.ends_with(".css")).collect();
    assert!(loaded.len() >= 4, "{loaded:?}");
    for file in loaded {
        assert!(!file.contains("//"), "{file} is elsewhere");
        anonymous.get(&format!("/docs/{}", file.trim_start_matches("./"))).await.expect(200);
    }
    let begin = anonymous.get("/docs/swagger-initializer.js").await.expect(200).text;
    assert!(begin.contains("\"/openapi.json\""), "{begin}");
    anonymous.get("/docs/nothing.js").await.problem(404, "no-such-route");
    let problems = anonymous.get("/docs/problems").await.expect(200).text;
    let document = document(&cluster).await;
    for name in document["components"]["examples"].as_object().unwrap().keys() {
        assert!(problems.contains(&format!("id=\"{name}\"")), "{name}");
    }
}
