//! Why a tool gave a score, in words for people.

use serde::{Deserialize, Serialize};

/// Maximum number of characters of a reason.
const MAX_CHARS: usize = 500;
/// Maximum number of characters of a value that a reason quotes, such as an answer that was compared with the
/// reference.
const MAX_VALUE: usize = 120;

/// Why a tool gave a score, in words: the assertion that failed, the two values that were compared, a judge's words, what a
/// verifier printed. At least one and at most 500 characters, without control characters other than tabs and line breaks.
///
/// Much of it is the text of replies and of untrusted code, so it is only kept and shown; nothing is decided by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reason(String);

impl Reason {
    /// Makes a reason of a text, cut to its first 500 characters; `None` if the text is blank.
    pub fn new(text: &str) -> Option<Self> {
        let shown = |c: char| if c.is_control() && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c };
        let text = text.trim();
        (!text.is_empty()).then(|| Self(beginning(text, MAX_CHARS).chars().map(shown).collect()))
    }

    /// The reason of a tool that compares answers. `found` is the answer in the reply (`None` if there is none), and
    /// `wanted` is the right answer.
    pub fn compared(found: Option<&str>, wanted: &str) -> Option<Self> {
        let found = found.map_or_else(|| "no answer".to_owned(), quoted);
        Self::new(&format!("{found} against {}", quoted(wanted)))
    }

    /// The reason as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A value on one line and in backticks, cut to its first 120 characters.
pub fn quoted(value: &str) -> String {
    let words: Vec<&str> = value.split_whitespace().take(MAX_VALUE).collect();
    format!("`{}`", beginning(&words.join(" "), MAX_VALUE))
}

/// A text, cut to `max_chars` characters if it is longer; a cut text ends in `…`.
fn beginning(text: &str, max_chars: usize) -> String {
    if text.chars().nth(max_chars).is_none() {
        return text.to_owned();
    }
    text.chars().take(max_chars - 1).chain(['…']).collect()
}
