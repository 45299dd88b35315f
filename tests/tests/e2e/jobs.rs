//! Jobs: the queue as its users see it: waiting, repeating, cancelling, listing.

use dockerforge_tests::{agent::Agent, client::Job, cluster::Cluster, docker::Witness, env, wait};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// The running containers of builds: those that run this command.
async fn building(marker: &str) -> usize {
    let running = Witness::first().raw().list_containers(None).await.unwrap();
    running.iter().filter(|c| c.command.as_deref().is_some_and(|command| command.contains(marker))).count()
}

#[tokio::test]
async fn waiting_answers_as_soon_as_the_job_ends_and_no_later_than_asked() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let body = json!({"name": "blog", "image": image, "host": agent.host});
    let answer = api.call(Method::POST, "/v1/containers").json(&body).header("prefer", "wait=30").send().await;
    let job: Job = answer.body();
    assert_eq!(job.state, "succeeded", "{answer}");
    assert_eq!(answer.header("location"), Some(format!("/v1/queue/{}", job.id).as_str()));
    assert_eq!(answer.header("preference-applied"), Some("wait=30"));

    let slow = api.build(&agent.host, "slow", &format!("FROM {}\nRUN sleep 600", env::BASE_IMAGE)).await;
    let begun = Instant::now();
    let path = format!("/v1/queue/{}", slow.id);
    let answer = api.call(Method::GET, &path).header("prefer", "wait=1").send().await.expect(200);
    assert!((Duration::from_secs(1)..Duration::from_secs(20)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert!(answer.header("retry-after").is_some(), "an unfinished job says when to ask again: {answer}");
    api.delete(&path).await.accepted();
    api.reaches(&slow.id, "cancelled", 20).await;
    assert!(api.get(&path).await.expect(200).header("retry-after").is_none());
}

#[tokio::test]
async fn one_idempotency_key_is_one_job_and_one_answer() {
    let mut cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let (_, eva) = cluster.user("eva").await;
    let (host, _) = api.create_host("vps").await;
    let body = json!({"name": "blog", "host": host.id, "dockerfile": "FROM scratch"});
    let post = |path: &'static str| api.call(Method::POST, path).json(&body).header("idempotency-key", "k-1");

    let at_once = join_all((0..8).map(|_| post("/v1/images").send())).await;
    let ids: BTreeSet<String> = at_once.into_iter().map(|answer| answer.accepted().id).collect();
    assert_eq!(ids.len(), 1, "I11: {ids:?}");
    let first = ids.first().unwrap();
    assert_eq!(&post("/images").send().await.accepted().id, first, "the mount is not part of the request");
    cluster.crash_and_restart().await;
    assert_eq!(&post("/v1/images").send().await.accepted().id, first, "a restart forgets nothing");
    assert_eq!(api.all::<Job>("/v1/queue").await.len(), 1);

    let other = json!({"name": "other", "host": host.id, "dockerfile": "FROM scratch"});
    let mismatch = api.call(Method::POST, "/v1/images").json(&other).header("idempotency-key", "k-1").send().await;
    mismatch.problem(422, "idempotency-mismatch");
    let elsewhere = api.call(Method::POST, "/v1/containers").json(&body).header("idempotency-key", "k-1").send().await;
    assert_eq!(elsewhere.status, 422);
    // Another user's key of the same letters is another key.
    let (his, _) = eva.create_host("vps").await;
    let body = json!({"name": "blog", "host": his.id, "dockerfile": "FROM scratch"});
    let answer = eva.call(Method::POST, "/v1/images").json(&body).header("idempotency-key", "k-1").send().await;
    assert_ne!(&answer.accepted().id, first);
    // What is shown once is shown again to the one who has the key.
    let tokens = format!("/v1/users/{}/tokens", ana.user.id);
    let make = || api.call(Method::POST, &tokens).json(&json!({"name": "ci"})).header("idempotency-key", "k-2").send();
    let (one, two) = (make().await.expect(201), make().await.expect(201));
    assert_eq!(one.json, two.json);
    // A refused request burns no key.
    let bad = json!({"name": "!", "host": host.id, "dockerfile": "x"});
    api.call(Method::POST, "/v1/images")
        .json(&bad)
        .header("idempotency-key", "k-3")
        .send()
        .await
        .problem(422, "invalid");
    api.call(Method::POST, "/v1/images").json(&other).header("idempotency-key", "k-3").send().await.accepted();
    api.call(Method::POST, "/v1/images")
        .json(&other)
        .header("idempotency-key", "")
        .send()
        .await
        .problem(400, "bad-request");
}

#[tokio::test]
async fn a_queued_job_is_cancelled_at_once_and_leaves_nothing() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (host, _) = api.create_host("vps").await;
    let job = api.build(&host.id, "blog", "FROM scratch").await;
    assert_eq!(job.state, "queued");
    let path = format!("/v1/queue/{}", job.id);
    let cancelled = api.delete(&path).await.accepted();
    assert_eq!(cancelled.state, "cancelled");
    assert_eq!(api.job(&job.id).await.state, "cancelled");
    api.delete(&path).await.problem(409, "job-ended");
    api.get(&format!("/v1/images/{}", job.resource_id())).await.problem(404, "not-found");
    api.build(&host.id, "blog", "FROM scratch").await;
}

