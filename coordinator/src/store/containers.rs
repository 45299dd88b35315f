//! Containers: the rows, with what each is meant to be beside what its host showed last.

use super::pages::{self, Condition, List, Value};
use super::rows::{document, json, maybe_time, text, time, unsigned, word};
use super::{Conn, StoreError, is_postgres, labels, micros, on};
use crate::domain::Kind;
use crate::domain::container::{Container, DesiredState, Observed, ObservedState};
use crate::domain::converge::Converged;
use crate::domain::page::{Found, Page};
use crate::domain::placement::Reserved;
use dockerforge_protocol::ids::{ContainerId, HostId, ImageId, UserId};
use dockerforge_protocol::inventory::Health;
use dockerforge_protocol::spec::{ContainerSpec, Labels};
use sqlx::QueryBuilder;
use uuid::Uuid;

#[derive(sqlx::FromRow)]
struct ContainerRow {
    id: Uuid,
    user_id: Uuid,
    host_id: Uuid,
    image_id: Uuid,
    name: String,
    spec: String,
    desired: String,
    created_at: i64,
    observed_state: String,
    observed_health: Option<String>,
    observed_docker_id: Option<String>,
    observed_exit_code: Option<i64>,
    observed_started_at: Option<i64>,
    observed_ports: String,
    observed_address: Option<String>,
    observed_at: Option<i64>,
    revision: i64,
    configured: bool,
    converged_docker_id: Option<String>,
    converged_version: Option<i64>,
}

impl TryFrom<ContainerRow> for Container {
    type Error = StoreError;
    fn try_from(row: ContainerRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: ContainerId::from_uuid(row.id),
            user: UserId::from_uuid(row.user_id),
            host: HostId::from_uuid(row.host_id),
            image: ImageId::from_uuid(row.image_id),
            name: text("containers.name", &row.name)?,
            spec: json("containers.spec", &row.spec)?,
            desired: word("containers.desired", &row.desired, DesiredState::parse(&row.desired))?,
            created_at: time("containers.created_at", row.created_at)?,
            revision: unsigned("containers.revision", row.revision)?,
            converged: if row.configured {
                let version = row.converged_version.map(|version| unsigned("containers.converged_version", version));
                Some(Converged { docker_id: row.converged_docker_id, version: version.transpose()? })
            } else {
                None
            },
            observed: Observed {
                state: word(
                    "containers.observed_state",
                    &row.observed_state,
                    ObservedState::parse(&row.observed_state),
                )?,
                health: row
                    .observed_health
                    .map(|health| word("containers.observed_health", &health, Health::parse(&health)))
                    .transpose()?,
                docker_id: row.observed_docker_id,
                exit_code: row.observed_exit_code,
                started_at: maybe_time("containers.observed_started_at", row.observed_started_at)?,
                ports: json("containers.observed_ports", &row.observed_ports)?,
                address: row.observed_address.map(|a| text("containers.observed_address", &a)).transpose()?,
                at: maybe_time("containers.observed_at", row.observed_at)?,
            },
        })
    }
}

/// The columns of a container. Its spec may be large, and not all ask for it.
macro_rules! columns {
    ($spec:literal) => {
        concat!(
            "SELECT id, user_id, host_id, image_id, name, ",
            $spec,
            ", desired, created_at, observed_state, observed_health, observed_docker_id, observed_exit_code, ",
            "observed_started_at, observed_ports, observed_address, observed_at, revision, configured, converged_docker_id, ",
            "converged_version FROM containers "
        )
    };
}
macro_rules! select {
    ($rest:literal) => {
        concat!(columns!("spec"), $rest)
    };
}

/// Which containers a list is of.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this name.
    pub name: Option<String>,
    /// On this host.
    pub host: Option<HostId>,
    /// Of this image.
    pub image: Option<ImageId>,
    /// In this observed state.
    pub state: Option<ObservedState>,
    /// With all of these labels.
    pub labels: Labels,
}

