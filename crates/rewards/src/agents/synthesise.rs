//! The agent role `synthesise`: the language model lists rules by which the replies to a task can be judged, and writes a
//! verifier (a tool in Python) for each.

use rlar_data::Example;

use crate::agents::block_evidence::measured_blocks;
use crate::agents::client::{LlmClient, LlmFailure};
use crate::agents::plain_text::clip;
use crate::agents::program::KnownPrograms;
use crate::agents::prompt::Prompt;
use crate::agents::rules::propose_verifiers;
use crate::agents::verifier::{DraftTool, write_verifier};
use crate::agents::{AgentEvent, Agents, DraftFiles, RejectedTool, ToolSet};
use crate::library::new_tool::NewTool;
use crate::tool::card::{CardCase, ToolRole};

/// Largest number of wrongly rewarded replies that the language model is shown.
const MAX_OVERPAID: usize = 6;
/// Largest number of programs of defective verifiers that the language model is shown.
const MAX_DEFECTIVE: usize = 2;

/// Number of written verifiers for a task after which no more are written for it, if no draft of any of them runs.
const MAX_BROKEN: usize = 2;

/// A task for which verifiers are to be written, with everything that the language model is told about it.
#[derive(Clone, Debug)]
pub struct SynthesisRequest<'a> {
    /// The label of the task.
    pub task: &'a str,
    /// Examples of the task. The language model sees the first two, the admission checks at most the first twelve that
    /// the tool judges.
    pub examples: &'a [&'a Example],
    /// The separate requirements of long instructions among the examples; empty when there are no long instructions.
    pub steps: &'a [String],
    /// Names of existing tools, which new tools must not have.
    pub known: &'a [String],
    /// Python packages that a verifier may import besides the standard library.
    pub packages: &'a [String],
    /// What is wrong with existing tools that the new ones are to replace; `None` when no tools are to be replaced.
    pub defects: Option<&'a ToolDefects>,
}

impl SynthesisRequest<'_> {
    /// Whether most of the examples have a reference.
    pub fn has_references(&self) -> bool {
        self.examples.iter().filter(|e| e.reference.is_some()).count() * 2 > self.examples.len()
    }

    /// Whether most references are texts of three words or more, which a good reply need not repeat word by word.
    pub fn has_long_references(&self) -> bool {
        let references = || self.examples.iter().filter_map(|e| e.reference.as_deref());
        references().filter(|text| text.split_whitespace().count() > 2).count() * 2 > references().count()
    }
}

/// What is wrong with existing tools that are to be replaced, as the language model is told.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ToolDefects {
    /// One sentence about what is wrong, without numbers, which a second run might not reproduce.
    #[serde(rename = "what")]
    pub summary: String,
    /// Replies that the tools score high and should score low.
    pub overpaid: Vec<CardCase>,
    /// The Python code of the tools that are to be replaced, as far as they are verifiers.
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
    /// Lets the language model list three to five rules for a task and write a verifier for each, except those whose name
    /// `is_done` accepts. Stops after `max_judges` admitted verifiers that are not constraints; `None` for no limit. Also
    /// stops when no draft of the first two verifiers runs. Without a language model or a sandbox the result is empty.
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
        // While a run waits for a tool, nothing is measured first.
        let is_urgent = request.defects.is_some();
        let compared = if request.has_references() && !is_urgent { request.examples } else { &[] };
        let blocks = measured_blocks(task, compared, &self.context);
        let specs = match propose_verifiers(client, request, &blocks) {
            Ok(specs) => specs,
            Err(why) => {
                fall_back(client, &mut tools, &why, format!("{task}: no rules: {why}"), on_event);
                return tools;
            }
        };
        for spec in &specs {
            on_event(AgentEvent::Message(format!("{task}: rule {}: {}", spec.name, clip(&spec.measures, 120))));
        }
        let mut known = KnownPrograms::default();
        let mut judges = 0;
        for spec in specs.iter().filter(|s| !is_done(&s.name)) {
            if max_judges.is_some_and(|most| judges >= most) {
                break;
            }
            tools.verifiers.written += 1;
            match write_verifier(client, request, spec, &blocks, &mut known, &self.context) {
                Ok(draft) => {
                    report_drafts(task, &draft, on_event);
                    let is_judge = draft.card.role != ToolRole::Constraint;
                    judges += usize::from(add_draft(&mut tools, draft) && is_judge);
                }
                Err(why) => {
                    fall_back(client, &mut tools, &why, format!("{task}: {}: not written: {why}", spec.name), on_event);
                    let (name, reason) = (spec.name.clone(), why.to_string());
                    tools.rejected.push(RejectedTool { name, reason, files: None });
                }
            }
            if tools.verifiers.written >= MAX_BROKEN && tools.verifiers.runnable == 0 {
                let message = format!(
                    "{task}: none of the first {MAX_BROKEN} programs of the language model runs; no more are written"
                );
                on_event(AgentEvent::Message(message));
                break;
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

/// Reports to the user what became of the drafts of a verifier.
fn report_drafts(task: &str, draft: &DraftTool, on_event: &mut dyn FnMut(AgentEvent)) {
    let name = &draft.card.name;
    for (i, refusal) in draft.earlier_refusals.iter().enumerate() {
        on_event(AgentEvent::Message(format!("{task}: {name}, draft {}: {refusal}", i + 1)));
    }
    let result = draft.refusal.as_deref().map_or("admitted".into(), |refusal| format!("given up: {refusal}"));
    let number = draft.earlier_refusals.len() + 1;
    on_event(AgentEvent::Message(format!("{task}: {name}, draft {number}: {result}")));
}

/// Adds a written verifier to the admitted or the rejected tools; returns whether it was admitted.
fn add_draft(tools: &mut ToolSet, draft: DraftTool) -> bool {
    tools.verifiers.runnable += usize::from(draft.is_runnable);
    tools.verifiers.first_runnable += usize::from(draft.is_first_runnable);
    tools.verifiers.wrappers += usize::from(draft.is_wrapper && draft.refusal.is_none());
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

/// The first `n` examples of a request with their references, and the defects of existing tools, as data of a prompt.
pub(super) fn shown_examples(request: &SynthesisRequest, n: usize) -> Prompt {
    let mut prompt = Prompt::default();
    for example in request.examples.iter().take(n) {
        prompt = prompt.data("prompt", clip(example.prompt(), 800));
        if let Some(reference) = &example.reference {
            prompt = prompt.data("reference", clip(reference, 400));
        }
    }
    let Some(defects) = request.defects else { return prompt };
    prompt = prompt.words(format!("\nThe tools that there are will not do: {}\n", defects.summary));
    if !defects.overpaid.is_empty() {
        prompt = prompt.words("Replies that they score high and that deserve nothing:\n");
        for case in defects.overpaid.iter().take(MAX_OVERPAID) {
            prompt = prompt.data("prompt", clip(&case.prompt, 400)).data("reply", clip(&case.reply, 400));
        }
    }
    if !defects.code.is_empty() {
        prompt = prompt.words("The verifiers that will not do:\n");
        for code in defects.code.iter().take(MAX_DEFECTIVE) {
            prompt = prompt.data("verifier", clip(code, 4000));
        }
    }
    prompt
}