#[tokio::test]
async fn cancelling_a_running_build_really_stops_it() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let marker = format!("sleep 60{}", std::process::id());
    let job = api.build(&agent.host, "slow", &format!("FROM {}\nRUN {marker}", env::BASE_IMAGE)).await;
    api.reaches(&job.id, "running", 20).await;
    wait::until(20, "the build's container runs", async || {
        let running = building(&marker).await;
        wait::check(running == 1, running)
    })
    .await;
    let cancelled = api.delete(&format!("/v1/queue/{}", job.id)).await.accepted();
    assert!(matches!(cancelled.state.as_str(), "cancelling" | "cancelled"), "{cancelled:?}");
    api.reaches(&job.id, "cancelled", 20).await;
    wait::until(20, "no container of the build is left", async || {
        let running = building(&marker).await;
        wait::check(running == 0, running)
    })
    .await;
    cluster.nothing_left(10).await;
    api.get(&format!("/v1/images/{}", job.resource_id())).await.problem(404, "not-found");
    // The place that it took is free.
    agent.image("base", env::SLEEPER).await;
}

#[tokio::test]
async fn cancelling_wins_or_loses_against_the_end_and_both_are_clean() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    for (i, pause) in [0, 20, 60, 120, 250].into_iter().enumerate() {
        let job = api.run(&agent.host, &format!("c{i}"), &image, json!({})).await;
        let asked = Instant::now();
        // Every stage of a creation is to be hit by one of these.
        wait::until(5, "the moment to cancel", async || wait::check(asked.elapsed().as_millis() >= pause, ())).await;
        let answer = api.delete(&format!("/v1/queue/{}", job.id)).await;
        assert!(answer.status == 202 || answer.status == 409, "{answer}");
        let ended = api.ended(&job.id, 30).await;
        let container = job.resource_id();
        let found = agent.docker.of_container(&container).await.len();
        match ended.state.as_str() {
            "succeeded" => assert_eq!(found, 1, "{ended:?}"),
            "cancelled" => {
                wait::until(15, "a cancelled container is gone", async || {
                    let left = agent.docker.of_container(&container).await.len();
                    wait::check(left == 0, left)
                })
                .await;
                api.get(&format!("/v1/containers/{container}")).await.problem(404, "not-found");
            }
            _ => panic!("{ended:?}"),
        }
    }
}

#[tokio::test]
async fn the_queue_is_listed_newest_first_filtered_and_paged() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (one, _) = api.create_host("one").await;
    let (two, _) = api.create_host("two").await;
    let mut made = Vec::new();
    for i in 0..7 {
        let host = if i % 2 == 0 { &one.id } else { &two.id };
        made.push(api.build(host, &format!("i{i}"), "FROM scratch").await.id);
    }
    api.delete(&format!("/v1/queue/{}", made[6])).await.accepted();
    made.reverse();
    let ids = async |query: &str| -> Vec<String> {
        api.all::<Job>(&format!("/v1/queue{query}")).await.into_iter().map(|job| job.id).collect()
    };
    assert_eq!(ids("").await, made);
    assert_eq!(ids("?state=cancelled").await, made[..1]);
    assert_eq!(ids("?state=queued").await, made[1..]);
    assert_eq!(ids(&format!("?host={}", two.id)).await.len(), 3);
    assert_eq!(ids("?kind=container.create").await.len(), 0);
    assert_eq!(ids("?kind=image.build&state=queued").await.len(), 6);
    for (query, pointer) in
        [("state=sleeping", "state"), ("kind=x", "kind"), ("host=vps", "host"), ("limit=x", "limit")]
    {
        let problem = api.get(&format!("/v1/queue?{query}")).await.problem(422, "invalid");
        assert_eq!(problem.pointers(), [pointer], "{query}: {problem:?}");
    }
}

#[tokio::test]
async fn a_job_that_no_host_takes_in_time_fails_by_its_deadline() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (host, _) = api.create_host("vps").await;
    let body = json!({"name": "blog", "host": host.id, "dockerfile": "FROM scratch", "deadline": 1});
    let job = api.post("/v1/images", &body).await.accepted();
    let ended = api.ended(&job.id, 30).await;
    assert_eq!((ended.state.as_str(), ended.error_kind()), ("failed", Some("deadline")), "{ended:?}");
    api.get(&format!("/v1/images/{}", job.resource_id())).await.problem(404, "not-found");
}

#[tokio::test]
async fn what_takes_something_out_of_service_cannot_be_cancelled() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let mut agent: Agent = cluster.host(&api, "vps").await;
    agent.image("base", env::SLEEPER).await;
    agent.kill();
    let job = api.delete(&format!("/v1/hosts/{}", agent.host)).await.accepted();
    api.delete(&format!("/v1/queue/{}", job.id)).await.problem(409, "not-cancellable");
    assert!(!api.job(&job.id).await.is_terminal());
}
