//! bollard's types from and into ours: used by the engine alone. What must hold: nothing is passed on that our types do
//! not name, and a failure keeps Docker's own words.

use crate::docker::{
    Container, ContainerLine, ContextStream, DockerError, Events, HOST_NETWORK, Hint, Limits, NewContainer, Output,
};
use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{
    BuildInfo, ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary,
    ContainerSummaryStateEnum, ContainerUpdateBody, CreateImageInfo, DeviceMapping, EndpointSettings, EventMessage,
    EventMessageTypeEnum, HealthConfig, HealthStatusEnum, HostConfig, HostConfigLogConfig, Mount, MountTmpfsOptions,
    MountType, MountVolumeOptions, NetworkCreateRequest, NetworkingConfig, PortBinding, PortSummaryTypeEnum,
    RestartPolicy, RestartPolicyNameEnum, SystemVersion,
};
use bollard::query_parameters::BuildImageOptions;
use dockerforge_protocol::command::labels;
use dockerforge_protocol::inventory::{ContainerState, DockerInfo, Health, ObservedPort};
use dockerforge_protocol::spec::{
    Device, HealthTest, Healthcheck, HostAccess, HostNamespace, PortProtocol, Resources, Seconds,
};
use futures_util::StreamExt;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Which of our failures bollard's is.
pub(super) fn error(call: &'static str, error: Error) -> DockerError {
    match error {
        Error::DockerResponseServerError { status_code, message } => server_error(status_code, message),
        Error::DockerStreamError { error } => server_error(0, error),
        Error::JsonDataError { .. } | Error::JsonSerdeError { .. } | Error::StrParseError { .. } => {
            DockerError::Protocol { call, source: Box::new(error) }
        }
        other => DockerError::Unavailable { call, source: Box::new(other) },
    }
}

pub(super) fn server_error(status: u16, message: String) -> DockerError {
    if message.contains("no space left on device") {
        return DockerError::DiskFull { message };
    }
    match status {
        404 => DockerError::NotFound { message },
        409 => DockerError::Conflict { message },
        503 => DockerError::Unavailable { call: "daemon", source: message.into() },
        _ => DockerError::Refused { status, message },
    }
}

/// The engine as the hello tells it.
pub(super) fn info(version: SystemVersion) -> DockerInfo {
    DockerInfo {
        version: version.version.unwrap_or_default(),
        api_version: version.api_version.unwrap_or_default(),
        platform: format!("{}/{}", version.os.unwrap_or_default(), version.arch.unwrap_or_default()),
    }
}

/// A client whose next call creates that network only if the name is free. Engines before 25 make a second network of
/// the same name unless they are told `CheckDuplicate`, which bollard's body no longer has.
pub(super) fn check_duplicate(client: Docker, body: &NetworkCreateRequest) -> Docker {
    let mut json = serde_json::to_value(body).unwrap_or_default();
    json["CheckDuplicate"] = serde_json::Value::Bool(true);
    let bytes = bytes::Bytes::from(json.to_string());
    client.with_request_modifier(move |request| {
        let (parts, _) = request.into_parts();
        hyper::Request::from_parts(parts, http_body_util::Either::Left(http_body_util::Full::new(bytes.clone())))
    })
}

/// An event as a hint; none where it is about a container that is not ours.
pub(super) fn hint(event: EventMessage) -> Option<Hint> {
    let actor = event.actor?;
    let ours = actor.attributes.as_ref().is_some_and(|attributes| attributes.contains_key(labels::CLUSTER));
    let about_image = event.typ == Some(EventMessageTypeEnum::IMAGE);
    (about_image || ours).then(|| Hint { id: actor.id.unwrap_or_default() })
}

/// One message of a pull.
pub(super) fn pull_output(item: Result<CreateImageInfo, Error>) -> Result<Output, DockerError> {
    let info = item.map_err(|e| error("image pull", e))?;
    if let Some(detail) = info.error_detail {
        return Err(server_error(0, detail.message.unwrap_or_default()));
    }
    let bytes = info.progress_detail.and_then(|p| {
        Some((u64::try_from(p.current?).ok()?, u64::try_from(p.total?).ok()?)).filter(|(_, total)| *total > 0)
    });
    Ok(Output { text: info.status.unwrap_or_default(), layer: info.id, bytes })
}

