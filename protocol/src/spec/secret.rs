//! Secrets of a container: a spec names them, and says how the container gets them. Their values stand nowhere here: the
//! agent asks the coordinator for them when it makes the container.

use super::{AbsolutePath, EnvName, Invalid};
use crate::ids::SecretId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The folder in a container where secrets are files, each under its name.
pub const SECRETS_FOLDER: &str = "/run/secrets";
/// Bytes of one value, at most.
pub const MAX_SECRET: usize = 64 * 1024;
/// Secrets of one container, at most.
const MAX_SECRETS: usize = 64;

/// How a container gets a secret.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretForm {
    /// A file in [`SECRETS_FOLDER`] that everybody in the container may read.
    #[default]
    File,
    /// An environment variable. Programs show these more freely, and Docker to who may ask it.
    Env,
}

impl fmt::Display for SecretForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Env => "env",
        })
    }
}

impl FromStr for SecretForm {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        [Self::File, Self::Env]
            .into_iter()
            .find(|form| form.to_string() == text)
            .ok_or_else(|| Invalid::new("expected file or env"))
    }
}

/// One secret of a container, without its value. Another value is another id: so a spec tells whether it changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secret {
    /// Which value.
    pub id: SecretId,
    /// How the container gets it.
    pub form: SecretForm,
}

/// What is wrong with secrets beside the rest of a container.
pub(super) fn secret_problems<'a>(
    secrets: &BTreeMap<EnvName, Secret>,
    env: &BTreeMap<EnvName, String>,
    mounts: impl Iterator<Item = (String, &'a AbsolutePath)>,
    problems: &mut Vec<(String, String)>,
) {
    if secrets.len() > MAX_SECRETS {
        problems.push(("/secrets".to_owned(), format!("expected at most {MAX_SECRETS} secrets")));
    }
    for name in secrets.iter().filter(|(_, secret)| secret.form == SecretForm::Env).map(|(name, _)| name) {
        if env.contains_key(name) {
            problems.push((format!("/secrets/{name}"), "there is an environment variable of this name".to_owned()));
        }
    }
    if secrets.values().any(|secret| secret.form == SecretForm::File) {
        let inside = |path: &str| path == SECRETS_FOLDER || path.starts_with(&format!("{SECRETS_FOLDER}/"));
        for (pointer, _) in mounts.filter(|(_, path)| inside(&path.to_string())) {
            problems.push((pointer, "the container's secrets are there".to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::ids::SecretId;
    use crate::spec::ContainerSpec;

    #[test]
    fn a_secret_that_stands_in_anothers_place_is_a_problem_with_its_pointer() {
        let id = SecretId::new();
        let spec: ContainerSpec = serde_json::from_str(&format!(
            r#"{{"env":{{"A":"x","B":"y"}},"secrets":{{"A":{{"id":"{id}","form":"env"}},"B":{{"id":"{id}","form":"file"}}}},
                "volumes":[{{"volume":"a","target":"/run/secrets/deep"}},{{"volume":"b","target":"/run/secretsnot"}}],
                "tmpfs":[{{"path":"/run/secrets"}},{{"path":"/run"}}]}}"#,
        ))
        .unwrap();
        let pointers: Vec<_> = spec.problems().into_iter().map(|(pointer, _)| pointer).collect();
        assert_eq!(pointers, ["/secrets/A", "/volumes/0/target", "/tmpfs/0/path"]);
    }
}
