//! `POST /verify`: the form of a NeMo Gym resources server.

use std::time::Duration;

use axum::response::Response;
use serde_json::{Map, Value, json};

use super::reward_call::RewardCall;
use crate::body::parse;
use crate::http_error::{HttpError, json_response};
use crate::intake::read_items;
use crate::unscored::{ForcedReward, force};

/// Keys of a request that are no columns of the row.
const NO_COLUMNS: [&str; 2] = ["responses_create_params", "response"];

/// Longest time until the answer. NeMo Gym's client waits without end.
const TIME: Duration = Duration::from_mins(2);

pub async fn answer(call: RewardCall) -> Result<Response, HttpError> {
    let (mut row, items) = call.read(|body| {
        let row: Map<String, Value> = parse(body)?;
        let item = item(&row).map_err(|why| HttpError::bad_request("wrong_fields", why))?;
        Ok((row, read_items(vec![item], &call.state.options.scored)))
    })?;
    let Some(reward) = force(&call.state, items, call.in_format("/verify", TIME)).await?.into_iter().next() else {
        return Err(HttpError::unavailable("not_scored", "the reply was not scored"));
    };
    add_reward(&mut row, &reward);
    Ok(json_response(&row))
}

/// Adds the reward and its parts to the row, as a resources server answers. A chosen number is masked, so that NeMo RL gives
/// the rollout no loss.
fn add_reward(row: &mut Map<String, Value>, reward: &ForcedReward) {
    let parts = reward.answer.parts.iter().filter_map(|part| Some((part.tool.clone(), json!(part.value?))));
    row.insert("reward".into(), json!(reward.value));
    row.insert("reward_components".into(), Value::Object(parts.collect()));
    row.insert("mask_sample".into(), reward.is_chosen.into());
    if reward.is_chosen {
        row.insert("_ng_failure_class".into(), "judge_failed".into());
        row.insert("_ng_failure_judge_error".into(), json!(reward.answer.reason));
    }
}

/// The item of a request: its messages, the text of the response, and the other keys as columns.
fn item(row: &Map<String, Value>) -> Result<Value, String> {
    let columns = row.iter().filter(|(name, _)| !NO_COLUMNS.contains(&name.as_str()));
    let mut item: Map<String, Value> = columns.map(|(name, value)| (name.clone(), value.clone())).collect();
    let reply = response_text(row.get("response").ok_or("the request has no `response`")?)?;
    item.insert("response".into(), reply.into());
    let input = row.get("responses_create_params").and_then(|params| params.get("input"));
    let prompt = match input {
        Some(Value::String(text)) => json!(text),
        Some(Value::Array(messages)) => Value::Array(messages.iter().filter_map(message).collect()),
        _ => return Err("`responses_create_params.input` must be text or a list of messages".into()),
    };
    item.insert("prompt".into(), prompt);
    Ok(Value::Object(item))
}

/// A message of the Responses API as one with `role` and `content`; `None` for what is no message, such as a reasoning
/// item.
fn message(item: &Value) -> Option<Value> {
    let role = item.get("role")?.as_str()?;
    Some(json!({ "role": role, "content": content_text(item.get("content")?) }))
}

/// The text of all assistant messages of a response.
fn response_text(response: &Value) -> Result<String, String> {
    let output = response.get("output").and_then(Value::as_array).ok_or("`response.output` must be a list")?;
    let messages = output.iter().filter(|item| item.get("type").is_none_or(|kind| kind == "message"));
    let texts: Vec<String> = messages.filter_map(|item| item.get("content")).map(content_text).collect();
    Ok(texts.concat())
}

/// The text of a content: a text itself, or the texts of its parts.
fn content_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect(),
        _ => String::new(),
    }
}
