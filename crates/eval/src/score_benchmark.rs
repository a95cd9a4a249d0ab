//! Scores a benchmark's completions with a reward tool. Finished items are cached, so that an interrupted evaluation
//! can resume.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use rlar_data::{Completion, Example};
use rlar_rewards::{Outcome, ScoreRecord, Tool};
use rlar_run::sha256;
use serde_json::{Value, json};

use crate::EvalError;
use crate::item::{Benchmark, Item};
use crate::scores::{BenchmarkScores, ItemScores, ScoringCost};

/// Number of items that are scored in one call of the tool.
const BATCH: usize = 32;

/// An item's prompt as an example that tools can score; its domain is the item's category.
pub fn item_example(item: &Item) -> Example {
    Example {
        domain: Some(item.category.clone()),
        ..Example::new(format!("{}: {}", item.category, item.id), item.prompt.clone())
    }
}

/// Scores every completion of a benchmark with a tool; `None` if cancelled.
///
/// An item gets no scores where the tool fails or abstains on any of its completions. Finished items are appended to
/// the JSONL file `cache`, if it is given, and items that are already in this file are not scored again. Items on which
/// the tool failed are not cached. `on_progress` gets the number of finished items.
pub fn score_benchmark(
    benchmark: &Benchmark,
    tool: &Tool,
    cache: Option<&Path>,
    cancelled: &(dyn Fn() -> bool + Sync),
    on_progress: &mut dyn FnMut(usize),
) -> Result<Option<BenchmarkScores>, EvalError> {
    let mut scores = match cache {
        Some(path) => read_cache(path)?,
        None => BTreeMap::new(),
    };
    let pending: Vec<&Item> = benchmark.items.iter().filter(|i| !scores.contains_key(&cache_key(tool, i))).collect();
    let mut finished = benchmark.items.len() - pending.len();
    on_progress(finished);
    for batch in pending.chunks(BATCH) {
        if cancelled() {
            return Ok(None);
        }
        let examples: Vec<Example> = batch.iter().map(|item| item_example(item)).collect();
        let completions: Vec<Vec<Completion>> =
            batch.iter().map(|item| item.completions.iter().map(Completion::whole).collect()).collect();
        let items: Vec<(&Example, &Completion)> =
            examples.iter().zip(&completions).flat_map(|(e, all)| all.iter().map(move |c| (e, c))).collect();
        let mut records = tool.score_records(&items, cancelled)?.into_iter();
        if cancelled() {
            return Ok(None);
        }
        let mut new_lines = String::new();
        for item in batch {
            let records: Vec<ScoreRecord> = records.by_ref().take(item.completions.len()).collect();
            let has_failed = records.iter().any(|r| matches!(r.outcome, Outcome::Failed(_)));
            let item_scores = item_scores(&records);
            if !has_failed {
                new_lines += &cache_line(tool, item, &item_scores);
            }
            scores.insert(cache_key(tool, item), item_scores);
        }
        if let Some(path) = cache {
            append(path, &new_lines)?;
        }
        finished += batch.len();
        on_progress(finished);
    }
    let rows = benchmark.items.iter().map(|item| scores.remove(&cache_key(tool, item)).unwrap_or_default()).collect();
    Ok(Some(BenchmarkScores { tool: tool.card().name.clone(), rows }))
}

/// The key under which an item's scores are cached: a hash of everything that they depend on, which is the tool's
/// contents, the prompt and the completions.
fn cache_key(tool: &Tool, item: &Item) -> String {
    let mut text = format!("{}\0{}\0{}\0{}", tool.cache_identity(), item.category, item.id, item.prompt);
    for completion in &item.completions {
        text = text + "\0" + &completion.len().to_string() + "\0" + completion;
    }
    sha256(text.as_bytes())
}

fn item_scores(records: &[ScoreRecord]) -> ItemScores {
    let mut cost = ScoringCost::default();
    for record in records {
        cost.seconds += record.seconds;
        cost.tokens += record.tokens;
        cost.llm_calls += u64::from(record.tokens > 0);
    }
    ItemScores { scores: records.iter().map(|r| r.outcome.score()).collect(), cost }
}

fn cache_line(tool: &Tool, item: &Item, scores: &ItemScores) -> String {
    let ItemScores { scores, cost } = scores;
    let line = json!({
        "id": item.id, "subset": item.category, "tool": tool.card().name, "key": cache_key(tool, item), "scores": scores,
        "llm_calls": cost.llm_calls, "tokens": cost.tokens, "seconds": cost.seconds,
    });
    line.to_string() + "\n"
}

/// Reads the cached scores of items from a JSONL file; the result maps each item's [`cache_key`] to its scores. A last
/// line that was cut short is ignored, and a missing file counts as empty.
fn read_cache(path: &Path) -> Result<BTreeMap<String, ItemScores>, EvalError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(e) => return Err(EvalError::File { path: path.to_owned(), message: e.to_string() }),
    };
    let mut cached = BTreeMap::new();
    for line in text.split_inclusive('\n').filter(|l| l.ends_with('\n')) {
        let Ok(row) = serde_json::from_str::<Value>(line) else { continue };
        let scores = row["scores"].as_array().map(|all| all.iter().filter_map(Value::as_f64).collect());
        let count = |key: &str| row[key].as_u64().unwrap_or(0);
        let seconds = row["seconds"].as_f64().unwrap_or(0.0);
        let cost = ScoringCost { llm_calls: count("llm_calls"), tokens: count("tokens"), seconds };
        cached.insert(row["key"].as_str().unwrap_or_default().to_owned(), ItemScores { scores, cost });
    }
    if !text.is_empty() && !text.ends_with('\n') {
        // Lines that are appended later must not continue the one that was cut short.
        append(path, "\n")?;
    }
    Ok(cached)
}

fn append(path: &Path, text: &str) -> Result<(), EvalError> {
    let failed = |e: std::io::Error| EvalError::File { path: path.to_owned(), message: e.to_string() };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}
