//! A private registry between hosts: images are pushed once and pulled by their digests, each host with a right of its own; where
//! that does not work they come from host to host, and an image that is deleted is deleted there too.

use dockerforge_coordinator::pki::TokenKey;
use dockerforge_protocol::ids::ClusterId;
use dockerforge_tests::{
    agent::Agent,
    client::{Api, Image, Job},
    cluster::Cluster,
    env,
    hosts::FarHost,
    invariants,
    registry::{Asked, Lets, NAME, PASSWORD, Registry},
    wait,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const TOKENS: &str = "token = true";

/// A coordinator with a registry, which runs.
async fn bed(access: &str) -> (Cluster, Registry) {
    let mut registry = None;
    let cluster = Cluster::start_configured(FarHost::all()[0].gateway, |folder| {
        let reserved = registry.insert(Registry::reserve(folder));
        format!("[registry]\naddress = \"{}\"\ninsecure = true\n{access}\n", reserved.address())
    })
    .await;
    let mut registry = registry.expect("it was reserved");
    if access == TOKENS {
        registry.start(&Lets::Tokens(&cluster.data().join("registry.pem"))).await;
    }
    (cluster, registry)
}

fn tag(image: &str) -> String {
    format!("dockerforge.invalid/{image}:latest")
}

/// An image whose top layer no other build gives.
fn dockerfile() -> String {
    format!("FROM {}\nRUN dd if=/dev/urandom of=/data bs=1M count=4 2>&1\n{}", env::BASE_IMAGE, env::SLEEPER)
}

async fn built(api: &Api, name: &str, host: &str, hosts: &Value) -> String {
    // Each is an image of its own to Docker, too.
    let dockerfile = format!("{}\nLABEL name={name}", dockerfile());
    let body = json!({"name": name, "host": host, "hosts": hosts, "dockerfile": dockerfile});
    let job = api.post("/v1/images", &body).await.accepted();
    api.succeeded(&job, 60).await
}

async fn present(api: &Api, image: &str, host: &str, seconds: u64) {
    wait::until(seconds, &format!("{image} is on {host}"), async || {
        let image: Image = api.image(image).await;
        let there = image.hosts.iter().any(|p| p.host == host && p.state == "present");
        wait::check(there, image.hosts)
    })
    .await;
}

async fn jobs(api: &Api, kind: &str) -> Vec<Job> {
    api.all(&format!("/v1/queue?kind={kind}")).await
}

/// The log of the copy to a host; somebody else's has no name.
async fn copied(api: &Api, host: Option<&str>) -> String {
    let jobs = jobs(api, "image.copy").await;
    let job = jobs.iter().find(|job| job.host.as_deref() == host);
    api.log(&job.unwrap_or_else(|| panic!("no copy to {host:?}: {jobs:?}")).id).await.text
}

fn repository(image: &str) -> String {
    format!("dockerforge/{image}")
}

fn bearers(asked: &[Asked], from: &str) -> BTreeSet<String> {
    let right = |one: &Asked| one.right.as_deref().and_then(|right| right.strip_prefix("Bearer ")).map(str::to_owned);
    asked.iter().filter(|one| one.from == from).filter_map(right).collect()
}

/// What the registry answers to somebody with this token.
async fn answered(registry: &Registry, method: Method, path: &str, token: &str) -> StatusCode {
    let url = format!("http://{}/v2/{path}", registry.address());
    let accept = "application/vnd.docker.distribution.manifest.v2+json";
    let request = reqwest::Client::new().request(method, url).bearer_auth(token).header("accept", accept);
    request.send().await.unwrap().status()
}

/// No name of the registry's is left on a host.
async fn no_names(agent: &Agent, registry: &Registry) {
    let images = agent.docker.raw().list_images(None::<bollard::query_parameters::ListImagesOptions>).await.unwrap();
    let names = images.into_iter().flat_map(|image| [image.repo_tags, image.repo_digests].concat());
    let left: Vec<String> = names.filter(|name| name.starts_with(&registry.address())).collect();
    assert_eq!(left, Vec::<String>::new(), "on {}", agent.host);
}

fn token(key: &TokenKey, name: &str, actions: &[&str], expires: i64) -> String {
    let now = jiff::Timestamp::now().as_second();
    key.sign(&json!({
        "iss": "dockerforge", "sub": "a test", "aud": "dockerforge", "nbf": now - 7200, "iat": now - 7200, "exp": now + expires,
        "access": [{"type": "repository", "name": name, "actions": actions}],
    }))
    .unwrap()
}

#[tokio::test]
async fn an_image_is_pushed_once_and_pulled_by_its_digest_with_tokens_that_open_nothing_else() {
    let [near_net, far_net] = FarHost::all().try_into().expect("two further hosts");
    let (cluster, registry) = bed(TOKENS).await;
    let (ana, api) = cluster.user("ana").await;
    let one = cluster.host(&api, "one").await;
    let near = near_net.online(&cluster, &api, "near").await;
    let far = far_net.online(&cluster, &api, "far").await;

    let image = built(&api, "blog", &one.host, &json!("mine")).await;
    present(&api, &image, &near.host, 60).await;
    present(&api, &image, &far.host, 60).await;
    let [push] = jobs(&api, "image.push").await.try_into().expect("one push");
    assert_eq!((push.state.as_str(), push.host.as_deref()), ("succeeded", Some(one.host.as_str())), "{push:?}");
    let digest = push.result.as_ref().unwrap()["digest"].as_str().unwrap().to_owned();
    let shown = api.get(&format!("/v1/images/{image}")).await.json;
    let full = format!("{}/{}", registry.address(), repository(&image));
    assert_eq!(shown["registry"], json!({"repository": full, "digest": digest}));
    let mut ids = BTreeSet::new();
    for agent in [&one, &near, &far] {
        ids.insert(agent.docker.raw().inspect_image(&tag(&image)).await.unwrap().id);
        no_names(agent, &registry).await;
    }
    assert_eq!(ids.len(), 1, "the same image everywhere: {ids:?}");
    for agent in [&near, &far] {
        let log = copied(&api, Some(&agent.host)).await;
        assert!(log.contains(&digest) && !log.contains("layers are here already"), "not from host to host: {log}");
    }
    let asked = registry.asked();
    let manifest = format!("/v2/{}/manifests/{digest}", repository(&image));
    for from in ["1", "2"] {
        let of_host: Vec<_> = asked.iter().filter(|one| one.from == from).collect();
        assert!(of_host.iter().any(|one| one.path == manifest && one.status == 200), "{of_host:?}");
        assert!(of_host.iter().all(|one| matches!(one.method.as_str(), "GET" | "HEAD")), "{of_host:?}");
    }

    // What each host was given opens that repository, for that.
    let other = built(&api, "other", &near.host, &json!([far.host])).await;
    present(&api, &other, &far.host, 60).await;
    let (pull, push) = (bearers(&asked, "2"), bearers(&asked, "here"));
    let (pull, push) = (pull.first().expect("a token to pull"), push.first().expect("a token to push"));
    let uploads = |image: &str| format!("{}/blobs/uploads/", repository(image));
    let by_digest = format!("{}/manifests/{digest}", repository(&image));
    let of_other = format!("{}/manifests/{other}", repository(&other));
    for (method, path, token, expected) in [
        (Method::HEAD, by_digest.clone(), pull, StatusCode::OK),
        (Method::POST, uploads(&image), pull, StatusCode::UNAUTHORIZED),
        (Method::POST, uploads(&image), push, StatusCode::ACCEPTED),
        (Method::HEAD, of_other.clone(), pull, StatusCode::UNAUTHORIZED),
        (Method::HEAD, of_other.clone(), push, StatusCode::UNAUTHORIZED),
        (Method::POST, uploads(&other), push, StatusCode::UNAUTHORIZED),
        (Method::DELETE, by_digest.clone(), push, StatusCode::UNAUTHORIZED),
        (Method::GET, "_catalog".to_owned(), push, StatusCode::UNAUTHORIZED),
    ] {
        assert_eq!(answered(&registry, method.clone(), &path, token).await, expected, "{method} {path}");
    }
    let key = TokenKey::load_or_generate(&cluster.data(), ClusterId::new(), jiff::Timestamp::now()).unwrap();
    for (expires, expected) in [(60, StatusCode::OK), (-3600, StatusCode::UNAUTHORIZED)] {
        let token = token(&key, &repository(&image), &["pull"], expires);
        assert_eq!(answered(&registry, Method::HEAD, &by_digest, &token).await, expected, "ends in {expires} s");
    }
    // They are nowhere but where they were needed.
    for token in asked.iter().filter_map(|one| one.right.as_deref()?.strip_prefix("Bearer ")) {
        cluster.is_secret(token);
    }
    invariants::standing(&cluster).await;

    // With an image goes its manifest, and with a user all of his.
    let look = token(&key, &repository(&image), &["pull"], 600);
    let gone = api.delete(&format!("/v1/images/{image}")).await.accepted();
    api.succeeded(&gone, 60).await;
    wait::until(30, "the manifest is gone", async || {
        let status = answered(&registry, Method::HEAD, &by_digest, &look).await;
        wait::check(status == StatusCode::NOT_FOUND, status)
    })
    .await;
    let look = token(&key, &repository(&other), &["pull"], 600);
    assert_eq!(answered(&registry, Method::HEAD, &of_other, &look).await, StatusCode::OK);
    let admin = cluster.admin();
    let gone = admin.delete(&format!("/v1/users/{}", ana.user.id)).await.accepted();
    admin.succeeded(&gone, 60).await;
    wait::until(30, "the user's manifest is gone", async || {
        let status = answered(&registry, Method::HEAD, &of_other, &look).await;
        wait::check(status == StatusCode::NOT_FOUND, status)
    })
    .await;
}

#[tokio::test]
async fn a_password_goes_to_administrators_hosts_alone_and_a_clients_host_has_the_image_from_another_host() {
    let [near_net, far_net] = FarHost::all().try_into().expect("two further hosts");
    let secrets = tempfile::tempdir().unwrap();
    let file = secrets.path().join("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let (cluster, mut registry) = bed(&format!("user = \"{NAME}\"\npassword-file = {file:?}")).await;
    registry.start(&Lets::Password).await;
    cluster.is_secret(PASSWORD);
    let admin = cluster.admin();
    let near = near_net.online(&cluster, &admin, "near").await;
    let far = Agent::pool(&cluster, &admin, "far", &json!({}), &far_net.docker).await;
    let body = json!({"name": "base", "host": near.host, "hosts": "mine", "dockerfile": dockerfile(), "public": true});
    let job = admin.post("/v1/images", &body).await.accepted();
    let image = admin.succeeded(&job, 60).await;
    present(&admin, &image, &far.host, 60).await;
    assert_eq!(jobs(&admin, "image.push").await.len(), 1);
    let log = copied(&admin, Some(&far.host)).await;
    assert!(log.contains("Digest: sha256:"), "{log}");
    for from in ["1", "2"] {
        let basic =
            |one: &Asked| one.from == from && one.right.as_deref().is_some_and(|right| right.starts_with("Basic "));
        assert!(registry.asked().iter().any(|one| basic(one) && one.status == 200), "host {from} signed in");
    }

    let (_, api) = cluster.user("ana").await;
    let own = cluster.host(&api, "own").await;
    let container = own.container("c", &image, json!({})).await;
    api.observed(&container, "running", 20).await;
    let log = copied(&admin, None).await;
    assert!(log.contains("layers are here already"), "from host to host: {log}");
    assert!(registry.asked().iter().all(|one| one.from != "here"), "the client's host asked the registry");
    // Where the registry may not be used, nothing is brought to it.
    let theirs = built(&api, "hers", &own.host, &json!("mine")).await;
    assert!(api.get(&format!("/v1/images/{theirs}")).await.json["registry"].is_null());
    assert!(jobs(&api, "image.push").await.is_empty());
    // To those who may use it, where it is in the registry is its owner's business.
    assert!(api.get(&format!("/v1/images/{image}")).await.json["registry"].is_null());
    invariants::standing(&cluster).await;
}

