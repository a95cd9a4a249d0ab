//! `rlar eval SUITE` and `rlar data`.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

use rlar_rewards::Library;
use serde_json::{Value, json};

use crate::training::metrics;
use crate::{refused, rlar, run, smoke, text};

/// `rlar` with an empty folder of downloaded data.
fn without_data(folder: &Path, arguments: &[&str]) -> std::process::Output {
    rlar(folder, arguments).env("RLAR_DATA", folder.join("data")).output().unwrap()
}

const SUITE: &str = "version: 1\nname: sums\ndata: rows.jsonl\nprompt: \"{{ a }} + {{ b }} =\"\nreference: \"{{ a + b }}\"\n\
                     tools: [{ tool: last_number }]\nmetrics: [accuracy]\n";

fn suite(folder: &Path) {
    fs::write(folder.join("sums.yaml"), SUITE).unwrap();
    let row = |i: u64| json!({ "id": i.to_string(), "a": i, "b": 2 * i }).to_string();
    fs::write(folder.join("rows.jsonl"), (0..20).map(row).collect::<Vec<_>>().join("\n")).unwrap();
}

#[test]
fn a_suite_in_yaml_needs_no_code() {
    let folder = tempfile::tempdir().unwrap();
    suite(folder.path());
    let reply = |i: u64| json!({ "id": i.to_string(), "reply": (3 * i + u64::from(i < 5)).to_string() }).to_string();
    fs::write(folder.path().join("replies.jsonl"), (0..20).map(reply).collect::<Vec<_>>().join("\n")).unwrap();
    let out = run(folder.path(), &["eval", "sums.yaml", "--answers", "replies.jsonl", "--out", "out"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    for part in ["sums", "accuracy", "75.0", "95 %", "20 prompts, 1 reply each, by replies.jsonl"] {
        assert!(text(&out.stdout).contains(part), "{part} is not in {}", text(&out.stdout));
    }
    let results: Value =
        serde_json::from_slice(&fs::read(folder.path().join("out/sums/results.json")).unwrap()).unwrap();
    assert_eq!(results["figures"]["accuracy"]["value"], 0.75);
    let verdicts = fs::read_to_string(folder.path().join("out/sums/verdicts.jsonl")).unwrap();
    assert_eq!(verdicts.lines().filter(|l| l.contains("\"right\":true")).count(), 15);
}

#[test]
fn a_suite_names_its_data_as_a_config_does() {
    let folder = tempfile::tempdir().unwrap();
    let f = folder.path();
    let suites = f.join("suites");
    fs::create_dir_all(&suites).unwrap();
    fs::create_dir_all(f.join("data/set")).unwrap();
    let yaml = "version: 1\nname: mine\ndata: [rows-*.csv, set/rows.jsonl]\nprompt: \"{{ q }}\"\nreference: \"{{ r }}\"\n\
                tools: [{ tool: last_number }]\nmetrics: [accuracy]\n";
    fs::write(suites.join("mine.yaml"), yaml).unwrap();
    fs::write(suites.join("rows-1.csv"), "id,q,r\na,1 + 1,2\n").unwrap();
    fs::write(suites.join("rows-2.csv"), "id,q,r\nb,1 + 2,3\n").unwrap();
    // `RLAR_DATA` is the folder `data`, where downloaded files are.
    let rows = |n: u64| json!({ "id": n.to_string(), "q": format!("{n} + 1 ="), "r": (n + 1).to_string() }).to_string();
    fs::write(f.join("data/set/rows.jsonl"), rows(3)).unwrap();
    let replies =
        [("a", "2"), ("b", "3"), ("3", "5")].map(|(id, reply)| json!({ "id": id, "reply": reply }).to_string());
    fs::write(f.join("replies.jsonl"), replies.join("\n")).unwrap();
    let out = without_data(f, &["eval", "suites/mine.yaml", "--answers", "replies.jsonl"]);
    assert!(text(&out.stdout).contains("3 prompts, 1 reply each"), "{}", text(&out.stderr));
    // A config finds downloaded files, too.
    let data = "  train: datasets/digits/train.jsonl\n  heldout: datasets/digits/heldout.jsonl\n";
    let prompts: Vec<String> = (0..20)
        .map(|n: u64| json!({ "prompt": format!("{n} + 1 ="), "reference": (n + 1).to_string() }).to_string())
        .collect();
    fs::write(f.join("data/set/prompts.jsonl"), prompts.join("\n")).unwrap();
    let config = smoke(f, &[(data, "  train: set/prompts.jsonl\n  heldout: set/prompts.jsonl\n")]);
    let out = without_data(f, &["check", "--config", &config]);
    assert!(text(&out.stdout).contains("20 prompts, 20 held-out prompts"), "{}", text(&out.stderr));
}

#[test]
fn what_a_suite_lacks_is_an_error_before_any_reply_is_generated() {
    let folder = tempfile::tempdir().unwrap();
    suite(folder.path());
    let with = |more: &[&str]| without_data(folder.path(), &[&["eval"], more].concat());
    refused(&with(&[]), 2, &["a suite", "--config", "--help"]);
    refused(&with(&["gsm9k", "--model", "m"]), 2, &["suite gsm9k", "humaneval", "gsm8k"]);
    refused(&with(&["gsm8k", "--model", "m"]), 2, &["gsm8k/test.jsonl", "`rlar data fetch gsm8k`"]);
    refused(&with(&["sums.yaml"]), 2, &["nothing to evaluate", "--server"]);
    refused(&with(&["sums.yaml", "--model", "nowhere"]), 2, &["model nowhere does not exist"]);
    refused(&with(&["sums.yaml", "sums.yaml", "--model", "m"]), 2, &["two suites are called `sums`"]);
    refused(&with(&["sums.yaml", "--metric", "pass@3", "--model", "m"]), 2, &["`pass@3` needs at least 3 replies"]);
    refused(&with(&["sums.yaml", "--answers", "nowhere.jsonl"]), 2, &["--answers nowhere.jsonl"]);
    refused(&with(&["sums.yaml", "--data", "other.jsonl", "--model", "m"]), 2, &["other.jsonl", "--data"]);
    let plain = SUITE.to_owned() + "format: plain\n";
    fs::write(folder.path().join("plain.yaml"), plain).unwrap();
    let server = ["--server", "http://127.0.0.1:9/v1", "--server-model", "m"];
    refused(&with(&[&["plain.yaml"], &server[..]].concat()), 2, &["suite `sums`", "`format: chat`"]);
    // No server listens at this address, so there is no result.
    let out = with(&[&["sums.yaml"], &server[..]].concat());
    refused(&out, 1, &["suite `sums`: ", "prompts in a row got no reply", "127.0.0.1:9"]);
}

/// An OpenAI-compatible server that adds; it hangs up on the first requests. It tells nothing about itself.
fn adding_server(hang_ups: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/v1", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut chats = 0;
        for mut stream in listener.incoming().flatten() {
            let (mut seen, mut piece) = (Vec::new(), [0; 4096]);
            let body = loop {
                let read = stream.read(&mut piece).unwrap_or(0);
                seen.extend_from_slice(&piece[..read]);
                let request = String::from_utf8_lossy(&seen).into_owned();
                let Some((head, body)) = request.split_once("\r\n\r\n") else { continue };
                if head.starts_with("GET ") {
                    break Value::Null;
                }
                if let Ok(body) = serde_json::from_str::<Value>(body) {
                    break body;
                }
                assert!(read > 0, "the request was cut short");
            };
            if body.is_null() {
                let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                continue;
            }
            chats += 1;
            if chats <= hang_ups {
                continue;
            }
            let prompt = body["messages"][0]["content"].as_str().unwrap();
            let numbers = prompt.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse::<u64>().ok());
            let answer = format!("It is {}.", numbers.sum::<u64>());
            let reply = json!({
                "choices": [{ "message": { "role": "assistant", "content": answer }, "finish_reason": "stop" }],
                "usage": { "prompt_tokens": 5, "completion_tokens": 5 },
            })
            .to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", reply.len());
            let _ = stream.write_all((head + &reply).as_bytes());
        }
    });
    address
}

