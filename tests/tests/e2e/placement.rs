//! Hosts that users share: a container is placed where there is room and nowhere else, is held back there whatever its user
//! asks, and tells him nothing of the host; one that drains takes nothing new; nobody is promised room twice.

use dockerforge_protocol::command::{docker_name, network_name};
use dockerforge_tests::{
    agent::Agent,
    backend::Backend,
    client::{Api, Container, Host, Image, Job, Problem},
    cluster::Cluster,
    env,
    hosts::FarHost,
    wait,
};
use serde_json::{Value, json};

const SLEEP: [&str; 3] = ["sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"];

/// What both further hosts have under a reference whose registry does not answer there, until this is dropped.
struct Referenced {
    hosts: Vec<FarHost>,
    reference: String,
}

impl Referenced {
    async fn new(name: &str) -> Self {
        let reference = format!("{}/{name}:1", env::registry());
        let hosts = FarHost::all();
        for host in &hosts {
            dockerforge_tests::docker::Witness::at(&host.docker).tag(env::BASE_IMAGE, &reference).await;
        }
        Self { hosts, reference }
    }
}

impl Drop for Referenced {
    fn drop(&mut self) {
        let (hosts, reference) = (self.hosts.clone(), self.reference.clone());
        dockerforge_tests::docker::block_on(async move {
            for host in hosts {
                dockerforge_tests::docker::Witness::at(&host.docker).untag(&reference).await;
            }
        });
    }
}

/// Two shared hosts with an Engine each, and a public image that either can have.
struct Pool {
    near: Agent,
    far: Agent,
    image: String,
    admin: Api,
    _reference: Referenced,
}

impl Pool {
    async fn new(cluster: &Cluster, name: &str) -> Self {
        let referenced = Referenced::new(name).await;
        let admin = cluster.admin();
        let docker = |i: usize| referenced.hosts[i].docker.clone();
        let near = Agent::pool(cluster, &admin, "near", &json!({"zone": "a"}), &docker(0)).await;
        let far = Agent::pool(cluster, &admin, "far", &json!({"zone": "b", "disk": "ssd"}), &docker(1)).await;
        let body = json!({"name": "base", "host": near.host, "reference": referenced.reference, "public": true});
        let job = admin.post("/v1/images", &body).await.accepted();
        let image = admin.succeeded(&job, 60).await;
        Self { near, far, image, admin, _reference: referenced }
    }

    /// What Docker has of a container, and on which of the hosts.
    async fn found(&self, container: &str) -> (&'static str, bollard::models::ContainerInspectResponse) {
        let name = docker_name(container.parse().unwrap());
        for (at, agent) in [("near", &self.near), ("far", &self.far)] {
            if let Some(found) = agent.docker.inspect(&name).await {
                return (at, found);
            }
        }
        panic!("{container} is on neither host");
    }

    fn body(&self, name: &str, rest: Value) -> Value {
        let mut body = json!({"name": name, "image": self.image, "command": SLEEP});
        body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        body
    }

    async fn place(&self, api: &Api, name: &str, rest: Value) -> String {
        let job = api.post("/v1/containers", &self.body(name, rest)).await.accepted();
        api.succeeded(&job, 60).await
    }

    /// A quarter of what a host has, so that nobody measures the machine of this test.
    async fn quarter(&self) -> Value {
        let capacity = self.admin.host(&self.near.host).await.capacity.unwrap();
        let cpus = capacity["cpus"].as_f64().unwrap() * 0.2;
        json!({"cpus": (cpus * 1000.0).floor() / 1000.0, "memory": 33_554_432, "pids": 20})
    }
}

fn details(problem: &Problem) -> Vec<(String, String)> {
    problem.errors.iter().map(|error| (error.pointer.clone(), error.detail.clone())).collect()
}

