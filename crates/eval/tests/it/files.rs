//! The files of other programs, written and read.

use std::path::Path;

use rlar_eval::reward_bench_2::RewardBenchVersion;
use rlar_eval::reward_bench_files::{ScoredModel, eval_set, eval_set_scores};
use rlar_eval::{BenchmarkReport, BenchmarkScores, ScoringCost};
use serde_json::Value;

use crate::text;

fn record() -> Value {
    serde_json::from_str(include_str!("../fixtures/rewardbench.json")).unwrap()
}

fn recorded() -> (rlar_eval::Benchmark, BenchmarkScores) {
    let record = record();
    let rows: Vec<String> = record["rows"].as_array().unwrap().iter().map(Value::to_string).collect();
    let benchmark = text("rows.jsonl", &rows.join("\n")).unwrap();
    let given = serde_json::from_value::<Vec<Vec<f64>>>(record["scores"].clone()).unwrap();
    let scores = BenchmarkScores::new("org/name", &benchmark, given.into_iter().map(Some).collect()).unwrap();
    (benchmark, scores)
}

fn model(generative: bool) -> ScoredModel {
    ScoredModel {
        model: "org/name".into(),
        model_type: if generative { "Generative RM" } else { "Seq. Classifier" }.into(),
        chat_template: (!generative).then(|| "tokenizer".into()),
        generative,
    }
}

#[test]
fn both_files_are_the_references_to_the_byte() {
    let (benchmark, given) = recorded();
    let record = record();
    assert_eq!(eval_set_scores(&benchmark, &given, &model(false)), record["eval_set_scores"].as_str().unwrap());
    assert_eq!(
        eval_set_scores(&benchmark, &given, &model(true)),
        record["eval_set_scores_generative"].as_str().unwrap()
    );
    let math = benchmark.select(|i| i.category == "Math");
    let of_math = BenchmarkScores { tool: "org/name".into(), rows: vec![given.rows[0].clone()] };
    let report = BenchmarkReport::new(&math, &of_math, RewardBenchVersion::Newest, None);
    let named = ScoredModel { chat_template: None, ..model(false) };
    assert_eq!(eval_set(&report, &named), record["eval_set"].as_str().unwrap());
    let paths = model(false).paths().unwrap();
    assert_eq!(paths.eval_set, "eval-set/org/name.json");
    assert_eq!(paths.eval_set_scores, "eval-set-scores/org/name.json");
    for name in ["", "../up", "/root", "a//b", "a/.."] {
        assert!(ScoredModel { model: name.into(), ..model(false) }.paths().is_err(), "{name}");
    }
}

#[test]
fn what_is_written_is_read_again() {
    let (benchmark, mut given) = recorded();
    given.rows[1].cost = ScoringCost { llm_calls: 2, tokens: 30, seconds: 0.5 };
    let jsonl = given.jsonl(&benchmark);
    let read = |text: &str| BenchmarkScores::read(Path::new("m.json"), text.as_bytes(), &benchmark).unwrap();
    assert_eq!(read(&jsonl), [given.clone()]);
    given.rows[1].cost = ScoringCost::default();
    assert_eq!(read(&eval_set_scores(&benchmark, &given, &model(false))), [given.clone()]);
    // A judge's file has no scores outside Ties; its results give the same report.
    let judged = read(&eval_set_scores(&benchmark, &given, &model(true))).remove(0);
    let overall = |s: &BenchmarkScores| BenchmarkReport::new(&benchmark, s, RewardBenchVersion::Newest, None).overall;
    assert_eq!(overall(&judged), overall(&given));
    given.rows[2].scores = None;
    assert_eq!(read(&given.jsonl(&benchmark)), [given.clone()]);
    assert_eq!(read(&eval_set_scores(&benchmark, &given, &model(false))), [given]);
}

#[test]
fn scores_of_several_tools_lie_in_one_file() {
    let benchmark = text("p.jsonl", "{\"id\":\"x\",\"prompt\":\"p\",\"chosen\":\"a\",\"rejected\":\"b\"}").unwrap();
    let text = r#"{"id":"x","scores":{"one":[1,2],"two":[[0.5],[0.25]]}}"#;
    let read = BenchmarkScores::read(Path::new("m.jsonl"), text.as_bytes(), &benchmark).unwrap();
    assert_eq!(read.iter().map(|s| s.tool.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(read[1].rows[0].scores, Some(vec![0.5, 0.25]));
}

#[test]
fn parquet_holds_what_jsonl_does() {
    let (benchmark, _) = recorded();
    let bytes = include_bytes!("../fixtures/rewardbench2.parquet");
    assert_eq!(rlar_eval::readers::read_benchmark(Path::new("r.parquet"), bytes).unwrap(), benchmark);
}
