//! Makes examples and replies of the items of a request. What is wrong with one item does not touch the others.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use rlar_data::{Completion, DataError, DataRow, Example, Needs, ScoredPart, examples, json_type_name};
use rlar_rewards::WeightedTool;
use serde_json::{Map, Value};

/// Maximum number of characters of an id that is a text.
const MAX_ID: usize = 512;

/// An item of a request, as far as it could be read.
#[derive(Clone, Debug)]
pub enum IntakeItem {
    /// The item can be scored.
    Ready(ReadyItem),
    /// The item cannot be read; it gets the status `failed`.
    Refused {
        /// The item's id.
        id: Value,
        /// What is wrong with it, and what to do.
        why: String,
    },
}

/// An item that can be scored.
#[derive(Clone, Debug)]
pub struct ReadyItem {
    /// The id in the answer.
    pub id: Value,
    /// The prompt with its columns. All items of a group share it.
    pub prompt: Arc<PromptRow>,
    /// The reply.
    pub completion: Completion,
    /// The tools that the item names; `None` if rlar is to choose.
    pub tools: Option<Vec<WeightedTool>>,
}

/// A prompt with the columns of its row.
#[derive(Clone, Debug)]
pub struct PromptRow {
    /// The prompt as an example.
    pub example: Example,
    /// Why replies cannot be compared with the reference, if it looks like a worked solution in which no final answer was
    /// found; `None` otherwise.
    pub unclear_reference: Option<String>,
}

/// Reads the items of a request, in order.
pub fn read_items(items: Vec<Value>, scored: &ScoredPart) -> Vec<IntakeItem> {
    let mut prompts: HashMap<String, Result<Arc<PromptRow>, String>> = HashMap::new();
    let mut read = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let Value::Object(mut row) = item else {
            let why = format!("the item must be an object, not {}", json_type_name(&item));
            read.push(IntakeItem::Refused { id: index.into(), why });
            continue;
        };
        let given = row.remove("id").filter(|id| !id.is_null());
        let id = given.unwrap_or_else(|| index.into());
        read.push(match read_item(&id, row, index, scored, &mut prompts) {
            Ok(ready) => IntakeItem::Ready(ready),
            Err(why) => IntakeItem::Refused { id: shown_id(id, index), why },
        });
    }
    read
}

fn read_item(
    id: &Value,
    mut row: Map<String, Value>,
    index: usize,
    scored: &ScoredPart,
    prompts: &mut HashMap<String, Result<Arc<PromptRow>, String>>,
) -> Result<ReadyItem, String> {
    let name = match id {
        Value::String(text) if text.chars().nth(MAX_ID).is_some() => {
            return Err(format!("`id` is longer than {MAX_ID} characters"));
        }
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        other => return Err(format!("`id` must be text or a number, not {}", json_type_name(other))),
    };
    let tools = row.remove("tools").filter(|tools| !tools.is_null()).map(read_tools).transpose()?;
    let group = match row.remove("group") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text,
        Some(Value::Number(number)) => number.to_string(),
        Some(other) => return Err(format!("`group` must be text or a number, not {}", json_type_name(&other))),
    };
    let reply = take_reply(&mut row)?;
    let key = format!("{group}\0{}", serde_json::to_string(&row).unwrap_or_default());
    let known = prompts.entry(key).or_insert_with(|| read_prompt(row, name, index).map(Arc::new));
    Ok(ReadyItem { id: id.clone(), prompt: known.clone()?, completion: scored.completion(reply), tools })
}

/// Takes the reply out of an item: `response` or `completion`, or the last message of `messages`.
fn take_reply(row: &mut Map<String, Value>) -> Result<String, String> {
    match row.remove("response").or_else(|| row.remove("completion")) {
        Some(Value::String(text)) => return Ok(text),
        Some(Value::Null) | None => {}
        Some(other) => return Err(format!("`response` must be text, not {}", json_type_name(&other))),
    }
    let last = row.get_mut("messages").and_then(Value::as_array_mut).and_then(Vec::pop);
    match last {
        Some(Value::Object(message)) if message.get("role").is_some_and(|role| role == "assistant") => {
            match message.get("content") {
                Some(Value::String(text)) => Ok(text.clone()),
                _ => Err("the last message has no `content` that is text".into()),
            }
        }
        _ => Err("the item has neither `response` nor messages that end with a reply of the role `assistant`".into()),
    }
}

fn read_prompt(mut columns: Map<String, Value>, id: String, index: usize) -> Result<PromptRow, String> {
    columns.insert("id".into(), id.into());
    let row = DataRow { path: Path::new("items").into(), line: index + 1, columns };
    let set = examples(vec![row], None, Needs::Prompt).map_err(|error| match error {
        DataError::Row { message, .. } => message,
        other => other.to_string(),
    })?;
    let example = set.examples.into_iter().next().ok_or("the item has no prompt")?;
    Ok(PromptRow { example, unclear_reference: set.unclear_references })
}

/// The tools that an item names: one or several names, or objects as in a config.
fn read_tools(tools: Value) -> Result<Vec<WeightedTool>, String> {
    let list = match tools {
        Value::Array(list) => list,
        one => vec![one],
    };
    let named = |value: Value| match value {
        Value::String(tool) => {
            Ok(WeightedTool { tool, weight: 1.0, combine: rlar_rewards::CombineAs::Term, least: None })
        }
        other => serde_json::from_value::<WeightedTool>(other)
            .map_err(|error| format!("`tools`: {error}; a name is expected, or an object with `tool` and `weight`")),
    };
    let read = list.into_iter().map(named).collect::<Result<Vec<_>, String>>()?;
    let is_term = |t: &WeightedTool| t.combine == rlar_rewards::CombineAs::Term;
    if !read.iter().any(is_term) {
        return Err("`tools` must name at least one tool that is neither a gate nor a veto".into());
    }
    for (i, member) in read.iter().enumerate() {
        if is_term(member) && (!member.weight.is_finite() || member.weight == 0.0) {
            return Err(format!("`tools`: the weight of `{}` must be a number other than 0", member.tool));
        }
        if read[..i].iter().any(|other| other.tool == member.tool) {
            return Err(format!("`tools` names `{}` twice", member.tool));
        }
    }
    Ok(read)
}

/// The id of a refused item in the answer: as it was given, unless it is none that an answer should repeat.
fn shown_id(id: Value, index: usize) -> Value {
    match &id {
        Value::Number(_) => id,
        Value::String(text) if text.chars().nth(MAX_ID).is_none() => id,
        _ => index.into(),
    }
}
