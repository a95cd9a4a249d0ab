//! Best of n: prompts with completions and how good each is. The figure is the mean label of the picks, which is
//! their win rate where labels are preferences over a reference.
//!
//! Rows hold `prompt` (or `instruction`), `completions` and `labels` (numbers from 0 to 1, null where nobody judged),
//! or completions `{output, gpt4_pref}` with AlpacaEval's preference from 1 (the reference wins) to 2.

use std::path::Path;

use serde_json::Value;

use super::{category, id};
use crate::EvalError;
use crate::item::{Benchmark, Item, Kind};
use crate::rows::{Row, json_type_name, rows};
use crate::scores::Scores;

pub(super) fn item(row: &Row) -> Result<Item, EvalError> {
    let list = row.needed("completions")?;
    let list = list.as_array().filter(|l| l.len() > 1).ok_or_else(|| {
        row.wrong(format!("`completions` must be a list of at least two, not {}", json_type_name(list)))
    })?;
    let objects = list.iter().all(Value::is_object);
    let (completions, labels) = if objects { annotated(row, list)? } else { labelled(row)? };
    let prompt = row.text(if row.has("prompt") { "prompt" } else { "instruction" })?;
    Ok(Item { id: id(row, "id")?, category: category(row)?, prompt, completions, labels, kind: Kind::Pick })
}

type Completions = (Vec<String>, Vec<Option<f64>>);

fn annotated(row: &Row, list: &[Value]) -> Result<Completions, EvalError> {
    let one = |(i, completion): (usize, &Value)| {
        let text = completion["output"].as_str().map(str::to_owned);
        let text = text.ok_or_else(|| row.wrong(format!("completion {i} has no text `output`")))?;
        let preference = match &completion["gpt4_pref"] {
            Value::Null => None,
            value => Some(value.as_f64().filter(|p| (1.0..=2.0).contains(p)).ok_or_else(|| {
                row.wrong(format!("`gpt4_pref` of completion {i} is {value}; it must be a number from 1 to 2"))
            })?),
        };
        Ok((text, preference.map(|p| p - 1.0)))
    };
    list.iter().enumerate().map(one).collect()
}

fn labelled(row: &Row) -> Result<Completions, EvalError> {
    let completions = row.texts("completions")?;
    let labels = row.needed("labels")?.as_array().cloned().unwrap_or_default();
    if labels.len() != completions.len() {
        return Err(row.wrong(format!(
            "`labels` holds {} numbers for {} completions",
            labels.len(),
            completions.len()
        )));
    }
    let label = |value: &Value| match value {
        Value::Null => Ok(None),
        _ => match value.as_f64().filter(|l| (0.0..=1.0).contains(l)) {
            Some(label) => Ok(Some(label)),
            None => Err(row.wrong(format!("`labels` holds {value}; labels are numbers from 0 to 1, or null"))),
        },
    };
    let labels = labels.iter().map(label).collect::<Result<_, _>>()?;
    Ok((completions, labels))
}

/// Items' ids and their scores.
type Picked = Vec<(String, Vec<f64>)>;

/// The picks that a file records in `rm_pick` (a position, or a list of positions of equal texts), as scores of
/// each tool: 1 for the picked and 0 for the others.
pub fn picks(path: &Path, bytes: &[u8], benchmark: &Benchmark) -> Result<Vec<Scores>, EvalError> {
    let mut tools: Vec<(String, Picked)> = Vec::new();
    for row in rows(path, bytes)? {
        let item_id = id(&row, "id")?;
        let n = row.needed("completions")?.as_array().map_or(0, Vec::len);
        let picks = row.needed("rm_pick")?;
        let picks = picks
            .as_object()
            .ok_or_else(|| row.wrong(format!("`rm_pick` must be an object, not {}", json_type_name(picks))))?;
        for (tool, pick) in picks {
            let one = std::slice::from_ref(pick);
            let mut scores = vec![0.0; n];
            for place in pick.as_array().map_or(one, Vec::as_slice) {
                let place = place.as_u64().map(|p| p as usize).filter(|p| *p < n);
                let place = place
                    .ok_or_else(|| row.wrong(format!("`rm_pick` of `{tool}` is {pick}; positions are below {n}")))?;
                scores[place] = 1.0;
            }
            match tools.iter_mut().find(|(name, _)| name == tool) {
                Some((_, rows)) => rows.push((item_id.clone(), scores)),
                None => tools.push((tool.clone(), vec![(item_id.clone(), scores)])),
            }
        }
    }
    tools.into_iter().map(|(tool, found)| Scores::by_id(path, &tool, found, benchmark)).collect()
}
