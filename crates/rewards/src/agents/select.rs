//! The agent role `select`: chooses the tools that score replies to a prompt, and the tools' weights.

use rlar_data::Example;
use rlar_net::llm::{ChatReply, FunctionDefinition};
use serde_json::{Map, Value, json};

use crate::agents::builtin::Assignment;
use crate::agents::client::{LlmClient, LlmRequest};
use crate::agents::fence::{Fence, clip, one_line};
use crate::agents::parse::{object, text};
use crate::tool::card::{ToolCard, ToolRole};
use crate::tool::composite::{CombineAs, WeightedTool};

const TEMPLATE: &str = "select-1";

/// Name of the function that the language model calls to choose tools.
const FUNCTION: &str = "assign_rewards";

/// Largest number of tools that the language model may choose for one prompt.
const MAX_TOOLS: usize = 4;

/// The tools that the language model chose for a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolSelection {
    /// The chosen tools with their weights, and the reason of the choice.
    pub assignment: Assignment,
    /// Whether the language model recommends the same tools for every prompt of the task.
    pub for_whole_task: bool,
}

/// Lets the language model choose tools for an example among the tools of `candidates`. `task` is the label of the
/// example's task.
///
/// # Errors
///
/// When there are no candidates, or when the model gives no usable reply.
pub fn select(
    client: &LlmClient,
    example: &Example,
    task: &str,
    candidates: &[&ToolCard],
) -> Result<ToolSelection, String> {
    if candidates.is_empty() {
        return Err("no admitted tool suits it".into());
    }
    let parsed =
        client.complete(request(example, task, candidates), |reply| parse_choice(&arguments(reply)?, candidates));
    let ParsedChoice { tools, for_whole_task, reason } = parsed.map_err(|e| e.to_string())?.value;
    let assignment = Assignment { example: example.id.clone(), tools, by: client.name(), why: reason };
    Ok(ToolSelection { assignment, for_whole_task })
}

fn request(example: &Example, task: &str, candidates: &[&ToolCard]) -> LlmRequest {
    let (prompt, reference) = (clip(example.prompt(), 2000), clip(example.reference.as_deref().unwrap_or("none"), 400));
    let tools = candidates.iter().map(|c| card_line(c)).collect::<Vec<_>>().join("\n");
    let fence = Fence::around(&[&prompt, &reference, &tools]);
    let system = format!(
        "You choose rewards for replies to a prompt of the task `{task}`. {} Call `{FUNCTION}` once, with 1 to {MAX_TOOLS} of the \
         tools between the marks, each with a weight above 0 and at most 1, and the reason in a sentence. Prefer what measures whether a \
         reply is right over what measures its style. A tool of the role constraint is never alone. Say in `task_decides` \
         whether every prompt of this task should have the same tools.",
        fence.instruction("prompt"),
    );
    let names: Vec<&str> = candidates.iter().map(|c| c.name.as_str()).collect();
    let tool = json!({
        "type": "object", "additionalProperties": false, "required": ["tool", "weight"],
        "properties": { "tool": { "enum": names }, "weight": { "type": "number" } },
    });
    let parameters = json!({
        "type": "object", "additionalProperties": false, "required": ["tools", "task_decides", "reason"],
        "properties": {
            "tools": { "type": "array", "items": tool, "minItems": 1, "maxItems": MAX_TOOLS },
            "task_decides": { "type": "boolean" }, "reason": { "type": "string" },
        },
    });
    LlmRequest {
        role: "select",
        template: TEMPLATE,
        task: task.to_owned(),
        system,
        user: fence.enclose("tools", &tools)
            + &fence.enclose("prompt", &prompt)
            + &fence.enclose("reference", &reference),
        max_tokens: 500,
        functions: vec![FunctionDefinition {
            name: FUNCTION.into(),
            description: "Assigns reward tools to the prompt.".into(),
            parameters,
        }],
        ..LlmRequest::default()
    }
}

/// A tool card in one line for a prompt. The line has no code, and no statistics of earlier runs, which would differ
/// from run to run.
fn card_line(card: &ToolCard) -> String {
    let role = match card.role {
        ToolRole::Correctness => "correctness",
        ToolRole::Quality => "quality",
        ToolRole::Constraint => "constraint",
    };
    let reference = if card.needs_reference { "with a reference" } else { "without a reference" };
    let [low, high] = card.range;
    format!("- {} ({role}, {reference}, {low} to {high}): {}", card.name, clip(&one_line(&card.measures), 200))
}

/// The arguments of the function call in a reply. A model that cannot call functions may write the arguments as JSON
/// text instead.
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

/// The content of a reply of the language model: the chosen tools, whether they suit the whole task, and the reason.
struct ParsedChoice {
    tools: Vec<WeightedTool>,
    for_whole_task: bool,
    reason: String,
}

fn parse_choice(fields: &Map<String, Value>, candidates: &[&ToolCard]) -> Result<ParsedChoice, String> {
    let list = fields.get("tools").and_then(Value::as_array).ok_or("`tools` must be a list")?;
    if !(1..=MAX_TOOLS).contains(&list.len()) {
        return Err(format!("`tools` has {} entries; 1 to {MAX_TOOLS} are wanted", list.len()));
    }
    let mut tools: Vec<WeightedTool> = Vec::new();
    // A constraint tells whether a reply keeps a rule, not whether the reply is good.
    let mut has_judge = false;
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
        has_judge |= card.role != ToolRole::Constraint;
        tools.push(WeightedTool { tool: name.to_owned(), weight, combine: CombineAs::Term, least: None });
    }
    if !has_judge {
        return Err(
            "constraints alone say nothing about whether a reply is good; choose another tool beside them".into()
        );
    }
    let for_whole_task = fields.get("task_decides").and_then(Value::as_bool);
    let for_whole_task = for_whole_task.ok_or("`task_decides` must be true or false")?;
    Ok(ParsedChoice { tools, for_whole_task, reason: text(fields, "reason", 600)? })
}
