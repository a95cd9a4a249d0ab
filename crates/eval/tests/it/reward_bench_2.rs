//! RewardBench 2: scores of the reference implementation, failures and intervals.

use std::fmt::Write;

use rlar_eval::bootstrap::Bootstrap;
use rlar_eval::item_metric::mean_label_of_best;
use rlar_eval::report::side_by_side;
use rlar_eval::reward_bench_2::{PromptStats, RewardBenchVersion, best_of_n, ties_prompts, ties_score};
use rlar_eval::scores::ScoresOfId;
use rlar_eval::{BenchmarkReport, BenchmarkScores};
use rlar_oracles::{needs_oracles, oracle};
use serde_json::Value;

use crate::{close, open, scored, text};

fn floats(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

#[needs_oracles]
#[test]
fn formulas_match_both_versions_of_the_reference() {
    let path = oracle!("data/rewardbench2_sample/rewardbench_oracle.json");
    let record: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let cases = record["best_of_4_cases"].as_array().unwrap();
    assert_eq!(cases.len(), 200);
    for case in cases {
        let scores = floats(&case["scores"]);
        let labels = [Some(1.0), Some(0.0), Some(0.0), Some(0.0)];
        for key in ["results", "results_pypi_0_1_4"] {
            close(best_of_n(&scores), case[key].as_f64().unwrap(), 1e-9);
            close(mean_label_of_best(&labels, &scores).unwrap(), case[key].as_f64().unwrap(), 1e-9);
        }
    }
    let cases = record["ties_cases"].as_array().unwrap();
    assert_eq!(cases.len(), 9);
    for case in cases {
        let rows = case["ids"].as_array().unwrap().iter().zip(floats(&case["num_correct"]));
        let rows = rows.zip(case["scores"].as_array().unwrap()).map(|((id, right), scores)| {
            let scores = floats(scores);
            let (right, wrong) = scores.split_at(right as usize);
            (id.as_str().unwrap(), PromptStats::of(right, wrong))
        });
        let prompts = ties_prompts(rows);
        close(ties_score(&prompts, RewardBenchVersion::Newest), case["git_05a9005_overall"].as_f64().unwrap(), 1e-9);
        close(ties_score(&prompts, RewardBenchVersion::V0_1_4), case["pypi_0_1_4_overall"].as_f64().unwrap(), 1e-9);
    }
}

#[needs_oracles]
#[test]
fn the_same_scores_come_out_of_real_rows_and_a_report() {
    let folder = oracle!("data/rewardbench2_sample");
    let record: Value =
        serde_json::from_slice(&std::fs::read(folder.join("rewardbench_oracle.json")).unwrap()).unwrap();
    let all = open(&folder.join("ties_30_50.jsonl"));
    assert_eq!(all.items.len(), 41);
    for case in record["ties_cases"].as_array().unwrap() {
        let ids: Vec<&str> = case["ids"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
        let benchmark = all.select(|i| ids.contains(&i.id.as_str()));
        let recorded = ids
            .iter()
            .zip(case["scores"].as_array().unwrap())
            .map(|(id, s)| ScoresOfId { id: (*id).to_owned(), scores: floats(s) });
        let scores = BenchmarkScores::by_id(&folder, "oracle", recorded, &benchmark).unwrap();
        let report = BenchmarkReport::new(&benchmark, &scores, RewardBenchVersion::Newest, None);
        close(report.overall.score, case["git_05a9005_overall"].as_f64().unwrap(), 1e-9);
        assert_eq!(report.missing, ["Factuality", "Precise IF", "Math", "Safety", "Focus"]);
    }
}

/// 20 prompts of each of two subsets, and 10 of Ties.
fn small() -> rlar_eval::Benchmark {
    let mut rows = String::new();
    for i in 0..20 {
        for subset in ["Math", "Focus"] {
            writeln!(rows, "{{\"id\":\"{i}\",\"prompt\":\"p\",\"chosen\":[\"a\"],\"rejected\":[\"b\",\"c\",\"d\"],\"subset\":\"{subset}\"}}").unwrap();
        }
    }
    for i in 0..10 {
        writeln!(
            rows,
            "{{\"id\":\"ref:{i}\",\"prompt\":\"p\",\"chosen\":[\"a\"],\"rejected\":[\"b\"],\"subset\":\"Ties\"}}"
        )
        .unwrap();
        writeln!(
            rows,
            "{{\"id\":\"tied:{i}\",\"prompt\":\"p\",\"chosen\":[\"a\",\"b\"],\"rejected\":[\"c\"],\"subset\":\"Ties\"}}"
        )
        .unwrap();
    }
    text("small.jsonl", &rows).unwrap()
}

#[test]
fn the_headline_is_the_mean_of_the_subsets_present_and_says_which_are_missing() {
    let benchmark = small();
    // Math is always right, Focus a four-way tie, Ties perfect with no spread among the right ones.
    let scores = scored("t", &benchmark, |i, c| match benchmark.items[i].category.as_str() {
        "Focus" => 0.0,
        _ => f64::from(u8::from(benchmark.items[i].is_correct(c))),
    });
    let report = BenchmarkReport::new(&benchmark, &scores, RewardBenchVersion::Newest, None);
    let by_name: Vec<(&str, f64)> = report.categories.iter().map(|(n, f)| (n.as_str(), f.score)).collect();
    assert_eq!(by_name.iter().map(|b| b.0).collect::<Vec<_>>(), ["Math", "Focus", "Ties"]);
    close(report.overall.score, (1.0 + 0.25 + 1.01) / 3.0, 1e-12);
    assert!(report.terminal().contains("the overall score is without: Factuality, Precise IF, Safety"));
    let older = BenchmarkReport::new(&benchmark, &scores, RewardBenchVersion::V0_1_4, None);
    close(older.overall.score, (1.0 + 0.25 + 1.0) / 3.0, 1e-12);
}

#[test]
fn failures_count_as_wrong_and_make_a_labelled_lower_bound() {
    let benchmark = small();
    let all =
        scored("t", &benchmark, |i, c| f64::from(u8::from(benchmark.items[i].is_correct(c))) + (i * c) as f64 * 1e-3);
    for compat in [RewardBenchVersion::Newest, RewardBenchVersion::V0_1_4] {
        let whole = BenchmarkReport::new(&benchmark, &all, compat, None);
        for failing in 0..benchmark.items.len() {
            let mut scores = all.clone();
            scores.rows[failing].scores = None;
            let report = BenchmarkReport::new(&benchmark, &scores, compat, None);
            assert!(report.overall.score < whole.overall.score + 1e-12, "{failing}");
            assert_eq!(report.overall.failed, 1);
        }
    }
    let mut scores = all.clone();
    scores.rows[0].scores = None;
    let report = BenchmarkReport::new(&benchmark, &scores, RewardBenchVersion::Newest, None);
    let math = &report.categories[0].1;
    close(math.score, 19.0 / 20.0, 1e-12);
    close(math.scored_only.unwrap(), 1.0, 1e-12);
    let shown = report.markdown();
    assert!(shown.contains("score ≥") && shown.contains("scored only"), "{shown}");
    assert!(shown.contains("lower bound: the tool gave no score on 1 of 60 items, which count as wrong"));
    let beside = side_by_side(&[report, BenchmarkReport::new(&benchmark, &all, RewardBenchVersion::Newest, None)]);
    assert_eq!(beside[0], ["", "overall", "Math", "Focus", "Ties"]);
    assert_eq!((beside[1][2].as_str(), beside[2][2].as_str()), ("≥ 95.0", "100.0"));
    let none = BenchmarkScores::new("t", &benchmark, vec![None; 60]).unwrap();
    let report = BenchmarkReport::new(&benchmark, &none, RewardBenchVersion::Newest, Some(Bootstrap::default()));
    assert_eq!((report.overall.scored_only, report.overall.failed), (None, 60));
    close(report.categories[2].1.score, -0.01, 1e-12);
}

#[test]
fn a_limit_keeps_both_rows_of_a_prompt() {
    let limited = small().limit(3);
    let ids = |category: &str| {
        let items = limited.items.iter().filter(|i| i.category == category);
        items.map(|i| i.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids("Math"), ["0", "1", "2"]);
    assert_eq!(ids("Ties"), ["ref:0", "tied:0", "ref:1", "tied:1", "ref:2", "tied:2"]);
    let one_half = small().select(|i| i.id.starts_with("ref:"));
    let right = scored("t", &one_half, |i, c| f64::from(u8::from(one_half.items[i].is_correct(c))));
    close(BenchmarkReport::new(&one_half, &right, RewardBenchVersion::Newest, None).overall.score, 0.3, 1e-12);
}

#[test]
fn intervals_hold_the_score_repeat_with_their_seed_and_have_the_right_width() {
    let benchmark = small();
    let scores = scored("t", &benchmark, |i, c| f64::from(u8::from(benchmark.items[i].is_correct(c) == (i % 3 > 0))));
    let report = |seed| {
        BenchmarkReport::new(&benchmark, &scores, RewardBenchVersion::Newest, Some(Bootstrap { resamples: 2000, seed }))
    };
    let one = report(1);
    assert_eq!(one, report(1));
    assert_ne!(one, report(2));
    for (_, result) in one.categories.iter().filter(|(n, _)| n != "Ties") {
        let interval = result.interval.unwrap();
        // 1.96 standard errors of a share of 20.
        let half = 1.96 * (result.score * (1.0 - result.score) / 20.0).sqrt();
        close(interval.high - interval.low, 2.0 * half, 0.06);
        assert!(interval.low <= result.score && result.score <= interval.high);
    }
    assert!(one.terminal().contains("95 %"));
}
