//! Containers that come from other hosts, on the fake engine: what comes with them, what is left when it fails, and what of
//! the host is never touched. And what is given away of one that leaves.

use crate::bench::{Bench, Left, Mishap, Options, container};
use crate::peer::{Peer, Running};
use dockerforge_agent::docker::fake::{FakeEngine, Moment};
use dockerforge_protocol::command::{
    Command, CreateContainer, DiscardContainer, ReceiveContainer, ResumeContainer, StopContainer, docker_name,
    local_tag, volume_name,
};
use dockerforge_protocol::ids::{ContainerId, ImageId, JobId, UserId};
use dockerforge_protocol::inventory::ContainerState;
use dockerforge_protocol::message::{Assign, FromAgent, ToAgent};
use dockerforge_protocol::report::{Attempt, FailureKind, Outcome};
use dockerforge_protocol::spec::CONTAINER_MOVES;
use dockerforge_protocol::stream::{Piece, StreamEnd, StreamId, StreamRefusal, StreamRequest, VolumeRequest};
use sha2::{Digest, Sha256};

const ARCHIVE: &[u8] = &[7; 5000];
const TWO: &str = r#"{"volumes":[{"volume":"data","target":"/data"},{"volume":"conf","target":"/conf","read_only":true},
    {"volume":"data","target":"/again"}],"read_only":true}"#;

fn bench(left: &Left) -> Bench {
    Bench::with(Options { left: Some(left.clone()), ..Options::default() })
}

fn receive(create: &CreateContainer) -> Command {
    Command::ReceiveContainer(ReceiveContainer { create: create.clone() })
}

fn discard(create: &CreateContainer, received_by: JobId) -> Command {
    Command::DiscardContainer(DiscardContainer { container: create.container, user: create.user, received_by })
}

fn resume(create: &CreateContainer) -> Command {
    let (container, user, restart) = (create.container, create.user, create.spec.restart);
    Command::ResumeContainer(ResumeContainer { container, user, restart })
}

fn kind(outcome: &Outcome) -> Option<FailureKind> {
    match outcome {
        Outcome::Failed { failure } => Some(failure.kind),
        _ => None,
    }
}

/// The container is there once under its name, was never started, and has what was in its volumes; nothing else is there.
fn assert_received(bench: &Bench, create: &CreateContainer, when: &str) {
    let world = bench.engine.world();
    let found: Vec<_> = world.containers.values().map(|(c, new, _)| (new.name.clone(), c.state)).collect();
    assert_eq!(found, [(docker_name(create.container), ContainerState::Created)], "{when}");
    assert!(world.containers.values().all(|(_, new, _)| new.keep_volumes), "{when}");
    assert_eq!(world.contents.len(), 2, "{when}");
    assert!(world.contents.values().all(|content| content == ARCHIVE), "{when}");
    assert_eq!((world.volumes.len(), world.starts), (2, 0), "{when}");
}

fn assert_nothing(bench: &Bench, when: &str) {
    let world = bench.engine.world();
    assert!(
        world.containers.is_empty() && world.volumes.is_empty(),
        "{when}: {:?} {:?}",
        world.containers,
        world.volumes
    );
}

#[tokio::test]
async fn a_container_comes_with_what_is_in_its_volumes_and_is_started_when_that_is_asked() {
    let left = Left::with(ARCHIVE);
    let bench = bench(&left);
    let create = container(&bench, TWO);
    let outcome = bench.run(JobId::new(), 1, &receive(&create)).await;
    assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
    assert_received(&bench, &create, "at first");
    assert_eq!(*left.asked.lock().unwrap(), ["conf", "data"], "each once");
    assert!(matches!(bench.run(JobId::new(), 1, &resume(&create)).await, Outcome::Succeeded { .. }));
    assert_eq!(bench.engine.world().starts, 1);
}

#[tokio::test]
async fn a_volume_that_does_not_come_whole_is_asked_for_again_from_the_beginning() {
    for mishap in [Mishap::Unreachable, Mishap::Cut(3000), Mishap::Short(3000), Mishap::Short(10), Mishap::Altered] {
        let left = Left::with(ARCHIVE);
        let bench = bench(&left);
        left.mishaps.lock().unwrap().extend([mishap; 2]);
        let create = container(&bench, TWO);
        let outcome = bench.run(JobId::new(), 1, &receive(&create)).await;
        assert!(matches!(outcome, Outcome::Succeeded { .. }), "{mishap:?}: {outcome:?}");
        assert_received(&bench, &create, &format!("{mishap:?}"));
        assert_eq!(*left.asked.lock().unwrap(), ["conf", "conf", "conf", "data"], "{mishap:?}");
    }
}

