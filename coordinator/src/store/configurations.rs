//! Configurations and their versions. Their secrets are sealed; only `vault` can open them.

use super::rows::{document, json, text, time, unsigned};
use super::templates::{items, words};
use super::{Conn, StoreError, is_postgres, micros, on};
use crate::domain::configuration::{Choice, Configuration};
use crate::domain::page::Page;
use dockerforge_protocol::command::Command;
use dockerforge_protocol::ids::{ConfigurationId, TemplateId, UserId};
use dockerforge_protocol::spec::ResourceName;
use sqlx::QueryBuilder;
use uuid::Uuid;

#[derive(sqlx::FromRow)]
struct ConfigurationRow {
    id: Uuid,
    user_id: Uuid,
    name: String,
    template_id: Uuid,
    created_at: i64,
    version: i64,
    template_version: i64,
    parameters: String,
    run_list: String,
    attributes: String,
    secrets: String,
    changed_at: i64,
}

impl TryFrom<ConfigurationRow> for Configuration {
    type Error = StoreError;
    fn try_from(row: ConfigurationRow) -> Result<Self, StoreError> {
        let run_list: Vec<String> = json("configuration_versions.run_list", &row.run_list)?;
        Ok(Self {
            id: ConfigurationId::from_uuid(row.id),
            user: UserId::from_uuid(row.user_id),
            name: text("configurations.name", &row.name)?,
            template: TemplateId::from_uuid(row.template_id),
            template_version: unsigned("configuration_versions.template_version", row.template_version)?,
            version: unsigned("configurations.version", row.version)?,
            choice: Choice {
                parameters: json("configuration_versions.parameters", &row.parameters)?,
                run_list: items("configuration_versions.run_list", &run_list)?,
                attributes: json("configuration_versions.attributes", &row.attributes)?,
            },
            secrets: json("configuration_versions.secrets", &row.secrets)?,
            created_at: time("configurations.created_at", row.created_at)?,
            changed_at: time("configuration_versions.created_at", row.changed_at)?,
        })
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT c.id, c.user_id, c.name, c.template_id, c.created_at, v.version, v.template_version, v.parameters, v.run_list, ",
            "v.attributes, v.secrets, v.created_at AS changed_at ",
            "FROM configurations c JOIN configuration_versions v ON v.configuration_id = c.id ",
            $rest
        )
    };
}

/// A new configuration, in its first version.
pub async fn insert(conn: &mut Conn, new: &Configuration, sealed: Option<&[u8]>) -> Result<(), StoreError> {
    on!(conn, |c| {
        sqlx::query(
        "INSERT INTO configurations (id, user_id, name, template_id, version, created_at) VALUES ($1, $2, $3, $4, $5, $6)"
    )
    .bind(new.id.uuid())
    .bind(new.user.uuid())
    .bind(new.name.as_str())
    .bind(new.template.uuid())
    .bind(i64::from(new.version))
    .bind(micros(new.created_at))
    .execute(c)
    .await?
    .rows_affected()
    });
    insert_version(conn, new, sealed).await
}

/// The next version of a configuration, if it still has the one before; whether it had.
pub async fn advance(conn: &mut Conn, next: &Configuration, sealed: Option<&[u8]>) -> Result<bool, StoreError> {
    let moved =
        on!(conn, |c| sqlx::query("UPDATE configurations SET name = $2, version = $3 WHERE id = $1 AND version = $4")
            .bind(next.id.uuid())
            .bind(next.name.as_str())
            .bind(i64::from(next.version))
            .bind(i64::from(next.version) - 1)
            .execute(c)
            .await?
            .rows_affected());
    if moved == 1 {
        insert_version(conn, next, sealed).await?;
    }
    Ok(moved == 1)
}

async fn insert_version(conn: &mut Conn, of: &Configuration, sealed: Option<&[u8]>) -> Result<(), StoreError> {
    on!(conn, |c| {
        sqlx::query(
            "INSERT INTO configuration_versions (configuration_id, version, template_id, template_version, parameters, run_list, \
             attributes, secrets, sealed_secrets, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(of.id.uuid())
        .bind(i64::from(of.version))
        .bind(of.template.uuid())
        .bind(i64::from(of.template_version))
        .bind(document(&of.choice.parameters))
        .bind(document(&words(&of.choice.run_list)))
        .bind(document(&of.choice.attributes))
        .bind(document(&of.secrets))
        .bind(sealed)
        .bind(micros(of.changed_at))
        .execute(c)
        .await?
        .rows_affected()
    });
    Ok(())
}

/// A configuration of a user's in a version: the newest where none is said.
pub async fn get(
    conn: &mut Conn,
    user: UserId,
    id: ConfigurationId,
    version: Option<u32>,
) -> Result<Option<Configuration>, StoreError> {
    const NEWEST: &str = select!("AND v.version = c.version WHERE c.id = $1 AND c.user_id = $2");
    const NAMED: &str = select!("AND v.version = $3 WHERE c.id = $1 AND c.user_id = $2");
    let row: Option<ConfigurationRow> = on!(conn, |c| {
        let query = sqlx::query_as(if version.is_some() { NAMED } else { NEWEST }).bind(id.uuid()).bind(user.uuid());
        match version {
            Some(version) => query.bind(i64::from(version)).fetch_optional(c).await?,
            None => query.fetch_optional(c).await?,
        }
    });
    row.map(Configuration::try_from).transpose()
}

/// Keeps a configuration for the rest of the transaction. SQLite's one writer holds everything.
pub async fn hold(conn: &mut Conn, id: ConfigurationId) -> Result<(), StoreError> {
    if is_postgres(conn) {
        on!(conn, |c| sqlx::query("SELECT 1 FROM configurations WHERE id = $1 FOR NO KEY UPDATE")
            .bind(id.uuid())
            .fetch_optional(c)
            .await?
            .is_some());
    }
    Ok(())
}

/// The secrets of a configuration in a version, sealed, if it has any.
pub async fn sealed(conn: &mut Conn, id: ConfigurationId, version: u32) -> Result<Option<Vec<u8>>, StoreError> {
    let found: Option<Option<Vec<u8>>> = on!(conn, |c| sqlx::query_scalar(
        "SELECT sealed_secrets FROM configuration_versions WHERE configuration_id = $1 AND version = $2"
    )
    .bind(id.uuid())
    .bind(i64::from(version))
    .fetch_optional(c)
    .await?);
    Ok(found.flatten())
}

/// Which configurations a list is of.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this name.
    pub name: Option<ResourceName>,
    /// Of this template.
    pub template: Option<TemplateId>,
}

