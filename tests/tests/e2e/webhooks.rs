//! Webhooks: each event arrives, signed, at least once, whatever the receiver and the coordinator go through.

use dockerforge_tests::{
    client::{Api, NewUser},
    cluster::Cluster,
    receiver::Receiver,
    wait,
};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

async fn create(api: &Api, body: Value) -> (String, String) {
    let answer = api.post("/v1/webhooks", &body).await.expect(201).json;
    (answer["id"].as_str().unwrap().to_owned(), answer["secret"].as_str().unwrap().to_owned())
}

async fn deliveries(api: &Api, webhook: &str, state: &str) -> Vec<Value> {
    let answer = api.get(&format!("/v1/webhooks/{webhook}/deliveries?state={state}")).await.expect(200);
    answer.json["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_event_arrives_signed_with_the_secret_that_was_shown_once() {
    let cluster = Cluster::start().await;
    // The administrator's receivers may be on the coordinator's own network.
    let panel = cluster.admin();
    let (_, api) = cluster.user("ana").await;
    let receiver = Receiver::start(200).await;
    let (webhook, secret) = create(&panel, json!({"url": receiver.url(), "kinds": ["job.queued"], "all": true})).await;
    let shown = panel.get(&format!("/v1/webhooks/{webhook}")).await.expect(200);
    assert!(!shown.text.contains("whsec_"), "{shown}");

    let (host, _) = api.create_host("vps").await;
    let job = api.build(&host.id, "one", "FROM scratch").await;
    let received =
        wait::until(30, "the event arrives", async || receiver.received().first().cloned().ok_or_else(String::new))
            .await;
    received.verify(&secret);
    let body = received.json();
    assert_eq!(
        (body["type"].as_str(), body["data"]["resource"]["id"].as_str()),
        (Some("job.queued"), Some(job.id.as_str()))
    );
    let event = &panel.get("/v1/events?all=true&kind=job.queued").await.expect(200).json["items"][0];
    assert_eq!(&body["data"], event, "the data is the event as the API shows it");
    let delivered = wait::until(20, "it is noted", async || {
        deliveries(&panel, &webhook, "delivered").await.pop().ok_or_else(String::new)
    })
    .await;
    assert_eq!((delivered["status"].as_u64(), delivered["attempts"].as_u64()), (Some(200), Some(1)), "{delivered}");
    assert_eq!(delivered["id"].as_str(), Some(received.header("webhook-id")));
}

#[tokio::test]
async fn what_is_not_taken_is_sent_again_under_the_same_id_also_after_a_crash() {
    let mut cluster = Cluster::start().await;
    let panel = cluster.admin();
    let receiver = Receiver::start(503).await;
    let (webhook, secret) = create(&panel, json!({"url": receiver.url(), "kinds": ["job.queued"]})).await;
    let (host, _) = panel.create_host("vps").await;
    panel.build(&host.id, "one", "FROM scratch").await;
    wait::until(30, "a first attempt", async || wait::check(!receiver.received().is_empty(), ())).await;
    let pending = wait::until(20, "it is noted", async || {
        let pending = deliveries(&panel, &webhook, "pending").await.pop();
        pending.filter(|delivery| delivery["status"] == 503).ok_or_else(String::new)
    })
    .await;
    assert!(pending["error"].as_str().unwrap().contains("503") && pending["next_at"].is_string(), "{pending}");
    cluster.kill();
    receiver.answer(204);
    cluster.launch(&[]).await;
    wait::until(60, "it is taken", async || {
        wait::check(!deliveries(&panel, &webhook, "delivered").await.is_empty(), ())
    })
    .await;
    let received = receiver.received();
    assert!(received.len() >= 2);
    for attempt in &received {
        attempt.verify(&secret);
        assert_eq!(attempt.header("webhook-id"), received[0].header("webhook-id"));
    }
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_told_no_more_until_its_webhook_is_active_again() {
    let cluster = Cluster::start().await;
    let panel = cluster.admin();
    let receiver = Receiver::start(410).await;
    let (webhook, _) = create(&panel, json!({"url": receiver.url(), "kinds": ["job.*"]})).await;
    let path = format!("/v1/webhooks/{webhook}");
    let (host, _) = panel.create_host("vps").await;
    panel.build(&host.id, "one", "FROM scratch").await;
    wait::until(30, "it is disabled", async || {
        let shown = panel.get(&path).await.expect(200).json;
        wait::check(shown["state"] == "disabled", shown)
    })
    .await;
    assert_eq!(deliveries(&panel, &webhook, "failed").await.len(), 1);
    let told = panel.get("/v1/events?kind=webhook.disabled").await.expect(200).json;
    assert_eq!(told["items"][0]["resource"]["id"].as_str(), Some(webhook.as_str()));

    let missed = panel.build(&host.id, "two", "FROM scratch").await;
    receiver.answer(200);
    let active = panel.call(Method::PATCH, &path).json(&json!({"state": "active"})).send().await.expect(200).json;
    assert_eq!(active["state"], "active");
    wait::until(30, "what happened meanwhile arrives", async || {
        let received = receiver.received();
        let last = received.last().map(|r| r.json()["data"]["resource"]["id"].clone());
        wait::check(last == Some(json!(missed.id)), last)
    })
    .await;
    panel.delete(&path).await.expect(204);
    panel.get(&path).await.problem(404, "not-found");
}

#[tokio::test]
async fn receivers_that_do_not_answer_keep_nobody_elses_events() {
    let cluster = Cluster::start().await;
    let panel = cluster.admin();
    let other: NewUser = panel.post("/v1/users", &json!({"name": "other", "admin": true})).await.expect(201).body();
    let other = cluster.anonymous().bearer(&other.key);
    // Connections are taken by the kernel, and nobody ever reads from them.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let mut silent_ones = Vec::new();
    for _ in 0..2 {
        silent_ones.push(create(&other, json!({"url": url, "kinds": ["job.queued"]})).await.0);
    }
    let (host, _) = other.create_host("vps").await;
    for number in 0..20 {
        other.build(&host.id, &format!("i{number}"), "FROM scratch").await;
    }
    let tried = async || {
        let mut tried = 0;
        for webhook in &silent_ones {
            let pending = deliveries(&other, webhook, "pending").await;
            tried += pending.iter().filter(|delivery| delivery["attempts"] != 0).count();
        }
        tried
    };
    wait::until(30, "the first are tried", async || wait::check(tried().await == 4, tried().await)).await;
    wait::always(Duration::from_secs(5), "no more than four are under way for one user", async || {
        let tried = tried().await;
        wait::check(tried <= 4, tried)
    })
    .await;
    let receiver = Receiver::start(200).await;
    create(&panel, json!({"url": receiver.url(), "kinds": ["job.queued"]})).await;
    let (host, _) = panel.create_host("own").await;
    panel.build(&host.id, "one", "FROM scratch").await;
    wait::until(30, "the event arrives", async || wait::check(!receiver.received().is_empty(), ())).await;
}

#[tokio::test]
async fn nobody_but_an_administrator_makes_the_coordinator_look_into_its_own_network() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let receiver = Receiver::start(200).await;
    let by_name = receiver.url().replace("127.0.0.1", "localhost");
    let (host, _) = api.create_host("vps").await;
    let mut webhooks = Vec::new();
    for url in [receiver.url(), by_name, "http://[::1]:9/".to_owned(), "http://2130706433/".to_owned()] {
        webhooks.push(create(&api, json!({"url": url})).await.0);
    }
    api.build(&host.id, "one", "FROM scratch").await;
    for webhook in &webhooks {
        let tried = wait::until(30, "an attempt is noted", async || {
            let tried = deliveries(&api, webhook, "pending").await.pop();
            tried.filter(|delivery| delivery["error"].is_string()).ok_or_else(String::new)
        })
        .await;
        assert_eq!(tried["error"], "the receiver's address is not a public one", "{tried}");
    }
    assert!(receiver.received().is_empty(), "nothing was sent");
    api.post("/v1/webhooks", &json!({"url": receiver.url(), "all": true})).await.problem(403, "forbidden");
}

#[tokio::test]
async fn a_webhook_that_cannot_be_is_refused_with_all_that_is_wrong() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let bad = json!({"url": "ftp://x/", "kinds": ["job"]});
    assert_eq!(api.post("/v1/webhooks", &bad).await.problem(422, "invalid").pointers(), ["/url", "/kinds"]);
    for (body, status) in
        [(json!({"url": "https://a:b@x/"}), 422), (json!({"uri": "https://x/"}), 422), (json!({}), 422)]
    {
        assert_eq!(api.post("/v1/webhooks", &body).await.status, status, "{body}");
    }
    let (webhook, _) = create(&api, json!({"url": "https://panel.example/"})).await;
    let path = format!("/v1/webhooks/{webhook}");
    let change = api.call(Method::PATCH, &path).json(&json!({"state": "gone"})).send().await;
    assert_eq!(change.problem(422, "invalid").pointers(), ["/state"]);
    for number in 1..20 {
        create(&api, json!({"url": format!("https://panel.example/{number}")})).await;
    }
    let problem =
        api.post("/v1/webhooks", &json!({"url": "https://panel.example/"})).await.problem(403, "quota-exceeded");
    assert!(problem.detail.contains("20"), "{problem:?}");
}
