//! What a template requires: a container of it is linked to one that provides that, or is refused with what to do.

use dockerforge_tests::{
    client::Api,
    cluster::Cluster,
    env,
    recipes::{configuration, page, page_archive, put_archive, template},
};
use reqwest::Method;
use serde_json::{Value, json};

/// A template of the page under another name, with these members besides.
async fn page_like(api: &Api, name: &str, rest: Value) -> String {
    let mut body = page();
    body["name"] = json!(name);
    body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    let id = template(api, &body).await;
    put_archive(api, &id, page_archive()).await;
    id
}

/// An image of a configuration of a template, on a host.
async fn image_of(api: &Api, host: &str, name: &str, template: &str) -> String {
    let id = configuration(api, name, template, json!({"title": name})).await;
    let job = api.post("/v1/images", &json!({"name": name, "host": host, "configuration": id})).await.accepted();
    api.succeeded(&job, 120).await
}

#[tokio::test]
async fn a_container_that_needs_a_service_is_linked_to_one_that_provides_it_or_refused_with_what_to_do() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let store = page_like(&api, "store", json!({"provides": ["mysql", "sql"]})).await;
    let shop = page_like(&api, "shop", json!({"requires": ["mysql"]})).await;
    let (store, shop) =
        (image_of(&api, &agent.host, "store", &store).await, image_of(&api, &agent.host, "shop", &shop).await);
    let asked = |links: Value| json!({"name": "shop", "host": agent.host, "image": shop, "links": links});

    let problem = api.post("/v1/containers", &asked(json!([]))).await.problem(422, "invalid");
    assert_eq!(problem.pointers(), ["/links"]);
    assert!(problem.detail.contains("requires mysql: none of your containers provides it"), "{problem:?}");
    // Another user's, and one that provides something else, are none.
    let plain = agent.image("plain", env::SLEEPER).await;
    let plain = agent.container("plain", &plain, json!({})).await;
    api.post("/v1/containers", &asked(json!([{"container": plain, "alias": "mysql"}]))).await.problem(422, "invalid");

    let databases = agent.container("databases", &store, json!({})).await;
    let problem = api.post("/v1/containers", &asked(json!([]))).await.problem(422, "invalid");
    let would_do = format!("{databases} (databases) on {}", agent.host);
    assert!(problem.detail.contains(&would_do), "{problem:?}");
    let (_, bert) = cluster.user("bert").await;
    let host = cluster.host(&bert, "vps").await;
    let foreign = page_like(&bert, "shop", json!({"requires": ["mysql"]})).await;
    let foreign = image_of(&bert, &host.host, "shop", &foreign).await;
    let body = json!({"name": "shop", "host": host.host, "image": foreign});
    let problem = bert.post("/v1/containers", &body).await.problem(422, "invalid");
    assert!(!problem.detail.contains(&databases), "what is another's does not exist: {problem:?}");

    let shop_container = {
        let job = api.post("/v1/containers", &asked(json!([{"container": databases, "alias": "db"}]))).await.accepted();
        api.succeeded(&job, 60).await
    };
    let path = format!("/v1/containers/{shop_container}");
    let problem = api.patch(&path, &json!({"links": null})).await.problem(422, "invalid");
    assert!(problem.pointers() == ["/links"] && problem.detail.contains(&would_do), "{problem:?}");
    // What does not touch the links is not judged by them.
    let job = api.patch(&path, &json!({"resources": {"pids": 100}})).await.accepted();
    api.succeeded(&job, 60).await;
    // Another image brings other needs.
    let other = agent.container("other", &store, json!({})).await;
    let path = format!("/v1/containers/{other}");
    api.patch(&path, &json!({"image": shop})).await.problem(422, "invalid");
    let job =
        api.patch(&path, &json!({"image": shop, "links": [{"container": databases, "alias": "db"}]})).await.accepted();
    api.succeeded(&job, 60).await;
}

#[tokio::test]
async fn what_a_container_needs_is_what_the_version_says_that_it_is_converged_to() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let shop = page_like(&api, "shop", json!({})).await;
    let id = configuration(&api, "shop", &shop, json!({"title": "x"})).await;
    let job =
        api.post("/v1/images", &json!({"name": "shop", "host": agent.host, "configuration": id})).await.accepted();
    let image = api.succeeded(&job, 120).await;
    let mut body = page();
    body["name"] = json!("shop");
    body["requires"] = json!(["mysql"]);
    api.call(Method::PUT, &format!("/v1/templates/{shop}")).json(&body).send().await.expect(200);
    let asked = json!({"name": "shop", "host": agent.host, "image": image});
    let before = api.post("/v1/containers", &asked).await.accepted();
    let before = api.succeeded(&before, 60).await;
    let job = api.delete(&format!("/v1/containers/{before}")).await.accepted();
    api.succeeded(&job, 60).await;

    let newest = json!({"template_version": "newest"});
    api.patch(&format!("/v1/configurations/{id}"), &newest).await.expect(200);
    let problem = api.post("/v1/containers", &asked).await.problem(422, "invalid");
    assert!(problem.pointers() == ["/links"] && problem.detail.contains("requires mysql"), "{problem:?}");
}
