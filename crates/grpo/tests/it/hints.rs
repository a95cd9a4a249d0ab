//! Hints name what stands out in a run's steps, and nothing else.

use rlar_grpo::hints;
use serde_json::{Value, json};

/// The part of a step's record that hints are made of.
fn record(accuracy: f64, flat: f64, cut_off: f64, tools: &Value) -> Value {
    let groups = (flat * 16.0) as usize;
    json!({ "accuracy": accuracy, "zero_spread_groups": flat, "cut_off": cut_off, "tools": tools,
        "flat": { "groups": groups, "alike": 0 } })
}

fn tool(name: &str, failed: usize) -> Value {
    let failure = json!({ "exception": "ValueError: no number" });
    let last = if failed > 0 { failure } else { Value::Null };
    json!({ name: { "outcomes": { "asked": 100, "failed": failed, "late": 0, "last_failure": last } } })
}

#[test]
fn a_healthy_run_gets_no_hint() {
    let steps = vec![record(0.4, 0.2, 0.05, &tool("math_equivalence", 0)); 3];
    assert!(hints(&steps, 64).is_empty());
    assert!(hints(&[json!({ "loss": 1.0 })], 64).is_empty(), "records of another method");
}

#[test]
fn a_policy_that_stays_as_it_was_is_named() {
    let mut step = record(0.4, 0.2, 0.05, &tool("math_equivalence", 0));
    step["optimizer_steps"] = json!(0);
    let hints_of = |steps: &[Value]| hints(steps, 64);
    assert!(hints_of(&vec![step.clone(); 3])[0].contains("unchanged"));
    let moved = record(0.4, 0.2, 0.05, &tool("math_equivalence", 0));
    assert!(hints_of(&[step, moved]).is_empty(), "one step moved it");
}

#[test]
fn each_trouble_is_named_with_what_to_change() {
    for (step, words) in [
        (record(0.4, 0.2, 0.6, &tool("math_equivalence", 0)), ["60 % of the replies were cut off", "(64)"]),
        (record(0.0, 0.9, 0.0, &tool("math_equivalence", 0)), ["nearly no reply is right", "reference/run.md, Hints,"]),
        (record(1.0, 0.9, 0.0, &tool("math_equivalence", 0)), ["90 % of the groups", "use harder prompts"]),
        (record(0.4, 0.2, 0.0, &tool("own", 40)), ["`own` gave no score for 40 %", "no number"]),
        (
            record(0.4, 0.2, 0.0, &tool("rouge_l", 0)),
            ["100 % of the rewards come from `rouge_l`", "compare only the wording"],
        ),
    ] {
        let hints = hints(&vec![step; 3], 64);
        assert!(hints.len() == 1 && words.iter().all(|word| hints[0].contains(word)), "{hints:?}");
    }
}
