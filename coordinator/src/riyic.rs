//! The configuration service of an operator who has one: riyic, or what answers as it does. It is asked for the node of a server,
//! `GET {api}/servers/{uuid}/generate_config`: a JSON object, `run_list` beside the attributes. `service` asks; `app` makes it
//! of the settings.
//!
//! What must hold: nobody but the operator says where is asked, so what comes from a request is a UUID and nothing else;
//! no redirect is followed, no proxy of the environment is used; an answer is bounded in time and in size.

use reqwest::{Client, StatusCode, Url, header, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use std::error::Error;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use uuid::Uuid;

/// How long the service may take, from the request for a node to the node's last byte.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest node, bytes.
const MAX_NODE: usize = 1024 * 1024;
/// Nodes that are asked for at once; the next ones wait.
const AT_ONCE: usize = 16;

/// The service. One a coordinator.
pub struct Riyic {
    client: Client,
    api: Url,
    token: Option<SecretString>,
    places: Semaphore,
}

/// Why there is no such service here.
#[derive(Debug, thiserror::Error)]
pub enum NoRiyic {
    /// Its address is none.
    #[error("expected http://… or https://… without user, query and fragment for the API of riyic, not {0}")]
    Api(String),
    /// Its token cannot be sent.
    #[error("the token for riyic is not one line of printable ASCII characters")]
    Token,
    /// TLS cannot be set up.
    #[error("riyic cannot be asked")]
    Client(#[source] reqwest::Error),
}

/// Why there is no node.
#[derive(Debug, thiserror::Error)]
pub enum RiyicError {
    /// There is no such server.
    #[error("the configuration service knows no server {0}")]
    UnknownServer(Uuid),
    /// The node is of no use, which is the business of whoever configured the server.
    #[error("the node of {server} in the configuration service cannot be used: {why}")]
    Node {
        /// Of which server.
        server: Uuid,
        /// Why not.
        why: String,
    },
    /// It does not answer, or not as it should.
    #[error("the configuration service cannot be asked now: {0}")]
    Unavailable(String),
}

/// A node as the service makes it.
#[derive(Debug, Default, PartialEq)]
pub struct Node {
    /// What is converged, in order.
    pub run_list: Vec<String>,
    /// All else.
    pub attributes: Map<String, Value>,
}

impl Riyic {
    /// The service at an address, which is asked with a token if it wants one.
    pub fn new(api: &str, token: Option<SecretString>) -> Result<Self, NoRiyic> {
        let wrong = || NoRiyic::Api(api.to_owned());
        let url = Url::parse(api).map_err(|_| wrong())?;
        let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
        let known = matches!(url.scheme(), "http" | "https") && url.has_host();
        if !known || !plain || url.fragment().is_some() {
            return Err(wrong());
        }
        let sendable = |token: &SecretString| token.expose_secret().bytes().all(|byte| byte.is_ascii_graphic());
        if token.as_ref().is_some_and(|token| token.expose_secret().is_empty() || !sendable(token)) {
            return Err(NoRiyic::Token);
        }
        // reqwest takes the process's provider; one that is installed already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .user_agent(concat!("dockerforge/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(NoRiyic::Client)?;
        Ok(Self { client, api: url, token, places: Semaphore::new(AT_ONCE) })
    }

    /// The node of a server.
    pub async fn node(&self, server: Uuid) -> Result<Node, RiyicError> {
        let late = || RiyicError::Unavailable(format!("it did not answer within {} s", PATIENCE.as_secs()));
        timeout(PATIENCE, self.ask(server)).await.map_err(|_| late())?
    }

    async fn ask(&self, server: Uuid) -> Result<Node, RiyicError> {
        // Closed by nobody.
        let _place = self.places.acquire().await;
        let mut url = self.api.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["servers", &server.to_string(), "generate_config"]);
        }
        let mut request = self.client.get(url).header(header::ACCEPT, "application/json");
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        let mut answer = request.send().await.map_err(|error| unavailable(&error.without_url()))?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::GONE => return Err(RiyicError::UnknownServer(server)),
            other => return Err(RiyicError::Unavailable(format!("it answered {other}"))),
        }
        let mut text = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| unavailable(&error.without_url()))? {
            text.extend_from_slice(&piece);
            if text.len() > MAX_NODE {
                let why = format!("it is larger than {MAX_NODE} bytes");
                return Err(RiyicError::Node { server, why });
            }
        }
        node(server, &text)
    }
}

/// What is in an answer.
fn node(server: Uuid, text: &[u8]) -> Result<Node, RiyicError> {
    let no_json = |_| RiyicError::Unavailable("it answered something else than JSON".to_owned());
    let wrong = |why: &str| RiyicError::Node { server, why: why.to_owned() };
    let Value::Object(mut attributes) = serde_json::from_slice(text).map_err(no_json)? else {
        return Err(wrong("expected a JSON object"));
    };
    let run_list = match attributes.remove("run_list") {
        None => Vec::new(),
        Some(list) => serde_json::from_value(list).map_err(|_| wrong("its run_list is no list of texts"))?,
    };
    Ok(Node { run_list, attributes })
}

/// The innermost reason, which is the one that helps.
fn unavailable(error: &reqwest::Error) -> RiyicError {
    let mut reason: &dyn Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    RiyicError::Unavailable(reason.to_string().chars().take(300).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_an_address_of_a_web_service_is_asked() {
        let asked = |api: &str| Riyic::new(api, None).is_ok();
        assert!(asked("https://riyic.example.org/api/v1") && asked("http://127.0.0.1:8080"));
        for bad in
            ["riyic.example.org", "file:///etc/passwd", "https://a:b@x", "https://x/?a", "https://x/#a", "http://"]
        {
            assert!(!asked(bad), "{bad}");
        }
        assert!(Riyic::new("https://x", Some("two words".to_owned().into())).is_err());
    }

    #[test]
    fn a_node_is_an_object_whose_run_list_is_apart() {
        let server = Uuid::nil();
        let read = |value: Value| node(server, value.to_string().as_bytes());
        let found = read(json!({"run_list": ["recipe[mysql]"], "mysql": {"port": 1}})).unwrap();
        assert_eq!(
            (found.run_list.as_slice(), &found.attributes["mysql"]),
            (&["recipe[mysql]".to_owned()][..], &json!({"port": 1}))
        );
        assert_eq!(read(json!({})).unwrap(), Node::default());
        for bad in [json!([]), json!("x"), json!({"run_list": "x"}), json!({"run_list": [1]})] {
            assert!(matches!(read(bad), Err(RiyicError::Node { .. })));
        }
        assert!(matches!(node(server, b"<html>"), Err(RiyicError::Unavailable(_))));
    }
}
