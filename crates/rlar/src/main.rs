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
mod command_reference;
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
mod report;
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
use cli::LogFormat;
use rlar_run::StandardError;

fn main() -> ExitCode {
    allocator::keep_freed_pages();
    let arguments = cli::Arguments::parse();
    start_log(&arguments);
    output::set_mode(arguments.output_mode());
    match commands::run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error::report(&error),
    }
}

/// Sends warnings, and what else the environment or the command asks for, to standard error.
fn start_log(arguments: &cli::Arguments) {
    let default = arguments.default_log();
    let filter = tracing_subscriber::EnvFilter::try_from_env("RLAR_LOG").unwrap_or_else(|_| default.into());
    // Warnings are written above the progress bar. One that cannot be written, because the disk is full or the reader of
    // standard error has gone, is lost: to report that there would fail, too, and panic.
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| StandardError).log_internal_errors(false);
    let log = log.with_target(false);
    match arguments.log_format() {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).with_span_list(false).init(),
    }
}
