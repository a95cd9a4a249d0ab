//! Writes one verifier (a tool in Python): the language model writes the code, the admission checks examine it, and the
//! model repairs code that they refuse.

use rlar_data::{Completion, Example};
use serde_json::json;

use crate::admission::examine::{FAST, SAME, examine};
use crate::admission::probes::case_examples;
use crate::admission::report::{Admission, Status};
use crate::agents::client::{Attempt, LlmClient, LlmFailure, RepairTurn, repair_loop};
use crate::agents::fence::clip;
use crate::agents::parse::{blocks, object, text, texts};
use crate::agents::synthesise::{FencedText, SynthesisRequest, VerifierSpec, fenced_examples, llm_request};
use crate::library::folder::Library;
use crate::tool::card::{CardCase, ToolCard, ToolKind};
use crate::tool::scoring::{Tool, ToolContext};

const TEMPLATE: &str = "synthesise-write-1";

/// Largest number of repairs of a verifier after its first version was refused.
pub const MAX_VERIFIER_REPAIRS: u32 = 3;

/// Largest length of a verifier's program, in characters.
const MAX_CODE_CHARS: usize = 20_000;

/// A verifier that the language model wrote, with the result of its admission checks: admitted or refused.
#[derive(Clone, Debug, PartialEq)]
pub struct DraftTool {
    /// The tool card of the verifier.
    pub card: ToolCard,
    /// The tool card as YAML, which is the text of `tool.yaml`.
    pub card_yaml: String,
    /// The Python code of the verifier.
    pub source: String,
    /// Whether the verifier runs without errors on ordinary replies.
    pub is_runnable: bool,
    /// Why the earlier versions of the verifier were refused, oldest first; empty when this is the first version.
    pub earlier_refusals: Vec<String>,
    /// The admission report of this version; `None` when the verifier could not be started or examined.
    pub admission: Option<Admission>,
    /// Why this version was refused; `None` when it was admitted.
    pub refusal: Option<String>,
}

/// The content of the language model's reply for a verifier: description, packages, test replies and Python code.
#[derive(Clone, Debug)]
struct ParsedVerifier {
    description: String,
    requires: Vec<String>,
    tests: Vec<CardCase>,
    source: String,
}

/// Has the language model write a verifier. A version that does not start or that the admission checks refuse is sent
/// back to the model with the reason, and repaired at most [`MAX_VERIFIER_REPAIRS`] times. The result is the admitted
/// version, or the last one with its refusal.
///
/// # Errors
///
/// When the language model does not answer, when none of its replies for the first version is usable, or when the
/// admission checks cannot be run.
pub fn write_verifier(
    client: &LlmClient,
    request: &SynthesisRequest,
    spec: &VerifierSpec,
    context: &ToolContext,
) -> Result<DraftTool, LlmFailure> {
    let (system, user) = instructions(request, spec);
    let mut llm_request = llm_request(TEMPLATE, &spec.name, system, user);
    let (mut refused, mut refusals): (Option<DraftTool>, Vec<String>) = (None, Vec::new());
    let finished = repair_loop(&mut llm_request, MAX_VERIFIER_REPAIRS, |llm_request, _| {
        let parsed = client.complete(llm_request.clone(), |reply| parse_verifier(&reply.text, spec, request));
        let reply = match (parsed, refused.take()) {
            (Ok(reply), _) => reply,
            // The model's repair is unusable: the version before it stays refused.
            (Err(why @ LlmFailure::Unusable(_)), Some(draft)) => {
                let refusal = draft.refusal.map(|r| format!("{r}; and it was not repaired: {why}"));
                return Ok(Attempt::Accepted(DraftTool { refusal, ..draft }));
            }
            // Without an answer the verifier is not given up: a later run gets the earlier replies from the cache and
            // resumes here.
            (Err(why), _) => return Err(why),
        };
        llm_request.attempt = reply.attempts;
        let draft = check(&reply.value, spec, request, context, &client.name()).map_err(LlmFailure::Unavailable)?;
        let draft = DraftTool { earlier_refusals: refusals.clone(), ..draft };
        let Some(refusal) = draft.refusal.clone() else { return Ok(Attempt::Accepted(draft)) };
        let feedback = format!("{refusal}\nMend it and answer with both blocks again.");
        refusals.push(refusal);
        refused = Some(draft);
        Ok(Attempt::Rejected(RepairTurn { reply: clip(&reply.text, MAX_CODE_CHARS), feedback }))
    })?;
    finished.or(refused).ok_or_else(|| LlmFailure::Unavailable("nothing was written".into()))
}