#[tokio::test]
async fn what_a_reference_names_on_a_shared_host_is_nobodys_who_names_it() {
    let referenced = Referenced::new("theirs").await;
    let cluster = Cluster::start_at(referenced.hosts[0].gateway).await;
    let shared = Agent::pool(&cluster, &cluster.admin(), "shared", &json!({}), &referenced.hosts[0].docker).await;
    let (_, api) = cluster.user("mallory").await;
    let own = cluster.host(&api, "own").await;
    // On a host of one's own it may name whatever one likes.
    let built = own.image("built", &format!("RUN echo his own > /mine\n{}", env::SLEEPER)).await;
    let built = dockerforge_protocol::command::local_tag(built.parse().unwrap());
    own.docker.tag(&built, &referenced.reference).await;
    let body = json!({"name": "i", "host": own.host, "reference": referenced.reference});
    let job = api.post("/v1/images", &body).await.accepted();
    let image = api.succeeded(&job, 60).await;
    own.docker.untag(&referenced.reference).await;

    let body = json!({"name": "c", "image": image, "placement": {}});
    let job = api.post("/v1/containers", &body).await.accepted();
    let container = api.succeeded(&job, 90).await;
    let name = docker_name(container.parse().unwrap());
    assert_eq!(shared.docker.file(&name, "/mine").await, "his own\n", "not what the shared host calls so");
    assert_eq!(api.all::<Job>("/v1/queue?kind=image.copy").await.len(), 1);
    let shown = api.get(&format!("/v1/images/{image}")).await.json;
    let mut hosts: Vec<Value> = shown["hosts"].as_array().unwrap().iter().map(|on| on["host"].clone()).collect();
    hosts.sort_by_key(Value::is_null);
    assert_eq!(hosts, [json!(own.host), json!(null)]);

    let body = json!({"name": "n", "host": own.host, "reference": format!("dockerforge.invalid/{image}:latest")});
    assert_eq!(api.post("/v1/images", &body).await.problem(422, "invalid").pointers(), ["/reference"]);
}

