//! Wires everything together and takes it apart in order. Nothing else knows of all rooms.

use crate::build::archive::Limits;
use crate::build::{ContextError, Contexts};
use crate::config::Config;
use crate::dispatch::Dispatcher;
use crate::events;
use crate::http;
use crate::http::listener::{ListenError, Server, TlsFiles};
use crate::hub::{self, Hub, HubConfig};
use crate::metrics::{self, Recorder};
use crate::pki::{Authority, PkiError, ServerTls};
use crate::queue::{self, ReaperConfig, Signals};
use crate::registry::{NoClient, Registry, RegistryError, Remover};
use crate::riyic::{NoRiyic, Riyic};
use crate::service::installer::Installer;
use crate::service::ops::Ops;
use crate::service::streams::OpenStreams;
use crate::service::tickets::Tickets;
use crate::service::{ServiceError, Services};
use crate::store::{self, Store, StoreError};
use crate::tasks::Tasks;
use crate::vault::{Vault, VaultError};
use crate::webhooks::{Courier, NoSender, Sender};
use dockerforge_protocol::handshake::{Refused, RefusedReason};
use secrecy::SecretString;
use std::collections::HashSet;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How long what is in work may take when the coordinator shuts down.
const DRAIN: Duration = Duration::from_secs(10);
/// Connections that may wait to be admitted.
const KNOCKS: usize = 256;
/// The shortest time between two heartbeats of a host.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How often what was measured is folded together, scraped or not.
const UPKEEP: Duration = Duration::from_secs(5);
/// How long a context that nothing needs is kept: its job may not be committed yet.
const CONTEXT_AGE: Duration = Duration::from_secs(3600);

