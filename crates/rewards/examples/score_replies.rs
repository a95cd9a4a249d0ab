//! Scores replies to prompts of several kinds with the curated library, and prints why each tool was chosen.
//!
//!     cargo run --release -p rlar-rewards --example score_replies
#![allow(clippy::print_stdout)]

use std::error::Error;

use rlar_data::{Completion, Needs, read_examples};
use rlar_rewards::{Library, Orchestrator, OrchestratorConfig, Outcome, ToolContext};
use rlar_sandbox::SandboxLimits;

const PROMPTS: &str = r#"{"prompt": "47 + 38 =", "reference": "85"}
{"prompt": "Which is a prime number?\nA) 21\nB) 23\nC) 25", "reference": "B"}
{"prompt": "What is the capital of France?", "reference": "Paris"}
{"prompt": "Simplify 2/4.", "reference": "\\frac{1}{2}"}"#;

fn main() -> Result<(), Box<dyn Error>> {
    let examples = read_examples("prompts.jsonl".as_ref(), PROMPTS.as_bytes(), Needs::Prompt)?;
    let replies = ["It is 85.", "The answer is B.", "London", "$\\boxed{0.5}$"].map(Completion::whole);
    let context = ToolContext::new(SandboxLimits::default());
    let mut rewards = Orchestrator::new(Library::curated()?, context, OrchestratorConfig::default());

    let items: Vec<_> = examples.iter().zip(&replies).collect();
    let scores = rewards.score(&items)?;
    for ((example, reply), scores) in items.into_iter().zip(scores) {
        let reason = rewards.assign(example)?.why.clone();
        println!("{:?}: {:?}\n  {reason}", example.prompt(), reply.text);
        for score in &scores.tools {
            match &score.outcome {
                Outcome::Scored(value) => println!("  {}: {value}", score.tool),
                Outcome::Abstained(why) => println!("  {} abstains: {why}", score.tool),
                Outcome::Failed(failure) => println!("  {} failed: it {failure}", score.tool),
            }
        }
    }
    Ok(())
}