#[tokio::test]
async fn a_container_goes_where_the_strategy_says_is_held_back_and_its_host_stays_unknown() {
    let mut cluster = Cluster::start().await;
    cluster.stop().await;
    cluster.launch(&[("DOCKERFORGE_POOL_HEADROOM_CPUS", "0")]).await;
    let pool = Pool::new(&cluster, "strategies").await;
    let (ana, api) = cluster.user("ana").await;
    let quarter = pool.quarter().await;
    let placed = async |name: &str, placement: Value| {
        let id = pool.place(&api, name, json!({"placement": placement, "resources": quarter})).await;
        (pool.found(&id).await.0, id)
    };
    let (one, first) = placed("spread-1", json!({"strategy": "spread"})).await;
    let (two, _) = placed("spread-2", json!({"strategy": "spread"})).await;
    assert_ne!(one, two, "spread takes turns");
    let (three, _) = placed("pack-1", json!({"strategy": "binpack"})).await;
    let (four, _) = placed("pack-2", json!({"strategy": "binpack"})).await;
    assert_eq!(three, four, "binpack fills one first");
    let (labelled, _) = placed("labelled", json!({"strategy": "random", "labels": {"disk": "ssd"}})).await;
    assert_eq!(labelled, "far");

    // Without a word on where, it is placed all the same, and gets limits and a port.
    let id = pool.place(&api, "plain", json!({"ports": [{"container": 80}]})).await;
    let (_, real) = pool.found(&id).await;
    let host = real.host_config.unwrap();
    assert_eq!((host.nano_cpus, host.memory, host.pids_limit), (Some(500_000_000), Some(268_435_456), Some(256)));
    assert_eq!(host.security_opt, Some(vec!["no-new-privileges".to_owned()]));
    let dropped = host.cap_drop.unwrap_or_default();
    assert!(
        dropped.iter().any(|c| c.contains("NET_RAW")) && dropped.iter().any(|c| c.contains("MKNOD")),
        "{dropped:?}"
    );
    assert_eq!((host.privileged, host.cap_add.unwrap_or_default().len()), (Some(false), 0));
    assert_eq!(host.network_mode, Some(network_name(ana.user.id.parse().unwrap())));
    let bound = host.port_bindings.unwrap().into_values().flatten().flatten().next().unwrap().host_port.unwrap();
    assert!((20_000..=29_999).contains(&bound.parse::<u16>().unwrap()), "{bound}");

    // A change does not lead out of that: neither one in place nor one that makes it anew.
    let path = format!("/v1/containers/{id}");
    let problem = api.patch(&path, &json!({"ports": [{"container": 80, "host": 8080}]})).await.problem(422, "invalid");
    assert_eq!(problem.pointers(), ["/ports/0/host"]);
    let much = json!({"resources": {"cpus": 1000, "memory": 67_108_864}});
    let problem = api.patch(&path, &much).await.problem(409, "nothing-fits");
    assert_eq!(details(&problem), [("pool-1".to_owned(), "too few processors are left".to_owned())]);
    for change in [json!({"resources": null}), json!({"env": {"A": "b"}, "resources": {}})] {
        let job = api.patch(&path, &change).await.accepted();
        api.succeeded(&job, 60).await;
        let host = pool.found(&id).await.1.host_config.unwrap();
        assert_eq!((host.nano_cpus, host.memory, host.pids_limit), (Some(500_000_000), Some(268_435_456), Some(256)));
        assert_eq!(host.security_opt, Some(vec!["no-new-privileges".to_owned()]));
        assert!(!host.cap_drop.unwrap_or_default().is_empty());
    }

    // Nothing tells him which host it is.
    let shown = api.container(&first).await;
    assert_eq!((shown.host, shown.placement.pool), (None, true));
    let jobs: Vec<Job> = api.all("/v1/queue").await;
    assert!(jobs.iter().all(|job| job.host.is_none()), "{jobs:?}");
    assert_eq!(api.all::<Host>("/v1/hosts").await.len(), 0);
    for host in [&pool.near.host, &pool.far.host] {
        api.get(&format!("/v1/hosts/{host}")).await.problem(404, "not-found");
        assert_eq!(api.all::<Container>(&format!("/v1/containers?host={host}")).await.len(), 0);
        assert_eq!(api.all::<Job>(&format!("/v1/queue?host={host}")).await.len(), 0);
        assert_eq!(api.all::<Image>(&format!("/v1/images?host={host}")).await.len(), 0);
        let everything = format!("{jobs:?}{:?}", api.all::<Container>("/v1/containers").await);
        assert!(!everything.contains(host.as_str()));
    }
    let image = api.image(&pool.image).await;
    assert!(image.public && image.hosts.is_empty(), "{image:?}");

    // Who uses a public image is not told to anybody else, and only its owner deletes it.
    api.delete(&format!("/v1/images/{}", pool.image)).await.problem(403, "not-owner");
    let used = pool.admin.delete(&format!("/v1/images/{}", pool.image)).await.problem(409, "image-in-use");
    assert!(used.detail.contains("6 containers of other users") && !used.detail.contains("ctr_"), "{used:?}");

    // With the user all that is his goes from hosts that are not his.
    let job = pool.admin.delete(&format!("/v1/users/{}", ana.user.id)).await.accepted();
    pool.admin.succeeded(&job, 90).await;
    for agent in [&pool.near, &pool.far] {
        let network = agent.docker.raw().inspect_network(&network_name(ana.user.id.parse().unwrap()), None).await;
        assert!(network.is_err(), "the network of a user who is gone");
    }
}

