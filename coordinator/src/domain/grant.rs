//! A grant: what a link provisions. The container that provides a service makes an account for the one that is linked to it,
//! which gets what it needs to use it as secrets. What an account consists of is said by the provider's template.
//!
//! ```text
//! asked for with the link ──▶ granted (in the provider's node, with its password)
//!                                │ the link is gone, or its container
//!                                ▼
//!                             revoked (in the node, without) ──a converge with that node──▶ gone
//! ```

use super::Violation;
use dockerforge_protocol::ids::{ContainerId, GrantId, UserId};
use dockerforge_protocol::spec::{DnsLabel, EnvName, ResourceName, Secret, SecretForm};
use std::collections::BTreeMap;

/// How many fields an account may have, and how many secrets come of it.
pub const MAX_NAMED: usize = 16;
/// Characters of a field's value.
pub const MAX_FIELD: usize = 64;
/// What a secret may name beside the fields: the link's alias, and the password that is made up.
pub const ALIAS: &str = "alias";
/// See [`ALIAS`].
pub const PASSWORD: &str = "password";
/// Characters of a container's name that a made-up value begins with.
const MAX_STEM: usize = 20;

/// How a template's containers provision links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provision {
    /// What an account consists of beside its password.
    pub fields: BTreeMap<String, Field>,
    /// Which secrets the linked container gets: texts in which `{field}` stands for a value.
    pub secrets: BTreeMap<EnvName, String>,
    /// How it gets them.
    pub form: SecretForm,
}

/// A part of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Which values it may have: a regular expression.
    pub pattern: String,
    /// Whether no two accounts in one container have the same.
    pub unique: bool,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its id.
    pub id: GrantId,
    /// Whose it is.
    pub user: UserId,
    /// The container whose link it is.
    pub container: ContainerId,
    /// The container that provides.
    pub target: ContainerId,
    /// The link's name.
    pub alias: DnsLabel,
    /// The account.
    pub fields: BTreeMap<String, String>,
    /// The secrets that came of it.
    pub secrets: BTreeMap<EnvName, Secret>,
    /// Whether it is to go.
    pub revoked: bool,
}

impl Grant {
    /// Whether it is what a link asks for: the same account, as far as anything is said of it.
    #[must_use]
    pub fn is_asked(&self, target: ContainerId, alias: &DnsLabel, said: &BTreeMap<String, String>) -> bool {
        self.target == target
            && self.alias == *alias
            && said.iter().all(|(field, value)| self.fields.get(field) == Some(value))
    }

    /// Whether secrets are this one's: a container has a grant as long as it has its secrets.
    #[must_use]
    pub fn is_in(&self, secrets: &BTreeMap<EnvName, Secret>) -> bool {
        self.secrets.iter().all(|(name, secret)| secrets.get(name).is_some_and(|other| other.id == secret.id))
    }
}

impl Provision {
    /// What is wrong with it, with pointers below `/provision`.
    #[must_use]
    pub fn problems(&self) -> Vec<Violation> {
        let mut problems = Vec::new();
        for name in self.fields.keys() {
            let plain = name.len() <= 32
                && name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            if !plain || name == ALIAS || name == PASSWORD {
                let detail = "expected a name of a-z, 0-9 and '_', at most 32, other than alias and password";
                problems.push(Violation::new(format!("/provision/fields/{}", escape(name)), detail));
            }
        }
        let counts = [("fields", self.fields.len(), 0), ("secrets", self.secrets.len(), 1)];
        for (of, count, least) in counts {
            if !(least..=MAX_NAMED).contains(&count) {
                problems.push(Violation::new(format!("/provision/{of}"), format!("expected {least} to {MAX_NAMED}")));
            }
        }
        for (name, text) in &self.secrets {
            let known =
                |field: &str| (field == ALIAS || field == PASSWORD || self.fields.contains_key(field)).then_some("");
            if let Err(what) = fill(text, known) {
                problems.push(Violation::new(format!("/provision/secrets/{name}"), what));
            }
        }
        problems
    }

