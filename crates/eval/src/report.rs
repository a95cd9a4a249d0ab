//! Reports a tool's results on a benchmark: scores by category and overall, their intervals, and what is missing.

use rlar_run::percent;
use serde_json::{Map, Value, json};

use crate::bootstrap::{Bootstrap, Interval};
use crate::item::{Average, Benchmark, CategoryScore, Item, ItemKind};
use crate::item_metric::{SplitScores, StyleAccuracies, item_value};
use crate::reward_bench_2::{PromptStats, RewardBenchVersion, TiesPrompt, ties_prompts, ties_score};
use crate::scores::{BenchmarkScores, ScoringCost};
use crate::table::{markdown, render};

/// A tool's result on one category, or on the whole benchmark.
#[derive(Clone, Debug, PartialEq)]
pub struct CategoryResult {
    /// The score, from 0 to 1 (for Ties from −0.01 to 1.01). Items without scores count as wrong; where there are any,
    /// the score is a lower bound.
    pub score: f64,
    /// The score over only those items for which the tool gave scores; `None` where there are none.
    pub scored_only: Option<f64>,
    /// 95 % bootstrap interval of the score, from resampled prompts; `None` without bootstrap.
    pub interval: Option<Interval>,
    /// Number of items, with and without scores.
    pub items: usize,
    /// Number of items for which the tool gave no scores.
    pub failed: usize,
    /// Number of items that are left out of the score, because the completion that the tool scores highest has no
    /// label.
    pub unlabelled: usize,
    /// The accuracies at RM-Bench's three difficulties; `None` for other benchmarks.
    pub styles: Option<StyleAccuracies>,
}

/// A tool's results on a benchmark, by category and overall.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchmarkReport {
    /// Name of the benchmark, for the tables.
    pub benchmark: String,
    /// Name of the tool that scored the completions.
    pub tool: String,
    /// Results by category, in the order of the benchmark's published table.
    pub categories: Vec<(String, CategoryResult)>,
    /// The result on the whole benchmark.
    pub overall: CategoryResult,
    /// Categories that the complete benchmark has but the files that were read do not. They are not in the overall
    /// result.
    pub missing: Vec<&'static str>,
    /// What it cost to score all items.
    pub cost: ScoringCost,
}

/// An item and the tool's scores of its completions; `None` where the tool gave no scores.
type ScoredItem<'b> = (&'b Item, Option<&'b [f64]>);

/// What a category's score is computed from: a list of units, which the bootstrap resamples.
enum Units {
    /// The units are items; each has a value from 0 to 1, and the score is their mean.
    Values(Vec<f64>),
    /// The units are prompts of RewardBench 2's Ties; the score is [`ties_score`] as the given version computes it.
    Ties(Vec<TiesPrompt>, RewardBenchVersion),
}

impl Units {
    fn of(items: &[ScoredItem], version: RewardBenchVersion) -> Self {
        if items.first().is_some_and(|(item, _)| item.kind == ItemKind::Ties) {
            let stats = |(item, scores): &ScoredItem| match scores {
                Some(scores) => {
                    let split = SplitScores::of(item, scores);
                    PromptStats::of(&split.correct, &split.incorrect)
                }
                None => PromptStats::without_scores(),
            };
            return Self::Ties(ties_prompts(items.iter().map(|row| (row.0.id.as_str(), stats(row)))), version);
        }
        let value = |(item, scores): &ScoredItem| scores.map_or(Some(0.0), |scores| item_value(item, scores));
        Self::Values(items.iter().filter_map(value).collect())
    }

    fn len(&self) -> usize {
        match self {
            Self::Values(values) => values.len(),
            Self::Ties(prompts, _) => prompts.len(),
        }
    }

    /// The category's score: that of all units.
    fn score(&self) -> CategoryScore {
        match self {
            Self::Values(values) => CategoryScore::mean(values.iter().sum(), values.len()),
            Self::Ties(prompts, version) => CategoryScore::whole(ties_score(prompts, *version), prompts.len()),
        }
    }

    /// The score of a resample. `units` holds the indices of the units that were drawn.
    fn resampled(&self, units: &[usize]) -> CategoryScore {
        match self {
            Self::Values(values) => CategoryScore::mean(units.iter().map(|i| values[*i]).sum(), units.len()),
            Self::Ties(prompts, version) => {
                CategoryScore::whole(ties_score(units.iter().map(|i| &prompts[*i]), *version), units.len())
            }
        }
    }
}

