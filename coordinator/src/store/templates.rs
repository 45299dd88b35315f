//! Templates and their versions.

use super::rows::{document, json, text, time, unsigned, word};
use super::{Conn, StoreError, is_postgres, micros, on};
use crate::domain::grant::{Field, Provision};
use crate::domain::page::Page;
use crate::domain::template::{Provisioner, RunListItem, Running, Template, TemplateSpec};
use dockerforge_protocol::command::ContextRef;
use dockerforge_protocol::ids::{ConfigurationId, TemplateId, UserId};
use dockerforge_protocol::spec::{
    AbsolutePath, Document, EnvName, ImageRef, PortProtocol, ResourceName, SecretForm, StopSignal,
};
use serde::{Deserialize, Serialize};
use sqlx::QueryBuilder;
use std::collections::BTreeMap;
use std::num::NonZeroU16;
use uuid::Uuid;

#[derive(sqlx::FromRow)]
struct TemplateRow {
    id: Uuid,
    user_id: Uuid,
    name: String,
    public: bool,
    created_at: i64,
    version: i64,
    spec: String,
    archive_sha256: Option<String>,
    archive_size: Option<i64>,
    changed_at: i64,
}

/// What a template says, as it is stored.
#[derive(Serialize, Deserialize)]
struct SpecDocument {
    description: String,
    base: ImageRef,
    provisioner: String,
    run_list: Vec<String>,
    attributes: Document,
    parameters: Document,
    requires: Vec<ResourceName>,
    provides: Vec<ResourceName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provision: Option<ProvisionDocument>,
    command: Vec<String>,
    expose: Vec<(NonZeroU16, PortProtocol)>,
    volumes: Vec<AbsolutePath>,
    stop_signal: Option<StopSignal>,
}

/// How links are provisioned, as it is stored.
#[derive(Serialize, Deserialize)]
struct ProvisionDocument {
    /// Of each field its pattern, and whether it is unique.
    fields: BTreeMap<String, (String, bool)>,
    secrets: BTreeMap<EnvName, String>,
    form: SecretForm,
}

impl ProvisionDocument {
    fn of(Provision { fields, secrets, form }: Provision) -> Self {
        let fields = fields.into_iter().map(|(name, field)| (name, (field.pattern, field.unique))).collect();
        Self { fields, secrets, form }
    }

    fn read(self) -> Provision {
        let field = |(name, (pattern, unique))| (name, Field { pattern, unique });
        Provision { fields: self.fields.into_iter().map(field).collect(), secrets: self.secrets, form: self.form }
    }
}

impl SpecDocument {
    fn of(spec: &TemplateSpec) -> Self {
        let TemplateSpec { description, base, attributes, parameters, requires, provides, provision, run, .. } =
            spec.clone();
        Self {
            description,
            base,
            provisioner: spec.provisioner.as_str().to_owned(),
            run_list: words(&spec.run_list),
            attributes,
            parameters,
            requires,
            provides,
            provision: provision.map(ProvisionDocument::of),
            command: run.command,
            expose: run.expose,
            volumes: run.volumes,
            stop_signal: run.stop_signal,
        }
    }

    fn read(self) -> Result<TemplateSpec, StoreError> {
        let column = "template_versions.spec";
        Ok(TemplateSpec {
            description: self.description,
            base: self.base,
            provisioner: word(column, &self.provisioner, Provisioner::parse(&self.provisioner))?,
            run_list: items(column, &self.run_list)?,
            attributes: self.attributes,
            parameters: self.parameters,
            requires: self.requires,
            provides: self.provides,
            provision: self.provision.map(ProvisionDocument::read),
            run: Running {
                command: self.command,
                expose: self.expose,
                volumes: self.volumes,
                stop_signal: self.stop_signal,
            },
        })
    }
}

/// A run list as it is stored.
pub(super) fn words(list: &[RunListItem]) -> Vec<String> {
    list.iter().map(RunListItem::to_string).collect()
}

