//! Labels to find things by. What a thing's labels are stands in its own row; here they are once more, on an index. Called
//! by whatever in this room writes such a row, in the same transaction.

use super::{Conn, StoreError, on};
use crate::domain::Kind;
use dockerforge_protocol::ids::UserId;
use dockerforge_protocol::spec::Labels;
use sqlx::QueryBuilder;
use uuid::Uuid;

/// A thing that is its user's alone has these labels, and no others.
pub(super) async fn set(
    conn: &mut Conn,
    user: UserId,
    kind: Kind,
    id: Uuid,
    labels: &Labels,
) -> Result<(), StoreError> {
    forget(conn, id).await?;
    add(conn, user, kind, id, labels, false).await
}

/// A new thing has these labels; every user sees it, or not.
pub(super) async fn add(
    conn: &mut Conn,
    user: UserId,
    kind: Kind,
    id: Uuid,
    labels: &Labels,
    public: bool,
) -> Result<(), StoreError> {
    if labels.iter().next().is_none() {
        return Ok(());
    }
    on!(conn, |c| {
        let mut q = QueryBuilder::new("INSERT INTO labels (user_id, kind, key, value, resource_id, public) ");
        q.push_values(labels.iter(), |mut row, (key, value)| {
            row.push_bind(user.uuid()).push_bind(kind.as_str()).push_bind(key.to_string());
            row.push_bind(value.to_string()).push_bind(id).push_bind(public);
        });
        q.build().execute(c).await?.rows_affected()
    });
    Ok(())
}

/// A thing is gone.
pub(super) async fn forget(conn: &mut Conn, id: Uuid) -> Result<(), StoreError> {
    on!(conn, |c| sqlx::query("DELETE FROM labels WHERE resource_id = $1").bind(id).execute(c).await?.rows_affected());
    Ok(())
}