impl BenchmarkReport {
    /// Computes a tool's results from its scores of a benchmark. Without `bootstrap` there are no intervals; `version`
    /// decides the score of Ties.
    pub fn new(
        benchmark: &Benchmark,
        scores: &BenchmarkScores,
        version: RewardBenchVersion,
        bootstrap: Option<Bootstrap>,
    ) -> Self {
        let scored_item = |i: &usize| (&benchmark.items[*i], scores.rows.get(*i).and_then(|row| row.scores.as_deref()));
        let grouped: Vec<(&str, Vec<ScoredItem>)> = benchmark
            .categories()
            .into_iter()
            .map(|(category, items)| (category, items.iter().map(scored_item).collect()))
            .collect();
        let units: Vec<Units> = grouped.iter().map(|(_, items)| Units::of(items, version)).collect();
        let scored_units: Vec<Units> = grouped
            .iter()
            .map(|(_, items)| {
                Units::of(&items.iter().filter(|(_, scores)| scores.is_some()).copied().collect::<Vec<_>>(), version)
            })
            .collect();
        let intervals = intervals(benchmark.average, &units, bootstrap);
        let categories: Vec<(String, CategoryResult)> = grouped
            .iter()
            .enumerate()
            .map(|(i, (name, items))| {
                ((*name).to_owned(), category_result(items, &units[i], &scored_units[i], intervals[i + 1]))
            })
            .collect();
        let score = |units: &[Units]| benchmark.average.of(units.iter().map(Units::score));
        let sum = |f: fn(&CategoryResult) -> usize| categories.iter().map(|(_, result)| f(result)).sum();
        let styles: Option<Vec<StyleAccuracies>> = categories.iter().map(|(_, result)| result.styles).collect();
        let overall = CategoryResult {
            score: score(&units),
            scored_only: scored_units.iter().any(|u| u.len() > 0).then(|| score(&scored_units)),
            interval: intervals[0],
            items: sum(|r| r.items),
            failed: sum(|r| r.failed),
            unlabelled: sum(|r| r.unlabelled),
            styles: styles.filter(|s| !s.is_empty()).map(|s| StyleAccuracies::mean_of(&s)),
        };
        Self {
            benchmark: benchmark.name.clone(),
            tool: scores.tool.clone(),
            categories,
            overall,
            missing: benchmark.missing(),
            cost: scores.cost(),
        }
    }

    /// The results as a table for a terminal, with notes about missing scores and costs below.
    pub fn terminal(&self) -> String {
        format!("{} on {}\n\n{}{}", self.tool, self.benchmark, render(&self.rows()), self.notes(""))
    }

    /// The results as a JSON object.
    pub fn json(&self) -> Value {
        let result = |r: &CategoryResult| {
            let interval = r.interval.map(|i| [i.low, i.high]);
            json!({
                "score": r.score,
                "scored_only": r.scored_only,
                "interval": interval,
                "items": r.items,
                "failed": r.failed,
            })
        };
        let categories: Map<String, Value> =
            self.categories.iter().map(|(name, r)| (name.clone(), result(r))).collect();
        json!({
            "benchmark": self.benchmark,
            "tool": self.tool,
            "overall": result(&self.overall),
            "categories": categories,
            "missing": self.missing,
        })
    }

    /// The results as a Markdown table, with notes about missing scores and costs below.
    pub fn markdown(&self) -> String {
        format!("**{}** on {}\n\n{}{}", self.tool, self.benchmark, markdown(&self.rows()), self.notes("* "))
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let results = self.categories.iter().map(|(name, r)| (name.as_str(), r)).chain([("overall", &self.overall)]);
        let results: Vec<(&str, &CategoryResult)> = results.collect();
        let any = |f: fn(&CategoryResult) -> bool| results.iter().any(|(_, r)| f(r));
        let (intervals, styles) = (any(|r| r.interval.is_some()), any(|r| r.styles.is_some()));
        let (failed, unlabelled) = (any(|r| r.failed > 0), any(|r| r.unlabelled > 0));
        let mut header = vec!["", if failed { "score ≥" } else { "score" }];
        header.extend(intervals.then_some("95 %"));
        header.extend(styles.then_some(["easy", "normal", "hard"]).into_iter().flatten());
        header.push("items");
        header.extend(failed.then_some(["failed", "scored only"]).into_iter().flatten());
        header.extend(unlabelled.then_some("unlabelled"));
        let mut rows = vec![header.into_iter().map(str::to_owned).collect::<Vec<_>>()];
        for (name, r) in results {
            let mut row = vec![name.to_owned(), percent(r.score)];
            row.extend(intervals.then(|| interval_cell(r.interval)));
            if styles {
                let cell = |accuracy: fn(&StyleAccuracies) -> f64| {
                    r.styles.as_ref().map_or("–".into(), |styles| percent(accuracy(styles)))
                };
                row.extend([cell(|s| s.easy), cell(|s| s.normal), cell(|s| s.hard)]);
            }
            row.push(r.items.to_string());
            if failed {
                row.extend([r.failed.to_string(), r.scored_only.map_or("–".into(), percent)]);
            }
            row.extend(unlabelled.then(|| r.unlabelled.to_string()));
            rows.push(row);
        }
        rows
    }

