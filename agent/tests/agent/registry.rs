//! Images to and from a registry, on the fake engine: what is pushed and pulled, and that nothing stays under the registry's name.

use crate::bench::{Bench, Elsewhere, Mishap, Options, REGISTRY_TOKEN};
use dockerforge_agent::docker::fake::{Moment, digest};
use dockerforge_agent::executor::Executor;
use dockerforge_protocol::command::{Command, CopyImage, PushImage, local_tag};
use dockerforge_protocol::ids::{ImageId, JobId, UserId};
use dockerforge_protocol::message::Assign;
use dockerforge_protocol::report::{FailureKind, Outcome, Product};

const LAYER: &[u8] = &[7; 4000];
const REPOSITORY: &str = "registry.example:5000/dockerforge/img_1";
const MINE: &str = "mine:1";

/// A host that has the image, under a name of its owner's.
fn source() -> (Bench, Elsewhere, ImageId) {
    let elsewhere = Elsewhere::with(&[LAYER]);
    let bench = Bench::with(Options { elsewhere: Some(elsewhere.clone()), ..Options::default() });
    assert_eq!(bench.engine.add_layered(MINE, &[LAYER]), elsewhere.docker_id);
    *elsewhere.registry.lock().unwrap() = Some((REPOSITORY.to_owned(), None));
    (bench, elsewhere, ImageId::new())
}

/// A host that does not have it, and a registry that does.
fn target() -> (Bench, Elsewhere, ImageId) {
    let elsewhere = Elsewhere::with(&[LAYER]);
    let bench = Bench::with(Options { elsewhere: Some(elsewhere.clone()), ..Options::default() });
    let there = pushed(&elsewhere);
    bench.engine.world().registry.insert(format!("{REPOSITORY}@{there}"), elsewhere.docker_id.clone());
    *elsewhere.registry.lock().unwrap() = Some((REPOSITORY.to_owned(), Some(there)));
    (bench, elsewhere, ImageId::new())
}

fn pushed(elsewhere: &Elsewhere) -> String {
    digest(elsewhere.docker_id.as_bytes())
}

fn push(image: ImageId) -> Command {
    Command::PushImage(PushImage { image, user: UserId::new() })
}

fn copy(image: ImageId) -> Command {
    Command::CopyImage(CopyImage { image, user: UserId::new() })
}

fn kind(outcome: &Outcome) -> Option<FailureKind> {
    match outcome {
        Outcome::Failed { failure } => Some(failure.kind),
        _ => None,
    }
}

fn tags(bench: &Bench) -> Vec<String> {
    bench.engine.world().images.values().flat_map(|image| image.tags.clone()).collect()
}

/// What the agent keeps of its jobs, all files of its folder together.
fn kept(folder: &std::path::Path) -> String {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files
        .filter(|file| file.is_file())
        .map(|file| String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned())
        .collect()
}

async fn until_called(bench: &Bench, call: &str) {
    bench.until(call, || bench.called(call).then_some(())).await;
}

fn held(executor: &Executor) -> usize {
    executor.table().held().len()
}

#[tokio::test]
async fn an_image_is_pushed_under_a_name_that_is_gone_afterwards() {
    let (bench, elsewhere, image) = source();
    let attempt = bench.assign(JobId::new(), 1, &push(image));
    bench.until("its end", || bench.executor.table().views().first().and_then(|view| view.finished.clone())).await;
    assert!(!kept(bench.folder.path()).contains(REGISTRY_TOKEN));
    let outcome = bench.outcome(attempt).await;
    assert_eq!(outcome, Outcome::Succeeded { product: Product::Pushed { digest: pushed(&elsewhere) } });
    let world = bench.engine.world();
    assert_eq!(world.registry.get(&format!("{REPOSITORY}@{}", pushed(&elsewhere))), Some(&elsewhere.docker_id));
    assert_eq!(world.logins, [format!("push token {REGISTRY_TOKEN}")]);
    assert_eq!(world.images[&elsewhere.docker_id].tags, [MINE]);
}

