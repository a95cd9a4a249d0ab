//! `rlar`: reads the command line, runs one command, and ends with an exit code.
//!
//! A command is one call into another crate. It returns `anyhow::Result<()>`; [`error`] turns an error into one message
//! and an exit code.

mod agent_progress;
mod allocator;
mod assets;
mod benchmark;
mod check;
mod choose;
mod cli;
mod commands;
mod compare;
mod data;
mod error;
mod eval;
mod fetch_rewards;
mod find;
mod functions;
mod generate;
mod gpu_check;
mod hub;
mod init;
mod interrupt;
mod language_model;
mod model;
mod output;
mod rewards;
mod rollouts;
mod routing;
mod sandbox;
mod schema;
mod score;
mod serve;
mod setup;
mod suites;
mod train;
mod training_data;
mod trial;
mod view;

use std::process::ExitCode;

use clap::Parser;
use rlar_run::StandardError;

fn main() -> ExitCode {
    allocator::keep_freed_pages();
    let arguments = cli::Arguments::parse();
    let default = arguments.default_log();
    let filter = tracing_subscriber::EnvFilter::try_from_env("RLAR_LOG").unwrap_or_else(|_| default.into());
    // Warnings are written above the progress bar.
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| StandardError).with_target(false).init();
    output::set_mode(arguments.output_mode());
    match commands::run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error::report(&error),
    }
}
