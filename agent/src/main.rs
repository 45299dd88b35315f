//! `dockerforge-agent`: reads its configuration, starts one agent on this host's Docker, and ends with a code that says
//! why. Exit codes: 0 stopped, 1 failure, 2 configuration, 3 revoked by the coordinator, 4 enrolment refused.

use clap::Parser;
use dockerforge_agent::config::{Cli, LogFormat, Settings, Verb};
use dockerforge_agent::docker::engine::UnixEngine;
use dockerforge_agent::{Agent, report};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

const FAILURE: u8 = 1;
const CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    let Cli { command: Verb::Run(args) } = Cli::parse();
    let args = match args.with_file() {
        Ok(args) => args,
        Err(error) => return fail(&error, CONFIGURATION),
    };
    let format = args.log_format.unwrap_or_default();
    let settings = match args.resolve() {
        Ok(settings) => settings,
        Err(error) => return fail(&error, CONFIGURATION),
    };
    telemetry(format);
    #[cfg(feature = "testing")]
    let _faults = testing::faults();
    // One thread works for all: an agent waits, and its memory is the host's.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .thread_stack_size(256 * 1024)
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(run(settings)),
        Err(error) => fail(&error, FAILURE),
    }
}

async fn run(settings: Settings) -> ExitCode {
    let cancel = CancellationToken::new();
    let (term, int) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(term), Ok(int)) => (term, int),
        (Err(error), _) | (_, Err(error)) => return fail(&error, FAILURE),
    };
    let Settings { config, docker } = settings;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), coordinator = %config.coordinator, docker, "agent starts");
    let agent = Agent { config, engine: Arc::new(UnixEngine::new(&docker)) };
    let stop = async {
        let (mut term, mut int) = (term, int);
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::info!("agent stops");
        cancel.cancel();
        std::future::pending::<()>().await;
    };
    let end = tokio::select! {
        end = agent.run(cancel.clone()) => end,
        () = stop => Ok(()),
    };
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, error.exit_code()),
    }
}

#[allow(clippy::print_stderr, reason = "the last words of the process, for the person or service that started it")]
fn fail(error: &dyn std::error::Error, code: u8) -> ExitCode {
    eprintln!("dockerforge-agent: {}", report(error));
    ExitCode::from(code)
}

/// `DOCKERFORGE_AGENT_LOG` holds levels as `info` or `info,dockerforge_agent::link=debug`. `Targets` reads them without the
/// regular expressions that `EnvFilter` brings into the binary.
fn telemetry(format: LogFormat) {
    let levels = std::env::var("DOCKERFORGE_AGENT_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let levels = levels.unwrap_or_else(|| Targets::new().with_default(Level::INFO));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(false);
    let registry = tracing_subscriber::registry().with(levels);
    match format {
        LogFormat::Text => registry.with(lines).init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
    }
}

/// Fault points: only in test builds.
#[cfg(feature = "testing")]
mod testing {
    /// Reads `FAILPOINTS`, and makes the panic of a fault point a real SIGKILL: no unwinding, no clean-up.
    pub(super) fn faults() -> fail::FailScenario<'static> {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let message = panic.payload().downcast_ref::<String>();
            if message.is_some_and(|text| text.starts_with("failpoint ")) {
                let pid = std::process::id().to_string();
                let _ = std::process::Command::new("kill").args(["-9", &pid]).status();
            }
            before(panic);
        }));
        fail::FailScenario::setup()
    }
}
