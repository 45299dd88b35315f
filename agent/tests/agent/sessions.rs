//! Sessions against a fake coordinator: assignments, acknowledgements, what is said again after a reconnect, logs from an
//! offset, what cannot be read.

use crate::bench::build;
use crate::peer::{Peer, Running, Session};
use dockerforge_agent::docker::fake::FakeEngine;
use dockerforge_protocol::codec::{LOG_WINDOW, MAX_LOG_CHUNK};
use dockerforge_protocol::command::{BuildImage, Command, ContextRef, RemoveImage, local_tag};
use dockerforge_protocol::handshake::{HeldState, JobVerdict, RefusedReason, Verdict};
use dockerforge_protocol::ids::{ImageId, JobId, UserId};
use dockerforge_protocol::message::{Assign, FromAgent, ToAgent};
use dockerforge_protocol::report::{Attempt, FailureKind, Outcome, Product, Refusal};
use sha2::{Digest, Sha256};
use std::time::Duration;
use tempfile::TempDir;

struct Stage {
    peer: Peer,
    engine: FakeEngine,
    agent: Running,
    folder: TempDir,
}

async fn stage() -> (Stage, Session) {
    let mut peer = Peer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let engine = FakeEngine::default();
    let agent = Running::start(peer.config(folder.path()), &engine);
    let (mut session, hello) = peer.session(|_| Vec::new()).await;
    if hello.docker.is_none() {
        session.want("Docker", |m| matches!(m, FromAgent::Docker { docker: Some(_) }).then_some(())).await;
    }
    (Stage { peer, engine, agent, folder }, session)
}

fn attempt() -> Attempt {
    Attempt { job: JobId::new(), number: 1 }
}

fn assign(attempt: Attempt, command: Command) -> ToAgent {
    ToAgent::Assign(Assign { attempt, command, deadline_ms: 60_000 })
}

fn remove() -> Command {
    Command::RemoveImage(RemoveImage { image: ImageId::new(), user: UserId::new() })
}

async fn finished(session: &mut Session, of: Attempt) -> (Outcome, u64) {
    session
        .want("the end", |m| match m {
            FromAgent::Finished { attempt, outcome, log_end } if *attempt == of => Some((outcome.clone(), *log_end)),
            _ => None,
        })
        .await
}

async fn accepted(session: &mut Session, of: Attempt) {
    session.want("the acceptance", |m| (*m == FromAgent::Accepted { attempt: of }).then_some(())).await;
}

#[tokio::test]
async fn a_job_is_accepted_done_and_forgotten_once_its_result_is_acknowledged() {
    let (mut stage, mut session) = stage().await;
    let attempt = attempt();
    session.send(assign(attempt, remove())).await;
    accepted(&mut session, attempt).await;
    let (outcome, _) = finished(&mut session, attempt).await;
    assert_eq!(outcome, Outcome::Succeeded { product: Product::Nothing });
    // Not acknowledged: the next session hears of it and gets it again.
    drop(session);
    let (mut session, hello) = stage
        .peer
        .session(|hello| {
            let verdict = |h: &dockerforge_protocol::handshake::HeldJob| JobVerdict {
                attempt: h.attempt,
                verdict: Verdict::Continue { log_from: 0 },
            };
            hello.jobs.iter().map(verdict).collect()
        })
        .await;
    assert_eq!(hello.jobs.iter().map(|j| (j.attempt, j.state)).collect::<Vec<_>>(), [(attempt, HeldState::Finished)]);
    assert_eq!(finished(&mut session, attempt).await.0, outcome);
    session.send(ToAgent::ResultAck { attempt }).await;
    // An attempt that is not held is reported as cancelled.
    let unknown = self::attempt();
    session.send(ToAgent::Cancel { attempt: unknown }).await;
    assert_eq!(finished(&mut session, unknown).await, (Outcome::Cancelled, 0));
    drop(session);
    let (_session, hello) = stage.peer.session(|_| Vec::new()).await;
    assert_eq!(hello.jobs, []);
    stage.agent.stop().await;
}

