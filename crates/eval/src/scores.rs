//! What tools said of a benchmark's completions, and the files that hold it.
//!
//! A file of scores is JSONL with `id` (or `pair_id`) and `scores` (a number per completion, in the order of the
//! benchmark, right ones first where it lists them apart; null where the tool failed), or the reference's
//! `eval-set-scores/MODEL.json`. `scores` may also be an object of lists by tool. Where an id occurs in several
//! categories, `subset` tells which. `llm_calls`, `tokens` and `seconds` say what an item cost.

use std::collections::BTreeMap;
use std::path::Path;

use rlar_data::DataError;
use serde_json::{Map, Value, json};

use crate::EvalError;
use crate::item::Benchmark;
use crate::rows::{Row, json_type_name, not_json, rows, text};

/// What scoring cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Calls of a language model.
    pub llm_calls: u64,
    /// Tokens in and out.
    pub tokens: u64,
    /// Seconds of a CPU or GPU.
    pub seconds: f64,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.llm_calls += other.llm_calls;
        self.tokens += other.tokens;
        self.seconds += other.seconds;
    }
}

impl std::iter::Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::default(), |mut sum, cost| {
            sum += cost;
            sum
        })
    }
}

/// A tool's scores of one item.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scored {
    /// One per completion; `None` when the tool failed on any of them.
    pub scores: Option<Vec<f64>>,
    /// What they cost.
    pub cost: Cost,
}

/// A tool's scores of a benchmark.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// The tool.
    pub tool: String,
    /// One per item of the benchmark, in its order.
    pub rows: Vec<Scored>,
}

/// Scores that wait for their item.
#[derive(Clone)]
struct Found {
    place: usize,
    id: String,
    category: Option<String>,
    scored: Scored,
}

impl Scores {
    /// Scores in the order of the items. Their numbers must agree, and every score must be finite.
    pub fn new(tool: impl Into<String>, benchmark: &Benchmark, rows: Vec<Option<Vec<f64>>>) -> Result<Self, EvalError> {
        let tool = tool.into();
        if rows.len() != benchmark.items.len() {
            let message = format!("{tool} scored {} items of {}", rows.len(), benchmark.items.len());
            return Err(EvalError::Mismatch(message));
        }
        for (item, scores) in benchmark.items.iter().zip(&rows) {
            check(scores.as_deref(), item.completions.len())
                .map_err(|e| EvalError::Mismatch(format!("{tool} on `{}` of {}: {e}", item.id, item.category)))?;
        }
        let rows = rows.into_iter().map(|scores| Scored { scores, cost: Cost::default() }).collect();
        Ok(Self { tool, rows })
    }

    /// Scores by the items' ids. The path is for messages.
    pub fn by_id(
        path: &Path,
        tool: &str,
        found: impl IntoIterator<Item = (String, Vec<f64>)>,
        benchmark: &Benchmark,
    ) -> Result<Self, EvalError> {
        let found = found.into_iter().enumerate().map(|(i, (id, scores))| Found {
            place: i + 1,
            id,
            category: None,
            scored: Scored { scores: Some(scores), cost: Cost::default() },
        });
        place(path, tool, found.collect(), benchmark)
    }

    /// Reads a file of scores: one tool, or several where `scores` is an object. A tool without a name takes the
    /// file's. Every item of the benchmark must be there, once, and nothing else.
    pub fn read(path: &Path, bytes: &[u8], benchmark: &Benchmark) -> Result<Vec<Self>, EvalError> {
        let all = found_in(path, bytes)?;
        all.into_iter().map(|(tool, found)| place(path, &tool, found, benchmark)).collect()
    }

