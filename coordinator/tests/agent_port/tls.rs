//! What TLS lets in: only agents with a certificate of this cluster's authority, asked for at every connection, and
//! enrolling hosts without one.

use crate::support::*;
use dockerforge_coordinator::hub::HubConfig;
use dockerforge_coordinator::hub::listener::Limits;
use dockerforge_coordinator::pki::Authority;
use dockerforge_protocol::enrolment::{ALPN_ENROLL, ALPN_SESSION, SESSION_PATH, server_name};
use dockerforge_protocol::ids::{ClusterId, HostId};
use jiff::{SignedDuration, Timestamp};
use rustls::client::Resumption;
use rustls::{AlertDescription, HandshakeKind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

#[tokio::test]
async fn a_certificate_of_the_cluster_is_let_in_as_its_host() {
    let port = port().await;
    let host = HostId::new();
    let answer = ask_who(&port, Some(identity(&port.authority, host, Timestamp::now()))).await.unwrap();
    assert!(answer.ends_with(&format!("Session Some({host})")), "{answer}");
    port.shut_down().await;
}

#[tokio::test]
async fn without_a_certificate_there_is_no_session() {
    let port = port().await;
    let error = ask_who(&port, None).await.unwrap_err();
    assert_eq!(alert(&error), AlertDescription::CertificateRequired);
    port.shut_down().await;
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let port = port().await;
    let host = HostId::new();
    // One of another cluster, and one that has this cluster's name but not its key.
    for cluster in [ClusterId::new(), port.cluster] {
        let other = Authority::generate(cluster, Timestamp::now()).unwrap();
        let error = ask_who(&port, Some(identity(&other, host, Timestamp::now()))).await.unwrap_err();
        let refused = [AlertDescription::UnknownCA, AlertDescription::DecryptError, AlertDescription::BadCertificate];
        assert!(refused.contains(&alert(&error)), "{error:?}");
    }
    port.shut_down().await;
}

#[tokio::test]
async fn a_certificate_outside_its_time_is_refused() {
    let port = port().await;
    let host = HostId::new();
    let at = |hours| identity(&port.authority, host, Timestamp::now() + SignedDuration::from_hours(hours));
    let error = ask_who(&port, Some(at(-30 * 24 - 1))).await.unwrap_err();
    assert_eq!(alert(&error), AlertDescription::CertificateExpired);
    assert!(ask_who(&port, Some(at(2))).await.is_err(), "not yet valid");
    assert!(ask_who(&port, Some(at(-30 * 24 + 1))).await.is_ok());
    port.shut_down().await;
}

#[tokio::test]
async fn an_enrolling_host_reaches_the_router_without_a_certificate_and_gets_no_session() {
    let mut port = port().await;
    let answer = ask_enrolling(&port, WHO, "").await.unwrap();
    assert!(answer.ends_with("Enrol None"), "{answer}");
    let upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let answer = ask_enrolling(&port, SESSION_PATH, upgrade).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("application/problem+json"), "{answer}");
    port.nobody_knocked();
    port.shut_down().await;
}

#[tokio::test]
async fn a_client_that_offers_both_conversations_is_held_to_the_stricter() {
    let port = port().await;
    let config = client_tls(&port, None, &[ALPN_ENROLL, ALPN_SESSION]);
    let mut stream = dial_tls(port.addr, &server_name(port.cluster), config).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(ALPN_SESSION));
    let error = http_get(&mut stream, WHO, "").await.unwrap_err();
    assert_eq!(alert(&error), AlertDescription::CertificateRequired);
    port.shut_down().await;
}

#[tokio::test]
async fn a_client_that_offers_neither_conversation_is_told_so() {
    let port = port().await;
    for alpn in [&[b"h2".as_slice()][..], &[]] {
        let config = client_tls(&port, None, alpn);
        let error = dial_tls(port.addr, &server_name(port.cluster), config).await.unwrap_err();
        assert_eq!(alert(&error), AlertDescription::NoApplicationProtocol);
    }
    port.shut_down().await;
}

