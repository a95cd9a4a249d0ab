//! Answers that are late, cut, not finite, too short or not of this protocol.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rlar_net::Secret;
use rlar_tinker::{
    AdamParams, CheckpointPath, Datum, LossFunction, NewModel, PassOutput, SampleRequest, SampledSequence, ServerQueue,
    StopAt, TinkerError, TinkerServer, TinkerSettings,
};
use serde_json::{Value, json};

use crate::serve::{self, Received, Reply, Served, serve, settings};

/// The answers of a server that creates models and samplers; `None` for other requests and their results.
fn first_requests(received: &Received) -> Option<Reply> {
    let value = match received.path.as_str() {
        "get_server_capabilities" => json!({"supported_models": [{"model_name": "m"}]}),
        "create_session" => json!({"session_id": "s"}),
        "create_model" => json!({"model_id": "model_1", "request_id": "model"}),
        // The probe's request; the server recognises its repetition.
        "forward" => json!({"request_id": "probe"}),
        "retrieve_future" => match received.json()["request_id"].as_str().unwrap_or_default() {
            "model" => json!({"model_id": "model_1", "base_model": "m"}),
            "probe" => pass(&[-1.0]),
            "sampler" => json!({"path": null, "sampling_session_id": "sampling_1"}),
            _ => return None,
        },
        "save_weights_for_sampler" => json!({"request_id": "sampler"}),
        "session_heartbeat" => json!({}),
        _ => return None,
    };
    Some(serve::json(200, &value))
}