    /// Reads files of scores for the items that every tool in them has; the others are left out of the benchmark. The last
    /// number is of scores of items that the benchmark does not have.
    pub fn read_common(
        files: &[(&Path, &[u8])],
        benchmark: &Benchmark,
    ) -> Result<(Benchmark, Vec<Self>, usize), EvalError> {
        let mut all = Vec::new();
        for (path, bytes) in files {
            all.extend(found_in(path, bytes)?.into_iter().map(|(tool, found)| (*path, tool, found)));
        }
        let mut items: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for item in &benchmark.items {
            items.entry(&item.id).or_default().push(&item.category);
        }
        // How many tools have scores of an item.
        let mut have: BTreeMap<(String, String), usize> = BTreeMap::new();
        let mut strange = 0;
        for found in all.iter().flat_map(|(_, _, found)| found) {
            let own = items.get(found.id.as_str()).into_iter().flatten();
            let own: Vec<&&str> = own.filter(|c| found.category.as_ref().is_none_or(|f| f == **c)).collect();
            strange += usize::from(own.is_empty());
            for category in own {
                *have.entry((found.id.clone(), (**category).to_owned())).or_default() += 1;
            }
        }
        let has = |id: &str, category: &str| have.get(&(id.to_owned(), category.to_owned())) == Some(&all.len());
        let common = benchmark.select(|item| has(&item.id, &item.category));
        if let (true, Some((path, tool, _))) = (common.items.is_empty(), all.first()) {
            let message = format!("no item of the benchmark has scores of every tool, such as {tool}");
            return Err(EvalError::File { path: path.to_path_buf(), message });
        }
        let kept = |f: &Found| {
            let mut own = items.get(f.id.as_str()).into_iter().flatten();
            own.any(|c| f.category.as_ref().is_none_or(|of| of == *c) && has(&f.id, c))
        };
        let mut scores = Vec::new();
        for (path, tool, found) in &all {
            let found = found.iter().filter(|f| kept(f)).cloned().collect();
            scores.push(place(path, tool, found, &common)?);
        }
        Ok((common, scores, strange))
    }

    /// The file that [`Self::read`] reads, a line per item.
    pub fn jsonl(&self, benchmark: &Benchmark) -> String {
        let mut out = String::new();
        for (item, row) in benchmark.items.iter().zip(&self.rows) {
            let mut line = json!({ "id": item.id, "subset": item.category, "tool": self.tool, "scores": row.scores });
            if row.cost != Cost::default() {
                line["llm_calls"] = row.cost.llm_calls.into();
                line["tokens"] = row.cost.tokens.into();
                line["seconds"] = row.cost.seconds.into();
            }
            out.push_str(&line.to_string());
            out.push('\n');
        }
        out
    }

    /// Items without scores.
    pub fn failed(&self) -> usize {
        self.rows.iter().filter(|r| r.scores.is_none()).count()
    }

    /// What all items cost.
    pub fn cost(&self) -> Cost {
        self.rows.iter().map(|r| r.cost).sum()
    }
}

/// The scores of a file, by tool.
fn found_in(path: &Path, bytes: &[u8]) -> Result<Vec<(String, Vec<Found>)>, EvalError> {
    let content = text(path, bytes)?;
    if let Some(columns) = columns(path, content)? {
        return reference(path, &columns).map(|one| vec![one]);
    }
    let name = path.file_stem().and_then(|s| s.to_str()).unwrap_or("scores");
    let mut tools: Vec<(String, Vec<Found>)> = Vec::new();
    let rows = rows(path, bytes).map_err(|e| explained(e, path, content))?;
    for row in &rows {
        let scores = row.value("scores").unwrap_or(&Value::Null);
        if !row.has("scores") {
            row.needed("scores")?;
        }
        let named_tool = if row.has("tool") { row.text("tool")? } else { name.to_owned() };
        let by_tool: Vec<(&str, &Value)> = match scores {
            Value::Object(tools) => tools.iter().map(|(t, s)| (t.as_str(), s)).collect(),
            one => vec![(&named_tool, one)],
        };
        for (tool, scores) in by_tool {
            let found = found(row, scores)?;
            match tools.iter_mut().find(|(t, _)| t == tool) {
                Some((_, rows)) => rows.push(found),
                None => tools.push((tool.to_owned(), vec![found])),
            }
        }
    }
    Ok(tools)
}