#[tokio::test]
async fn what_nobody_may_ask_of_a_shared_host_is_refused() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let asked = |rest: Value| {
        let mut body = json!({"name": "x", "image": "img_0192f0c1a2b37c4d8e5f60718293a4b5"});
        body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        body
    };
    let problem = api.post("/v1/containers", &asked(json!({}))).await.problem(422, "invalid");
    assert_eq!(problem.pointers(), ["/host"]);
    api.post("/v1/hosts", &json!({"name": "mine", "pool": true})).await.problem(403, "forbidden");
    let (user, eva) = cluster.user("eva").await;
    let acting = cluster.admin().acting_for(&user.user.id);
    let problem = acting.post("/v1/hosts", &json!({"name": "hers", "pool": true})).await.problem(422, "invalid");
    assert_eq!(problem.pointers(), ["/pool"]);
    let (own, _) = eva.create_host("own").await;
    let public = json!({"name": "x", "host": own.id, "reference": "debian:12", "public": true});
    eva.post("/v1/images", &public).await.problem(403, "forbidden");

    let (pool, _) = cluster.admin().create_pool_host("pool", &json!({})).await;
    let made = json!({"name": "base", "host": pool.id, "reference": "debian:12", "public": true});
    let job = cluster.admin().post("/v1/images", &made).await.accepted();
    let image = job.resource.unwrap().id;
    for (rest, pointer) in [
        (json!({"host": pool.id}), "/host"),
        (json!({"host": own.id, "placement": {}}), "/placement"),
        (json!({"placement": {"strategy": "best"}}), "/placement/strategy"),
        (json!({"placement": {"labels": {"No": "x"}}}), "/placement/labels/No"),
        (json!({"placement": {"zone": "a"}}), "/placement/zone"),
        (json!({"image": image, "ports": [{"container": 80, "host": 8080}]}), "/ports/0/host"),
        (json!({"image": image, "resources": {"pids": 5000}}), "/resources/pids"),
        (json!({"privileged": true}), "/privileged"),
    ] {
        let problem = eva.post("/v1/containers", &asked(rest.clone())).await.problem(422, "invalid");
        assert!(problem.pointers().contains(&pointer), "{rest}: {problem:?}");
    }
    let problem = eva.post("/v1/containers", &asked(json!({"image": image}))).await.problem(409, "nothing-fits");
    assert_eq!(problem.pointers(), ["pool-1"]);
    assert!(!format!("{problem:?}").contains(&pool.id) && problem.detail.contains("pending"), "{problem:?}");
    // What others use keeps its owner in service.
    let other = json!({"name": "ops", "admin": true});
    let ops = cluster.admin().post("/v1/users", &other).await.expect(201).json;
    let theirs = cluster.anonymous().bearer(ops["key"].as_str().unwrap());
    theirs.create_pool_host("theirs", &json!({})).await;
    cluster.admin().delete(&format!("/v1/users/{}", ops["id"].as_str().unwrap())).await.problem(409, "shares");
}

