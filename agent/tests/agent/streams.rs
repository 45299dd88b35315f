//! Streams against a fake coordinator and the fake engine: logs from a position, credit, what overtakes them, figures,
//! terminals and their end, and what is refused.

use crate::peer::{Peer, Running, Session};
use dockerforge_agent::docker::fake::{FakeEngine, FakeTerminal};
use dockerforge_agent::docker::live::Counters;
use dockerforge_protocol::codec;
use dockerforge_protocol::command::{Command, CreateContainer, Hardening, local_tag};
use dockerforge_protocol::ids::{ContainerId, ImageId, JobId, UserId};
use dockerforge_protocol::message::{Assign, FromAgent, ToAgent};
use dockerforge_protocol::report::{Attempt, Outcome};
use dockerforge_protocol::spec::ContainerSpec;
use dockerforge_protocol::stream::{
    FEATURE, Line, LogPosition, LogsRequest, Piece, Source, StatsRequest, StreamEnd, StreamId, StreamRefusal,
    StreamRequest, TerminalRequest, TerminalSize, WINDOW,
};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const ONE: StreamId = StreamId(1);
const TWO: StreamId = StreamId(2);

struct Stage {
    _peer: Peer,
    engine: FakeEngine,
    agent: Running,
    container: ContainerId,
    /// Docker's id of it.
    docker_id: String,
    _folder: TempDir,
}

/// An agent with a running container, under a policy.
async fn stage(policy: &str) -> (Stage, Session) {
    let mut peer = Peer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("limits.toml");
    std::fs::write(&path, policy).unwrap();
    let engine = FakeEngine::default();
    let mut config = peer.config(folder.path());
    config.policy = Some(path);
    let agent = Running::start(config, &engine);
    let (mut session, hello) = peer.session(|_| Vec::new()).await;
    assert!(hello.features.iter().any(|feature| feature == FEATURE), "{:?}", hello.features);
    if hello.docker.is_none() {
        session.want("Docker", |m| matches!(m, FromAgent::Docker { docker: Some(_) }).then_some(())).await;
    }
    let (container, image) = (ContainerId::new(), ImageId::new());
    engine.add_image(&local_tag(image));
    let create = CreateContainer {
        container,
        user: UserId::new(),
        name: "blog".parse().unwrap(),
        image,
        spec: ContainerSpec::default(),
        hardening: Hardening::Docker,
        converge: None,
    };
    let attempt = Attempt { job: JobId::new(), number: 1 };
    let command = Command::CreateContainer(create);
    session.send(ToAgent::Assign(Assign { attempt, command, deadline_ms: 60_000 })).await;
    let outcome = session
        .want("the container", |m| match m {
            FromAgent::Finished { outcome, .. } => Some(outcome.clone()),
            _ => None,
        })
        .await;
    assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
    session.send(ToAgent::ResultAck { attempt }).await;
    let docker_id = engine.world().containers.keys().next().unwrap().clone();
    (Stage { _peer: peer, engine, agent, container, docker_id, _folder: folder }, session)
}

impl Stage {
    fn logs(&self, from: LogPosition, follow: bool) -> StreamRequest {
        let container = self.container;
        StreamRequest::Logs(LogsRequest { container, stdout: true, stderr: true, from, tail: None, follow })
    }

    fn shell(&self) -> StreamRequest {
        StreamRequest::Terminal(TerminalRequest {
            container: self.container,
            command: vec!["/bin/sh".to_owned()],
            user: Some("www-data".to_owned()),
            size: TerminalSize { cols: 80, rows: 24 },
        })
    }

    /// The program of the last terminal.
    fn program(&self) -> (String, FakeTerminal, DuplexStream) {
        let mut world = self.engine.world();
        let (id, exec) = world.terminals.iter_mut().next_back().unwrap();
        let terminal = exec.program.take().unwrap();
        (id.clone(), exec.clone(), terminal)
    }
}

async fn open(session: &mut Session, stream: StreamId, request: StreamRequest) {
    session.send(ToAgent::OpenStream { stream, request }).await;
}

