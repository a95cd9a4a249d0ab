//! A run with anything in it: it is shown as text or named, and nothing breaks.

use std::fs;

use serde_json::json;

use crate::client::{ask, asked, found};
use crate::fixture::{FixtureReply, record, write, write_metrics, write_rollouts, write_run};
use crate::serve;

const MARKUP: &str = "</script><img src=x onerror=alert(1)>\u{202e}\u{0}'\"`";

#[test]
fn markup_in_prompts_replies_tools_and_reasons_stays_text() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run<b>");
    write_run(&run);
    let reply = FixtureReply {
        group: 0,
        prompt: MARKUP,
        completion: MARKUP,
        reward: Some(1.0),
        advantage: None,
        verdicts: json!([[MARKUP, 1.0, { "scored": 1.0 }, MARKUP]]),
    };
    write_rollouts(&run, 1, &[reply]);
    let server = serve(folder.path());
    let answer = ask(&server, "group", &[asked("run", "run<b>"), asked("step", "1"), asked("group", "0")]);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    let group = answer.json();
    let verdict = &group["replies"][0]["verdicts"][0];
    for text in
        [&group["prompt"]["text"], &group["replies"][0]["completion"]["text"], &verdict["tool"], &verdict["reason"]]
    {
        assert_eq!(text, MARKUP);
    }
}

#[test]
fn lines_that_cannot_be_read_are_named_and_the_others_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    let mut bytes = format!("{}\n", record(1, 0.5)).into_bytes();
    bytes.extend(b"{\"step\": 2, \"reward\": {\"mean\": NaN}}\n");
    bytes.extend(b"{\"step\": 3, \"news\": [\"broken \xff\xfe UTF-8\"]}\n");
    bytes.extend(b"{\"step\": 3}\n[1, 2]\n\n");
    bytes.extend([vec![b'['; 100_000], b"\n".to_vec()].concat());
    bytes.extend(b"{\"step\": 4, \"accuracy\": 0.25}\n{\"step\": 5, \"accur");
    write(&run.join("metrics.jsonl"), bytes);
    let server = serve(folder.path());
    let metrics = found(&server, "metrics", &[asked("run", "one"), asked("columns", "accuracy")]);
    let lines: Vec<u64> = metrics["problems"].as_array().unwrap().iter().filter_map(|p| p["line"].as_u64()).collect();
    assert_eq!(metrics["last_steps"].as_array().unwrap().last(), Some(&json!(4)));
    for line in [2, 4, 5, 7] {
        assert!(lines.contains(&line), "line {line} is not named: {}", metrics["problems"]);
    }
    write(&run.join("assignments.jsonl"), b"{\"example\": \"\xff\", \"tools\": 3, \"by\": [], \"why\": null}\n{\"exam");
    write(&run.join("agents.jsonl"), "nonsense\n{}\n{\"messages\": 7}\n");
    write(&run.join("report.json"), "{\"measured\": [1, {\"sampled\": []}], \"hints\": {}, \"steps\": -1}");
    write(&run.join("library/bad/tool.yaml"), "a: &a [*a");
    write(&run.join("library/worse/tool.yaml"), "file: ../../config.yaml\nrange: up\n");
    write(&run.join("library/worse/admission.json"), "{\"probes\": 1");
    for path in ["assignments", "exchanges", "evaluations", "hints", "library"] {
        found(&server, path, &[asked("run", "one")]);
    }
    let library = ask(&server, "library", &[asked("run", "one")]);
    assert!(library.body.contains("library/bad/tool.yaml") && !library.body.contains("max_tokens"), "{}", library.body);
}

