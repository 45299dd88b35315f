//! Job logs: live while the work goes on, exact from any offset, and as cheap for a large log and a slow reader as for
//! a small and quick one.

use dockerforge_tests::{
    client::{Api, Events, Job},
    cluster::Cluster,
    env, wait,
};
use reqwest::Method;
use std::time::{Duration, Instant};

/// A build that writes a line every half second, with a word beyond ASCII and a carriage return in each.
fn chatty(lines: u32) -> String {
    format!(
        "FROM {}\nRUN for i in $(seq {lines}); do printf '50%%\\r'; echo \"liña $i €\"; sleep 0.5; done",
        env::BASE_IMAGE
    )
}

async fn uncached(api: &Api, host: &str, name: &str, dockerfile: &str) -> Job {
    let body = serde_json::json!({"name": name, "host": host, "dockerfile": dockerfile, "no_cache": true});
    api.post("/v1/images", &body).await.accepted()
}

#[tokio::test]
async fn a_log_streams_while_the_build_runs_and_resumes_where_its_reader_was() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let job = uncached(&api, &agent.host, "chatty", &chatty(10)).await;
    let path = format!("/v1/queue/{}/log", job.id);

    let mut events = Events::open(&api, &path, None).await;
    let mut text = String::new();
    let mut last_id = String::new();
    while !text.contains("liña 3 €") {
        let event = events.next().await.expect("the log goes on");
        assert_eq!(event.event, "log", "{event:?}");
        text.push_str(&event.data);
        assert_eq!(event.id, text.len().to_string(), "an event's id is the offset after it");
        last_id = event.id;
    }
    assert_eq!(api.job(&job.id).await.state, "running", "the log is live");
    let running = api.job(&job.id).await;
    assert!(
        running.progress.as_ref().is_some_and(|p| p["step"].as_str().is_some_and(|s| s.contains('2'))),
        "{running:?}"
    );
    drop(events);

    // Another connection goes on after the last event that was seen, to the end.
    let mut events = Events::open(&api, &path, Some(&last_id)).await;
    let state = loop {
        let event = events.next().await.expect("the log ends with its end");
        if event.event == "end" {
            break event.data;
        }
        text.push_str(&event.data);
    };
    assert_eq!(state, "succeeded");
    assert!(events.next().await.is_none(), "after the end comes nothing");
    let whole = api.log(&job.id).await;
    assert_eq!(text, whole.text, "I12: what was streamed in two parts is the log");
    for i in 1..=10 {
        assert_eq!(text.matches(&format!("liña {i} €\n")).count(), 1, "line {i} in {text}");
    }
    assert!(text.contains("50%\rliña 3 €\n"), "a carriage return is no line end: {text:?}");
    // A reader that comes late gets it all at once.
    let mut late = Events::open(&api, &path, None).await;
    let mut again = String::new();
    while let Some(event) = late.next().await.filter(|event| event.event == "log") {
        again.push_str(&event.data);
    }
    assert_eq!(again, text);
}

#[tokio::test]
async fn any_part_of_a_log_is_read_by_its_offset() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let job = uncached(&api, &agent.host, "chatty", &format!("FROM {}\nRUN seq 2000", env::BASE_IMAGE)).await;
    api.succeeded(&job, 60).await;
    let path = format!("/v1/queue/{}/log", job.id);
    let whole = api.get(&path).await.expect(200);
    assert!(whole.header("content-type").unwrap().starts_with("text/plain"));
    let size = whole.text.len();
    assert_eq!(whole.header("dockerforge-log-next"), Some(size.to_string().as_str()));
    assert_eq!(api.job(&job.id).await.log.size, size as u64);
    assert!(whole.text.contains("\n1999\n2000\n"));
    for offset in [0, 1, 100, size / 2, size - 1, size, size + 1] {
        let part = api.get(&format!("{path}?offset={offset}")).await.expect(200);
        assert_eq!(part.text, whole.text.get(offset..).unwrap_or_default(), "from {offset}");
        let next = size.max(offset).to_string();
        assert_eq!(part.header("dockerforge-log-next"), Some(next.as_str()), "from {offset}");
    }
    for query in ["offset=-1", "offset=x", "from=1"] {
        api.get(&format!("{path}?{query}")).await.problem(422, "invalid");
    }
    let stream = api.call(Method::GET, &path).header("accept", "text/event-stream").header("last-event-id", "x");
    stream.send().await.problem(422, "invalid");
}

/// 64 MiB, beyond which neither side may grow whatever the log's size.
const BOUND: u64 = 64 << 20;

