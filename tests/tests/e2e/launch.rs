//! A container of a configuration is converged when it is made, and when it is made anew: a client that sees its job succeed
//! finds what he configured. What cannot be converged is not made.

use dockerforge_tests::{
    agent::Agent,
    client::Api,
    cluster::Cluster,
    recipes::{configuration, page_template},
    wait,
};
use serde_json::{Value, json};

const PASSWORD: &str = "a-secret-of-the-launch";

/// A configuration of the page, and an image of it.
async fn image(agent: &Agent, api: &Api, parameters: Value) -> (String, String) {
    let id = configuration(api, "blog", &page_template(api).await, parameters).await;
    let job =
        api.post("/v1/images", &json!({"name": "blog", "host": agent.host, "configuration": id})).await.accepted();
    (id, api.succeeded(&job, 120).await)
}

async fn patch(api: &Api, id: &str, body: Value) {
    api.patch(&format!("/v1/configurations/{id}"), &body).await.expect(200);
}

async fn served(api: &Api, container: &str) -> Value {
    wait::until(20, "the page is served", async || {
        let observed = api.container(container).await.observed;
        let port = observed.ports.first().map(|port| port.host).ok_or_else(|| format!("{observed:?}"))?;
        let answer = reqwest::get(format!("http://127.0.0.1:{port}/")).await.map_err(|e| e.to_string())?;
        answer.json::<Value>().await.map_err(|e| e.to_string())
    })
    .await
}

#[tokio::test]
async fn a_container_that_is_made_or_made_anew_is_what_its_configuration_says_once_its_job_has_succeeded() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let (id, image) = image(&agent, &api, json!({"title": "one", "password": PASSWORD})).await;
    patch(&api, &id, json!({"parameters": {"title": "two"}, "run_list": ["blab"]})).await;
    let job = api.run(&agent.host, "blog", &image, json!({"ports": [{"container": 8080}]})).await;
    let container = api.succeeded(&job, 60).await;
    let page = served(&api, &container).await;
    assert_eq!((&page["title"], &page["password"]), (&json!("two"), &json!(PASSWORD)), "the newest version");
    let log = api.log(&job.id).await.text;
    assert!(log.contains("== blab") && log.contains("********") && !log.contains(PASSWORD), "{log}");

    patch(&api, &id, json!({"parameters": {"title": "three"}})).await;
    let path = format!("/v1/containers/{container}");
    let job = api.patch(&path, &json!({"env": {"A": "b"}})).await.accepted();
    api.succeeded(&job, 60).await;
    assert_eq!(served(&api, &container).await["title"], "three", "it was made anew");
    let before = agent.docker.of_container(&container).await.remove(0).id;
    patch(&api, &id, json!({"parameters": {"title": "four"}})).await;
    let job = api.patch(&path, &json!({"resources": {"pids": 100}})).await.accepted();
    api.succeeded(&job, 60).await;
    assert_eq!(agent.docker.of_container(&container).await.remove(0).id, before, "it was changed where it is");
    assert_eq!(served(&api, &container).await["title"], "three", "and not converged");
}

#[tokio::test]
async fn what_cannot_be_converged_is_not_made_and_what_cannot_be_made_anew_stays_as_it_was() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let (id, image) = image(&agent, &api, json!({"title": "one", "password": PASSWORD})).await;
    patch(&api, &id, json!({"run_list": ["broken"]})).await;
    let job = api.run(&agent.host, "blog", &image, json!({"ports": [{"container": 8080}]})).await;
    let ended = api.ended(&job.id, 60).await;
    let error = ended.error.expect("it fails");
    assert_eq!((ended.state.as_str(), error.kind()), ("failed", "converge-failed"));
    assert_eq!(error.detail, "broken failed: exit code 1; its last words: == page\n== broken\nbefore");
    assert!(api.log(&job.id).await.text.contains("before"), "its log says how far it came");
    let made = job.resource.expect("the container that was to be").id;
    api.get(&format!("/v1/containers/{made}")).await.problem(404, "not-found");
    assert!(agent.docker.of_container(&made).await.is_empty(), "nothing of it is left");

    patch(&api, &id, json!({"run_list": []})).await;
    let container = agent.container("blog", &image, json!({"ports": [{"container": 8080}]})).await;
    let before = agent.docker.of_container(&container).await.remove(0).id;
    patch(&api, &id, json!({"run_list": ["broken"]})).await;
    let change = json!({"env": {"A": "b"}});
    let job = api.patch(&format!("/v1/containers/{container}"), &change).await.accepted();
    let ended = api.ended(&job.id, 60).await;
    assert_eq!((ended.state.as_str(), ended.error.expect("it fails").kind()), ("failed", "converge-failed"));
    let real = agent.docker.of_container(&container).await;
    assert_eq!((real.len(), &real[0].id), (1, &before), "the old one is put back");
    assert_eq!(served(&api, &container).await["password"], PASSWORD, "and serves what it served");
}

#[tokio::test]
async fn a_creation_goes_on_after_its_agent_is_killed_while_it_converges() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let mut agent = cluster.host(&api, "vps").await;
    let (id, image) = image(&agent, &api, json!({"title": "one"})).await;
    patch(&api, &id, json!({"run_list": ["once"]})).await;
    let job = api.run(&agent.host, "blog", &image, json!({})).await;
    api.says(&job.id, "begins", 60).await;
    agent.crash_and_restart().await;
    let ended = api.ended(&job.id, 90).await;
    assert_eq!(ended.state, "succeeded", "{ended:?}");
    assert!(!api.log(&job.id).await.text.contains("two at once"));
    let made = ended.resource.expect("the container").id;
    assert_eq!(agent.docker.of_container(&made).await.len(), 1);
}

#[tokio::test]
async fn an_agent_that_would_not_converge_it_is_not_asked() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let mut agent = cluster.host(&api, "vps").await;
    let (_, image) = image(&agent, &api, json!({"title": "one"})).await;
    agent.kill();
    agent.launch(None, &[("FAILPOINTS", "agent.link.features=return")]);
    agent.is_online(30).await;
    let job = api.run(&agent.host, "blog", &image, json!({})).await;
    let ended = api.ended(&job.id, 60).await;
    let error = ended.error.expect("it fails");
    assert_eq!((ended.state.as_str(), error.kind()), ("failed", "unsupported"));
    assert!(error.detail.contains("launch-converge"), "{error:?}");
}
