//! Bad requests: each gets its precise problem, none gets a 5xx, and none leaves anything behind.

use dockerforge_tests::{
    backend::Backend,
    client::{Answer, Api, Host},
    cluster::Cluster,
    wait,
};
use reqwest::Method;
use serde_json::json;

async fn raw(api: &Api, path: &str, body: &str) -> Answer {
    api.call(Method::POST, path).body("application/json", body.to_owned()).send().await
}

#[tokio::test]
async fn json_that_cannot_be_read_is_refused_with_its_position() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    for body in
        ["", "{", "{\"name\": \"a\",}", "{\"name\" \"a\"}", "{\"name\": \"a\"} {}", "\u{0}", "{\"name\": \"\\ud800\"}"]
    {
        let problem = raw(&api, "/v1/hosts", body).await.problem(400, "bad-request");
        assert!(problem.detail.contains("line") && problem.detail.contains("column"), "{body:?}: {}", problem.detail);
    }
    let nested = format!("{{\"name\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let status = raw(&api, "/v1/hosts", &nested).await.status;
    assert!(status == 400 || status == 422, "{status}");
    api.call(Method::POST, "/v1/hosts")
        .body("application/json", vec![0xff, 0xfe, b'{'])
        .send()
        .await
        .problem(400, "bad-request");
    assert_eq!(api.all::<Host>("/v1/hosts").await.len(), 0);
}

#[tokio::test]
async fn json_of_another_shape_is_refused_with_the_pointer() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    for (path, body, pointer) in [
        ("/v1/hosts", "[]", ""),
        // By position, as some readers would take it.
        ("/v1/hosts", "[\"a\", {}, false]", ""),
        ("/v1/containers", "{\"name\": \"a\", \"image\": \"i\", \"placement\": [\"spread\"]}", "/placement"),
        (
            "/v1/containers",
            "{\"name\": \"a\", \"image\": \"i\", \"host\": \"h\", \"secrets\": {\"A\": [\"x\", \"file\"]}}",
            "/secrets/A",
        ),
        ("/v1/hosts", "null", ""),
        ("/v1/hosts", "{\"name\": 1}", "/name"),
        ("/v1/hosts", "{\"name\": null}", "/name"),
        ("/v1/hosts", "{\"name\": \"a\", \"labels\": {\"x\": 1}}", "/labels/x"),
        ("/v1/hosts", "{\"name\": \"a\", \"labels\": []}", "/labels"),
        (
            "/v1/containers",
            "{\"name\": \"a\", \"image\": \"i\", \"host\": \"h\", \"ports\": [{\"container\": \"80\"}]}",
            "/ports/0/container",
        ),
        (
            "/v1/containers",
            "{\"name\": \"a\", \"image\": \"i\", \"host\": \"h\", \"ports\": [{\"container\": 80.5}]}",
            "/ports/0/container",
        ),
        ("/v1/containers", "{\"name\": \"a\", \"image\": \"i\", \"host\": \"h\", \"command\": \"ls\"}", "/command"),
        (
            "/v1/containers",
            "{\"name\": \"a\", \"image\": \"i\", \"host\": \"h\", \"resources\": {\"memory\": -1}}",
            "/resources/memory",
        ),
        (
            "/v1/containers",
            "{\"name\": \"a\", \"image\": \"i\", \"host\": \"h\", \"resources\": {\"cpus\": \"2\"}}",
            "/resources/cpus",
        ),
        (
            "/v1/containers",
            "{\"name\": \"a\", \"image\": \"i\", \"host\": \"h\", \"volumes\": [{\"volume\": \"a\"}]}",
            "/volumes/0",
        ),
        ("/v1/images", "{\"name\": \"a\", \"host\": \"h\", \"dockerfile\": [\"FROM x\"]}", "/dockerfile"),
    ] {
        let problem = raw(&api, path, body).await.problem(422, "invalid");
        assert_eq!(problem.pointers(), [pointer], "{body}: {problem:?}");
    }
}

#[tokio::test]
async fn keys_that_are_unknown_missing_or_doubled_are_refused_by_name() {
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let tokens = format!("/v1/users/{}/tokens", ana.user.id);
    for (path, body, key) in [
        ("/v1/hosts", "{}", "name"),
        ("/v1/hosts", "{\"name\": \"a\", \"colour\": 1}", "colour"),
        ("/v1/hosts", "{\"name\": \"a\", \"name\": \"b\"}", "name"),
        ("/v1/hosts", "{\"Name\": \"a\"}", "Name"),
        ("/v1/hosts", "{\"name\": \"a\", \"labels\": {\"x\": \"1\", \"x\": \"2\"}}", "x"),
        (
            "/v1/images",
            "{\"name\": \"a\", \"host\": \"h\", \"dockerfile\": \"x\", \"remote\": \"http://127.0.0.1/\"}",
            "remote",
        ),
        (
            "/v1/containers",
            "{\"name\": \"a\", \"image\": \"i\", \"host\": \"h\", \"env\": {\"A\": \"1\", \"A\": \"2\"}}",
            "A",
        ),
        ("/v1/containers", "{\"name\": \"a\", \"image\": \"i\", \"host\": \"h\", \"resources\": {\"cpu\": 1}}", "cpu"),
        (tokens.as_str(), "{\"name\": \"a\", \"scope\": \"admin\"}", "scope"),
    ] {
        let problem = raw(&api, path, body).await.problem(422, "invalid");
        assert!(problem.detail.contains(&format!("`{key}`")), "{body}: {}", problem.detail);
    }
    let problem =
        raw(&cluster.admin(), "/v1/users", "{\"name\": \"a\", \"Admin\": true}").await.problem(422, "invalid");
    assert!(problem.detail.contains("`Admin`"));
    assert_eq!(api.all::<Host>("/v1/hosts").await.len(), 0);
}

