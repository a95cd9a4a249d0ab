//! Sends requests for rewards to a server and measures rates and latencies.
//!
//! ```sh
//! cargo run --release -p rlar-serve --example load -- url=127.0.0.1:8888 items=items.jsonl batch=256 connections=4
//! ```
//!
//! `items` is a file with one item of `POST /v1/rewards` per line. Without `rate`, every connection sends its next
//! request when it has the answer to the last. With `rate` (requests per second), requests are due at fixed times, and a
//! latency counts from the time at which the request was due, so that a server that stalls is not asked less. `seconds`
//! is the length of the measurement. `pid` is that of the server, whose CPU time is then measured (Linux). The result is
//! one line of JSON.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Clock ticks per second of `/proc/PID/stat`, which Linux fixes at 100.
const TICKS: f64 = 100.0;

/// Number of different bodies that are sent in turn.
const BODIES: usize = 64;

/// The settings of a measurement.
struct Load {
    /// Host and port.
    address: String,
    path: String,
    /// Bodies of requests, which are sent in turn.
    bodies: Vec<String>,
    batch: usize,
    connections: usize,
    duration: Duration,
    /// Requests per second; `None` to send one when the last is answered.
    rate: Option<f64>,
}

/// What came of a request.
struct Answered {
    status: u16,
    /// Time from when the request was due (with a rate) or sent.
    latency: Duration,
    /// Items of the answer with a reward.
    scored: usize,
}

fn main() -> Result<(), String> {
    let arguments: BTreeMap<String, String> = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())))
        .collect();
    let text = |key: &str| arguments.get(key).cloned().ok_or(format!("`{key}=…` is missing"));
    let number = |key: &str, default: f64| match arguments.get(key) {
        Some(value) => value.parse::<f64>().map_err(|e| format!("{key}={value}: {e}")),
        None => Ok(default),
    };
    let batch = number("batch", 1.0)?.max(1.0) as usize;
    let rate = number("rate", 0.0)?;
    let url = text("url")?;
    let url = url.trim_start_matches("http://");
    let (address, path) = url.split_once('/').unwrap_or((url, "v1/rewards"));
    let load = Load {
        address: address.to_owned(),
        path: format!("/{path}"),
        bodies: bodies(&text("items")?, batch)?,
        batch,
        connections: number("connections", 1.0)?.max(1.0) as usize,
        duration: Duration::from_secs_f64(number("seconds", 5.0)?.max(0.1)),
        rate: (rate > 0.0).then_some(rate),
    };
    let pid = arguments.get("pid").cloned();
    let cpu = || pid.as_deref().and_then(cpu_seconds);
    let (cpu_before, start) = (cpu(), Instant::now());
    let answered = run(&load)?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu = cpu_before.zip(cpu()).map(|(before, after)| after - before);
    println!("{}", summary(&load, &answered, seconds, cpu));
    Ok(())
}

/// The bodies of requests with `batch` items each, from a file with an item per line.
fn bodies(file: &str, batch: usize) -> Result<Vec<String>, String> {
    let lines = std::fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
    let items: Result<Vec<Value>, _> = lines.lines().map(serde_json::from_str).collect();
    let items = items.map_err(|e| format!("{file}: {e}"))?;
    if items.is_empty() {
        return Err(format!("{file} has no items"));
    }
    let body = |k: usize| {
        let some: Vec<&Value> = (0..batch).map(|i| &items[(k * batch + i) % items.len()]).collect();
        json!({ "items": some }).to_string()
    };
    Ok((0..BODIES.max(items.len() / batch)).map(body).collect())
}

/// Sends requests until the time is over.
fn run(load: &Load) -> Result<Vec<Answered>, String> {
    let (next, start) = (AtomicU64::new(0), Instant::now());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..load.connections).map(|_| scope.spawn(|| send_in_turn(load, &next, start))).collect();
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().map_err(|_| "a connection panicked")??);
        }
        Ok(all)
    })
}

/// Sends the next requests on one connection, until the time is over.
fn send_in_turn(load: &Load, next: &AtomicU64, start: Instant) -> Result<Vec<Answered>, String> {
    let error = |e: Error| format!("{}: {e}", load.address);
    let connect = || -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect(&load.address)?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    let mut stream = connect().map_err(error)?;
    let mut answered = Vec::new();
    loop {
        let i = next.fetch_add(1, Ordering::Relaxed);
        let due = match load.rate {
            Some(rate) => start + Duration::from_secs_f64(i as f64 / rate),
            None => Instant::now(),
        };
        if due.duration_since(start) >= load.duration {
            return Ok(answered);
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let body = &load.bodies[i as usize % load.bodies.len()];
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            load.path,
            load.address,
            body.len()
        );
        stream.write_all((head + body).as_bytes()).map_err(error)?;
        let answer = read_answer(&mut stream).map_err(error)?;
        let scored = answer.body.matches("\"status\":\"ok\"").count();
        answered.push(Answered { status: answer.status, latency: due.elapsed(), scored });
        if answer.closes {
            stream = connect().map_err(error)?;
        }
    }
}

/// An answer with a `content-length`.
struct HttpAnswer {
    status: u16,
    body: String,
    /// Whether the server closes the connection.
    closes: bool,
}

fn read_answer(stream: &mut TcpStream) -> std::io::Result<HttpAnswer> {
    let broken = |what: &str| Error::new(ErrorKind::InvalidData, what.to_owned());
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 65536]);
    let mut read = |bytes: &mut Vec<u8>| match stream.read(&mut buffer)? {
        0 => Err(broken("the server closed the connection within an answer")),
        n => {
            bytes.extend_from_slice(&buffer[..n]);
            Ok(())
        }
    };
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
        read(&mut bytes)?;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(|| broken("no status"))?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize =
        length.and_then(|n| n.trim().parse().ok()).ok_or_else(|| broken("the answer has no content-length"))?;
    while bytes.len() < end + length {
        read(&mut bytes)?;
    }
    let body = String::from_utf8_lossy(&bytes[end..end + length]).into_owned();
    Ok(HttpAnswer { status, body, closes: head.contains("connection: close") })
}

/// CPU seconds of a process and its threads so far, and of those of its children that have ended.
fn cpu_seconds(pid: &str) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().map(|field| field.parse::<f64>()).sum::<Result<f64, _>>().ok()?;
    Some(ticks / TICKS)
}

fn summary(load: &Load, answered: &[Answered], seconds: f64, cpu: Option<f64>) -> Value {
    let mut statuses: BTreeMap<String, usize> = BTreeMap::new();
    for answer in answered {
        *statuses.entry(answer.status.to_string()).or_default() += 1;
    }
    let mut latencies: Vec<f64> =
        answered.iter().filter(|a| a.status == 200).map(|a| a.latency.as_secs_f64() * 1e3).collect();
    latencies.sort_by(f64::total_cmp);
    let last = latencies.len().saturating_sub(1);
    let at = |share: f64| latencies.get(((latencies.len() as f64 * share) as usize).min(last));
    let items = latencies.len() * load.batch;
    json!({
        "batch": load.batch,
        "connections": load.connections,
        "rate": load.rate,
        "seconds": seconds,
        "requests": answered.len(),
        "requests_per_second": latencies.len() as f64 / seconds,
        "items_per_second": items as f64 / seconds,
        "scored": answered.iter().map(|a| a.scored).sum::<usize>(),
        "statuses": statuses,
        "p50_ms": at(0.5),
        "p99_ms": at(0.99),
        "max_ms": latencies.last(),
        "server_cpu_us_per_item": cpu.map(|cpu| cpu * 1e6 / items.max(1) as f64),
    })
}
