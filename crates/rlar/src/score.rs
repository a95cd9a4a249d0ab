//! `rlar score`: what a reward model or a tool says of replies.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use rlar_data::{Completion, Example, Needs, NumberedRow, read_examples, read_rows};
use rlar_policy::{ComputeDevice, RewardModel, Turn};
use rlar_rewards::{Outcome, Store};
use serde_json::{Map, Value, json};

use crate::cli::Score;
use crate::output::print;
use crate::rewards::{known, orchestrator};
use crate::{Failure, plan};

pub fn run(arguments: &Score) -> Result<(), Failure> {
    if !arguments.tool.is_empty() {
        return with_tools(arguments);
    }
    let items = asked(arguments).map_err(Failure::Request)?;
    let path = arguments.model.as_deref().unwrap_or(Path::new(""));
    if !path.exists() {
        let path = path.display();
        return Err(Failure::Request(anyhow!("model {path} does not exist; a Hugging Face folder is expected there")));
    }
    let device = ComputeDevice::new(&arguments.device).map_err(|e| Failure::Request(e.into()))?;
    let job = || -> Result<()> {
        let model = RewardModel::load(path, &device)?;
        let inputs = items.iter().map(|item| {
            let said = item.example.messages.iter().map(|m| Turn { role: m.role.as_str(), content: &m.content });
            let turns = said.chain([Turn { role: "assistant", content: &item.reply.text }]);
            let input = model.input(&turns.collect::<Vec<_>>()).with_context(|| format!("row {}", item.id))?;
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

/// An example with a reply, and what its row is called.
struct Asked {
    id: Value,
    example: Example,
    reply: Completion,
}

fn with_tools(arguments: &Score) -> Result<(), Failure> {
    let library = plan::library(arguments.library.as_deref()).map_err(Failure::Request)?;
    arguments.tool.iter().try_for_each(|tool| known(&library, tool))?;
    let mut rewards = orchestrator(library, &arguments.asked, &arguments.device)?;
    if let Some(path) = &arguments.cache {
        rewards.ensure_store(|| Store::open(path));
    }
    let asked = asked(arguments).map_err(Failure::Request)?;
    let items: Vec<(&Example, &Completion)> = asked.iter().map(|a| (&a.example, &a.reply)).collect();
    let mut job = || -> Result<()> {
        let mut lines: Vec<Map<String, Value>> =
            asked.iter().map(|a| Map::from_iter([("id".to_owned(), a.id.clone())])).collect();
        let one = arguments.tool.len() == 1;
        for tool in &arguments.tool {
            for (line, outcome) in lines.iter_mut().zip(rewards.score_with(tool, &items)?) {
                let (what, said) = match outcome {
                    Outcome::Scored(score) => ("score", json!(score)),
                    Outcome::Abstained(why) => ("abstained", json!(why)),
                    Outcome::Failed(failure) => ("failed", json!(format!("it {failure}"))),
                };
                if one {
                    line.insert(what.into(), said);
                } else {
                    line.insert(tool.clone(), json!({ what: said }));
                }
            }
        }
        let lines: Vec<String> = lines.into_iter().map(|line| Value::Object(line).to_string() + "\n").collect();
        print(&lines.concat())
    };
    job().map_err(Failure::Job)
}

/// The rows as tools and models see them.
fn asked(arguments: &Score) -> Result<Vec<Asked>> {
    let rows = if let (Some(prompt), Some(response)) = (&arguments.prompt, &arguments.response) {
        let row = json!({ "prompt": prompt, "response": response, "reference": arguments.reference });
        vec![NumberedRow { line: 1, columns: row.as_object().cloned().unwrap_or_default() }]
    } else {
        let path = arguments.data.as_deref().unwrap_or(Path::new(""));
        let text = std::fs::read_to_string(path).with_context(|| format!("--data {}", path.display()))?;
        read_rows(path, &text)?
    };
    let path = arguments.data.as_deref().unwrap_or(Path::new("--prompt"));
    let asked = |NumberedRow { line, columns: mut row }| {
        let wrong = |why: &str| anyhow!("{}:{line}: {why}", path.display());
        let id = row.get("id").cloned().unwrap_or_else(|| line.into());
        let reply = match row.remove("response").or_else(|| row.remove("completion")) {
            Some(Value::String(text)) => text,
            Some(_) => return Err(wrong("`response` must be text")),
            None => match row.get_mut("messages").and_then(Value::as_array_mut).and_then(Vec::pop) {
                Some(last) if last["role"] == "assistant" => last["content"].as_str().unwrap_or_default().to_owned(),
                _ => {
                    return Err(wrong(
                        "the row has no `response` (or `completion`), nor messages that end with a reply",
                    ));
                }
            },
        };
        // Rows of one prompt may share an id.
        row.insert("id".into(), json!(line.to_string()));
        let example = read_examples(path, &Value::Object(row).to_string(), Needs::Prompt);
        let example =
            example.map_err(|e| wrong(e.to_string().split_once(":1: ").map_or("", |(_, why)| why)))?.remove(0);
        Ok(Asked { id, example, reply: Completion::whole(reply) })
    };
    rows.into_iter().map(asked).collect()
}
