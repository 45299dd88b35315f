//! The registry that images are brought to: where it is, who of the hosts is what to it, and what is to go from there.

use super::rows::{time, unsigned, word};
use super::{Conn, StoreError, micros, on};
use crate::domain::Timestamp;
use crate::domain::host::HostState;
use crate::domain::registry::{Opening, Party, Place};
use dockerforge_protocol::ids::{HostId, ImageId, UserId};
use sqlx::QueryBuilder;
use uuid::Uuid;

/// Notes where images are brought to, if anywhere: all coordinators of this database hold to the same.
pub async fn set_place(conn: &mut Conn, place: Option<&Place>) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("UPDATE cluster SET registry = $1, registry_opening = $2")
        .bind(place.map(|place| place.base.as_str()))
        .bind(place.map(|place| place.opening.as_str()))
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}

/// Where images are brought to, if anywhere.
pub async fn place(conn: &mut Conn) -> Result<Option<Place>, StoreError> {
    let row: Option<(Option<String>, Option<String>)> =
        on!(conn, |c| sqlx::query_as("SELECT registry, registry_opening FROM cluster ORDER BY created_at, id LIMIT 1")
            .fetch_optional(c)
            .await?);
    let Some((Some(base), Some(opening))) = row else { return Ok(None) };
    let opening = word("cluster.registry_opening", &opening, Opening::parse(&opening))?;
    Ok(Some(Place { base, opening }))
}

/// What matters of these hosts, in the order of their ids.
pub async fn parties(conn: &mut Conn, hosts: &[HostId]) -> Result<Vec<Party>, StoreError> {
    if hosts.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(Uuid, Uuid, bool, String)> = on!(conn, |c| {
        let mut q = QueryBuilder::new(
            "SELECT h.id, h.user_id, u.admin, h.state FROM hosts h JOIN users u ON u.id = h.user_id WHERE h.id IN (",
        );
        let mut list = q.separated(", ");
        for host in hosts {
            list.push_bind(host.uuid());
        }
        q.push(") ORDER BY h.id");
        q.build_query_as().fetch_all(c).await?
    });
    let party = |(host, user, admin, state): (Uuid, Uuid, bool, String)| Party {
        host: HostId::from_uuid(host),
        user: UserId::from_uuid(user),
        admin,
        online: state == HostState::Online.as_str(),
    };
    Ok(rows.into_iter().map(party).collect())
}

/// An image that is to go from the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// Registry and repository.
    pub repository: String,
    /// The digest of its manifest, where it is known.
    pub digest: Option<String>,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is to be tried again.
    pub next_at: Timestamp,
}

/// Notes of an image that is about to be removed that it is to go from the registry too, if it was ever to be there.
pub(super) async fn abandon(conn: &mut Conn, image: ImageId) -> Result<(), StoreError> {
    on!(conn, |c| {
        sqlx::query(
            "INSERT INTO registry_removals (repository, digest, next_at) SELECT registry_repository, registry_digest, 0 \
             FROM images WHERE id = $1 AND registry_repository IS NOT NULL ON CONFLICT (repository) DO NOTHING",
        )
        .bind(image.uuid())
        .execute(c)
        .await?
        .rows_affected()
    });
    Ok(())
}

/// What is to be tried now, the longest due first.
pub async fn due(conn: &mut Conn, now: Timestamp, limit: u32) -> Result<Vec<Removal>, StoreError> {
    let rows: Vec<(String, Option<String>, i64, i64)> = on!(conn, |c| {
        sqlx::query_as(
        "SELECT repository, digest, attempts, next_at FROM registry_removals WHERE next_at <= $1 ORDER BY next_at LIMIT $2"
    )
    .bind(micros(now))
    .bind(i64::from(limit))
    .fetch_all(c)
    .await?
    });
    rows.into_iter()
        .map(|(repository, digest, attempts, next_at)| {
            Ok(Removal {
                repository,
                digest,
                attempts: unsigned("registry_removals.attempts", attempts)?,
                next_at: time("registry_removals.next_at", next_at)?,
            })
        })
        .collect()
}

/// Takes a removal for an attempt, until then; whether nobody else has.
pub async fn claim(conn: &mut Conn, removal: &Removal, until: Timestamp) -> Result<bool, StoreError> {
    let claimed = on!(conn, |c| sqlx::query(
        "UPDATE registry_removals SET next_at = $3, attempts = attempts + 1 WHERE repository = $1 AND next_at = $2"
    )
    .bind(&removal.repository)
    .bind(micros(removal.next_at))
    .bind(micros(until))
    .execute(c)
    .await?
    .rows_affected());
    Ok(claimed == 1)
}

/// An attempt ended: it is over, or tried again then.
pub async fn settle(conn: &mut Conn, removal: &Removal, next: Option<Timestamp>) -> Result<(), StoreError> {
    match next {
        None => on!(conn, |c| sqlx::query("DELETE FROM registry_removals WHERE repository = $1")
            .bind(&removal.repository)
            .execute(c)
            .await?
            .rows_affected()),
        Some(next) => on!(conn, |c| sqlx::query("UPDATE registry_removals SET next_at = $2 WHERE repository = $1")
            .bind(&removal.repository)
            .bind(micros(next))
            .execute(c)
            .await?
            .rows_affected()),
    };
    Ok(())
}
