//! [`Command::ConvergeContainer`](dockerforge_protocol::command::Command::ConvergeContainer): what converges a container is
//! laid down in it, and runs there towards the node. What must hold: the node's secrets are read from a pipe and are nowhere
//! on a disk of ours; of two attempts of one job only one runs; a converge that is repeated changes nothing more.

use super::secrets::{Redactor, in_every_form};
use super::work::{Work, failed};
use super::{Ended, exec};
use crate::docker::NewExec;
use bytes::Bytes;
use dockerforge_protocol::command::{CONVERGE_HOME, ContextRef, ConvergeContainer, OUTCOME_MARK};
use dockerforge_protocol::report::{FailureKind, MAX_RESOURCES, Product, ResourceOutcome, ResourceStatus};
use secrecy::ExposeSecret;

/// Where the archive is unpacked: the folder that [`CONVERGE_HOME`] is in.
const PARENT: &str = "/opt";
/// Removes what an attempt left that was interrupted before it ran.
const SWEEP: &str = "rm -rf /opt/dockerforge.next";
/// Puts what was unpacked in the place of what was there, and runs it. Written here; nothing of a user's is in it.
const RUN: &str = "rm -rf /opt/dockerforge && mv /opt/dockerforge.next /opt/dockerforge && \
                   exec sh /opt/dockerforge/converge.sh run";
/// Who converges.
const ROOT: &str = "0:0";
/// The longest line that is read as an outcome.
const MAX_LINE: usize = 8 * 1024;

/// Brings a container to what its configuration says.
pub(super) async fn converge(work: &Work<'_>, command: &ConvergeContainer) -> Result<Product, Ended> {
    work.done("accepted");
    let found = exec::running(work, command.container, command.user).await?;
    let resources = within(work, &found.id, &command.context).await?;
    Ok(Product::Converged { resources })
}

/// Brings a container that runs, by Docker's id of it, to what the job's node says; answers what changed.
pub(super) async fn within(
    work: &Work<'_>,
    container: &str,
    context: &ContextRef,
) -> Result<Vec<ResourceOutcome>, Ended> {
    let mark = exec::mark(work);
    // What an attempt before this one began may go on.
    exec::kill_marked(work, container, Some(ROOT), &mark).await?;
    exec::shell(work, container, Some(ROOT), &[SWEEP]).await?;

    work.step("fetching what converges it", None)?;
    let unavailable = |error: super::SupplyError| failed(FailureKind::ContextUnavailable, error.to_string());
    let supplies = &work.settings.supplies;
    let node = work.unless_stopped(supplies.node(work.attempt.job)).await?.map_err(unavailable)?;
    let context = work.unless_stopped(supplies.context(work.attempt.job, context)).await?.map_err(unavailable)?;
    work.step("laying it down", None)?;
    work.settings.engine.container_unpack(container, PARENT, context).await?;
    work.done("unpacked");

    let input = Bytes::copy_from_slice(node.json.expose_secret().as_bytes());
    let new = NewExec {
        command: ["sh", "-c", RUN].map(str::to_owned).to_vec(),
        env: vec![mark.clone(), format!("DOCKERFORGE_NODE_SIZE={}", input.len())],
        user: Some(ROOT.to_owned()),
        workdir: None,
        reads: true,
    };
    let id = exec::create(work, container, &new).await?;
    work.step("converging", None)?;
    let mut redactor = Redactor::of(in_every_form(node.secrets));
    let mut outcomes = Outcomes::default();
    let ended = exec::follow(work, &id, Some(input), &mut |piece| {
        let shown = match piece {
            Some(bytes) => redactor.pass(bytes),
            None => redactor.rest(),
        };
        work.write(&outcomes.pass(&shown, piece.is_none()));
    })
    .await;
    work.done("ran");
    if exec::must_be_killed(work, &ended) {
        exec::kill(work, container, Some(ROOT), &mark, &id).await;
    }
    match ended? {
        0 => Ok(outcomes.resources),
        code => Err(failed(FailureKind::ConvergeFailed, outcomes.explain(code))),
    }
}

