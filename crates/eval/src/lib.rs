//! Measures how good a policy is, and how good a reward tool is.
//!
//! **Policies.** [`accuracy`](mod@accuracy) samples replies to examples and measures the share that reward tools find
//! correct, per kind of task. A [`suite`] is a published or private benchmark of policies, and [`datasets`] downloads
//! the data that suites need.
//!
//! **Reward tools.** A [`Benchmark`] is a list of prompts with labelled completions. [`readers`] reads the published
//! files, [`score_benchmark`](mod@score_benchmark) scores the completions with a reward tool, [`judge`] scores them
//! with a language model, and [`scores`] reads and writes files of scores. [`item_metric`] and [`reward_bench_2`]
//! compute accuracies from scores, [`report`] averages accuracies and adds [`bootstrap`] intervals, and
//! [`reward_bench_files`] writes the files that RewardBench's own scripts read. [`routing`] measures whether choosing a
//! tool per prompt is better than the best single tool.
//!
//! ```
//! use std::path::Path;
//!
//! use rlar_eval::readers::read_benchmark;
//! use rlar_eval::reward_bench_2::RewardBenchVersion;
//! use rlar_eval::{BenchmarkReport, BenchmarkScores};
//!
//! let rows = br#"{"prompt": "What is 1 + 1?", "chosen": "2", "rejected": "3"}"#;
//! let benchmark = read_benchmark(Path::new("pairs.jsonl"), rows)?;
//! let scores = BenchmarkScores::new("my reward", &benchmark, vec![Some(vec![0.9, 0.1])])?;
//! let report = BenchmarkReport::new(&benchmark, &scores, RewardBenchVersion::default(), None);
//! assert!(report.terminal().contains("100.0"));
//! # Ok::<(), rlar_eval::EvalError>(())
//! ```

pub mod error;

pub mod accuracy;
pub mod datasets;
mod prompt_encoding;
mod reply_text;
pub mod suite;

pub mod item;
pub mod readers;
mod rows;

pub mod judge;
pub mod score_benchmark;
pub mod scores;

pub mod bootstrap;
pub mod item_metric;
pub mod report;
pub mod reward_bench_2;
mod statistics;
pub mod table;
pub mod win_rate;

mod python_json;
pub mod reward_bench_files;

pub mod routing;

pub use accuracy::{Accuracy, Protocol, ScoredReply, accuracy, sampled_accuracy};
pub use error::EvalError;
pub use item::{Average, Benchmark, Item, ItemKind};
pub use prompt_encoding::{
    PromptFormat, check_prompt_fits, check_prompt_length, encode_fitting_prompt, encode_prompt, encode_prompts,
    render_prompt, turns,
};
pub use reply_text::{prefill, stop_conflict, tags_conflict};
pub use report::BenchmarkReport;
pub use scores::{BenchmarkScores, ScoringCost};
pub use win_rate::WinRate;
