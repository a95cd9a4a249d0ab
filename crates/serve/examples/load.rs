//! Sends requests for rewards to a server and measures rates and latencies.
//!
//! ```sh
//! cargo run --release -p rlar-serve --example load -- url=127.0.0.1:8888 items=items.jsonl batch=256 connections=4
//! ```
//!
//! `items` is a file with one item of `POST /v1/rewards` per line. Without `rate`, every connection sends its next
//! request when it has the answer to the last. With `rate` (requests per second), requests are due at fixed times, and a
//! latency counts from the time at which the request was due, so that a server that stalls is not asked less. That needs
//! enough `connections`: `late_p99_ms` says by how much requests were sent after they were due, for want of a free connection
//! or of CPU time. The requests of the first `warmup` seconds are not measured; `seconds` is the length of the measurement
//! after them, and `requests` the largest number of requests. `deadline` is the `deadline_s` of the requests. `pid` is that of
//! the server, whose CPU time is then measured, with that of the warm-up (Linux). The result is one line of JSON.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Clock ticks per second of `/proc/PID/stat`, which Linux fixes at 100.
const TICKS: f64 = 100.0;

/// Number of different bodies that are sent in turn.
const BODIES: usize = 64;

/// Size of what a connection reads at once, in bytes.
const BUFFER: usize = 64 << 10;

/// The settings of a measurement.
struct Load {
    /// Host and port.
    address: String,
    path: String,
    /// Bodies of requests, which are sent in turn.
    bodies: Vec<String>,
    batch: usize,
    connections: usize,
    /// Time before the measurement.
    warmup: Duration,
    duration: Duration,
    /// Largest number of requests.
    requests: u64,
    /// Requests per second; `None` to send one when the last is answered.
    rate: Option<f64>,
}

/// What came of a request.
struct Answered {
    status: u16,
    /// Time from when the request was due to when it was sent.
    late: Duration,
    /// Time from when the request was due (with a rate) or sent to its answer.
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
    let (rate, deadline) = (number("rate", 0.0)?, number("deadline", 0.0)?);
    let url = text("url")?;
    let url = url.trim_start_matches("http://");
    let (address, path) = url.split_once('/').unwrap_or((url, "v1/rewards"));
    let load = Load {
        address: address.to_owned(),
        path: format!("/{path}"),
        bodies: bodies(&text("items")?, batch, (deadline > 0.0).then_some(deadline))?,
        batch,
        connections: number("connections", 1.0)?.max(1.0) as usize,
        warmup: Duration::from_secs_f64(number("warmup", 0.0)?.max(0.0)),
        duration: Duration::from_secs_f64(number("seconds", 5.0)?.max(0.1)),
        requests: number("requests", f64::MAX)? as u64,
        rate: (rate > 0.0).then_some(rate),
    };
    let pid = arguments.get("pid").cloned();
    let cpu = || pid.as_deref().and_then(cpu_seconds);
    let before = cpu();
    let load = Arc::new(load);
    // One thread: the server is what needs the processor.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let measured = runtime.block_on(run(&load))?;
    let cpu = before.zip(cpu()).map(|(before, after)| after - before);
    println!("{}", summary(&load, &measured, cpu));
    Ok(())
}

/// The bodies of requests with `batch` items each, from a file with an item per line.
fn bodies(file: &str, batch: usize, deadline: Option<f64>) -> Result<Vec<String>, String> {
    let lines = std::fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
    let items: Result<Vec<Value>, _> = lines.lines().map(serde_json::from_str).collect();
    let items = items.map_err(|e| format!("{file}: {e}"))?;
    if items.is_empty() {
        return Err(format!("{file} has no items"));
    }
    let body = |k: usize| {
        let some: Vec<&Value> = (0..batch).map(|i| &items[(k * batch + i) % items.len()]).collect();
        match deadline {
            Some(deadline) => json!({ "items": some, "deadline_s": deadline }).to_string(),
            None => json!({ "items": some }).to_string(),
        }
    };
    Ok((0..BODIES.max(items.len() / batch)).map(body).collect())
}

/// What came of all requests.
struct Measured {
    answered: Vec<Answered>,
    /// From the first measured request to the last answer.
    seconds: f64,
}

/// A request that is due.
struct Turn {
    number: u64,
    due: Instant,
}

/// What the connections share.
struct Turns {
    start: Instant,
    /// Number of the next request, without a rate.
    next: AtomicU64,
    /// The requests that are due, with a rate. Free connections wait for them in turn.
    due: Option<Mutex<UnboundedReceiver<Turn>>>,
}

impl Turns {
    /// The next request, once it is due; `None` when the time is over.
    async fn next(&self, load: &Load) -> Option<Turn> {
        match &self.due {
            Some(due) => due.lock().await.recv().await,
            None => load.turn(self.next.fetch_add(1, Ordering::Relaxed), self.start),
        }
    }
}

impl Load {
    /// When a request is due; `None` if it comes after the end.
    fn turn(&self, number: u64, start: Instant) -> Option<Turn> {
        let due = self.rate.map_or_else(Instant::now, |rate| start + Duration::from_secs_f64(number as f64 / rate));
        let is_over = due.duration_since(start) >= self.warmup + self.duration || number >= self.requests;
        (!is_over).then_some(Turn { number, due })
    }
}

