//! `dockerforge`: the coordinator (`serve`), and the client commands.

use clap::{CommandFactory, Parser, Subcommand};
use dockerforge_coordinator::app::App;
use dockerforge_coordinator::cli;
use dockerforge_coordinator::config::{Config, ServeArgs};
use dockerforge_coordinator::telemetry;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// The backend of a hosting panel: builds images and runs containers on hosts that dial in.
#[derive(Parser)]
#[command(name = "dockerforge", version, after_long_help = cli::EXIT_CODES)]
struct Arguments {
    #[command(flatten)]
    globals: cli::Globals,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one of it in a program's life")]
enum Command {
    /// Serve the REST API and the agents
    Serve(Box<ServeArgs>),
    /// Print a script that completes commands in a shell, such as `dockerforge completion bash`
    Completion {
        /// Which shell
        shell: clap_complete::Shell,
    },
    #[command(flatten)]
    Client(cli::Command),
}

/// The settings cannot be.
const EXIT_CONFIG: u8 = 2;
/// It could not start, or could not go on.
const EXIT_FAILED: u8 = 1;

fn main() -> ExitCode {
    #[cfg(feature = "testing")]
    let _faults = testing::arm();
    let Arguments { globals, command } = Arguments::parse();
    match command {
        Command::Serve(args) => serve(&args),
        Command::Completion { shell } => complete(shell),
        Command::Client(command) => client(command, globals),
    }
}

fn complete(shell: clap_complete::Shell) -> ExitCode {
    use std::io::Write;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "dockerforge", &mut script);
    match std::io::stdout().write_all(&script) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(EXIT_FAILED, &error),
    }
}

fn client(command: cli::Command, globals: cli::Globals) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(cli::run(command, globals)),
        Err(error) => complain(EXIT_FAILED, &error),
    }
}

fn serve(args: &ServeArgs) -> ExitCode {
    let config = match Config::load(args) {
        Ok(config) => config,
        Err(error) => return complain(EXIT_CONFIG, &error),
    };
    telemetry::init(&config);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(EXIT_FAILED, &error),
    };
    runtime.block_on(async {
        let (mut terminate, mut interrupt) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
            (Err(error), _) | (_, Err(error)) => return complain(EXIT_FAILED, &error),
        };
        let app = match App::start(&config).await {
            Ok(app) => app,
            Err(error) => return complain(EXIT_FAILED, &error),
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        app.stop().await;
        ExitCode::SUCCESS
    })
}

/// Says why, with all that led to it.
fn complain(code: u8, error: &dyn std::error::Error) -> ExitCode {
    use std::io::Write;
    let mut text = format!("dockerforge: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::from(code)
}

#[cfg(feature = "testing")]
mod testing {
    //! A fault point that is set to panic kills the whole process as `kill -9` does: nothing is flushed, nothing is
    //! dropped.

    pub(super) fn arm() -> fail::FailScenario<'static> {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<String>().map(String::as_str).unwrap_or_default();
            if text.starts_with("failpoint ") {
                let _ = std::process::Command::new("kill").args(["-9", &std::process::id().to_string()]).status();
                std::thread::park();
            }
            usual(info);
        }));
        fail::FailScenario::setup()
    }
}
