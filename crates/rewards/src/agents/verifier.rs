//! Writes one verifier (a tool in Python) for a rule: the language model writes several drafts, the admission checks
//! examine each, and what they find guides the next one.

use rlar_data::{Completion, Example};

use crate::admission::counterexamples::Counterexample;
use crate::admission::examine::{FAST, SAME, examine_closely};
use crate::admission::probes::case_examples;
use crate::admission::report::{Admission, Status};
use crate::agents::block_evidence::MeasuredBlock;
use crate::agents::client::{LlmClient, LlmFailure};
use crate::agents::plain_text::clip;
use crate::agents::program::{KnownPrograms, Program, guarded, is_same_program, parse_program};
use crate::agents::request::LlmRequest;
use crate::agents::synthesise::{SynthesisRequest, VerifierSpec};
use crate::agents::write_prompt::{Feedback, system_message, user_message};
use crate::library::folder::Library;
use crate::tool::card::{CardCase, ToolCard, ToolKind, ToolRole};
use crate::tool::scoring::{Tool, ToolContext};
use crate::tool::wrapper::is_wrapper;

const TEMPLATE: &str = "synthesise-write-2";

/// How the language model is asked for one draft of a verifier.
struct DraftPlan {
    temperature: f64,
    /// Whether the model sees the last refused draft and mends it. Otherwise it begins anew, knowing only what was
    /// wrong, because small models copy the programs that they see.
    mends: bool,
}

/// The plans for the drafts of one verifier, in the order in which the drafts are written.
const DRAFTS: [DraftPlan; 4] = [
    DraftPlan { temperature: 0.0, mends: false },
    DraftPlan { temperature: 0.5, mends: true },
    DraftPlan { temperature: 0.7, mends: false },
    DraftPlan { temperature: 0.9, mends: false },
];

/// Largest number of drafts that are written of one verifier.
pub const MAX_DRAFTS: usize = DRAFTS.len();

/// The AUC from which on an admitted draft is good, so that no further draft is written.
const GOOD_AUC: f64 = 0.95;

/// Largest length of a reply with a program, in tokens.
const MAX_TOKENS: u32 = 900;

/// A verifier that the language model wrote, with the result of its admission checks: admitted or refused.
#[derive(Clone, Debug, PartialEq)]
pub struct DraftTool {
    /// The tool card of the verifier.
    pub card: ToolCard,
    /// The tool card as YAML, which is the text of `tool.yaml`.
    pub card_yaml: String,
    /// The Python code of the verifier.
    pub source: String,
    /// Whether the first draft ran without errors on ordinary replies.
    pub is_first_runnable: bool,
    /// Whether any draft ran without errors on ordinary replies.
    pub is_runnable: bool,
    /// Whether the verifier only hands its arguments to one building block.
    pub is_wrapper: bool,
    /// Why the other refused drafts of the verifier were refused, in the order in which they were written; empty when
    /// there are none.
    pub earlier_refusals: Vec<String>,
    /// The admission report of this draft; `None` when the verifier could not be started or examined.
    pub admission: Option<Admission>,
    /// Why this draft was refused; `None` when it was admitted.
    pub refusal: Option<String>,
}

/// Has the language model write a verifier. A draft that does not start or that the admission checks refuse is followed
/// by another, which the model writes knowing the reason, at most [`MAX_DRAFTS`] in all. An admitted draft of middling
/// quality is followed by one more, and the better one is kept. The result is the best admitted draft, or else the last
/// one with its refusal.
///
/// # Errors
///
/// When the language model does not answer, when none of its replies has a program, or when the admission checks cannot
/// be run.
pub fn write_verifier(
    client: &LlmClient,
    request: &SynthesisRequest,
    spec: &VerifierSpec,
    blocks: &[MeasuredBlock],
    known: &mut KnownPrograms,
    context: &ToolContext,
) -> Result<DraftTool, LlmFailure> {
    let mut drafts = Drafts::default();
    let mut attempt = 0;
    for plan in &DRAFTS {
        let turn = known.len();
        let last = drafts.refused.last();
        let feedback = last.map(|last| Feedback {
            refusal: &last.refusal,
            counterexamples: &last.counterexamples,
            mended: plan.mends.then_some(last.source.as_str()).filter(|source| !source.is_empty()),
        });
        let llm_request = LlmRequest {
            role: "synthesise",
            template: TEMPLATE,
            task: spec.name.clone(),
            attempt,
            system: system_message(request),
            user: user_message(request, spec, blocks, feedback.as_ref(), turn),
            max_tokens: MAX_TOKENS,
            temperature: plan.temperature,
            ..LlmRequest::default()
        };
        match client.complete(llm_request, |reply| parse_program(reply, spec, request)) {
            Ok(reply) => {
                attempt = reply.attempts;
                let source = &reply.value.source;
                let examined = if let Some(earlier) = drafts.refused.iter().find(|e| is_same_program(&e.source, source))
                {
                    repeated(earlier)
                } else if known.contains(source) {
                    copied(&reply.value)
                } else {
                    known.insert(&reply.value.source);
                    let author = client.name();
                    examine_program(&reply.value, spec, request, context, &author).map_err(LlmFailure::Unavailable)?
                };
                drafts.add(examined);
            }
            // A model that gives no program in three tries does not give one in the next three.
            Err(why @ LlmFailure::Unusable(_)) => {
                drafts.unusable = Some(why);
                break;
            }
            // Without an answer the verifier is not given up: a later run gets the earlier replies from the cache and
            // resumes here.
            Err(why @ LlmFailure::Unavailable(_)) => return Err(why),
        }
        if drafts.is_enough() {
            break;
        }
    }
    let unusable = drafts.unusable.take();
    let nothing = || LlmFailure::Unusable("nothing was written".into());
    let best = drafts.best().ok_or_else(|| unusable.clone().unwrap_or_else(nothing))?;
    let refusal = match (&best.refusal, unusable) {
        (Some(refusal), Some(why)) => Some(format!("{refusal}; and it was not mended: {why}")),
        (refusal, _) => refusal.clone(),
    };
    Ok(DraftTool { refusal, ..best })
}

