//! Images, and which hosts they are on.

use super::pages::{self, Condition, List, Value};
use super::rows::{document, json, text, time, unsigned, word};
use super::{Conn, StoreError, is_postgres, labels, micros, on, registry};
use crate::domain::Kind;
use crate::domain::image::{Image, ImageOnHost, ImageSource, ImageState, MadeOf, PresenceState, Recipe};
use crate::domain::page::{Found, Page};
use crate::domain::registry::{InRegistry, Party};
use dockerforge_protocol::command::ContextRef;
use dockerforge_protocol::ids::{ConfigurationId, HostId, ImageId, JobId, UserId};
use dockerforge_protocol::spec::Labels;
use sqlx::QueryBuilder;
use uuid::Uuid;

#[derive(sqlx::FromRow)]
struct ImageRow {
    id: Uuid,
    user_id: Uuid,
    name: String,
    state: String,
    public: bool,
    reference: Option<String>,
    context_sha256: Option<String>,
    context_size: Option<i64>,
    dockerfile: Option<String>,
    build_args: Option<String>,
    no_cache: bool,
    labels: String,
    created_at: i64,
    configuration_id: Option<Uuid>,
    configuration_version: Option<i64>,
    revision: i64,
    docker_id: Option<String>,
    registry_repository: Option<String>,
    registry_digest: Option<String>,
}

impl TryFrom<ImageRow> for Image {
    type Error = StoreError;
    fn try_from(row: ImageRow) -> Result<Self, StoreError> {
        let source = match (row.reference, row.context_sha256, row.context_size, row.dockerfile, row.build_args) {
            (Some(reference), ..) => ImageSource::Reference(text("images.reference", &reference)?),
            (None, Some(sha256), Some(size), Some(dockerfile), Some(build_args)) => ImageSource::Dockerfile(Recipe {
                context: ContextRef { sha256, size: unsigned("images.context_size", size)? },
                dockerfile,
                build_args: json("images.build_args", &build_args)?,
                no_cache: row.no_cache,
                made_of: match row.configuration_id.zip(row.configuration_version) {
                    Some((id, version)) => Some(MadeOf {
                        configuration: ConfigurationId::from_uuid(id),
                        version: unsigned("images.configuration_version", version)?,
                    }),
                    None => None,
                },
            }),
            _ => return Err(StoreError::corrupt("images.reference", "neither built nor pulled")),
        };
        Ok(Self {
            id: ImageId::from_uuid(row.id),
            user: UserId::from_uuid(row.user_id),
            name: text("images.name", &row.name)?,
            state: word("images.state", &row.state, ImageState::parse(&row.state))?,
            public: row.public,
            source,
            labels: json("images.labels", &row.labels)?,
            created_at: time("images.created_at", row.created_at)?,
            revision: unsigned("images.revision", row.revision)?,
            docker_id: row.docker_id,
            registry: row.registry_repository.map(|repository| InRegistry { repository, digest: row.registry_digest }),
        })
    }
}

#[derive(sqlx::FromRow)]
struct PresenceRow {
    image_id: Uuid,
    host_id: Uuid,
    state: String,
    docker_id: Option<String>,
    size: Option<i64>,
    changed_at: i64,
    job_id: Option<Uuid>,
}

impl TryFrom<PresenceRow> for ImageOnHost {
    type Error = StoreError;
    fn try_from(row: PresenceRow) -> Result<Self, StoreError> {
        Ok(Self {
            image: ImageId::from_uuid(row.image_id),
            host: HostId::from_uuid(row.host_id),
            state: word("image_hosts.state", &row.state, PresenceState::parse(&row.state))?,
            docker_id: row.docker_id,
            size: row.size.map(|size| unsigned("image_hosts.size", size)).transpose()?,
            changed_at: time("image_hosts.changed_at", row.changed_at)?,
            job: row.job_id.map(JobId::from_uuid),
        })
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, user_id, name, state, public, reference, context_sha256, context_size, dockerfile, build_args, ",
            "no_cache, labels, created_at, configuration_id, configuration_version, revision, docker_id, ",
            "registry_repository, registry_digest FROM images ",
            $rest
        )
    };
}

/// A new image.
pub async fn insert(conn: &mut Conn, image: &Image) -> Result<(), StoreError> {
    let (reference, recipe) = match &image.source {
        ImageSource::Reference(reference) => (Some(reference.to_string()), None),
        ImageSource::Dockerfile(recipe) => (None, Some(recipe)),
    };
    let made_of = recipe.and_then(|recipe| recipe.made_of);
    on!(conn, |c| {
        sqlx::query(
        "INSERT INTO images (id, user_id, name, state, public, reference, context_sha256, context_size, dockerfile, build_args, no_cache, labels, created_at, \
         configuration_id, configuration_version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
    )
    .bind(image.id.uuid())
    .bind(image.user.uuid())
    .bind(image.name.as_str())
    .bind(image.state.as_str())
    .bind(image.public)
    .bind(reference)
    .bind(recipe.map(|r| r.context.sha256.clone()))
    .bind(recipe.map(|r| i64::try_from(r.context.size).unwrap_or(i64::MAX)))
    .bind(recipe.map(|r| r.dockerfile.clone()))
    .bind(recipe.map(|r| document(&r.build_args)))
    .bind(recipe.is_some_and(|r| r.no_cache))
    .bind(document(&image.labels))
    .bind(micros(image.created_at))
    .bind(made_of.map(|m| m.configuration.uuid()))
    .bind(made_of.map(|m| i64::from(m.version)))
    .execute(c)
    .await?
    .rows_affected()
    });
    labels::add(conn, image.user, Kind::Image, image.id.uuid(), &image.labels, image.public).await
}

