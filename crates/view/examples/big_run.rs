//! Writes a run as large as the page of `rlar view` is made for, with invented numbers and texts:
//! `cargo run --release -p rlar-view --example big_run -- FOLDER [STEPS] [REPLIES PER STEP]`, 10,000 and 100 unless given.
//! A folder that has such a run already is left as it is.

use std::error::Error;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;

use rlar_data::{Column, parquet};
use serde_json::{Value, json};

/// Number of prompts, of replies to each in a step, and of tokens of a reply.
const PROMPTS: u64 = 2000;
const GROUP: u64 = 10;
const TOKENS: u64 = 12;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("name a folder")?;
    let steps = arguments.next().map_or(Ok(10_000), |steps| steps.parse())?;
    let replies = arguments.next().map_or(Ok(100), |replies| replies.parse())?;
    let run = Path::new(&folder).join("big");
    // Written last, so that a run that was not finished is written anew.
    let end = run.join("report.json");
    if end.is_file() {
        return Ok(());
    }
    fs::create_dir_all(run.join("rollouts"))?;
    fs::create_dir_all(run.join("library/last_number"))?;
    fs::write(run.join("config.yaml"), format!("version: 1\nseed: 0\ntrain:\n  method: grpo\n  steps: {steps}\n"))?;
    let card = "name: last_number\nkind: builtin\nrole: correctness\nmeasures: Equality of numbers.\ntasks: [math]\n\
                range: [0, 1]\n";
    fs::write(run.join("library/last_number/tool.yaml"), card)?;
    let assignment = |i| {
        let tools = json!([{ "tool": "last_number", "weight": 1.0 }]);
        format!(
            "{}\n",
            json!({ "example": format!("example-{i}"), "tools": tools, "by": "builtin", "why": "a number" })
        )
    };
    fs::write(run.join("assignments.jsonl"), (0..PROMPTS).map(assignment).collect::<String>())?;
    let mut metrics = BufWriter::new(fs::File::create(run.join("metrics.jsonl"))?);
    for step in 1..=steps {
        writeln!(metrics, "{}", record(step, steps, replies))?;
        let bytes = parquet(&rollouts(step, steps, replies))?;
        fs::write(run.join("rollouts").join(format!("step-{step:06}.parquet")), bytes)?;
    }
    metrics.flush()?;
    fs::write(end, json!({ "steps": steps, "ended": "all steps are done" }).to_string())?;
    Ok(())
}

/// A number from 0 to 1 that looks random and is the same every time (SplitMix64).
fn noise(step: u64, salt: u64) -> f64 {
    let mut z = step.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(salt.wrapping_mul(0xbf58_476d_1ce4_e5b9));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as f64 / u64::MAX as f64
}

fn record(step: u64, steps: u64, replies: u64) -> Value {
    let level = step as f64 / steps as f64;
    let near = |salt| 0.9 * level + 0.1 * noise(step, salt);
    let spread =
        |mean: f64| json!({ "mean": mean, "std": 0.1, "min": 0.0, "q10": 0.1, "q50": mean, "q90": 0.9, "max": 1.0 });
    let outcomes = json!({ "asked": replies, "failed": 0, "late": 0, "abstained": 0 });
    let weight = |tool: f64| json!({ "weight": tool, "low": tool - 0.05, "high": tool + 0.05 });
    json!({
        "step": step, "reward": spread(near(1)), "accuracy": near(2), "unscored": 0, "cut_off": 0.1 * noise(step, 3),
        "tools": { "last_number": { "score": spread(near(4)), "outcomes": outcomes } },
        "weights": { "math": { "a": weight(near(5)), "b": weight(1.0 - near(5)) } },
        "zero_spread_groups": noise(step, 6), "loss": noise(step, 7), "grad_norm": noise(step, 8), "learning_rate": 1e-5,
        "ratio": spread(1.0), "kl": { "k1": 0.01, "k2": 0.02, "k3": near(9) }, "entropy": 1.0 - 0.5 * near(10),
        "reply_tokens": spread(12.0), "suspended": [], "tokens_per_second": { "step": 1000.0 * near(11) },
        "domains": { "math": { "reward": near(12), "prompts": 10 } },
        "seconds": { "sampling": 1.0, "scoring": 0.1, "training": 1.0, "evaluation": 0.0, "other": 0.1 },
    })
}

fn rollouts(step: u64, steps: u64, replies: u64) -> Vec<(String, Column)> {
    let rows = || 0..replies;
    let prompt = |row: u64| (step.wrapping_mul(replies / GROUP) + row / GROUP).wrapping_mul(7919) % PROMPTS;
    let is_right = |row: u64| noise(step, 100 + row) < step as f64 / steps as f64;
    let reward = |row: u64| if is_right(row) { 1.0 } else { 0.0 };
    let texts = |text: &dyn Fn(u64) -> String| Column::Text(rows().map(text).collect());
    let numbers = |number: &dyn Fn(u64) -> f64| Column::Number(rows().map(|row| Some(number(row))).collect());
    let question = |row: u64| {
        format!("A farmer has {} sheep and buys {} more. How many are there?", prompt(row), prompt(row) % 97)
    };
    let answer = |row: u64| prompt(row) + prompt(row) % 97 + u64::from(!is_right(row));
    let reply = |row: u64| {
        format!("There are {} and {}, so the answer of step {step} is {}.", prompt(row), prompt(row) % 97, answer(row))
    };
    let token_list = |token: &dyn Fn(u64) -> Value| (0..TOKENS).map(token).collect::<Value>().to_string();
    let verdicts = |row: u64| {
        json!([["last_number", 1.0, { "scored": reward(row) }, format!("`{}` was found", answer(row))]]).to_string()
    };
    vec![
        ("step".to_owned(), Column::Whole(rows().map(|_| step as i64).collect())),
        ("prompt".to_owned(), texts(&question)),
        ("completion".to_owned(), texts(&reply)),
        ("advantage".to_owned(), numbers(&|row| reward(row) - 0.5)),
        ("example".to_owned(), texts(&|row| format!("example-{}", prompt(row)))),
        ("domain".to_owned(), texts(&|_| "math".to_owned())),
        ("group".to_owned(), Column::Whole(rows().map(|row| (row / GROUP) as i64).collect())),
        ("reference".to_owned(), texts(&|row| (prompt(row) + prompt(row) % 97).to_string())),
        ("reward".to_owned(), numbers(&reward)),
        ("tokens".to_owned(), Column::Whole(rows().map(|_| TOKENS as i64).collect())),
        ("finish".to_owned(), texts(&|_| "stop".to_owned())),
        ("verdicts".to_owned(), texts(&verdicts)),
        ("rendered_prompt".to_owned(), texts(&|row| format!("<|user|>{}", question(row)))),
        ("token_ids".to_owned(), texts(&|row| token_list(&|token| json!(row + token)))),
        ("log_probs".to_owned(), texts(&|row| token_list(&|token| json!(-noise(step, row * TOKENS + token))))),
    ]
}
