//! A tool's scores of a benchmark's completions, and the files that hold such scores.
//!
//! A file of scores is JSONL. Each row has `id` (or `pair_id`), which names an item, and `scores`: one number per
//! completion, in the order of the benchmark (where the benchmark lists correct and incorrect completions apart, the
//! correct ones first), or null where the tool failed. `scores` may also be an object that maps names of tools to such
//! lists. Where an id occurs in several categories, `subset` names the category. `llm_calls`, `tokens` and `seconds`
//! say what scoring the item cost. RewardBench's `eval-set-scores/MODEL.json` can be read too.

use std::collections::BTreeMap;
use std::path::Path;

use rlar_data::DataError;
use serde_json::{Map, Value, json};

use crate::EvalError;
use crate::item::Benchmark;
use crate::rows::{Row, json_type_name, not_json, rows, text};

/// What it cost to score completions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ScoringCost {
    /// Number of calls of a language model.
    pub llm_calls: u64,
    /// Number of prompt and completion tokens in these calls, without those of replies that were known already.
    pub tokens: u64,
    /// Seconds that the tool computed on a CPU or GPU, or waited for a language model; those for requests that were made
    /// together are shared among them.
    pub seconds: f64,
}

impl std::ops::AddAssign for ScoringCost {
    fn add_assign(&mut self, other: Self) {
        self.llm_calls += other.llm_calls;
        self.tokens += other.tokens;
        self.seconds += other.seconds;
    }
}

impl std::iter::Sum for ScoringCost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::default(), |mut sum, cost| {
            sum += cost;
            sum
        })
    }
}

/// A tool's scores of the completions of one item.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ItemScores {
    /// One score per completion, where higher is better; `None` where the tool gave no score for one of them.
    pub scores: Option<Vec<f64>>,
    /// What it cost to score the item.
    pub cost: ScoringCost,
}

/// A tool's scores of the items of a benchmark.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchmarkScores {
    /// Name of the tool, for tables.
    pub tool: String,
    /// The scores of each item, in the order of the benchmark's items.
    pub rows: Vec<ItemScores>,
}

/// A tool's scores of one item, which is named by its id.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoresOfId {
    /// Id of the item in the benchmark.
    pub id: String,
    /// One score per completion of the item.
    pub scores: Vec<f64>,
}

/// One row of a file of scores: the scores of one item by one tool.
#[derive(Clone)]
struct ScoreRow {
    /// Number of the row's line in the file, from 1.
    line: usize,
    id: String,
    category: Option<String>,
    scores: ItemScores,
}

impl ScoreRow {
    fn may_be_in(&self, category: &str) -> bool {
        self.category.as_ref().is_none_or(|c| c == category)
    }
}

/// One tool's rows in a file of scores.
struct ToolRows {
    tool: String,
    rows: Vec<ScoreRow>,
}

/// The result of [`BenchmarkScores::read_common`]: scores of several tools on the items that all of them scored.
pub struct CommonScores {
    /// The benchmark with only those items for which the files have a row of every tool.
    pub benchmark: Benchmark,
    /// The scores of the items of `benchmark`, one entry per tool.
    pub scores: Vec<BenchmarkScores>,
    /// Number of rows in the files whose item is not in the benchmark.
    pub unknown_rows: usize,
}

