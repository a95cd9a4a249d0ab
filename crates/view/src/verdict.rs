//! What a tool said of a reply, from the column `verdicts` of a file of rollouts.

use serde::Serialize;
use serde_json::Value;

use crate::shown_text::clipped;

/// What one tool said of one reply.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ToolVerdict {
    /// The tool's name.
    pub tool: String,
    /// The factor of the score in the reward; 0 for gates and vetoes.
    pub weight: Option<f64>,
    /// `scored`, `abstained`, `failed`, or `unknown` for a word that this version does not know.
    pub outcome: &'static str,
    /// The score; `None` unless `outcome` is `scored`.
    pub score: Option<f64>,
    /// Why there is no score.
    pub why: Option<String>,
    /// Why the tool gave the score, or what it printed.
    pub reason: Option<String>,
}

impl ToolVerdict {
    /// The verdict with the first `max` characters of each of its texts.
    pub fn clipped(self, max: usize) -> Self {
        let text = |text: Option<String>| text.map(|text| clipped(text, max));
        Self { why: text(self.why), reason: text(self.reason), ..self }
    }
}

/// The verdicts in a text of the form `[[tool, weight, outcome, reason], …]`; `None` if it has another form.
pub fn read_verdicts(text: &str) -> Option<Vec<ToolVerdict>> {
    let list: Vec<Vec<Value>> = serde_json::from_str(text).ok()?;
    list.iter().map(|verdict| read_verdict(verdict)).collect()
}

fn read_verdict(verdict: &[Value]) -> Option<ToolVerdict> {
    let [tool, weight, outcome, ..] = verdict else { return None };
    let reason = verdict.get(3).filter(|reason| !reason.is_null()).map(text_of);
    let mut read = ToolVerdict {
        tool: tool.as_str()?.to_owned(),
        weight: weight.as_f64(),
        outcome: "unknown",
        score: None,
        why: None,
        reason,
    };
    if let Some(score) = outcome.get("scored") {
        (read.outcome, read.score) = ("scored", score.as_f64());
    } else if let Some(why) = outcome.get("abstained") {
        (read.outcome, read.why) = ("abstained", Some(text_of(why)));
    } else if let Some(failure) = outcome.get("failed") {
        (read.outcome, read.why) = ("failed", Some(failure_text(failure)));
    } else {
        read.why = Some(outcome.to_string());
    }
    Some(read)
}

/// A failure as the predicate of a sentence about the tool, as `rlar rollouts` says it.
fn failure_text(failure: &Value) -> String {
    if failure == "late" {
        return "was not called before the time for scoring was over".to_owned();
    }
    let said = [
        ("exception", "raised "),
        ("limit", "broke a limit: "),
        ("reply", "gave no score: "),
        ("crash", "crashed: "),
        ("unanswered", "got no answer: "),
    ];
    let found = said.iter().find_map(|(kind, words)| Some(format!("{words}{}", text_of(failure.get(kind)?))));
    found.unwrap_or_else(|| failure.to_string())
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
