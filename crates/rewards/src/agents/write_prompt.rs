//! The prompt with which the language model writes a verifier: what the function must do, two worked examples, the
//! building blocks that tell good replies from bad ones, replies of known worth, and what was wrong with earlier drafts.
//!
//! What all drafts of a task share comes first, so that servers can keep what they computed for it.

use std::fmt::Write;

use rlar_data::Example;

use crate::admission::counterexamples::Counterexample;
use crate::admission::probes::wrong_answer;
use crate::agents::block_evidence::MeasuredBlock;
use crate::agents::fence::{clip, one_line};
use crate::agents::prompt::{DATA_INSTRUCTION, Prompt};
use crate::agents::synthesise::{SynthesisRequest, VerifierSpec, shown_examples};

/// A worked example of the prompt: a rule, and the program for it.
pub struct WorkedRule {
    /// The name of the rule.
    pub name: &'static str,
    /// What the rule measures.
    pub measures: &'static str,
    /// The program for the rule.
    pub source: &'static str,
}

/// The worked examples. Drafts that copy them are refused.
pub const WORKED_RULES: [WorkedRule; 2] = [
    WorkedRule {
        name: "final_name",
        measures: "whether the last words of the reply are the name in the reference",
        source: "from rlar_tools import words\n\n\n\
                 def compute_final_name(prompt, candidate_response, reference_response):\n    \
                 said, right = words(candidate_response), words(reference_response)\n    \
                 return 1.0 if right and said[-len(right):] == right else 0.0\n",
    },
    WorkedRule {
        name: "close_vocabulary",
        measures: "how much of their vocabulary reply and reference share, for replies of about the same length",
        source: "from rlar_tools import length_ratio, words\n\n\n\
                 def compute_close_vocabulary(prompt, candidate_response, reference_response):\n    \
                 said, right = set(words(candidate_response)), set(words(reference_response))\n    \
                 shared = len(said & right) / max(1, len(said | right))\n    \
                 return shared * length_ratio(candidate_response, reference_response)\n",
    },
];

/// Largest number of counterexamples that the model sees.
const MAX_COUNTEREXAMPLES: usize = 4;

/// Largest number of characters of a text in a counterexample.
const CASE_CHARS: usize = 240;

/// What was wrong with an earlier draft, and how the next one differs.
pub struct Feedback<'f> {
    /// Why the draft was refused.
    pub refusal: &'f str,
    /// Replies that the draft scored wrongly.
    pub counterexamples: &'f [Counterexample],
    /// The source of the draft, if it is to be mended; `None` if the model is to begin anew.
    pub mended: Option<&'f str>,
}

/// The system message.
pub fn system_message() -> String {
    let mut text = format!(
        "You write small Python functions that grade replies of a language model. {DATA_INSTRUCTION} Reply with one fenced \
         ```python block and nothing else.\n\
         The function `compute_NAME(prompt, candidate_response, reference_response)` gets three strings and returns a float \
         from 0.0 to 1.0, higher for better replies: 1.0 for the reference itself, 0.0 for an empty reply and a low score for \
         a reply about something else. It works for any text, and uses no chance, clock, files or network.\n"
    );
    for rule in &WORKED_RULES {
        let _ = write!(text, "\nExample. Rule `{}`: {}\n```python\n{}```\n", rule.name, rule.measures, rule.source);
    }
    text
}

/// The user message for one draft of a verifier.
pub fn user_message(
    request: &SynthesisRequest,
    spec: &VerifierSpec,
    blocks: &[MeasuredBlock],
    feedback: Option<&Feedback>,
) -> Prompt {
    let mut packages = "You may import the standard library and these functions from `rlar_tools`".to_owned();
    if !request.packages.is_empty() {
        let _ = write!(packages, ", and the packages {}", request.packages.join(", "));
    }
    packages.push_str(":\n");
    for block in blocks {
        let _ = writeln!(packages, "- {block}");
    }
    let prompt = Prompt::default().words(packages).words(format!("\nThe task is: {}.\n", request.task));
    let mut prompt = known_replies(prompt.append(shown_examples(request, 2)), request);
    if let Some(feedback) = feedback {
        prompt = describe_feedback(prompt, feedback);
    }
    let reference = if spec.needs_reference {
        ""
    } else {
        " `reference_response` may be empty: the function must not depend on it."
    };
    prompt.words(format!(
        "\nRule `{name}`: {measures}\nWrite `compute_{name}(prompt, candidate_response, reference_response)`.{reference}\n",
        name = spec.name,
        measures = one_line(&spec.measures),
    ))
}

/// Adds a good and a bad reply to the first example.
fn known_replies(prompt: Prompt, request: &SynthesisRequest) -> Prompt {
    let Some(first) = request.examples.first() else { return prompt };
    let Some(good) = first.reference.as_ref().or(first.demonstration.as_ref()) else { return prompt };
    let good = if good.split_whitespace().count() < 6 { format!("So the answer is {good}.") } else { good.clone() };
    let all: Vec<&Example> = request.examples.to_vec();
    let bad = wrong_answer(first, &all);
    let prompt = prompt.words("A good reply to the first prompt:\n").data("reply", clip(&good, 400));
    match bad {
        Some(bad) => prompt.words("A bad reply to it:\n").data("reply", clip(&bad, 400)),
        None => prompt,
    }
}

fn describe_feedback(prompt: Prompt, feedback: &Feedback) -> Prompt {
    let mut prompt = match feedback.mended {
        Some(source) => prompt.words("\nThis function was refused:\n").data("function", source.to_owned()),
        None => prompt.words("\nAnother function for the rule below was refused.\n"),
    };
    prompt = prompt.words("The reason:\n").data("reason", clip(feedback.refusal, 700));
    for case in feedback.counterexamples.iter().take(MAX_COUNTEREXAMPLES) {
        let reference = case.reference.as_deref().unwrap_or("none");
        let text = format!(
            "prompt: {}\nreference: {}\nreply: {}\n{}",
            clip(&one_line(&case.prompt), CASE_CHARS),
            clip(&one_line(reference), CASE_CHARS),
            if case.reply.trim().is_empty() { "(empty)".to_owned() } else { clip(&one_line(&case.reply), CASE_CHARS) },
            case.fault,
        );
        prompt = prompt.data("case", text);
    }
    match feedback.mended {
        Some(_) => prompt.words("Mend the function for the same rule:\n"),
        None => prompt.words("Write it in another way:\n"),
    }
}
