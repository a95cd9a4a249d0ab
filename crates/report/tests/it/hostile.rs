//! A run with anything in it: it is shown as text or named, nothing breaks, and the page stays small.

use std::fs;
use std::path::Path;

use rlar_report::{PlotLook, plot_metric};
use serde_json::{Value, json};

use crate::fixture::{FixtureReply, record, write, write_metrics, write_rollouts, write_run};
use crate::markup::{start_tags, text_of};
use crate::{page, paths, report};

const MARKUP: &str = "</script></style></pre><img src=x onerror=alert(1)>\u{202e}\u{0}\u{1b}[2J'\"`|*_[x](y)";

/// A run that has [`MARKUP`] wherever a text can be.
fn write_hostile_run(run: &Path) {
    write_run(run);
    let mut records: Vec<Value> = (1..=5).map(|step| record(step, 0.1 * step as f64)).collect();
    for record in &mut records {
        record["tools"] = json!({ MARKUP: { "score": { "mean": 0.5 } } , "b": { "score": { "mean": 0.25 } } });
        record["domains"] = json!({ MARKUP: { "reward": 0.5, "accuracy": 0.5 } });
    }
    records[1]["news"] = json!([MARKUP]);
    records[2]["hints"] = json!([MARKUP]);
    records[3]["suspended"] = json!([MARKUP]);
    write_metrics(run, &records);
    let verdicts =
        json!([[MARKUP, 1.0, { "scored": 1.0 }, MARKUP], [MARKUP, 1.0, { "failed": { "exception": MARKUP } }]]);
    let reply =
        FixtureReply { group: 0, prompt: MARKUP, completion: MARKUP, reward: Some(1.0), advantage: None, verdicts };
    write_rollouts(run, 1, &[reply]);
    let quoted = json!(MARKUP);
    write(
        &run.join("config.yaml"),
        format!(
            "version: 1\nseed: {quoted}\ndevice: {quoted}\ntrain:\n  method: {quoted}\n{quoted}: {quoted}\n\
             text: |\n  ```\n  <img src=x>\n"
        ),
    );
    let card =
        format!("name: x\nkind: {quoted}\nrole: {quoted}\nmeasures: {quoted}\ntasks: [{quoted}]\norigin: {quoted}\n");
    write(&run.join("library/<img src=x>/tool.yaml"), card);
    let checks = json!([{ "name": MARKUP, "passed": false, "evidence": MARKUP }]);
    write(&run.join("library/<img src=x>/admission.json"), json!({ "status": MARKUP, "probes": checks }).to_string());
    let tools = json!([{ "tool": MARKUP, "weight": 2.0, "as": MARKUP }]);
    let assignment = json!({ "example": MARKUP, "by": MARKUP, "why": MARKUP, "tools": tools });
    write(&run.join("assignments.jsonl"), format!("{assignment}\n"));
    write(&run.join("agents.jsonl"), format!("{}\n", json!({ "role": MARKUP, "reply": { "text": MARKUP } })));
    write(&run.join("evolution/step-000003-<img src=x>.md"), MARKUP);
    let counts = json!({ MARKUP: { "answers": 8, "right": 2, "unscored": 1 } });
    let suites = json!({ MARKUP: { "figures": { MARKUP: { "value": 0.5 } } } });
    let measured = json!({ "sampled": counts, "greedy": counts, "suites": suites });
    write(
        &run.join("report.json"),
        json!({ "measured": [measured, measured], "ended": MARKUP, "hints": [MARKUP] }).to_string(),
    );
    write(&run.join("inputs.json"), json!({ "train": MARKUP, "model": [MARKUP] }).to_string());
}

#[test]
fn markup_in_any_text_of_a_run_stays_text() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run<b>'\"&");
    write_hostile_run(&run);
    let other = folder.path().join("other");
    write_run(&other);
    for html in [page(&[&run]), page(&[&run, &other])] {
        // Only elements and attributes of the templates are in it.
        let tags = start_tags(&html);
        assert!(tags.iter().flat_map(|tag| &tag.attributes).all(|(name, _)| !name.starts_with("on") && name != "src"));
        assert!(html.contains("&lt;img src=x onerror=alert(1)&gt;[U+202E]\u{2400}\u{241b}[2J"));
        assert!(!html.contains(['\u{202e}', '\0', '\u{1b}']));
        assert!(text_of(&html).contains("</script></style></pre><img src=x onerror=alert(1)>"));
    }
}

#[test]
fn plots_of_a_hostile_run_are_well_formed() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run<b>'\"&");
    write_hostile_run(&run);
    for metric in ["tools", "domains", &format!("tools/{MARKUP}/score/mean")] {
        let svg = plot_metric(&paths(&[&run]), metric, PlotLook::default()).unwrap();
        start_tags(&svg);
        assert!(!svg.chars().any(|c| c.is_control() && c != '\n'), "XML allows no control characters: {svg}");
    }
}

