//! What can go wrong while an image is built of a configuration: each says what it was in the job, with the last words of the step
//! that failed, and leaves no image, no container and no secret on the host.

use dockerforge_tests::{
    agent::Agent,
    archive,
    client::{Api, Image},
    cluster::Cluster,
    docker::Witness,
    env,
    recipes::{configuration, page, put_archive, template},
};
use serde_json::json;
use std::{collections::BTreeSet, fs};

/// A secret that must not be left anywhere.
const SECRET: &str = "never-to-be-found-on-a-disk";

/// Docker's ids of all images and containers that are there.
async fn everything(docker: &Witness) -> BTreeSet<String> {
    use bollard::query_parameters::{ListContainersOptionsBuilder, ListImagesOptionsBuilder};
    let images = docker.raw().list_images(Some(ListImagesOptionsBuilder::default().all(true).build())).await.unwrap();
    let containers = ListContainersOptionsBuilder::default().all(true).build();
    let containers = docker.raw().list_containers(Some(containers)).await.unwrap();
    images.into_iter().map(|image| image.id).chain(containers.into_iter().filter_map(|c| c.id)).collect()
}

/// Builds an image of a template of one script; how its job failed: the kind and the words.
async fn fails(api: &Api, agent: &Agent, name: &str, script: &str) -> (String, String) {
    let mut body = page();
    body["name"] = json!(name);
    let template = template(api, &body).await;
    put_archive(api, &template, archive::gzip(&archive::tar(&[("page.sh", script)]))).await;
    let configuration = configuration(api, name, &template, json!({"title": "x", "password": SECRET})).await;
    let body = json!({"name": name, "host": agent.host, "configuration": configuration});
    let job = api.post("/v1/images", &body).await.accepted();
    let ended = api.ended(&job.id, 120).await;
    assert_eq!((ended.state.as_str(), ended.attempt), ("failed", 1), "{ended:?}");
    let error = ended.error.unwrap();
    (error.kind().to_owned(), error.detail)
}

#[tokio::test]
async fn a_build_without_a_network_says_what_it_could_not_reach() {
    let cluster = Cluster::start().await;
    cluster.is_secret(SECRET);
    let (_, api) = cluster.user("ana").await;
    let agent = Agent::online(&cluster, &api, "small", &env::small()).await;
    let before = everything(&agent.docker).await;
    // RFC 5737: nobody is there. What has no route says so at once, what has one waits.
    let script = "echo fetching\nnc -w 2 192.0.2.1 80 </dev/null\necho after\n";
    let (kind, detail) = fails(&api, &agent, "cut-off", script).await;
    assert_eq!(kind, "build-failed", "{detail}");
    assert!(
        detail.contains("nc: ") && detail.contains("page failed: exit code 1") && !detail.contains("after"),
        "{detail}"
    );
    assert_eq!(everything(&agent.docker).await, before, "what the build made is gone");
    assert_eq!(api.all::<Image>("/v1/images").await.len(), 0);
}

#[tokio::test]
async fn a_base_image_that_lacks_its_provisioner_is_told_what_it_lacks() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    for (provisioner, lacks) in [
        ("chef-solo", "the base image has no chef-solo: take one that has it, with chef-solo on its PATH"),
        ("ansible", "the base image has neither ansible-playbook nor apt-get to install it with"),
    ] {
        let mut body = page();
        (body["name"], body["provisioner"]) = (json!(provisioner), json!(provisioner));
        let template = template(&api, &body).await;
        let configuration = configuration(&api, provisioner, &template, json!({"title": "x"})).await;
        let asked = json!({"name": provisioner, "host": agent.host, "configuration": configuration});
        let job = api.post("/v1/images", &asked).await.accepted();
        let error = api.ended(&job.id, 120).await.error.expect("it fails");
        assert_eq!(error.kind(), "build-failed", "{error:?}");
        assert!(error.detail.ends_with(lacks) && error.detail.contains("install.sh"), "{error:?}");
    }
}

#[tokio::test]
async fn a_build_that_fills_the_disk_says_so_and_leaves_it_as_it_was() {
    let cluster = Cluster::start().await;
    cluster.is_secret(SECRET);
    let (_, api) = cluster.user("ana").await;
    let agent = Agent::online(&cluster, &api, "small", &env::small()).await;
    let before = everything(&agent.docker).await;
    let (kind, detail) = fails(&api, &agent, "full", "dd if=/dev/zero of=/big bs=1M count=1000\n").await;
    assert_eq!(kind, "disk-full", "{detail}");
    assert!(detail.contains("No space left on device"), "{detail}");
    assert_eq!(everything(&agent.docker).await, before, "what the build made is gone");
    // There is room again.
    agent.image("fits", "RUN dd if=/dev/zero of=/some bs=1M count=50").await;
    for file in fs::read_dir(agent.state().join("spool")).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains(SECRET));
    }
}