#[tokio::test]
async fn a_name_of_the_registry_that_the_owner_gave_is_his_again_after_a_push() {
    let (bench, _, image) = source();
    let name = format!("{REPOSITORY}:{image}");
    let theirs = bench.engine.add_image(&name);
    assert!(matches!(bench.run(JobId::new(), 1, &push(image)).await, Outcome::Succeeded { .. }));
    assert_eq!(bench.engine.world().images[&theirs].tags, [name]);
}

#[tokio::test]
async fn whichever_call_of_a_push_fails_the_next_attempt_pushes_and_leaves_no_name() {
    for moment in [Moment::Before, Moment::After] {
        for n in 0.. {
            let (bench, elsewhere, image) = source();
            let (job, command) = (JobId::new(), push(image));
            bench.engine.fail_nth(n, moment);
            let first = bench.run(job, 1, &command).await;
            let when = format!("call {n} failed {moment:?}");
            let unharmed = matches!(first, Outcome::Succeeded { .. });
            if !unharmed {
                assert!(kind(&first).is_some_and(FailureKind::retryable), "{when}: {first:?}");
                let second = bench.run(job, 2, &command).await;
                assert!(matches!(second, Outcome::Succeeded { .. }), "{when}: {second:?}");
            }
            assert_eq!(bench.engine.world().images[&elsewhere.docker_id].tags, [MINE], "{when}");
            if unharmed {
                assert!(n > 3, "{when}");
                break;
            }
        }
    }
}

#[tokio::test]
async fn whichever_call_of_a_pull_from_the_registry_fails_the_next_attempt_gives_exactly_one_name() {
    for moment in [Moment::Before, Moment::After] {
        for n in 0.. {
            let (bench, _, image) = target();
            let (job, command) = (JobId::new(), copy(image));
            bench.engine.fail_nth(n, moment);
            let first = bench.run(job, 1, &command).await;
            let when = format!("call {n} failed {moment:?}");
            let unharmed = matches!(first, Outcome::Succeeded { .. });
            if !unharmed {
                assert!(kind(&first).is_some_and(FailureKind::retryable), "{when}: {first:?}");
                let second = bench.run(job, 2, &command).await;
                assert!(matches!(second, Outcome::Succeeded { .. }), "{when}: {second:?}");
            }
            assert_eq!(tags(&bench), [local_tag(image)], "{when}: {:?}", bench.engine.world().calls);
            if unharmed {
                assert!(n > 3, "{when}");
                break;
            }
        }
    }
}

#[tokio::test]
async fn an_image_that_the_registry_has_is_pulled_and_no_host_is_asked_for_it() {
    let (bench, elsewhere, image) = target();
    let outcome = bench.run(JobId::new(), 1, &copy(image)).await;
    assert!(
        matches!(outcome, Outcome::Succeeded { product: Product::Image { docker_id, .. } } if docker_id == elsewhere.docker_id)
    );
    assert_eq!(tags(&bench), [local_tag(image)]);
    assert_eq!(elsewhere.asked.lock().unwrap().clone(), []);
    assert_eq!(bench.engine.world().logins, [format!("pull token {REGISTRY_TOKEN}")]);
}

#[tokio::test]
async fn an_image_that_the_registry_does_not_give_or_gives_wrongly_comes_from_another_host() {
    for says in ["denied: requested access to the resource is denied", "dial tcp: connect: connection refused", ""] {
        let (bench, elsewhere, image) = target();
        if says.is_empty() {
            let reference = format!("{REPOSITORY}@{}", pushed(&elsewhere));
            bench.engine.world().registry.insert(reference, "sha256:something-else".to_owned());
        } else {
            bench.engine.world().registry_says = Some(says.to_owned());
        }
        let outcome = bench.run(JobId::new(), 1, &copy(image)).await;
        assert!(matches!(outcome, Outcome::Succeeded { .. }), "{says}: {outcome:?}");
        assert_eq!(tags(&bench), [local_tag(image)], "{says}");
        assert_eq!(elsewhere.asked.lock().unwrap().len(), 2, "{says}: its configuration and its layer");
    }
}

