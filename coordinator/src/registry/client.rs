//! The coordinator's own requests to the registry (OCI distribution specification 1.1): which manifest a tag names, and its
//! removal. Without TLS only to addresses that are not public.

use super::{Doing, Registry};
use crate::domain::Timestamp;
use crate::domain::webhook::is_public;
use dockerforge_protocol::enrolment::RegistryLogin;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Method, Response, StatusCode, header, redirect};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// The manifests that Docker makes and takes.
const MANIFESTS: &str =
    "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json";
/// In which the registry says which manifest it is.
const DIGEST: &str = "docker-content-digest";

/// No requests can be made: TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("requests to the registry cannot be made")]
pub struct NoClient(#[source] reqwest::Error);

/// What became of a removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Removed {
    /// It is not there any more.
    Gone,
    /// The registry removes nothing.
    Disabled,
    /// It is in another registry than the one that is configured.
    Elsewhere,
    /// Not now; why.
    Failed(String),
}

/// Makes the requests.
pub(super) struct Requests {
    client: Client,
    registry: Arc<Registry>,
}

/// Resolves names to addresses that are not public.
struct PrivateOnly;

impl Resolve for PrivateOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let private: Vec<SocketAddr> = found.filter(|address| !is_public(address.ip())).collect();
            if private.is_empty() {
                return Err("the registry's address is a public one: it is not spoken to without TLS".into());
            }
            Ok(Box::new(private.into_iter()) as Addrs)
        })
    }
}

impl Requests {
    pub(super) fn new(registry: Arc<Registry>) -> Result<Self, NoClient> {
        // reqwest takes the process's provider; one that is installed already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::builder()
            .user_agent(concat!("dockerforge/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .timeout(PATIENCE)
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(Duration::from_secs(30));
        if registry.plain {
            client = client.dns_resolver(Arc::new(PrivateOnly));
        }
        Ok(Self { client: client.build().map_err(NoClient)?, registry })
    }

    /// Removes what a tag of a repository names, and what has this digest there.
    pub(super) async fn remove(&self, repository: &str, tag: &str, digest: Option<&str>, now: Timestamp) -> Removed {
        if self.registry.name_of(repository).is_none() {
            return Removed::Elsewhere;
        }
        // An attempt at a push may have come to its end without anybody having heard of it.
        let tagged = match self.ask(Method::HEAD, repository, tag, now).await {
            Err(why) => return Removed::Failed(why),
            Ok(answer) if answer.status() == StatusCode::NOT_FOUND => None,
            Ok(answer) if answer.status().is_success() => match answer.headers().get(DIGEST).map(|d| d.to_str()) {
                Some(Ok(digest)) => Some(digest.to_owned()),
                _ => return Removed::Failed("the registry does not say which manifest it has".to_owned()),
            },
            Ok(answer) => return Removed::Failed(refused(&answer)),
        };
        let mut digests: Vec<&str> = digest.into_iter().chain(tagged.as_deref()).collect();
        digests.dedup();
        for digest in digests {
            match self.ask(Method::DELETE, repository, digest, now).await {
                Err(why) => return Removed::Failed(why),
                Ok(answer) => match answer.status() {
                    StatusCode::METHOD_NOT_ALLOWED => return Removed::Disabled,
                    StatusCode::NOT_FOUND => {}
                    status if status.is_success() => {}
                    _ => return Removed::Failed(refused(&answer)),
                },
            }
        }
        Removed::Gone
    }

    async fn ask(&self, method: Method, repository: &str, of: &str, now: Timestamp) -> Result<Response, String> {
        let name = self.registry.name_of(repository).unwrap_or_default();
        let scheme = if self.registry.plain { "http" } else { "https" };
        let url = format!("{scheme}://{}/v2/{name}/manifests/{of}", self.registry.address);
        let request = self.client.request(method, url).header(header::ACCEPT, MANIFESTS);
        let login = self.registry.login(repository, Doing::Remove, "coordinator", now).map_err(|e| e.to_string())?;
        let request = match login {
            RegistryLogin::Nothing => request,
            RegistryLogin::Password { name, password } => request.basic_auth(name, Some(password)),
            RegistryLogin::Token { token } => request.bearer_auth(token),
        };
        request.send().await.map_err(|error| words(&error.without_url()))
    }
}

fn refused(answer: &Response) -> String {
    format!("the registry answers {}", answer.status())
}

/// An error with what lies under it.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut under = error.source();
    while let Some(source) = under {
        text = format!("{text}: {source}");
        under = source.source();
    }
    text
}
