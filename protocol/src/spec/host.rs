//! What a container may be given of its host beyond what every container has: only where its user may be root there. The
//! typed allow-list of it, and what nobody is given in any case. Whoever has these reaches the host (a privileged
//! container physically reaches all of it), so what is refused here guards against accidents and against whoever has
//! less; it does not hold back one who was given `privileged`.

use super::{AbsolutePath, Invalid, text_value};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
    str::FromStr,
};

/// The word in a hello by which an agent says that it knows [`HostAccess`] and `cap_drop`. A spec that has them is never
/// sent to one that does not: it could not read it.
pub const HOST_ACCESS_FEATURE: &str = "host-access";

/// Linux's capabilities (capabilities(7)), without their `CAP_`.
const CAPABILITIES: [&str; 41] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// One of Linux's capabilities, in capitals and without `CAP_`, or `ALL`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability(String);

impl FromStr for Capability {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text == "ALL" || CAPABILITIES.contains(&text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new("expected a capability as NET_ADMIN, in capitals and without CAP_, or ALL"))
        }
    }
}

/// A device file of the host: a path below `/dev`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DevicePath(AbsolutePath);

impl FromStr for DevicePath {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let path = text.parse::<AbsolutePath>().ok().filter(|_| text.starts_with("/dev/"));
        path.map(Self).ok_or_else(|| Invalid::new("expected a path below /dev"))
    }
}

/// What a container may do with a device: some of `r`, `w` and `m` (mknod), each once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceRights(String);

impl Default for DeviceRights {
    fn default() -> Self {
        Self("rwm".to_owned())
    }
}

impl FromStr for DeviceRights {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let letters: BTreeSet<char> = text.chars().collect();
        if !text.is_empty() && letters.len() == text.len() && letters.iter().all(|c| "rwm".contains(*c)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new("expected some of r, w and m"))
        }
    }
}

/// The beginnings of the kernel settings that a namespace has for itself; with any other a container would set the
/// host's. Docker refuses those, too.
const SYSCTL_FAMILIES: [&str; 3] = ["net.", "fs.mqueue.", "kernel."];
/// Of `kernel.` those of the IPC namespace (ipc_namespaces(7)).
const KERNEL_SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// The name of a kernel setting that belongs to a namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SysctlName(String);

impl SysctlName {
    fn is_of_network(&self) -> bool {
        self.0.starts_with("net.")
    }
}

impl FromStr for SysctlName {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let part = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        };
        let formed =
            text.len() <= 128 && text.split('.').all(part) && SYSCTL_FAMILIES.iter().any(|f| text.starts_with(f));
        if formed && (!text.starts_with("kernel.") || KERNEL_SYSCTLS.contains(&text)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new(
                "expected a setting that a namespace has for itself: net.…, fs.mqueue.…, kernel.sem, kernel.shm…, kernel.msg…",
            ))
        }
    }
}

/// The name of a runtime that the host's Docker knows. No path: nobody names a program of the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuntimeName(String);

impl FromStr for RuntimeName {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        if first && text.len() <= 64 && text.bytes().all(fine) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new("expected the name of a runtime: letters, digits, '.', '_' or '-', at most 64"))
        }
    }
}

macro_rules! shown {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        text_value!($name);
    )*};
}
shown!(Capability, DevicePath, DeviceRights, SysctlName, RuntimeName);

/// A device of the host in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Which.
    pub host: DevicePath,
    /// Where it appears.
    pub container: DevicePath,
    /// What may be done with it.
    pub permissions: DeviceRights,
}

