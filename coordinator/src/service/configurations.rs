//! Configurations: what a client chose from a template, validated against its schema. Each change makes a new version. What
//! the schema says is a secret is sealed, and never shown.

use super::idempotency::{self, Key};
use super::riyic::{blame, blamed, choice as choice_of, laid_over};
use super::templates::{check_additions, reserved_names};
use super::{Result, Services, once};
use crate::access::{Permit, Read, Write};
use crate::build::archive::Listing;
use crate::build::schema::{Schema, Secrets, join};
use crate::build::{Claim, node, provision, render};
use crate::domain::configuration::{Choice, Configuration, LIMIT, SECRETS, deletable};
use crate::domain::image::{MadeOf, Recipe};
use crate::domain::page::Page;
use crate::domain::precondition::Precondition;
use crate::domain::template::{RunListItem, Template};
use crate::domain::{Kind, Refusal, Violation};
use crate::riyic::Node;
pub use crate::store::configurations::Filter;
use crate::store::{self, Conn};
use crate::vault::{Vault, VaultError};
use dockerforge_protocol::ids::{ConfigurationId, TemplateId, UserId};
use dockerforge_protocol::spec::{Document, ResourceName};
use secrecy::ExposeSecret;
use std::collections::BTreeMap;
use uuid::Uuid;

/// How often a change is worked out anew because another one was faster.
const ATTEMPTS: usize = 5;

/// A configuration to be made.
#[derive(Clone)]
pub struct NewConfiguration {
    /// Its name.
    pub name: ResourceName,
    /// Of which template.
    pub template: TemplateId,
    /// Of which version of that; the newest where absent.
    pub template_version: Option<u32>,
    /// What is chosen, with its secrets.
    pub choice: Choice,
    /// The server of the configuration service whose node is chosen below that.
    pub riyic: Option<Uuid>,
}

/// Which version of its template a configuration goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upgrade {
    /// The newest.
    Newest,
    /// This one.
    To(u32),
}

/// What is to change of a configuration; what is absent stays.
#[derive(Clone, Default)]
pub struct ConfigurationChange {
    /// Its name.
    pub name: Option<ResourceName>,
    /// The version of its template.
    pub upgrade: Option<Upgrade>,
    /// A merge patch (RFC 7396) of the parameters.
    pub parameters: Option<Document>,
    /// What is added to the run list from now on.
    pub run_list: Option<Vec<RunListItem>>,
    /// A merge patch of the attributes.
    pub attributes: Option<Document>,
    /// The server of the configuration service whose node is chosen from now on, in place of what was; the rest is laid over it.
    pub riyic: Option<Uuid>,
    /// From which version.
    pub seen: Precondition,
}

/// A choice that fits its template, parted from its secrets.
#[derive(Clone)]
struct Fitted {
    choice: Choice,
    pointers: Vec<String>,
    /// The secrets' JSON, if there are any.
    plain: Option<Vec<u8>>,
}

/// Says all that is wrong with a choice, of which that much is known, or parts it from its secrets.
fn fit(template: &Template, choice: Choice, mut problems: Vec<Violation>) -> Result<Fitted> {
    let provisioner = template.spec.provisioner;
    check_additions(provisioner, &choice.run_list, &choice.attributes, &mut problems);
    problems.extend(reserved_names(provisioner, "parameters", &choice.parameters));
    let schema = Schema::compile(&template.spec.parameters).map_err(Refusal::Invalid)?;
    problems.extend(schema.problems(&choice.parameters));
    if !problems.is_empty() {
        return Err(Refusal::Invalid(problems).into());
    }
    let (parameters, secrets) = schema.part(&choice.parameters);
    let pointers = secrets.keys().cloned().collect();
    let plain = (!secrets.is_empty()).then(|| serde_json::to_vec(&secrets).unwrap_or_default());
    Ok(Fitted { choice: Choice { parameters, ..choice }, pointers, plain })
}

async fn seal(conn: &mut Conn, vault: &Vault, user: UserId, fitted: &Fitted) -> Result<Option<Vec<u8>>> {
    match &fitted.plain {
        Some(plain) => Ok(Some(vault.seal(conn, user, SECRETS, plain).await?)),
        None => Ok(None),
    }
}

/// The secrets of a configuration.
pub(super) async fn unseal(conn: &mut Conn, vault: &Vault, of: &Configuration) -> Result<Secrets> {
    let Some(sealed) = store::configurations::sealed(conn, of.id, of.version).await? else {
        return Ok(Secrets::new());
    };
    let plain = vault.open(conn, of.user, SECRETS, &sealed).await?;
    Ok(serde_json::from_slice(plain.expose_secret()).map_err(|_| VaultError::Sealed)?)
}

