//! Enrolment and identity against a fake coordinator: the pin, refusals, lost answers, restarts, revocation, renewal.

use crate::peer::{Answer, Peer, Running};
use dockerforge_agent::AgentError;
use dockerforge_agent::docker::fake::FakeEngine;
use dockerforge_agent::identity::Identity;
use dockerforge_agent::identity::enrol::EnrolError;
use dockerforge_protocol::enrolment::EnrolRefusal;
use dockerforge_protocol::handshake::RefusedReason;
use dockerforge_protocol::message::{FromAgent, ToAgent};
use std::os::unix::fs::PermissionsExt;

#[tokio::test]
async fn an_agent_enrols_once_and_needs_no_token_afterwards() {
    let mut peer = Peer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let agent = Running::start(peer.config(folder.path()), &FakeEngine::default());
    let (_session, first) = peer.session(|_| Vec::new()).await;
    agent.stop().await;
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_file() {
            assert_eq!(
                file.metadata().unwrap().permissions().mode() & 0o077,
                0,
                "{:?} is readable by others",
                file.path()
            );
        }
    }
    let mut config = peer.config(folder.path());
    config.token = None;
    let agent = Running::start(config, &FakeEngine::default());
    let (_session, second) = peer.session(|_| Vec::new()).await;
    assert_eq!(first.instance, second.instance);
    assert_eq!(peer.enrolments.lock().unwrap().len(), 1);
    agent.stop().await;
}

