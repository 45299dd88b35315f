//! An agent: the real `dockerforge-agent` against a real Docker Engine, enrolled through the API, which can be killed
//! and started again. Without a token after its first start: what it needs then is in its folder.

use crate::{
    client::{Api, Host},
    cluster::{Cluster, Trace},
    docker::Witness,
    env,
    hosts::FarHost,
    process::Process,
    wait,
};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

/// See the module.
pub struct Agent {
    /// The host it is.
    pub host: String,
    /// Its user's view of the API.
    pub api: Api,
    /// Its Docker Engine.
    pub docker: Witness,
    folder: PathBuf,
    coordinator: SocketAddr,
    within: Option<FarHost>,
    process: Option<Process>,
}

impl Agent {
    /// Registers a host and starts its agent; the host is online when this returns.
    pub async fn online(cluster: &Cluster, api: &Api, name: &str, docker: &str) -> Self {
        Self::online_through(cluster, cluster.agent_port(), api, name, docker).await
    }

    /// The same, with the agent dialling another address: a proxy's.
    pub async fn online_through(
        cluster: &Cluster,
        coordinator: SocketAddr,
        api: &Api,
        name: &str,
        docker: &str,
    ) -> Self {
        let (host, join) = api.create_host(name).await;
        let agent = Self::new(cluster.folder(), coordinator, api, &host.id, docker);
        agent.enrolled(cluster, &join.token).await
    }

    /// The same, with the agent in the network of one of the test bed's further hosts.
    pub async fn online_within(cluster: &Cluster, within: FarHost, api: &Api, name: &str) -> Self {
        let (host, join) = api.create_host(name).await;
        let mut agent = Self::new(cluster.folder(), cluster.agent_port(), api, &host.id, &within.docker);
        agent.within = Some(within);
        agent.enrolled(cluster, &join.token).await
    }

    /// An agent whose host users share, which this user, an administrator, has.
    pub async fn pool(cluster: &Cluster, api: &Api, name: &str, labels: &serde_json::Value, docker: &str) -> Self {
        let (host, join) = api.create_pool_host(name, labels).await;
        let agent = Self::new(cluster.folder(), cluster.agent_port(), api, &host.id, docker);
        agent.enrolled(cluster, &join.token).await
    }

    async fn enrolled(mut self, cluster: &Cluster, token: &str) -> Self {
        cluster.is_secret(token);
        self.launch(Some(token), &[]);
        self.is_online(30).await;
        // A first job that comes before its Docker has answered is refused, and sent a second time.
        wait::until(30, &format!("the Docker of {} is known", self.host), async || {
            let host = self.api.host(&self.host).await;
            wait::check(host.docker.is_some(), host)
        })
        .await;
        self.note(cluster);
        self
    }

    /// An agent that was not started yet.
    pub fn new(folder: &Path, coordinator: SocketAddr, api: &Api, host: &str, docker: &str) -> Self {
        let folder = folder.join(format!("agent-{host}"));
        fs::create_dir_all(&folder).unwrap();
        let docker = Witness::at(docker);
        Self { host: host.to_owned(), api: api.clone(), docker, folder, coordinator, within: None, process: None }
    }

    /// Lets the cluster know whose Docker objects it has to take away.
    pub fn note(&self, cluster: &Cluster) {
        cluster.remember(Trace { docker: self.docker.address.clone(), cluster: self.cluster() });
    }

    /// Starts it, with a token if it has none of its own yet, and further variables such as `FAILPOINTS`.
    pub fn launch(&mut self, token: Option<&str>, variables: &[(&str, &str)]) {
        assert!(self.process.as_mut().is_none_or(|p| p.ended().is_some()), "the agent runs already");
        let program = env::binary("dockerforge-agent");
        let mut command =
            self.within.as_ref().map_or_else(|| Command::new(&program), |within| within.command(&program));
        command
            .arg("run")
            .args(["--coordinator", &format!("https://{}", self.coordinator)])
            .arg("--state-dir")
            .arg(self.state())
            .args(["--docker", &self.docker.address])
            .env("RUST_BACKTRACE", "0")
            .envs(variables.iter().copied());
        if let Some(token) = token {
            command.args(["--token", token]);
        }
        self.process = Some(Process::start("agent", &self.folder, &mut command));
    }

    /// Where it keeps its identity and its journal.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// The id of its cluster, as it noted it when it enrolled.
    pub fn cluster(&self) -> String {
        let path = self.state().join("identity.json");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let identity: serde_json::Value = serde_json::from_str(&text).unwrap();
        identity["cluster"].as_str().expect("identity.json names the cluster").to_owned()
    }

    /// The running process.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the agent was started")
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process().kill();
    }

    /// SIGKILL and a new start, and the host is online again.
    pub async fn crash_and_restart(&mut self) {
        self.kill();
        self.launch(None, &[]);
        self.is_online(30).await;
    }

    /// Waits until its host is online.
    pub async fn is_online(&mut self, seconds: u64) -> Host {
        self.host_is("online", seconds).await
    }

    /// Waits until its host is in a state.
    pub async fn host_is(&mut self, state: &str, seconds: u64) -> Host {
        let (api, id) = (self.api.clone(), self.host.clone());
        wait::until(seconds, &format!("{id} is {state}"), async || {
            let host = api.host(&id).await;
            if host.state == state {
                return Ok(host);
            }
            let ended = self.process.as_mut().and_then(Process::ended);
            Err(format!("{host:?}; the agent {}", ended.map_or("runs".to_owned(), |e| format!("ended with {e}"))))
        })
        .await
    }

    /// Builds an image of the base image on it, with these lines beside `FROM`; answers its id.
    pub async fn image(&self, name: &str, lines: &str) -> String {
        let dockerfile = format!("FROM {}\n{lines}\n", env::BASE_IMAGE);
        let job = self.api.build(&self.host, name, &dockerfile).await;
        self.api.succeeded(&job, 60).await
    }

    /// Runs a container on it; answers its id.
    pub async fn container(&self, name: &str, image: &str, rest: serde_json::Value) -> String {
        let job = self.api.run(&self.host, name, image, rest).await;
        self.api.succeeded(&job, 60).await
    }
}