    fn notes(&self, bullet: &str) -> String {
        let mut notes = Vec::new();
        if self.overall.failed > 0 {
            notes.push(format!(
                "lower bound: the tool gave no score on {} of {} items, which count as wrong",
                self.overall.failed, self.overall.items
            ));
        }
        if !self.missing.is_empty() {
            notes.push(format!("the overall score is without: {}", self.missing.join(", ")));
        }
        if self.overall.unlabelled > 0 {
            notes.push(format!("{} items are left out: the picked completion has no label", self.overall.unlabelled));
        }
        let ScoringCost { llm_calls, tokens, seconds } = self.cost;
        if self.cost != ScoringCost::default() {
            notes.push(format!("cost: {llm_calls} LLM calls, {tokens} tokens, {seconds:.1} s"));
        }
        if notes.is_empty() {
            return String::new();
        }
        notes.into_iter().fold("\n".to_owned(), |text, note| text + bullet + &note + "\n")
    }
}

/// The bootstrap interval of the overall score, followed by those of the categories; all are `None` without
/// `bootstrap`.
fn intervals(average: Average, units: &[Units], bootstrap: Option<Bootstrap>) -> Vec<Option<Interval>> {
    let mut intervals = bootstrap.map_or(Vec::new(), |bootstrap| {
        let strata: Vec<usize> = units.iter().map(Units::len).collect();
        bootstrap.intervals(&strata, |draws| {
            let scores: Vec<CategoryScore> = units.iter().zip(draws).map(|(u, draw)| u.resampled(draw)).collect();
            let overall = average.of(scores.iter().copied());
            std::iter::once(overall).chain(scores.iter().map(|s| s.score)).collect()
        })
    });
    intervals.resize(1 + units.len(), None);
    intervals
}

fn category_result(
    items: &[ScoredItem],
    units: &Units,
    scored_units: &Units,
    interval: Option<Interval>,
) -> CategoryResult {
    let has_value = |(item, scores): &&ScoredItem| scores.is_none_or(|scores| item_value(item, scores).is_some());
    let styles = items.iter().all(|(item, _)| item.kind == ItemKind::StyleMatrix).then(|| {
        let accuracies = |(_, scores): &ScoredItem| scores.map_or(StyleAccuracies::default(), StyleAccuracies::of);
        StyleAccuracies::mean_of(&items.iter().map(accuracies).collect::<Vec<_>>())
    });
    CategoryResult {
        score: units.score().score,
        scored_only: (scored_units.len() > 0).then(|| scored_units.score().score),
        interval,
        items: items.len(),
        failed: items.iter().filter(|(_, scores)| scores.is_none()).count(),
        unlabelled: items.len() - items.iter().filter(has_value).count(),
        styles,
    }
}

/// Formats the reports of several tools as the rows of one table, for [`render`] and [`markdown`]: a row per tool, a
/// column per category of the first report.
pub fn side_by_side(reports: &[BenchmarkReport]) -> Vec<Vec<String>> {
    let Some(first) = reports.first() else { return Vec::new() };
    let names: Vec<&str> = first.categories.iter().map(|(name, _)| name.as_str()).collect();
    let header = ["", "overall"].into_iter().chain(names.iter().copied()).map(str::to_owned).collect();
    let cell = |r: &CategoryResult| if r.failed > 0 { format!("≥ {}", percent(r.score)) } else { percent(r.score) };
    let row = |report: &BenchmarkReport| {
        let category = |name: &&str| {
            report.categories.iter().find(|(n, _)| n == name).map_or("–".into(), |(_, result)| cell(result))
        };
        [report.tool.clone(), cell(&report.overall)].into_iter().chain(names.iter().map(category)).collect()
    };
    std::iter::once(header).chain(reports.iter().map(row)).collect()
}

/// An interval of a share as percentages, such as `71.2 to 74.0`.
pub(crate) fn between(interval: &Interval) -> String {
    format!("{} to {}", percent(interval.low), percent(interval.high))
}

/// An interval of a share as percentages, such as `71.2 to 74.0`; a dash where there is no interval.
pub(crate) fn interval_cell(interval: Option<Interval>) -> String {
    interval.map_or("–".into(), |i| between(&i))
}
