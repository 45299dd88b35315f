//! What nobody asks for: a container of a configuration that was made anew without running is converged once it runs, wherever
//! that is, by one job; what fails or is cancelled is left alone then, and says so.

use dockerforge_tests::{
    agent::Agent,
    client::{Api, Job},
    cluster::Cluster,
    env,
    hosts::FarHost,
    recipes::{configuration, page_template},
    wait,
};
use serde_json::{Value, json};

const PASSWORD: &str = "a-secret-of-the-owed";

/// A configuration of the page, an image of it, and a container of that, which has what its converge added.
async fn launched(agent: &Agent, api: &Api, run_list: &[&str]) -> (String, String) {
    let parameters = json!({"title": "one", "password": PASSWORD});
    let id = configuration(api, "blog", &page_template(api).await, parameters).await;
    let job =
        api.post("/v1/images", &json!({"name": "blog", "host": agent.host, "configuration": id})).await.accepted();
    let image = api.succeeded(&job, 120).await;
    patch(api, &id, json!({"run_list": run_list})).await;
    let body = json!({"volumes": [{"volume": "data", "target": "/data"}]});
    let container = agent.container("blog", &image, body).await;
    assert_eq!(
        convergence(api, &container).await,
        // What changes nothing makes no version.
        json!({"state": "converged", "configuration_version": if run_list.is_empty() { 1 } else { 2 }, "job": null})
    );
    (id, container)
}

async fn patch(api: &Api, id: &str, body: Value) {
    api.patch(&format!("/v1/configurations/{id}"), &body).await.expect(200);
}

async fn convergence(api: &Api, container: &str) -> Value {
    api.container(container).await.rest["convergence"].clone()
}

/// Waits until a container stands so to its configuration; what is shown of that.
async fn stands(api: &Api, container: &str, state: &str) -> Value {
    wait::until(60, &format!("it is {state}"), async || {
        let shown = convergence(api, container).await;
        wait::check(shown["state"] == state, shown.clone()).map(|()| shown)
    })
    .await
}

async fn does(api: &Api, container: &str, verb: &str) {
    let body = if verb == "stop" { json!({"grace": 1}) } else { json!({}) };
    let job = api.post(&format!("/v1/containers/{container}/{verb}"), &body).await.accepted();
    api.succeeded(&job, 60).await;
}

/// Makes a stopped container anew.
async fn changed(api: &Api, container: &str, value: &str) {
    let change = json!({"env": {"A": value}});
    let job = api.patch(&format!("/v1/containers/{container}"), &change).await.accepted();
    api.succeeded(&job, 60).await;
}

/// What a shell says in a container.
async fn sh(api: &Api, container: &str, script: &str) -> String {
    let body = json!({"command": ["sh", "-c", script]});
    let job = api.post(&format!("/v1/containers/{container}/exec"), &body).await.accepted();
    api.succeeded(&job, 30).await;
    api.log(&job.id).await.text.trim().to_owned()
}

async fn converges(api: &Api) -> Vec<Job> {
    api.all("/v1/queue?kind=container.converge").await
}

#[tokio::test]
async fn what_was_changed_while_it_was_stopped_is_converged_once_it_is_started_and_not_again() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let (id, container) = launched(&agent, &api, &["extra"]).await;
    // What was not made anew has what a converge wrote: nothing is due.
    does(&api, &container, "stop").await;
    does(&api, &container, "start").await;
    assert_eq!(sh(&api, &container, "cat /www/extra.html").await, "extra");
    does(&api, &container, "stop").await;
    changed(&api, &container, "b").await;
    assert_eq!(
        convergence(&api, &container).await,
        json!({"state": "due", "configuration_version": null, "job": null})
    );
    patch(&api, &id, json!({"parameters": {"title": "two"}})).await;
    does(&api, &container, "start").await;
    let shown = stands(&api, &container, "converged").await;
    assert_eq!(shown["configuration_version"], 3, "the newest then");
    assert_eq!(
        sh(&api, &container, "cat /www/extra.html; grep -c 'a-secret.*\"two\"' /www/index.html").await,
        "extra\n1"
    );
    let [job] = converges(&api).await.try_into().expect("one converge, and none for what was there");
    assert_eq!((job.state.as_str(), job.parent.clone()), ("succeeded", None));
    let resources = job.result.as_ref().unwrap()["resources"].as_array().unwrap().clone();
    assert_eq!(resources.iter().map(|r| r["resource"].as_str().unwrap()).collect::<Vec<_>>(), ["page", "extra"]);

    // Nothing is owed by a container that runs, and by one of no configuration.
    does(&api, &container, "restart").await;
    changed(&api, &container, "c").await;
    let plain = agent.image("plain", env::SLEEPER).await;
    let plain = agent.container("plain", &plain, json!({})).await;
    does(&api, &plain, "stop").await;
    changed(&api, &plain, "b").await;
    does(&api, &plain, "start").await;
    assert_eq!(convergence(&api, &plain).await, Value::Null);

    // Who asks for it himself is not followed by another one; what is stopped, or gone, before it is converged, waits.
    does(&api, &container, "stop").await;
    changed(&api, &container, "d").await;
    let start = api.post(&format!("/v1/containers/{container}/start"), &json!({})).await.accepted();
    let own = api.post(&format!("/v1/containers/{container}/converge"), &json!({})).await.accepted();
    api.succeeded(&start, 30).await;
    api.succeeded(&own, 60).await;
    assert_eq!(convergence(&api, &container).await["state"], "converged");
    let all = converges(&api).await;
    assert!(all.len() == 2 && all.iter().any(|job| job.id == own.id), "{all:?}");
}