fn check(scores: Option<&[f64]>, completions: usize) -> Result<(), String> {
    let Some(scores) = scores else { return Ok(()) };
    if scores.len() != completions {
        return Err(format!("{} scores for {completions} completions", scores.len()));
    }
    match scores.iter().find(|s| !s.is_finite()) {
        Some(s) => Err(format!("{s} is no score; write null for a completion without one")),
        None => Ok(()),
    }
}

/// A list of scores, each a number or a list of one; `None` when any is null.
fn numbers(value: &Value) -> Result<Option<Vec<f64>>, String> {
    let list = match value {
        Value::Null => return Ok(None),
        Value::Array(list) => list,
        other => return Err(format!("`scores` must be a list of numbers, not {}", json_type_name(other))),
    };
    let number = |value: &Value| {
        let inner = value.as_array().filter(|l| l.len() == 1).map_or(value, |l| &l[0]);
        match inner {
            Value::Null => Ok(None),
            _ => inner.as_f64().map(Some).ok_or_else(|| format!("`scores` holds {inner}, which is no number")),
        }
    };
    list.iter().map(number).collect()
}

fn found(row: &Row, scores: &Value) -> Result<Found, EvalError> {
    let id = row.text(if row.has("pair_id") { "pair_id" } else { "id" })?;
    let category = row.value("subset").is_some().then(|| row.text("subset")).transpose()?;
    let count = |key: &str| match row.value(key) {
        None => Ok(0),
        Some(v) => v.as_u64().ok_or_else(|| row.wrong(format!("`{key}` must be a whole number, not {v}"))),
    };
    let seconds = match row.value("seconds") {
        None => 0.0,
        Some(v) => v.as_f64().ok_or_else(|| row.wrong(format!("`seconds` must be a number, not {v}")))?,
    };
    let cost = Cost { llm_calls: count("llm_calls")?, tokens: count("tokens")?, seconds };
    let scores = numbers(scores).map_err(|e| row.wrong(e))?;
    Ok(Found { place: row.line(), id, category, scored: Scored { scores, cost } })
}

/// The one object of the reference's file, if the text is that and not JSONL.
fn columns(path: &Path, content: &str) -> Result<Option<Map<String, Value>>, EvalError> {
    let begins_alone = content.trim_start().lines().next().is_some_and(|l| l.trim_end() == "{");
    match serde_json::from_str::<Map<String, Value>>(content) {
        Ok(columns) => Ok(Some(columns).filter(|c| begins_alone || c.get("id").is_some_and(Value::is_array))),
        Err(e) if begins_alone => Err(not_json(path, content, &e)),
        Err(_) => Ok(None),
    }
}

/// The columns of the reference's `eval-set-scores/MODEL.json`.
fn reference(path: &Path, columns: &Map<String, Value>) -> Result<(String, Vec<Found>), EvalError> {
    let wrong = |message: String| EvalError::File { path: path.to_owned(), message };
    let column = |key: &str| {
        let list = columns.get(key).and_then(Value::as_array);
        list.ok_or_else(|| wrong(format!("the column `{key}` is missing or not a list")))
    };
    let (ids, scores) = (column("id")?, column("scores")?);
    let subsets = columns.get("subset").and_then(Value::as_array);
    if scores.len() != ids.len() || subsets.is_some_and(|s| s.len() != ids.len()) {
        return Err(wrong(format!("`id` holds {} entries and `scores` {}", ids.len(), scores.len())));
    }
    let found = ids.iter().zip(scores).enumerate().map(|(i, (id, scores))| {
        let id = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
        let mut scores = numbers(scores).map_err(|e| wrong(format!("entry {} (id `{id}`): {e}", i + 1)))?;
        if let (None, Some(result)) = (&scores, judged(columns, i)) {
            scores = Some(result);
        }
        let category = subsets.and_then(|s| s[i].as_str()).map(str::to_owned);
        Ok(Found { place: i + 1, id, category, scored: Scored { scores, cost: Cost::default() } })
    });
    let found = found.collect::<Result<_, EvalError>>()?;
    let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or("scores");
    Ok((columns.get("model").and_then(Value::as_str).unwrap_or(stem).to_owned(), found))
}

