//! The JSON of `POST /v1/rewards`, `/v1/tools` and errors.
//!
//! Scores and weights are numbers without a unit. Times are seconds. A `null` always means that there is no value; no
//! number stands for a missing one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The body of `POST /v1/rewards`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RewardRequest {
    /// The replies to score, each with its prompt: at most 4096. One that cannot be read gets the status `failed`, and
    /// the others are scored.
    #[schemars(with = "Vec<RewardItem>")]
    pub items: Vec<Value>,
    /// Seconds, more than 0 and at most 3600, after which no more scoring begins: what is not scored by then has the
    /// status `failed`. When absent, 120.
    #[serde(default)]
    pub deadline_s: Option<f64>,
}

/// One reply with its prompt. All further keys are columns of the prompt's row, such as `reference`, `domain` or `tests`,
/// which tools may read.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct RewardItem {
    /// Any text or number, repeated in the answer. When absent, the index of the item, from 0.
    pub id: Option<Value>,
    /// The prompt as a text, or as a list of messages with `role` and `content`. Either this or `messages` is needed.
    pub prompt: Option<Value>,
    /// The prompt as a list of messages. Without `response`, its last message is the reply and must be the assistant's.
    pub messages: Option<Vec<Value>>,
    /// The reply to score; `completion` is another name for it.
    pub response: Option<String>,
    /// The tools that score the reply, instead of those that rlar chooses: names, or objects with `tool` and `weight` and,
    /// for gates and vetoes, `as` and `least`.
    pub tools: Option<Vec<Value>>,
    /// What tells the groups of replies to one prompt apart; a text or a number. Items of a request with equal prompts and
    /// columns and the same `group` (or none) are a group, which a Python function gets in one call.
    pub group: Option<Value>,
    /// Further columns of the prompt's row.
    #[serde(flatten)]
    pub columns: Map<String, Value>,
}

/// The answer to `POST /v1/rewards`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RewardAnswer {
    /// Hash of the library that scored: of all tools, their code and their admission, 16 hexadecimal digits.
    pub library: String,
    /// One answer for every item, in the order of the items.
    pub results: Vec<ItemAnswer>,
}

/// What became of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ItemStatus {
    /// All tools gave a score; `reward` is a number.
    Ok,
    /// No tool applies to this prompt, whatever the reply; asking again changes nothing.
    Abstained,
    /// The item could not be read, a tool failed, or the time was over. `reason` says which.
    Failed,
    /// The tool that would score this prompt is out of use, because it failed too often, and no other tool fits.
    Suspended,
}

impl ItemStatus {
    /// The status as it stands in JSON and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Abstained => "abstained",
            Self::Failed => "failed",
            Self::Suspended => "suspended",
        }
    }
}

/// The answer to one item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ItemAnswer {
    /// The id of the item.
    pub id: Value,
    /// What became of the item.
    pub status: ItemStatus,
    /// The weighted sum of the scores of `parts`, a finite number; `null` unless `status` is `ok`.
    pub reward: Option<f64>,
    /// What every tool gave, in the order of the tools; empty when no tool was called.
    pub parts: Vec<RewardPart>,
    /// Why there is no reward; `null` when there is one.
    pub reason: Option<String>,
    /// Seconds that the tools needed for this reply, together; a tool that scores many replies in one call counts with
    /// the mean.
    pub seconds: f64,
    /// Whether all scores came from the score cache, or from an equal reply in the same batch.
    pub cached: bool,
    /// Who chose the tools; `null` when no tools were chosen.
    pub chosen: Option<ToolChoice>,
}

/// Who chose the tools of an item, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolChoice {
    /// `request` (the item's `tools`), `config`, `builtin` (fixed rules), `nobody` when no tool fits, or the name of a
    /// language model.
    pub by: String,
    /// The reason, for people.
    pub why: String,
    /// Whether a language model has been asked for this prompt and has not answered yet; its choice will serve later
    /// requests.
    pub pending: bool,
}

/// What one tool gave for a reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RewardPart {
    /// The name of the tool.
    pub tool: String,
    /// Content hash of the tool: of its card, its code and its parts, 16 hexadecimal digits.
    pub hash: String,
    /// The score, in the range of the tool's card; `null` when the tool abstained or failed.
    pub value: Option<f64>,
    /// The factor of the score in the reward; 0 for gates and vetoes, whose decision the other values already hold.
    pub weight: f64,
    /// Whether the tool scored, abstained or failed.
    pub outcome: PartOutcome,
    /// Why the score is as it is, or why there is none; at most 500 characters and `null` if the tool says nothing. It may
    /// quote the reply and what untrusted code printed, so nothing should be decided by it.
    pub reason: Option<String>,
    /// Seconds that the tool needed; 0 for a cached score.
    pub seconds: f64,
    /// Whether the score came from the score cache, or from an equal reply in the same batch.
    pub cached: bool,
}

/// How a call of a tool ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PartOutcome {
    /// The tool gave a score.
    Scored,
    /// The tool does not apply to this prompt.
    Abstained,
    /// The tool gave no score because it failed.
    Failed,
}

impl PartOutcome {
    /// The outcome as it stands in JSON and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scored => "scored",
            Self::Abstained => "abstained",
            Self::Failed => "failed",
        }
    }
}

/// The answer to `GET /v1/tools`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ToolList {
    /// Hash of the library.
    pub library: String,
    /// Hashes of the libraries that `?library=HASH` may name, the newest first.
    pub pinnable: Vec<String>,
    /// The tools, in the order of their names.
    pub tools: Vec<ListedTool>,
}

/// A tool of the library.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListedTool {
    /// The name of the tool.
    pub name: String,
    /// Content hash of the tool.
    pub hash: String,
    /// What the tool measures, in a sentence.
    pub measures: String,
    /// The tasks that the tool suits.
    pub tasks: Vec<String>,
    /// Whether the tool needs a reference.
    pub needs_reference: bool,
    /// The lowest and the highest score.
    pub range: [f64; 2],
    /// Whether the tool may score: it passed the admission checks.
    pub admitted: bool,
    /// Whether the tool is out of use because it failed too often.
    pub suspended: bool,
}

/// The answer to `POST /v1/reload`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReloadAnswer {
    /// Hash of the library that serves now.
    pub library: String,
    /// Whether it is another one than before.
    pub changed: bool,
}

/// The body of every answer that is an error.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ErrorAnswer {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong with a request as a whole.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ErrorDetail {
    /// A short name of the error that programs can compare, such as `queue_full`.
    pub code: String,
    /// What went wrong and what to do, for people.
    pub message: String,
}
