//! An executor on the fake engine without a link: assigns, waits for outcomes, looks at what is left. Used by the tests
//! of the commands.

use bytes::Bytes;
use dockerforge_agent::docker::ContextStream;
use dockerforge_agent::docker::fake::FakeEngine;
use dockerforge_agent::executor::{Executor, Node, Settings, Supplies, SupplyError, Values};
use dockerforge_agent::journal;
use dockerforge_agent::policy::Policy;
use dockerforge_agent::tasks::Tasks;
use dockerforge_agent::volumes::Carriers;
use dockerforge_protocol::command::{BuildImage, Command, ContextRef, CreateContainer, local_tag};
use dockerforge_protocol::enrolment::{RegistryLogin, SuppliedImage, SuppliedRegistry};
use dockerforge_protocol::ids::{ClusterId, ContainerId, HostId, ImageId, JobId, UserId};
use dockerforge_protocol::message::Assign;
use dockerforge_protocol::report::{Attempt, Outcome};
use dockerforge_protocol::spec::VolumeName;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// By which Docker makes itself known to the registry.
pub const REGISTRY_TOKEN: &str = "registry-token-that-nobody-sees";

/// Contexts of a few bytes, some secrets, and an image of another host.
struct Given(Result<&'static str, &'static str>, Values, Option<Elsewhere>, Option<Left>);

/// What is in each volume on the host that a container leaves, and what happens on its way from there.
#[derive(Clone, Default)]
pub struct Left {
    pub archive: Vec<u8>,
    /// What happens to the next volumes that are asked for; nothing once they are used up.
    pub mishaps: Arc<Mutex<VecDeque<Mishap>>>,
    /// Which volumes were asked for.
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl Left {
    pub fn with(archive: &[u8]) -> Self {
        Self { archive: archive.to_vec(), ..Self::default() }
    }

    fn volume(&self, volume: &VolumeName) -> Result<ContextStream, SupplyError> {
        self.asked.lock().unwrap().push(volume.to_string());
        let mut whole = self.archive.clone();
        whole.extend_from_slice(&Sha256::digest(&self.archive));
        let mut cut = whole.len();
        let mut broken = None;
        match self.mishaps.lock().unwrap().pop_front() {
            Some(Mishap::Unreachable) => return Err(SupplyError("the host that it leaves is offline".to_owned())),
            Some(Mishap::Cut(after)) => {
                cut = after;
                broken = Some(Err(std::io::ErrorKind::ConnectionReset.into()));
            }
            Some(Mishap::Short(after)) => cut = after,
            Some(Mishap::Altered) => whole[0] ^= 1,
            None => {}
        }
        let pieces: Vec<_> =
            whole[..cut].chunks(7).map(|piece| Ok(Bytes::copy_from_slice(piece))).chain(broken).collect();
        Ok(futures_util::stream::iter(pieces).boxed())
    }
}

/// A repository in the registry, and the digest there once it is.
pub type InRegistry = (String, Option<String>);

/// An image on another host, and what happens on its way from there.
#[derive(Clone)]
pub struct Elsewhere {
    pub engine: FakeEngine,
    pub docker_id: String,
    /// What happens to the next parts that are asked for; nothing once they are used up.
    pub mishaps: Arc<Mutex<VecDeque<Mishap>>>,
    /// Which parts were asked for, and from where on.
    pub asked: Arc<Mutex<Vec<(String, u64)>>>,
    /// Whose turn it was, each time.
    pub turns: Arc<Mutex<Vec<u32>>>,
    /// Where in the registry the coordinator says that it is, if anywhere.
    pub registry: Arc<Mutex<Option<InRegistry>>>,
}

/// What may happen to a part of an image on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// No host that has it can be reached.
    Unreachable,
    /// The connection is lost after so many bytes.
    Cut(usize),
    /// It ends after so many bytes as if that were all.
    Short(usize),
    /// Something else comes.
    Altered,
}

impl Elsewhere {
    pub fn with(layers: &[&[u8]]) -> Self {
        let engine = FakeEngine::default();
        let docker_id = engine.add_layered("elsewhere:1", layers);
        let (mishaps, asked, turns, registry) = Default::default();
        Self { engine, docker_id, mishaps, asked, turns, registry }
    }

