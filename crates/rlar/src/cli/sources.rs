//! `rlar data` and `rlar hub`: where data and models come from.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::path::path;

#[derive(Subcommand)]
pub enum DataCommand {
    /// List the known data sets and whether they are downloaded.
    #[command(after_help = "Example:\n  rlar data list")]
    List {
        /// A list of data sets that replaces the built-in one (see datasets/origins.yaml for its format).
        #[arg(long, value_name = "FILE", value_parser = path())]
        origins: Option<PathBuf>,
    },
    /// Download data sets from their publisher and check their SHA-256, into `RLAR_DATA`, else
    /// `rlar/data` in `XDG_CACHE_HOME` or `~/.cache`.
    #[command(
        after_help = "Examples:\n  rlar data fetch gsm8k math500\n  rlar data fetch hub:openai/gsm8k@main/main/test-00000-of-00001.parquet"
    )]
    Fetch {
        /// Names of listed data sets, or single files of the Hugging Face Hub as `hub:OWNER/NAME@REVISION/PATH`.
        #[arg(required = true)]
        names: Vec<String>,
        /// A list of data sets that replaces the built-in one (see datasets/origins.yaml for its format).
        #[arg(long, value_name = "FILE", value_parser = path())]
        origins: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
pub enum HubCommand {
    /// Serve a folder of models with the API of the Hugging Face Hub. Set `HF_ENDPOINT` to the printed address for rlar
    /// and for Python's `huggingface_hub`.
    #[command(
        after_help = "Example:\n  rlar hub serve models --port 8765\n  HF_ENDPOINT=http://127.0.0.1:8765 rlar fetch-rewards --config multitask.yaml"
    )]
    Serve(HubServeArguments),
}

#[derive(Args)]
pub struct HubServeArguments {
    /// A folder with one subfolder `OWNER/NAME` per model, whose `README.md` gives licence, tags and description.
    #[arg(value_name = "FOLDER", value_parser = path())]
    pub folder: PathBuf,
    /// The port on 127.0.0.1; 0 picks a free one.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
}