/// How the reason of a refusal names a truth value in place of a score.
const TRUTH_VALUE: &str = "a value of type bool";

/// A program after its admission checks.
#[derive(Clone)]
struct Examined {
    /// The Python code of the program.
    source: String,
    tool: Option<DraftTool>,
    /// Whether the program runs without errors on ordinary replies.
    is_runnable: bool,
    /// Why the program was refused; empty when it was admitted.
    refusal: String,
    counterexamples: Vec<Counterexample>,
}

/// The drafts of one verifier that were written so far.
#[derive(Default)]
struct Drafts {
    admitted: Vec<DraftTool>,
    refused: Vec<Examined>,
    /// Why drafts were refused, in order.
    refusals: Vec<String>,
    runnable: Vec<bool>,
    unusable: Option<LlmFailure>,
}

impl Drafts {
    fn add(&mut self, examined: Examined) {
        self.runnable.push(examined.is_runnable);
        match &examined.tool {
            Some(tool) if tool.refusal.is_none() => self.admitted.push(tool.clone()),
            _ => {
                self.refusals.push(examined.refusal.clone());
                self.refused.push(examined);
            }
        }
    }

    /// Whether no further draft is needed: one is good, or two were admitted, or one was admitted after refused ones.
    fn is_enough(&self) -> bool {
        let is_good = |d: &DraftTool| d.admission.as_ref().and_then(|a| a.auc).is_none_or(|auc| auc >= GOOD_AUC);
        self.admitted.iter().any(is_good)
            || self.admitted.len() > 1
            || (!self.admitted.is_empty() && !self.refusals.is_empty())
    }

    /// The admitted draft with the highest AUC, or else the last refused draft. A draft that only hands its arguments
    /// to one building block is taken only if no other draft was admitted.
    fn best(mut self) -> Option<DraftTool> {
        let auc = |d: &DraftTool| d.admission.as_ref().and_then(|a| a.auc).unwrap_or(0.0);
        let worth = |d: &DraftTool| (u8::from(!d.is_wrapper), auc(d));
        self.admitted.sort_by(|a, b| worth(a).partial_cmp(&worth(b)).unwrap_or(std::cmp::Ordering::Equal));
        let best = self.admitted.pop();
        let is_refused = best.is_none();
        let mut best = best.or_else(|| self.refused.iter_mut().rev().find_map(|e| e.tool.take()))?;
        best.is_first_runnable = self.runnable.first().copied().unwrap_or(false);
        best.is_runnable = self.runnable.iter().any(|runs| *runs);
        best.earlier_refusals = self.refusals;
        if is_refused {
            best.earlier_refusals.pop();
        }
        Some(best)
    }
}

/// The refusal of a program that is a refused draft of the same rule again: the reason is that of the earlier one.
fn repeated(earlier: &Examined) -> Examined {
    let again = "It is the refused function again. ";
    Examined {
        source: earlier.source.clone(),
        tool: None,
        is_runnable: earlier.is_runnable,
        refusal: format!("{again}{}", earlier.refusal.trim_start_matches(again)),
        counterexamples: earlier.counterexamples.clone(),
    }
}

/// The refusal of a program that is a copy of a worked example or of an earlier program; it is not examined again.
fn copied(program: &Program) -> Examined {
    let refusal =
        "It is a copy of an example or of the function for another rule. Compute what this rule says.".to_owned();
    let source = program.source.clone();
    Examined { source, tool: None, is_runnable: false, refusal, counterexamples: Vec::new() }
}

