//! One prompt, and one reply to it.

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Standing instructions.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The name that chat templates use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

/// One prompt and what is known about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// Unique within its file.
    pub id: String,
    /// The conversation so far; at least one message.
    pub messages: Vec<Message>,
    /// The right or a good reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The kind of task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// A reply to imitate, for supervised fine-tuning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub demonstration: Option<String>,
    /// Every other column.
    #[serde(flatten)]
    pub columns: serde_json::Map<String, serde_json::Value>,
}

impl Example {
    /// The last message: the question as a person would quote it.
    pub fn prompt(&self) -> &str {
        self.messages.last().map_or("", |m| &m.content)
    }

    /// What tables group by: the column `kind`, else the domain.
    pub fn kind(&self) -> &str {
        let column = self.columns.get("kind").and_then(serde_json::Value::as_str);
        column.or(self.domain.as_deref()).unwrap_or("all")
    }
}

/// A reply: all that a reward tool sees of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completion {
    /// The whole reply.
    pub text: String,
    /// The bytes of the part that is scored.
    pub part: Range<usize>,
}

impl Completion {
    /// A reply that is scored whole.
    pub fn whole(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { part: 0..text.len(), text }
    }

    /// The scored part.
    pub fn scored(&self) -> &str {
        self.text.get(self.part.clone()).unwrap_or("")
    }
}

/// What part of replies is scored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScoredPart {
    /// What follows the last occurrence of this text, such as `</think>`; nothing of a reply without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Of that, what stands in the last `<TAG>…</TAG>`, such as `answer`; nothing of a reply without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
}

impl ScoredPart {
    /// A reply of which this part is scored.
    pub fn of(&self, text: impl Into<String>) -> Completion {
        let text = text.into();
        let part = self.range(&text).unwrap_or(text.len()..text.len());
        Completion { text, part }
    }

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
    /// Unique within its file.
    pub id: String,
    /// The conversation so far; at least one message.
    pub messages: Vec<Message>,
    /// The better reply.
    pub chosen: String,
    /// The worse reply.
    pub rejected: String,
    /// How much better it is, at least; 0 when nobody said.
    pub margin: f64,
}
