//! The prompt with which the language model writes a verifier: what the function must do, two worked examples, the
//! building blocks that tell good replies from bad ones, replies of known worth, and what was wrong with earlier drafts.
//!
//! What all drafts of a task share comes first, so that servers can keep what they computed for it.

use std::fmt::Write;

use rlar_data::Example;

use crate::admission::counterexamples::Counterexample;
use crate::admission::probes::{near_reference, with_wrong_answer, worked_demonstration, wrong_answer};
use crate::agents::block_evidence::MeasuredBlock;
use crate::agents::plain_text::{clip, one_line};
use crate::agents::prompt::{DATA_INSTRUCTION, Prompt};
use crate::agents::synthesise::{SynthesisRequest, VerifierSpec, shown_examples};

/// A worked example of the prompts: a rule, and the program for it.
pub struct WorkedExample {
    /// The name of the rule.
    pub name: &'static str,
    /// What the rule measures.
    pub measures: &'static str,
    /// The program for the rule.
    pub source: &'static str,
}

/// The worked examples for tasks whose references are short answers. Small models copy what they see: these are about
/// something that no task is about, and copies are refused.
const FOR_ANSWERS: [WorkedExample; 2] = [
    WorkedExample {
        name: "last_colour",
        measures: "whether the last colour that the reply names is the last one of the reference",
        source: "from rlar_tools import words\n\n\
                 COLOURS = \"red green blue yellow black white\".split()\n\n\n\
                 def compute_last_colour(prompt, candidate_response, reference_response):\n    \
                 said = [w for w in words(candidate_response) if w in COLOURS]\n    \
                 right = [w for w in words(reference_response) if w in COLOURS]\n    \
                 return 1.0 if said and right and said[-1] == right[-1] else 0.0\n",
    },
    WorkedExample {
        name: "all_colours",
        measures: "how many names of colours reply and reference share",
        source: "from rlar_tools import words\n\n\
                 COLOURS = \"red green blue yellow black white\".split()\n\n\n\
                 def compute_all_colours(prompt, candidate_response, reference_response):\n    \
                 said = [w for w in words(candidate_response) if w in COLOURS]\n    \
                 right = [w for w in words(reference_response) if w in COLOURS]\n    \
                 shared = sum(min(said.count(w), right.count(w)) for w in set(said))\n    \
                 return 2 * shared / max(1, len(said) + len(right))\n",
    },
];

/// The worked examples for tasks whose references are texts instead of short answers. Their measures are too weak to
/// make good verifiers by themselves.
const FOR_TEXTS: [WorkedExample; 2] = [
    WorkedExample {
        name: "same_beginning",
        measures: "how many words at the same places of both texts are equal (words)",
        source: "from rlar_tools import words\n\n\n\
                 def compute_same_beginning(prompt, candidate_response, reference_response):\n    \
                 said, right = words(candidate_response), words(reference_response)\n    \
                 same = sum(1 for a, b in zip(said, right) if a == b)\n    \
                 return same / max(1, len(said), len(right))\n",
    },
    WorkedExample {
        name: "same_ending",
        measures: "how alike the ends of both texts are, letter by letter (edit_similarity)",
        source: "from rlar_tools import edit_similarity, length_ratio\n\n\n\
                 def compute_same_ending(prompt, candidate_response, reference_response):\n    \
                 ending = edit_similarity(candidate_response[-40:], reference_response[-40:])\n    \
                 return ending * length_ratio(candidate_response, reference_response)\n",
    },
];

/// The worked examples for tasks without references: measures of the reply and of what it shares with the prompt.
const FOR_REPLIES: [WorkedExample; 2] = [
    WorkedExample {
        name: "asked_colours",
        measures: "how many of the colours that the prompt names the reply names, too",
        source: "from rlar_tools import words\n\n\
                 COLOURS = \"red green blue yellow black white\".split()\n\n\n\
                 def compute_asked_colours(prompt, candidate_response, reference_response):\n    \
                 asked = [w for w in words(prompt) if w in COLOURS]\n    \
                 said = words(candidate_response)\n    \
                 return sum(1 for w in asked if w in said) / max(1, len(asked))\n",
    },
    WorkedExample {
        name: "no_colour_twice",
        measures: "whether no colour occurs twice in the reply",
        source: "from rlar_tools import words\n\n\
                 COLOURS = \"red green blue yellow black white\".split()\n\n\n\
                 def compute_no_colour_twice(prompt, candidate_response, reference_response):\n    \
                 said = [w for w in words(candidate_response) if w in COLOURS]\n    \
                 return 1.0 if said and len(set(said)) == len(said) else 0.0\n",
    },
];

/// The worked examples that suit a task.
pub fn worked_examples(request: &SynthesisRequest) -> &'static [WorkedExample] {
    if !request.has_references() {
        &FOR_REPLIES
    } else if request.has_long_references() {
        &FOR_TEXTS
    } else {
        &FOR_ANSWERS
    }
}