#[test]
fn a_server_replies_and_its_replies_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    suite(folder.path());
    let url = adding_server(1);
    let with = |url: &str| {
        run(folder.path(), &["eval", "sums.yaml", "--server", url, "--server-model", "adder", "--out", "out"])
    };
    let out = with(&url);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(text(&out.stdout).contains("100.0"), "{}", text(&out.stdout));
    // No request is sent again.
    let kept = folder.path().join("out/sums/answers.jsonl");
    let before = fs::read_to_string(&kept).unwrap();
    assert_eq!(before.lines().count(), 20);
    assert!(with(&url).status.success());
    assert_eq!(fs::read_to_string(&kept).unwrap(), before);
}

#[test]
fn replies_come_from_another_server_where_one_is_down() {
    let folder = tempfile::tempdir().unwrap();
    suite(folder.path());
    let gone = format!("http://{}/v1", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let url = adding_server(0);
    let out = run(
        folder.path(),
        &["eval", "sums.yaml", "--server", &gone, "--server", &url, "--server-model", "adder", "--out", "out"],
    );
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(text(&out.stdout).contains("100.0"), "{}", text(&out.stdout));
}

#[test]
fn data_sets_are_downloaded_from_the_addresses_in_a_list() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\ncontent-length: 23\r\nconnection: close\r\n\r\n{\"id\": 1, \"a\": 1, \"b\":2}",
            );
        }
    });
    let hash = rlar_run::sha256(b"{\"id\": 1, \"a\": 1, \"b\":2");
    let list = |hash: &str| {
        format!(
            "version: 1\nsets:\n  sums:\n    about: sums\n    licence: MIT\n    files:\n      - file: rows.jsonl\n        url: http://{address}/rows\n        sha256: {hash}\n"
        )
    };
    fs::write(folder.path().join("origins.yaml"), list(&hash)).unwrap();
    let with = |more: &[&str]| without_data(folder.path(), &[&["data"], more, &["--origins", "origins.yaml"]].concat());
    assert!(text(&with(&["list"]).stdout).contains("0 of 1"));
    let out = with(&["fetch", "sums"]);
    assert!(out.status.success() && text(&out.stdout).contains("data/sums/rows.jsonl"), "{}", text(&out.stderr));
    assert!(text(&with(&["fetch", "sums"]).stdout).contains("is already here"));
    assert!(text(&with(&["list"]).stdout).contains("yes"));
    refused(&with(&["fetch", "products"]), 2, &["no data set `products`", "sums"]);
    fs::write(folder.path().join("origins.yaml"), list(&rlar_run::sha256(b"else"))).unwrap();
    refused(&with(&["fetch", "sums"]), 1, &["SHA-256", &hash]);
    assert!(text(&without_data(folder.path(), &["data", "list"]).stdout).contains("gsm8k"));
}

