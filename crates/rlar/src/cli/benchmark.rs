//! `rlar eval` of rewards: `rewardbench-v2` and `rewards`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::ToolArguments;

use crate::cli::path::path;

#[derive(Subcommand)]
pub enum BenchmarkCommand {
    /// RewardBench 2: how well rewards tell correct from incorrect completions.
    #[command(
        after_help = "Examples:\n  rlar eval rewardbench-v2 --data rows.jsonl --tool brevity --bootstrap 1000\n  rlar eval rewardbench-v2 --data rows.parquet --model skywork-reward --out results\n  rlar eval rewardbench-v2 --data rows.jsonl --scores eval-set-scores/model.json\n  rlar eval rewardbench-v2 --data rows.jsonl --route builtin"
    )]
    RewardbenchV2(RewardBenchmarkArguments),
    /// Any benchmark of rewards, recognised by its columns: RewardBench 2, RM-Bench, JudgeBench, LLMBar, best of N, or
    /// pairs with `prompt`, `chosen` and `rejected`.
    #[command(
        after_help = "Example:\n  rlar eval rewards --data pairs.jsonl --scores rm_scores.jsonl --route static:skywork --cross-fit"
    )]
    Rewards(RewardBenchmarkArguments),
}

/// How a generative judge is prompted, as `--judge` takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum JudgePrompt {
    /// Rate each completion from 1 to 10.
    Ratings,
    /// Choose the best of four completions in shuffled order. Items of the category Ties, and items without exactly four
    /// completions of which the first alone is correct, are rated.
    Four,
    /// Like `four`, for models without system messages: the instructions precede the question.
    FourMerged,
    /// Like `four`, with the shorter instructions that RewardBench 2 uses for Gemini.
    FourBare,
}

// Each is an option of its own on the command line.
#[allow(clippy::struct_excessive_bools)]
#[derive(Args)]
pub struct RewardBenchmarkArguments {
    /// The benchmark's published files: JSONL, a JSON list or Parquet. Several files are joined. `rewards` requires this;
    /// without it, `rewardbench-v2` reads what `rlar data fetch rewardbench-v2` downloaded.
    #[arg(long, value_name = "FILE", num_args = 1.., value_parser = path())]
    pub data: Vec<PathBuf>,
    /// A tool of the library; may be given several times. Without tools, models, judges and scores, all admitted tools
    /// that need no reference are used, except judges, `code_tests` and `instructions`.
    #[arg(long, value_name = "NAME")]
    pub tool: Vec<String>,
    /// A folder of tools; rlar's built-in library when absent.
    #[arg(long, value_name = "FOLDER", value_parser = path())]
    pub library: Option<PathBuf>,
    /// The Hugging Face folder of a reward model, or one of the Hub as `OWNER/NAME[@REVISION]`; may be given several
    /// times.
    #[arg(long, value_name = "FOLDER", value_parser = path())]
    pub model: Vec<PathBuf>,
    /// Scores from elsewhere: JSONL with `id` and `scores`, or an `eval-set-scores` file of RewardBench 2; may be given
    /// several times.
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub scores: Vec<PathBuf>,
    /// With --scores: leave out items that any of these files lacks; without this option, a missing item is an error.
    #[arg(long, requires = "scores")]
    pub only_scored: bool,
    /// Use the language model as a generative judge, prompted like this; may be given several times.
    #[arg(long, value_name = "HOW")]
    pub judge: Vec<JudgePrompt>,
    /// A strategy that chooses among the tools for each prompt, to compare with each single tool, their ensemble and
    /// oracles: `static:NAME`, `builtin`, `agent` (asks the language model), or `oracle` (the comparison alone); may be
    /// given several times.
    #[arg(long, value_name = "ROUTE")]
    pub route: Vec<String>,
    /// Also compare simple ways to choose or weight the tools by category on items that they were not fitted on: each
    /// is fitted on one half of the items and measured on the other, over 200 random splits; then on the labels of only 2,
    /// 5, 10, 20 and 40 items per category, and, if the items name their benchmarks, on all benchmarks but one.
    #[arg(long)]
    pub cross_fit: bool,
    /// Use only this category; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub subset: Vec<String>,
    /// Use only the first N prompts of each category.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Number of bootstrap resamples for 95 % confidence intervals; 0 omits the intervals.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub bootstrap: u32,
    /// Seed of bootstrap, splits and shuffled completions.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Score the category Ties as this version of `reward-bench` does: `0.1.4`; the newest when absent.
    #[arg(long, value_name = "VERSION", value_parser = ["0.1.4"])]
    pub compat: Option<String>,
    /// A folder for results in the format of `reward-bench` (`eval-set/`, `eval-set-scores/`) and for each item's
    /// scores (`items/`); an interrupted evaluation continues from it.
    #[arg(long, value_name = "FOLDER", value_parser = path())]
    pub out: Option<PathBuf>,
    /// Print the results as Markdown.
    #[arg(long)]
    pub markdown: bool,
    /// Print a JSON object per event on standard output, one on each line, instead of text;
    /// `docs/reference/run.md` describes them.
    #[arg(long, conflicts_with = "markdown")]
    pub json: bool,
    /// The device of reward models: `cpu`, `cuda:N` or `auto`.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    #[command(flatten)]
    pub tools: ToolArguments,
}
