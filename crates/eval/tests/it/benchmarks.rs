//! Published files, and the results recorded for them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use rlar_eval::bootstrap::Bootstrap;
use rlar_eval::item_metric::StyleAccuracies;
use rlar_eval::readers::best_of_n::picks;
use rlar_eval::readers::{judgebench, read_benchmark};
use rlar_eval::reward_bench_2::RewardBenchVersion;
use rlar_eval::{Benchmark, BenchmarkReport, BenchmarkScores, Item, WinRate};
use rlar_oracles::{needs_oracles, oracle};
use serde_json::Value;

use crate::{close, open, scored, text};

/// The pairs of JudgeBench that have scores of five reward models, and the scores.
pub fn judgebench() -> (Benchmark, Vec<BenchmarkScores>) {
    let scores = oracle!("data/judgebench/rm_scores_gpt-4o.jsonl");
    let bytes = std::fs::read(&scores).unwrap();
    let rows = std::str::from_utf8(&bytes).unwrap().lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
    let ids: BTreeSet<String> = rows.map(|r| r["pair_id"].as_str().unwrap().to_owned()).collect();
    let pairs = oracle!("data/judgebench/pairs_gpt-4o-2024-05-13.jsonl");
    let benchmark = open(&pairs).select(|i| ids.contains(&i.id));
    let scores = BenchmarkScores::read(&scores, &bytes, &benchmark).unwrap();
    (benchmark, scores)
}

/// AlpacaEval's 805 prompts with 16 completions, and the picks of six reward models.
pub fn alpacaeval() -> (Benchmark, Vec<BenchmarkScores>) {
    let path = oracle!("data/alpacaeval_bon16/bon16.jsonl.gz");
    let unpacked = Command::new("gzip").arg("-dc").arg(&path).output().unwrap().stdout;
    let benchmark = read_benchmark(Path::new("bon16.jsonl"), &unpacked).unwrap();
    let picks = picks(Path::new("bon16.jsonl"), &unpacked, &benchmark).unwrap();
    (benchmark, picks)
}

fn json(path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(oracle!(path)).unwrap()).unwrap()
}

#[needs_oracles]
#[test]
fn judgebench_accuracies_of_reward_models_are_those_recorded() {
    let (benchmark, tools) = judgebench();
    let summary = json("data/judgebench/judge_accuracy_summary.json");
    let won = |tool: &BenchmarkScores| {
        let report = BenchmarkReport::new(&benchmark, tool, RewardBenchVersion::Newest, None);
        let count = |score: f64, items: usize| (score * items as f64).round() as u64;
        let all = count(report.overall.score, report.overall.items);
        let by_source: Vec<(String, u64)> =
            report.categories.iter().map(|(n, f)| (n.clone(), count(f.score, f.items))).collect();
        (all, by_source)
    };
    if benchmark.items.len() == 350 {
        for tool in &tools {
            let record = summary.as_array().unwrap().iter().find(|r| r["judge_model"] == tool.tool).unwrap();
            let (all, by_source) = won(tool);
            close(100.0 * all as f64 / 350.0, record["acc_pos_consistent"].as_f64().unwrap(), 0.005);
            for (source, right) in by_source {
                assert_eq!(record["by_cat"][&source][0].as_u64().unwrap(), right, "{} {source}", tool.tool);
            }
        }
    } else {
        // A part of the pairs: right answers counted independently.
        assert_eq!(benchmark.items.len(), 210);
        let all: Vec<u64> = tools.iter().map(|t| won(t).0).collect();
        assert_eq!(all, [128, 134, 135, 133, 123]);
    }
}

#[needs_oracles]
#[test]
fn judgebench_pairs_are_read_and_judgments_in_both_orders_scored() {
    for (file, rows) in [("gpt-4o-2024-05-13", 350), ("claude-3-5-sonnet-20240620", 270)] {
        let path = oracle!(format!("data/judgebench/pairs_{file}.jsonl"));
        let benchmark = open(&path);
        assert_eq!((benchmark.items.len(), benchmark.missing().len(), benchmark.categories().len()), (rows, 0, 4));
    }
    let summary = json("data/judgebench/judge_accuracy_summary.json");
    let path = oracle!("data/judgebench/pairs_gpt-4o-2024-05-13.jsonl");
    // The recorded judge o1-mini won as many pairs of each source; here it makes one decision about each that it won.
    let record = summary.as_array().unwrap().iter().find(|r| r["judge_model"] == "o1-mini-2024-09-12").unwrap();
    let benchmark = open(&path);
    let mut left: BTreeMap<&str, u64> =
        judgebench::SOURCES.iter().map(|s| (*s, record["by_cat"][s][0].as_u64().unwrap())).collect();
    let mut lines = String::new();
    for item in &benchmark.items {
        let left = left.get_mut(item.category.as_str()).unwrap();
        let won = *left > 0;
        *left = left.saturating_sub(1);
        let decision = if won == item.is_correct(0) { "A>B" } else { "B>A" };
        writeln!(lines, "{{\"pair_id\":\"{}\",\"judgments\":[null,{{\"decision\":\"{}\"}}]}}", item.id, flip(decision))
            .unwrap();
    }
    let scores = judgebench::judgments(Path::new("o.jsonl"), lines.as_bytes(), "o1-mini", &benchmark).unwrap();
    let report = BenchmarkReport::new(&benchmark, &scores, RewardBenchVersion::Newest, None);
    close(100.0 * report.overall.score, record["acc_pos_consistent"].as_f64().unwrap(), 0.005);
    for (source, result) in &report.categories {
        close(100.0 * result.score, record["by_cat"][source][2].as_f64().unwrap(), 0.005);
    }
}

