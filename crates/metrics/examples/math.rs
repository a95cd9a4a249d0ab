//! Measures the speed of mathematical equivalence on easy cases, and on those of a JSONL file with `gold` and `pred`, for
//! `scripts/bench-math.py`.
//!
//!     cargo run --release -p rlar-metrics --example math -- cases.jsonl
//!
//! Prints one line of JSON: `easy_per_second`, and with a file `cases` and `us_per_case`; medians of 5.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use rlar_metrics::math::{MathRules, equivalent};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let mut report = json!({});
    if let Some(path) = std::env::args().nth(1) {
        let cases = read(&path)?;
        report["cases"] = cases.len().into();
        report["us_per_case"] = (1e6 / median_rate(&cases, 20)).into();
    }
    let easy = [("72", "72"), ("1234", "1,234"), ("0.5", "1/2"), ("$\\frac{3}{4}$", "$0.75$")];
    let easy = easy.map(|(gold, reply)| Case { gold: gold.to_owned(), reply: reply.to_owned() });
    report["easy_per_second"] = median_rate(&easy, 50_000).into();
    println!("{report}");
    Ok(())
}

struct Case {
    gold: String,
    reply: String,
}

/// The cases of a file; rows whose `gold` or `pred` is not a text are left out.
fn read(path: &str) -> Result<Vec<Case>, Box<dyn Error>> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    let mut cases = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let row: Value = serde_json::from_str(line).map_err(|e| format!("{path}: {e}"))?;
        if let (Some(gold), Some(reply)) = (row["gold"].as_str(), row["pred"].as_str()) {
            cases.push(Case { gold: gold.to_owned(), reply: reply.to_owned() });
        }
    }
    if cases.is_empty() {
        return Err(format!("{path} has no row with the texts `gold` and `pred`").into());
    }
    Ok(cases)
}

/// Cases per second: the median of five measurements, each of all cases this many times.
fn median_rate(cases: &[Case], rounds: usize) -> f64 {
    let rules = MathRules::default();
    let mut rates: Vec<f64> = (0..5)
        .map(|_| {
            let clock = Instant::now();
            for case in cases.iter().cycle().take(cases.len() * rounds) {
                black_box(equivalent(black_box(&case.reply), black_box(&case.gold), rules));
            }
            (cases.len() * rounds) as f64 / clock.elapsed().as_secs_f64()
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    rates[2]
}
