//! A run's folder as a training run leaves it, small.

use std::fs;
use std::path::{Path, PathBuf};

use rlar_data::{Column, parquet};
use serde_json::{Value, json};

/// Writes a file, with the folders that it needs.
pub fn write(path: &Path, contents: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, contents).unwrap();
}

/// The record of a step, without its line end.
pub fn record(step: u64, reward: f64) -> Value {
    json!({
        "step": step, "reward": { "mean": reward }, "accuracy": reward, "kl": { "k3": 0.01 }, "loss": null,
        "tools": { "exact, or nearly": { "score": { "mean": reward } } }, "suspended": [],
    })
}

/// Writes records as the lines of `metrics.jsonl`.
pub fn write_metrics(run: &Path, records: &[Value]) {
    let lines: Vec<String> = records.iter().map(|record| format!("{record}\n")).collect();
    write(&run.join("metrics.jsonl"), lines.concat());
}

/// A reply of the fixture.
pub struct FixtureReply<'a> {
    pub group: i64,
    pub prompt: &'a str,
    pub completion: &'a str,
    pub reward: Option<f64>,
    pub advantage: Option<f64>,
    pub verdicts: Value,
}

/// Writes the rollouts of a step, with the columns that `docs/reference/run.md` names.
pub fn write_rollouts(run: &Path, step: u64, replies: &[FixtureReply]) -> PathBuf {
    let texts = |text: fn(&FixtureReply) -> String| Column::Text(replies.iter().map(text).collect());
    let numbers = |number: fn(&FixtureReply) -> Option<f64>| Column::Number(replies.iter().map(number).collect());
    let columns = [
        ("step".to_owned(), Column::Whole(replies.iter().map(|_| step as i64).collect())),
        ("prompt".to_owned(), texts(|r| r.prompt.to_owned())),
        ("completion".to_owned(), texts(|r| r.completion.to_owned())),
        ("advantage".to_owned(), numbers(|r| r.advantage)),
        ("example".to_owned(), texts(|r| format!("example-{}", r.group))),
        ("domain".to_owned(), texts(|r| if r.group == 0 { "sums" } else { "words" }.to_owned())),
        ("group".to_owned(), Column::Whole(replies.iter().map(|r| r.group).collect())),
        ("reference".to_owned(), texts(|_| "42".to_owned())),
        ("reward".to_owned(), numbers(|r| r.reward)),
        ("tokens".to_owned(), Column::Whole(replies.iter().map(|r| r.completion.len() as i64).collect())),
        ("finish".to_owned(), texts(|r| if r.completion.len() > 20 { "length" } else { "stop" }.to_owned())),
        ("audit".to_owned(), numbers(|_| None)),
        ("verdicts".to_owned(), texts(|r| r.verdicts.to_string())),
        ("rendered_prompt".to_owned(), texts(|r| format!("<|user|>{}", r.prompt))),
        ("messages".to_owned(), texts(|_| "[]".to_owned())),
        ("token_ids".to_owned(), texts(|_| "[7,8]".to_owned())),
        ("log_probs".to_owned(), texts(|_| "[-0.5,-1.25]".to_owned())),
    ];
    let path = run.join("rollouts").join(format!("step-{step:06}.parquet"));
    write(&path, parquet(&columns).unwrap());
    path
}

/// Writes a run with five steps, replies of steps 1 and 4, a tool, assignments, exchanges and a report.
pub fn write_run(run: &Path) {
    write(
        &run.join("config.yaml"),
        "version: 1\nseed: 3\ntrain:\n  method: grpo\n  steps: 5\nsampling:\n  max_tokens: 64\n",
    );
    let mut records: Vec<Value> = (1..=5).map(|step| record(step, 0.1 * step as f64)).collect();
    records[2]["news"] = json!(["signal of `math`: no spread"]);
    records[2]["hints"] = json!(["nearly no reply is right"]);
    records[3]["eval"] = json!({ "accuracy": 0.75, "decides": 0.75 });
    write_metrics(run, &records);
    let verdicts = json!([
        ["exact, or nearly", 1.0, { "scored": 0.5 }, "found 41, wanted 42"],
        ["strict", 0.5, { "failed": { "exception": "ValueError" } }],
        ["polite", 1.0, { "abstained": "no greeting in the prompt" }],
    ]);
    let right = json!([["exact, or nearly", 1.0, { "scored": 1.0 }, "found 42, wanted 42"]]);
    let reply = |group, completion, reward, advantage, verdicts: &Value| FixtureReply {
        group,
        prompt: "What is 6 * 7?",
        completion,
        reward,
        advantage,
        verdicts: verdicts.clone(),
    };
    let replies = [
        reply(0, "41", None, None, &verdicts),
        reply(0, "42", Some(1.0), Some(0.5), &right),
        reply(0, "a reply that is far too long", Some(0.0), Some(-0.5), &right),
        reply(1, "42", Some(1.0), Some(0.0), &right),
        reply(1, "42.", Some(1.0), Some(0.0), &right),
    ];
    write_rollouts(run, 1, &replies);
    write_rollouts(run, 4, &replies);
    let tool = run.join("library/strict");
    write(
        &tool.join("tool.yaml"),
        "name: strict\nkind: verifier\nrole: correctness\nmeasures: Equality.\ntasks: [math]\nrange: [0, 1]\nfile: tool.py\n",
    );
    write(&tool.join("tool.py"), "def compute_score(): ...\n");
    let checks = json!([
        { "name": "runs", "passed": true, "evidence": "" },
        { "name": "is fast", "passed": false, "evidence": "9 s" },
    ]);
    let report = json!({ "status": "refused", "examples": 3, "auc": 0.5, "probes": checks });
    write(&tool.join("admission.json"), report.to_string());
    let assignment = |example: &str, by: &str| {
        json!({ "example": example, "by": by, "why": "the reference is a number",
                "tools": [{ "tool": "strict", "weight": 0.5, "as": "gate" }, { "tool": "exact, or nearly", "weight": 1.0 }] })
    };
    write(
        &run.join("assignments.jsonl"),
        format!("{}\n{}\n", assignment("example-0", "builtin"), assignment("example-1", "a model")),
    );
    let exchange = |role: &str, text: &str| {
        json!({ "time": "2026-01-01T00:00:00Z", "model": "m", "role": role, "template": "t-1", "task": "math", "attempt": 0,
                "messages": [{ "role": "user", "content": text }], "seconds": 2.0,
                "reply": { "text": text, "prompt_tokens": 10, "completion_tokens": 5, "finish": "stop" } })
    };
    let secret = "use sk-abcdefghijklmnop1234 and Authorization: Bearer abcdefghijklmnop of http://me:hunter2@host/";
    write(&run.join("agents.jsonl"), format!("{}\n{}\n", exchange("select", "plain"), exchange("synthesise", secret)));
    write(&run.join("evolution/step-000003-math.md"), "# Signal\n");
    let kinds = |right: u64| json!({ "all": { "answers": 8, "right": right, "unscored": 0 } });
    let suite =
        |value: f64| json!({ "figures": { "pass@1": { "value": value, "interval": [value - 0.1, value + 0.1] } } });
    let measured =
        |right: u64| json!({ "sampled": kinds(right), "greedy": kinds(right), "suites": { "gsm8k": suite(0.5) } });
    write(
        &run.join("report.json"),
        json!({ "measured": [measured(2), measured(6)], "steps": 5, "ended": "all steps are done", "seconds": { "training": 3.0 },
                "hints": ["replies were cut off: raise `sampling.max_tokens`"] })
        .to_string(),
    );
}
