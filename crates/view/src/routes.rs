//! The routes: which path answers what. All answers are JSON, but for the page and the events.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};

use crate::answer::{NoAnswer, found};
use crate::assignments::assignments;
use crate::config_values::{ConfigValue, config_values};
use crate::downsample::{SampledMetrics, downsample};
use crate::evaluations::{EvaluationsView, evaluations};
use crate::exchanges::{ExchangeDetail, exchange, exchanges};
use crate::hints::marks;
use crate::json_lines::FileProblem;
use crate::judge_exchanges::{JudgeExchanges, judge_exchanges};
use crate::library::{is_judge, library};
use crate::measured_by::{MeasuredBy, measured_by};
use crate::metric_table::{MetricTable, StepMark};
use crate::prompt_means::prompt_means;
use crate::reply_search::search_replies;
use crate::rollouts::{
    GroupSummary, NumberBounds, ReplyDetail, ReplyFilter, RolloutStep, group, groups, replies, reply, rollout_steps,
};
use crate::run_environment::run_environment;
use crate::score_distributions::score_distributions;
use crate::server::ViewState;
use crate::summary::{RunSummary, summary};
use crate::tool_service::{ToolService, tool_services};
use crate::{assets, eval_routes, guard};

/// Number of points of a column if a request does not say it, and the largest.
const POINTS: usize = 600;
const MAX_POINTS: usize = 5000;
/// Number of rows of a page if a request does not say it, and the largest.
pub const ROWS: usize = 50;
pub const MAX_ROWS: usize = 500;

pub type Shared = State<Arc<ViewState>>;
pub type Asked<T> = Result<Query<T>, QueryRejection>;

/// The routes with the guard that every request passes.
pub fn router(state: Arc<ViewState>) -> Router {
    Router::new()
        .route("/", get(assets::index))
        .route("/page/{*name}", get(assets::file))
        .route("/api/runs", get(all_runs))
        .route("/api/config", get(run_config))
        .route("/api/environment", get(environment))
        .route("/api/metrics", get(run_metrics))
        .route("/api/hints", get(run_hints))
        .route("/api/steps", get(run_steps))
        .route("/api/groups", get(step_groups))
        .route("/api/group", get(step_group))
        .route("/api/replies", get(step_replies))
        .route("/api/reply", get(step_reply))
        .route("/api/judged", get(reply_judged))
        .route("/api/search", get(run_search))
        .route("/api/prompt", get(prompt_history))
        .route("/api/library", get(run_library))
        .route("/api/service", get(run_service))
        .route("/api/scores", get(run_scores))
        .route("/api/assignments", get(run_assignments))
        .route("/api/exchanges", get(run_exchanges))
        .route("/api/exchange", get(one_exchange))
        .route("/api/evaluations", get(run_evaluations))
        .route("/api/measured_by", get(run_measured_by))
        .route("/api/prompt_means", get(run_prompt_means))
        .merge(eval_routes::routes())
        .route("/api/growth", get(growth))
        .fallback(no_route)
        .layer(from_fn(guard::guard))
        .with_state(state)
}

async fn no_route() -> NoAnswer {
    NoAnswer::not_found("no_route", "there is no such path; docs/how-to/view.md lists the routes")
}

/// What a request asks for; every route reads what it needs.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Question {
    run: String,
    step: u64,
    group: i64,
    row: usize,
    line: usize,
    /// Names of columns, one per line, because they may have commas.
    columns: String,
    points: Option<usize>,
    from: Option<u64>,
    to: Option<u64>,
    offset: usize,
    limit: Option<usize>,
    search: String,
    tool: String,
    outcome: String,
    domain: String,
    finish: String,
    example: String,
    advantage: String,
    least_advantage: Option<f64>,
    most_advantage: Option<f64>,
    least_score: Option<f64>,
    most_score: Option<f64>,
    /// The newest step that is searched.
    up_to: Option<u64>,
    sort: String,
}

impl Question {
    fn rows(&self) -> usize {
        self.limit.unwrap_or(ROWS).min(MAX_ROWS)
    }

    fn filter(&self) -> ReplyFilter {
        let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        ReplyFilter {
            tool: given(&self.tool),
            outcome: given(&self.outcome),
            score: NumberBounds { least: self.least_score, most: self.most_score },
            domain: given(&self.domain),
            finish: given(&self.finish),
            advantage: given(&self.advantage),
            advantages: NumberBounds { least: self.least_advantage, most: self.most_advantage },
            search: given(&self.search),
            sort: given(&self.sort),
        }
    }
}

/// All runs.
#[derive(Serialize)]
struct RunsAnswer {
    /// The folder that is viewed.
    folder: String,
    runs: Vec<RunSummary>,
}