impl BenchmarkScores {
    /// A tool's scores, given in the order of the benchmark's items; `None` for an item on which the tool failed. Fails
    /// where the number of items or completions does not match the benchmark, or where a score is not finite.
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
        let rows = rows.into_iter().map(|scores| ItemScores { scores, cost: ScoringCost::default() }).collect();
        Ok(Self { tool, rows })
    }

    /// A tool's scores, given in any order with the items' ids. The path appears only in error messages.
    pub fn by_id(
        path: &Path,
        tool: &str,
        scores: impl IntoIterator<Item = ScoresOfId>,
        benchmark: &Benchmark,
    ) -> Result<Self, EvalError> {
        let row = |(i, ScoresOfId { id, scores })| ScoreRow {
            line: i + 1,
            id,
            category: None,
            scores: ItemScores { scores: Some(scores), cost: ScoringCost::default() },
        };
        let rows = scores.into_iter().enumerate().map(row).collect();
        in_benchmark_order(path, ToolRows { tool: tool.to_owned(), rows }, benchmark)
    }

    /// Reads a file of scores, which may hold several tools. A tool whose name is not in the file is named after the
    /// file. Fails unless each tool has exactly one row for every item of the benchmark and no other rows.
    pub fn read(path: &Path, bytes: &[u8], benchmark: &Benchmark) -> Result<Vec<Self>, EvalError> {
        read_tools(path, bytes)?.into_iter().map(|tool| in_benchmark_order(path, tool, benchmark)).collect()
    }

    /// Reads files of scores, and keeps only the items for which the files have a row of every tool.
    pub fn read_common(files: &[(&Path, &[u8])], benchmark: &Benchmark) -> Result<CommonScores, EvalError> {
        let mut tools: Vec<(&Path, ToolRows)> = Vec::new();
        for (path, bytes) in files {
            tools.extend(read_tools(path, bytes)?.into_iter().map(|tool| (*path, tool)));
        }
        let mut categories_of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for item in &benchmark.items {
            categories_of.entry(&item.id).or_default().push(&item.category);
        }
        let categories = |row: &ScoreRow| -> Vec<&str> {
            let all = categories_of.get(row.id.as_str()).into_iter().flatten();
            all.copied().filter(|category| row.may_be_in(category)).collect()
        };
        let mut tools_with: BTreeMap<(String, String), usize> = BTreeMap::new();
        let mut unknown_rows = 0;
        for row in tools.iter().flat_map(|(_, tool)| &tool.rows) {
            let categories = categories(row);
            unknown_rows += usize::from(categories.is_empty());
            for category in categories {
                *tools_with.entry((row.id.clone(), category.to_owned())).or_default() += 1;
            }
        }
        let is_common =
            |id: &str, category: &str| tools_with.get(&(id.to_owned(), category.to_owned())) == Some(&tools.len());
        let common = benchmark.select(|item| is_common(&item.id, &item.category));
        if let (true, Some((path, tool))) = (common.items.is_empty(), tools.first()) {
            let message = format!("no item of the benchmark has scores of every tool, such as {}", tool.tool);
            return Err(EvalError::File { path: path.to_path_buf(), message });
        }
        let mut scores = Vec::new();
        for (path, ToolRows { tool, rows }) in &tools {
            let is_kept = |row: &&ScoreRow| categories(row).into_iter().any(|category| is_common(&row.id, category));
            let rows = rows.iter().filter(is_kept).cloned().collect();
            scores.push(in_benchmark_order(path, ToolRows { tool: tool.clone(), rows }, &common)?);
        }
        Ok(CommonScores { benchmark: common, scores, unknown_rows })
    }

    /// The scores as a JSONL file that [`Self::read`] can read, with one line per item.
    pub fn jsonl(&self, benchmark: &Benchmark) -> String {
        let mut out = String::new();
        for (item, row) in benchmark.items.iter().zip(&self.rows) {
            let mut line = json!({ "id": item.id, "subset": item.category, "tool": self.tool, "scores": row.scores });
            if row.cost != ScoringCost::default() {
                line["llm_calls"] = row.cost.llm_calls.into();
                line["tokens"] = row.cost.tokens.into();
                line["seconds"] = row.cost.seconds.into();
            }
            out.push_str(&line.to_string());
            out.push('\n');
        }
        out
    }

    /// Number of items for which the tool gave no scores.
    pub fn failed(&self) -> usize {
        self.rows.iter().filter(|r| r.scores.is_none()).count()
    }

    /// The cost of all items together.
    pub fn cost(&self) -> ScoringCost {
        self.rows.iter().map(|r| r.cost).sum()
    }
}

/// Reads the rows of a file of scores, grouped by tool.
fn read_tools(path: &Path, bytes: &[u8]) -> Result<Vec<ToolRows>, EvalError> {
    let content = text(path, bytes)?;
    if let Some(columns) = reward_bench_columns(path, content)? {
        return reward_bench_rows(path, &columns).map(|tool| vec![tool]);
    }
    let file_name = path.file_stem().and_then(|s| s.to_str()).unwrap_or("scores");
    let mut tools: Vec<ToolRows> = Vec::new();
    for row in &rows(path, bytes).map_err(|e| explain_json_error(e, path, content))? {
        let scores = row.value("scores").unwrap_or(&Value::Null);
        if !row.has("scores") {
            row.needed("scores")?;
        }
        let row_tool = if row.has("tool") { row.text("tool")? } else { file_name.to_owned() };
        let by_tool: Vec<(&str, &Value)> = match scores {
            Value::Object(tools) => tools.iter().map(|(t, s)| (t.as_str(), s)).collect(),
            one => vec![(&row_tool, one)],
        };
        for (tool, scores) in by_tool {
            let row = score_row(row, scores)?;
            match tools.iter_mut().find(|t| t.tool == tool) {
                Some(tool) => tool.rows.push(row),
                None => tools.push(ToolRows { tool: tool.to_owned(), rows: vec![row] }),
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
        Some(s) => Err(format!("{s} is not a score; write null for a completion without one")),
        None => Ok(()),
    }
}

/// Parses a list of scores. Each is a number or a list with one number. The result is `None` where the list or a score
/// is null.
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
            _ => inner.as_f64().map(Some).ok_or_else(|| format!("`scores` holds {inner}, which is not a number")),
        }
    };
    list.iter().map(number).collect()
}

fn score_row(row: &Row, scores: &Value) -> Result<ScoreRow, EvalError> {
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
    let cost = ScoringCost { llm_calls: count("llm_calls")?, tokens: count("tokens")?, seconds };
    let scores = numbers(scores).map_err(|e| row.wrong(e))?;
    Ok(ScoreRow { line: row.line(), id, category, scores: ItemScores { scores, cost } })
}

