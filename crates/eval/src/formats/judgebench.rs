//! JudgeBench (Tan et al., 2024): pairs of which one answer is objectively right. A judge plays both orders; a pair
//! is won when more games go to the right answer than to the wrong one.

use std::path::Path;

use super::id;
use crate::EvalError;
use crate::item::{Benchmark, Item, Kind};
use crate::rows::{Row, json_type_name, rows};
use crate::scores::Scores;

/// The sources in the order of the reference's summary; a row's `source` begins with one.
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
        prompt: row.text("question")?,
        completions: vec![row.text("response_A")?, row.text("response_B")?],
        labels,
        kind: Kind::Beat,
    })
}

/// What a judge says of two answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// `A>B`.
    First,
    /// `B>A`.
    Second,
    /// `A=B`.
    Tie,
}

impl Decision {
    /// Reads `A>B`, `B>A` or `A=B`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "A>B" => Some(Self::First),
            "B>A" => Some(Self::Second),
            "A=B" => Some(Self::Tie),
            _ => None,
        }
    }
}

/// Games won by the first and by the second answer, as scores of the pair: `shown` judged them in order, `swapped`
/// the other way round. A game without a decision counts for neither, as in the reference's
/// `compute_final_metrics`.
pub fn votes(shown: Option<Decision>, swapped: Option<Decision>) -> [f64; 2] {
    let won = |by: Decision, by_swapped: Decision| {
        f64::from(u8::from(shown == Some(by))) + f64::from(u8::from(swapped == Some(by_swapped)))
    };
    [won(Decision::First, Decision::Second), won(Decision::Second, Decision::First)]
}

/// Scores from a file of the reference's `outputs/`: rows with `pair_id` and `judgments`, one or two games each,
/// `null` where the judge failed. Pairs that a benchmark does not hold are an error, as are pairs left out.
pub fn judgments(path: &Path, bytes: &[u8], tool: &str, benchmark: &Benchmark) -> Result<Scores, EvalError> {
    let mut found = Vec::new();
    for row in rows(path, bytes)? {
        let games = row.needed("judgments")?;
        let games = games.as_array().filter(|g| (1..=2).contains(&g.len())).ok_or_else(|| {
            row.wrong(format!("`judgments` must be a list of one or two games, not {}", json_type_name(games)))
        })?;
        let decision = |game: usize| {
            let said = games.get(game).and_then(|g| g["decision"].as_str());
            said.and_then(Decision::parse)
        };
        found.push((row.text("pair_id")?, votes(decision(0), decision(1)).to_vec()));
    }
    Scores::by_id(path, tool, found, benchmark)
}
