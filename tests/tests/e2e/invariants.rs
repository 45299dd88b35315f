//! The checks of the invariants are no empty words: each finds what is broken on purpose.

use dockerforge_tests::{cluster::Cluster, invariants};
use serde_json::json;

#[tokio::test]
#[should_panic(expected = "I18: secret")]
async fn a_secret_in_the_database_is_found() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    api.post("/v1/hosts", &json!({"name": "hidden-4711"})).await.expect(201);
    cluster.is_secret("hidden-4711");
    invariants::standing(&cluster).await;
}

#[tokio::test]
#[should_panic(expected = "I19")]
async fn more_than_a_quota_is_found() {
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    api.create_host("vps").await;
    cluster.admin().patch(&format!("/v1/users/{}", ana.user.id), &json!({"quota": {"hosts": 0}})).await.expect(200);
    invariants::standing(&cluster).await;
}

#[tokio::test]
#[should_panic(expected = "I2, I8")]
async fn an_end_without_its_event_is_found() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (host, _) = api.create_host("vps").await;
    let job = api.build(&host.id, "one", "FROM scratch").await;
    api.delete(&format!("/v1/queue/{}", job.id)).await.accepted();
    api.ended(&job.id, 10).await;
    cluster.database().change(&cluster.data(), "DELETE FROM events WHERE kind = 'job.cancelled'").await;
    invariants::standing(&cluster).await;
}

#[tokio::test]
#[should_panic(expected = "I12")]
async fn a_hole_in_a_log_is_found() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (host, _) = api.create_host("vps").await;
    api.build(&host.id, "one", "FROM scratch").await;
    cluster.database().change(&cluster.data(), "UPDATE jobs SET log_size = 7").await;
    invariants::standing(&cluster).await;
}
