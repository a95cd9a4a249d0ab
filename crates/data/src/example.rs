//! Prompts and replies.

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The author of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Author of the system message, which holds standing instructions for the model.
    System,
    /// Author of the instructions that some models take instead of a system message.
    Developer,
    /// The person who talks to the model.
    User,
    /// The language model.
    Assistant,
    /// A tool that the model called; the message is the tool's result.
    Tool,
}

impl Role {
    /// The name that chat templates use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }

    /// The role with this name in a data set: a name that chat templates use, or one of `human`, `gpt`, `model` and
    /// `function`, which other tools use. The error lists the names that chat templates use.
    pub fn parse(name: &str) -> Result<Self, String> {
        match name {
            "system" => Ok(Self::System),
            "developer" => Ok(Self::Developer),
            "user" | "human" => Ok(Self::User),
            "assistant" | "gpt" | "model" => Ok(Self::Assistant),
            "tool" | "function" => Ok(Self::Tool),
            other => {
                Err(format!("the role `{other}` is none of `system`, `developer`, `user`, `assistant` and `tool`"))
            }
        }
    }
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Author of the message.
    pub role: Role,
    /// Text of the message; may be empty beside tool calls.
    pub content: String,
    /// The tool calls of an assistant's message, in the form of the chat API.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<serde_json::Value>,
    /// Name of the author, or of the tool that gave the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The id of the tool call that a tool's message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

impl Message {
    /// A message with a text and nothing else.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), tool_calls: Vec::new(), name: None, tool_call_id: None }
    }

    /// The message as chat templates read it: an object with `role`, `content` and, where they are there, `tool_calls`,
    /// `name` and `tool_call_id`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// One prompt with its reference answer, domain and other columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// Name of the example, unique within its file.
    pub id: String,
    /// Messages that precede the reply; at least one.
    pub messages: Vec<Message>,
    /// The correct answer, or a good reply; `None` if the row has neither.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Further answers that are as good as the reference; empty if the row has one answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further_references: Vec<String>,
    /// Whether the row has the prompt as a list of messages and not as a text. It is not stored.
    #[serde(skip)]
    pub conversational: bool,
    /// The worked solution from which the reference was taken; `None` for most examples of a large data set, and where
    /// the row has the answer alone. It is not stored.
    #[serde(skip)]
    pub worked_solution: Option<String>,
    /// The kind of task, such as `math`; `None` if the row does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// A reply to imitate, for supervised fine-tuning; `None` if the row has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub demonstration: Option<String>,
    /// Values of all other columns of the row, by column name.
    #[serde(flatten)]
    pub columns: serde_json::Map<String, serde_json::Value>,
}

impl Example {
    /// A prompt of one user message, with nothing else.
    pub fn new(id: impl Into<String>, prompt: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            messages: vec![Message::new(Role::User, prompt)],
            reference: None,
            further_references: Vec::new(),
            conversational: false,
            worked_solution: None,
            domain: None,
            demonstration: None,
            columns: serde_json::Map::new(),
        }
    }

    /// The reference and all further answers that are as good.
    pub fn references(&self) -> impl Iterator<Item = &str> {
        self.reference.iter().chain(&self.further_references).map(String::as_str)
    }

    /// The text of the last message of the prompt; empty if there is no message.
    pub fn prompt(&self) -> &str {
        self.messages.last().map_or("", |m| &m.content)
    }

    /// The group of this example in result tables: the column `kind`, else the domain, else `all`.
    pub fn kind(&self) -> &str {
        let column = self.columns.get("kind").and_then(serde_json::Value::as_str);
        column.or(self.domain.as_deref()).unwrap_or("all")
    }
}

/// A reply and the part of it that is scored: all that a reward tool sees of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completion {
    /// The whole text of the reply.
    pub text: String,
    /// The part of the text that is scored, as a byte range.
    pub part: Range<usize>,
    /// Token ids of the reply; empty if it was not sampled by a model of this process.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<u32>,
}

impl Completion {
    /// Makes a completion whose whole text is scored.
    pub fn whole(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { part: 0..text.len(), text, tokens: Vec::new() }
    }

    /// Adds the token ids of the reply.
    #[must_use]
    pub fn with_tokens(self, tokens: Vec<u32>) -> Self {
        Self { tokens, ..self }
    }

    /// The text of the part that is scored; empty if the range does not lie within the text.
    pub fn scored_text(&self) -> &str {
        self.text.get(self.part.clone()).unwrap_or("")
    }
}

/// Which part of each reply is scored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScoredPart {
    /// Score only what follows the last occurrence of this text, such as `</think>`. A reply without this text has an
    /// empty scored part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Score only what the last `<TAG>…</TAG>` encloses, for a tag such as `answer`; with `after`, the last one behind
    /// that text. A reply without such a pair has an empty scored part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
}

impl ScoredPart {
    /// Makes a completion from the reply `text`, of which `after` and `within` select the scored part. The scored part
    /// is empty if `text` lacks the text `after` or the tag `within`.
    pub fn completion(&self, text: impl Into<String>) -> Completion {
        let text = text.into();
        let part = self.range(&text).unwrap_or(text.len()..text.len());
        Completion { text, part, tokens: Vec::new() }
    }

    /// Byte range of the scored part in `text`; `None` if the text `after` or the tag `within` is missing there.
    fn range(&self, text: &str) -> Option<Range<usize>> {
        let start = match &self.after {
            Some(marker) => text.rfind(marker)? + marker.len(),
            None => 0,
        };
        let Some(tag) = &self.within else { return Some(start..text.len()) };
        let (open, rest) = (format!("<{tag}>"), &text[start..]);
        let end = rest.rfind(&format!("</{tag}>"))?;
        let begin = rest[..end].rfind(&open)? + open.len();
        Some(start + begin..start + end)
    }
}

/// A prompt with a better and a worse reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preference {
    /// Name of the preference, unique within its file.
    pub id: String,
    /// Messages that precede the reply; at least one.
    pub messages: Vec<Message>,
    /// The better reply.
    pub chosen: String,
    /// The worse reply.
    pub rejected: String,
    /// How much better the chosen reply is; at least 0, and 0 where the row does not say.
    pub margin: f64,
}
