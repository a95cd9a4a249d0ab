//! Evaluates recorded replies on a suite of two sums: the suite and its data are written below.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::Path;

use rlar_data::DataFile;
use rlar_eval::bootstrap::Bootstrap;
use rlar_eval::suite::prompts::build_prompts;
use rlar_eval::suite::replies::read_replies;
use rlar_eval::suite::{Suite, SuiteEval};
use rlar_rewards::{Library, Orchestrator, OrchestratorConfig, ToolContext};
use rlar_sandbox::SandboxLimits;

const SUITE: &str = r#"
version: 1
name: sums
data: sums.jsonl
prompt: "What is {{ a }} + {{ b }}?"
reference: "{{ a + b }}"
tools: [{ tool: math_equivalence }]
metrics: [accuracy]
"#;
const DATA: &str = "{\"id\": \"x\", \"a\": 1, \"b\": 2}\n{\"id\": \"y\", \"a\": 20, \"b\": 3}\n";
const REPLIES: &str = "{\"id\": \"x\", \"reply\": \"It is 3.\"}\n{\"id\": \"y\", \"reply\": \"It is 24.\"}\n";

fn main() -> Result<(), Box<dyn Error>> {
    let suite = Suite::parse(Path::new("sums.yaml"), SUITE)?;
    let find = |name: &str| Ok(vec![DataFile { path: name.into(), bytes: DATA.into() }]);
    let prompts = build_prompts(&suite, &find, None)?;
    let context = ToolContext::new(SandboxLimits::default());
    let rewards = Orchestrator::new(Library::curated()?, context, OrchestratorConfig::default());
    let mut evaluation = SuiteEval::new(suite, prompts, rewards)?;
    let replies = read_replies(Path::new("replies.jsonl"), REPLIES.as_bytes(), evaluation.prompts())?;
    let (result, graded) = evaluation.evaluate("a recorded model", replies, Some(Bootstrap::default()), &|| false)?;
    println!("{}", result.table(false));
    println!("{}", evaluation.graded_jsonl(&graded));
    Ok(())
}
