//! What a container is to be: the typed allow-list. What would reach into the host stands in one field alone,
//! `host_access`, so that one look tells who needs what for it.

use super::{
    Capability, DnsLabel, HealthTest, Healthcheck, HostAccess, HostNamespace, Invalid, Labels, Link, Resources, RunAs,
    Seconds, Secret, StopSignal, TmpfsMount, VolumeName, secret::secret_problems, text_value,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    num::NonZeroU16,
    str::FromStr,
};

/// The word in a hello by which an agent says that it can take in containers of other hosts, and give its own away.
pub const CONTAINER_MOVES: &str = "container-moves";

/// The name of an environment variable: a letter or `_`, then letters, digits and `_`; at most 256 bytes
/// (IEEE Std 1003.1, 8.1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnvName(String);

impl FromStr for EnvName {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        if first && text.len() <= 256 && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new("expected a variable name: a letter or '_', then letters, digits or '_', at most 256"))
        }
    }
}

impl fmt::Display for EnvName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
text_value!(EnvName);

/// An absolute path inside a container, without `.` or `..` and not the root itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AbsolutePath(String);

impl FromStr for AbsolutePath {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        let inside = text.strip_prefix('/').unwrap_or_default();
        // ':' separates the parts of Docker's volume notation; control characters have no business in a path.
        if text.len() <= 4096
            && !text.contains(':')
            && !text.chars().any(char::is_control)
            && inside.split('/').all(plain)
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new("expected an absolute path below /, without '.', '..', ':' or empty parts"))
        }
    }
}

impl fmt::Display for AbsolutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
text_value!(AbsolutePath);

/// A port of the host: 1 to 65535.
pub type HostPort = NonZeroU16;

/// A transport protocol of a published port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortProtocol {
    /// TCP, the default.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for PortProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A port of the container that the host publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortMapping {
    /// The port inside the container.
    pub container: NonZeroU16,
    /// The port on the host; chosen by the agent where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostPort>,
    /// TCP where absent.
    #[serde(default)]
    pub protocol: PortProtocol,
}

/// A named volume of the user on that host, mounted into the container. No driver options: with
/// `type=none,o=bind,device=/` a named volume is the host's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeMount {
    /// The volume's name among the user's volumes on the host.
    pub volume: VolumeName,
    /// Where it appears in the container.
    pub target: AbsolutePath,
    /// Whether the container may only read it.
    #[serde(default)]
    pub read_only: bool,
}

/// When Docker starts the container again by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Never.
    No,
    /// Whenever it ends, and when Docker starts, unless it was stopped on purpose.
    #[default]
    UnlessStopped,
    /// Whenever it ends, and when Docker starts.
    Always,
    /// When it ends with an exit code other than 0.
    OnFailure,
}

impl RestartPolicy {
    /// The name in Docker's API and ours.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::UnlessStopped => "unless-stopped",
            Self::Always => "always",
            Self::OnFailure => "on-failure",
        }
    }
}

impl FromStr for RestartPolicy {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        [Self::No, Self::UnlessStopped, Self::Always, Self::OnFailure]
            .into_iter()
            .find(|policy| policy.as_str() == text)
            .ok_or_else(|| Invalid::new("expected no, unless-stopped, always or on-failure"))
    }
}

/// What a container is to be. Each field is valid by its type; [`ContainerSpec::problems`] holds the rules that span
/// fields, which the API asks for all at once and the agent asks for again before it acts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerSpec {
    /// The program and its arguments; the image's own where empty.
    #[serde(default)]
    pub command: Vec<String>,
    /// Environment variables beside the image's own.
    #[serde(default)]
    pub env: BTreeMap<EnvName, String>,
    /// Published ports.
    #[serde(default)]
    pub ports: Vec<PortMapping>,
    /// Mounted volumes.
    #[serde(default)]
    pub volumes: Vec<VolumeMount>,
    /// Limits.
    #[serde(default)]
    pub resources: Resources,
    /// When Docker restarts it.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// The user's labels.
    #[serde(default)]
    pub labels: Labels,
    /// The program before `command`; the image's own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Who it runs as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<RunAs>,
    /// The folder it begins in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<AbsolutePath>,
    /// The name it has for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<DnsLabel>,
    /// File systems in memory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tmpfs: Vec<TmpfsMount>,
    /// Whether it can write to its volumes and file systems in memory alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// Whether a small init of Docker's is its first process, which buries what its program leaves behind.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub init: bool,
    /// How one knows that it is well; the image's own check where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// How it is asked to end; SIGTERM, or what the image says, where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<StopSignal>,
    /// How long it may take to end; 10 s where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_grace: Option<Seconds>,
    /// Which other containers it finds by names of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    /// Its secrets, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<EnvName, Secret>,
    /// Which of Docker's default capabilities it does not have.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub cap_drop: BTreeSet<Capability>,
    /// What it is given of its host.
    #[serde(default, skip_serializing_if = "HostAccess::is_empty")]
    pub host_access: HostAccess,
}

