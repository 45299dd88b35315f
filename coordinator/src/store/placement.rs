//! What placing containers on shared hosts needs to know: the hosts, what is set aside on them, who has been there, and
//! which hosts are none of a user's business.

use super::rows::{maybe_time, unsigned, word};
use super::{Conn, StoreError, is_postgres, on};
use crate::domain::Timestamp;
use crate::domain::host::HostState;
use crate::domain::placement::Reserved;
use dockerforge_protocol::ids::{HostId, UserId};
use sqlx::QueryBuilder;
use uuid::Uuid;

/// Takes a host for the rest of the transaction, so that of two who place something on it the second sees what the first
/// set aside. Rows that refer to the host may be written meanwhile; SQLite's one writer holds everything.
pub async fn hold(conn: &mut Conn, id: HostId) -> Result<(), StoreError> {
    if is_postgres(conn) {
        on!(conn, |c| sqlx::query("SELECT 1 FROM hosts WHERE id = $1 FOR NO KEY UPDATE")
            .bind(id.uuid())
            .fetch_optional(c)
            .await?
            .is_some());
    }
    Ok(())
}

/// What is set aside on each of these hosts. A container counts until it is known to be gone, also while it is on its way
/// out: it may still run. One that moves counts on both of its hosts.
pub async fn reserved(conn: &mut Conn, hosts: &[HostId]) -> Result<Vec<(HostId, Reserved)>, StoreError> {
    if hosts.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(Uuid, i64, i64, i64)> = on!(conn, |c| {
        let mut q = QueryBuilder::new(
            "SELECT host_id, CAST(SUM(cpus) AS BIGINT), CAST(SUM(memory) AS BIGINT), COUNT(*) FROM (\
             SELECT host_id, cpus, memory FROM containers WHERE host_id IN (",
        );
        let mut list = q.separated(", ");
        for id in hosts {
            list.push_bind(id.uuid());
        }
        q.push(") UNION ALL SELECT target_id, cpus, memory FROM moves WHERE target_id IN (");
        let mut list = q.separated(", ");
        for id in hosts {
            list.push_bind(id.uuid());
        }
        q.push(")) AS held GROUP BY host_id");
        q.build_query_as().fetch_all(c).await?
    });
    rows.into_iter()
        .map(|(host, cpus, memory, containers)| {
            let reserved = Reserved {
                cpus: unsigned("containers.cpus", cpus)?,
                memory: unsigned("containers.memory", memory)?,
                containers: unsigned("containers.count", containers)?,
            };
            Ok((HostId::from_uuid(host), reserved))
        })
        .collect()
}

/// How a host stands to those who have something on it.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    /// Which host.
    pub id: HostId,
    /// Whose it is.
    pub owner: UserId,
    /// Its state, where a conflict is a silence like any other.
    pub state: HostState,
    /// When it was last heard of.
    pub last_seen_at: Option<Timestamp>,
    /// Whether users share it.
    pub pool: bool,
}

/// How hosts stand, for things that were found on them.
pub async fn standings(conn: &mut Conn, ids: &[HostId]) -> Result<Vec<Standing>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(Uuid, Uuid, String, Option<i64>, bool)> = on!(conn, |c| {
        let mut q = QueryBuilder::new("SELECT id, user_id, state, last_seen_at, pool FROM hosts WHERE id IN (");
        let mut list = q.separated(", ");
        for id in ids {
            list.push_bind(id.uuid());
        }
        q.push(")");
        q.build_query_as().fetch_all(c).await?
    });
    rows.into_iter()
        .map(|(id, owner, state, seen, pool)| {
            Ok(Standing {
                id: HostId::from_uuid(id),
                owner: UserId::from_uuid(owner),
                state: word("hosts.state", &state, HostState::parse(&state))?,
                last_seen_at: maybe_time("hosts.last_seen_at", seen)?,
                pool,
            })
        })
        .collect()
}

/// Those of these hosts that are somebody else's: a user is not told of them, whatever he has there.
pub async fn foreign(conn: &mut Conn, user: UserId, ids: &[HostId]) -> Result<Vec<HostId>, StoreError> {
    let all = standings(conn, ids).await?;
    Ok(all.into_iter().filter(|host| host.owner != user).map(|host| host.id).collect())
}

/// Notes that a user has something on another's host.
pub async fn add_tenant(conn: &mut Conn, host: HostId, user: UserId) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("INSERT INTO host_tenants (host_id, user_id) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(host.uuid())
        .bind(user.uuid())
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}

/// Notes that nothing of a user is left on another's host.
pub async fn remove_tenant(conn: &mut Conn, host: HostId, user: UserId) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("DELETE FROM host_tenants WHERE host_id = $1 AND user_id = $2")
        .bind(host.uuid())
        .bind(user.uuid())
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}

/// Who has something on another's host.
pub async fn tenants(conn: &mut Conn, host: HostId) -> Result<Vec<UserId>, StoreError> {
    let ids: Vec<Uuid> =
        on!(conn, |c| sqlx::query_scalar("SELECT user_id FROM host_tenants WHERE host_id = $1 ORDER BY user_id")
            .bind(host.uuid())
            .fetch_all(c)
            .await?);
    Ok(ids.into_iter().map(UserId::from_uuid).collect())
}

/// Others' hosts that a user has something on.
pub async fn hosts_of_tenant(conn: &mut Conn, user: UserId) -> Result<Vec<HostId>, StoreError> {
    let ids: Vec<Uuid> =
        on!(conn, |c| sqlx::query_scalar("SELECT host_id FROM host_tenants WHERE user_id = $1 ORDER BY host_id")
            .bind(user.uuid())
            .fetch_all(c)
            .await?);
    Ok(ids.into_iter().map(HostId::from_uuid).collect())
}

/// Whether a user has what others use: shared hosts, or public images.
pub async fn shares(conn: &mut Conn, user: UserId) -> Result<bool, StoreError> {
    Ok(on!(conn, |c| sqlx::query(
        "SELECT 1 FROM hosts WHERE user_id = $1 AND pool = TRUE \
         UNION ALL SELECT 1 FROM images WHERE user_id = $1 AND public = TRUE LIMIT 1"
    )
    .bind(user.uuid())
    .fetch_optional(c)
    .await?
    .is_some()))
}
