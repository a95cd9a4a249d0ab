//! Messages as data sets and chat APIs write them.

use serde_json::{Map, Value};

use crate::example::{Message, Role};
use crate::rows::{json_type_name, number_text};

/// Reads a list of messages: objects with `role` and `content` (text, a list of text parts, or null beside tool calls),
/// or with `from` and `value` as in `ShareGPT`.
pub fn messages(list: &[Value]) -> Result<Vec<Message>, String> {
    list.iter().enumerate().map(|(i, value)| message(value).map_err(|e| format!("message {}: {e}", i + 1))).collect()
}

fn message(value: &Value) -> Result<Message, String> {
    let object = value.as_object().ok_or_else(|| format!("must be an object, not {}", json_type_name(value)))?;
    let role = text(object, "role").or_else(|| text(object, "from")).ok_or("has no `role`")?;
    let role = Role::parse(role)?;
    let tool_calls: Vec<Value> = match object.get("tool_calls") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(calls)) => calls.iter().filter(|call| !call.is_null()).map(without_nulls).collect(),
        Some(other) => return Err(format!("`tool_calls` must be a list, not {}", json_type_name(other))),
    };
    let content = match object.get("content").or_else(|| object.get("value")) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().map(part).collect::<Result<String, _>>()?,
        None | Some(Value::Null) if !tool_calls.is_empty() => String::new(),
        None | Some(Value::Null) => {
            return Err(format!("the message of the role `{}` has no `content`", role.as_str()));
        }
        Some(other) => return Err(format!("`content` must be text or a list of parts, not {}", json_type_name(other))),
    };
    let owned = |key| text(object, key).map(str::to_owned);
    Ok(Message { tool_calls, name: owned("name"), tool_call_id: owned("tool_call_id"), ..Message::new(role, content) })
}

/// The text of a part of a message's content.
fn part(part: &Value) -> Result<String, String> {
    match (part, part.get("type").and_then(Value::as_str), part.get("text").and_then(Value::as_str)) {
        (Value::String(text), ..) => Ok(text.clone()),
        (_, None | Some("text" | "input_text" | "output_text"), Some(text)) => Ok(text.to_owned()),
        (_, Some(kind), _) => Err(format!("its content has a part of the type `{kind}`; only text is supported")),
        _ => Err("its content has a part without `text`".into()),
    }
}

/// A copy of a JSON value whose objects have no null entries. Arrow adds such entries where the objects of a column
/// have different keys.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let kept = object.iter().filter(|(_, v)| !v.is_null());
            Value::Object(kept.map(|(key, v)| (key.clone(), without_nulls(v))).collect())
        }
        Value::Array(list) => list.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

fn text<'o>(object: &'o Map<String, Value>, key: &str) -> Option<&'o str> {
    object.get(key).and_then(Value::as_str)
}

/// The text of a column's value: a text as it is, a number to the last digit. `None` for null; other types are errors.
pub fn text_of(key: &str, value: Option<&Value>) -> Result<Option<String>, String> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) => Ok(Some(number_text(number))),
        Some(other) => Err(format!("`{key}` must be text, not {}", json_type_name(other))),
    }
}
