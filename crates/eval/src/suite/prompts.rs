//! Builds a suite's prompts from the rows of its data.

use std::collections::BTreeSet;

use rlar_data::{DataFile, DataFiles, Example, Message, Role, Templates};
use serde_json::{Map, Value};

use super::spec::Suite;
use crate::EvalError;
use crate::prompt_encoding::PromptFormat;
use crate::rows::Row;

/// One prompt of a suite.
#[derive(Clone, Debug, PartialEq)]
pub struct SuitePrompt {
    /// The prompt's messages and the first reference. It also holds the columns of the data's row, which tools may
    /// read.
    pub example: Example,
    /// All references of the prompt, with which metrics such as BLEU compare a reply; the first is also the reference
    /// of `example`. Empty where the suite has no references.
    pub references: Vec<String>,
    /// The group in which the prompt's results are also reported, such as a subject; `None` where the suite has no
    /// `group`.
    pub group: Option<String>,
}

/// A function from a name of data files in a suite, such as a path or a pattern, to the files that it stands for. It
/// fails rather than return no file.
pub type FindFiles<'f> = dyn Fn(&str) -> Result<Vec<DataFile>, EvalError> + 'f;

/// Builds the prompts of a suite in the order of the data's rows. `limit` is the maximum number of prompts, counted
/// from the beginning; `None` builds all.
pub fn build_prompts(suite: &Suite, find: &FindFiles, limit: Option<usize>) -> Result<Vec<SuitePrompt>, EvalError> {
    let templates = compile(suite)?;
    let shots = few_shot_messages(suite, &templates, find)?;
    let mut prompts = Vec::new();
    let mut ids = BTreeSet::new();
    for (number, row) in read_data(suite, find)?.into_iter().enumerate() {
        if limit.is_some_and(|limit| prompts.len() >= limit) {
            break;
        }
        let render = |name: &str| templates.render(name, row.columns()).map_err(|e| row.wrong(e));
        if suite.only.is_some() && !render("only")?.trim().eq_ignore_ascii_case("true") {
            continue;
        }
        let id = match (&suite.id, row.has("id")) {
            (Some(_), _) => render("id")?,
            (None, true) => row.text("id")?,
            (None, false) => number.to_string(),
        };
        if !ids.insert(id.clone()) {
            return Err(row.wrong(format!("id `{id}` occurs twice")));
        }
        let mut messages = Vec::new();
        if suite.system.is_some() {
            messages.push(Message::new(Role::System, render("system")?));
        }
        messages.extend(shots.iter().cloned());
        messages.push(Message::new(Role::User, render("prompt")?));
        if messages.last().is_none_or(|m| m.content.trim().is_empty()) {
            return Err(row.wrong("the prompt is empty"));
        }
        let reference = suite.reference.is_some().then(|| render("reference")).transpose()?;
        let further = (0..suite.further_references.len()).map(|i| render(&further_reference(i)));
        let references = reference.iter().cloned().map(Ok).chain(further).collect::<Result<_, EvalError>>()?;
        let group = suite.group.is_some().then(|| render("group")).transpose()?;
        let mut columns = row.columns().clone();
        // An `Example` has fields of its own for these columns.
        for name in ["id", "messages", "reference", "domain", "demonstration"] {
            columns.shift_remove(name);
        }
        let example = Example { messages, reference, domain: Some(domain(suite)), columns, ..Example::new(id, "") };
        prompts.push(SuitePrompt { example, references, group });
    }
    if prompts.is_empty() {
        return Err(EvalError::Mismatch(format!("suite `{}` has no rows that are used", suite.name)));
    }
    Ok(prompts)
}

/// The domain of a suite's examples. Tools are assigned to examples by their domain.
pub fn domain(suite: &Suite) -> String {
    format!("suite {}", suite.name)
}

/// The name under which the template of the further reference with index `i` is compiled.
fn further_reference(i: usize) -> String {
    format!("further_references[{i}]")
}

fn compile(suite: &Suite) -> Result<Templates<'_>, EvalError> {
    let optional = [
        ("only", &suite.only),
        ("id", &suite.id),
        ("group", &suite.group),
        ("system", &suite.system),
        ("reference", &suite.reference),
    ];
    let optional = optional.into_iter().filter_map(|(key, t)| Some((key.to_owned(), t.as_deref()?)));
    let further = suite.further_references.iter().enumerate().map(|(i, t)| (further_reference(i), t.as_str()));
    let shots = suite.few_shot.iter().map(|shots| ("few_shot.reply".to_owned(), shots.reply.as_str()));
    let all = optional.chain(further).chain(shots).chain([("prompt".to_owned(), suite.prompt.as_str())]);
    Templates::new(all).map_err(|e| EvalError::Mismatch(format!("suite `{}`, `{}`: {}", suite.name, e.name, e.reason)))
}

/// The user and assistant messages of the few-shot examples, which come before each prompt; empty where there are none.
fn few_shot_messages(suite: &Suite, templates: &Templates, find: &FindFiles) -> Result<Vec<Message>, EvalError> {
    let Some(few_shot) = &suite.few_shot else { return Ok(Vec::new()) };
    let examples: Vec<Map<String, Value>> = match &few_shot.data {
        Some(files) => {
            let all = read_rows(find, files)?;
            if all.len() < few_shot.count {
                let message = format!("{files} holds {} rows, but `few_shot.count` is {}", all.len(), few_shot.count);
                return Err(EvalError::Mismatch(message));
            }
            all.into_iter().take(few_shot.count).map(|row| row.columns().clone()).collect()
        }
        None => few_shot.rows.clone(),
    };
    let mut messages = Vec::new();
    for (i, row) in examples.iter().enumerate() {
        let render = |name: &str| {
            let wrong =
                |e| EvalError::Mismatch(format!("suite `{}`, example {} of `few_shot`: {e}", suite.name, i + 1));
            templates.render(name, row).map_err(wrong)
        };
        let separator = if suite.format == PromptFormat::Plain { "\n\n" } else { "" };
        messages.push(Message::new(Role::User, render("prompt")?));
        messages.push(Message::new(Role::Assistant, render("few_shot.reply")? + separator));
    }
    Ok(messages)
}

/// The rows of the suite's data: those of the files `data`, or rows whose columns are the text files of `lines`, where
/// line i of each file belongs to row i.
fn read_data(suite: &Suite, find: &FindFiles) -> Result<Vec<Row>, EvalError> {
    match &suite.data {
        Some(files) => read_rows(find, files),
        None => read_rows(find, &DataFiles::Columns(suite.lines.clone())),
    }
}

fn read_rows(find: &FindFiles, files: &DataFiles) -> Result<Vec<Row>, EvalError> {
    Ok(files.rows(find)?.into_iter().map(Row::from).collect())
}
