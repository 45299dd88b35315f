//! Ansible for real: small roles on Debian with Debian's Ansible, through the public API. What they converge at the build and in
//! the container, what is told of it, how it fails, and where a secret is.

use dockerforge_protocol::command::docker_name;
use dockerforge_tests::{
    agent::Agent,
    archive,
    client::{Api, Job},
    cluster::Cluster,
    env, invariants, layers,
    recipes::{configuration, put_archive, template},
};
use serde_json::{Value, json};

/// A title that shells, YAML, JSON and Ansible would each trip over.
const TITLE: &str = "{{ 7 * 7 }}  {% if x %} $HOME 'a' \"b\" \\c `d` #e \u{f1} and blanks  ";
/// So would this password; what it ends in has no escapes anywhere.
const PASSWORD: &str = "p\u{e4}$ 'b\\ \"c`d {{ 8 * 8 }} to-the-very-end";
const MARK: &str = "to-the-very-end";
/// What a build takes on a busy machine, and a converge, in seconds.
const BUILD: u64 = 180;
const CONVERGE: u64 = 90;

fn site(name: &str, run_list: &Value) -> Value {
    json!({
        "name": name, "base": env::ANSIBLE_IMAGE, "provisioner": "ansible", "run_list": run_list,
        "parameters": {
            "type": "object", "required": ["title"], "additionalProperties": false,
            "properties": {
                "title": {"type": "string"},
                "password": {"type": "string", "minLength": 8, "writeOnly": true},
            },
        },
        "run": {"command": ["sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"]},
    })
}

fn roles() -> Vec<u8> {
    let main = "- name: page\n  copy: {content: \"{{ title }}\", dest: /srv/page}\n\
                - name: password\n  copy: {content: \"{{ password }}\", dest: /srv/password, mode: '0600'}\n  \
                when: dockerforge_phase == 'run'\n";
    let blab = "- name: \"about {{ password }}\"\n  debug: {msg: \"is {{ password }} or {{ [password] | to_json }}\"}\n  changed_when: true\n";
    let fails = "- name: before\n  command: touch /srv/before\n  args: {creates: /srv/before}\n\
                 - name: the step\n  shell: echo some output; echo why it is so \"$WORD\" >&2; exit 3\n  \
                 environment: {WORD: \"{{ password }}\"}\n\
                 - name: after\n  command: touch /srv/after\n";
    archive::gzip(&archive::tar(&[
        ("roles/site/tasks/main.yml", main),
        ("roles/blab/tasks/main.yml", blab),
        ("roles/fails/tasks/main.yml", fails),
        ("roles/outer/tasks/main.yml", "- include_role: {name: missing}\n"),
    ]))
}

/// A host with a container of the site. The agent first: it goes before its cluster does.
struct Scene {
    agent: Agent,
    api: Api,
    configuration: String,
    image: String,
    container: String,
    cluster: Cluster,
}

impl Scene {
    async fn start() -> Self {
        let cluster = Cluster::start().await;
        cluster.is_secret(MARK);
        let (_, api) = cluster.user("ana").await;
        let agent = cluster.host(&api, "vps").await;
        let (configuration, job) = asked(&agent, &api, "site", &json!(["recipe[site]"])).await;
        let image = api.succeeded(&job, BUILD).await;
        let job = api.run(&agent.host, "site", &image, json!({})).await;
        let container = api.succeeded(&job, CONVERGE).await;
        Self { agent, api, configuration, image, container, cluster }
    }

    async fn patch(&self, body: Value) {
        self.api.patch(&format!("/v1/configurations/{}", self.configuration), &body).await.expect(200);
    }

    async fn converge(&self) -> Job {
        let path = format!("/v1/containers/{}/converge", self.container);
        let job = self.api.post(&path, &json!({})).await.accepted();
        self.api.ended(&job.id, CONVERGE).await
    }

    /// What a converge changed.
    async fn changes(&self) -> Vec<Value> {
        let job = self.converge().await;
        assert_eq!(job.state, "succeeded", "{job:?}\n{}", self.api.log(&job.id).await.text);
        job.result.expect("a result")["resources"].as_array().expect("the resources").clone()
    }

    /// How a converge with this in the run list fails.
    async fn fails(&self, entry: &str) -> String {
        self.patch(json!({"run_list": [entry]})).await;
        failure(self.converge().await, "converge-failed")
    }

    async fn file(&self, path: &str) -> String {
        self.agent.docker.file(&docker_name(self.container.parse().unwrap()), path).await
    }

