//! More requests than the server can take.

use std::thread;

use rlar_serve::ServeOptions;
use serde_json::{Value, json};

use crate::client::Client;
use crate::{chat, options, start, two_tools};

#[test]
fn a_full_queue_is_answered_with_429_and_what_was_taken_is_answered() {
    let folder = two_tools();
    let llm = crate::scripted::always(10);
    let server = start(ServeOptions { workers: 1, queue: 4, ..options() }, folder.path(), &llm);
    let client = Client::of(&server);
    llm.close();
    let send = |replies: Vec<String>| {
        let client = client.clone();
        let items: Vec<Value> = replies.iter().map(|reply| chat(reply)).collect();
        thread::spawn(move || client.post("/v1/rewards", &json!({ "items": items })))
    };
    // The first request is being scored, the second waits and fills the queue.
    let running = send(vec!["running".into()]);
    llm.wait_for(1);
    let waiting = send((0..4).map(|i| format!("waiting {i}")).collect());
    let full = loop {
        let answer = client.get("/readyz");
        if answer.status == 503 {
            break answer;
        }
        thread::yield_now();
    };
    assert_eq!(full.code(), "queue_full");
    let refused = client.post("/v1/rewards", &json!({ "items": [chat("too much")] }));
    assert_eq!((refused.status, refused.code().as_str()), (429, "queue_full"));
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds));
    llm.open();
    for (thread, count) in [(running, 1), (waiting, 4)] {
        let answer = thread.join().unwrap().json();
        let results = answer["results"].as_array().unwrap();
        assert_eq!(results.len(), count);
        assert!(results.iter().all(|result| result["reward"] == 1.0));
    }
    assert_eq!(client.post("/v1/rewards", &json!({ "items": [chat("too much")] })).status, 200);
    assert!(client.get("/metrics").text().contains("rlar_queue_full_total 1"));
}

#[test]
fn a_body_over_the_limit_is_refused_before_and_while_it_is_read() {
    let folder = two_tools();
    let server = start(ServeOptions { max_body: 4096, ..options() }, folder.path(), &crate::scripted::always(10));
    let client = Client::of(&server);
    let head = "content-type: application/json\r\ncontent-length: 1000000000000\r\n";
    assert_eq!(client.send(&client.head("POST", "/v1/rewards", head)).status, 413);
    let long = json!({ "items": [{ "prompt": "p".repeat(5000), "response": "r" }] });
    assert_eq!(client.post("/v1/rewards", &long).code(), "too_large");
    let items: Vec<Value> = (0..5000).map(|_| json!(0)).collect();
    let server = start(options(), folder.path(), &crate::scripted::always(10));
    assert_eq!(Client::of(&server).post("/v1/rewards", &json!({ "items": items })).code(), "too_many_items");
}

#[test]
fn five_hundred_idle_connections_keep_nobody_out() {
    let folder = two_tools();
    let server = start(options(), folder.path(), &crate::scripted::always(10));
    let client = Client::of(&server);
    let idle: Vec<_> = (0..500).map(|_| client.connect()).collect();
    let answer = client.post("/v1/rewards", &json!({ "items": [crate::sum("4")] }));
    assert_eq!(answer.json()["results"][0]["reward"], 1.0);
    assert_eq!(idle.len(), 500);
    // Idle connections do not hold up the end either.
    server.stop();
}

#[test]
fn an_alert_is_posted_to_the_webhook() {
    let folder = two_tools();
    let webhook = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/alerts", webhook.local_addr().unwrap());
    let llm = crate::scripted::scripted(|_| "no JSON".into());
    let server = start(ServeOptions { webhook: Some(url), ..options() }, folder.path(), &llm);
    let items: Vec<Value> = (0..70).map(|i| chat(&format!("reply {i}"))).collect();
    crate::results(&server, &json!(items));
    let (mut stream, _) = webhook.accept().unwrap();
    let mut received = String::new();
    while !received.contains("\"library\"") {
        let mut buffer = [0; 4096];
        let n = std::io::Read::read(&mut stream, &mut buffer).unwrap();
        assert!(n > 0, "{received}");
        received += &String::from_utf8_lossy(&buffer[..n]);
    }
    std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    assert!(received.starts_with("POST /alerts HTTP/1.1"), "{received}");
    assert!(received.contains("\"alert\":\"suspended\"") && received.contains("\"tool\":\"judge\""), "{received}");
}

#[test]
fn prompts_that_no_tool_fits_raise_an_alert() {
    let folder = tempfile::tempdir().unwrap();
    crate::write_tool(folder.path(), "numbers", crate::NUMBERS);
    let server = crate::plain_server(&folder);
    let poem = |i: usize| json!({ "prompt": format!("Poem {i}"), "response": "Roses.", "domain": "poems" });
    let items: Vec<Value> = (0..300).map(poem).collect();
    assert!(crate::results(&server, &json!(items)).iter().all(|result| result["status"] == "abstained"));
    let metrics = Client::of(&server).get("/metrics").text();
    assert!(metrics.contains("rlar_drift_alerts_total{domain=\"poems\",signal=\"coverage\"} 1"), "{metrics}");
}
