//! Programs in containers on the fake engine: each is begun at most once, whichever call fails and whenever the agent's
//! life ends.

use crate::bench::{Bench, Options, container};
use dockerforge_agent::docker::fake::Moment;
use dockerforge_agent::policy::Policy;
use dockerforge_protocol::command::{Command, CreateContainer, ExecContainer, StopContainer};
use dockerforge_protocol::handshake::HeldState;
use dockerforge_protocol::ids::JobId;
use dockerforge_protocol::report::{FailureKind, Outcome, Product};

fn exec(of: &CreateContainer, words: &[&str]) -> Command {
    Command::ExecContainer(ExecContainer {
        container: of.container,
        user: of.user,
        command: words.iter().map(ToString::to_string).collect(),
        env: [("A".parse().unwrap(), "b".to_owned())].into(),
        run_as: Some("1000".parse().unwrap()),
        workdir: None,
        secrets: false,
        limit_s: 60,
    })
}

async fn running() -> (Bench, CreateContainer) {
    let bench = Bench::new();
    let create = container(&bench, "{}");
    bench.run(JobId::new(), 1, &Command::CreateContainer(create.clone())).await;
    (bench, create)
}

/// How many programs of that name were begun.
fn begun(bench: &Bench, word: &str) -> usize {
    let world = bench.engine.world();
    world.execs.values().filter(|(exec, begun)| *begun && exec.command[0] == word).count()
}

fn failure(outcome: &Outcome) -> FailureKind {
    match outcome {
        Outcome::Failed { failure } => failure.kind,
        other => panic!("expected a failure, got {other:?}"),
    }
}

#[tokio::test]
async fn a_program_runs_with_what_was_asked_and_its_code_is_the_result() {
    let (bench, create) = running().await;
    for code in [0, 3] {
        let outcome = bench.run(JobId::new(), 1, &exec(&create, &["exit", &code.to_string()])).await;
        assert_eq!(outcome, Outcome::Succeeded { product: Product::Exec { exit_code: code } });
    }
    let world = bench.engine.world();
    let (new, _) = world.execs.values().next().unwrap();
    assert_eq!((new.env[0].as_str(), new.user.as_deref()), ("A=b", Some("1000")));
    assert!(new.env[1].starts_with("DOCKERFORGE_EXEC=job_"), "{:?}", new.env);
}

#[tokio::test]
async fn whichever_call_fails_the_program_is_begun_at_most_once() {
    for moment in [Moment::Before, Moment::After] {
        for n in 0..20 {
            let (bench, create) = running().await;
            let (job, command) = (JobId::new(), exec(&create, &["exit", "0"]));
            bench.engine.fail_nth(n, moment);
            let first = bench.run(job, 1, &command).await;
            let when = format!("call {n} failed {moment:?}: {first:?}");
            if matches!(first, Outcome::Succeeded { .. }) {
                assert_eq!(begun(&bench, "exit"), 1, "{when}");
                if n > 3 {
                    break;
                }
            } else if failure(&first).retryable() {
                assert_eq!(begun(&bench, "exit"), 0, "{when}");
                assert!(matches!(bench.run(job, 2, &command).await, Outcome::Succeeded { .. }), "{when}");
                assert_eq!(begun(&bench, "exit"), 1, "{when}");
            } else {
                assert_eq!(failure(&first), FailureKind::OutcomeUnknown, "{when}");
                assert!(begun(&bench, "exit") <= 1, "{when}");
            }
            assert!(n < 19, "{when}: the calls never end");
        }
    }
}

#[tokio::test]
async fn a_life_that_ends_while_the_program_runs_leaves_an_unknown_outcome() {
    let (bench, create) = running().await;
    let attempt = bench.assign(JobId::new(), 1, &exec(&create, &["hold"]));
    bench.until("it is begun", || (begun(&bench, "hold") == 1).then_some(())).await;
    let bench = bench.next_life().await;
    let held = bench.executor.table().held();
    assert_eq!(held.iter().map(|h| (h.attempt, h.state)).collect::<Vec<_>>(), [(attempt, HeldState::Finished)]);
    assert_eq!(failure(&bench.outcome(attempt).await), FailureKind::OutcomeUnknown);
    assert_eq!(begun(&bench, "hold"), 1);
}

#[tokio::test]
async fn a_cancelled_program_is_killed() {
    let (bench, create) = running().await;
    let attempt = bench.assign(JobId::new(), 1, &exec(&create, &["hold"]));
    bench.until("it is begun", || (begun(&bench, "hold") == 1).then_some(())).await;
    assert!(bench.executor.cancel(attempt));
    assert_eq!(bench.outcome(attempt).await, Outcome::Cancelled);
    let world = bench.engine.world();
    assert!(!world.execs.values().any(|(exec, _)| exec.command[0] == "hold"), "it runs on");
    let killer = world.execs.values().find(|(exec, _)| exec.command[0] == "sh").unwrap();
    assert_eq!(killer.0.user.as_deref(), Some("1000"), "who may kill is who began");
}

#[tokio::test]
async fn nothing_runs_in_a_container_that_does_not_and_on_a_host_that_forbids_it() {
    let (bench, create) = running().await;
    let stop = StopContainer { container: create.container, user: create.user, grace_s: 1 };
    bench.run(JobId::new(), 1, &Command::StopContainer(stop)).await;
    let outcome = bench.run(JobId::new(), 1, &exec(&create, &["exit", "0"])).await;
    assert_eq!(failure(&outcome), FailureKind::ContainerNotRunning);
    let policy = Policy { exec: Some(false), ..Policy::default() };
    let bench = Bench::with(Options { policy, ..Options::default() });
    let create = container(&bench, "{}");
    bench.run(JobId::new(), 1, &Command::CreateContainer(create.clone())).await;
    let outcome = bench.run(JobId::new(), 1, &exec(&create, &["exit", "0"])).await;
    assert_eq!(failure(&outcome), FailureKind::Policy);
    assert_eq!(begun(&bench, "exit"), 0);
}