#[tokio::test]
async fn where_a_volume_cannot_be_had_the_next_attempt_goes_on_and_what_was_received_in_vain_goes_whole() {
    let left = Left::with(ARCHIVE);
    let bench = bench(&left);
    // One volume comes, the other does not.
    let (job, create) = (JobId::new(), container(&bench, TWO));
    left.mishaps.lock().unwrap().extend([Mishap::Cut(100_000)].into_iter().chain([Mishap::Unreachable; 8]));
    left.mishaps.lock().unwrap()[0] = Mishap::Cut(5032);
    assert_eq!(kind(&bench.run(job, 1, &receive(&create)).await), Some(FailureKind::SourceUnavailable));
    left.mishaps.lock().unwrap().clear();
    left.asked.lock().unwrap().clear();
    assert!(matches!(bench.run(job, 2, &receive(&create)).await, Outcome::Succeeded { .. }));
    assert_received(&bench, &create, "the second attempt");
    for _ in 0..2 {
        assert!(matches!(bench.run(JobId::new(), 1, &discard(&create, job)).await, Outcome::Succeeded { .. }));
        assert_nothing(&bench, "discarded");
    }
}

#[tokio::test]
async fn what_the_user_has_on_the_host_already_is_neither_filled_nor_removed() {
    let left = Left::with(ARCHIVE);
    let bench = bench(&left);
    let create = container(&bench, TWO);
    let other = CreateContainer { container: ContainerId::new(), ..create.clone() };
    assert!(matches!(bench.run(JobId::new(), 1, &Command::CreateContainer(other)).await, Outcome::Succeeded { .. }));
    let before = bench.engine.world().volumes.clone();
    let job = JobId::new();
    assert_eq!(kind(&bench.run(job, 1, &receive(&create)).await), Some(FailureKind::NameTaken));
    assert_eq!(*left.asked.lock().unwrap(), Vec::<String>::new());
    assert!(matches!(bench.run(JobId::new(), 1, &discard(&create, job)).await, Outcome::Succeeded { .. }));
    let world = bench.engine.world();
    assert_eq!((world.volumes.clone(), world.containers.len()), (before, 1));
}

#[tokio::test]
async fn whichever_call_fails_the_next_attempt_gives_exactly_one_container_and_a_discard_leaves_nothing() {
    for moment in [Moment::Before, Moment::After] {
        for n in 0.. {
            let bench = bench(&Left::with(ARCHIVE));
            let (job, create) = (JobId::new(), container(&bench, TWO));
            bench.engine.fail_nth(n, moment);
            let when = format!("call {n} failed {moment:?}");
            let first = bench.run(job, 1, &receive(&create)).await;
            if matches!(first, Outcome::Succeeded { .. }) {
                assert!(n > 12, "{when}");
                break;
            }
            assert!(kind(&first).is_some_and(FailureKind::retryable), "{when}: {first:?}");
            if n % 2 == 0 {
                let second = bench.run(job, 2, &receive(&create)).await;
                assert!(matches!(second, Outcome::Succeeded { .. }), "{when}: {second:?}");
                assert_received(&bench, &create, &when);
            }
            assert!(matches!(bench.run(JobId::new(), 1, &discard(&create, job)).await, Outcome::Succeeded { .. }));
            assert_nothing(&bench, &when);
        }
    }
}

#[tokio::test]
async fn an_agent_that_dies_anywhere_goes_on_or_leaves_what_a_discard_takes_away() {
    for n in (0..).step_by(3) {
        let bench = bench(&Left::with(ARCHIVE));
        let (job, create) = (JobId::new(), container(&bench, TWO));
        bench.engine.fail_from(n, Moment::After);
        let first = bench.run(job, 1, &receive(&create)).await;
        if matches!(first, Outcome::Succeeded { .. }) {
            break;
        }
        bench.engine.set_down(false);
        let bench = bench.next_life().await;
        if n % 2 == 0 {
            let second = bench.run(job, 2, &receive(&create)).await;
            assert!(matches!(second, Outcome::Succeeded { .. }), "call {n}: {second:?}");
            assert_received(&bench, &create, &format!("call {n}"));
        }
        bench.run(JobId::new(), 1, &discard(&create, job)).await;
        assert_nothing(&bench, &format!("call {n}"));
    }
}

