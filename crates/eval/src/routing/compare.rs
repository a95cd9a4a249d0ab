//! Everything side by side on the same items.

use super::{Choice, Strategy, Table, first_max};
use crate::bootstrap::{Bootstrap, Interval};
use crate::report::{between, percent};
use crate::scores::Cost;

/// Choices made elsewhere: by an agent, by a person, by a fitted rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// What tables call it.
    pub name: String,
    /// A choice per item of the table.
    pub choices: Vec<Choice>,
}

/// A way to score the items, and what it is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// What it is.
    pub name: String,
    /// The benchmark's mean, from 0 to 1.
    pub score: f64,
    /// 95 %, from resampled items.
    pub interval: Option<Interval>,
    /// How far it is above the best static tool.
    pub above: f64,
    /// 95 % of that, from the same resamples: paired.
    pub above_interval: Option<Interval>,
    /// Of the items on which tools differ, the share on which this is worth as much as the best of them; `None`
    /// where they never differ.
    pub selector: Option<f64>,
    /// What it cost; an oracle costs what asking every tool costs.
    pub cost: Cost,
}

/// Lines of every tool, the best static one, the uniform ensemble, the given routes, and the oracles that know the
/// labels: the best tool of each category and of each item. The best static tool is the best on these very items,
/// which favours it, as the oracles.
pub fn compare(table: &Table, routes: &[Route], bootstrap: Bootstrap) -> Vec<Line> {
    let items: Vec<usize> = (0..table.len()).collect();
    let tools = table.tools().len();
    let everything = Choice::Weights(vec![1.0; tools]);
    let best = table.best(&items);
    let mut kinds: Vec<(String, Vec<Choice>)> =
        (0..tools).map(|t| (table.tools()[t].tool.clone(), same(table, t))).collect();
    kinds.push((format!("best static tool ({})", table.tools()[best].tool), same(table, best)));
    kinds.push(("uniform ensemble".into(), vec![everything.clone(); table.len()]));
    kinds.extend(routes.iter().map(|r| (r.name.clone(), r.choices.clone())));
    let scales = table.scales(&items);
    let worth = |choices: &[Choice]| -> Vec<Option<f64>> {
        items.iter().map(|i| table.worth(*i, choices.get(*i)?, &scales)).collect()
    };
    let mut lines: Vec<(String, Vec<Option<f64>>, Cost)> = kinds
        .into_iter()
        .map(|(name, choices)| {
            let cost = items.iter().filter_map(|i| Some(table.cost(*i, choices.get(*i)?))).sum();
            let worth = worth(&choices);
            (name, worth, cost)
        })
        .collect();
    let all: Cost = items.iter().map(|i| table.cost(*i, &everything)).sum();
    let rule = Strategy::Category.fit(table, &items);
    lines.push(("oracle per category".into(), items.iter().map(|i| rule.worth(table, *i)).collect(), all));
    let of_item = |i: &usize| first_max((0..tools).map(|t| table.value(t, *i)));
    lines.push(("oracle per item".into(), items.iter().map(|i| Some(table.value(of_item(i), *i))).collect(), all));
    finished(table, &items, &lines, best, bootstrap)
}

fn same(table: &Table, tool: usize) -> Vec<Choice> {
    vec![Choice::Tool(tool); table.len()]
}

fn finished(
    table: &Table,
    items: &[usize],
    lines: &[(String, Vec<Option<f64>>, Cost)],
    best: usize,
    bootstrap: Bootstrap,
) -> Vec<Line> {
    let groups = table.grouped(items);
    let strata: Vec<usize> = groups.iter().map(Vec::len).collect();
    let means =
        |items: &[usize]| -> Vec<f64> { lines.iter().map(|(_, worth, _)| table.mean(items, |i| worth[i])).collect() };
    // Both statistics of a line: its mean, and how far it is above the static tool.
    let with_lead = |means: Vec<f64>| -> Vec<f64> { means.iter().flat_map(|m| [*m, m - means[best]]).collect() };
    let intervals = bootstrap.intervals(&strata, |draws| {
        let drawn: Vec<usize> = groups.iter().zip(draws).flat_map(|(g, d)| d.iter().map(|k| g[*k])).collect();
        with_lead(means(&drawn))
    });
    let figures = with_lead(means(items));
    let interval = |i: usize| intervals.get(i).copied().flatten();
    let line = |(i, (name, worth, cost)): (usize, &(String, Vec<Option<f64>>, Cost))| Line {
        name: name.clone(),
        score: figures[2 * i],
        interval: interval(2 * i),
        above: figures[2 * i + 1],
        above_interval: interval(2 * i + 1),
        selector: selector(table, worth),
        cost: *cost,
    };
    lines.iter().enumerate().map(line).collect()
}

fn selector(table: &Table, worth: &[Option<f64>]) -> Option<f64> {
    let (mut differ, mut reached) = (0u32, 0u32);
    for (i, worth) in worth.iter().enumerate() {
        let values = || (0..table.tools().len()).map(|t| table.value(t, i));
        let high = values().fold(f64::NEG_INFINITY, f64::max);
        if values().any(|v| v < high) {
            differ += 1;
            reached += u32::from(worth.is_some_and(|w| w >= high));
        }
    }
    (differ > 0).then(|| f64::from(reached) / f64::from(differ))
}

/// Lines as the rows of a table, for [`crate::table::render`] and [`crate::table::markdown`].
pub fn rows(lines: &[Line]) -> Vec<Vec<String>> {
    let costs = lines.iter().any(|l| l.cost != Cost::default());
    let mut header = vec!["", "score", "95 %", "above static", "95 %", "selector"];
    header.extend(costs.then_some(["LLM calls", "tokens", "seconds"]).into_iter().flatten());
    let mut rows = vec![header.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    for line in lines {
        let interval = |i: Option<Interval>| i.map_or("–".into(), |i| between(&i));
        let mut row = vec![
            line.name.clone(),
            percent(line.score),
            interval(line.interval),
            format!("{:+.1}", 100.0 * line.above),
            interval(line.above_interval),
            line.selector.map_or("–".into(), percent),
        ];
        let Cost { llm_calls, tokens, seconds } = line.cost;
        row.extend(
            costs.then(|| [llm_calls.to_string(), tokens.to_string(), format!("{seconds:.1}")]).into_iter().flatten(),
        );
        rows.push(row);
    }
    rows
}
