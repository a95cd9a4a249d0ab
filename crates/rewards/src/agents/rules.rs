//! The rules by which verifiers are to judge the replies to a task: the language model lists them, and rules that no
//! function could compute, or that fit only one of the prompts shown, are asked for again.

use std::collections::BTreeSet;

use rlar_data::Example;
use rlar_net::llm::ChatReply;
use serde_json::{Map, Value};

use crate::agents::block_evidence::MeasuredBlock;
use crate::agents::client::{LlmClient, LlmFailure};
use crate::agents::numbered::numbered_lines;
use crate::agents::parse::object;
use crate::agents::plain_text::{clip, one_line};
use crate::agents::prompt::{DATA_INSTRUCTION, Prompt};
use crate::agents::request::LlmRequest;
use crate::agents::synthesise::{SynthesisRequest, VerifierSpec, shown_examples};
use crate::agents::write_prompt::{all_worked_examples, worked_examples};
use crate::tool::card::ToolRole;

const TEMPLATE: &str = "synthesise-list-2";

/// Names that a new tool must not have: that of the folder of rejected tools, and those of columns in a run's records.
const RESERVED_NAMES: [&str; 3] = ["refused", "soft_overlong", "advantage"];

/// Number of rules that the language model is asked to list for a task.
const WANTED: usize = 4;
/// Largest number of rules that are taken from the language model's lists for a task.
const MAX_RULES: usize = 5;

/// Fewest usable rules in a list. If a list has fewer, the language model is asked a second time.
const MIN_RULES: usize = 3;

/// Largest number of characters of a rule's name.
const MAX_NAME_CHARS: usize = 32;
/// Largest number of characters of the statement of a rule.
const MAX_STATEMENT_CHARS: usize = 400;

/// The parts of short answers that a function can compare, as the prompt to the language model lists them.
const COMPARABLE: &str = "the last number, the only number, all numbers, the last line, the words";

/// What functions can measure of replies without references, in the words of the prompt.
const MEASURABLE_OF_TEXTS: &str = "the words that prompt and reply share, the number of words, the number of sentences, \
                                   whether words repeat, how the reply begins or ends";

/// What functions can measure of programs without references, in the words of the prompt.
const MEASURABLE_OF_CODE: &str = "the numbers that prompt and reply share, whether the code can be parsed, the functions \
                                  that it defines, whether it has text besides the code, whether a word such as `return` \
                                  occurs";

/// Fewest words of the statement of a rule.
const MIN_STATEMENT_WORDS: usize = 4;

/// Words that show that a rule is about the grading function instead of the reply.
const ABOUT_THE_GRADER: [&str; 5] = ["function", "grader", "verifier", "deterministic", "grading"];

/// Words that are left out when the name of a rule is made from its statement.
const NAME_FILLERS: [&str; 34] = [
    "the",
    "a",
    "an",
    "is",
    "are",
    "of",
    "to",
    "and",
    "or",
    "in",
    "on",
    "that",
    "reply",
    "response",
    "reference",
    "it",
    "with",
    "as",
    "by",
    "for",
    "whether",
    "how",
    "must",
    "should",
    "be",
    "has",
    "have",
    "its",
    "from",
    "s",
    "candidate",
    "contains",
    "at",
    "same",
];

