//! The published files, read into [`Benchmark`]s.
//!
//! | format | columns that tell it | metric |
//! | --- | --- | --- |
//! | [RewardBench 2](rewardbench2) | `prompt`, `chosen` and `rejected` (lists), `subset` of the six | best of n, Ties |
//! | [RM-Bench](rm_bench) | `prompt`, `chosen` and `rejected` (three styles each), `domain` or the file's name | 3 × 3 styles |
//! | [JudgeBench](judgebench) | `pair_id`, `response_A`, `response_B`, `label` | right above wrong |
//! | [LLMBar](llmbar) | `input`, `output_1`, `output_2`, `label` | right above wrong, ties are half |
//! | [any pairs](pairs) | `prompt`, `chosen` and `rejected` (texts) | right above wrong |
//! | [any best of n](best_of_n) | `prompt` or `instruction`, `completions`, and `labels` or a label in each completion | label of the pick |
//!
//! JSONL, a JSON list of objects and Parquet are told apart by how a file begins.

pub mod best_of_n;
pub mod judgebench;
pub mod llmbar;
pub mod pairs;
pub mod rewardbench2;
pub mod rm_bench;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::EvalError;
use crate::item::{Average, Benchmark, Item};
use crate::rows::{Row, rows};

/// What a file's rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RewardBench 2.
    RewardBench2,
    /// RM-Bench.
    RmBench,
    /// JudgeBench.
    JudgeBench,
    /// LLMBar.
    LlmBar,
    /// Any preference pairs.
    Pairs,
    /// Any prompts with labelled completions.
    BestOfN,
}

impl Format {
    /// Tells it from the columns of a row.
    fn of(row: &Row) -> Option<Self> {
        let has = |keys: &[&str]| keys.iter().all(|k| row.has(k));
        if has(&["response_A", "response_B"]) {
            Some(Self::JudgeBench)
        } else if has(&["output_1", "output_2"]) {
            Some(Self::LlmBar)
        } else if row.has("completions") {
            Some(Self::BestOfN)
        } else if row.value("chosen").is_some_and(|c| c.is_string() || c[0].is_object()) {
            Some(Self::Pairs)
        } else if has(&["num_correct"]) || row.text("subset").is_ok_and(|s| rewardbench2::SUBSETS.contains(&&*s)) {
            Some(Self::RewardBench2)
        } else if has(&["chosen", "rejected"]) {
            let three = |key| row.value(key).and_then(Value::as_array).is_some_and(|l| l.len() == 3);
            Some(if three("chosen") && three("rejected") { Self::RmBench } else { Self::RewardBench2 })
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

    fn expected(self) -> &'static [&'static str] {
        match self {
            Self::RewardBench2 => &rewardbench2::SUBSETS,
            Self::RmBench => &rm_bench::DOMAINS,
            Self::JudgeBench => &judgebench::SOURCES,
            Self::LlmBar => &llmbar::SETS,
            Self::Pairs | Self::BestOfN => &[],
        }
    }
}

/// Reads one file in whatever format its first row has.
pub fn read(path: &Path, bytes: &[u8]) -> Result<Benchmark, EvalError> {
    let rows = rows(path, bytes)?;
    let format = rows.first().and_then(Format::of).ok_or_else(|| EvalError::File {
        path: path.to_owned(),
        message: "no known benchmark has these columns; pairs have `prompt`, `chosen`, `rejected`; best of n has \
                  `prompt`, `completions`, `labels`"
            .into(),
    })?;
    build(path, &rows, format)
}

/// Reads one file in a given format.
pub fn read_as(path: &Path, bytes: &[u8], format: Format) -> Result<Benchmark, EvalError> {
    build(path, &rows(path, bytes)?, format)
}

fn build(path: &Path, rows: &[Row], format: Format) -> Result<Benchmark, EvalError> {
    let mut seen = BTreeMap::new();
    let mut items = Vec::with_capacity(rows.len());
    for row in rows {
        let item: Item = match format {
            Format::RewardBench2 => rewardbench2::item(row),
            Format::RmBench => rm_bench::item(row, path),
            Format::JudgeBench => judgebench::item(row),
            Format::LlmBar => llmbar::item(row, path),
            Format::Pairs => pairs::item(row),
            Format::BestOfN => best_of_n::item(row),
        }?;
        if let Some(first) = seen.insert((item.category.clone(), item.id.clone()), row.line()) {
            return Err(row.wrong(format!("id `{}` is that of line {first}, too", item.id)));
        }
        items.push(item);
    }
    Ok(Benchmark { name: format.name().into(), items, average: format.average(), expected: format.expected() })
}

/// The id of a row, or its line.
fn id(row: &Row, key: &str) -> Result<String, EvalError> {
    if row.value(key).is_some() { row.text(key) } else { Ok(row.line().to_string()) }
}

/// A column that names the row's category, else `all`.
fn category(row: &Row) -> Result<String, EvalError> {
    let key = ["category", "subset", "domain", "dataset", "source"].into_iter().find(|k| row.value(k).is_some());
    key.map_or_else(|| Ok("all".to_owned()), |key| row.text(key))
}

/// Labels of `right` right completions and then `wrong` wrong ones.
fn right_then_wrong(right: usize, wrong: usize) -> Vec<Option<f64>> {
    std::iter::repeat_n(Some(1.0), right).chain(std::iter::repeat_n(Some(0.0), wrong)).collect()
}

/// The stem of a file's name, for formats that say in it what the rows are.
fn stem(path: &Path) -> &str {
    path.file_stem().and_then(|s| s.to_str()).unwrap_or_default()
}
