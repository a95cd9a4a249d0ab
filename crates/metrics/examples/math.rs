//! Measures the speed of mathematical equivalence on easy cases, and on those of a JSONL file with `gold` and `pred`.
//!
//!     cargo run --release -p rlar-metrics --example math -- cases.jsonl
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::time::Instant;

use rlar_metrics::math::{MathRules, equivalent};

fn main() {
    let rules = MathRules::default();
    let text = std::env::args().nth(1).and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    let rows = text.lines().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
    let cases: Vec<(String, String)> =
        rows.filter_map(|r| Some((r["gold"].as_str()?.to_owned(), r["pred"].as_str()?.to_owned()))).collect();
    let per_second = |cases: &[(String, String)], rounds: usize| {
        let clock = Instant::now();
        for (gold, reply) in cases.iter().cycle().take(cases.len() * rounds) {
            black_box(equivalent(black_box(reply), black_box(gold), rules));
        }
        (cases.len() * rounds) as f64 / clock.elapsed().as_secs_f64()
    };
    let median = |cases: &[(String, String)], rounds: usize| {
        let mut speeds: Vec<f64> = (0..5).map(|_| per_second(cases, rounds)).collect();
        speeds.sort_by(f64::total_cmp);
        speeds[2]
    };
    if !cases.is_empty() {
        println!("{} cases: {:.1} µs each", cases.len(), 1e6 / median(&cases, 20));
    }
    let easy = [("72", "72"), ("1234", "1,234"), ("0.5", "1/2"), ("$\\frac{3}{4}$", "$0.75$")];
    let easy = easy.map(|(gold, reply)| (gold.to_owned(), reply.to_owned()));
    println!("easy cases: {:.0} per second", median(&easy, 50_000));
}
