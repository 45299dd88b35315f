//! The audit: every change has its line, in the order in which it was made, and only administrators read them. The list of
//! what changes something is compared with the API's own document, so that a new route without a line here fails.

use dockerforge_tests::{cluster::Cluster, env, recipes};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Each route that changes something, and what the audit calls it.
const CHANGES: [(&str, &str); 31] = [
    ("POST /users", "user.create"),
    ("PATCH /users/{id}", "user.update"),
    ("DELETE /users/{id}", "user.delete"),
    ("POST /users/{id}/tokens", "token.create"),
    ("DELETE /users/{id}/tokens/{token}", "token.delete"),
    ("POST /hosts", "host.create"),
    ("PATCH /hosts/{id}", "host.update"),
    ("POST /hosts/{id}/token", "host.token"),
    ("DELETE /hosts/{id}", "host.delete"),
    ("POST /templates", "template.create"),
    ("PUT /templates/{id}", "template.update"),
    ("PUT /templates/{id}/archive", "template.archive"),
    ("DELETE /templates/{id}", "template.delete"),
    ("POST /configurations", "configuration.create"),
    ("PATCH /configurations/{id}", "configuration.update"),
    ("DELETE /configurations/{id}", "configuration.delete"),
    ("POST /images", "image.create"),
    ("DELETE /images/{id}", "image.delete"),
    ("POST /containers", "container.create"),
    ("POST /containers/{id}/start", "container.start"),
    ("POST /containers/{id}/stop", "container.stop"),
    ("POST /containers/{id}/restart", "container.restart"),
    ("POST /containers/{id}/exec", "container.exec"),
    ("POST /containers/{id}/converge", "container.converge"),
    ("POST /containers/{id}/move", "container.move"),
    ("PATCH /containers/{id}", "container.update"),
    ("DELETE /containers/{id}", "container.delete"),
    ("POST /webhooks", "webhook.create"),
    ("PATCH /webhooks/{id}", "webhook.update"),
    ("DELETE /webhooks/{id}", "webhook.delete"),
    ("DELETE /queue/{id}", "job.cancel"),
];

async fn lines(cluster: &Cluster, query: &str) -> Vec<Value> {
    cluster.admin().all(&format!("/v1/audit{query}")).await
}

