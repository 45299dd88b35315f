//! Containers that move from host to host: what comes with them, what is left, and that whatever fails on the way, they run
//! again where they were, with all that is theirs.

use dockerforge_protocol::command::{docker_name, volume_name};
use dockerforge_tests::{
    agent::Agent,
    client::{Api, Container, Job, NewUser},
    cluster::Cluster,
    env,
    hosts::FarHost,
    invariants::{self, Ledger},
    wait,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A folder of what a volume may hold: odd owners, modes and names, links, what is empty, and what is large.
const ODD: &str = "set -e; cd /data; rm -f default; chown 12:34 .; chmod 2750 .; \
    echo secret > 'ä b'; ln 'ä b' hard; ln -s /etc/passwd link; mkdir -p empty/deep; \
    chown 123:456 'ä b'; chmod 0640 'ä b'; chmod 1777 empty; mkfifo fifo; touch -d '2001-02-03 04:05' empty/deep; \
    dd if=/dev/urandom of=large bs=1M count=50 2>/dev/null; chmod 04755 large; rm -f /none/*";

/// Two hosts of one user, with an image on the first of them.
struct Scene {
    one: Agent,
    two: Agent,
    ledger: Ledger,
    api: Api,
    user: NewUser,
    image: String,
    cluster: Cluster,
}

impl Scene {
    async fn set() -> Self {
        let [near_net, _] = FarHost::all().try_into().expect("two further hosts");
        let cluster = Cluster::start_at(near_net.gateway).await;
        let (user, api) = cluster.user("ana").await;
        let one = cluster.host(&api, "one").await;
        let two = near_net.online(&cluster, &api, "two").await;
        let lines = format!(
            "RUN mkdir /data /none && echo d > /data/default && echo d > /none/default && chown 5:6 /data\n{}",
            env::SLEEPER
        );
        let image = one.image("app", &lines).await;
        let mut ledger = Ledger::default();
        ledger.stranger(&one.docker).await;
        ledger.stranger(&two.docker).await;
        Self { one, two, ledger, api, user, image, cluster }
    }

    fn volume(&self, name: &str) -> String {
        volume_name(self.user.user.id.parse().unwrap(), &name.parse().unwrap())
    }

    /// Runs a shell in a container.
    async fn sh(&self, id: &str, script: &str) {
        let body = json!({"command": ["sh", "-c", script]});
        let job = self.api.post(&format!("/v1/containers/{id}/exec"), &body).await.accepted();
        self.api.succeeded(&job, 30).await;
        assert_eq!(self.api.job(&job.id).await.result.unwrap()["exit_code"], 0, "{}", self.api.log(&job.id).await.text);
    }

    async fn starts(&mut self, id: &str, to: &str) -> Job {
        let job =
            self.api.post(&format!("/v1/containers/{id}/move"), &json!({"host": to, "grace": 1})).await.accepted();
        self.ledger.see(&job);
        job
    }

    /// Waits until a container is moved, and gives what is shown of it.
    async fn moved(&mut self, id: &str, to: &str) -> Container {
        let job = self.starts(id, to).await;
        self.api.succeeded(&job, 90).await;
        let shown = self.api.container(id).await;
        assert_eq!(shown.host.as_deref(), Some(to));
        shown
    }

    /// Of a container, and of its volumes, nothing is on that host.
    async fn clean(&self, agent: &Agent, id: &str, volumes: &[&str]) {
        wait::until(20, &format!("{id} is gone from {}", agent.host), async || {
            let left = agent.docker.of_container(id).await.len();
            let mut kept = Vec::new();
            for name in volumes {
                if agent.docker.has_volume(&self.volume(name)).await {
                    kept.push(*name);
                }
            }
            let ours = agent.docker.of_cluster(&agent.cluster()).await.containers;
            let carriers: Vec<_> = ours.into_iter().filter(|name| name.contains("carrier")).collect();
            wait::check(left == 0 && kept.is_empty() && carriers.is_empty(), (left, kept, carriers))
        })
        .await;
    }

    async fn tree(&self, agent: &Agent, id: &str) -> BTreeMap<String, String> {
        agent.docker.tree(&docker_name(id.parse().unwrap()), "/data").await
    }

    async fn end(mut self) {
        invariants::hold(&self.cluster, &self.api, &mut self.ledger, 30).await;
    }
}

fn with_data() -> Value {
    json!({"volumes": [{"volume": "data", "target": "/data"}], "ports": [{"container": 80}], "read_only": true})
}

#[tokio::test]
async fn a_container_moves_with_all_that_is_in_its_volumes_and_nothing_of_it_is_left_where_it_was() {
    let mut scene = Scene::set().await;
    let secret = json!({"volumes": [{"volume": "data", "target": "/data"}, {"volume": "none", "target": "/none"},
        {"volume": "data", "target": "/again", "read_only": true}], "secrets": {"KEY": {"value": "hush-hush-hush"}}});
    let id = scene.one.container("app", &scene.image, secret).await;
    let other = json!({"volumes": [{"volume": "other", "target": "/data"}]});
    let neighbour = scene.one.container("neighbour", &scene.image, other).await;
    scene.sh(&id, ODD).await;
    let before = scene.tree(&scene.one, &id).await;
    assert!(before.len() >= 8 && !before.contains_key("data/default"), "{before:?}");
    let created = scene.api.container(&id).await;

    let two = scene.two.host.clone();
    let shown = scene.moved(&id, &two).await;
    assert_eq!((&shown.id, &shown.name, &shown.image), (&created.id, &created.name, &created.image));
    let shown = scene.api.observed(&id, "running", 10).await;
    let [real] = scene.two.docker.of_container(&id).await.try_into().expect("it is there once");
    assert_eq!(shown.observed.docker_id, real.id);
    assert_eq!(scene.tree(&scene.two, &id).await, before);
    scene
        .sh(&id, "[ \"$(cat /run/secrets/KEY)\" = hush-hush-hush ] && [ -z \"$(ls /none)\" ] && [ -e /again/hard ]")
        .await;
    scene.clean(&scene.one, &id, &["data", "none"]).await;
    assert!(scene.one.docker.has_volume(&scene.volume("other")).await, "what is another container's stays");
    scene.api.observed(&neighbour, "running", 1).await;

    // And back again: nothing is in the way.
    scene.sh(&id, "rm /data/large").await;
    let before = scene.tree(&scene.two, &id).await;
    let one = scene.one.host.clone();
    scene.moved(&id, &one).await;
    assert_eq!(scene.tree(&scene.one, &id).await, before);
    scene.clean(&scene.two, &id, &["data", "none"]).await;
    let gone = scene.api.delete(&format!("/v1/containers/{id}?volumes=true")).await.accepted();
    scene.api.succeeded(&gone, 30).await;
    scene.end().await;
}

#[tokio::test]
async fn a_stopped_container_stays_stopped_and_starts_where_it_is_then() {
    let mut scene = Scene::set().await;
    let id = scene.one.container("app", &scene.image, with_data()).await;
    let stop = scene.api.post(&format!("/v1/containers/{id}/stop"), &json!({"grace": 1})).await.accepted();
    scene.api.succeeded(&stop, 30).await;
    let before = scene.tree(&scene.one, &id).await;
    let two = scene.two.host.clone();
    let shown = scene.moved(&id, &two).await;
    assert_eq!((shown.desired_state.as_str(), shown.observed.state.as_str()), ("stopped", "created"));
    scene.clean(&scene.one, &id, &["data"]).await;
    assert_eq!(scene.tree(&scene.two, &id).await, before);
    let start = scene.api.post(&format!("/v1/containers/{id}/start"), &json!({})).await.accepted();
    scene.api.succeeded(&start, 30).await;
    assert_eq!(scene.tree(&scene.two, &id).await, before);
    scene.end().await;
}

/// The move fails for this reason; the container runs where it was, with what is its own, and nothing is on the other host.
async fn stays(scene: &mut Scene, id: &str, to: &str, kind: &str, before: &BTreeMap<String, String>) {
    let job = scene.starts(id, to).await;
    let ended = scene.api.ended(&job.id, 90).await;
    assert_eq!((ended.state.as_str(), ended.error_kind()), ("failed", Some(kind)), "{ended:?}");
    let (was, other) = if to == scene.two.host { (&scene.one, &scene.two) } else { (&scene.two, &scene.one) };
    scene.api.observed(id, "running", 10).await;
    assert_eq!(scene.api.container(id).await.host.as_deref(), Some(was.host.as_str()));
    assert_eq!(scene.tree(was, id).await, *before);
    assert_eq!(other.docker.of_container(id).await.len(), 0);
    scene.clean(other, id, &[]).await;
}

#[tokio::test]
async fn a_container_that_cannot_be_there_runs_again_where_it_was_with_all_that_is_its_own() {
    let mut scene = Scene::set().await;
    // A port that something has on the first machine, which nobody can know before.
    let taken = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let id = scene.one.container("app", &scene.image, with_data()).await;
    let before = scene.tree(&scene.one, &id).await;
    let (one, two) = (scene.one.host.clone(), scene.two.host.clone());

    // A volume of this name is there already, with what is in it.
    let keeper = scene.two.container("keeper", &scene.image, with_data()).await;
    let gone = scene.api.delete(&format!("/v1/containers/{keeper}")).await.accepted();
    scene.api.succeeded(&gone, 30).await;
    stays(&mut scene, &id, &two, "name-taken", &before).await;
    assert!(scene.two.docker.has_volume(&scene.volume("data")).await, "what was there stays");
    let keeper = scene.two.container("keeper", &scene.image, with_data()).await;
    scene.api.post(&format!("/v1/containers/{id}/move"), &json!({"host": two})).await.problem(409, "volume-in-use");
    let gone = scene.api.delete(&format!("/v1/containers/{keeper}?volumes=true")).await.accepted();
    scene.api.succeeded(&gone, 30).await;

    // It is not well there.
    let choosy = json!({"volumes": [{"volume": "choosy", "target": "/data"}],
        "command": ["sh", "-c", format!("grep -q '^two' /data/host && exit 3; hostname; exec sleep 3600")]});
    let choosy = scene.one.container("choosy", &scene.image, choosy).await;
    scene.sh(&choosy, "echo two > /data/host").await;
    let its = scene.tree(&scene.one, &choosy).await;
    let job = scene.starts(&choosy, &two).await;
    let ended = scene.api.ended(&job.id, 90).await;
    assert_eq!(ended.error_kind(), Some("exited-early"), "{ended:?}");
    scene.clean(&scene.two, &choosy, &["choosy"]).await;
    assert_eq!(scene.tree(&scene.one, &choosy).await, its);

    // Its owner does not want it.
    std::fs::write(scene.two.state().join("policy.toml"), "moves = false\n").unwrap();
    scene.two.crash_and_restart().await;
    stays(&mut scene, &id, &two, "policy", &before).await;
    std::fs::remove_file(scene.two.state().join("policy.toml")).unwrap();
    scene.two.crash_and_restart().await;
    scene.clean(&scene.two, &id, &["data"]).await;

    let body = json!({"volumes": [{"volume": "fixed", "target": "/data"}], "ports": [{"container": 80, "host": port}]});
    let fixed = scene.two.container("fixed", &scene.image, body).await;
    let its = scene.tree(&scene.two, &fixed).await;
    stays(&mut scene, &fixed, &one, "port-taken", &its).await;
    scene.clean(&scene.one, &fixed, &["fixed"]).await;
    drop(taken);
    let gone = scene.api.delete(&format!("/v1/containers/{choosy}")).await.accepted();
    scene.api.succeeded(&gone, 30).await;
    scene.end().await;
}

#[tokio::test]
async fn a_move_that_is_cut_in_its_middle_goes_on_and_one_that_is_cancelled_goes_back() {
    let mut scene = Scene::set().await;
    let id = scene.one.container("app", &scene.image, with_data()).await;
    scene.sh(&id, "dd if=/dev/urandom of=/data/large bs=1M count=8 2>/dev/null").await;
    let before = scene.tree(&scene.one, &id).await;
    let (one, two) = (scene.one.host.clone(), scene.two.host.clone());
    let slow = [("FAILPOINTS", "agent.container.receive.emptied=sleep(2500)")];

    // It waits in the middle of it, long enough to be cancelled there.
    scene.two.kill();
    scene.two.launch(None, &slow);
    scene.two.is_online(30).await;
    let job = scene.starts(&id, &two).await;
    under_way(&scene.api, &job, "volume data").await;
    for (verb, body) in [("start", json!({})), ("stop", json!({})), ("move", json!({"host": two}))] {
        let moving =
            scene.api.post(&format!("/v1/containers/{id}/{verb}"), &body).await.problem(409, "container-moving");
        assert!(moving.detail.contains(&job.id), "{}", moving.detail);
    }
    scene.api.patch(&format!("/v1/containers/{id}"), &json!({"restart": "no"})).await.problem(409, "container-moving");
    let shared =
        json!({"name": "second", "host": one, "image": scene.image, "volumes": [{"volume": "data", "target": "/d"}]});
    scene.api.post("/v1/containers", &shared).await.problem(409, "volume-in-use");
    scene.api.delete(&format!("/v1/queue/{}", job.id)).await.expect(202);
    assert_eq!(scene.api.ended(&job.id, 60).await.state, "cancelled");
    scene.api.observed(&id, "running", 10).await;
    assert_eq!(scene.tree(&scene.one, &id).await, before);
    scene.clean(&scene.two, &id, &["data"]).await;

    // The agent of the old host dies in the middle, then that of the new one.
    for dies in [0, 1] {
        let job = scene.starts(&id, &two).await;
        under_way(&scene.api, &job, "volume data").await;
        if dies == 0 {
            scene.one.crash_and_restart().await
        } else {
            scene.two.kill();
            scene.two.launch(None, &[]);
            scene.two.is_online(30).await;
        }
        scene.api.succeeded(&job, 90).await;
        assert_eq!(scene.tree(&scene.two, &id).await, before, "{dies}");
        scene.clean(&scene.one, &id, &["data"]).await;
        scene.moved(&id, &one).await;
        scene.clean(&scene.two, &id, &["data"]).await;
    }

    // And one that is deleted in the middle is gone from both.
    scene.two.kill();
    scene.two.launch(None, &slow);
    scene.two.is_online(30).await;
    let job = scene.starts(&id, &two).await;
    under_way(&scene.api, &job, "volume data").await;
    let gone = scene.api.delete(&format!("/v1/containers/{id}?volumes=true")).await.accepted();
    scene.ledger.see(&gone);
    scene.api.succeeded(&gone, 60).await;
    assert_eq!(scene.api.ended(&job.id, 60).await.state, "cancelled");
    for agent in [&scene.one, &scene.two] {
        scene.clean(agent, &id, &["data"]).await;
    }
    scene.end().await;
}

#[tokio::test]
async fn a_move_that_is_cancelled_takes_the_image_back_that_it_alone_wanted() {
    let mut scene = Scene::set().await;
    let id = scene.one.container("app", &scene.image, with_data()).await;
    let (two, api) = (scene.two.host.clone(), scene.api.clone());
    let copies = async || api.all::<Job>("/v1/queue?kind=image.copy").await;
    let slow = [("FAILPOINTS", "agent.image.copy.accepted=sleep(2500)")];
    // In work, and then waiting for a host that is away.
    for waits in [false, true] {
        scene.two.kill();
        if !waits {
            scene.two.launch(None, &slow);
            scene.two.is_online(30).await;
        }
        let job = scene.starts(&id, &two).await;
        let copy = copies().await.remove(0);
        if !waits {
            api.reaches(&copy.id, "running", 30).await;
        }
        api.delete(&format!("/v1/queue/{}", job.id)).await.expect(202);
        assert_eq!(api.ended(&job.id, 30).await.state, "cancelled");
        assert_eq!(api.ended(&copy.id, 30).await.state, "cancelled", "{waits}");
        assert!(api.image(&scene.image).await.hosts.iter().all(|presence| presence.host != two), "{waits}");
    }
    // Another container is to have it there.
    let job = scene.starts(&id, &two).await;
    let copy = copies().await.remove(0);
    let other = api.run(&two, "other", &scene.image, json!({})).await;
    assert_eq!(copies().await.len(), 3, "there is one copy for both");
    api.delete(&format!("/v1/queue/{}", job.id)).await.expect(202);
    assert_eq!(api.ended(&job.id, 30).await.state, "cancelled");
    scene.two.launch(None, &[]);
    scene.two.is_online(30).await;
    api.succeeded(&other, 60).await;
    assert_eq!(api.job(&copy.id).await.state, "succeeded");
    api.observed(&id, "running", 10).await;
    scene.end().await;
}

async fn under_way(api: &Api, job: &Job, what: &str) {
    wait::until(60, &format!("{} says {what}", job.id), async || {
        let job = api.job(&job.id).await;
        let step = job.progress.as_ref().and_then(|progress| progress["step"].as_str()).unwrap_or_default().to_owned();
        assert!(!job.is_terminal(), "{job:?}");
        wait::check(step.contains(what), step)
    })
    .await;
}

#[tokio::test]
async fn what_cannot_move_is_refused_and_says_why() {
    let scene = Scene::set().await;
    let (one, two, api) = (scene.one.host.clone(), scene.two.host.clone(), scene.api.clone());
    let id = scene.one.container("app", &scene.image, with_data()).await;
    let path = format!("/v1/containers/{id}/move");
    let refused = async |body: Value, status: u16, kind: &str, told: &str| {
        let problem = api.post(&path, &body).await.problem(status, kind);
        assert!(problem.detail.contains(told), "{body}: {}", problem.detail);
    };
    let (other, foreign) = (scene.cluster.user("bob").await.1, scene.cluster.user("eve").await.1);
    let (theirs, _) = other.create_host("theirs").await;
    refused(json!({"host": one}), 422, "invalid", "on this host already").await;
    refused(json!({}), 422, "invalid", "name a host").await;
    refused(json!({"host": two, "placement": {}}), 422, "invalid", "not both").await;
    refused(json!({"host": "hst_0192f0c1a2b37c4d8e5f60718293a4b5"}), 422, "invalid", "there is no host").await;
    refused(json!({"host": theirs.id}), 422, "invalid", "there is no host").await;
    refused(json!({"host": two, "grace": 301}), 422, "invalid", "0 to 300").await;
    refused(json!({"placement": {}}), 409, "nothing-fits", "no host").await;
    foreign.post(&path, &json!({"host": two})).await.problem(404, "not-found");

    let db = scene.one.container("db", &scene.image, json!({})).await;
    let web = json!({"links": [{"container": db, "alias": "db"}]});
    let web = scene.one.container("web", &scene.image, web).await;
    let linked = |of: &str| format!("/v1/containers/{of}/move");
    let problem = api.post(&linked(&db), &json!({"host": two})).await.problem(409, "linked");
    assert!(problem.detail.contains(&web), "{}", problem.detail);
    let problem = api.post(&linked(&web), &json!({"host": two})).await.problem(409, "linked");
    assert!(problem.detail.contains(&db), "{}", problem.detail);

    let sharing = scene.one.container("sharing", &scene.image, with_data()).await;
    refused(json!({"host": two}), 409, "volume-in-use", &sharing).await;
    let gone = api.delete(&format!("/v1/containers/{sharing}")).await.accepted();
    api.succeeded(&gone, 30).await;

    let body = json!({"scopes": ["read", "write", "host:root"], "name": "root"});
    let tokens = format!("/v1/users/{}/tokens", scene.user.user.id);
    let token = scene.cluster.admin().post(&tokens, &body).await.expect(201).json;
    scene.cluster.is_secret(token["key"].as_str().unwrap());
    let root = scene.cluster.anonymous().bearer(token["key"].as_str().unwrap());
    let job = root.run(&one, "bound", &scene.image, json!({"host_access": {"namespaces": ["ipc"]}})).await;
    let bound = root.succeeded(&job, 30).await;
    root.post(&linked(&bound), &json!({"host": two})).await.problem(409, "bound-to-host");

    let port = json!({"ports": [{"container": 80, "host": 19_876}]});
    scene.two.container("there", &scene.image, port.clone()).await;
    let here = scene.one.container("here", &scene.image, port).await;
    api.post(&linked(&here), &json!({"host": two})).await.problem(409, "port-taken");

    api.patch(&format!("/v1/hosts/{two}"), &json!({"draining": true})).await.expect(200);
    refused(json!({"host": two}), 409, "host-draining", "draining").await;
    api.patch(&format!("/v1/hosts/{two}"), &json!({"draining": false})).await.expect(200);
    let mut scene = scene;
    scene.two.kill();
    let sessions = |output: &str| output.matches("session is live").count();
    let before = sessions(&scene.two.process().output());
    scene.two.launch(None, &[("FAILPOINTS", "agent.link.features=return")]);
    wait::until(30, "its session", async || {
        let output = scene.two.process().output();
        wait::check(sessions(&output) > before, output)
    })
    .await;
    refused(json!({"host": two}), 409, "agent-too-old", "too old").await;
    let now = api.container(&id).await;
    assert_eq!(
        (now.host.as_deref(), now.observed.state.as_str()),
        (Some(one.as_str()), "running"),
        "none of it did anything"
    );
}

#[tokio::test]
async fn a_container_on_a_shared_host_goes_to_another_one_that_the_strategist_chooses() {
    let [near_net, _] = FarHost::all().try_into().expect("two further hosts");
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let near = Agent::pool(&cluster, &admin, "near", &json!({}), &env::docker()).await;
    let far = Agent::pool(&cluster, &admin, "far", &json!({}), &near_net.docker).await;
    let body = json!({"name": "app", "host": near.host, "public": true,
        "dockerfile": format!("FROM {}\n{}", env::BASE_IMAGE, env::SLEEPER)});
    let job = admin.post("/v1/images", &body).await.accepted();
    let image = admin.succeeded(&job, 60).await;
    let (_, api) = cluster.user("ana").await;
    let body = json!({"name": "app", "image": image, "placement": {}, "volumes": [{"volume": "data", "target": "/data"}],
        "ports": [{"container": 80}], "resources": {"memory": 67_108_864}});
    let job = api.post("/v1/containers", &body).await.accepted();
    let id = api.succeeded(&job, 60).await;
    let (was, other) = if near.docker.of_container(&id).await.is_empty() { (&far, &near) } else { (&near, &far) };
    let job = api.post(&format!("/v1/containers/{id}/move"), &json!({"placement": {}})).await.accepted();
    api.succeeded(&job, 90).await;
    let shown = api.observed(&id, "running", 10).await;
    assert_eq!((shown.host, shown.placement.pool), (None, true));
    assert_eq!(other.docker.of_container(&id).await.len(), 1);
    wait::until(20, "it is gone where it was", async || {
        let left = was.docker.of_container(&id).await;
        wait::check(left.is_empty(), left.len())
    })
    .await;

    // A suspended user moves nothing.
    let user = cluster.admin().get("/v1/users?name=ana").await.expect(200).json["items"][0]["id"].clone();
    let user = format!("/v1/users/{}", user.as_str().unwrap());
    let stopped = admin.patch(&user, &json!({"suspended": true})).await.accepted();
    admin.succeeded(&stopped, 30).await;
    api.post(&format!("/v1/containers/{id}/move"), &json!({"placement": {}})).await.problem(403, "suspended");
    let started = admin.patch(&user, &json!({"suspended": false})).await.accepted();
    admin.succeeded(&started, 30).await;
    let gone = admin.delete(&user).await.accepted();
    admin.succeeded(&gone, 60).await;
    for agent in [&near, &far] {
        assert!(agent.docker.of_cluster(&agent.cluster()).await.volumes.is_empty());
    }
}