#[tokio::test]
async fn fifty_megabytes_of_log_pass_through_small_processes_and_a_stuck_reader_stops_nobody() {
    let mut cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let mut agent = cluster.host(&api, "vps").await;
    agent.image("warm-up", "RUN echo warm").await;
    let (coordinator_before, agent_before) = (cluster.process().rss(), agent.process().rss());

    let line = "0123456789".repeat(10);
    let lines = 50_000_000 / (line.len() + 1);
    let dockerfile = format!("FROM {}\nRUN yes {line} | head -n {lines}", env::BASE_IMAGE);
    let job = uncached(&api, &agent.host, "large", &dockerfile).await;
    api.reaches(&job.id, "running", 20).await;
    // It opens the stream, and never reads more than the first event.
    let mut stuck = Events::open(&api, &format!("/v1/queue/{}/log", job.id), None).await;
    stuck.next().await.expect("a first event");

    let begun = Instant::now();
    let mut quick = Events::open(&api, &format!("/v1/queue/{}/log", job.id), None).await;
    let mut received = 0;
    while let Some(event) = quick.next().await.filter(|event| event.event == "log") {
        received = event.id.parse::<u64>().unwrap();
    }
    let ended = api.ended(&job.id, 240).await;
    assert_eq!(ended.state, "succeeded", "{ended:?}");
    assert!(ended.log.size > 50_000_000, "{}", ended.log.size);
    assert_eq!(received, ended.log.size, "the quick reader got all of it");
    // Whoever works on another thing is not held up either.
    agent.image("beside", "RUN echo beside").await;

    let coordinator = cluster.process().peak_rss().saturating_sub(coordinator_before);
    let on_host = agent.process().peak_rss().saturating_sub(agent_before);
    eprintln!(
        "50 MB of log in {:?}: the coordinator grew by {} MiB, the agent by {} MiB",
        begun.elapsed(),
        coordinator >> 20,
        on_host >> 20
    );
    assert!(coordinator < BOUND, "the coordinator grew by {coordinator} bytes");
    assert!(on_host < BOUND, "the agent grew by {on_host} bytes");

    // The stored log is exact: nothing twice, nothing missing.
    let text = api.get(&format!("/v1/queue/{}/log", job.id)).await.expect(200).text;
    assert_eq!(text.lines().filter(|l| *l == line).count(), lines);
    drop(stuck);
}

#[tokio::test]
async fn a_log_is_exact_after_the_network_and_the_coordinator_failed_in_between() {
    let mut cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let proxy = dockerforge_tests::proxy::Proxy::start(cluster.agent_port()).await;
    let mut agent =
        dockerforge_tests::agent::Agent::online_through(&cluster, proxy.address(), &api, "vps", &env::docker()).await;
    let job = uncached(&api, &agent.host, "chatty", &chatty(24)).await;
    let said = async |line: u32| api.says(&job.id, &format!("liña {line} €"), 30).await;
    said(4).await;
    proxy.cut();
    let begun = Instant::now();
    wait::until(10, "two seconds of silence pass", async || wait::check(begun.elapsed() > Duration::from_secs(2), ()))
        .await;
    proxy.heal();
    said(10).await;
    cluster.crash_and_restart().await;
    agent.is_online(45).await;
    let ended = api.ended(&job.id, 60).await;
    assert_eq!((ended.state.as_str(), ended.attempt), ("succeeded", 1), "{ended:?}");
    let text = api.log(&job.id).await.text;
    for i in 1..=24 {
        assert_eq!(text.matches(&format!("liña {i} €\n")).count(), 1, "I12: line {i} in {text}");
    }
}

#[tokio::test]
async fn a_log_that_was_kept_long_enough_is_gone_and_says_so() {
    let mut cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let job = api.build(&agent.host, "short", &format!("FROM {}\nRUN echo said", env::BASE_IMAGE)).await;
    api.succeeded(&job, 60).await;
    let path = format!("/v1/queue/{}/log", job.id);
    assert!(api.get(&path).await.expect(200).text.contains("said"));
    cluster.kill();
    cluster.launch(&[("DOCKERFORGE_LOG_RETENTION_DAYS", "0")]).await;
    // The reaper begins half a minute after the start.
    wait::until(60, "the log is gone", async || {
        let answer = api.get(&path).await;
        wait::check(answer.status != 200, answer.text)
    })
    .await;
    api.get(&path).await.problem(410, "log-removed");
    api.call(Method::GET, &path).header("Accept", "text/event-stream").send().await.problem(410, "log-removed");
    assert_eq!(api.job(&job.id).await.state, "succeeded", "the job itself is kept");
}