/// A new container, with what is set aside for it.
pub async fn insert(conn: &mut Conn, container: &Container) -> Result<(), StoreError> {
    let reserved = Reserved::of(&container.spec);
    on!(conn, |c| {
        sqlx::query(
            "INSERT INTO containers (id, user_id, host_id, image_id, name, spec, desired, created_at, cpus, memory) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(container.id.uuid())
        .bind(container.user.uuid())
        .bind(container.host.uuid())
        .bind(container.image.uuid())
        .bind(container.name.as_str())
        .bind(document(&container.spec))
        .bind(container.desired.as_str())
        .bind(micros(container.created_at))
        .bind(i64::try_from(reserved.cpus).unwrap_or(i64::MAX))
        .bind(i64::try_from(reserved.memory).unwrap_or(i64::MAX))
        .execute(c)
        .await?
        .rows_affected()
    });
    labels::add(conn, container.user, Kind::Container, container.id.uuid(), &container.spec.labels, false).await
}

/// One container of a user's.
pub async fn get(conn: &mut Conn, user: UserId, id: ContainerId) -> Result<Option<Container>, StoreError> {
    let row: Option<ContainerRow> = on!(conn, |c| sqlx::query_as(select!("WHERE id = $1 AND user_id = $2"))
        .bind(id.uuid())
        .bind(user.uuid())
        .fetch_optional(c)
        .await?);
    row.map(Container::try_from).transpose()
}

/// One container of a user's, held for the rest of the transaction: of two that are asked for at once, the one that is
/// asked second is enqueued second. SQLite's one writer holds everything.
pub async fn hold(conn: &mut Conn, user: UserId, id: ContainerId) -> Result<Option<Container>, StoreError> {
    const SQL: &str = select!("WHERE id = $1 AND user_id = $2");
    const LOCKED: &str = select!("WHERE id = $1 AND user_id = $2 FOR UPDATE");
    let sql = if is_postgres(conn) { LOCKED } else { SQL };
    let row: Option<ContainerRow> =
        on!(conn, |c| sqlx::query_as(sql).bind(id.uuid()).bind(user.uuid()).fetch_optional(c).await?);
    row.map(Container::try_from).transpose()
}

/// A page of a user's containers, newest first.
pub async fn list(conn: &mut Conn, user: UserId, filter: &Filter, page: Page) -> Result<Found<Container>, StoreError> {
    let mut conditions = Vec::new();
    conditions.extend(filter.name.clone().map(|name| Condition::Column("name", Value::Text(name))));
    conditions.extend(filter.host.map(|host| Condition::Column("host_id", Value::Id(host.uuid()))));
    conditions.extend(filter.image.map(|image| Condition::Column("image_id", Value::Id(image.uuid()))));
    conditions.extend(filter.state.map(|s| Condition::Column("observed_state", Value::Text(s.as_str().to_owned()))));
    conditions.extend(pages::labelled(Some(user.uuid()), Kind::Container, &filter.labels));
    let list = List {
        select: select!(""),
        table: "containers",
        scope: vec![("user_id", Value::Id(user.uuid()))],
        conditions,
        after: page.after,
        limit: page.limit,
    };
    pages::read::<ContainerRow, _>(conn, &list).await?.try_map(Container::try_from)
}

/// Those of these containers that are a user's, on a host and not on their way out.
pub async fn linkable(
    conn: &mut Conn,
    user: UserId,
    host: HostId,
    ids: &[ContainerId],
) -> Result<Vec<ContainerId>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let found: Vec<Uuid> = on!(conn, |c| {
        let mut q = QueryBuilder::new("SELECT id FROM containers WHERE user_id = ");
        q.push_bind(user.uuid()).push(" AND host_id = ").push_bind(host.uuid());
        q.push(" AND desired <> 'removed' AND id IN (");
        let mut list = q.separated(", ");
        for id in ids {
            list.push_bind(id.uuid());
        }
        q.push(")");
        q.build_query_scalar().fetch_all(c).await?
    });
    Ok(found.into_iter().map(ContainerId::from_uuid).collect())
}

/// All containers on a host, whoever's they are.
pub async fn on_host(conn: &mut Conn, host: HostId) -> Result<Vec<Container>, StoreError> {
    let rows: Vec<ContainerRow> =
        on!(conn, |c| sqlx::query_as(select!("WHERE host_id = $1 ORDER BY id")).bind(host.uuid()).fetch_all(c).await?);
    rows.into_iter().map(Container::try_from).collect()
}

/// What is known of the containers on a host, without what they are to be.
pub async fn observed_on_host(
    conn: &mut Conn,
    host: HostId,
) -> Result<Vec<(ContainerId, DesiredState, Observed)>, StoreError> {
    let rows: Vec<ContainerRow> =
        on!(conn, |c| sqlx::query_as(concat!(columns!("'{}' AS spec"), "WHERE host_id = $1 ORDER BY id"))
            .bind(host.uuid())
            .fetch_all(c)
            .await?);
    rows.into_iter().map(|row| Container::try_from(row).map(|c| (c.id, c.desired, c.observed))).collect()
}

/// All containers of a user's.
pub async fn all_of_user(conn: &mut Conn, user: UserId) -> Result<Vec<Container>, StoreError> {
    let rows: Vec<ContainerRow> =
        on!(conn, |c| sqlx::query_as(select!("WHERE user_id = $1 ORDER BY id")).bind(user.uuid()).fetch_all(c).await?);
    rows.into_iter().map(Container::try_from).collect()
}

