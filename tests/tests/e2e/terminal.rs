//! Terminals in containers, through the public API on the real Docker Engine: what is typed arrives, the size is told, the
//! exit code comes back, who leaves leaves nothing running, and who may not gets none.

use dockerforge_tests::{
    agent::Agent,
    client::{Api, Events, Terminal},
    cluster::Cluster,
    env, wait,
};
use serde_json::json;

async fn container(cluster: &Cluster, api: &Api) -> (Agent, String) {
    let agent = cluster.host(api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let container = agent.container("box", &image, json!({})).await;
    (agent, container)
}

#[tokio::test]
async fn a_terminal_runs_what_is_typed_knows_its_size_and_tells_the_exit_code() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (_agent, container) = container(&cluster, &api).await;
    let path = format!("/v1/containers/{container}/terminal?cols=91&rows=37");
    let mut terminal = Terminal::open(&api, &path, None).await.unwrap();
    // The prompt comes without a line end, and before anything is typed.
    terminal.until("# ").await;
    terminal.send("stty size; echo $((6 * 7))\n").await;
    terminal.until("37 91\r\n42\r\n").await;
    terminal.resize(120, 40).await;
    // A resize is told to Docker beside what is typed: the shell is asked until it knows.
    terminal.send("until stty size | grep -q '^40 120'; do sleep 0.05; done; echo resi''zed\n").await;
    terminal.until("resized").await;
    // Bytes that are not text come through.
    terminal.send("printf '\\001\\002beg''un'\n").await;
    terminal.until("\u{1}\u{2}begun").await;
    terminal.send("exit 7\n").await;
    assert_eq!(terminal.exit().await, json!({"exit": {"code": 7}}));

    let path = format!("/containers/{container}/terminal?command=/bin/sh&command=-c&command=id%20-u&user=65534");
    let mut terminal = Terminal::open(&api, &path, None).await.unwrap();
    assert_eq!(terminal.exit().await, json!({"exit": {"code": 0}}));
    assert_eq!(terminal.text.trim(), "65534");
}

#[tokio::test]
async fn whoever_leaves_a_terminal_leaves_nothing_running() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (mut agent, container) = container(&cluster, &api).await;
    let docker_id = agent.docker.of_container(&container).await[0].id.clone().unwrap();
    let running = async |agent: &Agent| {
        let top = agent.docker.raw().top_processes(&docker_id, None).await.unwrap();
        let processes: Vec<String> = top.processes.unwrap_or_default().into_iter().map(|line| line.join(" ")).collect();
        processes.into_iter().filter(|line| line.contains("sleep 4242")).collect::<Vec<_>>()
    };
    let path = format!("/v1/containers/{container}/terminal");
    let open = async || {
        let mut terminal = Terminal::open(&api, &path, None).await.unwrap();
        terminal.until("# ").await;
        terminal.send("echo star''ted; sleep 4242\n").await;
        terminal.until("started").await;
        wait::until(10, "the program runs", async || {
            let left = running(&agent).await;
            wait::check(!left.is_empty(), left)
        })
        .await;
        terminal
    };
    drop(open().await);
    let gone = async || {
        let left = running(&agent).await;
        wait::check(left.is_empty(), left)
    };
    wait::until(20, "the program ends with its terminal", gone).await;
    // So it does with the session of the host, however that ends.
    let _terminal = open().await;
    let _ = agent.process().terminate(30).await;
    wait::until(20, "the program ends with its agent", async || {
        let left = running(&agent).await;
        wait::check(left.is_empty(), left)
    })
    .await;
}

#[tokio::test]
async fn who_may_not_gets_no_terminal() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (mut agent, container) = container(&cluster, &api).await;
    let path = format!("/v1/containers/{container}/terminal");
    let refused = async |api: &Api, path: &str, origin: Option<&str>| match Terminal::open(api, path, origin).await {
        Ok(_) => panic!("{path} is open"),
        Err((status, kind)) => (status, kind),
    };
    let anonymous = cluster.anonymous();
    assert_eq!(refused(&anonymous, &path, None).await, (401, "unauthorized".to_owned()));
    let (_, eva) = cluster.user("eva").await;
    assert_eq!(refused(&eva, &path, None).await, (404, "not-found".to_owned()));
    assert_eq!(refused(&api, &path, Some("https://evil.example")).await, (403, "other-origin".to_owned()));
    assert_eq!(refused(&api, &format!("{path}?cols=0"), None).await, (422, "invalid".to_owned()));
    api.get(&path).await.problem(426, "not-a-websocket");

    // A ticket opens one terminal, in its container.
    let issue = async || {
        let answer = api.post(&format!("{path}-ticket"), &json!({})).await.expect(201);
        answer.json["ticket"].as_str().unwrap().to_owned()
    };
    let with = |ticket: &str| format!("{path}?ticket={ticket}");
    let ticket = issue().await;
    let origin = anonymous.base().to_owned();
    let mut terminal = Terminal::open(&anonymous, &with(&ticket), Some(&origin)).await.unwrap();
    terminal.send("exit\n").await;
    assert_eq!(terminal.exit().await, json!({"exit": {"code": 0}}));
    assert_eq!(refused(&anonymous, &with(&ticket), None).await, (401, "unauthorized".to_owned()));
    eva.post(&format!("{path}-ticket"), &json!({})).await.problem(404, "not-found");

    agent.kill();
    wait::until(10, "the host is offline", async || {
        let (status, kind) = refused(&api, &path, None).await;
        wait::check((status, kind.as_str()) == (503, "host-offline"), kind)
    })
    .await;
}

#[tokio::test]
async fn a_terminal_ends_with_the_token_that_opened_it_and_so_does_a_live_log() {
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let (_agent, container) = container(&cluster, &api).await;
    let tokens = format!("/v1/users/{}/tokens", ana.user.id);
    let token = api.post(&tokens, &json!({"name": "laptop"})).await.expect(201).json;
    let laptop = cluster.anonymous().bearer(token["key"].as_str().unwrap());
    let mut terminal = Terminal::open(&laptop, &format!("/v1/containers/{container}/terminal"), None).await.unwrap();
    terminal.until("# ").await;
    let mut log = Events::open(&laptop, &format!("/v1/containers/{container}/logs"), None).await;
    api.delete(&format!("{tokens}/{}", token["id"].as_str().unwrap())).await.expect(204);
    let both = async {
        while log.next().await.is_some() {}
        terminal.closed().await
    };
    let reason = wait::for_end("both", both).await;
    assert!(reason.contains("no longer good"), "{reason}");
}
