//! Following a job: its log exactly once whatever breaks, and its end as the exit code.

use super::stub::*;
use axum::response::{IntoResponse, Response, sse};
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    io::Read,
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// A build's log, with all that is hard to carry: carriage returns, blank lines, no end of line, other alphabets.
const LOG: &str = "Step 1/2 : FROM a\n\n 10%\r 50%\r100%\r\nñandú → ok\ndata: not a field\n\n: nor a comment\nlast";

/// The pieces of the log from a byte on, of a few characters each, with the offset behind each.
fn parts(from: usize) -> Vec<(usize, String)> {
    let chars: Vec<char> = LOG[from..].chars().collect();
    let mut at = from;
    chars
        .chunks(7)
        .map(|chunk| {
            let piece: String = chunk.iter().collect();
            at += piece.len();
            (at, piece)
        })
        .collect()
}

/// The bytes of the events of the log from a byte on.
fn events(from: usize) -> Vec<String> {
    let event = |(at, piece): (usize, String)| format!("event: log\nid: {at}\ndata: {}\n\n", Value::from(piece));
    std::iter::once(": keep-alive\n\n".to_owned()).chain(parts(from).into_iter().map(event)).collect()
}

/// The rest of the log and its end, written by axum itself.
fn whole_stream(asked: &Asked, state: &str) -> Response {
    let from = asked.header("last-event-id").parse().unwrap_or(0);
    let event = |(at, piece): (usize, String)| {
        sse::Event::default().event("log").id(at.to_string()).data(Value::from(piece).to_string())
    };
    let mut events: Vec<_> = parts(from).into_iter().map(event).collect();
    events.push(sse::Event::default().event("end").data(state));
    sse::Sse::new(futures_util::stream::iter(events.into_iter().map(Ok::<_, Infallible>))).into_response()
}

/// A job that is running until its stream ended, and then in this state.
fn ending_in(state: &'static str, error: Value) -> Stub {
    let streamed = Mutex::new(false);
    Stub::start(move |asked| match asked.line.as_str() {
        line if line == format!("GET /v1/queue/{JOB}/log") => {
            *streamed.lock().unwrap() = true;
            whole_stream(asked, state)
        }
        line if line == format!("GET /v1/queue/{JOB}") => {
            if !*streamed.lock().unwrap() {
                return answer(200, &job("running", 0));
            }
            let mut job = job(state, LOG.len());
            job["error"] = error.clone();
            let mut response = answer(if state == "succeeded" { 303 } else { 200 }, &job);
            response.headers_mut().insert("location", format!("/v1/containers/{CONTAINER}").parse().unwrap());
            response
        }
        line if line.starts_with("POST") || line.starts_with("DELETE") => answer(202, &job("queued", 0)),
        _ => names(asked),
    })
}

const CREATE: [&str; 8] = ["container", "create", "web", "--image", "blog", "--host", "vps", "--wait"];

#[test]
fn waiting_shows_the_log_byte_for_byte_and_ends_as_the_job_does() {
    let stub = ending_in("succeeded", Value::Null);
    let ran = stub.run(&CREATE).ended(0);
    assert_eq!(ran.out, LOG);
    assert_eq!(ran.err, format!("container.create succeeded: container {CONTAINER}\n"));

    let error = json!({"type": "x", "title": "Port taken", "status": 409, "detail": "8080 is in use",
        "errors": [{"pointer": "/ports/0/host", "detail": "choose another"}]});
    let ran = ending_in("failed", error).run(&CREATE).ended(1);
    assert_eq!(ran.out, LOG);
    assert_eq!(
        ran.err,
        format!("error: the job {JOB} failed: Port taken: 8080 is in use\n  /ports/0/host: choose another\n")
    );

    let ran = ending_in("cancelled", Value::Null).run(&CREATE).ended(3);
    assert_eq!((ran.out.as_str(), ran.err), (LOG, format!("error: the job {JOB} was cancelled\n")));
}

#[test]
fn waiting_with_json_prints_the_job_and_the_log_beside_it() {
    let stub = ending_in("succeeded", Value::Null);
    let ran = stub.run(&[&CREATE[..], &["--json"]].concat()).ended(0);
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap(), job("succeeded", LOG.len()));
    assert!(ran.err.starts_with(LOG), "{ran:?}");
    let ran = ending_in("failed", Value::Null).run(&[&CREATE[..], &["--json"]].concat()).ended(1);
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap()["state"], "failed");
}

