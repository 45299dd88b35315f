//! Chef, for real: a small cookbook on an image that has chef-solo, through the public API. What it converges at the build and in
//! the container, what it tells of it, and what it leaves behind; and how it fails. Only by `make chef-story`.

use crate::scene;
use dockerforge_protocol::{command::docker_name, ids::ContainerId};
use dockerforge_tests::{
    agent::Agent,
    archive,
    client::{Api, Job},
    cluster::Cluster,
    env, invariants, layers,
    recipes::{configuration, put_archive, template},
};
use serde_json::{Value, json};

/// A password that shells, Ruby, JSON and Chef would each trip over; what it ends in has no escapes anywhere.
const PASSWORD: &str = "$a 'b\\ \"c`d #{7 * 7} \u{f1} to-the-very-end";
const MARK: &str = "to-the-very-end";
/// Finds the mark in a container without being found itself.
const FIND: &str = "grep -rlF 'to-the-very''-end' / --exclude-dir=proc --exclude-dir=sys | sort";

/// The files beside this, as a template's archive.
fn cookbook() -> Vec<u8> {
    archive::gzip(&archive::tar(&[
        ("roles/shop.json", include_str!("roles/shop.json")),
        ("cookbooks/site/metadata.rb", include_str!("cookbooks/site/metadata.rb")),
        ("cookbooks/site/resources/shop.rb", include_str!("cookbooks/site/resources/shop.rb")),
        ("cookbooks/site/recipes/default.rb", include_str!("cookbooks/site/recipes/default.rb")),
        ("cookbooks/site/recipes/shop.rb", include_str!("cookbooks/site/recipes/shop.rb")),
        ("cookbooks/site/recipes/blab.rb", include_str!("cookbooks/site/recipes/blab.rb")),
        ("cookbooks/site/recipes/fails.rb", include_str!("cookbooks/site/recipes/fails.rb")),
        ("cookbooks/site/recipes/late.rb", include_str!("cookbooks/site/recipes/late.rb")),
        ("cookbooks/site/recipes/slow.rb", include_str!("cookbooks/site/recipes/slow.rb")),
        ("cookbooks/site/recipes/cut_off.rb", include_str!("cookbooks/site/recipes/cut_off.rb")),
        ("cookbooks/site/recipes/nil.rb", include_str!("cookbooks/site/recipes/nil.rb")),
    ]))
}

fn site() -> Value {
    json!({
        "name": "site", "base": env::chef_image(), "provisioner": "chef-solo", "run_list": ["recipe[site]"],
        "parameters": {"type": "object", "properties": {"site": {"type": "object", "properties": {
            "title": {"type": "string"}, "motto": {"type": "string"},
            "password": {"type": "string", "minLength": 8, "writeOnly": true},
        }}}},
        "run": {"command": ["sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"]},
    })
}

/// One host with that template, and what is made of it.
struct Chef {
    configuration: String,
    image: String,
    container: String,
    agent: Agent,
    api: Api,
    cluster: Cluster,
}

impl Chef {
    /// A configuration of it, and a job that builds an image of that.
    async fn building(api: &Api, agent: &Agent, run_list: Value) -> (String, Job) {
        let template = template(api, &site()).await;
        put_archive(api, &template, cookbook()).await;
        let parameters = json!({"site": {"title": "one", "motto": "first", "password": PASSWORD}});
        let id = configuration(api, "site", &template, parameters).await;
        let more = json!({"run_list": run_list});
        api.patch(&format!("/v1/configurations/{id}"), &more).await.expect(200);
        let asked = json!({"name": "site", "host": agent.host, "configuration": id});
        (id, api.post("/v1/images", &asked).await.accepted())
    }

    async fn launched() -> Self {
        let cluster = Cluster::start().await;
        let (_, api) = cluster.user("ana").await;
        let agent = cluster.host(&api, "vps").await;
        assert!(
            agent.docker.has_image(&env::chef_image()).await,
            "{} is not on this machine's Docker",
            env::chef_image()
        );
        let (configuration, job) = Self::building(&api, &agent, json!([])).await;
        let image = api.succeeded(&job, 300).await;
        // No stand-in says so, and nobody was asked anything.
        let log = api.log(&job.id).await.text;
        assert!(log.contains("4/4 resources updated in ") && !log.contains("license"), "{log}");
        let job = api.run(&agent.host, "site", &image, json!({})).await;
        let container = api.succeeded(&job, 120).await;
        Self { configuration, image, container, agent, api, cluster }
    }

    async fn patch(&self, body: Value) {
        self.api.patch(&format!("/v1/configurations/{}", self.configuration), &body).await.expect(200);
    }