/// The worked examples of all kinds of tasks.
pub fn all_worked_examples() -> impl Iterator<Item = &'static WorkedExample> {
    FOR_ANSWERS.iter().chain(&FOR_TEXTS).chain(&FOR_REPLIES)
}

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

/// The system message of the requests for a verifier: what the function must do, and the worked examples.
pub fn system_message(request: &SynthesisRequest) -> String {
    let (reference, compares, best) = if request.has_references() {
        ("a reference, which is a good reply", "It compares them as texts", "1.0 for the reference itself, ")
    } else {
        ("a reference, which is empty here", "It measures the texts", "")
    };
    let mut text = format!(
        "You write small Python functions that grade replies of a language model. {DATA_INSTRUCTION} Answer with one fenced \
         ```python block and nothing else.\n\
         The function `compute_NAME(prompt, candidate_response, reference_response)` gets three strings: the prompt, the reply \
         and {reference}. {compares} and returns a float from 0.0 to 1.0, higher for better replies: {best}0.0 for an empty reply, a low score for a reply about something else. It cannot \
         run code and does not know the right answer. It works for any text, and uses no chance, clock, files or network.\n"
    );
    for rule in worked_examples(request) {
        let _ = write!(text, "\nExample. Rule `{}`: {}\n```python\n{}```\n", rule.name, rule.measures, rule.source);
    }
    text
}

/// The user message that asks for one draft of a verifier. `turn` is the number of programs that are known for the
/// task; it varies the building blocks that the message proposes.
pub fn user_message(
    request: &SynthesisRequest,
    spec: &VerifierSpec,
    blocks: &[MeasuredBlock],
    feedback: Option<&Feedback>,
    turn: usize,
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
    let reference = if spec.needs_reference && request.has_long_references() {
        " A good reply need not repeat the reference word by word: give partial credit for how much they share."
    } else if spec.needs_reference {
        ""
    } else {
        " `reference_response` may be empty: the function must not depend on it."
    };
    prompt.words(format!(
        "\nRule `{name}`: {measures}\nWrite `compute_{name}(prompt, candidate_response, reference_response)`.{reference}{proposal}\n",
        proposal = proposal(request, spec, blocks, turn),
        name = spec.name,
        measures = one_line(&spec.measures),
    ))
}

/// The sentence that proposes building blocks for a rule: the first that the rule's text names, if it names one. Where
/// references are texts, two that compare texts, because a composition of two is harder to cheat than one; `turn`
/// varies them.
fn proposal(request: &SynthesisRequest, spec: &VerifierSpec, blocks: &[MeasuredBlock], turn: usize) -> String {
    let text = format!("{} {}", spec.name, spec.measures);
    let named: Vec<&MeasuredBlock> = blocks.iter().filter(|m| text.contains(m.block.name)).collect();
    let comparing: Vec<&MeasuredBlock> = blocks.iter().filter(|m| m.auc.is_some()).collect();
    let call =
        |m: &MeasuredBlock| m.call.map_or_else(|| format!("`{}`", m.block.signature), |call| format!("`{call}`"));
    if !spec.needs_reference || !request.has_long_references() || comparing.is_empty() {
        return named.first().map_or(String::new(), |m| format!(" Use `{}`.", m.block.signature));
    }
    if let [only] = comparing[..] {
        return format!(" Use {}.", call(only));
    }
    let first = named.iter().find(|m| m.auc.is_some()).copied().unwrap_or(comparing[turn % comparing.len()]);
    let others: Vec<&&MeasuredBlock> = comparing.iter().filter(|m| m.block.name != first.block.name).collect();
    let second = others[turn % others.len()];
    format!(" Use {} and {}: the score is high only if both are.", call(first), call(second))
}

/// Adds to the prompt a good reply to the request's first example, with its working where a demonstration shows it, and a
/// bad one if one can be made; nothing if the example has neither a reference nor a demonstration.
fn known_replies(prompt: Prompt, request: &SynthesisRequest) -> Prompt {
    let Some(first) = request.examples.first() else { return prompt };
    let Some(good) = first.reference.as_ref().or(first.demonstration.as_ref()) else { return prompt };
    let worked = worked_demonstration(first);
    let good = if let Some(worked) = worked {
        worked.to_owned()
    } else if first.reference.is_none() {
        good.clone()
    } else if !request.has_long_references() {
        format!("So the answer is {good}.")
    } else {
        near_reference(first).unwrap_or_else(|| good.clone())
    };
    let all: Vec<&Example> = request.examples.to_vec();
    let bad = worked.and_then(|worked| with_wrong_answer(worked, first)).or_else(|| wrong_answer(first, &all));
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
