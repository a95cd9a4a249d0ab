//! `rlar train`, `sft`, `train-rm` and `fetch-rewards`: commands that run from a config.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::path::path;

/// A config, and options that override values of the config.
#[derive(Args)]
pub struct ConfigArguments {
    /// A YAML file. It is looked for at this path, then under `configs/`, then among the configs embedded in rlar.
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub config: PathBuf,
    /// Override the config's seed.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Override the config's run folder.
    #[arg(long, value_name = "FOLDER", value_parser = path())]
    pub run: Option<PathBuf>,
    /// Override the config's model with a Hugging Face folder, a GGUF file, or a model of the Hub as
    /// `OWNER/NAME[@REVISION][/FILE.gguf]`. Training starts from this model without the config's warm-up.
    #[arg(long, value_name = "PATH", value_parser = path())]
    pub model: Option<PathBuf>,
}

/// The training method, as `--method` takes it.
#[derive(Clone, Copy, ValueEnum)]
pub enum MethodArgument {
    Grpo,
    Sft,
    RewardModel,
}

/// Whether to continue a run, as `--resume` takes it.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Resume {
    /// Continue the run in the run folder; an error if the folder holds none.
    Always,
    /// Continue the run in the run folder if the folder holds one, else start a new run.
    Auto,
}

#[derive(Args)]
pub struct TrainArguments {
    #[command(flatten)]
    pub training: TrainingArguments,
    /// Override the config's method, for example `sft` as the control of an experiment.
    #[arg(long)]
    pub method: Option<MethodArgument>,
}

#[derive(Args)]
pub struct TrainingArguments {
    #[command(flatten)]
    pub config: ConfigArguments,
    /// Continue the run in the run folder; with `auto`, start it if there is none.
    #[arg(long, num_args = 0..=1, default_missing_value = "always", value_name = "WHEN")]
    pub resume: Option<Resume>,
    /// Print the resolved config, the tools, and the expected memory, tokens and time, for which one step is tried; write
    /// nothing.
    #[arg(long, conflicts_with = "resume")]
    pub dry_run: bool,
    /// Print a JSON object per event on standard output, one on each line, instead of text;
    /// `docs/reference/run.md` describes them.
    #[arg(long, conflicts_with = "dry_run")]
    pub json: bool,
    /// Override the config's number of steps.
    #[arg(long)]
    pub steps: Option<u64>,
    /// Stop after this many minutes of sampling, scoring and training.
    #[arg(long)]
    pub minutes: Option<f64>,
}

#[derive(Args)]
pub struct FetchRewardsArguments {
    #[command(flatten)]
    pub config: ConfigArguments,
    /// The folder to fill; when absent, the config's `rewards.library`, else `library`.
    #[arg(long, value_name = "FOLDER", value_parser = path())]
    pub library: Option<PathBuf>,
    /// Print a JSON object per event on standard output, one on each line, instead of text;
    /// `docs/reference/run.md` describes them.
    #[arg(long)]
    pub json: bool,
}
