//! Moving a container to another host: what cannot move, and what is next for one that is on its way. Pure: the conductor
//! reads the rows, asks here, and does what is answered.
//!
//! ```text
//!             image there, both hosts online
//! (nothing) ──────────▶ stop (old) ──▶ receive (new) ──▶ start (new) ──▶ it is on the new host ──▶ remove (old)
//!                          │              │                │
//!                          └──────────────┴────────────────┴──▶ discard (new), start (old): it is where it was
//! ```
//! What must hold: it is meant to run in one place at a time. Until it was told to start on the new host it cannot run there, so
//! that the way back waits for nobody; from then on the way back begins with its being gone there.

use super::Refusal;
use super::container::{Container, DesiredState, ObservedState};
use super::host_access::reaches;
use super::job::{Job, JobError, JobKind, JobState};
use dockerforge_protocol::command::CreateContainer;
use dockerforge_protocol::ids::{ContainerId, HostId, JobId, UserId};
use dockerforge_protocol::inventory::ContainerState;
use dockerforge_protocol::report::Product;
use dockerforge_protocol::spec::{RestartPolicy, VolumeName};

/// A container on its way.
#[derive(Debug, Clone, PartialEq)]
pub struct Move {
    /// The job that consists of all the others.
    pub job: JobId,
    /// Which container.
    pub container: ContainerId,
    /// Whose it is.
    pub user: UserId,
    /// Where it is.
    pub source: HostId,
    /// Where it goes.
    pub target: HostId,
    /// What it is to be there.
    pub create: CreateContainer,
    /// Whether it runs, and so is to run there, and here again if it stays.
    pub run: bool,
    /// Seconds that it may take to end.
    pub grace_s: u32,
}

/// Whether a container would be running now if nobody stopped it: one that has ended by itself, and that Docker does not start
/// again, is not begun anew elsewhere.
#[must_use]
pub fn runs(container: &Container) -> bool {
    let ended =
        matches!(container.observed.state, ObservedState::Docker(ContainerState::Exited | ContainerState::Dead));
    let may_end = matches!(container.spec.restart, RestartPolicy::No | RestartPolicy::OnFailure);
    container.desired == DesiredState::Running && !(ended && may_end)
}

/// Whether a container can leave its host. `others` are all containers of its user's, on whatever host.
///
/// # Errors
/// What holds it there, or keeps it from the other host.
pub fn movable(container: &Container, target: HostId, others: &[Container]) -> Result<(), Refusal> {
    if reaches(&container.spec) {
        return Err(Refusal::BoundToHost(container.id));
    }
    let there = |host: HostId| {
        others.iter().filter(move |c| c.host == host && c.id != container.id && c.desired != DesiredState::Removed)
    };
    let mut linked: Vec<ContainerId> = container.spec.links.iter().map(|link| link.container).collect();
    let links_it = |c: &&Container| c.spec.links.iter().any(|link| link.container == container.id);
    linked.extend(there(container.host).filter(links_it).map(|c| c.id));
    linked.sort_unstable();
    linked.dedup();
    if !linked.is_empty() {
        return Err(Refusal::Linked(linked));
    }
    // Of the same name on the other host it is another volume, which is in use there.
    for host in [container.host, target] {
        for mount in &container.spec.volumes {
            if let Some(other) = there(host).find(|c| mounts(c, &mount.volume)) {
                return Err(Refusal::VolumeInUse { volume: mount.volume.to_string(), container: other.id });
            }
        }
    }
    Ok(())
}

fn mounts(container: &Container, volume: &VolumeName) -> bool {
    container.spec.volumes.iter().any(|mount| mount.volume == *volume)
}

/// Why a container stays where it is.
#[derive(Debug, Clone, PartialEq)]
pub enum Back {
    /// Nobody wants it to move any more.
    Cancelled,
    /// It cannot.
    Failed(JobError),
}

/// What stands around a move.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Its parts, oldest first.
    pub parts: &'a [Job],
    /// What speaks against going on, beside the parts.
    pub back: Option<Back>,
    /// What has to be there before it is stopped, if something is not: its image on the new host, and both hosts.
    pub waits_for: Option<&'static str>,
    /// Whether it may be started again where it was: it is still to be there, and its user is in service.
    pub may_start: bool,
    /// Whether there is still something of the new host to be taken back.
    pub target_exists: bool,
}

/// What is next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing, until something changes; what is waited for.
    Wait(&'static str),
    /// It is to stop.
    Stop,
    /// The new host is to receive it.
    Receive,
    /// It is to start on the new host.
    Start,
    /// It is on the new host; Docker's id of it there.
    Arrived(String),
    /// This part is to end.
    Cancel(JobId),
    /// The new host is to forget what this part received.
    Discard(JobId),
    /// It is to start where it was.
    StartAgain,
    /// It is over, and the container where it was.
    Stayed(Back),
}

