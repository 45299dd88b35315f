//! Templates: what clients can make configurations of. Users see their own and the public ones; each change makes a new
//! version, and what is made of an older one stays as it was.

use super::idempotency::{self, Key};
use super::{Result, Services, once};
use crate::access::{Administer, Permit, Read, Write};
use crate::build::archive::Limits;
use crate::build::grant;
use crate::build::node::reserved;
use crate::build::schema::{Schema, apart, defaults};
use crate::domain::page::Page;
use crate::domain::precondition::Precondition;
use crate::domain::template::{
    KEPT_VERSIONS, LIMIT, MAX_ARCHIVES, MAX_RUN_LIST, Provisioner, RunListItem, Template, TemplateSpec, archives_fit,
    deletable,
};
use crate::domain::{Kind, Refusal, Violation};
use crate::store::{self, Conn};
use dockerforge_protocol::command::ContextRef;
use dockerforge_protocol::ids::TemplateId;
use dockerforge_protocol::spec::{Document, ResourceName};

/// The largest archive of cookbooks, roles or scripts: 64 MiB compressed, 256 MiB expanded, 50,000 entries.
pub const ARCHIVE_LIMITS: Limits = Limits { compressed: 64 << 20, expanded: 256 << 20, entries: 50_000 };

/// A template to be made, or what one is to be from now on.
#[derive(Clone)]
pub struct NewTemplate {
    /// Its name.
    pub name: ResourceName,
    /// Whether every user sees it. Only with leave to administer, for an administrator himself.
    pub public: Option<Permit<Administer>>,
    /// What it says.
    pub spec: TemplateSpec,
}

impl NewTemplate {
    async fn check(&self, permit: &Permit<Write>) -> Result<()> {
        let spec = self.spec.clone();
        let mut problems = apart(move || judge(&spec)).await?;
        if self.public.is_some() && permit.origin().actor != permit.user() {
            let detail = "a public template is an administrator's own: act for nobody else";
            problems.push(Violation::new("/public", detail));
        }
        if self.spec.run_list.is_empty() {
            problems.push(Violation::new("/run_list", "expected at least one entry"));
        }
        check_additions(self.spec.provisioner, &self.spec.run_list, &self.spec.attributes, &mut problems);
        if problems.is_empty() { Ok(()) } else { Err(Refusal::Invalid(problems).into()) }
    }
}

/// What is wrong with the schema of a template, and with what it says of its own against it.
fn judge(spec: &TemplateSpec) -> Vec<Violation> {
    let mut problems = match Schema::compile(&spec.parameters) {
        Ok(schema) => schema.problems_of_template(&spec.attributes),
        Err(problems) => problems,
    };
    if let Err(error) = defaults(&spec.parameters).merged(&spec.attributes) {
        problems.push(Violation::new("/attributes", format!("with the defaults of the parameters: {error}")));
    }
    problems.extend(spec.provision.iter().flat_map(grant::problems));
    problems
}

/// What holds of every run list and of all attributes.
pub(super) fn check_additions(
    provisioner: Provisioner,
    run_list: &[RunListItem],
    attributes: &Document,
    problems: &mut Vec<Violation>,
) {
    if run_list.len() > MAX_RUN_LIST {
        problems.push(Violation::new("/run_list", format!("expected at most {MAX_RUN_LIST} entries")));
    }
    for (i, item) in run_list.iter().enumerate() {
        if run_list[..i].contains(item) {
            problems.push(Violation::new(format!("/run_list/{i}"), "this entry is there twice"));
        }
    }
    problems.extend(reserved_names(provisioner, "attributes", attributes));
}

/// A violation for each name in a part of the node that is not to be chosen.
pub(super) fn reserved_names(provisioner: Provisioner, part: &str, document: &Document) -> Vec<Violation> {
    let names = document.members().keys().filter(|name| reserved(provisioner, name));
    let pointers = names.map(|name| format!("/{part}/{}", name.replace('~', "~0").replace('/', "~1")));
    pointers
        .map(|at| Violation::new(at, "expected another name: this is the node's or the provisioner's own"))
        .collect()
}

impl Services {
    /// Makes a template.
    pub async fn template_create(
        &self,
        permit: &Permit<Write>,
        key: Option<&Key>,
        new: NewTemplate,
    ) -> Result<Template> {
        new.check(permit).await?;
        let result = once!({
            let (permit, key, new) = (permit.clone(), key.cloned(), new.clone());
            self.store.write(move |conn| Box::pin(async move { create(conn, &permit, key.as_ref(), new).await })).await
        });
        result.map_err(|error| error.naming(&new.name))
    }

    /// One template in a version: the newest where none is said.
    pub async fn template_get(&self, permit: &Permit<Read>, id: TemplateId, version: Option<u32>) -> Result<Template> {
        let mut conn = self.store.read().await?;
        let found = store::templates::get_visible(&mut conn, permit.user(), id, version).await?;
        Ok(found.ok_or(Refusal::NotFound(Kind::Template))?)
    }

    /// A page of templates.
    pub async fn template_list(
        &self,
        permit: &Permit<Read>,
        name: Option<&ResourceName>,
        page: Page,
    ) -> Result<Vec<Template>> {
        Ok(store::templates::list(&mut self.store.read().await?, permit.user(), name, page).await?)
    }

