//! The routes about what `rlar eval --out` wrote below the folder that is viewed.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde::{Deserialize, Serialize};

use crate::answer::NoAnswer;
use crate::benchmark_results::{ItemsWanted, benchmark, item, items};
use crate::eval_folders::{EvalFolders, benchmark_folder, run_of, suite_folder};
use crate::routes::{Asked, MAX_ROWS, ROWS, Shared, answer};
use crate::server::ViewState;
use crate::suite_results::{SuiteResultView, paired_outcomes, suite_replies, suite_reply, suite_result};

/// The routes.
pub fn routes() -> Router<Arc<ViewState>> {
    Router::new()
        .route("/api/results", get(all_results))
        .route("/api/suite_replies", get(replies_of_suite))
        .route("/api/suite_reply", get(reply_of_suite))
        .route("/api/paired", get(paired))
        .route("/api/benchmark", get(one_benchmark))
        .route("/api/items", get(items_of_tool))
        .route("/api/item", get(one_item))
}

/// What a request asks for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EvalQuestion {
    /// The name of results.
    result: String,
    /// The name of the results that they are compared with.
    other: String,
    tool: String,
    subset: String,
    outcome: String,
    search: String,
    line: usize,
    index: usize,
    offset: usize,
    limit: Option<usize>,
}

impl EvalQuestion {
    fn rows(&self) -> usize {
        self.limit.unwrap_or(ROWS).min(MAX_ROWS)
    }
}

/// All results.
#[derive(Serialize)]
struct ResultsAnswer {
    suites: Vec<SuiteResultView>,
    benchmarks: Vec<BenchmarkName>,
}

/// Results on a benchmark of rewards.
#[derive(Serialize)]
struct BenchmarkName {
    name: String,
    /// The run in whose folder they lie.
    run: Option<String>,
}

/// Answers a question about results.
async fn about<T: Serialize + Send + 'static>(
    state: Arc<ViewState>,
    question: Asked<EvalQuestion>,
    read: impl FnOnce(&ViewState, &EvalQuestion) -> Result<T, NoAnswer> + Send + 'static,
) -> Response {
    answer(question, move |question| read(&state, question)).await
}

async fn all_results(State(state): Shared, question: Asked<EvalQuestion>) -> Response {
    about(state, question, |state, _| {
        let (folders, runs) = (EvalFolders::below(state.catalogue.root()), state.catalogue.runs());
        let suites = folders.suites.iter().filter_map(|folder| {
            suite_result(&folder.name, &folder.path, |engine| run_of(&folder.path, engine, &runs).map(str::to_owned))
        });
        let benchmarks = folders.benchmarks.iter().map(|folder| BenchmarkName {
            name: folder.name.clone(),
            run: run_of(&folder.path, "", &runs).map(str::to_owned),
        });
        Ok(ResultsAnswer { suites: suites.collect(), benchmarks: benchmarks.collect() })
    })
    .await
}

async fn replies_of_suite(State(state): Shared, question: Asked<EvalQuestion>) -> Response {
    about(state, question, |state, asked| {
        let folder = suite_folder(&state.catalogue, &asked.result)?;
        suite_replies(&folder, &asked.search, &asked.outcome, asked.offset, asked.rows())
    })
    .await
}

async fn reply_of_suite(State(state): Shared, question: Asked<EvalQuestion>) -> Response {
    about(state, question, |state, asked| suite_reply(&suite_folder(&state.catalogue, &asked.result)?, asked.line))
        .await
}

async fn paired(State(state): Shared, question: Asked<EvalQuestion>) -> Response {
    about(state, question, |state, asked| {
        let folder = |name| suite_folder(&state.catalogue, name);
        paired_outcomes(&folder(&asked.result)?, &folder(&asked.other)?, asked.rows())
    })
    .await
}

async fn one_benchmark(State(state): Shared, question: Asked<EvalQuestion>) -> Response {
    about(state, question, |state, asked| {
        Ok(benchmark(&benchmark_folder(&state.catalogue, &asked.result)?, &state.items))
    })
    .await
}

async fn items_of_tool(State(state): Shared, question: Asked<EvalQuestion>) -> Response {
    about(state, question, |state, asked| {
        let folder = benchmark_folder(&state.catalogue, &asked.result)?;
        let page = ItemsWanted {
            tool: &asked.tool,
            subset: &asked.subset,
            outcome: &asked.outcome,
            offset: asked.offset,
            limit: asked.rows(),
        };
        items(&folder, &state.items, page)
    })
    .await
}

async fn one_item(State(state): Shared, question: Asked<EvalQuestion>) -> Response {
    about(state, question, |state, asked| {
        item(&benchmark_folder(&state.catalogue, &asked.result)?, &state.items, &asked.tool, asked.index)
    })
    .await
}