/// Lets the language model list the rules for a task, with names that no existing tool has. The list is asked for a
/// second time when fewer than three of its rules can be used. Where references are texts or programs that only one or two
/// building blocks compare, these are the rules, and nothing is asked.
///
/// # Errors
///
/// When the language model gives no usable reply.
pub fn propose_verifiers(
    client: &LlmClient,
    request: &SynthesisRequest,
    blocks: &[MeasuredBlock],
) -> Result<Vec<VerifierSpec>, LlmFailure> {
    let comparing: Vec<&MeasuredBlock> = blocks.iter().filter(|measured| measured.auc.is_some()).collect();
    if request.has_long_references() && (1..MIN_RULES).contains(&comparing.len()) {
        return Ok(comparing.iter().map(|measured| rule_of(measured, request)).collect());
    }
    let first = llm_request(request, blocks);
    let reply = client.complete(first.clone(), |reply| parse_rules(reply, request, blocks))?;
    let ParsedRules { specs, unusable } = reply.value;
    if specs.len() >= MIN_RULES {
        return Ok(specs);
    }
    let complaint = unusable
        .iter()
        .map(|rule| format!("- {}: {}\n", rule.why, one_line(&rule.statement)))
        .collect::<Vec<_>>()
        .concat();
    let user = first.user.clone().words(format!("\nAt least {MIN_RULES} rules are wanted."));
    let user =
        if complaint.is_empty() { user } else { user.words(" None may be like these:\n").data("rules", complaint) };
    let again = LlmRequest { attempt: reply.attempts, temperature: 0.7, user, ..first };
    let more = client.complete(again, |reply| parse_rules(reply, request, blocks));
    let mut all = specs;
    for mut spec in more.as_ref().map_or(&[][..], |more| &more.value.specs).iter().cloned() {
        if all.iter().all(|s| (&s.name, &s.measures) != (&spec.name, &spec.measures)) {
            spec.name = free_name(&spec.name, request, &all);
            all.push(spec);
        }
    }
    all.truncate(MAX_RULES);
    match more {
        _ if !all.is_empty() => Ok(all),
        Err(why) => Err(why),
        Ok(_) => Err(LlmFailure::Unusable("none of its rules can be used".into())),
    }
}

/// The rule that a building block which compares texts is.
fn rule_of(measured: &MeasuredBlock, request: &SynthesisRequest) -> VerifierSpec {
    VerifierSpec {
        name: free_name(measured.block.name, request, &[]),
        measures: measured.block.summary.to_owned(),
        role: ToolRole::Correctness,
        needs_reference: true,
    }
}

fn llm_request(request: &SynthesisRequest, blocks: &[MeasuredBlock]) -> LlmRequest {
    let worked = worked_examples(request).iter().enumerate();
    let worked: Vec<String> =
        worked.map(|(i, rule)| format!("{}. {}: {}\n", i + 1, rule.name, rule.measures)).collect();
    let worked = worked.concat();
    let (form, other) = if request.has_long_references() {
        ("what is compared, and in brackets one function for it", "Example for another task")
    } else {
        ("what is compared", "Example for another task, colours of things")
    };
    let texts = if request.has_references() {
        "prompt, reply and reference; the reference is a good reply"
    } else {
        "prompt and reply"
    };
    let system = format!(
        "You design rules by which a short Python function grades the reply of a language model to a prompt. {DATA_INSTRUCTION} \
         The function gets the texts of {texts}. It compares texts. It cannot run code, ask anybody or look anything up.\n\
         Answer with a numbered list of {WANTED} rules and nothing else. Each line is a name in snake_case, a colon, {form}. A \
         rule holds for every prompt of the task.\n\n{other}:\n{worked}"
    );
    let mut user =
        Prompt::default().words(format!("The task is: {}.\n", request.task)).append(shown_examples(request, 2));
    if !request.steps.is_empty() {
        let steps: Vec<String> = request.steps.iter().map(|s| format!("- {}\n", one_line(s))).collect();
        user = user.words("A good reply does the following:\n").data("steps", steps.concat());
    }
    let compared: Vec<String> = blocks
        .iter()
        .filter(|measured| measured.auc.is_some())
        .map(|measured| format!("- {}: {}\n", measured.block.signature, measured.block.summary))
        .collect();
    let user = if !request.has_references() {
        let measurable = if request.task == "code" { MEASURABLE_OF_CODE } else { MEASURABLE_OF_TEXTS };
        user.words(format!("There are no references. What of prompt and reply can be measured: {measurable}.\n"))
    } else if request.has_long_references() && !compared.is_empty() {
        user.words(format!("Functions that compare two texts, the best first:\n{}", compared.concat()))
            .words("Each rule is about another of these functions.\n")
    } else {
        user.words(format!("What of reply and reference can be compared: {COMPARABLE}.\n"))
    };
    let user = user.words(format!("List {WANTED} rules for the task {}. Each is about something else.", request.task));
    LlmRequest {
        role: "synthesise",
        template: TEMPLATE,
        task: request.task.to_owned(),
        system,
        user,
        max_tokens: 500,
        ..LlmRequest::default()
    }
}

