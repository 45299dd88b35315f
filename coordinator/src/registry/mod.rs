//! The registry that hosts bring images to and have them from: what an image is called there, what opens it to a host for one job,
//! and ([`Remover`]) how an image goes from there. Called by the services and by `app`.
//!
//! What must hold: what opens all of the registry is given to hosts of administrators alone; a token opens one repository for an
//! hour at most; neither is in a log, a job or the database.

mod client;
mod remover;

pub use client::NoClient;
pub use remover::Remover;

use crate::domain::Timestamp;
use crate::domain::registry::{AccessSetting, Opening, Place, Setting};
use crate::pki::{PkiError, TokenKey};
use dockerforge_protocol::enrolment::RegistryLogin;
use dockerforge_protocol::ids::ClusterId;
use secrecy::{ExposeSecret, SecretString};
use std::io;
use std::path::{Path, PathBuf};

/// How long a token for a host is good, seconds. A large layer must come through in it; the agent asks for another where more
/// than one is needed.
const TOKEN_LIFE: i64 = 3600;
/// How far a token begins in the past, seconds, for a registry whose clock is behind.
const BACKDATED: i64 = 60;
/// Who signs.
const ISSUER: &str = "dockerforge";

/// The registry. What it holds of secrets is never shown.
pub struct Registry {
    address: String,
    prefix: String,
    plain: bool,
    right: Right,
}

enum Right {
    Open,
    Password { user: String, password: SecretString },
    Tokens { key: Box<TokenKey>, service: String },
}

/// What somebody wants to do in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// Bring an image there.
    Push,
    /// Have it from there.
    Pull,
    /// Remove it from there.
    Remove,
}

impl Doing {
    const fn actions(self) -> &'static [&'static str] {
        match self {
            Self::Push => &["pull", "push"],
            Self::Pull => &["pull"],
            Self::Remove => &["pull", "delete"],
        }
    }
}

/// Why the registry cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The file with the password.
    #[error("the password of the registry cannot be read from {}", path.display())]
    Password {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// There is nothing in it.
    #[error("{} holds no password", .0.display())]
    NoPassword(PathBuf),
    /// The key that signs tokens.
    #[error(transparent)]
    Key(#[from] PkiError),
}

impl Registry {
    /// The registry of the configuration; the key that signs tokens for it is in the data folder, made where it is absent.
    pub fn open(setting: &Setting, data_dir: &Path, cluster: ClusterId, now: Timestamp) -> Result<Self, RegistryError> {
        let right = match &setting.access {
            AccessSetting::Open => Right::Open,
            AccessSetting::Password { user, file } => {
                let text = std::fs::read_to_string(file)
                    .map_err(|source| RegistryError::Password { path: file.clone(), source })?;
                let password = text.trim_end_matches(['\r', '\n']);
                if password.is_empty() {
                    return Err(RegistryError::NoPassword(file.clone()));
                }
                Right::Password { user: user.clone(), password: password.to_owned().into() }
            }
            AccessSetting::Tokens { service } => Right::Tokens {
                key: Box::new(TokenKey::load_or_generate(data_dir, cluster, now)?),
                service: service.clone(),
            },
        };
        let Setting { address, prefix, plain, .. } = setting;
        Ok(Self { address: address.clone(), prefix: prefix.clone(), plain: *plain, right })
    }

    /// Where it is, and what opens it.
    #[must_use]
    pub fn place(&self) -> Place {
        let opening = match self.right {
            Right::Open | Right::Password { .. } => Opening::Whole,
            Right::Tokens { .. } => Opening::Repository,
        };
        Place { base: format!("{}/{}", self.address, self.prefix), opening }
    }

    /// What opens a repository to somebody, who is named to the registry.
    ///
    /// # Errors
    /// A token could not be signed.
    pub fn login(&self, repository: &str, doing: Doing, who: &str, now: Timestamp) -> Result<RegistryLogin, PkiError> {
        match &self.right {
            Right::Open => Ok(RegistryLogin::Nothing),
            Right::Password { user, password } => {
                Ok(RegistryLogin::Password { name: user.clone(), password: password.expose_secret().to_owned() })
            }
            Right::Tokens { key, service } => {
                let name = self.name_of(repository).unwrap_or_default();
                let now = now.as_second();
                // Docker Registry v2 token authentication, "Token Authentication Implementation".
                let token = key.sign(&serde_json::json!({
                    "iss": ISSUER,
                    "sub": who,
                    "aud": service,
                    "iat": now,
                    "nbf": now - BACKDATED,
                    "exp": now + TOKEN_LIFE,
                    "jti": uuid::Uuid::new_v4(),
                    "access": [{ "type": "repository", "name": name, "actions": doing.actions() }],
                }))?;
                Ok(RegistryLogin::Token { token })
            }
        }
    }

    /// The name of one of our repositories within the registry; none where it is in another.
    fn name_of<'a>(&self, repository: &'a str) -> Option<&'a str> {
        repository.strip_prefix(self.address.as_str())?.strip_prefix('/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use dockerforge_protocol::ids::ImageId;

    fn registry(access: AccessSetting, dir: &Path) -> Result<Registry, RegistryError> {
        let setting =
            Setting { address: "registry.example:5000".to_owned(), prefix: "df".to_owned(), plain: false, access };
        Registry::open(&setting, dir, ClusterId::new(), Timestamp::now())
    }

    #[test]
    fn a_token_opens_one_repository_for_an_hour_and_says_for_whom() {
        let dir = tempfile::tempdir().unwrap();
        let registry = registry(AccessSetting::Tokens { service: "here".to_owned() }, dir.path()).unwrap();
        let (image, now) = (ImageId::new(), Timestamp::now());
        for (doing, actions) in
            [(Doing::Push, vec!["pull", "push"]), (Doing::Pull, vec!["pull"]), (Doing::Remove, vec!["pull", "delete"])]
        {
            let login = registry.login(&registry.place().repository(image), doing, "hst_1", now).unwrap();
            let RegistryLogin::Token { token } = login else { panic!("no token") };
            let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
            let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
            let name = format!("df/{image}");
            assert_eq!(
                claims["access"],
                serde_json::json!([{ "type": "repository", "name": name, "actions": actions }])
            );
            assert_eq!(claims["exp"].as_i64(), Some(now.as_second() + 3600));
            assert_eq!((claims["aud"].as_str(), claims["sub"].as_str()), (Some("here"), Some("hst_1")));
        }
        assert_eq!(registry.place().opening, Opening::Repository);
    }

    #[test]
    fn a_password_is_a_line_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        let access = AccessSetting::Password { user: "df".to_owned(), file: file.clone() };
        assert!(matches!(registry(access.clone(), dir.path()), Err(RegistryError::Password { .. })));
        std::fs::write(&file, "\n").unwrap();
        assert!(matches!(registry(access.clone(), dir.path()), Err(RegistryError::NoPassword(_))));
        std::fs::write(&file, "se cret\n").unwrap();
        let registry = registry(access, dir.path()).unwrap();
        let login = registry.login("registry.example:5000/df/x", Doing::Pull, "hst_1", Timestamp::now()).unwrap();
        assert!(matches!(login, RegistryLogin::Password { name, password } if name == "df" && password == "se cret"));
        assert_eq!(registry.place().opening, Opening::Whole);
    }
}
