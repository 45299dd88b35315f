//! Programs in containers: their output is the job's log, their code its result, and they end when they have to.

use dockerforge_protocol::command::docker_name;
use dockerforge_tests::{agent::Agent, client::Api, cluster::Cluster, env, wait};
use serde_json::{Value, json};

async fn scene(cluster: &Cluster) -> (Api, Agent, String) {
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let id = agent.container("blog", &image, json!({})).await;
    (api, agent, id)
}

async fn exec(api: &Api, id: &str, body: Value) -> dockerforge_tests::client::Job {
    api.post(&format!("/v1/containers/{id}/exec"), &body).await.accepted()
}

#[tokio::test]
async fn a_programs_output_is_the_log_and_its_code_the_result() {
    let cluster = Cluster::start().await;
    let (api, _agent, id) = scene(&cluster).await;
    let body = json!({"command": ["sh", "-c", "echo \"$A\"; pwd; id -u; echo wrong >&2; exit 7"],
                      "env": {"A": "$ ' \\ \" é"}, "user": "1000", "workdir": "/tmp"});
    let job = exec(&api, &id, body).await;
    assert_eq!(job.kind, "container.exec");
    let ended = api.ended(&job.id, 30).await;
    assert_eq!((ended.state.as_str(), ended.result.unwrap()["exit_code"].as_i64()), ("succeeded", Some(7)));
    let mut lines: Vec<_> = api.log(&job.id).await.text.lines().map(ToOwned::to_owned).collect();
    lines.sort();
    let mut expected = ["$ ' \\ \" é", "/tmp", "1000", "wrong"];
    expected.sort_unstable();
    assert_eq!(lines, expected);
    // What is not there to be run says so, with the code of a shell.
    let ended = api.ended(&exec(&api, &id, json!({"command": ["/no/such/program"]})).await.id, 30).await;
    assert!(ended.state == "failed" || ended.result.unwrap()["exit_code"].as_i64() >= Some(126));
}

#[tokio::test]
async fn a_program_is_killed_when_it_is_cancelled_and_when_its_time_is_over() {
    let cluster = Cluster::start().await;
    let (api, agent, id) = scene(&cluster).await;
    let runs = async || {
        let top = agent.docker.raw().top_processes(&docker_name(id.parse().unwrap()), None).await.unwrap();
        top.processes.unwrap_or_default().iter().filter(|line| line.join(" ").contains("sleep 4711")).count()
    };
    let script = json!(["sh", "-c", "echo begun; sleep 4711 & sleep 4711"]);
    for user in [Value::Null, json!("1000")] {
        let job = exec(&api, &id, json!({"command": script, "user": user})).await;
        api.says(&job.id, "begun", 20).await;
        assert_eq!(api.get(&format!("/v1/queue/{}", job.id)).await.status, 200);
        api.delete(&format!("/v1/queue/{}", job.id)).await.accepted();
        assert_eq!(api.ended(&job.id, 20).await.state, "cancelled");
        wait::until(10, "nothing of it runs", async || wait::check(runs().await == 0, runs().await)).await;
    }
    let job = exec(&api, &id, json!({"command": script, "deadline": 2})).await;
    // A stop does not wait for a program that runs; here the deadline is the sooner.
    assert_eq!(api.ended(&job.id, 30).await.error_kind(), Some("deadline"));
    wait::until(10, "nothing of it runs", async || wait::check(runs().await == 0, runs().await)).await;

    let job = exec(&api, &id, json!({"command": script})).await;
    api.says(&job.id, "begun", 20).await;
    let stop = api.post(&format!("/v1/containers/{id}/stop"), &json!({"grace": 0})).await.accepted();
    api.succeeded(&stop, 30).await;
    let ended = api.ended(&job.id, 30).await;
    assert_eq!(ended.result.map(|result| result["exit_code"].as_i64()), Some(Some(137)));
}

#[tokio::test]
async fn what_cannot_run_is_refused_in_words() {
    let cluster = Cluster::start().await;
    let (api, agent, id) = scene(&cluster).await;
    let path = format!("/v1/containers/{id}/exec");
    for (body, pointer) in [
        (json!({"command": []}), "/command"),
        (json!({"command": ["a\u{0}"]}), "/command/0"),
        (json!({"command": ["a"], "env": {"A=B": "x"}}), "/env/A=B"),
        (json!({"command": ["a"], "user": "a b"}), "/user"),
        (json!({"command": ["a"], "workdir": "x"}), "/workdir"),
        (json!({"command": ["a"], "deadline": 0}), "/deadline"),
        (json!({"command": "ls"}), "/command"),
        (json!({"command": ["a"], "privileged": true}), "/privileged"),
    ] {
        let problem = api.post(&path, &body).await.problem(422, "invalid");
        assert_eq!(problem.pointers(), [pointer], "{body}");
    }
    let never = "/v1/containers/ctr_0192f0c1a2b37c4d8e5f60718293a4b5/exec";
    api.post(never, &json!({"command": ["true"]})).await.problem(404, "not-found");
    // One that ended by itself runs nothing either: its host says so.
    let docker_id = api.observed(&id, "running", 10).await.observed.docker_id.unwrap();
    agent.docker.stop(&docker_id).await;
    let ended = api.ended(&exec(&api, &id, json!({"command": ["true"]})).await.id, 30).await;
    assert_eq!(ended.error_kind(), Some("container-not-running"), "{ended:?}");
    let stop = api.post(&format!("/v1/containers/{id}/stop"), &json!({})).await.accepted();
    api.succeeded(&stop, 30).await;
    let problem = api.post(&path, &json!({"command": ["true"]})).await.problem(409, "container-not-running");
    assert!(problem.detail.contains(&id), "{problem:?}");
}
