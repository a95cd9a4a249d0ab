//! The agent role `synthesise`: the language model proposes verifiers (tools in Python) that a task needs, and each of
//! them is written.

use rlar_data::Example;
use rlar_net::llm::ChatReply;
use serde_json::{Map, Value, json};

use crate::agents::client::{LlmClient, LlmFailure, LlmRequest};
use crate::agents::fence::{Fence, clip, one_line};
use crate::agents::parse::{object, text};
use crate::agents::verifier::{DraftTool, write_verifier};
use crate::agents::{AgentEvent, Agents, DraftFiles, RejectedTool, ToolSet};
use crate::library::new_tool::NewTool;
use crate::tool::card::{CardCase, ToolRole};

const TEMPLATE: &str = "synthesise-list-1";

/// Names that a new tool must not have: that of the folder of rejected tools, and those of columns in a run's records.
const RESERVED_NAMES: [&str; 3] = ["refused", "soft_overlong", "advantage"];

/// A task for which verifiers are to be written, with everything that the language model is told about it.
#[derive(Clone, Debug)]
pub struct SynthesisRequest<'a> {
    /// The label of the task.
    pub task: &'a str,
    /// Examples of the task. The language model sees the first four, the admission checks at most the first
    /// twelve that the tool judges.
    pub examples: &'a [&'a Example],
    /// The separate requirements of long instructions among the examples; empty when there are no long instructions.
    pub steps: &'a [String],
    /// Existing tools. New tools must not have their names.
    pub known: &'a [KnownTool],
    /// Python packages that a verifier may import besides the standard library.
    pub packages: &'a [String],
    /// What is wrong with existing tools that the new ones are to replace; `None` when no tools are to be replaced.
    pub defects: Option<&'a ToolDefects>,
}

/// An existing tool, as the language model sees it in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownTool {
    /// The name of the tool.
    pub name: String,
    /// What the tool measures, in the words of its tool card.
    pub measures: String,
}

/// What is wrong with existing tools that are to be replaced, as the language model is told.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ToolDefects {
    /// One sentence about what is wrong, without numbers, which a second run might not reproduce.
    #[serde(rename = "what")]
    pub summary: String,
    /// Replies that the tools score high and should score low.
    pub overpaid: Vec<CardCase>,
    /// The Python code of those of the tools that are verifiers.
    #[serde(default)]
    pub code: Vec<String>,
}

/// A proposal of the language model for a verifier, which judges replies by one aspect.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifierSpec {
    /// The name of the tool to write, in `snake_case`.
    pub name: String,
    /// What the tool's score is to measure, in a sentence.
    pub measures: String,
    /// What the tool's score means: whether a reply is right, how good it is, or whether it keeps a rule.
    pub role: ToolRole,
    /// Whether the tool compares replies with a reference.
    pub needs_reference: bool,
}

impl Agents {
    /// Lets the language model propose three to five verifiers for a task and write them one by one, except those whose
    /// name `is_done` accepts. Stops after `max_judges` admitted verifiers that are not constraints; `None` for no
    /// limit. Without a language model or a sandbox the result is empty.
    pub fn synthesise(
        &self,
        request: &SynthesisRequest,
        is_done: &dyn Fn(&str) -> bool,
        max_judges: Option<usize>,
        on_event: &mut dyn FnMut(AgentEvent),
    ) -> ToolSet {
        let mut tools = ToolSet::default();
        let Some(client) = &self.llm else { return tools };
        let task = request.task;
        // Without a sandbox no verifier could be tried.
        if let Err(e) = &self.context.sandbox {
            on_event(AgentEvent::Message(format!("{task}: no verifiers: {e}")));
            return tools;
        }
        let specs = match propose_verifiers(client, request) {
            Ok(specs) => specs,
            Err(why) => {
                fall_back(client, &mut tools, &why, format!("{task}: no rules: {why}"), on_event);
                return tools;
            }
        };
        let mut judges = 0;
        for spec in specs.iter().filter(|s| !is_done(&s.name)) {
            if max_judges.is_some_and(|most| judges >= most) {
                break;
            }
            tools.verifiers.written += 1;
            match write_verifier(client, request, spec, &self.context) {
                Ok(draft) => {
                    report_versions(task, &draft, on_event);
                    let is_judge = draft.card.role != ToolRole::Constraint;
                    judges += usize::from(add_draft(&mut tools, draft) && is_judge);
                }
                Err(why) => {
                    fall_back(client, &mut tools, &why, format!("{task}: {}: not written: {why}", spec.name), on_event);
                    let (name, reason) = (spec.name.clone(), why.to_string());
                    tools.rejected.push(RejectedTool { name, reason, files: None });
                }
            }
        }
        tools
    }
}

