//! Secrets of containers: they are where the container looks for them, through changes and failures, and nowhere else.

use dockerforge_protocol::command::docker_name;
use dockerforge_tests::{
    agent::Agent,
    client::Api,
    cluster::Cluster,
    env,
    invariants::{self, secrecy::holding},
};
use serde_json::{Value, json};

const PASSWORD: &str = "pa$$ ' \\ \" wörd\nof two lines";
const TOKEN: &str = "t0ken-4711-$HOME";
const SECOND: &str = "another-5822";

/// What a program in the container writes, as its job's log has it.
async fn says(api: &Api, id: &str, script: &str) -> String {
    let body = json!({"command": ["sh", "-c", script]});
    let job = api.post(&format!("/v1/containers/{id}/exec"), &body).await.accepted();
    let ended = api.ended(&job.id, 30).await;
    assert_eq!(ended.state, "succeeded", "{script}");
    api.log(&job.id).await.text
}

async fn patched(api: &Api, id: &str, body: Value) -> String {
    let job = api.patch(&format!("/v1/containers/{id}"), &body).await.accepted();
    api.ended(&job.id, 60).await.state
}

async fn file(agent: &Agent, id: &str, name: &str) -> String {
    agent.docker.file(&docker_name(id.parse().unwrap()), &format!("/run/secrets/{name}")).await
}

#[tokio::test]
async fn secrets_reach_the_container_and_nothing_else() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let secrets = json!({"PASSWORD": {"value": PASSWORD}, "TOKEN": {"value": TOKEN, "as": "env"}});
    // Where nothing but volumes can be written, and nobody is root.
    let spec = json!({"secrets": secrets, "read_only": true, "user": "1000"});
    let id = agent.container("blog", &image, spec).await;

    assert_eq!(file(&agent, &id, "PASSWORD").await, PASSWORD);
    assert_eq!(
        says(&api, &id, "cat /run/secrets/PASSWORD; echo; wc -c < /run/secrets/PASSWORD").await.lines().next(),
        Some("********")
    );
    assert_eq!(says(&api, &id, "echo ${#TOKEN}; echo \"<$TOKEN>\"").await, format!("{}\n<********>\n", TOKEN.len()));

    let shown = api.get(&format!("/v1/containers/{id}")).await.expect(200);
    assert_eq!(shown.json["secrets"], json!({"PASSWORD": {"as": "file"}, "TOKEN": {"as": "env"}}));
    let mut told = shown.text;
    for path in ["/v1/containers", "/v1/queue", "/v1/events"] {
        told += &api.get(path).await.expect(200).text;
    }
    told += &cluster.admin().get("/v1/audit").await.expect(200).text;
    for secret in [PASSWORD, TOKEN] {
        let escaped = serde_json::to_string(secret).unwrap();
        assert!(!told.contains(escaped.trim_matches('"')), "{told}");
        // The database, its log, the agent's journal and spools, and what both wrote of themselves.
        assert_eq!(holding(cluster.folder(), secret, ""), Vec::<String>::new());
        assert_eq!(holding(&agent.state(), secret, ""), Vec::<String>::new());
        cluster.is_secret(secret);
    }
    invariants::standing(&cluster).await;

    let mounts = agent.docker.inspect(&docker_name(id.parse().unwrap())).await.unwrap().mounts.unwrap();
    let volume =
        mounts.iter().find(|m| m.destination.as_deref() == Some("/run/secrets")).unwrap().name.clone().unwrap();
    let job = api.delete(&format!("/v1/containers/{id}")).await.accepted();
    api.succeeded(&job, 30).await;
    let gone = agent.docker.raw().inspect_volume(&volume).await.unwrap_err().to_string();
    assert!(gone.contains("no such volume") || gone.contains("No such volume"), "{gone}");
}

#[tokio::test]
async fn a_change_keeps_gives_and_takes_secrets_and_one_that_fails_leaves_them() {
    let mut cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let id =
        agent.container("blog", &image, json!({"secrets": {"A": {"value": PASSWORD}, "B": {"value": TOKEN}}})).await;

    // What is shown can be sent back: nothing has another value then.
    let shown = api.get(&format!("/v1/containers/{id}")).await.json["secrets"].clone();
    assert_eq!(patched(&api, &id, json!({"secrets": shown, "env": {"X": "y"}})).await, "succeeded");
    assert_eq!((file(&agent, &id, "A").await.as_str(), file(&agent, &id, "B").await.as_str()), (PASSWORD, TOKEN));

    // The values are read with the key file, also by the next life of the coordinator.
    cluster.crash_and_restart().await;
    let fails = json!({"secrets": {"A": {"value": SECOND}}, "command": ["/no/such/program"]});
    assert_eq!(patched(&api, &id, fails).await, "failed");
    assert_eq!((file(&agent, &id, "A").await.as_str(), file(&agent, &id, "B").await.as_str()), (PASSWORD, TOKEN));

    assert_eq!(patched(&api, &id, json!({"secrets": {"A": {"value": SECOND}, "B": {"as": "env"}}})).await, "succeeded");
    assert_eq!(file(&agent, &id, "A").await, SECOND);
    assert_eq!(says(&api, &id, "ls /run/secrets; echo ${#B}").await, format!("A\n{}\n", TOKEN.len()));

    let job = api.post(&format!("/v1/containers/{id}/restart"), &json!({})).await.accepted();
    api.succeeded(&job, 30).await;
    assert_eq!(file(&agent, &id, "A").await, SECOND);

    assert_eq!(patched(&api, &id, json!({"secrets": null})).await, "succeeded");
    assert_eq!(says(&api, &id, "ls -d /run/secrets 2>/dev/null || echo none; echo \"<$B>\"").await, "none\n<>\n");
}

#[tokio::test]
async fn secrets_that_cannot_be_are_refused_with_their_pointers_and_their_values_are_not_repeated() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (host, _) = api.create_host("vps").await;
    let body = |secrets: Value, rest: Value| {
        let mut body = json!({"name": "blog", "image": "img_0192f0c1a2b37c4d8e5f60718293a4b5", "host": host.id, "secrets": secrets});
        body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        body
    };
    for (secrets, rest, pointer) in [
        (json!({"A": {}}), json!({}), "/secrets/A/value"),
        (json!({"A": {"value": ""}}), json!({}), "/secrets/A/value"),
        (json!({"A": {"value": "x".repeat(65_537)}}), json!({}), "/secrets/A/value"),
        (json!({"A": {"value": "hidden\u{0}"}}), json!({}), "/secrets/A/value"),
        (json!({"A": {"value": "hidden", "as": "stdin"}}), json!({}), "/secrets/A/as"),
        (json!({"../A": {"value": "hidden"}}), json!({}), "/secrets/..~1A"),
        (json!({"A": {"value": "hidden", "as": "env"}}), json!({"env": {"A": "b"}}), "/secrets/A"),
        (json!({"A": {"value": "hidden"}}), json!({"tmpfs": [{"path": "/run/secrets"}]}), "/tmpfs/0/path"),
    ] {
        let answer = api.post("/v1/containers", &body(secrets, rest)).await;
        assert!(!answer.text.contains("hidden"), "{answer}");
        let errors = answer.json["errors"].clone();
        answer.problem(422, "invalid");
        assert_eq!(errors[0]["pointer"], pointer, "{errors}");
    }
}
