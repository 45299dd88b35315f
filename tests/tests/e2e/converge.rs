//! Converging a container that runs, on the real Docker: what its configuration says comes about without making it anew,
//! each change is told, and a second converge changes nothing. Its secrets are where they are needed and nowhere else.

use dockerforge_tests::{
    agent::Agent,
    client::{Api, Job},
    cluster::Cluster,
    env,
    hosts::FarHost,
    recipes::{configuration, page_template},
    wait,
};
use reqwest::Method;
use serde_json::{Value, json};

/// A password that shells, YAML, SQL and JSON would each trip over.
const PASSWORD: &str = "$a 'b\\ \"c`d \u{f1} to-the-very-end";

async fn converge(api: &Api, container: &str, body: Value) -> Job {
    api.post(&format!("/v1/containers/{container}/converge"), &body).await.accepted()
}

/// What a converge changed.
async fn changed(api: &Api, container: &str) -> Vec<String> {
    let job = converge(api, container, json!({})).await;
    api.succeeded(&job, 60).await;
    let result = api.job(&job.id).await.result.expect("a result");
    let resources = result["resources"].as_array().expect("the resources").clone();
    resources.iter().map(|resource| resource["resource"].as_str().unwrap().to_owned()).collect()
}

async fn patch(api: &Api, id: &str, body: Value) {
    api.call(Method::PATCH, &format!("/v1/configurations/{id}")).json(&body).send().await.expect(200);
}

/// A container of a configuration, with its host: the configuration's id, the container's, and its port.
async fn launched(cluster: &Cluster, api: &Api, parameters: Value) -> (Agent, String, String, u16) {
    let agent = cluster.host(api, "vps").await;
    let id = configuration(api, "blog", &page_template(api).await, parameters).await;
    let job =
        api.post("/v1/images", &json!({"name": "blog", "host": agent.host, "configuration": id})).await.accepted();
    let image = api.succeeded(&job, 120).await;
    let container = agent.container("blog", &image, json!({"ports": [{"container": 8080}]})).await;
    let port = wait::until(20, "the port is seen", async || {
        let observed = api.container(&container).await.observed;
        observed.ports.first().map(|port| port.host).ok_or_else(|| format!("{observed:?}"))
    })
    .await;
    (agent, id, container, port)
}

async fn served(port: u16) -> Value {
    wait::until(20, "the page is served", async || {
        let answer = reqwest::get(format!("http://127.0.0.1:{port}/")).await.map_err(|e| e.to_string())?;
        answer.json::<Value>().await.map_err(|e| e.to_string())
    })
    .await
}

/// How many of the slow script's programs run, and which nodes are in memory.
async fn left(api: &Api, container: &str) -> String {
    let look = json!({"command": ["sh", "-c", "ps | grep -c '[s]leep 4321'; ls /dev/shm"]});
    let look = api.post(&format!("/v1/containers/{container}/exec"), &look).await.accepted();
    api.succeeded(&look, 30).await;
    api.log(&look.id).await.text.trim().to_owned()
}

#[tokio::test]
async fn a_running_container_becomes_what_its_configuration_says_and_a_second_converge_changes_nothing() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (agent, id, container, port) = launched(&cluster, &api, json!({"title": "one", "password": PASSWORD})).await;
    let before = agent.docker.of_container(&container).await.remove(0).id;
    assert_eq!(served(port).await["password"], PASSWORD, "it was converged when it was made");

    assert_eq!(changed(&api, &container).await, [""; 0]);
    patch(&api, &id, json!({"parameters": {"title": "two"}, "run_list": ["extra"]})).await;
    assert_eq!(served(port).await["title"], "one", "a patch alone changes nothing");
    assert_eq!(changed(&api, &container).await, ["page", "extra"]);
    assert_eq!((&served(port).await["title"], &served(port).await["password"]), (&json!("two"), &json!(PASSWORD)));
    assert_eq!(changed(&api, &container).await, [""; 0]);
    // Back to an earlier version, if that is asked for.
    let path = format!("/v1/containers/{container}/converge");
    let back = async || {
        let call = api.call(Method::POST, &path).header("Idempotency-Key", "back");
        call.json(&json!({"configuration_version": 1})).send().await
    };
    let job = back().await.accepted();
    api.succeeded(&job, 60).await;
    assert_eq!(served(port).await["title"], "one");

    assert_eq!(agent.docker.of_container(&container).await.remove(0).id, before, "it was not made anew");
    let told = api.get("/v1/events?limit=200&kind=container.converged").await.expect(200).json;
    assert_eq!(told["items"].as_array().unwrap().len(), 4, "one for each: {told}");
    let deletion = api.delete(&format!("/v1/containers/{container}")).await.accepted();
    api.succeeded(&deletion, 60).await;
    assert_eq!(
        back().await.accepted().id,
        job.id,
        "the same key has the same answer, whatever became of the container"
    );
}

#[tokio::test]
async fn a_secret_of_a_converge_is_in_no_log_no_journal_and_no_image() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (agent, id, container, _) = launched(&cluster, &api, json!({"title": "one", "password": PASSWORD})).await;
    patch(&api, &id, json!({"run_list": ["blab"]})).await;
    let job = converge(&api, &container, json!({})).await;
    api.succeeded(&job, 60).await;
    let log = api.log(&job.id).await.text;
    // The script prints the whole node, in which the password stands with JSON's escapes.
    assert!(log.contains("\"title\":\"one\"") && log.contains("********"), "{log}");
    let found = |text: &[u8]| text.windows(15).any(|part| part == b"to-the-very-end");
    assert!(!found(log.as_bytes()), "{log}");
    assert!(!found(api.get(&format!("/v1/queue/{}", job.id)).await.text.as_bytes()));
    let mut folders = vec![agent.state(), cluster.data()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if let Ok(bytes) = std::fs::read(entry.path()) {
                assert!(!found(&bytes), "it stands in {}", entry.path().display());
            }
        }
    }
    let real = agent.docker.of_container(&container).await.remove(0);
    let inspected = agent.docker.inspect(real.id.as_deref().unwrap()).await.unwrap();
    assert!(!found(format!("{inspected:?}").as_bytes()));
}

