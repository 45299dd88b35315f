//! What a token may do, how long, and that it is void at once when it is revoked, for what goes on as well.

use dockerforge_tests::{
    client::{Api, Events, Page, Token},
    cluster::Cluster,
    env, wait,
};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// Makes a token with these members; answers the API as its holder sees it.
async fn holder(cluster: &Cluster, maker: &Api, user: &str, body: Value) -> Api {
    let token: Token = maker.post(&format!("/v1/users/{user}/tokens"), &body).await.expect(201).body();
    cluster.anonymous().bearer(token.key.as_deref().expect("the key, once"))
}

async fn system(cluster: &Cluster) -> String {
    let users = cluster.admin().get("/v1/users?name=system").await.expect(200).json;
    users["items"][0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_does_what_its_scopes_cover_and_nothing_else() {
    let cluster = Cluster::start().await;
    let system = system(&cluster).await;
    let (ana, _) = cluster.user("ana").await;
    for (i, (scopes, write, administer)) in [
        (json!(["read"]), Some("write"), Some("admin")),
        (json!(["write"]), None, Some("admin")),
        (json!(["host:root"]), Some("write"), Some("admin")),
        (json!(["admin"]), Some("write"), None),
        (json!(["read", "write", "host:root", "admin"]), None, None),
        (Value::Null, None, Some("admin")),
    ]
    .into_iter()
    .enumerate()
    {
        let mut body = json!({"name": format!("t{i}")});
        if !scopes.is_null() {
            body["scopes"] = scopes.clone();
        }
        let holder = holder(&cluster, &cluster.admin(), &system, body).await;
        holder.get("/v1/hosts").await.expect(200);
        let answer = holder.post("/v1/hosts", &json!({"name": format!("h{i}")})).await;
        match write {
            None => drop(answer.expect(201)),
            Some(scope) => {
                let problem = answer.problem(403, "scope-missing");
                assert!(problem.detail.ends_with(&format!("scope {scope}")), "{scopes}: {problem:?}");
            }
        }
        let others = format!("/v1/users/{}", ana.user.id);
        for (answer, refusal) in [
            (holder.get("/v1/users").await, (403, "scope-missing")),
            (holder.get("/v1/audit").await, (403, "scope-missing")),
            (holder.call(Method::PATCH, &others).json(&json!({})).send().await, (403, "scope-missing")),
            (holder.acting_for(&ana.user.id).get("/v1/hosts").await, (403, "scope-missing")),
            (holder.get(&others).await, (404, "not-found")),
        ] {
            match administer {
                None => drop(answer.expect(200)),
                Some(_) => drop(answer.problem(refusal.0, refusal.1)),
            }
        }
    }
}

#[tokio::test]
async fn a_token_makes_none_with_more_than_it_has() {
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let tokens = format!("/v1/users/{}/tokens", ana.user.id);
    // Her first key reads and writes; the rest is an administrator's to give.
    let refused = async |scopes: Value| api.post(&tokens, &json!({"name": "more", "scopes": scopes})).await;
    refused(json!(["host:root"])).await.problem(403, "scope-missing");
    assert_eq!(refused(json!(["admin"])).await.problem(422, "invalid").pointers(), ["/scopes"]);
    let admin = cluster.admin();
    let body = json!({"name": "never", "scopes": ["read", "admin"]});
    assert_eq!(admin.post(&tokens, &body).await.problem(422, "invalid").pointers(), ["/scopes"]);
    let root = holder(&cluster, &admin, &ana.user.id, json!({"name": "root", "scopes": ["write", "host:root"]})).await;
    let listed: Page<Value> = root.get(&tokens).await.expect(200).body();
    assert_eq!(listed.items[0]["scopes"], json!(["read", "write", "host:root"]), "each includes read");

    let reader = holder(&cluster, &api, &ana.user.id, json!({"name": "reader", "scopes": ["read"]})).await;
    reader.post(&tokens, &json!({"name": "x", "scopes": ["read"]})).await.problem(403, "scope-missing");
    for (scopes, pointer) in [
        (json!([]), "/scopes"),
        (json!(["read", "root"]), "/scopes/1"),
        (json!("read"), "/scopes"),
        (json!([1]), "/scopes/0"),
    ] {
        assert_eq!(refused(scopes).await.problem(422, "invalid").pointers(), [pointer]);
    }
}

/// RFC 3339 of so many seconds from now.
fn from_now(seconds: u64) -> String {
    (jiff::Timestamp::now() + Duration::from_secs(seconds)).to_string()
}

#[tokio::test]
async fn a_token_is_good_until_it_expires_and_says_so_afterwards() {
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let tokens = format!("/v1/users/{}/tokens", ana.user.id);
    for bad in ["1999-01-01T00:00:00Z", "tomorrow", ""] {
        let answer = api.post(&tokens, &json!({"name": "x", "expires_at": bad})).await;
        assert_eq!(answer.problem(422, "invalid").pointers(), ["/expires_at"], "{bad}");
    }
    let brief = holder(&cluster, &api, &ana.user.id, json!({"name": "brief", "expires_at": from_now(10)})).await;
    brief.get("/v1/hosts").await.expect(200);
    // What it makes ends with it.
    for longer in [json!({"name": "x"}), json!({"name": "x", "expires_at": from_now(3600)})] {
        assert_eq!(brief.post(&tokens, &longer).await.problem(422, "invalid").pointers(), ["/expires_at"]);
    }
    let problem = wait::until(40, "the token expires", async || {
        let answer = brief.get("/v1/hosts").await;
        if answer.status == 200 { Err(answer.to_string()) } else { Ok(answer) }
    })
    .await;
    assert!(problem.header("www-authenticate").is_some(), "{problem}");
    problem.problem(401, "token-expired");
    let listed: Page<Value> = api.get(&tokens).await.expect(200).body();
    let brief = listed.items.iter().find(|token| token["name"] == "brief").unwrap();
    assert!(brief["last_used_at"].is_string() && brief["expires_at"].is_string(), "{brief}");
}

#[tokio::test]
async fn the_last_use_is_noted_once_a_minute_and_not_with_each_request() {
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let last_use = async || {
        let listed: Page<Value> = api.get(&format!("/v1/users/{}/tokens", ana.user.id)).await.expect(200).body();
        listed.items[0]["last_used_at"].as_str().map(str::to_owned)
    };
    let first = last_use().await;
    assert!(first.is_some());
    for _ in 0..20 {
        api.get("/v1/hosts").await.expect(200);
    }
    assert_eq!(last_use().await, first);
}

#[tokio::test]
async fn a_revoked_token_ends_the_streams_that_it_opened_and_no_others() {
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let job = api.build(&agent.host, "slow", &format!("FROM {}\nRUN echo begun && sleep 600", env::BASE_IMAGE)).await;
    api.says(&job.id, "begun", 30).await;
    let tokens = format!("/v1/users/{}/tokens", ana.user.id);
    let token: Token = api.post(&tokens, &json!({"name": "laptop"})).await.expect(201).body();
    let laptop = cluster.anonymous().bearer(token.key.as_deref().unwrap());
    let log = format!("/v1/queue/{}/log", job.id);
    let (mut hers, mut other) = (Events::open(&laptop, &log, None).await, Events::open(&api, &log, None).await);
    assert!(hers.next().await.is_some() && other.next().await.is_some(), "both read");

    api.delete(&format!("{tokens}/{}", token.id)).await.expect(204);
    laptop.get("/v1/hosts").await.problem(401, "unauthorized");
    let end = async { while hers.next().await.is_some() {} };
    wait::for_end("the stream", end).await;
    // The other goes on to the job's end.
    api.delete(&format!("/v1/queue/{}", job.id)).await.accepted();
    let mut last = None;
    while let Some(event) = other.next().await {
        last = Some(event.event);
    }
    assert_eq!(last.as_deref(), Some("end"));
}