/// Parses RewardBench's `eval-set-scores/MODEL.json`, an object of columns; `None` where the file is not of this form.
fn reward_bench_columns(path: &Path, content: &str) -> Result<Option<Map<String, Value>>, EvalError> {
    let is_multi_line_object = content.trim_start().lines().next().is_some_and(|l| l.trim_end() == "{");
    match serde_json::from_str::<Map<String, Value>>(content) {
        Ok(columns) => Ok(Some(columns).filter(|c| is_multi_line_object || c.get("id").is_some_and(Value::is_array))),
        Err(e) if is_multi_line_object => Err(not_json(path, content, &e)),
        Err(_) => Ok(None),
    }
}

/// Converts the columns of RewardBench's `eval-set-scores/MODEL.json` to rows.
fn reward_bench_rows(path: &Path, columns: &Map<String, Value>) -> Result<ToolRows, EvalError> {
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
    let rows = ids.iter().zip(scores).enumerate().map(|(i, (id, scores))| {
        let id = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
        let mut scores = numbers(scores).map_err(|e| wrong(format!("entry {} (id `{id}`): {e}", i + 1)))?;
        if let (None, Some(equivalent)) = (&scores, scores_of_result(columns, i)) {
            scores = Some(equivalent);
        }
        let category = subsets.and_then(|s| s[i].as_str()).map(str::to_owned);
        Ok(ScoreRow { line: i + 1, id, category, scores: ItemScores { scores, cost: ScoringCost::default() } })
    });
    let rows = rows.collect::<Result<_, EvalError>>()?;
    let file_name = path.file_stem().and_then(|s| s.to_str()).unwrap_or("scores");
    Ok(ToolRows { tool: columns.get("model").and_then(Value::as_str).unwrap_or(file_name).to_owned(), rows })
}

/// Makes up scores of an item's completions that give the value in the column `results`, because the file of a
/// generative judge records no scores except for Ties. `entry` is the item's index in the columns. `None` where
/// `results`, `texts_chosen` or `texts_rejected` is missing for the item.
fn scores_of_result(columns: &Map<String, Value>, entry: usize) -> Option<Vec<f64>> {
    let value = |key: &str| columns.get(key)?.as_array()?.get(entry);
    let count = |key: &str| value(key)?.as_array().map(Vec::len);
    let n = count("texts_chosen")? + count("texts_rejected")?;
    let result = value("results")?.as_f64()?;
    // A result of 1/m means that m completions, the correct one among them, have the highest score. A result of 0 means
    // that only incorrect completions have it.
    let maxima = if result > 0.0 { 0..(1.0 / result).round() as usize } else { 1..n };
    Some((0..n).map(|c| f64::from(u8::from(maxima.contains(&c)))).collect())
}

/// Puts a tool's rows into the order of the benchmark's items. Fails where an item has no row or several, where a row's
/// item is not in the benchmark, and where a row could belong to items of several categories.
fn in_benchmark_order(path: &Path, rows: ToolRows, benchmark: &Benchmark) -> Result<BenchmarkScores, EvalError> {
    let ToolRows { tool, rows } = rows;
    let mut items_of: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, item) in benchmark.items.iter().enumerate() {
        items_of.entry(&item.id).or_default().push(i);
    }
    let mut by_item: Vec<Option<(usize, ItemScores)>> = vec![None; benchmark.items.len()];
    for row in rows {
        let wrong = |message: String| EvalError::Row { path: path.to_owned(), line: row.line, message };
        let id = &row.id;
        let candidates = items_of.get(id.as_str()).map_or(&[][..], Vec::as_slice);
        let may_be = |i: &&usize| row.may_be_in(&benchmark.items[**i].category);
        let item = match candidates.iter().filter(may_be).collect::<Vec<_>>()[..] {
            [item] => *item,
            [] => {
                let within = row.category.as_ref().map_or(String::new(), |c| format!(" in `{c}`"));
                return Err(wrong(format!("id `{id}`{within} is not in the benchmark ({tool})")));
            }
            [..] => return Err(wrong(format!("id `{id}` is in several categories; add a column `subset`"))),
        };
        check(row.scores.scores.as_deref(), benchmark.items[item].completions.len())
            .map_err(|e| wrong(format!("id `{id}` ({tool}): {e}")))?;
        if let Some((first, _)) = &by_item[item] {
            return Err(wrong(format!("id `{id}` occurs in line {first} too ({tool})")));
        }
        by_item[item] = Some((row.line, row.scores));
    }
    let missing: Vec<&str> =
        benchmark.items.iter().zip(&by_item).filter(|(_, row)| row.is_none()).map(|(i, _)| i.id.as_str()).collect();
    if let Some(first) = missing.first() {
        let message = format!(
            "{tool} has no scores of {} of {} items, such as `{first}`; write `\"scores\": null` where a tool failed, score \
             the same subset and limit, or compare the common items with `--only-scored`",
            missing.len(),
            benchmark.items.len()
        );
        return Err(EvalError::File { path: path.to_owned(), message });
    }
    Ok(BenchmarkScores { tool, rows: by_item.into_iter().flatten().map(|(_, scores)| scores).collect() })
}

/// Replaces the message of a JSON error where the cause is a usual one, such as Python's `NaN`, for which the parser
/// only reports an unexpected value.
fn explain_json_error(error: EvalError, path: &Path, content: &str) -> EvalError {
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
