//! [`Command::CreateContainer`](dockerforge_protocol::command::Command::CreateContainer) as ensure steps. What must
//! hold: running it again after any interruption gives the same one container, and a container of another cluster,
//! another id or another specification under our name is left alone.

use super::ports::{self, Published};
use super::secrets::{self, Values};
use super::work::{Work, failed};
use super::{Ended, converge, failure, host, network, update};
use crate::docker::{Container, DockerError, HOST_NETWORK, NewContainer};
use dockerforge_protocol::command::{CreateContainer, Hardening, docker_name, labels, local_tag};
use dockerforge_protocol::ids::{ContainerId, UserId};
use dockerforge_protocol::report::{FailureKind, Product};
use dockerforge_protocol::spec::{HostAccess, HostNamespace, MilliCpus, SECRETS_FOLDER};
use std::collections::BTreeSet;

/// Of Docker's default capabilities (docs.docker.com/engine/security) those that a hosted program has no use for, and an
/// attacker has: forging packets and names on the bridge, device files, other roots, and giving capabilities away.
const POOL_DROPS: &[&str] = &["AUDIT_WRITE", "MKNOD", "NET_RAW", "SETFCAP", "SETPCAP", "SYS_CHROOT"];
/// How many of the ports that we chose may turn out to be something else's.
const PORT_CHOICES: usize = 20;

/// Makes sure that the container exists as specified, and runs.
pub(super) async fn create(work: &Work<'_>, command: &CreateContainer) -> Result<Product, Ended> {
    work.done("accepted");
    within_policy(work, command).await?;
    let prepared = prepare(work, command).await?;
    let id = make(work, command, &prepared, &[], true).await?;
    if let Some(convergence) = &command.converge
        && let Err(ended) = converge::within(work, &id, &convergence.context).await
    {
        // One that cannot be what it is to be is none: nothing is left of it, as of any creation that fails.
        let failed_for_good = matches!(&ended, Ended::Failed(failure) if !failure.retryable());
        if failed_for_good && !undo(work, command).await {
            let detail = "it could not be converged, and Docker did not answer when it was to be removed";
            return Err(failed(FailureKind::DockerUnavailable, detail));
        }
        return Err(ended);
    }
    Ok(Product::Container { docker_id: id })
}

/// What has to be there before the container can be.
pub(super) struct Prepared {
    /// The network that it joins.
    network: String,
    /// What stands in it from outside: volume name, path, whether read-only.
    volumes: Vec<(String, String, bool)>,
    /// What it is given of the host.
    host: HostAccess,
    /// Whether Docker copies nothing of the image into a volume that is empty.
    keep_volumes: bool,
}

impl Prepared {
    /// The volumes stay as they are, also one that is empty.
    pub(super) fn with_volumes_as_they_are(self) -> Self {
        Self { keep_volumes: true, ..self }
    }
}

/// What a container is made from.
struct New<'a> {
    command: &'a CreateContainer,
    prepared: &'a Prepared,
    values: &'a Values,
}

/// Makes sure that all is there that the container needs, its user's network, its volumes, its image, and that it may have
/// what it is given of the host.
pub(super) async fn prepare(work: &Work<'_>, command: &CreateContainer) -> Result<Prepared, Ended> {
    if let Some((pointer, problem)) = command.spec.problems().into_iter().next() {
        return Err(failed(
            FailureKind::DockerRefused,
            format!("the specification is not valid: {pointer}: {problem}"),
        ));
    }
    hardened(command)?;
    let host = host::given(work, command).await?;
    work.step("preparing the network", Some(10))?;
    let network = if host.joins(HostNamespace::Network) {
        HOST_NETWORK.to_owned()
    } else {
        network::ensure(work, command.user).await?
    };
    work.done("network");

    work.step("preparing volumes", Some(20))?;
    let mut volumes = Vec::with_capacity(command.spec.volumes.len());
    for mount in &command.spec.volumes {
        let name = network::ensure_volume(work, command.user, &mount.volume).await?;
        volumes.push((name, mount.target.to_string(), mount.read_only));
    }
    work.done("volumes");

    work.step("looking for the image", Some(30))?;
    let image = local_tag(command.image);
    match work.settings.engine.image_inspect(&image).await {
        Ok(_) => {}
        Err(DockerError::NotFound { .. }) => {
            let detail = format!("the image {} is not on the host", command.image);
            return Err(failed(FailureKind::ImageNotFound, detail));
        }
        Err(error) => return Err(error.into()),
    }
    work.done("image");

    Ok(Prepared { network, volumes, host, keep_volumes: false })
}

