//! The replies of a step, read from its Parquet file when they are asked for.

use std::fs;
use std::path::Path;

use rlar_data::read_parquet_columns;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::answer::NoAnswer;
use crate::mean::mean;
use crate::shown_text::ShownText;
use crate::verdict::{ToolVerdict, read_verdicts};

/// Number of characters of a text in a list.
pub const LISTED: usize = 300;
/// Number of characters of a text in a group.
const IN_GROUP: usize = 20_000;
/// Number of characters of a text of a single reply.
const ALONE: usize = 1 << 20;
/// Largest number of replies of a list.
const MAX_LISTED: usize = 500;
/// Memory for the rows of one step, in bytes.
const MAX_MEMORY: usize = 512 << 20;

/// A step whose replies are in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RolloutStep {
    /// The step.
    pub step: u64,
    /// Size of its file in bytes.
    pub bytes: u64,
}

/// The replies to one prompt of a step, in short.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupSummary {
    /// Index of the group in the step.
    pub group: i64,
    /// Id of the prompt's example.
    pub example: String,
    /// Domain of the prompt; empty in files of earlier versions, which do not say it.
    pub domain: String,
    /// Beginning of the prompt.
    pub prompt: ShownText,
    /// Number of replies.
    pub replies: usize,
    /// Number of replies without a reward.
    pub unscored: usize,
    /// Number of replies that reached the length limit.
    pub cut_off: usize,
    /// Lowest reward; `None` if no reply has one.
    pub lowest: Option<f64>,
    /// Mean reward; `None` if no reply has one.
    pub mean: Option<f64>,
    /// Highest reward; `None` if no reply has one.
    pub highest: Option<f64>,
    /// Whether all advantages are 0 or unknown, so that nothing is learned from the rewards.
    pub zero_spread: bool,
    /// Mean number of tokens.
    pub tokens: Option<f64>,
    /// The tools of the prompt.
    pub tools: Vec<String>,
}

/// A reply with what every tool said of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReplyView {
    /// Number of the reply in the step's file, from 0.
    pub row: usize,
    /// Index of its group in the step.
    pub group: i64,
    /// Id of the prompt's example.
    pub example: String,
    /// Domain of the prompt; empty in files of earlier versions, which do not say it.
    pub domain: String,
    /// The reply.
    pub completion: ShownText,
    /// Weighted sum of the scores; `None` if a tool gave none.
    pub reward: Option<f64>,
    /// The advantage; `None` for a reply that was not trained on.
    pub advantage: Option<f64>,
    /// Number of tokens.
    pub tokens: Option<f64>,
    /// Why the reply ended: `stop`, `length` or `cancelled`.
    pub finish: String,
    /// Score of the audit tool, from 0 to 1.
    pub audit: Option<f64>,
    /// What every tool said; `None` if the file has no readable verdicts.
    pub verdicts: Option<Vec<ToolVerdict>>,
}

/// A prompt with all its replies of a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupView {
    /// The prompt.
    pub prompt: ShownText,
    /// The prompt as the policy got it, after the chat template.
    pub rendered_prompt: ShownText,
    /// The right answer; empty if the example has none.
    pub reference: ShownText,
    /// The replies.
    pub replies: Vec<ReplyView>,
}

/// A single reply with everything that is known of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReplyDetail {
    /// The prompt, the right answer, and this reply alone.
    #[serde(flatten)]
    pub group: GroupView,
    /// Ids of its tokens; empty if they are not known.
    pub token_ids: Vec<i64>,
    /// Log-probs of its tokens under the policy that drew them; empty if they are not known.
    pub log_probs: Vec<Option<f64>>,
    /// Log-probs of its tokens that the trainer computed before the update; empty if it did not.
    pub trainer_log_probs: Vec<Option<f64>>,
}

