//! Compares tools, ensembles, given routes and oracles on the same items.

use rlar_run::percent;

use super::{RouteChoice, ScoreTable, Strategy, first_max};
use crate::bootstrap::{Bootstrap, Interval};
use crate::report::interval_cell;
use crate::scores::ScoringCost;

/// A choice of a tool or of weights for every item, made by something outside this crate, such as an agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The route's name in tables.
    pub name: String,
    /// What scores each item: one choice per item of the [`ScoreTable`].
    pub choices: Vec<RouteChoice>,
}

/// One row of the comparison: a way to score the items, and how good it is.
#[derive(Clone, Debug, PartialEq)]
pub struct ComparisonRow {
    /// Name of this way to score the items, such as that of a tool.
    pub name: String,
    /// The mean value of the items, averaged as the benchmark does; from 0 to 1.
    pub score: f64,
    /// 95 % bootstrap interval of the score, from resampled items; `None` without resamples.
    pub interval: Option<Interval>,
    /// The score minus that of the best static tool, which is the best single tool for all items.
    pub above: f64,
    /// 95 % bootstrap interval of `above`, where the two scores are computed on the same resampled items (paired);
    /// `None` without resamples.
    pub above_interval: Option<Interval>,
    /// How often the choice is a best one: of the items on which the tools have different values, the share on which
    /// this way to score reaches the highest value of any tool. `None` where the tools have equal values on every item.
    pub selector: Option<f64>,
    /// What it cost to score all items. An oracle costs as much as all tools together.
    pub cost: ScoringCost,
}

/// One way to choose a tool for each item, with what it gives for every item; the averages are computed from it.
struct ComparedRoute {
    name: String,
    /// How well the route scores each item, from 0 to 1 (see `item_value`); `None` where the completion with the
    /// highest score has no label, or where the route has no choice for the item.
    values: Vec<Option<f64>>,
    cost: ScoringCost,
}

/// Compares each tool, the best static tool (the best single tool for all items), the ensemble of all tools with equal
/// weights, the given routes, and two oracles that know the labels: one uses the best tool of each category, the other
/// the best tool of each item.
///
/// The best static tool is chosen on the same items on which it is evaluated, so its score is too optimistic, as are
/// those of the oracles.
pub fn compare(table: &ScoreTable, routes: &[Route], bootstrap: Bootstrap) -> Vec<ComparisonRow> {
    let items: Vec<usize> = (0..table.len()).collect();
    let tools = table.tools();
    let best = table.best(&items);
    let always = |tool: usize| vec![RouteChoice::Tool(tool); table.len()];
    let ensemble = RouteChoice::Weights(vec![1.0; tools.len()]);
    let mut routed: Vec<Route> =
        tools.iter().enumerate().map(|(t, tool)| Route { name: tool.tool.clone(), choices: always(t) }).collect();
    routed.push(Route { name: format!("best static tool ({})", tools[best].tool), choices: always(best) });
    routed.push(Route { name: "uniform ensemble".into(), choices: vec![ensemble.clone(); table.len()] });
    routed.extend(routes.iter().cloned());
    let scales = table.scales(&items);
    let mut candidates: Vec<ComparedRoute> = routed
        .into_iter()
        .map(|Route { name, choices }| ComparedRoute {
            name,
            values: items.iter().map(|i| table.choice_value(*i, choices.get(*i)?, &scales)).collect(),
            cost: items.iter().filter_map(|i| Some(table.cost(*i, choices.get(*i)?))).sum(),
        })
        .collect();
    let cost: ScoringCost = items.iter().map(|i| table.cost(*i, &ensemble)).sum();
    let by_category = Strategy::Category.fit(table, &items);
    let values = items.iter().map(|i| by_category.value(table, *i)).collect();
    candidates.push(ComparedRoute { name: "oracle per category".into(), values, cost });
    let best_of_item = |i: &usize| first_max((0..tools.len()).map(|t| table.value(t, *i)));
    let values = items.iter().map(|i| Some(table.value(best_of_item(i), *i))).collect();
    candidates.push(ComparedRoute { name: "oracle per item".into(), values, cost });
    with_intervals(table, &items, &candidates, best, bootstrap)
}

/// Averages each candidate over the items and computes bootstrap intervals. `best` is the index of the best static tool
/// among the candidates.
fn with_intervals(
    table: &ScoreTable,
    items: &[usize],
    candidates: &[ComparedRoute],
    best: usize,
    bootstrap: Bootstrap,
) -> Vec<ComparisonRow> {
    let groups = table.by_category(items);
    let strata: Vec<usize> = groups.iter().map(Vec::len).collect();
    // Two statistics per candidate: its mean, and this mean minus that of the best static tool.
    let statistics = |items: &[usize]| -> Vec<f64> {
        let means: Vec<f64> = candidates.iter().map(|c| table.mean(items, |i| c.values[i])).collect();
        means.iter().flat_map(|mean| [*mean, mean - means[best]]).collect()
    };
    let intervals = bootstrap.intervals(&strata, |draws| {
        let drawn: Vec<usize> = groups.iter().zip(draws).flat_map(|(g, draw)| draw.iter().map(|k| g[*k])).collect();
        statistics(&drawn)
    });
    let scores = statistics(items);
    let interval = |i: usize| intervals.get(i).copied().flatten();
    let row = |(i, candidate): (usize, &ComparedRoute)| ComparisonRow {
        name: candidate.name.clone(),
        score: scores[2 * i],
        interval: interval(2 * i),
        above: scores[2 * i + 1],
        above_interval: interval(2 * i + 1),
        selector: selector_accuracy(table, &candidate.values),
        cost: candidate.cost,
    };
    candidates.iter().enumerate().map(row).collect()
}

fn selector_accuracy(table: &ScoreTable, values: &[Option<f64>]) -> Option<f64> {
    let (mut differ, mut reached) = (0u32, 0u32);
    for (i, value) in values.iter().enumerate() {
        let of_tools = || (0..table.tools().len()).map(|t| table.value(t, i));
        let highest = of_tools().fold(f64::NEG_INFINITY, f64::max);
        if of_tools().any(|v| v < highest) {
            differ += 1;
            reached += u32::from(value.is_some_and(|v| v >= highest));
        }
    }
    (differ > 0).then(|| f64::from(reached) / f64::from(differ))
}

/// Formats the comparison as the rows of a table, for [`crate::table::render`] and [`crate::table::markdown`].
pub fn comparison_rows(rows: &[ComparisonRow]) -> Vec<Vec<String>> {
    let has_costs = rows.iter().any(|r| r.cost != ScoringCost::default());
    let mut header = vec!["", "score", "95 %", "above static", "95 %", "selector"];
    header.extend(has_costs.then_some(["LLM calls", "tokens", "seconds"]).into_iter().flatten());
    let mut table = vec![header.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    for row in rows {
        let mut cells = vec![
            row.name.clone(),
            percent(row.score),
            interval_cell(row.interval),
            format!("{:+.1}", 100.0 * row.above),
            interval_cell(row.above_interval),
            row.selector.map_or("–".into(), percent),
        ];
        if has_costs {
            let ScoringCost { llm_calls, tokens, seconds } = row.cost;
            cells.extend([llm_calls.to_string(), tokens.to_string(), format!("{seconds:.1}")]);
        }
        table.push(cells);
    }
    table
}
