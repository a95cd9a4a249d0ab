//! `rlar view`: a local web page on runs.

use std::path::PathBuf;

use clap::Args;

use crate::cli::path::path;

#[derive(Args)]
pub struct ViewArguments {
    /// The folder of a run, or a folder of runs; when absent, `runs`, or the current folder if there is none.
    #[arg(value_name = "RUN | FOLDER", value_parser = path())]
    pub folder: Option<PathBuf>,
    /// The port; if it is in use, the next free one. 0 picks any free port.
    #[arg(long, default_value_t = 8890)]
    pub port: u16,
    /// Do not open a browser.
    #[arg(long)]
    pub no_browser: bool,
}