/// The classic builder says so where a layer that it found in its cache is gone when it goes on from there.
fn build_error(error: DockerError) -> DockerError {
    let gone = |message: &str| {
        ["failed to get digest sha256:", "unknown parent image ID", "No such image: sha256:"]
            .iter()
            .any(|words| message.contains(words))
    };
    match error {
        DockerError::NotFound { message } | DockerError::Refused { message, .. } if gone(&message) => {
            DockerError::CacheGone { message }
        }
        other => other,
    }
}

fn build_output(item: Result<BuildInfo, Error>) -> Result<Output, DockerError> {
    let info = item.map_err(|e| build_error(error("image build", e)))?;
    if let Some(detail) = info.error_detail {
        return Err(build_error(server_error(0, detail.message.unwrap_or_default())));
    }
    let text = match (info.stream, info.status) {
        (Some(text), _) => text,
        // A base image that is pulled for the build: its byte counts would flood the log.
        (None, Some(status)) if info.progress_detail.as_ref().is_none_or(|p| p.current.is_none()) => {
            info.id.map_or_else(|| format!("{status}\n"), |id| format!("{id}: {status}\n"))
        }
        _ => String::new(),
    };
    Ok(Output { text, layer: None, bytes: None })
}

/// One message of an image that is taken in.
pub(super) fn load_output(item: Result<BuildInfo, Error>) -> Result<Output, DockerError> {
    let info = item.map_err(|e| error("image load", e))?;
    if let Some(detail) = info.error_detail {
        return Err(server_error(0, detail.message.unwrap_or_default()));
    }
    Ok(Output { text: info.stream.unwrap_or_default(), layer: None, bytes: None })
}

/// Microseconds of a period of the scheduler, Docker's own default.
const CPU_PERIOD: i32 = 100_000;

/// The limits of a build as options. No swap is given on top of memory, as for containers.
pub(super) fn build_limits(limits: &Resources) -> BuildImageOptions {
    let bounded = |value: u64| i32::try_from(value).unwrap_or(i32::MAX);
    let memory = limits.memory.map(|memory| bounded(memory.get()));
    let quota = limits.cpus.map(|cpus| bounded(u64::from(cpus.get()) * u64::from(CPU_PERIOD.unsigned_abs()) / 1000));
    BuildImageOptions {
        memory,
        memswap: memory,
        cpuperiod: quota.map(|_| CPU_PERIOD),
        cpuquota: quota,
        ..Default::default()
    }
}

/// A build as a stream that owns its client.
pub(super) fn build_stream(client: Docker, options: BuildImageOptions, context: ContextStream) -> Events<Output> {
    owned(|sender| async move {
        let body = bollard::body_try_stream(context);
        let mut stream = std::pin::pin!(client.build_image(options, None, Some(body)));
        while let Some(item) = stream.next().await {
            if sender.send(build_output(item)).await.is_err() {
                break;
            }
        }
    })
}

/// A stream that owns what it reads from: bollard's own streams borrow their client, so the two live in one future that hands
/// its items through a channel of one place, and that is polled and dropped with the stream.
pub(super) fn owned<T, F>(pump: impl FnOnce(tokio::sync::mpsc::Sender<Result<T, DockerError>>) -> F) -> Events<T>
where
    T: Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let items = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|item| (item, receiver))
    });
    let pump = futures_util::stream::once(pump(sender)).filter_map(|()| async { None });
    futures_util::stream::select(items, pump).boxed()
}

