//! What the eval crate promises.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../../../data/tests/it/oracle.rs"]
mod oracle;

use std::path::Path;

use rlar_eval::rewardbench2::{best_of_n, evaluate, read, ties};
use rlar_rewards::{Library, Means, Orchestrator};
use rlar_sandbox::Limits;
use serde_json::Value;

fn floats(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

#[test]
fn rewardbench_2_formulas_match_the_reference_implementation() {
    let Some(path) = oracle::oracle("data/rewardbench2_sample/rewardbench_oracle.json") else { return };
    let record: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let best = record["best_of_4_cases"].as_array().unwrap();
    assert_eq!(best.len(), 200);
    for case in best {
        let ours = best_of_n(&floats(&case["scores"]));
        assert!((ours - case["results"].as_f64().unwrap()).abs() < 1e-9, "{case}");
    }
    let cases = record["ties_cases"].as_array().unwrap();
    assert_eq!(cases.len(), 9);
    for case in cases {
        let ids = case["ids"].as_array().unwrap().iter().map(|v| v.as_str().unwrap());
        let right = floats(&case["num_correct"]);
        let scores = case["scores"].as_array().unwrap().iter().map(floats);
        let rows =
            ids.zip(scores).zip(right).map(|((id, s), n)| (id, s[..n as usize].to_vec(), s[n as usize..].to_vec()));
        let (ours, theirs) = (ties(rows), case["git_05a9005_overall"].as_f64().unwrap());
        assert!((ours - theirs).abs() < 1e-9, "{}: {ours} is not {theirs}", case["name"]);
    }
}

#[test]
fn real_rows_are_read_and_scored_and_absent_subsets_stay_absent() {
    let Some(folder) = oracle::oracle("data/rewardbench2_sample") else { return };
    let mut orchestrator = Orchestrator::new(Library::curated().unwrap(), Means::new(Limits::default()));
    let tool = orchestrator.open("brevity").unwrap();
    for (file, subset, rows) in [("ties_30_50.jsonl", "Ties", 41), ("precise_if_619_620.jsonl", "Precise IF", 2)] {
        let path = folder.join(file);
        let parsed = read(&path, &std::fs::read_to_string(&path).unwrap()).unwrap();
        let scores = evaluate(&parsed, tool).unwrap();
        assert_eq!(scores.len(), 1);
        assert_eq!((scores[subset].rows, scores[subset].unscored), (rows, 0));
        // The tanh term of Ties lies between −1 and 1 and weighs 0.01.
        assert!((-0.01..=1.01).contains(&scores[subset].score));
    }
}

#[test]
fn a_tool_without_a_score_is_counted_and_never_wins() {
    let text = r#"{"id":"1","prompt":"p","chosen":["a"],"rejected":["b","c","d"],"subset":"Math"}"#;
    let rows = read(Path::new("x.jsonl"), text).unwrap();
    let mut orchestrator = Orchestrator::new(Library::curated().unwrap(), Means::new(Limits::default()));
    let scores = evaluate(&rows, orchestrator.open("token_f1").unwrap()).unwrap();
    assert_eq!((scores["Math"].score, scores["Math"].unscored), (0.0, 1));
}

#[test]
fn wrong_rows_are_named_by_line() {
    let row = |s: &str| read(Path::new("x.jsonl"), s).unwrap_err().to_string();
    let good = r#"{"id":"1","prompt":"p","chosen":["a"],"rejected":["b"],"subset":"Math"}"#;
    assert!(row(&format!("{good}\n{good}")).starts_with("x.jsonl:2: id `1` is that of line 1"));
    assert!(row(&good.replace("\"chosen\":[\"a\"],", "")).contains("x.jsonl:1: the column `chosen` is missing"));
    assert!(
        row(&good.replace("\"subset\"", "\"num_correct\":3,\"subset\""))
            .contains("`num_correct` is 3 but the row holds 1")
    );
    assert!(row(&good.replace("Math", "Maths")).contains("subset `Maths` is not one of"));
    assert!(row("").contains("empty"));
    assert!(row("{").contains("x.jsonl:1: not JSON"));
}
