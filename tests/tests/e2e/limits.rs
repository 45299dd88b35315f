//! How many requests may be made: each user his own, whoever runs the installation any number, and wrong keys no more than
//! a user's requests from one address.

use dockerforge_tests::{client::Api, cluster::Cluster};
use std::time::Duration;

/// One request a minute would fill the bucket again: nothing refills while a test runs.
const BURST: usize = 20;

async fn limited() -> (Cluster, Api, Api) {
    let mut cluster = Cluster::start().await;
    let (_, ana) = cluster.user("ana").await;
    let (_, eva) = cluster.user("eva").await;
    cluster.stop().await;
    cluster.launch(&[("DOCKERFORGE_RATE_LIMIT", "1"), ("DOCKERFORGE_RATE_BURST", &BURST.to_string())]).await;
    (cluster, ana, eva)
}

/// Asks until it is refused; how many requests were let in.
async fn until_refused(api: &Api) -> usize {
    for let_in in 0..1000 {
        let answer = api.get("/v1/hosts").await;
        if answer.status == 429 {
            let wait = answer.header("retry-after").and_then(|wait| wait.parse::<u64>().ok());
            assert!(wait.is_some_and(|wait| (1..=20).contains(&wait)), "{answer}");
            answer.problem(429, "rate-limited");
            return let_in;
        }
        answer.expect(200);
    }
    panic!("never refused");
}

#[tokio::test]
async fn a_user_is_held_to_his_rate_and_nobody_else_with_him() {
    let (cluster, ana, eva) = limited().await;
    let first = ana.get("/v1/hosts").await.expect(200);
    assert_eq!(first.header("ratelimit-policy"), Some("\"user\";q=20;w=20"), "{first}");
    assert_eq!(first.header("ratelimit"), Some("\"user\";r=19;t=1"), "{first}");
    let let_in = until_refused(&ana).await;
    assert!(let_in >= BURST - 1, "{let_in}");
    eva.get("/v1/hosts").await.expect(200);
    // The administrator is not held up; what he does for a user counts as the user's.
    let admin = cluster.admin();
    for _ in 0..3 * BURST {
        admin.get("/v1/users").await.expect(200);
    }
    let id = admin.get("/v1/users?name=eva").await.expect(200).json["items"][0]["id"].as_str().unwrap().to_owned();
    until_refused(&admin.acting_for(&id)).await;
    eva.get("/v1/hosts").await.problem(429, "rate-limited");
    // A stream counts as one request, however long it goes on.
    let answer = cluster.anonymous().get("/healthz").await.expect(200);
    assert_eq!(answer.header("ratelimit"), None, "{answer}");
}

#[tokio::test]
async fn wrong_keys_use_up_their_address_and_keep_nobody_out_whose_key_is_known() {
    let (cluster, ana, eva) = limited().await;
    ana.get("/v1/hosts").await.expect(200);
    let (mut looked_at, mut refused) = (0, 0);
    for number in 0..2 * BURST {
        let answer = cluster.anonymous().bearer(&format!("{number:064}")).get("/v1/hosts").await;
        match answer.json["type"].as_str().unwrap_or_default().rsplit(':').next().unwrap_or_default() {
            "unauthorized" | "too-many-failures" => looked_at += 1,
            "rate-limited" => refused += 1,
            _ => panic!("{answer}"),
        }
    }
    assert!(looked_at >= BURST && refused > 0, "{looked_at} looked at, {refused} refused");
    let anonymous = cluster.anonymous().get("/v1/hosts").await.status;
    assert!(anonymous == 429 || anonymous == 401, "{anonymous}");
    ana.get("/v1/hosts").await.expect(200);
    // One that nobody knows yet is let in as soon as there is room.
    dockerforge_tests::wait::until(30, "eva is let in", async || {
        let answer = tokio::time::timeout(Duration::from_secs(10), eva.get("/v1/hosts")).await.unwrap();
        dockerforge_tests::wait::check(answer.status == 200, answer)
    })
    .await;
}
