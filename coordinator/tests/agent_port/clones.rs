//! A machine that was copied with its identity: the whole coordinator, its API and agents over real TLS.

use crate::support::*;
use dockerforge_coordinator::app::App;
use dockerforge_coordinator::config::{Config, ServeArgs};
use dockerforge_protocol::enrolment::{
    ALPN_ENROLL, ALPN_SESSION, ENROLL_PATH, ENROLL_SERVER_NAME, EnrolRequest, Enrolled, SESSION_PATH, server_name,
};
use dockerforge_protocol::handshake::{Refused, RefusedReason};
use dockerforge_protocol::ids::InstanceId;
use dockerforge_protocol::message::{FromAgent, ToAgent};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A coordinator with one host.
struct Stage {
    app: App,
    folder: TempDir,
    host: String,
}

/// What a copied machine has in common with its copy.
struct Machine {
    enrolled: Enrolled,
    key: KeyPair,
    instance: InstanceId,
}

impl Stage {
    async fn start() -> (Self, Machine) {
        let folder = tempfile::tempdir().unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let args = ServeArgs {
            data_dir: Some(folder.path().to_owned()),
            api_listen: Some(any),
            agent_listen: Some(any),
            ..ServeArgs::default()
        };
        let config = Config::load(&args).unwrap();
        let app = App::start(&config).await.unwrap();
        let mut stage = Self { app, folder, host: String::new() };
        let (status, made) = stage.api("POST", "/v1/hosts", Some(json!({"name": "vps"}))).await;
        assert_eq!(status, 201, "{made}");
        stage.host = made["id"].as_str().unwrap().to_owned();
        let machine = stage.enrol(made["join"]["token"].as_str().unwrap()).await;
        (stage, machine)
    }

    /// A request of the administrator's; status and body.
    async fn api(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let key = std::fs::read_to_string(self.folder.path().join("admin.key")).unwrap();
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            key.trim(),
            body.len()
        );
        let stream = tokio::net::TcpStream::connect(self.app.api).await.unwrap();
        answer(stream, &request).await
    }

    async fn enrol(&self, token: &str) -> Machine {
        let key = KeyPair::generate().unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
        let (hostname, agent_version) = ("vps-1".to_owned(), "0".to_owned());
        let body = EnrolRequest { token: token.to_owned(), csr, hostname, agent_version };
        let body = serde_json::to_string(&body).unwrap();
        let ca = std::fs::read_to_string(self.folder.path().join("ca.pem")).unwrap();
        let config = client_tls_of(&ca, None, &[ALPN_ENROLL]);
        let stream = dial_tls(self.app.agents, ENROLL_SERVER_NAME, config).await.unwrap();
        let request = format!(
            "POST {ENROLL_PATH} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let (status, body) = answer(stream, &request).await;
        assert_eq!(status, 200, "{body}");
        Machine { enrolled: serde_json::from_value(body).unwrap(), key, instance: InstanceId::new() }
    }

    /// What the machine is answered when it dials in as it is after this boot.
    async fn dials(&self, machine: &Machine, boot: &str) -> Result<Agent, Refused> {
        let enrolled = &machine.enrolled;
        let certificate = CertificateDer::from_pem_slice(enrolled.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::try_from(machine.key.serialize_der()).unwrap();
        let config = client_tls_of(&enrolled.ca, Some((vec![certificate], key)), &[ALPN_SESSION]);
        let stream = dial_tls(self.app.agents, &server_name(enrolled.cluster), config).await.unwrap();
        let url = format!("ws://coordinator{SESSION_PATH}");
        let (ws, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
        let mut agent = Agent { host: enrolled.host, ws, cluster: enrolled.cluster };
        let mut hello = agent.hello();
        hello.instance = machine.instance;
        boot.clone_into(&mut hello.boot_id);
        agent.say(&FromAgent::Hello(hello)).await;
        match agent.hear().await {
            Some(ToAgent::Welcome(_)) => Ok(agent),
            Some(ToAgent::Refused(refused)) => Err(refused),
            other => panic!("{other:?}"),
        }
    }

    async fn shown(&self) -> Value {
        let (status, host) = self.api("GET", &format!("/v1/hosts/{}", self.host), None).await;
        assert_eq!(status, 200, "{host}");
        host
    }
}

async fn answer(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, request: &str) -> (u16, Value) {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A TLS connection may be closed without a farewell; what came before counts.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
    (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap())
}

#[tokio::test]
async fn two_copies_of_a_machine_are_both_closed_and_refused_until_one_enrols_anew() {
    let (stage, machine) = Stage::start().await;
    let mut original = stage.dials(&machine, "original").await.unwrap();
    let mut copy = stage.dials(&machine, "copy").await.unwrap();
    assert_eq!(original.hear_the_end().await.unwrap().reason, RefusedReason::Superseded);
    let mut original = stage.dials(&machine, "original").await.unwrap();
    assert_eq!(copy.hear_the_end().await.unwrap().reason, RefusedReason::Superseded);
    assert_eq!(stage.shown().await["state"], "online");

    let refused = stage.dials(&machine, "copy").await.map(drop).unwrap_err();
    assert_eq!(refused.reason, RefusedReason::Conflict);
    assert_eq!(original.hear_the_end().await.unwrap().reason, RefusedReason::Conflict, "the other one, too");
    for boot in ["original", "copy", "another"] {
        let again = stage.dials(&machine, boot).await.map(drop).unwrap_err();
        assert_eq!(again, refused, "{boot} stays out");
    }
    let shown = stage.shown().await;
    assert_eq!(shown["state"], "conflict");
    let why = shown["unusable"].as_str().unwrap();
    assert!(why.contains("copied") && why.contains("boot original") && why.contains("boot copy"), "{why}");
    let (_, listed) = stage.api("GET", "/v1/hosts?state=conflict", None).await;
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1), "{listed}");
    let (_, listed) = stage.api("GET", "/v1/hosts?state=unreachable", None).await;
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(0), "{listed}");

    let (status, join) = stage.api("POST", &format!("/v1/hosts/{}/token", stage.host), None).await;
    assert_eq!(status, 201, "{join}");
    let anew = stage.enrol(join["token"].as_str().unwrap()).await;
    let _live = stage.dials(&anew, "original").await.unwrap();
    let shown = stage.shown().await;
    assert_eq!(shown["state"], "online", "{shown}");
    let refused = stage.dials(&machine, "copy").await.map(drop).unwrap_err();
    assert_eq!(refused.reason, RefusedReason::Revoked, "the copy has the old identity");
    stage.app.stop().await;
}

#[tokio::test]
async fn a_machine_that_restarts_again_and_again_is_no_copy() {
    let (stage, machine) = Stage::start().await;
    for boot in 0..12 {
        for _ in 0..2 {
            stage.dials(&machine, &boot.to_string()).await.map(drop).unwrap();
        }
    }
    assert_eq!(stage.shown().await["state"], "online");
    stage.app.stop().await;
}
