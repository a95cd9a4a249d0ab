//! Tests of the evaluation of policies and rewards.
#![allow(clippy::float_cmp, clippy::unwrap_used, clippy::print_stdout)]

mod bad_input;
mod benchmarks;
mod datasets;
mod files;
mod identities;
mod judges;
mod prompts;
mod reward_bench_2;
mod routing;
mod suites;

use std::path::Path;

use rlar_eval::readers::read_benchmark;
use rlar_eval::{Benchmark, BenchmarkScores, EvalError};

/// The benchmark in a text, as if it were the contents of a file.
fn text(file: &str, text: &str) -> Result<Benchmark, EvalError> {
    read_benchmark(Path::new(file), text.as_bytes())
}

/// The benchmark in a file.
fn open(path: &Path) -> Benchmark {
    read_benchmark(path, &std::fs::read(path).unwrap()).unwrap()
}

/// Scores by a function of the item and the completion.
fn scored(tool: &str, benchmark: &Benchmark, score: impl Fn(usize, usize) -> f64) -> BenchmarkScores {
    let row = |(i, item): (usize, &rlar_eval::Item)| Some((0..item.completions.len()).map(|c| score(i, c)).collect());
    let rows = benchmark.items.iter().enumerate().map(row).collect();
    BenchmarkScores::new(tool, benchmark, rows).unwrap()
}

fn close(a: f64, b: f64, within: f64) {
    assert!((a - b).abs() <= within, "{a} is not {b}");
}