/// Which replies are listed, and in which order.
#[derive(Clone, Debug, Default)]
pub struct ReplyFilter {
    /// Only replies of which this tool said something.
    pub tool: Option<String>,
    /// Only replies of which a tool (the one above, if one is named) said this: `scored`, `abstained` or `failed`.
    pub outcome: Option<String>,
    /// Only replies to which a tool (the one above, if one is named) gave a score within these bounds.
    pub score: NumberBounds,
    /// Only replies to prompts of this domain.
    pub domain: Option<String>,
    /// Only replies that ended for this reason: `stop`, `length` (cut off at the length limit) or `cancelled`.
    pub finish: Option<String>,
    /// Only replies whose advantage is `positive`, `negative`, `zero`, or `none` (not trained on).
    pub advantage: Option<String>,
    /// Only replies whose advantage is within these bounds.
    pub advantages: NumberBounds,
    /// Only replies with this text in prompt or reply, whatever the case of its letters.
    pub search: Option<String>,
    /// `worst` or `best` reward first, `longest` first, or in the order of the file.
    pub sort: Option<String>,
}

/// A lower and an upper bound, both included; `None` stands for no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NumberBounds {
    /// The lower bound.
    pub least: Option<f64>,
    /// The upper bound.
    pub most: Option<f64>,
}

/// The first replies of a step that a filter lets through.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReplyList {
    /// Number of replies in the step.
    pub total: usize,
    /// Number of those that the filter lets through.
    pub matching: usize,
    /// The first of them.
    pub replies: Vec<ReplyView>,
}

/// The steps of a run that have files of rollouts, rising. Files that are still being written are left out.
pub fn rollout_steps(run: &Path) -> Vec<RolloutStep> {
    let number = |path: &Path| path.file_stem()?.to_str()?.strip_prefix("step-")?.parse::<u64>().ok();
    let entries = fs::read_dir(run.join("rollouts")).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "parquet"));
    let step = |entry: fs::DirEntry| {
        Some(RolloutStep { step: number(&entry.path())?, bytes: entry.metadata().map_or(0, |m| m.len()) })
    };
    let mut steps: Vec<RolloutStep> = files.filter_map(step).collect();
    steps.sort_by_key(|step| step.step);
    steps
}

