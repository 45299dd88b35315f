//! What the host's owner allows, whatever the coordinator asks: an optional TOML file on the host, read at the start and
//! checked by the executor before each job. What must hold: a file that cannot be read stops the start (an owner's limit
//! is never lost silently), and removal is always allowed.

use dockerforge_protocol::command::{Command, ReceiveContainer, RecreateContainer};
use dockerforge_protocol::report::{AgentFailure, FailureKind};
use dockerforge_protocol::spec::{HostAccess, Resources};
use dockerforge_protocol::stream::StreamRequest;
use figment::providers::{Format, Toml};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The file's name in the state folder, where no other is named.
pub const FILE: &str = "policy.toml";

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("the policy {} cannot be read", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a policy.
    #[error("the policy {} is not valid: {reason}", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// What the host's owner allows; what a file does not name is allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Policy {
    /// `false` forbids builds.
    pub builds: Option<bool>,
    /// `false` forbids running programs in containers beside their own.
    pub exec: Option<bool>,
    /// The only images that may be pulled, normalised (`docker.io/library/debian:12`); `*` stands for any characters.
    pub allowed_images: Option<Vec<String>>,
    /// Whether images may come from other hosts and our registry, and go there; where nothing is said, unless `allowed_images`
    /// says which may come.
    pub copies: Option<bool>,
    /// `false` forbids that containers move here, and that what is in volumes is given away.
    pub moves: Option<bool>,
    /// The most containers of ours on the host, running or not; counted by the executor.
    pub max_containers: Option<usize>,
    /// The most memory that one container may be given, bytes; a container without a limit is refused.
    pub max_memory: Option<u64>,
    /// The ports of the host that may be published, first and last; ports that are chosen for a container (20000 to 29999) are allowed.
    pub ports: Option<(u16, u16)>,
    /// `false` forbids terminals in containers.
    pub terminals: Option<bool>,
    /// `false` forbids that containers' logs are shown.
    pub logs: Option<bool>,
    /// Of what reaches into the host: `false` forbids all of it, a list all else.
    pub host_access: Option<HostAccessPolicy>,
    /// The only folders and files of the host that containers may mount, with all below them.
    pub host_mounts: Option<Vec<PathBuf>>,
}

/// Which containers that reach into the host are allowed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected true, false, or a list of what is allowed")]
pub enum HostAccessPolicy {
    /// All, or none.
    All(bool),
    /// Only with these.
    Only(Vec<HostAccessKind>),
}

/// What containers may be given of the host, each by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostAccessKind {
    /// Everything.
    Privileged,
    /// Devices.
    Devices,
    /// Capabilities beside Docker's.
    Capabilities,
    /// Files and folders; see `host-mounts`.
    Mounts,
    /// The host's network, processes, shared memory or name.
    Namespaces,
    /// Kernel settings.
    Sysctls,
    /// Other runtimes.
    Runtimes,
    /// Without seccomp, or without AppArmor.
    SecurityOptions,
}

impl HostAccessKind {
    /// Those that a container asks for, and how they are called.
    fn of(asked: &HostAccess) -> impl Iterator<Item = (Self, &'static str)> {
        [
            (asked.privileged, Self::Privileged, "privileged containers"),
            (!asked.devices.is_empty(), Self::Devices, "devices of the host"),
            (!asked.cap_add.is_empty(), Self::Capabilities, "added capabilities"),
            (!asked.binds.is_empty(), Self::Mounts, "mounts of the host"),
            (!asked.namespaces.is_empty(), Self::Namespaces, "namespaces of the host"),
            (!asked.sysctls.is_empty(), Self::Sysctls, "kernel settings"),
            (asked.runtime.is_some(), Self::Runtimes, "other runtimes"),
            (!asked.security_options.is_empty(), Self::SecurityOptions, "security options"),
        ]
        .into_iter()
        .filter_map(|(is, kind, name)| is.then_some((kind, name)))
    }
}