/// Counts and reports a request that brought no usable reply. If the model did not answer at all, the request is listed
/// as unanswered, because it may succeed later.
fn fall_back(
    client: &LlmClient,
    tools: &mut ToolSet,
    failure: &LlmFailure,
    message: String,
    on_event: &mut dyn FnMut(AgentEvent),
) {
    client.count_fallback("synthesise");
    on_event(AgentEvent::Message(message.clone()));
    if matches!(failure, LlmFailure::Unavailable(_)) {
        tools.unanswered.push(message);
    }
}

/// Reports to the user what became of every version of a verifier.
fn report_versions(task: &str, draft: &DraftTool, on_event: &mut dyn FnMut(AgentEvent)) {
    let name = &draft.card.name;
    for (i, refusal) in draft.earlier_refusals.iter().enumerate() {
        on_event(AgentEvent::Message(format!("{task}: {name}, version {}: {refusal}", i + 1)));
    }
    let result = draft.refusal.as_deref().map_or("admitted".into(), |refusal| format!("given up: {refusal}"));
    let version = draft.earlier_refusals.len() + 1;
    on_event(AgentEvent::Message(format!("{task}: {name}, version {version}: {result}")));
}

/// Adds a written verifier to the admitted or the rejected tools; returns whether it was admitted.
fn add_draft(tools: &mut ToolSet, draft: DraftTool) -> bool {
    tools.verifiers.runnable += usize::from(draft.is_runnable);
    let name = draft.card.name;
    match (draft.admission, draft.refusal) {
        (Some(admission), None) => {
            tools.verifiers.admitted += 1;
            tools.admitted.push(NewTool { name, card: draft.card_yaml, source: draft.source, admission });
            true
        }
        (_, refusal) => {
            let files = DraftFiles { card: draft.card_yaml, source: draft.source };
            tools.rejected.push(RejectedTool { name, reason: refusal.unwrap_or_default(), files: Some(files) });
            false
        }
    }
}

/// A request of the agent role `synthesise`, with a reply of at most 4000 tokens.
pub(super) fn llm_request(template: &'static str, task: &str, system: String, user: String) -> LlmRequest {
    LlmRequest {
        role: "synthesise",
        template,
        task: task.to_owned(),
        system,
        user,
        max_tokens: 4000,
        ..LlmRequest::default()
    }
}

/// Untrusted texts between marks, as a part of a prompt.
pub(super) struct FencedText {
    /// The marks around the texts. They also serve for further texts, which the caller encloses.
    pub(super) fence: Fence,
    /// The texts between their marks.
    pub(super) text: String,
}

/// An untrusted text for a prompt, with the name of the marks that will enclose it.
struct MarkedText {
    mark: &'static str,
    text: String,
}

impl MarkedText {
    /// A text cut to its first `max_chars` characters, with the name of its marks.
    fn clipped(mark: &'static str, text: &str, max_chars: usize) -> Self {
        Self { mark, text: clip(text, max_chars) }
    }
}

/// The examples of a request and the defects of the existing tools, between marks. The marks also serve for the texts
/// `beside` these, which the caller encloses.
pub(super) fn fenced_examples(request: &SynthesisRequest, beside: &[&str]) -> FencedText {
    let example = |e: &&Example| {
        let reference = e.reference.as_deref().unwrap_or("none");
        [MarkedText::clipped("prompt", e.prompt(), 800), MarkedText::clipped("reference", reference, 400)]
    };
    let overpaid_case =
        |c: &CardCase| [MarkedText::clipped("prompt", &c.prompt, 400), MarkedText::clipped("reply", &c.reply, 400)];
    let examples: Vec<MarkedText> = request.examples.iter().take(4).flat_map(example).collect();
    let overpaid: &[CardCase] = request.defects.map_or(&[], |d| &d.overpaid);
    let overpaid: Vec<MarkedText> = overpaid.iter().take(6).flat_map(overpaid_case).collect();
    let code = request.defects.iter().flat_map(|d| &d.code).take(2);
    let code: Vec<MarkedText> = code.map(|c| MarkedText::clipped("verifier", c, 4000)).collect();
    let untrusted = examples.iter().chain(&overpaid).chain(&code).map(|t| t.text.as_str());
    let fence = Fence::around(&untrusted.chain(beside.iter().copied()).collect::<Vec<_>>());
    let enclose = |texts: &[MarkedText]| -> String { texts.iter().map(|t| fence.enclose(t.mark, &t.text)).collect() };
    let mut text = enclose(&examples);
    if let Some(defects) = request.defects {
        text = text + "\nWhat there is will not do: " + &defects.summary + "\n";
        if !overpaid.is_empty() {
            text = text + "Replies that were paid for and deserve nothing:\n" + &enclose(&overpaid);
        }
        if !code.is_empty() {
            text = text + "The verifiers that will not do:\n" + &enclose(&code);
        }
    }
    FencedText { fence, text }
}

