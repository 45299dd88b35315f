//! Links that provision, on the real Docker: the container that provides makes an account for the one that is linked, which
//! has it as secrets before it is made. An account goes with its link; what cannot be provisioned leaves nothing.

use dockerforge_protocol::command::docker_name;
use dockerforge_tests::{
    agent::Agent,
    backend::Backend,
    client::{Api, Job},
    cluster::Cluster,
    env, invariants,
    recipes::{configuration, ledger, ledger_archive, put_archive, shop, shop_archive, template},
    wait,
};
use serde_json::{Value, json};

/// A cluster with a ledger that runs, and an image of the shop. The agent first: it goes before its cluster does.
struct Scene {
    agent: Agent,
    api: Api,
    configuration: String,
    ledger_image: String,
    ledger: String,
    shop: String,
    cluster: Cluster,
}

impl Scene {
    async fn start() -> Self {
        Self::on(Cluster::start().await).await
    }

    async fn on(cluster: Cluster) -> Self {
        let (_, api) = cluster.user("ana").await;
        let agent = cluster.host(&api, "vps").await;
        let mut images = Vec::new();
        for (body, archive) in [(ledger(), ledger_archive()), (shop(), shop_archive())] {
            let name = body["name"].as_str().unwrap();
            let id = template(&api, &body).await;
            put_archive(&api, &id, archive).await;
            let id = configuration(&api, name, &id, json!({})).await;
            let asked = json!({"name": name, "host": agent.host, "configuration": id});
            let job = api.post("/v1/images", &asked).await.accepted();
            images.push((id, api.succeeded(&job, 120).await));
        }
        let (_, shop) = images.pop().unwrap();
        let (configuration, ledger_image) = images.pop().unwrap();
        let ports = json!({"ports": [{"container": 8080}]});
        let ledger = agent.container("ledger", &ledger_image, ports).await;
        Self { agent, api, configuration, ledger_image, ledger, shop, cluster }
    }

    /// A link to the ledger.
    fn link(&self, provision: Value) -> Value {
        json!([{"container": self.ledger, "alias": "accounts", "provision": provision}])
    }

    /// Asks for a shop.
    async fn ask(&self, name: &str, provision: Value) -> Job {
        let rest = json!({"ports": [{"container": 8080}], "links": self.link(provision)});
        self.api.run(&self.agent.host, name, &self.shop, rest).await
    }

    async fn launch(&self, name: &str, provision: Value) -> String {
        let job = self.ask(name, provision).await;
        self.api.succeeded(&job, 60).await
    }

    /// What a container answers to a path.
    async fn page(&self, container: &str, path: &str) -> String {
        wait::until(20, "it is served", async || {
            let observed = self.api.container(container).await.observed;
            let port = observed.ports.first().map(|port| port.host).ok_or_else(|| format!("{observed:?}"))?;
            let answer = reqwest::get(format!("http://127.0.0.1:{port}{path}")).await.map_err(|e| e.to_string())?;
            answer.text().await.map(|text| text.trim().to_owned()).map_err(|e| e.to_string())
        })
        .await
    }

    /// A secret of a container, out of the file that it has it in.
    async fn secret(&self, container: &str, name: &str) -> String {
        self.agent.docker.file(&docker_name(container.parse().unwrap()), &format!("/run/secrets/{name}")).await
    }

    /// What a container's account is called and opens.
    async fn account(&self, container: &str) -> (Value, String) {
        let shown = self.api.container(container).await.rest["links"][0]["provision"].clone();
        let (user, password) = (self.secret(container, "DB_USER").await, self.secret(container, "DB_PASSWORD").await);
        assert_eq!(shown["user"], json!(user));
        assert_eq!(password.len(), 64, "256 bits");
        self.cluster.is_secret(&password);
        (shown, format!("/cgi-bin/login?{user}&{password}"))
    }

