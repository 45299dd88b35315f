//! The scope `host:root` on real Docker: without it, and on hosts that users share, nothing of a host is given; with it, on
//! one's own host, exactly what is documented is, and never what is Docker's or the agent's own. Whoever touches such a
//! container needs it, too.

use crate::escapes::attempts::{body, documented, doubled, never, refused};
use crate::escapes::nothing_was_made;
use bollard::models::{ContainerCreateBody, HostConfig};
use dockerforge_protocol::command::docker_name;
use dockerforge_tests::{
    agent::Agent,
    client::{Api, NewUser, Token},
    cluster::Cluster,
    docker::Witness,
    env,
    invariants::{Ledger, hold},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{fs, os::unix::fs::symlink, path::Path};

/// A file on the host that nobody is to read or write.
struct Canary(tempfile::TempDir);

impl Canary {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("dockerforge-canary-").tempdir_in("/srv").unwrap();
        fs::write(folder.path().join("secret"), "of the host").unwrap();
        Self(folder)
    }

    fn folder(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    fn untouched(&self) {
        assert_eq!(fs::read_to_string(self.0.path().join("secret")).unwrap(), "of the host", "the canary");
        assert_eq!(fs::read_dir(self.0.path()).unwrap().count(), 1, "the canary's folder");
    }
}

/// The API as the holder of a token of the user's that has `host:root`, which an administrator gave him.
async fn with_root(cluster: &Cluster, user: &NewUser) -> Api {
    let asked = json!({"name": "root", "scopes": ["write", "host:root"]});
    let path = format!("/v1/users/{}/tokens", user.user.id);
    let token: Token = cluster.admin().post(&path, &asked).await.expect(201).body();
    cluster.anonymous().bearer(&token.key.unwrap())
}

/// Starts a privileged container without us, and removes it.
async fn privileged_by_hand(docker: &Witness) -> Result<(), String> {
    let body = ContainerCreateBody {
        image: Some(env::BASE_IMAGE.to_owned()),
        host_config: Some(HostConfig { privileged: Some(true), ..Default::default() }),
        ..Default::default()
    };
    let id = docker.raw().create_container(None, body).await.unwrap().id;
    let started = docker.raw().start_container(&id, None).await.map_err(|error| error.to_string());
    docker.remove(&id).await;
    started
}

fn reaching(host: &str, image: &str, access: &Value) -> Value {
    body(host, image, &json!({"host_access": access}))
}

#[tokio::test]
async fn on_a_shared_host_nothing_of_it_is_given_whoever_asks() {
    let canary = Canary::new();
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let pool = Agent::pool(&cluster, &admin, "shared", &json!({}), &env::docker()).await;
    let dockerfile = format!("FROM {}\n{}\n", env::BASE_IMAGE, env::SLEEPER);
    let asked = json!({"name": "base", "host": pool.host, "dockerfile": dockerfile, "public": true});
    let image = admin.succeeded(&admin.post("/v1/images", &asked).await.accepted(), 60).await;
    let (ana, api) = cluster.user("ana").await;
    let root = with_root(&cluster, &ana).await;
    let mut ledger = Ledger::default();
    ledger.stranger(&pool.docker).await;
    let given: Vec<Value> = documented(canary.folder()).into_iter().map(|d| d.access).chain(never()).collect();
    // By placement, by leaving the host out, by the host's own id; with the scope and without; and by the host's owner.
    let ways: [(&Api, Value); 5] = [
        (&api, json!({"placement": {}})),
        (&root, json!({"placement": {"strategy": "spread"}})),
        (&root, json!({})),
        (&root, json!({"host": pool.host})),
        (&admin, json!({"host": pool.host})),
    ];
    for (who, place) in &ways {
        let mut base = body("", &image, place);
        base.as_object_mut().unwrap().retain(|_, value| value != "");
        let mut attempts = refused();
        attempts.extend(given.iter().map(|access| ("of the host", json!({"host_access": access}))));
        assert!(attempts.len() >= 120, "{}", attempts.len());
        for (what, more) in attempts {
            let mut asked = base.clone();
            asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let answer = who.post("/v1/containers", &asked).await;
            assert!(matches!(answer.status, 400 | 403 | 422), "{what}: {asked} was answered {answer}");
        }
        for text in doubled(&pool.host, &image) {
            let answer = who.call(Method::POST, "/v1/containers").body("application/json", text).send().await;
            assert!(matches!(answer.status, 400 | 422), "{answer}");
        }
        nothing_was_made(who, &pool.docker, &ana.user.id).await;
    }
    let privileged = json!({"privileged": true});
    let asked = json!({"name": "x", "image": image, "placement": {}, "host_access": privileged});
    api.post("/v1/containers", &asked).await.problem(403, "scope-missing");
    assert_eq!(root.post("/v1/containers", &asked).await.problem(422, "invalid").pointers(), ["/host_access"]);
    let asked = reaching(&pool.host, &image, &privileged);
    assert_eq!(admin.post("/v1/containers", &asked).await.problem(422, "invalid").pointers(), ["/host_access"]);
    hold(&cluster, &admin, &mut ledger, 30).await;
    // Nor is it given later to one that is there.
    let asked = json!({"name": "plain", "image": image, "cap_drop": ["KILL"]});
    let id = root.succeeded(&root.post("/v1/containers", &asked).await.accepted(), 60).await;
    for access in &given {
        let answer = root.patch(&format!("/v1/containers/{id}"), &json!({"host_access": access})).await;
        answer.problem(422, "invalid");
    }
    let found = pool.docker.inspect(&docker_name(id.parse().unwrap())).await.unwrap().host_config.unwrap();
    let drops: Vec<String> = found.cap_drop.unwrap().iter().map(|c| c.trim_start_matches("CAP_").to_owned()).collect();
    assert!(drops.contains(&"KILL".to_owned()) && drops.contains(&"NET_RAW".to_owned()), "{drops:?}");
    assert_eq!(found.privileged, Some(false));
    canary.untouched();
    hold(&cluster, &root, &mut ledger, 30).await;
}

#[tokio::test]
async fn on_ones_own_host_a_token_without_the_scope_is_given_nothing_of_it() {
    let canary = Canary::new();
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    for one in documented(canary.folder()) {
        let answer = api.post("/v1/containers", &reaching(&agent.host, &image, &one.access)).await;
        let problem = answer.problem(403, "scope-missing");
        assert!(problem.detail.ends_with("scope host:root"), "{}: {problem:?}", one.name);
    }
    nothing_was_made(&api, &agent.docker, &ana.user.id).await;
    let plain = agent.container("plain", &image, json!({"host_access": {}})).await;
    for one in documented(canary.folder()) {
        let answer = api.patch(&format!("/v1/containers/{plain}"), &json!({"host_access": one.access})).await;
        answer.problem(403, "scope-missing");
    }
    let shown = api.container(&plain).await.rest;
    assert_eq!((&shown["host_access"], &shown["cap_drop"]), (&Value::Null, &json!([])));
    canary.untouched();
    hold(&cluster, &api, &mut Ledger::default(), 30).await;
}

#[tokio::test]
async fn with_the_scope_on_ones_own_host_exactly_what_is_documented_is_given() {
    let canary = Canary::new();
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let root = with_root(&cluster, &ana).await;
    let mut ledger = Ledger::default();
    ledger.stranger(&agent.docker).await;
    for (what, more) in refused() {
        let answer = root.post("/v1/containers", &body(&agent.host, &image, &more)).await;
        assert!(matches!(answer.status, 400 | 422), "{what}: {more} was answered {answer}");
    }
    nothing_was_made(&root, &agent.docker, &ana.user.id).await;
    let plain = agent.container("plain", &image, json!({})).await;
    let plain = agent.docker.inspect(&docker_name(plain.parse().unwrap())).await.unwrap();
    for one in documented(canary.folder()) {
        assert!(!(one.is_so)(&plain) || one.name == "runtime", "{}: a plain container has it too", one.name);
        let job = root.run(&agent.host, one.name, &image, json!({"host_access": one.access})).await;
        let ended = root.ended(&job.id, 60).await;
        if one.name == "privileged" && ended.state == "failed" {
            // A machine that has not all capabilities itself cannot give them. Then Docker says so, to everybody.
            let own = privileged_by_hand(&agent.docker).await.expect_err("Docker runs what it refused us");
            let detail = ended.error.unwrap().detail;
            assert!(detail.contains("caps") && own.contains(&detail), "{detail} is not {own}");
            continue;
        }
        let id = root.succeeded(&job, 60).await;
        let found = agent.docker.inspect(&docker_name(id.parse().unwrap())).await.unwrap();
        assert!((one.is_so)(&found), "{}: {:?}", one.name, found.host_config);
        // One thing is given, and of the rest nothing.
        for other in documented(canary.folder()) {
            let implied = one.name == "privileged" || ["runtime", one.name].contains(&other.name);
            assert!(implied || !(other.is_so)(&found), "{} gives {} too", one.name, other.name);
        }
        let line: Vec<Value> = cluster.admin().all(&format!("/v1/audit?resource={id}&action=container.create")).await;
        let detail = line[0]["detail"].as_str().unwrap_or_default();
        assert!(detail.starts_with("host access: "), "{}: {line:?}", one.name);
        if one.name.starts_with("mount") {
            assert!(detail.contains(canary.folder()), "{detail}");
            let read = json!({"command": ["sh", "-c", "cat /canary/secret; echo x > /canary/more"]});
            let job = root.post(&format!("/v1/containers/{id}/exec"), &read).await.accepted();
            root.succeeded(&job, 60).await;
            assert!(root.log(&job.id).await.text.contains("of the host"), "{}", one.name);
            let more = Path::new(canary.folder()).join("more");
            assert_eq!(fs::remove_file(more).is_ok(), one.name == "mount", "{}", one.name);
        }
    }
    canary.untouched();
    hold(&cluster, &root, &mut ledger, 30).await;
}

#[tokio::test]
async fn what_is_dockers_or_the_agents_own_is_never_mounted_whatever_leads_there() {
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let mut agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let root = with_root(&cluster, &ana).await;
    for access in never() {
        let problem =
            root.post("/v1/containers", &reaching(&agent.host, &image, &access)).await.problem(422, "invalid");
        assert_eq!(problem.pointers(), ["/host_access/binds/0/source"], "{access}");
    }
    // What only the agent knows: where Docker and it really are, and where links lead.
    let links = tempfile::tempdir_in("/srv").unwrap();
    let socket = agent.docker.address.trim_start_matches("unix://").to_owned();
    let data = agent.docker.raw().info().await.unwrap().docker_root_dir.unwrap();
    let state = agent.state();
    for (name, to) in
        [("socket", Path::new(&socket)), ("data", Path::new(&data)), ("state", &state), ("root", Path::new("/"))]
    {
        symlink(to, links.path().join(name)).unwrap();
    }
    symlink("root", links.path().join("twice")).unwrap();
    let link = |name: &str| links.path().join(name).display().to_string();
    let sources = [
        socket,
        data.clone(),
        format!("{data}/volumes"),
        state.display().to_string(),
        state.join("journal").display().to_string(),
        cluster.folder().display().to_string(),
        link("socket"),
        link("data"),
        link("state"),
        link("root"),
        link("twice"),
        link("root/run"),
        link("root/var/lib"),
        link("missing"),
    ];
    for source in sources {
        let access = json!({"binds": [{"source": source, "target": "/host", "read_only": true}]});
        let answer = root.post("/v1/containers", &reaching(&agent.host, &image, &access)).await;
        if answer.status == 422 {
            continue;
        }
        let job = root.ended(&answer.accepted().id, 60).await;
        assert_eq!((job.state.as_str(), job.error_kind()), ("failed", Some("policy")), "{source}: {job:?}");
    }
    nothing_was_made(&root, &agent.docker, &ana.user.id).await;
    // And the host's owner may allow less.
    fs::write(state.join("policy.toml"), "host-access = [\"mounts\"]\nhost-mounts = [\"/srv/nothing-else\"]\n")
        .unwrap();
    agent.crash_and_restart().await;
    for access in [json!({"privileged": true}), json!({"binds": [{"source": links.path(), "target": "/x"}]})] {
        let job = root.post("/v1/containers", &reaching(&agent.host, &image, &access)).await.accepted();
        let job = root.ended(&job.id, 60).await;
        assert_eq!((job.state.as_str(), job.error_kind()), ("failed", Some("policy")), "{access}: {job:?}");
    }
    nothing_was_made(&root, &agent.docker, &ana.user.id).await;
    hold(&cluster, &root, &mut Ledger::default(), 30).await;
}

#[tokio::test]
async fn whoever_touches_a_container_that_reaches_into_its_host_needs_the_scope() {
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let mut agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let root = with_root(&cluster, &ana).await;
    let volumes = json!([{"volume": "data", "target": "/data"}]);
    let asked = json!({"host_access": {"namespaces": ["pid"]}, "volumes": volumes});
    let id = root.succeeded(&root.run(&agent.host, "deep", &image, asked).await, 60).await;
    let path = format!("/v1/containers/{id}");
    let exec = json!({"command": ["true"]});
    let touched = async |api: &Api| {
        for change in [json!({"restart": "no"}), json!({"env": {"A": "b"}}), json!({"image": image}), json!({})] {
            api.patch(&path, &change).await.problem(403, "scope-missing");
        }
        api.patch(&path, &json!({"host_access": null})).await.problem(403, "scope-missing");
        api.post(&format!("{path}/exec"), &exec).await.problem(403, "scope-missing");
        api.post(&format!("{path}/terminal-ticket"), &json!({})).await.problem(403, "scope-missing");
        api.get(&format!("{path}/terminal")).await.problem(403, "scope-missing");
    };
    touched(&api).await;
    // Nor through what it mounts: what it runs from there would be somebody else's to decide.
    let writes = json!({"volumes": volumes});
    api.post("/v1/containers", &body(&agent.host, &image, &writes)).await.problem(403, "scope-missing");
    let reads = json!({"volumes": [{"volume": "data", "target": "/data", "read_only": true}]});
    let other = agent.container("reads", &image, reads).await;
    api.patch(&format!("/v1/containers/{other}"), &writes).await.problem(403, "scope-missing");
    // A link leads to what is in the user's network.
    let linked = root.run(&agent.host, "net", &image, json!({"host_access": {"namespaces": ["network"]}})).await;
    let linked = root.succeeded(&linked, 60).await;
    let links = json!({"links": [{"container": linked, "alias": "net"}]});
    let problem = root.post("/v1/containers", &body(&agent.host, &image, &links)).await.problem(422, "invalid");
    assert_eq!(problem.pointers(), ["/links/0/container"]);

    for operation in ["stop", "start", "restart"] {
        let job = api.post(&format!("{path}/{operation}"), &json!({})).await.accepted();
        api.succeeded(&job, 60).await;
    }
    let job = root.patch(&path, &json!({"env": {"A": "b"}})).await.accepted();
    root.succeeded(&job, 60).await;
    let found = agent.docker.inspect(&docker_name(id.parse().unwrap())).await.unwrap();
    assert_eq!(found.host_config.unwrap().pid_mode.as_deref(), Some("host"), "made anew as it was");
    let job = root.patch(&path, &json!({"host_access": null})).await.accepted();
    root.succeeded(&job, 60).await;
    let lines: Vec<Value> = cluster.admin().all(&format!("/v1/audit?resource={id}&action=container.update")).await;
    let details: Vec<&str> = lines.iter().map(|line| line["detail"].as_str().unwrap_or_default()).collect();
    assert_eq!(details, ["host access: none any more", "host access: namespace pid"]);
    let job = api.post(&format!("{path}/exec"), &exec).await.accepted();
    api.succeeded(&job, 60).await;
    // From the moment at which somebody asks for it, not only once it is so.
    agent.kill();
    root.patch(&path, &json!({"host_access": {"namespaces": ["pid"]}})).await.accepted();
    api.post(&format!("{path}/exec"), &exec).await.problem(403, "scope-missing");
    api.post(&format!("{path}/terminal-ticket"), &json!({})).await.problem(403, "scope-missing");
    agent.launch(None, &[]);
    agent.is_online(30).await;
    hold(&cluster, &root, &mut Ledger::default(), 60).await;
    let job = api.delete(&path).await.accepted();
    api.succeeded(&job, 60).await;
}

#[tokio::test]
async fn an_agent_that_does_not_know_it_is_not_asked_and_drops_nothing() {
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let mut agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let root = with_root(&cluster, &ana).await;
    let plain = agent.container("plain", &image, json!({})).await;
    agent.kill();
    agent.launch(None, &[("FAILPOINTS", "agent.link.features=return")]);
    agent.is_online(30).await;
    let asked = [json!({"host_access": {"privileged": true}}), json!({"cap_drop": ["KILL"]})];
    for more in &asked {
        let job = root.post("/v1/containers", &body(&agent.host, &image, more)).await.accepted();
        let job = root.ended(&job.id, 30).await;
        assert_eq!(job.error_kind(), Some("unsupported"), "{job:?}");
        let job = root.patch(&format!("/v1/containers/{plain}"), more).await.accepted();
        let job = root.ended(&job.id, 30).await;
        assert_eq!(job.error_kind(), Some("unsupported"), "{job:?}");
    }
    // The session goes on, and so does everything else.
    agent.container("another", &image, json!({})).await;
    assert_eq!(api.container(&plain).await.rest["cap_drop"], json!([]));
    hold(&cluster, &api, &mut Ledger::default(), 30).await;
}
