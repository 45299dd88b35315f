//! Builds, pulls and removal of images on the fake engine.

use crate::bench::{Bench, Options, build};
use dockerforge_agent::docker::fake::{Moment, World};
use dockerforge_protocol::command::{Command, PullImage, RemoveImage, local_tag};
use dockerforge_protocol::ids::{ImageId, JobId, UserId};
use dockerforge_protocol::report::{FailureKind, Outcome};

fn tags(world: &World) -> Vec<String> {
    world.images.values().flat_map(|i| i.tags.clone()).collect()
}

fn kind(outcome: &Outcome) -> Option<FailureKind> {
    match outcome {
        Outcome::Failed { failure } => Some(failure.kind),
        _ => None,
    }
}

#[tokio::test]
async fn whichever_call_fails_the_next_attempt_gives_exactly_one_image() {
    for moment in [Moment::Before, Moment::After] {
        for n in 0.. {
            let bench = Bench::new();
            let command = build();
            let (job, image) = (JobId::new(), local_tag(command.image));
            let command = Command::BuildImage(command);
            bench.engine.fail_nth(n, moment);
            let first = bench.run(job, 1, &command).await;
            let when = format!("call {n} failed {moment:?}");
            let unharmed = matches!(first, Outcome::Succeeded { .. });
            if !unharmed {
                assert!(kind(&first).is_some_and(FailureKind::retryable), "{when}: {first:?}");
                let second = bench.run(job, 2, &command).await;
                assert!(matches!(second, Outcome::Succeeded { .. }), "{when}: {second:?}");
            }
            assert_eq!(tags(&bench.engine.world()), [image], "{when}: {:?}", bench.engine.world().calls);
            if unharmed {
                assert!(n > 1);
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_cancelled_build_stops_and_leaves_nothing() {
    let bench = Bench::new();
    bench.engine.hold_builds(true);
    let attempt = bench.assign(JobId::new(), 1, &Command::BuildImage(build()));
    let seen = || bench.executor.table().views().first().is_some_and(|v| v.log.end() > 0).then_some(());
    bench.until("the first line of the log", seen).await;
    assert!(bench.executor.cancel(attempt));
    assert_eq!(bench.outcome(attempt).await, Outcome::Cancelled);
    bench.engine.hold_builds(false);
    assert_eq!(tags(&bench.engine.world()), Vec::<String>::new());
}

#[tokio::test]
async fn a_build_past_its_deadline_is_stopped_and_says_so() {
    let bench = Bench::new();
    bench.engine.hold_builds(true);
    let attempt = dockerforge_protocol::report::Attempt { job: JobId::new(), number: 1 };
    let command = Command::BuildImage(build());
    bench.executor.assign(dockerforge_protocol::message::Assign { attempt, command, deadline_ms: 50 });
    assert_eq!(kind(&bench.outcome(attempt).await), Some(FailureKind::Deadline));
}

#[tokio::test]
async fn a_build_that_was_interrupted_begins_again_and_its_log_goes_on() {
    let bench = Bench::new();
    bench.engine.hold_builds(true);
    let command = Command::BuildImage(build());
    let attempt = bench.assign(JobId::new(), 1, &command);
    let seen = || bench.executor.table().views().first().is_some_and(|v| v.log.end() > 0).then_some(());
    bench.until("the first line of the log", seen).await;
    let bench = bench.next_life().await;
    bench.engine.hold_builds(false);
    let end = bench.executor.table().held()[0].log_end;
    assert!(end > 0);
    // The same assignment again is as good as a verdict.
    bench.executor.assign(dockerforge_protocol::message::Assign { attempt, command, deadline_ms: 60_000 });
    assert!(matches!(bench.outcome(attempt).await, Outcome::Succeeded { .. }));
    assert_eq!(tags(&bench.engine.world()).len(), 1);
}

#[tokio::test]
async fn a_context_that_cannot_be_had_may_come_later() {
    let bench = Bench::with(Options { no_context: true, ..Options::default() });
    let outcome = bench.run(JobId::new(), 1, &Command::BuildImage(build())).await;
    assert_eq!(kind(&outcome), Some(FailureKind::ContextUnavailable));
    assert!(!bench.called("image build"));
}

fn pull(reference: &str) -> (ImageId, Command) {
    let image = ImageId::new();
    (image, Command::PullImage(PullImage { image, user: UserId::new(), reference: reference.parse().unwrap() }))
}

#[tokio::test]
async fn a_pull_leaves_only_our_name_and_the_users_own_tags_as_they_were() {
    let bench = Bench::new();
    let reference = "docker.io/library/debian:12";
    let theirs = bench.engine.add_image(reference);
    let newer = bench.engine.add_image("staging");
    bench.engine.world().images.remove(&newer);
    bench.engine.world().registry.insert(reference.to_owned(), newer.clone());
    bench.engine.world().registry.insert("docker.io/library/alpine:3".to_owned(), "sha256:alpine".to_owned());
    let (debian, command) = pull("debian:12");
    assert!(matches!(bench.run(JobId::new(), 1, &command).await, Outcome::Succeeded { .. }));
    let (alpine, command) = pull("alpine:3");
    assert!(matches!(bench.run(JobId::new(), 1, &command).await, Outcome::Succeeded { .. }));
    let world = bench.engine.world();
    assert_eq!(world.images[&theirs].tags, [reference], "the host's own tag went elsewhere");
    assert_eq!(world.images[&newer].tags, [local_tag(debian)]);
    assert_eq!(world.images["sha256:alpine"].tags, [local_tag(alpine)]);
}

#[tokio::test]
async fn wherever_a_pull_breaks_off_the_next_attempt_leaves_our_name_and_the_owners_tags() {
    const REFERENCE: &str = "docker.io/library/debian:12";
    for owner_has_it in [false, true] {
        for moment in [Moment::Before, Moment::After] {
            for n in 0.. {
                let bench = Bench::new();
                bench.engine.world().registry.insert(REFERENCE.to_owned(), "sha256:newer".to_owned());
                let theirs = owner_has_it.then(|| bench.engine.add_image(REFERENCE));
                let (image, command) = pull("debian:12");
                let job = JobId::new();
                bench.engine.fail_from(n, moment);
                let first = bench.run(job, 1, &command).await;
                let broke = !matches!(first, Outcome::Succeeded { .. });
                bench.engine.set_down(false);
                if broke {
                    assert!(kind(&first).is_some_and(FailureKind::retryable), "{first:?}");
                    let second = bench.run(job, 2, &command).await;
                    assert!(matches!(second, Outcome::Succeeded { .. }), "{second:?}");
                }
                let world = bench.engine.world();
                let when = format!("call {n} failed {moment:?}: {:?}", world.calls);
                assert_eq!(world.images["sha256:newer"].tags, [local_tag(image)], "{when}");
                if let Some(theirs) = theirs {
                    assert_eq!(world.images[&theirs].tags, [REFERENCE], "{when}");
                }
                if !broke {
                    assert!(n > 4, "{when}");
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn an_interrupted_pull_is_taken_back_when_it_is_forgotten_and_when_it_is_tried_again() {
    for again in [false, true] {
        let bench = Bench::new();
        let reference = "docker.io/library/debian:12";
        bench.engine.world().registry.insert(reference.to_owned(), "sha256:debian".to_owned());
        let (image, command) = pull("debian:12");
        bench.engine.hold_builds(true);
        let attempt = bench.assign(JobId::new(), 1, &command);
        bench.until("the image", || (!tags(&bench.engine.world()).is_empty()).then_some(())).await;
        // Killed: it cleans nothing up any more.
        bench.engine.set_down(true);
        let bench = bench.next_life().await;
        bench.engine.set_down(false);
        bench.engine.hold_builds(false);
        assert_eq!(tags(&bench.engine.world()), [reference]);
        bench.executor.forget(attempt);
        let mut left = Vec::new();
        if again {
            let dropped = || bench.executor.table().held().is_empty().then_some(());
            bench.until("the attempt to be forgotten", dropped).await;
            assert!(matches!(bench.run(attempt.job, 2, &command).await, Outcome::Succeeded { .. }));
            left.push(local_tag(image));
        }
        bench.until("what is to be left", || (tags(&bench.engine.world()) == left).then_some(())).await;
    }
}

#[tokio::test]
async fn a_pull_that_is_cancelled_after_an_interruption_takes_back_what_it_pulled() {
    let bench = Bench::new();
    let reference = "docker.io/library/debian:12";
    bench.engine.world().registry.insert(reference.to_owned(), "sha256:debian".to_owned());
    let (_, command) = pull("debian:12");
    let job = JobId::new();
    // The pull is done, the tagging is not.
    bench.engine.fail_from(2, Moment::Before);
    assert!(kind(&bench.run(job, 1, &command).await).is_some_and(FailureKind::retryable));
    assert_eq!(tags(&bench.engine.world()), [reference]);
    bench.engine.set_down(false);
    let attempt = bench.assign(job, 2, &command);
    assert!(bench.executor.cancel(attempt));
    bench.outcome(attempt).await;
    assert_eq!(tags(&bench.engine.world()), Vec::<String>::new());
}

#[tokio::test]
async fn two_pulls_of_one_reference_at_once_do_not_take_each_others_for_the_owners() {
    let bench = Bench::with(Options { latency: std::time::Duration::from_millis(2), ..Options::default() });
    bench.engine.world().registry.insert("docker.io/library/debian:12".to_owned(), "sha256:debian".to_owned());
    let (one, first) = pull("debian:12");
    let (two, second) = pull("debian:12");
    let attempts = [bench.assign(JobId::new(), 1, &first), bench.assign(JobId::new(), 1, &second)];
    for attempt in attempts {
        let outcome = bench.outcome(attempt).await;
        assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
    }
    let mut found = tags(&bench.engine.world());
    found.sort();
    let mut expected = [local_tag(one), local_tag(two)];
    expected.sort();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn an_image_on_the_host_is_used_where_the_registry_has_none_and_else_its_absence_is_said() {
    let bench = Bench::new();
    let id = bench.engine.add_image("docker.io/library/local:1");
    let (image, command) = pull("local:1");
    let attempt = bench.assign(JobId::new(), 1, &command);
    assert!(matches!(bench.outcome(attempt).await, Outcome::Succeeded { .. }));
    assert_eq!(bench.engine.world().images[&id].tags, ["docker.io/library/local:1".to_owned(), local_tag(image)]);
    let (_, command) = pull("nowhere:1");
    let outcome = bench.run(JobId::new(), 1, &command).await;
    assert_eq!(kind(&outcome), Some(FailureKind::ImageNotFound));
    assert!(format!("{outcome:?}").contains("manifest for"), "{outcome:?}");
}

#[tokio::test]
async fn removing_an_image_takes_our_name_only_and_not_while_it_is_used() {
    let bench = Bench::new();
    let create = crate::bench::container(&bench, "{}");
    bench.run(JobId::new(), 1, &Command::CreateContainer(create.clone())).await;
    let remove = |image| Command::RemoveImage(RemoveImage { image, user: create.user });
    let outcome = bench.run(JobId::new(), 1, &remove(create.image)).await;
    assert_eq!(kind(&outcome), Some(FailureKind::ImageInUse));
    assert!(matches!(bench.run(JobId::new(), 1, &remove(ImageId::new())).await, Outcome::Succeeded { .. }));
    assert_eq!(tags(&bench.engine.world()), [local_tag(create.image)]);
}

#[tokio::test]
async fn a_build_whose_cached_layer_is_removed_meanwhile_begins_anew_and_not_for_ever() {
    let bench = Bench::new();
    let command = build();
    let image = local_tag(command.image);
    bench.engine.world().cache_losses = 3;
    let outcome = bench.run(JobId::new(), 1, &Command::BuildImage(command.clone())).await;
    assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
    assert_eq!(tags(&bench.engine.world()), [image]);
    let other = build();
    bench.engine.world().cache_losses = 100;
    let outcome = bench.run(JobId::new(), 1, &Command::BuildImage(other)).await;
    assert_eq!(kind(&outcome), Some(FailureKind::BuildFailed));
}
