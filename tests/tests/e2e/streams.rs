//! Logs and figures of containers, live, through the public API on the real Docker Engine: exact across a broken
//! connection, bounded with a reader that stops, and nobody else's.

use dockerforge_tests::{
    agent::Agent,
    client::{Api, Events},
    cluster::Cluster,
    env, wait,
};
use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};

/// A container that runs this, and then until it is told to end.
async fn writer(agent: &Agent, name: &str, image: &str, script: &str) -> String {
    agent.container(name, image, json!({"command": ["sh", "-c", script], "restart": "no"})).await
}

async fn image(cluster: &Cluster, api: &Api) -> (Agent, String) {
    let agent = cluster.host(api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    (agent, image)
}

fn logs(container: &str) -> String {
    format!("/v1/containers/{container}/logs")
}

async fn holds(api: &Api, container: &str, text: &str) {
    wait::until(60, &format!("the log says {text:?}"), async || {
        let tail = api.get(&format!("{}?tail=1", logs(container))).await.expect(200).text;
        wait::check(tail.contains(text), tail)
    })
    .await;
}

#[tokio::test]
async fn a_log_that_is_resumed_again_and_again_has_every_line_once() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (agent, image) = image(&cluster, &api).await;
    // Both sources at once, fast and then slowly, so that some is read back and some as it comes.
    let script = "for i in $(seq 1500); do echo out $i; echo err $i >&2; done; \
                  for i in $(seq 1501 1600); do echo out $i; echo err $i >&2; sleep 0.03; done; exit 4";
    let container = writer(&agent, "writer", &image, script).await;
    let (mut out, mut err, mut last) = (Vec::new(), Vec::new(), None::<String>);
    let mut turn = 0;
    let end = 'all: loop {
        let mut events = Events::open(&api, &logs(&container), last.as_deref()).await;
        turn += 1;
        // One after another, then more and more; where it is broken off has no pattern.
        for _ in 0..(turn * turn * 7 % 500 + 1) {
            let Some(event) = events.next().await else { break };
            let data: Value = serde_json::from_str(&event.data).unwrap();
            if event.event == "end" {
                break 'all data;
            }
            let text = data["text"].as_str().unwrap().to_owned();
            if data["stream"] == "stdout" {
                out.push(text)
            } else {
                err.push(text)
            }
            last = Some(event.id);
        }
    };
    assert!(turn > 5, "it was broken off only {turn} times");
    assert_eq!(end, json!({"exit_code": 4}));
    let expected = |word: &str| (1..=1600).map(|i| format!("{word} {i}\n")).collect::<Vec<_>>();
    assert!(out == expected("out"), "{} lines of stdout", out.len());
    assert!(err == expected("err"), "{} lines of stderr", err.len());
    // Behind the last line comes nothing but the end, and the log of what has ended is still there.
    let mut events = Events::open(&api, &logs(&container), last.as_deref()).await;
    assert_eq!(events.next().await.unwrap().event, "end");
    let text = api.get(&format!("{}?stream=stderr&tail=2", logs(&container))).await.expect(200).text;
    // Docker counts the last lines over both sources.
    assert_eq!(text, "err 1600\n");
}

#[tokio::test]
async fn any_part_of_a_log_is_read_as_text() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (agent, image) = image(&cluster, &api).await;
    let script = "echo one; echo two >&2; sleep 1.2; echo three; exec sleep 3600";
    let container = writer(&agent, "writer", &image, script).await;
    holds(&api, &container, "three").await;
    let read = async |query: &str| api.get(&format!("{}?{query}", logs(&container))).await.expect(200).text;
    assert_eq!(read("stream=stdout").await, "one\nthree\n");
    assert_eq!(read("tail=1").await, "three\n");
    let stamped = read("timestamps=true&stream=stdout").await;
    let (at, text) = stamped.lines().nth(1).unwrap().split_once(' ').unwrap();
    assert_eq!(text, "three");
    assert_eq!(read(&format!("since={at}")).await, "three\n");
    for (query, pointer) in [("tail=x", "tail"), ("since=yesterday", "since"), ("stream=stdin", "stream"), ("x=1", "x")]
    {
        let problem = api.get(&format!("{}?{query}", logs(&container))).await.problem(422, "invalid");
        assert!(problem.pointers().contains(&pointer), "{query}: {problem:?}");
    }
    let call = api.call(Method::GET, &logs(&container)).header("accept", "text/event-stream");
    call.header("last-event-id", "5").send().await.problem(422, "invalid");
}

