//! P9: a build of which nothing changed beside Docker's own, and an image from host to host beside `docker save | docker load`.

use super::report::{Report, median_with_range, ms, percentile};
use bollard::{Docker, query_parameters::BuildImageOptionsBuilder};
use dockerforge_tests::{agent::Agent, archive, client::Job, cluster::Cluster, env};
use futures_util::StreamExt;
use reqwest::Method;
use serde_json::json;
use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const BLOCKS: usize = 5;
/// Megabytes of what goes from host to host.
const MEGABYTES: u32 = 256;

fn dockerfile() -> String {
    format!("FROM {}\nRUN echo one > /one\nRUN echo two > /two\n{}", env::BASE_IMAGE, env::SLEEPER)
}

async fn ours(agent: &Agent, number: usize) -> Duration {
    let body = json!({"name": format!("bench-{number}"), "host": agent.host, "dockerfile": dockerfile()});
    let begun = Instant::now();
    let answer = agent.api.call(Method::POST, "/v1/images").json(&body).header("prefer", "wait=60").send().await;
    let took = begun.elapsed();
    let job: Job = answer.body();
    assert_eq!(job.state, "succeeded", "{answer}");
    let gone = agent.api.delete(&format!("/v1/images/{}", job.resource_id())).await.accepted();
    agent.api.succeeded(&gone, 60).await;
    took
}

/// With one label, as ours has: it is a step to Docker.
async fn raw(docker: &Docker, tag: &str) -> Duration {
    let text = dockerfile() + "\nLABEL a=1\n";
    let context = archive::tar(&[("Dockerfile", text.as_str())]);
    let options = BuildImageOptionsBuilder::default().t(tag).build();
    let begun = Instant::now();
    let mut steps = std::pin::pin!(docker.build_image(options, None, Some(bollard::body_full(context.into()))));
    while let Some(step) = steps.next().await {
        step.unwrap();
    }
    begun.elapsed()
}

fn seconds(job: &Job) -> f64 {
    let at = |text: &Option<String>| text.as_deref().unwrap().parse::<jiff::Timestamp>().unwrap();
    at(&job.ended_at).duration_since(at(&job.started_at)).as_secs_f64()
}

/// The copy of an image that is built on one host, to the other.
async fn copied(from: &Agent, to: &Agent, name: &str, dockerfile: &str) -> (String, f64) {
    let body = json!({"name": name, "host": from.host, "hosts": [to.host], "dockerfile": dockerfile});
    let job = from.api.post("/v1/images", &body).await.accepted();
    let image = from.api.succeeded(&job, 120).await;
    let copies: Vec<Job> = from.api.all(&format!("/v1/queue?kind=image.copy&host={}", to.host)).await;
    let copy = from.api.ended(&copies[0].id, 300).await;
    assert_eq!(copy.state, "succeeded", "{copy:?}");
    (image, seconds(&copy))
}

/// The same by hand, of an image that the other host does not have.
fn piped(from: &Agent, to: &Agent, tag: &str, dockerfile: &str) -> f64 {
    let docker = |agent: &Agent, words: &[&str]| {
        let mut command = Command::new("docker");
        command.arg("-H").arg(&agent.docker.address).args(words);
        command
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("Dockerfile"), dockerfile).unwrap();
    let path = folder.path().to_str().unwrap();
    assert!(docker(from, &["build", "-q", "-t", tag, path]).stdout(Stdio::null()).status().unwrap().success());
    let begun = Instant::now();
    let mut save = docker(from, &["save", tag]).stdout(Stdio::piped()).spawn().unwrap();
    let mut load = docker(to, &["load", "-q"]);
    load.stdin(save.stdout.take().unwrap()).stdout(Stdio::null());
    assert!(load.status().unwrap().success() && save.wait().unwrap().success());
    let took = begun.elapsed().as_secs_f64();
    for agent in [from, to] {
        assert!(docker(agent, &["rmi", tag]).stdout(Stdio::null()).status().unwrap().success());
    }
    took
}