#[tokio::test]
async fn a_build_takes_its_context_from_the_coordinator_and_only_the_one_that_was_named() {
    let (stage, mut session) = stage().await;
    let content = vec![7_u8; 300_000];
    let sha256 = Sha256::digest(&content).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    let named = BuildImage { context: ContextRef { sha256, size: content.len() as u64 }, ..build() };
    let mut altered = content.clone();
    altered[299_999] = 8;
    for (served, fails) in
        [(None, true), (Some(altered), true), (Some(content[1..].to_vec()), true), (Some(content), false)]
    {
        stage.peer.context.lock().unwrap().clone_from(&served);
        let attempt = attempt();
        session.send(assign(attempt, Command::BuildImage(named.clone()))).await;
        session.send(ToAgent::LogAck { attempt, upto: u64::MAX }).await;
        let (outcome, _) = finished(&mut session, attempt).await;
        match outcome {
            Outcome::Failed { failure } => {
                assert!(fails, "{failure}");
                assert_eq!(failure.kind, FailureKind::ContextUnavailable, "{failure}");
                let why = if served.is_none() { "404 Not Found gone" } else { "not the one that was named" };
                assert!(failure.detail.contains(why), "{failure}");
            }
            other => assert!(!fails && matches!(other, Outcome::Succeeded { .. }), "{other:?}"),
        }
        session.send(ToAgent::ResultAck { attempt }).await;
    }
    for _ in 0..3 {
        session.want("a heartbeat", |m| matches!(m, FromAgent::Heartbeat(_)).then_some(())).await;
    }
    let ends = session.seen.iter().filter(|m| matches!(m, FromAgent::Finished { .. })).count();
    assert_eq!(ends, 4, "an acknowledged end was said again");
    stage.agent.stop().await;
}

#[tokio::test]
async fn a_repeated_assignment_is_accepted_again_and_done_once() {
    let (stage, mut session) = stage().await;
    let attempt = attempt();
    let command = build();
    let image = local_tag(command.image);
    stage.engine.hold_builds(true);
    for _ in 0..2 {
        session.send(assign(attempt, Command::BuildImage(command.clone()))).await;
        accepted(&mut session, attempt).await;
    }
    stage.engine.hold_builds(false);
    // The fake coordinator has no context for it: the build fails, once.
    let (outcome, _) = finished(&mut session, attempt).await;
    assert!(matches!(outcome, Outcome::Failed { .. }), "{outcome:?} of {image}");
    stage.agent.stop().await;
}

#[tokio::test]
async fn a_job_that_was_not_decided_at_the_welcome_is_not_spoken_of_until_it_is_assigned_again() {
    let (mut stage, mut session) = stage().await;
    let attempt = attempt();
    session.send(assign(attempt, remove())).await;
    finished(&mut session, attempt).await;
    drop(session);
    let (mut session, hello) = stage.peer.session(|_| Vec::new()).await;
    assert_eq!(hello.jobs.len(), 1);
    for _ in 0..3 {
        session.want("a heartbeat", |m| matches!(m, FromAgent::Heartbeat(_)).then_some(())).await;
    }
    assert!(!session.seen.iter().any(|m| matches!(m, FromAgent::Finished { .. })), "{:?}", session.seen);
    session.send(assign(attempt, remove())).await;
    accepted(&mut session, attempt).await;
    finished(&mut session, attempt).await;
    stage.agent.stop().await;
}

