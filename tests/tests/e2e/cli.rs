//! The command line client against a real coordinator and a real Docker Engine: what cannot be seen with a stub.

use dockerforge_tests::{client::Api, cluster::Cluster, env, process::Process, receiver::Receiver, recipes, wait};
use serde_json::{Value, json};
use std::process::{Command, Stdio};

/// The program with a key.
fn program(cluster: &Cluster, key: &str) -> Command {
    let mut command = Command::new(env::binary("dockerforge"));
    command.env("DOCKERFORGE_URL", format!("http://{}", cluster.api())).env("DOCKERFORGE_KEY", key);
    command
}

/// Runs it to its end: exit code, what it said to stdout and to stderr.
async fn run(cluster: &Cluster, key: &str, words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = program(cluster, key);
    command.args(words).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The same, where it has to succeed: what it said to stdout.
async fn done(cluster: &Cluster, key: &str, words: &[&str]) -> String {
    let (code, out, err) = run(cluster, key, words).await;
    assert_eq!(code, Some(0), "{words:?}: {out}{err}");
    out
}

/// The word behind another at the beginning of a line.
fn said<'a>(out: &'a str, what: &str) -> &'a str {
    let line = out.lines().find_map(|line| line.strip_prefix(what));
    line.unwrap_or_else(|| panic!("no {what} in {out}")).trim()
}

async fn happen(api: &Api, host: &str, name: &str) -> String {
    api.build(host, name, "FROM scratch").await.id
}

#[tokio::test]
async fn events_are_listed_and_followed_over_a_crash_of_the_coordinator_without_one_lost_or_doubled() {
    let mut cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let (host, _) = api.create_host("vps").await;
    let mut jobs = vec![happen(&api, &host.id, "one").await, happen(&api, &host.id, "two").await];
    let listed = done(&cluster, &ana.key, &["event", "ls", "--kind", "job.queued", "--limit", "1", "--all"]).await;
    assert!(jobs.iter().all(|job| listed.contains(job.as_str())), "{listed}");
    let page = done(&cluster, &ana.key, &["event", "ls", "--kind", "job.queued", "--json"]).await;
    let page: Value = serde_json::from_str(&page).unwrap();
    let first = page["items"][0]["id"].as_str().unwrap().to_owned();

    let mut command = program(&cluster, &ana.key);
    command.args(["event", "follow", "--since", &first, "--kind", "job.queued", "--json"]);
    let mut follower = Process::start("follower", cluster.folder(), &mut command);
    let followed = |output: &str| -> Vec<String> {
        let events = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter_map(|event| event["resource"]["id"].as_str().map(str::to_owned)).collect()
    };
    let tells = async |follower: &Process, jobs: &[String]| {
        wait::until(60, "the follower tells of them all", async || {
            let told = followed(&follower.output());
            wait::check(told == jobs, (told, follower.output()))
        })
        .await;
    };
    tells(&follower, &jobs[1..]).await;
    cluster.crash_and_restart().await;
    jobs.push(happen(&api, &host.id, "three").await);
    tells(&follower, &jobs[1..]).await;
    follower.kill();
    let (code, _, err) = run(&cluster, &ana.key, &["event", "ls", "--everybody"]).await;
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("administrators"), "{err}");
}

