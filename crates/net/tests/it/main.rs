//! Tests of the network crate against servers on loopback.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod functions;
mod hostile_servers;
mod hub;
mod llm;
mod log;
mod progress;
mod real_server;
mod recordings;
mod repetition;
mod server;
mod server_limits;
mod several_servers;
mod streams;
mod traced;
mod web;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rlar_net::get_text;

/// Serves `answer(connection number, stream)` and counts connections.
fn serve(answer: impl Fn(usize, TcpStream) + Send + 'static) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://user:password@{}/tool.yaml?token=secret", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut request = [0; 2048];
            let mut stream = stream;
            let _ = stream.read(&mut request);
            answer(seen.fetch_add(1, Ordering::SeqCst), stream);
        }
    });
    (address, count)
}

fn reply(mut stream: TcpStream, status: &str, body: &str) {
    let text = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    let _ = stream.write_all(text.as_bytes());
}

fn get(address: &str) -> Result<String, String> {
    get_text(address, 1000, Duration::from_secs(5)).map_err(|e| e.to_string())
}

#[test]
fn a_text_is_fetched() {
    let (address, _) = serve(|_, s| reply(s, "200 OK", "hello"));
    assert_eq!(get(&address).unwrap(), "hello");
}

#[test]
fn a_busy_server_is_retried_a_few_times() {
    let (address, count) = serve(|n, s| reply(s, if n < 2 { "503 Busy" } else { "200 OK" }, "ok"));
    assert_eq!(get(&address).unwrap(), "ok");
    assert_eq!(count.load(Ordering::SeqCst), 3);
    let (address, count) = serve(|_, s| reply(s, "429 Too Many Requests", ""));
    assert!(get(&address).unwrap_err().contains("tried 3 times"));
    assert_eq!(count.load(Ordering::SeqCst), 3);
}

#[test]
fn a_refusal_is_final_and_secrets_stay_out_of_the_message() {
    let (address, count) = serve(|_, s| reply(s, "404 Not Found", ""));
    let error = get(&address).unwrap_err();
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert!(error.contains("404") && !error.contains("secret") && !error.contains("password"), "{error}");
}

#[test]
fn silence_ends_at_the_deadline_and_a_flood_at_the_limit() {
    let (address, _) = serve(|_, s| {
        std::mem::forget(s);
    });
    let began = Instant::now();
    let error = get_text(&address, 1000, Duration::from_millis(300)).unwrap_err().to_string();
    assert!(error.contains("no complete answer") && began.elapsed() < Duration::from_secs(4), "{error}");
    let (address, _) = serve(|_, s| reply(s, "200 OK", &"x".repeat(5000)));
    assert!(get(&address).unwrap_err().contains("longer than 1000 bytes"));
}