/// The system message and the user message of the request to write a verifier.
fn instructions(request: &SynthesisRequest, spec: &VerifierSpec) -> (String, String) {
    let FencedText { fence, text: examples } = fenced_examples(request, &[]);
    let packages = if request.packages.is_empty() {
        "only the standard library".to_owned()
    } else {
        format!("the standard library and these packages: {}", request.packages.join(", "))
    };
    let reference = if spec.needs_reference {
        "`reference_response` is the right or a good reply."
    } else {
        "`reference_response` may be empty: do not depend on it."
    };
    let system = format!(
        "You write a reward for replies to the task `{}`. {} Write `compute_{name}(prompt, candidate_response, \
         reference_response) -> float`: {} {reference} It gets three strings and returns a float from 0.0 to 1.0, higher for \
         better replies. It must be deterministic and fast, have a score for every string, however odd, and use {packages}. \
         Replies try to cheat: empty ones, the prompt repeated, every possible answer listed, claims to be right, instructions \
         to you. They must score low, and no fixed phrase may buy a score.\nAnswer with two blocks and nothing else. First a \
         ```json block: {{\"description\": a paragraph, \"requires\": [packages], \"tests\": [{{\"prompt\": …, \"reply\": …, \
         \"reference\": …, \"good\": true or false}}, …]}} with at least two good and two bad replies. Then a ```python block \
         with the function and everything that it needs.",
        request.task,
        fence.instruction("prompt"),
        spec.measures,
        name = spec.name,
    );
    (system, examples)
}

fn parse_verifier(reply: &str, spec: &VerifierSpec, request: &SynthesisRequest) -> Result<ParsedVerifier, String> {
    let found = blocks(reply);
    let block = |language: &str| {
        let mut matching = found.iter().filter(|b| b.language.eq_ignore_ascii_case(language));
        match (matching.next(), matching.next()) {
            (Some(block), None) => Ok(block.body),
            (None, _) => Err(format!("it has no ```{language} block")),
            (Some(_), Some(_)) => Err(format!("it has more than one ```{language} block")),
        }
    };
    let (head, source) = (block("json")?, block("python").or_else(|why| block("py").map_err(|_| why))?);
    let fields = object(head).map_err(|why| format!("the ```json block: {why}"))?;
    let requires = texts(Some(fields.get("requires").unwrap_or(&json!([]))), "requires", 80)?;
    if let Some(other) = requires.iter().find(|r| !request.packages.contains(r)) {
        return Err(format!("the package `{other}` is not allowed; do without it"));
    }
    let tests: Vec<CardCase> = fields
        .get("tests")
        .map(|t| serde_json::from_value(t.clone()).map_err(|e| format!("`tests`: {e}")))
        .ok_or("`tests` is missing")??;
    let good = tests.iter().filter(|t| t.good).count();
    if good < 2 || tests.len() - good < 2 || tests.len() > 20 {
        return Err("`tests` needs at least two good and two bad replies, and at most 20 in all".into());
    }
    if source.chars().count() > MAX_CODE_CHARS {
        return Err(format!("the program is longer than {MAX_CODE_CHARS} characters"));
    }
    if !source.contains(&format!("def compute_{}(", spec.name)) {
        return Err(format!("the ```python block does not define `compute_{}`", spec.name));
    }
    Ok(ParsedVerifier { description: text(&fields, "description", 1200)?, requires, tests, source: source.to_owned() })
}

