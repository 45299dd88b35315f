//! What a coordinator is told at its start: flags, then environment, then a TOML file, then defaults. The keys of the
//! file are the names of the flags; an unknown one is refused.

use crate::domain::placement::PoolRules;
use crate::domain::quota::{Counted, Limits, MAX_LIMIT, thousandths};
use crate::domain::rate::Rate;
use crate::domain::registry::Setting;
use crate::store::Location;
use clap::{Args, ValueEnum};
use figment::Figment;
use figment::providers::{Format, Serialized, Toml};
pub use rate::RateSetting;
pub use registry::RegistryArgs;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

mod pool;
mod rate;
mod registry;

/// Flags of `serve`. Each may also come from the environment or the configuration file.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ServeArgs {
    /// A TOML file with any of these settings
    #[arg(long, env = "DOCKERFORGE_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Where the coordinator keeps its data [default: /var/lib/dockerforge]
    #[arg(long, env = "DOCKERFORGE_DATA_DIR", value_name = "FOLDER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    /// The database: a file for SQLite, or postgres://… [default: dockerforge.db in the data folder]
    #[arg(long, env = "DOCKERFORGE_DATABASE", value_name = "URL", hide_env_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Where the REST API is served [default: 127.0.0.1:7080]
    #[arg(long, env = "DOCKERFORGE_API_LISTEN", value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_listen: Option<SocketAddr>,
    /// A PEM file with the certificate chain of the REST API, to serve it over TLS
    #[arg(long, env = "DOCKERFORGE_API_TLS_CERT", value_name = "FILE", requires = "api_tls_key")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_tls_cert: Option<PathBuf>,
    /// A PEM file with the private key of that certificate
    #[arg(long, env = "DOCKERFORGE_API_TLS_KEY", value_name = "FILE", requires = "api_tls_cert")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_tls_key: Option<PathBuf>,
    /// Where agents dial in, over mutual TLS [default: 0.0.0.0:7443]
    #[arg(long, env = "DOCKERFORGE_AGENT_LISTEN", value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_listen: Option<SocketAddr>,
    /// The URL by which agents reach that, as it stands in join commands [default: this machine's name and the agent port]
    #[arg(long, env = "DOCKERFORGE_AGENT_URL", value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_url: Option<String>,
    /// The agent's program, to be given to machines that are to become hosts: the join command then needs nothing else [default: none is given]
    #[arg(long, env = "DOCKERFORGE_AGENT_BINARY", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_binary: Option<PathBuf>,
    /// Where /healthz, /readyz and /metrics are served to those who run the coordinator, without authentication; off for nowhere [default: 127.0.0.1:7090]
    #[arg(long, env = "DOCKERFORGE_OPS_LISTEN", value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ops_listen: Option<String>,
    /// Hosts of which /metrics shows each by its name; of more, only how many there are in each state [default: 500]
    #[arg(long, env = "DOCKERFORGE_METRICS_HOSTS", value_name = "COUNT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_hosts: Option<u32>,
    /// Days that a job is kept after it has ended; at least 1 [default: 30]
    #[arg(long, env = "DOCKERFORGE_JOB_RETENTION_DAYS", value_name = "DAYS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_retention_days: Option<u32>,
    /// Days that the log of a job is kept after it has ended; 0 for some minutes [default: 7]
    #[arg(long, env = "DOCKERFORGE_LOG_RETENTION_DAYS", value_name = "DAYS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_retention_days: Option<u32>,
    /// A file that holds the key of the system user to be made at the first start [default: admin.key in the data folder, made where absent]
    #[arg(long, env = "DOCKERFORGE_ADMIN_KEY_FILE", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_key_file: Option<PathBuf>,
    /// How many streams (logs, figures, terminals of containers) a user may have open [default: 8]
    #[arg(long, env = "DOCKERFORGE_STREAMS_PER_USER", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams_per_user: Option<u32>,
    /// Origins whose pages may call the API (CORS) and open terminals, beside the API's own, such as https://panel.example.org; may be repeated
    #[arg(long = "allowed-origin", env = "DOCKERFORGE_ALLOWED_ORIGINS", value_name = "ORIGIN", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub allowed_origins: Vec<String>,
    /// Requests a second that each user may make, or off for any number [default: 50]
    #[arg(long, env = "DOCKERFORGE_RATE_LIMIT", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateSetting>,
    /// Requests that each user may make at once, before he is held to the rate [default: 200]
    #[arg(long, env = "DOCKERFORGE_RATE_BURST", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_burst: Option<NonZeroU32>,
    /// How a pool host is chosen where a request does not say: spread, binpack or random [default: spread]
    #[arg(long, env = "DOCKERFORGE_POOL_STRATEGY", value_name = "STRATEGY")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_strategy: Option<String>,
    /// Processors of each pool host that are not given to containers [default: 0.25]
    #[arg(long, env = "DOCKERFORGE_POOL_HEADROOM_CPUS", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_headroom_cpus: Option<f64>,
    /// Memory of each pool host that is not given to containers, MiB [default: 512]
    #[arg(long, env = "DOCKERFORGE_POOL_HEADROOM_MEMORY_MIB", value_name = "MIB")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_headroom_memory_mib: Option<u64>,
    /// Processors of a container on a pool host that names none [default: 0.5]
    #[arg(long, env = "DOCKERFORGE_POOL_DEFAULT_CPUS", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_default_cpus: Option<f64>,
    /// Memory of a container on a pool host that names none, MiB [default: 256]
    #[arg(long, env = "DOCKERFORGE_POOL_DEFAULT_MEMORY_MIB", value_name = "MIB")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_default_memory_mib: Option<u64>,
    /// Processes of a container on a pool host that names no limit, at most 4096 [default: 256]
    #[arg(long, env = "DOCKERFORGE_POOL_DEFAULT_PIDS", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_default_pids: Option<u64>,
    /// Processors of each step of a build on a pool host [default: 1]
    #[arg(long, env = "DOCKERFORGE_POOL_BUILD_CPUS", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_build_cpus: Option<f64>,
    /// Memory of each step of a build on a pool host, MiB, at most 2047 [default: 1024]
    #[arg(long, env = "DOCKERFORGE_POOL_BUILD_MEMORY_MIB", value_name = "MIB")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_build_memory_mib: Option<u64>,
    /// How large an uploaded build context may be, bytes, as it comes [default: 1073741824]
    #[arg(long, env = "DOCKERFORGE_UPLOAD_LIMIT", value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload_limit: Option<u64>,
    /// How the log is written [default: text]
    #[arg(long, env = "DOCKERFORGE_LOG_FORMAT", value_name = "FORMAT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,
    /// What is logged: error, warn, info, debug, trace, or a filter such as info,dockerforge_coordinator::dispatch=debug [default: info]
    #[arg(long, env = "DOCKERFORGE_LOG_LEVEL", value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
    /// How much a user may have; in the file alone.
    #[arg(skip)]
    #[serde(default, skip_serializing)]
    pub quota: QuotaArgs,
    /// The registry that hosts bring images to and have them from; in the file alone.
    #[arg(skip)]
    #[serde(default, skip_serializing)]
    pub registry: RegistryArgs,
    /// The configuration service; in the file alone.
    #[arg(skip)]
    #[serde(default, skip_serializing)]
    pub riyic: Option<RiyicArgs>,
}