#[test]
fn a_run_and_its_suites_record_their_language_model_into_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let f = folder.path();
    suite(f);
    let sampling = "sampling: { samples: 1, temperature: 1, max_tokens: 4 }\n";
    let judged = SUITE.replace("{{ a }} + {{ b }} =", "Add {{ a }}, {{ b }}").replace("last_number", "grader");
    fs::write(f.join("sums.yaml"), judged + sampling).unwrap();
    fs::create_dir_all(f.join("tools/grader")).unwrap();
    let card = "name: grader\nkind: judge\nrole: correctness\nmeasures: m\ntasks: []\nneeds_reference: false\nrange: [0, 1]\n\
                origin: test\njudge: { rubric: r }\n";
    fs::write(f.join("tools/grader/tool.yaml"), card).unwrap();
    let identity = Library::load(&f.join("tools")).unwrap().identity("grader").unwrap();
    let admission = json!({ "identity": identity, "version": "1", "status": "admitted", "examples": 1, "probes": [] });
    fs::write(f.join("tools/grader/admission.json"), admission.to_string()).unwrap();
    let script = "- request: { role: judge, template: judge-2, task: grader }\n  \
                  reply: { text: '{\"reason\": \"r\", \"score\": 10}' }\n";
    fs::write(f.join("script.yaml"), script).unwrap();
    let rewards = "rewards:\n  library: tools\n  assign:\n    digits: [{ tool: grader }]\n  \
                   llm: { replay: script.yaml, record: chats.jsonl }\nsampling:";
    let changes = [
        ("sampling:", rewards),
        ("warmup:\n  steps: 120", "warmup:\n  steps: 5"),
        ("train:\n  steps: 300", "train:\n  steps: 1"),
        ("eval:\n  samples: 8", "eval:\n  samples: 1\n  suites: [{ suite: sums.yaml, limit: 3 }]"),
    ];
    let config = smoke(f, &changes);
    let out = run(f, &["train", "--config", &config, "--run", "run"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let chats = fs::read_to_string(f.join("chats.jsonl")).unwrap();
    let requests = chats.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["request"].to_string());
    let requests: Vec<String> = requests.collect();
    let count = |part: &str| requests.iter().filter(|request| request.contains(part)).count();
    assert!(count("user: Add ") > 0 && count("user: Add ") < requests.len(), "{chats}");
    assert_eq!(requests.iter().collect::<BTreeSet<_>>().len(), requests.len(), "a request is recorded twice");
}