#[tokio::test]
async fn every_change_has_its_line() {
    let cluster = Cluster::start().await;
    let document = cluster.anonymous().get("/openapi.json").await.expect(200).json;
    let mut changing = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in
            operations.as_object().unwrap().keys().filter(|m| ["post", "put", "patch", "delete"].contains(&m.as_str()))
        {
            changing.insert(format!("{} {}", method.to_uppercase(), path.strip_prefix("/v1").unwrap_or(path)));
        }
    }
    // A ticket changes nothing; the terminal that it opens has its lines.
    assert!(changing.remove("POST /containers/{id}/terminal-ticket"));
    assert_eq!(
        changing,
        CHANGES.iter().map(|(route, _)| (*route).to_owned()).collect(),
        "left: served, right: listed here"
    );

    let admin = cluster.admin();
    let (ana, api) = cluster.user("ana").await;
    let user = format!("/v1/users/{}", ana.user.id);
    admin.call(Method::PATCH, &user).json(&json!({"quota": {"hosts": 5}})).send().await.expect(200);
    let token = api.post(&format!("{user}/tokens"), &json!({"name": "ci"})).await.expect(201).json;
    api.delete(&format!("{user}/tokens/{}", token["id"].as_str().unwrap())).await.expect(204);
    let agent = cluster.host(&api, "vps").await;
    let image = agent.image("base", env::SLEEPER).await;
    let container = agent.container("blog", &image, json!({})).await;
    for operation in ["stop", "start", "restart"] {
        let job = api.post(&format!("/v1/containers/{container}/{operation}"), &json!({})).await.accepted();
        api.succeeded(&job, 60).await;
    }
    let path = format!("/v1/containers/{container}");
    let job = api.post(&format!("{path}/exec"), &json!({"command": ["true"]})).await.accepted();
    api.succeeded(&job, 60).await;
    let job = api.call(Method::PATCH, &path).json(&json!({"restart": "no"})).send().await.accepted();
    api.succeeded(&job, 60).await;
    let webhook = api.post("/v1/webhooks", &json!({"url": "https://panel.example/"})).await.expect(201).json;
    let path = format!("/v1/webhooks/{}", webhook["id"].as_str().unwrap());
    api.call(Method::PATCH, &path).json(&json!({"kinds": ["job.*"]})).send().await.expect(200);
    api.delete(&path).await.expect(204);
    let template = recipes::page_template(&api).await;
    let path = format!("/v1/templates/{template}");
    let mut changed = recipes::page();
    changed["description"] = json!("another");
    api.call(Method::PUT, &path).json(&changed).send().await.expect(200);
    let configuration = recipes::configuration(&api, "blog", &template, json!({"title": "x"})).await;
    let configuration = format!("/v1/configurations/{configuration}");
    api.call(Method::PATCH, &configuration).json(&json!({"name": "renamed"})).send().await.expect(200);
    let of = configuration.rsplit('/').next().unwrap();
    let body = json!({"name": "configured", "host": agent.host, "configuration": of});
    let job = api.post("/v1/images", &body).await.accepted();
    let configured = api.succeeded(&job, 120).await;
    let converged = agent.container("configured", &configured, json!({})).await;
    let job = api.post(&format!("/v1/containers/{converged}/converge"), &json!({})).await.accepted();
    api.succeeded(&job, 60).await;
    for made in [format!("/v1/containers/{converged}"), format!("/v1/images/{configured}")] {
        let job = api.delete(&made).await.accepted();
        api.succeeded(&job, 60).await;
    }
    api.delete(&configuration).await.expect(204);
    api.delete(&path).await.expect(204);
    let (spare, _) = api.create_host("spare").await;
    let path = format!("/v1/hosts/{}", spare.id);
    api.call(Method::PATCH, &path).json(&json!({"labels": {"zone": "a"}})).send().await.expect(200);
    api.post(&format!("/v1/hosts/{}/token", spare.id), &json!({})).await.expect(201);
    // It waits for a host that never comes, and is cancelled.
    let moves = json!({"host": spare.id});
    let moves = api.post(&format!("/v1/containers/{container}/move"), &moves).await.accepted();
    api.delete(&format!("/v1/queue/{}", moves.id)).await.accepted();
    api.ended(&moves.id, 30).await;
    let waiting = api.build(&spare.id, "waits", "FROM scratch").await;
    api.delete(&format!("/v1/queue/{}", waiting.id)).await.accepted();
    // The image was on its way to the host that never comes.
    for path in
        [format!("/v1/containers/{container}"), format!("/v1/hosts/{}", spare.id), format!("/v1/images/{image}")]
    {
        let job = api.delete(&path).await.accepted();
        api.succeeded(&job, 60).await;
    }
    let before: BTreeSet<String> =
        lines(&cluster, "").await.iter().map(|l| l["action"].as_str().unwrap().to_owned()).collect();
    let deletion = admin.delete(&user).await;
    let request = deletion.header("x-request-id").unwrap().to_owned();
    let job = deletion.accepted();
    admin.succeeded(&job, 60).await;

    let mut written = before;
    written.insert("user.delete".to_owned());
    let mut expected: BTreeSet<String> = CHANGES.iter().map(|(_, action)| (*action).to_owned()).collect();
    expected.insert("host.enrol".to_owned());
    assert_eq!(written, expected);
    // Who, for whom, what, from where, with which request; and it outlives what it is about.
    let last = &lines(&cluster, &format!("?resource={}&action=user.delete", ana.user.id)).await[0];
    assert_eq!((&last["resource"]["kind"], &last["resource"]["id"]), (&json!("user"), &json!(ana.user.id)));
    assert_eq!((&last["remote"], &last["request_id"]), (&json!("127.0.0.1"), &json!(request)));
    assert_eq!(last["actor"], last["user"]);
    assert_ne!(last["actor"], json!(ana.user.id));
}

#[tokio::test]
async fn the_audit_is_filtered_and_paged_newest_first_and_for_administrators_alone() {
    let cluster = Cluster::start().await;
    let (ana, api) = cluster.user("ana").await;
    let (_, eva) = cluster.user("eva").await;
    let mut hosts = Vec::new();
    for i in 0..5 {
        hosts.push(api.create_host(&format!("h{i}")).await.0.id);
    }
    eva.create_host("hers").await;
    cluster.admin().acting_for(&ana.user.id).create_host("given").await;
    api.get("/v1/audit").await.problem(403, "forbidden");

    let of_ana = lines(&cluster, &format!("?user={}&action=host.create", ana.user.id)).await;
    assert_eq!(of_ana.len(), 6);
    assert_ne!(of_ana[0]["actor"], json!(ana.user.id), "the newest: an administrator for her");
    let named: Vec<&str> = of_ana[1..].iter().map(|line| line["resource"]["id"].as_str().unwrap()).collect();
    assert_eq!(named, hosts.iter().rev().map(String::as_str).collect::<Vec<_>>());
    let about = lines(&cluster, &format!("?resource={}", hosts[0])).await;
    assert_eq!(about.len(), 1);

    let page = cluster.admin().get(&format!("/v1/audit?user={}&limit=4", ana.user.id)).await.expect(200);
    let next = page.json["next"].as_str().expect("a next page").to_owned();
    assert!(page.header("link").unwrap().contains(&format!("after={next}")), "{page}");
    let rest = cluster.admin().get(&format!("/v1/audit?user={}&limit=4&after={next}", ana.user.id)).await.expect(200);
    assert_eq!((page.json["items"].as_array().unwrap().len(), rest.json["items"].as_array().unwrap().len()), (4, 2));
    for (query, pointer) in [
        ("user=ana", "user"),
        ("resource=x", "resource"),
        ("after=x", "after"),
        ("limit=0", "limit"),
        ("kind=x", "kind"),
    ] {
        let problem = cluster.admin().get(&format!("/v1/audit?{query}")).await.problem(422, "invalid");
        assert_eq!(problem.pointers(), [pointer], "{query}");
    }
}
