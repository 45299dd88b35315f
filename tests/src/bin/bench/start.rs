//! P1: from POST /containers to a running container, beside the same container made through Docker's own API, in
//! alternating blocks A B B A, so that what slows the machine slows both.

use super::report::{Report, median_with_range, ms, percentile};
use bollard::{
    Docker,
    models::{ContainerCreateBody, HostConfig, NetworkCreateRequest},
    query_parameters::CreateContainerOptionsBuilder,
};
use dockerforge_tests::{agent::Agent, client::Job, cluster::Cluster, env};
use reqwest::Method;
use serde_json::json;
use std::time::{Duration, Instant};

const BLOCKS: usize = 6;
const RUNS_A_BLOCK: usize = 4;

async fn ours(agent: &Agent, image: &str, number: usize) -> Duration {
    let body = json!({"name": format!("bench-{number}"), "image": image, "host": agent.host, "restart": "no"});
    let begun = Instant::now();
    let answer = agent.api.call(Method::POST, "/v1/containers").json(&body).header("prefer", "wait=60").send().await;
    let took = begun.elapsed();
    let job: Job = answer.body();
    assert_eq!(job.state, "succeeded", "{answer}");
    let gone = agent.api.delete(&format!("/v1/containers/{}", job.resource_id())).await.accepted();
    agent.api.succeeded(&gone, 60).await;
    took
}

async fn raw(docker: &Docker, image: &str, network: &str, number: usize) -> Duration {
    let name = format!("dockerforge-bench-raw-{}-{number}", std::process::id());
    let options = CreateContainerOptionsBuilder::default().name(&name).build();
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        host_config: Some(HostConfig { network_mode: Some(network.to_owned()), ..Default::default() }),
        ..Default::default()
    };
    let begun = Instant::now();
    docker.create_container(Some(options), body).await.unwrap();
    docker.start_container(&name, None).await.unwrap();
    let took = begun.elapsed();
    let options = bollard::query_parameters::StopContainerOptionsBuilder::default().t(5).build();
    docker.stop_container(&name, Some(options)).await.unwrap();
    docker.remove_container(&name, None).await.unwrap();
    took
}

/// Adds P1.
pub async fn measure(report: &mut Report) {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("bench").await;
    let agent = cluster.host(&api, "host").await;
    let image = agent.image("base", env::SLEEPER).await;
    let tag = format!("dockerforge.invalid/{image}:latest");
    let docker = agent.docker.raw();
    let network = format!("dockerforge-bench-{}", std::process::id());
    let request = NetworkCreateRequest { name: network.clone(), ..Default::default() };
    docker.create_network(request).await.unwrap();

    // The first of each pays for what is made once: the user's network, Docker's caches.
    ours(&agent, &image, 0).await;
    raw(docker, &tag, &network, 0).await;
    let (mut all_ours, mut all_raw, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut number = 1;
    for _ in 0..BLOCKS {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for ours_now in [true, false, false, true] {
            for _ in 0..RUNS_A_BLOCK / 2 {
                number += 1;
                if ours_now {
                    a.push(ours(&agent, &image, number).await);
                } else {
                    b.push(raw(docker, &tag, &network, number).await);
                }
            }
        }
        ratios.push(percentile(&mut a, 0.5).as_secs_f64() / percentile(&mut b, 0.5).as_secs_f64());
        all_ours.append(&mut a);
        all_raw.append(&mut b);
    }
    docker.remove_network(&network).await.unwrap();
    let (median, lowest, highest) = median_with_range(&mut ratios);
    report.add(
        "P1",
        "POST /containers → running, in times of raw create + start, own network",
        format!("{median:.2} × ({lowest:.2}–{highest:.2})"),
        "≤ 1.03 ×",
        format!(
            "p50 ours {:.0} ms, raw {:.0} ms; {BLOCKS} blocks A B B A of {RUNS_A_BLOCK} each",
            ms(percentile(&mut all_ours, 0.5)),
            ms(percentile(&mut all_raw, 0.5))
        ),
    );
}