/// A file or folder of the host in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bind {
    /// Which.
    pub source: AbsolutePath,
    /// Where it appears.
    pub target: AbsolutePath,
    /// Whether the container may only read it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $expected:literal: $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }
        impl $name {
            /// Its name in the API and on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }
        impl FromStr for $name {
            type Err = Invalid;
            fn from_str(text: &str) -> Result<Self, Invalid> {
                [$(Self::$variant),*].into_iter().find(|one| one.as_str() == text).ok_or_else(|| Invalid::new($expected))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        text_value!($name);
    };
}

words! {
    /// A namespace of the host that a container joins. Another container's cannot be named.
    HostNamespace, "expected network, pid, ipc or uts":
    /// Its network: interfaces, addresses, ports.
    Network = "network",
    /// Its processes.
    Pid = "pid",
    /// Its shared memory and message queues.
    Ipc = "ipc",
    /// Its name.
    Uts = "uts",
}

words! {
    /// Something that holds containers back and does not hold this one.
    SecurityOption, "expected seccomp=unconfined or apparmor=unconfined":
    /// Docker's filter of system calls.
    SeccompUnconfined = "seccomp=unconfined",
    /// Docker's AppArmor profile.
    AppArmorUnconfined = "apparmor=unconfined",
}

/// What a container is given of its host; nothing where all is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostAccess {
    /// Everything: all devices, all capabilities, nothing that holds it back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub privileged: bool,
    /// Devices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    /// Capabilities beside Docker's default ones.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub cap_add: BTreeSet<Capability>,
    /// Files and folders.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub binds: Vec<Bind>,
    /// Namespaces.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub namespaces: BTreeSet<HostNamespace>,
    /// Kernel settings of the container's own namespaces.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<SysctlName, String>,
    /// What runs it instead of Docker's default runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeName>,
    /// What does not hold it back.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub security_options: BTreeSet<SecurityOption>,
}

/// What is never mounted: what lies at one of these, within it, or is a folder around it. Docker's own socket, its
/// containerd's and its data (with all volumes) are its root's; the links in `/proc` lead anywhere; a coordinator's data
/// makes who has it any host. The agent knows where
/// the first three really are on its host, follows links, and looks again.
pub const NEVER_MOUNTED: [&str; 11] = [
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/var/run/docker",
    "/run/docker",
    "/var/run/containerd",
    "/run/containerd",
    "/var/lib/docker",
    "/var/lib/containerd",
    "/proc",
    "/var/lib/dockerforge-agent",
    "/var/lib/dockerforge",
];

/// Whether one of two paths lies within the other, or both are one. Links are not followed.
#[must_use]
pub fn overlap(a: &Path, b: &Path) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

impl HostAccess {
    /// Whether it is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the container is in this namespace of the host's.
    #[must_use]
    pub fn joins(&self, namespace: HostNamespace) -> bool {
        self.namespaces.contains(&namespace)
    }

    /// What it is, in words for the audit; empty where it is nothing.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let mut words = Vec::new();
        words.extend(self.privileged.then(|| "privileged".to_owned()));
        words.extend(self.devices.iter().map(|d| format!("device {}:{}:{}", d.host, d.container, d.permissions)));
        words.extend(self.cap_add.iter().map(|c| format!("capability {c}")));
        words.extend(
            self.binds
                .iter()
                .map(|b| format!("mount {}:{}{}", b.source, b.target, if b.read_only { ":ro" } else { "" })),
        );
        words.extend(self.namespaces.iter().map(|n| format!("namespace {n}")));
        words.extend(self.sysctls.iter().map(|(name, value)| format!("sysctl {name}={value}")));
        words.extend(self.runtime.iter().map(|r| format!("runtime {r}")));
        words.extend(self.security_options.iter().map(ToString::to_string));
        words
    }

    /// What is wrong with it by itself, with pointers below `/host_access`.
    pub(super) fn problems(&self, problems: &mut Vec<(String, String)>) {
        let mut refuse = |pointer: &str, detail: &str| {
            problems.push((format!("/host_access/{pointer}"), detail.to_owned()));
        };
        for (name, count) in
            [("devices", self.devices.len()), ("binds", self.binds.len()), ("sysctls", self.sysctls.len())]
        {
            if count > 64 {
                refuse(name, "expected at most 64");
            }
        }
        for (i, device) in self.devices.iter().enumerate() {
            if self.devices[..i].iter().any(|d| d.container == device.container) {
                refuse(&format!("devices/{i}/container"), "another device is there");
            }
        }
        for (i, bind) in self.binds.iter().enumerate() {
            let source = bind.source.to_string();
            if let Some(never) = NEVER_MOUNTED.iter().find(|never| overlap(Path::new(&source), Path::new(never))) {
                refuse(&format!("binds/{i}/source"), &format!("{never} is never mounted, nor a folder around it"));
            }
        }
        for (name, value) in &self.sysctls {
            if value.is_empty() || value.len() > 256 || value.chars().any(char::is_control) {
                refuse(&format!("sysctls/{name}"), "expected 1 to 256 characters, without control characters");
            }
            let hosts = if name.is_of_network() { HostNamespace::Network } else { HostNamespace::Ipc };
            if self.joins(hosts) {
                refuse(
                    &format!("sysctls/{name}"),
                    &format!("in the host's {hosts} namespace this would be the host's setting"),
                );
            }
        }
    }
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
