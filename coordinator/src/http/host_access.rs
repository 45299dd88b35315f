//! What a container is given of its host, as bodies say it: read into the typed allow-list, and shown. Used by `specs`.

use super::extract::{Check, Object, objects_only};
use dockerforge_protocol::spec::{Bind, Capability, Device, DeviceRights, HostAccess};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::str::FromStr;
use utoipa::ToSchema;

/// What a container is given of its host. Only on a host of your own that nobody shares, and only with a token that has the
/// scope `host:root`: whoever has such a container can be root on that host. Docker's socket and data and the agent's own
/// folder are never given, but a privileged container physically reaches all of its host.
#[derive(Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default, remote = "Self")]
pub struct HostAccessBody {
    /// Everything: all devices, all capabilities, nothing that holds it back.
    privileged: bool,
    /// Devices.
    devices: Vec<DeviceBody>,
    /// Capabilities beside Docker's default ones, without `CAP_`; or `ALL`.
    #[schema(example = json!(["NET_ADMIN"]))]
    cap_add: Vec<String>,
    /// Files and folders.
    binds: Vec<BindBody>,
    /// Namespaces that it shares with the host: `network`, `pid`, `ipc`, `uts`.
    #[schema(example = json!(["network"]))]
    namespaces: Vec<String>,
    /// Kernel settings of its own namespaces.
    #[schema(value_type = BTreeMap<String, String>)]
    sysctls: Object<String>,
    /// A runtime that the host's Docker knows, instead of its default one.
    runtime: Option<String>,
    /// `seccomp=unconfined`, `apparmor=unconfined`.
    security_options: Vec<String>,
}

/// A device of the host.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct DeviceBody {
    /// Its path on the host, below /dev.
    #[schema(example = "/dev/fuse")]
    host: String,
    /// Where it appears, below /dev; under the same path where absent.
    container: Option<String>,
    /// Some of `r`, `w` and `m`; all where absent.
    #[schema(example = "rw")]
    permissions: Option<String>,
}

/// A file or folder of the host.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct BindBody {
    /// Its absolute path on the host, where it has to be. Where links lead is what counts.
    #[schema(example = "/srv/data")]
    source: String,
    /// Where it appears: an absolute path.
    #[schema(example = "/data")]
    target: String,
    /// Whether the container may only read it.
    #[serde(default)]
    read_only: bool,
}

objects_only!(HostAccessBody, DeviceBody, BindBody);

/// Words as a set of values, with all that is wrong with them; `None` if one of them cannot be.
pub(super) fn words<T: FromStr<Err: std::fmt::Display> + Ord>(
    check: &mut Check,
    pointer: &str,
    words: &[String],
) -> Option<BTreeSet<T>> {
    let read: Vec<Option<T>> =
        words.iter().enumerate().map(|(i, word)| check.parse(&format!("{pointer}/{i}"), word)).collect();
    read.into_iter().collect()
}

/// What is said as a value; `None` if something in it cannot be.
pub(super) fn parse(check: &mut Check, body: &HostAccessBody) -> Option<HostAccess> {
    let at = |rest: &str| format!("/host_access/{rest}");
    let devices: Vec<Option<Device>> = body
        .devices
        .iter()
        .enumerate()
        .map(|(i, device)| {
            let host = check.parse(&at(&format!("devices/{i}/host")), &device.host);
            let inside = device.container.as_ref().unwrap_or(&device.host);
            let container = check.parse(&at(&format!("devices/{i}/container")), inside);
            let permissions = match &device.permissions {
                Some(text) => check.parse(&at(&format!("devices/{i}/permissions")), text),
                None => Some(DeviceRights::default()),
            };
            Some(Device { host: host?, container: container?, permissions: permissions? })
        })
        .collect();
    let binds: Vec<Option<Bind>> = body
        .binds
        .iter()
        .enumerate()
        .map(|(i, bind)| {
            let source = check.parse(&at(&format!("binds/{i}/source")), &bind.source);
            let target = check.parse(&at(&format!("binds/{i}/target")), &bind.target);
            Some(Bind { source: source?, target: target?, read_only: bind.read_only })
        })
        .collect();
    let cap_add: Option<BTreeSet<Capability>> = words(check, &at("cap_add"), &body.cap_add);
    let namespaces = words(check, &at("namespaces"), &body.namespaces);
    let security_options = words(check, &at("security_options"), &body.security_options);
    let sysctls: Vec<_> = body
        .sysctls
        .0
        .iter()
        .map(|(name, value)| {
            let pointer = at(&format!("sysctls/{}", name.replace('~', "~0").replace('/', "~1")));
            check.parse(&pointer, name).map(|name| (name, value.clone()))
        })
        .collect();
    let runtime = body.runtime.as_ref().map(|name| check.parse(&at("runtime"), name));
    Some(HostAccess {
        privileged: body.privileged,
        devices: devices.into_iter().collect::<Option<_>>()?,
        cap_add: cap_add?,
        binds: binds.into_iter().collect::<Option<_>>()?,
        namespaces: namespaces?,
        sysctls: sysctls.into_iter().collect::<Option<_>>()?,
        runtime: runtime.map_or(Some(None), |read| read.map(Some))?,
        security_options: security_options?,
    })
}

/// What a container is given, as it is shown; nothing where it is nothing.
pub(super) fn shown(host: &HostAccess) -> Option<HostAccessBody> {
    (!host.is_empty()).then(|| HostAccessBody {
        privileged: host.privileged,
        devices: host
            .devices
            .iter()
            .map(|device| DeviceBody {
                host: device.host.to_string(),
                container: Some(device.container.to_string()),
                permissions: Some(device.permissions.to_string()),
            })
            .collect(),
        cap_add: host.cap_add.iter().map(ToString::to_string).collect(),
        binds: host
            .binds
            .iter()
            .map(|bind| BindBody {
                source: bind.source.to_string(),
                target: bind.target.to_string(),
                read_only: bind.read_only,
            })
            .collect(),
        namespaces: host.namespaces.iter().map(ToString::to_string).collect(),
        sysctls: Object(host.sysctls.iter().map(|(name, value)| (name.to_string(), value.clone())).collect()),
        runtime: host.runtime.as_ref().map(ToString::to_string),
        security_options: host.security_options.iter().map(ToString::to_string).collect(),
    })
}
