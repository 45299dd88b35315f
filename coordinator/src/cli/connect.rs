//! Sets up the HTTP client: which address, which TLS, which headers go with every request. Called once, by
//! [`Client::new`](super::client::Client::new).

use super::{error::CliError, globals::Globals};
use reqwest::{
    Certificate, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
    redirect,
};
use secrecy::{ExposeSecret, SecretString};
use std::{fs, sync::Arc, time::Duration};

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// The address of the API below which the routes stand: `http://host:port`, without `/v1` and without a last slash.
pub(super) fn base_url(text: &str) -> Result<String, CliError> {
    let bad = |reason: &str| CliError::BadUrl { url: text.to_owned(), reason: reason.to_owned() };
    let url = Url::parse(text).map_err(|e| bad(&e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("expected http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // Not repeated in the message: it would show the key.
        return Err(CliError::Usage("the URL must not carry a key: give it with --key-file".to_owned()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("expected neither '?' nor '#'"));
    }
    let trimmed = url.as_str().trim_end_matches('/');
    Ok(trimmed.strip_suffix("/v1").unwrap_or(trimmed).trim_end_matches('/').to_owned())
}

/// The HTTP client for this address: no redirects (303 is an answer here), no proxy, TLS from ring alone.
pub(super) fn http_client(
    base: &str,
    globals: &Globals,
    key: Option<&SecretString>,
) -> Result<reqwest::Client, CliError> {
    let mut headers = HeaderMap::new();
    if let Some(key) = key {
        let mut value =
            HeaderValue::try_from(format!("Bearer {}", key.expose_secret())).map_err(|_| CliError::BadKey)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("dockerforge-cli/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT)
        .tcp_keepalive(Duration::from_secs(15));
    let provider = rustls::crypto::ring::default_provider();
    if base.starts_with("https:") {
        // reqwest takes the process's provider; one that is installed already is as good.
        let _ = provider.install_default();
        if let Some(path) = &globals.ca_file {
            let bad = |reason: String| CliError::CaFile { path: path.clone(), reason };
            let pem = fs::read(path).map_err(|e| bad(e.to_string()))?;
            let certificates = Certificate::from_pem_bundle(&pem).map_err(|e| bad(e.to_string()))?;
            if certificates.is_empty() {
                return Err(bad("there is no certificate in it".to_owned()));
            }
            builder = builder.tls_certs_only(certificates);
        }
    } else {
        // No system certificates are looked for where none are used: a bare machine has none, and that is an error.
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| CliError::Usage(format!("TLS cannot be set up: {e}")))?
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        builder = builder.tls_backend_preconfigured(tls);
    }
    builder.build().map_err(CliError::Client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_normalised_and_what_is_none_is_refused() {
        for (given, expected) in [
            ("http://127.0.0.1:7080", "http://127.0.0.1:7080"),
            ("http://127.0.0.1:7080/", "http://127.0.0.1:7080"),
            ("https://panel.example/forge/v1/", "https://panel.example/forge"),
        ] {
            assert_eq!(base_url(given).unwrap(), expected);
        }
        for bad in ["127.0.0.1:7080", "ftp://x", "unix:///x", "http://", "http://x?y", "http://admin:k@x"] {
            let error = base_url(bad).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{bad}");
            assert!(!error.to_string().contains("admin:k"));
        }
    }
}