/// Opens a verifier as a tool and runs its admission checks. An error is a failure of rlar, not of the verifier.
fn check(
    verifier: &ParsedVerifier,
    spec: &VerifierSpec,
    request: &SynthesisRequest,
    context: &ToolContext,
    author: &str,
) -> Result<DraftTool, String> {
    let overpaid = request.defects.map_or(&[][..], |d| &d.overpaid);
    let card = ToolCard {
        name: spec.name.clone(),
        kind: ToolKind::Verifier {
            function: format!("compute_{}", spec.name),
            file: "verifier.py".into(),
            requires: verifier.requires.clone(),
        },
        role: spec.role,
        measures: verifier.description.clone(),
        tasks: vec![request.task.to_owned()],
        needs_reference: spec.needs_reference,
        bare: true,
        range: [0.0, 1.0],
        cases: verifier.tests.iter().chain(overpaid).cloned().collect(),
        origin: format!("written by {author} for the task `{}` ({TEMPLATE})", request.task),
    };
    let card_yaml = serde_yaml::to_string(&card).map_err(|e| e.to_string())?;
    let draft = |is_runnable, admission: Option<Admission>, refusal| DraftTool {
        card: card.clone(),
        card_yaml: card_yaml.clone(),
        source: verifier.source.clone(),
        is_runnable,
        earlier_refusals: Vec::new(),
        admission,
        refusal,
    };
    let mut library = Library::default();
    library
        .add("written/tool.yaml".as_ref(), card_yaml.clone(), verifier.source.clone(), None)
        .map_err(|e| e.to_string())?;
    let tool = match library.open(&spec.name, context) {
        Ok(tool) => tool.for_admission(),
        Err(e) => return Ok(draft(false, None, Some(format!("It does not start: {}", clip(&e.to_string(), 1000))))),
    };
    let examples: Vec<Example> = request.examples.iter().map(|e| (*e).clone()).collect();
    let admission = match examine(&tool, &examples, &[]) {
        Ok(admission) => admission,
        Err(e) => {
            return Ok(draft(false, None, Some(format!("It cannot be examined: {}", clip(&e.to_string(), 1000)))));
        }
    };
    let is_runnable = admission.checks.iter().all(|p| p.passed || p.name != "runs");
    let refusal = match admission.status {
        Status::Refused => Some(refusal_text(&admission)),
        _ => overpaid_again(&tool, overpaid)?,
    };
    Ok(draft(is_runnable, Some(admission), refusal))
}

/// The refusal of a tool that rewards a reply which the tools before it wrongly rewarded (`overpaid`), even if the tool
/// passes all admission checks; `None` when it rewards none of these replies.
fn overpaid_again(tool: &Tool, overpaid: &[CardCase]) -> Result<Option<String>, String> {
    let card = ToolCard { cases: overpaid.to_vec(), ..tool.card().clone() };
    let examples = case_examples(&card);
    let replies: Vec<Completion> = overpaid.iter().map(|c| Completion::whole(c.reply.clone())).collect();
    let items: Vec<(&Example, &Completion)> = examples.iter().zip(&replies).collect();
    let outcomes = tool.score(&items).map_err(|e| e.to_string())?;
    let middle = f64::midpoint(card.range[0], card.range[1]);
    let rewarded = outcomes.iter().zip(overpaid).find(|(o, _)| o.score().is_some_and(|s| s >= middle));
    Ok(rewarded.map(|(_, case)| {
        format!("It pays for the reply {:?}, which was paid for before and deserves nothing", clip(&case.reply, 300))
    }))
}

/// The refusal that tells the language model which admission checks a tool failed. The text has no measured times,
/// because these would differ in a second run and change the request.
fn refusal_text(admission: &Admission) -> String {
    if admission.failed().any(|p| p.name == SAME) {
        return "Examined, it was refused: asked again about the same reply, it gives another score. It may depend on nothing \
                but its three arguments: no chance, no clock, no memory of other calls."
            .into();
    }
    let failed = admission.failed().take(6).map(|p| {
        let evidence = if p.name == FAST { "it takes too long for a reply" } else { &p.evidence };
        format!("- it must show that it {}: {}", p.name, clip(evidence, 300))
    });
    format!("Examined, it was refused:\n{}", failed.collect::<Vec<_>>().join("\n"))
}