#[tokio::test]
async fn a_webhook_is_made_changed_shown_with_its_deliveries_and_removed() {
    let cluster = Cluster::start().await;
    let (key, receiver) = (cluster.admin_key(), Receiver::start(200).await);
    let out = done(&cluster, &key, &["webhook", "create", &receiver.url(), "--kind", "job.queued"]).await;
    let (id, secret) = (said(&out, "webhook"), said(&out, "secret"));
    let panel = cluster.admin();
    let (host, _) = panel.create_host("vps").await;
    happen(&panel, &host.id, "one").await;
    wait::until(30, "the event arrives", async || wait::check(!receiver.received().is_empty(), ())).await;
    receiver.received()[0].verify(secret);
    wait::until(30, "the delivery is shown", async || {
        let out = done(&cluster, &key, &["webhook", "deliveries", id, "--state", "delivered"]).await;
        wait::check(out.contains("job.queued") && out.contains("200"), out)
    })
    .await;
    done(&cluster, &key, &["webhook", "update", id, "--all-kinds", "--disable"]).await;
    let shown = done(&cluster, &key, &["webhook", "show", id]).await;
    assert!(shown.contains("disabled") && !shown.contains("job.queued"), "{shown}");
    assert!(!shown.contains("whsec_"), "{shown}");
    assert!(done(&cluster, &key, &["webhook", "ls"]).await.contains(id));
    done(&cluster, &key, &["webhook", "rm", id]).await;
    assert!(!done(&cluster, &key, &["webhook", "ls"]).await.contains(id));
}

#[tokio::test]
async fn logs_figures_and_a_terminal_of_a_container_are_had_by_its_name() {
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let body = json!({"command": ["sh", "-c", "echo begun; trap 'exit 0' TERM; sleep 3600 & wait"]});
    let id = agent.container("web", &image, body).await;
    api.observed(&id, "running", 20).await;
    let mut command = program(&cluster, &ana.key);
    command.args(["container", "logs", "-f", "web"]);
    let mut follower = Process::start("logs", cluster.folder(), &mut command);
    wait::until(30, "the log is followed", async || {
        wait::check(follower.output().contains("begun"), follower.output())
    })
    .await;
    let figures: Value =
        serde_json::from_str(&done(&cluster, &ana.key, &["container", "stats", "web", "--json"]).await).unwrap();
    assert!(figures["memory_used"].as_u64() > Some(0), "{figures}");
    let (code, out, err) =
        run(&cluster, &ana.key, &["container", "exec", "-it", "web", "--", "sh", "-c", "echo in; exit 7"]).await;
    assert_eq!((code, out.trim()), (Some(7), "in"), "{err}");
    let job = api.post(&format!("/v1/containers/{id}/stop"), &json!({})).await.accepted();
    api.succeeded(&job, 60).await;
    assert!(follower.wait_ended(30).await.success(), "it ends with the container: {}", follower.output());
}

#[tokio::test]
async fn a_template_becomes_a_container_that_is_converged_and_tells_what_changed() {
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let _agent = cluster.host(&api, "vps").await;
    let at = |name: &str| cluster.folder().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("page.json"), recipes::page().to_string()).unwrap();
    std::fs::write(at("page.tgz"), recipes::page_archive()).unwrap();
    std::fs::write(at("password"), "correct horse\n").unwrap();
    let secret = format!("password=@{}", at("password"));
    let (template, archive) = (at("page.json"), at("page.tgz"));
    for words in [
        &["template", "create", &template, "--archive", &archive][..],
        &["configuration", "create", "mine", "--template", "page", "--set", "title=one", "--set", &secret],
        &["image", "build", "blog", "--configuration", "mine", "--host", "vps", "--wait"],
        &["container", "create", "blog", "--image", "blog", "--host", "vps", "--wait"],
        &["container", "converge", "blog", "--wait"],
        &["configuration", "update", "mine", "--set", "title=two", "--run", "extra"],
    ] {
        done(&cluster, &ana.key, words).await;
    }
    let node = done(&cluster, &ana.key, &["configuration", "node", "mine"]).await;
    assert!(node.contains("\"two\"") && !node.contains("correct horse"), "{node}");
    let converge = ["container", "converge", "blog", "--wait"];
    let told = done(&cluster, &ana.key, &converge).await;
    assert!(told.ends_with("changed   page\nchanged   extra\n"), "{told}");
    let told = done(&cluster, &ana.key, &converge).await;
    assert!(told.ends_with("nothing changed\n"), "{told}");
}
