//! Pages of other origins: none may do anything unless the operator names them, and those that he names can read all that
//! an answer says.

use dockerforge_tests::{
    client::{Answer, Api},
    cluster::Cluster,
};
use reqwest::Method;

const PANEL: &str = "https://panel.example.org";

async fn from(api: &Api, method: Method, path: &str, origin: &str) -> Answer {
    let call = api.call(method, path).header("origin", origin).header("access-control-request-method", "PATCH");
    call.header("access-control-request-headers", "authorization,if-match").send().await
}

fn cors(answer: &Answer) -> Vec<&str> {
    answer.headers.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with("access-control-")).collect()
}

#[tokio::test]
async fn without_named_origins_there_is_no_cors_at_all() {
    let cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    let preflight = from(&api, Method::OPTIONS, "/v1/hosts", PANEL).await;
    assert!(cors(&preflight).is_empty() && preflight.header("allow").is_some(), "{preflight}");
    preflight.problem(405, "method-not-allowed");
    let answer = from(&api, Method::GET, "/v1/hosts", PANEL).await.expect(200);
    assert!(cors(&answer).is_empty(), "{answer}");
}

#[tokio::test]
async fn pages_of_a_named_origin_may_call_the_api_and_read_all_that_it_says() {
    let mut cluster = Cluster::start().await;
    let (_, api) = cluster.user("ana").await;
    cluster.stop().await;
    cluster.launch(&[("DOCKERFORGE_ALLOWED_ORIGINS", PANEL)]).await;
    let preflight = from(&api, Method::OPTIONS, "/v1/hosts/x", PANEL).await.expect(200);
    assert_eq!(preflight.header("access-control-allow-origin"), Some(PANEL), "{preflight}");
    assert_eq!(preflight.header("access-control-allow-credentials"), None, "{preflight}");
    let listed = |answer: &Answer, header: &str, expected: &[&str]| {
        let list = answer.header(header).unwrap_or_else(|| panic!("no {header}: {answer}")).to_ascii_lowercase();
        for name in expected {
            assert!(list.split(',').any(|one| one.trim() == *name), "{name} is not in {header}: {answer}");
        }
    };
    let sent =
        ["authorization", "content-type", "idempotency-key", "if-match", "prefer", "dockerforge-user", "last-event-id"];
    listed(&preflight, "access-control-allow-headers", &sent);
    listed(&preflight, "access-control-allow-methods", &["get", "post", "patch", "delete"]);
    // An error says as much as an answer.
    let read = ["location", "link", "etag", "retry-after", "x-request-id"];
    for path in ["/v1/hosts", "/v1/hosts/x", "/nowhere"] {
        let answer = from(&api, Method::GET, path, PANEL).await;
        assert_eq!(answer.header("access-control-allow-origin"), Some(PANEL), "{answer}");
        listed(&answer, "access-control-expose-headers", &read);
    }
    for other in ["https://evil.example", "null", "https://panel.example.org.evil.example"] {
        let answer = from(&api, Method::OPTIONS, "/v1/hosts", other).await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "{answer}");
    }
}
