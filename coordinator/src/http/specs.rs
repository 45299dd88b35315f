//! What a container is to be, as the bodies of its routes say it: read into the typed allow-list, and shown. Used by
//! `containers` and `operations`.

use super::document::schemas as s;
use super::extract::{Check, Object, Patched, objects_only};
use super::host_access::{self, HostAccessBody};
use super::provisions::LinkProvision;
use super::secrets::{self, SecretBody, SecretShown};
use super::values::{labels, parse_labels};
use crate::domain::grant::Grant;
use crate::domain::quota::thousandths;
use crate::service::grants::Wish;
use crate::service::supplies::SecretValue;
use dockerforge_protocol::spec::{
    AbsolutePath, Bytes, Check as HealthChecking, ContainerSpec, HealthTest, Healthcheck, Link, MilliCpus, PidsLimit,
    PortMapping, PortProtocol, Resources, Seconds, TmpfsMount, VolumeMount,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::str::FromStr;
use utoipa::ToSchema;

/// A published port.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct PortBody {
    /// In the container: 1 to 65535.
    #[schema(value_type = s::Port, example = 80)]
    container: i64,
    /// On the host: 1 to 65535; one of 20000 to 29999 that stays the same where absent.
    #[schema(value_type = Option<s::Port>, example = 8080)]
    host: Option<i64>,
    /// `tcp`, or `udp`.
    #[serde(default = "tcp")]
    #[schema(value_type = s::Protocol, example = "tcp")]
    protocol: String,
}

fn tcp() -> String {
    PortProtocol::Tcp.to_string()
}

/// A named volume in a container.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct VolumeBody {
    /// Its name among your volumes on that host; made where it is absent.
    #[schema(value_type = s::Name, example = "data")]
    volume: String,
    /// Where it appears: an absolute path.
    #[schema(value_type = s::AbsolutePath, example = "/var/lib/data")]
    target: String,
    /// Whether the container may only read it.
    #[serde(default)]
    read_only: bool,
}

/// Limits.
#[derive(Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct ResourcesBody {
    /// Processors: 0.01 to 1024.
    #[schema(value_type = Option<s::Cpus>, example = 0.5)]
    cpus: Option<f64>,
    /// Memory, bytes: at least 6 MiB.
    #[schema(value_type = Option<s::Memory>, example = 134_217_728)]
    memory: Option<u64>,
    /// Processes.
    #[schema(value_type = Option<s::Pids>, example = 100)]
    pids: Option<u64>,
}

/// A file system in memory.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct TmpfsBody {
    /// Where it appears: an absolute path.
    #[schema(value_type = s::AbsolutePath, example = "/tmp")]
    path: String,
    /// How large it may become, bytes; half of the host's memory where absent.
    #[schema(value_type = Option<s::Memory>)]
    size: Option<u64>,
}

/// A container that another one finds by a name of its own.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct LinkBody {
    /// The id of a container of yours on the same host.
    #[schema(value_type = s::ContainerId)]
    container: String,
    /// The name: a DNS label.
    #[schema(value_type = s::DnsLabel, example = "mysql")]
    alias: String,
    /// Whether that container makes an account for this one, which gets what it needs to use it as secrets: `true`, or an
    /// object of what the account is to be called, by the fields of that container's template. What is not said is made up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<s::LinkProvision>)]
    provision: Option<LinkProvision>,
}

impl LinkBody {
    /// Shows what a link has provisioned.
    pub(super) fn provisioned(&mut self, grant: &Grant) {
        if self.container == grant.target.to_string() && self.alias == grant.alias.to_string() {
            self.provision = Some(LinkProvision::Account(Object(grant.fields.clone())));
        }
    }
}

/// A spec as a request says it.
#[derive(Default)]
pub(super) struct Said {
    /// The spec.
    pub(super) spec: ContainerSpec,
    /// The values of its new secrets.
    pub(super) secrets: Vec<SecretValue>,
    /// What its links are to provision, where anything is said of links.
    pub(super) wishes: Option<Vec<Wish>>,
}

/// `"none"`, or a check.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected \"none\", or an object with command, interval, timeout, retries, start_period")]
pub enum HealthcheckBody {
    /// `none`: no check, whatever the image says.
    Word(String),
    /// A check.
    Check(CheckBody),
}

/// A check.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct CheckBody {
    /// What is run in the container.
    command: TestBody,
    /// Seconds between two checks: 1 to 300; 30 where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<s::Grace>)]
    interval: Option<u64>,
    /// Seconds that one may take: 1 to 300; 30 where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<s::Grace>)]
    timeout: Option<u64>,
    /// Failures in a row that make it unhealthy: 1 to 100; 3 where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<s::Retries>)]
    retries: Option<u8>,
    /// Seconds after a start in which failures do not count: 1 to 300; none where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<s::Grace>)]
    start_period: Option<u64>,
}

