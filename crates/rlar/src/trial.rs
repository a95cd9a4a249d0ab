//! `rlar rewards test`: tries a tool on replies and shows what it gives.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rlar_data::{Completion, Example, Needs, examples, read_rows};
use rlar_rewards::{Orchestrator, Outcome};
use serde_json::{Value, json};

use crate::error::BadRequestExt;
use crate::output::{print, print_notes};

/// A row to try a tool on.
pub struct TriedRow {
    /// The row's id in the output; `None` for the reply of the command line.
    pub id: Option<String>,
    /// The row's prompt and columns.
    pub example: Example,
    /// The replies to score, as one group.
    pub replies: Vec<Completion>,
    /// The column whose text is scored because the row has no reply: `demonstration` or `reference`. `None` for a row
    /// with replies of its own.
    pub stand_in: Option<&'static str>,
}

/// Makes a data row of the values on the command line. A prompt that is a JSON list is a conversation.
pub fn row(prompt: &str, reference: Option<&str>, columns: &[String]) -> Result<Value> {
    let messages = serde_json::from_str(prompt).ok().filter(Value::is_array);
    let prompt = messages.unwrap_or_else(|| prompt.into());
    let mut row = json!({ "prompt": prompt, "reference": reference });
    for column in columns {
        let NamedValue { name, value } = NamedValue::parse("--column", column)?;
        row[name] = value;
    }
    Ok(row)
}

/// A name with its value, as an option of the command line gives them.
pub struct NamedValue<'t> {
    pub name: &'t str,
    /// What the text is as JSON, or else the text itself.
    pub value: Value,
}

impl<'t> NamedValue<'t> {
    /// Reads the text `NAME=VALUE` that was given to an option.
    pub fn parse(option: &str, text: &'t str) -> Result<Self> {
        let (name, value) = text.split_once('=').with_context(|| format!("{option} {text}: NAME=VALUE is expected"))?;
        Ok(Self { name, value: serde_json::from_str(value).unwrap_or_else(|_| value.into()) })
    }
}

/// Reads rows with replies from a file.
pub fn tried_rows(path: &Path) -> Result<Vec<TriedRow>> {
    let bytes = std::fs::read(path).with_context(|| format!("--data {}", path.display()))?;
    let mut rows = read_rows(path, &bytes)?;
    let mut written = Vec::with_capacity(rows.len());
    for row in &mut rows {
        let replies = match row.columns.remove("response").or_else(|| row.columns.remove("completion")) {
            Some(Value::String(text)) => Some(vec![text]),
            Some(list @ Value::Array(_)) => Some(
                serde_json::from_value(list).map_err(|_| row.wrong("`response` must be text or a list of texts"))?,
            ),
            Some(_) => return Err(row.wrong("`response` must be text or a list of texts").into()),
            None => None,
        };
        written.push((replies, row.wrong("the row has no `response`, and no `demonstration` or `reference` instead")));
    }
    let mut tried = Vec::with_capacity(rows.len());
    let set = examples(rows, None, Needs::Prompt)?;
    print_notes(&set.notes)?;
    for (example, (replies, missing)) in set.examples.into_iter().zip(written) {
        let (texts, stand_in) = match (replies, &example.demonstration, &example.reference) {
            (Some(texts), ..) => (texts, None),
            (None, Some(text), _) => (vec![text.clone()], Some("demonstration")),
            (None, None, Some(text)) => (vec![text.clone()], Some("reference")),
            (None, None, None) => (Vec::new(), None),
        };
        if texts.is_empty() {
            return Err(missing.into());
        }
        let replies = texts.into_iter().map(Completion::whole).collect();
        tried.push(TriedRow { id: Some(example.id.clone()), example, replies, stand_in });
    }
    Ok(tried)
}

/// Scores the replies of the rows with a tool. Prints each outcome, below them how many rows had no reply of their own,
/// and what a Python function printed itself. An error if the tool failed on a reply.
pub fn try_rows(rewards: &mut Orchestrator, tool: &str, rows: &[TriedRow]) -> Result<()> {
    let is_python = rewards.open(tool).bad_request()?.card().is_python();
    let items: Vec<(&Example, &Completion)> =
        rows.iter().flat_map(|row| row.replies.iter().map(|reply| (&row.example, reply))).collect();
    let mut records = rewards.open(tool)?.score_records(&items, &|| false)?.into_iter();
    let (mut out, mut failed) = (String::new(), 0);
    for row in rows {
        for (reply, record) in row.replies.iter().zip(records.by_ref()) {
            if let Some(id) = &row.id {
                let _ = write!(out, "{id}  {:?}  ", shortened(&reply.text));
            }
            let _ = match record.outcome {
                Outcome::Scored(score) => writeln!(out, "{score}"),
                Outcome::Abstained(why) => writeln!(out, "abstains: {why}"),
                Outcome::Failed(failure) => {
                    failed += 1;
                    writeln!(out, "failed: it {failure}")
                }
            };
            // What a Python function printed is shown below, unshortened.
            let reason = record.reason.filter(|_| !is_python);
            for line in reason.iter().flat_map(|reason| reason.as_str().lines()) {
                let _ = writeln!(out, "    {line}");
            }
        }
    }
    print(out + &stand_ins(rows) + &rewards.functions().take())?;
    if failed > 0 {
        bail!("`{tool}` failed on {failed} of {} replies", items.len());
    }
    Ok(())
}

/// Lines that say of how many rows another column was scored as the reply, because they have none; empty if all rows
/// have replies.
fn stand_ins(rows: &[TriedRow]) -> String {
    let line = |column: &str| {
        let count = rows.iter().filter(|row| row.stand_in == Some(column)).count();
        let (have, their) = if count == 1 { ("has", "its") } else { ("have", "their") };
        let total = rows.len();
        let line = format!("{count} of {total} rows {have} no `response`: {their} {column} was scored as the reply\n");
        if count > 0 { line } else { String::new() }
    };
    line("demonstration") + &line("reference")
}

/// A text cut to its first 60 characters; `…` marks a cut.
fn shortened(text: &str) -> String {
    if text.chars().count() > 60 { text.chars().take(60).chain(['…']).collect() } else { text.to_owned() }
}