impl Services {
    /// What is added to a template's run list and cannot be in its archive.
    async fn lacking(&self, template: &Template, added: &[RunListItem]) -> Result<Vec<Violation>> {
        if added.is_empty() {
            return Ok(Vec::new());
        }
        let listing = match &template.archive {
            Some(archive) => self.contexts.listing(archive).await?,
            None => Listing::default(),
        };
        let lacks = |item: &RunListItem| provision::lacks(template.spec.provisioner, item, &listing);
        let wrong = added.iter().enumerate().filter_map(|(i, item)| Some((i, item, lacks(item)?)));
        Ok(wrong.map(|(i, item, why)| Violation::new(format!("/run_list/{i}"), format!("{item}: {why}"))).collect())
    }

    /// Makes a configuration.
    pub async fn configuration_create(
        &self,
        permit: &Permit<Write>,
        key: Option<&Key>,
        new: NewConfiguration,
    ) -> Result<Configuration> {
        let user = permit.user();
        let template = {
            let mut conn = self.store.read().await?;
            if idempotency::is_known(&mut conn, user, key).await? {
                None
            } else {
                Some(template_of(&mut conn, user, new.template, new.template_version).await?)
            }
        };
        // What was asked before under the same key is not judged anew: its answer is known.
        let fitted = match (&template, new.riyic) {
            (Some(template), None) => {
                let lacking = self.lacking(template, &new.choice.run_list).await?;
                Some((fit(template, new.choice.clone(), lacking)?, template.version))
            }
            (Some(template), Some(server)) => {
                let node = self.riyic_node(server).await?;
                let below = choice_of(template, &node)?;
                let theirs = below.run_list.len();
                let whole = laid_over(below, &new.choice)?;
                let lacking = blamed(self.lacking(template, &whole.run_list).await?, theirs);
                Some((fit(template, whole, lacking).map_err(|error| blame(error, &new.choice))?, template.version))
            }
            (None, _) => None,
        };
        let result = once!({
            let (vault, permit, key) = (self.vault.clone(), permit.clone(), key.cloned());
            let (new, fitted) = (new.clone(), fitted.clone());
            self.store
                .write(move |conn| {
                    Box::pin(async move { create(conn, &vault, &permit, key.as_ref(), new, fitted).await })
                })
                .await
        });
        result.map_err(|error| error.naming(&new.name))
    }

    /// One configuration in a version: the newest where none is said.
    pub async fn configuration_get(
        &self,
        permit: &Permit<Read>,
        id: ConfigurationId,
        version: Option<u32>,
    ) -> Result<Configuration> {
        let mut conn = self.store.read().await?;
        let found = store::configurations::get(&mut conn, permit.user(), id, version).await?;
        Ok(found.ok_or(Refusal::NotFound(Kind::Configuration))?)
    }

    /// A page of configurations.
    pub async fn configuration_list(
        &self,
        permit: &Permit<Read>,
        filter: &Filter,
        page: Page,
    ) -> Result<Vec<Configuration>> {
        Ok(store::configurations::list(&mut self.store.read().await?, permit.user(), filter, page).await?)
    }

    /// The node JSON of a configuration, without its secrets.
    pub async fn configuration_node(
        &self,
        permit: &Permit<Read>,
        id: ConfigurationId,
        version: Option<u32>,
    ) -> Result<serde_json::Value> {
        let configuration = self.configuration_get(permit, id, version).await?;
        let mut conn = self.store.read().await?;
        let template = made_of(&mut conn, &configuration).await?;
        let defaults = Schema::compile(&template.spec.parameters).map_err(Refusal::Invalid)?.defaults();
        Ok(node::node(&template, &configuration, &defaults, &configuration.choice.parameters))
    }

    /// A context to build an image of a configuration from, in a version: the newest where none is said.
    pub async fn configuration_recipe(
        &self,
        permit: &Permit<Write>,
        id: ConfigurationId,
        version: Option<u32>,
        no_cache: bool,
    ) -> Result<(Recipe, Claim)> {
        let mut conn = self.store.read().await?;
        let configuration = named(&mut conn, permit.user(), id, version).await?;
        let template = made_of(&mut conn, &configuration).await?;
        drop(conn);
        let defaults = Schema::compile(&template.spec.parameters).map_err(Refusal::Invalid)?.defaults();
        let files = render::files(&template, &configuration, &defaults)?;
        let folder = Some((render::ARCHIVE, template.archive.clone()));
        let (context, claim) = self.contexts.compose(files, folder).await?;
        let made_of = Some(MadeOf { configuration: id, version: configuration.version });
        let dockerfile = render::DOCKERFILE.to_owned();
        Ok((Recipe { context, dockerfile, build_args: BTreeMap::new(), no_cache, made_of }, claim))
    }