impl ContainerSpec {
    /// What an agent must have named in its hello to be sent this, if anything.
    #[must_use]
    pub fn feature(&self) -> Option<&'static str> {
        (!self.cap_drop.is_empty() || !self.host_access.is_empty()).then_some(super::HOST_ACCESS_FEATURE)
    }

    /// What goes together with nothing or not with all of what the host gives.
    fn host_problems(&self, problems: &mut Vec<(String, String)>) {
        let host = &self.host_access;
        host.problems(problems);
        let mut refuse = |pointer: &str, detail: &str| problems.push((pointer.to_owned(), detail.to_owned()));
        for (i, bind) in host.binds.iter().enumerate() {
            let mounted = self.volumes.iter().map(|m| &m.target).chain(self.tmpfs.iter().map(|m| &m.path));
            if mounted.chain(host.binds[..i].iter().map(|b| &b.target)).any(|target| *target == bind.target) {
                refuse(&format!("/host_access/binds/{i}/target"), "something else is mounted there");
            }
        }
        if host.joins(HostNamespace::Network) {
            if !self.ports.is_empty() {
                refuse("/ports", "in the host's network all its ports are the host's: none is published");
            }
            if !self.links.is_empty() {
                refuse("/links", "in the host's network it is not in yours, and finds no container by name");
            }
        }
        if host.joins(HostNamespace::Uts) && self.hostname.is_some() {
            refuse("/hostname", "with the host's uts namespace it has the host's name");
        }
        if host.privileged && !self.cap_drop.is_empty() {
            refuse("/cap_drop", "a privileged container has all capabilities: Docker would not drop any");
        }
        if self.cap_drop.intersection(&host.cap_add).next().is_some() {
            refuse("/host_access/cap_add", "one capability is added and dropped");
        }
    }

    /// The rules that span fields, and bounds on their sizes: every problem with the JSON pointer (RFC 6901) of the
    /// field it is about.
    #[must_use]
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        argument_problems("/command", &self.command, &mut problems);
        if let Some(entrypoint) = &self.entrypoint {
            argument_problems("/entrypoint", entrypoint, &mut problems);
        }
        env_problems(&self.env, &mut problems);
        if self.ports.len() > 128 {
            problems.push(("/ports".to_owned(), "expected at most 128 ports".to_owned()));
        }
        for (i, port) in self.ports.iter().enumerate() {
            let earlier = &self.ports[..i];
            if earlier.iter().any(|p| p.protocol == port.protocol && p.host.is_some() && p.host == port.host) {
                problems.push((format!("/ports/{i}/host"), "this host port is published twice".to_owned()));
            }
            if earlier
                .iter()
                .any(|p| p.protocol == port.protocol && p.container == port.container && p.host == port.host)
            {
                problems.push((format!("/ports/{i}"), "this port is published twice".to_owned()));
            }
        }
        if self.volumes.len() > 64 {
            problems.push(("/volumes".to_owned(), "expected at most 64 volumes".to_owned()));
        }
        for (i, mount) in self.volumes.iter().enumerate() {
            if self.volumes[..i].iter().any(|m| m.target == mount.target) {
                problems.push((format!("/volumes/{i}/target"), "another volume is mounted there".to_owned()));
            }
        }
        if self.tmpfs.len() > 16 {
            problems.push(("/tmpfs".to_owned(), "expected at most 16 file systems in memory".to_owned()));
        }
        for (i, mount) in self.tmpfs.iter().enumerate() {
            let volume = self.volumes.iter().any(|v| v.target == mount.path);
            if volume || self.tmpfs[..i].iter().any(|m| m.path == mount.path) {
                problems.push((format!("/tmpfs/{i}/path"), "something else is mounted there".to_owned()));
            }
        }
        let volumes = self.volumes.iter().enumerate().map(|(i, m)| (format!("/volumes/{i}/target"), &m.target));
        let tmpfs = self.tmpfs.iter().enumerate().map(|(i, m)| (format!("/tmpfs/{i}/path"), &m.path));
        let binds = self.host_access.binds.iter().enumerate();
        let binds = binds.map(|(i, m)| (format!("/host_access/binds/{i}/target"), &m.target));
        secret_problems(&self.secrets, &self.env, volumes.chain(tmpfs).chain(binds), &mut problems);
        self.host_problems(&mut problems);
        if let Some(Healthcheck::Check(check)) = &self.healthcheck {
            match &check.test {
                HealthTest::Shell(line) => {
                    argument_problems("/healthcheck/command", std::slice::from_ref(line), &mut problems);
                }
                HealthTest::Program(program) => argument_problems("/healthcheck/command", program, &mut problems),
            }
            if check.test == HealthTest::Program(Vec::new()) || check.test == HealthTest::Shell(String::new()) {
                problems.push(("/healthcheck/command".to_owned(), "expected a program".to_owned()));
            }
            if check.retries.is_some_and(|retries| !(1..=100).contains(&retries)) {
                problems.push(("/healthcheck/retries".to_owned(), "expected 1 to 100".to_owned()));
            }
        }
        if self.links.len() > 64 {
            problems.push(("/links".to_owned(), "expected at most 64 links".to_owned()));
        }
        for (i, link) in self.links.iter().enumerate() {
            if self.links[..i].iter().any(|l| l.alias == link.alias) {
                problems.push((format!("/links/{i}/alias"), "another link has this alias".to_owned()));
            }
        }
        problems
    }
}