    /// The secrets of an account. A text that cannot be filled was refused with its template.
    #[must_use]
    pub fn secret_texts(
        &self,
        alias: &DnsLabel,
        password: &str,
        fields: &BTreeMap<String, String>,
    ) -> BTreeMap<EnvName, String> {
        let alias = alias.to_string();
        let value = |field: &str| match field {
            ALIAS => Some(alias.as_str()),
            PASSWORD => Some(password),
            other => fields.get(other).map(String::as_str),
        };
        let filled = self.secrets.iter().map(|(name, text)| (name.clone(), fill(text, value).unwrap_or_default()));
        filled.collect()
    }
}

/// A text with each `{field}` replaced by its value.
fn fill<'a>(text: &str, value: impl Fn(&str) -> Option<&'a str>) -> Result<String, &'static str> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let field = rest[at..].strip_prefix('{').and_then(|after| after.split_once('}'));
        let (field, after) = field.ok_or("expected a field's name between { and }")?;
        filled.push_str(&rest[..at]);
        filled.push_str(value(field).ok_or("expected {alias}, {password} or a field between { and }")?);
        rest = after;
    }
    filled.push_str(rest);
    if filled.len() > 4096 || text.len() > 1024 || text.contains('\0') || text.is_empty() {
        return Err("expected 1 to 1024 bytes without NUL characters");
    }
    Ok(filled)
}

/// A value for fields of which nothing is said: the container's name as far as it is a word, and what makes it its own.
#[must_use]
pub fn made_up(container: &ResourceName, random: [u8; 4]) -> String {
    let plain = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '_' };
    let mut word: String = container.as_str().chars().map(plain).take(MAX_STEM).collect();
    if !word.starts_with(|c: char| c.is_ascii_lowercase()) {
        word.insert(0, 'c');
    }
    format!("{word}_{:08x}", u32::from_be_bytes(random))
}

/// A part of a JSON pointer.
fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provision(secrets: &[(&str, &str)]) -> Provision {
        let field = |unique| Field { pattern: "^[a-z0-9_]+$".to_owned(), unique };
        Provision {
            fields: [("database".to_owned(), field(false)), ("user".to_owned(), field(true))].into(),
            secrets: secrets.iter().map(|(name, text)| (name.parse().unwrap(), (*text).to_owned())).collect(),
            form: SecretForm::File,
        }
    }

    #[test]
    fn the_secrets_of_an_account_are_filled_with_its_values() {
        let of = provision(&[("DB_HOST", "{alias}"), ("URL", "mysql://{user}:{password}@{alias}:3306/{database}")]);
        assert_eq!(of.problems(), []);
        let fields = [("database".to_owned(), "blog".to_owned()), ("user".to_owned(), "ana".to_owned())].into();
        let texts: Vec<String> = of.secret_texts(&"mysql".parse().unwrap(), "s3cret", &fields).into_values().collect();
        assert_eq!(texts, ["mysql", "mysql://ana:s3cret@mysql:3306/blog"]);
    }

    #[test]
    fn a_secret_that_names_what_is_not_there_is_refused() {
        for text in ["{host}", "{", "a}", "{user", "{{user}}", ""] {
            let problems = provision(&[("A", text)]).problems();
            assert_eq!(problems.len(), 1, "{text}: {problems:?}");
            assert_eq!(problems[0].pointer, "/provision/secrets/A");
        }
        assert_eq!(provision(&[]).problems()[0].pointer, "/provision/secrets");
        let mut own = provision(&[("A", "a")]);
        let field = own.fields["user"].clone();
        for name in ["password", "Alias", "a-b", ""] {
            own.fields = [(name.to_owned(), field.clone())].into();
            assert_eq!(own.problems().len(), 1, "{name}");
        }
    }

    #[test]
    fn a_made_up_value_is_a_word_that_begins_like_the_container() {
        assert_eq!(made_up(&"my-blog".parse().unwrap(), [0, 0, 1, 255]), "my_blog_000001ff");
        assert_eq!(made_up(&"3.blog".parse().unwrap(), [1, 2, 3, 4]), "c3_blog_01020304");
        assert_eq!(made_up(&"a".repeat(63).parse().unwrap(), [0; 4]).len(), 29);
    }
}
