//! Converging: bringing a container that runs to what its configuration says, without making it anew. What is laid down in
//! it is a build context; the node with its secrets is given to its host alone, while the job is in work.

use super::configurations::{made_of, named, unseal};
use super::idempotency::{self, Key};
use super::operations::{Begun, begin};
use super::{Result, Services, grants, once};
use crate::access::{Permit, Write};
use crate::build::schema::{Schema, Secrets, join};
use crate::build::{Claim, grant, node, render};
use crate::domain::configuration::Configuration;
use crate::domain::container::{Container, DesiredState};
use crate::domain::grant::{Grant, Provision};
use crate::domain::job::{Job, JobKind, Subject};
use crate::domain::template::Template;
use crate::domain::{Kind, Refusal};
use crate::queue::{self, Request};
use crate::store::{self, Conn};
use dockerforge_protocol::command::{Command, ConvergeContainer, Convergence};
use dockerforge_protocol::enrolment::SuppliedNode;
use dockerforge_protocol::ids::{ContainerId, HostId, ImageId, JobId, UserId};
use jiff::SignedDuration;
use secrecy::ExposeSecret;
use serde_json::Value;

/// Seconds that the converge of a container that is being made may take: as one that is asked for where nobody says.
const LAUNCH_LIMIT: u32 = 1800;

/// How to converge a container.
#[derive(Debug, Clone)]
pub struct Converge {
    /// The version of its configuration; the newest where absent.
    pub version: Option<u32>,
    /// Seconds that it may take.
    pub limit_s: u32,
    /// How long it may wait for its host.
    pub wait: Option<SignedDuration>,
}

impl Services {
    /// Asks for a container to be brought to what its configuration says.
    pub async fn container_converge(
        &self,
        permit: &Permit<Write>,
        key: Option<&Key>,
        id: ContainerId,
        asked: Converge,
    ) -> Result<JobId> {
        // What was asked before under the same key is not judged anew: its answer is known.
        let known = idempotency::is_known(&mut self.store.read().await?, permit.user(), key).await?;
        let (prepared, claim) = if known {
            (None, None)
        } else {
            let (to, _, claim) = self.converge_context(permit.user(), id, asked.version).await?;
            (Some(to), Some(claim))
        };
        let result = once!({
            let (permit, key, asked) = (permit.clone(), key.cloned(), asked.clone());
            let prepared = prepared.clone();
            self.store
                .write(move |conn| {
                    Box::pin(async move { converge(conn, &permit, key.as_ref(), id, prepared, asked).await })
                })
                .await
        });
        if let Some(claim) = claim {
            self.context_release(claim).await;
        }
        let (job, host) = result?;
        if let Some(host) = host {
            self.signals.wake_host(host);
        }
        Ok(job)
    }

    /// What converges a container, and how its template provisions those who are linked to it.
    pub(super) async fn converge_context(
        &self,
        user: UserId,
        id: ContainerId,
        version: Option<u32>,
    ) -> Result<(Convergence, Option<Provision>, Claim)> {
        let mut conn = self.store.read().await?;
        let found = store::containers::get(&mut conn, user, id).await?;
        let container = found.ok_or(Refusal::NotFound(Kind::Container))?;
        let image = store::images::get_visible(&mut conn, user, container.image).await?;
        let of = image.and_then(|image| image.source.made_of());
        let of = of.ok_or(Refusal::NotConfigured(id))?;
        let configuration = named(&mut conn, user, of.configuration, version).await?;
        let template = made_of(&mut conn, &configuration).await?;
        drop(conn);
        let (to, claim) = self.compose(&template, &configuration).await?;
        Ok((to, template.spec.provision, claim))
    }

    /// What converges containers of an image when they are made: to the newest version of its configuration. Nothing where
    /// it is of none, or of another user's, whose secrets are his.
    pub(super) async fn launch_context(&self, user: UserId, image: ImageId) -> Result<Option<(Convergence, Claim)>> {
        let mut conn = self.store.read().await?;
        let image = store::images::get_visible(&mut conn, user, image).await?;
        let Some(of) = image.and_then(|image| image.source.made_of()) else { return Ok(None) };
        let Some(configuration) = store::configurations::get(&mut conn, user, of.configuration, None).await? else {
            return Ok(None);
        };
        let template = made_of(&mut conn, &configuration).await?;
        drop(conn);
        self.compose(&template, &configuration).await.map(Some)
    }

    /// What a container is given to be converged to a configuration.
    async fn compose(&self, template: &Template, configuration: &Configuration) -> Result<(Convergence, Claim)> {
        let schema = Schema::compile(&template.spec.parameters).map_err(Refusal::Invalid)?;
        let files = render::convergence(template, configuration, &schema.defaults())?;
        let folder = Some((render::CONVERGENCE_ARCHIVE, template.archive.clone()));
        let (context, claim) = self.contexts.compose(files, folder).await?;
        let (configuration, version) = (configuration.id, configuration.version);
        Ok((Convergence { configuration, version, context, limit_s: LAUNCH_LIMIT }, claim))
    }

