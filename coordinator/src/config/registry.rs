//! `[registry]`: the registry that hosts bring images to and have them from. In the file alone, for what it names of secrets is
//! where they are.

use crate::domain::registry::{AccessSetting, Setting};
use crate::domain::webhook::is_public;
use dockerforge_protocol::ids::ImageId;
use dockerforge_protocol::spec::ImageRef;
use serde::Deserialize;
use std::net::IpAddr;
use std::path::PathBuf;

/// What the registry calls itself where nothing is said.
const SERVICE: &str = "dockerforge";
/// What our repositories begin with where nothing is said.
const PREFIX: &str = "dockerforge";

/// `[registry]` as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RegistryArgs {
    /// Host and port, without a scheme; no registry where absent
    pub address: Option<String>,
    /// What all repositories there begin with [default: dockerforge]
    pub prefix: Option<String>,
    /// Whether the coordinator itself speaks to it without TLS; for a private network alone [default: false]
    pub insecure: Option<bool>,
    /// The name to sign in with
    pub user: Option<String>,
    /// A file that holds the password and nothing else
    pub password_file: Option<PathBuf>,
    /// Whether the registry takes tokens that this coordinator makes [default: false]
    pub token: Option<bool>,
    /// What the registry calls itself (`service` of its token authentication) [default: dockerforge]
    pub service: Option<String>,
}

impl RegistryArgs {
    /// What it comes to; nothing where there is no registry.
    pub(super) fn setting(self) -> Result<Option<Setting>, String> {
        let Self { address, prefix, insecure, user, password_file, token, service } = self;
        let tokens = token.unwrap_or(false);
        let Some(address) = address else {
            let said = prefix.is_some()
                || insecure.is_some()
                || user.is_some()
                || password_file.is_some()
                || token.is_some()
                || service.is_some();
            return if said { Err("expected an address".to_owned()) } else { Ok(None) };
        };
        let (prefix, plain) = (prefix.unwrap_or_else(|| PREFIX.to_owned()), insecure.unwrap_or(false));
        named(&address, &prefix)?;
        if plain && host_of(&address).parse::<IpAddr>().is_ok_and(is_public) {
            return Err("insecure is for a registry on a private network".to_owned());
        }
        let access = match (user, password_file, tokens, service) {
            (None, None, false, None) => AccessSetting::Open,
            (Some(user), Some(file), false, None) if !user.is_empty() && !user.contains(':') => {
                AccessSetting::Password { user, file }
            }
            (None, None, true, service) => {
                AccessSetting::Tokens { service: service.unwrap_or_else(|| SERVICE.to_owned()) }
            }
            (_, _, false, Some(_)) => return Err("service goes with token = true".to_owned()),
            (_, _, true, _) => return Err("user and password-file, or token, not both".to_owned()),
            _ => return Err("user and password-file go together; a user has no colon".to_owned()),
        };
        Ok(Some(Setting { address, prefix, plain, access }))
    }
}

/// The address without its port.
fn host_of(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

/// Whether Docker reads what images are called there as what it is meant to be.
fn named(address: &str, prefix: &str) -> Result<(), String> {
    let name = format!("{address}/{prefix}/{}", ImageId::from_uuid(uuid::Uuid::nil()));
    match name.parse::<ImageRef>() {
        Ok(found) if found.registry() == address && found.name() == name => Ok(()),
        _ => Err(format!(
            "expected a host and port such as registry.example:5000 and a prefix of lower-case words, not {address} and {prefix}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(toml: &str) -> Result<Option<Setting>, String> {
        use figment::providers::{Format, Toml};
        let args: RegistryArgs =
            figment::Figment::from(Toml::string(toml)).extract().map_err(|error| error.to_string())?;
        args.setting()
    }

    #[test]
    fn there_is_no_registry_unless_one_is_named() {
        assert_eq!(setting(""), Ok(None));
        let open = setting("address = \"registry.example:5000\"").unwrap().unwrap();
        assert_eq!((open.prefix.as_str(), open.plain, open.access), (PREFIX, false, AccessSetting::Open));
    }

    #[test]
    fn one_signs_in_by_a_password_or_by_tokens() {
        let password = setting("address = \"localhost:5000\"\nuser = \"df\"\npassword-file = \"/run/p\"").unwrap();
        let file = PathBuf::from("/run/p");
        assert_eq!(password.unwrap().access, AccessSetting::Password { user: "df".to_owned(), file });
        let tokens = setting("address = \"10.0.0.1:5000\"\ntoken = true\ninsecure = true\nprefix = \"a/b-c\"").unwrap();
        let tokens = tokens.unwrap();
        assert_eq!(tokens.access, AccessSetting::Tokens { service: SERVICE.to_owned() });
        assert!(tokens.plain);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for bad in [
            "prefix = \"a\"",
            "address = \"https://registry.example\"",
            "address = \"registry\"",
            "address = \"registry.example/x\"",
            "address = \"registry.example\"\nprefix = \"Upper\"",
            "address = \"registry.example\"\nprefix = \"a/../b\"",
            "address = \"registry.example\"\nprefix = \"\"",
            "address = \"registry.example\"\nuser = \"df\"",
            "address = \"registry.example\"\npassword-file = \"/p\"",
            "address = \"registry.example\"\nuser = \"a:b\"\npassword-file = \"/p\"",
            "address = \"registry.example\"\nuser = \"df\"\npassword-file = \"/p\"\ntoken = true",
            "address = \"registry.example\"\nservice = \"x\"",
            "address = \"93.184.216.34:5000\"\ninsecure = true",
            "address = \"registry.example\"\npassword = \"x\"",
        ] {
            assert!(setting(bad).is_err(), "{bad} was accepted");
        }
    }
}
