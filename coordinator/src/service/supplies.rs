//! What a host asks for while it does a job: the context of a build, the secrets of a container. Given only for a job that
//! this very host has in work, and only while its certificate is good.

use super::{Result, Services};
use crate::domain::job::{Job, JobState};
use crate::store::{self, Conn};
use crate::vault::Vault;
use dockerforge_protocol::command::{
    Command, ContextRef, ConvergeContainer, ExecContainer, ReceiveContainer, RecreateContainer,
};
use dockerforge_protocol::ids::{ContainerId, HostId, JobId, SecretId, UserId};
use secrecy::{ExposeSecret, SecretString};

/// A value of a secret, to be kept.
#[derive(Clone)]
pub struct SecretValue {
    /// By which a container's spec names it.
    pub id: SecretId,
    /// The value.
    pub value: SecretString,
}

impl Services {
    /// The context of a build.
    pub async fn job_context(&self, serial: &str, host: HostId, job: JobId) -> Result<Option<ContextRef>> {
        let mut conn = self.store.read().await?;
        let job = in_work(&mut conn, serial, host, job).await?;
        Ok(job.and_then(|job| match job.command {
            Some(Command::BuildImage(build)) => Some(build.context),
            command => command?.convergence().map(|convergence| convergence.context),
        }))
    }

    /// The secrets of the container that a job makes, or runs a program in.
    pub async fn job_secrets(&self, serial: &str, host: HostId, job: JobId) -> Result<Option<Vec<SecretValue>>> {
        let mut conn = self.store.read().await?;
        let Some(job) = in_work(&mut conn, serial, host, job).await? else { return Ok(None) };
        match job.command {
            Some(
                Command::CreateContainer(_)
                | Command::ReceiveContainer(_)
                | Command::RecreateContainer(_)
                | Command::ExecContainer(_),
            ) => Ok(Some(of_job(&mut conn, &self.vault, &job).await?)),
            _ => Ok(None),
        }
    }
}

/// The secrets of the container that a job makes, or does something in.
pub(super) async fn of_job(conn: &mut Conn, vault: &Vault, job: &Job) -> Result<Vec<SecretValue>> {
    let (id, secrets) = match &job.command {
        Some(
            Command::CreateContainer(create)
            | Command::RecreateContainer(RecreateContainer { create, .. })
            | Command::ReceiveContainer(ReceiveContainer { create }),
        ) => (create.container, create.spec.secrets.clone()),
        Some(
            Command::ExecContainer(ExecContainer { container, .. })
            | Command::ConvergeContainer(ConvergeContainer { container, .. }),
        ) => {
            let found = store::containers::get(conn, job.user, *container).await?;
            (*container, found.map(|container| container.spec.secrets).unwrap_or_default())
        }
        _ => return Ok(Vec::new()),
    };
    let mut values = Vec::with_capacity(secrets.len());
    for (secret, sealed) in store::secrets::of_container(conn, id).await? {
        if secrets.values().any(|named| named.id == secret) {
            let plain = vault.open(conn, job.user, &purpose(secret), &sealed).await?;
            let text = String::from_utf8_lossy(plain.expose_secret()).into_owned();
            values.push(SecretValue { id: secret, value: text.into() });
        }
    }
    Ok(values)
}

/// Keeps values of a container's secrets.
pub(super) async fn keep(
    conn: &mut Conn,
    vault: &Vault,
    user: UserId,
    container: ContainerId,
    values: &[SecretValue],
) -> Result<()> {
    for SecretValue { id, value } in values {
        let sealed = vault.seal(conn, user, &purpose(*id), value.expose_secret().as_bytes()).await?;
        store::secrets::insert(conn, *id, container, &sealed).await?;
    }
    Ok(())
}

/// What a value is sealed for.
fn purpose(id: SecretId) -> String {
    format!("secret {id}")
}

/// The job, if the host with this certificate has it in work.
pub(super) async fn in_work(conn: &mut Conn, serial: &str, host: HostId, job: JobId) -> Result<Option<Job>> {
    if !store::enrolment::certificate_is_good(conn, serial, host).await? {
        return Ok(None);
    }
    let job = store::jobs::find_whole(conn, job).await?;
    Ok(job.filter(|job| job.host == Some(host) && !job.state.is_terminal() && job.state != JobState::Queued))
}
