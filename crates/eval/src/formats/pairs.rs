//! Any preference pairs: rows `prompt, chosen, rejected` and, where known, `id` and a category. Replies are texts, or
//! conversations of a question and the reply, as TRL writes them; then `prompt` may be missing.

use serde_json::Value;

use super::{category, id, right_then_wrong};
use crate::EvalError;
use crate::item::{Item, Kind};
use crate::rows::{Row, json_type_name};

pub(super) fn item(row: &Row) -> Result<Item, EvalError> {
    let (asked, chosen) = reply(row, "chosen")?;
    let (asked_too, rejected) = reply(row, "rejected")?;
    if asked != asked_too {
        return Err(row.wrong("`chosen` and `rejected` do not reply to the same question"));
    }
    let prompt = match (row.value("prompt"), asked) {
        (None, Some(asked)) => asked,
        (Some(Value::Array(turns)), _) => question(row, "prompt", turns)?,
        _ => row.text("prompt")?,
    };
    Ok(Item {
        id: id(row, "id")?,
        category: category(row)?,
        prompt,
        completions: vec![chosen, rejected],
        labels: right_then_wrong(1, 1),
        kind: Kind::Beat,
    })
}

/// A reply and, where it comes in a conversation, the question.
fn reply(row: &Row, key: &str) -> Result<(Option<String>, String), EvalError> {
    let turns = match row.needed(key)? {
        Value::String(text) => return Ok((None, text.clone())),
        Value::Array(turns) => turns,
        other => {
            return Err(row.wrong(format!("`{key}` must be text or a list of messages, not {}", json_type_name(other))));
        }
    };
    let last = turns.last().filter(|m| m["role"] == "assistant").and_then(|m| m["content"].as_str());
    let last =
        last.ok_or_else(|| row.wrong(format!("`{key}` must end with a message of the role `assistant`")))?.to_owned();
    let before = &turns[..turns.len() - 1];
    let asked = if before.is_empty() { None } else { Some(question(row, key, before)?) };
    Ok((asked, last))
}

fn question(row: &Row, key: &str, turns: &[Value]) -> Result<String, EvalError> {
    match turns {
        [turn] if turn["role"] == "user" && turn["content"].is_string() => {
            Ok(turn["content"].as_str().unwrap_or_default().to_owned())
        }
        _ => Err(row.wrong(format!("`{key}` must hold one question; conversations of several turns are not read"))),
    }
}