/// A page of a user's configurations, each in its newest version, newest first.
pub async fn list(
    conn: &mut Conn,
    user: UserId,
    filter: &Filter,
    page: Page,
) -> Result<Vec<Configuration>, StoreError> {
    let rows: Vec<ConfigurationRow> = on!(conn, |c| {
        let mut q = QueryBuilder::new(select!("AND v.version = c.version WHERE c.user_id = "));
        q.push_bind(user.uuid());
        if let Some(name) = &filter.name {
            q.push(" AND c.name = ").push_bind(name.as_str().to_owned());
        }
        if let Some(template) = filter.template {
            q.push(" AND c.template_id = ").push_bind(template.uuid());
        }
        if let Some(after) = page.after {
            q.push(" AND c.id < ").push_bind(after);
        }
        q.push(" ORDER BY c.id DESC LIMIT ").push_bind(i64::from(page.limit));
        q.build_query_as().fetch_all(c).await?
    });
    rows.into_iter().map(Configuration::try_from).collect()
}

/// How many configurations a user has.
pub async fn count(conn: &mut Conn, user: UserId) -> Result<i64, StoreError> {
    Ok(on!(conn, |c| sqlx::query_scalar("SELECT COUNT(*) FROM configurations WHERE user_id = $1")
        .bind(user.uuid())
        .fetch_one(c)
        .await?))
}

/// Which versions of configurations nobody needs: older than the newest $1, and no image is of them.
macro_rules! forgettable {
    ($select:literal, $rest:literal) => {
        concat!(
            $select,
            " FROM configuration_versions v JOIN configurations c ON c.id = v.configuration_id ",
            "WHERE v.version <= c.version - $1 AND NOT EXISTS (SELECT 1 FROM images i ",
            "WHERE i.configuration_id = v.configuration_id AND i.configuration_version = v.version) ",
            $rest
        )
    };
}

/// Configurations with versions that nobody needs, in the order of their ids, at most `limit` of them.
pub async fn overgrown(
    conn: &mut Conn,
    keep: u32,
    limit: u32,
    after: Option<ConfigurationId>,
) -> Result<Vec<ConfigurationId>, StoreError> {
    const OVERGROWN: &str = forgettable!(
        "SELECT DISTINCT v.configuration_id",
        "AND v.configuration_id > $3 ORDER BY v.configuration_id LIMIT $2"
    );
    let ids: Vec<Uuid> = on!(conn, |c| sqlx::query_scalar(OVERGROWN)
        .bind(i64::from(keep))
        .bind(i64::from(limit))
        .bind(after.map_or(Uuid::nil(), ConfigurationId::uuid))
        .fetch_all(c)
        .await?);
    Ok(ids.into_iter().map(ConfigurationId::from_uuid).collect())
}

/// Forgets the versions of a configuration, which is held, that nobody needs and no unfinished job converges to; how many these
/// were.
pub async fn forget_versions(conn: &mut Conn, id: ConfigurationId, keep: u32) -> Result<u64, StoreError> {
    const UNNEEDED: &str =
        forgettable!("SELECT v.version", "AND v.configuration_id = $2 ORDER BY v.version LIMIT 1000");
    let commands: Vec<String> = on!(conn, |c| sqlx::query_scalar(
        "SELECT command FROM jobs WHERE ended_at IS NULL AND command LIKE $1 \
         AND user_id = (SELECT user_id FROM configurations WHERE id = $2)"
    )
    .bind(format!("%{id}%"))
    .bind(id.uuid())
    .fetch_all(c)
    .await?);
    let mut named = Vec::new();
    for command in &commands {
        let to = json::<Command>("jobs.command", command)?.convergence();
        named.extend(to.filter(|to| to.configuration == id).map(|to| i64::from(to.version)));
    }
    let versions: Vec<i64> =
        on!(conn, |c| sqlx::query_scalar(UNNEEDED).bind(i64::from(keep)).bind(id.uuid()).fetch_all(c).await?);
    let mut gone = 0;
    for version in versions.into_iter().filter(|version| !named.contains(version)) {
        gone += on!(conn, |c| sqlx::query(
            "DELETE FROM configuration_versions WHERE configuration_id = $1 AND version = $2"
        )
        .bind(id.uuid())
        .bind(version)
        .execute(c)
        .await?
        .rows_affected());
    }
    Ok(gone)
}

/// Removes a configuration with all its versions.
pub async fn remove(conn: &mut Conn, id: ConfigurationId) -> Result<(), StoreError> {
    for sql in
        ["DELETE FROM configuration_versions WHERE configuration_id = $1", "DELETE FROM configurations WHERE id = $1"]
    {
        on!(conn, |c| sqlx::query(sql).bind(id.uuid()).execute(c).await?.rows_affected());
    }
    Ok(())
}
