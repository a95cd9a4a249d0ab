//! `rlar serve`: its first line, what it refuses, and how it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::{refused, rlar, run, smoke};

/// Longest wait for anything: a test that waits longer has failed.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running `rlar serve`; dropping it kills the process.
pub struct Served {
    pub child: Child,
    /// Host and port.
    pub address: String,
    /// The lines of its log, as they come.
    log: Receiver<String>,
}

impl Served {
    /// Reads the log until a line contains a text, and gives that line.
    #[track_caller]
    pub fn logged(&self, text: &str) -> String {
        let mut others = Vec::new();
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => others.push(line),
                Err(why) => panic!("no `{text}` in the log ({why}): {others:#?}"),
            }
        }
    }

    /// Lets the server end, and gives the lines of its log that were not read.
    pub fn stopped(mut self) -> Vec<String> {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        self.log.iter().collect()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts `rlar serve` on a free port.
pub fn serve(folder: &Path, arguments: &[&str], token: &str) -> Served {
    let mut command = rlar(folder, &[&["serve", "--port", "0"], arguments].concat());
    command.env("RLAR_SERVE_TOKEN", token);
    started(command)
}

/// Starts a command that is `rlar serve`, and reads its address from the first line of its output.
pub fn started(mut command: Command) -> Served {
    command.env_remove("RLAR_LOG").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (sender, log) = channel();
    // Also a log that no test looks at is read, so that it does not fill the pipe.
    thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let Some(address) = line.trim_end().strip_prefix("http://") else {
        panic!("no address in `{line}`: {:#?}", log.iter().collect::<Vec<_>>());
    };
    Served { address: address.to_owned(), child, log }
}

/// Sends a request, and gives the status and the body of the answer.
pub fn send(address: &str, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

pub fn get(address: &str, path: &str) -> (u16, String) {
    send(address, &format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"))
}

pub fn post(address: &str, headers: &str, body: &Value) -> (u16, String) {
    post_to(address, "/v1/rewards", headers, body)
}

pub fn post_to(address: &str, path: &str, headers: &str, body: &Value) -> (u16, String) {
    let (body, head) = (body.to_string(), "connection: close\r\ncontent-type: application/json\r\n");
    let length = body.len();
    let request = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\n{head}{headers}content-length: {length}\r\n\r\n");
    send(address, &(request + &body))
}

pub fn rewards(answer: &str) -> Vec<Value> {
    let answer: Value = serde_json::from_str(answer).unwrap();
    answer["results"].as_array().unwrap().iter().map(|result| result["reward"].clone()).collect()
}

#[test]
fn the_built_in_library_serves_without_a_config() {
    let folder = tempfile::tempdir().unwrap();
    let served = serve(folder.path(), &[], "");
    let items = json!({ "items": [
        { "prompt": "2 + 2 =", "reference": "4", "response": "4" },
        { "prompt": "2 + 2 =", "reference": "4", "response": "5" },
        { "prompt": "Tell me of the sea.", "response": "It is wide." },
    ]});
    let (status, answer) = post(&served.address, "", &items);
    assert_eq!((status, rewards(&answer)), (200, vec![json!(1.0), json!(0.0), Value::Null]), "{answer}");
    assert_eq!(get(&served.address, "/readyz").0, 200);
}

#[test]
fn a_config_says_which_tools_serve() {
    let folder = tempfile::tempdir().unwrap();
    let always = "rewards:\n  always:\n    - { tool: concise, weight: 0.5 }\nalgorithm:";
    let config = smoke(folder.path(), &[("algorithm:", always)]);
    let served = serve(folder.path(), &["--config", &config], "");
    let items = json!({ "items": [{ "prompt": "2 + 2 =", "reference": "4", "response": "4" }] });
    let (status, answer) = post(&served.address, "", &items);
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let tools: Vec<&Value> =
        answer["results"][0]["parts"].as_array().unwrap().iter().map(|part| &part["tool"]).collect();
    assert_eq!(tools, ["numeric_match", "concise"]);
}

#[test]
fn a_config_needs_no_model_and_no_data_to_be_served() {
    let folder = tempfile::tempdir().unwrap();
    let rewards = "version: 1\nrewards:\n  always:\n    - { tool: concise, weight: 0.5 }\n";
    std::fs::write(folder.path().join("rewards.yaml"), rewards).unwrap();
    let served = serve(folder.path(), &["--config", "rewards.yaml"], "");
    let items = json!({ "items": [{ "prompt": "2 + 2 =", "reference": "4", "response": "4" }] });
    let (status, answer) = post(&served.address, "", &items);
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["results"][0]["parts"][1]["tool"], json!("concise"), "{answer}");
    std::fs::write(folder.path().join("rewards.yaml"), "version: 1\nrewards:\n  libary: x\n").unwrap();
    refused(
        &run(folder.path(), &["serve", "--config", "rewards.yaml"]),
        2,
        &["rewards.yaml", "3", "libary", "library"],
    );
}

#[test]
fn a_token_from_the_environment_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let served = serve(folder.path(), &[], "a token of the tests");
    let items = json!({ "items": [{ "prompt": "2 + 2 =", "reference": "4", "response": "4" }] });
    assert_eq!(post(&served.address, "", &items).0, 401);
    assert_eq!(post(&served.address, "authorization: Bearer a token of the tests\r\n", &items).0, 200);
}

#[test]
fn what_cannot_be_served_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, words) in [
        (&["serve", "--host", "0.0.0.0"][..], &["0.0.0.0", "RLAR_SERVE_TOKEN"][..]),
        (&["serve", "--host", "::"], &["RLAR_SERVE_TOKEN"]),
        (&["serve", "--library", "nowhere"], &["nowhere", "does not exist"]),
        (&["serve", "--config", "nowhere.yaml"], &["nowhere.yaml"]),
        (&["serve", "--config", "smoke.yaml", "--library", "tools"], &["--library"]),
        (&["serve", "--on-failure", "value=NaN"], &["value=NaN", "finite"]),
        (&["serve", "--on-failure", "zero"], &["zero", "hold"]),
        (&["serve", "--failure-limit", "2", "--port", "0"], &["failure limit"]),
    ] {
        refused(&run(folder.path(), arguments), 2, words);
    }
    let short = rlar(folder.path(), &["serve"]).env("RLAR_SERVE_TOKEN", "short").output().unwrap();
    refused(&short, 2, &["RLAR_SERVE_TOKEN", "16"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    refused(&run(folder.path(), &["serve", "--port", &port]), 1, &["cannot serve at", &port]);
}

/// An item whose program takes this many seconds to judge.
#[cfg(target_os = "linux")]
pub fn slow_item(seconds: f64) -> Value {
    let program = format!("import time\ntime.sleep({seconds})\ndef add(a, b):\n    return a + b\n");
    let response = format!("```python\n{program}```");
    json!({ "prompt": "Write add(a, b).", "response": response, "tests": ["assert add(1, 2) == 3"] })
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_that_is_killed_in_a_batch_answers_the_retry_after_its_restart() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--cache", "scores.sqlite"];
    let items = json!({ "items": [slow_item(1.0)] });
    let mut killed = serve(folder.path(), &arguments, "");
    let (address, body) = (killed.address.clone(), items.clone());
    // This client gets no answer.
    let asking = thread::spawn(move || {
        let mut stream = TcpStream::connect(&address).unwrap();
        let body = body.to_string();
        let head = format!("POST /v1/rewards HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n");
        let rest = format!("idempotency-key: k\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all((head + &rest).as_bytes()).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    while !get(&killed.address, "/metrics").1.contains("rlar_scoring_items 1\n") {
        thread::yield_now();
    }
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    asking.join().unwrap();
    let served = serve(folder.path(), &arguments, "");
    for _ in 0..2 {
        let (status, answer) = post(&served.address, "idempotency-key: k\r\n", &items);
        assert_eq!((status, rewards(&answer)), (200, vec![json!(1.0)]), "{answer}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn sigterm_lets_open_requests_have_their_answers() {
    let folder = tempfile::tempdir().unwrap();
    let served = serve(folder.path(), &[], "");
    let address = served.address.clone();
    let asking = thread::spawn(move || post(&address, "", &json!({ "items": [slow_item(1.0)] })));
    while !get(&served.address, "/metrics").1.contains("rlar_scoring_items 1\n") {
        thread::yield_now();
    }
    served.stopped();
    let (status, answer) = asking.join().unwrap();
    assert_eq!((status, rewards(&answer)), (200, vec![json!(1.0)]), "{answer}");
}

#[test]
fn a_json_log_has_an_object_per_line_with_the_id_of_the_request() {
    let folder = tempfile::tempdir().unwrap();
    let served = serve(folder.path(), &["--log-format", "json"], "");
    let items = json!({ "items": [{ "prompt": "2 + 2 =", "reference": "4", "response": "4" }] });
    assert_eq!(post(&served.address, "x-request-id: step-17\r\n", &items).0, 200);
    assert_eq!(get(&served.address, "/nowhere").0, 404);
    let lines = served.stopped();
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).expect(line)).collect();
    for line in &lines {
        for key in ["timestamp", "level", "message"] {
            assert!(line[key].is_string(), "{line} has no `{key}`");
        }
    }
    let answered: Vec<&Value> = lines.iter().filter(|line| line["message"] == "answered").collect();
    assert_eq!(answered.len(), 2);
    let [scored, other] = [answered[0], answered[1]];
    assert_eq!(
        (&scored["request"], &scored["route"], &scored["status"]),
        (&json!("step-17"), &json!("/v1/rewards"), &json!(200))
    );
    assert!(scored["seconds"].as_f64().unwrap() > 0.0);
    assert_eq!((other["request"].as_str().unwrap().len(), &other["status"]), (16, &json!(404)));
    assert!(lines.iter().any(|line| line["message"].as_str().unwrap().starts_with("stopping")), "{lines:#?}");
}

#[test]
fn the_end_of_standard_input_ends_it_when_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let mut command: Command = rlar(folder.path(), &["serve", "--port", "0", "--until-eof", "--quiet"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim_end().strip_prefix("http://").unwrap().to_owned();
    assert_eq!(get(&address, "/healthz").0, 200);
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

/// The answer to one item.
fn answer(server: &Served, item: &Value) -> Value {
    let body = json!({ "items": [item] }).to_string();
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let head = format!(
        "POST /v1/rewards HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        server.address,
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let body = text.split_once("\r\n\r\n").unwrap().1;
    serde_json::from_str::<Value>(body).unwrap()["results"][0].clone()
}

#[test]
fn a_function_that_always_names_is_added_to_the_chosen_tools() {
    let folder = tempfile::tempdir().unwrap();
    let code = "def polite(prompt, reply, reference):\n    return 1.0 if 'please' in reply else 0.0\n";
    std::fs::write(folder.path().join("reward.py"), code).unwrap();
    let write = |always: &str| {
        let text = format!("version: 1\nrewards:\n  python: reward.py:polite\n  unadmitted: allow\n{always}");
        std::fs::write(folder.path().join("rewards.yaml"), text).unwrap();
    };
    let item = json!({ "prompt": "2 + 2 =", "reference": "4", "response": "4, please" });
    let tools = || {
        let server = serve(folder.path(), &["--config", "rewards.yaml"], "");
        let parts = answer(&server, &item)["parts"].as_array().unwrap().clone();
        parts.iter().map(|part| part["tool"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    write("");
    assert_eq!(tools(), ["polite"], "alone, it takes the place of the chosen tools");
    write("  always: [{ tool: polite, weight: 0.5 }]\n");
    assert_eq!(tools(), ["numeric_match", "polite"]);
    write("  always: [{ tool: polit }]\n");
    let out = run(folder.path(), &["serve", "--port", "0", "--config", "rewards.yaml"]);
    refused(&out, 2, &["`polit`", "`rewards.always` names it"]);
}
