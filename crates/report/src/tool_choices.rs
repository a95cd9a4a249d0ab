//! Who chose which tools for how many prompts, and why: the assignments of the prompts that a run has seen, those that are
//! alike as one.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::Path;

use rlar_run::shortened;
use rlar_view::answer::NoAnswer;
use rlar_view::assignments::{AssignedTool, NameCount, assignments};
use rlar_view::json_lines::FileProblem;
use rlar_view::shown_text::clipped;

/// Largest number of assignments that are grouped; further ones are only counted.
const MAX_ASSIGNMENTS: usize = 20_000;
/// Number of characters of a reason, by which assignments are told apart.
const MAX_REASON: usize = 600;
/// Largest number of tools of a choice that are shown.
const MAX_TOOLS: usize = 12;

/// The choices of a run.
#[derive(Debug, Default)]
pub struct ToolChoices {
    /// Number of prompts with an assignment.
    pub prompts: usize,
    /// Number of prompts behind `choices`.
    pub grouped: usize,
    /// The choices, that of the most prompts first.
    pub choices: Vec<ToolChoice>,
    /// Number of prompts of each tool.
    pub tools: Vec<NameCount>,
    /// What could not be read.
    pub problems: Vec<FileProblem>,
}

/// A choice that some prompts share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ToolChoice {
    /// The tools with their weights, for people; empty if no tool fits.
    pub tools: Vec<String>,
    /// Who chose: `builtin`, `config`, `nobody`, or a language model's name.
    pub by: String,
    /// Why, shortened.
    pub why: String,
    /// Number of prompts.
    pub prompts: usize,
}

/// Reads the choices of a run; a run without the file has none.
pub fn tool_choices(run: &Path) -> Result<ToolChoices, NoAnswer> {
    let page = assignments(run, "", 0, MAX_ASSIGNMENTS)?;
    let mut counts: HashMap<ToolChoice, usize> = HashMap::new();
    let grouped = page.rows.len();
    for row in page.rows {
        let mut tools: Vec<String> = row.tools.iter().take(MAX_TOOLS).map(tool_text).collect();
        if row.tools.len() > MAX_TOOLS {
            tools.push(format!("{} more", row.tools.len() - MAX_TOOLS));
        }
        let choice = ToolChoice { tools, by: row.by, why: shortened(&row.why.text, MAX_REASON), prompts: 0 };
        *counts.entry(choice).or_default() += 1;
    }
    let mut choices: Vec<ToolChoice> =
        counts.into_iter().map(|(choice, prompts)| ToolChoice { prompts, ..choice }).collect();
    choices.sort_by(|a, b| {
        Reverse(a.prompts).cmp(&Reverse(b.prompts)).then_with(|| (&a.tools, &a.why).cmp(&(&b.tools, &b.why)))
    });
    Ok(ToolChoices { prompts: page.total, grouped, choices, tools: page.tools, problems: page.problems })
}

/// A tool with what it does to the reward, if that is not simply to add its score.
fn tool_text(tool: &AssignedTool) -> String {
    let weight =
        tool.weight.filter(|weight| (weight - 1.0).abs() > f64::EPSILON).map(|weight| format!("weight {weight}"));
    let combine = Some(tool.combine.clone()).filter(|combine| combine != "term");
    let words: Vec<String> = combine.into_iter().chain(weight).collect();
    let name = clipped(tool.tool.clone(), 80);
    if words.is_empty() { name } else { format!("{name} ({})", words.join(", ")) }
}
