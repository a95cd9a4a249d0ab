//! Generative judges on RewardBench 2, as the reference implementation asks and scores them
//! (`rewardbench/generative_v2.py` and `scripts/run_generative_v2.py` of `allenai/reward-bench`).
//!
//! Both ways end in scores per completion, so that metrics, files and routing treat a judge as any tool:
//! [`ratings`] asks for a number from 1 to 10 per completion, [`four`] for the best of four. The Ties subset is always
//! rated. [`judge`] asks a language model.
//!
//! The prompts in `judge/*.txt` are copied from there: Copyright 2023 AllenAI, Apache License 2.0.

mod ask;
pub mod four;
pub mod ratings;

pub use ask::{Judged, Way, judge};

use rlar_data::{Message, Role};

fn user(content: String) -> Message {
    Message { role: Role::User, content }
}

/// Fills `{name}` in a template, in one pass: what is filled in is never searched.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        let (before, from) = rest.split_at(open);
        out.push_str(before);
        let found = values.iter().find(|(name, _)| from[1..].starts_with(&format!("{name}}}")));
        let used = if let Some((name, value)) = found {
            out.push_str(value);
            name.len() + 2
        } else {
            out.push('{');
            1
        };
        rest = &from[used..];
    }
    out.push_str(rest);
    out
}