/// `[riyic]`: the service that configurations can be fetched from.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RiyicArgs {
    /// The URL of its API
    pub api: String,
    /// A file with the token that it is asked with
    pub token_file: Option<PathBuf>,
}

/// `[quota]`: how much each user may have for whom an administrator has set nothing else. 0 is none at all.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct QuotaArgs {
    /// Containers [default: 10000]
    pub containers: Option<u64>,
    /// Containers that are meant to run [default: 10000]
    pub running_containers: Option<u64>,
    /// Processors, with a fraction [default: no limit]
    pub cpus: Option<f64>,
    /// Memory, bytes [default: no limit]
    pub memory: Option<u64>,
    /// Images [default: 10000]
    pub images: Option<u64>,
    /// Hosts [default: 10000]
    pub hosts: Option<u64>,
    /// Unfinished jobs [default: 10000]
    pub queued_jobs: Option<u64>,
}

impl QuotaArgs {
    fn limits(&self) -> Result<Limits, ConfigError> {
        let mut limits = Limits::generous();
        let milli = self.cpus.map(|cpus| thousandths(cpus).ok_or(ConfigError::Quota("cpus"))).transpose()?;
        for (counted, limit) in [
            (Counted::Containers, self.containers),
            (Counted::RunningContainers, self.running_containers),
            (Counted::Cpus, milli),
            (Counted::Memory, self.memory),
            (Counted::Images, self.images),
            (Counted::Hosts, self.hosts),
            (Counted::QueuedJobs, self.queued_jobs),
        ] {
            match limit {
                Some(limit) if limit > MAX_LIMIT => return Err(ConfigError::Quota(counted.as_str())),
                Some(limit) => limits.set(counted, Some(limit)),
                None => {}
            }
        }
        Ok(limits)
    }
}