#[test]
fn suites_run_during_training_and_change_only_which_checkpoints_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let suite = "version: 1\nname: digits\ndata: datasets/digits/heldout.jsonl\nprompt: \"{{ prompt }}\"\n\
                 reference: \"{{ reference }}\"\nsampling: { samples: 2, temperature: 1, max_tokens: 4 }\n\
                 tools: [{ tool: last_number }]\nmetrics: [accuracy, \"pass@2\"]\n";
    fs::write(folder.path().join("digits.yaml"), suite).unwrap();
    let weights = |eval: &str, keep: &str, name: &str| {
        let kept = format!("rollouts_every: 10\n  keep_last: 1\n  keep_best: {keep}");
        let changes = [
            ("warmup:\n  steps: 120", "warmup:\n  steps: 40"),
            ("train:\n  steps: 300", "train:\n  steps: 30"),
            ("eval:\n  samples: 8", eval),
            ("rollouts_every: 10", kept.as_str()),
        ];
        let config = smoke(folder.path(), &changes);
        let out = run(folder.path(), &["train", "--config", &config, "--run", name]);
        assert!(out.status.success(), "{}", text(&out.stderr));
        (fs::read(folder.path().join(name).join("final/model.safetensors")).unwrap(), text(&out.stdout))
    };
    let with_suite =
        "eval:\n  samples: 1\n  every: 3\n  suites: [{ suite: digits.yaml, limit: 10 }]\n  metric: digits/pass@2";
    let (never, _) = weights("eval:\n  samples: 1", "0", "never");
    let (often, report) = weights(with_suite, "1", "often");
    assert!(never == often, "suites disturbed the training");
    assert!(
        report.contains("digits  ") && report.contains("pass@2") && report.contains("digits/pass@2 0."),
        "{report}"
    );
    let path = folder.path().join("often");
    let results: Vec<f64> = metrics(&path)
        .iter()
        .filter_map(|m| m["eval"]["suites"]["digits"]["figures"]["pass@2"]["value"].as_f64())
        .collect();
    assert_eq!(results.len(), 10);
    let report: Value = serde_json::from_slice(&fs::read(path.join("report.json")).unwrap()).unwrap();
    assert_eq!(report["best"][1], "digits/pass@2");
    let best = results.iter().copied().fold(0.0, f64::max);
    assert!((report["best"][2].as_f64().unwrap() - best).abs() < 1e-12);
    let best = report["best"][0].as_u64().unwrap();
    assert!(path.join(format!("checkpoints/step-{best:06}/model.safetensors")).exists(), "the best is not kept");
    // The run's final policy can be evaluated on the same suite.
    let out =
        run(folder.path(), &["eval", "digits.yaml", "--model", "often/final", "--limit", "10", "--bootstrap", "0"]);
    assert!(text(&out.stdout).contains("10 prompts, 2 replies each, by often/final"), "{}", text(&out.stderr));
    let wrong = |eval: &str| {
        let config = smoke(folder.path(), &[("eval:\n  samples: 8", eval)]);
        run(folder.path(), &["train", "--config", &config, "--run", "wrong"])
    };
    refused(&wrong(&with_suite.replace("pass@2", "pass@3")), 2, &["`eval.metric`", "`digits/pass@3`", "digits"]);
    refused(&wrong(&with_suite.replace("digits.yaml", "sums.yaml")), 2, &["`eval.suites[0]`", "suite sums.yaml"]);
    refused(&wrong("eval:\n  metric: digits"), 2, &["job.yaml:", "`eval.metric`", "no `eval.suites`"]);
}
