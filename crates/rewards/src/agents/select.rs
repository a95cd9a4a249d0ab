//! The agent role `select`: chooses the tools that score replies to a prompt, and the tools' weights. The language
//! model is asked twice, with the tools in opposite orders, because small models take what comes first.

use rlar_data::Example;
use serde_json::json;

use crate::agents::Agents;
use crate::agents::builtin::Assignment;
use crate::agents::choice::{MAX_TOOLS, ParsedChoice, parse_choice};
use crate::agents::classify::task_label;
use crate::agents::client::{LlmClient, LlmFailure, ParsedReply};
use crate::agents::offered::{OfferedTool, SampleReplies};
use crate::agents::plain_text::clip;
use crate::agents::prompt::{DATA_INSTRUCTION, Prompt};
use crate::agents::request::LlmRequest;
use crate::agents::sample_scorer::SampleScorer;
use crate::agents::settled::{PromptGroup, SettledChoices};
use crate::library::evidence::ToolEvidence;
use crate::library::folder::Library;
use crate::tool::composite::{CombineAs, WeightedTool};

const TEMPLATE: &str = "select-4";

/// The AUC that stands for one that was not measured: that of a tool that scores at random.
const CHANCE: f64 = 0.5;

/// How far the measured AUCs (their sum) of the best tool that two answers have in common may be below those of the best
/// tool of both, so that the common tools are chosen.
const MAX_BEHIND: f64 = 0.1;

/// What the system message says after [`DATA_INSTRUCTION`]. It is the same for all prompts, so that servers can keep
/// what they computed for it.
const INSTRUCTION: &str = r#"

You choose the rewards for replies to a prompt: 1 to 4 of the listed tools, each with a weight above 0 and at most 1. Leave out all other tools. Answer with one JSON object on one line, as in the examples: `tools`, then in `task_decides` whether every prompt of the task should have the same tools, then the `reason` in one short sentence.

Trust what was measured more than what a tool says of itself. `on this task` says in how many pairs of a good and a bad reply the tool scored the good one higher; 50 % is chance. Where replies can be half right, it also says in how many pairs the tool scored a half-right reply above a bad one: a tool with 50 % there pays for perfect replies only, so whoever is not perfect yet learns nothing from it. Never choose such a tool alone when another one is good at both. The last list says how tools score two replies to this very prompt: a tool that scores both alike cannot tell them apart. Where nothing was measured, prefer what measures whether a reply is right over what measures its style. A tool of the role constraint is never alone.

Example of a list:
- finds_the_date (correctness, with a reference, 0 to 1; on this task: tells good from bad replies in 98 % of pairs): Whether the reply ends with the date of the reference.
- sounds_polite (quality, without a reference, 0 to 1; on this task: tells good from bad replies in 55 % of pairs): How polite the reply is.
- one_line_only (constraint, without a reference, 0 to 1): Whether the reply is a single line.
The scores of two replies to the prompt:
- finds_the_date: reference 1.00, wrong reply 0.00
- sounds_polite: reference 0.40, wrong reply 0.40
- one_line_only: reference 1.00, wrong reply 1.00
A good answer: {"tools": [{"tool": "finds_the_date", "weight": 1}, {"tool": "one_line_only", "weight": 0.2}], "task_decides": true, "reason": "It alone tells right dates from wrong ones; a date fits on one line."}

Example of a list:
- very_same_text (quality, with a reference, 0 to 1; on this task: tells good from bad replies in 100 % of pairs, half-right from bad ones in 50 %): Whether the reply is the reference, letter by letter.
- same_letters (quality, with a reference, 0 to 1; on this task: tells good from bad replies in 64 % of pairs, half-right from bad ones in 58 %): Whether reply and reference have the same letters.
- same_facts (quality, with a reference, 0 to 1; on this task: tells good from bad replies in 99 % of pairs, half-right from bad ones in 93 %): How many facts of the reference the reply has.
The scores of two replies to the prompt:
- very_same_text: reference 1.00, wrong reply 0.00
- same_letters: reference 1.00, wrong reply 0.90
- same_facts: reference 0.95, wrong reply 0.15
A good answer: {"tools": [{"tool": "same_facts", "weight": 1}], "task_decides": false, "reason": "Facts tell good from bad and half-right from bad; the very same text pays for perfect replies only."}"#;

/// The tools that were chosen for a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolSelection {
    /// The chosen tools with their weights, who chose them and why.
    pub assignment: Assignment,
    /// The reason of the choice alone.
    pub reason: String,
    /// Whether the language model recommends the same tools for every prompt of the task.
    pub for_whole_task: bool,
}