    async fn refused(&self, login: &str) {
        wait::until(30, "the account is gone", async || {
            let answer = self.page(&self.ledger, login).await;
            if answer == "refused" { Ok(()) } else { Err(answer) }
        })
        .await;
    }

    async fn configure(&self, run_list: Value) {
        let path = format!("/v1/configurations/{}", self.configuration);
        self.api.patch(&path, &json!({"run_list": run_list})).await.expect(200);
    }

    async fn kept(&self) -> String {
        let look = json!({"command": ["ls", "/srv/db"]});
        let look = self.api.post(&format!("/v1/containers/{}/exec", self.ledger), &look).await.accepted();
        self.api.succeeded(&look, 30).await;
        self.api.log(&look.id).await.text
    }
}

#[tokio::test]
async fn a_link_that_provisions_makes_an_account_before_the_container_and_takes_it_back_with_the_link() {
    let scene = Scene::start().await;
    let api = &scene.api;
    let job = scene.ask("my-shop", json!(true)).await;
    let first = api.succeeded(&job, 60).await;
    let converges: Vec<Job> = api.all("/v1/queue?kind=container.converge").await;
    let part = converges.iter().find(|part| part.parent.as_ref() == Some(&job.id)).expect("it is a part");
    assert_eq!(part.resource.as_ref().expect("a resource").id, scene.ledger);
    let second = scene.launch("other", json!({"database": "orders"})).await;

    let (shown, login) = scene.account(&first).await;
    let database = shown["database"].as_str().unwrap().to_owned();
    assert!(database.starts_with("my_shop_") && shown["user"] == shown["database"], "{shown}");
    let (other, other_login) = scene.account(&second).await;
    assert!(other["database"] == "orders" && other["user"].as_str().unwrap().starts_with("other_"), "{other}");
    assert_eq!(scene.page(&first, "/").await, format!("in {database}"), "it was let in before it was made");
    assert_eq!(scene.page(&second, "/").await, "in orders", "each into its own");
    let wrong = login.replace(&scene.secret(&first, "DB_PASSWORD").await, &scene.secret(&second, "DB_PASSWORD").await);
    assert_eq!(scene.page(&scene.ledger, &wrong).await, "refused");
    let names = api.container(&first).await.rest["secrets"].clone();
    assert_eq!(names.as_object().unwrap().len(), 4, "{names}");
    assert!(api.log(&job.id).await.text.contains("********"), "what the converge prints of them is starred");
    invariants::standing(&scene.cluster).await;

    // What is said again as it is shown stays as it is.
    let path = format!("/v1/containers/{first}");
    let links = api.container(&first).await.rest["links"].clone();
    let job = api.patch(&path, &json!({"links": links, "env": {"A": "b"}})).await.accepted();
    api.succeeded(&job, 60).await;
    assert_eq!(scene.account(&first).await, (shown, login.clone()));
    let job = api.patch(&path, &json!({"secrets": {"OWN": {"value": "anything"}}})).await.accepted();
    api.succeeded(&job, 60).await;
    assert_eq!(api.container(&first).await.rest["secrets"].as_object().unwrap().len(), 5, "beside its own");
    assert_eq!(scene.page(&first, "/").await, format!("in {database}"));

    let (store, plain) = (scene.kept().await, json!([{"container": scene.ledger, "alias": "accounts"}]));
    // It does not come up without: the change is taken back, and so the account stays.
    let job = api.patch(&path, &json!({"links": plain})).await.accepted();
    assert_eq!(api.ended(&job.id, 60).await.state, "failed");
    assert_eq!(scene.page(&scene.ledger, &login).await, format!("in {database}"));
    let deletion = api.delete(&path).await.accepted();
    api.succeeded(&deletion, 60).await;
    scene.refused(&login).await;
    assert_eq!(scene.page(&scene.ledger, &other_login).await, "in orders", "the other's stays");
    assert_eq!(scene.kept().await, store, "and so do the data");
    invariants::standing(&scene.cluster).await;
}

