//! Configurations that are fetched from the operator's configuration service: a node becomes a choice, judged like one that a
//! client makes himself; and whatever that service does, nothing is half done and nobody else is asked.

use dockerforge_tests::{
    client::{Answer, Api},
    cluster::Cluster,
    recipes::page_template,
    riyic::Service,
};
use reqwest::Method;
use serde_json::{Value, json};
use std::fs;

const SERVER: &str = "6f2f9a3e-8d0c-4a53-9a52-5a3c1f1f7f10";
const TOKEN: &str = "a-token-of-the-service";
const PASSWORD: &str = "$a 'b\\ c-secret-of-the-node";

async fn cluster(service: &Service) -> Cluster {
    let mut cluster = Cluster::start().await;
    cluster.stop().await;
    let (settings, token) = (cluster.folder().join("coordinator.toml"), cluster.folder().join("riyic.token"));
    fs::write(&token, format!("{TOKEN}\n")).unwrap();
    let text = format!("[riyic]\napi = \"{}\"\ntoken-file = \"{}\"\n", service.api(), token.display());
    fs::write(&settings, text).unwrap();
    cluster.launch(&[("DOCKERFORGE_CONFIG", settings.to_str().unwrap())]).await;
    cluster
}

async fn create(api: &Api, name: &str, template: &str, more: Value) -> Answer {
    let mut body = json!({"name": name, "template": template, "riyic": {"server": SERVER}});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    api.post("/v1/configurations", &body).await
}

fn node(title: &str) -> Value {
    json!({"run_list": ["recipe[page]", "extra::more"], "title": title, "password": PASSWORD, "page": {"footer": "theirs", "width": 80}})
}

#[tokio::test]
async fn a_configuration_is_made_of_a_servers_node_and_its_secrets_are_sealed() {
    let service = Service::start().await;
    let cluster = cluster(&service).await;
    let (_, api) = cluster.user("ana").await;
    let template = page_template(&api).await;
    service.answers(SERVER, 200, &node("A blog").to_string());
    let own =
        json!({"parameters": {"theme": "dark"}, "attributes": {"page": {"footer": "mine"}}, "run_list": ["extra"]});
    let made = create(&api, "blog", &template, own).await.expect(201).json;
    assert_eq!(made["parameters"], json!({"title": "A blog", "theme": "dark"}));
    assert_eq!(made["secrets"], json!(["/password"]));
    assert_eq!(made["attributes"], json!({"page": {"footer": "mine", "width": 80}}));
    assert_eq!(made["run_list"], json!(["recipe[extra::more]", "recipe[extra]"]), "without what the template has");
    assert_eq!(service.asked(), [(format!("/api/v1/servers/{SERVER}/generate_config"), format!("Bearer {TOKEN}"))]);
    let id = made["id"].as_str().unwrap();
    let shown = api.get(&format!("/v1/configurations/{id}/node")).await.expect(200);
    assert_eq!(shown.json["run_list"], json!(["recipe[page]", "recipe[extra::more]", "recipe[extra]"]));
    assert!(!shown.text.contains("secret-of-the-node"), "{}", shown.text);

    // Fetched anew, it takes the place of all that was; what the same request says is laid over it.
    let next = json!({"run_list": [], "title": "Another", "password": PASSWORD, "page": {"width": 70}});
    service.answers(SERVER, 200, &next.to_string());
    let path = format!("/v1/configurations/{id}");
    let body = json!({"riyic": {"server": SERVER}, "parameters": {"theme": "light", "password": null}});
    let second = api.call(Method::PATCH, &path).json(&body).send().await.expect(200).json;
    assert_eq!(second["version"], 2);
    assert_eq!(second["parameters"], json!({"title": "Another", "theme": "light"}));
    assert_eq!((&second["secrets"], &second["run_list"]), (&json!([]), &json!([])));
    assert_eq!(second["attributes"], json!({"page": {"width": 70}}));
    // A change that does not name the service does not ask it.
    api.call(Method::PATCH, &path).json(&json!({"parameters": {"title": "Mine"}})).send().await.expect(200);
    assert_eq!(service.asked().len(), 2);
}

