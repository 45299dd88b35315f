//! Users' data keys, wrapped. Only `vault` can open one.

use super::{Conn, StoreError, on};
use dockerforge_protocol::ids::UserId;

/// A user's wrapped data key.
pub async fn data_key(conn: &mut Conn, user: UserId) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(on!(conn, |c| sqlx::query_scalar("SELECT wrapped FROM data_keys WHERE user_id = $1")
        .bind(user.uuid())
        .fetch_optional(c)
        .await?))
}

/// Gives a user a data key unless he has one.
pub async fn insert_data_key(conn: &mut Conn, user: UserId, wrapped: &[u8]) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("INSERT INTO data_keys (user_id, wrapped) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(user.uuid())
        .bind(wrapped)
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}
