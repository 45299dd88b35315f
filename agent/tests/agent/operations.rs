//! Starting, stopping and restarting on the fake engine: every call fails in turn, before and after its effect; repeats;
//! lives that end in between.

use crate::bench::{Bench, Options, container};
use dockerforge_agent::docker::fake::Moment;
use dockerforge_protocol::command::{Command, CreateContainer, RemoveContainer, StartContainer, StopContainer};
use dockerforge_protocol::handshake::{JobVerdict, Verdict};
use dockerforge_protocol::ids::{JobId, UserId};
use dockerforge_protocol::inventory::ContainerState;
use dockerforge_protocol::report::{FailureKind, Outcome, Product};
use std::time::Duration;

fn start(of: &CreateContainer) -> Command {
    Command::StartContainer(StartContainer { container: of.container, user: of.user })
}

fn stopping(of: &CreateContainer) -> StopContainer {
    StopContainer { container: of.container, user: of.user, grace_s: 1 }
}

fn stop(of: &CreateContainer) -> Command {
    Command::StopContainer(stopping(of))
}

fn restart(of: &CreateContainer) -> Command {
    Command::RestartContainer(stopping(of))
}

/// A bench with one running container, whose start was the first.
async fn running() -> (Bench, CreateContainer) {
    running_on(Bench::new()).await
}

async fn running_on(bench: Bench) -> (Bench, CreateContainer) {
    let create = container(&bench, "{}");
    let outcome = bench.run(JobId::new(), 1, &Command::CreateContainer(create.clone())).await;
    assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
    (bench, create)
}

fn state(bench: &Bench) -> (ContainerState, usize) {
    let world = bench.engine.world();
    assert_eq!(world.containers.len(), 1, "{:?}", world.containers);
    (world.containers.values().next().unwrap().0.state, world.starts)
}

fn failure(outcome: &Outcome) -> FailureKind {
    match outcome {
        Outcome::Failed { failure } => failure.kind,
        other => panic!("expected a failure, got {other:?}"),
    }
}

/// Lets each call of a command fail in turn, with a second attempt where the first failed, and looks at what is there.
async fn whichever_call_fails(
    prepare: &[fn(&CreateContainer) -> Command],
    command: fn(&CreateContainer) -> Command,
    expected: (ContainerState, usize),
    calls: usize,
) {
    for moment in [Moment::Before, Moment::After] {
        for n in 0..50 {
            let (bench, create) = running().await;
            for first in prepare {
                bench.run(JobId::new(), 1, &first(&create)).await;
            }
            let (job, command) = (JobId::new(), command(&create));
            bench.engine.fail_nth(n, moment);
            let first = bench.run(job, 1, &command).await;
            let when = format!("call {n} failed {moment:?}");
            let unharmed = matches!(first, Outcome::Succeeded { .. });
            if !unharmed {
                assert!(failure(&first).retryable(), "{when}: {first:?}");
                let second = bench.run(job, 2, &command).await;
                assert!(matches!(second, Outcome::Succeeded { .. }), "{when}: {second:?}");
            }
            assert_eq!(state(&bench), expected, "{when}");
            let left = std::fs::read_dir(bench.folder.path()).unwrap().filter_map(Result::ok);
            let left: Vec<_> = left.map(|f| f.file_name()).filter(|f| *f != "journal").collect();
            assert!(left.is_empty(), "{when}: {left:?} is left over");
            if unharmed {
                assert_eq!(n, calls, "{when}: so many calls were made");
                break;
            }
        }
    }
}

#[tokio::test]
async fn whichever_call_fails_the_next_attempt_stops_the_container() {
    whichever_call_fails(&[], stop, (ContainerState::Exited, 1), 3).await;
}

#[tokio::test]
async fn whichever_call_fails_the_next_attempt_starts_the_container_once() {
    whichever_call_fails(&[stop], start, (ContainerState::Running, 2), 3).await;
}

#[tokio::test]
async fn whichever_call_fails_the_container_is_restarted_once() {
    whichever_call_fails(&[], restart, (ContainerState::Running, 2), 4).await;
    whichever_call_fails(&[stop], restart, (ContainerState::Running, 2), 3).await;
}

#[tokio::test]
async fn a_repeated_attempt_does_not_restart_again_and_another_job_does() {
    let (bench, create) = running().await;
    let job = JobId::new();
    // An attempt whose outcome was retryable keeps its note: the fault comes after the start.
    bench.engine.fail_nth(3, Moment::After);
    assert!(failure(&bench.run(job, 1, &restart(&create)).await).retryable());
    for number in 2..4 {
        let again = bench.assign(job, number, &restart(&create));
        let outcome = bench.outcome(again).await;
        assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
        if number == 2 {
            assert_eq!(state(&bench), (ContainerState::Running, 2));
        }
    }
    bench.run(JobId::new(), 1, &restart(&create)).await;
    assert_eq!(state(&bench), (ContainerState::Running, 4));
}

#[tokio::test]
async fn a_restart_that_a_life_of_the_agent_did_not_finish_happens_once() {
    let slow = Options { latency: Duration::from_millis(30), ..Options::default() };
    let (bench, create) = running_on(Bench::with(slow)).await;
    let attempt = bench.assign(JobId::new(), 1, &restart(&create));
    bench.until("the look", || bench.called("container inspect").then_some(())).await;
    let bench = bench.next_life().await;
    bench.executor.decide(&JobVerdict { attempt, verdict: Verdict::Continue { log_from: 0 } });
    let outcome = bench.outcome(attempt).await;
    assert!(matches!(outcome, Outcome::Succeeded { product: Product::Container { .. } }), "{outcome:?}");
    assert_eq!(state(&bench), (ContainerState::Running, 2));
}

#[tokio::test]
async fn what_is_not_there_is_said_and_what_is_anothers_is_left_alone() {
    let (bench, create) = running().await;
    let stranger = CreateContainer { user: UserId::new(), ..create.clone() };
    for command in [start, stop, restart] {
        assert_eq!(failure(&bench.run(JobId::new(), 1, &command(&stranger)).await), FailureKind::NameTaken);
    }
    assert_eq!(state(&bench), (ContainerState::Running, 1));
    let remove = RemoveContainer { container: create.container, user: create.user, volumes: false };
    bench.run(JobId::new(), 1, &Command::RemoveContainer(remove)).await;
    for command in [start, stop, restart] {
        assert_eq!(failure(&bench.run(JobId::new(), 1, &command(&create)).await), FailureKind::ContainerNotFound);
    }
}
