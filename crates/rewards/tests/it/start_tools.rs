//! The tools that prompts get when they are first seen in the middle of a run.

use rlar_data::Example;
use rlar_rewards::{Assignment, Orchestrator};
use serde_json::json;

use crate::{curated, example};

/// Prompts of several kinds, with a domain.
fn examples() -> Vec<Example> {
    let rows = [
        ("12 + 30 =", "42", None),
        ("How many apples are left?", "7", Some("math")),
        ("What is the capital of France?", "Paris", None),
        ("Which one? A) red B) blue", "B", None),
        ("Solve for x.", "\\frac{1}{2}", Some("algebra")),
    ];
    rows.into_iter()
        .map(|(prompt, reference, domain)| Example {
            domain: domain.map(str::to_owned),
            ..example(prompt, Some(reference))
        })
        .collect()
}

fn assignment(tool: &str) -> Assignment {
    let tools = serde_json::from_value(json!([{ "tool": tool }])).unwrap();
    Assignment { example: "algebra".into(), tools, by: "test".into(), why: "drift".into() }
}

fn assigned(rewards: &mut Orchestrator) -> Vec<Assignment> {
    examples().iter().map(|example| rewards.assign(example).unwrap().clone()).collect()
}

#[test]
fn a_prompt_that_is_seen_late_gets_the_tools_that_it_would_have_got_at_the_start() {
    let (mut early, mut late) = (curated(), curated());
    late.keep_start();
    let at_start = assigned(&mut early);
    for rewards in [&mut early, &mut late] {
        rewards.suspend("numeric_match");
        rewards.assign_domain("algebra", assignment("token_f1"));
    }
    let now = assigned(&mut early);
    assert_eq!(assigned(&mut late), now);
    assert!(at_start[0].tools[0].tool == "numeric_match" && now[0].tools[0].tool != "numeric_match");
    assert!(at_start[4].tools[0].tool != "token_f1" && now[4].tools[0].tool == "token_f1");
    assert_eq!(now[2], at_start[2]);
}