#[test]
fn a_file_of_rollouts_that_is_cut_or_damaged_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    let path = run.join("rollouts/step-000004.parquet");
    let whole = fs::read(&path).unwrap();
    let server = serve(folder.path());
    let groups = || ask(&server, "groups", &[asked("run", "one"), asked("step", "4")]);
    for length in [0, 3, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        groups().is_refused(422, "unreadable", &["step-000004.parquet"]);
    }
    let mut damaged = whole.clone();
    damaged[8..200].fill(0xff);
    fs::write(&path, &damaged).unwrap();
    assert!([200, 422].contains(&groups().status));
    fs::write(&path, &whole).unwrap();
    assert_eq!(groups().status, 200);
    ask(&server, "groups", &[asked("run", "one"), asked("step", "2")]).is_refused(
        404,
        "no_rollouts",
        &["step 2", "1, 4"],
    );
}

#[test]
fn verdicts_of_an_unknown_form_do_not_hide_the_reply() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    let reply =
        |verdicts| FixtureReply { group: 0, prompt: "p", completion: "c", reward: None, advantage: None, verdicts };
    let later = json!([["tool", null, { "delegated": 3 }]]);
    write_rollouts(&run, 1, &[reply(json!("nonsense")), reply(later)]);
    let server = serve(folder.path());
    let group = found(&server, "group", &[asked("run", "one"), asked("step", "1"), asked("group", "0")]);
    assert_eq!(group["replies"][0]["verdicts"], serde_json::Value::Null);
    assert_eq!(group["replies"][1]["verdicts"][0]["outcome"], "unknown");
}

#[test]
fn a_huge_text_is_cut_and_its_length_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    let huge = "é".repeat(300_000);
    let verdicts = json!([["strict", 1.0, { "scored": 1.0 }, huge]]);
    let reply = FixtureReply { group: 0, prompt: &huge, completion: &huge, reward: None, advantage: None, verdicts };
    write_rollouts(&run, 1, &[reply]);
    let server = serve(folder.path());
    let parameters = || [asked("run", "one"), asked("step", "1"), asked("group", "0"), asked("row", "0")];
    let first = |path: &str| found(&server, path, &parameters())["replies"][0].clone();
    let shown = |path: &str| first(path)["completion"].clone();
    let reason = first("group")["verdicts"][0]["reason"].as_str().unwrap().to_owned();
    assert!(reason.chars().count() == 20_001 && reason.ends_with("é…"));
    assert_eq!((&shown("group")["chars"], &shown("group")["cut"]), (&json!(300_000), &json!(true)));
    assert!(ask(&server, "groups", &parameters()).body.len() < 5000);
    assert_eq!(
        (shown("reply")["cut"].as_bool(), shown("reply")["text"].as_str().map(str::len)),
        (Some(false), Some(600_000))
    );
}

#[test]
fn a_pipe_in_the_place_of_a_file_is_named_and_nothing_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    for file in ["agents.jsonl", "metrics.jsonl", "report.json"] {
        fs::remove_file(run.join(file)).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(run.join(file)).status().unwrap().success());
    }
    // Without any regular file of records it would be no run.
    write(&run.join("inputs.json"), "{}");
    let server = serve(folder.path());
    for path in ["exchanges", "metrics", "evaluations"] {
        ask(&server, path, &[asked("run", "one")]).is_refused(422, "unreadable", &["no regular file"]);
    }
    assert_eq!(found(&server, "runs", &[])["runs"][0]["last_step"], serde_json::Value::Null);
}

#[test]
fn a_run_with_many_thousand_names_of_metrics_stays_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    let names = std::iter::once("a".repeat(600)).chain((0..5000).map(|i| format!("m{i}")));
    let many: serde_json::Map<String, serde_json::Value> = names.map(|name| (name, json!(1))).collect();
    write_metrics(&run, &[json!({ "step": 1, "many": many }), json!({ "step": 2, "many": many })]);
    let server = serve(folder.path());
    let metrics = found(&server, "metrics", &[asked("run", "one")]);
    let names = metrics["names"].as_array().unwrap();
    assert!(names.len() == 1024 && names.iter().all(|name| name.as_str().unwrap().len() < 100), "{names:?}");
    assert!(metrics["problems"][0]["message"].as_str().unwrap().contains("left out"), "{}", metrics["problems"]);
}
