//! Parsers for the replies of a language model, which consist of fenced blocks of Markdown or of one JSON object, and
//! for fields of limited length.
//!
//! The errors are shown to the model, so that it can repair its reply. Their texts are part of recorded exchanges: a
//! changed text changes the recorded requests.

use serde_json::{Map, Value};

/// A fenced block of Markdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FencedBlock<'t> {
    /// The info string after the opening fence, such as `python`; empty when there is none.
    pub language: &'t str,
    /// The lines between the fences, with their line ends.
    pub body: &'t str,
}

/// The fenced blocks of Markdown in a text. A fence must be alone on its line, so a program may contain three backticks
/// within a line. A block without a closing fence is left out.
pub fn blocks(text: &str) -> Vec<FencedBlock<'_>> {
    let mut blocks = Vec::new();
    let (mut open, mut offset) = (None, 0);
    for line in text.split_inclusive('\n') {
        let (start, trimmed) = (offset, line.trim());
        offset += line.len();
        match (open, trimmed.strip_prefix("```")) {
            (None, Some(language)) => open = Some((language.trim(), offset)),
            (Some((language, begin)), Some("")) => {
                blocks.push(FencedBlock { language, body: &text[begin..start] });
                open = None;
            }
            _ => {}
        }
    }
    blocks
}

/// The JSON object in a reply: the whole reply, or the only fenced block in it.
///
/// # Errors
///
/// When there are several fenced blocks, or when the text is not JSON or not an object.
pub fn object(text: &str) -> Result<Map<String, Value>, String> {
    let found = blocks(text);
    let inner = match &found[..] {
        [] => text.trim(),
        [block] => block.body.trim(),
        _ => return Err("it has several blocks where one JSON object is wanted".into()),
    };
    bare_object(inner)
}

/// The JSON object that a text consists of, without a fence around it.
///
/// # Errors
///
/// When the text is not JSON, or not an object.
pub fn bare_object(text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err("it is JSON, but not an object".into()),
        Err(e) => Err(format!("it is not one JSON object ({e})")),
    }
}

/// Names of the tags between which models write their reasoning before they answer.
const REASONING: [&str; 6] = ["think", "thinking", "thought", "reasoning", "reason", "analysis"];

/// A reply without the reasoning at its start, which stands between tags such as `<think>` and `</think>`. The first
/// tag may be missing, because chat templates write it into the prompt. Nothing is left of a reply whose reasoning does
/// not end, because it was cut off.
pub fn without_reasoning(text: &str) -> &str {
    let lower = text.to_ascii_lowercase();
    for name in REASONING {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let is_open = lower.trim_start().starts_with(&open);
        match lower.find(&close) {
            Some(at) if is_open || !in_answer(&text[..at]) => return &text[at + close.len()..],
            None if is_open => return "",
            _ => {}
        }
    }
    text
}

/// Whether a tag directly after the text `before`, the beginning of a reply, is a part of the answer: of a JSON text or
/// of a code block.
fn in_answer(before: &str) -> bool {
    before.trim_start().starts_with(['{', '[']) || before.matches("```").count() % 2 == 1
}

/// A JSON object in a text, and how it is written there.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundObject<'t> {
    /// The fields of the object.
    pub fields: Map<String, Value>,
    /// The object as it is written in the text.
    pub source: &'t str,
}

/// The only JSON object in a text, which is the end of the text. Words may stand before it, and a code fence around it.
/// `None` where there is no object or more than one, or where anything else in the text looks like the beginning of
/// one: which object is meant must not be a guess.
pub fn last_object(text: &str) -> Option<FoundObject<'_>> {
    let start = text.find('{')?;
    let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Map<String, Value>>();
    let fields = values.next()?.ok()?;
    let end = start + values.byte_offset();
    let rest = text[end..].trim();
    let is_fenced = text[..start].contains("```") && rest == "```";
    (rest.is_empty() || is_fenced).then(|| FoundObject { fields, source: &text[start..end] })
}

/// The texts of a JSON list, trimmed. `name` names the list in the error.
///
/// # Errors
///
/// When the value is missing or not a list, or when an entry is not a text, is empty or has more than `max_chars`
/// characters.
pub fn texts(value: Option<&Value>, name: &str, max_chars: usize) -> Result<Vec<String>, String> {
    let list = value.and_then(Value::as_array).ok_or_else(|| format!("`{name}` must be a list"))?;
    let text =
        |v: &Value| v.as_str().map(|s| s.trim().to_owned()).filter(|s| !s.is_empty() && s.chars().count() <= max_chars);
    let texts: Option<Vec<String>> = list.iter().map(text).collect();
    texts.ok_or_else(|| format!("`{name}` must hold texts of at most {max_chars} characters"))
}

/// The text of a field of a JSON object, trimmed. `name` is the field's name.
///
/// # Errors
///
/// When the field is missing, is not a text, is empty or has more than `max_chars` characters.
pub fn text(fields: &Map<String, Value>, name: &str, max_chars: usize) -> Result<String, String> {
    let text = fields.get(name).and_then(Value::as_str).map(str::trim).unwrap_or_default();
    let fits = !text.is_empty() && text.chars().count() <= max_chars;
    fits.then(|| text.to_owned()).ok_or_else(|| format!("`{name}` must be a text of at most {max_chars} characters"))
}