objects_only!(PortBody, VolumeBody, ResourcesBody, TmpfsBody, LinkBody, CheckBody);

/// A line for the container's shell, or a program and its arguments.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum TestBody {
    /// A line.
    Line(String),
    /// A program.
    Program(Vec<String>),
}

/// What a container is to be.
#[derive(Serialize, ToSchema)]
pub struct SpecBody {
    /// The program and its arguments.
    #[schema(value_type = s::Arguments)]
    pub command: Vec<String>,
    /// Environment variables.
    #[schema(value_type = s::Environment)]
    pub env: BTreeMap<String, String>,
    /// Published ports, as asked for.
    pub ports: Vec<PortBody>,
    /// Named volumes.
    pub volumes: Vec<VolumeBody>,
    /// Limits.
    pub resources: ResourcesBody,
    /// When Docker starts it again.
    #[schema(value_type = s::RestartPolicy)]
    pub restart: &'static str,
    /// Its labels.
    #[schema(value_type = s::Labels)]
    pub labels: BTreeMap<String, String>,
    /// The program before `command`.
    #[schema(value_type = Option<s::Arguments>)]
    pub entrypoint: Option<Vec<String>>,
    /// Who it runs as.
    #[schema(value_type = Option<s::RunAs>)]
    pub user: Option<String>,
    /// The folder it begins in.
    #[schema(value_type = Option<s::AbsolutePath>)]
    pub workdir: Option<String>,
    /// The name it has for itself.
    #[schema(value_type = Option<s::DnsLabel>)]
    pub hostname: Option<String>,
    /// File systems in memory.
    pub tmpfs: Vec<TmpfsBody>,
    /// Whether it can write to its volumes and file systems in memory alone.
    pub read_only: bool,
    /// Whether a small init is its first process.
    pub init: bool,
    /// How one knows that it is well.
    pub healthcheck: Option<HealthcheckBody>,
    /// The signal that asks it to end.
    #[schema(value_type = Option<s::StopSignal>)]
    pub stop_signal: Option<String>,
    /// Seconds that it may take to end.
    #[schema(value_type = Option<s::Grace>)]
    pub stop_grace: Option<u32>,
    /// Containers that it finds by names of its own.
    pub links: Vec<LinkBody>,
    /// Its secrets, by name.
    pub secrets: BTreeMap<String, SecretShown>,
    /// Which of Docker's default capabilities it does not have.
    pub cap_drop: Vec<String>,
    /// What it is given of its host.
    pub host_access: Option<HostAccessBody>,
}

impl SpecBody {
    /// A spec as it is shown.
    pub(super) fn of(spec: &ContainerSpec) -> Self {
        Self {
            command: spec.command.clone(),
            env: spec.env.iter().map(|(name, value)| (name.to_string(), value.clone())).collect(),
            ports: spec
                .ports
                .iter()
                .map(|p| PortBody {
                    container: p.container.get().into(),
                    host: p.host.map(|h| h.get().into()),
                    protocol: p.protocol.to_string(),
                })
                .collect(),
            volumes: spec
                .volumes
                .iter()
                .map(|m| VolumeBody {
                    volume: m.volume.to_string(),
                    target: m.target.to_string(),
                    read_only: m.read_only,
                })
                .collect(),
            resources: ResourcesBody {
                cpus: spec.resources.cpus.map(|c| f64::from(c.get()) / 1000.0),
                memory: spec.resources.memory.map(Bytes::get),
                pids: spec.resources.pids.map(|p| p.get().into()),
            },
            restart: spec.restart.as_str(),
            labels: labels(&spec.labels),
            entrypoint: spec.entrypoint.clone(),
            user: spec.user.as_ref().map(ToString::to_string),
            workdir: spec.workdir.as_ref().map(ToString::to_string),
            hostname: spec.hostname.as_ref().map(ToString::to_string),
            tmpfs: spec
                .tmpfs
                .iter()
                .map(|m| TmpfsBody { path: m.path.to_string(), size: m.size.map(Bytes::get) })
                .collect(),
            read_only: spec.read_only,
            init: spec.init,
            healthcheck: spec.healthcheck.as_ref().map(show_check),
            stop_signal: spec.stop_signal.as_ref().map(ToString::to_string),
            stop_grace: spec.stop_grace.map(Seconds::get),
            links: spec
                .links
                .iter()
                .map(|l| LinkBody { container: l.container.to_string(), alias: l.alias.to_string(), provision: None })
                .collect(),
            secrets: secrets::shown(&spec.secrets),
            cap_drop: spec.cap_drop.iter().map(ToString::to_string).collect(),
            host_access: host_access::shown(&spec.host_access),
        }
    }
}

