//! Changing containers on the fake engine: every call fails in turn, before and after its effect, on the way there and on
//! the way back; never do two run at once, and never is there none.

use crate::bench::{Bench, Options, container};
use dockerforge_agent::docker::fake::Moment;
use dockerforge_agent::policy::Policy;
use dockerforge_protocol::command::{
    Command, CreateContainer, RecreateContainer, RemoveContainer, StartContainer, UpdateContainer, docker_name,
};
use dockerforge_protocol::ids::JobId;
use dockerforge_protocol::inventory::ContainerState;
use dockerforge_protocol::report::{FailureKind, Outcome};
use dockerforge_protocol::spec::{Resources, RestartPolicy};

const BEFORE: &str = r#"{"env":{"A":"old"},"ports":[{"container":80}],"volumes":[{"volume":"data","target":"/data"}]}"#;
const AFTER: &str = r#"{"env":{"A":"new"},"ports":[{"container":80}],"volumes":[{"volume":"data","target":"/data"}]}"#;
const REFUSED: &str = r#"{"env":{"A":"new"},"command":["/does-not-exist"]}"#;
const ENDS: &str = r#"{"env":{"A":"new"},"command":["/ends-at-once"]}"#;

async fn running() -> (Bench, CreateContainer) {
    let bench = Bench::new();
    let create = container(&bench, BEFORE);
    let outcome = bench.run(JobId::new(), 1, &Command::CreateContainer(create.clone())).await;
    assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
    (bench, create)
}

fn recreate(of: &CreateContainer, spec: &str, run: bool) -> Command {
    let create = CreateContainer { spec: serde_json::from_str(spec).unwrap(), ..of.clone() };
    Command::RecreateContainer(RecreateContainer { create, run, grace_s: 1 })
}

fn failure(outcome: &Outcome) -> FailureKind {
    match outcome {
        Outcome::Failed { failure } => failure.kind,
        other => panic!("expected a failure, got {other:?}"),
    }
}

/// Exactly one container is there, under its name, as it was asked to be.
fn assert_one(bench: &Bench, of: &CreateContainer, value: &str, state: ContainerState, when: &str) {
    let world = bench.engine.world();
    let found: Vec<_> = world.containers.values().collect();
    assert_eq!(found.len(), 1, "{when}: {found:?}");
    let (container, new, _) = found[0];
    assert_eq!((new.name.as_str(), container.state), (docker_name(of.container).as_str(), state), "{when}");
    assert_eq!(new.env, [format!("A={value}")], "{when}");
    assert!(!world.doubled, "{when}: two ran at once");
    assert_eq!(world.volumes.len(), 1, "{when}");
}

#[tokio::test]
async fn whichever_call_fails_the_next_attempt_gives_the_new_container_on_the_same_port() {
    for moment in [Moment::Before, Moment::After] {
        for n in 0..60 {
            let (bench, create) = running().await;
            let port = bench.engine.world().containers.values().next().unwrap().1.ports.clone();
            let (job, command) = (JobId::new(), recreate(&create, AFTER, true));
            bench.engine.fail_nth(n, moment);
            let first = bench.run(job, 1, &command).await;
            let when = format!("call {n} failed {moment:?}: {first:?}");
            let unharmed = matches!(first, Outcome::Succeeded { .. });
            if !unharmed {
                assert!(failure(&first).retryable(), "{when}");
                let second = bench.run(job, 2, &command).await;
                assert!(matches!(second, Outcome::Succeeded { .. }), "{when}, then {second:?}");
            }
            assert_one(&bench, &create, "new", ContainerState::Running, &when);
            assert_eq!(bench.engine.world().containers.values().next().unwrap().1.ports, port, "{when}");
            if unharmed {
                assert!(n > 8, "{when}");
                break;
            }
            assert!(n < 59);
        }
    }
}

#[tokio::test]
async fn what_does_not_run_is_put_back_whichever_call_fails() {
    for (spec, kind) in [(REFUSED, FailureKind::DockerRefused), (ENDS, FailureKind::ExitedEarly)] {
        for moment in [Moment::Before, Moment::After] {
            for n in 0..60 {
                let (bench, create) = running().await;
                let (job, command) = (JobId::new(), recreate(&create, spec, true));
                bench.engine.fail_nth(n, moment);
                let calls = bench.engine.world().calls.len();
                let mut outcome = bench.run(job, 1, &command).await;
                let when = format!("{spec}: call {n} failed {moment:?}: {outcome:?}");
                let unharmed = bench.engine.world().calls.len() - calls <= n;
                if failure(&outcome).retryable() {
                    outcome = bench.run(job, 2, &command).await;
                }
                assert_eq!(failure(&outcome), kind, "{when}");
                assert_one(&bench, &create, "old", ContainerState::Running, &when);
                if unharmed {
                    assert!(n > 8, "{when}");
                    break;
                }
                assert!(n < 59);
            }
        }
    }
}

