//! Where data and models come from: `rlar data` and `rlar hub`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Subcommand)]
pub enum DataCommand {
    /// List the data sets that can be fetched, and which of them are here.
    #[command(after_help = "Example:\n  rlar data list")]
    List {
        /// A list of data sets of your own instead of rlar's (see datasets/origins.yaml).
        #[arg(long, value_name = "FILE")]
        origins: Option<PathBuf>,
    },
    /// Get data sets from their public origin, and check their hashes. They lie in `RLAR_DATA`, else in
    /// `~/.cache/rlar/data`.
    #[command(
        after_help = "Examples:\n  rlar data fetch gsm8k math500\n  rlar data fetch hub:openai/gsm8k@main/main/test-00000-of-00001.parquet"
    )]
    Fetch {
        /// Data sets of the list, or single files of the Hub: `hub:OWNER/NAME@REVISION/PATH`.
        #[arg(required = true)]
        names: Vec<String>,
        /// A list of data sets of your own instead of rlar's (see datasets/origins.yaml).
        #[arg(long, value_name = "FILE")]
        origins: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
pub enum HubCommand {
    /// Serve models as the Hugging Face Hub does. Set `HF_ENDPOINT` to the printed address for rlar and for Python's
    /// `huggingface_hub`.
    #[command(
        after_help = "Example:\n  rlar hub serve models --port 8765\n  HF_ENDPOINT=http://127.0.0.1:8765 rlar fetch-rewards --config multitask.yaml"
    )]
    Serve(HubServe),
}

#[derive(Args)]
pub struct HubServe {
    /// A folder of models, each in `OWNER/NAME`. A licence, tags and a description stand in its `README.md`.
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// The port on this machine; 0 is any that is free.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
}