async fn opened(session: &mut Session, id: StreamId, request: StreamRequest) {
    open(session, id, request).await;
    session.want("an open stream", |m| (*m == FromAgent::StreamOpened { stream: id }).then_some(())).await;
}

async fn refusal(session: &mut Session, id: StreamId) -> StreamRefusal {
    session
        .want("a refusal", |m| match m {
            FromAgent::StreamRefused { stream, refusal } if *stream == id => Some(refusal.clone()),
            _ => None,
        })
        .await
}

async fn end(session: &mut Session, id: StreamId) -> StreamEnd {
    session
        .want("the end of the stream", |m| match m {
            FromAgent::StreamEnd { stream, end } if *stream == id => Some(end.clone()),
            _ => None,
        })
        .await
}

async fn piece(session: &mut Session, id: StreamId) -> Piece {
    session
        .want("a piece", |m| match m {
            FromAgent::StreamData { stream, piece } if *stream == id => Some(piece.clone()),
            _ => None,
        })
        .await
}

async fn lines(session: &mut Session, id: StreamId, count: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    while lines.len() < count {
        let Piece::Lines { lines: more } = piece(session, id).await else { panic!("lines were expected") };
        lines.extend(more);
    }
    lines
}

fn texts(lines: &[Line]) -> Vec<String> {
    lines.iter().map(|line| String::from_utf8_lossy(&line.text).into_owned()).collect()
}

#[tokio::test]
async fn a_log_goes_on_behind_a_position_and_ends_with_its_container() {
    let (stage, mut session) = stage("").await;
    let write = |source, at, text: &str| stage.engine.add_line(&stage.docker_id, source, at, text);
    write(Source::Stdout, 5, "a\n");
    write(Source::Stderr, 4, "b\n");
    write(Source::Stdout, 5, "c\n");
    opened(&mut session, ONE, stage.logs(LogPosition::default(), true)).await;
    let seen = lines(&mut session, ONE, 3).await;
    assert_eq!(texts(&seen), ["a\n", "b\n", "c\n"]);
    let mut position = LogPosition::default();
    for line in &seen[..2] {
        position.read(line.source, line.at);
    }
    opened(&mut session, TWO, stage.logs(position, true)).await;
    write(Source::Stderr, 9, "d\n");
    assert_eq!(texts(&lines(&mut session, TWO, 2).await), ["c\n", "d\n"]);
    stage.engine.exit_container(&stage.docker_id, 3);
    assert_eq!(end(&mut session, TWO).await, StreamEnd::Done { exit_code: Some(3) });
    // What has ended is still to be read.
    let three = StreamId(3);
    opened(&mut session, three, stage.logs(position, true)).await;
    assert_eq!(texts(&lines(&mut session, three, 2).await), ["c\n", "d\n"]);
    assert_eq!(end(&mut session, three).await, StreamEnd::Done { exit_code: Some(3) });
    stage.agent.stop().await;
}

#[tokio::test]
async fn a_stream_that_nobody_reads_stops_at_its_window_and_nothing_else_does() {
    let (stage, mut session) = stage("").await;
    let text = format!("{}\n", "x".repeat(10_000));
    for at in 0..100 {
        stage.engine.add_line(&stage.docker_id, Source::Stdout, at, &text);
    }
    opened(&mut session, ONE, stage.logs(LogPosition::default(), false)).await;
    // Three heartbeats later all that there is credit for has come.
    let (mut cost, mut got, mut beats) = (0, 0, 0);
    while beats < 3 {
        match session.next().await.unwrap() {
            FromAgent::StreamData { stream: ONE, piece } => {
                cost += piece.cost();
                got += 1;
                beats = 0;
            }
            FromAgent::Heartbeat(_) => beats += 1,
            _ => {}
        }
    }
    assert!(got > 0 && cost <= WINDOW && cost > WINDOW - 64 * 1024, "{cost} in {got} pieces");
    // Another reader of the same log has a window of its own.
    opened(&mut session, TWO, stage.logs(LogPosition::at(90), false)).await;
    assert_eq!(lines(&mut session, TWO, 10).await.len(), 10);
    assert_eq!(end(&mut session, TWO).await, StreamEnd::Done { exit_code: None });
    // With credit the first one goes on to its end.
    for _ in 0..4 {
        session.send(ToAgent::StreamCredit { stream: ONE, more: WINDOW }).await;
        let came = session.want("more", |m| match m {
            FromAgent::StreamData { stream: ONE, .. } => Some(true),
            FromAgent::StreamEnd { stream: ONE, .. } => Some(false),
            _ => None,
        });
        if !came.await {
            break;
        }
    }
    let over = session.seen.iter().any(|m| matches!(m, FromAgent::StreamEnd { stream: ONE, .. }));
    if !over {
        session.send(ToAgent::StreamCredit { stream: ONE, more: WINDOW }).await;
        assert_eq!(end(&mut session, ONE).await, StreamEnd::Done { exit_code: None });
    }
    stage.agent.stop().await;
}

