//! `rlar`: parse, run, turn the outcome into one message and an exit code.

mod assets;
mod benchmark;
mod cli;
mod commands;
mod data;
mod fetched;
mod generate;
mod hub;
mod output;
mod plan;
mod rewards;
mod sandbox;
mod schema;
mod score;
mod suites;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How the program ends.
enum Failure {
    /// The job failed: exit code 1.
    Job(anyhow::Error),
    /// The request was wrong: exit code 2.
    Request(anyhow::Error),
}

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("RLAR_LOG").unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
    let (code, error) = match commands::run(arguments.command) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Job(error)) => (1, error),
        Err(Failure::Request(error)) => (2, error),
    };
    // A reader who has gone away needs no message.
    let gone = |e: &std::io::Error| e.kind() == std::io::ErrorKind::BrokenPipe;
    if error.downcast_ref().is_some_and(gone) {
        return ExitCode::SUCCESS;
    }
    // Many errors name their cause themselves.
    let message = error.chain().fold(String::new(), |said, cause| match cause.to_string() {
        cause if said.contains(&cause) => said,
        cause if said.is_empty() => cause,
        cause => format!("{said}: {cause}"),
    });
    let _ = writeln!(std::io::stderr(), "error: {message}");
    ExitCode::from(code)
}
