//! Reads the language model's choice of tools from a reply: a JSON object, the same as the arguments of a function call,
//! or plain words that name tools.

use rlar_net::llm::ChatReply;
use rlar_run::shortened;
use serde_json::{Map, Value};

use crate::agents::offered::OfferedTool;
use crate::agents::parse::{last_object, object};
use crate::agents::plain_text::{clip, one_line};
use crate::tool::composite::{CombineAs, WeightedTool};

/// Largest number of tools that the language model may choose for one prompt. The instruction of [`select`] names it.
///
/// [`select`]: crate::agents::select
pub(super) const MAX_TOOLS: usize = 4;

/// Largest number of characters that are kept of the reason for a choice.
const REASON_CHARS: usize = 600;

/// Weight of the tools that a reply in plain words names after the first one.
const FURTHER_WEIGHT: f64 = 0.5;

/// Words by which a sentence may say which tools not to choose. Words that end in `n't` count too.
const NEGATIONS: [&str; 9] = ["not", "never", "cannot", "avoid", "instead", "rather", "except", "neither", "nor"];

/// The content of a reply of the language model: the chosen tools, whether they suit the whole task, and the reason.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ParsedChoice {
    /// The chosen tools, with weights above 0 and at most 1; at least one of them is no constraint.
    pub(super) tools: Vec<WeightedTool>,
    /// Whether the model recommends the same tools for every prompt of the task.
    pub(super) for_whole_task: bool,
    /// The reason of the choice.
    pub(super) reason: String,
}

/// Reads a choice among the offered tools from a reply.
///
/// # Errors
///
/// When the reply chooses no offered tool, too many, constraints alone, tools that pay for perfect replies only although
/// another does better, or a tool with a weight that is not above 0. The message is for the language model.
pub(super) fn parse_choice(reply: &ChatReply, offered: &[OfferedTool]) -> Result<ParsedChoice, String> {
    match &reply.calls[..] {
        [] => parse_text(&reply.text, offered),
        // Servers take some JSON texts for function calls, under a name that the model made up.
        [call] => parse_arguments(&object(&call.arguments)?, offered),
        calls => Err(format!("it calls {} functions; one JSON object is wanted", calls.len())),
    }
}

/// Reads a choice from a text: a JSON object, by itself or as the `arguments` of a call, or plain words. A text with
/// JSON that cannot be read is not taken for plain words.
fn parse_text(text: &str, offered: &[OfferedTool]) -> Result<ParsedChoice, String> {
    let fields = match object(text) {
        Ok(fields) => fields,
        Err(_) if !text.contains('{') && !text.contains("```") => return parse_words(text, offered),
        Err(why) => last_object(text)
            .map(|found| found.fields)
            .ok_or_else(|| format!("it has no JSON object with `tools`: {why}"))?,
    };
    match fields.get("arguments") {
        Some(Value::Object(inner)) => parse_arguments(inner, offered),
        Some(Value::String(inner)) => parse_arguments(&object(inner)?, offered),
        _ => parse_arguments(&fields, offered),
    }
}

/// Reads a choice from the fields of the JSON object. Tools that were not offered, and those with the weight 0, are left
/// out; if no others are named, that is an error. The fields `reason` and `task_decides` may be missing.
fn parse_arguments(fields: &Map<String, Value>, offered: &[OfferedTool]) -> Result<ParsedChoice, String> {
    let list = fields.get("tools").and_then(Value::as_array).ok_or("`tools` must be a list")?;
    let (mut tools, mut unknown) = (Vec::new(), None);
    for entry in list {
        let name = entry.get("tool").and_then(Value::as_str).unwrap_or_default();
        if !offered.iter().any(|o| o.card.name == name) {
            unknown.get_or_insert(name);
            continue;
        }
        let weight = entry.get("weight").and_then(Value::as_f64);
        if weight == Some(0.0) {
            continue;
        }
        let weight = weight.filter(|w| *w > 0.0);
        add(&mut tools, name, weight.ok_or_else(|| format!("the weight of `{name}` must be above 0 and at most 1"))?);
    }
    if let (true, Some(name)) = (tools.is_empty(), unknown) {
        return Err(format!("{:?} is none of the tools: {}", clip(name, 80), names(offered)));
    }
    let reason = fields.get("reason").and_then(Value::as_str).map(one_line).filter(|r| !r.is_empty());
    Ok(ParsedChoice {
        tools: checked(tools, offered)?,
        for_whole_task: fields.get("task_decides").and_then(Value::as_bool) == Some(true),
        reason: reason.map_or("no reason given".into(), |reason| shortened(&reason, REASON_CHARS)),
    })
}