#[tokio::test]
async fn every_connection_is_a_full_handshake() {
    let port = port().await;
    let host = HostId::new();
    // A client that would resume if it could: it keeps sessions, and dials twice with the same store.
    let mut config = client_tls(&port, Some(identity(&port.authority, host, Timestamp::now())), &[ALPN_SESSION]);
    config.resumption = Resumption::in_memory_sessions(16);
    for _ in 0..3 {
        let mut stream = dial_tls(port.addr, &server_name(port.cluster), config.clone()).await.unwrap();
        http_get(&mut stream, WHO, "").await.unwrap();
        let (_, tls) = stream.get_ref();
        assert_eq!(tls.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(tls.tls13_tickets_received(), 0);
    }
    port.shut_down().await;
}

#[tokio::test]
async fn the_port_shows_its_name_for_the_cluster_only() {
    let port = port().await;
    let host = HostId::new();
    let config = || client_tls(&port, Some(identity(&port.authority, host, Timestamp::now())), &[ALPN_SESSION]);
    assert!(dial_tls(port.addr, &server_name(ClusterId::new()), config()).await.is_err());
    let stream = dial_tls(port.addr, &server_name(port.cluster), config()).await.unwrap();
    let chain = stream.get_ref().1.peer_certificates().unwrap();
    assert_eq!(chain.len(), 2, "the authority comes along, for those who know its pin only");
    drop(stream);
    port.shut_down().await;
}

#[tokio::test]
async fn tls_1_2_is_not_spoken() {
    let port = port().await;
    let mut roots = rustls::RootCertStore::empty();
    let ca = rustls::pki_types::pem::PemObject::from_pem_slice(port.authority.ca_pem().as_bytes()).unwrap();
    roots.add(ca).unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_ENROLL.to_vec()];
    let error = dial_tls(port.addr, &server_name(port.cluster), config).await.unwrap_err();
    assert_eq!(alert(&error), AlertDescription::ProtocolVersion);
    port.shut_down().await;
}

#[tokio::test]
async fn who_says_nothing_is_dropped_and_gives_up_its_place() {
    let limits = Limits { handshake: Duration::from_millis(300), unauthenticated: 2, ..Limits::default() };
    let port = port_with(HubConfig::default(), limits).await;
    let mut silent = Vec::new();
    for _ in 0..2 {
        silent.push(TcpStream::connect(port.addr).await.unwrap());
    }
    let before = Instant::now();
    // All places are taken; this one waits for its turn and is served.
    let host = HostId::new();
    ask_who(&port, Some(identity(&port.authority, host, Timestamp::now()))).await.unwrap();
    assert!(before.elapsed() >= Duration::from_millis(200), "it was served while all places were taken");
    for mut stream in silent {
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
    }
    port.shut_down().await;
}

#[tokio::test]
async fn an_enrolment_has_its_time_and_keeps_its_place_for_it() {
    let limits = Limits { enrolment: Duration::from_millis(300), unauthenticated: 1, ..Limits::default() };
    let port = port_with(HubConfig::default(), limits).await;
    let config = client_tls(&port, None, &[ALPN_ENROLL]);
    let mut slow = dial_tls(port.addr, &server_name(port.cluster), config).await.unwrap();
    let host = HostId::new();
    let before = Instant::now();
    ask_who(&port, Some(identity(&port.authority, host, Timestamp::now()))).await.unwrap();
    assert!(before.elapsed() >= Duration::from_millis(200), "it was served while the only place was taken");
    assert!(matches!(slow.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    port.shut_down().await;
}

#[tokio::test]
async fn a_connection_that_has_proved_who_it_is_gives_up_its_place_at_once() {
    let limits = Limits { unauthenticated: 1, ..Limits::default() };
    let mut port = port_with(HubConfig::default(), limits).await;
    let config =
        || client_tls(&port, Some(identity(&port.authority, HostId::new(), Timestamp::now())), &[ALPN_SESSION]);
    let name = server_name(port.cluster);
    let waiting = [dial_tls(port.addr, &name, config()).await, dial_tls(port.addr, &name, config()).await];
    assert!(waiting.iter().all(Result::is_ok));
    let before = Instant::now();
    let (_agent, _taken) = Agent::join(&mut port, HostId::new(), 1).await;
    assert!(before.elapsed() < Duration::from_secs(5), "it waited for connections that say nothing");
    drop(waiting);
    port.shut_down().await;
}
