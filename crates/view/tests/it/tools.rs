//! The tools of a run: how their scores are distributed, when they were in use, and what their language model cost.

use std::fs;

use serde_json::{Value, json};

use crate::client::{Asked, asked, found};
use crate::fixture::{FixtureReply, write, write_metrics, write_rollouts, write_run};
use crate::serve;

/// Writes a step with a reply per score.
fn write_scores(run: &std::path::Path, step: u64, scores: &[f64]) {
    let reply = |score: &f64| FixtureReply {
        group: 0,
        prompt: "p",
        completion: "c",
        reward: None,
        advantage: None,
        verdicts: json!([["strict", 1.0, { "scored": score }, null], ["late", 1.0, { "failed": "late" }, null]]),
    };
    write_rollouts(run, step, &scores.iter().map(reply).collect::<Vec<_>>());
}

#[test]
fn every_score_of_a_range_of_steps_is_in_one_bar() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    write_scores(&run, 6, &[0.0, 0.0, 1.0]);
    write_scores(&run, 7, &[1.0]);
    fs::write(run.join("rollouts/step-000008.parquet"), "damaged").unwrap();
    let many: Vec<f64> = (0..1000).map(|i| f64::from(i) / 999.0).collect();
    write_scores(&run, 9, &many);
    let server = serve(folder.path());
    let scores = |from: &str, to: &str| -> Value {
        found(&server, "scores", &[asked("run", "one"), asked("from", from), asked("to", to)])
    };
    let few = scores("6", "8");
    assert_eq!((&few["steps"], &few["in_range"]), (&json!([6, 7]), &json!(3)));
    assert_eq!(few["problems"][0]["file"], "rollouts/step-000008.parquet");
    assert_eq!(
        few["tools"][0],
        json!({ "tool": "late", "scored": 0, "abstained": 0, "failed": 4, "mean": null, "bars": [] })
    );
    let bars = json!([{ "least": 0.0, "most": 0.0, "count": 2 }, { "least": 1.0, "most": 1.0, "count": 2 }]);
    assert_eq!((&few["tools"][1]["bars"], &few["tools"][1]["mean"]), (&bars, &json!(0.5)));
    let bars = scores("9", "9")["tools"][1]["bars"].as_array().unwrap().clone();
    let counts: Vec<u64> = bars.iter().map(|bar| bar["count"].as_u64().unwrap()).collect();
    assert_eq!((counts.len(), counts.iter().sum::<u64>()), (20, 1000));
    assert!(counts.iter().all(|count| (49..=51).contains(count)), "{counts:?}");
    // The bounds of a bar find as many replies as it counts.
    for bar in &bars {
        let (least, most) = (bar["least"].to_string(), bar["most"].to_string());
        let question: Vec<Asked> = vec![
            asked("run", "one"),
            asked("step", "9"),
            asked("tool", "strict"),
            asked("least_score", &least),
            asked("most_score", &most),
        ];
        assert_eq!(found(&server, "replies", &question)["matching"], bar["count"]);
    }
}

#[test]
fn of_a_long_range_some_steps_are_counted_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    (100..150).for_each(|step| write_scores(&run, step, &[1.0]));
    let server = serve(folder.path());
    let view = found(&server, "scores", &[asked("run", "one"), asked("from", "100")]);
    let steps: Vec<u64> = view["steps"].as_array().unwrap().iter().map(|step| step.as_u64().unwrap()).collect();
    assert_eq!((steps.len(), steps[0], steps[19], &view["in_range"]), (20, 100, 149, &json!(50)));
    assert!(steps.windows(2).all(|pair| [2, 3].contains(&(pair[1] - pair[0]))), "{steps:?}");
}

#[test]
fn tools_are_listed_with_the_steps_in_which_they_were_called() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    let record = |step: u64, tools: &[&str]| {
        let outcomes = json!({ "outcomes": { "asked": 4, "failed": 1, "late": 1, "abstained": 0 } });
        let tools: serde_json::Map<String, Value> =
            tools.iter().map(|tool| ((*tool).to_owned(), outcomes.clone())).collect();
        json!({ "step": step, "tools": tools })
    };
    let idle = json!({ "step": 4, "tools": { "b/c": { "outcomes": { "asked": 0 } } } });
    write_metrics(&run, &[record(1, &["a"]), record(2, &["a"]), record(3, &["b/c"]), idle, record(6, &["a", "b/c"])]);
    let server = serve(folder.path());
    let service = found(&server, "service", &[asked("run", "one")]);
    assert_eq!((&service["first_step"], &service["last_step"]), (&json!(1), &json!(6)));
    assert_eq!(
        service["tools"],
        json!([
            { "tool": "a", "spans": [{ "first": 1, "last": 2 }, { "first": 6, "last": 6 }], "steps": 3, "calls": 12.0,
              "failed": 6.0, "abstained": 0.0 },
            { "tool": "b/c", "spans": [{ "first": 3, "last": 3 }, { "first": 6, "last": 6 }], "steps": 2, "calls": 8.0,
              "failed": 4.0, "abstained": 0.0 },
        ])
    );
}

#[test]
fn an_unknown_auc_has_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    let server = serve(folder.path());
    let admission = |report: Value| {
        write(&run.join("library/strict/admission.json"), report.to_string());
        let view = found(&server, "library", &[asked("run", "one")])["tools"][0]["admission"].clone();
        (view["auc"].clone(), view["auc_unknown"].clone())
    };
    let ranking =
        |evidence: &str| json!([{ "name": "ranks good replies above bad ones", "passed": true, "evidence": evidence }]);
    assert_eq!(admission(json!({ "status": "admitted", "auc": 0.75, "probes": [] })), (json!(0.75), Value::Null));
    let earlier = ranking("AUC 1.000; at least 0.9 is needed; mean score of good ones 1.000, of bad ones 0.000");
    let none = ranking("no good and bad reply to the same prompt have a score");
    for (report, why) in [
        (
            json!({ "status": "admitted", "probes": earlier }),
            "the report is of an earlier version; its check of the ranking says: AUC 1.000",
        ),
        (json!({ "status": "refused", "probes": none }), "no good and bad reply to the same prompt have a score"),
        (json!({ "status": "refused", "probes": [] }), "the tool was refused before its replies were ranked"),
        (json!({ "status": "provisional", "probes": [] }), "no example of the checks has good and bad replies"),
        (json!({ "status": "retired" }), "the tool was taken out of use"),
    ] {
        assert_eq!(admission(report), (Value::Null, json!(why)));
    }
}

#[test]
fn the_language_model_costs_what_the_config_says() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    let server = serve(folder.path());
    let cost = || found(&server, "exchanges", &[asked("run", "one")])["cost"].clone();
    assert_eq!(cost(), Value::Null);
    // The fixture has 20 prompt tokens and 10 reply tokens.
    write(
        &run.join("config.yaml"),
        "version: 1\nrewards:\n  llm: { prompt_price: 100000, completion_price: 300000 }\n",
    );
    assert_eq!(cost(), json!(5.0));
}