#[tokio::test]
async fn a_transfer_from_the_registry_that_is_cut_in_its_middle_goes_on_from_there() {
    let [near_net, far_net] = FarHost::all().try_into().expect("two further hosts");
    let (cluster, registry) = bed(TOKENS).await;
    let (_, api) = cluster.user("ana").await;
    let near = near_net.online(&cluster, &api, "near").await;
    let far = far_net.online(&cluster, &api, "far").await;
    registry.cut(1);
    let image = built(&api, "blog", &near.host, &json!([far.host])).await;
    present(&api, &image, &far.host, 90).await;
    assert_eq!(registry.cuts_left(), 0, "it was cut");
    let rest = |one: &Asked| one.path.contains("/blobs/") && one.status == 206;
    assert!(registry.asked().iter().any(rest), "only the rest of it was asked for: {:?}", registry.asked());
    let log = copied(&api, Some(&far.host)).await;
    assert!(!log.contains("layers are here already"), "not from host to host: {log}");
    let id = async |agent: &Agent| agent.docker.raw().inspect_image(&tag(&image)).await.unwrap().id;
    assert_eq!(id(&near).await, id(&far).await);
    no_names(&far, &registry).await;
    invariants::standing(&cluster).await;
}

#[tokio::test]
async fn what_the_registry_does_not_give_or_gives_damaged_comes_from_host_to_host() {
    let [near_net, far_net] = FarHost::all().try_into().expect("two further hosts");
    let (cluster, mut registry) = bed(TOKENS).await;
    let (_, api) = cluster.user("ana").await;
    let near = near_net.online(&cluster, &api, "near").await;
    let mut far = far_net.online(&cluster, &api, "far").await;

    for (name, says) in [
        ("layer", "verification failed"),
        ("manifest", "the registry does not give it"),
        ("down", "connection refused"),
    ] {
        // What is to come there waits until it is back.
        far.kill();
        let image = built(&api, name, &near.host, &json!([far.host])).await;
        let push = jobs(&api, "image.push").await.remove(0);
        assert_eq!(api.ended(&push.id, 60).await.state, "succeeded");
        match name {
            // The top layer is the largest file there.
            "layer" => {
                let (path, _) = registry.blobs().into_iter().max_by_key(|(_, size)| *size).unwrap();
                damage(&path);
            }
            "manifest" => {
                let shown = api.get(&format!("/v1/images/{image}")).await.json;
                let digest = shown["registry"]["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
                let (path, _) =
                    registry.blobs().into_iter().find(|(path, _)| path.to_string_lossy().contains(&digest)).unwrap();
                damage(&path);
            }
            _ => registry.stop().await,
        }
        far.launch(None, &[]);
        far.is_online(30).await;
        present(&api, &image, &far.host, 90).await;
        let log = copied(&api, Some(&far.host)).await;
        assert!(log.contains(says) && log.contains("layers are here already"), "{name}: {log}");
        let id = async |agent: &Agent| agent.docker.raw().inspect_image(&tag(&image)).await.unwrap().id;
        assert_eq!(id(&near).await, id(&far).await, "{name}");
        no_names(&far, &registry).await;
    }

    // It is still down: a push is tried for a while, and what waits for it goes on.
    let image = built(&api, "never-there", &near.host, &json!([far.host])).await;
    present(&api, &image, &far.host, 120).await;
    let push = api.ended(&jobs(&api, "image.push").await[0].id, 5).await;
    assert_eq!(push.error_kind(), Some("registry-unavailable"), "{push:?}");
    assert!(api.get(&format!("/v1/images/{image}")).await.json["registry"].is_null());
    no_names(&near, &registry).await;
}

fn damage(path: &std::path::Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn an_image_is_removed_from_the_registry_once_that_answers_and_one_that_removes_nothing_is_left_in_peace() {
    for deletes in [true, false] {
        let [near_net, far_net] = FarHost::all().try_into().expect("two further hosts");
        let mut reserved = None;
        let mut cluster = Cluster::start_configured(near_net.gateway, |folder| {
            let registry = Registry::reserve(folder);
            let registry = reserved.insert(if deletes { registry } else { registry.without_deletes() });
            format!("[registry]\naddress = \"{}\"\ninsecure = true\n", registry.address())
        })
        .await;
        let mut registry = reserved.unwrap();
        registry.start(&Lets::Everybody).await;
        let admin = cluster.admin();
        let near = near_net.online(&cluster, &admin, "near").await;
        let far = far_net.online(&cluster, &admin, "far").await;
        let image = built(&admin, "base", &near.host, &json!("mine")).await;
        present(&admin, &image, &far.host, 60).await;
        let shown = admin.get(&format!("/v1/images/{image}")).await.json;
        let digest = shown["registry"]["digest"].as_str().expect("it is in the registry").to_owned();

        registry.stop().await;
        let gone = admin.delete(&format!("/v1/images/{image}")).await.accepted();
        admin.succeeded(&gone, 60).await;
        cluster.crash_and_restart().await;
        registry.launch().await;
        let (path, manifest) = (
            format!("{}/manifests/{digest}", repository(&image)),
            format!("/v2/{}/manifests/{digest}", repository(&image)),
        );
        wait::until(60, "its removal was tried", async || {
            let asked = registry.asked();
            wait::check(asked.iter().any(|one| one.method == "DELETE" && one.path == manifest), asked.len())
        })
        .await;
        let expected = if deletes { StatusCode::NOT_FOUND } else { StatusCode::OK };
        wait::until(10, "the registry has it or not", async || {
            let status = answered(&registry, Method::HEAD, &path, "").await;
            wait::check(status == expected, status)
        })
        .await;
        if !deletes {
            wait::until(10, "it is said", async || {
                let output = cluster.process().output();
                wait::check(output.contains("the registry removes nothing"), output)
            })
            .await;
        }
    }
}
