//! Nobody reaches what is another's: for every route, somebody else's id and an id that never was get the same answer,
//! and without a key there is no answer at all. The list of routes is compared with the API's own document, so that a
//! new route without a row here fails.

use dockerforge_tests::{client::Api, cluster::Cluster, env, recipes};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Routes that need no key.
const OPEN: [&str; 2] = ["GET /healthz", "GET /readyz"];

/// Routes with an id that may be somebody else's.
const OWNED: [&str; 36] = [
    "GET /users/{id}",
    "GET /users/{id}/tokens",
    "POST /users/{id}/tokens",
    "DELETE /users/{id}/tokens/{token}",
    "GET /hosts/{id}",
    "PATCH /hosts/{id}",
    "DELETE /hosts/{id}",
    "POST /hosts/{id}/token",
    "GET /templates/{id}",
    "PUT /templates/{id}",
    "PUT /templates/{id}/archive",
    "DELETE /templates/{id}",
    "GET /configurations/{id}",
    "PATCH /configurations/{id}",
    "DELETE /configurations/{id}",
    "GET /configurations/{id}/node",
    "GET /images/{id}",
    "DELETE /images/{id}",
    "GET /containers/{id}",
    "DELETE /containers/{id}",
    "PATCH /containers/{id}",
    "POST /containers/{id}/start",
    "POST /containers/{id}/stop",
    "POST /containers/{id}/restart",
    "POST /containers/{id}/exec",
    "POST /containers/{id}/converge",
    "GET /containers/{id}/logs",
    "GET /containers/{id}/stats",
    "GET /containers/{id}/terminal",
    "POST /containers/{id}/terminal-ticket",
    "GET /queue/{id}",
    "DELETE /queue/{id}",
    "GET /webhooks/{id}",
    "PATCH /webhooks/{id}",
    "DELETE /webhooks/{id}",
    "GET /webhooks/{id}/deliveries",
];

/// Routes with an id that need another look.
const SPECIAL: [&str; 3] = ["GET /queue/{id}/log", "DELETE /users/{id}", "PATCH /users/{id}"];

/// Routes without an id.
const COLLECTIONS: [&str; 17] = [
    "GET /audit",
    "GET /users",
    "POST /users",
    "GET /hosts",
    "POST /hosts",
    "GET /templates",
    "POST /templates",
    "GET /configurations",
    "POST /configurations",
    "GET /images",
    "POST /images",
    "GET /containers",
    "POST /containers",
    "GET /queue",
    "GET /events",
    "GET /webhooks",
    "POST /webhooks",
];

/// The ids of one user's things.
struct Things {
    user: String,
    token: String,
    host: String,
    template: String,
    configuration: String,
    image: String,
    container: String,
    job: String,
    webhook: String,
}

impl Things {
    fn unknown() -> Self {
        let id = |prefix: &str| format!("{prefix}_0192f0c1a2b37c4d8e5f60718293a4b5");
        Self {
            user: id("usr"),
            token: id("tok"),
            host: id("hst"),
            template: id("tpl"),
            configuration: id("cfg"),
            image: id("img"),
            container: id("ctr"),
            job: id("job"),
            webhook: id("whk"),
        }
    }

    fn path(&self, route: &str) -> (Method, String) {
        let (method, path) = route.split_once(' ').unwrap();
        let id = match path.split('/').nth(1).unwrap() {
            "users" => &self.user,
            "hosts" => &self.host,
            "templates" => &self.template,
            "configurations" => &self.configuration,
            "images" => &self.image,
            "containers" => &self.container,
            "webhooks" => &self.webhook,
            _ => &self.job,
        };
        (method.parse().unwrap(), path.replace("{id}", id).replace("{token}", &self.token))
    }
}