    async fn sh(&self, script: &str) -> String {
        let body = json!({"command": ["sh", "-c", script]});
        let look = self.api.post(&format!("/v1/containers/{}/exec", self.container), &body).await.accepted();
        self.api.succeeded(&look, 30).await;
        self.api.log(&look.id).await.text
    }
}

/// A configuration of a template with this run list, and the job that builds an image of it.
async fn asked(agent: &Agent, api: &Api, name: &str, run_list: &Value) -> (String, Job) {
    let template = template(api, &site(name, run_list)).await;
    put_archive(api, &template, roles()).await;
    let id = configuration(api, name, &template, json!({"title": TITLE, "password": PASSWORD})).await;
    let job = api.post("/v1/images", &json!({"name": name, "host": agent.host, "configuration": id})).await;
    (id, job.accepted())
}

fn failure(job: Job, kind: &str) -> String {
    let error = job.error.as_ref().unwrap_or_else(|| panic!("{job:?}"));
    assert_eq!((job.state.as_str(), job.attempt, error.kind()), ("failed", 1, kind), "{job:?}");
    error.detail.clone()
}

fn names(changes: &[Value]) -> Vec<&str> {
    changes.iter().map(|one| one["resource"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn roles_follow_their_configuration_and_values_arrive_as_they_are() {
    let scene = Scene::start().await;
    assert_eq!((scene.file("/srv/page").await.as_str(), scene.file("/srv/password").await.as_str()), (TITLE, PASSWORD));
    assert_eq!(scene.changes().await, [json!(null); 0], "it was converged when it was made");
    scene.patch(json!({"parameters": {"title": "two"}})).await;
    assert_eq!(names(&scene.changes().await), ["site : page"]);
    assert_eq!(scene.file("/srv/page").await, "two");

    // A role that tells the password, in its name, in a message and in the JSON of that.
    scene.patch(json!({"run_list": ["blab"]})).await;
    let changes = scene.changes().await;
    assert_eq!(names(&changes), ["blab : about ********"]);
    assert_eq!(changes[0]["detail"], "is ******** or [\"********\"]");
    scene.patch(json!({"run_list": []})).await;
    assert_eq!(scene.changes().await, [json!(null); 0]);

    // Logs, answers, events, the database, both sides' folders, what Docker shows of the containers.
    invariants::standing(&scene.cluster).await;
    let docker = &scene.agent.docker;
    let history = layers::history(docker, &scene.image).await;
    let found = layers::found(docker, &scene.image, &[MARK, "and blanks"]).await;
    assert!(found.contains("and blanks"), "the layers can be read: {found:?}");
    assert!(!found.contains(MARK) && !history.contains(MARK), "the password is in the image");
}

#[tokio::test]
async fn a_role_that_fails_says_where_and_why_and_one_that_is_missing_is_named() {
    let scene = Scene::start().await;
    let told = "fails : the step failed: non-zero return code: why it is so ********";
    let detail = scene.fails("fails").await;
    let (failure_itself, words) = detail.split_once("; its last words: ").expect("the last words");
    assert_eq!(failure_itself, told);
    assert!(words.contains("TASK [fails : the step]") && words.contains("fatal: [localhost]: FAILED!"), "{detail}");
    assert!(!detail.contains("to-the"), "{detail}");
    let left = scene.sh("ls /dev/shm; ls /opt; ls /srv").await;
    assert_eq!(left.split_whitespace().collect::<Vec<_>>(), ["dockerforge", "before", "page", "password"]);

    let job = scene.api.run(&scene.agent.host, "second", &scene.image, json!({})).await;
    let job = scene.api.ended(&job.id, CONVERGE).await;
    let second = job.resource.as_ref().expect("the container that was to be").id.clone();
    assert!(failure(job, "converge-failed").starts_with(told));
    assert!(scene.agent.docker.of_container(&second).await.is_empty(), "what cannot be converged is not made");

    let detail = scene.fails("outer").await;
    assert!(detail.contains("ERROR! the role 'missing' was not found"), "{detail}");
    let detail = scene.fails("site::nope").await;
    assert!(detail.contains("ERROR! Could not find specified file in role: tasks/nope"), "{detail}");

    let images = scene.agent.docker.of_cluster(&scene.agent.cluster()).await.images;
    let api = &scene.api;
    let (_, job) = asked(&scene.agent, api, "lacking", &json!(["recipe[site]", "recipe[nope]"])).await;
    let detail = failure(api.ended(&job.id, BUILD).await, "build-failed");
    assert!(detail.contains("run list failed: the run list names nope, and the archive has no such role"), "{detail}");
    assert_eq!(
        scene.agent.docker.of_cluster(&scene.agent.cluster()).await.images,
        images,
        "a build that fails leaves none"
    );
}