    /// The node that a job of this host converges to, with its secrets.
    pub async fn job_node(&self, serial: &str, host: HostId, job: JobId) -> Result<Option<SuppliedNode>> {
        let mut conn = self.store.read().await?;
        let Some(job) = super::supplies::in_work(&mut conn, serial, host, job).await? else { return Ok(None) };
        let Some(to) = job.command.as_ref().and_then(Command::convergence) else { return Ok(None) };
        let found = store::configurations::get(&mut conn, job.user, to.configuration, Some(to.version)).await?;
        let Some(configuration) = found else { return Ok(None) };
        let template = made_of(&mut conn, &configuration).await?;
        let secrets = unseal(&mut conn, &self.vault, &configuration).await?;
        // Nobody who reads waits for a second place among those who do.
        drop(conn);
        let grants = self.grants_of(&job).await?;
        let mut conn = self.store.read().await?;
        let mut supplied = supplied(&template, &configuration, &secrets, &grants)?;
        // What the converge prints of the container's own secrets is starred as well.
        let own = super::supplies::of_job(&mut conn, &self.vault, &job).await?;
        supplied.secrets.extend(own.iter().map(|secret| secret.value.expose_secret().to_owned()));
        Ok(Some(supplied))
    }

    /// What the container of a job grants to others.
    async fn grants_of(&self, job: &Job) -> Result<Vec<(Grant, Option<String>)>> {
        let (Subject::Container(container), id) = (job.subject, job.id) else { return Ok(Vec::new()) };
        // Nearly always there is nothing, and reading costs the writer nothing.
        if store::grants::of_target(&mut self.store.read().await?, container).await?.is_empty() {
            return Ok(Vec::new());
        }
        let vault = self.vault.clone();
        self.store.write(move |conn| Box::pin(async move { grants::shown(conn, &vault, container, id).await })).await
    }
}

fn supplied(
    template: &Template,
    configuration: &Configuration,
    secrets: &Secrets,
    grants: &[(Grant, Option<String>)],
) -> Result<SuppliedNode> {
    let defaults = Schema::compile(&template.spec.parameters).map_err(Refusal::Invalid)?.defaults();
    let whole = join(&configuration.choice.parameters, secrets);
    let mut node = node::node(template, configuration, &defaults, &whole);
    grant::add_to(&mut node, grants);
    let mut texts: Vec<String> = grants.iter().filter_map(|(_, password)| password.clone()).collect();
    for secret in secrets.values() {
        texts_of(secret, &mut texts);
    }
    Ok(SuppliedNode { node: node.to_string(), secrets: texts })
}

/// Every text in a secret: it may be a whole object.
fn texts_of(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts_of(item, texts)),
        Value::Object(members) => members.values().for_each(|member| texts_of(member, texts)),
        Value::Number(number) => texts.push(number.to_string()),
        Value::Bool(_) | Value::Null => {}
    }
}

async fn converge(
    conn: &mut Conn,
    permit: &Permit<Write>,
    key: Option<&Key>,
    id: ContainerId,
    prepared: Option<Convergence>,
    asked: Converge,
) -> Result<(JobId, Option<HostId>)> {
    let user = permit.user();
    let (container, job, now) = match begin(conn, user, key, id).await? {
        Begun::New { container, job, now } => (*container, job, now),
        Begun::Again(job) => return Ok((job, None)),
    };
    // The key was forgotten between the look and now.
    let to = prepared.ok_or(super::ServiceError::Outrun)?;
    // Whoever says what runs as root in such a container may do so on its host.
    super::host_access::demand(conn, &container, permit.scopes()).await?;
    if container.desired == DesiredState::Stopped {
        return Err(Refusal::NotRunning(id).into());
    }
    let to = Convergence { limit_s: asked.limit_s, ..to };
    let request = Request { id: job, ..request(&container, to, asked.wait) };
    queue::enqueue(conn, request, now).await?;
    store::records::audit(conn, permit.origin(), "container.converge", Kind::Container, id.uuid(), now).await?;
    Ok((job, Some(container.host)))
}

/// The converge of a container.
pub(super) fn request(of: &Container, to: Convergence, wait: Option<SignedDuration>) -> Request {
    let Convergence { configuration, version, context, limit_s } = to;
    let (container, user) = (of.id, of.user);
    let command = ConvergeContainer { container, user, configuration, version, context, limit_s };
    Request {
        id: JobId::new(),
        user,
        work: Some((of.host, Command::ConvergeContainer(command))),
        parent: None,
        kind: JobKind::ContainerConverge,
        subject: Subject::Container(container),
        wait,
    }
}