/// Scores that are worth what a generative judge's file says in `results`, where it has only that.
fn judged(columns: &Map<String, Value>, entry: usize) -> Option<Vec<f64>> {
    let of = |key: &str| columns.get(key)?.as_array()?.get(entry);
    let count = |key: &str| of(key)?.as_array().map(Vec::len);
    let n = count("texts_chosen")? + count("texts_rejected")?;
    let result = of("results")?.as_f64()?;
    // Of the maxima, as many as the share says, the right completion is the first, or none of them.
    let maxima = if result > 0.0 { 0..(1.0 / result).round() as usize } else { 1..n };
    Some((0..n).map(|c| f64::from(u8::from(maxima.contains(&c)))).collect())
}

/// Puts scores beside their items.
fn place(path: &Path, tool: &str, found: Vec<Found>, benchmark: &Benchmark) -> Result<Scores, EvalError> {
    let mut by_id: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, item) in benchmark.items.iter().enumerate() {
        by_id.entry(&item.id).or_default().push(i);
    }
    let mut placed: Vec<Option<(usize, Scored)>> = vec![None; benchmark.items.len()];
    for Found { place, id, category, scored } in found {
        let wrong = |message: String| EvalError::Row { path: path.to_owned(), line: place, message };
        let candidates = by_id.get(id.as_str()).map_or(&[][..], Vec::as_slice);
        let fits = |i: &&usize| category.as_ref().is_none_or(|c| *c == benchmark.items[**i].category);
        let item = match candidates.iter().filter(fits).collect::<Vec<_>>()[..] {
            [item] => *item,
            [] => {
                let within = category.map_or(String::new(), |c| format!(" in `{c}`"));
                return Err(wrong(format!("id `{id}`{within} is not in the benchmark ({tool})")));
            }
            [..] => return Err(wrong(format!("id `{id}` is in several categories; add a column `subset`"))),
        };
        check(scored.scores.as_deref(), benchmark.items[item].completions.len())
            .map_err(|e| wrong(format!("id `{id}` ({tool}): {e}")))?;
        if let Some((first, _)) = &placed[item] {
            return Err(wrong(format!("id `{id}` is that of line {first}, too ({tool})")));
        }
        placed[item] = Some((place, scored));
    }
    let absent: Vec<&str> =
        benchmark.items.iter().zip(&placed).filter(|(_, p)| p.is_none()).map(|(i, _)| i.id.as_str()).collect();
    if let Some(first) = absent.first() {
        let message = format!(
            "{tool} has no scores of {} of {} items, such as `{first}`; write `\"scores\": null` for what a tool failed \
             on, score the same subset and limit, or compare the common items with `--only-scored`",
            absent.len(),
            benchmark.items.len()
        );
        return Err(EvalError::File { path: path.to_owned(), message });
    }
    Ok(Scores { tool: tool.to_owned(), rows: placed.into_iter().flatten().map(|(_, s)| s).collect() })
}

/// Names what a JSON parser only calls an unexpected value.
fn explained(error: EvalError, path: &Path, content: &str) -> EvalError {
    let EvalError::Data(DataError::Row { line, .. }) = &error else { return error };
    let text = content.lines().nth(line - 1).unwrap_or_default();
    match serde_json::from_str::<Value>(text) {
        Err(e) => {
            let EvalError::Row { message, .. } = not_json(path, text, &e) else { return error };
            let message = message.replace(" at line 1 column", ", column");
            EvalError::Row { path: path.to_owned(), line: *line, message }
        }
        Ok(_) => error,
    }
}
