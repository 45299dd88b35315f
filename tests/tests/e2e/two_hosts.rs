//! Two hosts, two Docker Engines, one coordinator: what is meant for one never reaches the other, and one that is cut
//! off holds up nobody.

use dockerforge_tests::{
    agent::Agent,
    client::Image,
    cluster::Cluster,
    env,
    invariants::{self, Ledger},
    proxy::Proxy,
};
use serde_json::json;

#[tokio::test]
async fn two_engines_work_at_once_and_one_that_is_cut_off_and_healed_loses_nothing() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (_, second_socket) = env::hosts().swap_remove(0);
    let proxy = Proxy::start(cluster.agent_port()).await;
    let near = cluster.host(&api, "near").await;
    let mut far = Agent::online_through(&cluster, proxy.address(), &api, "far", &second_socket).await;
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

    let wrong = json!({"name": "x", "image": near_image, "host": far.host});
    api.post("/v1/containers", &wrong).await.problem(422, "invalid");

    let slow = api.build(&far.host, "slow", &format!("FROM {}\nRUN sleep 3; echo far-away", env::BASE_IMAGE)).await;
    api.says(&slow.id, "Running in", 20).await;
    ledger.see(&api.job(&slow.id).await);
    proxy.cut();
    let queued = api.run(&far.host, "later", &far_image, json!({})).await;
    ledger.see(&queued);
    // The other host does not notice.
    let id = near.container("now", &near_image, json!({})).await;
    api.observed(&id, "running", 10).await;
    far.host_is("unreachable", 60).await;
    assert_eq!(api.host(&near.host).await.state, "online");
    ledger.look(&api).await;

    proxy.heal();
    far.is_online(45).await;
    ledger.all_end(&api, 60).await;
    let ended = api.job(&slow.id).await;
    assert_eq!((ended.state.as_str(), ended.attempt), ("succeeded", 1), "{ended:?}");
    let later = api.succeeded(&queued, 30).await;
    assert_eq!(far.docker.of_container(&later).await.len(), 1);
    assert_eq!(near.docker.of_container(&later).await.len(), 0);

    // Both go at once, and each takes its own.
    let jobs = [
        api.delete(&format!("/v1/containers/{id}")).await.accepted(),
        api.delete(&format!("/v1/containers/{later}")).await.accepted(),
    ];
    for job in &jobs {
        ledger.see(job);
        api.succeeded(job, 30).await;
    }
    ledger.look(&api).await;
    assert!(ledger.jobs().all(|job| job.state == "succeeded"));
    // Each host's Docker has what the API shows for that host, and the strangers are where they were.
    invariants::strangers_untouched(&ledger).await;
}
