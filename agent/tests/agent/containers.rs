//! Containers on the fake engine: every call fails in turn, before and after its effect; repeats; conflicts; cancel.

use crate::bench::{Bench, Options, container};
use dockerforge_agent::docker::fake::{Moment, World};
use dockerforge_agent::policy::Policy;
use dockerforge_protocol::command::{
    Command, CreateContainer, Hardening, RemoveContainer, RemoveUser, docker_name, labels,
};
use dockerforge_protocol::handshake::{HeldState, JobVerdict, Verdict};
use dockerforge_protocol::ids::{ContainerId, JobId, UserId};
use dockerforge_protocol::inventory::ContainerState;
use dockerforge_protocol::report::{FailureKind, Outcome, Product};
use std::time::Duration;

const SPEC: &str = r#"{"env":{"A":"b"},"ports":[{"container":80,"host":8080}],"volumes":[{"volume":"data","target":"/data"}],
    "resources":{"memory":33554432,"cpus":500},"labels":{"tier":"web"}}"#;

fn failure(outcome: &Outcome) -> FailureKind {
    match outcome {
        Outcome::Failed { failure } => failure.kind,
        other => panic!("expected a failure, got {other:?}"),
    }
}

fn assert_one_running(world: &World, command: &CreateContainer, when: &str) {
    let found: Vec<_> = world.containers.values().collect();
    assert_eq!(found.len(), 1, "{when}: {found:?}");
    let (container, new, _) = found[0];
    assert_eq!(container.state, ContainerState::Running, "{when}");
    assert_eq!(new.name, docker_name(command.container), "{when}");
    assert_eq!((world.networks.len(), world.volumes.len()), (1, 1), "{when}");
}

#[tokio::test]
async fn whichever_call_fails_the_next_attempt_gives_exactly_one_running_container() {
    for moment in [Moment::Before, Moment::After] {
        for n in 0.. {
            let bench = Bench::new();
            let create = container(&bench, SPEC);
            let command = Command::CreateContainer(create.clone());
            let job = JobId::new();
            bench.engine.fail_nth(n, moment);
            let first = bench.run(job, 1, &command).await;
            let when = format!("call {n} failed {moment:?}");
            if matches!(first, Outcome::Succeeded { .. }) {
                assert!(n > 5, "{when}: only {n} calls were made");
                assert_one_running(&bench.engine.world(), &create, &when);
                break;
            }
            assert!(failure(&first).retryable(), "{when}: {first:?}");
            let second = bench.run(job, 2, &command).await;
            assert!(matches!(second, Outcome::Succeeded { .. }), "{when}: {second:?}");
            assert_one_running(&bench.engine.world(), &create, &when);
        }
    }
}

#[tokio::test]
async fn a_creation_that_is_repeated_adopts_what_is_there() {
    let bench = Bench::new();
    let create = container(&bench, SPEC);
    let command = Command::CreateContainer(create.clone());
    let job = JobId::new();
    let first = bench.run(job, 1, &command).await;
    for number in 2..4 {
        assert_eq!(bench.run(job, number, &command).await, first);
    }
    assert_one_running(&bench.engine.world(), &create, "after three attempts");
}

#[tokio::test]
async fn the_container_is_what_was_asked_and_carries_our_labels() {
    let bench = Bench::new();
    let create = container(&bench, SPEC);
    bench.run(JobId::new(), 1, &Command::CreateContainer(create.clone())).await;
    let world = bench.engine.world();
    let (_, new, _) = world.containers.values().next().unwrap();
    assert_eq!(new.env, ["A=b"]);
    assert_eq!((new.memory, new.nano_cpus, new.alias.as_str()), (Some(33_554_432), Some(500_000_000), "web"));
    assert_eq!(new.volumes, [(format!("df-{}-data", create.user), "/data".to_owned(), false)]);
    for (key, value) in [
        (labels::CLUSTER, bench.cluster.to_string()),
        (labels::USER, create.user.to_string()),
        (labels::CONTAINER, create.container.to_string()),
        (labels::IMAGE, create.image.to_string()),
        (labels::SPEC_HASH, create.spec_hash()),
        ("tier", "web".to_owned()),
    ] {
        assert_eq!(new.labels.get(key), Some(&value), "{key}");
    }
}

