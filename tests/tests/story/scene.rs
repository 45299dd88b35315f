//! One coordinator with the templates that ship, a host that builds and another one that runs what was built.

use crate::visitor::Visitor;
use dockerforge_tests::{
    agent::Agent,
    client::{Api, Job},
    cluster::Cluster,
    docker::Witness,
    env,
    hosts::FarHost,
    recipes::configuration,
    wait,
};
use serde_json::{Value, json};
use std::{path::Path, process::Command};

/// What the templates are based on: `packaging/setup/debian-image.sh` makes it.
pub const BASE: &str = "base.dockerforge.invalid/debian:12";
/// A build installs some hundred packages.
const BUILD: u64 = 1200;
const CONVERGE: u64 = 240;
/// The image comes from the other host first: half a gigabyte, through programs that nobody optimised.
const LAUNCH: u64 = 600;

/// By what the templates converge: each has a role and a cookbook.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum By {
    Ansible,
    Chef,
}

impl By {
    fn base(self) -> String {
        if self == Self::Ansible { BASE.to_owned() } else { env::chef_image() }
    }

    /// What the provisioner calls a step of a role or of the cookbook of the same name.
    pub fn step(self, role: &str, step: &str) -> String {
        match (self, role) {
            (Self::Ansible, _) => format!("{role} : {step}"),
            (Self::Chef, "mysql-server") => format!("mysql_told[{step}]"),
            (Self::Chef, _) => format!("{role}_told[{step}]"),
        }
    }

    /// What was changed, as the role tells it: of Chef, one resource tells all that its program did.
    fn changes(self, outcome: &Value) -> Vec<String> {
        let (resource, detail) =
            (outcome["resource"].as_str().unwrap(), outcome["detail"].as_str().unwrap_or_default());
        let role = match (self, resource) {
            (Self::Ansible, _) => return vec![resource.to_owned()],
            (Self::Chef, "mysql_told[settings and accounts]") => "mysql-server",
            (Self::Chef, "wordpress_told[blog]") => "wordpress",
            (Self::Chef, other) => panic!("{other} is no resource of these cookbooks' in a container"),
        };
        detail.split("; ").map(|what| format!("{role} : {what}")).collect()
    }
}

/// What was made of one template.
pub struct Made {
    pub configuration: String,
    pub image: String,
    /// Empty until it is launched.
    pub container: String,
}

/// See the module. The agents first: they go before their cluster does.
pub struct Scene {
    pub by: By,
    /// Where it is built: the one host that has the base image.
    pub builder: Agent,
    /// Where it runs.
    pub agent: Agent,
    pub network: FarHost,
    pub api: Api,
    pub cluster: Cluster,
}

/// Registers the templates with the script that ships, as an administrator, for every user.
pub fn register_templates(cluster: &Cluster, by: By) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/templates/register.sh");
    let output = Command::new(&script)
        .arg("--public")
        .args((by == By::Chef).then_some("--chef"))
        .env("DOCKERFORGE_CHEF_BASE", by.base())
        .env("DOCKERFORGE_URL", cluster.anonymous().base())
        .env("DOCKERFORGE_KEY_FILE", cluster.data().join("admin.key"))
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The id of a template.
pub async fn template(api: &Api, by: By, name: &str) -> String {
    let name = if by == By::Chef { format!("{name}-chef") } else { name.to_owned() };
    let found = api.get(&format!("/v1/templates?name={name}")).await.expect(200).json;
    let template = &found["items"][0];
    assert_eq!((&template["name"], &template["base"]), (&json!(name), &json!(by.base())), "{found}");
    template["id"].as_str().unwrap().to_owned()
}

/// Changes parameters of a configuration; answers how it is shown then.
pub async fn patch(api: &Api, id: &str, parameters: Value) -> Value {
    let path = format!("/v1/configurations/{id}");
    api.patch(&path, &json!({"parameters": parameters})).await.expect(200).json
}

/// Converges a container to the end, whatever that is.
pub async fn converged(api: &Api, container: &str) -> Job {
    let job = api.post(&format!("/v1/containers/{container}/converge"), &json!({})).await.accepted();
    api.ended(&job.id, CONVERGE).await
}

impl Scene {
    pub async fn start(by: By) -> Self {
        let base = by.base();
        assert!(
            Witness::first().has_image(&base).await,
            "{base} is not on the test bed's Docker: `make story` makes {BASE} with packaging/setup/debian-image.sh"
        );
        let network = FarHost::all().remove(0);
        let cluster = Cluster::start_at(network.gateway).await;
        register_templates(&cluster, by);
        let (_, api) = cluster.user("ana").await;
        let builder = cluster.host(&api, "builder").await;
        let agent = network.online(&cluster, &api, "vps").await;
        Self { by, builder, agent, network, api, cluster }
    }

