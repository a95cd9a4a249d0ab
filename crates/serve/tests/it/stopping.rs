//! The end of a server: nothing that it took is lost.

use std::thread;

use rlar_serve::ServeOptions;
use serde_json::{Value, json};

use crate::client::Client;
use crate::{chat, options, start, two_tools};

#[test]
fn a_server_that_stops_answers_what_it_took_and_nothing_more() {
    let folder = two_tools();
    let llm = crate::scripted::always(10);
    let server = start(ServeOptions { workers: 1, ..options() }, folder.path(), &llm);
    let client = Client::of(&server);
    llm.close();
    let send = |reply: String| {
        let (client, body) = (client.clone(), json!({ "items": [chat(&reply)] }));
        thread::spawn(move || client.post("/v1/rewards", &body))
    };
    let running = send("running".into());
    llm.wait_for(1);
    let waiting: Vec<_> = (0..8).map(|i| send(format!("waiting {i}"))).collect();
    // All eight are in the queue before the end begins.
    while !client.get("/metrics").text().contains("rlar_queue_items 8") {
        thread::yield_now();
    }
    let stopping = thread::spawn(move || server.stop());
    // The port closes while the answers are still being made.
    while std::net::TcpStream::connect(client.address).is_ok() {
        thread::yield_now();
    }
    llm.open();
    for thread in std::iter::once(running).chain(waiting) {
        let answer = thread.join().unwrap();
        let results: Vec<Value> = answer.json()["results"].as_array().unwrap().clone();
        assert_eq!((results.len(), &results[0]["reward"]), (1, &json!(1.0)));
    }
    stopping.join().unwrap();
}
