//! The secrets of a container, as its bodies say them. Values come in and never go out. Used by `specs`.

use super::document::schemas as s;
use super::extract::{Check, Object, objects_only};
use crate::service::supplies::SecretValue;
use dockerforge_protocol::ids::SecretId;
use dockerforge_protocol::spec::{EnvName, MAX_SECRET, Secret, SecretForm};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A secret. Its value is never shown again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct SecretBody {
    /// The value: at most 65536 bytes. Where absent, the one that the container has under this name stays.
    #[schema(value_type = Option<s::SecretText>, write_only, example = "correct horse battery staple")]
    value: Option<String>,
    /// `file`: a file of its name in `/run/secrets`; `env`: an environment variable. As before where absent, `file` where it
    /// is new.
    #[serde(rename = "as")]
    #[schema(value_type = Option<s::SecretForm>, example = "file")]
    form: Option<String>,
}

objects_only!(read SecretBody);

/// A secret as it is shown: without its value.
#[derive(Serialize, ToSchema)]
pub struct SecretShown {
    /// `file`, or `env`.
    #[serde(rename = "as")]
    #[schema(value_type = s::SecretForm, example = "file")]
    form: String,
}

/// Secrets as they are shown.
pub(super) fn shown(secrets: &BTreeMap<EnvName, Secret>) -> BTreeMap<String, SecretShown> {
    secrets.iter().map(|(name, secret)| (name.to_string(), SecretShown { form: secret.form.to_string() })).collect()
}

/// Secrets as they are said, beside those there were before; the new values are added to `values`.
pub(super) fn parse(
    check: &mut Check,
    before: &BTreeMap<EnvName, Secret>,
    said: &Object<SecretBody>,
    values: &mut Vec<SecretValue>,
) -> BTreeMap<EnvName, Secret> {
    let mut secrets = BTreeMap::new();
    for (name, body) in &said.0 {
        let pointer = format!("/secrets/{}", name.replace('~', "~0").replace('/', "~1"));
        let name = check.parse::<EnvName>(&pointer, name);
        let form = body.form.as_deref().map(|form| check.parse::<SecretForm>(&format!("{pointer}/as"), form));
        let Some(name) = name else { continue };
        let known = before.get(&name);
        let form = form.flatten().or(known.map(|known| known.form)).unwrap_or_default();
        let pointer = format!("{pointer}/value");
        let id = match (&body.value, known) {
            (Some(value), _) => {
                let text = value.as_str();
                if text.is_empty() || text.len() > MAX_SECRET {
                    check.refuse(&pointer, format!("expected 1 to {MAX_SECRET} bytes"));
                } else if text.contains('\0') {
                    check.refuse(&pointer, "must not contain a NUL character");
                }
                let id = SecretId::new();
                values.push(SecretValue { id, value: text.into() });
                id
            }
            (None, Some(known)) => known.id,
            (None, None) => {
                check.refuse(&pointer, "expected a value: the container has no secret of this name");
                continue;
            }
        };
        secrets.insert(name, Secret { id, form });
    }
    secrets
}
