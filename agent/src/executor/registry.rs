//! Images on their way to the registry, and from there to this host. What must hold: nothing stays on the host under a name of the
//! registry's, whatever becomes of the job; what is taken from the registry is the image that was asked for, by its digest and by
//! its id; and how Docker makes itself known there is neither said nor kept.

use super::follow::follow_pull;
use super::work::{Work, failed};
use super::{Ended, failure, layers};
use crate::docker::{DockerError, Image};
use dockerforge_protocol::command::{PushImage, local_tag};
use dockerforge_protocol::enrolment::{SuppliedImage, SuppliedRegistry};
use dockerforge_protocol::ids::ImageId;
use dockerforge_protocol::report::{FailureKind, Product};
use dockerforge_protocol::spec::is_digest;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// A right that is as old as this when the registry refuses it may have ended meanwhile; another one goes on with what is there.
const RIGHT_AGES: Duration = Duration::from_secs(600);

/// Makes sure that the image is in the registry.
pub(super) async fn push(work: &Work<'_>, command: &PushImage) -> Result<Product, Ended> {
    work.done("accepted");
    let digest = loop {
        work.step("asking for the registry", Some(0))?;
        let supplied = work.unless_stopped(work.settings.supplies.image(work.attempt.job)).await?;
        let supplied = supplied.map_err(|error| failed(FailureKind::RegistryUnavailable, error.to_string()))?;
        let asked = Instant::now();
        match push_once(work, command.image, &supplied).await {
            Err(Ended::Failed(failure))
                if failure.kind == FailureKind::RegistryRefused && asked.elapsed() > RIGHT_AGES =>
            {
                work.say(&format!("{}\nthe right to push may have ended; it goes on with another\n", failure.detail));
            }
            ended => break ended?,
        }
    };
    clear(work).await?;
    Ok(Product::Pushed { digest })
}

async fn push_once(work: &Work<'_>, image: ImageId, supplied: &SuppliedImage) -> Result<String, Ended> {
    let engine = &work.settings.engine;
    let SuppliedImage { docker_id, registry } = supplied;
    let Some(SuppliedRegistry { repository, login, .. }) = registry else {
        return Err(failed(FailureKind::RegistryRefused, "this host is not to use the registry"));
    };
    let layers = match engine.image_inspect(docker_id).await {
        Ok(found) => found.layers.len(),
        Err(DockerError::NotFound { message }) => return Err(failed(FailureKind::ImageNotFound, message)),
        Err(error) => return Err(error.into()),
    };
    let tag = image.to_string();
    let name = format!("{repository}:{tag}");
    Named::of(work, &name).await?;
    engine.image_tag(docker_id, &name).await?;
    work.done("tagged");

    work.step("pushing", Some(1))?;
    work.say(&format!("pushing to {repository}\n"));
    let mut output =
        work.unless_stopped(engine.image_push(repository, &tag, login)).await?.map_err(|error| refused(&error))?;
    let (mut digest, mut there) = (None, 0_usize);
    while let Some(item) = work.unless_stopped(output.next()).await? {
        let text = item.map_err(|error| refused(&error))?.text;
        if matches!(text.as_str(), "Pushed" | "Layer already exists") || text.starts_with("Mounted from") {
            there += 1;
            let percent = (there * 98).checked_div(layers).and_then(|p| u8::try_from(p.min(98)).ok());
            work.progress(&format!("pushing: layer {there} of {layers}"), percent);
        }
        if let Some(found) = digest_in(&text) {
            work.say(&format!("{text}\n"));
            digest = Some(found.to_owned());
        }
    }
    work.done("pushed");
    digest.ok_or_else(|| failed(FailureKind::Internal, "Docker did not say under which digest the image is there"))
}

