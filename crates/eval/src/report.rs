//! A tool's figures on a benchmark, with what they leave open.

use crate::bootstrap::{Bootstrap, Interval};
use crate::item::{Average, Benchmark, Item, Kind};
use crate::metric::{Styles, apart, value};
use crate::scores::{Cost, Scores};
use crate::table::{markdown, render};
use crate::ties::{self, Compat, Spread};

/// One figure and how sure it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// From 0 to 1 (Ties: from −0.01 to 1.01). Items that the tool failed on count as lost, which makes it a lower
    /// bound where there are any.
    pub score: f64,
    /// The same over the items that have scores; `None` when none has.
    pub scored_only: Option<f64>,
    /// 95 %, from resampled prompts.
    pub interval: Option<Interval>,
    /// Items.
    pub items: usize,
    /// Items that the tool failed on.
    pub failed: usize,
    /// Items left out because nobody labelled what the tool picked.
    pub unlabelled: usize,
    /// RM-Bench's three difficulties.
    pub styles: Option<Styles>,
}

/// A tool's figures.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The benchmark.
    pub benchmark: String,
    /// The tool.
    pub tool: String,
    /// By category, in the order of the benchmark's table.
    pub categories: Vec<(String, Figure)>,
    /// All of it.
    pub overall: Figure,
    /// Categories of the whole benchmark that are not in the files: the overall figure is without them.
    pub missing: Vec<&'static str>,
    /// What scoring cost.
    pub cost: Cost,
}

/// What is resampled together.
enum Units {
    Values(Vec<f64>),
    Ties(Vec<ties::Prompt>, Compat),
}

/// Items and their scores.
type Rows<'b> = Vec<(&'b Item, Option<&'b [f64]>)>;

impl Units {
    fn of(rows: &[(&Item, Option<&[f64]>)], compat: Compat) -> Self {
        if rows.first().is_some_and(|(item, _)| item.kind == Kind::Ties) {
            let spread = |(item, scores): &(&Item, Option<&[f64]>)| match scores {
                Some(scores) => {
                    let (right, wrong) = apart(item, scores);
                    Spread::of(&right, &wrong)
                }
                None => Spread::lost(),
            };
            return Self::Ties(ties::prompts(rows.iter().map(|r| (r.0.id.as_str(), spread(r)))).clone(), compat);
        }
        Self::Values(rows.iter().filter_map(|(item, s)| s.map_or(Some(0.0), |s| value(item, s))).collect())
    }

    fn len(&self) -> usize {
        match self {
            Self::Values(values) => values.len(),
            Self::Ties(prompts, _) => prompts.len(),
        }
    }

    fn score(&self) -> f64 {
        match self {
            Self::Values(values) => mean(values),
            Self::Ties(prompts, compat) => ties::score(prompts, *compat),
        }
    }