/// A run list that was stored.
pub(super) fn items(column: &'static str, words: &[String]) -> Result<Vec<RunListItem>, StoreError> {
    words.iter().map(|word| text(column, word)).collect()
}

impl TryFrom<TemplateRow> for Template {
    type Error = StoreError;
    fn try_from(row: TemplateRow) -> Result<Self, StoreError> {
        let archive = match row.archive_sha256.zip(row.archive_size) {
            Some((sha256, size)) => {
                Some(ContextRef { sha256, size: unsigned("template_versions.archive_size", size)? })
            }
            None => None,
        };
        Ok(Self {
            id: TemplateId::from_uuid(row.id),
            user: UserId::from_uuid(row.user_id),
            name: text("templates.name", &row.name)?,
            public: row.public,
            version: unsigned("templates.version", row.version)?,
            spec: json::<SpecDocument>("template_versions.spec", &row.spec)?.read()?,
            archive,
            created_at: time("templates.created_at", row.created_at)?,
            changed_at: time("template_versions.created_at", row.changed_at)?,
        })
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT t.id, t.user_id, t.name, t.public, t.created_at, v.version, v.spec, v.archive_sha256, v.archive_size, ",
            "v.created_at AS changed_at FROM templates t JOIN template_versions v ON v.template_id = t.id ",
            $rest
        )
    };
}

/// A new template, in its first version.
pub async fn insert(conn: &mut Conn, template: &Template) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query(
        "INSERT INTO templates (id, user_id, name, public, version, created_at) VALUES ($1, $2, $3, $4, $5, $6)"
    )
    .bind(template.id.uuid())
    .bind(template.user.uuid())
    .bind(template.name.as_str())
    .bind(template.public)
    .bind(i64::from(template.version))
    .bind(micros(template.created_at))
    .execute(c)
    .await?
    .rows_affected());
    insert_version(conn, template).await
}

/// The next version of a template, which it has from now on.
pub async fn advance(conn: &mut Conn, template: &Template) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("UPDATE templates SET name = $2, public = $3, version = $4 WHERE id = $1")
        .bind(template.id.uuid())
        .bind(template.name.as_str())
        .bind(template.public)
        .bind(i64::from(template.version))
        .execute(c)
        .await?
        .rows_affected());
    insert_version(conn, template).await
}