/// The rules that a reply lists: those that a verifier can be written for, and the unusable ones, each with the reason.
struct ParsedRules {
    specs: Vec<VerifierSpec>,
    unusable: Vec<UnusableRule>,
}

struct UnusableRule {
    statement: String,
    why: &'static str,
}

/// A rule as the model wrote it.
struct WrittenRule {
    name: String,
    statement: String,
    /// What the rule's score means; `None` where the model did not say.
    role: Option<ToolRole>,
    needs_reference: Option<bool>,
}

fn parse_rules(reply: &ChatReply, request: &SynthesisRequest, blocks: &[MeasuredBlock]) -> Result<ParsedRules, String> {
    let written = match object(&reply.text) {
        Ok(fields) => json_rules(&fields)?,
        Err(_) => numbered_lines(&reply.text).iter().map(|line| line_rule(line)).collect(),
    };
    if written.is_empty() {
        return Err(format!(
            "it has no numbered list of rules; {WANTED} lines such as `1. name: what it measures` are wanted"
        ));
    }
    let mut rules = ParsedRules { specs: Vec::new(), unusable: Vec::new() };
    let mut written_so_far: BTreeSet<(String, String)> = BTreeSet::new();
    for rule in written.into_iter().take(MAX_RULES) {
        let WrittenRule { name, statement, role, needs_reference } = rule;
        let is_repeated = written_so_far.iter().any(|(_, earlier)| *earlier == statement);
        let statement = match blocks.iter().find(|measured| measured.block.name == name) {
            // A small model may name a building block and copy what stands beside it from another rule.
            Some(measured) if is_repeated || is_copied(&statement) => measured.block.summary.to_owned(),
            _ => statement,
        };
        match problem(&statement, request) {
            Some(why) => rules.unusable.push(UnusableRule { statement, why }),
            None if written_so_far.contains(&(name.clone(), statement.clone())) => {}
            None => {
                written_so_far.insert((name.clone(), statement.clone()));
                let name = free_name(&snake_case(&name, &statement), request, &rules.specs);
                rules.specs.push(VerifierSpec {
                    name,
                    measures: clip(&one_line(&statement), MAX_STATEMENT_CHARS),
                    role: role.unwrap_or(ToolRole::Correctness),
                    needs_reference: needs_reference.unwrap_or_else(|| request.has_references()),
                });
            }
        }
    }
    Ok(rules)
}

/// Whether a statement is that of one of the worked examples in the prompt.
fn is_copied(statement: &str) -> bool {
    all_worked_examples().any(|rule| words(rule.measures) == words(statement))
}

/// Why no verifier can be written for a rule; `None` when one can.
fn problem(statement: &str, request: &SynthesisRequest) -> Option<&'static str> {
    let lower = statement.to_lowercase();
    if statement.split_whitespace().count() < MIN_STATEMENT_WORDS {
        return Some("it does not say what it measures");
    }
    if ABOUT_THE_GRADER.iter().any(|word| lower.split(|c: char| !c.is_alphanumeric()).any(|w| w == *word))
        && !lower.contains("code")
        && request.task != "code"
    {
        return Some("it is about the grading, not about the reply");
    }
    if is_copied(statement) {
        return Some("it is copied from the example");
    }
    is_specific(statement, request.examples).then_some("it fits only one prompt")
}

