//! Prints routing tables as Markdown: `routing BENCHMARK [SCORES…]`.
//!
//! Scores are files that `Scores::read` reads; without any, the picks that a best-of-n file records in `rm_pick` are
//! compared. Only the items that the first file of scores holds take part.
#![allow(clippy::print_stdout)]

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rlar_eval::bootstrap::Bootstrap;
use rlar_eval::formats::{best_of_n::picks, read};
use rlar_eval::routing::{CrossFit, Strategy, Table, compare, cross_fit, fitted_rows, rows};
use rlar_eval::table::markdown;
use rlar_eval::{Benchmark, Scores};

fn main() -> Result<(), Box<dyn Error>> {
    let files: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [file, scores @ ..] = &files[..] else { return Err("usage: routing BENCHMARK [SCORES…]".into()) };
    let bytes = std::fs::read(file)?;
    let mut benchmark = read(file, &bytes)?;
    let mut tools = Vec::new();
    if let Some(first) = scores.first() {
        benchmark = only(&benchmark, &ids(first)?);
        for path in scores {
            tools.extend(Scores::read(path, &std::fs::read(path)?, &benchmark)?);
        }
    } else {
        tools = picks(file, &bytes, &benchmark)?;
    }
    let table = Table::new(&benchmark, &tools)?;
    println!("{}: {} items, {} left out, {} tools\n", benchmark.name, table.len(), table.left_out(), tools.len());
    println!("{}", markdown(&rows(&compare(&table, &[], Bootstrap::default()))));
    let settings = CrossFit::default();
    let begin = Instant::now();
    let fitted = cross_fit(&table, &Strategy::ALL, settings);
    println!("Fitted on one half, measured on the other, {} splits ({:.1?}):\n", settings.splits, begin.elapsed());
    println!("{}", markdown(&fitted_rows(&fitted)));
    Ok(())
}

fn ids(path: &Path) -> Result<BTreeSet<String>, Box<dyn Error>> {
    let rows = rlar_data::read_rows(path, &std::fs::read_to_string(path)?)?;
    let id = |row: &serde_json::Map<String, serde_json::Value>| {
        row.get("id").or(row.get("pair_id")).and_then(|v| v.as_str()).map(str::to_owned)
    };
    Ok(rows.iter().filter_map(|(_, row)| id(row)).collect())
}

fn only(benchmark: &Benchmark, ids: &BTreeSet<String>) -> Benchmark {
    benchmark.select(|item| ids.contains(&item.id))
}
