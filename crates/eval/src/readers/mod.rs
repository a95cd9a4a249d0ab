//! Readers of the published files of benchmarks of reward tools. A file's columns decide how it is read.
//!
//! | benchmark | columns by which it is recognised | metric |
//! | --- | --- | --- |
//! | [RewardBench 2](reward_bench_2) | `prompt`, `chosen` and `rejected` (lists), `subset` of the six | best of n, Ties |
//! | [RM-Bench](rm_bench) | `prompt`, `chosen` and `rejected` (three styles each), `domain` or the file's name | 3 × 3 styles |
//! | [JudgeBench](judgebench) | `pair_id`, `response_A`, `response_B`, `label` | correct above incorrect |
//! | [LLMBar](llmbar) | `input`, `output_1`, `output_2`, `label` | correct above incorrect, a tie is half |
//! | [any pairs](pairs) | `prompt`, `chosen` and `rejected` (texts) | correct above incorrect |
//! | [any best of n](best_of_n) | `prompt` or `instruction`, `completions`, and `labels` or a label in each completion | label of the pick |
//!
//! Files are JSONL, a JSON list of objects or Parquet. The first bytes of a file decide which of these it is.

pub mod best_of_n;
pub mod judgebench;
pub mod llmbar;
pub mod pairs;
pub mod reward_bench_2;
pub mod rm_bench;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::EvalError;
use crate::item::{Average, Benchmark, Item};
use crate::reward_bench_2::SUBSETS;
use crate::rows::{Row, rows};

/// The format of a file's rows: that of a published benchmark, or a general one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BenchmarkFormat {
    /// The format of RewardBench 2.
    RewardBench2,
    /// The format of RM-Bench.
    RmBench,
    /// The format of JudgeBench.
    JudgeBench,
    /// The format of LLMBar.
    LlmBar,
    /// Preference pairs of any source: a prompt with a better and a worse reply.
    Pairs,
    /// Prompts with labelled completions, of any source.
    BestOfN,
}

impl BenchmarkFormat {
    /// Recognises the format of a row by its columns; `None` where no format has these columns.
    fn detect(row: &Row) -> Option<Self> {
        let has = |keys: &[&str]| keys.iter().all(|k| row.has(k));
        if has(&["response_A", "response_B"]) {
            Some(Self::JudgeBench)
        } else if has(&["output_1", "output_2"]) {
            Some(Self::LlmBar)
        } else if row.has("completions") {
            Some(Self::BestOfN)
        } else if row.value("chosen").is_some_and(|c| c.is_string() || c[0].is_object()) {
            Some(Self::Pairs)
        } else if has(&["num_correct"]) || row.text("subset").is_ok_and(|s| SUBSETS.contains(&&*s)) {
            Some(Self::RewardBench2)
        } else if has(&["chosen", "rejected"]) {
            let has_three = |key| row.value(key).and_then(Value::as_array).is_some_and(|l| l.len() == 3);
            Some(if has_three("chosen") && has_three("rejected") { Self::RmBench } else { Self::RewardBench2 })
        } else {
            None
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::RewardBench2 => "RewardBench 2",
            Self::RmBench => "RM-Bench",
            Self::JudgeBench => "JudgeBench",
            Self::LlmBar => "LLMBar",
            Self::Pairs => "pairs",
            Self::BestOfN => "best of n",
        }
    }

    fn average(self) -> Average {
        match self {
            Self::RewardBench2 | Self::RmBench | Self::LlmBar => Average::Categories,
            Self::JudgeBench | Self::Pairs | Self::BestOfN => Average::Items,
        }
    }

    fn expected_categories(self) -> &'static [&'static str] {
        match self {
            Self::RewardBench2 => &SUBSETS,
            Self::RmBench => &rm_bench::DOMAINS,
            Self::JudgeBench => &judgebench::SOURCES,
            Self::LlmBar => &llmbar::SETS,
            Self::Pairs | Self::BestOfN => &[],
        }
    }
}

/// Reads a benchmark from a file's contents. The columns of the first row decide the format.
pub fn read_benchmark(path: &Path, bytes: &[u8]) -> Result<Benchmark, EvalError> {
    let rows = rows(path, bytes)?;
    let format = rows.first().and_then(BenchmarkFormat::detect).ok_or_else(|| EvalError::File {
        path: path.to_owned(),
        message: "no known benchmark has these columns; pairs have `prompt`, `chosen`, `rejected`; best of n has \
                  `prompt`, `completions`, `labels`"
            .into(),
    })?;
    build(path, &rows, format)
}

/// Reads a benchmark from the contents of a file in the given format.
pub fn read_benchmark_as(path: &Path, bytes: &[u8], format: BenchmarkFormat) -> Result<Benchmark, EvalError> {
    build(path, &rows(path, bytes)?, format)
}

fn build(path: &Path, rows: &[Row], format: BenchmarkFormat) -> Result<Benchmark, EvalError> {
    let mut lines = BTreeMap::new();
    let mut items = Vec::with_capacity(rows.len());
    for row in rows {
        let item: Item = match format {
            BenchmarkFormat::RewardBench2 => reward_bench_2::item(row),
            BenchmarkFormat::RmBench => rm_bench::item(row, path),
            BenchmarkFormat::JudgeBench => judgebench::item(row),
            BenchmarkFormat::LlmBar => llmbar::item(row, path),
            BenchmarkFormat::Pairs => pairs::item(row),
            BenchmarkFormat::BestOfN => best_of_n::item(row),
        }?;
        if let Some(first) = lines.insert((item.category.clone(), item.id.clone()), row.line()) {
            return Err(row.wrong(format!("id `{}` occurs in line {first} too", item.id)));
        }
        items.push(item);
    }
    Ok(Benchmark {
        name: format.name().into(),
        items,
        average: format.average(),
        expected: format.expected_categories(),
    })
}

/// The id of a row, from the column `key`; the number of the row's line where it has no such column.
fn id(row: &Row, key: &str) -> Result<String, EvalError> {
    if row.value(key).is_some() { row.text(key) } else { Ok(row.line().to_string()) }
}

/// The category of a row: the first of the columns `category`, `subset`, `domain`, `dataset` and `source` that has a
/// value, else `all`.
fn category(row: &Row) -> Result<String, EvalError> {
    let key = ["category", "subset", "domain", "dataset", "source"].into_iter().find(|k| row.value(k).is_some());
    key.map_or_else(|| Ok("all".to_owned()), |key| row.text(key))
}

/// The benchmark that a row of a collection was taken from: the text in the column `benchmark`.
fn benchmark(row: &Row) -> Option<String> {
    row.value("benchmark").and_then(serde_json::Value::as_str).map(str::to_owned)
}

/// The labels of completions of which the correct ones stand first: 1 for each of the `correct` ones, then 0 for each
/// of the `incorrect` ones.
fn correct_then_incorrect(correct: usize, incorrect: usize) -> Vec<Option<f64>> {
    std::iter::repeat_n(Some(1.0), correct).chain(std::iter::repeat_n(Some(0.0), incorrect)).collect()
}

/// The name of a file without its extension.
fn file_stem(path: &Path) -> &str {
    path.file_stem().and_then(|s| s.to_str()).unwrap_or_default()
}