/// Docker's create body from ours.
pub(super) fn container_body(new: &NewContainer) -> ContainerCreateBody {
    let key = |port: u16, protocol: PortProtocol| format!("{port}/{protocol}");
    let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for &(port, protocol, host) in &new.ports {
        let binding = PortBinding { host_ip: None, host_port: Some(host.to_string()) };
        bindings.entry(key(port, protocol)).or_default().get_or_insert_default().push(binding);
    }
    let exposed: BTreeSet<String> = bindings.keys().cloned().collect();
    let mounts = new.volumes.iter().map(|(name, target, read_only)| Mount {
        target: Some(target.clone()),
        source: Some(name.clone()),
        typ: Some(MountType::VOLUME),
        read_only: Some(*read_only),
        volume_options: new.keep_volumes.then(|| MountVolumeOptions { no_copy: Some(true), ..Default::default() }),
        ..Default::default()
    });
    let private = new.private.map(|folder| Mount {
        target: Some(folder.to_owned()),
        typ: Some(MountType::VOLUME),
        ..Default::default()
    });
    let tmpfs = new.tmpfs.iter().map(|(path, size)| Mount {
        target: Some(path.clone()),
        typ: Some(MountType::TMPFS),
        tmpfs_options: Some(MountTmpfsOptions { size_bytes: *size, ..Default::default() }),
        ..Default::default()
    });
    let binds = new.host.binds.iter().map(|bind| Mount {
        target: Some(bind.target.to_string()),
        source: Some(bind.source.to_string()),
        typ: Some(MountType::BIND),
        read_only: Some(bind.read_only),
        ..Default::default()
    });
    let log = HashMap::from([("max-size".to_owned(), "10m".to_owned()), ("max-file".to_owned(), "3".to_owned())]);
    let host_config = HostConfig {
        memory: new.memory,
        // The same as the memory: no swap on top.
        memory_swap: new.memory,
        nano_cpus: new.nano_cpus,
        pids_limit: new.pids,
        log_config: Some(HostConfigLogConfig { typ: Some("json-file".to_owned()), config: Some(log) }),
        network_mode: Some(new.network.clone()),
        port_bindings: (!bindings.is_empty()).then_some(bindings),
        restart_policy: Some(restart_policy(new.restart)),
        mounts: Some(mounts.chain(private).chain(tmpfs).chain(binds).collect()),
        readonly_rootfs: new.read_only.then_some(true),
        init: new.init.then_some(true),
        cap_drop: (!new.drop_capabilities.is_empty()).then(|| new.drop_capabilities.clone()),
        security_opt: security_options(new),
        ..host_config(&new.host)
    };
    // On a network of its user's own these are names that the linking container alone has for the others, looked up
    // each time: the other may be restarted, or made anew under its name.
    let links: Vec<String> = new.links.iter().map(|(name, alias)| format!("{name}:{alias}")).collect();
    let endpoint = EndpointSettings {
        aliases: Some(vec![new.alias.clone()]),
        links: (!links.is_empty()).then_some(links),
        ..Default::default()
    };
    ContainerCreateBody {
        image: Some(new.image.clone()),
        cmd: (!new.command.is_empty()).then(|| new.command.clone()),
        env: Some(new.env.clone()),
        labels: Some(new.labels.clone().into_iter().collect()),
        exposed_ports: (!exposed.is_empty()).then(|| exposed.into_iter().collect()),
        host_config: Some(host_config),
        entrypoint: new.entrypoint.clone(),
        user: new.user.clone(),
        working_dir: new.workdir.clone(),
        hostname: new.hostname.clone(),
        healthcheck: new.healthcheck.as_ref().map(health_config),
        stop_signal: new.stop_signal.clone(),
        stop_timeout: new.stop_timeout,
        networking_config: (new.network != HOST_NETWORK)
            .then(|| NetworkingConfig { endpoints_config: Some(HashMap::from([(new.network.clone(), endpoint)])) }),
        ..Default::default()
    }
}

fn security_options(new: &NewContainer) -> Option<Vec<String>> {
    let hardened = new.no_new_privileges.then(|| "no-new-privileges".to_owned());
    let options: Vec<String> =
        hardened.into_iter().chain(new.host.security_options.iter().map(ToString::to_string)).collect();
    (!options.is_empty()).then_some(options)
}

