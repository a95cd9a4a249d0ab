//! Answers and settings that cannot be used are named.

use std::net::TcpListener;
use std::time::Duration;

use rlar_net::Secret;
use rlar_vllm::{TokensRequest, VllmError, VllmServer, VllmSettings};
use serde_json::{Value, json};

use crate::serve::{Reply, serve};

fn request() -> TokensRequest {
    TokensRequest {
        model: "policy".into(),
        prompt: vec![1, 2],
        max_tokens: 2,
        temperature: 1.0,
        seed: 1,
        stop_token_ids: Vec::new(),
        stop: Vec::new(),
    }
}

/// A completion of two tokens with these log-probs.
fn completion(log_probs: &Value) -> Value {
    let entry = |(i, logprob): (usize, &Value)| json!({ "token_id": 5 + i, "logprob": logprob });
    let content: Vec<Value> = log_probs.as_array().unwrap().iter().enumerate().map(entry).collect();
    json!({ "choices": [{
        "finish_reason": "length", "token_ids": [5, 6], "logprobs": { "content": content },
        "weight_versions": [{ "version": "a", "start": 0, "end": 2 }],
    }] })
}

/// The error for an answer to a request for a completion.
async fn error(status: u16, body: String) -> VllmError {
    let served = serve(move |_| Reply { status, body: body.clone() });
    served.client().generate(&request()).await.unwrap_err()
}

#[tokio::test]
async fn completions_that_cannot_be_trained_on_are_refused() {
    let good = completion(&json!([-1.0, -2.0]));
    let changed = |key: &str, value: Value| {
        let mut answer = good.clone();
        answer["choices"][0][key] = value;
        answer
    };
    for (answer, part) in [
        (completion(&json!([-1.0])), "1 log-probs for 2 tokens"),
        (completion(&json!([-1.0, -9999.0])), "token 1 of the completion is not a finite number"),
        (completion(&json!([null, -1.0])), "token 0 of the completion is not a finite number"),
        (changed("logprobs", Value::Null), "0 log-probs for 2 tokens"),
        (changed("token_ids", json!([])), "no tokens"),
        (changed("token_ids", json!([5, 7])), "those of other tokens"),
        (changed("finish_reason", json!("error")), "error"),
        (json!({ "choices": [] }), "0 completions instead of 1"),
        (json!({ "text": "hello" }), "choices"),
    ] {
        let error = error(200, answer.to_string()).await;
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    let text = good.to_string();
    let cut = error(200, text[..text.len() / 2].to_owned()).await;
    assert!(matches!(&cut, VllmError::Lost { message, .. } if message.contains("ends too early")), "{cut}");
    let nan = error(200, text.replace("-2.0", "NaN")).await;
    assert!(nan.to_string().contains("contains NaN"), "{nan}");
    let failed = error(502, "bad gateway".into()).await;
    assert!(matches!(failed, VllmError::Failed { status: 502, .. }) && failed.leaves_weights_unknown(), "{failed}");
}

#[tokio::test]
async fn an_unreachable_server_and_a_late_one_are_named() {
    // A port on which no server listens any more.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = VllmServer::new(VllmSettings::new(&format!("http://{address}"))).unwrap();
    let error = server.version().await.unwrap_err();
    assert!(matches!(error, VllmError::Unreachable { call: "version", .. }), "{error}");
    assert!(error.to_string().contains(&address.to_string()) && !error.leaves_weights_unknown(), "{error}");

    // A listener that takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let settings = VllmSettings { completion: Duration::from_millis(50), ..VllmSettings::new(&url) };
    let error = VllmServer::new(settings).unwrap().generate(&request()).await.unwrap_err();
    assert!(matches!(&error, VllmError::Lost { message, .. } if message == "no answer within 0.05 s"), "{error}");
}

#[tokio::test]
async fn the_key_is_sent_and_never_shown() {
    let served = serve(|received| {
        let sent = received.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
        let status = if sent.as_deref() == Some("Bearer sesame-9") { 402 } else { 401 };
        Reply { status, body: json!({ "error": { "message": format!("{sent:?} has no money") } }).to_string() }
    });
    let with = |key: &str| {
        let settings = VllmSettings { key: Some(Secret::new(key)), ..VllmSettings::new(&served.url) };
        VllmServer::new(settings).unwrap()
    };
    let error = with("sesame-9").models().await.unwrap_err();
    assert!(error.to_string().contains("[secret]") && !format!("{error}{error:?}").contains("sesame"), "{error}");
    let error = with("sesame-8").models().await.unwrap_err();
    assert!(matches!(error, VllmError::KeyRefused { .. }) && !format!("{error:?}").contains("sesame"), "{error}");
}

#[test]
fn addresses_that_cannot_be_used_are_refused_at_once() {
    for url in ["", "127.0.0.1:8000", "ftp://host", "http://", "http://host?key=abc", "http://me:abc@host"] {
        let error = VllmServer::new(VllmSettings::new(url)).unwrap_err();
        assert!(error.to_string().contains("http://HOST:8000") && !error.to_string().contains("abc"), "{url}: {error}");
        rlar_vllm::check_address(url).unwrap_err();
    }
    for url in ["http://gpu-1:8000", "http://gpu-1:8000/", "https://host/vllm/v1"] {
        rlar_vllm::check_address(url).unwrap();
    }
}
