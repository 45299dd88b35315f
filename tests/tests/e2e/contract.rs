//! The document of the API against the API: public tools take every promise of `/openapi.json` at its word. What is excepted
//! stands in `tests/contract/schemathesis.toml` with its reason. `make contract-long` asks more, and other things each time.

use dockerforge_tests::{client::Api, client::Token, cluster::Cluster, env, recipes};
use serde_json::{Value, json};
use std::fmt::Write;
use std::process::{Command, Stdio};

/// Things for all the ids in the document: of each kind one that stays, and one that may be deleted.
struct Scene {
    cluster: Cluster,
    things: Value,
    ana: String,
    key: String,
}

async fn id(api: &Api, path: &str, body: Value) -> String {
    let answer = api.post(path, &body).await;
    assert!(answer.status < 300, "{path}: {answer}");
    answer.json["id"].as_str().unwrap_or_else(|| panic!("{path}: {answer}")).to_owned()
}

/// A template of that name, with its archive.
async fn template(api: &Api, name: &str) -> String {
    let mut body = recipes::page();
    body["name"] = json!(name);
    let id = recipes::template(api, &body).await;
    recipes::put_archive(api, &id, recipes::page_archive()).await;
    id
}

impl Scene {
    async fn set() -> Self {
        let cluster = Cluster::start().await;
        let (ana, api) = cluster.user("ana").await;
        let (bob, _) = cluster.user("bob").await;
        let mut agent = cluster.host(&api, "vps").await;
        let image = agent.image("base", env::SLEEPER).await;
        let (template, spare_template) = (template(&api, "stays").await, template(&api, "goes").await);
        let configuration = recipes::configuration(&api, "stays", &template, json!({"title": "x"})).await;
        let spare_configuration = recipes::configuration(&api, "goes", &template, json!({"title": "x"})).await;
        let body = json!({"name": "configured", "host": agent.host, "configuration": configuration});
        let job = api.post("/v1/images", &body).await.accepted();
        let configured = api.succeeded(&job, 120).await;
        let container = agent.container("blog", &configured, json!({})).await;
        let other = agent.container("spare", &image, json!({})).await;
        // From now on all that is asked for stays in the queue: nothing of it reaches Docker.
        agent.kill();
        let spare = id(&api, "/v1/hosts", json!({"name": "spare"})).await;
        let pending = json!({"name": "pending", "host": spare, "reference": "debian:12"});
        let job = id(&api, "/v1/images", pending).await;
        let unready = api.get("/v1/images?name=pending").await.expect(200).json["items"][0]["id"].clone();
        let ended = api.get("/v1/queue?state=succeeded").await.expect(200).json["items"][0]["id"].clone();
        let tokens = format!("/v1/users/{}/tokens", ana.user.id);
        let (one, two) =
            (id(&api, &tokens, json!({"name": "one"})).await, id(&api, &tokens, json!({"name": "two"})).await);
        let hook = |path: &str| json!({"url": format!("https://panel.example/{path}"), "kinds": ["nothing.at_all"]});
        let (stays, goes) = (id(&api, "/v1/webhooks", hook("a")).await, id(&api, "/v1/webhooks", hook("b")).await);
        let things = json!({
            "usr": [ana.user.id, bob.user.id], "tok": [one, two], "hst": [agent.host, spare], "img": [image, unready],
            "tpl": [template, spare_template], "cfg": [configuration, spare_configuration], "ctr": [container, other], "job": [ended, job], "whk": [stays, goes],
        });
        Self { cluster, things, ana: ana.user.id, key: ana.key }
    }

    /// Asks everything as the holder of a key.
    fn ask(&self, key: &str, acts_for: &str) {
        let folder = env::contract_folder();
        let mut st = Command::new(env::contract_tool("st"));
        st.arg("--config-file").arg(folder.join("schemathesis.toml")).arg("run");
        if env::full_contract() {
            st.args(["--max-examples", "100"]);
        } else {
            st.args(["--seed", "20260131", "--max-examples", "3"]);
        }
        st.arg(format!("http://{}/openapi.json", self.cluster.api()))
            .env("CONTRACT_HOOKS", folder.join("hooks.py"))
            .env("CONTRACT_KEY", key)
            .env("CONTRACT_ACTS_FOR", acts_for)
            .env("CONTRACT_THINGS", self.things.to_string())
            .current_dir(self.cluster.folder());
        succeeds(&mut st);
    }
}

fn succeeds(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    let _ = write!(said, "{}", String::from_utf8_lossy(&output.stderr));

    assert!(output.status.success(), "{}:\n{said}", output.status);
}

#[tokio::test]
async fn the_document_is_openapi_3_1_to_a_validator() {
    let cluster = Cluster::start().await;
    let document = cluster.anonymous().get("/openapi.json").await.expect(200).text;
    let file = cluster.folder().join("openapi.json");
    std::fs::write(&file, document).unwrap();
    succeeds(Command::new(env::contract_tool("openapi-spec-validator")).arg(&file));
}

#[tokio::test]
async fn an_administrator_is_answered_as_the_document_says_whatever_he_asks() {
    let scene = Scene::set().await;
    let system = scene.cluster.admin().get("/v1/users?name=system").await.expect(200).json["items"][0]["id"].clone();
    let body = json!({"name": "contract", "scopes": ["read", "write", "admin"]});
    let tokens = format!("/v1/users/{}/tokens", system.as_str().unwrap());
    let token: Token = scene.cluster.admin().post(&tokens, &body).await.expect(201).body();
    scene.ask(token.key.as_deref().unwrap(), &scene.ana);
}

#[tokio::test]
async fn a_user_is_answered_as_the_document_says_whatever_he_asks() {
    let scene = Scene::set().await;
    scene.ask(&scene.key, "");
}