/// Why a coordinator did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A folder or file of its own.
    #[error("cannot use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The key of the system user.
    #[error("{} does not hold a key: expected one line of at least 32 characters", .0.display())]
    AdminKey(PathBuf),
    /// An address.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The metrics.
    #[error("what is measured cannot be kept")]
    Metrics(#[from] metrics::BuildError),
    /// The API's own port.
    #[error(transparent)]
    Api(#[from] ListenError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The certificate authority.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The master key.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// What removes images from the registry.
    #[error(transparent)]
    Remover(#[from] NoClient),
    /// The build contexts.
    #[error(transparent)]
    Contexts(#[from] ContextError),
    /// What sends events to webhooks.
    #[error(transparent)]
    Webhooks(#[from] NoSender),
    /// The configuration service.
    #[error(transparent)]
    Riyic(#[from] NoRiyic),
    /// The first user.
    #[error("the system user could not be made")]
    Bootstrap(#[source] ServiceError),
}

/// A coordinator that serves.
pub struct App {
    /// Where the API is served.
    pub api: SocketAddr,
    /// Where agents dial in.
    pub agents: SocketAddr,
    /// Where those who run it look, if anywhere.
    pub ops: Option<SocketAddr>,
    server: Server,
    ops_server: Option<Server>,
    streams: CancellationToken,
    hub: Hub,
    tasks: Tasks,
}

impl App {
    /// Opens the database, loads what there is, and begins to serve.
    pub async fn start(config: &Config) -> Result<Self, AppError> {
        let tasks = Tasks::new();
        private_folder(&config.data_dir)?;
        let ops_listener = config.ops_listen.map(|at| listen(at).map(|listener| (at, listener))).transpose()?;
        let recorder = ops_listener.as_ref().map(|_| Recorder::install()).transpose()?;
        let store = Store::open(&config.database, &tasks).await?;
        let now = crate::clock::now();
        let defaults = config.quota;
        let cluster = store
            .write(move |conn| {
                Box::pin(async move {
                    let cluster = store::cluster_id(conn, now).await?;
                    store::quotas::set_defaults(conn, &defaults).await?;
                    Ok::<_, StoreError>(cluster)
                })
            })
            .await?;
        let authority = Arc::new(Authority::load_or_generate(&config.data_dir, cluster, now)?);
        let contexts = Contexts::new(&config.data_dir.join("contexts"))?;
        let vault = Vault::load_or_generate(&config.data_dir.join("vault.key"))?;
        let registry = config.registry.as_ref().map(|setting| Registry::open(setting, &config.data_dir, cluster, now));
        let registry = registry.transpose()?.map(Arc::new);
        let place = registry.as_ref().map(|registry| registry.place());
        store
            .write(move |conn| Box::pin(async move { store::registry::set_place(conn, place.as_ref()).await }))
            .await?;
        let key = admin_key(config)?;

        let api_listener = listen(config.api_listen)?;
        let agent_listener = listen(config.agent_listen)?;
        let (api, agents) =
            (address(&api_listener, config.api_listen)?, address(&agent_listener, config.agent_listen)?);
        let agent_url = config.agent_url.clone().unwrap_or_else(|| guess_agent_url(agents));

        let installer = match &config.agent_binary {
            Some(path) => Some(Arc::new(Installer::load(path).map_err(file_error(path))?)),
            None => None,
        };
        let gives_agent = installer.is_some();

        let signals = Signals::new();
        let (knocks, at_the_door) = mpsc::channel(KNOCKS);
        let hub = Hub::new(knocks, tasks.clone(), HubConfig::default());
        let closer = hub.clone();
        let revoked: Arc<dyn Fn(dockerforge_protocol::ids::HostId) + Send + Sync> = Arc::new(move |host| {
            let why = Refused { reason: RefusedReason::Revoked, detail: "this host was deleted".to_owned() };
            if closer.close_host(host, &why) {
                tracing::info!(%host, "the connection of a deleted host was closed");
            }
        });
        let finder = hub.clone();
        let services = Services {
            store: store.clone(),
            signals: signals.clone(),
            authority: Arc::clone(&authority),
            vault: vault.clone(),
            contexts: contexts.clone(),
            upload_limits: Limits { compressed: config.upload_limit, ..Limits::default() },
            revoked: Arc::clone(&revoked),
            pool: config.pool,
            agent_url,
            installer,
            riyic: riyic(config)?,
            relay: Arc::new(move |host| Some(finder.session(host)?.streams().clone())),
            streams: OpenStreams::new(config.streams_per_user),
            tickets: Tickets::default(),
            registry: registry.clone(),
        };
        if services.user_bootstrap(&key).await.map_err(AppError::Bootstrap)? {
            tracing::info!("the system user was made; its key is in the admin key file");
        }

        let closer = hub.clone();
        let dispatcher = Dispatcher {
            store: store.clone(),
            signals: signals.clone(),
            authority: Arc::clone(&authority),
            tasks: tasks.clone(),
            close: Arc::new(move |host, why| {
                let _ = closer.close_host(host, why);
            }),
            heartbeat: HEARTBEAT,
        };
        tasks.spawn("dispatch", dispatcher.run(at_the_door));
        let conductor = queue::run_conductor(store.clone(), signals.clone(), move |host| revoked(host), tasks.token());
        tasks.spawn("conductor", conductor);
        let days = |days: u32| jiff::SignedDuration::from_hours(24 * i64::from(days));
        let reaper = ReaperConfig {
            keep_jobs: days(config.job_retention_days),
            keep_logs: days(config.log_retention_days),
            ..ReaperConfig::default()
        };
        let sweeper = sweep(contexts, tasks.clone());
        tasks.spawn("reaper", queue::run_reaper(store.clone(), signals, reaper, sweeper, tasks.token()));

        tasks.spawn("revocations", services.clone().run_revocations(tasks.token()));
        tasks.spawn("convergences", services.clone().run_due(tasks.token()));
        let (feed, feeder) = events::feed(&store);
        tasks.spawn("events", feeder.run(tasks.token()));
        let sender = Sender::new()?;
        let courier = Courier { store: store.clone(), feed: feed.clone(), vault, sender };
        tasks.spawn("webhooks", courier.run(tasks.token()));

        if let Some(registry) = registry {
            tasks.spawn("registry", Remover::new(store.clone(), registry)?.run(tasks.token()));
        }

        let streams = tasks.child();
        let failures = Arc::default();
        let state = http::State {
            services,
            feed,
            stop: streams.clone(),
            tasks: tasks.clone(),
            failures,
            rates: Arc::new(http::Rates::new(config.rate)),
            origins: config.allowed_origins.clone().into(),
        };
        let tls = ServerTls::new(authority, now)?;
        let tls = Arc::new(if gives_agent { tls.with_install()? } else { tls });
        tasks.spawn("pki", Arc::clone(&tls).keep_fresh(tasks.token()));
        let agent_routes = hub::routes(hub.clone()).merge(http::agent_port::routes(state.clone()));
        let agent_listener = tokio::net::TcpListener::from_std(agent_listener)
            .map_err(|source| AppError::Listen { address: agents, source })?;
        tasks.spawn(
            "agent port",
            hub::listener::serve(agent_listener, tls, agent_routes, hub::listener::Limits::default(), tasks.clone()),
        );
        let tls = config.api_tls.clone().map(|(certificate, key)| TlsFiles { certificate, key });
        if tls.is_none() && !config.api_listen.ip().is_loopback() {
            tracing::warn!(
                "the API is served without TLS on an address that others reach: keep it to a private network"
            );
        }
        let server = Server::start(api_listener, tls.as_ref(), http::router(state.clone()), &tasks)?;
        let ops = ops_listener.as_ref().map(|(asked, listener)| address(listener, *asked)).transpose()?;
        let ops_server = match ops_listener.zip(recorder) {
            None => None,
            Some(((_, listener), recorder)) => {
                tasks.spawn("metrics", upkeep(recorder.clone(), tasks.token()));
                let live = hub.clone();
                let watched = http::ops::Watched {
                    state,
                    recorder,
                    ops: Ops::new(store.clone(), config.metrics_hosts),
                    sessions: Arc::new(move || live.len()),
                };
                Some(Server::start(listener, None, http::ops::router(watched), &tasks)?)
            }
        };
        tracing::info!(%api, %agents, ops = ops.map(tracing::field::display), database = store.describe(), %cluster, "serving");
        Ok(Self { api, agents, ops, server, ops_server, streams, hub, tasks })
    }

    /// Lets what is in work end, then stops: first the API, whose streams resume elsewhere; then the agents' sessions,
    /// which dial again; then everything that runs beside.
    pub async fn stop(self) {
        tracing::info!("shutting down");
        self.streams.cancel();
        self.server.stop(DRAIN).await;
        let why =
            Refused { reason: RefusedReason::Unavailable, detail: "the coordinator shuts down; dial again".to_owned() };
        let open = self.hub.drain(why, Duration::from_secs(3)).await;
        if open > 0 {
            tracing::warn!(open, "some agents' connections did not close in time");
        }
        drop(self.hub);
        // Last of what is served: who runs it sees the end.
        if let Some(ops) = self.ops_server {
            ops.stop(Duration::from_secs(1)).await;
        }
        let running = self.tasks.shutdown(DRAIN).await;
        if !running.is_empty() {
            tracing::warn!(?running, "some tasks did not end in time");
        }
        tracing::info!("stopped");
    }
}

/// The configuration service, where the operator has one.
fn riyic(config: &Config) -> Result<Option<Arc<Riyic>>, AppError> {
    let Some(settings) = &config.riyic else { return Ok(None) };
    let token = match &settings.token_file {
        Some(path) => Some(std::fs::read_to_string(path).map_err(file_error(path))?.trim().to_owned().into()),
        None => None,
    };
    Ok(Some(Arc::new(Riyic::new(&settings.api, token)?)))
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> AppError {
    let path = path.to_owned();
    move |source| AppError::File { path, source }
}

fn private_folder(path: &Path) -> Result<(), AppError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(file_error(path))
}

fn listen(address: SocketAddr) -> Result<TcpListener, AppError> {
    let listener = TcpListener::bind(address).and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    listener.map_err(|source| AppError::Listen { address, source })
}

fn address(listener: &TcpListener, asked: SocketAddr) -> Result<SocketAddr, AppError> {
    listener.local_addr().map_err(|source| AppError::Listen { address: asked, source })
}

/// How agents reach this machine, as far as it can tell.
fn guess_agent_url(agents: SocketAddr) -> String {
    if !agents.ip().is_unspecified() {
        return format!("https://{agents}");
    }
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    // It goes into commands that are pasted.
    let plain =
        |name: &&str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    let name = Some(name.trim()).filter(plain).unwrap_or("localhost");
    tracing::warn!(
        "agents are told to dial https://{name}:{}; set --agent-url if that is not how they reach this machine",
        agents.port()
    );
    format!("https://{name}:{}", agents.port())
}

/// The key of the system user: from the file that is named, or from one of our own that is made where it is absent. It
/// is on the disk before the user is in the database, so that a crash in between leaves nobody locked out.
fn admin_key(config: &Config) -> Result<SecretString, AppError> {
    let own = config.data_dir.join("admin.key");
    let path = config.admin_key_file.as_ref().unwrap_or(&own);
    if config.admin_key_file.is_none() && !path.exists() {
        use secrecy::ExposeSecret;
        use std::io::Write;
        let key = crate::service::tokens::fresh_key().map_err(AppError::Bootstrap)?;
        let unfinished = path.with_extension("unfinished");
        let written = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)
            .and_then(|mut file| {
                writeln!(file, "{}", key.expose_secret())?;
                file.sync_all()
            })
            .and_then(|()| std::fs::rename(&unfinished, path));
        written.map_err(file_error(path))?;
    }
    let text = std::fs::read_to_string(path).map_err(file_error(path))?;
    let key = text.trim();
    if key.len() < 32 || key.chars().any(char::is_whitespace) {
        return Err(AppError::AdminKey(path.clone()));
    }
    Ok(key.to_owned().into())
}

/// Folds what was measured together, as long as it is asked to.
async fn upkeep(recorder: Recorder, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(UPKEEP)).await.is_some() {
        recorder.upkeep();
    }
}

/// Removes contexts that nothing needs, in a task of its own: the reaper does not wait for a disk.
fn sweep(contexts: Contexts, tasks: Tasks) -> impl Fn(HashSet<String>) + Send + Sync {
    move |needed| {
        let contexts = contexts.clone();
        tasks.spawn("sweep", async move {
            match contexts.sweep(needed, CONTEXT_AGE).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "build contexts that nothing needs were removed"),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "build contexts could not be swept");
                }
            }
        });
    }
}