fn flip(decision: &str) -> &str {
    if decision == "A>B" { "B>A" } else { "A>B" }
}

#[needs_oracles]
#[test]
fn rm_bench_files_make_four_domains_and_a_matrix() {
    let folder = oracle!("data/rm_bench_partial");
    let parts = ["chat", "code", "safety-refuse", "safety-response"];
    let benchmark = Benchmark::join(parts.map(|p| open(&folder.join(format!("{p}_filtered.json"))))).unwrap();
    assert_eq!((benchmark.items.len(), benchmark.missing()), (798, vec!["math"]));
    let safety = benchmark.items.iter().filter(|i| i.category == "safety").count();
    assert_eq!(safety, 284 + 157);
    // A tool that likes style alone is always right when style helps, never when it hurts.
    let style = scored("style", &benchmark, |_, c| (c % 3) as f64);
    let report = BenchmarkReport::new(&benchmark, &style, RewardBenchVersion::Newest, None);
    assert_eq!(report.overall.styles, Some(StyleAccuracies { easy: 1.0, normal: 0.0, hard: 0.0 }));
    close(report.overall.score, 1.0 / 3.0, 1e-12);
    // Length prefers what is elaborate: counted again, without the matrix.
    let length = scored("length", &benchmark, |i, c| benchmark.items[i].completions[c].len() as f64);
    let report = BenchmarkReport::new(&benchmark, &length, RewardBenchVersion::Newest, None);
    let longer = |i: &Item, a: usize, b: usize| u32::from(i.completions[a].len() > i.completions[3 + b].len());
    for (domain, result) in &report.categories {
        let items: Vec<&Item> = benchmark.items.iter().filter(|i| i.category == *domain).collect();
        let hard: u32 = items.iter().map(|i| longer(i, 0, 1) + longer(i, 0, 2) + longer(i, 1, 2)).sum();
        close(result.styles.unwrap().hard, f64::from(hard) / 3.0 / items.len() as f64, 1e-12);
    }
    let by_domain = report.categories.iter().map(|(_, f)| f.score).sum::<f64>() / 3.0;
    close(report.overall.score, by_domain, 1e-12);
    close(report.overall.styles.unwrap().mean(), by_domain, 1e-12);
    assert!(report.terminal().contains("hard") && report.terminal().contains("is without: math"));
}

#[needs_oracles]
#[test]
fn llmbar_sets_are_files_and_ties_are_half_right() {
    let folder = oracle!("data/llmbar");
    let sets = [
        ("Natural", 100),
        ("Adversarial_Neighbor", 134),
        ("Adversarial_GPTInst", 92),
        ("Adversarial_GPTOut", 47),
        ("Adversarial_Manual", 46),
    ];
    let benchmark = Benchmark::join(sets.map(|(s, _)| open(&folder.join(format!("{s}.json"))))).unwrap();
    assert_eq!(benchmark.items.len(), 419);
    let tied = scored("none", &benchmark, |_, _| 0.0);
    let report = BenchmarkReport::new(&benchmark, &tied, RewardBenchVersion::Newest, None);
    let found: Vec<(&str, usize)> = report.categories.iter().map(|(n, f)| (n.as_str(), f.items)).collect();
    assert_eq!((found, report.overall.score), (sets.to_vec(), 0.5));
}