/// Examines a program in the role of its rule, then, if it is refused, with weaker claims: as a measure of quality, and
/// with a guard against scores outside the range and empty replies. An error is a failure of rlar, not of the verifier.
fn examine_program(
    program: &Program,
    spec: &VerifierSpec,
    request: &SynthesisRequest,
    context: &ToolContext,
    author: &str,
) -> Result<Examined, String> {
    let is_wrapper = is_wrapper(&program.source, &format!("compute_{}", spec.name));
    let guarded = Program { source: guarded(&program.source, &spec.name), ..program.clone() };
    // Where references are long, a good reply need not repeat them: only how much they share can be claimed.
    let claims_less = spec.role == ToolRole::Correctness && spec.needs_reference && request.has_long_references();
    let roles: &[ToolRole] = if claims_less || spec.role == ToolRole::Quality {
        &[ToolRole::Quality]
    } else {
        &[spec.role, ToolRole::Quality]
    };
    let variants = [program, &guarded].into_iter().flat_map(|program| roles.iter().map(move |role| (program, *role)));
    let mut refused: Option<Examined> = None;
    for (variant, role) in variants {
        let verifier = Verifier { program: variant, role, is_wrapper };
        let examined = check(&verifier, spec, request, context, author)?;
        let is_admitted = examined.refusal.is_empty();
        let starts = examined.tool.as_ref().is_some_and(|tool| tool.admission.is_some());
        if is_admitted {
            return Ok(examined);
        }
        // What the model reads about its program is said of the program as it is, but truth values are not held against it:
        // with the guard, they are 1 and 0.
        let first = refused.get_or_insert_with(|| examined.clone());
        if first.refusal.contains(TRUTH_VALUE) && !examined.refusal.contains(TRUTH_VALUE) {
            first.refusal = examined.refusal;
            first.counterexamples = examined.counterexamples;
        }
        if !starts || !first.is_runnable {
            break;
        }
    }
    refused.ok_or_else(|| "nothing was examined".into())
}

/// A program to examine, with the role that its tool card claims for its scores.
struct Verifier<'p> {
    program: &'p Program,
    role: ToolRole,
    is_wrapper: bool,
}

/// Opens a verifier as a tool and runs its admission checks. An error is a failure of rlar, not of the verifier.
fn check(
    verifier: &Verifier,
    spec: &VerifierSpec,
    request: &SynthesisRequest,
    context: &ToolContext,
    author: &str,
) -> Result<Examined, String> {
    let program = verifier.program;
    let overpaid = request.defects.map_or(&[][..], |d| &d.overpaid);
    let card = ToolCard {
        name: spec.name.clone(),
        kind: ToolKind::Verifier {
            function: format!("compute_{}", spec.name),
            file: "verifier.py".into(),
            requires: program.requires.clone(),
        },
        role: verifier.role,
        measures: program.description.clone(),
        tasks: vec![request.task.to_owned()],
        needs_reference: spec.needs_reference,
        bare: false,
        range: [0.0, 1.0],
        cases: program.tests.iter().chain(overpaid).cloned().collect(),
        origin: format!("written by {author} for the task `{}` ({TEMPLATE})", request.task),
    };
    let card_yaml = serde_yaml::to_string(&card).map_err(|e| e.to_string())?;
    let examined = |is_runnable, admission: Option<Admission>, refusal: Option<String>, counterexamples| Examined {
        source: program.source.clone(),
        is_runnable,
        refusal: refusal.clone().unwrap_or_default(),
        counterexamples,
        tool: Some(DraftTool {
            card: card.clone(),
            card_yaml: card_yaml.clone(),
            source: program.source.clone(),
            is_first_runnable: is_runnable,
            is_runnable,
            is_wrapper: verifier.is_wrapper,
            earlier_refusals: Vec::new(),
            admission,
            refusal,
        }),
    };
    let broken =
        |what: &str, why: String| examined(false, None, Some(format!("{what}: {}", clip(&why, 1000))), Vec::new());
    let mut library = Library::default();
    library
        .add("written/tool.yaml".as_ref(), card_yaml.clone(), program.source.clone(), None)
        .map_err(|e| e.to_string())?;
    let tool = match library.open(&spec.name, context) {
        Ok(tool) => tool.for_admission(),
        Err(e) => return Ok(broken("It does not start", e.to_string())),
    };
    let examples: Vec<Example> = request.examples.iter().map(|e| (*e).clone()).collect();
    let examination = match examine_closely(&tool, &examples, &[]) {
        Ok(examination) => examination,
        Err(e) => return Ok(broken("It cannot be examined", e.to_string())),
    };
    let admission = examination.admission;
    let is_runnable = admission.checks.iter().all(|p| p.passed || p.name != "runs");
    let refusal = match admission.status {
        Status::Refused => Some(refusal_text(&admission)),
        _ => overpaid_again(&tool, overpaid)?,
    };
    // Scores that differ from call to call would make the next request differ in a second run.
    let is_stable = admission.checks.iter().all(|check| check.passed || check.name != SAME);
    let counterexamples = if is_stable { examination.counterexamples } else { Vec::new() };
    Ok(examined(is_runnable, Some(admission), refusal, counterexamples))
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
