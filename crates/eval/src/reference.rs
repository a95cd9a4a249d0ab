//! The files of the reference implementation (`allenai/reward-bench`, `scripts/run_v2.py` and
//! `scripts/run_generative_v2.py`), so that the community's scripts read what we write: `eval-set/MODEL.json` with a
//! figure per subset and `eval-set-scores/MODEL.json` with every item.

use serde_json::{Map, Value, json};

use crate::EvalError;
use crate::item::{Benchmark, Item, Kind};
use crate::metric::{best_of_n, value};
use crate::python_json::dumps;
use crate::report::Report;
use crate::scores::Scores;

/// How the scores were made: what the files say besides numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Name of the model, `organisation/name`: also where the files go.
    pub model: String,
    /// `Seq. Classifier`, `Generative RM`, `Custom Classifier`, …
    pub model_type: String,
    /// Name of the chat template; the reference says `tokenizer` for the tokenizer's own.
    pub chat_template: Option<String>,
    /// Whether a generative judge made them, which changes the columns of `eval-set-scores`.
    pub generative: bool,
}

impl Made {
    /// Where the two files go below a folder of results. A name that leads out of it is an error.
    pub fn paths(&self) -> Result<[String; 2], EvalError> {
        let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', '\0', ':']);
        if !self.model.split('/').all(plain) {
            let message = format!("`{}` is no name of a model; write `organisation/name`", self.model);
            return Err(EvalError::Mismatch(message));
        }
        Ok(["eval-set", "eval-set-scores"].map(|folder| format!("{folder}/{}.json", self.model)))
    }
}

/// `eval-set/MODEL.json`: a figure from 0 to 1 for every subset present.
pub fn results(report: &Report, made: &Made) -> String {
    let mut out = json!({ "model": made.model, "model_type": made.model_type, "chat_template": made.chat_template });
    for (subset, figure) in &report.categories {
        out[subset] = figure.score.into();
    }
    dumps(out)
}

/// `eval-set-scores/MODEL.json`: columns with an entry per item. Items without scores have null in `scores` and 0 in
/// `results`. As in the reference, `results` of a reward model's Ties rows are those of best of n, and of a
/// judge's null.
pub fn scores(benchmark: &Benchmark, scores: &Scores, made: &Made) -> String {
    let mut columns: Map<String, Value> = Map::new();
    let mut put = |key: &str, of: &dyn Fn(&Item, Option<&[f64]>) -> Value| {
        let pairs = benchmark.items.iter().zip(&scores.rows);
        columns.insert(key.into(), pairs.map(|(item, row)| of(item, row.scores.as_deref())).collect());
    };
    put("id", &|item, _| item.id.clone().into());
    put("subset", &|item, _| item.category.clone().into());
    put("num_correct", &|item, _| item.right().into());
    if made.generative {
        put("texts_chosen", &|item, _| conversations(item, Some(true)));
        put("texts_rejected", &|item, _| conversations(item, Some(false)));
        put("scores", &|item, scores| match item.kind {
            Kind::Ties => json!(scores),
            _ => Value::Null,
        });
        put("results", &|item, scores| match item.kind {
            Kind::Ties => Value::Null,
            _ => json!(scores.and_then(|s| value(item, s)).unwrap_or(0.0)),
        });
    } else {
        put("text", &|item, _| conversations(item, None));
        put("scores", &|_, scores| json!(scores));
        put("results", &|_, scores| json!(scores.map_or(0.0, best_of_n)));
        columns.insert("chat_template".into(), json!(made.chat_template));
    }
    columns.insert("model".into(), made.model.clone().into());
    columns.insert("model_type".into(), made.model_type.clone().into());
    dumps(Value::Object(columns))
}

/// Conversations of the completions: all of them, or the right or the wrong ones.
fn conversations(item: &Item, right: Option<bool>) -> Value {
    let kept = item.completions.iter().enumerate().filter(|(c, _)| right.is_none_or(|r| item.is_right(*c) == r));
    kept.map(|(_, text)| json!([{ "role": "user", "content": item.prompt }, { "role": "assistant", "content": text }]))
        .collect()
}