#[tokio::test]
async fn what_moved_is_converged_where_it_is_then() {
    let [near_net, _] = FarHost::all().try_into().expect("two further hosts");
    let cluster = Cluster::start_at(near_net.gateway).await;
    let (_, api) = cluster.user("ana").await;
    let one = cluster.host(&api, "one").await;
    let two = near_net.online(&cluster, &api, "two").await;
    let (_, container) = launched(&one, &api, &["extra"]).await;
    assert_eq!(sh(&api, &container, "echo kept >/data/kept; cat /www/extra.html").await, "extra");
    let path = format!("/v1/containers/{container}/move");
    let job = api.post(&path, &json!({"host": two.host, "grace": 1})).await.accepted();
    api.succeeded(&job, 120).await;
    let told = api.job(&job.id).await.progress.expect("what it came to");
    assert_eq!(told["step"], "it is there; its converge follows");
    stands(&api, &container, "converged").await;
    assert_eq!(api.container(&container).await.host.as_deref(), Some(two.host.as_str()));
    assert_eq!(sh(&api, &container, "cat /data/kept /www/extra.html").await, "kept\nextra");
    let [job] = converges(&api).await.try_into().expect("one converge");
    assert_eq!(job.host.as_deref(), Some(two.host.as_str()));

    // One that was stopped there is converged where it is started; until then, and while its host is away, it waits.
    does(&api, &container, "stop").await;
    let job = api.post(&path, &json!({"host": one.host})).await.accepted();
    api.succeeded(&job, 120).await;
    let told = api.job(&job.id).await.progress.expect("what it came to");
    assert_eq!(told["step"], "it is there; it is converged once it is started");
    assert_eq!(convergence(&api, &container).await["state"], "due");
    does(&api, &container, "start").await;
    stands(&api, &container, "converged").await;
    assert_eq!(sh(&api, &container, "cat /data/kept /www/extra.html").await, "kept\nextra");
    assert_eq!(converges(&api).await.len(), 2);
}

