//! The messages of streams: one for every variant, with fixed ids.

use dockerforge_protocol::{
    ids::{ContainerId, ImageId, UserId},
    message::{FromAgent, ToAgent},
    stream::{
        BlobRequest, Line, LogMark, LogPosition, LogsRequest, Piece, Sample, Source, StatsRequest, StreamEnd, StreamId,
        StreamRefusal, StreamRequest, TerminalRequest, TerminalSize, VolumeRequest,
    },
};

const STREAM: StreamId = StreamId(7);
const SIZE: TerminalSize = TerminalSize { cols: 132, rows: 43 };

fn container() -> ContainerId {
    format!("{}_{}", ContainerId::PREFIX, "3".repeat(32)).parse().unwrap()
}

fn bytes() -> Piece {
    Piece::Bytes { bytes: b"ls -l\r\n\x03\xff".to_vec() }
}

/// What goes down, by the name of its file.
pub fn to_agent() -> Vec<(String, ToAgent)> {
    let open = |name: &str, request| (format!("open_stream-{name}"), ToAgent::OpenStream { stream: STREAM, request });
    let from = LogPosition {
        stdout: LogMark { at: 1_700_000_000_123_456_789, count: 2 },
        stderr: LogMark { at: 1_700_000_000_000_000_000, count: 0 },
    };
    let logs = LogsRequest { container: container(), stdout: true, stderr: false, from, tail: Some(100), follow: true };
    let all = LogsRequest { from: LogPosition::default(), tail: None, ..logs.clone() };
    let command = vec!["/bin/sh".to_owned(), "-l".to_owned()];
    let terminal = TerminalRequest { container: container(), command, user: Some("www-data".to_owned()), size: SIZE };
    let blob = BlobRequest {
        image: format!("{}_{}", ImageId::PREFIX, "4".repeat(32)).parse().unwrap(),
        docker_id: format!("sha256:{}", "5".repeat(64)),
        digest: format!("sha256:{}", "6".repeat(64)),
        from: 131_072,
    };
    let volume = VolumeRequest {
        container: container(),
        user: format!("{}_{}", UserId::PREFIX, "1".repeat(32)).parse().unwrap(),
        image: format!("{}_{}", ImageId::PREFIX, "4".repeat(32)).parse().unwrap(),
        volume: "data".parse().unwrap(),
    };
    let plain = TerminalRequest { user: None, ..terminal.clone() };
    vec![
        open("logs", StreamRequest::Logs(logs)),
        open("logs-plain", StreamRequest::Logs(all)),
        open("stats", StreamRequest::Stats(StatsRequest { container: container(), interval: Some(5) })),
        open("stats-once", StreamRequest::Stats(StatsRequest { container: container(), interval: None })),
        open("terminal", StreamRequest::Terminal(terminal)),
        open("terminal-plain", StreamRequest::Terminal(plain)),
        open("blob", StreamRequest::Blob(blob)),
        open("volume", StreamRequest::Volume(volume)),
        ("stream_data".to_owned(), ToAgent::StreamData { stream: STREAM, piece: bytes() }),
        ("stream_credit".to_owned(), ToAgent::StreamCredit { stream: STREAM, more: 65_600 }),
        ("resize_terminal".to_owned(), ToAgent::ResizeTerminal { stream: STREAM, size: SIZE }),
        ("stream_end".to_owned(), ToAgent::StreamEnd { stream: STREAM, end: StreamEnd::Left }),
    ]
}

/// What goes up, by the name of its file.
pub fn from_agent() -> Vec<(String, FromAgent)> {
    let line = |source, text: &[u8]| Line { source, at: 1_700_000_000_123_456_789, text: text.to_vec() };
    let lines = vec![line(Source::Stdout, b"ready\n"), line(Source::Stderr, b"no line end \xff")];
    let sample = Sample {
        at: 1_700_000_000_123_456,
        cpu_milli_percent: 150_250,
        memory_used: 52_000_000,
        memory_limit: 268_435_456,
        network_rx: 5_000_000_000,
        network_tx: 1,
        block_read: 4096,
        block_write: 0,
        pids: 12,
    };
    let mut messages = vec![
        ("stream_opened".to_owned(), FromAgent::StreamOpened { stream: STREAM }),
        ("stream_credit".to_owned(), FromAgent::StreamCredit { stream: STREAM, more: 65_600 }),
    ];
    for (name, piece) in [
        ("begin", Piece::Begin { size: 72_000_000 }),
        ("lines", Piece::Lines { lines }),
        ("sample", Piece::Sample(sample)),
        ("bytes", bytes()),
    ] {
        messages.push((format!("stream_data-{name}"), FromAgent::StreamData { stream: STREAM, piece }));
    }
    for (name, refusal) in [
        ("no_container", StreamRefusal::NoContainer),
        ("no_image", StreamRefusal::NoImage),
        ("not_running", StreamRefusal::NotRunning),
        ("policy", StreamRefusal::Policy { detail: "forbids terminals".to_owned() }),
        ("too_many", StreamRefusal::TooMany),
        ("docker_down", StreamRefusal::DockerDown),
        ("docker", StreamRefusal::Docker { detail: "unable to find user x".to_owned() }),
        ("unsupported", StreamRefusal::Unsupported),
    ] {
        messages.push((format!("stream_refused-{name}"), FromAgent::StreamRefused { stream: STREAM, refusal }));
    }
    for (name, end) in [
        ("done", StreamEnd::Done { exit_code: Some(137) }),
        ("done-plain", StreamEnd::Done { exit_code: None }),
        ("failed", StreamEnd::Failed { detail: "Docker went away".to_owned() }),
        ("protocol", StreamEnd::Protocol),
    ] {
        messages.push((format!("stream_end-{name}"), FromAgent::StreamEnd { stream: STREAM, end }));
    }
    messages
}