/// How a log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: an object a line.
    Json,
}

/// Settings, complete.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the data is kept.
    pub data_dir: PathBuf,
    /// The database.
    pub database: Location,
    /// Where the REST API is served.
    pub api_listen: SocketAddr,
    /// Certificate chain and key for it, PEM files.
    pub api_tls: Option<(PathBuf, PathBuf)>,
    /// Where agents dial in.
    pub agent_listen: SocketAddr,
    /// The URL by which they reach that.
    pub agent_url: Option<String>,
    /// The agent's program, for machines that are to become hosts.
    pub agent_binary: Option<PathBuf>,
    /// Where those who run it look; nowhere if absent.
    pub ops_listen: Option<SocketAddr>,
    /// Hosts that are measured one by one.
    pub metrics_hosts: u32,
    /// How long jobs are kept after they have ended, days.
    pub job_retention_days: u32,
    /// How long their logs are, days.
    pub log_retention_days: u32,
    /// The system user's key.
    pub admin_key_file: Option<PathBuf>,
    /// How many streams a user may have open.
    pub streams_per_user: u32,
    /// Origins whose pages may call the API and open terminals, beside the API's own.
    pub allowed_origins: Vec<String>,
    /// How many requests each user may make; any number if absent.
    pub rate: Option<Rate>,
    /// What holds on pool hosts.
    pub pool: PoolRules,
    /// How large an uploaded build context may be, bytes.
    pub upload_limit: u64,
    /// How the log is written.
    pub log_format: LogFormat,
    /// What is logged.
    pub log_level: String,
    /// How much each user may have for whom nothing else is set.
    pub quota: Limits,
    /// The registry that hosts bring images to and have them from.
    pub registry: Option<Setting>,
    /// The service that configurations can be fetched from.
    pub riyic: Option<RiyicArgs>,
}

/// Why the settings cannot be.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file, or what is in it.
    #[error("the configuration cannot be read: {0}")]
    File(Box<figment::Error>),
    /// One half of a pair.
    #[error("api-tls-cert and api-tls-key go together")]
    HalfTls,
    /// What names no database.
    #[error("expected a file or postgres://… for the database, not {0}")]
    Database(String),
    /// What keeps no job long enough to be seen.
    #[error("job-retention-days must be at least 1")]
    JobRetention,
    /// What is no address to listen on.
    #[error("expected an address such as 127.0.0.1:7090, or off, for ops-listen, not {0}")]
    OpsListen(String),
    /// What cannot hold on pool hosts.
    #[error("{0}: {1}")]
    Pool(&'static str, String),
    /// What is no origin of a page.
    #[error("expected scheme://host or scheme://host:port for an allowed origin, not {0}")]
    Origin(String),
    /// What agents cannot dial.
    #[error("expected https://host:port for the agent URL, not {0}")]
    AgentUrl(String),
    /// A limit that cannot be.
    #[error("the quota of {0} is out of range")]
    Quota(&'static str),
    /// A registry that cannot be.
    #[error("registry: {0}")]
    Registry(String),
}

/// 1 GiB.
const UPLOAD_LIMIT: u64 = 1 << 30;
const DATA_DIR: &str = "/var/lib/dockerforge";
const MIB: u64 = 1024 * 1024;
const API_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7080);
const AGENT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 7443);
const OPS_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7090);
const METRICS_HOSTS: u32 = 500;
const JOB_RETENTION_DAYS: u32 = 30;
const LOG_RETENTION_DAYS: u32 = 7;