/// Takes the lines that say what became of a resource out of what a converge writes.
#[derive(Default)]
struct Outcomes {
    resources: Vec<ResourceOutcome>,
    /// The beginning of a line that may be one.
    held: Vec<u8>,
    /// Whether what comes next goes on with a line that is none.
    within: bool,
}

impl Outcomes {
    /// What is to be shown after one more piece, or at the end.
    fn pass(&mut self, piece: &[u8], end: bool) -> Vec<u8> {
        let mark = OUTCOME_MARK.as_bytes();
        let mut shown = Vec::with_capacity(piece.len());
        for &byte in piece {
            if self.within {
                shown.push(byte);
                self.within = byte != b'\n';
                continue;
            }
            self.held.push(byte);
            let may_be = self.held.starts_with(mark) || mark.starts_with(&self.held);
            if byte == b'\n' && may_be {
                self.line(&mut shown);
            } else if !may_be || self.held.len() > MAX_LINE {
                shown.append(&mut self.held);
                self.within = byte != b'\n';
            }
        }
        if end {
            self.line(&mut shown);
        }
        shown
    }

    /// Reads a line that is there whole; one that says nothing is shown.
    fn line(&mut self, shown: &mut Vec<u8>) {
        let said = self.held.strip_prefix(OUTCOME_MARK.as_bytes());
        match said.and_then(|json| serde_json::from_slice::<ResourceOutcome>(json).ok()) {
            Some(outcome) if self.resources.len() < MAX_RESOURCES => self.resources.push(outcome),
            Some(_) => {}
            None => shown.extend_from_slice(&self.held),
        }
        self.held.clear();
    }

    /// Why it failed, as precisely as it was said.
    fn explain(&self, code: i64) -> String {
        let failed = self.resources.iter().rev().find(|outcome| outcome.status == ResourceStatus::Failed);
        match failed {
            Some(outcome) if outcome.detail.is_empty() => format!("{} failed; the log says more", outcome.resource),
            Some(outcome) => format!("{} failed: {}", outcome.resource, outcome.detail),
            None => format!("the converge ended with {code}; the log says why. It runs in {CONVERGE_HOME}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&str]) -> (String, Vec<ResourceOutcome>) {
        let mut outcomes = Outcomes::default();
        let mut shown: Vec<u8> = pieces.iter().flat_map(|piece| outcomes.pass(piece.as_bytes(), false)).collect();
        shown.extend(outcomes.pass(b"", true));
        (String::from_utf8(shown).unwrap(), outcomes.resources)
    }

    #[test]
    fn what_became_of_resources_is_read_however_the_output_is_cut() {
        let text = "one\ndockerforge-outcome: {\"resource\": \"a\", \"status\": \"changed\"}\ntwo dockerforge-outcome: {}\n\
                    dockerforge-outcome: {\"resource\": \"b\", \"status\": \"failed\", \"detail\": \"why\"}";
        for cut in 0..=text.len() {
            let (shown, resources) = read(&[&text[..cut], &text[cut..]]);
            assert_eq!(shown, "one\ntwo dockerforge-outcome: {}\n", "cut at {cut}");
            assert_eq!(resources.iter().map(|r| r.resource.as_str()).collect::<Vec<_>>(), ["a", "b"], "cut at {cut}");
            assert_eq!(resources[1].status, ResourceStatus::Failed);
        }
    }

    #[test]
    fn what_only_looks_like_one_is_shown_and_nothing_is_held_without_bound() {
        assert_eq!(read(&["dockerforge-outcome: nonsense\n"]).0, "dockerforge-outcome: nonsense\n");
        let long = format!("dockerforge-outcome: {}", "x".repeat(3 * MAX_LINE));
        assert_eq!(read(&[&long]).0, long);
        assert_eq!(read(&["docker", "forge"]).0, "dockerforge");
    }
}
