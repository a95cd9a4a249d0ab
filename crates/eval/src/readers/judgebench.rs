//! Reads JudgeBench (Tan et al., 2024): pairs of answers of which one is objectively correct. A judge sees each pair
//! twice, in both orders. It is right about a pair if it decides for the correct answer more often than for the
//! incorrect one.

use std::path::Path;

use super::id;
use crate::EvalError;
use crate::item::{Benchmark, Item, ItemKind};
use crate::rows::{Row, json_type_name, rows};
use crate::scores::{BenchmarkScores, ScoresOfId};

/// The sources of questions, which are the benchmark's categories, in the order of the published summary. The column
/// `source` of a row begins with one of them.
pub const SOURCES: [&str; 4] = ["mmlu-pro", "livebench-reasoning", "livebench-math", "livecodebench"];

pub(super) fn item(row: &Row) -> Result<Item, EvalError> {
    let source = row.text("source")?;
    let category = SOURCES.into_iter().find(|s| source.starts_with(s)).unwrap_or(&source).to_owned();
    let label = row.text("label")?;
    let labels = match Decision::parse(&label) {
        Some(Decision::First) => vec![Some(1.0), Some(0.0)],
        Some(Decision::Second) => vec![Some(0.0), Some(1.0)],
        _ => return Err(row.wrong(format!("`label` is `{label}`; it must be `A>B` or `B>A`"))),
    };
    Ok(Item {
        id: id(row, "pair_id")?,
        category,
        benchmark: None,
        prompt: row.text("question")?,
        completions: vec![row.text("response_A")?, row.text("response_B")?],
        labels,
        kind: ItemKind::Pairwise,
    })
}

/// A judge's decision between the two answers that it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// `A>B`: the first answer is better.
    First,
    /// `B>A`: the second answer is better.
    Second,
    /// `A=B`: neither is better.
    Tie,
}

impl Decision {
    /// Parses `A>B`, `B>A` or `A=B`; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "A>B" => Some(Self::First),
            "B>A" => Some(Self::Second),
            "A=B" => Some(Self::Tie),
            _ => None,
        }
    }
}

/// The scores of the two answers of a pair: how many of a judge's two decisions are for the first answer, and how many
/// for the second. For `in_order` the judge saw the first answer first, for `swapped` the second answer first. `None`,
/// a missing decision, counts for neither answer, as in `compute_final_metrics` of the reference implementation.
pub fn votes(in_order: Option<Decision>, swapped: Option<Decision>) -> [f64; 2] {
    let count = |wanted: Decision, wanted_swapped: Decision| {
        f64::from(u8::from(in_order == Some(wanted))) + f64::from(u8::from(swapped == Some(wanted_swapped)))
    };
    [count(Decision::First, Decision::Second), count(Decision::Second, Decision::First)]
}

/// Reads scores from a file that the reference implementation writes into `outputs/`. Its rows have `pair_id` and
/// `judgments`: a list of one or two judgments, null where the judge failed. Fails where a pair is missing, or is not
/// in the benchmark.
pub fn judgments(path: &Path, bytes: &[u8], tool: &str, benchmark: &Benchmark) -> Result<BenchmarkScores, EvalError> {
    let mut scores = Vec::new();
    for row in rows(path, bytes)? {
        let judgments = row.needed("judgments")?;
        let judgments = judgments.as_array().filter(|j| (1..=2).contains(&j.len())).ok_or_else(|| {
            row.wrong(format!("`judgments` must be a list of one or two judgments, not {}", json_type_name(judgments)))
        })?;
        let decision = |i: usize| judgments.get(i).and_then(|j| j["decision"].as_str()).and_then(Decision::parse);
        scores.push(ScoresOfId { id: row.text("pair_id")?, scores: votes(decision(0), decision(1)).to_vec() });
    }
    BenchmarkScores::by_id(path, tool, scores, benchmark)
}