impl Config {
    /// Flags and environment over the file over the defaults.
    pub fn load(args: &ServeArgs) -> Result<Self, ConfigError> {
        let mut figment = Figment::new();
        if let Some(file) = &args.config {
            figment = figment.merge(Toml::file_exact(file));
        }
        let args: ServeArgs =
            figment.merge(Serialized::defaults(args)).extract().map_err(|error| ConfigError::File(Box::new(error)))?;
        let pool = pool::pool(&args)?;
        let data_dir = args.data_dir.unwrap_or_else(|| PathBuf::from(DATA_DIR));
        let database = match args.database {
            None => Location::Sqlite(data_dir.join("dockerforge.db")),
            Some(url) if url.starts_with("postgres://") || url.starts_with("postgresql://") => Location::Postgres(url),
            Some(url) => match url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")) {
                Some(path) => Location::Sqlite(path.into()),
                None if url.contains("://") => return Err(ConfigError::Database(url)),
                None => Location::Sqlite(url.into()),
            },
        };
        let agent_url = args.agent_url.map(|url| {
            let rest = url.strip_prefix("https://").map(|rest| rest.trim_end_matches('/'));
            match rest.filter(|rest| {
                !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic()) && !rest.contains(['/', '?', '#', '\''])
            }) {
                Some(rest) => Ok(format!("https://{rest}")),
                None => Err(ConfigError::AgentUrl(url)),
            }
        });
        let ops_listen = match args.ops_listen.as_deref() {
            None => Some(OPS_LISTEN),
            Some("off") => None,
            Some(text) => Some(text.parse().map_err(|_| ConfigError::OpsListen(text.to_owned()))?),
        };
        Ok(Self {
            database,
            api_listen: args.api_listen.unwrap_or(API_LISTEN),
            api_tls: match (args.api_tls_cert, args.api_tls_key) {
                (None, None) => None,
                (Some(cert), Some(key)) => Some((cert, key)),
                _ => return Err(ConfigError::HalfTls),
            },
            agent_listen: args.agent_listen.unwrap_or(AGENT_LISTEN),
            agent_url: agent_url.transpose()?,
            agent_binary: args.agent_binary,
            ops_listen,
            job_retention_days: match args.job_retention_days.unwrap_or(JOB_RETENTION_DAYS) {
                0 => return Err(ConfigError::JobRetention),
                days => days,
            },
            log_retention_days: args.log_retention_days.unwrap_or(LOG_RETENTION_DAYS),
            metrics_hosts: args.metrics_hosts.unwrap_or(METRICS_HOSTS),
            admin_key_file: args.admin_key_file,
            streams_per_user: args.streams_per_user.unwrap_or(8),
            allowed_origins: args.allowed_origins.into_iter().map(origin).collect::<Result<_, _>>()?,
            rate: args.rate_limit.unwrap_or_default().with(args.rate_burst),
            pool,
            upload_limit: args.upload_limit.unwrap_or(UPLOAD_LIMIT),
            log_format: args.log_format.unwrap_or_default(),
            log_level: args.log_level.unwrap_or_else(|| "info".to_owned()),
            quota: args.quota.limits()?,
            registry: args.registry.setting().map_err(ConfigError::Registry)?,
            riyic: args.riyic,
            data_dir,
        })
    }
}

