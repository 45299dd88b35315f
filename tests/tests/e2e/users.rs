//! Users and their keys: the first administrator, signing in, acting for somebody, and taking a user out of service.

use dockerforge_tests::{client::Token, client::User, cluster::Cluster, docker::Witness, env, wait};
use reqwest::Method;
use serde_json::json;
use std::{fs, os::unix::fs::PermissionsExt};

#[tokio::test]
async fn the_first_start_leaves_the_administrators_key_in_a_file_that_only_its_owner_reads() {
    let mut cluster = Cluster::start().await;
    let path = cluster.data().join("admin.key");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let users: Vec<User> = cluster.admin().all("/v1/users").await;
    assert_eq!(users.iter().map(|u| (u.name.as_str(), u.admin)).collect::<Vec<_>>(), [("system", true)]);

    // A second start neither makes another nor changes the key.
    let key = cluster.admin_key();
    cluster.crash_and_restart().await;
    assert_eq!(cluster.admin_key(), key);
    cluster.admin().get("/v1/users").await.expect(200);
    assert!(!cluster.process().output().contains(&key), "the key is in the log");
}

#[tokio::test]
async fn a_user_signs_in_with_basic_and_bearer_and_nobody_else_does() {
    let cluster = Cluster::start().await;
    let created = cluster.admin().post("/v1/users", &json!({"name": "ana"})).await.expect(201);
    let key = created.json["key"].as_str().unwrap();
    let id = created.json["id"].as_str().unwrap();
    assert_eq!(created.header("location"), Some(format!("/v1/users/{id}").as_str()));
    assert_eq!((&created.json["admin"], &created.json["state"]), (&json!(false), &json!("active")));

    let anonymous = cluster.anonymous();
    for signed_in in [anonymous.bearer(key), anonymous.basic("ana", key)] {
        let user: User = signed_in.get(&format!("/v1/users/{id}")).await.expect(200).body();
        assert_eq!(user.name, "ana");
        assert!(signed_in.get(&format!("/v1/users/{id}")).await.json["key"].is_null(), "a key is shown once");
    }
    let wrong = format!("{key}x");
    for refused in [
        anonymous.clone(),
        anonymous.bearer(&wrong),
        anonymous.bearer(""),
        anonymous.basic("ana", &wrong),
        anonymous.basic("eva", key),
        anonymous.basic("system", key),
    ] {
        let answer = refused.get("/v1/hosts").await;
        let challenge = answer.header("www-authenticate").unwrap_or_default().to_owned();
        answer.problem(401, "unauthorized");
        assert!(challenge.contains("Basic") && challenge.contains("Bearer"), "{challenge:?}");
    }
    for header in ["Digest x", "Basic", "Basic !!!", "Bearer", "\u{1}"] {
        let call = anonymous.call(Method::GET, "/v1/hosts").header("authorization", header);
        if let Ok(answer) = call.try_send().await {
            answer.problem(401, "unauthorized");
        }
    }
}

#[tokio::test]
async fn only_an_administrator_makes_and_lists_users() {
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let path = format!("/v1/users/{}", ana.user.id);
    api.post("/v1/users", &json!({"name": "eva"})).await.problem(403, "forbidden");
    api.get("/v1/users").await.problem(403, "forbidden");
    api.delete(&path).await.problem(403, "forbidden");
    api.get(&path).await.expect(200);
    assert_eq!(cluster.admin().all::<User>("/v1/users").await.len(), 2, "a refused request leaves nothing");
    cluster.admin().post("/v1/users", &json!({"name": "ana"})).await.problem(409, "name-taken");
}

#[tokio::test]
async fn a_token_is_shown_once_and_void_as_soon_as_it_is_revoked() {
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let tokens = format!("/v1/users/{}/tokens", ana.user.id);
    let token: Token = api.post(&tokens, &json!({"name": "laptop"})).await.expect(201).body();
    let laptop = cluster.anonymous().bearer(token.key.as_deref().expect("the key, once"));
    laptop.get("/v1/hosts").await.expect(200);
    api.post(&tokens, &json!({"name": "laptop"})).await.problem(409, "name-taken");

    let listed: Vec<Token> = api.get(&tokens).await.expect(200).body::<dockerforge_tests::client::Page<_>>().items;
    assert!(listed.iter().any(|t| t.id == token.id && t.name == "laptop"), "{listed:?}");
    assert!(listed.iter().all(|t| t.key.is_none()), "{listed:?}");

    api.delete(&format!("{tokens}/{}", token.id)).await.expect(204);
    laptop.get("/v1/hosts").await.problem(401, "unauthorized");
    api.delete(&format!("{tokens}/{}", token.id)).await.problem(404, "not-found");
    api.get("/v1/hosts").await.expect(200);
}

