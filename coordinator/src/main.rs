//! The program `dockerforge`: reads the command line and runs the command. It alone decides how the process ends.

use clap::Parser;
use dockerforge_coordinator::cli;
use std::process::ExitCode;

/// Dockerforge: images and containers on hosts that dial in.
#[derive(Parser)]
#[command(version, after_long_help = cli::EXIT_CODES)]
struct Arguments {
    #[command(flatten)]
    globals: cli::Globals,
    #[command(subcommand)]
    command: cli::Command,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { globals, command } = Arguments::parse();
    cli::run(command, globals).await
}
