//! `rlar init`, `rlar rollouts` and `rlar compare`: commands before and after a run.

use std::path::PathBuf;

use clap::Args;

#[derive(Args)]
// Each is a switch of the command line.
#[allow(clippy::struct_excessive_bools)]
pub struct RolloutsArguments {
    /// The run's folder.
    pub run: PathBuf,
    /// The step; the last one with rollouts when absent.
    #[arg(long, value_name = "N")]
    pub step: Option<u64>,
    /// Show the replies with the lowest rewards first.
    #[arg(long)]
    pub worst: bool,
    /// Show the replies with the highest rewards first.
    #[arg(long, conflicts_with = "worst")]
    pub best: bool,
    /// Show only replies for which a tool gave no score, because it failed.
    #[arg(long)]
    pub failed: bool,
    /// Show only replies that this tool scored or failed on.
    #[arg(long, value_name = "NAME")]
    pub tool: Option<String>,
    /// Show the prompts as the model got them, after the chat template.
    #[arg(long)]
    pub rendered: bool,
    /// Maximum number of replies that are shown.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub limit: usize,
}

#[derive(Args)]
pub struct CompareArguments {
    /// The folders of two runs or more; the first is the baseline.
    #[arg(required = true, num_args = 2.., value_name = "RUN")]
    pub runs: Vec<PathBuf>,
}

#[derive(Args)]
pub struct InitArguments {
    /// The data to train on: a file, a pattern in quotes, or `hub:OWNER/NAME@REVISION/PATH`.
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// The model to train: a Hugging Face folder, a GGUF file, or a model of the Hub as
    /// `OWNER/NAME[@REVISION][/FILE.gguf]`.
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// The config to write; it must not exist. The run's folder gets its name without the extension, in `runs/`.
    #[arg(long, value_name = "FILE", default_value = "job.yaml")]
    pub output: PathBuf,
}