#[tokio::test]
async fn what_is_too_large_of_another_type_or_nowhere_is_refused() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let huge = format!("{{\"name\": \"{}\"}}", "a".repeat(2 << 20));
    raw(&api, "/v1/hosts", &huge).await.problem(413, "too-large");
    api.call(Method::POST, "/v1/hosts")
        .body("text/plain", "{\"name\": \"a\"}")
        .send()
        .await
        .problem(415, "unsupported-media-type");
    api.call(Method::POST, "/v1/hosts").send().await.problem(415, "unsupported-media-type");
    for path in ["/v1/nothing", "/nothing", "/v1", "/", "/v1/hosts/", "/v2/hosts", "/v1/hosts/a/b/c", "/v1//hosts"] {
        api.get(path).await.problem(404, "no-such-route");
    }
    for (method, path, allowed) in [
        (Method::PUT, "/v1/hosts", "POST"),
        (Method::PUT, "/v1/hosts/hst_0192f0c1a2b37c4d8e5f60718293a4b5", "DELETE"),
        (Method::POST, "/v1/queue", "GET"),
        (Method::DELETE, "/healthz", "GET"),
    ] {
        let answer = api.call(method, path).send().await;
        let allow = answer.header("allow").unwrap_or_default().to_owned();
        answer.problem(405, "method-not-allowed");
        assert!(allow.contains(allowed), "{path}: {allow}");
    }
    for path in [
        "/v1/hosts/vps",
        "/v1/hosts/ctr_0192f0c1a2b37c4d8e5f60718293a4b5",
        "/v1/queue/1",
        "/v1/hosts/..%2f..%2fetc",
        "/v1/images/%00",
    ] {
        api.get(path).await.problem(404, "not-found");
    }
    let long = format!("/v1/hosts/{}", "a".repeat(60_000));
    let status = api.get(&long).await.status;
    assert!((400..500).contains(&status), "{status}");
    assert_eq!(api.all::<Host>("/v1/hosts").await.len(), 0);
}

#[tokio::test]
async fn a_database_that_is_gone_is_a_503_and_nothing_is_lost_when_it_returns() {
    let cluster = Cluster::start_on(Backend::Postgres).await;
    let (_, api) = cluster.user("ana").await;
    let (host, _) = api.create_host("vps").await;
    cluster.database().available(false).await;
    let problem = api.get(&format!("/v1/hosts/{}", host.id)).await;
    assert!(problem.header("retry-after").is_some(), "{problem}");
    problem.problem(503, "unavailable");
    api.post("/v1/hosts", &json!({"name": "other"})).await.problem(503, "unavailable");
    cluster.anonymous().get("/healthz").await.expect(200);
    cluster.anonymous().get("/readyz").await.expect(503);
    cluster.database().available(true).await;
    wait::until(20, "the coordinator serves again without a restart", async || {
        let answer = cluster.anonymous().get("/readyz").await;
        wait::check(answer.status == 200, answer.to_string())
    })
    .await;
    assert_eq!(api.all::<Host>("/v1/hosts").await.len(), 1);
}

#[tokio::test]
async fn the_document_of_the_api_is_served_without_a_key_and_is_whole() {
    let cluster = Cluster::start().await;
    let document = cluster.anonymous().get("/openapi.json").await.expect(200).json;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    assert_eq!(document, cluster.anonymous().get("/v1/openapi.json").await.expect(200).json);
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        let pointer = format!("/{reference}");
        assert!(document.pointer(&pointer).is_some(), "{pointer} is referred to and not there");
    }
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                assert!(response["description"].as_str().is_some_and(|d| !d.is_empty()), "{method} {path} {status}");
            }
        }
    }
}

#[tokio::test]
async fn odd_queries_and_paths_are_problems_on_both_databases() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let cluster = Cluster::start_on(backend).await;
        let (_, api) = cluster.user("ana").await;
        for list in ["/v1/hosts", "/v1/images", "/v1/containers"] {
            let problem = api.get(&format!("{list}?name=%00")).await.problem(422, "invalid");
            assert_eq!(problem.pointers(), ["name"], "{list}");
        }
        api.delete("/v1/users/%ff/tokens/x").await.problem(404, "not-found");
        api.get("/v1/containers/%00").await.problem(404, "not-found");
        let archive = api.call(Method::POST, "/v1/images?host=hst_0&build_arg=name=1").body("application/x-tar", "x");
        let problem = archive.send().await.problem(422, "invalid");
        assert!(problem.pointers().contains(&"name") && problem.pointers().contains(&"host"), "{problem:?}");
    }
}