#[tokio::test]
async fn a_host_that_drains_or_is_silent_takes_nothing_new_and_what_it_runs_goes_on() {
    let cluster = Cluster::start().await;
    let mut pool = Pool::new(&cluster, "draining").await;
    let (_, api) = cluster.user("ana").await;
    let small = json!({"cpus": 0.05, "memory": 33_554_432});
    let zone = |zone: &str| json!({"placement": {"labels": {"zone": zone}}, "resources": small});
    let kept = pool.place(&api, "kept", zone("a")).await;
    let path = format!("/v1/hosts/{}", pool.near.host);
    let host: Host = pool.admin.patch(&path, &json!({"draining": true})).await.expect(200).body();
    assert!(host.draining && host.unusable.is_some_and(|why| why.contains("draining")));
    assert_eq!(host.labels["zone"], "a", "what is not named stays");
    api.observed(&kept, "running", 5).await;
    let problem = api.post("/v1/containers", &pool.body("x", zone("a"))).await.problem(409, "nothing-fits");
    let told = details(&problem);
    assert_eq!(told[0], ("pool-1".to_owned(), "it is draining".to_owned()), "{problem:?}");
    assert_eq!(told[1].0, "pool-2");
    assert!(told[1].1.contains("zone"), "{problem:?}");
    let named = json!({"name": "x", "image": pool.image, "host": pool.near.host});
    pool.admin.post("/v1/containers", &named).await.problem(409, "host-draining");
    let built = json!({"name": "x", "host": pool.near.host, "reference": "debian:12"});
    pool.admin.post("/v1/images", &built).await.problem(409, "host-draining");
    // What is there is stopped and started as ever.
    for what in ["stop", "start"] {
        let job = api.post(&format!("/v1/containers/{kept}/{what}"), &json!({})).await.accepted();
        api.succeeded(&job, 30).await;
    }
    let other = pool.place(&api, "other", json!({"resources": small})).await;
    assert_eq!(pool.found(&other).await.0, "far");

    let found = async |query: &str| pool.admin.all::<Host>(&format!("/v1/hosts?{query}")).await.len();
    assert_eq!(found("label=zone=b&label=disk=ssd").await, 1);
    assert_eq!((found("label=zone=a&label=disk=ssd").await, found("label=zone=B").await), (0, 0));
    pool.admin.get("/v1/hosts?label=zone").await.problem(422, "invalid");
    pool.admin.get("/v1/hosts?state=online&state=online").await.problem(422, "invalid");
    pool.admin.patch(&path, &json!({"drained": true})).await.problem(422, "invalid");

    pool.far.kill();
    let far = pool.far.host.clone();
    wait::until(60, "the host is known to be silent", async || {
        let host = pool.admin.host(&far).await;
        wait::check(host.state == "unreachable", host)
    })
    .await;
    let problem = api.post("/v1/containers", &pool.body("x", json!({}))).await.problem(409, "nothing-fits");
    assert_eq!(details(&problem)[1], ("pool-2".to_owned(), "it is unreachable".to_owned()), "{problem:?}");
    pool.admin.patch(&path, &json!({"draining": false, "labels": {"zone": "c"}})).await.expect(200);
    pool.place(&api, "again", zone("c")).await;
}

async fn fifty_find_room_for_ten(backend: Backend) {
    let mut cluster = Cluster::start_on(backend).await;
    cluster.stop().await;
    cluster.launch(&[("DOCKERFORGE_POOL_HEADROOM_CPUS", "0")]).await;
    let pool = Pool::new(&cluster, &format!("room-{backend:?}").to_lowercase()).await;
    let (_, api) = cluster.user("ana").await;
    let capacity = pool.admin.host(&pool.near.host).await.capacity.unwrap();
    // Five on each of the two, and not a sixth.
    let cpus = (capacity["cpus"].as_f64().unwrap() * 200.0).floor() / 1000.0;
    let asked = (0..50).map(|i| {
        let body = pool.body(&format!("c-{i}"), json!({"resources": {"cpus": cpus, "memory": 16_777_216}}));
        let api = api.clone();
        async move { api.post("/v1/containers", &body).await }
    });
    let answers = futures_util::future::join_all(asked).await;
    let (accepted, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 202);
    assert_eq!((accepted.len(), refused.len()), (10, 40), "{:?}", refused.first().map(ToString::to_string));
    for answer in refused {
        let problem = answer.problem(409, "nothing-fits");
        assert!(problem.detail.contains("too few processors"), "{problem:?}");
    }
    let mut at = Vec::new();
    for answer in accepted {
        let id = api.succeeded(&answer.accepted(), 120).await;
        at.push(pool.found(&id).await.0);
    }
    assert_eq!(at.iter().filter(|host| **host == "near").count(), 5, "{at:?}");
    // Room that is given back is room.
    let shown: Vec<Container> = api.all("/v1/containers").await;
    let job = api.delete(&format!("/v1/containers/{}", shown[0].id)).await.accepted();
    api.succeeded(&job, 30).await;
    pool.place(&api, "after", json!({"resources": {"cpus": cpus, "memory": 16_777_216}})).await;
}

#[tokio::test]
async fn of_fifty_at_once_ten_find_the_room_for_ten_on_sqlite() {
    fifty_find_room_for_ten(Backend::Sqlite).await;
}

#[tokio::test]
async fn of_fifty_at_once_ten_find_the_room_for_ten_on_postgres() {
    fifty_find_room_for_ten(Backend::Postgres).await;
}
