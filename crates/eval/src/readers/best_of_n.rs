//! Reads best-of-n data: prompts with labelled completions, of which a tool picks the one that it scores highest. The
//! benchmark's score is the mean label of the picked completions. Where labels are preferences over a reference model's
//! reply, the score is the win rate of the picks.
//!
//! Rows have `prompt` (or `instruction`), `completions` and `labels` (numbers from 0 to 1, or null). Instead of
//! `labels`, completions may be objects `{output, gpt4_pref}` with AlpacaEval's preference, from 1 (the reference
//! model's reply is better) to 2 (the completion is better).

use std::path::Path;

use serde_json::Value;

use super::{benchmark, category, id};
use crate::EvalError;
use crate::item::{Benchmark, Item, ItemKind};
use crate::rows::{Row, json_type_name, rows};
use crate::scores::{BenchmarkScores, ScoresOfId};

pub(super) fn item(row: &Row) -> Result<Item, EvalError> {
    let list = row.needed("completions")?;
    let list = list.as_array().filter(|l| l.len() > 1).ok_or_else(|| {
        row.wrong(format!("`completions` must be a list of at least two, not {}", json_type_name(list)))
    })?;
    let objects = list.iter().all(Value::is_object);
    let Completions { texts, labels } = if objects { read_objects(row, list)? } else { read_texts(row)? };
    let prompt = row.text(if row.has("prompt") { "prompt" } else { "instruction" })?;
    Ok(Item {
        id: id(row, "id")?,
        category: category(row)?,
        benchmark: benchmark(row),
        prompt,
        completions: texts,
        labels,
        kind: ItemKind::BestOfN,
    })
}

/// The completions of a row, with their labels.
struct Completions {
    texts: Vec<String>,
    /// How good each completion is, from 0 to 1; `None` for a completion without a label.
    labels: Vec<Option<f64>>,
}

/// Reads completions that are objects `{output, gpt4_pref}`. The label of a completion is `gpt4_pref` − 1.
fn read_objects(row: &Row, list: &[Value]) -> Result<Completions, EvalError> {
    let mut completions = Completions { texts: Vec::new(), labels: Vec::new() };
    for (i, completion) in list.iter().enumerate() {
        let text = completion["output"].as_str().map(str::to_owned);
        let text = text.ok_or_else(|| row.wrong(format!("completion {i} has no text `output`")))?;
        let preference = match &completion["gpt4_pref"] {
            Value::Null => None,
            value => Some(value.as_f64().filter(|p| (1.0..=2.0).contains(p)).ok_or_else(|| {
                row.wrong(format!("`gpt4_pref` of completion {i} is {value}; it must be a number from 1 to 2"))
            })?),
        };
        completions.texts.push(text);
        completions.labels.push(preference.map(|p| p - 1.0));
    }
    Ok(completions)
}

/// Reads completions that are texts. Their labels are the list in the column `labels`.
fn read_texts(row: &Row) -> Result<Completions, EvalError> {
    let texts = row.texts("completions")?;
    let labels = row.needed("labels")?.as_array().cloned().unwrap_or_default();
    if labels.len() != texts.len() {
        let message = format!("`labels` holds {} numbers for {} completions", labels.len(), texts.len());
        return Err(row.wrong(message));
    }
    let label = |value: &Value| match value {
        Value::Null => Ok(None),
        _ => match value.as_f64().filter(|l| (0.0..=1.0).contains(l)) {
            Some(label) => Ok(Some(label)),
            None => Err(row.wrong(format!("`labels` holds {value}; labels are numbers from 0 to 1, or null"))),
        },
    };
    let labels = labels.iter().map(label).collect::<Result<_, _>>()?;
    Ok(Completions { texts, labels })
}

/// The completions that a tool picked, as scores: 1 for a picked completion, 0 for the others.
struct Picks {
    tool: String,
    scores: Vec<ScoresOfId>,
}

/// Reads which completions tools picked, from a file's column `rm_pick`, and returns the picks as scores: 1 for the
/// picked completion and 0 for the others. `rm_pick` maps the tool's name to the index of a completion, or to a list of
/// indices where the tool gave several completions the highest score.
pub fn picks(path: &Path, bytes: &[u8], benchmark: &Benchmark) -> Result<Vec<BenchmarkScores>, EvalError> {
    let mut tools: Vec<Picks> = Vec::new();
    for row in rows(path, bytes)? {
        let item_id = id(&row, "id")?;
        let n = row.needed("completions")?.as_array().map_or(0, Vec::len);
        let picks = row.needed("rm_pick")?;
        let picks = picks
            .as_object()
            .ok_or_else(|| row.wrong(format!("`rm_pick` must be an object, not {}", json_type_name(picks))))?;
        for (tool, pick) in picks {
            let single = std::slice::from_ref(pick);
            let mut scores = vec![0.0; n];
            for index in pick.as_array().map_or(single, Vec::as_slice) {
                let index = index.as_u64().map(|i| i as usize).filter(|i| *i < n);
                let index = index
                    .ok_or_else(|| row.wrong(format!("`rm_pick` of `{tool}` is {pick}; indices must be below {n}")))?;
                scores[index] = 1.0;
            }
            let scores = ScoresOfId { id: item_id.clone(), scores };
            match tools.iter_mut().find(|t| t.tool == *tool) {
                Some(picks) => picks.scores.push(scores),
                None => tools.push(Picks { tool: tool.clone(), scores: vec![scores] }),
            }
        }
    }
    tools.into_iter().map(|Picks { tool, scores }| BenchmarkScores::by_id(path, &tool, scores, benchmark)).collect()
}