/// One image that a user may see: his own, or a public one.
pub async fn get_visible(conn: &mut Conn, user: UserId, id: ImageId) -> Result<Option<Image>, StoreError> {
    let row: Option<ImageRow> =
        on!(conn, |c| sqlx::query_as(select!("WHERE id = $1 AND (user_id = $2 OR public = TRUE)"))
            .bind(id.uuid())
            .bind(user.uuid())
            .fetch_optional(c)
            .await?);
    row.map(Image::try_from).transpose()
}

/// Keeps an image's state as it is for the rest of the transaction.
pub async fn hold(conn: &mut Conn, id: ImageId) -> Result<(), StoreError> {
    if is_postgres(conn) {
        on!(conn, |c| sqlx::query("SELECT 1 FROM images WHERE id = $1 FOR SHARE")
            .bind(id.uuid())
            .fetch_optional(c)
            .await?
            .is_some());
    }
    Ok(())
}

/// One image of a user's own.
pub async fn get(conn: &mut Conn, user: UserId, id: ImageId) -> Result<Option<Image>, StoreError> {
    let row: Option<ImageRow> = on!(conn, |c| sqlx::query_as(select!("WHERE id = $1 AND user_id = $2"))
        .bind(id.uuid())
        .bind(user.uuid())
        .fetch_optional(c)
        .await?);
    row.map(Image::try_from).transpose()
}

/// One image, for the coordinator's own work; never for a user's request.
pub async fn find(conn: &mut Conn, id: ImageId) -> Result<Option<Image>, StoreError> {
    let row: Option<ImageRow> =
        on!(conn, |c| sqlx::query_as(select!("WHERE id = $1")).bind(id.uuid()).fetch_optional(c).await?);
    row.map(Image::try_from).transpose()
}

/// An image was made: what it is from now on.
pub async fn set_made(conn: &mut Conn, id: ImageId, docker_id: &str) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("UPDATE images SET state = 'ready', docker_id = $2 WHERE id = $1")
        .bind(id.uuid())
        .bind(docker_id)
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}

/// An image is to be in the registry, under this name; what it was under another is forgotten.
pub async fn set_repository(conn: &mut Conn, id: ImageId, repository: &str) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("UPDATE images SET registry_repository = $2, registry_digest = NULL WHERE id = $1")
        .bind(id.uuid())
        .bind(repository)
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}

/// An image is in the registry, under this digest.
pub async fn set_pushed(conn: &mut Conn, id: ImageId, digest: &str) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query(
        "UPDATE images SET registry_digest = $2 WHERE id = $1 AND registry_repository IS NOT NULL"
    )
    .bind(id.uuid())
    .bind(digest)
    .execute(c)
    .await?
    .rows_affected());
    Ok(())
}

/// Which images a list is of.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this name.
    pub name: Option<String>,
    /// On this host.
    pub host: Option<HostId>,
    /// With all of these labels.
    pub labels: Labels,
}

/// A page of the images that a user may see, newest first: his own and the public ones, each in order on an index.
pub async fn list(conn: &mut Conn, user: UserId, filter: &Filter, page: Page) -> Result<Found<Image>, StoreError> {
    let mut conditions = Vec::new();
    conditions.extend(filter.name.clone().map(|name| Condition::Column("name", Value::Text(name))));
    conditions.extend(filter.host.map(|host| Condition::Named {
        table: "image_hosts",
        id: "image_id",
        on: vec![("host_id", Value::Id(host.uuid()))],
        scoped: false,
    }));
    let mut public = List {
        select: select!(""),
        table: "images",
        scope: vec![("public", Value::True)],
        conditions,
        after: page.after,
        limit: page.limit,
    };
    let mut own =
        List { scope: vec![("user_id", Value::Id(user.uuid()))], conditions: public.conditions.clone(), ..public };
    own.conditions.extend(pages::labelled(Some(user.uuid()), Kind::Image, &filter.labels));
    public.conditions.extend(pages::labelled(None, Kind::Image, &filter.labels));
    let own = pages::read::<ImageRow, _>(conn, &own).await?.try_map(Image::try_from)?;
    let public = pages::read::<ImageRow, _>(conn, &public).await?.try_map(Image::try_from)?;
    Ok(own.merge(public, page.limit, |image| image.id.uuid()))
}

