//! Images on several hosts: built on one and brought to the others, layer by layer, whatever happens on the way.

use dockerforge_tests::{
    agent::Agent,
    client::{Api, Image, ImageOnHost, Job},
    cluster::Cluster,
    env,
    hosts::FarHost,
    proxy::Proxy,
    wait,
};
use serde_json::json;
use std::{fs, path::PathBuf, time::Duration};

/// Bytes of the layer that goes from host to host.
const LAYER: u64 = 24 * 1024 * 1024;

fn tag(image: &str) -> String {
    format!("dockerforge.invalid/{image}:latest")
}

/// An image whose top layer no other build gives.
fn dockerfile() -> String {
    let megabytes = LAYER >> 20;
    format!("FROM {}\nRUN dd if=/dev/urandom of=/data bs=1M count={megabytes} 2>&1\n{}", env::BASE_IMAGE, env::SLEEPER)
}

fn on<'a>(image: &'a Image, host: &str) -> Option<&'a ImageOnHost> {
    image.hosts.iter().find(|presence| presence.host == host)
}

/// Waits until an image stands so on a host.
async fn stands(api: &Api, image: &str, host: &str, state: &str, seconds: u64) -> ImageOnHost {
    wait::until(seconds, &format!("{image} is {state} on {host}"), async || {
        let image = api.image(image).await;
        match on(&image, host) {
            Some(presence) if presence.state == state => Ok(presence.clone()),
            _ => Err(format!("{:?}", image.hosts)),
        }
    })
    .await
}

async fn ready(api: &Api, body: &serde_json::Value) -> String {
    let job = api.post("/v1/images", body).await.accepted();
    api.succeeded(&job, 60).await
}