impl Policy {
    /// The policy in that file; everything is allowed where there is none and none was named.
    pub fn load(named: Option<&Path>, state_dir: &Path) -> Result<Self, PolicyError> {
        let path = named.map_or_else(|| state_dir.join(FILE), Path::to_owned);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(PolicyError::Read { path, source }),
        };
        figment::Figment::from(Toml::string(&text))
            .extract()
            .map_err(|error| PolicyError::Invalid { path, reason: error.to_string() })
    }

    fn allows_memory(&self, asked: &Resources) -> Result<(), AgentFailure> {
        let forbid = |what: String| Err(AgentFailure::new(FailureKind::Policy, format!("this host's policy {what}")));
        match (self.max_memory, asked.memory) {
            (Some(max), None) => forbid(format!("demands a memory limit of at most {max} bytes")),
            (Some(max), Some(asked)) if asked.get() > max => {
                forbid(format!("allows at most {max} bytes of memory, {} are asked", asked.get()))
            }
            _ => Ok(()),
        }
    }

    fn allows_host_access(&self, asked: &HostAccess) -> Result<(), AgentFailure> {
        let forbidden = |kind| match &self.host_access {
            None | Some(HostAccessPolicy::All(true)) => false,
            Some(HostAccessPolicy::All(false)) => true,
            Some(HostAccessPolicy::Only(allowed)) => !allowed.contains(&kind),
        };
        match HostAccessKind::of(asked).find(|(kind, _)| forbidden(*kind)) {
            Some((_, name)) => {
                Err(AgentFailure::new(FailureKind::Policy, format!("this host's policy forbids {name}")))
            }
            None => Ok(()),
        }
    }

    /// Whether containers may mount what is at this path, which has no links in it; why not, in words.
    pub fn allows_source(&self, real: &Path) -> Result<(), String> {
        let Some(allowed) = &self.host_mounts else { return Ok(()) };
        // What the owner names may be a link itself.
        let within = |folder: &PathBuf| real.starts_with(folder.canonicalize().as_ref().unwrap_or(folder));
        if allowed.iter().any(within) {
            Ok(())
        } else {
            Err(format!("this host's policy does not allow mounting {}", real.display()))
        }
    }

    /// Whether a command is allowed.
    pub fn allows(&self, command: &Command) -> Result<(), AgentFailure> {
        let forbid = |what: String| Err(AgentFailure::new(FailureKind::Policy, format!("this host's policy {what}")));
        match command {
            Command::BuildImage(_) if self.builds == Some(false) => forbid("forbids builds".to_owned()),
            Command::ExecContainer(_) | Command::ConvergeContainer(_) if self.exec == Some(false) => {
                forbid("forbids running programs".to_owned())
            }
            Command::PullImage(pull) => {
                let reference = pull.reference.to_string();
                match &self.allowed_images {
                    Some(allowed) if !allowed.iter().any(|pattern| matches(pattern, &reference)) => {
                        forbid(format!("does not allow the image {reference}"))
                    }
                    _ => Ok(()),
                }
            }
            Command::CopyImage(_) if !self.copies.unwrap_or(self.allowed_images.is_none()) => {
                forbid("allows no images of other hosts".to_owned())
            }
            Command::PushImage(_) if self.copies == Some(false) => forbid("gives no images away".to_owned()),
            Command::ReceiveContainer(_) if self.moves == Some(false) => {
                forbid("takes in no containers of other hosts".to_owned())
            }
            Command::CreateContainer(create)
            | Command::RecreateContainer(RecreateContainer { create, .. })
            | Command::ReceiveContainer(ReceiveContainer { create }) => {
                // It would be made and never be what it is to be.
                if create.converge.is_some() && self.exec == Some(false) {
                    return forbid(
                        "forbids running programs, and a container of a configuration is converged".to_owned(),
                    );
                }
                self.allows_memory(&create.spec.resources)?;
                if let Some((first, last)) = self.ports {
                    let asked = create.spec.ports.iter().filter_map(|p| p.host);
                    if let Some(port) = asked.into_iter().find(|p| !(first..=last).contains(&p.get())) {
                        return forbid(format!("allows the ports {first} to {last}, {port} is asked"));
                    }
                }
                self.allows_host_access(&create.spec.host_access)
            }
            Command::UpdateContainer(update) => self.allows_memory(&update.resources),
            Command::BuildImage(_)
            | Command::StartContainer(_)
            | Command::StopContainer(_)
            | Command::RestartContainer(_)
            | Command::ExecContainer(_)
            | Command::ConvergeContainer(_)
            | Command::RemoveContainer(_)
            | Command::ResumeContainer(_)
            | Command::DiscardContainer(_)
            | Command::CopyImage(_)
            | Command::PushImage(_)
            | Command::RemoveImage(_)
            | Command::RemoveUser(_) => Ok(()),
        }
    }
}