#[needs_oracles]
#[test]
fn win_rates_of_single_samples_are_those_recorded() {
    let (benchmark, _) = alpacaeval();
    let record = json("data/alpacaeval_bon16/bon_eval_results.json");
    assert_eq!(benchmark.items.len(), 805);
    for (sample, name) in [(0, "random_max"), (10, "random_min"), (3, "random_median")] {
        let recorded = &record[name];
        assert!(recorded["reward_model"].as_str().unwrap().ends_with(&format!(".{sample}")));
        let picked = scored(name, &benchmark, |_, c| f64::from(u8::from(c == sample)));
        let rate = WinRate::of(&benchmark, &picked);
        // The recorded numbers went through single precision.
        close(rate.percent, recorded["win_rate"].as_f64().unwrap(), 1e-8);
        close(rate.standard_error, recorded["standard_error"].as_f64().unwrap(), 1e-8);
        close(rate.discrete, recorded["discrete_win_rate"].as_f64().unwrap(), 1e-9);
        let counts = [
            ("n_wins", rate.wins),
            ("n_wins_base", rate.losses),
            ("n_draws", rate.draws),
            ("avg_length", rate.length as usize),
        ];
        for (key, ours) in counts {
            assert_eq!(recorded[key].as_u64().unwrap(), ours as u64, "{name} {key}");
        }
        let report = BenchmarkReport::new(&benchmark, &picked, RewardBenchVersion::Newest, None);
        close(100.0 * report.overall.score, rate.percent, 1e-9);
    }
    // The best of the eleven labelled samples.
    close(100.0 * benchmark.ceiling(), 59.1816, 1e-4);
}

#[needs_oracles]
#[test]
fn picks_of_reward_models_agree_with_what_is_recorded_of_them() {
    let (benchmark, picks) = alpacaeval();
    let record = json("data/alpacaeval_bon16/bon_eval_results.json");
    assert_eq!(picks.len(), 6);
    let mut labelled = Vec::new();
    for tool in &picks {
        let recorded = &record[&tool.tool];
        let rate = WinRate::of(&benchmark, tool);
        assert_eq!(rate.length as u64, recorded["avg_length"].as_u64().unwrap(), "{}", tool.tool);
        // Samples 11 to 15 have no labels here: the recorded rate lies between what they could make of ours.
        let (known, unknown) = ((805 - rate.left_out) as f64, rate.left_out as f64);
        let low = rate.percent * known / 805.0;
        let rate_recorded = recorded["win_rate"].as_f64().unwrap();
        assert!(
            low <= rate_recorded && rate_recorded <= low + 100.0 * unknown / 805.0,
            "{}: {low} {rate_recorded}",
            tool.tool
        );
        assert!(recorded["n_wins"].as_u64().unwrap() as usize >= rate.wins - 1);
        labelled.push((805 - rate.left_out, (100.0 * rate.percent).round() as u64));
    }
    // Counted independently: labelled picks and their win rate in hundredths of a percent.
    assert_eq!(labelled, [(469, 3210), (491, 3012), (418, 3246), (285, 2764), (314, 4445), (333, 3517)]);
}

#[test]
fn any_pairs_and_any_best_of_n_are_benchmarks() {
    let pairs = text("p.jsonl", r#"{"prompt":"p","chosen":"a","rejected":"b","source":"web"}"#).unwrap();
    assert_eq!((pairs.items[0].id.as_str(), pairs.items[0].category.as_str()), ("1", "web"));
    let turns = r#"{"id":"1","chosen":[{"role":"user","content":"p"},{"role":"assistant","content":"a"}],
        "rejected":[{"role":"user","content":"p"},{"role":"assistant","content":"b"}],"source":"web"}"#
        .replace('\n', "");
    assert_eq!(text("t.jsonl", &turns).unwrap(), pairs);
    let other = text("t.jsonl", &turns.replacen("\"p\"", "\"q\"", 1)).unwrap_err().to_string();
    assert_eq!(other, "t.jsonl:1: `chosen` and `rejected` do not reply to the same question");
    let tied = scored("t", &pairs, |_, _| 1.0);
    assert_eq!(BenchmarkReport::new(&pairs, &tied, RewardBenchVersion::Newest, None).overall.score, 0.0);
    let best = text("b.jsonl", r#"{"id":"x","prompt":"p","completions":["a","b","c"],"labels":[0.2,null,1]}"#).unwrap();
    let worth = |scores: [f64; 3]| {
        let result =
            BenchmarkReport::new(&best, &scored("t", &best, |_, c| scores[c]), RewardBenchVersion::Newest, None)
                .overall;
        (result.score, result.unlabelled)
    };
    assert_eq!(worth([0.0, 1.0, 2.0]), (1.0, 0));
    assert_eq!(worth([2.0, 1.0, 2.0]), (0.6, 0));
    assert_eq!(worth([2.0, 9.0, 2.0]), (0.0, 1));
    let nothing = best.limit(0);
    let report = BenchmarkReport::new(
        &nothing,
        &scored("t", &nothing, |_, _| 0.0),
        RewardBenchVersion::Newest,
        Some(Bootstrap::default()),
    );
    assert_eq!((report.overall.items, report.overall.scored_only), (0, None));
}
