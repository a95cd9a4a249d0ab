//! `POST /openrlhf`: the form of OpenRLHF's remote reward model (`--reward.remote_url`).

use std::time::Duration;

use axum::response::Response;
use rlar_data::json_type_name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::reward_call::RewardCall;
use crate::body::parse;
use crate::http_error::{HttpError, json_response};
use crate::intake::{IntakeItem, read_items};
use crate::scoring::check_count;
use crate::server::ServeState;
use crate::unscored::force;

/// Longest time until the answer. The client waits 180 seconds.
const TIME: Duration = Duration::from_secs(165);

/// Texts that end a reply in the token sequences of widespread models; the client sends them as part of the reply.
const END_TOKENS: [&str; 11] = [
    "</s>",
    "<eos>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<|end_of_turn|>",
    "<pad>",
    "<|return|>",
];

/// Largest number of characters that may stand before the prompt, such as a token for the beginning of a text.
const MAX_BEFORE: usize = 64;

/// A request of OpenRLHF. The three lists have the same length, which may be 0.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct OpenRlhfRequest {
    /// Prompt and reply together, as decoded tokens with the special ones.
    pub query: Vec<String>,
    /// The prompts, in the model's template.
    #[serde(default)]
    pub prompts: Vec<String>,
    /// The labels: a reference as text, or a text with a JSON object of columns (`reference`, `domain`, `tests`, `prompt`
    /// without the template …).
    #[serde(default)]
    pub labels: Vec<Value>,
}

/// An answer to OpenRLHF: lists always, with the same keys always.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct OpenRlhfAnswer {
    /// The rewards.
    pub rewards: Vec<f64>,
    /// What OpenRLHF filters prompts by: the rewards.
    pub scores: Vec<f64>,
    /// Numbers for its log.
    pub extra_logs: OpenRlhfLogs,
}

/// Numbers for OpenRLHF's log, one per reply.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct OpenRlhfLogs {
    /// 1 for a reply whose number was chosen with `--on-failure value=X`, else 0.
    #[serde(rename = "rlar_unscored")]
    pub unscored: Vec<f64>,
    /// 1 for a reply whose scores came from the cache, else 0.
    #[serde(rename = "rlar_cached")]
    pub cached: Vec<f64>,
    /// Seconds that the tools needed.
    #[serde(rename = "rlar_seconds")]
    pub seconds: Vec<f64>,
}

pub async fn answer(call: RewardCall) -> Result<Response, HttpError> {
    let items = call.read(|body| read_request(body, &call.state))?;
    let rewards = force(&call.state, items, call.in_format("/openrlhf", TIME)).await?;
    let flag = |is: bool| f64::from(u8::from(is));
    let values: Vec<f64> = rewards.iter().map(|reward| reward.value).collect();
    Ok(json_response(&OpenRlhfAnswer {
        scores: values.clone(),
        rewards: values,
        extra_logs: OpenRlhfLogs {
            unscored: rewards.iter().map(|reward| flag(reward.is_chosen)).collect(),
            cached: rewards.iter().map(|reward| flag(reward.answer.cached)).collect(),
            seconds: rewards.iter().map(|reward| reward.answer.seconds).collect(),
        },
    }))
}

fn read_request(body: &[u8], state: &ServeState) -> Result<Vec<IntakeItem>, HttpError> {
    let request: OpenRlhfRequest = parse(body)?;
    let count = request.query.len();
    check_count(count)?;
    for (name, length) in [("prompts", request.prompts.len()), ("labels", request.labels.len())] {
        if length != count {
            let why = format!("`query` has {count} entries and `{name}` {length}; they must be as many");
            return Err(HttpError::bad_request("wrong_fields", why));
        }
    }
    let rows = request.query.iter().zip(&request.prompts).zip(request.labels);
    let rows = rows.enumerate().map(|(i, ((query, prompt), label))| {
        row(query, prompt, label).map_err(|why| HttpError::bad_request("wrong_fields", format!("entry {i}: {why}")))
    });
    Ok(read_items(rows.collect::<Result<Vec<_>, _>>()?, &state.options.scored))
}

/// The item of `/v1/rewards` for one entry of an OpenRLHF request: its query, its prompt and its label. The error says what
/// is wrong with the entry.
fn row(query: &str, prompt: &str, label: Value) -> Result<Value, String> {
    let mut row = columns(label)?;
    let reply = reply_of(query, prompt).ok_or(
        "`query` does not begin with its entry of `prompts`, so the reply cannot be told from the prompt; send the prompt as \
         it is in the query",
    )?;
    row.insert("response".into(), reply.into());
    if !row.contains_key("prompt") && !row.contains_key("messages") {
        row.insert("prompt".into(), prompt.into());
    }
    Ok(Value::Object(row))
}

/// The columns of a label.
fn columns(label: Value) -> Result<Map<String, Value>, String> {
    let text = match label {
        Value::Null => return Ok(Map::new()),
        Value::Object(columns) => return Ok(columns),
        Value::String(text) => text,
        Value::Number(number) => number.to_string(),
        other => return Err(format!("a label must be text, not {}", json_type_name(&other))),
    };
    if let Ok(Value::Object(columns)) = serde_json::from_str(&text) {
        return Ok(columns);
    }
    Ok(if text.is_empty() { Map::new() } else { Map::from_iter([("reference".to_owned(), text.into())]) })
}

/// What follows the prompt in a query, without the special tokens at its end; `None` if the prompt is not at the beginning.
fn reply_of<'q>(query: &'q str, prompt: &str) -> Option<&'q str> {
    let at = query.find(prompt).filter(|at| *at <= MAX_BEFORE)?;
    let mut reply = &query[at + prompt.len()..];
    while let Some(shorter) = END_TOKENS.iter().find_map(|token| reply.trim_end().strip_suffix(token)) {
        reply = shorter;
    }
    Some(reply)
}
