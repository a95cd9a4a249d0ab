//! Asking a tool about a benchmark's completions, item by item, so that an interrupted evaluation goes on.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use rlar_data::{Completion, Example, Message, Role};
use rlar_rewards::{Outcome, ScoreRecord, Tool};
use rlar_run::sha256;
use serde_json::{Map, Value, json};

use crate::EvalError;
use crate::item::{Benchmark, Item};
use crate::scores::{Cost, Scored, Scores};

/// Items that a tool sees at once.
const AT_ONCE: usize = 32;

/// An item's prompt as tools see it: its category is its domain.
pub fn example(item: &Item) -> Example {
    Example {
        id: format!("{}: {}", item.category, item.id),
        messages: vec![Message { role: Role::User, content: item.prompt.clone() }],
        reference: None,
        domain: Some(item.category.clone()),
        demonstration: None,
        columns: Map::new(),
    }
}

/// What a tool says of every completion. An item that it fails on, or does not judge, has no scores. With a file, each item
/// is kept there once it is scored, and what stands there already is not asked again; the file belongs to this tool as it is.
/// `over` ends the asking early, and then there are no scores; `done` hears of every item.
pub fn ask(
    benchmark: &Benchmark,
    tool: &Tool,
    kept: Option<&Path>,
    over: &(dyn Fn() -> bool + Sync),
    done: &mut dyn FnMut(usize),
) -> Result<Option<Scores>, EvalError> {
    let mut known = match kept {
        Some(path) => read(path)?,
        None => BTreeMap::new(),
    };
    let open: Vec<&Item> = benchmark.items.iter().filter(|i| !known.contains_key(&key(tool, i))).collect();
    let mut ready = benchmark.items.len() - open.len();
    done(ready);
    for some in open.chunks(AT_ONCE) {
        if over() {
            return Ok(None);
        }
        let examples: Vec<Example> = some.iter().map(|item| example(item)).collect();
        let replies: Vec<Vec<Completion>> =
            some.iter().map(|item| item.completions.iter().map(Completion::whole).collect()).collect();
        let items: Vec<(&Example, &Completion)> =
            examples.iter().zip(&replies).flat_map(|(e, all)| all.iter().map(move |c| (e, c))).collect();
        let mut told = tool.score_records(&items, over)?.into_iter();
        if over() {
            return Ok(None);
        }
        let mut lines = String::new();
        for item in some {
            let told: Vec<ScoreRecord> = told.by_ref().take(item.completions.len()).collect();
            let failed = told.iter().any(|t| matches!(t.outcome, Outcome::Failed(_)));
            let scored = scored(told.into_iter());
            // A failure may not be one the next time.
            if !failed {
                lines = lines + &line(tool, item, &scored).to_string() + "\n";
            }
            known.insert(key(tool, item), scored);
        }
        if let Some(path) = kept {
            append(path, &lines)?;
        }
        ready += some.len();
        done(ready);
    }
    let rows = benchmark.items.iter().map(|item| known.remove(&key(tool, item)).unwrap_or_default()).collect();
    Ok(Some(Scores { tool: tool.card().name.clone(), rows }))
}

/// What tells a tool's scores of an item from all others: whom it asks, what it is made of, and what was asked.
fn key(tool: &Tool, item: &Item) -> String {
    let mut text = format!("{}\0{}\0{}\0{}", tool.cache_identity(), item.category, item.id, item.prompt);
    for completion in &item.completions {
        text = text + "\0" + &completion.len().to_string() + "\0" + completion;
    }
    sha256(text.as_bytes())
}

fn scored(told: impl Iterator<Item = ScoreRecord>) -> Scored {
    let mut cost = Cost::default();
    let mut scores = Some(Vec::new());
    for told in told {
        cost.seconds += told.seconds;
        cost.tokens += told.tokens;
        cost.llm_calls += u64::from(told.tokens > 0);
        scores = scores.zip(told.outcome.score()).map(|(mut all, score)| {
            all.push(score);
            all
        });
    }
    Scored { scores, cost }
}

fn line(tool: &Tool, item: &Item, scored: &Scored) -> Value {
    json!({
        "id": item.id, "subset": item.category, "tool": tool.card().name, "key": key(tool, item), "scores": scored.scores,
        "llm_calls": scored.cost.llm_calls, "tokens": scored.cost.tokens, "seconds": scored.cost.seconds,
    })
}

/// What a file holds, by key. A last line that was cut short counts for nothing.
fn read(path: &Path) -> Result<BTreeMap<String, Scored>, EvalError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(e) => return Err(EvalError::File { path: path.to_owned(), message: e.to_string() }),
    };
    let mut known = BTreeMap::new();
    for line in text.split_inclusive('\n').filter(|l| l.ends_with('\n')) {
        let Ok(row) = serde_json::from_str::<Value>(line) else { continue };
        let scores = row["scores"].as_array().map(|all| all.iter().filter_map(Value::as_f64).collect());
        let count = |key: &str| row[key].as_u64().unwrap_or(0);
        let seconds = row["seconds"].as_f64().unwrap_or(0.0);
        let cost = Cost { llm_calls: count("llm_calls"), tokens: count("tokens"), seconds };
        known.insert(row["key"].as_str().unwrap_or_default().to_owned(), Scored { scores, cost });
    }
    if !text.is_empty() && !text.ends_with('\n') {
        // What follows must begin a line of its own.
        append(path, "\n")?;
    }
    Ok(known)
}

fn append(path: &Path, text: &str) -> Result<(), EvalError> {
    let failed = |e: std::io::Error| EvalError::File { path: path.to_owned(), message: e.to_string() };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}