fn show_check(check: &Healthcheck) -> HealthcheckBody {
    let check = match check {
        Healthcheck::None => return HealthcheckBody::Word("none".to_owned()),
        Healthcheck::Check(check) => check,
    };
    HealthcheckBody::Check(CheckBody {
        command: match &check.test {
            HealthTest::Shell(line) => TestBody::Line(line.clone()),
            HealthTest::Program(program) => TestBody::Program(program.clone()),
        },
        interval: check.interval.map(u64::from),
        timeout: check.timeout.map(u64::from),
        retries: check.retries,
        start_period: check.start_period.map(u64::from),
    })
}

/// What a request says of a container's being.
#[derive(Default)]
pub(super) struct Change {
    pub(super) command: Patched<Vec<String>>,
    pub(super) env: Patched<Object<String>>,
    pub(super) ports: Patched<Vec<PortBody>>,
    pub(super) volumes: Patched<Vec<VolumeBody>>,
    pub(super) resources: Patched<ResourcesBody>,
    pub(super) restart: Patched<String>,
    pub(super) labels: Patched<Object<String>>,
    pub(super) entrypoint: Patched<Vec<String>>,
    pub(super) user: Patched<String>,
    pub(super) workdir: Patched<String>,
    pub(super) hostname: Patched<String>,
    pub(super) tmpfs: Patched<Vec<TmpfsBody>>,
    pub(super) read_only: Patched<bool>,
    pub(super) init: Patched<bool>,
    pub(super) healthcheck: Patched<HealthcheckBody>,
    pub(super) stop_signal: Patched<String>,
    pub(super) stop_grace: Patched<u64>,
    pub(super) links: Patched<Vec<LinkBody>>,
    pub(super) secrets: Patched<Object<SecretBody>>,
    pub(super) cap_drop: Patched<Vec<String>>,
    pub(super) host_access: Patched<HostAccessBody>,
}

/// A field by what is said of it: `read` makes the value.
fn set<T, V: Default>(field: &mut V, said: Patched<T>, read: impl FnOnce(T) -> V) {
    match said {
        Patched::Absent => {}
        Patched::Null => *field = V::default(),
        Patched::Value(value) => *field = read(value),
    }
}

/// Each element read, or none of them if one of them cannot be: what is said of the whole points at elements.
fn each<T, V>(items: &[T], whole: &mut bool, read: impl FnMut((usize, &T)) -> Option<V>) -> Vec<V> {
    let values: Vec<V> = items.iter().enumerate().filter_map(read).collect();
    *whole &= values.len() == items.len();
    values
}

impl Change {
    /// A spec with all that is said; in `check` all that is wrong with it.
    pub(super) fn apply(self, check: &mut Check, before: ContainerSpec) -> Said {
        let mut spec = before;
        let mut whole = true;
        set(&mut spec.command, self.command, |command| command);
        set(&mut spec.env, self.env, |env| parse_env(check, &env));
        set(&mut spec.ports, self.ports, |ports| {
            each(&ports, &mut whole, |(i, p)| port_mapping(check, &format!("/ports/{i}"), p))
        });
        set(&mut spec.volumes, self.volumes, |volumes| {
            each(&volumes, &mut whole, |(i, v)| {
                let volume = check.parse(&format!("/volumes/{i}/volume"), &v.volume);
                let target = check.parse(&format!("/volumes/{i}/target"), &v.target);
                volume.zip(target).map(|(volume, target)| VolumeMount { volume, target, read_only: v.read_only })
            })
        });
        set(&mut spec.resources, self.resources, |resources| limits(check, &resources));
        set(&mut spec.restart, self.restart, |word| check.parse("/restart", &word).unwrap_or_default());
        set(&mut spec.labels, self.labels, |labels| parse_labels(check, &labels).unwrap_or_default());
        set(&mut spec.entrypoint, self.entrypoint, Some);
        set(&mut spec.user, self.user, |user| check.parse("/user", &user));
        set(&mut spec.workdir, self.workdir, |path| check.parse("/workdir", &path));
        set(&mut spec.hostname, self.hostname, |name| check.parse("/hostname", &name));
        set(&mut spec.tmpfs, self.tmpfs, |tmpfs| {
            each(&tmpfs, &mut whole, |(i, mount)| {
                let path = check.parse::<AbsolutePath>(&format!("/tmpfs/{i}/path"), &mount.path);
                let size = mount.size.map(|size| check.take(&format!("/tmpfs/{i}/size"), Bytes::try_from(size)));
                path.filter(|_| size != Some(None)).map(|path| TmpfsMount { path, size: size.flatten() })
            })
        });
        set(&mut spec.read_only, self.read_only, |yes| yes);
        set(&mut spec.init, self.init, |yes| yes);
        set(&mut spec.healthcheck, self.healthcheck, |body| healthcheck(check, body));
        set(&mut spec.stop_signal, self.stop_signal, |signal| check.parse("/stop_signal", &signal));
        set(&mut spec.stop_grace, self.stop_grace, |grace| check.take("/stop_grace", Seconds::try_from(grace)));
        let wishes = match &self.links {
            Patched::Absent => None,
            Patched::Null => Some(Vec::new()),
            Patched::Value(links) => {
                let wish = |(i, link): (usize, &LinkBody)| link.provision.as_ref()?.wish(i);
                Some(links.iter().enumerate().filter_map(wish).collect())
            }
        };
        set(&mut spec.links, self.links, |links| {
            each(&links, &mut whole, |(i, link)| {
                let container = check.parse(&format!("/links/{i}/container"), &link.container);
                let alias = check.parse(&format!("/links/{i}/alias"), &link.alias);
                container.zip(alias).map(|(container, alias)| Link { container, alias })
            })
        });
        set(&mut spec.cap_drop, self.cap_drop, |words| {
            let read = host_access::words(check, "/cap_drop", &words);
            whole &= read.is_some();
            read.unwrap_or_default()
        });
        set(&mut spec.host_access, self.host_access, |body| {
            let read = host_access::parse(check, &body);
            whole &= read.is_some();
            read.unwrap_or_default()
        });
        let known = std::mem::take(&mut spec.secrets);
        let mut values = Vec::new();
        match self.secrets {
            Patched::Absent => spec.secrets = known,
            Patched::Null => {}
            Patched::Value(said) => spec.secrets = secrets::parse(check, &known, &said, &mut values),
        }
        // Only where nothing was left out, so that what is said of an element points at that element.
        if whole {
            for (pointer, detail) in spec.problems() {
                check.refuse(&pointer, detail);
            }
        }
        Said { spec, secrets: values, wishes }
    }
}

