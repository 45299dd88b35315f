//! Builds and pulls. What must hold: a build's result gets its name only when it is whole (Docker gives it then), stopping a job
//! stops the work in Docker, and a user's own tags on the host are left as they were.

use super::follow::follow_pull;
use super::steps::Steps;
use super::work::{Work, failed};
use super::{Ended, copy, failure};
use crate::docker::{DockerError, Image, LabelMap, NewBuild};
use dockerforge_protocol::command::{BuildImage, PullImage, labels, local_tag};
use dockerforge_protocol::report::{AgentFailure, FailureKind, Product};
use futures_util::StreamExt;
use std::sync::{Arc, Mutex, PoisonError};

/// How often a build is begun where the removals of other images take layers that it found in the cache.
const CACHE_TRIES: u32 = 4;

/// Builds an image from a context.
pub(super) async fn build(work: &Work<'_>, command: &BuildImage) -> Result<Product, Ended> {
    work.done("accepted");
    let name = local_tag(command.image);
    let new = NewBuild {
        tag: name.clone(),
        dockerfile: command.dockerfile.clone(),
        args: command.build_args.clone(),
        // Each label is a step of the classic builder. This one is the same for all builds, and so in its cache like the others.
        labels: LabelMap::from([(labels::CLUSTER.to_owned(), work.settings.cluster.to_string())]),
        no_cache: command.no_cache,
        limits: command.limits,
    };
    let mut left = CACHE_TRIES;
    while let Err(error) = build_once(work, command, &new).await? {
        left -= 1;
        let failure = failure(&error, FailureKind::BuildFailed);
        // Whoever reads the log wants to see there why it ends.
        work.say(&format!("{}\n", failure.detail));
        if left == 0 || !matches!(error, DockerError::CacheGone { .. }) {
            return Err(Ended::Failed(failure));
        }
        work.say("the removal of another image took a cached layer; the build begins anew\n");
    }
    work.done("built");
    Ok(product(work.settings.engine.image_inspect(&name).await?))
}

/// Fetches the context and builds. The inner failure is Docker's.
async fn build_once(work: &Work<'_>, command: &BuildImage, new: &NewBuild) -> Result<Result<(), DockerError>, Ended> {
    work.step("fetching the context", Some(0))?;
    let opened = work.unless_stopped(work.settings.supplies.context(work.attempt.job, &command.context)).await?;
    let context = opened.map_err(|error| failed(FailureKind::ContextUnavailable, error.to_string()))?;
    // The daemon's side of a broken context is a broken connection; what broke it is kept here.
    let broken = Arc::new(Mutex::new(None::<String>));
    let noticed = Arc::clone(&broken);
    let context = context.inspect(move |piece| {
        if let Err(error) = piece {
            *noticed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        }
    });
    work.done("context");

    work.step("building", Some(1))?;
    let built = run_build(work, new, context.boxed()).await?;
    match broken.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(why) if built.is_err() => Err(failed(FailureKind::ContextUnavailable, why)),
        _ => Ok(built),
    }
}

/// Dropping the stream, here by a stop, makes the daemon stop the build.
async fn run_build(
    work: &Work<'_>,
    new: &NewBuild,
    context: crate::docker::ContextStream,
) -> Result<Result<(), DockerError>, Ended> {
    let mut output = match work.unless_stopped(work.settings.engine.image_build(new, context)).await? {
        Ok(output) => output,
        Err(error) => return Ok(Err(error)),
    };
    let (mut begun, mut steps, since) = (false, Steps::default(), super::now_us());
    loop {
        let text = match work.unless_stopped(output.next()).await {
            Ok(None) => return Ok(Ok(())),
            Ok(Some(Ok(output))) => output.text,
            Ok(Some(Err(error))) => {
                remove_layers(work, &steps, since).await;
                return Ok(Err(steps.explain(with_base(work, steps.base(), error).await)));
            }
            Err(stopped) => {
                // Docker ends the build with its connection, and takes the step that it was in with it.
                drop(output);
                remove_layers(work, &steps, since).await;
                return Err(stopped);
            }
        };
        if !begun {
            begun = true;
            work.done("building");
        }
        if let Some((step, percent)) = steps.hear(&text) {
            work.progress(&step, Some(percent));
        }
        work.say(&text);
    }
}

/// Removes the layers that a build has made which failed: nobody has a name for them. What it found in the cache stays.
/// So does what is older: a program's output may look like Docker's own.
async fn remove_layers(work: &Work<'_>, steps: &Steps, begun: i64) {
    for layer in steps.made().rev() {
        match work.settings.engine.image_inspect(layer).await {
            Ok(found) if found.tags.is_empty() && found.created_at.is_some_and(|at| at >= begun) => {
                // Its parents may have gone with it, or belong to others.
                if let Err(error) = work.settings.engine.image_remove(layer).await {
                    tracing::debug!(job = %work.attempt.job, layer, error = crate::report(&error), "a layer stays");
                }
            }
            _ => {}
        }
    }
}

/// The failure of a step that begins from this image, which is named where it is not on the host: of what could not be pulled
/// Docker names the registry at best.
async fn with_base(work: &Work<'_>, base: Option<&str>, error: DockerError) -> DockerError {
    let (Some(base), DockerError::Refused { status, message }) = (base, &error) else { return error };
    match work.settings.engine.image_inspect(base).await {
        Err(DockerError::NotFound { .. }) => {
            let message = format!("the base image {base} is not on this host and cannot be pulled: {message}");
            DockerError::Refused { status: *status, message }
        }
        _ => error,
    }
}

