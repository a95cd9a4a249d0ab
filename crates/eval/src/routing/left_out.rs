//! Evaluates strategies on a benchmark of which no item was used for fitting.

use std::collections::BTreeSet;

use super::cross_fit::{score_and_lead, strategy_rows};
use super::{ScoreTable, Strategy};
use crate::bootstrap::{Bootstrap, Interval};

/// The results on one benchmark of strategies that were fitted on the others of a collection.
#[derive(Clone, Debug, PartialEq)]
pub struct LeftOutBenchmark {
    /// The benchmark that was left out.
    pub benchmark: String,
    /// The results of the strategies, in the given order.
    pub results: Vec<LeftOutResult>,
}

/// How good a strategy is on the benchmark that was left out.
#[derive(Clone, Debug, PartialEq)]
pub struct LeftOutResult {
    /// The strategy that was fitted on the other benchmarks.
    pub strategy: Strategy,
    /// The mean value of the benchmark's items, averaged over categories as in the whole table, from 0 to 1.
    pub score: f64,
    /// The score minus that of [`Strategy::Static`], fitted on the same items.
    pub above: f64,
    /// 95 % bootstrap interval of `above`, from resampled items; `None` without resamples.
    pub above_interval: Option<Interval>,
}

/// Fits strategies on all benchmarks of a collection but one, and evaluates them on that one; for each benchmark, in the
/// order of their names. Empty where the items are of fewer than two benchmarks. Items that do not name their benchmark
/// are only used for fitting.
pub fn leave_one_benchmark_out(
    table: &ScoreTable,
    strategies: &[Strategy],
    bootstrap: Bootstrap,
) -> Vec<LeftOutBenchmark> {
    let name = |i: usize| table.item(i).benchmark.as_deref();
    let benchmarks: BTreeSet<&str> = (0..table.len()).filter_map(name).collect();
    if benchmarks.len() < 2 {
        return Vec::new();
    }
    let results = |benchmark: &str| {
        let (held_out, fitted): (Vec<usize>, Vec<usize>) = (0..table.len()).partition(|i| name(*i) == Some(benchmark));
        let values = |strategy: Strategy| -> Vec<Option<f64>> {
            let rule = strategy.fit(table, &fitted);
            (0..table.len()).map(|i| rule.value(table, i)).collect()
        };
        let of_static = values(Strategy::Static);
        let result =
            |strategy: &Strategy| evaluate(table, *strategy, &held_out, &values(*strategy), &of_static, bootstrap);
        LeftOutBenchmark { benchmark: benchmark.to_owned(), results: strategies.iter().map(result).collect() }
    };
    benchmarks.into_iter().map(results).collect()
}

/// The result of a strategy with these values, one per item of the table, on the held-out items.
fn evaluate(
    table: &ScoreTable,
    strategy: Strategy,
    held_out: &[usize],
    values: &[Option<f64>],
    of_static: &[Option<f64>],
    bootstrap: Bootstrap,
) -> LeftOutResult {
    let lead = |i: usize| Some(values[i]? - of_static[i]?);
    let groups = table.by_category(held_out);
    let strata: Vec<usize> = groups.iter().map(Vec::len).collect();
    let intervals = bootstrap.intervals(&strata, |draws| {
        let drawn: Vec<usize> = groups.iter().zip(draws).flat_map(|(g, draw)| draw.iter().map(|k| g[*k])).collect();
        vec![table.mean(&drawn, lead)]
    });
    LeftOutResult {
        strategy,
        score: table.mean(held_out, |i| values[i]),
        above: table.mean(held_out, lead),
        above_interval: intervals.first().copied().flatten(),
    }
}

/// Formats the results as the rows of a table with one column per benchmark. A cell is the score, with the 95 % interval
/// over items of what it is above the best static tool of the other benchmarks.
pub fn left_out_rows(benchmarks: &[LeftOutBenchmark]) -> Vec<Vec<String>> {
    let strategies: Vec<Strategy> =
        benchmarks.first().map_or(&[][..], |b| &b.results).iter().map(|result| result.strategy).collect();
    let cell = |b: &LeftOutBenchmark, s: usize| score_and_lead(b.results[s].score, b.results[s].above_interval);
    strategy_rows(benchmarks, |b| b.benchmark.clone(), &strategies, cell)
}
