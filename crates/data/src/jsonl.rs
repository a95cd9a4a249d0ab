//! JSONL files, with the line of whatever is wrong.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::example::{Example, Message, Preference, Role};

/// What can be wrong with a data set.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The file could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A row is wrong.
    #[error("{}:{line}: {message}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong and what was expected.
        message: String,
    },
    /// No row at all.
    #[error("{}: the data set is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// What a job cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// A prompt.
    Prompt,
    /// A prompt and the right answer.
    Reference,
    /// A prompt and a reply to imitate, or a conversation that ends with one.
    Demonstration,
}

/// A row and its line, from 1.
pub type NumberedRow = (usize, Map<String, Value>);

/// Rows of a JSONL text as objects with their line numbers; blank lines are skipped.
pub fn read_rows(path: &Path, text: &str) -> Result<Vec<NumberedRow>, DataError> {
    let wrong = |line, message: String| DataError::Row { path: path.to_owned(), line, message };
    let mut rows = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        match serde_json::from_str(line) {
            Ok(Value::Object(row)) => rows.push((i + 1, row)),
            Ok(_) => return Err(wrong(i + 1, "a row must be a JSON object".into())),
            Err(e) => {
                // A row is a line: what it calls line 1 is this one.
                let message = e.to_string().replace(" at line 1 column", ", column");
                return Err(wrong(i + 1, format!("not JSON: {message}")));
            }
        }
    }
    if rows.is_empty() {
        return Err(DataError::Empty { path: path.to_owned() });
    }
    Ok(rows)
}

/// Examples of a JSONL text. A row has `prompt` (text, or a list of messages as TRL writes it) or
/// `messages`, and `reference` (or `answer`) and `demonstration` where the job needs them. Rows without
/// `id` are numbered by line; an id may occur once.
pub fn read_examples(path: &Path, text: &str, needs: Needs) -> Result<Vec<Example>, DataError> {
    let mut seen = BTreeMap::new();
    let mut examples = Vec::new();
    for (line, row) in read_rows(path, text)? {
        let wrong = |message: String| DataError::Row { path: path.to_owned(), line, message };
        let example = example(row, line).map_err(wrong)?;
        let missing = match needs {
            Needs::Reference if example.reference.is_none() => Some("`reference` (or `answer`)"),
            Needs::Demonstration if example.demonstration.is_none() && !ends_with_reply(&example) => {
                Some("`demonstration` (or a last message of the role `assistant`)")
            }
            _ => None,
        };
        if let Some(missing) = missing {
            return Err(wrong(format!("the row has no {missing}, which this job needs")));
        }
        if let Some(first) = seen.insert(example.id.clone(), line) {
            return Err(wrong(format!("id `{}` is that of line {first}, too", example.id)));
        }
        examples.push(example);
    }
    Ok(examples)
}

fn ends_with_reply(example: &Example) -> bool {
    example.messages.len() > 1 && example.messages.last().is_some_and(|m| m.role == Role::Assistant)
}

/// Preferences of a JSONL text: rows with `prompt` (text or messages), `chosen` and `rejected` (texts, or lists of
/// messages that end with the reply) and, where known, `margin`. Without `prompt`, `chosen` holds the conversation.
pub fn read_preferences(path: &Path, text: &str) -> Result<Vec<Preference>, DataError> {
    let (mut preferences, mut seen) = (Vec::<Preference>::new(), BTreeMap::new());
    for (line, row) in read_rows(path, text)? {
        let wrong = |message: String| DataError::Row { path: path.to_owned(), line, message };
        let preference = preference(row, line).map_err(wrong)?;
        if let Some(first) = seen.insert(preference.id.clone(), line) {
            return Err(wrong(format!("id `{}` is that of line {first}, too", preference.id)));
        }
        preferences.push(preference);
    }
    Ok(preferences)
}

fn preference(mut row: Map<String, Value>, line: usize) -> Result<Preference, String> {
    let mut reply = |key: &str| match row.remove(key) {
        Some(Value::String(text)) => Ok((Vec::new(), text)),
        Some(list @ Value::Array(_)) => {
            let mut turns = serde_json::from_value::<Vec<Message>>(list).map_err(|e| format!("`{key}`: {e}"))?;
            match turns.pop() {
                Some(last) if last.role == Role::Assistant => Ok((turns, last.content)),
                _ => Err(format!("`{key}` must end with a message of the role `assistant`")),
            }
        }
        Some(other) => Err(format!("`{key}` must be text or a list of messages, not {}", named(&other))),
        None => Err(format!("the row has no `{key}`")),
    };
    let (before, chosen) = reply("chosen")?;
    let (before_rejected, rejected) = reply("rejected")?;
    if before != before_rejected {
        return Err("`chosen` and `rejected` do not reply to the same conversation".into());
    }
    let margin = match row.remove("margin") {
        None | Some(Value::Null) => 0.0,
        Some(margin) => margin.as_f64().ok_or_else(|| format!("`margin` must be a number, not {}", named(&margin)))?,
    };
    if !before.is_empty() && !row.contains_key("prompt") && !row.contains_key("messages") {
        row.insert("messages".into(), serde_json::to_value(&before).map_err(|e| e.to_string())?);
    }
    if chosen == rejected {
        return Err("`chosen` and `rejected` are the same".into());
    }
    if chosen.trim().is_empty() {
        return Err("`chosen` is empty".into());
    }
    if margin < 0.0 {
        return Err(format!("`margin` is {margin}; it must be at least 0"));
    }
    let Example { id, messages, .. } = example(row, line)?;
    if !before.is_empty() && before != messages {
        return Err("`chosen` replies to another conversation than `prompt`".into());
    }
    Ok(Preference { id, messages, chosen, rejected, margin })
}

fn example(mut row: Map<String, Value>, line: usize) -> Result<Example, String> {
    let text = |row: &mut Map<String, Value>, key: &str| match row.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(s)) => Ok(Some(s)),
        Some(Value::Number(n)) => Ok(Some(n.to_string())),
        Some(other) => Err(format!("`{key}` must be text, not {}", named(&other))),
    };
    let given = row.remove("prompt").or_else(|| row.remove("messages"));
    let messages = match given {
        None | Some(Value::Null) => return Err("the row has no `prompt` (or `messages`)".into()),
        Some(Value::String(content)) => vec![Message { role: Role::User, content }],
        Some(list @ Value::Array(_)) => {
            serde_json::from_value::<Vec<Message>>(list).map_err(|e| format!("`messages`: {e}"))?
        }
        Some(other) => return Err(format!("`prompt` must be text or a list of messages, not {}", named(&other))),
    };
    if messages.last().is_none_or(|m| m.content.trim().is_empty()) {
        return Err("the prompt is empty".into());
    }
    let id = text(&mut row, "id")?.unwrap_or_else(|| line.to_string());
    let given = match text(&mut row, "reference")? {
        Some(reference) => Some(reference),
        None => text(&mut row, "answer")?,
    };
    // Nothing is no answer: an empty reply would be right.
    let reference = given.filter(|r| !r.trim().is_empty());
    let domain = text(&mut row, "domain")?;
    let demonstration = text(&mut row, "demonstration")?;
    Ok(Example { id, messages, reference, domain, demonstration, columns: row })
}

/// What a value is, in words.
pub fn named(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
