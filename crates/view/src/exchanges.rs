//! What the agents asked a language model, what it said, and how many tokens that took. Texts that look like secrets are
//! left out.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::answer::NoAnswer;
use crate::config_values::read_config;
use crate::json_lines::{FileProblem, LinePosition, read_json_lines};
use crate::redact::{redact_text, redact_value};
use crate::shown_text::{ShownText, clipped};

const AGENTS: &str = "agents.jsonl";
/// Number of characters of a message.
const MAX_CHARS: usize = 50_000;
/// Number of characters of a text in a row.
const IN_ROW: usize = 2000;
/// Largest number of roles that are counted, and of problems.
const MAX_NAMES: usize = 200;

/// A page of the exchanges, the newest first, with sums over all of them.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct ExchangePage {
    /// Number of exchanges.
    pub total: usize,
    /// Sums by role.
    pub roles: Vec<RoleUsage>,
    /// What the tokens cost by the prices in the config, in their currency; `None` if the config has no prices.
    pub cost: Option<f64>,
    /// The page.
    pub rows: Vec<ExchangeRow>,
    /// What could not be read.
    pub problems: Vec<FileProblem>,
}

/// What the requests of one role took.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RoleUsage {
    /// The role, such as `select`.
    pub role: String,
    /// Number of requests.
    pub requests: usize,
    /// Number of those that failed.
    pub failed: usize,
    /// Tokens of the prompts.
    pub prompt_tokens: u64,
    /// Tokens of the replies.
    pub completion_tokens: u64,
    /// Seconds of waiting for replies.
    pub seconds: f64,
}

/// An exchange without its texts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExchangeRow {
    /// Its line in its file; one of `agents.jsonl` can be asked for by it.
    pub line: usize,
    /// When the request was sent, RFC 3339.
    pub time: String,
    /// The language model.
    pub model: String,
    /// What the model was asked for, such as `select`.
    pub role: String,
    /// What the request is about.
    pub task: String,
    /// Number of the attempt, from 0.
    pub attempt: Option<u64>,
    /// How long it took.
    pub seconds: Option<f64>,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the reply.
    pub completion_tokens: u64,
    /// Why there is no reply; `None` if there is one.
    pub error: Option<String>,
}

/// An exchange with its texts.
#[derive(Debug, PartialEq, Serialize)]
pub struct ExchangeDetail {
    /// When, about what, and what it took.
    #[serde(flatten)]
    pub row: ExchangeRow,
    /// The messages of the request.
    pub messages: Vec<MessageView>,
    /// The reply's text; `None` if there is none.
    pub reply: Option<ShownText>,
    /// The function calls of the reply; `null` if there are none.
    pub calls: Value,
}

/// A message of a request.
#[derive(Debug, PartialEq, Serialize)]
pub struct MessageView {
    /// The author: `system`, `user` or `assistant`.
    pub role: String,
    /// The text.
    pub content: ShownText,
}

/// The exchanges from the `offset`-th newest on, at most `limit`. A run without agents has none.
pub fn exchanges(run: &Path, offset: usize, limit: usize) -> Result<ExchangePage, NoAnswer> {
    let mut page = ExchangePage::default();
    let mut roles: BTreeMap<String, RoleUsage> = BTreeMap::new();
    // The newest lines, at most as many as are skipped and shown.
    let mut newest = std::collections::VecDeque::new();
    read(run, |line, read| match read {
        Ok(value) => {
            let row = row(line, &value);
            page.total += 1;
            if roles.len() < MAX_NAMES || roles.contains_key(&row.role) {
                add(roles.entry(row.role.clone()).or_default(), &row);
            }
            newest.push_back(row);
            if newest.len() > offset.saturating_add(limit) {
                newest.pop_front();
            }
        }
        Err(message) => {
            page.problems.push(FileProblem { file: AGENTS.to_owned(), line: Some(line), message });
            page.problems.truncate(MAX_NAMES);
        }
    })?;
    page.rows = newest.into_iter().rev().skip(offset).collect();
    page.roles = roles.into_values().collect();
    page.cost = cost(run, &page.roles);
    Ok(page)
}

/// What the tokens of some roles cost by the prices in a run's config; `None` without prices.
fn cost(run: &Path, roles: &[RoleUsage]) -> Option<f64> {
    let config = read_config(run).ok()?;
    // Prices are for a million tokens.
    let price = |key: &str| config.pointer(&format!("/rewards/llm/{key}")).and_then(Value::as_f64).unwrap_or(0.0) / 1e6;
    let (prompt, completion) = (price("prompt_price"), price("completion_price"));
    let sum = |role: &RoleUsage| prompt * role.prompt_tokens as f64 + completion * role.completion_tokens as f64;
    (prompt > 0.0 || completion > 0.0).then(|| roles.iter().map(sum).sum())
}

/// The exchange on a line of `agents.jsonl`.
pub fn exchange(run: &Path, wanted: usize) -> Result<ExchangeDetail, NoAnswer> {
    let mut found = None;
    read(run, |line, read| {
        if line == wanted {
            found = read.ok();
        }
    })?;
    let value: Value = found
        .ok_or_else(|| NoAnswer::not_found("no_exchange", format!("{AGENTS} has no exchange on line {wanted}")))?;
    Ok(detail(wanted, value))
}

/// The exchange in a line of a log, without what looks like a secret.
pub fn detail(line: usize, mut value: Value) -> ExchangeDetail {
    redact_value(&mut value);
    let messages = value.get("messages").and_then(Value::as_array).into_iter().flatten();
    let message = |message: &Value| MessageView {
        role: text(message, "role"),
        content: ShownText::new(&text(message, "content"), MAX_CHARS),
    };
    let reply = value.get("reply");
    ExchangeDetail {
        row: row(line, &value),
        messages: messages.map(message).collect(),
        reply: reply.map(|reply| ShownText::new(&text(reply, "text"), MAX_CHARS)),
        calls: reply.and_then(|reply| reply.get("calls")).cloned().unwrap_or_default(),
    }
}

fn read(run: &Path, take: impl FnMut(usize, Result<Value, String>)) -> Result<(), NoAnswer> {
    let path = run.join(AGENTS);
    match read_json_lines(&path, LinePosition::default(), take) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(NoAnswer::of_file(&path, &error)),
        _ => Ok(()),
    }
}

fn row(line: usize, value: &Value) -> ExchangeRow {
    let reply = value.get("reply").unwrap_or(&Value::Null);
    let tokens = |key: &str| reply.get(key).and_then(Value::as_u64).unwrap_or(0);
    let short = |text: String| clipped(redact_text(&text), IN_ROW);
    ExchangeRow {
        line,
        time: short(text(value, "time")),
        model: short(text(value, "model")),
        role: short(text(value, "role")),
        task: short(text(value, "task")),
        attempt: value.get("attempt").and_then(Value::as_u64),
        seconds: value.get("seconds").and_then(Value::as_f64),
        prompt_tokens: tokens("prompt_tokens"),
        completion_tokens: tokens("completion_tokens"),
        error: value.get("error").and_then(Value::as_str).map(|error| short(error.to_owned())),
    }
}

fn add(usage: &mut RoleUsage, row: &ExchangeRow) {
    usage.role.clone_from(&row.role);
    usage.requests += 1;
    usage.failed += usize::from(row.error.is_some());
    usage.prompt_tokens = usage.prompt_tokens.saturating_add(row.prompt_tokens);
    usage.completion_tokens = usage.completion_tokens.saturating_add(row.completion_tokens);
    usage.seconds += row.seconds.unwrap_or(0.0);
}

/// The text of a key; empty if it has none.
pub fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}