/// The metrics of a run.
#[derive(Serialize)]
struct MetricsAnswer {
    /// Number of recorded steps.
    steps: usize,
    first_step: Option<u64>,
    last_step: Option<u64>,
    /// The names of all columns.
    names: Vec<String>,
    problems: Vec<FileProblem>,
    #[serde(flatten)]
    sampled: SampledMetrics,
}

#[derive(Serialize)]
struct HintsAnswer {
    marks: Vec<StepMark>,
}

#[derive(Serialize)]
struct StepsAnswer {
    steps: Vec<RolloutStep>,
}

#[derive(Serialize)]
struct GroupsAnswer {
    groups: Vec<GroupSummary>,
}

#[derive(Serialize)]
struct ReplyAnswer {
    #[serde(flatten)]
    detail: ReplyDetail,
    /// The text that each token adds; empty if the run has no tokenizer that can be read.
    token_texts: Vec<String>,
}

#[derive(Serialize)]
struct JudgedAnswer {
    /// The judges among the tools of the reply.
    judges: Vec<String>,
    /// What they were asked about it and answered.
    exchanges: Vec<ExchangeDetail>,
    problems: Vec<FileProblem>,
}

#[derive(Serialize)]
struct ServiceAnswer {
    first_step: Option<u64>,
    last_step: Option<u64>,
    tools: Vec<ToolService>,
}

#[derive(Serialize)]
struct EvaluationsAnswer {
    #[serde(flatten)]
    view: EvaluationsView,
    measured_by: MeasuredBy,
}

#[derive(Serialize)]
struct ConfigAnswer {
    values: Vec<ConfigValue>,
}

async fn all_runs(State(state): Shared) -> Response {
    let read = tokio::task::spawn_blocking(move || RunsAnswer {
        folder: state.catalogue.root().display().to_string(),
        runs: state.catalogue.runs().iter().map(summary).collect(),
    });
    match read.await {
        Ok(runs) => found(&runs),
        Err(_) => NoAnswer::internal("reading the runs panicked").into_response(),
    }
}

/// Answers a question on a thread that may wait for the disk.
pub async fn answer<Q: Send + 'static, T: Serialize + Send + 'static>(
    question: Asked<Q>,
    read: impl FnOnce(&Q) -> Result<T, NoAnswer> + Send + 'static,
) -> Response {
    let question = match question {
        Ok(Query(question)) => question,
        Err(refused) => return NoAnswer::bad_request(refused.body_text()).into_response(),
    };
    match tokio::task::spawn_blocking(move || read(&question)).await {
        Ok(Ok(answer)) => found(&answer),
        Ok(Err(error)) => error.into_response(),
        Err(_) => NoAnswer::internal("reading the files panicked; please report it").into_response(),
    }
}

/// Answers a question about a run.
async fn about<T: Serialize + Send + 'static>(
    state: Arc<ViewState>,
    question: Asked<Question>,
    read: impl FnOnce(&ViewState, &Path, &Question) -> Result<T, NoAnswer> + Send + 'static,
) -> Response {
    answer(question, move |question| {
        let folder = state.catalogue.folder(&question.run)?;
        match read(&state, &folder, question) {
            // What is not found in a folder that is gone was deleted with it.
            Err(error) if error.is_not_found() => Err(state.catalogue.folder(&question.run).err().unwrap_or(error)),
            answer => answer,
        }
    })
    .await
}

async fn run_config(State(state): Shared, question: Asked<Question>) -> Response {
    about(state, question, |_, run, _| Ok(ConfigAnswer { values: config_values(run)? })).await
}

async fn environment(State(state): Shared, question: Asked<Question>) -> Response {
    about(state, question, |_, run, _| Ok(run_environment(run))).await
}

async fn run_metrics(State(state): Shared, question: Asked<Question>) -> Response {
    about(state, question, |state, run, asked| {
        let names: Vec<&str> = asked.columns.split('\n').filter(|name| !name.is_empty()).collect();
        let (from, to) = (asked.from.unwrap_or(0), asked.to.unwrap_or(u64::MAX));
        let points = asked.points.unwrap_or(POINTS).clamp(1, MAX_POINTS);
        state.tables.with(&asked.run, run, |table| MetricsAnswer {
            steps: table.steps.len(),
            first_step: table.steps.first().copied(),
            last_step: table.steps.last().copied(),
            names: table.columns.keys().cloned().collect(),
            problems: table.problems.clone(),
            sampled: downsample(table, &names, from, to, points),
        })
    })
    .await
}

async fn run_hints(State(state): Shared, question: Asked<Question>) -> Response {
    about(state, question, |state, run, asked| {
        let marks = state.tables.with(&asked.run, run, |table| marks(run, table))??;
        Ok(HintsAnswer { marks })
    })
    .await
}

