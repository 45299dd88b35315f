//! One request to a receiver, signed (Standard Webhooks 1.0: HMAC-SHA256 over id, time and body). Never follows a
//! redirect, never reaches an address that is not public for a user who is no administrator, reads no answer's body.

use crate::domain::Timestamp;
use crate::domain::webhook::{Attempted, Target, is_public};
use crate::store::webhooks::Due;
use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, header, redirect};
use ring::hmac;
use secrecy::{ExposeSecret, SecretSlice};
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long an attempt may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// Makes the requests. Cheap to clone.
#[derive(Clone)]
pub struct Sender {
    anywhere: Client,
    public: Client,
}

/// Resolves names to public addresses alone: what is connected to is what was checked.
struct PublicOnly;

/// No requests can be made: TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("requests to webhooks cannot be made")]
pub struct NoSender(#[source] reqwest::Error);

#[derive(Debug, thiserror::Error)]
#[error("the receiver's address is not a public one")]
struct NotPublic;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(NotPublic.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

impl Sender {
    /// A sender that trusts the system's certificates.
    pub fn new() -> Result<Self, NoSender> {
        // reqwest takes the process's provider; one that is installed already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = || {
            Client::builder()
                .user_agent(concat!("dockerforge/", env!("CARGO_PKG_VERSION")))
                .redirect(redirect::Policy::none())
                .no_proxy()
                .timeout(PATIENCE)
                .pool_max_idle_per_host(2)
                .pool_idle_timeout(Duration::from_secs(30))
        };
        let anywhere = client().build().map_err(NoSender)?;
        let public = client().dns_resolver(Arc::new(PublicOnly)).build().map_err(NoSender)?;
        Ok(Self { anywhere, public })
    }

    pub(super) async fn send(&self, due: &Due, secret: &SecretSlice<u8>, now: Timestamp) -> Attempted {
        let refused = |why: &str| Attempted { status: None, error: Some(why.to_owned()) };
        let Ok(target) = due.url.parse::<Target>() else { return refused("the URL cannot be used") };
        // A name goes through the resolver; an address does not.
        if !due.admin && target.address().is_some_and(|address| !is_public(address)) {
            return refused("the receiver's address is not a public one");
        }
        let client = if due.admin { &self.anywhere } else { &self.public };
        let (id, seconds) = (due.id().to_string(), now.as_second());
        let answer = client
            .post(target.url().clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signature(secret.expose_secret(), &id, seconds, &due.body))
            .header("webhook-id", id)
            .body(due.body.clone())
            .send()
            .await;
        match answer {
            Ok(answer) => {
                let status = answer.status();
                let error = (!status.is_success()).then(|| format!("the receiver answered {status}"));
                Attempted { status: Some(status.as_u16()), error }
            }
            Err(error) => refused(&why(&error.without_url())),
        }
    }
}

/// `v1,` and the base64 of the HMAC-SHA256 of `id.seconds.body`.
fn signature(secret: &[u8], id: &str, seconds: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, format!("{id}.{seconds}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag))
}

/// The innermost reason, which is the one that helps.
fn why(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("the receiver did not answer within {} s", PATIENCE.as_secs());
    }
    let mut reason: &dyn Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    let mut text = reason.to_string();
    text.truncate(text.char_indices().take(300).last().map_or(0, |(at, c)| at + c.len_utf8()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_standards_own_example() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = r#"{"test": 2432232314}"#;
        assert_eq!(
            signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }
}
