//! Reading JSONL files; errors name the file and the line.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::DataError;
use crate::example::{Example, Message, Preference, Role};

/// The columns that a job requires of every row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Every row must have a prompt; all else is optional.
    Prompt,
    /// Every row must have a prompt and the correct answer.
    Reference,
    /// Every row must have a prompt and a reply to imitate, or a conversation that ends with such a reply.
    Demonstration,
}

/// A row of a JSONL file, with its line.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberedRow {
    /// Line of the row in the file, from 1.
    pub line: usize,
    /// The row's values by column name.
    pub columns: Map<String, Value>,
}

/// Parses the rows of a JSONL text; blank lines are skipped. `path` is the file that errors name. Fails at the first
/// line that is not a JSON object, and if there are no rows.
pub fn read_rows(path: &Path, text: &str) -> Result<Vec<NumberedRow>, DataError> {
    let wrong = |line, message: String| DataError::Row { path: path.to_owned(), line, message };
    let mut rows = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        match serde_json::from_str(line) {
            Ok(Value::Object(columns)) => rows.push(NumberedRow { line: i + 1, columns }),
            Ok(_) => return Err(wrong(i + 1, "a row must be a JSON object".into())),
            Err(e) => {
                // The parser sees one line at a time, so its own line number is always 1.
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

/// Parses the examples of a JSONL text. `path` is the file that errors name.
///
/// A row has `prompt` (text, or a list of messages, as in TRL) or `messages`, and `reference` (or `answer`) and
/// `demonstration` as far as `needs` requires them. The id of a row without `id` is its line; ids must be unique.
pub fn read_examples(path: &Path, text: &str, needs: Needs) -> Result<Vec<Example>, DataError> {
    let mut seen = BTreeMap::new();
    let mut examples = Vec::new();
    for NumberedRow { line, columns } in read_rows(path, text)? {
        let wrong = |message: String| DataError::Row { path: path.to_owned(), line, message };
        let example = example(columns, line).map_err(wrong)?;
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
            return Err(wrong(format!("the id `{}` is also that of line {first}", example.id)));
        }
        examples.push(example);
    }
    Ok(examples)
}

/// Whether the conversation ends with a reply to an earlier message.
fn ends_with_reply(example: &Example) -> bool {
    example.messages.len() > 1 && example.messages.last().is_some_and(|m| m.role == Role::Assistant)
}

/// Parses the preferences of a JSONL text. `path` is the file that errors name.
///
/// A row has `prompt` (text or a list of messages), `chosen` and `rejected` (texts, or lists of messages that end with
/// the reply) and optionally `margin`. Without `prompt`, the prompt is what precedes the reply in `chosen`.
pub fn read_preferences(path: &Path, text: &str) -> Result<Vec<Preference>, DataError> {
    let (mut preferences, mut seen) = (Vec::<Preference>::new(), BTreeMap::new());
    for NumberedRow { line, columns } in read_rows(path, text)? {
        let wrong = |message: String| DataError::Row { path: path.to_owned(), line, message };
        let preference = preference(columns, line).map_err(wrong)?;
        if let Some(first) = seen.insert(preference.id.clone(), line) {
            return Err(wrong(format!("the id `{}` is also that of line {first}", preference.id)));
        }
        preferences.push(preference);
    }
    Ok(preferences)
}

/// Makes a preference of a row; if the row has no id, `line` is the id.
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
        Some(other) => Err(format!("`{key}` must be text or a list of messages, not {}", json_type_name(&other))),
        None => Err(format!("the row has no `{key}`")),
    };
    let (before, chosen) = reply("chosen")?;
    let (before_rejected, rejected) = reply("rejected")?;
    if before != before_rejected {
        return Err("`chosen` and `rejected` belong to different conversations".into());
    }
    let margin = match row.remove("margin") {
        None | Some(Value::Null) => 0.0,
        Some(margin) => {
            margin.as_f64().ok_or_else(|| format!("`margin` must be a number, not {}", json_type_name(&margin)))?
        }
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
        return Err("the conversation in `chosen` is not that of `prompt`".into());
    }
    Ok(Preference { id, messages, chosen, rejected, margin })
}

/// Makes an example of a row; if the row has no id, `line` is the id.
fn example(mut row: Map<String, Value>, line: usize) -> Result<Example, String> {
    let text = |row: &mut Map<String, Value>, key: &str| match row.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(s)) => Ok(Some(s)),
        Some(Value::Number(n)) => Ok(Some(n.to_string())),
        Some(other) => Err(format!("`{key}` must be text, not {}", json_type_name(&other))),
    };
    let prompt = row.remove("prompt").or_else(|| row.remove("messages"));
    let messages = match prompt {
        None | Some(Value::Null) => return Err("the row has no `prompt` (or `messages`)".into()),
        Some(Value::String(content)) => vec![Message { role: Role::User, content }],
        Some(list @ Value::Array(_)) => {
            serde_json::from_value::<Vec<Message>>(list).map_err(|e| format!("`messages`: {e}"))?
        }
        Some(other) => {
            return Err(format!("`prompt` must be text or a list of messages, not {}", json_type_name(&other)));
        }
    };
    if messages.last().is_none_or(|m| m.content.trim().is_empty()) {
        return Err("the prompt is empty".into());
    }
    let id = text(&mut row, "id")?.unwrap_or_else(|| line.to_string());
    let reference = match text(&mut row, "reference")? {
        Some(reference) => Some(reference),
        None => text(&mut row, "answer")?,
    };
    // A blank reference counts as missing: otherwise an empty reply would be correct.
    let reference = reference.filter(|r| !r.trim().is_empty());
    let domain = text(&mut row, "domain")?;
    let demonstration = text(&mut row, "demonstration")?;
    Ok(Example { id, messages, reference, domain, demonstration, columns: row })
}

/// The name of a JSON value's type with its article, for messages: `a number`, `text`.
pub fn json_type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