/// Reads a choice from plain words: the offered tools that they name, the first with the weight 1 and the others with
/// the weight 0.5.
fn parse_words(text: &str, offered: &[OfferedTool]) -> Result<ParsedChoice, String> {
    let mut named: Vec<(usize, &str)> =
        offered.iter().filter_map(|o| Some((place_of(text, &o.card.name)?, o.card.name.as_str()))).collect();
    named.sort_unstable();
    if named.is_empty() {
        return Err(format!("it has no JSON object, and it names none of the tools: {}", names(offered)));
    }
    let excludes = |sentence: &str| {
        named.iter().any(|(_, name)| place_of(sentence, name).is_some()) && sentence.split_whitespace().any(is_negation)
    };
    if text.split(['.', '!', '?', ';', '\n']).any(excludes) {
        return Err("it has no JSON object, and it names tools that it may not mean to choose".into());
    }
    let mut tools = Vec::new();
    for (i, (_, name)) in named.iter().enumerate() {
        add(&mut tools, name, if i == 0 { 1.0 } else { FURTHER_WEIGHT });
    }
    let said = text.split_once("task_decides").map_or("", |(_, after)| after);
    let said = said.trim_start_matches(|c: char| !c.is_alphanumeric());
    let said = said.strip_prefix("is ").unwrap_or(said).trim_start_matches(|c: char| !c.is_alphanumeric());
    Ok(ParsedChoice {
        tools: checked(tools, offered)?,
        for_whole_task: said.to_lowercase().starts_with("true"),
        reason: shortened(&one_line(text), REASON_CHARS),
    })
}

/// The byte offset at which a text first names a tool, not counting places where the name is a part of a longer one;
/// `None` if the text does not name the tool.
fn place_of(text: &str, name: &str) -> Option<usize> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let stands_alone = |at: &usize| !text[..*at].ends_with(is_part) && !text[at + name.len()..].starts_with(is_part);
    text.match_indices(name).map(|(at, _)| at).find(stands_alone)
}

fn is_negation(word: &str) -> bool {
    let word = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase().replace('’', "'");
    word.ends_with("n't") || NEGATIONS.contains(&word.as_str())
}

/// Adds a tool to a choice; the weights of a tool that is chosen twice are added up.
fn add(tools: &mut Vec<WeightedTool>, name: &str, weight: f64) {
    match tools.iter_mut().find(|t| t.tool == name) {
        Some(chosen) => chosen.weight += weight,
        None => tools.push(WeightedTool { tool: name.to_owned(), weight, combine: CombineAs::Term, least: None }),
    }
}

/// The chosen tools with weights of at most 1, after checking their number, roles and weights. Larger weights are
/// divided by the largest.
fn checked(mut tools: Vec<WeightedTool>, offered: &[OfferedTool]) -> Result<Vec<WeightedTool>, String> {
    if !(1..=MAX_TOOLS).contains(&tools.len()) {
        return Err(format!("it chooses {} tools; 1 to {MAX_TOOLS} are wanted", tools.len()));
    }
    let is_chosen = |o: &&OfferedTool| o.is_judge() && tools.iter().any(|t| t.tool == o.card.name);
    let mut judges = offered.iter().filter(is_chosen).peekable();
    let Some(judge) = judges.peek().copied() else {
        return Err(
            "constraints alone say nothing about whether a reply is good; choose another tool beside them".into()
        );
    };
    let graded: Vec<OfferedTool> = offered.iter().filter(|o| o.is_graded()).copied().collect();
    if judges.all(OfferedTool::is_perfect_only) && !graded.is_empty() {
        return Err(format!(
            "`{}` scores half-right replies like bad ones, so that only perfect replies are paid; choose a tool that tells \
             them apart: {}",
            judge.card.name,
            names(&graded)
        ));
    }
    let most = tools.iter().map(|t| t.weight).fold(1.0, f64::max);
    for tool in &mut tools {
        tool.weight /= most;
        if !(tool.weight > 0.0 && tool.weight <= 1.0) {
            return Err(format!("the weight of `{}` must be above 0 and at most 1", tool.tool));
        }
    }
    Ok(tools)
}

/// The names of the offered tools, for a message to the language model.
fn names(offered: &[OfferedTool]) -> String {
    offered.iter().map(|o| o.card.name.as_str()).collect::<Vec<_>>().join(", ")
}