/// Lets the language model choose tools for an example among the offered ones. `task` is the label of the example's
/// task.
///
/// The model is asked twice, the second time with the tools in the opposite order. If both answers choose the same
/// tools, these are chosen, with the means of their weights. Otherwise the tools that the answers have in common are
/// chosen if one of them can judge a reply and has the highest weight in one of the answers, and no other tool of the
/// answers was measured to be better, and else those of the answer whose best tool has the higher AUCs on the task; the
/// reason tells of the disagreement. A single tool is chosen without a request.
///
/// # Errors
///
/// When no tool is offered that can judge a reply, or when the model gives no usable reply to the first request.
pub fn select(
    client: &LlmClient,
    example: &Example,
    task: &str,
    offered: &[OfferedTool],
) -> Result<ToolSelection, String> {
    if !offered.iter().any(OfferedTool::is_judge) {
        return Err(match offered {
            [] => "no admitted tool suits it".into(),
            _ => "only constraints suit it, which do not say whether a reply is good".into(),
        });
    }
    if let [only] = offered {
        let tools =
            vec![WeightedTool { tool: only.card.name.clone(), weight: 1.0, combine: CombineAs::Term, least: None }];
        let (by, reason) = ("builtin".to_owned(), "fixed rules chose: the only tool that suits it".to_owned());
        let assignment = Assignment { example: example.id.clone(), tools, by, why: reason.clone() };
        return Ok(ToolSelection { assignment, reason, for_whole_task: false });
    }
    let first = ask(client, example, task, offered, 0).map_err(|e| e.to_string())?;
    let reversed: Vec<OfferedTool> = offered.iter().rev().copied().collect();
    let choice = match ask(client, example, task, &reversed, first.attempts) {
        Ok(second) => agree(first.value, second.value, offered, &example.id),
        Err(why) => {
            tracing::info!("example `{}`: the choice of tools was not confirmed: {why}", example.id);
            let reason = format!("{} (not confirmed: the second request got no usable answer)", first.value.reason);
            ParsedChoice { for_whole_task: false, reason, ..first.value }
        }
    };
    let ParsedChoice { tools, for_whole_task, reason } = choice;
    let why = format!("the language model chose for this prompt: {reason}");
    let assignment = Assignment { example: example.id.clone(), tools, by: client.name(), why };
    Ok(ToolSelection { assignment, reason, for_whole_task })
}

/// Chooses tools of a library for one example after another. A tool that scores the sample replies is opened once, and a
/// choice that holds for a whole task is asked for once.
#[derive(Debug)]
pub struct ToolChooser<'a> {
    agents: &'a Agents,
    library: &'a Library,
    scorer: SampleScorer,
    settled: SettledChoices,
}

impl Agents {
    /// A chooser that lets the language model choose among the tools of `library`.
    pub fn chooser<'a>(&'a self, library: &'a Library) -> ToolChooser<'a> {
        ToolChooser { agents: self, library, scorer: SampleScorer::default(), settled: SettledChoices::default() }
    }
}

impl ToolChooser<'_> {
    /// Lets the language model choose the tools of an example, unless it chose them for all examples like it before, as
    /// in training.
    ///
    /// # Errors
    ///
    /// Those of [`select`], and when the agents have no language model.
    pub fn choose(&mut self, example: &Example) -> Result<Assignment, String> {
        let client = self.agents.llm.as_ref().ok_or("there is no language model")?;
        let task = task_label(self.library, example);
        let group = PromptGroup::of(self.library, example);
        let settled = group.as_ref().and_then(|g| self.settled.assignment(g, self.library, example, &task));
        if let Some(assignment) = settled {
            return Ok(assignment);
        }
        let offered = self.scorer.offer(self.library, &self.agents.context, example, &task);
        let selection = select(client, example, &task, &offered)?;
        if let Some(group) = group {
            self.settled.record(group, &selection);
        }
        Ok(selection.assignment)
    }
}

/// Asks the language model once; `attempt` is the number of earlier requests about the same task.
fn ask(
    client: &LlmClient,
    example: &Example,
    task: &str,
    offered: &[OfferedTool],
    attempt: u32,
) -> Result<ParsedReply<ParsedChoice>, LlmFailure> {
    let request = LlmRequest { attempt, ..request(example, task, offered) };
    client.complete(request, |reply| parse_choice(reply, offered))
}