    /// What a converge says it changed, and how.
    async fn changes(&self) -> Vec<(String, String)> {
        let job = scene::converged(&self.api, &self.container).await;
        assert_eq!(job.state, "succeeded", "{job:?}\n{}", self.api.log(&job.id).await.text);
        let result = job.result.expect("a result");
        let text = |of: &Value| of.as_str().unwrap_or_default().to_owned();
        let resources = result["resources"].as_array().expect("the resources");
        resources.iter().map(|one| (text(&one["resource"]), text(&one["detail"]))).collect()
    }

    async fn changed(&self) -> Vec<String> {
        self.changes().await.into_iter().map(|(resource, _)| resource).collect()
    }

    /// How a converge with this in the run list fails.
    async fn fails(&self, entry: &str) -> String {
        self.patch(json!({"run_list": [entry]})).await;
        let job = scene::converged(&self.api, &self.container).await;
        let error = job.error.as_ref().unwrap_or_else(|| panic!("{job:?}"));
        assert_eq!((job.state.as_str(), job.attempt, error.kind()), ("failed", 1, "converge-failed"), "{job:?}");
        // Chef's own log follows; what matters of it, Chef has told.
        error.detail.split("; its last words: ").next().unwrap().to_owned()
    }

    async fn sh(&self, script: &str) -> String {
        let body = json!({"command": ["sh", "-c", script]});
        let job = self.api.post(&format!("/v1/containers/{}/exec", self.container), &body).await.accepted();
        self.api.succeeded(&job, 60).await;
        self.api.log(&job.id).await.text.trim_end().to_owned()
    }

    async fn file(&self, path: &str) -> String {
        self.agent.docker.file(&docker_name(self.container.parse::<ContainerId>().unwrap()), path).await
    }
}

#[tokio::test]
#[ignore = "needs an image that has chef-solo: `make chef-story`"]
async fn a_cookbook_converges_in_the_image_and_in_the_container_and_tells_just_what_changed() {
    let chef = Chef::launched().await;
    assert_eq!(
        (chef.file("/srv/site/title").await, chef.file("/srv/site/motto").await),
        ("one\n".into(), "first\n".into())
    );
    assert_eq!(chef.file("/srv/site/password").await, PASSWORD, "it was converged when it was made");
    assert_eq!(chef.changed().await, [""; 0]);

    chef.patch(json!({"parameters": {"site": {"title": "two"}}})).await;
    let changes = chef.changes().await;
    assert_eq!((changes.len(), changes[0].0.as_str()), (1, "file[/srv/site/title]"), "{changes:?}");
    assert!(changes[0].1.starts_with("update content in file /srv/site/title from "), "{changes:?}");
    assert_eq!(chef.changed().await, [""; 0]);
    assert_eq!(chef.file("/srv/site/title").await, "two\n");

    // Chef keeps a node's attributes from one run to the next; here nothing is kept.
    chef.patch(json!({"parameters": {"site": {"motto": null}}})).await;
    assert_eq!(chef.changed().await, ["file[/srv/site/motto]"]);
    assert_eq!((chef.file("/srv/site/motto").await, chef.changed().await), ("none\n".into(), vec![]));

    // A role, a part of a cookbook, a resource that is made of others: told once, with what was done.
    chef.patch(json!({"run_list": ["role[shop]"]})).await;
    let changes = chef.changes().await;
    let named: Vec<_> = changes.iter().map(|(resource, _)| resource.as_str()).collect();
    assert_eq!(named, ["site_shop[open]", "execute[told]"], "{changes:?}");
    assert!(changes[0].1.starts_with("create new file /srv/site/shop; "), "{changes:?}");
    assert_eq!(chef.changed().await, [""; 0]);
    // What was taken out of the run list is no longer looked after.
    chef.patch(json!({"run_list": []})).await;
    chef.sh("rm /srv/site/shop /srv/site/title").await;
    assert_eq!(chef.changed().await, ["file[/srv/site/title]"]);
}

