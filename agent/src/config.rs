//! What an agent is told: command line over environment over file over defaults. `main` makes one; tests make their own
//! [`Config`]. What must hold: a token never stands in a log, and a URL that is not the coordinator's kind is refused at
//! the start.

use clap::{Args, Parser, Subcommand, ValueEnum};
use dockerforge_protocol::enrolment::JoinToken;
use figment::providers::{Format, Toml};
use serde::Deserialize;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read or holds what is no setting.
    #[error("the configuration file {} cannot be used: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A setting that has no default is nowhere.
    #[error("{0} is not given: use --{0}, the environment or the configuration file")]
    Missing(&'static str),
    /// A value is not valid.
    #[error("{what}: {reason}")]
    Invalid {
        /// Which setting.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// `https://HOST[:PORT]`: where the coordinator's agent port is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoordinatorUrl {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port; 7443 where none is named.
    pub port: u16,
}

impl CoordinatorUrl {
    /// `host:port` as a `Host` header writes it.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for CoordinatorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

impl FromStr for CoordinatorUrl {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected https://HOST[:PORT]".to_owned();
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("wss://")).ok_or_else(expected)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let uri: hyper::Uri = format!("https://{rest}").parse().map_err(|_| expected())?;
        if rest.contains(['/', '@', '?', '#']) {
            return Err(expected());
        }
        let host = uri.host().ok_or_else(expected)?.trim_matches(['[', ']']).to_owned();
        if rest.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']') && port.parse::<u16>().is_err()) {
            return Err(expected());
        }
        Ok(Self { host, port: uri.port_u16().unwrap_or(7443) })
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For a person.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What an agent runs with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the coordinator is.
    pub coordinator: CoordinatorUrl,
    /// Redeemed if there is no identity yet, or the one there was revoked.
    pub token: Option<JoinToken>,
    /// Where identity, journal and logs are kept.
    pub state_dir: PathBuf,
    /// The owner's limits; `policy.toml` in the state folder where absent, if it is there.
    pub policy: Option<PathBuf>,
    /// Jobs in work at a time.
    pub slots: usize,
    /// Bytes of log kept for one attempt.
    pub spool_limit: u64,
    /// How often Docker is asked for a complete list, beside its events.
    pub relist_every: Duration,
    /// How often the coordinator is sent the complete list although nothing changed.
    pub resend_every: Duration,
    /// How often Docker is asked whether it answers.
    pub ping_every: Duration,
    /// How long work may go on after a stop was asked for.
    pub drain: Duration,
    /// What it calls itself.
    pub hostname: String,
}

impl Config {
    /// A configuration with the defaults.
    #[must_use]
    pub fn new(coordinator: CoordinatorUrl, state_dir: PathBuf) -> Self {
        Self {
            coordinator,
            token: None,
            state_dir,
            policy: None,
            slots: 4,
            spool_limit: 256 * 1024 * 1024,
            relist_every: Duration::from_secs(30),
            // Each is a transaction of the coordinator's: rare beside the heartbeats of a fleet.
            resend_every: Duration::from_secs(300),
            ping_every: Duration::from_secs(3),
            drain: Duration::from_secs(5),
            hostname: hostname(),
        }
    }
}

fn hostname() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    text.trim().chars().take(253).collect()
}

/// The Dockerforge agent: works for a coordinator on this machine's Docker.
#[derive(Debug, Parser)]
#[command(name = "dockerforge-agent", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Enrols if need be, then works until it is stopped.
    Run(Box<RunArgs>),
}

/// The settings of `run`. Every one may stand in the file, under the name of its flag.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct RunArgs {
    /// Where the coordinator is: https://HOST:7443
    #[arg(long, env = "DOCKERFORGE_AGENT_COORDINATOR", value_name = "URL")]
    pub coordinator: Option<String>,
    /// The join token of this host; needed once
    #[arg(long, env = "DOCKERFORGE_AGENT_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// A file that holds the join token
    #[arg(long, env = "DOCKERFORGE_AGENT_TOKEN_FILE", value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// Where identity, journal and logs are kept [default: /var/lib/dockerforge-agent]
    #[arg(long, env = "DOCKERFORGE_AGENT_STATE_DIR", value_name = "FOLDER")]
    pub state_dir: Option<PathBuf>,
    /// Docker's socket [default: unix:///var/run/docker.sock]
    #[arg(long, env = "DOCKERFORGE_AGENT_DOCKER", value_name = "SOCKET")]
    pub docker: Option<String>,
    /// Jobs in work at a time [default: 4]
    #[arg(long, env = "DOCKERFORGE_AGENT_SLOTS", value_name = "N")]
    pub slots: Option<usize>,
    /// The owner's limits [default: policy.toml in the state folder, if it is there]
    #[arg(long, env = "DOCKERFORGE_AGENT_POLICY", value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Log lines for a person or for a machine [default: text]
    #[arg(long, env = "DOCKERFORGE_AGENT_LOG_FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
    /// A TOML file with any of these settings
    #[arg(long, env = "DOCKERFORGE_AGENT_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
}

