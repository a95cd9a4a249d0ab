//! `rlar serve`: rewards over HTTP.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use rlar_serve::OnFailure;

use crate::cli::ToolArguments;
use crate::cli::path::path;

/// The form of the lines of a server's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// A JSON object per line: `timestamp`, `level`, `message`, and what the message is about, such as `request`, the id of
    /// a request.
    Json,
}

#[derive(Args)]
pub struct ServeArguments {
    /// A config, whose `rewards` say which tools score; it is looked for as `rlar train` does.
    #[arg(long, value_name = "FILE", conflicts_with = "library", value_parser = path())]
    pub config: Option<PathBuf>,
    /// A folder of tools; without this and --config, rlar's built-in library.
    #[arg(long, value_name = "FOLDER", value_parser = path())]
    pub library: Option<PathBuf>,
    /// The port; 0 picks a free one.
    #[arg(long, default_value_t = 8888)]
    pub port: u16,
    /// The address to serve at. One that other machines can reach needs a token.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// The environment variable with the token that requests must carry as `Authorization: Bearer TOKEN`.
    #[arg(long, value_name = "NAME", default_value = "RLAR_SERVE_TOKEN")]
    pub token_env: String,
    /// Largest number of replies that wait to be scored; requests beyond it are answered with 429.
    #[arg(long, value_name = "N", default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(1..))]
    pub queue: u32,
    /// Number of batches that are scored at once, and of programs that run at once.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub workers: u32,
    /// What formats of other engines answer for a reply that was not scored, because they have no word for it: `error`
    /// (HTTP 503), `hold` (try again until the client's patience ends) or `value=X`.
    #[arg(long, value_name = "error|hold|value=X", default_value = "error")]
    pub on_failure: OnFailure,
    /// Largest share of a tool's latest 256 scores that may fail before the tool is suspended; when absent, the config's
    /// `rewards.failure_limit`, or 0.5 without a config.
    #[arg(long, value_name = "SHARE")]
    pub failure_limit: Option<f64>,
    /// An address to which alerts are posted as JSON: rewards that no longer tell replies apart, suspended tools.
    #[arg(long, value_name = "URL")]
    pub alert_webhook: Option<String>,
    /// A file that caches scores and logs calls. When absent, the config's `rewards.store`, or `scores.sqlite` in the
    /// folder of --library.
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub cache: Option<PathBuf>,
    /// The device of reward models: `cpu`, `cuda:N` or `auto`; with --config, the config says it.
    #[arg(long, default_value = "cpu", conflicts_with = "config")]
    pub device: String,
    /// The form of the log's lines on standard error.
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// Stop when standard input ends, as it does when the program that started rlar ends.
    #[arg(long)]
    pub until_eof: bool,
    #[command(flatten)]
    pub tools: ToolArguments,
}
