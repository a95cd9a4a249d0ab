//! Prints the routing tables of a benchmark as Markdown: `routing BENCHMARK [SCORES…]`.
//!
//! Scores are read from files, as [`BenchmarkScores::read_common`] does. Without any, the picks that a best-of-n file records in
//! `rm_pick` are compared. Items without scores of every tool are left out.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rlar_eval::BenchmarkScores;
use rlar_eval::bootstrap::Bootstrap;
use rlar_eval::readers::{best_of_n::picks, read_benchmark};
use rlar_eval::routing::{
    CrossFit, ScoreTable, Strategy, compare, comparison_rows, cross_fit, cross_fit_rows, label_curve, label_curve_rows,
    leave_one_benchmark_out, left_out_rows,
};
use rlar_eval::table::markdown;

fn main() -> Result<(), Box<dyn Error>> {
    let files: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [file, scores @ ..] = &files[..] else { return Err("usage: routing BENCHMARK [SCORES…]".into()) };
    let bytes = std::fs::read(file)?;
    let mut benchmark = read_benchmark(file, &bytes)?;
    let tools;
    if scores.is_empty() {
        tools = picks(file, &bytes, &benchmark)?;
    } else {
        let read = scores.iter().map(std::fs::read).collect::<Result<Vec<_>, _>>()?;
        let files: Vec<(&Path, &[u8])> = scores.iter().zip(&read).map(|(p, b)| (p.as_path(), &b[..])).collect();
        let common = BenchmarkScores::read_common(&files, &benchmark)?;
        (benchmark, tools) = (common.benchmark, common.scores);
    }
    let table = ScoreTable::new(&benchmark, &tools)?;
    println!("{}: {} items, {} left out, {} tools\n", benchmark.name, table.len(), table.left_out(), tools.len());
    println!("{}", markdown(&comparison_rows(&compare(&table, &[], Bootstrap::default()))));
    let settings = CrossFit::default();
    let begin = Instant::now();
    let fitted = cross_fit(&table, &Strategy::ALL, settings);
    println!("Fitted on one half, measured on the other, {} splits ({:.1?}):\n", settings.splits, begin.elapsed());
    println!("{}", markdown(&cross_fit_rows(&fitted)));
    println!("Fitted on few labels per category:\n");
    println!("{}", markdown(&label_curve_rows(&label_curve(&table, &Strategy::FEW_LABELS, settings))));
    let left_out = leave_one_benchmark_out(&table, &Strategy::FEW_LABELS, settings.bootstrap);
    if !left_out.is_empty() {
        println!("Fitted on the other benchmarks, measured on the one that is left out:\n");
        println!("{}", markdown(&left_out_rows(&left_out)));
    }
    Ok(())
}