#[tokio::test]
async fn figures_are_made_of_two_readings() {
    let (stage, mut session) = stage("").await;
    let reading = |at, cpu| Counters { at, cpu, memory: 300, memory_reclaimable: 100, pids: 2, ..Counters::default() };
    stage.engine.world().counters =
        vec![reading(1_000_000, 0), reading(2_000_000, 500_000_000), reading(3_000_000, 500_000_000)];
    let request = |interval| StreamRequest::Stats(StatsRequest { container: stage.container, interval });
    opened(&mut session, ONE, request(None)).await;
    let Piece::Sample(sample) = piece(&mut session, ONE).await else { panic!("a sample was expected") };
    assert_eq!((sample.cpu_milli_percent, sample.memory_used, sample.pids), (50_000, 200, 2));
    assert_eq!(end(&mut session, ONE).await, StreamEnd::Done { exit_code: None });
    opened(&mut session, TWO, request(Some(1))).await;
    for expected in [50_000, 0] {
        let Piece::Sample(sample) = piece(&mut session, TWO).await else { panic!("a sample was expected") };
        assert_eq!(sample.cpu_milli_percent, expected);
    }
    // An engine that cannot read the kernel's counters says nothing at all.
    stage.engine.world().counters.clear();
    opened(&mut session, StreamId(3), request(None)).await;
    let StreamEnd::Failed { detail } = end(&mut session, StreamId(3)).await else { panic!("a failure was expected") };
    assert!(detail.contains("no figures"), "{detail}");
    stage.engine.exit_container(&stage.docker_id, 0);
    open(&mut session, StreamId(4), request(None)).await;
    assert_eq!(refusal(&mut session, StreamId(4)).await, StreamRefusal::NotRunning);
    stage.agent.stop().await;
}

#[tokio::test]
async fn a_terminal_passes_bytes_both_ways_and_ends_with_its_program() {
    let (stage, mut session) = stage("").await;
    opened(&mut session, ONE, stage.shell()).await;
    let (id, exec, mut program) = stage.program();
    assert_eq!(
        (exec.new.command.as_slice(), exec.new.user.as_deref()),
        (&["/bin/sh".to_owned()][..], Some("www-data"))
    );
    assert_eq!(exec.size, Some(TerminalSize { cols: 80, rows: 24 }));
    program.write_all(b"$ ").await.unwrap();
    assert_eq!(piece(&mut session, ONE).await, Piece::Bytes { bytes: b"$ ".to_vec() });
    let size = TerminalSize { cols: 132, rows: 43 };
    session.send(ToAgent::ResizeTerminal { stream: ONE, size }).await;
    session.send(ToAgent::StreamData { stream: ONE, piece: Piece::Bytes { bytes: b"exit 7\r".to_vec() } }).await;
    let mut typed = [0; 7];
    program.read_exact(&mut typed).await.unwrap();
    assert_eq!(&typed, b"exit 7\r");
    assert_eq!(stage.engine.world().terminals[&id].size, Some(size), "what came before is done before");
    stage.engine.exit_program(&id, 7);
    drop(program);
    assert_eq!(end(&mut session, ONE).await, StreamEnd::Done { exit_code: Some(7) });
    stage.agent.stop().await;
}