#[tokio::test]
async fn a_reader_that_stops_stops_nobody_and_fills_no_memory() {
    let mut cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (mut agent, image) = image(&cluster, &api).await;
    let script = "seq 20000 | sed \"s/\\$/ $(printf '%0990d' 0)/\"; echo written; exec sleep 3600";
    let container = writer(&agent, "writer", &image, script).await;
    holds(&api, &container, "written").await;
    let before = (cluster.process().rss(), agent.process().rss());
    let stopped = Events::open(&api, &logs(&container), None).await;
    let text = api.get(&logs(&container)).await.expect(200).text;
    assert_eq!(text.lines().count(), 20_001);
    for (i, line) in text.lines().take(20_000).enumerate() {
        assert_eq!(line.split(' ').next().unwrap(), (i + 1).to_string());
    }
    let after = (cluster.process().peak_rss(), agent.process().peak_rss());
    for (name, before, after) in [("coordinator", before.0, after.0), ("agent", before.1, after.1)] {
        assert!(after < before + 16 * 1024 * 1024, "the {name} grew from {before} to {after} bytes");
    }
    // Jobs go on meanwhile.
    let job = api.run(&agent.host, "other", &image, json!({})).await;
    api.succeeded(&job, 60).await;
    drop(stopped);
}

/// Whether the engine itself has readings of a running container.
async fn counts(agent: &Agent, docker_id: &str) -> bool {
    let mut readings = agent.docker.raw().stats(docker_id, None);
    let reading = readings.next().await.unwrap().unwrap();
    reading.memory_stats.and_then(|memory| memory.usage).is_some()
}

#[tokio::test]
async fn figures_come_once_or_every_interval() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (agent, image) = image(&cluster, &api).await;
    let busy = json!({"command": ["sh", "-c", "trap 'exit 0' TERM; while :; do :; done"], "resources": {"memory": 67_108_864}});
    let container = agent.container("busy", &image, busy).await;
    let path = format!("/v1/containers/{container}/stats");
    api.get(&format!("{path}?interval=0")).await.problem(422, "invalid");
    let docker_id = agent.docker.of_container(&container).await[0].id.clone().unwrap();
    if !counts(&agent, &docker_id).await {
        // This engine cannot read this kernel's counters, and `docker stats` shows zeros: that is said, not shown as figures.
        let problem = api.get(&path).await.problem(409, "docker-refused");
        assert!(problem.detail.contains("no figures"), "{problem:?}");
        return;
    }
    let sample = api.get(&path).await.expect(200).json;
    assert!(sample["cpu_percent"].as_f64().unwrap() > 1.0, "{sample}");
    assert_eq!(sample["memory_limit"], 67_108_864);
    assert!(sample["memory_used"].as_u64().unwrap() > 0 && sample["pids"].as_u64().unwrap() > 0, "{sample}");
    let mut events = Events::open(&api, &format!("{path}?interval=1"), None).await;
    for _ in 0..2 {
        let event = events.next().await.unwrap();
        assert_eq!(event.event, "sample");
        let sample: Value = serde_json::from_str(&event.data).unwrap();
        assert_eq!(sample["memory_limit"], 67_108_864);
    }
    agent.docker.raw().kill_container(&docker_id, None).await.unwrap();
    while let Some(event) = events.next().await {
        if event.event == "end" {
            break;
        }
    }
    api.get(&path).await.problem(409, "container-not-running");
}

#[tokio::test]
async fn a_user_has_only_so_many_streams_and_none_of_a_host_that_is_away() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (mut agent, image) = image(&cluster, &api).await;
    let container = agent.container("box", &image, json!({})).await;
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(Events::open(&api, &logs(&container), None).await);
    }
    let refused = api.get(&logs(&container)).await;
    assert!(refused.header("retry-after").is_some());
    refused.problem(429, "too-many-streams");
    open.pop();
    wait::until(10, "a place is free", async || {
        let answer = api.get(&logs(&container)).await;
        wait::check(answer.status == 200, answer.status)
    })
    .await;

    agent.kill();
    for mut events in open {
        assert_eq!(events.next().await, None, "a stream ends with its session, and does not say that it is the end");
    }
    wait::until(10, "the host is offline", async || {
        let answer = api.get(&logs(&container)).await;
        wait::check(answer.status == 503 && answer.header("retry-after").is_some(), answer)
    })
    .await;
}
