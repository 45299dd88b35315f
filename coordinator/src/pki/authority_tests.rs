//! Tests of the authority: what an issued certificate says, whatever was asked for.

use super::super::Peer;
use super::*;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

fn authority() -> (ClusterId, Authority) {
    let cluster = ClusterId::new();
    (cluster, Authority::generate(cluster, Timestamp::now()).unwrap())
}

fn plain_csr(key: &KeyPair) -> String {
    CertificateParams::default().serialize_request(key).unwrap().pem().unwrap()
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

#[test]
fn a_request_for_more_than_a_key_yields_a_plain_agent_certificate() {
    let (cluster, authority) = authority();
    let host = HostId::new();
    let key = KeyPair::generate().unwrap();
    let mut greedy = CertificateParams::new(vec!["coordinator.example".to_owned()]).unwrap();
    greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    greedy.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    greedy.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    greedy.distinguished_name = subject(cluster);
    greedy.subject_alt_names.push(SanType::URI(agent_uri(cluster, HostId::new()).try_into().unwrap()));
    let csr = greedy.serialize_request(&key).unwrap().pem().unwrap();

    let issued = authority.issue_agent(&csr, host, Timestamp::now()).unwrap();
    let der = der(&issued.certificate_pem);
    let (_, parsed) = X509Certificate::from_der(&der).unwrap();
    assert!(!parsed.is_ca());
    let names = parsed.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names, [GeneralName::URI(&agent_uri(cluster, host))]);
    let usage = parsed.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && !usage.key_cert_sign() && !usage.crl_sign());
    let extended = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.client_auth && !extended.server_auth && !extended.any);
    assert_eq!(parsed.subject().to_string(), format!("CN={host}"));
    assert_eq!(parsed.issuer().to_string(), format!("O=Dockerforge, CN=Dockerforge CA {cluster}"));
    assert_eq!(parsed.public_key().raw, key.subject_public_key_info());
    let constraints = parsed.extensions().iter().filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::BasicConstraints(constraints) => Some(constraints.ca),
        _ => None,
    });
    assert_eq!(constraints.collect::<Vec<_>>(), [false]);
}

#[test]
fn a_peer_is_read_back_from_what_was_issued() {
    let (cluster, authority) = authority();
    let (host, now) = (HostId::new(), Timestamp::now());
    let key = KeyPair::generate().unwrap();
    let issued = authority.issue_agent(&plain_csr(&key), host, now).unwrap();
    let peer = Peer::of(&der(&issued.certificate_pem)).unwrap();
    assert_eq!(peer, Peer { cluster, host, serial: issued.serial.clone(), not_after: issued.not_after });
    assert_eq!(issued.serial.len(), 32);
    assert_eq!(issued.not_after - issued.not_before, (30 * 24 + 1) * 3600 * 1_000_000);
    assert_eq!(issued.not_after, (now.as_second() + 30 * 24 * 3600) * 1_000_000);
}

#[test]
fn every_issue_has_its_own_serial_and_one_key_always_the_same_fingerprint() {
    let (_, authority) = authority();
    let csr = plain_csr(&KeyPair::generate().unwrap());
    let issue = || authority.issue_agent(&csr, HostId::new(), Timestamp::now()).unwrap();
    let (one, two) = (issue(), issue());
    assert_ne!(one.serial, two.serial);
    assert_eq!(one.public_key_sha256, two.public_key_sha256);
    assert_eq!(csr_public_key_sha256(&csr).unwrap(), one.public_key_sha256);
}

#[test]
fn a_request_that_its_key_did_not_sign_is_refused() {
    let (_, authority) = authority();
    let csr = plain_csr(&KeyPair::generate().unwrap());
    let mut altered = rustls::pki_types::CertificateSigningRequestDer::from_pem_slice(csr.as_bytes()).unwrap().to_vec();
    // The last bytes are the signature; a key that is not the signer's is the same to a verifier.
    let last = altered.len() - 1;
    altered[last] ^= 1;
    let altered = pem("CERTIFICATE REQUEST", &altered);
    for wrong in [altered.as_str(), "", "-----BEGIN CERTIFICATE REQUEST-----\n", authority.ca_pem()] {
        let error = authority.issue_agent(wrong, HostId::new(), Timestamp::now()).unwrap_err();
        assert!(matches!(error, PkiError::Csr(_)), "{error:?}");
    }
    let huge = "x".repeat(MAX_CSR + 1);
    assert!(matches!(csr_public_key_sha256(&huge), Err(PkiError::CsrTooLarge(_))));
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[test]
fn the_pin_is_the_hash_of_the_authoritys_public_key() {
    let (_, authority) = authority();
    let der = der(authority.ca_pem());
    let (_, parsed) = X509Certificate::from_der(&der).unwrap();
    assert_eq!(authority.pin(), <[u8; 32]>::from(Sha256::digest(parsed.public_key().raw)));
    assert!(Peer::of(&der).is_err(), "the authority itself is no agent");
}

#[test]
fn the_ports_certificate_names_the_cluster_and_the_enrolment() {
    let (cluster, authority) = authority();
    let made = authority.issue_server(Timestamp::now()).unwrap();
    let (_, parsed) = X509Certificate::from_der(&made.chain[0]).unwrap();
    let names = parsed.subject_alternative_name().unwrap().unwrap();
    let expected = server_name(cluster);
    assert_eq!(names.value.general_names, [GeneralName::DNSName(&expected), GeneralName::DNSName(ENROLL_SERVER_NAME)]);
    assert_eq!(made.chain[1], *authority.ca_der());
    assert!(Peer::of(&made.chain[0]).is_err(), "the port itself is no agent");
}
