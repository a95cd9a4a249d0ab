//! From rows to prompts.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use rlar_data::{Example, Message, Role};
use serde_json::{Map, Value};

use super::spec::Suite;
use super::template::Templates;
use crate::EvalError;
use crate::prompt::PromptFormat;
use crate::rows::{Row, rows, text};

/// The most that a compressed file may unpack to.
const LARGEST: u64 = 4 << 30;

/// One prompt of a suite.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// What is asked, with the row's columns for the tools.
    pub example: Example,
    /// Every good reply, the example's reference first.
    pub references: Vec<String>,
    /// What figures are told apart by.
    pub group: Option<String>,
}

/// Gives the path (for messages) and the bytes of a file that a suite names.
pub type Find<'f> = dyn Fn(&str) -> Result<(PathBuf, Vec<u8>), EvalError> + 'f;

/// The prompts of a suite, in the order of its rows; at most `limit`.
pub fn tasks(suite: &Suite, find: &Find, limit: Option<usize>) -> Result<Vec<Task>, EvalError> {
    let templates = compiled(suite)?;
    let shots = shots(suite, &templates, find)?;
    let mut tasks = Vec::new();
    let mut seen = BTreeSet::new();
    for (number, row) in read(suite, find)?.into_iter().enumerate() {
        if limit.is_some_and(|limit| tasks.len() >= limit) {
            break;
        }
        let say = |name: &str| templates.render(name, row.columns()).map_err(|e| row.wrong(e));
        if suite.only.is_some() && !say("only")?.trim().eq_ignore_ascii_case("true") {
            continue;
        }
        let id = match (&suite.id, row.has("id")) {
            (Some(_), _) => say("id")?,
            (None, true) => row.text("id")?,
            (None, false) => number.to_string(),
        };
        if !seen.insert(id.clone()) {
            return Err(row.wrong(format!("id `{id}` occurs twice")));
        }
        let mut messages = Vec::new();
        if suite.system.is_some() {
            messages.push(Message { role: Role::System, content: say("system")? });
        }
        messages.extend(shots.iter().cloned());
        messages.push(Message { role: Role::User, content: say("prompt")? });
        if messages.last().is_none_or(|m| m.content.trim().is_empty()) {
            return Err(row.wrong("the prompt is empty"));
        }
        let reference = suite.reference.is_some().then(|| say("reference")).transpose()?;
        let further = (0..suite.further_references.len()).map(|i| say(&further(i)));
        let references = reference.iter().cloned().map(Ok).chain(further).collect::<Result<_, EvalError>>()?;
        let group = suite.group.is_some().then(|| say("group")).transpose()?;
        let mut columns = row.columns().clone();
        // These have their own places in an example.
        for name in ["id", "messages", "reference", "domain", "demonstration"] {
            columns.shift_remove(name);
        }
        let example = Example { id, messages, reference, domain: Some(domain(suite)), demonstration: None, columns };
        tasks.push(Task { example, references, group });
    }
    if tasks.is_empty() {
        return Err(EvalError::Mismatch(format!("suite `{}` has no rows that are used", suite.name)));
    }
    Ok(tasks)
}

/// The domain of a suite's examples: its tools are given to it.
pub fn domain(suite: &Suite) -> String {
    format!("suite {}", suite.name)
}

fn further(i: usize) -> String {
    format!("further_references[{i}]")
}

fn compiled(suite: &Suite) -> Result<Templates<'_>, EvalError> {
    let optional = [
        ("only", &suite.only),
        ("id", &suite.id),
        ("group", &suite.group),
        ("system", &suite.system),
        ("reference", &suite.reference),
    ];
    let optional = optional.into_iter().filter_map(|(key, t)| Some((key.to_owned(), t.as_deref()?)));
    let further = suite.further_references.iter().enumerate().map(|(i, t)| (further(i), t.as_str()));
    let shots = suite.few_shot.iter().map(|shots| ("few_shot.reply".to_owned(), shots.reply.as_str()));
    let all = optional.chain(further).chain(shots).chain([("prompt".to_owned(), suite.prompt.as_str())]);
    Templates::new(all).map_err(|(key, why)| EvalError::Mismatch(format!("suite `{}`, `{key}`: {why}", suite.name)))
}

/// The messages of the examples that stand before the question.
fn shots(suite: &Suite, templates: &Templates, find: &Find) -> Result<Vec<Message>, EvalError> {
    let Some(few) = &suite.few_shot else { return Ok(Vec::new()) };
    let given: Vec<Map<String, Value>> = match &few.data {
        Some(name) => {
            let all = rows_of(find, name)?;
            if all.len() < few.count {
                let message = format!("{name} holds {} rows and `few_shot.count` is {}", all.len(), few.count);
                return Err(EvalError::Mismatch(message));
            }
            all.into_iter().take(few.count).map(|row| row.columns().clone()).collect()
        }
        None => few.rows.clone(),
    };
    let mut messages = Vec::new();
    for (i, row) in given.iter().enumerate() {
        let say = |name: &str| {
            let wrong =
                |e| EvalError::Mismatch(format!("suite `{}`, example {} of `few_shot`: {e}", suite.name, i + 1));
            templates.render(name, row).map_err(wrong)
        };
        let gap = if suite.format == PromptFormat::Plain { "\n\n" } else { "" };
        messages.push(Message { role: Role::User, content: say("prompt")? });
        messages.push(Message { role: Role::Assistant, content: say("few_shot.reply")? + gap });
    }
    Ok(messages)
}

fn read(suite: &Suite, find: &Find) -> Result<Vec<Row>, EvalError> {
    if let Some(name) = &suite.data {
        return rows_of(find, name);
    }
    let mut table: Vec<Map<String, Value>> = Vec::new();
    let mut first: Option<PathBuf> = None;
    for (column, name) in &suite.lines {
        let (path, bytes) = find(name)?;
        let bytes = unpacked(&path, bytes)?;
        let lines: Vec<&str> = text(&path, &bytes)?.lines().collect();
        if let Some(first) = &first
            && lines.len() != table.len()
        {
            let message = format!(
                "{} lines beside {} of {}; they belong together line by line",
                lines.len(),
                table.len(),
                first.display()
            );
            return Err(EvalError::File { path, message });
        }
        table.resize(lines.len(), Map::new());
        for (row, line) in table.iter_mut().zip(lines) {
            row.insert(column.clone(), line.into());
        }
        first.get_or_insert(path);
    }
    let path = first.unwrap_or_default();
    Ok(table.into_iter().enumerate().map(|(i, columns)| Row::new(&path, i + 1, columns)).collect())
}

fn rows_of(find: &Find, name: &str) -> Result<Vec<Row>, EvalError> {
    let (path, bytes) = find(name)?;
    rows(&path, &unpacked(&path, bytes)?)
}

/// A file without its compression.
pub fn unpacked(path: &Path, bytes: Vec<u8>) -> Result<Vec<u8>, EvalError> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    let mut out = Vec::new();
    let read = MultiGzDecoder::new(&bytes[..]).take(LARGEST).read_to_end(&mut out);
    let wrong = |message: String| EvalError::File { path: path.to_owned(), message };
    read.map_err(|e| wrong(format!("cannot be unpacked: {e}; fetch it again")))?;
    if out.len() as u64 == LARGEST {
        return Err(wrong(format!("unpacks to more than {LARGEST} bytes")));
    }
    Ok(out)
}
