//! What links provision, as bodies say it: how a template's containers do so, and what a link asks for. Used by `templates`,
//! `specs` and `containers`.

use super::document::schemas as s;
use super::extract::{Check, Object, objects_only};
use crate::domain::grant::{Field, MAX_NAMED, Provision};
use crate::service::grants::Wish;
use dockerforge_protocol::spec::{EnvName, SecretForm};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The longest pattern of a field, bytes.
const MAX_PATTERN: usize = 1024;

/// How a template's containers provision those that are linked to them: an account each, which their node holds under
/// `dockerforge.grants` at a converge, and secrets for the one that is linked.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct ProvisionBody {
    /// What an account consists of beside its password, which is made up: names of a-z, 0-9 and '_', at most 16. A link may
    /// say the values; what it does not say is made up.
    #[schema(value_type = s::AccountFields)]
    fields: Object<FieldBody>,
    /// The secrets that the linked container gets, by their names: texts in which `{alias}`, `{password}` and `{field}` are
    /// replaced.
    #[schema(value_type = s::AccountSecrets)]
    secrets: Object<String>,
    /// How it gets them: `file`, in `/run/secrets`, or `env`. `file` where absent.
    #[serde(rename = "as", default = "file")]
    #[schema(value_type = s::SecretForm, example = "file")]
    form: String,
}

/// A part of an account.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct FieldBody {
    /// Which values it may have: a regular expression.
    pattern: String,
    /// Whether no two accounts in one container may have the same.
    #[serde(default)]
    unique: bool,
}

objects_only!(ProvisionBody, FieldBody);

fn file() -> String {
    SecretForm::File.to_string()
}

/// What a link is to have provisioned: `true`, or what is said of the account.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected true, false, or an object of texts")]
pub(super) enum LinkProvision {
    /// `true`: an account of which everything is made up; `false`: none.
    Word(bool),
    /// An account, by its fields.
    Account(Object<String>),
}

impl LinkProvision {
    /// What a link asks for, if for anything.
    pub(super) fn wish(&self, link: usize) -> Option<Wish> {
        match self {
            Self::Word(false) => None,
            Self::Word(true) => Some(Wish { link, fields: BTreeMap::new() }),
            Self::Account(said) => Some(Wish { link, fields: said.0.clone() }),
        }
    }
}

/// A body as it is to be kept. What goes together is judged with the template.
pub(super) fn parse(check: &mut Check, body: &ProvisionBody) -> Option<Provision> {
    for (of, count) in [("fields", body.fields.0.len()), ("secrets", body.secrets.0.len())] {
        if count > MAX_NAMED {
            check.refuse(&format!("/provision/{of}"), format!("expected at most {MAX_NAMED}"));
            return None;
        }
    }
    for (name, field) in &body.fields.0 {
        if field.pattern.len() > MAX_PATTERN || field.pattern.contains('\0') {
            let pointer = format!("/provision/fields/{}/pattern", name.replace('~', "~0").replace('/', "~1"));
            check.refuse(&pointer, format!("expected at most {MAX_PATTERN} bytes without NUL characters"));
        }
    }
    let field = |(name, field): (&String, &FieldBody)| {
        (name.clone(), Field { pattern: field.pattern.clone(), unique: field.unique })
    };
    let fields = body.fields.0.iter().map(field).collect();
    let mut secrets = BTreeMap::new();
    for (name, text) in &body.secrets.0 {
        let pointer = format!("/provision/secrets/{}", name.replace('~', "~0").replace('/', "~1"));
        if let Some(name) = check.parse::<EnvName>(&pointer, name) {
            secrets.insert(name, text.clone());
        }
    }
    let form = check.parse("/provision/as", &body.form)?;
    Some(Provision { fields, secrets, form })
}

/// As it is shown.
pub(super) fn shown(provision: &Provision) -> ProvisionBody {
    let field = |(name, field): (&String, &Field)| {
        (name.clone(), FieldBody { pattern: field.pattern.clone(), unique: field.unique })
    };
    ProvisionBody {
        fields: Object(provision.fields.iter().map(field).collect()),
        secrets: Object(provision.secrets.iter().map(|(name, text)| (name.to_string(), text.clone())).collect()),
        form: provision.form.to_string(),
    }
}