#[tokio::test]
async fn what_reaches_into_its_host_takes_an_account_back_when_those_converge_it_who_may() {
    let scene = Scene::start().await;
    let api = &scene.api;
    let shop = scene.launch("my-shop", json!(true)).await;
    let (_, login) = scene.account(&shop).await;
    let ports = json!({"ports": [{"container": 8080}]});
    let other = scene.agent.container("other", &scene.ledger_image, ports).await;
    let rest = json!({"links": [{"container": other, "alias": "accounts", "provision": true}]});
    let job = api.run(&scene.agent.host, "other-shop", &scene.shop, rest).await;
    let other_shop = api.succeeded(&job, 60).await;
    let (_, other_login) = scene.account(&other_shop).await;

    let found = scene.cluster.admin().get("/v1/users?name=ana").await.expect(200).json;
    let me = found["items"][0]["id"].as_str().unwrap();
    let body = json!({"name": "root", "scopes": ["read", "write", "host:root"]});
    let token = scene.cluster.admin().post(&format!("/v1/users/{me}/tokens"), &body).await.expect(201).json;
    scene.cluster.is_secret(token["key"].as_str().unwrap());
    let root = scene.cluster.anonymous().bearer(token["key"].as_str().unwrap());
    let ledger = format!("/v1/containers/{}", scene.ledger);
    let job = root.patch(&ledger, &json!({"host_access": {"namespaces": ["ipc"]}})).await.accepted();
    api.succeeded(&job, 60).await;
    assert_eq!(scene.page(&scene.ledger, &login).await.split(' ').next(), Some("in"), "its account is there again");

    let converges = async || {
        let all: Vec<Job> = api.all("/v1/queue?kind=container.converge").await;
        all.into_iter().filter(|job| job.resource.as_ref().is_some_and(|of| of.id == scene.ledger)).count()
    };
    let before = converges().await;
    for shop in [&shop, &other_shop] {
        let job = api.delete(&format!("/v1/containers/{shop}")).await.accepted();
        api.succeeded(&job, 60).await;
    }
    // Whoever is not to have anything done as root there may have changed its configuration. Elsewhere it is done by itself.
    wait::until(30, "the account is gone elsewhere", async || {
        let answer = scene.page(&other, &other_login).await;
        wait::check(answer == "refused", answer)
    })
    .await;
    assert_eq!(converges().await, before);
    assert_ne!(scene.page(&scene.ledger, &login).await, "refused");
    let job = root.post(&format!("{ledger}/converge"), &json!({})).await.accepted();
    api.succeeded(&job, 60).await;
    scene.refused(&login).await;
}

