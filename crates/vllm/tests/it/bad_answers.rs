//! Answers and settings that cannot be used are named.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
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
    assert!(matches!(&error, VllmError::Late { .. }) && error.leaves_weights_unknown(), "{error}");
    assert!(error.to_string().contains("no answer within 0.05 s"), "{error}");
}

/// A server that closes these connections, by number, before it answers, and gives all others this status. Returns its
/// address and the paths of the requests.
fn closing(closed: &'static [usize], status: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let paths = Arc::new(Mutex::new(Vec::new()));
    let seen = paths.clone();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let mut head = [0; 2048];
            let read = stream.read(&mut head).unwrap();
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            seen.lock().unwrap().push(head.split(' ').nth(1).unwrap().to_owned());
            if !closed.contains(&number) {
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}");
                stream.write_all(answer.as_bytes()).unwrap();
            }
        }
    });
    (url, paths)
}

#[tokio::test]
async fn calls_that_may_be_made_twice_are_made_again_when_the_connection_breaks() {
    let server = |url: &str| VllmServer::new(VllmSettings::new(url)).unwrap();
    let (url, paths) = closing(&[0, 2, 4], "200 OK");
    server(&url).pause().await.unwrap();
    // A name that may have been loaded is unloaded before it is loaded again.
    server(&url).load_adapter("a", "/folder").await.unwrap();
    let (load, unload) = ("/v1/load_lora_adapter", "/v1/unload_lora_adapter");
    let expected = ["/pause?mode=wait", "/pause?mode=wait", load, unload, load, unload, load];
    assert_eq!(*paths.lock().unwrap(), expected);

    let (url, paths) = closing(&[0, 1, 2, 3, 4, 5], "200 OK");
    let error = server(&url).resume().await.unwrap_err();
    assert!(matches!(error, VllmError::Lost { .. }) && error.leaves_weights_unknown(), "{error}");
    assert_eq!(paths.lock().unwrap().len(), 4);
    // A completion is the caller's, and an answer is an answer.
    server(&url).generate(&request()).await.unwrap_err();
    assert_eq!(paths.lock().unwrap().len(), 5);
    let (url, paths) = closing(&[], "500 Oh");
    server(&url).reload_weights("/folder").await.unwrap_err();
    assert_eq!(paths.lock().unwrap().len(), 1);
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
