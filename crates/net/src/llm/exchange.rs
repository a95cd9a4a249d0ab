//! Files of recorded exchanges: either JSONL with one exchange per line, or a YAML list.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::llm::{ChatReply, ChatRequest, LlmError};

/// A chat request together with its reply, as stored in a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exchange {
    pub request: ChatRequest,
    pub reply: ChatReply,
    /// The name of the model that replied; `None` in scripted exchanges, which a person wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// An exchange and its position in the file, for error messages.
#[derive(Clone, Debug)]
pub(crate) struct LocatedExchange {
    /// The position in the file: `line 3` in JSONL, or `item 3` in YAML.
    pub position: String,
    pub exchange: Exchange,
}

/// Parses the text of a file as YAML or JSONL; the extension of the path decides which.
pub(crate) fn read(path: &Path, text: &str) -> Result<Vec<LocatedExchange>, LlmError> {
    if is_yaml(path) { read_yaml(path, text) } else { read_jsonl(path, text) }
}

/// Whether a file is YAML: whether its extension is `.yaml` or `.yml`.
pub(crate) fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("yaml") || e.eq_ignore_ascii_case("yml"))
}

/// Parses exchanges from JSONL; blank lines are skipped.
pub(crate) fn read_jsonl(path: &Path, text: &str) -> Result<Vec<LocatedExchange>, LlmError> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let exchanges = lines.map(|(index, line)| {
        let position = format!("line {}", index + 1);
        match serde_json::from_str(line) {
            Ok(exchange) => Ok(LocatedExchange { position, exchange }),
            Err(e) => Err(invalid(path, &position, &e)),
        }
    });
    exchanges.collect()
}

fn read_yaml(path: &Path, text: &str) -> Result<Vec<LocatedExchange>, LlmError> {
    let items: Vec<serde_yaml::Value> =
        serde_yaml::from_str(text).map_err(|e| invalid(path, "not a list of exchanges", &e))?;
    let exchanges = items.into_iter().enumerate().map(|(index, item)| {
        let position = format!("item {}", index + 1);
        match serde_yaml::from_value(item) {
            Ok(exchange) => Ok(LocatedExchange { position, exchange }),
            Err(e) => Err(invalid(path, &position, &e)),
        }
    });
    exchanges.collect()
}

fn invalid(path: &Path, position: &str, why: &dyn std::fmt::Display) -> LlmError {
    LlmError::Replay { message: format!("{}: {position}: {why}", path.display()) }
}
