//! A machine becomes a host: it redeems a join token and gets a certificate. Asked by the agent port, where the token
//! itself is the permit.

use super::{Result, Services};
use crate::domain::Kind;
use crate::domain::event::Origin;
use crate::domain::host::HostState;
use crate::pki::PkiError;
use crate::store::{self, Conn};
use dockerforge_protocol::enrolment::{EnrolRefusal, EnrolRefused, EnrolRequest, Enrolled, JoinToken};
use dockerforge_protocol::ids::RequestId;
use std::net::IpAddr;
use std::sync::Arc;
use subtle::ConstantTimeEq;

impl Services {
    /// Redeems a join token. Using the token and issuing the certificate are one transaction; the same token with the
    /// same key gets the same certificate again, so that a lost answer does not burn it.
    pub async fn enrol(
        &self,
        request: EnrolRequest,
        remote: IpAddr,
    ) -> Result<std::result::Result<Enrolled, EnrolRefused>> {
        let refuse = |reason, detail: &str| Ok(Err(EnrolRefused { reason, detail: detail.to_owned() }));
        let Ok(token) = request.token.parse::<JoinToken>() else {
            return refuse(EnrolRefusal::Invalid, "this is not a join token, or it was damaged on its way");
        };
        let Ok(key) = crate::pki::csr_public_key_sha256(&request.csr) else {
            return refuse(EnrolRefusal::Invalid, "the certificate signing request cannot be used");
        };
        if token.ca_pin != self.authority.pin() {
            return refuse(EnrolRefusal::Unknown, "this token was issued by another coordinator");
        }
        let authority = Arc::clone(&self.authority);
        let result = self
            .store
            .write(move |conn| {
                Box::pin(async move { redeem(conn, &authority, &token, key, &request.csr, remote).await })
            })
            .await?;
        if let Ok(enrolled) = &result {
            // Whatever was connected with an earlier identity of this host is not the host any more.
            (self.revoked)(enrolled.host);
        }
        Ok(result)
    }
}

async fn redeem(
    conn: &mut Conn,
    authority: &crate::pki::Authority,
    token: &JoinToken,
    key: [u8; 32],
    csr: &str,
    remote: IpAddr,
) -> Result<std::result::Result<Enrolled, EnrolRefused>> {
    let now = crate::clock::now();
    let refuse = |reason, detail: &str| Ok(Err(EnrolRefused { reason, detail: detail.to_owned() }));
    let Some(stored) = store::enrolment::hold_token(conn, token.id).await? else {
        return refuse(
            EnrolRefusal::Unknown,
            "there is no such join token: it was replaced by a newer one, or its host was deleted",
        );
    };
    if !bool::from(stored.secret_hash.ct_eq(&token.secret_hash())) {
        return refuse(EnrolRefusal::Unknown, "this is not the join token that was issued");
    }
    let enrolled = |certificate: String| Enrolled {
        cluster: authority.cluster(),
        host: stored.host,
        certificate,
        ca: authority.ca_pem().to_owned(),
    };
    if let Some((redeemed_by, certificate)) = stored.redeemed.clone() {
        return if redeemed_by == key {
            Ok(Ok(enrolled(certificate)))
        } else {
            refuse(EnrolRefusal::Used, "this join token was used already; ask for a fresh one")
        };
    }
    if stored.expires_at < now {
        return refuse(EnrolRefusal::Expired, "this join token has expired; ask for a fresh one");
    }
    let host = store::hosts::find(conn, stored.host).await?;
    let Some(host) = host.filter(|host| host.state != HostState::Deleting) else {
        return refuse(EnrolRefusal::Unknown, "the host of this join token is being deleted");
    };
    let issued = match authority.issue_agent(csr, stored.host, now) {
        Ok(issued) => issued,
        Err(PkiError::Csr(_) | PkiError::CsrTooLarge(_) | PkiError::CsrKey) => {
            return refuse(EnrolRefusal::Invalid, "the certificate signing request cannot be used");
        }
        Err(error) => return Err(error.into()),
    };
    // Whatever identity the host had before is void: this machine is the host from now on.
    store::enrolment::revoke_certificates(conn, stored.host, now).await?;
    store::enrolment::insert_certificate(conn, &issued.serial, stored.host, issued.not_after, now).await?;
    store::enrolment::redeem_token(conn, token.id, &key, &issued.certificate_pem).await?;
    store::hosts::set_enrolled(conn, stored.host, now).await?;
    // Who holds the token acts for the host's user.
    let origin = Origin { actor: host.user, user: host.user, request: RequestId::new(), remote };
    store::records::audit(conn, &origin, "host.enrol", Kind::Host, stored.host.uuid(), now).await?;
    tracing::info!(host = %stored.host, serial = issued.serial, "a host enrolled");
    Ok(Ok(enrolled(issued.certificate_pem)))
}