#[tokio::test]
async fn a_container_of_any_image_is_provisioned_and_unlinked_by_a_change() {
    let scene = Scene::start().await;
    let api = &scene.api;
    let plain = scene.agent.image("plain", env::SLEEPER).await;
    let container = scene.agent.container("plain", &plain, json!({})).await;
    let path = format!("/v1/containers/{container}");
    let said = json!({"database": "stock", "user": "stock"});
    let job = api.patch(&path, &json!({"links": scene.link(said.clone())})).await.accepted();
    api.succeeded(&job, 60).await;
    let (shown, login) = scene.account(&container).await;
    assert_eq!(shown, said);
    assert_eq!(scene.page(&scene.ledger, &login).await, "in stock");

    let refused = async |links: Value| {
        let body = json!({"name": "second", "host": scene.agent.host, "image": plain, "links": links});
        let problem = api.post("/v1/containers", &body).await.problem(422, "invalid");
        (problem.pointers().into_iter().map(str::to_owned).collect::<Vec<_>>(), problem.detail)
    };
    let (at, detail) = refused(scene.link(said)).await;
    assert!(at == ["/links/0/provision/user"] && detail.contains(&container), "of one user there is one: {detail}");
    assert_eq!(refused(scene.link(json!({"user": "No"}))).await.0, ["/links/0/provision/user"]);
    assert_eq!(refused(scene.link(json!({"host": "x"}))).await.0, ["/links/0/provision"]);
    let (at, detail) = refused(json!([{"container": container, "alias": "a", "provision": true}])).await;
    assert!(at == ["/links/0/provision"] && detail.contains("does not say"), "{detail}");
    let twice = json!([scene.link(json!(true))[0], {"container": scene.ledger, "alias": "b", "provision": true}]);
    assert_eq!(refused(twice).await.0, ["/links/1/provision"; 4], "secrets of the same names");

    let own = json!({"secrets": {"DB_HOST": {"value": "elsewhere"}}});
    assert_eq!(api.patch(&path, &own).await.problem(422, "invalid").pointers(), ["/secrets/DB_HOST"]);
    let job = api.patch(&path, &json!({"links": null})).await.accepted();
    api.succeeded(&job, 60).await;
    scene.refused(&login).await;
    assert_eq!(api.container(&container).await.rest["secrets"], json!({}));

    let stop = api.post(&format!("/v1/containers/{}/stop", scene.ledger), &json!({})).await.accepted();
    api.succeeded(&stop, 60).await;
    api.patch(&path, &json!({"links": scene.link(json!(true))})).await.problem(409, "container-not-running");
}

#[tokio::test]
async fn what_cannot_be_provisioned_is_not_made_and_leaves_no_account() {
    nothing_is_left(Scene::start().await).await;
}

#[tokio::test]
async fn what_cannot_be_provisioned_is_not_made_and_leaves_no_account_on_postgres() {
    nothing_is_left(Scene::on(Cluster::start_on(Backend::Postgres).await).await).await;
}

async fn nothing_is_left(scene: Scene) {
    let api = &scene.api;
    scene.configure(json!(["broken"])).await;
    let job = scene.ask("shop", json!({"user": "ana", "database": "orders"})).await;
    let ended = api.ended(&job.id, 60).await;
    let error = ended.error.expect("it fails");
    assert_eq!((ended.state.as_str(), error.kind()), ("failed", "part-failed"));
    assert!(
        error.detail.contains(&format!("(container.converge of {}): broken failed: exit code 1; ", scene.ledger)),
        "{error:?}"
    );
    let made = ended.resource.expect("what was to be").id;
    api.get(&format!("/v1/containers/{made}")).await.problem(404, "not-found");
    assert!(scene.agent.docker.of_container(&made).await.is_empty());
    assert_eq!(ended.attempt, 0, "no host has heard of it");

    // Its name and its account's are free at once. The ledger had made an account before it failed: the next converge knows.
    scene.configure(json!([])).await;
    let again = scene.launch("shop", json!({"user": "ana", "database": "orders"})).await;
    let (_, login) = scene.account(&again).await;
    assert_eq!(scene.page(&scene.ledger, &login).await, "in orders");
    assert_eq!(scene.page(&again, "/").await, "in orders");

    // A change that cannot be provisioned leaves the container as it was.
    scene.configure(json!(["broken"])).await;
    let path = format!("/v1/containers/{again}");
    let job = api.patch(&path, &json!({"links": scene.link(json!({"user": "bert"}))})).await.accepted();
    assert_eq!(api.ended(&job.id, 60).await.state, "failed");
    assert_eq!(scene.account(&again).await.1, login);
    assert_eq!(scene.page(&again, "/").await, "in orders");

    // Gone, its account is taken back as soon as that can be.
    scene.configure(json!([])).await;
    let deletion = api.delete(&path).await.accepted();
    api.succeeded(&deletion, 60).await;
    scene.refused(&login).await;
}