/// Whether a job brings an image for this move, and did not before it: ids grow. What others wait for they wait for all the
/// same.
#[must_use]
pub fn is_for(brings: &Job, whole: JobId) -> bool {
    brings.id > whole && brings.kind.brings_image()
}

/// What is next for a container on its way.
#[must_use]
pub fn next(of: &Move, facts: &Facts<'_>) -> Step {
    let part = |kind: JobKind, host: HostId| facts.parts.iter().rfind(|p| p.kind == kind && p.host == Some(host));
    let stop = part(JobKind::ContainerStop, of.source);
    let receive = part(JobKind::ContainerReceive, of.target);
    let start = part(JobKind::ContainerStart, of.target);
    let failed = [stop, receive, start].into_iter().flatten().find(|p| is_over(p) && p.state != JobState::Succeeded);
    let back = facts.back.clone().or_else(|| failed.map(|part| Back::Failed(why(part))));
    if let Some(back) = back {
        let discard = part(JobKind::ContainerRemove, of.target);
        let again = part(JobKind::ContainerStart, of.source);
        return way_back(of, facts, back, [stop, receive, start, discard, again]);
    }
    match (stop, receive, start) {
        (None, ..) => facts.waits_for.map_or(Step::Stop, Step::Wait),
        (Some(stop), None, _) if is_over(stop) => Step::Receive,
        (Some(_), None, _) => Step::Wait("stopping"),
        (_, Some(receive), _) if !is_over(receive) => Step::Wait("bringing it over"),
        (_, Some(_), None) if of.run => Step::Start,
        (_, Some(_), Some(start)) if !is_over(start) => Step::Wait("starting it there"),
        (_, Some(receive), start) => Step::Arrived(made(start.unwrap_or(receive))),
    }
}

fn way_back(of: &Move, facts: &Facts<'_>, back: Back, parts: [Option<&Job>; 5]) -> Step {
    let [stop, receive, start, discard, again] = parts;
    let Some(stop) = stop else { return Step::Stayed(back) };
    if !is_over(stop) {
        // One that is in work ends soon, and one that waits is not done.
        return if stop.state == JobState::Queued { Step::Cancel(stop.id) } else { Step::Wait("stopping") };
    }
    if stop.state == JobState::Cancelled && stop.is_untouched() {
        return Step::Stayed(back);
    }
    for part in [start, receive].into_iter().flatten() {
        if !is_over(part) && part.state != JobState::Cancelling {
            return Step::Cancel(part.id);
        }
    }
    if start.is_some_and(|start| !is_over(start)) {
        return Step::Wait("stopping it there");
    }
    if let (Some(receive), None, true) = (receive, discard, facts.target_exists)
        && !(is_over(receive) && receive.is_untouched())
    {
        return Step::Discard(receive.id);
    }
    // Nobody knows whether one that was to start there does, until it is gone there.
    if start.is_some() && facts.target_exists && discard.is_some_and(|discard| !is_over(discard)) {
        return Step::Wait("removing it there");
    }
    match again {
        None if of.run && facts.may_start => Step::StartAgain,
        Some(again) if !is_over(again) => Step::Wait("starting it where it was"),
        Some(again) if again.state != JobState::Succeeded && facts.may_start => Step::Stayed(worse(back, again)),
        _ => Step::Stayed(back),
    }
}

const fn is_over(part: &Job) -> bool {
    part.state.is_terminal()
}

fn made(part: &Job) -> String {
    match &part.product {
        Some(Product::Container { docker_id }) => docker_id.clone(),
        _ => String::new(),
    }
}

fn why(part: &Job) -> JobError {
    let what = match part.kind {
        JobKind::ContainerStop => "it could not be stopped",
        JobKind::ContainerReceive => "it could not be brought over",
        _ => "it could not be started there",
    };
    match &part.error {
        Some(error) => JobError::new(&error.kind, format!("{what}: {}", error.detail)),
        None => JobError::new("part-failed", format!("{what}: {} was cancelled", part.id)),
    }
}

fn worse(back: Back, again: &Job) -> Back {
    let said = again.error.as_ref().map_or_else(|| "its job was cancelled".to_owned(), |error| error.detail.clone());
    let said = format!("it could not be started again where it was: {said}");
    Back::Failed(match back {
        Back::Cancelled => JobError::new("part-failed", said),
        Back::Failed(error) => JobError::new(&error.kind, format!("{}; and {said}", error.detail)),
    })
}

#[cfg(test)]
#[path = "moves_tests.rs"]
mod tests;