async fn insert_version(conn: &mut Conn, template: &Template) -> Result<(), StoreError> {
    let archive = template.archive.as_ref();
    on!(conn, |c| {
        sqlx::query(
            "INSERT INTO template_versions (template_id, version, spec, archive_sha256, archive_size, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(template.id.uuid())
        .bind(i64::from(template.version))
        .bind(document(&SpecDocument::of(&template.spec)))
        .bind(archive.map(|a| a.sha256.clone()))
        .bind(archive.map(|a| i64::try_from(a.size).unwrap_or(i64::MAX)))
        .bind(micros(template.changed_at))
        .execute(c)
        .await?
        .rows_affected()
    });
    Ok(())
}

/// A template that a user may see, his own or a public one, in a version: the newest where none is said.
pub async fn get_visible(
    conn: &mut Conn,
    user: UserId,
    id: TemplateId,
    version: Option<u32>,
) -> Result<Option<Template>, StoreError> {
    const NEWEST: &str = select!("AND v.version = t.version WHERE t.id = $1 AND (t.user_id = $2 OR t.public = TRUE)");
    const NAMED: &str = select!("AND v.version = $3 WHERE t.id = $1 AND (t.user_id = $2 OR t.public = TRUE)");
    let row: Option<TemplateRow> = on!(conn, |c| {
        let query = sqlx::query_as(if version.is_some() { NAMED } else { NEWEST }).bind(id.uuid()).bind(user.uuid());
        match version {
            Some(version) => query.bind(i64::from(version)).fetch_optional(c).await?,
            None => query.fetch_optional(c).await?,
        }
    });
    row.map(Template::try_from).transpose()
}

/// A template in a version, for what was made of it when it could be seen.
pub async fn get_version(conn: &mut Conn, id: TemplateId, version: u32) -> Result<Option<Template>, StoreError> {
    let row: Option<TemplateRow> = on!(conn, |c| sqlx::query_as(select!("AND v.version = $2 WHERE t.id = $1"))
        .bind(id.uuid())
        .bind(i64::from(version))
        .fetch_optional(c)
        .await?);
    row.map(Template::try_from).transpose()
}

/// Keeps a template as it is for the rest of the transaction. SQLite's one writer holds everything.
pub async fn hold(conn: &mut Conn, id: TemplateId) -> Result<(), StoreError> {
    if is_postgres(conn) {
        on!(conn, |c| sqlx::query("SELECT 1 FROM templates WHERE id = $1 FOR NO KEY UPDATE")
            .bind(id.uuid())
            .fetch_optional(c)
            .await?
            .is_some());
    }
    Ok(())
}

/// A page of the templates that a user may see, each in its newest version, newest first.
pub async fn list(
    conn: &mut Conn,
    user: UserId,
    name: Option<&ResourceName>,
    page: Page,
) -> Result<Vec<Template>, StoreError> {
    let rows: Vec<TemplateRow> = on!(conn, |c| {
        let mut q = QueryBuilder::new(select!("AND v.version = t.version WHERE (t.public = TRUE OR t.user_id = "));
        q.push_bind(user.uuid()).push(")");
        if let Some(name) = name {
            q.push(" AND t.name = ").push_bind(name.as_str().to_owned());
        }
        if let Some(after) = page.after {
            q.push(" AND t.id < ").push_bind(after);
        }
        q.push(" ORDER BY t.id DESC LIMIT ").push_bind(i64::from(page.limit));
        q.build_query_as().fetch_all(c).await?
    });
    rows.into_iter().map(Template::try_from).collect()
}

/// How many templates a user has.
pub async fn count(conn: &mut Conn, user: UserId) -> Result<i64, StoreError> {
    Ok(on!(conn, |c| sqlx::query_scalar("SELECT COUNT(*) FROM templates WHERE user_id = $1")
        .bind(user.uuid())
        .fetch_one(c)
        .await?))
}

/// Which of a user's configurations are made of a template, and how many of others'.
pub async fn used_by(conn: &mut Conn, user: UserId, id: TemplateId) -> Result<(Vec<ConfigurationId>, u64), StoreError> {
    let own: Vec<Uuid> = on!(conn, |c| sqlx::query_scalar(
        "SELECT id FROM configurations WHERE template_id = $1 AND user_id = $2 ORDER BY id LIMIT 100"
    )
    .bind(id.uuid())
    .bind(user.uuid())
    .fetch_all(c)
    .await?);
    let others: i64 = on!(conn, |c| sqlx::query_scalar(
        "SELECT COUNT(*) FROM configurations WHERE template_id = $1 AND user_id <> $2"
    )
    .bind(id.uuid())
    .bind(user.uuid())
    .fetch_one(c)
    .await?);
    Ok((own.into_iter().map(ConfigurationId::from_uuid).collect(), unsigned("configurations.count", others)?))
}

/// Whether a user has templates that others use.
pub async fn shares(conn: &mut Conn, user: UserId) -> Result<bool, StoreError> {
    let shared: i64 = on!(conn, |c| {
        sqlx::query_scalar(
        "SELECT COUNT(*) FROM configurations c JOIN templates t ON t.id = c.template_id WHERE t.user_id = $1 AND c.user_id <> $1"
    )
    .bind(user.uuid())
    .fetch_one(c)
    .await?
    });
    Ok(shared > 0)
}

/// Shows a user's templates to nobody else any more: he is on his way out.
pub async fn hide_of_user(conn: &mut Conn, user: UserId) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("UPDATE templates SET public = FALSE WHERE user_id = $1 AND public = TRUE")
        .bind(user.uuid())
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}