fn request(example: &Example, task: &str, offered: &[OfferedTool]) -> LlmRequest {
    let names: Vec<&str> = offered.iter().map(|o| o.card.name.as_str()).collect();
    let tool = json!({
        "type": "object", "additionalProperties": false, "required": ["tool", "weight"],
        "properties": { "tool": { "enum": names }, "weight": { "type": "number" } },
    });
    let schema = json!({
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
        system: format!("{DATA_INSTRUCTION}{INSTRUCTION}"),
        user: prompt(example, task, offered),
        max_tokens: 400,
        schema: Some(schema),
        ..LlmRequest::default()
    }
}

/// The user message: the task and the offered tools, then the prompt, two replies to it and the tools' scores of these.
/// What differs between the prompts of a task comes last, so that servers can keep what they computed for the rest.
fn prompt(example: &Example, task: &str, offered: &[OfferedTool]) -> Prompt {
    let tools: Vec<String> = offered.iter().map(OfferedTool::line).collect();
    let prompt = Prompt::default()
        .words("The task:\n")
        .data("task", clip(task, 80))
        .words("The tools:\n")
        .data("tools", tools.join("\n"))
        .words("The prompt:\n")
        .data("prompt", clip(example.prompt(), 2000));
    let Some(replies) = SampleReplies::of(example) else { return prompt.words("There is no reference.\n") };
    let prompt = prompt.words(format!("The {}:\n", replies.good_is)).data(replies.good_is, clip(&replies.good, 400));
    let scores: Vec<String> = offered.iter().filter_map(|o| o.sample_scores(replies.good_is)).collect();
    if scores.is_empty() {
        return prompt;
    }
    prompt
        .words("The wrong reply:\n")
        .data("wrong-reply", clip(&replies.wrong, 400))
        .words(format!("The scores of two replies to the prompt:\n{}\n", scores.join("\n")))
}

/// The choice that follows from two answers to the same question. `offered` has the tools in the order of the first
/// question; `id` is the id of the example, for the log.
fn agree(first: ParsedChoice, second: ParsedChoice, offered: &[OfferedTool], id: &str) -> ParsedChoice {
    let for_whole_task = first.for_whole_task && second.for_whole_task;
    let common = common_tools(&first.tools, &second.tools);
    if common.len() == first.tools.len() && common.len() == second.tools.len() {
        return ParsedChoice { tools: common, for_whole_task, ..first };
    }
    let is_judge = |t: &WeightedTool| offered.iter().any(|o| o.card.name == t.tool && o.is_judge());
    // What both name only as a small addition to other tools is not what either wants alone.
    let is_main = |t: &WeightedTool| [&first.tools, &second.tools].iter().any(|tools| is_heaviest(t, tools));
    let (one, other) = (names(&first.tools), names(&second.tools));
    let best = |tools: &[WeightedTool]| best_evidence(tools, offered);
    let (best_first, best_second) = (best(&first.tools), best(&second.tools));
    let (tools, reason, why) = if common.iter().any(|t| is_judge(t) && is_main(t))
        && best(&common) >= best_first.max(best_second) - MAX_BEHIND
    {
        (common, first.reason, "taken are the tools that both name")
    } else if best_second > best_first {
        (
            second.tools,
            second.reason,
            "the second is taken, because its best tool was measured to be better on the task",
        )
    } else {
        (first.tools, first.reason, "the first is taken, because nothing measured speaks for the second")
    };
    let disagreement = format!("it was asked twice, and the answers differ: {one}, then {other}; {why}");
    tracing::info!("example `{id}`: {disagreement}: {}", names(&tools));
    ParsedChoice { tools, for_whole_task, reason: format!("{reason} ({disagreement})") }
}

/// The tools that are in both choices, in the order of the first, each with the mean of its weights.
fn common_tools(first: &[WeightedTool], second: &[WeightedTool]) -> Vec<WeightedTool> {
    let common = |a: &WeightedTool| {
        let b = second.iter().find(|b| b.tool == a.tool)?;
        Some(WeightedTool { weight: f64::midpoint(a.weight, b.weight), ..a.clone() })
    };
    first.iter().filter_map(common).collect()
}

/// Whether no tool of a choice has a higher weight than this one, which is among them.
fn is_heaviest(tool: &WeightedTool, choice: &[WeightedTool]) -> bool {
    let chosen = choice.iter().find(|t| t.tool == tool.tool);
    chosen.is_some_and(|chosen| choice.iter().all(|t| t.weight <= chosen.weight))
}

/// The highest sum of the AUCs that were measured of one of the tools on the task, at least that of chance.
fn best_evidence(tools: &[WeightedTool], offered: &[OfferedTool]) -> f64 {
    let chosen = offered.iter().filter(|o| tools.iter().any(|t| t.tool == o.card.name));
    let aucs = |e: &ToolEvidence| e.auc.unwrap_or(CHANCE) + e.half_right_auc.unwrap_or(CHANCE);
    chosen.filter_map(|o| o.evidence).map(aucs).fold(2.0 * CHANCE, f64::max)
}

/// The names of tools, for people.
fn names(tools: &[WeightedTool]) -> String {
    tools.iter().map(|t| format!("`{}`", t.tool)).collect::<Vec<_>>().join(", ")
}
