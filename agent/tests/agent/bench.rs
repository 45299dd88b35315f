//! An executor on the fake engine without a link: assigns, waits for outcomes, looks at what is left. Used by the tests
//! of the commands.

use bytes::Bytes;
use dockerforge_agent::docker::ContextStream;
use dockerforge_agent::docker::fake::FakeEngine;
use dockerforge_agent::executor::{Executor, Node, Settings, Supplies, SupplyError, Values};
use dockerforge_agent::journal;
use dockerforge_agent::policy::Policy;
use dockerforge_agent::tasks::Tasks;
use dockerforge_protocol::command::{BuildImage, Command, ContextRef, CreateContainer, local_tag};
use dockerforge_protocol::ids::{ClusterId, ContainerId, HostId, ImageId, JobId, UserId};
use dockerforge_protocol::message::Assign;
use dockerforge_protocol::report::{Attempt, Outcome};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Contexts of a few bytes, and some secrets.
struct Given(Result<&'static str, &'static str>, Values);

impl Supplies for Given {
    fn secrets(&self, _: JobId) -> BoxFuture<'_, Result<Values, SupplyError>> {
        std::future::ready(Ok(self.1.clone())).boxed()
    }

    fn node(&self, _: JobId) -> BoxFuture<'_, Result<Node, SupplyError>> {
        let node = Node { json: r#"{"run_list":[]}"#.to_owned().into(), secrets: Vec::new() };
        std::future::ready(self.0.map(|_| node).map_err(|why| SupplyError(why.to_owned()))).boxed()
    }

    fn context<'a>(&'a self, _: JobId, _: &'a ContextRef) -> BoxFuture<'a, Result<ContextStream, SupplyError>> {
        let answer = self.0.map_err(|why| SupplyError(why.to_owned()));
        let stream = answer.map(|text| futures_util::stream::iter([Ok(Bytes::from_static(text.as_bytes()))]).boxed());
        async move { stream }.boxed()
    }
}

/// An executor and its host.
pub struct Bench {
    pub engine: FakeEngine,
    pub executor: Executor,
    pub folder: TempDir,
    pub cluster: ClusterId,
    tasks: Tasks,
    _up: tokio::sync::watch::Sender<bool>,
}

/// What decides a bench.
#[derive(Default)]
pub struct Options {
    pub policy: Policy,
    pub no_context: bool,
    pub latency: Duration,
    pub secrets: Values,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    pub fn with(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::at(folder, FakeEngine::new(options.latency), ClusterId::new(), options)
    }

    fn at(folder: TempDir, engine: FakeEngine, cluster: ClusterId, options: Options) -> Self {
        let (journal, writer, entries) = journal::open(folder.path()).unwrap();
        let tasks = Tasks::new();
        tasks.spawn("journal", writer.run());
        let (up, docker_up) = tokio::sync::watch::channel(true);
        let settings = Settings {
            cluster,
            host: HostId::new(),
            slots: 4,
            spool: folder.path().to_owned(),
            spool_limit: 1 << 20,
            policy: options.policy,
            own_paths: vec![folder.path().to_owned()],
            engine: Arc::new(engine.clone()),
            supplies: Arc::new(Given(if options.no_context { Err("gone") } else { Ok("a tar") }, options.secrets)),
            docker_up,
        };
        let executor = Executor::new(settings, journal, tasks.clone(), entries);
        Self { engine, executor, folder, cluster, tasks, _up: up }
    }

    /// Kills this life of the agent and begins the next with the same state and host.
    pub async fn next_life(self) -> Self {
        self.executor.halt();
        drop(self.executor);
        let late = self.tasks.shutdown(Duration::from_secs(5)).await;
        assert!(late.is_empty(), "{late:?} did not end");
        Self::at(self.folder, self.engine, self.cluster, Options::default())
    }

    pub fn assign(&self, job: JobId, number: u32, command: &Command) -> Attempt {
        let attempt = Attempt { job, number };
        self.executor.assign(Assign { attempt, command: command.clone(), deadline_ms: 60_000 });
        attempt
    }

    /// The outcome of an attempt, which is then acknowledged.
    pub async fn outcome(&self, attempt: Attempt) -> Outcome {
        let found = self
            .until("the outcome", || {
                let views = self.executor.table().views();
                views.into_iter().find(|v| v.attempt == attempt).and_then(|v| v.finished)
            })
            .await;
        self.executor.forget(attempt);
        self.until("the job to be forgotten", || {
            self.executor.table().held().iter().all(|h| h.attempt != attempt).then_some(())
        })
        .await;
        found.0
    }

    pub async fn run(&self, job: JobId, number: u32, command: &Command) -> Outcome {
        let attempt = self.assign(job, number, command);
        self.outcome(attempt).await
    }

    pub async fn until<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(found) = look() {
                return found;
            }
            let state = || (self.executor.table().held(), self.engine.world().calls.clone());
            assert!(Instant::now() < deadline, "waited for {what}; last state {:?}", state());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub fn called(&self, call: &str) -> bool {
        self.engine.world().calls.iter().any(|c| c.starts_with(call))
    }
}

/// A container of an image that is on the host.
pub fn container(bench: &Bench, spec: &str) -> CreateContainer {
    let image = ImageId::new();
    bench.engine.add_image(&local_tag(image));
    CreateContainer {
        container: ContainerId::new(),
        user: UserId::new(),
        name: "web".parse().unwrap(),
        image,
        spec: serde_json::from_str(spec).unwrap(),
        hardening: dockerforge_protocol::command::Hardening::Docker,
        converge: None,
    }
}

pub fn build() -> BuildImage {
    BuildImage {
        image: ImageId::new(),
        user: UserId::new(),
        context: ContextRef { sha256: "0".repeat(64), size: 5 },
        dockerfile: "Dockerfile".to_owned(),
        build_args: std::collections::BTreeMap::new(),
        no_cache: false,
    }
}
