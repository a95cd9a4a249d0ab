//! Writes the result files of RewardBench's own scripts (`scripts/run_v2.py` and `scripts/run_generative_v2.py` of
//! `allenai/reward-bench`), so that the community's tools can read them: `eval-set/MODEL.json` with a score per subset,
//! and `eval-set-scores/MODEL.json` with the scores of every item.

use serde_json::{Map, Value, json};

use crate::EvalError;
use crate::item::{Benchmark, Item, ItemKind};
use crate::item_metric::item_value;
use crate::python_json::dumps;
use crate::report::BenchmarkReport;
use crate::reward_bench_2::best_of_n;
use crate::scores::BenchmarkScores;

/// The scored model, as RewardBench's result files describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoredModel {
    /// Name of the model, `organisation/name`. The paths of the result files contain this name.
    pub model: String,
    /// RewardBench's type of the model: `Seq. Classifier`, `Generative RM`, `Custom Classifier`, …
    pub model_type: String,
    /// Name of the chat template; `None` is written as null. RewardBench writes `tokenizer` where the template is that
    /// of the tokenizer.
    pub chat_template: Option<String>,
    /// Whether the model is a generative judge. The file `eval-set-scores/MODEL.json` of a judge has other columns.
    pub generative: bool,
}

/// The paths of the two result files, relative to a folder of results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultPaths {
    /// Path of the file with a score per subset, `eval-set/MODEL.json`.
    pub eval_set: String,
    /// Path of the file with the scores of every item, `eval-set-scores/MODEL.json`.
    pub eval_set_scores: String,
}

impl ScoredModel {
    /// The paths of the model's two result files. Fails where the model's name would lead out of the folder of results,
    /// such as `../x`.
    pub fn paths(&self) -> Result<ResultPaths, EvalError> {
        let is_plain =
            |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', '\0', ':']);
        if !self.model.split('/').all(is_plain) {
            let message = format!("`{}` is not a name of a model; write `organisation/name`", self.model);
            return Err(EvalError::Mismatch(message));
        }
        let path = |folder: &str| format!("{folder}/{}.json", self.model);
        Ok(ResultPaths { eval_set: path("eval-set"), eval_set_scores: path("eval-set-scores") })
    }
}

/// The contents of `eval-set/MODEL.json`: the model's description, and the score (from 0 to 1) of every subset that was
/// scored.
pub fn eval_set(report: &BenchmarkReport, model: &ScoredModel) -> String {
    let mut out = json!({ "model": model.model, "model_type": model.model_type, "chat_template": model.chat_template });
    for (subset, result) in &report.categories {
        out[subset] = result.score.into();
    }
    dumps(out)
}

/// The contents of `eval-set-scores/MODEL.json`: an object of columns, which are lists with one entry per item.
///
/// An item without scores has null in the column `scores` and 0 in the column `results`. As in RewardBench, the items
/// of Ties have in `results` the value of [`best_of_n`] for a reward model, and null for a judge.
pub fn eval_set_scores(benchmark: &Benchmark, scores: &BenchmarkScores, model: &ScoredModel) -> String {
    let mut columns: Map<String, Value> = Map::new();
    let mut add_column = |key: &str, entry: &dyn Fn(&Item, Option<&[f64]>) -> Value| {
        let pairs = benchmark.items.iter().zip(&scores.rows);
        columns.insert(key.into(), pairs.map(|(item, row)| entry(item, row.scores.as_deref())).collect());
    };
    add_column("id", &|item, _| item.id.clone().into());
    add_column("subset", &|item, _| item.category.clone().into());
    add_column("num_correct", &|item, _| item.num_correct().into());
    if model.generative {
        add_column("texts_chosen", &|item, _| conversations(item, |c| item.is_correct(c)));
        add_column("texts_rejected", &|item, _| conversations(item, |c| !item.is_correct(c)));
        add_column("scores", &|item, scores| match item.kind {
            ItemKind::Ties => json!(scores),
            _ => Value::Null,
        });
        add_column("results", &|item, scores| match item.kind {
            ItemKind::Ties => Value::Null,
            _ => json!(scores.and_then(|s| item_value(item, s)).unwrap_or(0.0)),
        });
    } else {
        add_column("text", &|item, _| conversations(item, |_| true));
        add_column("scores", &|_, scores| json!(scores));
        add_column("results", &|_, scores| json!(scores.map_or(0.0, best_of_n)));
        columns.insert("chat_template".into(), json!(model.chat_template));
    }
    columns.insert("model".into(), model.model.clone().into());
    columns.insert("model_type".into(), model.model_type.clone().into());
    dumps(Value::Object(columns))
}

/// A list of conversations: the item's prompt with each completion for whose index `keep` returns true.
fn conversations(item: &Item, keep: impl Fn(usize) -> bool) -> Value {
    let kept = item.completions.iter().enumerate().filter(|(c, _)| keep(*c));
    kept.map(|(_, text)| json!([{ "role": "user", "content": item.prompt }, { "role": "assistant", "content": text }]))
        .collect()
}
