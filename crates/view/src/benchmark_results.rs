//! Results of tools on a benchmark of rewards, such as RewardBench 2, in the files of `reward-bench` that
//! `rlar eval --out` writes: `eval-set/MODEL.json` with a score per subset, `eval-set-scores/MODEL.json` with every item.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::answer::NoAnswer;
use crate::bounded_file::{self, read_json};
use crate::eval_folders::SCORES;
use crate::json_lines::FileProblem;
use crate::mean::mean;
use crate::shown_text::ShownText;

const SUBSETS: &str = "eval-set";
const ROUTING: &str = "routing.json";
/// Largest number of tables in it, of rows of a table, and of cells of a row.
const MAX_CELLS: usize = 500;
/// The subset whose score is not the mean of its items' results.
const TIES: &str = "Ties";
/// Largest file of scores that is read, in bytes.
const MAX_FILE: u64 = 256 << 20;
/// Largest number of tools of a benchmark, and of tables that are kept.
const MAX_TOOLS: usize = 50;
/// Number of characters of a text of an item.
const MAX_CHARS: usize = 50_000;

/// The results of all tools on a benchmark.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct BenchmarkView {
    /// The subsets, in the order of the first tool's file.
    pub subsets: Vec<String>,
    /// The tools, by name.
    pub tools: Vec<BenchmarkTool>,
    /// Ways to choose a tool for each item, over the items that all tools have.
    pub routes: Vec<RouteView>,
    /// The tables of `--route` and `--cross-fit`, as `routing.json` has them; none without the file.
    pub tables: Vec<RoutingTableView>,
    /// Files that could not be read.
    pub problems: Vec<FileProblem>,
}

/// The results of a tool.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BenchmarkTool {
    /// The tool's name, by which its items are asked for.
    pub tool: String,
    /// The scores of the subsets, from 0 to 1.
    pub scores: Vec<SubsetScore>,
    /// Mean of the subsets' scores: the overall score of RewardBench 2.
    pub mean: Option<f64>,
    /// Number of items.
    pub items: usize,
    /// Number of items without scores, which count as lost.
    pub unscored: usize,
}

/// The score of a subset.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SubsetScore {
    /// The subset.
    pub subset: String,
    /// The score.
    pub score: f64,
}

/// A way to choose a tool for each item.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouteView {
    /// What is chosen.
    pub name: &'static str,
    /// The scores of the subsets; without Ties, whose score is not a mean over items.
    pub scores: Vec<SubsetScore>,
    /// Mean of these.
    pub mean: Option<f64>,
}

/// A table about ways to choose among the tools, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoutingTableView {
    /// Its title.
    pub title: String,
    /// What one must know of it; empty for nothing.
    pub note: String,
    /// The rows, the first of which has the titles of the columns.
    pub rows: Vec<Vec<String>>,
}

/// A page of a tool's items.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct ItemPage {
    /// Number of items.
    pub total: usize,
    /// Number of those that were asked for.
    pub matching: usize,
    /// The page.
    pub rows: Vec<ItemRow>,
}

/// An item with a tool's scores.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ItemRow {
    /// Its place in the file, from 0, by which it is asked for.
    pub index: usize,
    /// Its id.
    pub id: String,
    /// Its subset.
    pub subset: String,
    /// What the tool won, from 0 to 1; `None` where the file does not say it.
    pub result: Option<f64>,
    /// The scores of the completions, the right ones first; empty if there are none.
    pub scores: Vec<f64>,
    /// Number of right completions.
    pub right: usize,
    /// Whether the tool gave no scores; of a judge, that is known of Ties only.
    pub unscored: bool,
}

/// An item with its texts.
#[derive(Debug, PartialEq, Serialize)]
pub struct ItemDetail {
    /// The item.
    #[serde(flatten)]
    pub row: ItemRow,
    /// The prompt.
    pub prompt: ShownText,
    /// The completions, the right ones first.
    pub completions: Vec<ScoredCompletion>,
}

/// A completion of an item.
#[derive(Debug, PartialEq, Serialize)]
pub struct ScoredCompletion {
    /// Whether the benchmark calls it right.
    pub is_right: bool,
    /// The tool's score; `None` if it has none.
    pub score: Option<f64>,
    /// The text.
    pub text: ShownText,
}