/// All images of a user's own, by id.
pub async fn all_of_user(conn: &mut Conn, user: UserId) -> Result<Vec<ImageId>, StoreError> {
    let ids: Vec<Uuid> = on!(conn, |c| sqlx::query_scalar("SELECT id FROM images WHERE user_id = $1 ORDER BY id")
        .bind(user.uuid())
        .fetch_all(c)
        .await?);
    Ok(ids.into_iter().map(ImageId::from_uuid).collect())
}

/// Changes an image's state. That it is there is its host's doing; that it is to be gone is its user's.
pub async fn set_state(conn: &mut Conn, id: ImageId, state: ImageState) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("UPDATE images SET state = $2, revision = revision + $3 WHERE id = $1")
        .bind(id.uuid())
        .bind(state.as_str())
        .bind(i64::from(state == ImageState::Deleting))
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}

/// Removes the row of an image, and where it was; from the registry it goes later.
pub async fn remove(conn: &mut Conn, id: ImageId) -> Result<(), StoreError> {
    registry::abandon(conn, id).await?;
    for sql in [
        "DELETE FROM image_hosts WHERE image_id = $1",
        "DELETE FROM labels WHERE resource_id = $1",
        "DELETE FROM images WHERE id = $1",
    ] {
        on!(conn, |c| sqlx::query(sql).bind(id.uuid()).execute(c).await?.rows_affected());
    }
    Ok(())
}

/// The hosts that others can have an image from, those that are online first; `presence` is where it is.
pub async fn sources(conn: &mut Conn, image: &Image, presence: &[ImageOnHost]) -> Result<Vec<Party>, StoreError> {
    let holders: Vec<HostId> = image.holders(presence).collect();
    let mut sources = registry::parties(conn, &holders).await?;
    sources.retain(|host| image.is_given_by(host));
    sources.sort_by_key(|host| !host.online);
    Ok(sources)
}

/// Where the images of a page are, in the order of image and host.
pub async fn presence(conn: &mut Conn, ids: &[ImageId]) -> Result<Vec<ImageOnHost>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<PresenceRow> = on!(conn, |c| {
        let mut q = QueryBuilder::new(
            "SELECT image_id, host_id, state, docker_id, size, changed_at, job_id FROM image_hosts WHERE image_id IN (",
        );
        let mut list = q.separated(", ");
        for id in ids {
            list.push_bind(id.uuid());
        }
        q.push(") ORDER BY image_id, host_id");
        q.build_query_as().fetch_all(c).await?
    });
    rows.into_iter().map(ImageOnHost::try_from).collect()
}

/// The images on a host.
pub async fn on_host(conn: &mut Conn, host: HostId) -> Result<Vec<ImageOnHost>, StoreError> {
    let rows: Vec<PresenceRow> = on!(conn, |c| {
        sqlx::query_as(
        "SELECT image_id, host_id, state, docker_id, size, changed_at, job_id FROM image_hosts WHERE host_id = $1 ORDER BY image_id"
    )
    .bind(host.uuid())
    .fetch_all(c)
    .await?
    });
    rows.into_iter().map(ImageOnHost::try_from).collect()
}

/// Says how an image stands on a host.
pub async fn set_presence(conn: &mut Conn, presence: &ImageOnHost) -> Result<(), StoreError> {
    on!(conn, |c| {
        sqlx::query(
        "INSERT INTO image_hosts (image_id, host_id, state, docker_id, size, changed_at, job_id) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) \
         ON CONFLICT (image_id, host_id) DO UPDATE SET state = $3, docker_id = $4, size = $5, changed_at = $6, job_id = $7"
    )
    .bind(presence.image.uuid())
    .bind(presence.host.uuid())
    .bind(presence.state.as_str())
    .bind(presence.docker_id.as_deref())
    .bind(presence.size.map(|size| i64::try_from(size).unwrap_or(i64::MAX)))
    .bind(micros(presence.changed_at))
    .bind(presence.job.map(JobId::uuid))
    .execute(c)
    .await?
    .rows_affected()
    });
    Ok(())
}

/// An image is not on a host any more, nor meant to be.
pub async fn remove_presence(conn: &mut Conn, image: ImageId, host: HostId) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("DELETE FROM image_hosts WHERE image_id = $1 AND host_id = $2")
        .bind(image.uuid())
        .bind(host.uuid())
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}

/// Whose an image is, for the coordinator's own work; never for a user's request.
pub async fn owner(conn: &mut Conn, id: ImageId) -> Result<Option<UserId>, StoreError> {
    let owner: Option<Uuid> = on!(conn, |c| sqlx::query_scalar("SELECT user_id FROM images WHERE id = $1")
        .bind(id.uuid())
        .fetch_optional(c)
        .await?);
    Ok(owner.map(UserId::from_uuid))
}

/// Which images are made of a configuration, in whatever version.
pub async fn of_configuration(conn: &mut Conn, id: ConfigurationId) -> Result<Vec<ImageId>, StoreError> {
    let ids: Vec<Uuid> =
        on!(conn, |c| sqlx::query_scalar("SELECT id FROM images WHERE configuration_id = $1 ORDER BY id LIMIT 100")
            .bind(id.uuid())
            .fetch_all(c)
            .await?);
    Ok(ids.into_iter().map(ImageId::from_uuid).collect())
}
