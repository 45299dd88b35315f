//! Values of containers' secrets, sealed. Only `vault` can open one.

use super::{Conn, StoreError, on};
use dockerforge_protocol::ids::{ContainerId, SecretId};
use sqlx::QueryBuilder;
use uuid::Uuid;

/// Keeps a value.
pub async fn insert(conn: &mut Conn, id: SecretId, container: ContainerId, sealed: &[u8]) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("INSERT INTO secrets (id, container_id, sealed) VALUES ($1, $2, $3)")
        .bind(id.uuid())
        .bind(container.uuid())
        .bind(sealed)
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}

/// Every value that is kept for a container.
pub async fn of_container(conn: &mut Conn, container: ContainerId) -> Result<Vec<(SecretId, Vec<u8>)>, StoreError> {
    let rows: Vec<(Uuid, Vec<u8>)> =
        on!(conn, |c| sqlx::query_as("SELECT id, sealed FROM secrets WHERE container_id = $1 ORDER BY id")
            .bind(container.uuid())
            .fetch_all(c)
            .await?);
    Ok(rows.into_iter().map(|(id, sealed)| (SecretId::from_uuid(id), sealed)).collect())
}

/// Forgets every value of a container but these.
pub async fn keep_only(conn: &mut Conn, container: ContainerId, kept: &[SecretId]) -> Result<(), StoreError> {
    on!(conn, |c| {
        let mut q = QueryBuilder::new("DELETE FROM secrets WHERE container_id = ");
        q.push_bind(container.uuid());
        for id in kept {
            q.push(" AND id <> ").push_bind(id.uuid());
        }
        q.build().execute(c).await?.rows_affected()
    });
    Ok(())
}
