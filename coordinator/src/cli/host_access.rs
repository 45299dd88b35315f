//! What a container is given of its host, as options of `container create`. They are named as Docker's are, but a path of
//! the host, which is something else than a volume, has an option of its own.

use super::args::{self, pair};
use dockerforge_protocol::spec::{
    AbsolutePath, Bind, Capability, Device, DevicePath, DeviceRights, HostAccess, HostNamespace, RuntimeName,
    SecurityOption, SysctlName,
};
use serde_json::{Map, Value, json};

/// See the module.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Of its host (needs a token with host:root, and a host of your own)")]
pub(super) struct HostOptions {
    /// Give it everything
    #[arg(long)]
    privileged: bool,
    /// A device, /dev/HOST[:/dev/CONTAINER[:rwm]]; may be repeated
    #[arg(long = "device", value_name = "DEVICE", value_parser = device)]
    devices: Vec<Device>,
    /// A capability beside Docker's default ones; may be repeated
    #[arg(long, value_name = "CAPABILITY", value_parser = str::parse::<Capability>)]
    cap_add: Vec<Capability>,
    /// A file or folder of the host, SOURCE:TARGET[:ro]; may be repeated
    #[arg(long = "mount-host", value_name = "MOUNT", value_parser = bind)]
    binds: Vec<Bind>,
    /// The host's network: host
    #[arg(long, value_name = "host", value_parser = ["host"])]
    network: Option<String>,
    /// The host's processes: host
    #[arg(long, value_name = "host", value_parser = ["host"])]
    pid: Option<String>,
    /// The host's shared memory: host
    #[arg(long, value_name = "host", value_parser = ["host"])]
    ipc: Option<String>,
    /// The host's name: host
    #[arg(long, value_name = "host", value_parser = ["host"])]
    uts: Option<String>,
    /// A kernel setting of its namespaces; may be repeated
    #[arg(long = "sysctl", value_name = "NAME=VALUE", value_parser = sysctl)]
    sysctls: Vec<(SysctlName, String)>,
    /// A runtime that the host's Docker knows
    #[arg(long, value_name = "NAME", value_parser = str::parse::<RuntimeName>)]
    runtime: Option<RuntimeName>,
    /// seccomp=unconfined or apparmor=unconfined; may be repeated
    #[arg(long = "security-opt", value_name = "OPTION", value_parser = str::parse::<SecurityOption>)]
    security_options: Vec<SecurityOption>,
    /// One of Docker's default capabilities that it does not have; may be repeated; needs no such token
    #[arg(long, value_name = "CAPABILITY", value_parser = str::parse::<Capability>)]
    cap_drop: Vec<Capability>,
}

impl HostOptions {
    /// The members of the request's body that were asked for.
    pub(super) fn named(self) -> Map<String, Value> {
        let namespaces = [
            (self.network, HostNamespace::Network),
            (self.pid, HostNamespace::Pid),
            (self.ipc, HostNamespace::Ipc),
            (self.uts, HostNamespace::Uts),
        ];
        let access = HostAccess {
            privileged: self.privileged,
            devices: self.devices,
            cap_add: self.cap_add.into_iter().collect(),
            binds: self.binds,
            namespaces: namespaces.into_iter().filter_map(|(said, namespace)| said.map(|_| namespace)).collect(),
            sysctls: self.sysctls.into_iter().collect(),
            runtime: self.runtime,
            security_options: self.security_options.into_iter().collect(),
        };
        let members = [
            ("cap_drop", (!self.cap_drop.is_empty()).then(|| json!(self.cap_drop))),
            ("host_access", (!access.is_empty()).then(|| json!(access))),
        ];
        members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

/// `/dev/HOST[:/dev/CONTAINER[:rwm]]`.
fn device(text: &str) -> Result<Device, String> {
    let mut parts = text.splitn(3, ':');
    let host: DevicePath = parts.next().unwrap_or_default().parse().map_err(args::said)?;
    let container = parts.next().map_or(Ok(host.clone()), str::parse).map_err(args::said)?;
    let permissions = parts.next().map_or(Ok(DeviceRights::default()), str::parse).map_err(args::said)?;
    Ok(Device { host, container, permissions })
}

/// `SOURCE:TARGET[:ro|:rw]`.
fn bind(text: &str) -> Result<Bind, String> {
    let (source, rest) = text.split_once(':').ok_or("expected SOURCE:TARGET or SOURCE:TARGET:ro")?;
    let (target, read_only) = args::target(rest)?;
    let source: AbsolutePath = source.parse().map_err(args::said)?;
    Ok(Bind { source, target, read_only })
}

/// `NAME=VALUE`.
fn sysctl(text: &str) -> Result<(SysctlName, String), String> {
    let (name, value) = pair(text)?;
    Ok((name.parse().map_err(args::said)?, value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_and_mounts_read_as_docker_writes_them() {
        let json = |value: &dyn Fn() -> Value| value().to_string();
        assert_eq!(
            json(&|| json!(device("/dev/fuse").unwrap())),
            r#"{"container":"/dev/fuse","host":"/dev/fuse","permissions":"rwm"}"#
        );
        assert_eq!(
            json(&|| json!(device("/dev/sda:/dev/xvda:r").unwrap())),
            r#"{"container":"/dev/xvda","host":"/dev/sda","permissions":"r"}"#
        );
        assert_eq!(
            json(&|| json!(bind("/srv:/data:ro").unwrap())),
            r#"{"read_only":true,"source":"/srv","target":"/data"}"#
        );
        assert_eq!(json(&|| json!(bind("/srv:/data").unwrap())), r#"{"source":"/srv","target":"/data"}"#);
        for bad in ["", "srv:/data", "/:/data", "/srv", "/srv:/data:z", "/srv:data"] {
            assert!(bind(bad).is_err(), "{bad:?} was accepted");
        }
        for bad in ["", "/etc/passwd", "/dev/x:/etc", "/dev/x:/dev/y:z"] {
            assert!(device(bad).is_err(), "{bad:?} was accepted");
        }
        assert!(sysctl("vm.swappiness=1").is_err() && sysctl("net.core.somaxconn=1024").is_ok());
    }
}
