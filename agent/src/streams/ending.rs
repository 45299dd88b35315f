//! Ends a program that a terminal left behind: Docker has no call for it. An agent with the rights signals its process;
//! one without them (as packaged, it has none) runs a few lines of shell in the container that find it by its mark.

use super::Settings;
use super::terminal::MARK;
use crate::docker::live::NewExec;
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;

/// From the request to end to the end by force.
const GRACE: Duration = Duration::from_secs(2);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Ends the program and what it started, first by SIGHUP, as a terminal that is closed does, then by SIGKILL.
pub(super) async fn end_program(settings: &Settings, container: &str, exec: &str, mark: &str) {
    for signal in [Signal::HUP, Signal::KILL] {
        match settings.engine.terminal_state(exec).await {
            Ok(state) if !state.running => return,
            Ok(state) => {
                let signalled = state.pid.is_some_and(|pid| signal_directly(container, pid, signal));
                if !signalled && let Err(error) = signal_within(settings, container, mark, signal).await {
                    tracing::debug!(error = crate::report(&error), "a program could not be signalled in its container");
                }
            }
            Err(error) => {
                tracing::info!(error = crate::report(&error), "whether a terminal's program runs on is not known");
                return;
            }
        }
        let until = tokio::time::Instant::now() + GRACE;
        while tokio::time::Instant::now() < until {
            tokio::time::sleep(LOOK).await;
            if settings.engine.terminal_state(exec).await.is_ok_and(|state| !state.running) {
                return;
            }
        }
    }
    tracing::warn!(container, "a terminal's program runs on: the agent may not signal it, and the container has no sh");
}

/// Signals a process of that container; whether that was possible. A number that means another process by now, or in
/// another namespace, is not of that container's control group.
fn signal_directly(container: &str, pid: i32, signal: Signal) -> bool {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    groups.contains(container) && Pid::from_raw(pid).is_some_and(|pid| kill_process(pid, signal).is_ok())
}

/// Signals what has the mark in its environment, from within the container. Nothing of a user's stands in the command.
async fn signal_within(
    settings: &Settings,
    container: &str,
    mark: &str,
    signal: Signal,
) -> Result<(), crate::docker::DockerError> {
    let name = if signal == Signal::KILL { "KILL" } else { "HUP" };
    let script = format!(
        "for p in /proc/[0-9]*; do tr '\\0' '\\n' 2>/dev/null <\"$p/environ\" | grep -qx '{MARK}={mark}' && kill -{name} \"${{p#/proc/}}\"; done"
    );
    let new = NewExec {
        command: vec!["sh".to_owned(), "-c".to_owned(), script],
        user: Some("0".to_owned()),
        env: Vec::new(),
        tty: false,
    };
    let exec = settings.engine.terminal_create(container, &new).await?;
    settings.engine.terminal_detached(&exec).await
}