#[tokio::test]
async fn a_provisioned_creation_survives_both_sides_and_one_that_is_cancelled_leaves_no_account() {
    let mut scene = Scene::start().await;
    scene.configure(json!(["slow"])).await;
    let job = scene.ask("shop", json!(true)).await;
    let converges: Vec<Job> = scene.api.all("/v1/queue?kind=container.converge").await;
    let part = converges.into_iter().find(|part| part.parent.as_ref() == Some(&job.id)).expect("a part");
    scene.api.says(&part.id, "begins", 30).await;
    scene.agent.kill();
    scene.cluster.crash_and_restart().await;
    scene.agent.launch(None, &[]);
    scene.agent.is_online(60).await;
    let made = scene.api.succeeded(&job, 90).await;
    let (_, login) = scene.account(&made).await;
    assert!(scene.page(&scene.ledger, &login).await.starts_with("in "));

    let job = scene.ask("second", json!({"user": "second"})).await;
    let converges: Vec<Job> = scene.api.all("/v1/queue?kind=container.converge").await;
    let part = converges.into_iter().find(|part| part.parent.as_ref() == Some(&job.id)).expect("a part");
    scene.api.says(&part.id, "begins", 30).await;
    scene.api.delete(&format!("/v1/queue/{}", job.id)).await.accepted();
    assert_eq!(scene.api.ended(&job.id, 30).await.state, "cancelled");
    scene.api.ended(&part.id, 60).await;
    let ledger = docker_name(scene.ledger.parse().unwrap());
    wait::until(60, "the account is taken back", async || {
        let accounts = scene.agent.docker.file(&ledger, "/srv/accounts").await;
        if accounts.contains("second&") { Err("it is there".to_owned()) } else { Ok(()) }
    })
    .await;
    assert!(scene.page(&scene.ledger, &login).await.starts_with("in "), "the other's stays");

    // Who provides is made anew: it makes again what it has granted.
    let path = format!("/v1/containers/{}", scene.ledger);
    let job = scene.api.patch(&path, &json!({"env": {"A": "b"}})).await.accepted();
    scene.api.succeeded(&job, 60).await;
    assert!(scene.page(&scene.ledger, &login).await.starts_with("in "));
    let copy = scene.agent.container("copy", &scene.ledger_image, json!({"ports": [{"container": 8080}]})).await;
    assert_eq!(scene.page(&copy, &login).await, "refused", "what one grants is not another's");
    // And gone, it has nothing to take back.
    let deletion = scene.api.delete(&path).await.accepted();
    scene.api.succeeded(&deletion, 60).await;
    let shown = scene.api.container(&made).await.rest["links"].clone();
    assert_eq!(shown, json!([{"container": scene.ledger, "alias": "accounts"}]), "the link is left, and leads nowhere");
    invariants::standing(&scene.cluster).await;
}

#[tokio::test]
async fn a_template_whose_provisioning_cannot_be_is_refused_with_pointers() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    for (member, value, pointer) in [
        ("secrets", json!({}), "/provision/secrets"),
        ("secrets", json!({"A": "{nothing}"}), "/provision/secrets/A"),
        ("secrets", json!({"1A": "{user}"}), "/provision/secrets/1A"),
        ("fields", json!({"user": {"pattern": "(["}, "database": {"pattern": "."}}), "/provision/fields/user/pattern"),
        (
            "fields",
            json!({"user": {"pattern": "."}, "database": {"pattern": "."}, "password": {"pattern": "."}}),
            "/provision/fields/password",
        ),
        ("as", json!("letter"), "/provision/as"),
    ] {
        let mut body = ledger();
        body["provision"][member] = value;
        assert_eq!(api.post("/v1/templates", &body).await.problem(422, "invalid").pointers(), [pointer], "{body}");
    }
    let made = api.post("/v1/templates", &ledger()).await.expect(201).json;
    assert_eq!(made["provision"]["as"], "file");
    assert_eq!(made["provision"]["fields"]["database"], json!({"pattern": "^[a-z0-9_]{1,40}$", "unique": false}));
}