/// Makes sure that the container is there as specified, and runs if it is to; answers Docker's id of it. `before` are the
/// ports that it had, which it keeps where it can.
pub(super) async fn make(
    work: &Work<'_>,
    command: &CreateContainer,
    prepared: &Prepared,
    before: &[Published],
    run: bool,
) -> Result<String, Ended> {
    let values = secrets::fetch(work, &command.spec).await?;
    let mut refused = BTreeSet::new();
    loop {
        work.step("creating", Some(60))?;
        let new = New { command, prepared, values: &values };
        let (id, ports) = ensure_created(work, &new, &refused, before).await?;
        work.done("created");
        if let Some(archive) = secrets::archive(&command.spec, &values)? {
            work.settings.engine.container_unpack(&id, SECRETS_FOLDER, secrets::stream(archive)).await?;
        }
        if !run {
            return Ok(id);
        }
        work.step("starting", Some(75))?;
        let Err(error) = work.settings.engine.container_start(&id).await else {
            work.done("started");
            return Ok(id);
        };
        let ended = not_started(work, command, &id, &error).await;
        // A port that we chose is something else's on this host: another one will do.
        match ports::complained(&command.spec.ports, &ports, &error.to_string()) {
            Some(port) if refused.len() < PORT_CHOICES && !retryable(&ended) => refused.insert(port),
            _ => return Err(ended),
        };
    }
}

/// What must hold where many users share the host, whoever asks.
fn hardened(command: &CreateContainer) -> Result<(), Ended> {
    let limits = &command.spec.resources;
    let limited = limits.cpus.is_some() && limits.memory.is_some() && limits.pids.is_some();
    if command.hardening == Hardening::Docker || limited {
        return Ok(());
    }
    Err(failed(FailureKind::DockerRefused, "a container on a shared host has limits: cpus, memory and pids"))
}

fn retryable(ended: &Ended) -> bool {
    matches!(ended, Ended::Failed(failure) if failure.retryable())
}

/// The owner's limit on the number of containers, which only Docker can count.
pub(super) async fn within_policy(work: &Work<'_>, command: &CreateContainer) -> Result<(), Ended> {
    let Some(max) = work.settings.policy.max_containers else { return Ok(()) };
    let ours = [format!("{}={}", labels::CLUSTER, work.settings.cluster)];
    let there = work.settings.engine.container_list(&ours).await?;
    let others = there.iter().filter_map(|c| c.labels.get(labels::CONTAINER));
    let others = others.filter(|id| **id != command.container.to_string()).count();
    if others >= max {
        let detail = format!("this host's policy allows at most {max} containers, {others} are there");
        return Err(failed(FailureKind::Policy, detail));
    }
    Ok(())
}

/// Removes what a stopped creation left: the container, if this job made it. Whether nothing of it is left.
pub(super) async fn undo(work: &Work<'_>, command: &CreateContainer) -> bool {
    let name = docker_name(command.container);
    let removed = async {
        let found = work.settings.engine.container_inspect(&name).await?;
        let same_job = found.labels.get(labels::JOB) == Some(&work.attempt.job.to_string());
        if is_asked(work, command, &found) && same_job {
            work.settings.engine.container_remove(&found.id).await?;
        }
        Ok::<_, DockerError>(())
    };
    match removed.await {
        Ok(()) | Err(DockerError::NotFound { .. }) => true,
        Err(error) => {
            tracing::warn!(%error, %name, job = %work.attempt.job, "what a stopped job made is left over");
            false
        }
    }
}

