//! Asking a tool about a benchmark's completions, item by item, so that an interrupted evaluation goes on.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use rlar_data::{Completion, Example, Message, Role};
use rlar_rewards::{Told, Tool};
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
        Some(path) => read(path, tool)?,
        None => BTreeMap::new(),
    };
    let open: Vec<&Item> = benchmark.items.iter().filter(|i| !known.contains_key(&key(i))).collect();
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
        let mut told = tool.tell(&items, over)?.into_iter();
        if over() {
            return Ok(None);
        }
        let mut lines = String::new();
        for item in some {
            let scored = scored(told.by_ref().take(item.completions.len()));
            lines += &line(tool, item, &scored).to_string();
            lines.push('\n');
            known.insert(key(item), scored);
        }
        if let Some(path) = kept {
            append(path, &lines)?;
        }
        ready += some.len();
        done(ready);
    }
    let rows = benchmark.items.iter().map(|item| known.remove(&key(item)).unwrap_or_default()).collect();
    Ok(Some(Scores { tool: tool.card().name.clone(), rows }))
}

fn key(item: &Item) -> (String, String) {
    (item.category.clone(), item.id.clone())
}

fn scored(told: impl Iterator<Item = Told>) -> Scored {
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
        "id": item.id, "subset": item.category, "tool": tool.card().name, "identity": tool.identity(), "scores": scored.scores,
        "llm_calls": scored.cost.llm_calls, "tokens": scored.cost.tokens, "seconds": scored.cost.seconds,
    })
}

/// What a file holds of a tool as it is. A last line that was cut short counts for nothing.
fn read(path: &Path, tool: &Tool) -> Result<BTreeMap<(String, String), Scored>, EvalError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(e) => return Err(EvalError::File { path: path.to_owned(), message: e.to_string() }),
    };
    let mut known = BTreeMap::new();
    for line in text.split_inclusive('\n').filter(|l| l.ends_with('\n')) {
        let Ok(row) = serde_json::from_str::<Value>(line) else { continue };
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        if text("identity") != tool.identity() {
            continue;
        }
        let scores = row["scores"].as_array().map(|all| all.iter().filter_map(Value::as_f64).collect());
        let count = |key: &str| row[key].as_u64().unwrap_or(0);
        let seconds = row["seconds"].as_f64().unwrap_or(0.0);
        let cost = Cost { llm_calls: count("llm_calls"), tokens: count("tokens"), seconds };
        known.insert((text("subset"), text("id")), Scored { scores, cost });
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