/// The items of the files that were read last, without their texts.
#[derive(Debug, Default)]
pub struct ItemTables(Mutex<Vec<KnownTable>>);

#[derive(Clone, Debug)]
struct KnownTable {
    path: PathBuf,
    bytes: u64,
    items: Arc<Vec<ItemRow>>,
}

/// The results in a folder.
pub fn benchmark(folder: &Path, tables: &ItemTables) -> BenchmarkView {
    let mut view = BenchmarkView::default();
    let mut items: Vec<Arc<Vec<ItemRow>>> = Vec::new();
    for tool in tool_names(folder) {
        let rows = match tables.items(folder, &tool) {
            Ok(rows) => rows,
            Err(error) => {
                view.problems.push(FileProblem::of_file(format!("{SCORES}/{tool}.json"), &error));
                continue;
            }
        };
        let scores = subset_scores(folder, &tool, &rows);
        for subset in scores.iter().map(|score| &score.subset) {
            if !view.subsets.contains(subset) {
                view.subsets.push(subset.clone());
            }
        }
        view.tools.push(BenchmarkTool {
            mean: mean_of_subsets(&scores),
            scores,
            items: rows.len(),
            unscored: rows.iter().filter(|row| row.unscored).count(),
            tool,
        });
        items.push(rows);
    }
    view.routes = routes(&items, &view);
    match read_json(&folder.join(ROUTING)) {
        Ok(tables) => view.tables = routing_tables(&tables.unwrap_or_default()),
        Err(error) => view.problems.push(FileProblem::of_file(ROUTING, &error)),
    }
    view
}

fn routing_tables(tables: &Value) -> Vec<RoutingTableView> {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let at = |table: &Value, key: &str| table.get(key).map(text).unwrap_or_default();
    let cells = |row: &Value| list(Some(row)).iter().take(MAX_CELLS).map(text).collect();
    let table = |table: &Value| RoutingTableView {
        title: at(table, "title"),
        note: at(table, "note"),
        rows: list(table.get("rows")).iter().take(MAX_CELLS).map(cells).collect(),
    };
    list(Some(tables)).iter().take(MAX_CELLS).map(table).collect()
}

/// Which items are asked for.
#[derive(Clone, Copy, Debug)]
pub struct ItemsWanted<'a> {
    /// The tool.
    pub tool: &'a str,
    /// The subset; any if it is empty.
    pub subset: &'a str,
    /// `won`, `shared` (with completions that have the same score), `lost` or `unscored`; any if it is empty.
    pub outcome: &'a str,
    /// Number of items that are skipped.
    pub offset: usize,
    /// Largest number of items.
    pub limit: usize,
}

/// The items of a tool in a subset with an outcome.
pub fn items(folder: &Path, tables: &ItemTables, wanted: ItemsWanted) -> Result<ItemPage, NoAnswer> {
    let ItemsWanted { tool, subset, outcome, offset, limit } = wanted;
    let rows = tables.items(folder, &known_tool(folder, tool)?)?;
    let is_wanted = |row: &&ItemRow| {
        let said = match row.result {
            _ if row.unscored => "unscored",
            Some(won) if won >= 1.0 => "won",
            Some(won) if won > 0.0 => "shared",
            Some(_) => "lost",
            None => "",
        };
        (subset.is_empty() || row.subset == subset) && (outcome.is_empty() || outcome == said)
    };
    let matching: Vec<&ItemRow> = rows.iter().filter(is_wanted).collect();
    let page = matching.iter().skip(offset).take(limit).map(|row| (*row).clone()).collect();
    Ok(ItemPage { total: rows.len(), matching: matching.len(), rows: page })
}