#[test]
fn every_command_that_makes_a_job_can_wait_for_it() {
    let stub = ending_in("succeeded", Value::Null);
    for arguments in [
        &["host", "rm", "vps"][..],
        &["user", "rm", "acme"],
        &["image", "rm", "blog"],
        &["image", "pull", "d12", "debian:12", "--host", "vps"],
        &["container", "rm", "web"],
    ] {
        assert_eq!(stub.run(&[arguments, &["--wait"]].concat()).ended(0).out, LOG, "{arguments:?}");
    }
    assert_eq!(stub.run(&["job", "wait", JOB]).ended(0).out, LOG);
    assert_eq!(stub.run(&["job", "wait", JOB, "--quiet"]).ended(0).out, "");
    assert_eq!(stub.run(&["job", "log", JOB, "-f"]).ended(0).out, LOG);
    assert_eq!(stub.run(&["job", "log", JOB, "-f", "--offset", "9"]).ended(0).out, LOG[9..]);
}

#[test]
fn a_failed_job_fails_the_wait_and_not_the_log() {
    let stub = ending_in("failed", Value::Null);
    stub.run(&["job", "wait", JOB]).ended(1);
    stub.run(&["job", "log", JOB, "--follow"]).ended(0);
}

#[test]
fn a_cancelled_job_is_what_cancelling_wants() {
    stub_cancel("cancelled", 0, &format!("the job {JOB} was cancelled\n"));
    stub_cancel("succeeded", 1, &format!("error: the job {JOB} succeeded before it could be cancelled\n"));
    let ran = ending_in("cancelled", Value::Null).run(&["job", "cancel", JOB]).ended(0);
    assert_eq!(ran.out, format!("job {JOB} is queued\n"));
}

fn stub_cancel(state: &'static str, code: i32, said: &str) {
    let ran = ending_in(state, Value::Null).run(&["job", "cancel", JOB, "--wait"]).ended(code);
    assert_eq!(ran.err, said);
}

/// Wherever the stream breaks off (between events or within one), with or without an error, and whatever the
/// coordinator answers to the next attempts.
#[test]
fn a_log_that_breaks_off_anywhere_goes_on_without_a_byte_lost_or_doubled() {
    let whole = events(0).concat();
    let cuts: Vec<usize> = (0..whole.len()).filter(|i| whole.is_char_boundary(*i)).step_by(13).collect();
    assert!(cuts.len() > 20);
    for (round, cut) in cuts.into_iter().enumerate() {
        let first = whole[..cut].to_owned();
        let stub = Stub::start(move |asked| match asked.line.as_str() {
            line if line == format!("GET /v1/queue/{JOB}/log") => match (asked.earlier, round % 3) {
                (0, _) => pieces("text/event-stream", vec![first.clone()], round % 2 == 0),
                (1, 1) => problem(503, "Starting", "not ready", &json!([])),
                // What the client has seen comes once more, before the rest.
                (1, 2) => {
                    let seen: usize = asked.header("last-event-id").parse().unwrap_or(0);
                    let again = (seen > 0).then(|| format!("event: log\nid: {seen}\ndata: \"doubled\"\n\n"));
                    let mut all: Vec<_> = again.into_iter().chain(events(seen)).collect();
                    all.push("event: end\ndata: succeeded\n\n".to_owned());
                    pieces("text/event-stream", all, false)
                }
                _ => whole_stream(asked, "succeeded"),
            },
            line if line == format!("GET /v1/queue/{JOB}") => {
                let over = asked.earlier > 0;
                answer(200, &job(if over { "succeeded" } else { "running" }, LOG.len()))
            }
            _ => names(asked),
        });
        let ran = stub.run(&["job", "log", "-f", JOB]).ended(0);
        assert_eq!(ran.out, LOG, "cut at {cut}");
        let asked: Vec<_> = stub.asked().into_iter().filter(Asked::events).collect();
        // It goes on from the last whole event, and from the beginning if there was none.
        let shown = whole[..cut].rfind("\n\n").and_then(|end| {
            let id = whole[..end].rfind("id: ")? + 4;
            whole[id..].split('\n').next()
        });
        assert_eq!(asked[1].header("last-event-id"), shown.unwrap_or(""), "cut at {cut}");
    }
}

#[test]
fn a_stream_that_ends_without_an_end_is_enough_once_the_job_is_over() {
    let stub = Stub::start(|asked| match asked.line.as_str() {
        line if line == format!("GET /v1/queue/{JOB}/log") => pieces("text/event-stream", events(0), true),
        line if line == format!("GET /v1/queue/{JOB}") => answer(303, &job("succeeded", LOG.len())),
        _ => names(asked),
    });
    assert_eq!(stub.run(&["job", "wait", JOB]).ended(0).out, LOG);
    assert_eq!(stub.asked().into_iter().filter(Asked::events).count(), 1);
}