/// The image from the registry under our name; nothing if it is not there, or not to be had from there now.
pub(super) async fn fetch(
    work: &Work<'_>,
    image: ImageId,
    docker_id: &str,
    from: &SuppliedRegistry,
) -> Result<Option<Image>, Ended> {
    let engine = &work.settings.engine;
    let Some(digest) = from.digest.as_deref().filter(|digest| is_digest(digest)) else { return Ok(None) };
    match engine.image_inspect(docker_id).await {
        // Nothing need be fetched from anywhere; an earlier attempt may have pulled it, and it has no other name yet.
        Ok(_) => {
            if work.noted::<Named>().is_some() {
                engine.image_tag(docker_id, &local_tag(image)).await?;
                clear(work).await?;
            }
            return Ok(None);
        }
        Err(DockerError::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    // Of an attempt that was to have it from another host.
    let parts = work.noted::<Vec<String>>().unwrap_or_default();
    let reference = format!("{}@{digest}", from.repository);
    Named::of(work, &reference).await?;
    work.step("pulling from the registry", Some(0))?;
    let otherwise = "it is brought from another host";
    let pull = engine.image_fetch(&from.repository, digest, &from.login);
    match follow_pull(work, pull, refused).await {
        Ok(()) => {}
        Err(Ended::Failed(failure))
            if matches!(failure.kind, FailureKind::RegistryRefused | FailureKind::RegistryUnavailable) =>
        {
            work.say(&format!("the registry does not give it: {}\n{otherwise}\n", failure.detail));
            clear(work).await?;
            return Ok(None);
        }
        Err(ended) => return Err(ended),
    }
    work.done("pulled");
    let found = engine.image_inspect(&reference).await?;
    if found.id != docker_id {
        work.say(&format!("what the registry has as {digest} is {}, not {docker_id}\n{otherwise}\n", found.id));
        clear(work).await?;
        return Ok(None);
    }
    let name = local_tag(image);
    engine.image_tag(docker_id, &name).await?;
    clear(work).await?;
    layers::remove(work, &parts).await;
    Ok(Some(engine.image_inspect(&name).await?))
}

/// What Docker's failure is, where it spoke to a registry for us.
fn refused(error: &DockerError) -> Ended {
    let kind = if silent(&error.to_string()) { FailureKind::RegistryUnavailable } else { FailureKind::RegistryRefused };
    Ended::Failed(failure(error, kind))
}

/// Whether these words of Docker's say that the registry does not answer, and not that it says no. Docker passes on what its
/// transport says (Go's net and net/http), and names an unexpected status.
fn silent(words: &str) -> bool {
    const WORDS: &[&str] = &[
        "connection refused",
        "connection reset",
        "broken pipe",
        "no such host",
        "server misbehaving",
        "no route to host",
        "network is unreachable",
        "i/o timeout",
        "TLS handshake timeout",
        "Client.Timeout",
        "deadline exceeded",
        "unexpected HTTP status: 5",
        "EOF",
    ];
    WORDS.iter().any(|word| words.contains(word))
}

/// The digest in the line with which Docker ends a push: `latest: digest: sha256:… size: 739`.
fn digest_in(text: &str) -> Option<&str> {
    let digest = text.split_once(": digest: ")?.1.split_once(" size: ")?.0;
    is_digest(digest).then_some(digest)
}

/// A name of the registry's on this host: what had it before this job's first attempt, kept in the job's note.
#[derive(Serialize, Deserialize)]
struct Named {
    name: String,
    before: Option<String>,
}

impl Named {
    /// Notes what has a name, before a job gives it to something.
    async fn of(work: &Work<'_>, name: &str) -> Result<(), Ended> {
        match work.noted::<Self>() {
            Some(noted) if noted.name == name => return Ok(()),
            Some(other) => other.put_back(work).await?,
            None => {}
        }
        let before = match work.settings.engine.image_inspect(name).await {
            Ok(found) => Some(found.id),
            Err(DockerError::NotFound { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        work.note(&Self { name: name.to_owned(), before })
    }

    /// Makes the name that of what had it. Once more does no harm.
    async fn put_back(&self, work: &Work<'_>) -> Result<(), Ended> {
        // By its digest nothing else can have been meant.
        let Some(before) = &self.before else { return work.untag(&self.name).await };
        if self.name.contains('@') {
            return Ok(());
        }
        match work.settings.engine.image_tag(before, &self.name).await {
            // Its owner removed it meanwhile.
            Ok(()) | Err(DockerError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Takes the registry's name off what this job gave it to, if it did.
async fn clear(work: &Work<'_>) -> Result<(), Ended> {
    match work.noted::<Named>() {
        Some(named) => named.put_back(work).await,
        None => Ok(()),
    }
}

/// The same behind a job that did not come to its end.
pub(super) async fn undo(work: &Work<'_>) {
    if clear(work).await.is_err() {
        tracing::warn!(job = %work.attempt.job, "a name of the registry's is left over on this host");
    }
}

#[cfg(test)]
mod tests {
    use super::{digest_in, silent};

    #[test]
    fn the_digest_of_what_was_pushed_is_read() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(digest_in(&format!("img_1: digest: {digest} size: 739")), Some(digest.as_str()));
        for other in ["Pushed", "latest: digest: sha256:12 size: 1", "latest: digest: ", ""] {
            assert_eq!(digest_in(other), None, "{other}");
        }
    }

    #[test]
    fn a_registry_that_does_not_answer_is_told_from_one_that_refuses() {
        for words in [
            "Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
            "Get \"https://registry.example/v2/\": dial tcp: lookup registry.example on 10.0.0.1:53: no such host",
            "Get \"https://registry.example/v2/\": net/http: TLS handshake timeout",
            "received unexpected HTTP status: 503 Service Unavailable",
            "Put \"http://registry.example/v2/x/blobs/uploads/1\": EOF",
        ] {
            assert!(silent(words), "{words}");
        }
        for words in [
            "denied: requested access to the resource is denied",
            "unauthorized: authentication required",
            "no basic auth credentials",
            "manifest for registry.example/x@sha256:00 not found: manifest unknown: manifest unknown",
            "filesystem layer verification failed for digest sha256:00",
            "Get \"https://10.0.0.1:5000/v2/\": http: server gave HTTP response to HTTPS client",
        ] {
            assert!(!silent(words), "{words}");
        }
    }
}