/// What a container is given of its host, but for mounts and security options; nothing is said of what it is not given.
fn host_config(host: &HostAccess) -> HostConfig {
    let joins = |namespace| host.joins(namespace).then(|| "host".to_owned());
    let device = |device: &Device| DeviceMapping {
        path_on_host: Some(device.host.to_string()),
        path_in_container: Some(device.container.to_string()),
        cgroup_permissions: Some(device.permissions.to_string()),
    };
    HostConfig {
        privileged: host.privileged.then_some(true),
        devices: (!host.devices.is_empty()).then(|| host.devices.iter().map(device).collect()),
        cap_add: (!host.cap_add.is_empty()).then(|| host.cap_add.iter().map(ToString::to_string).collect()),
        pid_mode: joins(HostNamespace::Pid),
        ipc_mode: joins(HostNamespace::Ipc),
        uts_mode: joins(HostNamespace::Uts),
        sysctls: (!host.sysctls.is_empty())
            .then(|| host.sysctls.iter().map(|(name, value)| (name.to_string(), value.clone())).collect()),
        runtime: host.runtime.as_ref().map(ToString::to_string),
        ..Default::default()
    }
}

fn restart_policy(name: &str) -> RestartPolicy {
    let name = match name {
        "always" => RestartPolicyNameEnum::ALWAYS,
        "unless-stopped" => RestartPolicyNameEnum::UNLESS_STOPPED,
        "on-failure" => RestartPolicyNameEnum::ON_FAILURE,
        _ => RestartPolicyNameEnum::NO,
    };
    RestartPolicy { name: Some(name), maximum_retry_count: None }
}

/// Docker's update body from ours: what is absent stays.
pub(super) fn update_body(limits: &Limits) -> ContainerUpdateBody {
    ContainerUpdateBody {
        nano_cpus: limits.nano_cpus,
        memory: limits.memory,
        memory_swap: limits.memory,
        pids_limit: limits.pids,
        restart_policy: Some(restart_policy(limits.restart)),
        ..Default::default()
    }
}

fn health_config(check: &Healthcheck) -> HealthConfig {
    let check = match check {
        Healthcheck::None => return HealthConfig { test: Some(vec!["NONE".to_owned()]), ..Default::default() },
        Healthcheck::Check(check) => check,
    };
    let test = match &check.test {
        HealthTest::Shell(line) => vec!["CMD-SHELL".to_owned(), line.clone()],
        HealthTest::Program(program) => std::iter::once("CMD".to_owned()).chain(program.iter().cloned()).collect(),
    };
    let nanos = |span: Option<Seconds>| span.map(|span| i64::from(span.get()) * 1_000_000_000);
    HealthConfig {
        test: Some(test),
        interval: nanos(check.interval),
        timeout: nanos(check.timeout),
        retries: check.retries.map(i64::from),
        start_period: nanos(check.start_period),
        ..Default::default()
    }
}