/// What has a Docker name of one of our containers; `None` if nothing has. What is not ours is an error: it is neither
/// used nor changed.
pub(super) async fn look(
    work: &Work<'_>,
    name: &str,
    container: ContainerId,
    user: UserId,
) -> Result<Option<Container>, Ended> {
    match work.settings.engine.container_inspect(name).await {
        Ok(found) => {
            let same = found.labels.get(labels::CONTAINER) == Some(&container.to_string());
            if same && work.is_ours(&found.labels, user) {
                Ok(Some(found))
            } else {
                Err(failed(FailureKind::NameTaken, format!("what has the name {name} on the host is not ours")))
            }
        }
        Err(DockerError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The container, which has to be there.
pub(super) async fn there(work: &Work<'_>, id: ContainerId, user: UserId) -> Result<Container, Ended> {
    // A job that was to make it anew and was given up on may have left it under another name.
    update::put_back(work, id, user).await?;
    look(work, &docker_name(id), id, user)
        .await?
        .ok_or_else(|| failed(FailureKind::ContainerNotFound, format!("{id} is not on the host")))
}

/// Whether a container found under the name is the one that was asked for.
fn is_asked(work: &Work<'_>, command: &CreateContainer, found: &Container) -> bool {
    let has = |key: &str, value: String| found.labels.get(key) == Some(&value);
    work.is_ours(&found.labels, command.user)
        && has(labels::CONTAINER, command.container.to_string())
        && has(labels::SPEC_HASH, command.spec_hash())
}

/// The container, made or adopted, and the ports it was given. `refused` are those that are something else's.
async fn ensure_created(
    work: &Work<'_>,
    new: &New<'_>,
    refused: &BTreeSet<u16>,
    before: &[Published],
) -> Result<(String, Vec<Published>), Ended> {
    // From the look at what others have to the container that has it: one choice at a time.
    let _one_at_a_time = work.keys.lock("ports").await;
    let command = new.command;
    let ports = choose_ports(work, command, refused, before).await?;
    let new = body(work, new, ports.clone());
    match work.settings.engine.container_create(&new).await {
        Ok(id) => Ok((id, ports)),
        Err(DockerError::Conflict { message }) => {
            let found = work.settings.engine.container_inspect(&new.name).await?;
            if is_asked(work, command, &found) {
                Ok((found.id, ports::of_labels(&found.labels)))
            } else {
                let detail = format!("something else on the host has the name {}: {message}", new.name);
                Err(failed(FailureKind::NameTaken, detail))
            }
        }
        Err(error @ DockerError::NotFound { .. }) => {
            // Only the image can be missing here; it went between the look and the creation.
            Err(Ended::Failed(failure(&error, FailureKind::ImageNotFound)))
        }
        Err(error) => Err(error.into()),
    }
}

/// A port of the host for each that is published.
async fn choose_ports(
    work: &Work<'_>,
    command: &CreateContainer,
    refused: &BTreeSet<u16>,
    before: &[Published],
) -> Result<Vec<Published>, Ended> {
    let asked = &command.spec.ports;
    let mut taken = refused.clone();
    if asked.iter().any(|port| port.host.is_none()) {
        let ours = [format!("{}={}", labels::CLUSTER, work.settings.cluster)];
        taken.extend(ports::taken(&work.settings.engine.container_list(&ours).await?, command.container));
    }
    ports::choose(command.container, asked, before, &taken)
        .ok_or_else(|| failed(FailureKind::PortTaken, "no port of the host is free"))
}

/// A container that does not start is removed, unless Docker's silence leaves open whether it did.
async fn not_started(work: &Work<'_>, command: &CreateContainer, id: &str, error: &DockerError) -> Ended {
    let text = error.to_string();
    let refused = match error {
        DockerError::Unavailable { .. } | DockerError::Timeout { .. } | DockerError::Protocol { .. } => {
            return Ended::Failed(failure(error, FailureKind::DockerRefused));
        }
        _ => taken_port(command, &text),
    };
    if let Err(error) = work.settings.engine.container_remove(id).await
        && !matches!(error, DockerError::NotFound { .. })
    {
        tracing::warn!(%error, %id, job = %work.attempt.job, "a container that does not start is left over");
        // The next attempt adopts it, tries again and removes it.
        return Ended::Failed(failure(&error, FailureKind::Internal));
    }
    match refused {
        Some(port) => failed(FailureKind::PortTaken, format!("port {port} of the host is taken: {text}")),
        None => Ended::Failed(failure(error, FailureKind::DockerRefused)),
    }
}

/// Whether Docker's words complain about a port of the host.
pub(super) fn is_port_taken(text: &str) -> bool {
    text.contains("port is already allocated") || text.contains("address already in use")
}

/// The port of the host that Docker's words complain about.
fn taken_port(command: &CreateContainer, text: &str) -> Option<String> {
    if !is_port_taken(text) {
        return None;
    }
    let asked = command.spec.ports.iter().filter_map(|p| Some((p.host?.get(), p.protocol)));
    let named = asked.clone().find(|(port, _)| text.contains(&format!(":{port}")));
    named.or_else(|| asked.clone().next()).map(|(port, protocol)| format!("{port}/{protocol}"))
}

/// Docker's measure of processor time.
pub(super) fn nano_cpus(cpus: MilliCpus) -> i64 {
    i64::from(cpus.get()) * 1_000_000
}

fn body(work: &Work<'_>, new: &New<'_>, ports: Vec<Published>) -> NewContainer {
    let New { command, prepared, values } = new;
    let spec = &command.spec;
    // The user's labels cannot begin with our prefix, and ours are written last all the same.
    let mut all: crate::docker::LabelMap =
        spec.labels.iter().map(|(k, v)| (k.to_string(), v.as_str().to_owned())).collect();
    all.extend(work.labels(command.user));
    all.insert(labels::CONTAINER.to_owned(), command.container.to_string());
    all.insert(labels::IMAGE.to_owned(), command.image.to_string());
    all.insert(labels::SPEC_HASH.to_owned(), command.spec_hash());
    if !ports.is_empty() {
        all.insert(labels::PORTS.to_owned(), ports::to_label(&ports));
    }
    NewContainer {
        name: docker_name(command.container),
        image: local_tag(command.image),
        command: spec.command.clone(),
        env: spec.env.iter().map(|(name, value)| format!("{name}={value}")).chain(secrets::env(spec, values)).collect(),
        labels: all,
        network: prepared.network.clone(),
        alias: command.name.to_string(),
        links: spec.links.iter().map(|link| (docker_name(link.container), link.alias.to_string())).collect(),
        ports,
        volumes: prepared.volumes.clone(),
        keep_volumes: prepared.keep_volumes,
        private: secrets::has_files(spec).then_some(SECRETS_FOLDER),
        nano_cpus: spec.resources.cpus.map(nano_cpus),
        memory: spec.resources.memory.and_then(|memory| i64::try_from(memory.get()).ok()),
        pids: spec.resources.pids.map(|pids| i64::from(pids.get())),
        restart: spec.restart.as_str(),
        entrypoint: spec.entrypoint.clone(),
        user: spec.user.as_ref().map(ToString::to_string),
        workdir: spec.workdir.as_ref().map(ToString::to_string),
        hostname: spec.hostname.as_ref().map(ToString::to_string),
        tmpfs: spec
            .tmpfs
            .iter()
            .map(|mount| (mount.path.to_string(), mount.size.and_then(|size| i64::try_from(size.get()).ok())))
            .collect(),
        read_only: spec.read_only,
        init: spec.init,
        healthcheck: spec.healthcheck.clone(),
        stop_signal: spec.stop_signal.as_ref().map(ToString::to_string),
        stop_timeout: spec.stop_grace.map(|grace| grace.get().into()),
        no_new_privileges: command.hardening == Hardening::Pool,
        drop_capabilities: {
            let drops = match command.hardening {
                Hardening::Docker => &[],
                Hardening::Pool => POOL_DROPS,
            };
            let asked = spec.cap_drop.iter().map(ToString::to_string);
            asked.chain(drops.iter().map(ToString::to_string)).collect()
        },
        host: prepared.host.clone(),
    }
}