#[tokio::test]
async fn a_command_of_another_version_is_refused_by_name_and_the_session_goes_on() {
    #[derive(serde::Serialize)]
    struct Later {
        t: &'static str,
        attempt: Attempt,
        command: LaterCommand,
    }
    #[derive(serde::Serialize)]
    struct LaterCommand {
        r#do: &'static str,
        altitude: u32,
    }
    let (stage, mut session) = stage().await;
    let attempt = attempt();
    let later = Later { t: "assign", attempt, command: LaterCommand { r#do: "fly", altitude: 9 } };
    session.raw(dockerforge_protocol::codec::encode(&later).unwrap()).await;
    let refusal = session
        .want("the refusal", |m| match m {
            FromAgent::NotTaken { attempt: a, refusal } if *a == attempt => Some(refusal.clone()),
            _ => None,
        })
        .await;
    assert_eq!(refusal, Refusal::Unsupported { command: "fly".to_owned() });
    session.raw(b"not a message".to_vec()).await;
    session.want("a heartbeat", |m| matches!(m, FromAgent::Heartbeat(_)).then_some(())).await;
    stage.agent.stop().await;
}

#[tokio::test]
async fn jobs_are_refused_while_docker_is_down_and_its_coming_and_going_is_said() {
    let (stage, mut session) = stage().await;
    stage.engine.set_down(true);
    session.want("Docker's absence", |m| matches!(m, FromAgent::Docker { docker: None }).then_some(())).await;
    let attempt = attempt();
    session.send(assign(attempt, remove())).await;
    let refused = FromAgent::NotTaken { attempt, refusal: Refusal::DockerDown };
    session.want("the refusal", |m| (*m == refused).then_some(())).await;
    stage.engine.set_down(false);
    session.want("Docker's return", |m| matches!(m, FromAgent::Docker { docker: Some(_) }).then_some(())).await;
    session.send(assign(attempt, remove())).await;
    accepted(&mut session, attempt).await;
    stage.agent.stop().await;
}

#[tokio::test]
async fn the_inventory_is_said_after_each_welcome_and_when_it_changes() {
    let (mut stage, mut session) = stage().await;
    let images = |m: &FromAgent| match m {
        FromAgent::Inventory(inventory) => Some(inventory.images.len()),
        _ => None,
    };
    let already = session.seen.iter().filter_map(images).next_back();
    let first = match already {
        Some(found) => found,
        None => session.want("the inventory", images).await,
    };
    assert_eq!(first, 0);
    stage.engine.add_image(&local_tag(ImageId::new()));
    assert_eq!(session.want("the new inventory", images).await, 1);
    drop(session);
    let (mut session, _) = stage.peer.session(|_| Vec::new()).await;
    assert_eq!(session.want("the inventory again", images).await, 1);
    stage.agent.stop().await;
}

#[tokio::test]
async fn an_inventory_that_did_not_change_is_said_only_once_in_a_while() {
    let said = |session: &Session| session.seen.iter().filter(|m| matches!(m, FromAgent::Inventory(_))).count();
    for (every, at_least, at_most) in [(Duration::from_secs(3600), 1, 1), (Duration::from_millis(50), 3, usize::MAX)] {
        let mut peer = Peer::start().await;
        let folder = tempfile::tempdir().unwrap();
        let engine = FakeEngine::default();
        engine.add_image(&local_tag(ImageId::new()));
        let mut config = peer.config(folder.path());
        config.resend_every = every;
        config.relist_every = Duration::from_millis(10);
        let agent = Running::start(config, &engine);
        let (mut session, _) = peer.session(|_| Vec::new()).await;
        session.want("the inventory", |m| matches!(m, FromAgent::Inventory(_)).then_some(())).await;
        for _ in 0..6 {
            // What Docker says of things that are not ours makes the agent look, and find nothing new.
            engine.hint("somebody else's");
            session.want("a heartbeat", |m| matches!(m, FromAgent::Heartbeat(_)).then_some(())).await;
        }
        assert!((at_least..=at_most).contains(&said(&session)), "{every:?}: {:?}", session.seen);
        agent.stop().await;
    }
}

#[tokio::test]
async fn a_heartbeat_before_the_first_list_does_not_say_that_nothing_runs() {
    let mut peer = Peer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let engine = FakeEngine::default();
    engine.set_down(true);
    let agent = Running::start(peer.config(folder.path()), &engine);
    let (mut session, _) = peer.session(|_| Vec::new()).await;
    let running = |m: &FromAgent| match m {
        FromAgent::Heartbeat(beat) => Some(beat.usage.containers_running),
        _ => None,
    };
    let asked = |m: &FromAgent| match m {
        FromAgent::Heartbeat(beat) => Some(beat.docker_ping_age_ms),
        _ => None,
    };
    for _ in 0..2 {
        assert_eq!(session.want("a heartbeat", running).await, None);
    }
    // A Docker that is still starting is not one that hangs: the coordinator has to know how long it was asked.
    let first = session.want("since when Docker is asked", asked).await.expect("an age");
    let second = session.want("since when Docker is asked", asked).await.expect("an age");
    assert!(first < second && second < 60_000, "{first} ms, then {second} ms");
    engine.set_down(false);
    session.want("the inventory", |m| matches!(m, FromAgent::Inventory(_)).then_some(())).await;
    let listed = |m: &FromAgent| running(m).filter(Option::is_some);
    assert_eq!(session.want("a heartbeat that knows", listed).await, Some(0));
    agent.stop().await;
}

#[tokio::test]
async fn a_log_is_sent_within_its_window_and_resumes_where_the_coordinator_stands() {
    let (mut stage, session) = stage().await;
    // A finished job with a log of two windows, as an earlier life of the agent left it.
    drop(session);
    stage.agent.stop().await;
    let attempt = attempt();
    let log: Vec<u8> = (0..2 * LOG_WINDOW).map(|i| u8::try_from(i % 251).unwrap()).collect();
    let spool = stage.folder.path().join("spool").join(format!("{}-1.log", attempt.job));
    std::fs::write(spool, &log).unwrap();
    let (journal, writer, _) = dockerforge_agent::journal::open(stage.folder.path()).unwrap();
    let accepted = dockerforge_agent::journal::Accepted { attempt, command: remove(), deadline_us: 0 };
    let write = async move {
        journal.accept(accepted).await.unwrap();
        journal.finish(attempt, Outcome::Cancelled, log.len() as u64).await.unwrap();
        log
    };
    let (log, ()) = tokio::join!(write, writer.run());

    stage.agent = Running::start(stage.peer.config(stage.folder.path()), &stage.engine);
    let from = 1000;
    let verdict = JobVerdict { attempt, verdict: Verdict::Continue { log_from: from } };
    let (mut session, _) = stage.peer.session(|_| vec![verdict]).await;
    let piece = |m: &FromAgent| match m {
        FromAgent::Log { offset, bytes, .. } => Some((*offset, bytes.clone())),
        _ => None,
    };
    let mut end = from;
    while end < from + LOG_WINDOW {
        let (offset, bytes) = session.want("a piece of the log", piece).await;
        assert_eq!(offset, end);
        assert!(bytes.len() <= MAX_LOG_CHUNK);
        let begin = usize::try_from(offset).unwrap();
        assert_eq!(bytes, log[begin..begin + bytes.len()]);
        end += bytes.len() as u64;
    }
    assert_eq!(end, from + LOG_WINDOW, "more than a window is under way");
    for _ in 0..3 {
        session.want("a heartbeat", |m| matches!(m, FromAgent::Heartbeat(_)).then_some(())).await;
    }
    assert_eq!(session.seen.iter().filter(|m| piece(m).is_some()).count() as u64, LOG_WINDOW / MAX_LOG_CHUNK as u64);
    assert!(!session.seen.iter().any(|m| matches!(m, FromAgent::Finished { .. })), "the end overtook the log");
    while end < log.len() as u64 {
        session.send(ToAgent::LogAck { attempt, upto: end }).await;
        let (offset, bytes) = session.want("the next piece", piece).await;
        assert_eq!(offset, end);
        end += bytes.len() as u64;
    }
    session.send(ToAgent::LogAck { attempt, upto: end }).await;
    assert_eq!(finished(&mut session, attempt).await, (Outcome::Cancelled, end));
    stage.agent.stop().await;
}

#[tokio::test]
async fn a_session_that_cannot_be_had_now_is_asked_for_again() {
    let (mut stage, mut session) = stage().await;
    session.refuse(RefusedReason::Unavailable).await;
    let mut refused = stage.peer.connection().await;
    refused.next().await.unwrap();
    refused.refuse(RefusedReason::Unavailable).await;
    let (_session, _) = stage.peer.session(|_| Vec::new()).await;
    stage.agent.stop().await;
}