/// Adds them.
pub async fn measure(report: &mut Report) {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("bench").await;
    let one = cluster.host(&api, "one").await;
    cached(report, &one).await;
    let (_, docker) = env::hosts().into_iter().next().expect("the test bed has further hosts");
    let other = Agent::online(&cluster, &api, "other", &docker).await;
    transfers(report, &one, &other).await;
}

async fn cached(report: &mut Report, agent: &Agent) {
    let tag = format!("dockerforge-bench-{}:raw", std::process::id());
    agent.image("kept", "RUN echo one > /one").await;
    ours(agent, 0).await;
    raw(agent.docker.raw(), &tag).await;
    // Something of ours keeps the layers in the cache while each round's image is removed.
    agent.image("cached", dockerfile().split_once('\n').unwrap().1).await;
    let (mut all_ours, mut all_raw, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for block in 0..BLOCKS {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for (i, ours_now) in [true, false, false, true].into_iter().enumerate() {
            if ours_now {
                a.push(ours(agent, 1 + block * 4 + i).await);
            } else {
                b.push(raw(agent.docker.raw(), &tag).await);
            }
        }
        ratios.push(percentile(&mut a, 0.5).as_secs_f64() / percentile(&mut b, 0.5).as_secs_f64());
        all_ours.append(&mut a);
        all_raw.append(&mut b);
    }
    agent.docker.untag(&tag).await;
    let (median, lowest, highest) = median_with_range(&mut ratios);
    report.add(
        "P9",
        "POST /images → ready of what is in the cache, in times of Docker's own build",
        format!("{median:.2} × ({lowest:.2}–{highest:.2})"),
        "≤ 1.03 ×",
        format!(
            "p50 ours {:.0} ms, raw {:.0} ms",
            ms(percentile(&mut all_ours, 0.5)),
            ms(percentile(&mut all_raw, 0.5))
        ),
    );
}

async fn transfers(report: &mut Report, one: &Agent, other: &Agent) {
    // Each of its own, or the other host would have the layer from the round before.
    let large = |what: String| {
        let fill = format!("dd if=/dev/urandom of=/data bs=1M count={MEGABYTES} 2>/dev/null");
        format!("FROM {}\nRUN : {what}; {fill}", env::BASE_IMAGE)
    };
    let (mut whole, mut top) = (Vec::new(), Vec::new());
    let (mut by_hand, mut by_us, mut changed) = (0.0, 0.0, 0.0);
    for block in 0..BLOCKS {
        let tag = format!("dockerforge-bench-{}:{block}", std::process::id());
        let hand = || piped(one, other, &tag, &large(format!("by hand {block}")));
        let before = (block % 2 == 0).then(hand);
        let (image, took) = copied(one, other, &format!("whole-{block}"), &large(format!("ours {block}"))).await;
        let hand = before.unwrap_or_else(hand);
        let small = format!("FROM dockerforge.invalid/{image}:latest\nRUN echo {block} > /changed");
        let (changed_image, small) = copied(one, other, &format!("top-{block}"), &small).await;
        for image in [changed_image, image] {
            let gone = one.api.delete(&format!("/v1/images/{image}")).await.accepted();
            one.api.succeeded(&gone, 60).await;
        }
        whole.push(hand / took);
        top.push(hand / small);
        (by_hand, by_us, changed) = (by_hand + hand, by_us + took, changed + small);
    }
    let mean = |sum: f64| sum / BLOCKS as f64;
    let note = format!(
        "{MEGABYTES} MB; mean by hand {:.2} s, ours {:.2} s, changed {:.2} s",
        mean(by_hand),
        mean(by_us),
        mean(changed)
    );
    for (what, mut ratios, goal) in [
        ("an image from host to host, as fast as docker save | docker load", whole, "≥ 0.9 ×"),
        ("the same where the top layer alone changed", top, "moves only that layer"),
    ] {
        let (median, lowest, highest) = median_with_range(&mut ratios);
        report.add("P9", what, format!("{median:.2} × ({lowest:.2}–{highest:.2})"), goal, note.clone());
    }
}