/// Lets the language model propose three to five verifiers for a task, with names that no existing tool has.
///
/// # Errors
///
/// When the language model gives no usable reply.
pub fn propose_verifiers(client: &LlmClient, request: &SynthesisRequest) -> Result<Vec<VerifierSpec>, LlmFailure> {
    let line = |tool: &KnownTool| format!("- {}: {}", tool.name, clip(&one_line(&tool.measures), 200));
    let known = request.known.iter().map(line).collect::<Vec<_>>().join("\n");
    let step_list = request.steps.iter().map(|s| format!("- {}", one_line(s))).collect::<Vec<_>>().join("\n");
    let FencedText { fence, text: examples } = fenced_examples(request, &[&known, &step_list]);
    let steps =
        if request.steps.is_empty() { "" } else { "Write a rule for each of the things between the marks `steps`.\n" };
    let system = format!(
        "You design rewards for replies to the task `{}`. {} List 3 to 5 rules or metrics that together tell good replies from \
         bad ones and that a short Python function can compute from prompt, reply and reference. Each has a `name` in \
         snake_case that is not taken, what it `measures` in a sentence, a `role` (`correctness`: right or wrong; `quality`: \
         better or worse; `constraint`: a rule that is kept or not) and whether it `needs_reference`. The taken names stand between \
         marks of their own.\n{steps}\
         Answer with one JSON object and nothing else: {{\"rules\": [{{\"name\": …, \"measures\": …, \"role\": …, \
         \"needs_reference\": true}}, …]}}",
        request.task,
        fence.instruction("prompt"),
    );
    let step_list = if step_list.is_empty() { step_list } else { fence.enclose("steps", &step_list) };
    let user = fence.enclose("taken", &known) + &step_list + &examples;
    let rule = json!({
        "type": "object", "additionalProperties": false, "required": ["name", "measures", "role", "needs_reference"],
        "properties": {
            "name": { "type": "string" }, "measures": { "type": "string" },
            "role": { "enum": ["correctness", "quality", "constraint"] }, "needs_reference": { "type": "boolean" },
        },
    });
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["rules"],
        "properties": { "rules": { "type": "array", "items": rule, "minItems": 3, "maxItems": 5 } },
    });
    let request_with_schema = LlmRequest { schema: Some(schema), ..llm_request(TEMPLATE, request.task, system, user) };
    let parsed = client.complete(request_with_schema, |reply| parse_specs(reply, request.known));
    parsed.map(|reply| reply.value)
}

fn parse_specs(reply: &ChatReply, known: &[KnownTool]) -> Result<Vec<VerifierSpec>, String> {
    let fields = object(&reply.text)?;
    let rules = fields.get("rules").and_then(Value::as_array).ok_or("`rules` must be a list")?;
    if !(3..=5).contains(&rules.len()) {
        return Err(format!("`rules` has {} entries; 3 to 5 are wanted", rules.len()));
    }
    let mut specs: Vec<VerifierSpec> = Vec::new();
    for rule in rules {
        let spec = parse_spec(rule.as_object().ok_or("a rule must be an object")?)?;
        if known.iter().any(|tool| tool.name == spec.name) || specs.iter().any(|s| s.name == spec.name) {
            return Err(format!("the name `{}` is taken", spec.name));
        }
        specs.push(spec);
    }
    Ok(specs)
}

fn parse_spec(fields: &Map<String, Value>) -> Result<VerifierSpec, String> {
    let name = text(fields, "name", 40)?;
    let snake = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !name.chars().all(snake) || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Err(format!("the name {name:?} is not snake_case"));
    }
    if RESERVED_NAMES.contains(&name.as_str()) {
        return Err(format!("the name `{name}` is taken"));
    }
    let role = fields.get("role").cloned().unwrap_or_default();
    let role =
        serde_json::from_value(role).map_err(|_| "`role` must be correctness, quality or constraint".to_owned())?;
    let needs_reference = fields.get("needs_reference").and_then(Value::as_bool);
    let needs_reference = needs_reference.ok_or("`needs_reference` must be true or false")?;
    Ok(VerifierSpec { name, measures: text(fields, "measures", 400)?, role, needs_reference })
}
