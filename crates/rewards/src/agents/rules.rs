//! The rules by which verifiers are to judge the replies to a task: the language model lists them, and rules that no
//! function could compute, or that fit only one of the prompts shown, are asked for again.

use std::collections::BTreeSet;

use rlar_data::Example;
use rlar_net::llm::ChatReply;
use serde_json::{Map, Value};

use crate::agents::client::{LlmClient, LlmFailure};
use crate::agents::fence::{clip, one_line};
use crate::agents::numbered::numbered_lines;
use crate::agents::parse::object;
use crate::agents::prompt::DATA_INSTRUCTION;
use crate::agents::request::LlmRequest;
use crate::agents::synthesise::{SynthesisRequest, VerifierSpec, shown_examples};
use crate::tool::card::ToolRole;

const TEMPLATE: &str = "synthesise-list-2";

/// Names that a new tool must not have: that of the folder of rejected tools, and those of columns in a run's records.
const RESERVED_NAMES: [&str; 3] = ["refused", "soft_overlong", "advantage"];

/// Number of rules that are wanted, and the largest number that is taken.
const WANTED: usize = 4;
const MAX_RULES: usize = 5;

/// Fewest rules with which the list is not asked for again.
const MIN_RULES: usize = 3;

/// Largest number of characters of a name, and of the statement of a rule.
const MAX_NAME_CHARS: usize = 32;
const MAX_STATEMENT_CHARS: usize = 400;

/// The rules of the example in the prompt. Small models copy them; a copy is asked for again.
const WORKED_LIST: [WorkedRule; 4] = [
    WorkedRule { name: "ingredients", measures: "the share of the ingredients of the reference that the reply names" },
    WorkedRule { name: "amounts", measures: "whether the amounts in the reply are those of the reference" },
    WorkedRule { name: "step_order", measures: "whether the steps of the reply come in the order of the reference" },
    WorkedRule { name: "concise", measures: "how close the length of the reply is to that of the reference" },
];

/// A rule of the example in the prompt.
struct WorkedRule {
    name: &'static str,
    measures: &'static str,
}

/// Words of a statement about the grading function instead of the reply.
const ABOUT_THE_GRADER: [&str; 5] = ["function", "grader", "verifier", "deterministic", "grading"];

/// Words that make no name.
const NAME_FILLERS: [&str; 34] = [
    "the", "a", "an", "is", "are", "of", "to", "and", "or", "in", "on", "that", "reply", "response", "reference", "it", "with",
    "as", "by", "for", "whether", "how", "must", "should", "be", "has", "have", "its", "from", "s", "candidate", "contains",
    "at", "same",
];

/// Lets the language model list the rules for a task, with names that no existing tool has. The list is asked for a
/// second time when fewer than three of its rules can be used.
///
/// # Errors
///
/// When the language model gives no usable reply.
pub fn propose_verifiers(client: &LlmClient, request: &SynthesisRequest) -> Result<Vec<VerifierSpec>, LlmFailure> {
    let first = llm_request(request);
    let reply = client.complete(first.clone(), |reply| parse_rules(reply, request))?;
    let ParsedRules { specs, unusable } = reply.value;
    if specs.len() >= MIN_RULES {
        return Ok(specs);
    }
    let complaint: String = unusable.iter().map(|rule| format!("- {}: {}\n", rule.why, one_line(&rule.statement))).collect();
    let user = first.user.clone().words(format!("\nAt least {MIN_RULES} rules are wanted."));
    let user = if complaint.is_empty() { user } else { user.words(" None may be like these:\n").data("rules", complaint) };
    let again = LlmRequest { attempt: reply.attempts, temperature: 0.7, user, ..first };
    let more = client.complete(again, |reply| parse_rules(reply, request));
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

fn llm_request(request: &SynthesisRequest) -> LlmRequest {
    let worked = WORKED_LIST.iter().enumerate().map(|(i, rule)| format!("{}. {}: {}\n", i + 1, rule.name, rule.measures));
    let system = format!(
        "You design rules by which a short Python function grades replies of a language model. {DATA_INSTRUCTION} Reply with a \
         numbered list of {WANTED} different rules, from the most to the least important, one line each, and nothing else. A \
         line is a name in snake_case, a colon and what the rule measures. A rule must hold for every prompt of the task, not \
         only for those shown, and be computable from the texts of prompt, reply and reference.\n\
         Example. Task: recipes. Prompt: How do I make pancakes for two? Reference: Mix 100 g of flour with two eggs, …\n{}",
        worked.collect::<String>()
    );
    let mut user = shown_examples(request, 2).words(format!("The task is: {}.\n", request.task));
    if !request.steps.is_empty() {
        let steps: String = request.steps.iter().map(|s| format!("- {}\n", one_line(s))).collect();
        user = user.words("A good reply does the following; write a rule for each:\n").data("steps", steps);
    }
    let user = user.words(format!("List {WANTED} rules for the task, each as `name: what it measures`."));
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

/// The rules of a reply: those that can be used, and the others with the reason.
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
    /// `None` where the model did not say.
    role: Option<ToolRole>,
    needs_reference: Option<bool>,
}

fn parse_rules(reply: &ChatReply, request: &SynthesisRequest) -> Result<ParsedRules, String> {
    let written = match object(&reply.text) {
        Ok(fields) => json_rules(&fields)?,
        Err(_) => numbered_lines(&reply.text).iter().map(|line| line_rule(line)).collect(),
    };
    if written.is_empty() {
        return Err(format!("it has no numbered list of rules; {WANTED} lines such as `1. name: what it measures` are wanted"));
    }
    let mut rules = ParsedRules { specs: Vec::new(), unusable: Vec::new() };
    let mut written_so_far: BTreeSet<(String, String)> = BTreeSet::new();
    for rule in written.into_iter().take(MAX_RULES) {
        let WrittenRule { name, statement, role, needs_reference } = rule;
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

/// Why no verifier can be written for a rule; `None` when one can.
fn problem(statement: &str, request: &SynthesisRequest) -> Option<&'static str> {
    let lower = statement.to_lowercase();
    if statement.split_whitespace().count() < 3 {
        return Some("it does not say what it measures");
    }
    if ABOUT_THE_GRADER.iter().any(|word| lower.split(|c: char| !c.is_alphanumeric()).any(|w| w == *word))
        && !lower.contains("code")
        && request.task != "code"
    {
        return Some("it is about the grading, not about the reply");
    }
    if WORKED_LIST.iter().any(|rule| words(rule.measures) == words(statement)) {
        return Some("it is copied from the example");
    }
    is_specific(statement, request.examples).then_some("it fits only one prompt")
}

/// Whether a statement speaks of one of the shown examples alone: it has two words or numbers of this example that no
/// other example has, or a number of it.
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
    let rare: Vec<&String> = said.iter().filter(|w| w.chars().count() > 3 || is_number(w)).filter(of_shown).filter(is_rare).collect();
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
    let text = |rule: &Value, field: &str| rule.get(field).and_then(Value::as_str).unwrap_or_default().trim().to_owned();
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

/// A name in `snake_case`, from the name that the model gave, or else from the first telling words of the statement.
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

/// A name that no tool and no other rule has: the name itself, or the name with the task's or a number behind it.
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