/// Removes what a build that was stopped, or failed, has made at the last moment.
pub(super) async fn undo_build(work: &Work<'_>, command: &BuildImage) {
    if work.untag(&local_tag(command.image)).await.is_err() {
        tracing::warn!(job = %work.attempt.job, "the image of a stopped build is left over");
    }
}

fn product(image: Image) -> Product {
    Product::Image { docker_id: image.id, size: image.size }
}

/// Makes sure that a referenced image is on the host, under our name. Docker pulls under the reference's own name, which
/// may be the owner's: what it named before is noted before the first pull, so that it is put back whatever happens.
pub(super) async fn pull(work: &Work<'_>, command: &PullImage) -> Result<Product, Ended> {
    work.done("accepted");
    let reference = command.reference.to_string();
    // Two jobs that pull one reference would each take the other's for the owner's.
    let key = turn_of(&reference);
    let turn = work.keys.lock(&key);
    // A stopped job whose earlier attempt left nothing ends here; another has to put back what it left.
    let _turn = if work.noted::<Vec<String>>().is_none() { work.unless_stopped(turn).await? } else { turn.await };
    let before = Before::of(work, &reference).await?;
    let ended = pull_and_tag(work, command, &reference).await;
    let back = before.put_back(work, &reference).await;
    match (ended, back) {
        (Ok(image), Ok(())) => Ok(product(image)),
        (Ok(_), Err(error)) => Err(error),
        (Err(ended), back) => {
            warn_of(work, &reference, &back);
            Err(ended)
        }
    }
}

/// Takes back what an interrupted pull left under its reference, if it had begun.
pub(super) async fn undo_pull(work: &Work<'_>, command: &PullImage) {
    let reference = command.reference.to_string();
    let _turn = work.keys.lock(&turn_of(&reference)).await;
    if let Some(before) = Before::noted(work) {
        warn_of(work, &reference, &before.put_back(work, &reference).await);
    }
}

fn turn_of(reference: &str) -> String {
    format!("pull {reference}")
}

fn warn_of(work: &Work<'_>, reference: &str, back: &Result<(), Ended>) {
    if back.is_err() {
        tracing::warn!(job = %work.attempt.job, reference, "what a pull left under its reference is left over");
    }
}

/// What a reference named on the host before this job's first attempt, kept in the job's note.
struct Before(Option<String>);

impl Before {
    fn noted(work: &Work<'_>) -> Option<Self> {
        work.noted::<Vec<String>>()?.into_iter().next().map(|id| Self(Some(id).filter(|id| !id.is_empty())))
    }

    async fn of(work: &Work<'_>, reference: &str) -> Result<Self, Ended> {
        if let Some(noted) = Self::noted(work) {
            return Ok(noted);
        }
        let before = match work.settings.engine.image_inspect(reference).await {
            Ok(found) => Some(found.id),
            Err(DockerError::NotFound { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        // An empty name is the absence of an image; an empty note would be the absence of a note.
        work.note(&[before.clone().unwrap_or_default()])?;
        Ok(Self(before))
    }

    /// Makes the reference name again what it did. Once more does no harm.
    async fn put_back(&self, work: &Work<'_>, reference: &str) -> Result<(), Ended> {
        let Some(before) = &self.0 else { return work.untag(reference).await };
        match work.settings.engine.image_inspect(reference).await {
            Ok(now) if now.id == *before => return Ok(()),
            Ok(_) | Err(DockerError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        match work.settings.engine.image_tag(before, reference).await {
            // The owner removed it meanwhile.
            Ok(()) | Err(DockerError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

async fn pull_and_tag(work: &Work<'_>, command: &PullImage, reference: &str) -> Result<Image, Ended> {
    let engine = &work.settings.engine;
    work.step("pulling", Some(0))?;
    match run_pull(work, command).await {
        Ok(()) => {}
        Err(Ended::Failed(failure)) if failure.kind == FailureKind::ImageNotFound => {
            match engine.image_inspect(reference).await {
                Ok(_) => work.say(&format!(
                    "{}\nthe registry does not give it; the image on the host is used\n",
                    failure.detail
                )),
                Err(_) => return elsewhere(work, command, failure).await,
            }
        }
        Err(ended) => return Err(ended),
    }
    work.done("pulled");

    work.step("tagging", Some(99))?;
    let name = local_tag(command.image);
    engine.image_tag(reference, &name).await?;
    work.done("tagged");
    Ok(engine.image_inspect(&name).await?)
}

/// The image from another host that has it, where there is one: what could be pulled there, or was only there, is the same here.
/// This job's note is about its reference; what is left of parts that came in vain goes with time.
async fn elsewhere(work: &Work<'_>, command: &PullImage, refused: AgentFailure) -> Result<Image, Ended> {
    let supplied = work.unless_stopped(work.settings.supplies.image(work.attempt.job)).await?;
    let Ok(supplied) = supplied else { return Err(refused.into()) };
    work.say(&format!("{}\nthe registry does not give it; another host does\n", refused.detail));
    copy::obtain(work, command.image, &supplied.docker_id, |_| Ok(())).await
}

async fn run_pull(work: &Work<'_>, command: &PullImage) -> Result<(), Ended> {
    let words = |error: &DockerError| Ended::Failed(failure(error, FailureKind::ImageNotFound));
    let (name, tag) = (command.reference.name(), command.reference.tag_or_digest().to_owned());
    follow_pull(work, work.settings.engine.image_pull(&name, &tag), words).await
}
