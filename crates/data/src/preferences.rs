//! Makes preference pairs of rows: a prompt with a better and a worse reply.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value};

use crate::columns::{CompiledColumns, messages};
use crate::error::DataError;
use crate::example::{Example, Message, Preference, Role};
use crate::examples::example;
use crate::rows::{DataRow, json_type_name, read_rows};

/// Reads the preference pairs in the contents of a data file. The file at `path` is not opened: the extension of the
/// path tells CSV and TSV from other formats, and errors name the path.
pub fn read_preferences(path: &Path, bytes: &[u8]) -> Result<Vec<Preference>, DataError> {
    preferences(read_rows(path, bytes)?, None)
}

/// Makes one preference pair from each row.
///
/// A row has `prompt` (text or a list of messages), `chosen` and `rejected` (texts, or lists of messages that end with
/// the reply) and optionally `margin`. Without `prompt`, the prompt is what precedes the reply in `chosen`. `columns`
/// maps other names.
pub fn preferences(rows: Vec<DataRow>, columns: Option<&CompiledColumns>) -> Result<Vec<Preference>, DataError> {
    let (mut preferences, mut seen) = (Vec::<Preference>::new(), BTreeMap::new());
    let files = rows.iter().map(|row| &row.path).collect::<BTreeSet<_>>().len();
    for row in rows {
        let (path, line) = (row.path.clone(), row.line);
        let wrong = |message: String| DataError::Row { path: path.to_path_buf(), line, message };
        let default_id = match path.file_name() {
            Some(name) if files > 1 => format!("{}:{line}", name.to_string_lossy()),
            _ => line.to_string(),
        };
        let preference = preference(row.columns, columns, default_id).map_err(wrong)?;
        if let Some(first) = seen.insert(preference.id.clone(), line) {
            return Err(wrong(format!("the id `{}` is also that of line {first}", preference.id)));
        }
        preferences.push(preference);
    }
    Ok(preferences)
}

/// A reply from the column `chosen` or `rejected`, with the messages before it; no messages if the column is only the
/// reply's text.
struct ReplyColumn {
    before: Vec<Message>,
    reply: String,
}

/// Removes the column `key` from a row and reads the reply in it. The error says what is wrong with the column.
fn reply(row: &mut Map<String, Value>, key: &str) -> Result<ReplyColumn, String> {
    match row.shift_remove(key) {
        Some(Value::String(reply)) => Ok(ReplyColumn { before: Vec::new(), reply }),
        Some(Value::Array(list)) => {
            let mut turns = messages(&list).map_err(|e| format!("`{key}`: {e}"))?;
            match turns.pop() {
                Some(last) if last.role == Role::Assistant => Ok(ReplyColumn { before: turns, reply: last.content }),
                _ => Err(format!("`{key}` must end with a message of the role `assistant`")),
            }
        }
        Some(Value::Null) | None => Err(format!("the row has no `{key}`")),
        Some(other) => Err(format!("`{key}` must be text or a list of messages, not {}", json_type_name(&other))),
    }
}

/// Makes a preference pair from a row. Its id is `default_id` if the row has no `id`. The error says what is wrong with
/// the row.
fn preference(
    mut row: Map<String, Value>,
    columns: Option<&CompiledColumns>,
    default_id: String,
) -> Result<Preference, String> {
    if let Some(columns) = columns {
        columns.apply(&mut row)?;
    }
    let chosen = reply(&mut row, "chosen")?;
    let rejected = reply(&mut row, "rejected")?;
    if chosen.before != rejected.before {
        return Err("`chosen` and `rejected` belong to different conversations".into());
    }
    let (before, chosen, rejected) = (chosen.before, chosen.reply, rejected.reply);
    let margin = match row.shift_remove("margin") {
        None | Some(Value::Null) => 0.0,
        Some(Value::String(text)) if text.trim().parse::<f64>().is_ok_and(f64::is_finite) => {
            text.trim().parse().unwrap_or(0.0)
        }
        Some(margin) => {
            margin.as_f64().ok_or_else(|| format!("`margin` must be a number, not {}", json_type_name(&margin)))?
        }
    };
    let has = |key: &str| row.get(key).is_some_and(|value| !value.is_null());
    if !before.is_empty() && !has("prompt") && !has("messages") {
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
    let (Example { id, messages, .. }, _) = example(row, None, default_id)?;
    // In some data sets `prompt` is only the last user message of the conversation.
    if !before.is_empty() && before != messages && before.last() != messages.last() {
        return Err("the conversation in `chosen` is not that of `prompt`".into());
    }
    let messages = if before.len() > messages.len() { before } else { messages };
    Ok(Preference { id, messages, chosen, rejected, margin })
}