/// A server that creates models, and gives `answer` to the question after the result of every other request.
fn results(answer: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Served {
    let asked = AtomicUsize::new(0);
    serve(move |received: Received| match (first_requests(&received), received.path.as_str()) {
        (Some(reply), _) => reply,
        (None, "retrieve_future") => answer(asked.fetch_add(1, Ordering::SeqCst)),
        (None, _) => serve::json(200, &json!({"request_id": "other"})),
    })
}

fn pass(logprobs: &[f64]) -> Value {
    json!({"loss_fn_outputs": [{"logprobs": {"data": logprobs, "dtype": "float32", "shape": [logprobs.len()]}}], "metrics": {}})
}

/// The result of a pass over one datum of three positions.
async fn result_of_a_pass(settings: TinkerSettings) -> Result<PassOutput, TinkerError> {
    let session = TinkerServer::new(settings)?.start_session(&[]).await?;
    let mut model = session.create_model(&NewModel { base_model: "m".into(), rank: 1, seed: None }).await?;
    let datum = Datum::completion(&[1, 2], &[3, 4], &[-1.0; 2], 1.0);
    model.forward_backward(&[datum], LossFunction::ImportanceSampling).await?.result().await
}

pub async fn result_with(answer: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Result<PassOutput, TinkerError> {
    let served = results(answer);
    result_of_a_pass(settings(&served.url())).await
}

#[tokio::test]
async fn not_yet_is_asked_again_in_each_of_its_forms() {
    let output = result_with(|n| match n {
        0 => serve::json(408, &json!({"detail": "Timeout waiting for result"})),
        1 => serve::json(408, &json!({"queue_state": "paused_capacity"})),
        2 => serve::json(200, &json!({"type": "try_again", "request_id": "other", "queue_state": "active"})),
        3 => serve::json(503, &json!({"detail": "busy"})),
        4 => serve::json(200, &json!({"type": "try_again", "request_id": "other", "queue_state": "paused_rate_limit"})),
        _ => serve::json(200, &pass(&[-1.0, -2.0, -3.0])),
    });
    assert_eq!(output.await.unwrap().data[0].logprobs, [-1.0, -2.0, -3.0]);
}

#[tokio::test]
async fn a_paused_queue_is_named_when_the_deadline_passes() {
    let try_again = json!({"type": "try_again", "request_id": "other", "queue_state": "paused_capacity"});
    let served = results(move |_| serve::json(200, &try_again));
    let mut settings = settings(&served.url());
    settings.deadlines.result = Duration::from_millis(300);
    let error = result_of_a_pass(settings).await.unwrap_err();
    assert!(matches!(error, TinkerError::TimedOut { queue: ServerQueue::PausedCapacity, .. }), "{error}");
    assert!(error.to_string().contains("the server has no capacity"), "{error}");
}

#[tokio::test]
async fn failed_and_expired_results_are_told_apart() {
    let error = result_with(|_| serve::json(400, &json!({"detail": "Model model_1 not loaded"}))).await.unwrap_err();
    assert!(matches!(&error, TinkerError::Failed { message, .. } if message == "Model model_1 not loaded"), "{error}");
    let failed = json!({"error": "bad loss", "category": "user"});
    let error = result_with(move |_| serve::json(200, &failed)).await.unwrap_err();
    assert!(matches!(&error, TinkerError::Failed { message, .. } if message == "bad loss"), "{error}");
    for status in [404, 410] {
        let error =
            result_with(move |_| serve::json(status, &json!({"detail": "Future not found"}))).await.unwrap_err();
        assert!(matches!(error, TinkerError::Expired { .. }), "{error}");
        assert!(error.to_string().contains("last checkpoint"), "{error}");
    }
    // As SkyRL answers for a result with NaN.
    let error = result_with(|_| serve::text(500, "text/plain", "Internal Server Error")).await.unwrap_err();
    assert!(matches!(&error, TinkerError::Failed { message, .. } if message.contains("NaN")), "{error}");
}

#[tokio::test]
async fn wrong_numbers_of_logprobs_are_refused() {
    for logprobs in [vec![-1.0; 2], vec![-1.0; 4], vec![]] {
        let received = logprobs.len();
        let error = result_with(move |_| serve::json(200, &pass(&logprobs))).await.unwrap_err();
        let is_right = matches!(&error, TinkerError::WrongLength { received: r, expected: 3, .. } if *r == received);
        assert!(is_right && error.to_string().contains("log-probs of datum 0"), "{error}");
    }
    let error = result_with(|_| serve::json(200, &json!({"loss_fn_outputs": []}))).await.unwrap_err();
    assert!(matches!(error, TinkerError::WrongLength { received: 0, expected: 1, .. }), "{error}");
    let shape =
        json!({"loss_fn_outputs": [{"logprobs": {"data": [-1.0, -1.0, -1.0], "dtype": "float32", "shape": [1, 3]}}]});
    let error = result_with(move |_| serve::json(200, &shape)).await.unwrap_err();
    assert!(matches!(error, TinkerError::Malformed { .. }), "{error}");
}

#[tokio::test]
async fn values_that_are_not_finite_are_refused() {
    let error_of = async |value: &str| {
        let answer = format!("{{\"loss_fn_outputs\": [{{\"logprobs\": {{\"data\": [-1.0, {value}, -3.0]}}}}]}}");
        result_with(move |_| serve::text(200, "application/json", &answer)).await.unwrap_err()
    };
    for value in ["NaN", "-Infinity", "Infinity", "null"] {
        let error = error_of(value).await;
        assert!(matches!(error, TinkerError::NotFinite { call: "forward_backward", .. }), "{value}: {error}");
    }
    let error = error_of("1e39").await;
    assert!(error.to_string().contains("forward_backward: the answer cannot be read: number out of range"), "{error}");
}

#[tokio::test]
async fn answers_that_always_end_early_are_given_up() {
    let error =
        result_with(|_| serve::text(200, "application/json", "{\"loss_fn_outputs\": [{\"logp")).await.unwrap_err();
    assert!(
        matches!(&error, TinkerError::Unreachable { message, .. } if message.contains("ends too early")),
        "{error}"
    );
    assert!(error.to_string().contains("tried 3 times"), "{error}");
}

#[tokio::test]
async fn answers_of_another_protocol_are_refused() {
    for answer in ["[]", "{}", "{\"loss_fn_outputs\": [{}]}", "{\"loss_fn_outputs\": 3}", "no JSON"] {
        let error = result_with(move |_| serve::text(200, "application/json", answer)).await.unwrap_err();
        assert!(matches!(error, TinkerError::Malformed { .. }), "{answer}: {error}");
    }
}

async fn completions(answer: Value) -> Result<Vec<SampledSequence>, TinkerError> {
    completions_from(move || serve::json(200, &answer)).await
}

/// The completions that a server gives.
pub async fn completions_from(
    answer: impl Fn() -> Reply + Send + Sync + 'static,
) -> Result<Vec<SampledSequence>, TinkerError> {
    let served = results(move |_| answer());
    let session = TinkerServer::new(settings(&served.url()))?.start_session(&[]).await?;
    let mut model = session.create_model(&NewModel { base_model: "m".into(), rank: 1, seed: None }).await?;
    let (prompt, stop) = (vec![1, 2], StopAt::Tokens(Vec::new()));
    let request = SampleRequest { prompt, count: 1, max_tokens: 2, temperature: 1.0, seed: 0, stop };
    model.sampler().await?.sample(&request).await?.result().await
}

#[tokio::test]
async fn completions_need_a_logprob_for_every_token() {
    let sequence = |tokens: Value, logprobs: Value, stop: &str| {
        let sequence = json!({"tokens": tokens, "logprobs": logprobs, "stop_reason": stop});
        json!({"sequences": [sequence], "prompt_logprobs": null})
    };
    let good = completions(sequence(json!([5, 6]), json!([-1.0, -2.0]), "length")).await.unwrap();
    assert_eq!(good[0].tokens, [5, 6]);
    for logprobs in [json!([-1.0]), Value::Null, json!([-1.0, -2.0, -3.0])] {
        let error = completions(sequence(json!([5, 6]), logprobs, "stop")).await.unwrap_err();
        assert!(matches!(error, TinkerError::WrongLength { expected: 2, .. }), "{error}");
    }
    let error = completions(json!({"sequences": []})).await.unwrap_err();
    assert!(matches!(error, TinkerError::WrongLength { received: 0, expected: 1, .. }), "{error}");
    let error = completions(sequence(json!([5]), json!([null]), "stop")).await.unwrap_err();
    assert!(matches!(error, TinkerError::NotFinite { .. }), "{error}");
    for (tokens, stop) in [(json!([5]), "abort"), (json!([-5]), "stop"), (json!([0.5]), "stop")] {
        let error = completions(sequence(tokens, json!([-1.0]), stop)).await.unwrap_err();
        assert!(matches!(error, TinkerError::Malformed { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_step_that_something_else_answered_leaves_the_model_in_doubt() {
    let served = serve(move |received| match received.path.as_str() {
        "optim_step" => serve::text(200, "text/html", "<p>Please log in</p>"),
        _ => first_requests(&received).unwrap_or_else(|| serve::json(200, &json!({"request_id": "other"}))),
    });
    let session = TinkerServer::new(settings(&served.url())).unwrap().start_session(&[]).await.unwrap();
    let new = NewModel { base_model: "m".into(), rank: 1, seed: None };
    let mut model = session.create_model(&new).await.unwrap();
    let error = model.optim_step(AdamParams::default()).await.unwrap_err();
    assert!(matches!(error, TinkerError::WrongVersion { .. }), "{error}");
    let error = model.optim_step(AdamParams::default()).await.unwrap_err();
    assert!(matches!(error, TinkerError::Uncertain { since: "optim_step", .. }), "{error}");
}

#[tokio::test]
async fn a_sampler_is_stale_after_a_step() {
    let served = results(|_| serve::json(200, &json!({"metrics": {}})));
    let session = TinkerServer::new(settings(&served.url())).unwrap().start_session(&[]).await.unwrap();
    let mut model = session.create_model(&NewModel { base_model: "m".into(), rank: 1, seed: None }).await.unwrap();
    let sampler = model.sampler().await.unwrap();
    model.optim_step(AdamParams::default()).await.unwrap().result().await.unwrap();
    let (prompt, stop) = (vec![1], StopAt::Tokens(Vec::new()));
    let request = SampleRequest { prompt, count: 1, max_tokens: 1, temperature: 1.0, seed: 0, stop };
    let error = sampler.sample(&request).await.unwrap_err();
    assert!(matches!(error, TinkerError::StaleSampler { sampler: 0, model: 1, .. }), "{error}");
}

#[tokio::test]
async fn the_key_does_not_follow_a_redirect_to_another_host() {
    let keys = Arc::new(Mutex::new(Vec::new()));
    let seen = keys.clone();
    let store = serve(move |received| {
        seen.lock().unwrap().push(received.headers.contains_key("x-api-key"));
        serve::text(200, "application/octet-stream", "no archive")
    });
    let location = format!("{}/signed", store.url());
    let served = serve(move |_| Reply { location: Some(location.clone()), ..serve::text(302, "text/plain", "") });
    let settings = TinkerSettings { key: Some(Secret::new("tml-secret")), ..settings(&served.url()) };
    let checkpoint = CheckpointPath::parse("tinker://m/sampler_weights/a").unwrap();
    let error = TinkerServer::new(settings).unwrap().download_adapter(&checkpoint).await.unwrap_err();
    assert!(matches!(error, TinkerError::BadArchive { .. }), "{error}");
    assert_eq!(*keys.lock().unwrap(), [false]);
}
