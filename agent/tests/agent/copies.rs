//! Images that come from other hosts, on the fake engine: what is fetched, what is not, and what is left when it fails.

use crate::bench::{Bench, Elsewhere, Mishap, Options};
use dockerforge_agent::docker::fake::{Moment, digest};
use dockerforge_protocol::command::{Command, CopyImage, PullImage, local_tag};
use dockerforge_protocol::ids::{ImageId, JobId, UserId};
use dockerforge_protocol::report::{FailureKind, Outcome, Product};

const BASE: &[u8] = &[1; 5000];
const MIDDLE: &[u8] = &[2; 3000];
const TOP: &[u8] = &[3; 7000];

fn bench(elsewhere: &Elsewhere) -> Bench {
    Bench::with(Options { elsewhere: Some(elsewhere.clone()), ..Options::default() })
}

fn copy() -> (String, Command) {
    let image = ImageId::new();
    (local_tag(image), Command::CopyImage(CopyImage { image, user: UserId::new() }))
}

fn kind(outcome: &Outcome) -> Option<FailureKind> {
    match outcome {
        Outcome::Failed { failure } => Some(failure.kind),
        _ => None,
    }
}

fn left(bench: &Bench) -> Vec<String> {
    let files = std::fs::read_dir(bench.folder.path().join("layers")).unwrap();
    files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

fn tags(bench: &Bench, docker_id: &str) -> Vec<String> {
    bench.engine.world().images.get(docker_id).map(|image| image.tags.clone()).unwrap_or_default()
}

fn fetched(elsewhere: &Elsewhere) -> Vec<(String, u64)> {
    elsewhere.asked.lock().unwrap().clone()
}

#[tokio::test]
async fn only_the_layers_above_those_that_the_host_has_are_fetched() {
    let elsewhere = Elsewhere::with(&[BASE, MIDDLE, TOP]);
    let bench = bench(&elsewhere);
    bench.engine.add_layered("base:1", &[BASE, TOP]);
    // The same layer upon another one is another thing to Docker.
    bench.engine.add_layered("other:1", &[MIDDLE]);
    let (name, command) = copy();
    let outcome = bench.run(JobId::new(), 1, &command).await;
    let product = Product::Image { docker_id: elsewhere.docker_id.clone(), size: 15_000 };
    assert_eq!(outcome, Outcome::Succeeded { product });
    assert_eq!(tags(&bench, &elsewhere.docker_id), [name]);
    let wanted = [elsewhere.docker_id.clone(), digest(MIDDLE), digest(TOP)].map(|digest| (digest, 0));
    assert_eq!(fetched(&elsewhere), wanted);
    assert_eq!(left(&bench), Vec::<String>::new());
}

#[tokio::test]
async fn an_image_that_the_host_has_under_another_name_is_not_fetched() {
    let elsewhere = Elsewhere::with(&[BASE]);
    let bench = bench(&elsewhere);
    assert_eq!(bench.engine.add_layered("mine:1", &[BASE]), elsewhere.docker_id);
    let (name, command) = copy();
    assert!(matches!(bench.run(JobId::new(), 1, &command).await, Outcome::Succeeded { .. }));
    assert_eq!(tags(&bench, &elsewhere.docker_id), ["mine:1".to_owned(), name]);
    assert_eq!(fetched(&elsewhere), []);
}

#[tokio::test]
async fn a_layer_that_is_cut_off_goes_on_where_it_was() {
    let elsewhere = Elsewhere::with(&[BASE, TOP]);
    let bench = bench(&elsewhere);
    elsewhere.mishaps.lock().unwrap().extend([Mishap::Cut(10), Mishap::Cut(1000), Mishap::Cut(4000)]);
    let (_, command) = copy();
    assert!(matches!(bench.run(JobId::new(), 1, &command).await, Outcome::Succeeded { .. }));
    // The second one is of what is left of the configuration, which is shorter than that.
    let (config, base) = (elsewhere.docker_id.clone(), digest(BASE));
    let wanted = [(config.clone(), 0), (config, 10), (base.clone(), 0), (base, 4000), (digest(TOP), 0)];
    assert_eq!(fetched(&elsewhere), wanted);
}

#[tokio::test]
async fn a_layer_that_comes_altered_is_fetched_again_and_after_three_times_nothing_is_left() {
    for (times, fine) in [(1, true), (2, true), (3, false)] {
        let elsewhere = Elsewhere::with(&[BASE]);
        let bench = bench(&elsewhere);
        elsewhere.mishaps.lock().unwrap().extend(vec![Mishap::Altered; times]);
        let (_, command) = copy();
        let outcome = bench.run(JobId::new(), 1, &command).await;
        if fine {
            assert!(matches!(outcome, Outcome::Succeeded { .. }), "{times}: {outcome:?}");
        } else {
            assert_eq!(kind(&outcome), Some(FailureKind::ImageCorrupt), "{outcome:?}");
            assert!(bench.engine.world().images.is_empty());
        }
        assert_eq!(left(&bench), Vec::<String>::new(), "{times}");
        let turns = elsewhere.turns.lock().unwrap().clone();
        assert!(turns.iter().any(|turn| *turn > 0), "another host is asked: {turns:?}");
    }
}

#[tokio::test]
async fn a_copy_that_is_cancelled_once_docker_takes_it_in_ends_with_what_docker_made_of_it() {
    let elsewhere = Elsewhere::with(&[BASE]);
    let bench = bench(&elsewhere);
    bench.engine.hold_builds(true);
    let (job, (name, command)) = (JobId::new(), copy());
    let attempt = bench.assign(job, 1, &command);
    bench.until("Docker has read all of it", || bench.called("image load read").then_some(())).await;
    assert!(bench.executor.cancel(attempt));
    tokio::task::yield_now().await;
    assert!(bench.executor.table().views()[0].finished.is_none(), "Docker is still at it");
    bench.engine.hold_builds(false);
    assert!(matches!(bench.outcome(attempt).await, Outcome::Succeeded { .. }), "nothing is there that no job tells of");
    assert_eq!(tags(&bench, &elsewhere.docker_id), [name]);
    assert_eq!(left(&bench), Vec::<String>::new());
}

#[tokio::test]
async fn an_image_whose_id_is_that_of_a_manifest_is_said_to_be_in_another_store() {
    let mut elsewhere = Elsewhere::with(&[BASE]);
    let manifest = br#"{"schemaVersion":2,"config":{},"layers":[]}"#;
    elsewhere.docker_id = digest(manifest);
    elsewhere.engine.world().blobs.insert(digest(manifest), manifest.to_vec());
    let bench = bench(&elsewhere);
    let outcome = bench.run(JobId::new(), 1, &copy().1).await;
    let Outcome::Failed { failure } = &outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.kind, FailureKind::DockerRefused);
    assert!(failure.detail.contains("containerd"), "{failure:?}");
    assert_eq!(left(&bench), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_removed_below_an_image_while_it_comes_is_fetched_too() {
    let elsewhere = Elsewhere::with(&[BASE, TOP]);
    let bench = bench(&elsewhere);
    let base = bench.engine.add_layered("base:1", &[BASE]);
    bench.engine.hold_builds(true);
    let (job, (name, command)) = (JobId::new(), copy());
    let attempt = bench.assign(job, 1, &command);
    bench
        .until("the top has come", || fetched(&elsewhere).iter().any(|(part, _)| *part == digest(TOP)).then_some(()))
        .await;
    {
        let mut world = bench.engine.world();
        world.images.remove(&base);
        world.blobs.clear();
    }
    bench.engine.hold_builds(false);
    assert!(matches!(bench.outcome(attempt).await, Outcome::Succeeded { .. }));
    assert_eq!(tags(&bench, &elsewhere.docker_id), [name]);
    let parts: Vec<String> = fetched(&elsewhere).into_iter().map(|(part, _)| part).collect();
    assert_eq!(parts, [elsewhere.docker_id.clone(), digest(TOP), digest(BASE)], "and nothing twice");
}

#[tokio::test]
async fn where_no_host_that_has_it_can_be_reached_the_next_attempt_goes_on_with_what_came() {
    let elsewhere = Elsewhere::with(&[BASE]);
    let bench = bench(&elsewhere);
    let gone = std::iter::repeat_n(Mishap::Unreachable, 5);
    // The configuration comes whole, of the layer a part.
    elsewhere.mishaps.lock().unwrap().extend([Mishap::Cut(1_000_000), Mishap::Cut(4000)].into_iter().chain(gone));
    let (job, (name, command)) = (JobId::new(), copy());
    assert_eq!(kind(&bench.run(job, 1, &command).await), Some(FailureKind::SourceUnavailable));
    assert_eq!(left(&bench).len(), 2, "the configuration, and a part of the layer");
    elsewhere.mishaps.lock().unwrap().clear();
    elsewhere.asked.lock().unwrap().clear();
    assert!(matches!(bench.run(job, 2, &command).await, Outcome::Succeeded { .. }));
    assert_eq!(fetched(&elsewhere), [(digest(BASE), 4000)]);
    assert_eq!(tags(&bench, &elsewhere.docker_id), [name]);
    assert_eq!(left(&bench), Vec::<String>::new());
}

#[tokio::test]
async fn whichever_call_fails_the_next_attempt_gives_exactly_one_image() {
    for moment in [Moment::Before, Moment::After] {
        for n in 0.. {
            let elsewhere = Elsewhere::with(&[BASE, TOP]);
            let bench = bench(&elsewhere);
            bench.engine.add_layered("base:1", &[BASE]);
            let (job, (name, command)) = (JobId::new(), copy());
            bench.engine.fail_nth(n, moment);
            let first = bench.run(job, 1, &command).await;
            let when = format!("call {n} failed {moment:?}");
            let unharmed = matches!(first, Outcome::Succeeded { .. });
            if !unharmed {
                assert!(kind(&first).is_some_and(FailureKind::retryable), "{when}: {first:?}");
                let second = bench.run(job, 2, &command).await;
                assert!(matches!(second, Outcome::Succeeded { .. }), "{when}: {second:?}");
            }
            assert_eq!(tags(&bench, &elsewhere.docker_id), [name], "{when}");
            assert_eq!(bench.engine.world().images.len(), 2, "{when}");
            if unharmed {
                assert!(n > 4, "{when}");
                break;
            }
        }
    }
}

#[tokio::test]
async fn what_its_registry_does_not_give_comes_from_a_host_that_has_it() {
    let elsewhere = Elsewhere::with(&[BASE, TOP]);
    let bench = bench(&elsewhere);
    let image = ImageId::new();
    let reference = "registry.example/private:1";
    let pull = PullImage { image, user: UserId::new(), reference: reference.parse().unwrap() };
    let outcome = bench.run(JobId::new(), 1, &Command::PullImage(pull)).await;
    assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
    assert_eq!(tags(&bench, &elsewhere.docker_id), [local_tag(image)], "its reference names nothing here");
    assert_eq!(left(&bench), Vec::<String>::new());
}