/// A container in detail from Docker's answer.
pub(super) fn container(found: ContainerInspectResponse) -> Container {
    let docker = found.state.unwrap_or_default();
    let state = match docker.status {
        Some(ContainerStateStatusEnum::RUNNING) => ContainerState::Running,
        Some(ContainerStateStatusEnum::PAUSED) => ContainerState::Paused,
        Some(ContainerStateStatusEnum::RESTARTING) => ContainerState::Restarting,
        Some(ContainerStateStatusEnum::REMOVING) => ContainerState::Removing,
        Some(ContainerStateStatusEnum::EXITED) => ContainerState::Exited,
        Some(ContainerStateStatusEnum::DEAD) => ContainerState::Dead,
        _ => ContainerState::Created,
    };
    let ended = matches!(state, ContainerState::Exited | ContainerState::Dead);
    let (volumes, others): (Vec<_>, Vec<_>) =
        found.mounts.unwrap_or_default().into_iter().partition(|m| m.typ.as_deref() == Some("volume"));
    let binds = others.into_iter().filter(|m| m.typ.as_deref() == Some("bind"));
    let health = match docker.health.and_then(|health| health.status) {
        Some(HealthStatusEnum::STARTING) => Some(Health::Starting),
        Some(HealthStatusEnum::HEALTHY) => Some(Health::Healthy),
        Some(HealthStatusEnum::UNHEALTHY) => Some(Health::Unhealthy),
        _ => None,
    };
    let config = found.config.unwrap_or_default();
    let stop_timeout = config.stop_timeout.and_then(|seconds| u64::try_from(seconds).ok());
    Container {
        id: found.id.unwrap_or_default(),
        labels: config.labels.unwrap_or_default().into_iter().collect(),
        state,
        // Docker keeps the last word of a check that is not made any more.
        health: health.filter(|_| matches!(state, ContainerState::Running | ContainerState::Paused)),
        stop_timeout: stop_timeout.map(Duration::from_secs),
        exit_code: docker.exit_code.filter(|_| ended),
        started_at: docker.started_at.as_deref().and_then(micros),
        volumes: volumes.into_iter().filter_map(|m| m.name).collect(),
        binds: binds.filter_map(|m| m.source.map(Into::into)).collect(),
    }
}

/// Docker's time in microseconds since 1970; its year 1 means never.
pub(super) fn micros(text: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos() / 1000).ok().filter(|&us| us > 0)
}

/// A container of a list from Docker's answer.
pub(super) fn line(found: ContainerSummary) -> ContainerLine {
    let state = match found.state {
        Some(ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::STOPPING) => ContainerState::Running,
        Some(ContainerSummaryStateEnum::PAUSED) => ContainerState::Paused,
        Some(ContainerSummaryStateEnum::RESTARTING) => ContainerState::Restarting,
        Some(ContainerSummaryStateEnum::REMOVING) => ContainerState::Removing,
        Some(ContainerSummaryStateEnum::EXITED) => ContainerState::Exited,
        Some(ContainerSummaryStateEnum::DEAD) => ContainerState::Dead,
        Some(ContainerSummaryStateEnum::CREATED | ContainerSummaryStateEnum::EMPTY) | None => ContainerState::Created,
    };
    // One port is listed twice where it is bound on IPv4 and IPv6.
    let ports: BTreeSet<ObservedPort> = found
        .ports
        .unwrap_or_default()
        .into_iter()
        .filter_map(|port| {
            let protocol = match port.typ {
                Some(PortSummaryTypeEnum::UDP) => PortProtocol::Udp,
                _ => PortProtocol::Tcp,
            };
            Some(ObservedPort { container: port.private_port, host: port.public_port?, protocol })
        })
        .collect();
    let networks = found.network_settings.and_then(|n| n.networks).unwrap_or_default();
    let mut addresses: Vec<_> = networks.into_values().filter_map(|n| n.ip_address?.parse().ok()).collect();
    addresses.sort_unstable();
    let name = found.names.unwrap_or_default().into_iter().next().unwrap_or_default();
    ContainerLine {
        id: found.id.unwrap_or_default(),
        name: name.trim_start_matches('/').to_owned(),
        labels: found.labels.unwrap_or_default().into_iter().collect(),
        state,
        ports: ports.into_iter().collect(),
        address: addresses.into_iter().next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_that_is_gone_from_the_cache_is_told_from_a_build_that_fails() {
        let of = |words: &str| build_error(server_error(0, words.to_owned()));
        let digest = "failed to get digest sha256:03: open /var/lib/docker/image/overlay2/imagedb/content/sha256/03: no such file";
        assert!(matches!(of(digest), DockerError::CacheGone { .. }));
        assert!(matches!(of("No such image: sha256:03767d45"), DockerError::CacheGone { .. }));
        for fails in ["The command '/bin/sh -c false' returned a non-zero code: 1", "No such image: nowhere:1"] {
            assert!(matches!(of(fails), DockerError::Refused { .. }), "{fails}");
        }
        assert!(matches!(of("no space left on device"), DockerError::DiskFull { .. }));
    }
}