/// The item at a place of a tool's file, with its texts.
pub fn item(folder: &Path, tables: &ItemTables, tool: &str, index: usize) -> Result<ItemDetail, NoAnswer> {
    let tool = known_tool(folder, tool)?;
    let rows = tables.items(folder, &tool)?;
    let row = rows.get(index).cloned();
    let row = row.ok_or_else(|| NoAnswer::not_found("no_item", format!("`{tool}` has no item {index}")))?;
    let text = read_scores(&scores_path(folder, &tool))?;
    let columns = columns(&text)?;
    let conversations = |name: &str| -> Vec<Value> {
        let list: Vec<&RawValue> =
            columns.get(name).and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
        list.get(index).and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
    };
    let mut texts = conversations("text");
    if texts.is_empty() {
        texts = [conversations("texts_chosen"), conversations("texts_rejected")].concat();
    }
    let message = |conversation: &Value, place: usize| {
        let said = conversation.get(place).and_then(|message| message.get("content")).and_then(Value::as_str);
        ShownText::new(said.unwrap_or_default(), MAX_CHARS)
    };
    let completion = |(i, conversation): (usize, &Value)| ScoredCompletion {
        is_right: i < row.right,
        score: row.scores.get(i).copied(),
        text: message(conversation, conversation.as_array().map_or(0, |messages| messages.len().saturating_sub(1))),
    };
    let completions = texts.iter().enumerate().map(completion).collect();
    Ok(ItemDetail { prompt: texts.first().map(|first| message(first, 0)).unwrap_or_default(), completions, row })
}

impl ItemTables {
    /// The items of a tool's file.
    fn items(&self, folder: &Path, tool: &str) -> Result<Arc<Vec<ItemRow>>, NoAnswer> {
        let path = scores_path(folder, tool);
        let bytes = fs::metadata(&path).map_err(|error| NoAnswer::of_file(&path, &error))?.len();
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().iter().find(|known| known.path == path && known.bytes == bytes) {
            return Ok(Arc::clone(&known.items));
        }
        let text = read_scores(&path)?;
        let items = Arc::new(item_rows(&columns(&text)?));
        let mut tables = lock();
        tables.retain(|known| known.path != path);
        tables.push(KnownTable { path, bytes, items: Arc::clone(&items) });
        let surplus = tables.len().saturating_sub(MAX_TOOLS);
        tables.drain(..surplus);
        Ok(items)
    }
}

fn scores_path(folder: &Path, tool: &str) -> PathBuf {
    folder.join(SCORES).join(format!("{tool}.json"))
}

fn read_scores(path: &Path) -> Result<String, NoAnswer> {
    let read = || {
        let mut bytes = Vec::new();
        bounded_file::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| NoAnswer::of_file(path, &error))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(NoAnswer::unreadable(format!("{} is larger than {} MiB", path.display(), MAX_FILE >> 20)));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The columns of a file of scores, not parsed yet.
fn columns(text: &str) -> Result<BTreeMap<String, &RawValue>, NoAnswer> {
    serde_json::from_str(text).map_err(|error| NoAnswer::unreadable(format!("not a file of scores: {error}")))
}

fn item_rows(columns: &BTreeMap<String, &RawValue>) -> Vec<ItemRow> {
    let list = |name: &str| -> Vec<Value> {
        columns.get(name).and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
    };
    let (ids, subsets, results) = (list("id"), list("subset"), list("results"));
    let (scores, right) = (list("scores"), list("num_correct"));
    let text = |list: &[Value], i: usize| {
        list.get(i).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).unwrap_or_default()
    };
    // Files of judges list right and wrong completions apart, and have scores of Ties only.
    let is_judge = columns.contains_key("texts_chosen");
    let row = |i: usize| {
        let (subset, scores) = (text(&subsets, i), numbers(scores.get(i)));
        ItemRow {
            index: i,
            id: text(&ids, i),
            result: results.get(i).and_then(Value::as_f64),
            unscored: scores.is_empty() && (!is_judge || subset == TIES),
            scores,
            subset,
            right: right.get(i).and_then(Value::as_u64).map_or(1, |right| usize::try_from(right).unwrap_or(1)),
        }
    };
    (0..ids.len()).map(row).collect()
}

/// The numbers of a list; some scorers of `reward-bench` write a list of one number per completion.
fn numbers(list: Option<&Value>) -> Vec<f64> {
    let number = |value: &Value| value.as_f64().or_else(|| value.get(0)?.as_f64());
    list.and_then(Value::as_array).into_iter().flatten().filter_map(number).collect()
}