    /// Says anew all that a template says, which makes its next version if anything is another than before; its archive stays.
    pub async fn template_replace(
        &self,
        permit: &Permit<Write>,
        id: TemplateId,
        new: NewTemplate,
        seen: &Precondition,
    ) -> Result<Template> {
        new.check(permit).await?;
        let seen = seen.clone();
        let name = new.name.clone();
        let permit = permit.clone();
        let change = move |template: &mut Template| {
            template.name = new.name;
            template.public = new.public.is_some();
            template.spec = new.spec;
        };
        let changed = self
            .store
            .write(move |conn| {
                Box::pin(async move { advance(conn, &permit, id, &seen, "template.update", change).await })
            })
            .await;
        changed.map_err(|error: super::ServiceError| error.naming(&name))
    }

    /// Whether a template's archive may be changed, before it is received.
    pub async fn template_expect(&self, permit: &Permit<Write>, id: TemplateId) -> Result<()> {
        own(&mut self.store.read().await?, permit, id).await.map(drop)
    }

    /// Gives a template another archive, which makes its next version. The one that it has makes none.
    pub async fn template_archive(
        &self,
        permit: &Permit<Write>,
        id: TemplateId,
        archive: ContextRef,
        seen: &Precondition,
    ) -> Result<Template> {
        let (permit, seen) = (permit.clone(), seen.clone());
        let change = move |template: &mut Template| template.archive = Some(archive);
        self.store
            .write(move |conn| {
                Box::pin(async move { advance(conn, &permit, id, &seen, "template.archive", change).await })
            })
            .await
    }

    /// Removes a template that no configuration is made of.
    pub async fn template_delete(&self, permit: &Permit<Write>, id: TemplateId, seen: &Precondition) -> Result<()> {
        let (permit, seen) = (permit.clone(), seen.clone());
        self.store
            .write(move |conn| {
                Box::pin(async move {
                    store::templates::hold(conn, id).await?;
                    let template = own(conn, &permit, id).await?;
                    seen.check(Kind::Template, Some(template.version.into()))?;
                    let (configurations, others) = store::templates::used_by(conn, permit.user(), id).await?;
                    deletable(id, configurations, others)?;
                    store::templates::remove(conn, id).await?;
                    let now = crate::clock::now();
                    store::records::audit(conn, permit.origin(), "template.delete", Kind::Template, id.uuid(), now)
                        .await?;
                    Ok(())
                })
            })
            .await
    }
}

/// A template that is the user's own: a public one of another's is seen, and not changed.
async fn own(conn: &mut Conn, permit: &Permit<Write>, id: TemplateId) -> Result<Template> {
    let found = store::templates::get_visible(conn, permit.user(), id, None).await?;
    let template = found.ok_or(Refusal::NotFound(Kind::Template))?;
    if template.user != permit.user() {
        return Err(Refusal::NotOwner(Kind::Template).into());
    }
    Ok(template)
}

async fn create(conn: &mut Conn, permit: &Permit<Write>, key: Option<&Key>, new: NewTemplate) -> Result<Template> {
    let now = crate::clock::now();
    let (user, id) = (permit.user(), TemplateId::new());
    if let Some(replay) = idempotency::begin(conn, user, key, Kind::Template, id.uuid(), None, now).await? {
        let known = TemplateId::from_uuid(replay.id);
        let found = store::templates::get_visible(conn, user, known, None).await?;
        return Ok(found.ok_or(Refusal::NotFound(Kind::Template))?);
    }
    store::users::hold(conn, user).await?;
    if store::templates::count(conn, user).await? >= i64::from(LIMIT) {
        return Err(Refusal::TooMany { kind: Kind::Template, limit: LIMIT }.into());
    }
    let NewTemplate { name, public, spec } = new;
    let public = public.is_some();
    let template =
        Template { id, user, name, public, version: 1, spec, archive: None, created_at: now, changed_at: now };
    store::templates::insert(conn, &template).await?;
    store::records::audit(conn, permit.origin(), "template.create", Kind::Template, id.uuid(), now).await?;
    Ok(template)
}

/// Whether there is room for a template's new archive among those of its user. Older versions that nobody needs go for it.
async fn make_room(conn: &mut Conn, next: &Template) -> Result<()> {
    let Some(archive) = &next.archive else { return Ok(()) };
    store::users::hold(conn, next.user).await?;
    let mut used = store::templates::archive_bytes(conn, next.user, &archive.sha256).await?;
    if used.saturating_add(archive.size) > MAX_ARCHIVES {
        store::templates::forget_versions(conn, next.id, 1).await?;
        used = store::templates::archive_bytes(conn, next.user, &archive.sha256).await?;
    }
    archives_fit(used, archive.size).map_err(Into::into)
}

async fn advance(
    conn: &mut Conn,
    permit: &Permit<Write>,
    id: TemplateId,
    seen: &Precondition,
    action: &'static str,
    change: impl FnOnce(&mut Template) + Send,
) -> Result<Template> {
    let now = crate::clock::now();
    store::templates::hold(conn, id).await?;
    let mut template = own(conn, permit, id).await?;
    seen.check(Kind::Template, Some(template.version.into()))?;
    let before = template.clone();
    change(&mut template);
    if template == before {
        // Nothing would be another in the next version.
        return Ok(template);
    }
    if template.archive != before.archive {
        make_room(conn, &template).await?;
    }
    // What others have made configurations of cannot be hidden from them.
    if before.public && !template.public {
        let (_, others) = store::templates::used_by(conn, permit.user(), id).await?;
        deletable(id, Vec::new(), others)?;
    }
    template.version += 1;
    template.changed_at = now;
    store::templates::advance(conn, &template).await?;
    if template.version.is_multiple_of(KEPT_VERSIONS) {
        // Not left to the reaper alone: who changes much at once would fill the disk meanwhile.
        store::templates::forget_versions(conn, id, KEPT_VERSIONS).await?;
    }
    store::records::audit(conn, permit.origin(), action, Kind::Template, id.uuid(), now).await?;
    Ok(template)
}