    /// A configuration of a template, and its image.
    pub async fn built(&self, name: &str, of: &str, parameters: Value) -> Made {
        let configuration = configuration(&self.api, name, &template(&self.api, self.by, of).await, parameters).await;
        let asked = json!({"name": name, "host": self.builder.host, "configuration": configuration});
        let job = self.api.post("/v1/images", &asked).await.accepted();
        let image = self.api.succeeded(&job, BUILD).await;
        Made { configuration, image, container: String::new() }
    }

    /// With its container, which is converged when it is made.
    pub async fn launched(&self, made: Made, rest: Value) -> Made {
        let name = self.api.image(&made.image).await.name;
        let job = self.launch(&name, &made, rest).await;
        assert_eq!(job.state, "succeeded", "{job:?}\n{}", self.api.log(&job.id).await.text);
        Made { container: job.resource.expect("the container").id, ..made }
    }

    /// Asks for a container of that name; answers the job once it has ended.
    pub async fn launch(&self, name: &str, made: &Made, rest: Value) -> Job {
        let job = self.api.run(&self.agent.host, name, &made.image, rest).await;
        self.api.ended(&job.id, LAUNCH).await
    }

    /// Converges a container; answers what it changed.
    pub async fn converge(&self, made: &Made) -> Vec<String> {
        let job = converged(&self.api, &made.container).await;
        assert_eq!(job.state, "succeeded", "{job:?}\n{}", self.api.log(&job.id).await.text);
        let result = job.result.expect("a result");
        let resources = result["resources"].as_array().expect("the resources");
        resources.iter().flat_map(|outcome| self.by.changes(outcome)).collect()
    }

    /// What a script in a container writes, which has to succeed.
    pub async fn exec(&self, made: &Made, script: &str) -> String {
        let body = json!({"command": ["sh", "-c", script]});
        let job = self.api.post(&format!("/v1/containers/{}/exec", made.container), &body).await.accepted();
        self.api.succeeded(&job, 60).await;
        let text = self.api.log(&job.id).await.text;
        let result = self.api.job(&job.id).await.result.unwrap_or_default();
        assert_eq!(result["exit_code"], 0, "{script}: {text}");
        text.trim_end().to_owned()
    }

    /// What the databases answer to root.
    pub async fn sql(&self, databases: &Made, query: &str) -> String {
        assert!(!query.contains('"'), "it goes through a shell");
        self.exec(databases, &format!("mariadb -N -B -e \"{query}\"")).await
    }

    pub async fn docker_id(&self, made: &Made) -> Option<String> {
        self.agent.docker.of_container(&made.container).await.remove(0).id
    }

    /// Who visits a container's published port, as soon as it answers. Docker may choose another one at each start.
    pub async fn visitor(&self, made: &Made) -> Visitor {
        wait::until(60, "the web server answers", async || {
            let observed = self.api.container(&made.container).await.observed;
            let port = observed.ports.first().map(|port| port.host).ok_or_else(|| format!("{observed:?}"))?;
            Visitor::at((self.network.address, port).into()).await
        })
        .await
    }

    /// Docker ends and begins again on the host that runs them.
    pub async fn docker_restarted(&mut self, blog: &Made) {
        drop(self.network.stop());
        self.agent.is_online(120).await;
        wait::until(180, "the blog answers again", async || {
            let page = self.visitor(blog).await.page("/").await;
            if page.status == 200 { Ok(()) } else { Err(format!("{page:?}")) }
        })
        .await;
    }

    pub async fn restarted(&self, made: &Made) {
        let job = self.api.post(&format!("/v1/containers/{}/restart", made.container), &json!({})).await.accepted();
        self.api.succeeded(&job, 120).await;
    }

    /// The blog, its comment and its file are there, and so are they in the database.
    pub async fn nothing_is_lost(&self, databases: &Made, blog: &Made, title: &str) {
        let visitor = self.visitor(blog).await;
        visitor.sees_the_blog(title).await;
        assert_eq!(visitor.page("/wp-content/uploads/kept.txt").await.text, "kept\n");
        let comments = "SELECT comment_content FROM blog.wp_comments WHERE comment_author = 'A guest'";
        assert_eq!(self.sql(databases, comments).await, crate::visitor::COMMENT);
    }
}