impl Policy {
    /// Whether a stream is allowed; what is not, in words.
    pub fn allows_stream(&self, request: &StreamRequest) -> Result<(), String> {
        let (allowed, what) = match request {
            StreamRequest::Logs(_) => (self.logs, "the logs of containers"),
            StreamRequest::Terminal(_) => (self.terminals, "terminals"),
            StreamRequest::Blob(_) => (self.copies, "giving images away"),
            StreamRequest::Volume(_) => (self.moves, "giving away what is in volumes"),
            StreamRequest::Stats(_) => return Ok(()),
        };
        if allowed == Some(false) { Err(format!("this host's policy forbids {what}")) } else { Ok(()) }
    }
}

/// Whether a text matches a pattern in which `*` stands for any characters.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text
            .strip_prefix(head)
            .is_some_and(|tail| (0..=tail.len()).any(|i| tail.is_char_boundary(i) && matches(rest, &tail[i..]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockerforge_protocol::command::{CopyImage, PullImage};
    use dockerforge_protocol::ids::{ImageId, UserId};

    fn pull(reference: &str) -> Command {
        Command::PullImage(PullImage {
            image: ImageId::new(),
            user: UserId::new(),
            reference: reference.parse().unwrap(),
        })
    }

    #[test]
    fn only_allowed_images_are_pulled() {
        let policy = Policy {
            allowed_images: Some(vec!["docker.io/library/*".into(), "r.example/*:1".into()]),
            ..Policy::default()
        };
        assert!(policy.allows(&pull("debian:12")).is_ok());
        assert!(policy.allows(&pull("r.example/a/b:1")).is_ok());
        for bad in ["r.example/a:2", "docker.io/other/x", "evil.example/docker.io/library/x"] {
            assert_eq!(policy.allows(&pull(bad)).unwrap_err().kind, FailureKind::Policy, "{bad}");
        }
    }

    #[test]
    fn images_of_other_hosts_come_unless_the_owner_says_otherwise_or_which_images_may_come() {
        let copy = Command::CopyImage(CopyImage { image: ImageId::new(), user: UserId::new() });
        for (copies, listed, allowed) in
            [(None, false, true), (None, true, false), (Some(true), true, true), (Some(false), false, false)]
        {
            let policy = Policy { copies, allowed_images: listed.then(Vec::new), ..Policy::default() };
            assert_eq!(policy.allows(&copy).is_ok(), allowed, "{policy:?}");
        }
    }

    #[test]
    fn of_the_host_only_what_its_owner_allows_is_given() {
        let policy = |text: &str| -> Policy { figment::Figment::from(Toml::string(text)).extract().unwrap() };
        let asked = |text: &str| -> HostAccess { serde_json::from_str(text).unwrap() };
        let (privileged, mount) =
            (asked(r#"{"privileged":true}"#), asked(r#"{"binds":[{"source":"/a","target":"/b"}]}"#));
        for (text, may_be_privileged, may_mount) in [
            ("", true, true),
            ("host-access = true", true, true),
            ("host-access = false", false, false),
            ("host-access = []", false, false),
            (r#"host-access = ["mounts", "devices"]"#, false, true),
        ] {
            let policy = policy(text);
            assert_eq!(policy.allows_host_access(&privileged).is_ok(), may_be_privileged, "{text}");
            assert_eq!(policy.allows_host_access(&mount).is_ok(), may_mount, "{text}");
            assert!(policy.allows_host_access(&HostAccess::default()).is_ok(), "{text}");
        }
        let narrow = policy(r#"host-mounts = ["/srv/shared"]"#);
        assert!(narrow.allows_source(Path::new("/srv/shared/a")).is_ok());
        assert!(narrow.allows_source(Path::new("/srv/shared-not")).is_err());
        assert!(narrow.allows_source(Path::new("/srv")).is_err());
        assert!(figment::Figment::from(Toml::string(r#"host-access = ["mount"]"#)).extract::<Policy>().is_err());
    }

    #[test]
    fn a_policy_that_cannot_be_read_is_an_error_and_none_allows_everything() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Policy::load(None, folder.path()).unwrap(), Policy::default());
        assert!(matches!(Policy::load(Some(&folder.path().join("x")), folder.path()), Err(PolicyError::Read { .. })));
        std::fs::write(folder.path().join(FILE), "build = false").unwrap();
        assert!(matches!(Policy::load(None, folder.path()), Err(PolicyError::Invalid { .. })));
        std::fs::write(folder.path().join(FILE), "builds = false\nports = [8000, 8999]\n").unwrap();
        let policy = Policy::load(None, folder.path()).unwrap();
        assert_eq!((policy.builds, policy.ports), (Some(false), Some((8000, 8999))));
    }
}
