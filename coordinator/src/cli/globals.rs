//! The options of every client command: where the coordinator is, whose key is used, how results are shown.
//! `main` flattens [`Globals`] into its own arguments; [`key`](Globals::key) decides which key counts.

use super::error::CliError;
use clap::builder::{StringValueParser, TypedValueParser};
use secrecy::{ExposeSecret, SecretString};
use std::{env, fmt, fs, path::PathBuf};

/// Where `dockerforge serve`, as packaged, leaves the administrator's key.
pub(super) const DEFAULT_KEY_FILE: &str = "/var/lib/dockerforge/admin.key";

const KEY_ENV: &str = "DOCKERFORGE_KEY";
const KEY_FILE_ENV: &str = "DOCKERFORGE_KEY_FILE";

/// Options of every client command. They may stand before or after the command.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Client options")]
pub struct Globals {
    /// Where the coordinator's REST API is
    #[arg(long, global = true, env = "DOCKERFORGE_URL", default_value = "http://127.0.0.1:7080", value_name = "URL")]
    pub url: String,
    /// The API key. Other processes can see it on a command line: prefer the variable or --key-file
    #[arg(long, global = true, env = KEY_ENV, hide_env_values = true, value_name = "KEY", value_parser = secret())]
    pub key: Option<SecretString>,
    /// A file that holds the API key [fallback: /var/lib/dockerforge/admin.key, if it can be read]
    #[arg(long, global = true, env = KEY_FILE_ENV, hide_env_values = true, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// For https: trust the certificate authorities in this PEM file instead of the system's
    #[arg(long, global = true, env = "DOCKERFORGE_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Act for this user, by name or id (administrators)
    #[arg(long = "as", global = true, value_name = "USER")]
    pub act_as: Option<String>,
    /// Print the server's JSON as it came. A job's log goes to stderr then
    #[arg(long, global = true)]
    pub json: bool,
    /// When to use colours; NO_COLOR is respected
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Where the key in use came from; a refusal names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// `--key`.
    Option,
    /// The environment.
    Environment,
    /// A file that was named, or the fallback.
    File(PathBuf),
    /// There is no key.
    None,
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option => f.write_str("the key was given with --key"),
            Self::Environment => f.write_str("the key came from the variable DOCKERFORGE_KEY"),
            Self::File(path) => write!(f, "the key came from the file {}", path.display()),
            Self::None => f.write_str("no key was given"),
        }
    }
}

fn secret() -> impl TypedValueParser<Value = SecretString> {
    StringValueParser::new().map(SecretString::from)
}

impl Globals {
    /// The key that counts and where it came from. An option beats the environment, `--key` beats `--key-file`.
    pub(super) fn key(&self) -> Result<(Option<SecretString>, KeySource), CliError> {
        let key = self.key.as_ref().filter(|key| !key.expose_secret().trim().is_empty());
        let key_from_env = key.is_some_and(|key| env::var(KEY_ENV).is_ok_and(|v| v == key.expose_secret()));
        let file_from_env =
            self.key_file.as_ref().is_some_and(|file| env::var_os(KEY_FILE_ENV).is_some_and(|v| v == file.as_os_str()));
        match (key, &self.key_file) {
            (Some(key), file) if !key_from_env || file.is_none() || file_from_env => {
                let source = if key_from_env { KeySource::Environment } else { KeySource::Option };
                Ok((Some(SecretString::from(key.expose_secret().trim())), source))
            }
            (_, Some(file)) => {
                let text =
                    fs::read_to_string(file).map_err(|source| CliError::KeyFile { path: file.clone(), source })?;
                Ok((Some(SecretString::from(text.trim())), KeySource::File(file.clone())))
            }
            // Not readable is no failure here: most people are not the administrator of this machine.
            (_, None) => Ok(match fs::read_to_string(DEFAULT_KEY_FILE) {
                Ok(text) => (Some(SecretString::from(text.trim())), KeySource::File(DEFAULT_KEY_FILE.into())),
                Err(_) => (None, KeySource::None),
            }),
        }
    }
}
