//! What links between containers depend on: which services the containers of configurations are, and which an image's
//! containers need.

use super::rows::{json, text};
use super::{Conn, StoreError, on};
use crate::domain::link::Provider;
use dockerforge_protocol::ids::{ContainerId, HostId, ImageId, UserId};
use dockerforge_protocol::spec::ResourceName;
use serde::Deserialize;
use sqlx::QueryBuilder;
use uuid::Uuid;

/// How many of a user's containers are looked through.
const LOOKED_THROUGH: i64 = 1000;

/// Of what a template says, the services.
#[derive(Deserialize)]
struct Services {
    requires: Vec<ResourceName>,
    provides: Vec<ResourceName>,
}

/// From an image to what its template says in the version that it was made of.
macro_rules! of_template {
    () => {
        "JOIN configuration_versions f ON f.configuration_id = i.configuration_id AND f.version = i.configuration_version \
         JOIN template_versions v ON v.template_id = f.template_id AND v.version = f.template_version "
    };
}

/// The services that a user's containers of an image must be linked to; none where it is of no configuration. Of his own
/// configuration the newest version counts, for that is what they are converged to.
pub async fn required(conn: &mut Conn, user: UserId, image: ImageId) -> Result<Vec<ResourceName>, StoreError> {
    const REQUIRED: &str = "SELECT v.spec FROM images i JOIN configurations c ON c.id = i.configuration_id \
         JOIN configuration_versions f ON f.configuration_id = c.id \
         AND f.version = CASE WHEN c.user_id = $2 THEN c.version ELSE i.configuration_version END \
         JOIN template_versions v ON v.template_id = f.template_id AND v.version = f.template_version WHERE i.id = $1";
    let spec: Option<String> =
        on!(conn, |c| sqlx::query_scalar(REQUIRED).bind(image.uuid()).bind(user.uuid()).fetch_optional(c).await?);
    let spec = spec.map(|spec| json::<Services>("template_versions.spec", &spec)).transpose()?;
    Ok(spec.map(|spec| spec.requires).unwrap_or_default())
}

/// A user's containers of configurations with the services that they are: these, or all of them.
pub async fn providers(
    conn: &mut Conn,
    user: UserId,
    only: Option<&[ContainerId]>,
) -> Result<Vec<Provider>, StoreError> {
    if only.is_some_and(<[ContainerId]>::is_empty) {
        return Ok(Vec::new());
    }
    let rows: Vec<(Uuid, String, Uuid, String)> = on!(conn, |c| {
        let mut q = QueryBuilder::new(concat!(
            "SELECT c.id, c.name, c.host_id, v.spec FROM containers c JOIN images i ON i.id = c.image_id ",
            of_template!(),
            "WHERE c.desired <> 'removed' AND c.user_id = "
        ));
        q.push_bind(user.uuid());
        if let Some(ids) = only {
            q.push(" AND c.id IN (");
            let mut list = q.separated(", ");
            for id in ids {
                list.push_bind(id.uuid());
            }
            q.push(")");
        }
        q.push(" ORDER BY c.id DESC LIMIT ").push_bind(LOOKED_THROUGH);
        q.build_query_as().fetch_all(c).await?
    });
    let mut providers = Vec::with_capacity(rows.len());
    for (id, name, host, spec) in rows {
        let provides = json::<Services>("template_versions.spec", &spec)?.provides;
        let name = text("containers.name", &name)?;
        providers.push(Provider {
            container: ContainerId::from_uuid(id),
            name,
            host: HostId::from_uuid(host),
            provides,
        });
    }
    Ok(providers)
}