/// What is wrong with a program and its arguments.
pub fn argument_problems(pointer: &str, arguments: &[String], problems: &mut Vec<(String, String)>) {
    if arguments.len() > 1024 || arguments.iter().map(String::len).sum::<usize>() > 128 * 1024 {
        problems.push((pointer.to_owned(), "expected at most 1024 arguments and 128 KiB".to_owned()));
    }
    for (i, argument) in arguments.iter().enumerate() {
        if argument.contains('\0') {
            problems.push((format!("{pointer}/{i}"), "must not contain a NUL character".to_owned()));
        }
    }
}

/// What is wrong with environment variables.
pub fn env_problems(env: &BTreeMap<EnvName, String>, problems: &mut Vec<(String, String)>) {
    if env.len() > 1024 || env.values().map(String::len).sum::<usize>() > 256 * 1024 {
        problems.push(("/env".to_owned(), "expected at most 1024 variables and 256 KiB".to_owned()));
    }
    for (name, value) in env {
        if value.contains('\0') {
            problems.push((format!("/env/{name}"), "must not contain a NUL character".to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_their_place_are_refused() {
        for good in ["/data", "/var/lib/mysql", "/a..b/c"] {
            assert!(good.parse::<AbsolutePath>().is_ok(), "{good}");
        }
        for bad in ["", "/", "data", "/a/../b", "/a/./b", "/a//b", "/a/", "/a:ro", "/a\0"] {
            assert!(bad.parse::<AbsolutePath>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn unknown_and_misspelt_keys_do_not_pass() {
        for bad in [
            r#"{"privileged":true}"#,
            r#"{"Env":{}}"#,
            r#"{"ports":[{"container":0}]}"#,
            r#"{"ports":[{"container":70000}]}"#,
            r#"{"env":{"A=B":"x"}}"#,
            r#"{"resources":{"memory":1}}"#,
            r#"{"restart":"sometimes"}"#,
        ] {
            assert!(serde_json::from_str::<ContainerSpec>(bad).is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn two_links_of_one_alias_and_two_mounts_at_one_path_are_problems_with_their_pointers() {
        let id = crate::ids::ContainerId::new();
        let spec: ContainerSpec = serde_json::from_str(&format!(
            r#"{{"links":[{{"container":"{id}","alias":"db"}},{{"container":"{id}","alias":"db"}}],
                "volumes":[{{"volume":"a","target":"/x"}}],"tmpfs":[{{"path":"/x"}}],
                "healthcheck":{{"check":{{"test":{{"program":[]}},"retries":0}}}}}}"#,
        ))
        .unwrap();
        let pointers: Vec<_> = spec.problems().into_iter().map(|(pointer, _)| pointer).collect();
        assert_eq!(pointers, ["/tmpfs/0/path", "/healthcheck/command", "/healthcheck/retries", "/links/1/alias"]);
    }

    #[test]
    fn one_host_port_or_target_twice_is_a_problem_with_its_pointer() {
        let spec: ContainerSpec = serde_json::from_str(
            r#"{"ports":[{"container":80,"host":8080},{"container":81,"host":8080}],"volumes":[{"volume":"a","target":"/x"},{"volume":"b","target":"/x"}]}"#,
        )
        .unwrap();
        let pointers: Vec<_> = spec.problems().into_iter().map(|(pointer, _)| pointer).collect();
        assert_eq!(pointers, ["/ports/1/host", "/volumes/1/target"]);
    }
}
