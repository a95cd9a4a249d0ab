//! Which tools scored at which steps, from the counts of their calls in the records.

use serde::Serialize;

use crate::metric_table::MetricTable;

/// Largest number of spans of a tool; further ones count as part of the last.
const MAX_SPANS: usize = 50;

/// When a tool scored replies.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ToolService {
    /// The tool's name.
    pub tool: String,
    /// The spans of recorded steps in which it was called without a break.
    pub spans: Vec<StepSpan>,
    /// Number of recorded steps in which it was called.
    pub steps: usize,
    /// Number of calls.
    pub calls: f64,
    /// Number of calls that failed or came too late.
    pub failed: f64,
    /// Number of calls in which it abstained.
    pub abstained: f64,
}

/// Steps from a first to a last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StepSpan {
    /// The first step.
    pub first: u64,
    /// The last step.
    pub last: u64,
}

/// The tools of a run in the order in which they came into use.
pub fn tool_services(table: &MetricTable) -> Vec<ToolService> {
    let name = |column: &str| Some(column.strip_prefix("tools/")?.strip_suffix("/outcomes/asked")?.to_owned());
    let names = table.columns.keys().filter_map(|column| name(column));
    let mut tools: Vec<ToolService> = names.map(|tool| service(table, tool)).filter(|tool| tool.steps > 0).collect();
    tools.sort_by_key(|tool| tool.spans.first().map(|span| span.first));
    tools
}

fn service(table: &MetricTable, tool: String) -> ToolService {
    let column = |count: &str| table.columns.get(&format!("tools/{tool}/outcomes/{count}"));
    let sum = |count: &str| column(count).into_iter().flatten().filter(|value| value.is_finite()).sum::<f64>();
    let mut service = ToolService {
        calls: sum("asked"),
        failed: sum("failed") + sum("late"),
        abstained: sum("abstained"),
        ..ToolService::default()
    };
    let mut was_called = false;
    for (step, calls) in table.steps.iter().zip(column("asked").into_iter().flatten()) {
        let is_called = *calls > 0.0;
        if is_called {
            service.steps += 1;
            let is_full = service.spans.len() >= MAX_SPANS;
            match service.spans.last_mut().filter(|_| was_called || is_full) {
                Some(span) => span.last = *step,
                None => service.spans.push(StepSpan { first: *step, last: *step }),
            }
        }
        was_called = is_called;
    }
    ToolService { tool, ..service }
}