/// An object as environment variables, with all that is wrong with it.
pub(super) fn parse_env<N: FromStr<Err: std::fmt::Display> + Ord>(
    check: &mut Check,
    env: &Object<String>,
) -> BTreeMap<N, String> {
    let one = |(name, value): (&String, &String)| {
        let pointer = format!("/env/{}", name.replace('~', "~0").replace('/', "~1"));
        check.parse::<N>(&pointer, name).map(|name| (name, value.clone()))
    };
    env.0.iter().filter_map(one).collect()
}

fn port(check: &mut Check, pointer: &str, value: i64) -> Option<NonZeroU16> {
    let port = u16::try_from(value).ok().and_then(NonZeroU16::new);
    check.take(pointer, port.ok_or("expected a port: 1 to 65535"))
}

fn port_mapping(check: &mut Check, pointer: &str, body: &PortBody) -> Option<PortMapping> {
    let container = port(check, &format!("{pointer}/container"), body.container);
    let host = body.host.map(|host| port(check, &format!("{pointer}/host"), host));
    let protocol = match body.protocol.as_str() {
        "tcp" => Some(PortProtocol::Tcp),
        "udp" => Some(PortProtocol::Udp),
        _ => check.take(&format!("{pointer}/protocol"), Err("expected tcp or udp")),
    };
    let (container, protocol) = container.zip(protocol).filter(|_| host != Some(None))?;
    Some(PortMapping { container, host: host.flatten(), protocol })
}

fn limits(check: &mut Check, body: &ResourcesBody) -> Resources {
    let cpus = body.cpus.map(|cpus| {
        // Out of range becomes 0, which is out of range there too.
        let milli = thousandths(cpus).filter(|_| cpus <= 1_024.0).unwrap_or(0);
        check.take("/resources/cpus", MilliCpus::try_from(milli))
    });
    let memory = body.memory.map(|memory| check.take("/resources/memory", Bytes::try_from(memory)));
    let pids = body.pids.map(|pids| check.take("/resources/pids", PidsLimit::try_from(pids)));
    Resources { cpus: cpus.flatten(), memory: memory.flatten(), pids: pids.flatten() }
}

fn healthcheck(check: &mut Check, body: HealthcheckBody) -> Option<Healthcheck> {
    let body = match body {
        HealthcheckBody::Word(word) if word == "none" => return Some(Healthcheck::None),
        HealthcheckBody::Word(_) => {
            check.refuse("/healthcheck", "expected \"none\", or a check");
            return None;
        }
        HealthcheckBody::Check(body) => body,
    };
    let mut span = |name: &str, seconds: Option<u64>| {
        seconds.and_then(|s| check.take(&format!("/healthcheck/{name}"), Seconds::try_from(s)))
    };
    Some(Healthcheck::Check(HealthChecking {
        interval: span("interval", body.interval),
        timeout: span("timeout", body.timeout),
        start_period: span("start_period", body.start_period),
        retries: body.retries,
        test: match body.command {
            TestBody::Line(line) => HealthTest::Shell(line),
            TestBody::Program(program) => HealthTest::Program(program),
        },
    }))
}
