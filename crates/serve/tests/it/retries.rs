//! Requests that are sent again with the same `Idempotency-Key`.

use std::io::Write;
use std::sync::atomic::Ordering;
use std::thread;

use rlar_serve::ServeOptions;
use serde_json::{Value, json};

use crate::client::Client;
use crate::scripted::{grade, scripted};
use crate::{chat, options, start, two_tools};

#[test]
fn a_repeated_request_gets_the_same_answer_and_is_scored_once() {
    let folder = two_tools();
    // A failure is not cached, so only the key can make the answers equal.
    let llm = scripted(|_| "no JSON".into());
    let server = start(options(), folder.path(), &llm);
    let client = Client::of(&server).with("idempotency-key", "step-1");
    let body = json!({ "items": [chat("x")] });
    let first = client.post("/v1/rewards", &body);
    let again = client.post("/v1/rewards", &body);
    assert_eq!(first.json()["results"][0]["status"], "failed");
    assert_eq!(first.body, again.body);
    assert_eq!((first.header("idempotent-replayed"), again.header("idempotent-replayed")), (None, Some("true")));
    assert_eq!(llm.asked.load(Ordering::SeqCst), 1);
    let other = client.post("/v1/rewards", &json!({ "items": [chat("y")] }));
    assert_eq!((other.status, other.code().as_str()), (422, "key_reused"));
    let no_key = Client::of(&server).with("idempotency-key", "").post("/v1/rewards", &body);
    assert_eq!(no_key.code(), "wrong_key");
}

#[test]
fn a_retry_of_a_running_request_waits_for_its_answer() {
    let folder = two_tools();
    let llm = scripted(|_| grade(10));
    let server = start(options(), folder.path(), &llm);
    let client = Client::of(&server).with("idempotency-key", "k");
    let body = json!({ "items": [chat("x")] });
    llm.close();
    // The first client goes away in the middle; its request goes on.
    let mut gone = client.connect();
    gone.write_all(client.posted("/v1/rewards", &body.to_string()).as_bytes()).unwrap();
    llm.wait_for(1);
    drop(gone);
    let retries: Vec<_> = (0..4)
        .map(|_| {
            let (client, body) = (client.clone(), body.clone());
            thread::spawn(move || client.post("/v1/rewards", &body))
        })
        .collect();
    llm.open();
    let answers: Vec<_> = retries.into_iter().map(|retry| retry.join().unwrap()).collect();
    for answer in &answers {
        assert_eq!(answer.json()["results"][0]["reward"], 1.0);
        assert_eq!((answer.header("idempotent-replayed"), &answer.body), (Some("true"), &answers[0].body));
    }
    assert_eq!(llm.asked.load(Ordering::SeqCst), 1);
}

#[test]
fn after_a_restart_the_same_key_and_items_give_the_same_scores() {
    let folder = two_tools();
    let body = json!({ "items": (0..20).map(|i| chat(&format!("reply {i}"))).collect::<Vec<_>>() });
    let rewards = |answer: &Value| -> Vec<Value> {
        answer["results"].as_array().unwrap().iter().map(|result| result["reward"].clone()).collect()
    };
    let asked = |llm: &std::sync::Arc<crate::scripted::Scripted>| {
        let server = start(options(), folder.path(), llm);
        let answer = Client::of(&server).with("idempotency-key", "k").post("/v1/rewards", &body).json();
        server.stop();
        answer
    };
    let first = asked(&scripted(|reply| grade(1 + reply.len() as u32 % 10)));
    // This model would give other scores, but the cache answers.
    let llm = scripted(|_| grade(1));
    let again = asked(&llm);
    assert_eq!(rewards(&first), rewards(&again));
    assert_eq!(first["library"], again["library"]);
    assert_eq!(llm.asked.load(Ordering::SeqCst), 0);
    assert!(again["results"].as_array().unwrap().iter().all(|result| result["cached"] == true));
}

#[test]
fn a_locked_score_cache_costs_the_cache_and_no_score() {
    let folder = two_tools();
    let server = crate::plain_server(&folder);
    assert_eq!(crate::results(&server, &json!([chat("first")]))[0]["reward"], 1.0);
    let other = rusqlite::Connection::open(folder.path().join(rlar_rewards::STORE)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // A server that has the file open, and one that starts now.
    for server in [&server, &crate::plain_server(&folder)] {
        for cached in [false, true] {
            let result = &crate::results(server, &json!([chat("second")]))[0];
            assert_eq!((&result["reward"], &result["cached"]), (&json!(1.0), &json!(cached)), "{result}");
        }
    }
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(crate::results(&server, &json!([chat("third")]))[0]["reward"], 1.0);
}

#[test]
fn a_refused_request_leaves_its_key_free() {
    let folder = two_tools();
    let llm = scripted(|_| grade(10));
    let server = start(ServeOptions { workers: 1, queue: 1, ..options() }, folder.path(), &llm);
    let client = Client::of(&server);
    llm.close();
    let send = |reply: &str| {
        let (client, body) = (client.clone(), json!({ "items": [chat(reply)] }));
        thread::spawn(move || client.post("/v1/rewards", &body))
    };
    let running = send("running");
    llm.wait_for(1);
    let waiting = send("waiting");
    while client.get("/readyz").status == 200 {
        thread::yield_now();
    }
    let keyed = client.with("idempotency-key", "k");
    let body = json!({ "items": [chat("x")] });
    assert_eq!(keyed.post("/v1/rewards", &body).status, 429);
    llm.open();
    running.join().unwrap();
    waiting.join().unwrap();
    assert_eq!(keyed.post("/v1/rewards", &body).json()["results"][0]["reward"], 1.0);
}
