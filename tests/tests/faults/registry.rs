//! kill -9 of an agent at each step of bringing an image to the registry and from there: it is there once, on both hosts, and no
//! name of the registry's is left on either.

use dockerforge_tests::{
    agent::Agent,
    client::{Image, Job},
    cluster::Cluster,
    env,
    hosts::FarHost,
    registry::{Lets, Registry},
    wait,
};
use serde_json::json;

/// Whether a step is only passed where there is a registry.
pub fn is_step(step: &str) -> bool {
    step.starts_with("agent.image.push") || step == "agent.image.copy.pulled"
}

async fn names(agent: &Agent, of: &str) -> Vec<String> {
    let images = agent.docker.raw().list_images(None::<bollard::query_parameters::ListImagesOptions>).await.unwrap();
    let names = images.into_iter().flat_map(|image| [image.repo_tags, image.repo_digests].concat());
    names.filter(|name| name.starts_with(of)).collect()
}

#[tokio::test]
async fn an_image_goes_through_the_registry_wherever_an_agent_dies() {
    let mut reserved = None;
    let cluster = Cluster::start_configured(FarHost::all()[0].gateway, |folder| {
        let registry = reserved.insert(Registry::reserve(folder));
        format!("[registry]\naddress = \"{}\"\ninsecure = true\n", registry.address())
    })
    .await;
    let mut registry = reserved.expect("it was reserved");
    registry.start(&Lets::Everybody).await;
    let admin = cluster.admin();
    let mut source = cluster.host(&admin, "source").await;
    let mut target = FarHost::all()[0].online(&cluster, &admin, "target").await;
    for step in dockerforge_agent::FAULT_POINTS.iter().copied().filter(|step| is_step(step)) {
        eprintln!("the agent dies at {step}");
        let dies = if step.starts_with("agent.image.push") { &mut source } else { &mut target };
        dies.kill();
        dies.launch(None, &[("FAILPOINTS", &format!("{step}=panic"))]);
        dies.is_online(30).await;
        let dockerfile = format!("FROM {}\nRUN echo {step} > /step\n", env::BASE_IMAGE);
        let name = step.replace("agent.image.", "");
        let body = json!({"name": name, "host": source.host, "hosts": [target.host], "dockerfile": dockerfile});
        let job = admin.post("/v1/images", &body).await.accepted();
        let dies = if step.starts_with("agent.image.push") { &mut source } else { &mut target };
        dies.process().wait_ended(60).await;
        dies.launch(None, &[]);
        dies.is_online(60).await;
        let image = admin.succeeded(&job, 60).await;
        wait::until(60, "the target has it", async || {
            let image: Image = admin.image(&image).await;
            let there = image.hosts.iter().any(|p| p.host == target.host && p.state == "present");
            wait::check(there, image.hosts)
        })
        .await;
        for kind in ["image.push", "image.copy"] {
            let jobs: Vec<Job> = admin.all(&format!("/v1/queue?kind={kind}")).await;
            assert_eq!(admin.ended(&jobs[0].id, 30).await.state, "succeeded", "{step}: {:?}", jobs[0]);
        }
        for agent in [&source, &target] {
            assert_eq!(names(agent, &registry.address()).await, Vec::<String>::new(), "{step}, on {}", agent.host);
        }
    }
}