async fn ask(api: &Api, mount: &str, things: &Things, route: &str) -> (u16, String, String) {
    let (method, path) = things.path(route);
    let mut call = api.call(method.clone(), &format!("{mount}{path}"));
    if method == Method::PATCH {
        call = call.json(&json!({}));
    }
    if method == Method::POST && path.ends_with("/tokens") {
        call = call.json(&json!({"name": "mine"}));
    }
    if method == Method::PATCH {
        call = call.json(&json!({}));
    }
    if path.ends_with("/archive") {
        call = call.body("application/x-tar", vec![0; 1024]);
    } else if method == Method::PUT {
        call = call.json(&recipes::page());
    }
    if path.ends_with("/exec") {
        call = call.json(&json!({"command": ["true"]}));
    }
    let answer = call.send().await;
    let kind = answer.json["type"].as_str().unwrap_or_default().to_owned();
    (answer.status, kind, answer.json["detail"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn every_route_of_the_api_is_in_the_lists_of_this_test() {
    let cluster = Cluster::start().await;
    let document = cluster.anonymous().get("/openapi.json").await.expect(200).json;
    let mut served = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let path = path.strip_prefix("/v1").unwrap_or(path);
        for method in operations.as_object().unwrap().keys().filter(|key| key.len() < 7) {
            served.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let listed: BTreeSet<String> =
        OPEN.iter().chain(&OWNED).chain(&SPECIAL).chain(&COLLECTIONS).map(ToString::to_string).collect();
    assert_eq!(served, listed, "left: served, right: listed here");
}

#[tokio::test]
async fn without_a_key_no_route_answers() {
    let cluster = Cluster::start().await;
    let anonymous = cluster.anonymous();
    for mount in ["", "/v1"] {
        for route in OWNED.iter().chain(&SPECIAL).chain(&COLLECTIONS) {
            let (status, kind, _) = ask(&anonymous, mount, &Things::unknown(), route).await;
            assert_eq!((status, kind.rsplit(':').next().unwrap()), (401, "unauthorized"), "{mount} {route}");
        }
        for route in OPEN {
            let (status, ..) = ask(&anonymous, mount, &Things::unknown(), route).await;
            assert_eq!(status, 200, "{mount} {route}");
        }
    }
}

#[tokio::test]
async fn somebody_elses_id_is_answered_as_an_id_that_never_was() {
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let container = agent.container("blog", &image, json!({})).await;
    let tokens = api.get(&format!("/v1/users/{}/tokens", ana.user.id)).await.json;
    let jobs = api.get("/v1/queue").await.json;
    let webhook = api.post("/v1/webhooks", &json!({"url": "https://panel.example/"})).await.expect(201).json;
    let template = recipes::page_template(&api).await;
    let hers = Things {
        user: ana.user.id,
        token: tokens["items"][0]["id"].as_str().unwrap().to_owned(),
        host: agent.host.clone(),
        configuration: recipes::configuration(&api, "blog", &template, json!({"title": "x"})).await,
        template,
        image: image.clone(),
        container: container.clone(),
        job: jobs["items"][0]["id"].as_str().unwrap().to_owned(),
        webhook: webhook["id"].as_str().unwrap().to_owned(),
    };
    let (_, eva) = cluster.user("eva").await;
    for mount in ["", "/v1"] {
        for route in OWNED.iter().chain(&["GET /queue/{id}/log"]) {
            let someone_elses = ask(&eva, mount, &hers, route).await;
            let never_was = ask(&eva, mount, &Things::unknown(), route).await;
            assert_eq!(someone_elses.0, 404, "{mount} {route}");
            assert_eq!(someone_elses, never_was, "{mount} {route}");
        }
    }
    for list in ["hosts", "templates", "configurations", "images", "containers", "queue", "webhooks", "events"] {
        let listed = eva.get(&format!("/v1/{list}")).await.expect(200).json;
        assert_eq!(listed["items"], Value::Array(Vec::new()), "{list}");
    }
    // Named in a body they do not exist either.
    let (own, _) = eva.create_host("own").await;
    for (body, pointer) in [
        (json!({"name": "x", "image": image, "host": hers.host}), "/host"),
        (json!({"name": "x", "image": image, "host": own.id}), "/image"),
    ] {
        let problem = eva.post("/v1/containers", &body).await.problem(422, "invalid");
        assert!(problem.pointers().contains(&pointer), "{problem:?}");
    }
    let body = json!({"name": "x", "host": hers.host, "dockerfile": "FROM scratch"});
    let problem = eva.post("/v1/images", &body).await.problem(422, "invalid");
    assert_eq!(problem.pointers(), ["/host"]);

    assert_eq!(api.container(&container).await.observed.state, "running", "all of hers is as it was");
}