#[tokio::test]
async fn neither_the_registry_nor_a_host_is_a_source_that_may_come_back() {
    let (bench, elsewhere, image) = target();
    bench.engine.world().registry_says = Some("dial tcp: connect: connection refused".to_owned());
    elsewhere.mishaps.lock().unwrap().extend([Mishap::Unreachable; 5]);
    let outcome = bench.run(JobId::new(), 1, &copy(image)).await;
    assert_eq!(kind(&outcome), Some(FailureKind::SourceUnavailable));
}

#[tokio::test]
async fn a_push_that_is_refused_says_so_in_the_registrys_words_and_one_that_is_not_answered_may_be_tried_again() {
    for (says, expected) in [
        ("denied: requested access to the resource is denied", FailureKind::RegistryRefused),
        ("dial tcp 127.0.0.1:1: connect: connection refused", FailureKind::RegistryUnavailable),
    ] {
        let (bench, elsewhere, image) = source();
        bench.engine.world().registry_says = Some(says.to_owned());
        match bench.run(JobId::new(), 1, &push(image)).await {
            Outcome::Failed { failure } => assert_eq!((failure.kind, failure.detail.as_str()), (expected, says)),
            other => panic!("{other:?}"),
        }
        assert_eq!(bench.engine.world().images[&elsewhere.docker_id].tags, [MINE]);
    }
}

#[tokio::test]
async fn a_host_that_is_not_to_use_the_registry_and_one_without_the_image_push_nothing() {
    let (bench, elsewhere, image) = source();
    *elsewhere.registry.lock().unwrap() = None;
    assert_eq!(kind(&bench.run(JobId::new(), 1, &push(image)).await), Some(FailureKind::RegistryRefused));
    let (bench, _, image) = source();
    bench.engine.world().images.clear();
    assert_eq!(kind(&bench.run(JobId::new(), 1, &push(image)).await), Some(FailureKind::ImageNotFound));
    assert!(!bench.called("image push"));
}

#[tokio::test]
async fn a_push_that_is_cancelled_or_forgotten_after_an_interruption_leaves_no_name() {
    for interrupted in [false, true] {
        let (mut bench, elsewhere, image) = source();
        bench.engine.hold_builds(true);
        let command = push(image);
        let attempt = bench.assign(JobId::new(), 1, &command);
        until_called(&bench, "image push").await;
        if interrupted {
            bench = bench.next_life().await;
            bench.executor.forget(attempt);
            bench.until("the job to be forgotten", || (held(&bench.executor) == 0).then_some(())).await;
        } else {
            assert!(bench.executor.cancel(attempt));
            assert_eq!(bench.outcome(attempt).await, Outcome::Cancelled);
        }
        let only_mine = || (bench.engine.world().images[&elsewhere.docker_id].tags == [MINE]).then_some(());
        bench.until("the name to be gone", only_mine).await;
    }
}

#[tokio::test]
async fn a_pull_from_the_registry_that_was_interrupted_goes_on_and_leaves_our_name_alone() {
    let (bench, _, image) = target();
    bench.engine.hold_builds(true);
    let command = copy(image);
    let attempt = bench.assign(JobId::new(), 1, &command);
    until_called(&bench, "image pull").await;
    let bench = bench.next_life().await;
    bench.engine.hold_builds(false);
    bench.executor.assign(Assign { attempt, command, deadline_ms: 60_000 });
    assert!(matches!(bench.outcome(attempt).await, Outcome::Succeeded { .. }));
    assert_eq!(tags(&bench), [local_tag(image)]);
}
