//! A coordinator: the real `dockerforge serve` with a folder, ports and a database of its own, which can be killed and
//! started again. Its hosts' Docker objects go when it is dropped.

use crate::{
    agent::Agent,
    backend::{Backend, Database},
    client::{Api, NewUser, User},
    docker::{Witness, block_on},
    env,
    port::Port,
    process::Process,
    wait,
};
use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
};
use tempfile::TempDir;

/// See the module.
pub struct Cluster {
    folder: TempDir,
    database: Database,
    process: Option<Process>,
    api: Port,
    agent_port: Port,
    ops: Port,
    traces: Arc<Mutex<Vec<Trace>>>,
    secrets: Mutex<Vec<String>>,
}

/// Where an agent of this cluster may have left something.
#[derive(Clone)]
pub(crate) struct Trace {
    pub(crate) docker: String,
    pub(crate) cluster: String,
}

impl Cluster {
    /// A coordinator on the embedded database.
    pub async fn start() -> Self {
        Self::start_on(Backend::Sqlite).await
    }

    /// A coordinator on a database.
    pub async fn start_on(backend: Backend) -> Self {
        Self::start_with(backend, Ipv4Addr::LOCALHOST.into()).await
    }

    /// A coordinator on the embedded database, whose agent port listens on this address of the machine.
    pub async fn start_at(agents: IpAddr) -> Self {
        Self::start_with(Backend::Sqlite, agents).await
    }

    /// The same, with a configuration file (TOML).
    pub async fn start_configured(agents: IpAddr, config: impl FnOnce(&Path) -> String) -> Self {
        let mut cluster = Self::prepare(Backend::Sqlite, agents).await;
        let config = config(cluster.folder());
        fs::write(cluster.config(), config).unwrap();
        cluster.launch(&[]).await;
        cluster
    }

    async fn start_with(backend: Backend, agents: IpAddr) -> Self {
        let mut cluster = Self::prepare(backend, agents).await;
        cluster.launch(&[]).await;
        cluster
    }

    async fn prepare(backend: Backend, agents: IpAddr) -> Self {
        Self {
            folder: tempfile::Builder::new().prefix("dockerforge-test-").tempdir().unwrap(),
            database: Database::create(backend).await,
            process: None,
            api: Port::reserve(),
            agent_port: Port::reserve_at(agents),
            ops: Port::reserve(),
            traces: Arc::default(),
            secrets: Mutex::default(),
        }
    }

    /// Its configuration file, if it has one.
    fn config(&self) -> PathBuf {
        self.folder.path().join("coordinator.toml")
    }

    /// Starts the coordinator with further variables, such as `FAILPOINTS`, and waits until it serves.
    ///
    /// # Panics
    /// If it runs already, or does not serve.
    pub async fn launch(&mut self, variables: &[(&str, &str)]) {
        self.launch_only(variables);
        self.serves(30).await;
    }

    /// Starts the coordinator and does not wait.
    pub fn launch_only(&mut self, variables: &[(&str, &str)]) {
        assert!(self.process.as_mut().is_none_or(|p| p.ended().is_some()), "the coordinator runs already");
        let mut command = Command::new(env::binary("dockerforge"));
        command
            .arg("serve")
            .arg("--data-dir")
            .arg(self.data())
            .args(["--api-listen", &self.api().to_string()])
            .args(["--agent-listen", &self.agent_port().to_string()])
            .args(["--ops-listen", &self.ops().to_string()])
            .args(["--agent-url", &format!("https://{}", self.agent_port())])
            .env("RUST_BACKTRACE", "0")
            // Tests and benches ask as fast as they can; those of the limit itself set one.
            .env("DOCKERFORGE_RATE_LIMIT", "off")
            .envs(variables.iter().copied());
        if self.config().exists() {
            command.arg("--config").arg(self.config());
        }
        if let Some(url) = &self.database.url {
            command.args(["--database", url]);
        }
        self.process = Some(Process::start("coordinator", self.folder.path(), &mut command));
    }