#[test]
fn a_stream_that_falls_silent_is_given_up_once_the_job_is_over() {
    let stub = Stub::start(|asked| match asked.line.as_str() {
        line if line == format!("GET /v1/queue/{JOB}/log") => {
            let stream = futures_util::StreamExt::chain(
                futures_util::stream::iter(events(0).into_iter().take(3).map(Ok::<_, std::io::Error>)),
                futures_util::stream::pending(),
            );
            ([("content-type", "text/event-stream")], axum::body::Body::from_stream(stream)).into_response()
        }
        line if line.starts_with(&format!("GET /v1/queue/{JOB}/log?offset=")) => {
            let from: usize = line.rsplit('=').next().unwrap().parse().unwrap();
            ([("dockerforge-log-next", LOG.len().to_string())], LOG[from..].to_owned()).into_response()
        }
        line if line == format!("GET /v1/queue/{JOB}") => answer(303, &job("succeeded", LOG.len())),
        _ => names(asked),
    });
    assert_eq!(stub.run(&["job", "wait", JOB]).ended(0).out, LOG);
}

#[test]
fn a_log_is_read_in_as_many_answers_as_the_server_gives() {
    let stub = Stub::start(|asked| match asked.line.as_str() {
        line if line.starts_with(&format!("GET /v1/queue/{JOB}/log?offset=")) => {
            let from: usize = line.rsplit('=').next().unwrap().parse().unwrap();
            let next = (from + 10).min(LOG.len());
            let bytes = LOG.as_bytes()[from..next].to_vec();
            ([("dockerforge-log-next", next.to_string())], bytes).into_response()
        }
        _ => names(asked),
    });
    assert_eq!(stub.run(&["job", "log", JOB]).ended(0).out, LOG);
    let ran = stub.run(&["job", "log", JOB, "--offset", "19"]).ended(0);
    assert_eq!(ran.out, LOG[19..]);
    assert!(stub.asked().iter().all(|a| a.header("accept") == "text/plain"));
}

/// A job that runs and logs without an end.
fn endless() -> Stub {
    Stub::start(|asked| match asked.line.as_str() {
        line if line == format!("GET /v1/queue/{JOB}/log") => {
            let stream = futures_util::stream::unfold(0, |at| async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                Some((Ok::<_, std::io::Error>(format!("event: log\nid: {}\ndata: \"more\\n\"\n\n", at + 5)), at + 5))
            });
            ([("content-type", "text/event-stream")], axum::body::Body::from_stream(stream)).into_response()
        }
        line if line == format!("GET /v1/queue/{JOB}") => answer(200, &job("running", 0)),
        "GET /v1/users" => {
            let users: Vec<_> = (0..20_000).map(|i| json!({"id": "usr_x", "name": format!("user-{i}")})).collect();
            list(&json!(users))
        }
        _ => names(asked),
    })
}

#[test]
fn a_reader_that_leaves_ends_the_program_without_a_word() {
    let stub = endless();
    for arguments in [&["job", "wait", JOB][..], &["user", "ls"], &["user", "ls", "--json"]] {
        let mut child = stub.spawn(arguments);
        let mut out = child.stdout.take().unwrap();
        out.read_exact(&mut [0; 3]).unwrap();
        drop(out);
        let ran = finish(child).ended(141);
        assert_eq!(ran.err, "", "{arguments:?}");
    }
}

#[test]
fn ctrl_c_leaves_the_job_and_says_how_to_come_back() {
    let stub = endless();
    let mut child = stub.spawn(&["job", "wait", JOB]);
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0; 3]).unwrap();
    // The rest of the output is taken away, so that the program never waits for its reader.
    let drained = Arc::new(Mutex::new(0_u64));
    let count = drained.clone();
    let reader =
        std::thread::spawn(move || *count.lock().unwrap() = std::io::copy(&mut out, &mut std::io::sink()).unwrap());
    let began = Instant::now();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let ran = finish(child).ended(130);
    reader.join().unwrap();
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(
        ran.err,
        format!(
            "error: interrupted; the job {JOB} goes on\n  follow it: dockerforge job wait {JOB}\n  \
             cancel it: dockerforge job cancel {JOB}\n"
        )
    );
    assert!(stub.lines().iter().all(|line| line.starts_with("GET")), "the job was touched");
}
