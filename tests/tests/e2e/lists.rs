//! Labels as filters of lists, and pages of what is filtered by several.

use dockerforge_tests::{backend::Backend, client::Api, cluster::Cluster, env};
use serde_json::json;

async fn names(api: &Api, path: &str) -> Vec<String> {
    let all: Vec<serde_json::Value> = api.all(path).await;
    all.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn containers_and_images_are_found_by_all_labels_that_are_named_and_by_those_they_have_now() {
    for backend in Backend::ALL {
        let cluster = Cluster::start_on(backend).await;
        let (_, api) = cluster.user("ana").await;
        let eva = cluster.user("eva").await.1;
        let agent = cluster.host(&api, "vps").await;
        let image = agent.image("base", env::SLEEPER).await;
        for (name, labels) in
            [("a", json!({"tier": "web", "zone": "x"})), ("b", json!({"tier": "web", "zone": "y=z"})), ("c", json!({}))]
        {
            agent.container(name, &image, json!({"labels": labels})).await;
            let body =
                json!({"name": format!("i{name}"), "host": agent.host, "dockerfile": "FROM scratch", "labels": labels});
            api.post("/v1/images", &body).await.accepted();
        }
        for (query, expected) in [
            ("label=tier=web", &["b", "a"][..]),
            ("label=tier=web&label=zone=x", &["a"]),
            ("label=zone=y%3Dz", &["b"]),
            ("label=tier=web&name=b", &["b"]),
            ("label=tier=web&label=zone=none", &[]),
            (&format!("label=tier=web&host={}", agent.host), &["b", "a"]),
        ] {
            assert_eq!(names(&api, &format!("/v1/containers?{query}")).await, expected, "{query}");
        }
        assert_eq!(names(&api, "/v1/images?label=tier=web").await, ["ib", "ia"]);
        assert_eq!(names(&api, "/v1/images?label=tier=web&label=zone=x").await, ["ia"]);
        assert!(names(&eva, "/v1/containers?label=tier=web").await.is_empty());
        for bad in ["label=tier", "label=UPPER=x", "label=a=1&label=a=2", "label", "lable=a=1", "name=a&name=b"] {
            api.get(&format!("/v1/containers?{bad}")).await.problem(422, "invalid");
        }
        // The labels of now: what is changed is found by what it has become, and what is gone not at all.
        let found = api.all::<serde_json::Value>("/v1/containers?label=zone=x").await;
        let path = format!("/v1/containers/{}", found[0]["id"].as_str().unwrap());
        let job = api.patch(&path, &json!({"labels": {"tier": "db"}})).await.accepted();
        api.succeeded(&job, 60).await;
        assert_eq!(names(&api, "/v1/containers?label=tier=db").await, ["a"]);
        assert_eq!(names(&api, "/v1/containers?label=tier=web").await, ["b"]);
        let job = api.delete(&path).await.accepted();
        api.succeeded(&job, 60).await;
        assert!(names(&api, "/v1/containers?label=tier=db").await.is_empty());
        let hosts = format!("/v1/hosts/{}", agent.host);
        api.patch(&hosts, &json!({"labels": {"zone": "q"}})).await.expect(200);
        assert_eq!(names(&api, "/v1/hosts?label=zone=q&state=online").await, ["vps"]);
        api.patch(&hosts, &json!({"labels": {}})).await.expect(200);
        assert!(names(&api, "/v1/hosts?label=zone=q").await.is_empty());
    }
}
