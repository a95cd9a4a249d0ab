//! `rlar rollouts`: the replies of a step of a run, with their scores and the reasons of failures.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rlar_data::read_rows;
use rlar_rewards::{Outcome, Scores};
use serde_json::{Map, Value};

use crate::cli::RolloutsArguments;
use crate::error::{BadRequestExt, bad_request};
use crate::output::print;

/// Maximum number of characters of a prompt or a reply that are shown.
const MAX_CHARS: usize = 1200;

pub fn run(arguments: &RolloutsArguments) -> Result<()> {
    let path = find(&arguments.run, arguments.step).bad_request()?;
    let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
    let replies = read_rows(&path, &bytes)?.into_iter().map(|row| Reply::of(row.columns));
    let mut replies = replies.collect::<Result<Vec<_>>>().with_context(|| path.display().to_string())?;
    let total = replies.len();
    if let Some(tool) = &arguments.tool {
        let tools: Vec<String> = replies.iter().flat_map(Reply::tools).map(str::to_owned).collect();
        replies.retain(|reply| reply.tools().any(|name| name == tool));
        if replies.is_empty() {
            let hint = rlar_data::nearest(tool, tools.iter().map(String::as_str));
            return Err(bad_request(format!("{}: no reply has a score of `{tool}`{hint}", path.display())));
        }
    }
    if arguments.failed {
        replies.retain(Reply::has_failed);
    }
    if arguments.worst || arguments.best {
        let sign = if arguments.best { -1.0 } else { 1.0 };
        // A reply without a reward comes last.
        let rank = |reply: &Reply| reply.reward.map_or(f64::INFINITY, |reward| sign * reward);
        replies.sort_by(|a, b| rank(a).total_cmp(&rank(b)));
    }
    let mut out = String::new();
    for reply in replies.iter().take(arguments.limit) {
        reply.show(&mut out, arguments.rendered)?;
    }
    let shown = replies.len().min(arguments.limit);
    writeln!(out, "{shown} of {} replies that match, {total} in {}", replies.len(), path.display())?;
    print(out)
}

/// Path of the file with the rollouts of the given step of a run; `None` stands for the last step that has such a file.
fn find(run: &Path, step: Option<u64>) -> Result<PathBuf> {
    let folder = run.join("rollouts");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("{} is no run with rollouts", run.display()))?;
    let number = |path: &Path| path.file_stem()?.to_str()?.strip_prefix("step-")?.parse::<u64>().ok();
    let mut files: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "parquet"))
        .filter_map(|path| Some((number(&path)?, path)))
        .collect();
    files.sort();
    let found = match step {
        Some(step) => files.iter().find(|(number, _)| *number == step),
        None => files.last(),
    };
    found.map(|(_, path)| path.clone()).with_context(|| {
        let steps: Vec<String> = files.iter().map(|(number, _)| number.to_string()).collect();
        format!("{} has rollouts of these steps: {}", folder.display(), steps.join(", "))
    })
}

/// A reply as a file of rollouts holds it.
struct Reply {
    columns: Map<String, Value>,
    reward: Option<f64>,
    scores: Scores,
}

impl Reply {
    fn of(columns: Map<String, Value>) -> Result<Self> {
        let verdicts = columns.get("verdicts").and_then(Value::as_str).context("it has no column `verdicts`")?;
        let scores = serde_json::from_str(verdicts).context("the column `verdicts`")?;
        Ok(Self { reward: columns.get("reward").and_then(Value::as_f64), scores, columns })
    }

    fn tools(&self) -> impl Iterator<Item = &str> {
        self.scores.tools.iter().map(|score| &*score.tool)
    }

    fn has_failed(&self) -> bool {
        self.scores.tools.iter().any(|score| matches!(score.outcome, Outcome::Failed(_)))
    }

    fn text(&self, column: &str) -> &str {
        self.columns.get(column).and_then(Value::as_str).unwrap_or_default()
    }

    /// Writes the reply with its prompt, reference and scores, each with its reason. With `rendered`, the prompt is
    /// shown as the model got it, after the chat template, if the file of rollouts has it.
    fn show(&self, out: &mut String, rendered: bool) -> std::fmt::Result {
        let number = |column: &str| self.columns.get(column).and_then(Value::as_f64);
        let known = |value: Option<f64>| value.map_or("none".to_owned(), |value| format!("{value:.4}"));
        let step = number("step").unwrap_or(0.0);
        let (example, finish) = (self.text("example"), self.text("finish"));
        let tokens = number("tokens").unwrap_or(0.0);
        writeln!(
            out,
            "── step {step}, example {example}: reward {}, advantage {}, {tokens} tokens, ended by {finish}",
            known(self.reward),
            known(number("advantage"))
        )?;
        let has_rendered = rendered && !self.text("rendered_prompt").is_empty();
        let prompt = if has_rendered { ("rendered prompt", "rendered_prompt") } else { ("prompt", "prompt") };
        for (title, column) in [prompt, ("reply", "completion"), ("reference", "reference")] {
            let text = self.text(column);
            if !text.is_empty() {
                writeln!(out, "{title}:\n{}", indented(text))?;
            }
        }
        for score in &self.scores.tools {
            match &score.outcome {
                Outcome::Scored(value) => writeln!(out, "{}: {value} (weight {})", score.tool, score.weight)?,
                Outcome::Abstained(why) => writeln!(out, "{}: abstained: {why}", score.tool)?,
                Outcome::Failed(failure) => writeln!(out, "{}: {failure}", score.tool)?,
            }
            if let Some(reason) = &score.reason {
                writeln!(out, "{}", indented(reason.as_str()))?;
            }
        }
        out.write_char('\n')
    }
}

/// A text with its lines indented; the middle of a long text is left out.
fn indented(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let shown: String = if chars.len() <= MAX_CHARS {
        text.to_owned()
    } else {
        let (head, tail) = (&chars[..MAX_CHARS / 2], &chars[chars.len() - MAX_CHARS / 2..]);
        let left_out = chars.len() - MAX_CHARS;
        format!("{}\n… {left_out} characters …\n{}", head.iter().collect::<String>(), tail.iter().collect::<String>())
    };
    shown.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
