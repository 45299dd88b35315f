//! Secrets of a container on the command line: their values come from files, never from arguments, which `ps` and a shell's
//! history show. Used by `container`.

use dockerforge_protocol::spec::EnvName;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

/// Secrets of a container.
#[derive(Debug, clap::Args)]
pub struct Secrets {
    /// A secret that the container finds as /run/secrets/NAME; its value is what is in the file; may be repeated
    #[arg(long = "secret", value_name = "NAME=FILE", value_parser = read)]
    files: Vec<(EnvName, SecretString)>,
    /// A secret that the container finds as an environment variable; its value is what is in the file; may be repeated
    #[arg(long = "secret-env", value_name = "NAME=FILE", value_parser = read)]
    variables: Vec<(EnvName, SecretString)>,
}

impl Secrets {
    /// Those that were named, as a body has them.
    pub(super) fn named(&self) -> Map<String, Value> {
        let files = self.files.iter().map(|secret| (secret, "file"));
        let variables = self.variables.iter().map(|secret| (secret, "env"));
        files
            .chain(variables)
            .map(|((name, value), form)| (name.to_string(), json!({"value": value.expose_secret(), "as": form})))
            .collect()
    }
}

/// `NAME=FILE`, with what is in the file; one line's end at its end is not part of a value that a person typed.
fn read(text: &str) -> Result<(EnvName, SecretString), String> {
    let (name, path) = text.split_once('=').ok_or("expected NAME=FILE")?;
    let name = name.parse().map_err(|error| format!("{error}"))?;
    let value = std::fs::read_to_string(path).map_err(|error| format!("{path} cannot be read: {error}"))?;
    let value = value.strip_suffix('\n').unwrap_or(&value);
    Ok((name, value.into()))
}