#[tokio::test]
async fn what_cannot_be_chosen_is_refused_and_points_at_the_server() {
    let service = Service::start().await;
    let cluster = cluster(&service).await;
    let (_, api) = cluster.user("ana").await;
    let template = page_template(&api).await;
    let large = json!({"title": "x".repeat(1100 * 1024)}).to_string();
    let deep = format!("{{\"x\": {}1{}}}", "[".repeat(60), "]".repeat(60));
    for (answer, said) in [
        ("[]", "expected a JSON object"),
        (r#"{"title": "x", "run_list": "page"}"#, "run_list"),
        (r#"{"title": "x", "run_list": ["../../etc"]}"#, "run list"),
        (r#"{"title": "x", "dockerforge": {}}"#, "/attributes/dockerforge"),
        (r#"{"title": "x", "theme": "purple"}"#, "/parameters/theme"),
        (r#"{"page": {}}"#, "title"),
        (&large, "larger"),
        (&deep, "levels"),
    ] {
        service.answers(SERVER, 200, answer);
        let problem = create(&api, "blog", &template, json!({})).await.problem(422, "invalid");
        assert_eq!(problem.pointers(), ["/riyic/server"], "{said}: {problem:?}");
        assert!(format!("{problem:?}").contains(said), "{said}: {problem:?}");
    }
    // What the body says itself is its own fault.
    service.answers(SERVER, 200, r#"{"title": "x"}"#);
    let own = create(&api, "blog", &template, json!({"parameters": {"theme": "purple"}})).await.problem(422, "invalid");
    assert_eq!(own.pointers(), ["/parameters/theme"]);
    let unknown = SERVER.replace('6', "7");
    let asked = service.asked().len();
    for (server, pointer) in [
        (unknown.as_str(), "/riyic/server"),
        ("../../admin", "/riyic/server"),
        ("", "/riyic/server"),
        (&SERVER.replace('-', ""), "/riyic/server"),
    ] {
        let problem =
            create(&api, "blog", &template, json!({"riyic": {"server": server}})).await.problem(422, "invalid");
        assert_eq!(problem.pointers(), [pointer], "{server}");
    }
    assert_eq!(service.asked().len(), asked + 1, "what is no UUID goes nowhere");
    assert_eq!(api.get("/v1/configurations").await.expect(200).json["items"], json!([]), "nothing is half done");
}

#[tokio::test]
async fn a_service_that_is_down_or_leads_elsewhere_changes_nothing_and_may_be_asked_again() {
    let service = Service::start().await;
    let elsewhere = Service::start().await;
    let cluster = cluster(&service).await;
    let (_, api) = cluster.user("ana").await;
    let template = page_template(&api).await;
    let other = format!("{}servers/{SERVER}/generate_config", elsewhere.api());
    for (status, text) in [(500, ""), (401, ""), (302, other.as_str()), (200, "<html>")] {
        service.answers(SERVER, status, text);
        let answer = create(&api, "blog", &template, json!({})).await;
        assert!(answer.header("retry-after").is_some(), "{answer}");
        answer.problem(503, "riyic-unavailable");
    }
    assert!(elsewhere.asked().is_empty(), "a redirect was followed");
    service.answers(SERVER, 200, r#"{"title": "x"}"#);
    let body = json!({"name": "blog", "template": template, "riyic": {"server": SERVER}});
    let repeat =
        async || api.call(Method::POST, "/v1/configurations").header("Idempotency-Key", "k").json(&body).send().await;
    let first = repeat().await.expect(201).json["id"].clone();
    // What was answered once is answered again, whatever became of the service.
    drop(service);
    assert_eq!(repeat().await.expect(201).json["id"], first);
    let path = format!("/v1/configurations/{}", first.as_str().unwrap());
    let change = json!({"riyic": {"server": SERVER}});
    api.call(Method::PATCH, &path).json(&change).send().await.problem(503, "riyic-unavailable");
    assert_eq!(api.get(&path).await.expect(200).json["version"], 1);
}

#[tokio::test]
async fn without_a_configuration_service_nothing_is_fetched() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let template = page_template(&api).await;
    let problem = create(&api, "blog", &template, json!({})).await.problem(422, "invalid");
    assert_eq!(problem.pointers(), ["/riyic"]);
}