/// The settings together.
#[derive(Debug)]
pub struct Settings {
    /// What the agent runs with.
    pub config: Config,
    /// Docker's socket.
    pub docker: String,
}

impl RunArgs {
    /// These over those of the file that they name.
    pub fn with_file(mut self) -> Result<Self, ConfigError> {
        let Some(path) = self.config.clone() else { return Ok(self) };
        let text = std::fs::read_to_string(&path)
            .map_err(|error| ConfigError::File { path: path.clone(), reason: error.to_string() })?;
        let file: Self = figment::Figment::from(Toml::string(&text))
            .extract()
            .map_err(|error| ConfigError::File { path, reason: error.to_string() })?;
        if self.token.is_none() && self.token_file.is_none() {
            self.token = file.token;
            self.token_file = file.token_file;
        }
        self.coordinator = self.coordinator.or(file.coordinator);
        self.state_dir = self.state_dir.or(file.state_dir);
        self.docker = self.docker.or(file.docker);
        self.slots = self.slots.or(file.slots);
        self.policy = self.policy.or(file.policy);
        self.log_format = self.log_format.or(file.log_format);
        Ok(self)
    }

    /// The settings, with the defaults for what is nowhere.
    pub fn resolve(self) -> Result<Settings, ConfigError> {
        let invalid = |what, reason: String| ConfigError::Invalid { what, reason };
        let coordinator = self.coordinator.ok_or(ConfigError::Missing("coordinator"))?;
        let coordinator = coordinator.parse().map_err(|reason| invalid("coordinator", reason))?;
        let state_dir = self.state_dir.unwrap_or_else(|| Path::new("/var/lib/dockerforge-agent").to_owned());
        let mut config = Config::new(coordinator, state_dir);
        let token = match (self.token, self.token_file) {
            (Some(token), _) => Some(token),
            (None, Some(path)) => Some(
                std::fs::read_to_string(&path)
                    .map_err(|error| ConfigError::File { path, reason: error.to_string() })?,
            ),
            (None, None) => None,
        };
        if let Some(token) = token.filter(|t| !t.trim().is_empty()) {
            config.token = Some(token.parse().map_err(|e| invalid("token", format!("{e}")))?);
        }
        if let Some(slots) = self.slots {
            if !(1..=1024).contains(&slots) {
                return Err(invalid("slots", "expected 1 to 1024".to_owned()));
            }
            config.slots = slots;
        }
        config.policy = self.policy;
        let docker = self.docker.unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned());
        if !docker.starts_with("unix://") && !docker.starts_with('/') {
            return Err(invalid("docker", "expected a unix socket: unix:///var/run/docker.sock".to_owned()));
        }
        Ok(Settings { config, docker })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinator_url_is_https_with_a_host_and_perhaps_a_port() {
        let parse = |text: &str| text.parse::<CoordinatorUrl>();
        assert_eq!(parse("https://a.example").unwrap().to_string(), "https://a.example:7443");
        assert_eq!(parse("https://10.0.0.1:99/").unwrap(), CoordinatorUrl { host: "10.0.0.1".into(), port: 99 });
        assert_eq!(parse("https://[::1]:99").unwrap().authority(), "[::1]:99");
        for bad in [
            "",
            "a.example",
            "http://a.example",
            "https://",
            "https://a/b",
            "https://u@a",
            "https://a:x",
            "https://a:70000",
        ] {
            assert!(parse(bad).is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn the_command_line_stands_over_the_file_and_unknown_settings_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        std::fs::write(&path, "coordinator = \"https://file.example\"\nslots = 9\n").unwrap();
        let args = RunArgs { slots: Some(2), config: Some(path.clone()), ..RunArgs::default() };
        let settings = args.with_file().unwrap().resolve().unwrap();
        assert_eq!((settings.config.coordinator.host.as_str(), settings.config.slots), ("file.example", 2));
        std::fs::write(&path, "coordinater = \"x\"\n").unwrap();
        let args = RunArgs { config: Some(path), ..RunArgs::default() };
        assert!(matches!(args.with_file(), Err(ConfigError::File { .. })));
        assert!(matches!(RunArgs::default().resolve(), Err(ConfigError::Missing("coordinator"))));
    }
}