#[tokio::test]
async fn what_its_user_cancels_or_deletes_or_what_fails_is_not_converged_again_by_itself() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let (id, container) = launched(&agent, &api, &[]).await;
    patch(&api, &id, json!({"run_list": ["slow"]})).await;
    does(&api, &container, "stop").await;
    changed(&api, &container, "b").await;
    does(&api, &container, "start").await;
    let job = asked(&api, &container).await;
    api.says(&job, "begins", 30).await;
    assert_eq!(converges(&api).await.len(), 1, "one at a time");
    api.delete(&format!("/v1/queue/{job}")).await.accepted();
    assert_eq!(api.ended(&job, 30).await.state, "cancelled");
    assert_eq!(stands(&api, &container, "cancelled").await["job"], job.as_str());
    // Nothing else makes it due, and starting it again is not making it anew.
    patch(&api, &id, json!({"run_list": []})).await;
    does(&api, &container, "restart").await;
    does(&api, &container, "stop").await;
    does(&api, &container, "start").await;
    // The look for what is due has gone round since: another container's is done.
    let image = api.container(&container).await.image;
    let other = agent.container("other", &image, json!({})).await;
    does(&api, &other, "stop").await;
    changed(&api, &other, "b").await;
    does(&api, &other, "start").await;
    stands(&api, &other, "converged").await;
    assert_eq!(stands(&api, &container, "cancelled").await["job"], job.as_str());
    assert_eq!(converges(&api).await.len(), 2);

    // Made anew, it is due again; what fails is tried again later, and says why.
    patch(&api, &id, json!({"run_list": ["broken"]})).await;
    does(&api, &container, "stop").await;
    changed(&api, &container, "c").await;
    does(&api, &container, "start").await;
    let failed = asked(&api, &container).await;
    let ended = api.ended(&failed, 60).await;
    assert_eq!(ended.error_kind(), Some("converge-failed"), "{ended:?}");
    let shown = convergence(&api, &container).await;
    assert_eq!((&shown["state"], &shown["job"]), (&json!("due"), &json!(failed)), "until it was tried often enough");
    // Its user can do better.
    patch(&api, &id, json!({"run_list": ["extra"]})).await;
    let own = api.post(&format!("/v1/containers/{container}/converge"), &json!({})).await.accepted();
    api.succeeded(&own, 60).await;
    assert_eq!(
        convergence(&api, &container).await,
        json!({"state": "converged", "configuration_version": 5, "job": null})
    );

    // Stopped and deleted in the middle of it.
    patch(&api, &id, json!({"run_list": ["slow"]})).await;
    does(&api, &container, "stop").await;
    changed(&api, &container, "d").await;
    does(&api, &container, "start").await;
    let job = asked(&api, &container).await;
    api.says(&job, "begins", 30).await;
    let gone = api.delete(&format!("/v1/containers/{container}")).await.accepted();
    api.succeeded(&gone, 60).await;
    assert_eq!(api.ended(&job, 30).await.state, "cancelled");
    api.get(&format!("/v1/containers/{container}")).await.problem(404, "not-found");
}

/// The converge that a container is due, once it is asked for.
async fn asked(api: &Api, container: &str) -> String {
    wait::until(30, "its converge is asked for", async || {
        let shown = convergence(api, container).await;
        shown["job"].as_str().map(str::to_owned).ok_or_else(|| shown.to_string())
    })
    .await
}

#[tokio::test]
async fn a_host_that_was_away_converges_what_is_due_when_it_is_back() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let mut agent = cluster.host(&api, "vps").await;
    let (_, container) = launched(&agent, &api, &["extra"]).await;
    does(&api, &container, "stop").await;
    changed(&api, &container, "b").await;
    agent.kill();
    let start = api.post(&format!("/v1/containers/{container}/start"), &json!({})).await.accepted();
    agent.launch(None, &[("FAILPOINTS", "agent.container.start.started=panic")]);
    agent.process().wait_ended(60).await;
    agent.launch(None, &[]);
    agent.is_online(60).await;
    api.succeeded(&start, 60).await;
    stands(&api, &container, "converged").await;
    assert_eq!(sh(&api, &container, "cat /www/extra.html").await, "extra");
    assert_eq!(converges(&api).await.len(), 1);
}

#[tokio::test]
async fn what_reaches_into_its_host_is_converged_by_those_alone_who_may() {
    let cluster = Cluster::start().await;
    let (user, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let (_, container) = launched(&agent, &api, &["extra"]).await;
    let body = json!({"scopes": ["read", "write", "host:root"], "name": "root"});
    let tokens = format!("/v1/users/{}/tokens", user.user.id);
    let token = cluster.admin().post(&tokens, &body).await.expect(201).json;
    cluster.is_secret(token["key"].as_str().unwrap());
    let root = cluster.anonymous().bearer(token["key"].as_str().unwrap());
    let change = json!({"host_access": {"namespaces": ["ipc"]}});
    does(&api, &container, "stop").await;
    let job = root.patch(&format!("/v1/containers/{container}"), &change).await.accepted();
    api.succeeded(&job, 60).await;
    // Whoever starts it, or changed its configuration meanwhile, may not have what that says done as root there.
    does(&api, &container, "start").await;
    wait::until(30, "it is left to its user", async || {
        let shown = convergence(&api, &container).await;
        wait::check(shown.is_null(), shown)
    })
    .await;
    assert!(converges(&api).await.is_empty());
    api.post(&format!("/v1/containers/{container}/converge"), &json!({})).await.problem(403, "scope-missing");
    does(&root, &container, "converge").await;
    assert_eq!(convergence(&api, &container).await["state"], "converged");
}