/// Whether a rule's statement fits only the two examples that the model is shown: it has more than two words or
/// numbers, or a number of several digits, that occur in one of these examples and in no other. False for fewer than
/// four examples.
fn is_specific(statement: &str, examples: &[&Example]) -> bool {
    let said = words(statement);
    let texts: Vec<BTreeSet<String>> = examples
        .iter()
        .take(12)
        .map(|e| words(e.prompt()).into_iter().chain(words(e.reference.as_deref().unwrap_or_default())).collect())
        .collect();
    // With fewer examples a common word cannot be told from one that only a single prompt has.
    if texts.len() < 4 {
        return false;
    }
    let is_rare = |word: &&String| texts.iter().filter(|text| text.contains(*word)).count() == 1;
    let of_shown = |word: &&String| texts.iter().take(2).any(|text| text.contains(*word));
    let rare: Vec<&String> =
        said.iter().filter(|w| w.chars().count() > 3 || is_number(w)).filter(of_shown).filter(is_rare).collect();
    rare.len() > 2 || rare.iter().any(|w| is_number(w) && w.len() > 1)
}

fn is_number(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_digit())
}

fn words(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty());
    words.map(str::to_lowercase).collect()
}

/// The rules of a JSON object with a list `rules` of objects with `name`, `measures`, `role` and `needs_reference`.
fn json_rules(fields: &Map<String, Value>) -> Result<Vec<WrittenRule>, String> {
    let rules = fields.get("rules").and_then(Value::as_array).ok_or("`rules` must be a list")?;
    let text =
        |rule: &Value, field: &str| rule.get(field).and_then(Value::as_str).unwrap_or_default().trim().to_owned();
    let written = |rule: &Value| WrittenRule {
        name: text(rule, "name"),
        statement: text(rule, "measures"),
        role: rule.get("role").and_then(|role| serde_json::from_value(role.clone()).ok()),
        needs_reference: rule.get("needs_reference").and_then(Value::as_bool),
    };
    Ok(rules.iter().map(written).collect())
}

/// The rule of a line such as `final_name: whether the last words …`. A line without a name is a statement.
fn line_rule(line: &str) -> WrittenRule {
    let plain = line.replace(['`', '*'], "");
    let split = plain.split_once(':').or_else(|| plain.split_once(" - "));
    let is_name = |name: &str| !name.trim().is_empty() && name.split_whitespace().count() <= 4;
    let (name, statement) = match split {
        Some((name, statement)) if is_name(name) && !statement.trim().is_empty() => (name.trim(), statement.trim()),
        _ => ("", plain.trim()),
    };
    WrittenRule { name: name.to_owned(), statement: statement.to_owned(), role: None, needs_reference: None }
}

/// A name in `snake_case`: from the name that the model gave, or else from the first three words of the statement that
/// say something.
fn snake_case(name: &str, statement: &str) -> String {
    let parts = |text: &str| -> Vec<String> {
        let ascii = text.to_lowercase();
        let words = ascii.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty());
        words.map(str::to_owned).collect()
    };
    let given = parts(name);
    let words = if given.is_empty() {
        parts(statement).into_iter().filter(|w| !NAME_FILLERS.contains(&w.as_str())).take(3).collect()
    } else {
        given
    };
    let joined = words.join("_");
    let joined = joined.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    let cut: String = joined.chars().take(MAX_NAME_CHARS).collect();
    let cut = cut.trim_matches('_');
    if cut.is_empty() { "rule".to_owned() } else { cut.to_owned() }
}

/// A name that no tool and no other rule has: `name` itself, or `name` followed by the task's name or by a number.
fn free_name(name: &str, request: &SynthesisRequest, specs: &[VerifierSpec]) -> String {
    let is_taken = |name: &str| {
        RESERVED_NAMES.contains(&name)
            || request.known.iter().any(|tool| tool == name)
            || specs.iter().any(|spec| spec.name == name)
    };
    let task = snake_case(request.task, "task");
    let candidates = std::iter::once(name.to_owned()).chain(std::iter::once(format!("{name}_{task}")));
    let numbered = (2..).map(|i| format!("{name}_{i}"));
    candidates.chain(numbered).find(|candidate| !is_taken(candidate)).unwrap_or_else(|| name.to_owned())
}
