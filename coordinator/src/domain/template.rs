//! A template: what a client can make configurations of. It says what an image is based on, which provisioner converges
//! it along which run list, which parameters a client may choose, and what it needs and provides beside.
//!
//! A template has versions. What one says never changes: a change makes the next, and a configuration stays with the one
//! that it was made with until it is upgraded.

use super::grant::Provision;
use super::{Refusal, Timestamp};
use dockerforge_protocol::command::ContextRef;
use dockerforge_protocol::ids::{ConfigurationId, TemplateId, UserId};
use dockerforge_protocol::spec::{AbsolutePath, Document, ImageRef, PortProtocol, ResourceName, StopSignal};
use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

/// How many templates a user may have.
pub const LIMIT: u32 = 200;
/// How many entries a run list may have.
pub const MAX_RUN_LIST: usize = 100;

/// A template in one of its versions.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// Its id.
    pub id: TemplateId,
    /// Whose it is.
    pub user: UserId,
    /// Its name among its user's templates.
    pub name: ResourceName,
    /// Whether every user sees it.
    pub public: bool,
    /// Which version this is, from 1.
    pub version: u32,
    /// What it says.
    pub spec: TemplateSpec,
    /// The cookbooks, roles or scripts.
    pub archive: Option<ContextRef>,
    /// When the template was made.
    pub created_at: Timestamp,
    /// When this version was.
    pub changed_at: Timestamp,
}

/// What a template says.
#[derive(Debug, Clone, PartialEq)]
pub struct TemplateSpec {
    /// What it is for, in words.
    pub description: String,
    /// What images are based on.
    pub base: ImageRef,
    /// What converges them.
    pub provisioner: Provisioner,
    /// Along which run list.
    pub run_list: Vec<RunListItem>,
    /// Attributes that hold where nothing else is said.
    pub attributes: Document,
    /// What a client may choose: a JSON Schema (draft 2020-12) of an object. What is `writeOnly` in it is a secret.
    pub parameters: Document,
    /// Services that a container must be linked to: `mysql`.
    pub requires: Vec<ResourceName>,
    /// Services that its containers are.
    pub provides: Vec<ResourceName>,
    /// How they provision those who are linked to them, if they do.
    pub provision: Option<Provision>,
    /// How its containers run.
    pub run: Running,
}

/// How a container of a template runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Running {
    /// The program and its arguments; the base image's where empty.
    pub command: Vec<String>,
    /// The ports that it serves.
    pub expose: Vec<(NonZeroU16, PortProtocol)>,
    /// The folders that outlive it.
    pub volumes: Vec<AbsolutePath>,
    /// The signal that asks it to end; the base image's where absent.
    pub stop_signal: Option<StopSignal>,
}

/// What converges an image or a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provisioner {
    /// Chef, without a server: recipes and roles.
    ChefSolo,
    /// Ansible, on a local connection: roles.
    Ansible,
    /// Scripts of a POSIX shell, in their order.
    Shell,
}

impl Provisioner {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::ChefSolo, Self::Ansible, Self::Shell];

    /// The name in the API and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChefSolo => "chef-solo",
            Self::Ansible => "ansible",
            Self::Shell => "shell",
        }
    }

    /// The provisioner a word stands for.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.as_str() == word)
    }
}

/// One entry of a run list, as Chef writes it: `recipe[name]`, `recipe[name::part]` or `role[name]`; a bare name is a
/// recipe. To Ansible both are a role, and the part its tasks file; to a shell both are a script.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RunListItem {
    role: bool,
    name: String,
    part: Option<String>,
}

impl RunListItem {
    /// The name of the cookbook, role or script.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is one of Chef's roles.
    #[must_use]
    pub const fn is_role(&self) -> bool {
        self.role
    }

    /// The recipe in the cookbook, or the tasks file in the role.
    #[must_use]
    pub fn part(&self) -> Option<&str> {
        self.part.as_deref()
    }
}

impl FromStr for RunListItem {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected recipe[name], recipe[name::part], role[name] or a name; of a-z, A-Z, 0-9, '-', '_', at most 128 each";
        let inside = |kind: &str| text.strip_prefix(kind).and_then(|rest| rest.strip_suffix(']'));
        let (role, whole) = match (inside("recipe["), inside("role[")) {
            (Some(recipe), _) => (false, recipe),
            (None, Some(role)) => (true, role),
            (None, None) => (false, text),
        };
        let (name, part) = match whole.split_once("::") {
            Some((name, part)) if !role => (name, Some(part)),
            _ => (whole, None),
        };
        // It becomes the name of a file: no dots, no slashes.
        let plain = |word: &str| {
            (1..=128).contains(&word.len())
                && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
                && !word.starts_with('-')
        };
        if plain(name) && part.is_none_or(plain) {
            Ok(Self { role, name: name.to_owned(), part: part.map(str::to_owned) })
        } else {
            Err(EXPECTED)
        }
    }
}

impl fmt::Display for RunListItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.role { "role" } else { "recipe" };
        match &self.part {
            Some(part) => write!(f, "{kind}[{}::{part}]", self.name),
            None => write!(f, "{kind}[{}]", self.name),
        }
    }
}

/// Whether a template can be deleted while these configurations of its owner, and so many of others, are made of it.
pub fn deletable(id: TemplateId, configurations: Vec<ConfigurationId>, others: u64) -> Result<(), Refusal> {
    if configurations.is_empty() && others == 0 {
        return Ok(());
    }
    Err(Refusal::TemplateInUse { template: id, configurations, others })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_a_run_list_is_read_as_chef_writes_it() {
        for (text, printed, name, part) in [
            ("mysql-server", "recipe[mysql-server]", "mysql-server", None),
            ("recipe[mysql]", "recipe[mysql]", "mysql", None),
            ("recipe[mysql::server]", "recipe[mysql::server]", "mysql", Some("server")),
            ("role[web_node]", "role[web_node]", "web_node", None),
        ] {
            let item: RunListItem = text.parse().unwrap();
            assert_eq!((item.to_string().as_str(), item.name(), item.part()), (printed, name, part));
            assert_eq!(item.to_string().parse::<RunListItem>().unwrap(), item);
        }
    }

    #[test]
    fn an_entry_that_could_name_another_file_is_refused() {
        for bad in [
            "",
            "recipe[]",
            "recipe[a",
            "a b",
            "../x",
            "a/b",
            "role[a::b]",
            "recipe[a::]",
            "x;reboot",
            "-rf",
            "a.b",
            "$(x)",
        ] {
            assert!(bad.parse::<RunListItem>().is_err(), "{bad}");
        }
    }
}