    fn blob(&self, digest: &str, from: u64, turn: u32) -> Result<(u64, ContextStream), SupplyError> {
        self.asked.lock().unwrap().push((digest.to_owned(), from));
        self.turns.lock().unwrap().push(turn);
        let mut whole = self.engine.world().blobs.get(digest).cloned().ok_or_else(|| SupplyError("no such".into()))?;
        let size = whole.len() as u64;
        let mishap = self.mishaps.lock().unwrap().pop_front();
        let mut cut = whole.len();
        match mishap {
            Some(Mishap::Unreachable) => return Err(SupplyError("no host that has it is online".to_owned())),
            Some(Mishap::Cut(after) | Mishap::Short(after)) => cut = (usize::try_from(from).unwrap() + after).min(cut),
            Some(Mishap::Altered) => whole.iter_mut().for_each(|byte| *byte ^= 1),
            None => {}
        }
        let broken = (cut < whole.len()).then(|| Err(std::io::ErrorKind::ConnectionReset.into()));
        let came = Bytes::copy_from_slice(&whole[usize::try_from(from).unwrap()..cut]);
        let pieces = [Ok(came)].into_iter().chain(broken).collect::<Vec<_>>();
        Ok((size, futures_util::stream::iter(pieces).boxed()))
    }
}

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

    fn image(&self, _: JobId) -> BoxFuture<'_, Result<SuppliedImage, SupplyError>> {
        let known = self.2.as_ref().ok_or_else(|| SupplyError("no such image".to_owned()));
        let image = known.map(|image| {
            let registry = image.registry.lock().unwrap().clone().map(|(repository, digest)| SuppliedRegistry {
                repository,
                digest,
                login: RegistryLogin::Token { token: REGISTRY_TOKEN.to_owned() },
            });
            SuppliedImage { docker_id: image.docker_id.clone(), registry }
        });
        std::future::ready(image).boxed()
    }

    fn blob<'a>(
        &'a self,
        _: JobId,
        digest: &'a str,
        from: u64,
        turn: u32,
    ) -> BoxFuture<'a, Result<(u64, ContextStream), SupplyError>> {
        let known = self.2.as_ref().ok_or_else(|| SupplyError("no such image".to_owned()));
        std::future::ready(known.and_then(|image| image.blob(digest, from, turn))).boxed()
    }

    fn volume<'a>(&'a self, _: JobId, volume: &'a VolumeName) -> BoxFuture<'a, Result<ContextStream, SupplyError>> {
        let known = self.3.as_ref().ok_or_else(|| SupplyError("no such volume".to_owned()));
        std::future::ready(known.and_then(|left| left.volume(volume))).boxed()
    }
}

/// An executor and its host.
pub struct Bench {
    pub engine: FakeEngine,
    pub executor: Executor,
    pub folder: TempDir,
    pub cluster: ClusterId,
    elsewhere: Option<Elsewhere>,
    left: Option<Left>,
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
    pub elsewhere: Option<Elsewhere>,
    pub left: Option<Left>,
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
            carriers: Carriers::new(cluster, Arc::new(engine.clone())),
            layers: folder.path().join("layers"),
            supplies: Arc::new(Given(
                if options.no_context { Err("gone") } else { Ok("a tar") },
                options.secrets,
                options.elsewhere.clone(),
                options.left.clone(),
            )),
            docker_up,
        };
        let executor = Executor::new(settings, journal, tasks.clone(), entries);
        Self { engine, executor, folder, cluster, elsewhere: options.elsewhere, left: options.left, tasks, _up: up }
    }

    /// Kills this life of the agent and begins the next with the same state and host.
    pub async fn next_life(self) -> Self {
        self.executor.halt();
        drop(self.executor);
        let late = self.tasks.shutdown(Duration::from_secs(5)).await;
        assert!(late.is_empty(), "{late:?} did not end");
        let options = Options { elsewhere: self.elsewhere, left: self.left, ..Options::default() };
        Self::at(self.folder, self.engine, self.cluster, options)
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
        limits: dockerforge_protocol::spec::Resources::default(),
    }
}