#[tokio::test]
async fn what_is_stopped_stays_stopped() {
    let (bench, create) = running().await;
    let outcome = bench.run(JobId::new(), 1, &recreate(&create, AFTER, false)).await;
    assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
    assert_one(&bench, &create, "new", ContainerState::Created, "made anew");
}

#[tokio::test]
async fn an_image_that_is_not_there_leaves_the_container_running() {
    let (bench, create) = running().await;
    let other = CreateContainer { image: dockerforge_protocol::ids::ImageId::new(), ..create.clone() };
    let outcome = bench.run(JobId::new(), 1, &recreate(&other, AFTER, true)).await;
    assert_eq!(failure(&outcome), FailureKind::ImageNotFound);
    assert_one(&bench, &create, "old", ContainerState::Running, "afterwards");
    assert!(!bench.called("container stop"), "it was not even stopped");
}

#[tokio::test]
async fn what_a_job_that_was_given_up_left_is_put_back_or_removed_by_the_next() {
    // Killed between the new container's creation and its start.
    for n in 0..30 {
        let (bench, create) = running().await;
        bench.engine.fail_nth(n, Moment::Before);
        let first = bench.run(JobId::new(), 1, &recreate(&create, AFTER, true)).await;
        if matches!(first, Outcome::Succeeded { .. }) {
            break;
        }
        let start = StartContainer { container: create.container, user: create.user };
        let outcome = bench.run(JobId::new(), 1, &Command::StartContainer(start)).await;
        assert!(matches!(outcome, Outcome::Succeeded { .. }), "call {n}: {outcome:?}");
        assert_one(&bench, &create, "old", ContainerState::Running, &format!("call {n}"));

        bench.engine.fail_nth(n, Moment::Before);
        let _ = bench.run(JobId::new(), 1, &recreate(&create, AFTER, true)).await;
        let remove = RemoveContainer { container: create.container, user: create.user, volumes: true };
        bench.run(JobId::new(), 1, &Command::RemoveContainer(remove)).await;
        let world = bench.engine.world();
        assert!(world.containers.is_empty() && world.volumes.is_empty(), "call {n}: {:?}", world.calls);
    }
}

#[tokio::test]
async fn limits_change_where_the_container_is_as_far_as_the_owner_allows() {
    let resources: Resources = serde_json::from_str(r#"{"memory":67108864,"cpus":250}"#).unwrap();
    for moment in [Moment::Before, Moment::After] {
        for n in 0..5 {
            let (bench, create) = running().await;
            let update = UpdateContainer {
                container: create.container,
                user: create.user,
                resources,
                restart: RestartPolicy::No,
            };
            let (job, command) = (JobId::new(), Command::UpdateContainer(update));
            bench.engine.fail_nth(n, moment);
            if !matches!(bench.run(job, 1, &command).await, Outcome::Succeeded { .. }) {
                assert!(matches!(bench.run(job, 2, &command).await, Outcome::Succeeded { .. }), "call {n}");
            }
            assert_one(&bench, &create, "old", ContainerState::Running, &format!("call {n}"));
            let world = bench.engine.world();
            let (_, new, _) = world.containers.values().next().unwrap();
            assert_eq!((new.memory, new.nano_cpus, new.restart), (Some(67_108_864), Some(250_000_000), "no"));
            assert_eq!(world.starts, 1, "it ran on");
        }
    }
    let policy = Policy { max_memory: Some(1 << 24), ..Policy::default() };
    let bench = Bench::with(Options { policy, ..Options::default() });
    let create = container(&bench, "{}");
    let restart = RestartPolicy::No;
    let update = UpdateContainer { container: create.container, user: create.user, resources, restart };
    let outcome = bench.run(JobId::new(), 1, &Command::UpdateContainer(update)).await;
    assert_eq!(failure(&outcome), FailureKind::Policy);
}
