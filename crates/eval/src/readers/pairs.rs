//! Reads preference pairs of any source: rows with `prompt`, `chosen` and `rejected`, and optionally `id` and a
//! category. Replies are texts. They may also be conversations of one question and the reply, as TRL writes them;
//! `prompt` is then optional.

use serde_json::Value;

use super::{benchmark, category, correct_then_incorrect, id};
use crate::EvalError;
use crate::item::{Item, ItemKind};
use crate::rows::{Row, json_type_name};

pub(super) fn item(row: &Row) -> Result<Item, EvalError> {
    let chosen = reply(row, "chosen")?;
    let rejected = reply(row, "rejected")?;
    if chosen.question != rejected.question {
        return Err(row.wrong("`chosen` and `rejected` do not reply to the same question"));
    }
    let prompt = match (row.value("prompt"), chosen.question) {
        (None, Some(question)) => question,
        (Some(Value::Array(turns)), _) => question(row, "prompt", turns)?,
        _ => row.text("prompt")?,
    };
    Ok(Item {
        id: id(row, "id")?,
        category: category(row)?,
        benchmark: benchmark(row),
        prompt,
        completions: vec![chosen.text, rejected.text],
        labels: correct_then_incorrect(1, 1),
        kind: ItemKind::Pairwise,
    })
}

/// The chosen or the rejected reply of a row.
struct PairReply {
    /// The question before the reply; `None` where the reply is a text and not a conversation.
    question: Option<String>,
    text: String,
}

fn reply(row: &Row, key: &str) -> Result<PairReply, EvalError> {
    let turns = match row.needed(key)? {
        Value::String(text) => return Ok(PairReply { question: None, text: text.clone() }),
        Value::Array(turns) => turns,
        other => {
            return Err(row.wrong(format!("`{key}` must be text or a list of messages, not {}", json_type_name(other))));
        }
    };
    let last = turns.last().filter(|m| m["role"] == "assistant").and_then(|m| m["content"].as_str());
    let text =
        last.ok_or_else(|| row.wrong(format!("`{key}` must end with a message of the role `assistant`")))?.to_owned();
    let before = &turns[..turns.len() - 1];
    let question = if before.is_empty() { None } else { Some(question(row, key, before)?) };
    Ok(PairReply { question, text })
}

fn question(row: &Row, key: &str, turns: &[Value]) -> Result<String, EvalError> {
    match turns {
        [turn] if turn["role"] == "user" && turn["content"].is_string() => {
            Ok(turn["content"].as_str().unwrap_or_default().to_owned())
        }
        _ => Err(row.wrong(format!("`{key}` must hold one question; conversations of several turns are not read"))),
    }
}