    /// Waits until the coordinator says that it serves.
    pub async fn serves(&mut self, seconds: u64) {
        let anonymous = Api::anonymous(self.api());
        let process = self.process.as_mut().expect("the coordinator was started");
        wait::until(seconds, "the coordinator is ready", async || {
            if let Some(status) = process.ended() {
                panic!("the coordinator ended with {status}:\n{}", process.output());
            }
            match anonymous.call(reqwest::Method::GET, "/readyz").try_send().await {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(answer.to_string()),
                Err(error) => Err(format!("{error:?}")),
            }
        })
        .await;
    }

    /// Where its data is.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Where the test may put things.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The address of the API.
    pub fn api(&self) -> SocketAddr {
        self.api.address
    }

    /// The address that agents dial.
    pub fn agent_port(&self) -> SocketAddr {
        self.agent_port.address
    }

    /// The address for those who run it.
    pub fn ops(&self) -> SocketAddr {
        self.ops.address
    }

    /// Its database.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The running process.
    ///
    /// # Panics
    /// If it was never started.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the coordinator was started")
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process().kill();
    }

    /// SIGKILL and a new start.
    pub async fn crash_and_restart(&mut self) {
        self.kill();
        self.launch(&[]).await;
    }

    /// SIGTERM, and it has to end by itself with success.
    pub async fn stop(&mut self) {
        let status = self.process().terminate(30).await;
        let output = self.process().output();
        assert!(status.success(), "the coordinator ended with {status}:\n{output}");
    }

    /// The administrator's key, which the first start left in a file.
    pub fn admin_key(&self) -> String {
        fs::read_to_string(self.data().join("admin.key")).expect("the first start leaves admin.key").trim().to_owned()
    }

    /// The API without credentials.
    pub fn anonymous(&self) -> Api {
        Api::anonymous(self.api())
    }

    /// The API as the administrator.
    pub fn admin(&self) -> Api {
        self.anonymous().bearer(&self.admin_key())
    }

    /// A new user and the API as he sees it.
    pub async fn user(&self, name: &str) -> (NewUser, Api) {
        let user = self.admin().create_user(name).await;
        self.is_secret(&user.key);
        let api = self.anonymous().bearer(&user.key);
        (user, api)
    }

    /// A host of this user on the test bed's first Docker Engine, online.
    pub async fn host(&self, api: &Api, name: &str) -> Agent {
        Agent::online(self, api, name, &env::docker()).await
    }

    /// The ids of all users.
    pub async fn users(&self) -> Vec<String> {
        self.admin().all::<User>("/v1/users").await.into_iter().map(|user| user.id).collect()
    }

    /// Notes something that has to stay where it belongs (I18).
    pub fn is_secret(&self, text: &str) {
        self.secrets.lock().unwrap().push(text.to_owned());
    }

    /// What has to stay where it belongs: the administrator's key, every user's, every join token, and what else was noted.
    pub fn secrets(&self) -> Vec<String> {
        let noted = self.secrets.lock().unwrap().clone();
        noted.into_iter().chain([self.admin_key()]).collect()
    }

    pub(crate) fn remember(&self, trace: Trace) {
        let mut traces = self.traces.lock().unwrap();
        if !traces.iter().any(|known| known.docker == trace.docker) {
            traces.push(trace);
        }
    }

    /// The Docker Engines its agents work on, with the cluster's id.
    pub fn witnesses(&self) -> Vec<(Witness, String)> {
        let traces = self.traces.lock().unwrap();
        traces.iter().map(|trace| (Witness::at(&trace.docker), trace.cluster.clone())).collect()
    }

    /// Waits until no Docker Engine has anything that carries the cluster's label.
    pub async fn nothing_left(&self, seconds: u64) {
        for (witness, cluster) in self.witnesses() {
            wait::until(seconds, "nothing of this cluster is left on Docker", async || {
                let left = witness.of_cluster(&cluster).await;
                wait::check(left.is_empty(), left)
            })
            .await;
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The agents of a test are dropped before their cluster, so nobody makes anything anew.
        drop(self.process.take());
        let traces = std::mem::take(&mut *self.traces.lock().unwrap());
        for trace in traces {
            block_on(async move { Witness::at(&trace.docker).purge(&trace.cluster, &[]).await });
        }
    }
}
