//! `rlar rewards test`: tries a tool on replies and shows what it gives.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rlar_data::{Completion, Example, Needs, read_examples, read_rows};
use rlar_rewards::{Orchestrator, Outcome};
use serde_json::{Value, json};

use crate::error::BadRequestExt;
use crate::output::print;

/// A row to try a tool on.
pub struct TriedRow {
    /// The row's id in the output; `None` for the reply of the command line.
    pub id: Option<String>,
    /// The row's prompt and columns.
    pub example: Example,
    /// The replies to score, as one group.
    pub replies: Vec<Completion>,
}

/// Makes a data row of the values on the command line.
pub fn row(prompt: &str, reference: Option<&str>, columns: &[String]) -> Result<Value> {
    let mut row = json!({ "prompt": prompt, "reference": reference });
    for column in columns {
        let (name, value) =
            column.split_once('=').with_context(|| format!("--column {column}: NAME=VALUE is expected"))?;
        row[name] = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    }
    Ok(row)
}

/// Reads rows with replies from a file.
pub fn tried_rows(path: &Path) -> Result<Vec<TriedRow>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("--data {}", path.display()))?;
    let mut rows = Vec::new();
    for numbered in read_rows(path, &text)? {
        let (line, mut columns) = (numbered.line, numbered.columns);
        let written = columns.remove("response").or_else(|| columns.remove("completion"));
        let id = columns.entry("id").or_insert_with(|| line.to_string().into()).clone();
        let mut examples = read_examples(path, &Value::Object(columns).to_string(), Needs::Prompt)
            // The error names line 1 of the text that was made of this row.
            .map_err(|e| anyhow::anyhow!(e.to_string().replacen(":1: ", &format!(":{line}: "), 1)))?;
        let example = examples.remove(0);
        let texts = match written {
            Some(Value::String(text)) => vec![text],
            Some(list @ Value::Array(_)) => serde_json::from_value(list)
                .with_context(|| format!("{}:{line}: `response` must be text or a list of texts", path.display()))?,
            Some(_) => bail!("{}:{line}: `response` must be text or a list of texts", path.display()),
            None => example.demonstration.iter().chain(&example.reference).take(1).cloned().collect(),
        };
        if texts.is_empty() {
            bail!(
                "{}:{line}: the row has no `response`, and no `demonstration` or `reference` instead",
                path.display()
            );
        }
        let id = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
        rows.push(TriedRow { id: Some(id), example, replies: texts.into_iter().map(Completion::whole).collect() });
    }
    Ok(rows)
}

/// Scores the replies of the rows and prints the outcomes, and what a function printed.
pub fn try_rows(rewards: &mut Orchestrator, tool: &str, rows: &[TriedRow]) -> Result<()> {
    rewards.open(tool).bad_request()?;
    let items: Vec<(&Example, &Completion)> =
        rows.iter().flat_map(|row| row.replies.iter().map(|reply| (&row.example, reply))).collect();
    let mut outcomes = rewards.open(tool)?.score(&items)?.into_iter();
    let mut out = String::new();
    for row in rows {
        for (reply, outcome) in row.replies.iter().zip(outcomes.by_ref()) {
            if let Some(id) = &row.id {
                let _ = write!(out, "{id}  {:?}  ", shortened(&reply.text));
            }
            let _ = match outcome {
                Outcome::Scored(score) => writeln!(out, "{score}"),
                Outcome::Abstained(why) => writeln!(out, "abstains: {why}"),
                Outcome::Failed(failure) => writeln!(out, "failed: it {failure}"),
            };
        }
    }
    print(out + &rewards.functions().take())
}

/// A text cut to its first 60 characters; `…` marks a cut.
fn shortened(text: &str) -> String {
    if text.chars().count() > 60 { text.chars().take(60).chain(['…']).collect() } else { text.to_owned() }
}