/// Files that the agent of a host keeps of images on their way.
fn files(agent: &Agent, folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![agent.state().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() { folders.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    found
}

#[tokio::test]
async fn an_image_that_is_built_on_one_host_comes_to_all_others_and_goes_from_all_of_them() {
    let [near_net, far_net] = FarHost::all().try_into().expect("two further hosts");
    let cluster = Cluster::start_at(far_net.gateway).await;
    let (_, api) = cluster.user("ana").await;
    let one = cluster.host(&api, "one").await;
    let near = near_net.online(&cluster, &api, "near").await;
    let far = far_net.online(&cluster, &api, "far").await;

    let image = ready(&api, &json!({"name": "blog", "dockerfile": dockerfile(), "hosts": "mine"})).await;
    let mut ids = Vec::new();
    for agent in [&one, &near, &far] {
        let presence = stands(&api, &image, &agent.host, "present", 60).await;
        let real = agent.docker.raw().inspect_image(&tag(&image)).await.unwrap();
        assert_eq!(presence.docker_id, real.id, "what is shown is what is there");
        assert!(presence.job.is_none() && presence.error.is_none(), "{presence:?}");
        ids.extend(real.id);
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "the same image everywhere: {ids:?}");
    let copies: Vec<Job> = api.all("/v1/queue?kind=image.copy").await;
    assert_eq!(copies.len(), 2, "{copies:?}");
    for job in &copies {
        let log = api.log(&job.id).await.text;
        assert!(log.contains("1 of 2 layers are here already"), "the base image is on every host: {log}");
    }
    far.container("runs", &image, json!({})).await;
    let used = api.delete(&format!("/v1/images/{image}")).await.problem(409, "image-in-use");
    assert!(used.detail.contains("ctr_"), "{}", used.detail);
    let [container] = api.all::<serde_json::Value>("/v1/containers").await.try_into().expect("one container");
    let gone = api.delete(&format!("/v1/containers/{}", container["id"].as_str().unwrap())).await.accepted();
    api.succeeded(&gone, 30).await;
    let gone = api.delete(&format!("/v1/images/{image}")).await.accepted();
    api.succeeded(&gone, 60).await;
    for agent in [&one, &near, &far] {
        assert!(!agent.docker.has_image(&tag(&image)).await);
        assert!(agent.docker.has_image(env::BASE_IMAGE).await, "what was there before stays");
        assert_eq!(files(agent, "layers"), Vec::<PathBuf>::new());
    }
}

#[tokio::test]
async fn a_container_on_a_host_that_lacks_its_image_gets_it_first_and_a_changed_top_layer_moves_alone() {
    let [near_net, _] = FarHost::all().try_into().expect("two further hosts");
    let cluster = Cluster::start_at(near_net.gateway).await;
    let (_, api) = cluster.user("ana").await;
    let one = cluster.host(&api, "one").await;
    let near = near_net.online(&cluster, &api, "near").await;
    let first = ready(&api, &json!({"name": "first", "host": near.host, "dockerfile": dockerfile()})).await;
    assert_eq!(api.image(&first).await.hosts.len(), 1);

    let container = one.container("c", &first, json!({})).await;
    api.observed(&container, "running", 10).await;
    stands(&api, &first, &one.host, "present", 5).await;

    let base = format!("FROM {}\nRUN echo changed > /changed\n{}", tag(&first), env::SLEEPER);
    let second = ready(&api, &json!({"name": "second", "host": near.host, "dockerfile": base})).await;
    // The container becomes another one where it is: the new image comes first.
    let change = json!({"image": second});
    let job = api.patch(&format!("/v1/containers/{container}"), &change).await.accepted();
    api.succeeded(&job, 60).await;
    let copies: Vec<Job> = api.all("/v1/queue?kind=image.copy").await;
    let log = api.log(&copies[0].id).await.text;
    assert!(log.contains("2 of 3 layers are here already"), "{log}");
    let name = format!("df-{container}");
    assert_eq!(one.docker.file(&name, "/changed").await, "changed\n");
}

#[tokio::test]
async fn a_copy_that_is_cut_off_goes_on_where_it_was() {
    let [near_net, _] = FarHost::all().try_into().expect("two further hosts");
    let cluster = Cluster::start_at(near_net.gateway).await;
    let (_, api) = cluster.user("ana").await;
    let mut near = near_net.online(&cluster, &api, "near").await;
    let proxy = Proxy::start(cluster.agent_port()).await;
    let mut one = Agent::online_through(&cluster, proxy.address(), &api, "one", &env::docker()).await;
    let image = ready(&api, &json!({"name": "blog", "host": near.host, "dockerfile": dockerfile()})).await;

    // The target's line is cut in the middle of the layer.
    proxy.slow(Duration::from_millis(1));
    let before = proxy.bytes();
    let job = api.run(&one.host, "c", &image, json!({})).await;
    wait::until(60, "a part of the layer has come", async || {
        wait::check(proxy.bytes() > before + LAYER / 4, proxy.bytes())
    })
    .await;
    let copy = stands(&api, &image, &one.host, "pending", 1).await;
    assert!(copy.progress.as_ref().is_some_and(|progress| progress["step"].as_str().is_some()), "{copy:?}");
    proxy.cut();
    one.host_is("unreachable", 60).await;
    proxy.slow(Duration::from_millis(1));
    one.is_online(60).await;
    wait::until(60, "half of the layer has come", async || {
        wait::check(proxy.bytes() > before + LAYER / 2, proxy.bytes())
    })
    .await;
    // So does the source's: its agent dies.
    near.kill();
    near.host_is("unreachable", 60).await;
    near.launch(None, &[]);
    api.succeeded(&job, 120).await;
    let passed = proxy.bytes() - before;
    assert!(passed < LAYER + LAYER / 2, "what had come was not sent again: {passed} bytes for {LAYER}");
    assert_eq!(files(&one, "layers"), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_layer_that_was_altered_on_its_way_is_not_taken_in() {
    let [near_net, _] = FarHost::all().try_into().expect("two further hosts");
    let cluster = Cluster::start_at(near_net.gateway).await;
    let (_, api) = cluster.user("ana").await;
    let near = near_net.online(&cluster, &api, "near").await;
    let proxy = Proxy::start(cluster.agent_port()).await;
    let one = Agent::online_through(&cluster, proxy.address(), &api, "one", &env::docker()).await;
    let image = ready(&api, &json!({"name": "blog", "host": near.host, "dockerfile": dockerfile()})).await;
    proxy.slow(Duration::from_millis(1));
    let before = proxy.bytes();
    let job = api.run(&one.host, "c", &image, json!({})).await;
    wait::until(60, "a part of the layer has come", async || {
        wait::check(proxy.bytes() > before + LAYER / 4, proxy.bytes())
    })
    .await;
    // The source's disk gives other bytes than it took.
    let largest = |files: Vec<PathBuf>| files.into_iter().max_by_key(|file| fs::metadata(file).map_or(0, |m| m.len()));
    let kept = largest(files(&near, "exports")).expect("the layer is kept for its readers");
    let mut bytes = fs::read(&kept).unwrap();
    let last = bytes.len() - 1000;
    bytes[last] ^= 1;
    fs::write(&kept, bytes).unwrap();
    proxy.heal();

    let ended = api.ended(&job.id, 120).await;
    assert_eq!(ended.state, "failed", "{ended:?}");
    let presence = stands(&api, &image, &one.host, "failed", 5).await;
    let error = presence.error.expect("it says why");
    assert!(error["type"].as_str().unwrap().ends_with("image-corrupt"), "{error}");
    assert!(error["detail"].as_str().unwrap().contains("sha256:"), "{error}");
    assert!(!one.docker.has_image(&tag(&image)).await);
    assert_eq!(files(&one, "layers"), Vec::<PathBuf>::new(), "nothing is left of it");
    assert_eq!(api.all::<serde_json::Value>("/v1/containers").await, Vec::<serde_json::Value>::new());
}

#[tokio::test]
async fn an_image_that_is_deleted_while_it_waits_for_a_host_goes_and_a_failed_build_goes_nowhere() {
    let [near_net, _] = FarHost::all().try_into().expect("two further hosts");
    let cluster = Cluster::start_at(near_net.gateway).await;
    let (_, api) = cluster.user("ana").await;
    let one = cluster.host(&api, "one").await;
    let mut near = near_net.online(&cluster, &api, "near").await;
    near.kill();
    near.host_is("unreachable", 60).await;
    let sleeper = format!("FROM {}\n{}", env::BASE_IMAGE, env::SLEEPER);
    let image =
        ready(&api, &json!({"name": "blog", "host": one.host, "hosts": [near.host, one.host], "dockerfile": sleeper}))
            .await;
    let waiting = stands(&api, &image, &near.host, "pending", 1).await;
    let gone = api.delete(&format!("/v1/images/{image}")).await.accepted();
    let copy = api.ended(waiting.job.as_deref().expect("the job that brings it"), 10).await;
    assert_eq!(copy.state, "cancelled");
    near.launch(None, &[]);
    api.succeeded(&gone, 60).await;

    let fails = format!("FROM {}\nRUN exit 3\n", env::BASE_IMAGE);
    let body = json!({"name": "fails", "host": one.host, "hosts": "mine", "dockerfile": fails});
    let job = api.post("/v1/images", &body).await.accepted();
    assert_eq!(api.ended(&job.id, 60).await.error_kind(), Some("build-failed"));
    let copies: Vec<Job> = api.all("/v1/queue?kind=image.copy").await;
    assert!(copies.iter().all(|copy| copy.ended_at.is_some()), "{copies:?}");
    assert_eq!(copies[0].error_kind(), Some("image-not-found"), "{copies:?}");
    assert_eq!(api.all::<Image>("/v1/images").await.len(), 0);
}

#[tokio::test]
async fn a_host_that_is_taken_out_of_service_goes_though_an_image_on_it_is_deleted_meanwhile() {
    let [near_net, _] = FarHost::all().try_into().expect("two further hosts");
    let cluster = Cluster::start_at(near_net.gateway).await;
    let (_, api) = cluster.user("ana").await;
    let mut near = near_net.online(&cluster, &api, "near").await;
    let sleeper = format!("FROM {}\n{}", env::BASE_IMAGE, env::SLEEPER);
    let image = ready(&api, &json!({"name": "blog", "host": near.host, "dockerfile": sleeper})).await;
    near.kill();
    near.host_is("unreachable", 60).await;
    let host_goes = api.delete(&format!("/v1/hosts/{}", near.host)).await.accepted();
    wait::until(30, "the image is to go from the host", async || {
        let parts: Vec<Job> = api.all("/v1/queue?kind=image.remove").await;
        wait::check(parts.len() == 1, parts)
    })
    .await;
    let image_goes = api.delete(&format!("/v1/images/{image}")).await.accepted();
    near.launch(None, &[]);
    api.succeeded(&image_goes, 60).await;
    api.succeeded(&host_goes, 60).await;
    assert!(!near.docker.has_image(&tag(&image)).await);
}

#[tokio::test]
async fn which_hosts_an_image_is_to_be_on_is_checked_one_by_one() {
    let cluster = Cluster::start().await;
    let (_, ana) = cluster.user("ana").await;
    let (_, bob) = cluster.user("bob").await;
    let own = ana.create_host("own").await.0.id;
    let drains = ana.create_host("drains").await.0.id;
    ana.patch(&format!("/v1/hosts/{drains}"), &json!({"draining": true})).await.expect(200);
    let bobs = bob.create_host("bobs").await.0.id;
    let post = async |host: serde_json::Value, hosts: serde_json::Value| {
        let mut body = json!({"name": "blog", "dockerfile": "FROM scratch"});
        if !host.is_null() {
            body["host"] = host;
        }
        if !hosts.is_null() {
            body["hosts"] = hosts;
        }
        ana.post("/v1/images", &body).await
    };
    for (hosts, pointer) in [
        (json!(null), "/host"),
        (json!([]), "/hosts"),
        (json!("some"), "/hosts"),
        (json!([own, bobs]), "/hosts/1"),
        (json!([own, own]), "/hosts/1"),
        (json!(["x"]), "/hosts/0"),
        // Nobody has come to that host yet, and there is no other.
        (json!("mine"), "/hosts"),
        (json!("all"), "/hosts"),
    ] {
        let problem = post(json!(null), hosts.clone()).await.problem(422, "invalid");
        assert_eq!(problem.pointers(), [pointer], "{hosts}: {problem:?}");
    }
    post(json!(own), json!([drains])).await.problem(409, "host-draining");
    post(json!(null), json!(7)).await.problem(422, "invalid");
    assert_eq!(ana.all::<Image>("/v1/images").await.len(), 0);
    let job = post(json!(null), json!([own])).await.accepted();
    assert_eq!(job.host.as_deref(), Some(own.as_str()));
}
