//! `--route` and `--cross-fit` of `rlar eval`: strategies that choose among tools for each prompt.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, bail};
use rlar_data::Example;
use rlar_eval::bootstrap::Bootstrap;
use rlar_eval::routing::{
    CrossFit, Route, RouteChoice, ScoreTable, Strategy, compare, comparison_rows, cross_fit, cross_fit_rows,
    label_curve, label_curve_rows, leave_one_benchmark_out, left_out_rows,
};
use rlar_eval::score_benchmark::item_example;
use rlar_eval::{Benchmark, BenchmarkScores};
use rlar_net::llm::Llm;
use rlar_rewards::agents::client::LlmClient;
use rlar_rewards::agents::offered::OfferedTool;
use rlar_rewards::agents::select::{ToolSelection, select};
use rlar_rewards::{BuiltinAgent, Library, Rubric, ToolCard, ToolKind, ToolRole};
use serde::Serialize;
use serde_json::json;

use crate::benchmark::table;
use crate::cli::RewardBenchmarkArguments;

/// Minimum number of bootstrap resamples for the confidence intervals of routes.
const RESAMPLES: u32 = 1000;

/// Why signed weights are only an upper bound.
const UPPER_BOUND: &str = "Signed stacking is an upper bound, not a way to reward a policy: a weight below 0 uses a bad tool\n\
                           upside down, for example one that likes the style of a benchmark's wrong replies.";

/// Number of random halvings of the items for `--cross-fit`.
const SPLITS: usize = 200;

/// Fails if `--route` names an unknown route or a static route to a tool without scores, or if there are fewer than two
/// tools to compare. `scored` names the tools that have scores, judges not included.
pub fn check(arguments: &RewardBenchmarkArguments, scored: &[&str]) -> Result<()> {
    for route in &arguments.route {
        match (route.as_str(), route.strip_prefix("static:")) {
            (_, Some(tool)) if !scored.contains(&tool) => {
                bail!("--route {route}: the tools with scores are {}", scored.join(", "))
            }
            ("oracle" | "builtin" | "agent", _) | (_, Some(_)) => {}
            _ => bail!("--route {route}: possible are static:NAME, oracle, builtin, agent"),
        }
    }
    let is_comparison = arguments.cross_fit || !arguments.route.is_empty();
    if is_comparison && scored.len() + arguments.judge.len() < 2 {
        bail!(
            "--route and --cross-fit compare at least two tools; name more with --tool, --model, --judge or --scores"
        );
    }
    Ok(())
}

/// A table about ways to choose among tools, for people. The shares in it are percentages.
#[derive(Debug, Serialize)]
pub struct RoutingTable {
    title: &'static str,
    /// What one must know of it; `None` for nothing.
    note: Option<&'static str>,
    /// The rows, the first of which has the titles of the columns.
    rows: Vec<Vec<String>>,
}

/// The tables as text.
pub fn text(arguments: &RewardBenchmarkArguments, tables: &[RoutingTable]) -> String {
    let note = |note: &str| format!("\n{note}\n");
    let one = |made: &RoutingTable| {
        format!("\n{}\n\n{}{}", made.title, table(arguments, &made.rows), made.note.map(note).unwrap_or_default())
    };
    tables.iter().map(one).collect()
}

/// Tables that compare the routes with single tools, ensembles and oracles.
pub fn tables(
    arguments: &RewardBenchmarkArguments,
    benchmark: &Benchmark,
    scores: &[BenchmarkScores],
    library: &Library,
    llm: Option<&Arc<dyn Llm>>,
    bootstrap: Bootstrap,
) -> Result<Vec<RoutingTable>> {
    let bootstrap = Bootstrap { resamples: arguments.bootstrap.max(RESAMPLES) as usize, ..bootstrap };
    let scores = ScoreTable::new(benchmark, scores)?;
    let (mut cards, mut described) = (Vec::new(), Vec::new());
    for tool in scores.tools() {
        match library.card(&tool.tool) {
            Some(card) => cards.push(card),
            None => described.push(description(&tool.tool, llm)?),
        }
    }
    let router = Router { scores: &scores, library, cards, described };
    let routes: Vec<Route> = arguments.route.iter().filter_map(|name| router.route(name, llm)).collect();
    let lines = compare(&scores, &routes, bootstrap);
    let mut tables = vec![RoutingTable { title: "Choosing among tools", note: None, rows: comparison_rows(&lines) }];
    if arguments.cross_fit {
        tables.extend(fitted_tables(arguments.seed, &scores, bootstrap));
    }
    Ok(tables)
}

/// The tables of `--cross-fit`: strategies that are fitted on one half of the items, on few labels of it, or on other
/// benchmarks.
fn fitted_tables(seed: u64, scores: &ScoreTable, bootstrap: Bootstrap) -> Vec<RoutingTable> {
    let settings = CrossFit { splits: SPLITS, seed, labels: None, bootstrap };
    let mut tables = vec![
        RoutingTable {
            title: "Fitted on one half, reported on the other",
            note: Some(UPPER_BOUND),
            rows: cross_fit_rows(&cross_fit(scores, &Strategy::ALL, settings)),
        },
        RoutingTable {
            title: "Fitted on few labels per category (in brackets, 95 % of what is above the best static tool of the same \
                    labels)",
            note: None,
            rows: label_curve_rows(&label_curve(scores, &Strategy::FEW_LABELS, settings)),
        },
    ];
    let left_out = leave_one_benchmark_out(scores, &Strategy::FEW_LABELS, bootstrap);
    if !left_out.is_empty() {
        let title = "Fitted on the other benchmarks, reported on the one that is left out";
        tables.push(RoutingTable { title, note: None, rows: left_out_rows(&left_out) });
    }
    tables
}

