//! Results of suites that `rlar eval --out` wrote: their figures, the replies behind them, and two of them prompt by prompt.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::answer::NoAnswer;
use crate::bounded_file::read_json;
use crate::evaluations::{MeasuredFigure, measured};
use crate::json_lines::{LinePosition, read_json_lines};
use crate::mean::mean;
use crate::shown_text::ShownText;

const RESULTS: &str = "results.json";
const VERDICTS: &str = "verdicts.jsonl";
/// Number of characters of a text in a list, and alone.
const LISTED: usize = 300;
const ALONE: usize = 1 << 20;
/// Mean scores that differ by no more are the same: the order in which scores are added changes their last digits.
const ROUNDING: f64 = 1e-9;
/// Largest number of prompts of a comparison.
const MAX_PROMPTS: usize = 100_000;

/// The results of a suite.
#[derive(Debug, PartialEq, Serialize)]
pub struct SuiteResultView {
    /// Their name, by which they are asked for.
    pub name: String,
    /// The run that they belong to; `None` if they belong to none that is viewed.
    pub run: Option<String>,
    /// The suite.
    pub suite: String,
    /// What replied.
    pub engine: String,
    /// Number of prompts.
    pub prompts: Option<u64>,
    /// Number of replies without a score or without a text, which count as wrong in shares.
    pub without_score: u64,
    /// The figures.
    pub figures: Vec<NamedFigure>,
    /// The first figure by group of prompts; empty if the suite has no groups.
    pub groups: Vec<NamedFigure>,
    /// Whether the replies are in a file beside the results.
    pub has_replies: bool,
}

/// A figure of a suite.
#[derive(Debug, PartialEq, Serialize)]
pub struct NamedFigure {
    /// The figure's or the group's name.
    pub name: String,
    /// The value with its interval; `None` if no prompt has one.
    pub value: Option<MeasuredFigure>,
}

/// A page of the replies to a suite.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct SuiteReplyPage {
    /// Number of replies.
    pub total: usize,
    /// Number of those that were asked for.
    pub matching: usize,
    /// The page.
    pub rows: Vec<SuiteReplyView>,
    /// Number of lines that could not be read.
    pub unread: usize,
}

/// A reply to a suite.
#[derive(Debug, PartialEq, Serialize)]
pub struct SuiteReplyView {
    /// Its line in `verdicts.jsonl`, by which it can be asked for.
    pub line: usize,
    /// Id of the prompt.
    pub id: String,
    /// Number of the reply to the prompt, from 0.
    pub sample: u64,
    /// The last message of the prompt; empty in files of earlier versions.
    pub prompt: ShownText,
    /// The reply; `None` if there is none.
    pub reply: Option<ShownText>,
    /// Its score; `None` if it has none.
    pub score: Option<f64>,
    /// Whether the reply is right; `None` for suites without tools.
    pub right: Option<bool>,
    /// Why there is no reply or no score.
    pub why: String,
}

/// Two results of the same suite, prompt by prompt.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct PairedOutcomes {
    /// Number of prompts that both have, with scored replies.
    pub prompts: usize,
    /// Number of prompts with a higher mean score in the second.
    pub wins: usize,
    /// Number of prompts with a lower mean score in the second.
    pub losses: usize,
    /// Number of prompts with the same mean score.
    pub ties: usize,
    /// Mean over the prompts of the second's mean score minus the first's.
    pub difference: Option<MeasuredFigure>,
    /// Prompts that one of the two has alone, or without a score.
    pub unpaired: usize,
    /// The prompts that differ most, at most as many as were asked for.
    pub rows: Vec<PairedPrompt>,
}

/// A prompt of two results.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PairedPrompt {
    /// Its id.
    pub id: String,
    /// Mean score in the first.
    pub first: f64,
    /// Mean score in the second.
    pub second: f64,
    /// The line of its first reply in the first's `verdicts.jsonl`.
    pub first_line: usize,
    /// The line of its first reply in the second's.
    pub second_line: usize,
}

/// The results in a folder; `None` if its `results.json` is not that of a suite.
pub fn suite_result(name: &str, folder: &Path, run: impl FnOnce(&str) -> Option<String>) -> Option<SuiteResultView> {
    let results = read_json(&folder.join(RESULTS)).ok()??;
    let text = |key: &str| results.get(key).and_then(Value::as_str).map(str::to_owned);
    let count = |key: &str| results.get(key).and_then(Value::as_u64);
    let named = |key: &str| -> Vec<NamedFigure> {
        let figures = results.get(key).and_then(Value::as_object).into_iter().flatten();
        figures.map(|(name, figure)| NamedFigure { name: name.clone(), value: measured(figure) }).collect()
    };
    let engine = text("engine").unwrap_or_default();
    Some(SuiteResultView {
        name: name.to_owned(),
        run: run(&engine),
        suite: text("suite")?,
        engine,
        prompts: count("prompts"),
        without_score: count("unanswered").unwrap_or(0) + count("unscored").unwrap_or(0),
        figures: named("figures"),
        groups: named("groups"),
        has_replies: folder.join(VERDICTS).is_file(),
    })
}

