//! Logs, figures and terminals on the real engine. A terminal is attached by hand: bollard reads what a program writes as
//! frames where it begins with certain bytes, and would gather gigabytes for a frame that it only imagines.

use super::{CHANGE, QUICK, UnixEngine, convert};
use crate::docker::live::{Counters, ExecState, Live, LogQuery, NewExec, Terminal};
use crate::docker::{Call, DockerError, Events};
use bollard::Docker;
use bollard::container::LogOutput;
use bollard::models::{ContainerBlkioStatEntry, ContainerMemoryStats, ContainerStatsResponse, ExecConfig};
use bollard::query_parameters as query;
use bytes::Bytes;
use dockerforge_protocol::stream::{Line, Source, TerminalSize};
use futures_util::future::ready;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::net::UnixStream;

/// The longest refusal that is read.
const REFUSAL: usize = 64 * 1024;

impl Live for UnixEngine {
    fn logs<'a>(&'a self, id: &'a str, wanted: LogQuery) -> Call<'a, Events<Line>> {
        async move {
            let client = self.client("container logs").await?;
            let options = query::LogsOptions {
                follow: wanted.follow,
                stdout: wanted.stdout,
                stderr: wanted.stderr,
                since: wanted.since,
                timestamps: true,
                tail: wanted.tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string()),
                ..Default::default()
            };
            let lines = client.logs(id, Some(options)).map_err(|e| convert::error("container logs", e));
            Ok(lines.try_filter_map(|output| async move { Ok(line(output)) }).boxed())
        }
        .boxed()
    }

    fn stats<'a>(&'a self, id: &'a str) -> Call<'a, Events<Counters>> {
        async move {
            let client = self.client("container stats").await?;
            let options = query::StatsOptions { stream: true, one_shot: false };
            let samples = client.stats(id, Some(options)).map_err(|e| convert::error("container stats", e));
            // Docker goes on with empty readings when the container has ended.
            let readings = samples.map_ok(counters).try_take_while(|reading| ready(Ok(reading.is_some())));
            Ok(readings.try_filter_map(|reading| ready(Ok(reading))).boxed())
        }
        .boxed()
    }

    fn terminal_create<'a>(&'a self, container: &'a str, exec: &'a NewExec) -> Call<'a, String> {
        let body = ExecConfig {
            attach_stdin: Some(exec.tty),
            attach_stdout: Some(exec.tty),
            attach_stderr: Some(exec.tty),
            tty: Some(exec.tty),
            cmd: Some(exec.command.clone()),
            env: Some(exec.env.clone()),
            user: exec.user.clone(),
            ..Default::default()
        };
        async move {
            let ask = |d: Docker| async move { d.create_exec(container, body).await };
            Ok(self.call("exec create", CHANGE, ask).await?.id)
        }
        .boxed()
    }

    fn terminal_start<'a>(&'a self, exec: &'a str) -> Call<'a, Box<dyn Terminal>> {
        async move {
            let attached = tokio::time::timeout(CHANGE, attach(&self.socket, exec)).await;
            attached.map_err(|_| DockerError::Timeout { call: "exec start", after: CHANGE })?
        }
        .boxed()
    }

    fn terminal_detached<'a>(&'a self, exec: &'a str) -> Call<'a, ()> {
        let options = bollard::exec::StartExecOptions { detach: true, ..Default::default() };
        self.call("exec start", CHANGE, move |d| async move { d.start_exec(exec, Some(options)).await.map(drop) })
            .boxed()
    }

    fn terminal_resize<'a>(&'a self, exec: &'a str, size: TerminalSize) -> Call<'a, ()> {
        let options = query::ResizeExecOptions { h: size.rows.into(), w: size.cols.into() };
        self.call("exec resize", QUICK, move |d| async move { d.resize_exec(exec, options).await }).boxed()
    }

    fn terminal_state<'a>(&'a self, exec: &'a str) -> Call<'a, ExecState> {
        async move {
            let found = self.call("exec inspect", QUICK, |d| async move { d.inspect_exec(exec).await }).await?;
            Ok(ExecState {
                running: found.running.unwrap_or_default(),
                exit_code: found.exit_code,
                pid: found.pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 1),
            })
        }
        .boxed()
    }
}

