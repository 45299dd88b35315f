//! Conditional requests: who has a thing is told that it did not change, and of those who change what they all saw one
//! does. On both databases.

use dockerforge_tests::{
    backend::Backend,
    client::{Answer, Api},
    cluster::Cluster,
    env, wait,
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

fn tag(answer: &Answer) -> String {
    answer.header("etag").unwrap_or_else(|| panic!("no ETag: {answer}")).to_owned()
}

async fn seen(api: &Api, path: &str) -> String {
    tag(&api.get(path).await.expect(200))
}

async fn change(api: &Api, path: &str, seen: &str, body: &Value) -> Answer {
    api.call(Method::PATCH, path).header("if-match", seen).json(body).send().await
}

async fn delete(api: &Api, path: &str, seen: &str) -> Answer {
    api.call(Method::DELETE, path).header("if-match", seen).send().await
}

async fn held(api: &Api, path: &str, tag: &str) -> Answer {
    api.call(Method::GET, path).header("if-none-match", tag).send().await
}

/// Sends fifty equal changes at once; how many were made, and every other must say that it came too late.
async fn made(api: &Api, path: &str, body: &Value) -> usize {
    let seen = seen(api, path).await;
    let mut changes = JoinSet::new();
    for _ in 0..50 {
        let (api, path, seen, body) = (api.clone(), path.to_owned(), seen.clone(), body.clone());
        changes.spawn(async move { change(&api, &path, &seen, &body).await });
    }
    let (made, late): (Vec<_>, Vec<_>) = changes.join_all().await.into_iter().partition(|answer| answer.status < 300);
    for answer in late {
        answer.problem(412, "precondition-failed");
    }
    made.len()
}

#[tokio::test]
async fn of_fifty_changes_of_what_all_saw_exactly_one_is_made() {
    for backend in Backend::ALL {
        let cluster = Cluster::start_on(backend).await;
        let (ana, api) = cluster.user("ana").await;
        let (host, _) = api.create_host("vps").await;
        let hook = api.post("/v1/webhooks", &json!({"url": "https://panel.example/x"})).await.expect(201).json;
        let hook = format!("/v1/webhooks/{}", hook["id"].as_str().unwrap());
        let host = format!("/v1/hosts/{}", host.id);
        let user = format!("/v1/users/{}", ana.user.id);
        assert_eq!(made(&api, &host, &json!({"labels": {"a": "b"}})).await, 1);
        assert_eq!(made(&api, &hook, &json!({"kinds": ["job.*"]})).await, 1);
        assert_eq!(made(&cluster.admin(), &user, &json!({"quota": {"hosts": 7}})).await, 1);
    }
}

#[tokio::test]
async fn of_fifty_changes_of_a_container_one_becomes_a_job_and_a_start_counts_as_a_change() {
    for backend in Backend::ALL {
        let cluster = Cluster::start_on(backend).await;
        let (_, api) = cluster.user("ana").await;
        let agent = cluster.host(&api, "vps").await;
        let image = agent.image("base", env::SLEEPER).await;
        let id = agent.container("web", &image, json!({"labels": {"tier": "web"}})).await;
        let path = format!("/v1/containers/{id}");
        let before = seen(&api, &path).await;
        assert_eq!(made(&api, &path, &json!({"resources": {"memory": 67_108_864}})).await, 1);
        wait::until(60, "the change is made", async || {
            let now = api.get(&path).await.json["resources"]["memory"].clone();
            wait::check(now == json!(67_108_864), now)
        })
        .await;
        let changed = seen(&api, &path).await;
        let job = api.post(&format!("{path}/stop"), &json!({"grace": 0})).await.accepted();
        delete(&api, &path, &changed).await.problem(412, "precondition-failed");
        change(&api, &path, &before, &json!({"labels": {}})).await.problem(412, "precondition-failed");
        api.succeeded(&job, 60).await;
        // What its host reports leaves it as it is: the tag is another, and it can still be deleted.
        let stopped = seen(&api, &path).await;
        let gone = delete(&api, &path, &format!("\"x\", {stopped}")).await.accepted();
        api.succeeded(&gone, 60).await;
        let (image, gone) = (format!("/v1/images/{image}"), "\"9-x\"");
        delete(&api, &image, gone).await.problem(412, "precondition-failed");
        delete(&api, &image, &seen(&api, &image).await).await.accepted();
    }
}

#[tokio::test]
async fn who_has_a_thing_is_told_that_it_did_not_change() {
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let (host, _) = api.create_host("vps").await;
    let job = api.build(&host.id, "base", "FROM scratch").await;
    let hook = api.post("/v1/webhooks", &json!({"url": "https://panel.example/x"})).await.expect(201).json;
    for path in [
        format!("/v1/users/{}", ana.user.id),
        format!("/v1/hosts/{}", host.id),
        format!("/v1/images/{}", job.resource_id()),
        format!("/v1/queue/{}", job.id),
        format!("/v1/webhooks/{}", hook["id"].as_str().unwrap()),
    ] {
        let answer = api.get(&path).await.expect(200);
        let tag = tag(&answer);
        for has in [tag.clone(), format!("W/{tag}"), format!("\"x\" ,{tag}"), "*".to_owned()] {
            let unchanged = held(&api, &path, &has).await.expect(304);
            assert!(unchanged.text.is_empty() && unchanged.header("content-type").is_none(), "{unchanged}");
            assert_eq!(unchanged.header("etag"), Some(tag.as_str()), "{unchanged}");
            assert!(unchanged.header("cache-control").is_some() && unchanged.header("x-request-id").is_some());
        }
        assert_eq!(held(&api, &path, "\"1-x\"").await.expect(200).text, answer.text);
        held(&api, &path, "not a tag").await.expect(200);
    }
    // What was changed is told anew, and a change answers with the tag that the next GET has.
    let path = format!("/v1/hosts/{}", host.id);
    let old = seen(&api, &path).await;
    let changed = api.patch(&path, &json!({"draining": true})).await.expect(200);
    held(&api, &path, &old).await.expect(200);
    held(&api, &path, &tag(&changed)).await.expect(304);
    // A list and a job that made something have none.
    assert!(api.get("/v1/hosts").await.header("etag").is_none());
}

#[tokio::test]
async fn if_match_that_cannot_be_read_is_refused_and_one_that_no_thing_has_changes_nothing() {
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let eva = cluster.user("eva").await.1;
    let (host, _) = api.create_host("vps").await;
    let path = format!("/v1/hosts/{}", host.id);
    let body = json!({"labels": {"a": "b"}});
    for bad in ["", "1", "\"1", "1-x", "\"a\" \"b\"", "*, \"a\"", "w/\"1-x\""] {
        change(&api, &path, bad, &body).await.problem(400, "bad-request");
        delete(&api, &path, bad).await.problem(400, "bad-request");
    }
    let tag = seen(&api, &path).await;
    for other in ["\"2-x\"", "\"\"", "\"18446744073709551616-x\"", "\"-\"", &format!("W/{tag}")] {
        change(&api, &path, other, &body).await.problem(412, "precondition-failed");
        delete(&api, &path, other).await.problem(412, "precondition-failed");
        // What is another's is not there, whatever is said to have been seen of it.
        delete(&eva, &path, other).await.problem(404, "not-found");
    }
    assert_eq!(seen(&api, &path).await, tag);
    change(&api, &path, "*", &body).await.expect(200);
    let tokens = format!("/v1/users/{}/tokens", ana.user.id);
    let token = api.post(&tokens, &json!({"name": "ci"})).await.expect(201).json;
    let token = format!("{tokens}/{}", token["id"].as_str().unwrap());
    delete(&api, &token, "\"1-x\"").await.problem(412, "precondition-failed");
    delete(&api, &token, "*").await.expect(204);
    // A job is cancelled in the state in which it was seen, or not.
    let job = api.build(&host.id, "base", "FROM scratch").await;
    let job = format!("/v1/queue/{}", job.id);
    delete(&api, &job, "\"99-x\"").await.problem(412, "precondition-failed");
    delete(&api, &job, &seen(&api, &job).await).await.expect(202);
}

#[tokio::test]
async fn large_json_is_compressed_for_who_asks_and_has_a_tag_of_its_own() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let labels: Value =
        (0..60).map(|i| (format!("label-{i}"), json!("x".repeat(40)))).collect::<serde_json::Map<_, _>>().into();
    let host = api.post("/v1/hosts", &json!({"name": "vps", "labels": labels})).await.expect(201).json;
    let path = format!("/v1/hosts/{}", host["id"].as_str().unwrap());
    let asked = async |path: &str, accepted: &str| {
        api.call(Method::GET, path).header("accept-encoding", accepted).send().await.expect(200)
    };
    let (plain, packed) = (asked(&path, "br").await, asked(&path, "br, gzip").await);
    assert_eq!((plain.header("content-encoding"), packed.header("content-encoding")), (None, Some("gzip")));
    assert!(plain.json["id"] == host["id"] && packed.json.is_null(), "{packed}");
    assert_eq!(tag(&packed), format!("{}-gzip\"", tag(&plain).trim_end_matches('"')));
    for answer in [&plain, &packed] {
        assert_eq!(answer.header("vary"), Some("accept-encoding"), "{answer}");
        held(&api, &path, &tag(answer)).await.expect(304);
    }
    change(&api, &path, &tag(&packed), &json!({"draining": true})).await.expect(200);
    // Small answers go as they are, lists and the document do not, and nobody is refused for what he does not accept.
    assert_eq!(asked("/v1/webhooks", "gzip").await.header("content-encoding"), None);
    assert_eq!(asked("/v1/hosts", "gzip").await.header("content-encoding"), Some("gzip"));
    assert_eq!(asked("/openapi.json", "*").await.header("content-encoding"), Some("gzip"));
    assert_eq!(asked(&path, "identity;q=0, *;q=0").await.header("content-encoding"), None);
    // A stream is never held back to be packed.
    let events = api.call(Method::GET, "/v1/events").header("accept-encoding", "gzip").stream().await;
    assert!(events.status() == 200 && !events.headers().contains_key("content-encoding"));
}