/// The groups of a step, in the order of the file.
pub fn groups(run: &Path, step: u64) -> Result<Vec<GroupSummary>, NoAnswer> {
    let columns = ["group", "example", "domain", "prompt", "reward", "advantage", "tokens", "finish", "verdicts"];
    let rows = read_step(run, step, &columns)?;
    let mut groups: Vec<Vec<ReplyRow>> = Vec::new();
    for row in rows {
        match groups.last_mut().filter(|group| group.first().is_some_and(|first| first.group() == row.group())) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    Ok(groups.iter().filter_map(|rows| summary(rows)).collect())
}

/// The prompt and all replies of a group.
pub fn group(run: &Path, step: u64, group: i64) -> Result<GroupView, NoAnswer> {
    let mut rows = read_step(run, step, &REPLY_COLUMNS)?;
    rows.retain(|row| row.group() == group);
    let first =
        rows.first().ok_or_else(|| NoAnswer::not_found("no_group", format!("step {step} has no group {group}")))?;
    Ok(GroupView { replies: rows.iter().map(|row| row.view(IN_GROUP)).collect(), ..first.prompt_view(IN_GROUP) })
}

/// The reply at a row of a step's file.
pub fn reply(run: &Path, step: u64, row: usize) -> Result<ReplyDetail, NoAnswer> {
    let columns = [&REPLY_COLUMNS[..], &["token_ids", "log_probs", "trainer_log_probs"]].concat();
    let rows = read_step(run, step, &columns)?;
    let found = rows.get(row);
    let found = found.ok_or_else(|| NoAnswer::not_found("no_reply", format!("step {step} has no reply {row}")))?;
    let group = GroupView { replies: vec![found.view(ALONE)], ..found.prompt_view(ALONE) };
    let token_ids = serde_json::from_str(found.text("token_ids")).unwrap_or_default();
    let log_probs = serde_json::from_str(found.text("log_probs")).unwrap_or_default();
    let trainer_log_probs = serde_json::from_str(found.text("trainer_log_probs")).unwrap_or_default();
    Ok(ReplyDetail { group, token_ids, log_probs, trainer_log_probs })
}

/// The replies of a step that a filter lets through, at most `limit` of them.
pub fn replies(run: &Path, step: u64, filter: &ReplyFilter, limit: usize) -> Result<ReplyList, NoAnswer> {
    let mut rows = read_step(run, step, &REPLY_COLUMNS)?;
    let total = rows.len();
    let passes = filter.test();
    rows.retain(passes);
    let reward = |row: &ReplyRow, sign: f64| row.number("reward").map_or(f64::INFINITY, |reward| sign * reward);
    match filter.sort.as_deref() {
        Some("worst") => rows.sort_by(|a, b| reward(a, 1.0).total_cmp(&reward(b, 1.0))),
        Some("best") => rows.sort_by(|a, b| reward(a, -1.0).total_cmp(&reward(b, -1.0))),
        Some("longest") => rows.sort_by_key(|row| std::cmp::Reverse(row.number("tokens").unwrap_or(0.0) as u64)),
        _ => {}
    }
    let replies = rows.iter().take(limit.min(MAX_LISTED)).map(|row| row.view(LISTED)).collect();
    Ok(ReplyList { total, matching: rows.len(), replies })
}

impl NumberBounds {
    /// Whether there is no bound.
    pub fn is_open(self) -> bool {
        self.least.is_none() && self.most.is_none()
    }

    /// Whether a number is within the bounds; one that is not known is so only without bounds.
    fn holds(self, value: Option<f64>) -> bool {
        let within =
            |value| self.least.is_none_or(|least| value >= least) && self.most.is_none_or(|most| value <= most);
        self.is_open() || value.is_some_and(within)
    }
}

impl ReplyFilter {
    /// The filter as a function that says whether it lets a reply through.
    pub fn test(&self) -> impl Fn(&ReplyRow) -> bool {
        let wanted = self.search.as_ref().map(|text| text.to_lowercase());
        move |row| {
            let has =
                |column| wanted.as_ref().is_none_or(|text| row.text(column).to_lowercase().contains(text.as_str()));
            self.fits_row(row) && (has("completion") || has("prompt")) && self.fits_verdicts(row)
        }
    }

    fn fits_row(&self, row: &ReplyRow) -> bool {
        let advantage = row.number("advantage");
        let sign = match advantage {
            None => "none",
            Some(advantage) if advantage > 0.0 => "positive",
            Some(advantage) if advantage < 0.0 => "negative",
            Some(_) => "zero",
        };
        self.domain.as_ref().is_none_or(|domain| domain == row.text("domain"))
            && self.finish.as_ref().is_none_or(|finish| finish == row.text("finish"))
            && self.advantage.as_ref().is_none_or(|wanted| wanted == sign)
            && self.advantages.holds(advantage)
    }

    fn fits_verdicts(&self, row: &ReplyRow) -> bool {
        if self.tool.is_none() && self.outcome.is_none() && self.score.is_open() {
            return true;
        }
        row.verdicts().into_iter().flatten().any(|verdict| {
            self.tool.as_ref().is_none_or(|tool| *tool == verdict.tool)
                && self.outcome.as_ref().is_none_or(|outcome| outcome == verdict.outcome)
                && self.score.holds(verdict.score)
        })
    }
}

/// The columns of a reply without the data of its tokens.
const REPLY_COLUMNS: [&str; 12] = [
    "group",
    "example",
    "domain",
    "prompt",
    "completion",
    "reference",
    "rendered_prompt",
    "reward",
    "advantage",
    "tokens",
    "finish",
    "verdicts",
];

/// The file of a step's replies, below the run's folder.
pub fn step_file(step: u64) -> String {
    format!("rollouts/step-{step:06}.parquet")
}

/// Reads some columns of the replies of a step.
pub fn read_step(run: &Path, step: u64, columns: &[&str]) -> Result<Vec<ReplyRow>, NoAnswer> {
    let path = run.join(step_file(step));
    if !path.is_file() {
        let steps: Vec<String> = rollout_steps(run).iter().map(|known| known.step.to_string()).collect();
        let few = if steps.len() > 20 { &steps[steps.len() - 20..] } else { &steps[..] };
        let message = format!("step {step} has no rollouts; the last steps that have: {}", few.join(", "));
        return Err(NoAnswer::not_found("no_rollouts", message));
    }
    let rows = read_parquet_columns(&path, MAX_MEMORY, |name| columns.contains(&name) || name == "audit");
    let rows = rows.map_err(|error| NoAnswer::unreadable(error.to_string()))?;
    Ok(rows.into_iter().enumerate().map(|(row, columns)| ReplyRow { row, columns }).collect())
}

/// A row of a file of rollouts.
#[derive(Debug)]
pub struct ReplyRow {
    /// Its number in the file, from 0.
    pub row: usize,
    columns: Map<String, Value>,
}

impl ReplyRow {
    /// The text in a column; empty if there is none.
    pub fn text(&self, column: &str) -> &str {
        self.columns.get(column).and_then(Value::as_str).unwrap_or_default()
    }

    /// The number in a column.
    pub fn number(&self, column: &str) -> Option<f64> {
        self.columns.get(column).and_then(Value::as_f64)
    }

    /// Index of the group in the step; -1 if it is not known.
    pub fn group(&self) -> i64 {
        self.columns.get("group").and_then(Value::as_i64).unwrap_or(-1)
    }

    /// What every tool said; `None` if the file has no readable verdicts.
    pub fn verdicts(&self) -> Option<Vec<ToolVerdict>> {
        read_verdicts(self.text("verdicts"))
    }

    fn prompt_view(&self, max: usize) -> GroupView {
        GroupView {
            prompt: ShownText::new(self.text("prompt"), max),
            rendered_prompt: ShownText::new(self.text("rendered_prompt"), max),
            reference: ShownText::new(self.text("reference"), max),
            replies: Vec::new(),
        }
    }

    /// The reply with the first `max` characters of each text.
    pub fn view(&self, max: usize) -> ReplyView {
        ReplyView {
            row: self.row,
            group: self.group(),
            example: self.text("example").to_owned(),
            domain: self.text("domain").to_owned(),
            completion: ShownText::new(self.text("completion"), max),
            reward: self.number("reward"),
            advantage: self.number("advantage"),
            tokens: self.number("tokens"),
            finish: self.text("finish").to_owned(),
            audit: self.number("audit"),
            verdicts: self.verdicts().map(|list| list.into_iter().map(|verdict| verdict.clipped(max)).collect()),
        }
    }
}

/// The summary of a group; `None` without rows.
fn summary(rows: &[ReplyRow]) -> Option<GroupSummary> {
    let first = rows.first()?;
    let known = |column: &str| rows.iter().filter_map(|row| row.number(column)).collect::<Vec<f64>>();
    let (rewards, tokens) = (known("reward"), known("tokens"));
    Some(GroupSummary {
        group: first.group(),
        example: first.text("example").to_owned(),
        domain: first.text("domain").to_owned(),
        prompt: ShownText::new(first.text("prompt"), LISTED),
        replies: rows.len(),
        unscored: rows.len() - rewards.len(),
        cut_off: rows.iter().filter(|row| row.text("finish") == "length").count(),
        lowest: rewards.iter().copied().reduce(f64::min),
        mean: mean(&rewards),
        highest: rewards.iter().copied().reduce(f64::max),
        zero_spread: known("advantage").iter().all(|advantage| *advantage == 0.0),
        tokens: mean(&tokens),
        tools: first.verdicts().into_iter().flatten().map(|verdict| verdict.tool).collect(),
    })
}
