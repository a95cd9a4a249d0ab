//! `rlar eval` of policies: on suites, and on a config's held-out data.

use std::path::PathBuf;

use clap::Args;

use super::{BenchmarkCommand, ConfigArguments, ToolArguments};

use crate::cli::path::{path, path_text};

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct EvalArguments {
    #[command(subcommand)]
    pub benchmark: Option<BenchmarkCommand>,
    #[command(flatten)]
    pub policy: PolicyEvalArguments,
}

#[derive(Args)]
pub struct PolicyEvalArguments {
    /// Suites: names of built-in suites, or YAML files. Without any, the held-out data of `--config` is used.
    #[arg(value_name = "SUITE", value_parser = path_text)]
    pub suites: Vec<String>,
    /// Without suites: the config whose held-out data is used. With suites: the config whose run's final policy is
    /// evaluated. It is looked for at this path, then under `configs/`, then among the configs embedded in rlar.
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub config: Option<PathBuf>,
    /// The model to evaluate: a Hugging Face folder, a folder with a LoRA adapter, a GGUF file, or a model of the Hub as
    /// `OWNER/NAME[@REVISION][/FILE.gguf]`.
    #[arg(long, value_name = "PATH", value_parser = path())]
    pub model: Option<PathBuf>,
    /// With suites: evaluate a model on this OpenAI-compatible server, such as `http://localhost:8000/v1`;
    /// `OPENAI_API_KEY` holds its key. May be given several times, for servers with the same model: a request goes to the
    /// one with the fewest in progress, and to another one if that fails.
    #[arg(long, value_name = "URL", requires_all = ["suites", "server_model"], conflicts_with_all = ["model", "answers", "config"])]
    pub server: Vec<String>,
    /// The model's name on the server.
    #[arg(long, value_name = "NAME", requires = "server")]
    pub server_model: Option<String>,
    /// Number of concurrent requests to each server.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub concurrency: u16,
    /// With one suite: evaluate recorded replies. Either rows (JSONL, a JSON list or Parquet, also gzipped) with `id` (or
    /// `task_id`, `key`, `prompt`) and `reply` (or `completion`, `response`, `output`), or a text file with one line per
    /// prompt.
    #[arg(long, value_name = "FILE", requires = "suites", conflicts_with_all = ["model", "config", "samples", "temperature", "max_tokens"], value_parser = path())]
    pub answers: Option<PathBuf>,
    /// With one suite: a data file that replaces the suite's.
    #[arg(long, value_name = "FILE", requires = "suites", value_parser = path_text)]
    pub data: Option<String>,
    /// With suites: use only the first N prompts.
    #[arg(long, value_name = "N", requires = "suites", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// With suites: override the number of replies per prompt.
    #[arg(long, value_name = "N", requires = "suites", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub samples: Option<u32>,
    /// With suites: override the sampling temperature; 0 always takes the most likely token.
    #[arg(long, requires = "suites")]
    pub temperature: Option<f32>,
    /// With suites: override the maximum length of a reply, in tokens.
    #[arg(long, value_name = "N", requires = "suites", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_tokens: Option<u32>,
    /// With suites: override the metrics, for example `pass@10` or `maj@8`; may be given several times.
    #[arg(long, value_name = "NAME", requires = "suites")]
    pub metric: Vec<String>,
    /// With suites: a folder of tools; rlar's built-in library when absent.
    #[arg(long, value_name = "FOLDER", requires = "suites", value_parser = path())]
    pub library: Option<PathBuf>,
    /// With suites: a folder for each suite's replies, verdicts and results; an interrupted evaluation continues from
    /// it.
    #[arg(long, value_name = "FOLDER", requires = "suites", value_parser = path())]
    pub out: Option<PathBuf>,
    /// With suites: number of sequences that are generated together.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub batch: u16,
    /// With suites: number of bootstrap resamples for 95 % confidence intervals; 0 omits the intervals.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub bootstrap: u32,
    /// With suites: print the results as Markdown.
    #[arg(long, requires = "suites")]
    pub markdown: bool,
    /// Print a JSON object per event on standard output, one on each line, instead of text;
    /// `docs/reference/run.md` describes them.
    #[arg(long, conflicts_with = "markdown")]
    pub json: bool,
    /// With suites: the model's device: `cpu`, `cuda:N` or `auto`; when absent, the config's, else the CPU.
    #[arg(long, requires = "suites")]
    pub device: Option<String>,
    /// Seed of sampling and bootstrap; without suites, it overrides the config's seed.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Override the config's run folder.
    #[arg(long, value_name = "FOLDER", requires = "config", value_parser = path())]
    pub run: Option<PathBuf>,
    #[command(flatten)]
    pub tools: ToolArguments,
}

impl PolicyEvalArguments {
    /// The config and its overrides; `None` without `--config`.
    pub fn config_arguments(&self) -> Option<ConfigArguments> {
        let config = self.config.clone()?;
        Some(ConfigArguments { config, seed: self.seed, run: self.run.clone(), model: self.model.clone() })
    }
}