/// Starts a program and takes over the connection, on which its terminal is then.
async fn attach(socket: &str, exec: &str) -> Result<Box<dyn Terminal>, DockerError> {
    let unavailable = |source| DockerError::Unavailable { call: "exec start", source };
    let stream = UnixStream::connect(socket).await.map_err(|e| unavailable(e.into()))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| unavailable(e.into()))?;
    let request = Request::post(format!("/v1.41/exec/{exec}/start"))
        .header(HOST, "docker")
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "tcp")
        .body(Full::new(Bytes::from_static(br#"{"Detach":false,"Tty":true}"#)))
        .map_err(|e| unavailable(e.into()))?;
    let ask = async move {
        let response = sender.send_request(request).await.map_err(|e| unavailable(e.into()))?;
        let status = response.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return hyper::upgrade::on(response).await.map_err(|e| unavailable(e.into()));
        }
        let body = Limited::new(response.into_body(), REFUSAL).collect().await.map_err(unavailable)?.to_bytes();
        let said = serde_json::from_slice::<serde_json::Value>(&body).ok();
        let message = said.and_then(|said| Some(said.get("message")?.as_str()?.to_owned()));
        let message = message.unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
        Err(convert::server_error(status.as_u16(), message))
    };
    // The connection works only while it is polled; it ends when it is taken over.
    let (upgraded, _) = tokio::join!(ask, connection.with_upgrades());
    Ok(Box::new(TokioIo::new(upgraded?)))
}

/// A line as Docker writes it: its time, a space, and what the container wrote.
fn line(output: LogOutput) -> Option<Line> {
    let (source, message) = match output {
        LogOutput::StdOut { message } | LogOutput::Console { message } => (Source::Stdout, message),
        LogOutput::StdErr { message } => (Source::Stderr, message),
        LogOutput::StdIn { .. } => return None,
    };
    let space = message.iter().position(|b| *b == b' ')?;
    let time = std::str::from_utf8(&message[..space]).ok()?;
    let at = OffsetDateTime::parse(time, &Rfc3339).ok()?.unix_timestamp_nanos();
    Some(Line { source, at: i64::try_from(at).ok()?, text: message[space + 1..].to_vec() })
}

/// Docker's figures as counters; none of a container that does not run.
fn counters(stats: ContainerStatsResponse) -> Option<Counters> {
    let read = OffsetDateTime::parse(stats.read.as_deref()?, &Rfc3339).ok()?;
    let at = i64::try_from(read.unix_timestamp_nanos() / 1000).ok().filter(|at| *at > 0)?;
    let cpu = stats.cpu_stats?.cpu_usage?.total_usage?;
    let memory = stats.memory_stats.unwrap_or_default();
    let networks = stats.networks.unwrap_or_default();
    let blocks = stats.blkio_stats.and_then(|b| b.io_service_bytes_recursive).unwrap_or_default();
    let moved = |op: &str| {
        let of = |entry: &ContainerBlkioStatEntry| entry.op.as_deref().is_some_and(|o| o.eq_ignore_ascii_case(op));
        blocks.iter().filter(|e| of(e)).filter_map(|e| e.value).sum()
    };
    Some(Counters {
        at,
        cpu,
        memory: memory.usage.unwrap_or_default(),
        memory_reclaimable: reclaimable(&memory),
        memory_limit: memory.limit.unwrap_or_default(),
        network_rx: networks.values().filter_map(|n| n.rx_bytes).sum(),
        network_tx: networks.values().filter_map(|n| n.tx_bytes).sum(),
        block_read: moved("read"),
        block_write: moved("write"),
        pids: stats.pids_stats.and_then(|p| p.current).unwrap_or_default(),
    })
}

/// `total_inactive_file` of cgroup v1, `inactive_file` of v2: as `docker stats` does.
fn reclaimable(memory: &ContainerMemoryStats) -> u64 {
    let stats = memory.stats.as_ref();
    let field = |name: &str| stats.and_then(|s| s.get(name)).copied();
    field("total_inactive_file").or_else(|| field("inactive_file")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(json: &str) -> Counters {
        counters(serde_json::from_str(json).unwrap()).unwrap()
    }

    #[test]
    fn figures_are_read_from_either_version_of_cgroups() {
        let old = stats(
            r#"{"read":"2024-01-01T00:00:00.5Z","cpu_stats":{"cpu_usage":{"total_usage":7}},"pids_stats":{"current":3},
                "memory_stats":{"usage":100,"limit":500,"stats":{"total_inactive_file":40,"inactive_file":1}},
                "networks":{"eth0":{"rx_bytes":1,"tx_bytes":2},"eth1":{"rx_bytes":10,"tx_bytes":20}},
                "blkio_stats":{"io_service_bytes_recursive":[{"op":"Read","value":5},{"op":"Write","value":6},{"op":"Total","value":11}]}}"#,
        );
        let new = stats(
            r#"{"read":"2024-01-01T00:00:00.5Z","cpu_stats":{"cpu_usage":{"total_usage":7}},"pids_stats":{"current":3},
                "memory_stats":{"usage":100,"limit":500,"stats":{"inactive_file":40}},
                "networks":{"eth0":{"rx_bytes":11,"tx_bytes":22}},
                "blkio_stats":{"io_service_bytes_recursive":[{"op":"read","value":5},{"op":"write","value":6}]}}"#,
        );
        assert_eq!(old, new);
        assert_eq!((old.at, old.memory_reclaimable, old.block_write), (1_704_067_200_500_000, 40, 6));
    }

    #[test]
    fn a_container_that_does_not_run_has_no_figures() {
        let empty = r#"{"read":"0001-01-01T00:00:00Z","cpu_stats":{"cpu_usage":{"total_usage":0}}}"#;
        assert_eq!(counters(serde_json::from_str(empty).unwrap()), None);
    }

    #[test]
    fn a_line_is_its_time_and_what_follows() {
        let message = Bytes::from_static(b"2024-01-01T00:00:00.000000001Z  a b\n");
        let line = line(LogOutput::StdErr { message }).unwrap();
        assert_eq!((line.source, line.at, line.text), (Source::Stderr, 1_704_067_200_000_000_001, b" a b\n".to_vec()));
    }
}
