//! `rlar score`: scores of replies by a reward model or by tools, as JSON lines.

use std::path::Path;

use anyhow::{Context, Result, bail};
use rlar_data::{Completion, DataRow, Example, Needs, examples, read_rows};
use rlar_policy::{ComputeDevice, RewardModel, Turn};
use rlar_rewards::{Outcome, Store};
use serde_json::{Map, Value, json};

use crate::cli::ScoreArguments;
use crate::error::BadRequestExt;
use crate::output::{print, print_note, print_notes};
use crate::rewards::{check_tool, orchestrator};
use crate::{functions, model, setup};

pub fn run(arguments: &ScoreArguments) -> Result<()> {
    let has_no_tools = arguments.tool.is_empty() && arguments.python.is_empty();
    if has_no_tools { score_with_model(arguments) } else { score_with_tools(arguments) }
}

/// A reply to score, with the example that it answers.
struct ScoreItem {
    /// Id in the output: the row's `id`, or its line number.
    id: Value,
    example: Example,
    reply: Completion,
}

fn score_with_model(arguments: &ScoreArguments) -> Result<()> {
    let items = score_items(arguments).bad_request()?;
    let path = arguments.model.as_deref().unwrap_or(Path::new(""));
    let device = ComputeDevice::new(&arguments.device).bad_request()?;
    let source = model::find(path).bad_request()?;
    let model = RewardModel::load(&source.path, &device).bad_request()?;
    let mut inputs = Vec::with_capacity(items.len());
    for item in &items {
        let prompt = item.example.messages.iter().map(|m| Turn { role: m.role.as_str(), content: &m.content });
        let turns: Vec<Turn> = prompt.chain([Turn { role: "assistant", content: &item.reply.text }]).collect();
        let input = model.input(&turns).with_context(|| format!("row {}", item.id))?;
        let (length, positions) = (input.ids.len(), model.positions());
        if length > positions {
            bail!("row {} has {length} tokens; this model reads at most {positions}", item.id);
        }
        inputs.push(input);
    }
    let scores = model.outputs(&inputs, arguments.batch_tokens as usize)?;
    let lines = items.iter().zip(scores).map(|(item, scores)| match scores.as_slice() {
        [score] => format!("{}\n", json!({ "id": item.id, "score": score })),
        _ => format!("{}\n", json!({ "id": item.id, "scores": scores })),
    });
    print(lines.collect::<String>())
}

fn score_with_tools(arguments: &ScoreArguments) -> Result<()> {
    let mut library = setup::library(arguments.library.as_deref()).bad_request()?;
    let functions = functions::add_named(&mut library, &arguments.python, &arguments.tools).bad_request()?;
    arguments.tool.iter().try_for_each(|tool| check_tool(&library, tool)).bad_request()?;
    let mut rewards = orchestrator(library, &arguments.tools, &arguments.device).bad_request()?;
    if let Some(path) = &arguments.cache {
        rewards.ensure_store(|| Store::open(path));
    }
    let items = score_items(arguments).bad_request()?;
    let pairs: Vec<(&Example, &Completion)> = items.iter().map(|item| (&item.example, &item.reply)).collect();
    let mut lines: Vec<Map<String, Value>> =
        items.iter().map(|item| Map::from_iter([("id".to_owned(), item.id.clone())])).collect();
    let tools: Vec<&String> = arguments.tool.iter().chain(&functions).collect();
    for tool in &functions {
        rewards.open(tool).bad_request()?;
    }
    let is_single = tools.len() == 1;
    for tool in tools {
        for (line, record) in lines.iter_mut().zip(rewards.records_with(tool, &pairs)?) {
            let (key, value) = match record.outcome {
                Outcome::Scored(score) => ("score", json!(score)),
                Outcome::Abstained(why) => ("abstained", json!(why)),
                Outcome::Failed(failure) => ("failed", json!(format!("it {failure}"))),
            };
            let reason = record.reason.map(|reason| ("reason".to_owned(), json!(reason)));
            let verdict: Map<String, Value> = [(key.to_owned(), value)].into_iter().chain(reason).collect();
            if is_single {
                line.extend(verdict);
            } else {
                line.insert(tool.clone(), verdict.into());
            }
        }
    }
    // Standard output holds the scores alone.
    print_note(rewards.functions().take())?;
    print(lines.into_iter().map(|line| Value::Object(line).to_string() + "\n").collect::<String>())
}

/// The replies to score, from the command line or from a file.
fn score_items(arguments: &ScoreArguments) -> Result<Vec<ScoreItem>> {
    let rows = if let (Some(prompt), Some(response)) = (&arguments.prompt, &arguments.response) {
        let row = json!({ "prompt": prompt, "response": response, "reference": arguments.reference });
        let path: &Path = Path::new("--prompt");
        vec![DataRow { path: path.into(), line: 1, columns: row.as_object().cloned().unwrap_or_default() }]
    } else {
        let path = arguments.data.as_deref().unwrap_or(Path::new(""));
        let bytes = std::fs::read(path).with_context(|| format!("--data {}", path.display()))?;
        read_rows(path, &bytes)?
    };
    let (mut prompts, mut replies) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
    for mut row in rows {
        let id = row.columns.get("id").cloned().unwrap_or_else(|| row.line.into());
        replies.push((id, take_reply(&mut row)?));
        // Several rows may reply to one prompt and share its id; examples need different ones.
        row.columns.insert("id".into(), row.line.to_string().into());
        prompts.push(row);
    }
    let set = examples(prompts, None, Needs::Prompt)?;
    print_notes(&set.notes)?;
    let items = set.examples.into_iter().zip(replies);
    Ok(items.map(|(example, (id, reply))| ScoreItem { id, example, reply: Completion::whole(reply) }).collect())
}

/// Removes the reply from a row of data and returns its text: the column `response` or `completion`, else the last of
/// the `messages` if it is the assistant's.
fn take_reply(row: &mut DataRow) -> Result<String> {
    match row.columns.remove("response").or_else(|| row.columns.remove("completion")) {
        Some(Value::String(text)) => return Ok(text),
        Some(_) => return Err(row.wrong("`response` must be text").into()),
        None => {}
    }
    match row.columns.get_mut("messages").and_then(Value::as_array_mut).and_then(Vec::pop) {
        Some(last) if last["role"] == "assistant" => Ok(last["content"].as_str().unwrap_or_default().to_owned()),
        _ => {
            let why = "the row has neither `response` (or `completion`) nor messages that end with a reply";
            Err(row.wrong(why).into())
        }
    }
}