#[tokio::test]
async fn one_that_is_not_well_here_is_stopped_again() {
    let bench = bench(&Left::with(ARCHIVE));
    let create = container(&bench, r#"{"command":["/ends-at-once"],"restart":"always"}"#);
    assert!(matches!(bench.run(JobId::new(), 1, &receive(&create)).await, Outcome::Succeeded { .. }));
    let outcome = bench.run(JobId::new(), 1, &resume(&create)).await;
    assert_eq!(kind(&outcome), Some(FailureKind::ExitedEarly), "{outcome:?}");
    assert!(bench.called("container stop"));
}

/// What comes of a stream until it ends, and how that is.
async fn read(
    session: &mut crate::peer::Session,
    id: StreamId,
    request: StreamRequest,
) -> Result<Vec<u8>, StreamRefusal> {
    session.send(ToAgent::OpenStream { stream: id, request }).await;
    let mut whole = Vec::new();
    loop {
        match session.next().await {
            Some(FromAgent::StreamRefused { stream, refusal }) if stream == id => return Err(refusal),
            Some(FromAgent::StreamData { stream, piece: Piece::Bytes { bytes } }) if stream == id => {
                whole.extend(bytes);
            }
            Some(FromAgent::StreamEnd { stream, end }) if stream == id => {
                assert_eq!(end, StreamEnd::Done { exit_code: None });
                return Ok(whole);
            }
            Some(_) => {}
            None => panic!("the session ended"),
        }
    }
}

#[tokio::test]
async fn what_is_in_a_volume_is_given_with_its_sum_while_its_container_does_not_run() {
    let mut peer = Peer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let engine = FakeEngine::default();
    let _agent = Running::start(peer.config(folder.path()), &engine);
    let (mut session, hello) = peer.session(|_| Vec::new()).await;
    assert!(hello.features.iter().any(|feature| feature == CONTAINER_MOVES), "{:?}", hello.features);
    if hello.docker.is_none() {
        session.want("Docker", |m| matches!(m, FromAgent::Docker { docker: Some(_) }).then_some(())).await;
    }
    let (container, user, image) = (ContainerId::new(), UserId::new(), ImageId::new());
    engine.add_image(&local_tag(image));
    let create = CreateContainer {
        container,
        user,
        name: "blog".parse().unwrap(),
        image,
        spec: serde_json::from_str(r#"{"volumes":[{"volume":"data","target":"/data"}]}"#).unwrap(),
        hardening: dockerforge_protocol::command::Hardening::Docker,
        converge: None,
    };
    let stop = StopContainer { container, user, grace_s: 1 };
    let data = volume_name(user, &"data".parse().unwrap());
    let volume = |container: ContainerId, user: UserId, volume: &str| {
        StreamRequest::Volume(VolumeRequest { container, user, image, volume: volume.parse().unwrap() })
    };
    for (command, refused) in [(Command::CreateContainer(create), true), (Command::StopContainer(stop), false)] {
        let attempt = Attempt { job: JobId::new(), number: 1 };
        session.send(ToAgent::Assign(Assign { attempt, command, deadline_ms: 60_000 })).await;
        session.want("its end", |m| matches!(m, FromAgent::Finished { .. }).then_some(())).await;
        session.send(ToAgent::ResultAck { attempt }).await;
        engine.world().contents.insert(data.clone(), ARCHIVE.to_vec());
        if refused {
            let running = read(&mut session, StreamId(1), volume(container, user, "data")).await;
            assert!(matches!(running, Err(StreamRefusal::Docker { .. })), "{running:?}");
        }
    }
    let whole = read(&mut session, StreamId(2), volume(container, user, "data")).await.unwrap();
    assert_eq!(whole, [ARCHIVE, &Sha256::digest(ARCHIVE)].concat());
    let others = [(ContainerId::new(), user, "data"), (container, UserId::new(), "data"), (container, user, "other")];
    for (i, (container, user, name)) in others.into_iter().enumerate() {
        let id = StreamId(3 + i as u64);
        let answer = read(&mut session, id, volume(container, user, name)).await;
        assert!(matches!(answer, Err(StreamRefusal::NoContainer | StreamRefusal::Docker { .. })), "{answer:?}");
    }
    assert_eq!(engine.world().containers.len(), 1, "nothing that carried it is left");
}