/// Which of a user's containers were made of an image, and how many of others'.
pub async fn using_image(conn: &mut Conn, user: UserId, image: ImageId) -> Result<(Vec<ContainerId>, u64), StoreError> {
    let own: Vec<Uuid> = on!(conn, |c| {
        sqlx::query_scalar(
        "SELECT id FROM containers WHERE (image_id = $1 OR next_image_id = $1) AND user_id = $2 ORDER BY id LIMIT 100"
    )
    .bind(image.uuid())
    .bind(user.uuid())
    .fetch_all(c)
    .await?
    });
    let others: i64 = on!(conn, |c| sqlx::query_scalar(
        "SELECT COUNT(*) FROM containers WHERE (image_id = $1 OR next_image_id = $1) AND user_id <> $2"
    )
    .bind(image.uuid())
    .bind(user.uuid())
    .fetch_one(c)
    .await?);
    Ok((own.into_iter().map(ContainerId::from_uuid).collect(), unsigned("containers.count", others)?))
}

/// Says what a container is meant to do from now on.
pub async fn set_desired(conn: &mut Conn, id: ContainerId, desired: DesiredState) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("UPDATE containers SET desired = $2, revision = revision + 1 WHERE id = $1")
        .bind(id.uuid())
        .bind(desired.as_str())
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}

/// Says which image a container is being changed to, or that it is not any more: an image that is needed stays.
pub async fn set_next_image(conn: &mut Conn, id: ContainerId, image: Option<ImageId>) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("UPDATE containers SET next_image_id = $2 WHERE id = $1")
        .bind(id.uuid())
        .bind(image.map(ImageId::uuid))
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}

/// Says what a container is from now on.
pub async fn set_spec(
    conn: &mut Conn,
    id: ContainerId,
    image: ImageId,
    spec: &ContainerSpec,
) -> Result<(), StoreError> {
    let owner: Option<Uuid> = on!(conn, |c| sqlx::query_scalar(
        "UPDATE containers SET image_id = $2, spec = $3, next_image_id = NULL, revision = revision + 1 \
         WHERE id = $1 RETURNING user_id"
    )
    .bind(id.uuid())
    .bind(image.uuid())
    .bind(document(spec))
    .fetch_optional(c)
    .await?);
    if let Some(owner) = owner.map(UserId::from_uuid) {
        labels::set(conn, owner, Kind::Container, id.uuid(), &spec.labels).await?;
    }
    set_reserved(conn, id, Reserved::of(spec)).await
}

/// Says where a container is from now on.
pub async fn set_host(conn: &mut Conn, id: ContainerId, host: HostId) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("UPDATE containers SET host_id = $2, revision = revision + 1 WHERE id = $1")
        .bind(id.uuid())
        .bind(host.uuid())
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}

/// Says what is set aside for a container from now on.
pub async fn set_reserved(conn: &mut Conn, id: ContainerId, reserved: Reserved) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("UPDATE containers SET cpus = $2, memory = $3 WHERE id = $1")
        .bind(id.uuid())
        .bind(i64::try_from(reserved.cpus).unwrap_or(i64::MAX))
        .bind(i64::try_from(reserved.memory).unwrap_or(i64::MAX))
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}

/// Says what its host shows of a container. The host is part of the condition: an agent changes its own host's rows.
pub async fn set_observed(conn: &mut Conn, host: HostId, id: ContainerId, seen: &Observed) -> Result<(), StoreError> {
    on!(conn, |c| {
        sqlx::query(
        "UPDATE containers SET observed_state = $3, observed_docker_id = $4, observed_exit_code = $5, observed_started_at = $6, \
         observed_ports = $7, observed_address = $8, observed_at = $9, observed_health = $10 WHERE id = $1 AND host_id = $2"
    )
    .bind(id.uuid())
    .bind(host.uuid())
    .bind(seen.state.as_str())
    .bind(seen.docker_id.as_deref())
    .bind(seen.exit_code)
    .bind(seen.started_at.map(micros))
    .bind(document(&seen.ports))
    .bind(seen.address.map(|a| a.to_string()))
    .bind(seen.at.map(micros))
    .bind(seen.health.map(Health::as_str))
    .execute(c)
    .await?
    .rows_affected()
    });
    Ok(())
}

/// Removes the row of a container that is gone.
pub async fn remove(conn: &mut Conn, id: ContainerId) -> Result<(), StoreError> {
    super::secrets::keep_only(conn, id, &[]).await?;
    super::grants::of_nobody(conn, id).await?;
    super::converge::forget(conn, id).await?;
    labels::forget(conn, id.uuid()).await?;
    on!(conn, |c| sqlx::query("DELETE FROM containers WHERE id = $1")
        .bind(id.uuid())
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}