/// An origin as browsers send it (RFC 6454, 6.1). There is none for everybody: a key is read by pages that are known.
fn origin(text: String) -> Result<String, ConfigError> {
    let host = text.split_once("://").map(|(_, host)| host).filter(|host| !host.is_empty());
    let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
    let is_one = printable && host.is_some_and(|host| !host.contains(['/', '*', '?', '#', '@']));
    if is_one { Ok(text) } else { Err(ConfigError::Origin(text)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_said_is_an_embedded_database_and_loopback() {
        let config = Config::load(&ServeArgs::default()).unwrap();
        assert!(matches!(config.database, Location::Sqlite(path) if path.ends_with("dockerforge.db")));
        assert!(config.api_listen.ip().is_loopback());
    }

    #[test]
    fn a_flag_goes_before_the_file_and_an_unknown_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("coordinator.toml");
        std::fs::write(&file, "api-listen = \"127.0.0.1:1\"\nagent-listen = \"127.0.0.1:2\"\n").unwrap();
        let args = ServeArgs {
            config: Some(file.clone()),
            api_listen: Some("127.0.0.1:3".parse().unwrap()),
            ..ServeArgs::default()
        };
        let config = Config::load(&args).unwrap();
        assert_eq!((config.api_listen.port(), config.agent_listen.port()), (3, 2));
        std::fs::write(&file, "api-lisen = \"127.0.0.1:1\"\n").unwrap();
        assert!(Config::load(&args).is_err());
    }

    #[test]
    fn quotas_are_generous_unless_the_file_says_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("coordinator.toml");
        let load = |text: &str| {
            std::fs::write(&file, text).unwrap();
            Config::load(&ServeArgs { config: Some(file.clone()), ..ServeArgs::default() }).map(|config| config.quota)
        };
        assert_eq!(load("[quota]").unwrap(), Limits::generous());
        let quota = load("[quota]\ncontainers = 0\ncpus = 1.5\nqueued-jobs = 7").unwrap();
        let limit = |counted| quota.get(counted);
        assert_eq!((limit(Counted::Containers), limit(Counted::Cpus)), (Some(0), Some(1500)));
        assert_eq!((limit(Counted::QueuedJobs), limit(Counted::Hosts)), (Some(7), Some(10_000)));
        for bad in
            ["hosts = -1", "cpus = -0.1", "cpus = nan", "memory = 9007199254740992", "pods = 1", "images = \"many\""]
        {
            assert!(load(&format!("[quota]\n{bad}")).is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn the_ops_address_is_on_loopback_elsewhere_or_off() {
        let ops = |text: &str| Config::load(&ServeArgs { ops_listen: Some(text.to_owned()), ..ServeArgs::default() });
        assert_eq!(Config::load(&ServeArgs::default()).unwrap().ops_listen, Some(OPS_LISTEN));
        assert_eq!(ops("off").unwrap().ops_listen, None);
        assert_eq!(ops("0.0.0.0:9").unwrap().ops_listen.map(|at| at.port()), Some(9));
        assert!(matches!(ops("7090"), Err(ConfigError::OpsListen(_))));
    }

    #[test]
    fn an_origin_is_that_of_known_pages() {
        let origins =
            |text: &str| Config::load(&ServeArgs { allowed_origins: vec![text.to_owned()], ..ServeArgs::default() });
        assert!(origins("https://panel.example.org").is_ok() && origins("http://[::1]:8080").is_ok());
        for bad in ["*", "panel.example.org", "https://", "https://*.example.org", "https://a/", "https://a b", "null"]
        {
            assert!(matches!(origins(bad), Err(ConfigError::Origin(_))), "{bad} was accepted");
        }
    }

    #[test]
    fn what_is_no_database_or_no_agent_url_is_refused() {
        let database = |url: &str| Config::load(&ServeArgs { database: Some(url.to_owned()), ..ServeArgs::default() });
        assert!(database("mysql://x/y").is_err());
        assert!(matches!(database("postgres://x/y").unwrap().database, Location::Postgres(_)));
        for bad in ["http://x:1", "x:1", "https://", "https://x/y", "https://x;rm -rf '", "https://x\ny", "https://x'y"]
        {
            let args = ServeArgs { agent_url: Some(bad.to_owned()), ..ServeArgs::default() };
            assert!(Config::load(&args).is_err(), "{bad} was accepted");
        }
    }
}