/// The replies of a suite with a text in them and an outcome: `right`, `wrong`, `unscored`, or any if it is empty.
pub fn suite_replies(
    folder: &Path,
    search: &str,
    outcome: &str,
    offset: usize,
    limit: usize,
) -> Result<SuiteReplyPage, NoAnswer> {
    let mut page = SuiteReplyPage::default();
    let search = search.to_lowercase();
    read(folder, |line, read| {
        let Ok(value) = read else {
            page.unread += 1;
            return;
        };
        page.total += 1;
        let has = |key: &str| text(&value, key).to_lowercase().contains(&search);
        let is_found = search.is_empty() || has("id") || has("prompt") || has("reply");
        if is_found && (outcome.is_empty() || outcome == outcome_of(&value)) {
            if page.matching >= offset && page.rows.len() < limit {
                page.rows.push(view(line, &value, LISTED));
            }
            page.matching += 1;
        }
    })?;
    Ok(page)
}

/// The reply on a line of `verdicts.jsonl`.
pub fn suite_reply(folder: &Path, wanted: usize) -> Result<SuiteReplyView, NoAnswer> {
    let mut found = None;
    read(folder, |line, read| {
        if line == wanted {
            found = read.ok().map(|value| view(line, &value, ALONE));
        }
    })?;
    found.ok_or_else(|| NoAnswer::not_found("no_reply", format!("{VERDICTS} has no reply on line {wanted}")))
}

/// Compares two results of a suite by the mean scores of their prompts.
pub fn paired_outcomes(first: &Path, second: &Path, limit: usize) -> Result<PairedOutcomes, NoAnswer> {
    let (first, second) = (prompt_scores(first)?, prompt_scores(second)?);
    let pair = |(id, scores): (&String, &PromptScores)| {
        let other = second.get(id)?;
        let (first_line, second_line) = (scores.line, other.line);
        Some(PairedPrompt { id: id.clone(), first: scores.mean()?, second: other.mean()?, first_line, second_line })
    };
    let mut rows: Vec<PairedPrompt> = first.iter().filter_map(pair).collect();
    let only_second = second.keys().filter(|id| !first.contains_key(*id)).count();
    let differences: Vec<f64> = rows.iter().map(|row| row.second - row.first).collect();
    let count = |is_counted: fn(&f64) -> bool| differences.iter().copied().filter(is_counted).count();
    let mut outcomes = PairedOutcomes {
        prompts: rows.len(),
        wins: count(|difference| *difference > ROUNDING),
        losses: count(|difference| *difference < -ROUNDING),
        ties: count(|difference| difference.abs() <= ROUNDING),
        difference: mean_with_interval(&differences),
        unpaired: first.len() - rows.len() + only_second,
        rows: Vec::new(),
    };
    rows.retain(|row| (row.second - row.first).abs() > ROUNDING);
    rows.sort_by(|a, b| (b.second - b.first).abs().total_cmp(&(a.second - a.first).abs()));
    rows.truncate(limit);
    outcomes.rows = rows;
    Ok(outcomes)
}

/// A mean with its 95 % interval, by the normal approximation; the interval is left out for fewer than ten values.
fn mean_with_interval(values: &[f64]) -> Option<MeasuredFigure> {
    let n = values.len() as f64;
    let mean = mean(values)?;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let half = (values.len() >= 10).then(|| 1.96 * (variance / n).sqrt());
    Some(MeasuredFigure { value: mean, low: half.map(|half| mean - half), high: half.map(|half| mean + half) })
}

/// The scores of the replies to a prompt.
#[derive(Debug, Default)]
struct PromptScores {
    sum: f64,
    count: usize,
    /// The line of the first reply.
    line: usize,
}

impl PromptScores {
    fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

fn prompt_scores(folder: &Path) -> Result<BTreeMap<String, PromptScores>, NoAnswer> {
    let mut prompts: BTreeMap<String, PromptScores> = BTreeMap::new();
    read(folder, |line, read| {
        let Ok(value) = read else { return };
        let id = text(&value, "id");
        if prompts.len() >= MAX_PROMPTS && !prompts.contains_key(&id) {
            return;
        }
        let scores = prompts.entry(id).or_insert_with(|| PromptScores { line, ..PromptScores::default() });
        if let Some(score) = value.get("score").and_then(Value::as_f64) {
            scores.sum += score;
            scores.count += 1;
        }
    })?;
    Ok(prompts)
}

fn read(folder: &Path, take: impl FnMut(usize, Result<Value, String>)) -> Result<(), NoAnswer> {
    let path = folder.join(VERDICTS);
    let read = read_json_lines(&path, LinePosition::default(), take);
    read.map(|_| ()).map_err(|error| NoAnswer::of_file(&path, &error))
}

/// `right`, `wrong`, or `unscored`; a suite without tools says nothing of its replies.
fn outcome_of(value: &Value) -> &'static str {
    match (value.get("score").and_then(Value::as_f64), value.get("right").and_then(Value::as_bool)) {
        (None, _) => "unscored",
        (_, Some(true)) => "right",
        (_, Some(false)) => "wrong",
        (_, None) => "",
    }
}

fn view(line: usize, value: &Value, max: usize) -> SuiteReplyView {
    SuiteReplyView {
        line,
        id: text(value, "id"),
        sample: value.get("sample").and_then(Value::as_u64).unwrap_or(0),
        prompt: ShownText::new(&text(value, "prompt"), max),
        reply: value.get("reply").and_then(Value::as_str).map(|reply| ShownText::new(reply, max)),
        score: value.get("score").and_then(Value::as_f64),
        right: value.get("right").and_then(Value::as_bool),
        why: text(value, "why"),
    }
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}
