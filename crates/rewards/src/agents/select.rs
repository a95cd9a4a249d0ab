//! Select: which tools score this prompt, with what weights?

use rlar_data::Example;
use rlar_net::llm::{ChatReply, Function};
use serde_json::{Map, Value, json};

use crate::agents::ask::{Asker, Question, object, text};
use crate::agents::builtin::Assignment;
use crate::agents::fence::{Fence, clip, one_line};
use crate::tool::card::{ToolCard, ToolRole};
use crate::tool::composite::{CombineAs, WeightedTool};

const TEMPLATE: &str = "select-1";

/// The function that an answer calls.
const FUNCTION: &str = "assign_rewards";

/// Most tools of a prompt.
const MOST: usize = 4;

/// What was chosen, and whether every prompt of the task may have it.
#[derive(Clone, Debug, PartialEq)]
pub struct Selected {
    /// The choice.
    pub assignment: Assignment,
    /// Whether the task alone decides.
    pub by_task: bool,
}

/// Chooses among candidates for an example of a task; why nothing was chosen, if so.
pub fn select(asker: &Asker, example: &Example, task: &str, candidates: &[&ToolCard]) -> Result<Selected, String> {
    if candidates.is_empty() {
        return Err("no admitted tool suits it".into());
    }
    let answer = asker.ask(question(example, task, candidates), |reply| {
        let fields = arguments(reply)?;
        read(&fields, candidates)
    });
    let answer = answer.map_err(|e| e.to_string())?;
    let (tools, by_task, why) = answer.value;
    let assignment = Assignment { example: example.id.clone(), tools, by: asker.name(), why };
    Ok(Selected { assignment, by_task })
}

fn question(example: &Example, task: &str, candidates: &[&ToolCard]) -> Question {
    let (prompt, reference) = (clip(example.prompt(), 2000), clip(example.reference.as_deref().unwrap_or("none"), 400));
    let tools = candidates.iter().map(|c| line(c)).collect::<Vec<_>>().join("\n");
    let fence = Fence::around(&[&prompt, &reference, &tools]);
    let system = format!(
        "You choose rewards for replies to a prompt of the task `{task}`. {} Call `{FUNCTION}` once, with 1 to {MOST} of the \
         tools between the marks, each with a weight above 0 and at most 1, and the reason in a sentence. Prefer what measures whether a \
         reply is right over what measures its style. A tool of the role constraint is never alone. Say in `task_decides` \
         whether every prompt of this task should have the same tools.",
        fence.rule("prompt"),
    );
    let names: Vec<&str> = candidates.iter().map(|c| c.name.as_str()).collect();
    let tool = json!({
        "type": "object", "additionalProperties": false, "required": ["tool", "weight"],
        "properties": { "tool": { "enum": names }, "weight": { "type": "number" } },
    });
    let parameters = json!({
        "type": "object", "additionalProperties": false, "required": ["tools", "task_decides", "reason"],
        "properties": {
            "tools": { "type": "array", "items": tool, "minItems": 1, "maxItems": MOST },
            "task_decides": { "type": "boolean" }, "reason": { "type": "string" },
        },
    });
    Question {
        role: "select",
        template: TEMPLATE,
        task: task.to_owned(),
        asked: 0,
        said: [
            system,
            fence.put("tools", &tools) + &fence.put("prompt", &prompt) + &fence.put("reference", &reference),
        ],
        earlier: Vec::new(),
        max_tokens: 500,
        schema: None,
        functions: vec![Function {
            name: FUNCTION.into(),
            description: "Assigns reward tools to the prompt.".into(),
            parameters,
        }],
    }
}

/// A card in a line: no code, and nothing that was measured.
fn line(card: &ToolCard) -> String {
    let role = match card.role {
        ToolRole::Correctness => "correctness",
        ToolRole::Quality => "quality",
        ToolRole::Constraint => "constraint",
    };
    let reference = if card.needs_reference { "with a reference" } else { "without a reference" };
    let [low, high] = card.range;
    format!("- {} ({role}, {reference}, {low} to {high}): {}", card.name, clip(&one_line(&card.measures), 200))
}

/// What an answer calls the function with; a model that cannot call functions may write the same as JSON.
fn arguments(reply: &ChatReply) -> Result<Map<String, Value>, String> {
    match &reply.calls[..] {
        [] => {
            let fields = object(&reply.text).map_err(|why| format!("it does not call `{FUNCTION}`, and {why}"))?;
            match fields.get("arguments") {
                Some(Value::Object(inner)) => Ok(inner.clone()),
                Some(Value::String(inner)) => object(inner),
                _ => Ok(fields),
            }
        }
        [call] if call.name == FUNCTION => object(&call.arguments),
        [call] => Err(format!("there is no function `{}`; call `{FUNCTION}`", call.name)),
        calls => Err(format!("it calls {} functions; one call is wanted", calls.len())),
    }
}

fn read(fields: &Map<String, Value>, candidates: &[&ToolCard]) -> Result<(Vec<WeightedTool>, bool, String), String> {
    let list = fields.get("tools").and_then(Value::as_array).ok_or("`tools` must be a list")?;
    if !(1..=MOST).contains(&list.len()) {
        return Err(format!("`tools` has {} entries; 1 to {MOST} are wanted", list.len()));
    }
    let mut tools: Vec<WeightedTool> = Vec::new();
    let mut judges = false;
    for entry in list {
        let name = entry.get("tool").and_then(Value::as_str).unwrap_or_default();
        let Some(card) = candidates.iter().find(|c| c.name == name) else {
            let names: Vec<&str> = candidates.iter().map(|c| c.name.as_str()).collect();
            return Err(format!("{name:?} is none of the tools: {}", names.join(", ")));
        };
        let weight = entry.get("weight").and_then(Value::as_f64).filter(|w| *w > 0.0 && *w <= 1.0);
        let weight = weight.ok_or_else(|| format!("the weight of `{name}` must be above 0 and at most 1"))?;
        if tools.iter().any(|t| t.tool == name) {
            return Err(format!("`{name}` is chosen twice"));
        }
        judges |= card.role != ToolRole::Constraint;
        tools.push(WeightedTool { tool: name.to_owned(), weight, part: CombineAs::Term, least: None });
    }
    if !judges {
        return Err(
            "constraints alone say nothing about whether a reply is good; choose another tool beside them".into()
        );
    }
    let by_task = fields.get("task_decides").and_then(Value::as_bool).ok_or("`task_decides` must be true or false")?;
    Ok((tools, by_task, text(fields, "reason", 600)?))
}
