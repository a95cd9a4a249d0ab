//! Reward functions of users: their source, their calls and the results, whether they run in the sandbox or trusted.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::building_blocks::{BUILDING_BLOCKS, uses_building_blocks};

/// A Python function that scores the replies to a prompt: its source, and the arguments that all its calls share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FunctionSource {
    /// Name of the function.
    pub function: String,
    /// Name of the file that holds the function; a key of `files`.
    pub file: String,
    /// Texts of the file and of the modules beside it that it imports, by their paths in the file's folder.
    pub files: BTreeMap<String, String>,
    /// The file's folder, from which a trusted function may import and read more; the sandbox does not use it.
    #[serde(skip)]
    pub folder: PathBuf,
    /// Keyword arguments of every call, besides those of the function's form. They take precedence over columns of the
    /// same names.
    pub kwargs: Map<String, Value>,
}

impl FunctionSource {
    /// Adds the building blocks to the files, as the module `rlar_tools.py`, if one of the files mentions `rlar_tools`.
    /// A file of the user with this name is kept instead.
    pub(crate) fn with_building_blocks(mut self) -> Self {
        if self.files.values().any(|text| uses_building_blocks(text)) {
            self.files.entry("rlar_tools.py".into()).or_insert_with(|| BUILDING_BLOCKS.into());
        }
        self
    }
}

/// The form of a reward function: which arguments it takes and what it returns. The names of its parameters tell which
/// form it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionForm {
    /// `f(prompts, completions, **columns)`, which returns a list with a number per completion, as in TRL.
    Trl,
    /// `compute_score(data_source, solution_str, ground_truth, extra_info=None)`, which returns a number or a dict with
    /// `score`, as in verl.
    Verl,
    /// `f(prompt, candidate_response, reference_response)`, which returns a number.
    Rlar,
}

impl FunctionForm {
    /// The form that the Python process calls by this name: `verl`, `rlar`, or any other name for TRL's form.
    pub(crate) fn of(name: &str) -> Self {
        match name {
            "verl" => Self::Verl,
            "rlar" => Self::Rlar,
            _ => Self::Trl,
        }
    }
}

/// One call of a reward function: a prompt with the replies of its group.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GroupCall {
    /// Text of the prompt's last message.
    pub prompt: String,
    /// The prompt as messages with `role` and `content`.
    pub messages: Value,
    /// Whether a function of TRL's form gets prompts and completions as lists of messages; otherwise it gets them as
    /// texts.
    pub conversational: bool,
    /// The reference answer to the prompt; empty if there is none.
    pub reference: String,
    /// The columns of the prompt's row of data, by their names.
    pub columns: Map<String, Value>,
    /// The replies to score.
    pub replies: Vec<String>,
    /// Token ids of every reply.
    pub ids: Vec<Vec<u32>>,
    /// The fields of `trainer_state` (such as `global_step`), an argument of functions of TRL's form.
    pub state: Map<String, Value>,
}

/// The result of one call of a reward function, with what the function printed and the time that it took.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupResult {
    /// The scores, or why there are none.
    pub verdict: GroupVerdict,
    /// The beginning of what the function printed.
    pub printed: String,
    /// The beginning of what the function printed for each reply, if it scores them one by one; otherwise empty.
    pub prints: Vec<String>,
    /// Wall time of the call.
    pub wall: Duration,
}

impl GroupResult {
    /// Reads the JSON that the Python process sent as the result of a call that scores `count` replies.
    pub(crate) fn read(reply: &Value, count: usize, wall: Duration) -> Self {
        let prints = reply["prints"].as_array().filter(|list| list.len() == count).into_iter().flatten();
        let prints = prints.map(|text| text.as_str().unwrap_or_default().to_owned()).collect();
        Self { verdict: GroupVerdict::read(reply, count), printed: printed(reply), prints, wall }
    }

    /// The result of a call to which Python sent no reply.
    pub(crate) fn without_reply(verdict: GroupVerdict, wall: Duration) -> Self {
        Self { verdict, printed: String::new(), prints: Vec::new(), wall }
    }
}

/// The scores that a call of a reward function gave, or why it gave none.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupVerdict {
    /// The function returned; one result per reply, in their order.
    Replies(Vec<ReplyResult>),
    /// The function returned something else than a result per reply, or cannot be called with this row; the text says
    /// what is wrong.
    Wrong(String),
    /// The function raised an exception; the text holds its type, its message and the place in the user's files.
    Raised(String),
    /// The function did not return within this time.
    TimeLimit(Duration),
    /// The process that ran the function ran out of memory.
    MemoryLimit,
    /// The result was too long to be sent.
    OutputLimit,
    /// The process ended, or what it sent is malformed; the text says how.
    Crashed(String),
    /// The same call gave other scores in a fresh process; the text shows both.
    Unrepeatable(String),
    /// The function was not called, because [`ShouldStop`](crate::ShouldStop) had returned true before.
    Skipped,
}

/// What a function returned for one reply.
#[derive(Clone, Debug, PartialEq)]
pub enum ReplyResult {
    /// The function returned this finite number.
    Score(f64),
    /// The function returned Python's `None`.
    Nothing,
    /// The function returned something else than a finite number or `None`; the text says what.
    Wrong(String),
}

impl GroupVerdict {
    /// Reads the JSON that the Python process sent as the result of a call that scores `count` replies.
    fn read(reply: &Value, count: usize) -> Self {
        let text = |key: &str| reply[key].as_str().map(str::to_owned);
        if let Some(results) = reply["results"].as_array().filter(|list| list.len() == count) {
            return Self::Replies(results.iter().map(ReplyResult::read).collect());
        }
        if reply["memory"] == true {
            return Self::MemoryLimit;
        }
        let failed = text("raised").map(Self::Raised).or_else(|| text("wrong").map(Self::Wrong));
        failed.unwrap_or_else(|| Self::Crashed("what its process sent is not a valid result".into()))
    }

    /// Whether the function returned or raised an exception, so that the same call should end in the same way again.
    pub(crate) fn ran_to_completion(&self) -> bool {
        matches!(self, Self::Replies(_) | Self::Wrong(_) | Self::Raised(_))
    }
}

impl ReplyResult {
    fn read(value: &Value) -> Self {
        match value {
            Value::Null => Self::Nothing,
            Value::Number(number) => number.as_f64().map_or_else(|| Self::Wrong(number.to_string()), Self::Score),
            other => {
                Self::Wrong(other["wrong"].as_str().unwrap_or("what its process sent is not a valid result").to_owned())
            }
        }
    }
}

/// Maximum number of bytes that the text printed for one reply takes in a message from the Python process: 600
/// characters of up to 12 bytes each, as JSON escapes them.
pub(crate) const PRINTED_BYTES: usize = 12 * 600;

/// The text under the key `printed` of a message from the Python process; empty if there is none.
pub(crate) fn printed(reply: &Value) -> String {
    reply["printed"].as_str().unwrap_or_default().to_owned()
}