    /// Changes a configuration, which makes its next version.
    pub async fn configuration_update(
        &self,
        permit: &Permit<Write>,
        id: ConfigurationId,
        change: ConfigurationChange,
    ) -> Result<Configuration> {
        let node = match change.riyic {
            // Whether there is something to change is known before anybody else is asked.
            Some(server) => {
                let mut conn = self.store.read().await?;
                let found = store::configurations::get(&mut conn, permit.user(), id, None).await?;
                found.ok_or(Refusal::NotFound(Kind::Configuration))?;
                drop(conn);
                Some(self.riyic_node(server).await?)
            }
            None => None,
        };
        for _ in 0..ATTEMPTS {
            let Some(changed) = self.try_update(permit, id, change.clone(), node.as_ref()).await? else { continue };
            return Ok(changed);
        }
        Err(Refusal::Changed(Kind::Configuration).into())
    }

    /// Works a change out and makes it, unless another one was made meanwhile.
    async fn try_update(
        &self,
        permit: &Permit<Write>,
        id: ConfigurationId,
        change: ConfigurationChange,
        node: Option<&Node>,
    ) -> Result<Option<Configuration>> {
        let user = permit.user();
        let mut conn = self.store.read().await?;
        let found = store::configurations::get(&mut conn, user, id, None).await?;
        let before = found.ok_or(Refusal::NotFound(Kind::Configuration))?;
        // Decided anew where another change was faster.
        change.seen.check(Kind::Configuration, Some(before.version.into()))?;
        let template = match change.upgrade {
            None => made_of(&mut conn, &before).await?,
            Some(Upgrade::Newest) => template_of(&mut conn, user, before.template, None).await?,
            Some(Upgrade::To(version)) => template_of(&mut conn, user, before.template, Some(version)).await?,
        };
        let secrets = unseal(&mut conn, &self.vault, &before).await?;
        drop(conn);
        let below = match node {
            Some(node) => choice_of(&template, node)?,
            None => Choice { parameters: join(&before.choice.parameters, &secrets), ..before.choice.clone() },
        };
        let own = Choice {
            parameters: change.parameters.clone().unwrap_or_default(),
            run_list: Vec::new(),
            attributes: change.attributes.clone().unwrap_or_default(),
        };
        let patched = |before: &Document, patch: Option<&Document>, pointer: &str| match patch {
            Some(patch) => before.patched(patch).map_err(|error| Refusal::invalid(pointer, error.to_string())),
            None => Ok(before.clone()),
        };
        let named = change.run_list.is_some();
        let choice = Choice {
            parameters: patched(&below.parameters, change.parameters.as_ref(), "/parameters")?,
            run_list: change.run_list.unwrap_or(below.run_list),
            attributes: patched(&below.attributes, change.attributes.as_ref(), "/attributes")?,
        };
        // What is there stays, also where it was not looked at yet.
        let lacking = if named || node.is_some() || change.upgrade.is_some() {
            self.lacking(&template, &choice.run_list).await?
        } else {
            Vec::new()
        };
        let fitted = match node {
            Some(_) => {
                let theirs = if named { 0 } else { choice.run_list.len() };
                fit(&template, choice, blamed(lacking, theirs)).map_err(|error| blame(error, &own))?
            }
            None => fit(&template, choice, lacking)?,
        };
        let next = Configuration {
            name: change.name.unwrap_or_else(|| before.name.clone()),
            template_version: template.version,
            version: before.version + 1,
            choice: fitted.choice.clone(),
            secrets: fitted.pointers.clone(),
            changed_at: crate::clock::now(),
            ..before
        };
        let (vault, permit, made) = (self.vault.clone(), permit.clone(), next.clone());
        let result = self
            .store
            .write(move |conn| Box::pin(async move { advance(conn, &vault, &permit, &made, &fitted).await }))
            .await;
        let moved = result.map_err(|error: super::ServiceError| error.naming(&next.name))?;
        Ok(moved.then_some(next))
    }