async fn run_steps(State(state): Shared, question: Asked<Question>) -> Response {
    about(state, question, |_, run, _| Ok(StepsAnswer { steps: rollout_steps(run) })).await
}

async fn step_groups(State(state): Shared, question: Asked<Question>) -> Response {
    about(state, question, |_, run, asked| Ok(GroupsAnswer { groups: groups(run, asked.step)? })).await
}

async fn step_group(State(state): Shared, question: Asked<Question>) -> Response {
    about(state, question, |_, run, asked| group(run, asked.step, asked.group)).await
}

async fn step_reply(State(state): Shared, question: Asked<Question>) -> Response {
    about(state, question, |state, run, asked| {
        let detail = reply(run, asked.step, asked.row)?;
        Ok(ReplyAnswer { token_texts: state.tokens.of(run, &detail.token_ids), detail })
    })
    .await
}

async fn step_replies(State(state): Shared, question: Asked<Question>) -> Response {
    about(state, question, |_, run, asked| replies(run, asked.step, &asked.filter(), asked.rows())).await
}

async fn run_search(State(state): Shared, question: Asked<Question>) -> Response {
    about(state, question, |_, run, asked| Ok(search_replies(run, &asked.filter(), asked.up_to, asked.rows()))).await
}

async fn prompt_history(State(state): Shared, question: Asked<Question>) -> Response {
    about(state, question, |state, run, asked| {
        state.prompts.history(&asked.run, run, &asked.example, asked.up_to, asked.rows())
    })
    .await
}

async fn reply_judged(State(state): Shared, question: Asked<Question>) -> Response {
    about(state, question, |_, run, asked| {
        let detail = reply(run, asked.step, asked.row)?;
        let verdicts = || detail.group.replies.iter().filter_map(|reply| reply.verdicts.as_ref()).flatten();
        let judges: Vec<String> =
            verdicts().map(|verdict| verdict.tool.clone()).filter(|tool| is_judge(run, tool)).collect();
        let text = detail.group.replies.first().map_or("", |reply| &reply.completion.text);
        let found = match &judges[..] {
            [] => JudgeExchanges::default(),
            judges => judge_exchanges(run, judges, &detail.group.prompt.text, text),
        };
        Ok(JudgedAnswer { judges, exchanges: found.exchanges, problems: found.problems })
    })
    .await
}

async fn run_library(State(state): Shared, question: Asked<Question>) -> Response {
    about(state, question, |_, run, _| Ok(library(run))).await
}

async fn run_service(State(state): Shared, question: Asked<Question>) -> Response {
    about(state, question, |state, run, asked| {
        let answer = |table: &MetricTable| ServiceAnswer {
            first_step: table.steps.first().copied(),
            last_step: table.steps.last().copied(),
            tools: tool_services(table),
        };
        state.tables.with(&asked.run, run, answer)
    })
    .await
}

async fn run_scores(State(state): Shared, question: Asked<Question>) -> Response {
    about(state, question, |_, run, asked| {
        Ok(score_distributions(run, asked.from.unwrap_or(0), asked.to.unwrap_or(u64::MAX)))
    })
    .await
}

async fn run_assignments(State(state): Shared, question: Asked<Question>) -> Response {
    about(state, question, |_, run, asked| assignments(run, &asked.search, asked.offset, asked.rows())).await
}

async fn run_exchanges(State(state): Shared, question: Asked<Question>) -> Response {
    about(state, question, |_, run, asked| exchanges(run, asked.offset, asked.rows())).await
}

async fn one_exchange(State(state): Shared, question: Asked<Question>) -> Response {
    about(state, question, |_, run, asked| exchange(run, asked.line)).await
}

async fn run_evaluations(State(state): Shared, question: Asked<Question>) -> Response {
    about(state, question, |state, run, asked| {
        let read = |table: &MetricTable| (table.evaluations.clone(), measured_by(run, table));
        let (during, measured_by) = state.tables.with(&asked.run, run, read)?;
        Ok(EvaluationsAnswer { view: evaluations(run, during)?, measured_by })
    })
    .await
}

async fn run_measured_by(State(state): Shared, question: Asked<Question>) -> Response {
    about(state, question, |state, run, asked| state.tables.with(&asked.run, run, |table| measured_by(run, table)))
        .await
}

async fn run_prompt_means(State(state): Shared, question: Asked<Question>) -> Response {
    about(state, question, |_, run, _| Ok(prompt_means(run))).await
}

async fn growth(State(state): Shared) -> Response {
    state.growth.answer(state.stopped.clone())
}