#[tokio::test]
async fn an_administrator_acts_for_a_user_and_nobody_else_does() {
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let (eva, _) = cluster.user("eva").await;
    let for_ana = cluster.admin().acting_for(&ana.user.id);
    let (host, _) = for_ana.create_host("vps").await;
    assert_eq!(api.host(&host.id).await.name, "vps");
    cluster.admin().get(&format!("/v1/hosts/{}", host.id)).await.problem(404, "not-found");
    api.acting_for(&eva.user.id).get("/v1/hosts").await.problem(403, "forbidden");
    cluster.admin().acting_for("usr_00000000000000000000000000000000").get("/v1/hosts").await.problem(404, "not-found");
    cluster.admin().acting_for("ana").get("/v1/hosts").await.problem(404, "not-found");
}

#[tokio::test]
async fn deleting_a_user_takes_all_that_is_his_out_of_service() {
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let mut agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let container = agent.container("blog", &image, json!({"volumes": [{"volume": "data", "target": "/data"}]})).await;
    let waiting = api.build(&agent.host, "slow", &format!("FROM {}\nRUN sleep 600", env::BASE_IMAGE)).await;
    api.reaches(&waiting.id, "running", 20).await;

    let admin = cluster.admin();
    let job = admin.delete(&format!("/v1/users/{}", ana.user.id)).await.accepted();
    assert_eq!(job.kind, "user.delete");
    api.get("/v1/containers").await.problem(401, "unauthorized");
    let again = admin.delete(&format!("/v1/users/{}", ana.user.id)).await.accepted();
    assert_eq!(again.id, job.id, "a repeated deletion is the same job");
    let ended = admin.ended(&job.id, 60).await;
    assert_eq!(ended.state, "succeeded", "{ended:?}");

    cluster.nothing_left(10).await;
    assert!(Witness::first().of_container(&container).await.is_empty());
    admin.get(&format!("/v1/users/{}", ana.user.id)).await.problem(404, "not-found");
    // His host has no identity any more: its agent is told so and ends.
    let status = agent.process().wait_ended(15).await;
    assert!(!status.success(), "{status}");
    // His name is free again.
    cluster.admin().create_user("ana").await;
}

#[tokio::test]
async fn the_system_user_stays() {
    let cluster = Cluster::start().await;
    let system = cluster.admin().all::<User>("/v1/users").await.pop().unwrap();
    cluster.admin().delete(&format!("/v1/users/{}", system.id)).await.problem(409, "system-user");
    wait::until(1, "the administrator still signs in", async || {
        let answer = cluster.admin().get("/v1/users").await;
        wait::check(answer.status == 200, answer.to_string())
    })
    .await;
}

#[tokio::test]
async fn wrong_keys_slow_their_name_down_and_keep_nobody_elses_right_key_out() {
    let cluster = Cluster::start().await;
    let (ana, _) = cluster.user("ana").await;
    let (eva, _) = cluster.user("eva").await;
    let anonymous = cluster.anonymous();
    for _ in 0..5 {
        anonymous.basic("ana", "dfk_wrong").get("/v1/hosts").await.problem(401, "unauthorized");
    }
    let slowed = anonymous.basic("ana", &ana.key).get("/v1/hosts").await;
    let wait: u64 = slowed.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    slowed.problem(429, "too-many-failures");
    // The address has failed as often: another wrong key is told to wait, a right one is let in.
    anonymous.bearer("dfk_wrong").get("/v1/hosts").await.problem(429, "too-many-failures");
    anonymous.basic("eva", &eva.key).get("/v1/hosts").await.expect(200);
    anonymous.bearer(&eva.key).get("/v1/hosts").await.expect(200);

    wait::until(20, "ana may sign in again", async || {
        let answer = anonymous.basic("ana", &ana.key).get("/v1/hosts").await;
        wait::check(answer.status == 200, answer.status)
    })
    .await;
    for _ in 0..4 {
        let status = anonymous.basic("ana", "dfk_wrong").get("/v1/hosts").await.status;
        assert!(status == 401 || status == 429, "{status}");
    }
    anonymous.basic("ana", &ana.key).get("/v1/hosts").await.expect(200);
}
