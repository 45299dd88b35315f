//! The ops address: health and metrics without authentication, and nothing of the API; the API has no metrics.

use dockerforge_tests::{cluster::Cluster, env, metrics::Metrics, wait};
use serde_json::json;
use std::{collections::BTreeSet, path::Path};

#[tokio::test]
async fn the_metrics_tell_of_hosts_jobs_requests_and_the_process_and_of_no_user() {
    let cluster = Cluster::start().await;
    let (user, api) = cluster.user("anamaria").await;
    let agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", &format!("RUN echo said\n{}", env::SLEEPER)).await;
    let container = agent.container("blog", &image, json!({})).await;
    api.get("/v1/nowhere").await.problem(404, "no-such-route");

    // One that waits for its host, so that what is only there then is there.
    let (elsewhere, _) = api.create_host("elsewhere").await;
    api.post("/v1/images", &json!({"name": "later", "host": elsewhere.id, "reference": "busybox:1"})).await.accepted();

    let seen = wait::until(20, "the metrics tell of the running container", async || {
        let seen = Metrics::scrape(cluster.ops()).await;
        let running = seen.value("dockerforge_host_containers_running", &[("name", "vps")]);
        wait::check(running == Some(1.0), &seen).map(|()| seen)
    })
    .await;
    let host = [("host", agent.host.as_str()), ("name", "vps")];
    let of_host = |metric: &str| seen.value(metric, &host).unwrap_or_else(|| panic!("{metric} is not there"));
    assert!((0.0..15.0).contains(&of_host("dockerforge_host_heartbeat_age_seconds")));
    assert!((0.0..20.0).contains(&of_host("dockerforge_host_docker_ping_age_seconds")));
    assert!((29.0..31.0).contains(&of_host("dockerforge_host_certificate_days_left")));
    assert!((0.0..=1.0).contains(&of_host("dockerforge_host_disk_free_ratio")));
    assert!(of_host("dockerforge_host_disk_free_bytes") >= 0.0);
    assert!(of_host("dockerforge_host_memory_used_bytes") > 1e6);
    assert_eq!(seen.value("dockerforge_host_state", &[host[0], ("state", "online")]), Some(1.0));
    assert_eq!(seen.value("dockerforge_hosts", &[("state", "online")]), Some(1.0));
    assert_eq!(seen.value("dockerforge_sessions_open", &[]), Some(1.0));
    let ended = |kind: &str| [("kind", kind.to_owned()), ("outcome", "succeeded".to_owned())];
    for kind in ["image.build", "container.create"] {
        let labels = ended(kind);
        let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(seen.value("dockerforge_jobs_ended_total", &labels), Some(1.0));
        assert_eq!(seen.value("dockerforge_job_duration_seconds_count", &labels), Some(1.0));
        assert_eq!(seen.value("dockerforge_job_wait_seconds_count", &[("kind", kind)]), Some(1.0));
    }
    assert!(seen.value("dockerforge_job_log_bytes_total", &[]) > Some(4.0));
    let route = [("route", "/containers"), ("method", "POST"), ("status", "2xx")];
    assert_eq!(seen.value("dockerforge_http_requests_total", &route), Some(1.0));
    assert_eq!(seen.value("dockerforge_http_requests_total", &[("route", "none"), ("status", "4xx")]), Some(1.0));
    assert!(seen.value("dockerforge_http_request_duration_seconds_count", &route[..2]) >= Some(1.0));
    assert!(seen.value("dockerforge_database_transaction_duration_seconds_count", &[]) > Some(4.0));
    assert_eq!(seen.value("dockerforge_database_failures_total", &[("reason", "other")]), Some(0.0));
    assert_eq!(seen.value("dockerforge_database_up", &[]), Some(1.0));
    assert!(seen.value("dockerforge_process_resident_memory_bytes", &[]) > Some(1e6));
    assert!(seen.value("dockerforge_process_open_fds", &[]) > Some(5.0));
    assert_eq!(seen.value("dockerforge_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), Some(1.0));
    let shown = seen.names();
    for named in named_in_packaging() {
        assert!(shown.contains(&named), "packaging names {named}, which is not served");
    }
    for private in [user.user.id.as_str(), "anamaria", &image, &container, "job_0"] {
        assert!(!seen.text.contains(private), "{private} is in the metrics");
    }
    assert!(seen.names().iter().all(|name| name.starts_with("dockerforge_")), "{:?}", seen.names());
}

/// Every metric of ours in the alert rules and on the dashboard.
fn named_in_packaging() -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for file in ["prometheus/dockerforge.rules.yml", "grafana/dockerforge.json"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let of_file: Vec<String> = words.filter(|w| w.starts_with("dockerforge_")).map(str::to_owned).collect();
        assert!(of_file.len() > 10, "{file} names hardly anything");
        named.extend(of_file);
    }
    named
}

#[tokio::test]
async fn a_job_that_waits_is_seen_with_its_age() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let (host, _) = api.create_host("vps").await;
    api.post("/v1/images", &json!({"name": "base", "host": host.id, "reference": "busybox:1"})).await.accepted();
    let seen = Metrics::scrape(cluster.ops()).await;
    let waiting = [("kind", "image.pull"), ("state", "queued")];
    assert_eq!(seen.value("dockerforge_jobs", &waiting), Some(1.0), "{seen:?}");
    assert!(seen.value("dockerforge_job_oldest_queued_age_seconds", &waiting[..1]) >= Some(0.0));
    assert_eq!(seen.value("dockerforge_hosts", &[("state", "pending")]), Some(1.0));
}

#[tokio::test]
async fn health_is_on_both_addresses_metrics_on_one_and_the_api_on_the_other() {
    let mut cluster = Cluster::start().await;
    let ops = dockerforge_tests::client::Api::anonymous(cluster.ops());
    for path in ["/healthz", "/readyz"] {
        ops.get(path).await.expect(200);
        cluster.anonymous().get(path).await.expect(200);
    }
    assert_eq!(ops.get("/v1/hosts").await.status, 404);
    cluster.admin().get("/metrics").await.problem(404, "no-such-route");
    cluster.stop().await;
    cluster.launch(&[("DOCKERFORGE_METRICS_HOSTS", "1")]).await;
    let api = cluster.admin();
    let (first, _) = api.create_host("first").await;
    api.create_host("second").await;
    let seen = Metrics::scrape(cluster.ops()).await;
    assert_eq!(seen.value("dockerforge_hosts", &[("state", "pending")]), Some(2.0));
    assert_eq!(seen.labels("dockerforge_host_state", "host"), [first.id], "no more than were asked for");
}