/// A card for a tool that is in no library: a judge, a reward model, or one whose scores were given.
fn description(tool: &str, llm: Option<&Arc<dyn Llm>>) -> Result<ToolCard> {
    let is_judge = llm.is_some_and(|llm| tool.starts_with(&llm.name()));
    let measures = match is_judge {
        true if tool.ends_with("-ratings") => "A language model's rating of the reply, from 1 to 10.".to_owned(),
        true => "Whether a language model prefers the reply to three others.".to_owned(),
        false => format!("How good a reply is, as the reward model {tool} scores it."),
    };
    let rubric: Rubric = serde_json::from_value(json!({ "rubric": measures }))?;
    Ok(ToolCard {
        name: tool.to_owned(),
        kind: ToolKind::Judge(rubric),
        role: ToolRole::Quality,
        measures,
        tasks: vec!["any".into()],
        needs_reference: false,
        bare: false,
        range: [0.0, 1.0],
        cases: Vec::new(),
        origin: "the scores that are compared".into(),
    })
}

/// Chooses, for each item, among the tools of a score table.
struct Router<'a> {
    scores: &'a ScoreTable<'a>,
    library: &'a Library,
    /// The tool cards (`tool.yaml`) of those tools of the table that are in the library.
    cards: Vec<&'a ToolCard>,
    /// Cards for the other tools of the table, which only the language model is offered.
    described: Vec<ToolCard>,
}

impl Router<'_> {
    /// The choices of a route for all items; `None` for `oracle`, which every comparison contains anyway.
    fn route(&self, name: &str, llm: Option<&Arc<dyn Llm>>) -> Option<Route> {
        let route = |choices| Route { name: format!("route {name}"), choices };
        if let Some(index) = name.strip_prefix("static:").and_then(|tool| self.index(tool)) {
            return Some(route(vec![RouteChoice::Tool(index); self.scores.len()]));
        }
        match (name, llm) {
            ("oracle", _) => None,
            ("agent", Some(llm)) => Some(self.agent_route(llm)),
            _ => Some(route(self.examples().map(|example| self.builtin_choice(&example)).collect())),
        }
    }

    fn examples(&self) -> impl Iterator<Item = Example> {
        (0..self.scores.len()).map(|i| item_example(self.scores.item(i)))
    }

    fn index(&self, tool: &str) -> Option<usize> {
        self.scores.tools().iter().position(|scores| scores.tool == tool)
    }

    /// The first tool that the builtin agent (rules, no language model) assigns to the example; equal weights for all
    /// tools of the recorded score table if the agent assigns none or its first one is not in the table.
    fn builtin_choice(&self, example: &Example) -> RouteChoice {
        let assignment = BuiltinAgent.assign(example, self.cards.iter().copied(), &|_| false).ok();
        let index = assignment.and_then(|a| self.index(&a.tools.first()?.tool));
        index.map_or_else(|| RouteChoice::Weights(vec![1.0; self.scores.tools().len()]), RouteChoice::Tool)
    }

    /// The tools of the score table in the form in which the language model is offered them: with what the library has
    /// measured of each tool on examples of the task. Their scores of the items are left out, because they would tell
    /// the language model which completion is labelled as good.
    fn offered<'s>(&'s self, task: &str) -> Vec<OfferedTool<'s>> {
        let offered = |card: &'s ToolCard| {
            let evidence = self.library.evidence(task, &card.name);
            OfferedTool { evidence, ..OfferedTool::unmeasured(card) }
        };
        self.cards.iter().copied().chain(&self.described).map(offered).collect()
    }

    /// The tools and weights that the language model selects for each item; the builtin agent chooses where the model's
    /// answer is unusable.
    fn agent_route(&self, llm: &Arc<dyn Llm>) -> Route {
        let examples: Vec<Example> = self.examples().collect();
        let (mut choices, mut fallbacks) = (Vec::new(), 0);
        for (example, selected) in examples.iter().zip(self.select_all(&examples, llm)) {
            choices.push(match selected {
                Ok(selected) => {
                    let mut weights = vec![0.0; self.scores.tools().len()];
                    for choice in &selected.assignment.tools {
                        if let Some(index) = self.index(&choice.tool) {
                            weights[index] = choice.weight;
                        }
                    }
                    RouteChoice::Weights(weights)
                }
                Err(why) => {
                    fallbacks += 1;
                    tracing::warn!("{}: {why}; the builtin agent chooses", example.id);
                    self.builtin_choice(example)
                }
            });
        }
        let note = match fallbacks {
            0 => String::new(),
            n => format!(" ({n} of {} by the builtin agent)", choices.len()),
        };
        Route { name: format!("route agent{note}"), choices }
    }

    /// What the language model selects for each example, asked about as many at a time as it takes.
    fn select_all(&self, examples: &[Example], llm: &Arc<dyn Llm>) -> Vec<Result<ToolSelection, String>> {
        let client = LlmClient::new(llm.clone());
        let next = AtomicUsize::new(0);
        let work = || {
            let mut selected = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(example) = examples.get(index) else { return selected };
                let task = example.domain.as_deref().unwrap_or("any");
                selected.push((index, select(&client, example, task, &self.offered(task))));
            }
        };
        let mut all = std::thread::scope(|scope| {
            let count = llm.concurrency().min(examples.len());
            let threads: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
            // A thread that panicked ends the program as it would have alone.
            let ended =
                threads.into_iter().map(|thread| thread.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
            ended.flatten().collect::<Vec<_>>()
        });
        all.sort_by_key(|(index, _)| *index);
        all.into_iter().map(|(_, selected)| selected).collect()
    }
}