/// The names of the tools with a file of scores, `MODEL` or `ORGANISATION/MODEL`, sorted.
fn tool_names(folder: &Path) -> Vec<String> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let name = |path: &Path| {
        let is_json = path.extension().is_some_and(|extension| extension == "json") && path.is_file();
        is_json.then(|| path.file_stem().map(|stem| stem.to_string_lossy().into_owned())).flatten()
    };
    let mut names = Vec::new();
    for path in entries(&folder.join(SCORES)) {
        if let Some(name) = name(&path) {
            names.push(name);
        } else if path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
            let organisation = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            names.extend(entries(&path).iter().filter_map(|path| Some(format!("{organisation}/{}", name(path)?))));
        }
    }
    names.sort();
    names.truncate(MAX_TOOLS);
    names
}

/// A tool by its name; only names of files that are there lead to one.
fn known_tool(folder: &Path, tool: &str) -> Result<String, NoAnswer> {
    let found = tool_names(folder).into_iter().find(|name| name == tool);
    found.ok_or_else(|| NoAnswer::not_found("no_tool", format!("there are no scores of `{tool}`")))
}

/// The scores of the subsets as the file says them, else the means of the items' results.
fn subset_scores(folder: &Path, tool: &str, rows: &[ItemRow]) -> Vec<SubsetScore> {
    let file: Map<String, Value> = read_json(&folder.join(SUBSETS).join(format!("{tool}.json")))
        .ok()
        .flatten()
        .and_then(|file| file.as_object().cloned())
        .unwrap_or_default();
    let known = file.into_iter().filter_map(|(subset, score)| Some(SubsetScore { subset, score: score.as_f64()? }));
    let known: Vec<SubsetScore> = known.collect();
    if known.is_empty() { means_by_subset(rows.iter().map(|row| (row, row.result))) } else { known }
}

/// Means by subset; an unknown value counts as 0.
fn means_by_subset<'r>(items: impl Iterator<Item = (&'r ItemRow, Option<f64>)>) -> Vec<SubsetScore> {
    let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (row, value) in items {
        values.entry(&row.subset).or_default().push(value.unwrap_or(0.0));
    }
    let of_subset =
        |(subset, values): (&str, Vec<f64>)| Some(SubsetScore { subset: subset.to_owned(), score: mean(&values)? });
    values.into_iter().filter_map(of_subset).collect()
}

/// The best tool of each subset, and the best tool of each item; none unless at least two tools have the same items.
fn routes(items: &[Arc<Vec<ItemRow>>], view: &BenchmarkView) -> Vec<RouteView> {
    let Some(first) = items.first().filter(|_| items.len() > 1) else { return Vec::new() };
    let same = |other: &Arc<Vec<ItemRow>>| {
        other.len() == first.len() && other.iter().zip(first.iter()).all(|(a, b)| a.id == b.id && a.subset == b.subset)
    };
    if !items.iter().all(same) {
        return Vec::new();
    }
    let best_of = |subset: &String| {
        let scores = view.tools.iter().flat_map(|tool| &tool.scores).filter(|score| score.subset == *subset);
        let score = scores.map(|score| score.score).reduce(f64::max)?;
        Some(SubsetScore { subset: subset.clone(), score })
    };
    let by_subset: Vec<SubsetScore> = view.subsets.iter().filter(|name| *name != TIES).filter_map(best_of).collect();
    let best = |i: usize| items.iter().filter_map(|rows| rows[i].result).reduce(f64::max);
    let by_item = means_by_subset(first.iter().filter(|row| row.subset != TIES).map(|row| (row, best(row.index))));
    let route = |name, scores: Vec<SubsetScore>| RouteView { name, mean: mean_of_subsets(&scores), scores };
    vec![route("the best tool of each subset", by_subset), route("the best tool of each item", by_item)]
}

fn mean_of_subsets(scores: &[SubsetScore]) -> Option<f64> {
    mean(&scores.iter().map(|subset| subset.score).collect::<Vec<f64>>())
}