#[test]
fn markdown_of_a_hostile_run_has_its_texts_as_code() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run<b>'\"&");
    write_hostile_run(&run);
    let other = folder.path().join("other");
    write_run(&other);
    let markdown = report(&[&run, &other]).markdown(Some("x"), PlotLook::default()).text;
    let mut outside = String::new();
    let mut fence: Option<&str> = None;
    for line in markdown.lines() {
        let ticks = &line[..line.len() - line.trim_start_matches('`').len()];
        match fence {
            Some(open) if line == open => fence = None,
            None if ticks.len() >= 3 => fence = Some(ticks),
            None => outside.extend([line, "\n"]),
            Some(_) => {}
        }
    }
    assert_eq!(fence, None, "every block ends: {markdown}");
    // The config has a line of three backticks, which ends no block.
    assert!(markdown.contains("````yaml\n"), "{markdown}");
    let mut rest = String::new();
    for (i, part) in outside.split("<code>").enumerate() {
        rest.push_str(if i == 0 { part } else { part.split_once("</code>").unwrap().1 });
    }
    let rest: String = rest.split('`').step_by(2).collect();
    for part in ["img", "onerror", "alert", "script", "[x]"] {
        assert!(!rest.contains(part), "{part} is outside of code: {rest}");
    }
    let mut columns = None;
    for line in outside.lines() {
        let bars = line.matches('|').count();
        assert!(
            columns.is_none_or(|columns| columns == bars || bars == 0),
            "a row has as many cells as its head: {line}"
        );
        columns = (bars > 0).then_some(bars);
    }
}

#[test]
fn files_that_cannot_be_read_are_named_and_the_rest_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    let mut bytes = format!("{}\n", record(1, 0.5)).into_bytes();
    bytes.extend(b"{\"step\": 2, \"reward\": {\"mean\": NaN}}\n");
    bytes.extend(b"{\"step\": 3, \"news\": [\"broken \xff\xfe UTF-8\"]}\n");
    bytes.extend(b"{\"step\": 4, \"reward\": {\"mean\": 0.25}}\n{\"step\": 5, \"rew");
    write(&run.join("metrics.jsonl"), bytes);
    let parquet = run.join("rollouts/step-000004.parquet");
    let whole = fs::read(&parquet).unwrap();
    fs::write(&parquet, &whole[..whole.len() / 2]).unwrap();
    write(&run.join("library/bad/tool.yaml"), "a: &a [*a");
    write(&run.join("inputs.json"), "{\"train\": ");
    write(&run.join("assignments.jsonl"), "{\"example\": \"\n{\"exam");
    let html = page(&[&run]);
    start_tags(&html);
    let text = text_of(&html);
    for part in [
        "one/metrics.jsonl, line 2: ",
        "one/rollouts/step-000004.parquet: ",
        "one/library/bad/tool.yaml: ",
        "one/inputs.json: ",
        "one/assignments.jsonl, line 1: ",
        "from 0.5 at step 1 to 0.25 at step 4",
        "broken \u{fffd}",
        "Step 1, example example-0",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // No file that a run is known by, or a pipe in the place of one.
    write(&run.join("report.json"), "[[[");
    fs::remove_file(run.join("agents.jsonl")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(run.join("agents.jsonl")).status().unwrap().success());
    let text = text_of(&page(&[&run]));
    assert!(text.contains("one/report.json: ") && text.contains("no regular file"), "{text}");
}

#[test]
fn huge_texts_and_many_tools_do_not_make_a_huge_page() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    let huge = "é&<\n".repeat(10_000);
    let verdicts: Value = (0..40).map(|_| json!([huge, 1.0, { "scored": 1.0 }, huge])).collect();
    let reply = |reward| FixtureReply {
        group: 0,
        prompt: &huge,
        completion: &huge,
        reward: Some(reward),
        advantage: None,
        verdicts: verdicts.clone(),
    };
    write_rollouts(&run, 1, &[reply(0.0), reply(0.5), reply(1.0)]);
    let tools: serde_json::Map<String, Value> =
        (0..500).map(|i| (format!("{i} {}", "&".repeat(300)), json!({ "score": { "mean": 0.5 } }))).collect();
    let news = json!([&huge[..2000], &huge[..2000]]);
    let records: Vec<Value> = (1..=3).map(|step| json!({ "step": step, "tools": tools, "news": news })).collect();
    write_metrics(&run, &records);
    write(&run.join("config.yaml"), format!("version: 1\nlong: {}\n", json!(huge)));
    let assignment = |i: usize| json!({ "example": "e", "by": "m", "why": format!("{i} {huge}"), "tools": [] });
    let assignments: Vec<String> = (0..60).map(|i| format!("{}\n", assignment(i))).collect();
    write(&run.join("assignments.jsonl"), assignments.concat());
    for i in 0..120 {
        let card = format!("measures: {}\n", json!(huge[..5000]));
        write(&run.join(format!("library/tool-{i:03}/tool.yaml")), card);
    }
    let html = page(&[&run]);
    start_tags(&html);
    assert!(html.len() < 5_000_000, "{} bytes", html.len());
    assert!(html.contains("more characters"), "what is cut is said");
    assert!(report(&[&run]).markdown(None, PlotLook::default()).text.len() < 300_000);
}

#[test]
fn what_looks_like_a_secret_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    let secret = "sk-abcdefghijklmnop1234";
    write(
        &run.join("config.yaml"),
        format!("version: 1\nrewards:\n  llm:\n    url: http://me:hunter2@host/v1\n    note: {secret}\n"),
    );
    let far = format!("{}{secret}", "a ".repeat(1995));
    let verdicts = json!([["strict", 1.0, { "scored": 1.0 }, secret]]);
    let reply =
        FixtureReply { group: 0, prompt: secret, completion: &far, reward: Some(1.0), advantage: None, verdicts };
    write_rollouts(&run, 1, &[reply]);
    let written = report(&[&run]);
    for text in [written.html(PlotLook::default()), written.markdown(None, PlotLook::default()).text] {
        assert!(!text.contains("hunter2") && !text.contains("sk-abc"), "{text}");
        assert!(text.contains("[secret]"));
    }
}