#[tokio::test]
async fn whoever_leaves_a_terminal_ends_its_program() {
    let (stage, mut session) = stage("").await;
    opened(&mut session, ONE, stage.shell()).await;
    let (id, _, _program) = stage.program();
    session.send(ToAgent::StreamEnd { stream: ONE, end: StreamEnd::Left }).await;
    assert_eq!(end(&mut session, ONE).await, StreamEnd::Left);
    assert!(!stage.engine.world().terminals[&id].state.running);

    // So does the end of the session.
    opened(&mut session, TWO, stage.shell()).await;
    let id = stage.engine.world().terminals.iter().find(|(_, e)| e.state.running).map(|(id, _)| id.clone()).unwrap();
    drop(session);
    let ended = async {
        while stage.engine.world().terminals[&id].state.running {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("the program runs on");
    stage.agent.stop().await;
}

#[tokio::test]
async fn a_terminal_that_is_sent_more_than_it_has_credit_for_is_ended() {
    let (stage, mut session) = stage("").await;
    opened(&mut session, ONE, stage.shell()).await;
    let (_, _, _unread) = stage.program();
    for _ in 0..12 {
        let piece = Piece::Bytes { bytes: vec![b'x'; 30_000] };
        session.send(ToAgent::StreamData { stream: ONE, piece }).await;
    }
    assert_eq!(end(&mut session, ONE).await, StreamEnd::Left);
    stage.agent.stop().await;
}

#[tokio::test]
async fn the_owners_policy_stands_above_streams() {
    let (stage, mut session) = stage("terminals = false\nlogs = false\n").await;
    for request in [stage.shell(), stage.logs(LogPosition::default(), false)] {
        open(&mut session, ONE, request).await;
        assert!(matches!(refusal(&mut session, ONE).await, StreamRefusal::Policy { .. }));
    }
    assert!(stage.engine.world().terminals.is_empty());
    stage.agent.stop().await;
}

#[derive(serde::Serialize)]
struct Future {
    t: &'static str,
    stream: StreamId,
    request: std::collections::BTreeMap<&'static str, &'static str>,
}

#[tokio::test]
async fn what_is_not_there_not_known_or_too_much_is_refused() {
    let (stage, mut session) = stage("").await;
    let StreamRequest::Logs(logs) = stage.logs(LogPosition::default(), true) else { panic!("a log") };
    let other = StreamRequest::Logs(LogsRequest { container: ContainerId::new(), ..logs });
    open(&mut session, ONE, other).await;
    assert_eq!(refusal(&mut session, ONE).await, StreamRefusal::NoContainer);

    // A container of our name that is not ours.
    let cluster = "dev.dockerforge.cluster";
    let labels = |value: &str| {
        let mut world = stage.engine.world();
        let (container, ..) = world.containers.get_mut(&stage.docker_id).unwrap();
        container.labels.insert(cluster.to_owned(), value.to_owned()).unwrap()
    };
    let ours = labels("somebody else's");
    open(&mut session, ONE, stage.shell()).await;
    assert_eq!(refusal(&mut session, ONE).await, StreamRefusal::NoContainer);
    labels(&ours);

    let request = [("what", "smell")].into();
    session.raw(codec::encode(&Future { t: "open_stream", stream: TWO, request }).unwrap()).await;
    assert_eq!(refusal(&mut session, TWO).await, StreamRefusal::Unsupported);

    for id in 100..164 {
        opened(&mut session, StreamId(id), stage.logs(LogPosition::default(), true)).await;
    }
    open(&mut session, StreamId(200), stage.logs(LogPosition::default(), true)).await;
    assert_eq!(refusal(&mut session, StreamId(200)).await, StreamRefusal::TooMany);
    session.send(ToAgent::StreamEnd { stream: StreamId(100), end: StreamEnd::Left }).await;
    end(&mut session, StreamId(100)).await;
    stage.agent.stop().await;
}
