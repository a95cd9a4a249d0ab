//! `rlar score`: what a reward model says of replies.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use rlar_data::{Message, read_rows};
use rlar_policy::{RewardModel, Turn, device};
use serde_json::{Map, Value, json};

use crate::Failure;
use crate::cli::Score;
use crate::output::print;

/// A conversation that ends with the reply, and what its row is called.
struct Item {
    id: Value,
    messages: Vec<Message>,
}

pub fn run(arguments: &Score) -> Result<(), Failure> {
    let items = items(arguments).map_err(Failure::Request)?;
    if !arguments.model.exists() {
        let path = arguments.model.display();
        return Err(Failure::Request(anyhow!("model {path} does not exist; a Hugging Face folder is expected there")));
    }
    let place = device(&arguments.device).map_err(|e| Failure::Request(e.into()))?;
    let job = || -> Result<()> {
        let model = RewardModel::load(&arguments.model, &place)?;
        let inputs = items.iter().map(|item| {
            let turns: Vec<Turn> =
                item.messages.iter().map(|m| Turn { role: m.role.as_str(), content: &m.content }).collect();
            let input = model.input(&turns).with_context(|| format!("row {}", item.id))?;
            let (have, room) = (input.ids.len(), model.positions());
            if have > room {
                bail!("row {} has {have} tokens; this model reads at most {room}", item.id);
            }
            Ok(input)
        });
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let scores = model.outputs(&inputs, arguments.batch_tokens as usize)?;
        let lines = items.iter().zip(scores).map(|(item, scores)| match scores.as_slice() {
            [score] => format!("{}\n", json!({ "id": item.id, "score": score })),
            _ => format!("{}\n", json!({ "id": item.id, "scores": scores })),
        });
        print(&lines.collect::<String>())
    };
    job().map_err(Failure::Job)
}

fn items(arguments: &Score) -> Result<Vec<Item>> {
    if let (Some(prompt), Some(response)) = (&arguments.prompt, &arguments.response) {
        let row = json!({ "prompt": prompt, "response": response });
        let Value::Object(row) = row else { return Ok(Vec::new()) };
        return Ok(vec![item(row, 1).map_err(|why| anyhow!(why))?]);
    }
    let path = arguments.data.as_deref().unwrap_or(Path::new(""));
    let text = std::fs::read_to_string(path).with_context(|| format!("--data {}", path.display()))?;
    let rows = read_rows(path, &text)?;
    rows.into_iter()
        .map(|(line, row)| item(row, line).map_err(|why| anyhow!("{}:{line}: {why}", path.display())))
        .collect()
}

fn item(mut row: Map<String, Value>, line: usize) -> Result<Item, String> {
    let id = row.remove("id").unwrap_or_else(|| line.into());
    let list = |value: Value, key: &str| serde_json::from_value(value).map_err(|e| format!("`{key}`: {e}"));
    let mut messages: Vec<Message> = match (row.remove("prompt"), row.remove("messages")) {
        (Some(Value::String(text)), None) => list(json!([{ "role": "user", "content": text }]), "prompt")?,
        (Some(turns @ Value::Array(_)), None) => list(turns, "prompt")?,
        (None, Some(turns @ Value::Array(_))) => list(turns, "messages")?,
        _ => return Err("a row needs `prompt` (text or messages) and `response`, or `messages`".into()),
    };
    match row.remove("response") {
        Some(Value::String(text)) => {
            messages.extend(list(json!([{ "role": "assistant", "content": text }]), "response")?);
        }
        Some(other) => return Err(format!("`response` must be text, not {other}")),
        None if messages.last().is_some_and(|m| m.role.as_str() == "assistant") => {}
        None => return Err("the row has no `response`, and its messages do not end with a reply".into()),
    }
    Ok(Item { id, messages })
}
