//! Generative judges on RewardBench 2, with the prompts and the scoring of the reference implementation
//! (`rewardbench/generative_v2.py` and `scripts/run_generative_v2.py` of `allenai/reward-bench`).
//!
//! [`ratings`] asks for a number from 1 to 10 per completion, [`best_of_four`] for the best of four completions; the
//! subset Ties always gets ratings. Either way every completion gets a score, so that metrics, files and routing treat
//! a judge like any other tool. [`judge_benchmark`](fn@judge_benchmark) sends the prompts to a language model.
//!
//! The prompts in `judge/*.txt` are copied from the reference implementation: Copyright 2023 AllenAI, Apache License
//! 2.0.

pub mod best_of_four;
mod judge_benchmark;
pub mod ratings;

pub use judge_benchmark::{JudgeMode, JudgeResult, judge_benchmark};

use rlar_data::{Message, Role};

fn user(content: String) -> Message {
    Message::new(Role::User, content)
}

/// Replaces each `{name}` in a template by the value with that name. Values are inserted as they are: a `{name}` in a
/// value is not replaced.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        let (before, from_brace) = rest.split_at(open);
        out.push_str(before);
        let value = values.iter().find(|(name, _)| from_brace[1..].starts_with(&format!("{name}}}")));
        let consumed = if let Some((name, value)) = value {
            out.push_str(value);
            name.len() + 2
        } else {
            out.push('{');
            1
        };
        rest = &from_brace[consumed..];
    }
    out.push_str(rest);
    out
}