    fn resampled(&self, draw: &[usize]) -> f64 {
        match self {
            Self::Values(values) => draw.iter().map(|i| values[*i]).sum::<f64>() / draw.len().max(1) as f64,
            Self::Ties(prompts, compat) => ties::score(draw.iter().map(|i| &prompts[*i]), *compat),
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Figures of categories, with their numbers of units, as one.
fn overall(average: Average, parts: impl Iterator<Item = (f64, usize)>) -> f64 {
    let (mut sum, mut weight) = (0.0, 0.0);
    for (score, units) in parts.filter(|p| p.1 > 0) {
        let w = if average == Average::Categories { 1.0 } else { units as f64 };
        sum += w * score;
        weight += w;
    }
    if weight > 0.0 { sum / weight } else { 0.0 }
}

impl Report {
    /// Adds up a tool's scores of the same benchmark; `bootstrap` for intervals.
    pub fn of(benchmark: &Benchmark, scores: &Scores, compat: Compat, bootstrap: Option<Bootstrap>) -> Self {
        let rows = |places: &[usize]| -> Rows {
            let row = |i: &usize| (&benchmark.items[*i], scores.rows.get(*i).and_then(|r| r.scores.as_deref()));
            places.iter().map(row).collect()
        };
        let grouped: Vec<(&str, Rows)> = benchmark.categories().iter().map(|(c, p)| (*c, rows(p))).collect();
        let units: Vec<Units> = grouped.iter().map(|(_, rows)| Units::of(rows, compat)).collect();
        let scored: Vec<Units> = grouped
            .iter()
            .map(|(_, rows)| Units::of(&rows.iter().filter(|r| r.1.is_some()).copied().collect::<Rows>(), compat))
            .collect();
        let mut intervals = bootstrap.map_or(Vec::new(), |b| {
            let strata: Vec<usize> = units.iter().map(Units::len).collect();
            b.intervals(&strata, |draws| {
                let parts: Vec<f64> = units.iter().zip(draws).map(|(u, d)| u.resampled(d)).collect();
                let total = overall(benchmark.average, parts.iter().copied().zip(strata.iter().copied()));
                std::iter::once(total).chain(parts).collect()
            })
        });
        intervals.resize(1 + units.len(), None);
        let mut categories = Vec::new();
        for (i, (name, rows)) in grouped.iter().enumerate() {
            let known = |(item, s): &&(&Item, Option<&[f64]>)| s.is_none_or(|s| value(item, s).is_some());
            let styles = rows.iter().all(|(item, _)| item.kind == Kind::Styles).then(|| {
                let all: Vec<Styles> = rows.iter().map(|(_, s)| s.map_or(Styles::default(), Styles::of)).collect();
                Styles::mean_of(&all)
            });
            let figure = Figure {
                score: units[i].score(),
                scored_only: (scored[i].len() > 0).then(|| scored[i].score()),
                interval: intervals[i + 1],
                items: rows.len(),
                failed: rows.iter().filter(|r| r.1.is_none()).count(),
                unlabelled: rows.len() - rows.iter().filter(known).count(),
                styles,
            };
            categories.push(((*name).to_owned(), figure));
        }
        let parts = |units: &[Units]| overall(benchmark.average, units.iter().map(|u| (u.score(), u.len())));
        let sum = |f: fn(&Figure) -> usize| categories.iter().map(|(_, figure)| f(figure)).sum();
        let styles: Option<Vec<Styles>> = categories.iter().map(|(_, f)| f.styles).collect();
        let overall = Figure {
            score: parts(&units),
            scored_only: scored.iter().any(|u| u.len() > 0).then(|| parts(&scored)),
            interval: intervals[0],
            items: sum(|f| f.items),
            failed: sum(|f| f.failed),
            unlabelled: sum(|f| f.unlabelled),
            styles: styles.filter(|s| !s.is_empty()).map(|s| Styles::mean_of(&s)),
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

    /// The table for a terminal, with notes below.
    pub fn terminal(&self) -> String {
        format!("{} on {}\n\n{}{}", self.tool, self.benchmark, render(&self.rows()), self.notes(""))
    }

    /// The table in Markdown, with notes below.
    pub fn markdown(&self) -> String {
        format!("**{}** on {}\n\n{}{}", self.tool, self.benchmark, markdown(&self.rows()), self.notes("* "))
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let all = self.categories.iter().map(|(n, f)| (n.as_str(), f)).chain([("overall", &self.overall)]);
        let all: Vec<(&str, &Figure)> = all.collect();
        let any = |f: fn(&Figure) -> bool| all.iter().any(|(_, figure)| f(figure));
        let (intervals, styles) = (any(|f| f.interval.is_some()), any(|f| f.styles.is_some()));
        let (failed, unlabelled) = (any(|f| f.failed > 0), any(|f| f.unlabelled > 0));
        let mut header = vec!["", if failed { "score ≥" } else { "score" }];
        header.extend(intervals.then_some("95 %"));
        header.extend(styles.then_some(["easy", "normal", "hard"]).into_iter().flatten());
        header.push("items");
        header.extend(failed.then_some(["failed", "scored only"]).into_iter().flatten());
        header.extend(unlabelled.then_some("unlabelled"));
        let mut rows = vec![header.into_iter().map(str::to_owned).collect::<Vec<_>>()];
        for (name, f) in all {
            let mut row = vec![name.to_owned(), percent(f.score)];
            row.extend(intervals.then(|| f.interval.map_or("–".into(), |i| between(&i))));
            if styles {
                let of = |part: fn(&Styles) -> f64| f.styles.as_ref().map_or("–".into(), |s| percent(part(s)));
                row.extend([of(|s| s.easy), of(|s| s.normal), of(|s| s.hard)]);
            }
            row.push(f.items.to_string());
            if failed {
                row.extend([f.failed.to_string(), f.scored_only.map_or("–".into(), percent)]);
            }
            row.extend(unlabelled.then(|| f.unlabelled.to_string()));
            rows.push(row);
        }
        rows
    }

    fn notes(&self, mark: &str) -> String {
        let mut notes = Vec::new();
        if self.overall.failed > 0 {
            notes.push(format!(
                "lower bound: the tool gave no score on {} of {} items, which count as wrong",
                self.overall.failed, self.overall.items
            ));
        }
        if !self.missing.is_empty() {
            notes.push(format!("the overall figure is without: {}", self.missing.join(", ")));
        }
        if self.overall.unlabelled > 0 {
            notes.push(format!("{} items are left out: nobody labelled what was picked", self.overall.unlabelled));
        }
        let Cost { llm_calls, tokens, seconds } = self.cost;
        if self.cost != Cost::default() {
            notes.push(format!("cost: {llm_calls} LLM calls, {tokens} tokens, {seconds:.1} s"));
        }
        if notes.is_empty() {
            return String::new();
        }
        notes.into_iter().fold("\n".to_owned(), |text, note| text + mark + &note + "\n")
    }
}

/// Tools beside each other: a row per report, a column per category of the first, for [`render`] and [`markdown`].
pub fn side_by_side(reports: &[Report]) -> Vec<Vec<String>> {
    let Some(first) = reports.first() else { return Vec::new() };
    let names: Vec<&str> = first.categories.iter().map(|(n, _)| n.as_str()).collect();
    let header = ["", "overall"].into_iter().chain(names.iter().copied()).map(str::to_owned).collect();
    let shown = |f: &Figure| if f.failed > 0 { format!("≥ {}", percent(f.score)) } else { percent(f.score) };
    let row = |report: &Report| {
        let of =
            |name: &&str| report.categories.iter().find(|(n, _)| n == name).map_or("–".into(), |(_, f)| shown(f));
        [report.tool.clone(), shown(&report.overall)].into_iter().chain(names.iter().map(of)).collect()
    };
    std::iter::once(header).chain(reports.iter().map(row)).collect()
}

/// A share as a percentage with one decimal.
pub(crate) fn percent(x: f64) -> String {
    format!("{:.1}", 100.0 * x)
}

/// An interval as percentages.
pub(crate) fn between(interval: &Interval) -> String {
    format!("{} to {}", percent(interval.low), percent(interval.high))
}
