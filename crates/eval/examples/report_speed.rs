//! Measures how long reading, scoring and reporting take at the size of RewardBench 2, with synthetic texts and scores.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rlar_eval::bootstrap::Bootstrap;
use rlar_eval::readers::read_benchmark;
use rlar_eval::reward_bench_2::RewardBenchVersion;
use rlar_eval::reward_bench_files::{ScoredModel, eval_set, eval_set_scores};
use rlar_eval::{Benchmark, BenchmarkReport, BenchmarkScores};

fn main() -> Result<(), Box<dyn Error>> {
    let benchmark = synthetic()?;
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let rows = benchmark.items.iter().map(|i| Some(i.completions.iter().map(|_| rng.random::<f64>()).collect()));
    let given = BenchmarkScores::new("random", &benchmark, rows.collect())?;
    let count: usize = benchmark.items.iter().map(|i| i.completions.len()).sum();
    let text = given.jsonl(&benchmark);
    println!("{} items, {count} scores", benchmark.items.len());

    let begin = Instant::now();
    let read = BenchmarkScores::read(Path::new("synthetic.jsonl"), text.as_bytes(), &benchmark)?.remove(0);
    println!("read scores          {:>8.1?}", begin.elapsed());
    let begin = Instant::now();
    let report = BenchmarkReport::new(&benchmark, &read, RewardBenchVersion::Newest, None);
    let shown = report.terminal() + &report.markdown();
    println!("score and report     {:>8.1?}", begin.elapsed());
    let begin = Instant::now();
    let report = BenchmarkReport::new(&benchmark, &read, RewardBenchVersion::Newest, Some(Bootstrap::default()));
    println!("with 1000 resamples  {:>8.1?}", begin.elapsed());
    let model = ScoredModel {
        model: "a/b".into(),
        model_type: "Custom Classifier".into(),
        chat_template: None,
        generative: false,
    };
    let begin = Instant::now();
    let bytes = eval_set_scores(&benchmark, &read, &model).len() + eval_set(&report, &model).len();
    println!("write both files     {:>8.1?} ({bytes} bytes)", begin.elapsed());
    println!("\n{shown}");
    Ok(())
}

/// A benchmark with the sizes of the real subsets; Ties has about 20 completions per row.
fn synthetic() -> Result<Benchmark, Box<dyn Error>> {
    let mut text = String::new();
    let words = "some words that a completion might say ".repeat(20);
    for (subset, rows) in [("Factuality", 475), ("Precise IF", 160), ("Math", 183), ("Safety", 450), ("Focus", 495)] {
        for i in 0..rows {
            let list = serde_json::json!([words, words, words]);
            writeln!(
                text,
                r#"{{"id":"{i}","prompt":"p","chosen":["{words}"],"rejected":{list},"subset":"{subset}"}}"#
            )?;
        }
    }
    for i in 0..51 {
        for (half, right) in [("ref", 1), ("tied", 8)] {
            let list = |n: usize| serde_json::Value::from(vec!["an answer"; n]);
            let (chosen, rejected) = (list(right), list(15));
            writeln!(
                text,
                r#"{{"id":"{half}:{i}","prompt":"p","chosen":{chosen},"rejected":{rejected},"subset":"Ties"}}"#
            )?;
        }
    }
    Ok(read_benchmark(Path::new("synthetic.jsonl"), text.as_bytes())?)
}