/// The requests of a load with a rate, from a thread that sleeps until each is due: timers of the runtime are less precise.
fn clock(load: Arc<Load>, start: Instant) -> Mutex<UnboundedReceiver<Turn>> {
    let (sender, turns) = unbounded_channel();
    thread::spawn(move || {
        for turn in (0..).map_while(|number| load.turn(number, start)) {
            thread::sleep(turn.due.saturating_duration_since(Instant::now()));
            // The receiver has gone after an error.
            if sender.send(turn).is_err() {
                return;
            }
        }
    });
    Mutex::new(turns)
}

async fn connect(load: &Load) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(&load.address).await.map_err(|e| format!("{}: {e}", load.address))?;
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    Ok(stream)
}

/// Sends requests until the time is over.
async fn run(load: &Arc<Load>) -> Result<Measured, String> {
    let mut streams = Vec::with_capacity(load.connections);
    for _ in 0..load.connections {
        streams.push(connect(load).await?);
    }
    let start = Instant::now();
    let due = load.rate.map(|_| clock(Arc::clone(load), start));
    let turns = Arc::new(Turns { start, next: AtomicU64::new(0), due });
    let send = |stream| tokio::spawn(send_in_turn(Arc::clone(load), stream, Arc::clone(&turns)));
    let tasks: Vec<_> = streams.into_iter().map(send).collect();
    let mut answered = Vec::new();
    for task in tasks {
        answered.extend(task.await.map_err(|_| "a connection panicked")??);
    }
    Ok(Measured { answered, seconds: turns.start.elapsed().saturating_sub(load.warmup).as_secs_f64() })
}

/// Sends the next requests on one connection, until the time is over.
async fn send_in_turn(load: Arc<Load>, mut stream: TcpStream, turns: Arc<Turns>) -> Result<Vec<Answered>, String> {
    let error = |e: Error| format!("{}: {e}", load.address);
    let (mut answered, mut buffer) = (Vec::new(), vec![0; BUFFER]);
    while let Some(Turn { number, due }) = turns.next(&load).await {
        let body = &load.bodies[number as usize % load.bodies.len()];
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            load.path,
            load.address,
            body.len()
        );
        let late = due.elapsed();
        stream.write_all((head + body).as_bytes()).await.map_err(error)?;
        let answer = read_answer(&mut stream, &mut buffer).await.map_err(error)?;
        let scored = answer.body.matches("\"status\":\"ok\"").count();
        if due.duration_since(turns.start) >= load.warmup {
            answered.push(Answered { status: answer.status, late, latency: due.elapsed(), scored });
        }
        if answer.closes {
            stream = connect(&load).await?;
        }
    }
    Ok(answered)
}

/// An answer with a `content-length`.
struct HttpAnswer {
    status: u16,
    body: String,
    /// Whether the server closes the connection.
    closes: bool,
}

async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<HttpAnswer> {
    let broken = |what: &str| Error::new(ErrorKind::InvalidData, what.to_owned());
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
        read_more(stream, buffer, &mut bytes).await?;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(|| broken("no status"))?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize =
        length.and_then(|n| n.trim().parse().ok()).ok_or_else(|| broken("the answer has no content-length"))?;
    while bytes.len() < end + length {
        read_more(stream, buffer, &mut bytes).await?;
    }
    let body = String::from_utf8_lossy(&bytes[end..end + length]).into_owned();
    Ok(HttpAnswer { status, body, closes: head.contains("connection: close") })
}

async fn read_more(stream: &mut TcpStream, buffer: &mut [u8], bytes: &mut Vec<u8>) -> std::io::Result<()> {
    let n = stream.read(buffer).await?;
    if n == 0 {
        return Err(Error::new(ErrorKind::UnexpectedEof, "the server closed the connection within an answer"));
    }
    bytes.extend_from_slice(&buffer[..n]);
    Ok(())
}

/// CPU seconds of a process and its threads so far, and of those of its children that have ended.
fn cpu_seconds(pid: &str) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().map(|field| field.parse::<f64>()).sum::<Result<f64, _>>().ok()?;
    Some(ticks / TICKS)
}

/// Times in milliseconds, the shortest first.
fn sorted_ms(times: impl Iterator<Item = Duration>) -> Vec<f64> {
    let mut times: Vec<f64> = times.map(|time| time.as_secs_f64() * 1e3).collect();
    times.sort_by(f64::total_cmp);
    times
}

/// The value below which this share of sorted values lies; `None` without values.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get(((sorted.len() as f64 * share) as usize).min(last)).copied()
}

fn summary(load: &Load, measured: &Measured, cpu: Option<f64>) -> Value {
    let Measured { answered, seconds } = measured;
    let mut statuses: BTreeMap<String, usize> = BTreeMap::new();
    for answer in answered {
        *statuses.entry(answer.status.to_string()).or_default() += 1;
    }
    let good = || answered.iter().filter(|answer| answer.status == 200);
    let latencies = sorted_ms(good().map(|answer| answer.latency));
    let late = sorted_ms(answered.iter().map(|answer| answer.late));
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
        "p50_ms": quantile(&latencies, 0.5),
        "p99_ms": quantile(&latencies, 0.99),
        "max_ms": latencies.last(),
        "late_p99_ms": load.rate.and(quantile(&late, 0.99)),
        "server_cpu_us_per_item": cpu.map(|cpu| cpu * 1e6 / items.max(1) as f64),
    })
}