    /// Removes a configuration that no image is made of.
    pub async fn configuration_delete(
        &self,
        permit: &Permit<Write>,
        id: ConfigurationId,
        seen: &Precondition,
    ) -> Result<()> {
        let (permit, seen) = (permit.clone(), seen.clone());
        self.store
            .write(move |conn| {
                Box::pin(async move {
                    store::configurations::hold(conn, id).await?;
                    let found = store::configurations::get(conn, permit.user(), id, None).await?;
                    let configuration = found.ok_or(Refusal::NotFound(Kind::Configuration))?;
                    seen.check(Kind::Configuration, Some(configuration.version.into()))?;
                    deletable(id, store::images::of_configuration(conn, id).await?)?;
                    store::configurations::remove(conn, id).await?;
                    let (origin, now) = (permit.origin(), crate::clock::now());
                    store::records::audit(conn, origin, "configuration.delete", Kind::Configuration, id.uuid(), now)
                        .await?;
                    Ok(())
                })
            })
            .await
    }
}

/// A template that is named in a body.
async fn template_of(conn: &mut Conn, user: UserId, id: TemplateId, version: Option<u32>) -> Result<Template> {
    if let Some(template) = store::templates::get_visible(conn, user, id, version).await? {
        return Ok(template);
    }
    // Which of the two is wrong.
    let known = store::templates::get_visible(conn, user, id, None).await?.is_some();
    let (pointer, detail) = match version {
        Some(version) if known => ("/template_version", format!("{id} has no version {version}")),
        _ => ("/template", format!("there is no template {id}")),
    };
    Err(Refusal::invalid(pointer, detail).into())
}

/// A configuration that is named in a body.
pub(super) async fn named(
    conn: &mut Conn,
    user: UserId,
    id: ConfigurationId,
    version: Option<u32>,
) -> Result<Configuration> {
    if let Some(found) = store::configurations::get(conn, user, id, version).await? {
        return Ok(found);
    }
    // Which of the two is wrong.
    let known = store::configurations::get(conn, user, id, None).await?.is_some();
    let (pointer, detail) = match version {
        Some(version) if known => ("/configuration_version", format!("{id} has no version {version}")),
        _ => ("/configuration", format!("there is no configuration {id}")),
    };
    Err(Refusal::invalid(pointer, detail).into())
}

/// The template that a configuration is made of, in its version; it is there as long as the configuration is.
pub(super) async fn made_of(conn: &mut Conn, configuration: &Configuration) -> Result<Template> {
    let found = store::templates::get_version(conn, configuration.template, configuration.template_version).await?;
    Ok(found.ok_or(Refusal::Changed(Kind::Configuration))?)
}

async fn create(
    conn: &mut Conn,
    vault: &Vault,
    permit: &Permit<Write>,
    key: Option<&Key>,
    new: NewConfiguration,
    fitted: Option<(Fitted, u32)>,
) -> Result<Configuration> {
    let now = crate::clock::now();
    let (user, id) = (permit.user(), ConfigurationId::new());
    if let Some(replay) = idempotency::begin(conn, user, key, Kind::Configuration, id.uuid(), None, now).await? {
        let known = ConfigurationId::from_uuid(replay.id);
        let found = store::configurations::get(conn, user, known, None).await?;
        return Ok(found.ok_or(Refusal::NotFound(Kind::Configuration))?);
    }
    // The key was forgotten between the look and now.
    let (fitted, template_version) = fitted.ok_or(super::ServiceError::Outrun)?;
    store::templates::hold(conn, new.template).await?;
    template_of(conn, user, new.template, Some(template_version)).await?;
    store::users::hold(conn, user).await?;
    if store::configurations::count(conn, user).await? >= i64::from(LIMIT) {
        return Err(Refusal::TooMany { kind: Kind::Configuration, limit: LIMIT }.into());
    }
    let sealed = seal(conn, vault, user, &fitted).await?;
    let configuration = Configuration {
        id,
        user,
        name: new.name,
        template: new.template,
        template_version,
        version: 1,
        choice: fitted.choice,
        secrets: fitted.pointers,
        created_at: now,
        changed_at: now,
    };
    store::configurations::insert(conn, &configuration, sealed.as_deref()).await?;
    store::records::audit(conn, permit.origin(), "configuration.create", Kind::Configuration, id.uuid(), now).await?;
    Ok(configuration)
}

/// Makes the next version, if the one before is still the newest; whether it was.
async fn advance(
    conn: &mut Conn,
    vault: &Vault,
    permit: &Permit<Write>,
    next: &Configuration,
    fitted: &Fitted,
) -> Result<bool> {
    let sealed = seal(conn, vault, next.user, fitted).await?;
    if !store::configurations::advance(conn, next, sealed.as_deref()).await? {
        return Ok(false);
    }
    let (origin, now) = (permit.origin(), next.changed_at);
    store::records::audit(conn, origin, "configuration.update", Kind::Configuration, next.id.uuid(), now).await?;
    Ok(true)
}