#[tokio::test]
async fn a_converge_that_fails_says_which_resource_and_one_that_is_cancelled_ends() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (agent, id, container, port) = launched(&cluster, &api, json!({"title": "one"})).await;
    patch(&api, &id, json!({"run_list": ["broken"]})).await;
    let job = converge(&api, &container, json!({})).await;
    let ended = api.ended(&job.id, 60).await;
    let error = ended.error.expect("it fails");
    assert_eq!((ended.state.as_str(), error.kind()), ("failed", "converge-failed"));
    assert_eq!(error.detail, "broken failed: exit code 1; its last words: == page\n== broken\nbefore");
    assert!(api.log(&job.id).await.text.contains("before"));

    patch(&api, &id, json!({"run_list": ["slow"]})).await;
    let job = converge(&api, &container, json!({})).await;
    api.says(&job.id, "begins", 30).await;
    api.delete(&format!("/v1/queue/{}", job.id)).await.accepted();
    assert_eq!(api.ended(&job.id, 30).await.state, "cancelled");
    assert_eq!(left(&api, &container).await, "0", "what it had begun is gone, and its node with it");
    patch(&api, &id, json!({"run_list": []})).await;
    assert_eq!(changed(&api, &container).await, ["page"], "and the next one works: the version is another");
    assert_eq!(served(port).await["title"], "one");

    // What is not of a configuration, or does not run, is refused at once.
    let plain = agent.image("plain", env::SLEEPER).await;
    let plain = agent.container("plain", &plain, json!({})).await;
    api.post(&format!("/v1/containers/{plain}/converge"), &json!({})).await.problem(409, "not-configured");
    let stop = api.post(&format!("/v1/containers/{container}/stop"), &json!({})).await.accepted();
    api.succeeded(&stop, 60).await;
    let path = format!("/v1/containers/{container}/converge");
    api.post(&path, &json!({})).await.problem(409, "container-not-running");
    let problem = api.post(&path, &json!({"configuration_version": 99})).await.problem(422, "invalid");
    assert_eq!(problem.pointers(), ["/configuration_version"]);
    assert_eq!(api.post(&path, &json!({"deadline": 0})).await.problem(422, "invalid").pointers(), ["/deadline"]);
}

#[tokio::test]
async fn a_converge_goes_on_after_its_agent_is_killed_in_the_middle_and_two_never_run_at_once() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (mut agent, id, container, _) = launched(&cluster, &api, json!({"title": "one"})).await;
    patch(&api, &id, json!({"run_list": ["once"]})).await;
    let job = converge(&api, &container, json!({})).await;
    api.says(&job.id, "begins", 30).await;
    agent.crash_and_restart().await;
    let ended = api.ended(&job.id, 90).await;
    // (One that a busy machine's agent did not take has a number as well.)
    assert!(ended.state == "succeeded" && ended.attempt >= 2, "{ended:?}");
    assert!(!api.log(&job.id).await.text.contains("two at once"));
    assert_eq!(left(&api, &container).await, "0", "the node of the first attempt is gone, too");
}

#[tokio::test]
async fn a_converge_that_is_given_up_while_its_agent_is_gone_leaves_nothing_when_that_is_back() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (mut agent, id, container, _) = launched(&cluster, &api, json!({"title": "one"})).await;
    patch(&api, &id, json!({"run_list": ["slow"]})).await;
    let job = converge(&api, &container, json!({})).await;
    // The script says what is in memory: its node.
    api.says(&job.id, &format!("dockerforge.{}.", job.id), 30).await;
    agent.kill();
    api.delete(&format!("/v1/queue/{}", job.id)).await.accepted();
    agent.launch(None, &[]);
    agent.is_online(30).await;
    assert_eq!(api.ended(&job.id, 60).await.state, "cancelled");
    wait::until(30, "nothing is left", async || {
        let left = left(&api, &container).await;
        if left == "0" { Ok(()) } else { Err(left) }
    })
    .await;
}

#[tokio::test]
async fn a_converge_on_another_host_has_its_archive_and_secrets_from_the_coordinator() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let far = FarHost::all().pop().expect("two further hosts");
    let agent = Agent::online(&cluster, &api, "far", &far.docker).await;
    let id =
        configuration(&api, "blog", &page_template(&api).await, json!({"title": "one", "password": PASSWORD})).await;
    let job =
        api.post("/v1/images", &json!({"name": "blog", "host": agent.host, "configuration": id})).await.accepted();
    let image = api.succeeded(&job, 120).await;
    let container = agent.container("blog", &image, json!({})).await;
    assert_eq!(changed(&api, &container).await, [""; 0], "it was converged when it was made");
    let look = json!({"command": ["cat", "/www/index.html"]});
    let look = api.post(&format!("/v1/containers/{container}/exec"), &look).await.accepted();
    api.succeeded(&look, 30).await;
    let node: Value = serde_json::from_str(&api.log(&look.id).await.text).unwrap();
    assert_eq!(node["password"], PASSWORD);
}