/// Removes a template with all its versions.
pub async fn remove(conn: &mut Conn, id: TemplateId) -> Result<(), StoreError> {
    for sql in ["DELETE FROM template_versions WHERE template_id = $1", "DELETE FROM templates WHERE id = $1"] {
        on!(conn, |c| sqlx::query(sql).bind(id.uuid()).execute(c).await?.rows_affected());
    }
    Ok(())
}

/// Which versions of templates nobody needs: older than the newest $1, and no configuration is of them.
macro_rules! forgettable {
    ($select:literal, $rest:literal) => {
        concat!(
            $select,
            " FROM template_versions v JOIN templates t ON t.id = v.template_id WHERE v.version <= t.version - $1 ",
            "AND NOT EXISTS (SELECT 1 FROM configuration_versions f ",
            "WHERE f.template_id = v.template_id AND f.template_version = v.version) ",
            $rest
        )
    };
}

/// Templates with versions that nobody needs, in the order of their ids, at most `limit` of them.
pub async fn overgrown(
    conn: &mut Conn,
    keep: u32,
    limit: u32,
    after: Option<TemplateId>,
) -> Result<Vec<TemplateId>, StoreError> {
    const OVERGROWN: &str =
        forgettable!("SELECT DISTINCT v.template_id", "AND v.template_id > $3 ORDER BY v.template_id LIMIT $2");
    let ids: Vec<Uuid> = on!(conn, |c| sqlx::query_scalar(OVERGROWN)
        .bind(i64::from(keep))
        .bind(i64::from(limit))
        .bind(after.map_or(Uuid::nil(), TemplateId::uuid))
        .fetch_all(c)
        .await?);
    Ok(ids.into_iter().map(TemplateId::from_uuid).collect())
}

/// Forgets the versions of a template, which is held, that nobody needs; how many these were.
pub async fn forget_versions(conn: &mut Conn, id: TemplateId, keep: u32) -> Result<u64, StoreError> {
    const FORGET: &str = concat!(
        "DELETE FROM template_versions WHERE template_id = $2 AND version IN (",
        forgettable!("SELECT v.version", "AND v.template_id = $2"),
        ")"
    );
    Ok(on!(conn, |c| sqlx::query(FORGET).bind(i64::from(keep)).bind(id.uuid()).execute(c).await?.rows_affected()))
}

/// How many bytes the archives of a user's templates have, without this one. Each counts once.
pub async fn archive_bytes(conn: &mut Conn, user: UserId, without: &str) -> Result<u64, StoreError> {
    let bytes: i64 = on!(conn, |c| {
        sqlx::query_scalar(
            "SELECT CAST(COALESCE(SUM(a.size), 0) AS BIGINT) FROM (SELECT v.archive_sha256, MAX(v.archive_size) AS size \
             FROM template_versions v JOIN templates t ON t.id = v.template_id \
             WHERE t.user_id = $1 AND v.archive_sha256 IS NOT NULL AND v.archive_sha256 <> $2 GROUP BY v.archive_sha256) a",
        )
        .bind(user.uuid())
        .bind(without)
        .fetch_one(c)
        .await?
    });
    unsigned("template_versions.archive_size", bytes)
}

/// The archives that versions of templates are of.
pub async fn archives(conn: &mut Conn) -> Result<Vec<String>, StoreError> {
    Ok(on!(conn, |c| sqlx::query_scalar(
        "SELECT DISTINCT archive_sha256 FROM template_versions WHERE archive_sha256 IS NOT NULL"
    )
    .fetch_all(c)
    .await?))
}

/// Whether a version of a template is of this archive.
pub async fn is_archive(conn: &mut Conn, sha256: &str) -> Result<bool, StoreError> {
    let found: i64 =
        on!(conn, |c| sqlx::query_scalar("SELECT COUNT(*) FROM template_versions WHERE archive_sha256 = $1")
            .bind(sha256)
            .fetch_one(c)
            .await?);
    Ok(found > 0)
}
