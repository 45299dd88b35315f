//! Two hosts on a network of their own, two Docker Engines, one coordinator: what is meant for one never reaches the
//! other, and one whose cable is pulled holds up nobody and has lost nothing when it is plugged in again.

use dockerforge_tests::{
    client::Image,
    cluster::Cluster,
    docker::Witness,
    env,
    hosts::FarHost,
    invariants::{self, Ledger},
};
use serde_json::json;

/// Which start of which Docker container stands for one of ours: another means that it ran twice.
async fn start_of(docker: &Witness, container: &str) -> (String, String) {
    let [found] = docker.of_container(container).await.try_into().expect("it is there once");
    let id = found.id.unwrap_or_default();
    let state = docker.inspect(&id).await.and_then(|found| found.state).expect("it has a state");
    assert_eq!(state.running, Some(true), "{state:?}");
    (id, state.started_at.unwrap_or_default())
}

#[tokio::test]
async fn two_engines_work_at_once_and_one_that_is_cut_off_and_healed_loses_nothing() {
    let [near_net, far_net] = FarHost::all().try_into().expect("two further hosts");
    let cluster = Cluster::start_at(far_net.gateway).await;
    let (_, api) = cluster.user("ana").await;
    let mut near = near_net.online(&cluster, &api, "near").await;
    let mut far = far_net.online(&cluster, &api, "far").await;
    let mut ledger = Ledger::default();
    ledger.stranger(&near.docker).await;
    ledger.stranger(&far.docker).await;

    let sleeper = format!("FROM {}\n{}", env::BASE_IMAGE, env::SLEEPER);
    let (one, two) = tokio::join!(api.build(&near.host, "near", &sleeper), api.build(&far.host, "far", &sleeper));
    let (near_image, far_image) = tokio::join!(api.succeeded(&one, 60), api.succeeded(&two, 60));
    let shown: Vec<Image> = api.all(&format!("/v1/images?host={}", far.host)).await;
    assert_eq!(shown.iter().map(|i| i.id.as_str()).collect::<Vec<_>>(), [far_image.as_str()]);
    let tag = |image: &str| format!("dockerforge.invalid/{image}:latest");
    assert!(near.docker.has_image(&tag(&near_image)).await && !near.docker.has_image(&tag(&far_image)).await);
    assert!(far.docker.has_image(&tag(&far_image)).await && !far.docker.has_image(&tag(&near_image)).await);

    let kept = far.container("kept", &far_image, json!({})).await;
    api.observed(&kept, "running", 10).await;
    let before = start_of(&far.docker, &kept).await;
    let slow = api.build(&far.host, "slow", &format!("FROM {}\nRUN sleep 3; echo far-away", env::BASE_IMAGE)).await;
    api.says(&slow.id, "Running in", 20).await;
    ledger.see(&api.job(&slow.id).await);
    let cut = far_net.cut();
    let queued = api.run(&far.host, "later", &far_image, json!({})).await;
    ledger.see(&queued);
    // The other host does not notice.
    let id = near.container("now", &near_image, json!({})).await;
    api.observed(&id, "running", 10).await;
    let host = far.host_is("unreachable", 60).await;
    assert!(host.unusable.is_some(), "{host:?}");
    api.observed(&kept, "unknown", 5).await;
    api.observed(&id, "running", 1).await;
    near.is_online(1).await;
    assert_eq!(start_of(&far.docker, &kept).await, before, "silence kills nothing");
    ledger.look(&api).await;

    drop(cut);
    far.is_online(45).await;
    ledger.all_end(&api, 60).await;
    let ended = api.job(&slow.id).await;
    assert_eq!((ended.state.as_str(), ended.attempt), ("succeeded", 1), "{ended:?}");
    assert!(api.log(&slow.id).await.text.contains("far-away"));
    let later = api.succeeded(&queued, 30).await;
    assert_eq!(far.docker.of_container(&later).await.len(), 1);
    assert_eq!(near.docker.of_container(&later).await.len(), 0);
    api.observed(&kept, "running", 20).await;
    assert_eq!(start_of(&far.docker, &kept).await, before, "nothing ran twice");

    // Both go at once, and each takes its own.
    let mut jobs = Vec::new();
    for container in [&id, &later, &kept] {
        jobs.push(api.delete(&format!("/v1/containers/{container}")).await.accepted());
    }
    for job in &jobs {
        ledger.see(job);
        api.succeeded(job, 30).await;
    }
    ledger.look(&api).await;
    assert!(ledger.jobs().all(|job| job.state == "succeeded"));
    // Each host's Docker has what the API shows for that host, and the strangers are where they were.
    invariants::strangers_untouched(&ledger).await;
}
