//! Files of exchanges: JSONL, a line each, or YAML, a list.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::llm::{ChatReply, ChatRequest, LlmError};

/// A request and its reply.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exchange {
    pub request: ChatRequest,
    pub reply: ChatReply,
    /// Which model replied, for readers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// An exchange and where it stands in its file: `line 3`, `item 3`.
pub(crate) type Placed = (String, Exchange);

/// Reads a file's text; its name's ending says what it is.
pub(crate) fn read(path: &Path, text: &str) -> Result<Vec<Placed>, LlmError> {
    if is_yaml(path) { read_yaml(path, text) } else { read_jsonl(path, text) }
}

/// Whether a file's name says that it is YAML.
pub(crate) fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("yaml") || e.eq_ignore_ascii_case("yml"))
}

/// Reads lines; empty ones are left out.
pub(crate) fn read_jsonl(path: &Path, text: &str) -> Result<Vec<Placed>, LlmError> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read = lines.map(|(at, line)| {
        let place = format!("line {}", at + 1);
        match serde_json::from_str(line) {
            Ok(exchange) => Ok((place, exchange)),
            Err(e) => Err(unclear(path, &place, &e)),
        }
    });
    read.collect()
}

fn read_yaml(path: &Path, text: &str) -> Result<Vec<Placed>, LlmError> {
    let items: Vec<serde_yaml::Value> =
        serde_yaml::from_str(text).map_err(|e| unclear(path, "not a list of exchanges", &e))?;
    let read = items.into_iter().enumerate().map(|(at, item)| {
        let place = format!("item {}", at + 1);
        match serde_yaml::from_value(item) {
            Ok(exchange) => Ok((place, exchange)),
            Err(e) => Err(unclear(path, &place, &e)),
        }
    });
    read.collect()
}

fn unclear(path: &Path, place: &str, why: &dyn std::fmt::Display) -> LlmError {
    LlmError::Replay { message: format!("{}: {place}: {why}", path.display()) }
}