#[tokio::test]
async fn a_coordinator_that_did_not_issue_the_token_never_sees_it() {
    let (peer, other) = (Peer::start().await, Peer::start().await);
    let folder = tempfile::tempdir().unwrap();
    let mut config = peer.config(folder.path());
    config.token = Some(other.token());
    let mut agent = Running::start(config, &FakeEngine::default());
    let error = agent.end().await.unwrap_err();
    assert!(matches!(error, AgentError::Enrol(EnrolError::OtherCoordinator { .. })), "{error:?}");
    assert!(error.to_string().contains("is not the one that issued this token"), "{error}");
    assert_eq!(error.exit_code(), 4);
    assert!(peer.enrolments.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_refused_token_is_said_with_the_coordinators_reason() {
    let peer = Peer::start().await;
    peer.then_answer(Answer::Refuse(EnrolRefusal::Expired));
    let folder = tempfile::tempdir().unwrap();
    let error = Running::start(peer.config(folder.path()), &FakeEngine::default()).end().await.unwrap_err();
    assert!(error.to_string().contains("the token is Expired"), "{error}");
    assert_eq!(error.exit_code(), 4);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_with_the_same_key() {
    let mut peer = Peer::start().await;
    peer.then_answer(Answer::Lose);
    peer.then_answer(Answer::Refuse(EnrolRefusal::Unavailable));
    let folder = tempfile::tempdir().unwrap();
    let agent = Running::start(peer.config(folder.path()), &FakeEngine::default());
    let _session = peer.session(|_| Vec::new()).await;
    {
        let enrolments = peer.enrolments.lock().unwrap();
        assert_eq!(enrolments.len(), 3);
        let key = |csr: &str| {
            use rcgen::PublicKeyData;
            rcgen::CertificateSigningRequestParams::from_pem(csr).unwrap().public_key.der_bytes().to_vec()
        };
        assert!(enrolments.iter().all(|e| key(&e.csr) == key(&enrolments[0].csr)));
    }
    agent.stop().await;
}

#[tokio::test]
async fn an_agent_without_identity_or_token_says_what_it_needs() {
    let peer = Peer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = peer.config(folder.path());
    config.token = None;
    let error = Running::start(config, &FakeEngine::default()).end().await.unwrap_err();
    assert!(matches!(error, AgentError::NotEnrolled));
}

#[tokio::test]
async fn a_revoked_agent_ends_for_good_and_enrols_only_with_another_token() {
    let mut peer = Peer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let config = peer.config(folder.path());
    let mut agent = Running::start(config.clone(), &FakeEngine::default());
    let (mut session, _) = peer.session(|_| Vec::new()).await;
    session.refuse(RefusedReason::Revoked).await;
    let error = agent.end().await.unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");

    // The token it came from does not bring it back; another one does.
    let mut agent = Running::start(config, &FakeEngine::default());
    peer.session(|_| Vec::new()).await.0.refuse(RefusedReason::Revoked).await;
    assert_eq!(agent.end().await.unwrap_err().exit_code(), 3);
    let agent = Running::start(peer.config(folder.path()), &FakeEngine::default());
    let _session = peer.session(|_| Vec::new()).await;
    assert_eq!(peer.enrolments.lock().unwrap().len(), 2);
    agent.stop().await;
}

#[tokio::test]
async fn an_agent_that_was_copied_enrols_anew_with_another_token_and_else_asks_again() {
    let mut peer = Peer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let config = peer.config(folder.path());
    let agent = Running::start(config, &FakeEngine::default());
    let (mut session, first) = peer.session(|_| Vec::new()).await;
    session.refuse(RefusedReason::Conflict).await;
    // It stays, and waits for its owner.
    drop(session);
    agent.stop().await;
    let agent = Running::start(peer.config(folder.path()), &FakeEngine::default());
    peer.session(|_| Vec::new()).await.0.refuse(RefusedReason::Conflict).await;
    let (mut session, second) = peer.session(|_| Vec::new()).await;
    assert_eq!(peer.enrolments.lock().unwrap().len(), 2);
    assert_ne!(first.instance, second.instance);
    session.want("a heartbeat", |m| matches!(m, FromAgent::Heartbeat(_)).then_some(())).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_used_at_the_next_dial_and_after_a_restart() {
    let mut peer = Peer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let agent = Running::start(peer.config(folder.path()), &FakeEngine::default());
    let (_session, _) = peer.session(|_| Vec::new()).await;
    agent.stop().await;

    let identity = Identity::load(folder.path()).unwrap().unwrap();
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let days = |at: i64| (at - now) / 86_400;
    assert!((0..200).all(|_| (9..=15).contains(&days(identity.renew_at()))), "33 to 50 % of 30 days");
    let csr = identity.renewal_request().unwrap();
    let before = std::fs::read(folder.path().join("credentials.pem")).unwrap();
    let wrong = peer.certificate(&rcgen_csr());
    assert!(identity.renew(&wrong).is_err(), "a certificate for another key was taken");
    assert_eq!(std::fs::read(folder.path().join("credentials.pem")).unwrap(), before);
    identity.renew(&peer.certificate(&csr)).unwrap();
    assert_ne!(std::fs::read(folder.path().join("credentials.pem")).unwrap(), before);
    assert!(identity.renew(&peer.certificate(&csr)).is_err(), "none was asked for");

    let agent = Running::start(peer.config(folder.path()), &FakeEngine::default());
    let _session = peer.session(|_| Vec::new()).await;
    agent.stop().await;
}

fn rcgen_csr() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap()
}

#[tokio::test]
async fn an_unusable_renewal_does_not_end_the_session() {
    let mut peer = Peer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let agent = Running::start(peer.config(folder.path()), &FakeEngine::default());
    let (mut session, _) = peer.session(|_| Vec::new()).await;
    session.send(ToAgent::Certificate { certificate: "nonsense".to_owned() }).await;
    let heartbeat = |m: &FromAgent| matches!(m, FromAgent::Heartbeat(_)).then_some(());
    for _ in 0..3 {
        session.want("a heartbeat", heartbeat).await;
    }
    agent.stop().await;
}

#[tokio::test]
async fn a_certificate_that_is_due_is_renewed_over_the_live_session() {
    let mut peer = Peer::start().await;
    peer.then_answer(Answer::EnrolAged);
    let folder = tempfile::tempdir().unwrap();
    let agent = Running::start(peer.config(folder.path()), &FakeEngine::default());
    let (mut session, _) = peer.session(|_| Vec::new()).await;
    let csr = session
        .want("a renewal", |m| match m {
            FromAgent::Renew { csr } => Some(csr.clone()),
            _ => None,
        })
        .await;
    let before = std::fs::read(folder.path().join("credentials.pem")).unwrap();
    session.send(ToAgent::Certificate { certificate: peer.certificate(&csr) }).await;
    for _ in 0..3 {
        session.want("a heartbeat", |m| matches!(m, FromAgent::Heartbeat(_)).then_some(())).await;
    }
    assert_ne!(std::fs::read(folder.path().join("credentials.pem")).unwrap(), before);
    drop(session);
    let _session = peer.session(|_| Vec::new()).await;
    agent.stop().await;
}