#[tokio::test]
async fn a_container_of_another_kind_under_the_name_is_left_alone() {
    let bench = Bench::new();
    let create = container(&bench, SPEC);
    bench.run(JobId::new(), 1, &Command::CreateContainer(create.clone())).await;
    let other = CreateContainer { spec: serde_json::from_str("{}").unwrap(), ..create.clone() };
    let outcome = bench.run(JobId::new(), 1, &Command::CreateContainer(other)).await;
    assert_eq!(failure(&outcome), FailureKind::NameTaken);
    let stranger =
        Command::RemoveContainer(RemoveContainer { container: create.container, user: UserId::new(), volumes: true });
    assert_eq!(failure(&bench.run(JobId::new(), 1, &stranger).await), FailureKind::NameTaken);
    assert_one_running(&bench.engine.world(), &create, "afterwards");
}

#[tokio::test]
async fn a_taken_port_and_a_bad_command_leave_nothing_behind() {
    let bench = Bench::new();
    let first = container(&bench, SPEC);
    bench.run(JobId::new(), 1, &Command::CreateContainer(first.clone())).await;
    let second = CreateContainer { container: ContainerId::new(), ..first.clone() };
    let outcome = bench.run(JobId::new(), 1, &Command::CreateContainer(second)).await;
    assert_eq!(failure(&outcome), FailureKind::PortTaken);
    assert!(format!("{outcome:?}").contains("8080/tcp"), "{outcome:?}");
    let spec = serde_json::from_str(r#"{"command":["/does-not-exist"]}"#).unwrap();
    let third = CreateContainer { container: ContainerId::new(), spec, ..first.clone() };
    let outcome = bench.run(JobId::new(), 1, &Command::CreateContainer(third)).await;
    assert_eq!(failure(&outcome), FailureKind::DockerRefused);
    assert!(format!("{outcome:?}").contains("no such file"), "{outcome:?}");
    assert_one_running(&bench.engine.world(), &first, "afterwards");
}

#[tokio::test]
async fn a_port_that_is_left_to_us_is_free_and_stays_the_same() {
    let bench = Bench::new();
    let spec = r#"{"ports":[{"container":80},{"container":443,"host":8443}]}"#;
    let first = container(&bench, spec);
    bench.run(JobId::new(), 1, &Command::CreateContainer(first.clone())).await;
    let ports = |create: &CreateContainer| {
        let world = bench.engine.world();
        let name = docker_name(create.container);
        let found = world.containers.values().find(|(_, new, _)| new.name == name);
        found.map(|(_, new, _)| new.ports.iter().map(|(.., host)| *host).collect::<Vec<_>>()).unwrap()
    };
    let given = ports(&first);
    assert!((20_000..=29_999).contains(&given[0]) && given[1] == 8443, "{given:?}");
    // The next container wants the same number: it is somebody else's, and so is the one after it.
    let second = CreateContainer {
        container: first.container,
        spec: serde_json::from_str(r#"{"ports":[{"container":80}]}"#).unwrap(),
        ..first.clone()
    };
    let remove = RemoveContainer { container: first.container, user: first.user, volumes: false };
    bench.run(JobId::new(), 1, &Command::RemoveContainer(remove)).await;
    bench.engine.world().strangers_ports = vec![given[0], given[0] + 1];
    let outcome = bench.run(JobId::new(), 1, &Command::CreateContainer(second.clone())).await;
    assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
    assert_eq!(ports(&second), [given[0] + 2]);
    assert_eq!(bench.engine.world().containers.len(), 1);
}

#[tokio::test]
async fn a_container_on_a_pool_host_gains_no_privileges() {
    for hardening in [Hardening::Docker, Hardening::Pool] {
        let bench = Bench::new();
        let limits = r#"{"resources":{"cpus":100,"memory":67108864,"pids":10}}"#;
        let create = CreateContainer { hardening, ..container(&bench, limits) };
        bench.run(JobId::new(), 1, &Command::CreateContainer(create)).await;
        let world = bench.engine.world();
        let (_, new, _) = world.containers.values().next().unwrap();
        assert_eq!(new.no_new_privileges, hardening == Hardening::Pool);
        assert_eq!(new.drop_capabilities.iter().any(|c| c == "NET_RAW"), hardening == Hardening::Pool);
    }
    let bench = Bench::new();
    let unlimited = CreateContainer { hardening: Hardening::Pool, ..container(&bench, "{}") };
    let outcome = bench.run(JobId::new(), 1, &Command::CreateContainer(unlimited)).await;
    assert_eq!(failure(&outcome), FailureKind::DockerRefused);
    assert!(bench.engine.world().containers.is_empty());
}

#[tokio::test]
async fn a_missing_image_is_said() {
    let bench = Bench::new();
    let create = CreateContainer { image: dockerforge_protocol::ids::ImageId::new(), ..container(&bench, "{}") };
    let outcome = bench.run(JobId::new(), 1, &Command::CreateContainer(create)).await;
    assert_eq!(failure(&outcome), FailureKind::ImageNotFound);
}

#[tokio::test]
async fn a_cancelled_creation_removes_what_it_made() {
    let bench = Bench::with(Options { latency: Duration::from_millis(30), ..Options::default() });
    let command = Command::CreateContainer(container(&bench, "{}"));
    let attempt = bench.assign(JobId::new(), 1, &command);
    // The next call, which is under way, makes the container; the stop is heeded after it.
    bench.until("the look for the image", || bench.called("image inspect").then_some(())).await;
    assert!(bench.executor.cancel(attempt));
    assert_eq!(bench.outcome(attempt).await, Outcome::Cancelled);
    let world = bench.engine.world();
    assert!(world.containers.is_empty(), "{:?}", world.calls);
}

#[tokio::test]
async fn an_interrupted_creation_goes_on_or_is_cleaned_up_as_the_coordinator_says() {
    for (cancel, by_verdict) in [(false, true), (true, true), (true, false)] {
        let bench = Bench::with(Options { latency: Duration::from_millis(30), ..Options::default() });
        let create = container(&bench, SPEC);
        let attempt = bench.assign(JobId::new(), 1, &Command::CreateContainer(create.clone()));
        // The creation is under way and ends; the start is not begun.
        bench.until("the look for the image", || bench.called("image inspect").then_some(())).await;
        let bench = bench.next_life().await;
        let held = bench.executor.table().held();
        assert_eq!(held.iter().map(|h| (h.attempt, h.state)).collect::<Vec<_>>(), [(attempt, HeldState::Interrupted)]);
        assert_eq!(bench.engine.world().containers.len(), 1);
        assert!(bench.executor.table().views().is_empty(), "nothing is said of it before it is decided");
        let verdict = if cancel { Verdict::Cancel { log_from: 0 } } else { Verdict::Continue { log_from: 0 } };
        if by_verdict {
            bench.executor.decide(&JobVerdict { attempt, verdict });
        } else {
            assert!(bench.executor.cancel(attempt));
        }
        let outcome = bench.outcome(attempt).await;
        let world = bench.engine.world();
        if cancel {
            assert_eq!(outcome, Outcome::Cancelled);
            assert!(world.containers.is_empty(), "{:?}", world.calls);
        } else {
            assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
            assert_one_running(&world, &create, "after the interruption");
        }
    }
}

#[tokio::test]
async fn whichever_call_fails_the_next_attempt_removes_the_container_and_its_volumes() {
    for moment in [Moment::Before, Moment::After] {
        for n in 0.. {
            let bench = Bench::new();
            let create = container(&bench, SPEC);
            bench.run(JobId::new(), 1, &Command::CreateContainer(create.clone())).await;
            let remove = RemoveContainer { container: create.container, user: create.user, volumes: true };
            let (job, command) = (JobId::new(), Command::RemoveContainer(remove));
            bench.engine.fail_nth(n, moment);
            let mut outcome = bench.run(job, 1, &command).await;
            let unharmed = matches!(outcome, Outcome::Succeeded { .. });
            if !unharmed {
                outcome = bench.run(job, 2, &command).await;
            }
            assert_eq!(outcome, Outcome::Succeeded { product: Product::Nothing }, "call {n} failed {moment:?}");
            let world = bench.engine.world();
            assert!(
                world.containers.is_empty() && world.volumes.is_empty(),
                "call {n} failed {moment:?}: {:?}",
                world.calls
            );
            drop(world);
            let left = std::fs::read_dir(bench.folder.path()).unwrap().filter_map(Result::ok);
            let left: Vec<_> = left.map(|f| f.file_name()).filter(|f| *f != "journal").collect();
            assert!(left.is_empty(), "{left:?} is left over");
            if unharmed {
                assert!(n > 3);
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_volume_that_another_container_mounts_is_kept() {
    let bench = Bench::new();
    let first = container(&bench, r#"{"volumes":[{"volume":"data","target":"/data"}]}"#);
    let second = CreateContainer { container: ContainerId::new(), ..first.clone() };
    for create in [&first, &second] {
        bench.run(JobId::new(), 1, &Command::CreateContainer(create.clone())).await;
    }
    for (create, left) in [(first, 1), (second, 0)] {
        let remove = RemoveContainer { container: create.container, user: create.user, volumes: true };
        bench.run(JobId::new(), 1, &Command::RemoveContainer(remove)).await;
        assert_eq!(bench.engine.world().volumes.len(), left);
    }
}

#[tokio::test]
async fn a_user_is_removed_once_his_containers_are() {
    let bench = Bench::new();
    let create = container(&bench, SPEC);
    bench.run(JobId::new(), 1, &Command::CreateContainer(create.clone())).await;
    let remove_user = Command::RemoveUser(RemoveUser { user: create.user, volumes: true });
    assert_eq!(failure(&bench.run(JobId::new(), 1, &remove_user).await), FailureKind::DockerRefused);
    let remove = RemoveContainer { container: create.container, user: create.user, volumes: false };
    bench.run(JobId::new(), 1, &Command::RemoveContainer(remove)).await;
    assert_eq!(bench.engine.world().volumes.len(), 1, "volumes are kept unless asked");
    let outcome = bench.run(JobId::new(), 1, &remove_user).await;
    assert_eq!(outcome, Outcome::Succeeded { product: Product::Nothing });
    let world = bench.engine.world();
    assert!(world.networks.is_empty() && world.volumes.is_empty());
}

#[tokio::test]
async fn the_owners_policy_stands_over_the_coordinators_word() {
    let policy = Policy { max_memory: Some(1 << 20), ..Policy::default() };
    let bench = Bench::with(Options { policy, ..Options::default() });
    let create = container(&bench, SPEC);
    let outcome = bench.run(JobId::new(), 1, &Command::CreateContainer(create)).await;
    assert_eq!(failure(&outcome), FailureKind::Policy);
    assert!(bench.engine.world().calls.is_empty());
}

#[tokio::test]
async fn the_owners_count_of_containers_is_kept() {
    let policy = Policy { max_containers: Some(1), ..Policy::default() };
    let bench = Bench::with(Options { policy, ..Options::default() });
    let first = container(&bench, "{}");
    let second = CreateContainer { container: ContainerId::new(), ..first.clone() };
    let first = Command::CreateContainer(first);
    assert!(matches!(bench.run(JobId::new(), 1, &first).await, Outcome::Succeeded { .. }));
    assert!(matches!(bench.run(JobId::new(), 1, &first).await, Outcome::Succeeded { .. }), "a repeat is not one more");
    let outcome = bench.run(JobId::new(), 1, &Command::CreateContainer(second)).await;
    assert_eq!(failure(&outcome), FailureKind::Policy);
}