#[tokio::test]
#[ignore = "needs an image that has chef-solo: `make chef-story`"]
async fn a_secret_is_where_a_recipe_put_it_and_nowhere_else_whatever_chef_says_of_it() {
    let chef = Chef::launched().await;
    assert_eq!(chef.sh(FIND).await, "/srv/site/password", "no node, no cache");
    chef.patch(json!({"run_list": ["recipe[site::blab]"]})).await;
    let job = scene::converged(&chef.api, &chef.container).await;
    let log = chef.api.log(&job.id).await.text;
    assert_eq!(job.state, "succeeded", "{job:?}\n{log}");
    assert!(log.contains("it is ********\n") && log.contains("it is \"********\", and \"********\"\n"), "{log}");
    assert!(log.contains("file[/srv/site/config] action create"), "{log}");
    assert!(!log.contains(MARK) && !format!("{job:?}").contains(MARK), "{log}");
    assert_eq!(chef.sh(FIND).await, "/srv/site/password", "no copy of a file that was changed");

    chef.patch(json!({"parameters": {"site": {"title": "fail"}}})).await;
    let detail = chef.fails("recipe[site::blab]").await;
    assert_eq!(detail, "chef-solo failed: KeyError: key not found: \"********\" (at site/recipes/blab.rb:14)");
    assert_eq!(chef.sh(FIND).await, "/srv/site/password", "no trace of an error");

    chef.cluster.is_secret(MARK);
    invariants::standing(&chef.cluster).await;
    let history = layers::history(&chef.agent.docker, &chef.image).await;
    assert!(history.contains("converge.sh") && !history.contains(MARK), "{history}");
    // The recipe is found, so the layers can be read.
    let found = layers::found(&chef.agent.docker, &chef.image, &[MARK, "it is #{password.inspect}"]).await;
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["it is #{password.inspect}"]);
}

#[tokio::test]
#[ignore = "needs an image that has chef-solo: `make chef-story`"]
async fn what_fails_in_chef_is_told_precisely_and_the_next_converge_goes_well() {
    let chef = Chef::launched().await;
    let step = chef.fails("recipe[site::fails]").await;
    let told = "execute[the step] failed: Mixlib::ShellOut::ShellCommandFailed: Expected process to exit with [0], but received '3'";
    assert!(step.starts_with(told) && step.contains("STDERR: why it is so"), "{step}");
    assert_eq!(chef.fails("recipe[site::late]").await, "ruby_block[later] failed: late one");
    let nil = "chef-solo failed: NoMethodError: undefined method `[]' for nil";
    let detail = chef.fails("recipe[site::nil]").await;
    assert!(detail.starts_with(nil) && detail.ends_with(" (at site/recipes/nil.rb:3)"), "{detail}");
    let detail = chef.fails("recipe[site::nope]").await;
    assert!(
        detail.starts_with(
            "chef-solo failed: Chef::Exceptions::RecipeNotFound: could not find recipe nope for cookbook site"
        ),
        "{detail}"
    );
    // What the archive's names tell is told when it is chosen.
    for (entry, lacks) in [("recipe[nope]", "no such cookbook"), ("role[nope]", "no such role")] {
        let path = format!("/v1/configurations/{}", chef.configuration);
        let problem = chef.api.patch(&path, &json!({"run_list": [entry]})).await.problem(422, "invalid");
        assert_eq!(problem.pointers(), ["/run_list/0"]);
        assert!(problem.errors[0].detail.contains(lacks), "{problem:?}");
    }
    let detail = chef.fails("recipe[site::cut_off]").await;
    assert!(
        detail.starts_with("remote_file[/srv/x] failed: ") && detail.contains("http://nobody.invalid/x"),
        "{detail}"
    );

    // Nothing of one that was cancelled goes on, nor keeps the next one waiting.
    chef.patch(json!({"run_list": ["recipe[site::slow]"]})).await;
    let job = chef.api.post(&format!("/v1/containers/{}/converge", chef.container), &json!({})).await.accepted();
    chef.api.says(&job.id, "begins", 60).await;
    chef.api.delete(&format!("/v1/queue/{}", job.id)).await.accepted();
    assert_eq!(chef.api.ended(&job.id, 60).await.state, "cancelled");
    assert_eq!(chef.sh("cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'chef-sol[o]'; ls /dev/shm").await, "0");
    assert_eq!(chef.sh(FIND).await, "/srv/site/password");
    chef.patch(json!({"run_list": []})).await;
    assert_eq!(chef.changed().await, [""; 0]);
}

#[tokio::test]
#[ignore = "needs an image that has chef-solo: `make chef-story`"]
async fn a_build_that_fails_in_chef_is_told_with_its_last_words() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let agent = cluster.host(&api, "vps").await;
    let (_, job) = Chef::building(&api, &agent, json!(["recipe[site::fails]"])).await;
    let ended = api.ended(&job.id, 300).await;
    let error = ended.error.expect("it fails");
    assert_eq!((ended.state.as_str(), ended.attempt, error.kind()), ("failed", 1, "build-failed"), "{error:?}");
    let detail = error.detail;
    assert!(detail.contains("; its last words: ") && detail.contains("\nSTDERR: why it is so\n"), "{detail}");
    assert!(detail.contains("\nexecute[the step] failed: ") && !detail.contains("changed"), "{detail}");
}

#[tokio::test]
#[ignore = "needs an image that has chef-solo, and builds two large images: `make chef-story`"]
async fn the_templates_that_ship_tell_the_same_story_by_chef() {
    crate::a_blog_answers_and_survives(scene::By::Chef).await;
}
