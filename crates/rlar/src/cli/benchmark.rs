//! `rlar eval` on benchmarks of rewards.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Asked;

#[derive(Subcommand)]
pub enum Benchmark {
    /// RewardBench 2: how well rewards pick the right completions.
    #[command(
        after_help = "Examples:\n  rlar eval rewardbench-v2 --data rows.jsonl --tool brevity --bootstrap 1000\n  rlar eval rewardbench-v2 --data rows.parquet --model skywork-reward --out results\n  rlar eval rewardbench-v2 --data rows.jsonl --scores eval-set-scores/model.json\n  rlar eval rewardbench-v2 --data rows.jsonl --route builtin"
    )]
    RewardbenchV2(RewardBenchmark),
    /// Any benchmark of rewards, told by its columns: RewardBench 2, RM-Bench, JudgeBench, LLMBar, best of N, or pairs with
    /// `prompt`, `chosen` and `rejected`.
    #[command(
        after_help = "Example:\n  rlar eval rewards --data pairs.jsonl --scores rm_scores.jsonl --route static:skywork --cross-fit"
    )]
    Rewards(RewardBenchmark),
}

/// How a generative judge is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Judging {
    /// A number from 1 to 10 for every completion.
    Ratings,
    /// The best of four completions in shuffled places; items with other numbers of completions, and Ties, get ratings.
    Four,
    /// The same for models without system messages: the instructions stand before the question.
    FourMerged,
    /// The same with the reference's shorter instructions (those for Gemini).
    FourBare,
}

#[derive(Args)]
pub struct RewardBenchmark {
    /// The benchmark as it is published: JSONL, a JSON list or Parquet. Several files are joined. For RewardBench 2, what
    /// `rlar data fetch rewardbench-v2` got, when absent.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub data: Vec<PathBuf>,
    /// A tool of the library; may be given several times. Without tools, models and scores, all that need no reference.
    #[arg(long, value_name = "NAME")]
    pub tool: Vec<String>,
    /// Folder with tools; rlar's own when absent.
    #[arg(long, value_name = "FOLDER")]
    pub library: Option<PathBuf>,
    /// A reward model, run natively: a Hugging Face folder; may be given several times.
    #[arg(long, value_name = "FOLDER")]
    pub model: Vec<PathBuf>,
    /// Scores made elsewhere: JSONL with `id` and `scores`, or the reference's `eval-set-scores` file.
    #[arg(long, value_name = "FILE")]
    pub scores: Vec<PathBuf>,
    /// With --scores: leave out items that some of these files do not hold; without it, that is an error.
    #[arg(long, requires = "scores")]
    pub only_scored: bool,
    /// Ask the language model as the reference asks generative judges; may be given twice.
    #[arg(long, value_name = "HOW")]
    pub judge: Vec<Judging>,
    /// A way to choose among the tools, prompt by prompt, beside each of them, their ensemble and the oracles: `static:NAME`,
    /// `builtin`, `agent` (which asks the language model), or `oracle` (nothing but the comparison).
    #[arg(long, value_name = "ROUTE")]
    pub route: Vec<String>,
    /// Fit ways to choose on one half of the items and report them on the other, 200 times.
    #[arg(long)]
    pub cross_fit: bool,
    /// Only this category; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub subset: Vec<String>,
    /// Only the first prompts of each category.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Resamples for 95 % intervals; 0 gives none.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub bootstrap: u32,
    /// Seed of resamples and splits.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Score Ties as this version of the reference does: `0.1.4`; the newer one when absent.
    #[arg(long, value_name = "VERSION", value_parser = ["0.1.4"])]
    pub compat: Option<String>,
    /// Folder for the reference's files (`eval-set/`, `eval-set-scores/`) and for every item's scores (`items/`), which an
    /// interrupted evaluation goes on from.
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Print Markdown.
    #[arg(long)]
    pub markdown: bool,
    /// Where reward models run: `cpu`, `cuda:N` or `auto`.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    #[command(flatten)]
    pub asked: Asked,
}
