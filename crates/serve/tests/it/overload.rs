//! More requests than the server can take.

use std::thread;
use std::time::Duration;

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
    assert!(client.get("/metrics").text().contains("rlar_put_off_total{reason=\"queue_full\"} 1"));
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
fn what_would_wait_beyond_its_deadline_is_refused_at_once() {
    let folder = two_tools();
    // A judge that needs 40 milliseconds for a reply.
    let llm = crate::scripted::scripted(|_| {
        thread::sleep(Duration::from_millis(40));
        crate::scripted::grade(10)
    });
    let server = start(ServeOptions { workers: 1, ..options() }, folder.path(), &llm);
    let client = Client::of(&server);
    let send = |replies: &[&str], deadline: f64| {
        let (client, items) = (client.clone(), replies.iter().map(|reply| chat(reply)).collect::<Vec<Value>>());
        let body = json!({ "items": items, "deadline_s": deadline });
        thread::spawn(move || client.post("/v1/rewards", &body))
    };
    // From this batch the server knows how long a reply takes.
    assert_eq!(send(&["first"], 60.0).join().unwrap().status, 200);
    llm.close();
    let running = send(&["running"], 60.0);
    llm.wait_for(1);
    let waiting = send(&["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"], 60.0);
    while !client.get("/metrics").text().contains("rlar_queue_items 10\n") {
        thread::yield_now();
    }
    let refused = send(&["late"], 0.3).join().unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (429, "wait_too_long"), "{}", refused.text());
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    let patient = send(&["patient"], 60.0);
    while !client.get("/metrics").text().contains("rlar_queue_items 11\n") {
        thread::yield_now();
    }
    llm.open();
    for thread in [running, waiting, patient] {
        let answer = thread.join().unwrap().json();
        assert!(answer["results"].as_array().unwrap().iter().all(|result| result["reward"] == 1.0), "{answer}");
    }
    // Nothing waits any more, so that a short deadline is no reason to refuse.
    assert_eq!(send(&["late"], 0.3).join().unwrap().json()["results"][0]["reward"], 1.0);
    assert!(client.get("/metrics").text().contains("rlar_put_off_total{reason=\"wait_too_long\"} 1"));
}

#[test]
fn a_tool_that_is_suspended_under_load_gives_no_number_and_disturbs_no_other_tool() {
    let folder = two_tools();
    let llm = crate::scripted::scripted(|_| "no JSON".into());
    let server = start(options(), folder.path(), &llm);
    let client = Client::of(&server);
    let clients: Vec<_> = (0..8)
        .map(|number| {
            let judged =
                |i: usize| if i.is_multiple_of(2) { chat(&format!("reply {i} of {number}")) } else { crate::sum("4") };
            let body = json!({ "items": (0..40).map(judged).collect::<Vec<Value>>() });
            let client = client.clone();
            thread::spawn(move || client.post("/v1/rewards", &body).json())
        })
        .collect();
    for client in clients {
        let answer = client.join().unwrap();
        for (i, result) in answer["results"].as_array().unwrap().iter().enumerate() {
            match i % 2 {
                0 => assert!(result["status"] == "failed" || result["status"] == "suspended", "{result}"),
                _ => assert_eq!(result["status"], "ok", "{result}"),
            }
            assert_eq!(result["reward"], if i % 2 == 0 { Value::Null } else { json!(1.0) }, "{result}");
        }
    }
    assert_eq!(crate::results(&server, &json!([chat("x")]))[0]["status"], "suspended");
    let metrics = client.get("/metrics").text();
    assert!(metrics.contains("rlar_suspensions_total{tool=\"judge\"} 1"), "{metrics}");
}

#[test]
fn two_thousand_idle_connections_keep_nobody_out() {
    let folder = two_tools();
    let server = start(options(), folder.path(), &crate::scripted::always(10));
    let client = Client::of(&server);
    let idle: Vec<_> = (0..2000).map(|_| client.connect()).collect();
    let answer = client.post("/v1/rewards", &json!({ "items": [crate::sum("4")] }));
    assert_eq!(answer.json()["results"][0]["reward"], 1.0);
    assert_eq!(idle.len(), 2000);
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
