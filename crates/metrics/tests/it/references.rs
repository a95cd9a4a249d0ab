//! The metrics compared with recorded results of their reference implementations.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use rlar_metrics::ifeval;
use rlar_metrics::math::{MathRules, equivalent};
use rlar_metrics::overlap::chrf::Words;
use rlar_metrics::overlap::{BleuTokenizer, bleu, chrf, rouge, ter};
use rlar_oracles::{needs_oracles, oracle};
use serde_json::Value;

fn rows(file: &str) -> Vec<Value> {
    let text = fs::read_to_string(oracle!(file)).unwrap();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[track_caller]
fn same(got: f64, want: &Value, what: &str) {
    let want = want.as_f64().unwrap();
    assert!((got - want).abs() < 1e-6, "{what}: {got} and not {want}");
}

fn tokenizer(row: &Value) -> BleuTokenizer {
    match row["tokenize"].as_str().unwrap() {
        "13a" => BleuTokenizer::Mteval13a,
        "zh" => BleuTokenizer::Chinese,
        other => panic!("no tokenizer `{other}`"),
    }
}

#[needs_oracles]
#[test]
fn sentences_score_as_sacrebleu_scores_them() {
    let rows = rows("data/sacrebleu_oracle/segment_scores.jsonl");
    for row in rows {
        let (hypothesis, reference) = (row["hyp"].as_str().unwrap(), [row["ref"].as_str().unwrap()]);
        let what = |metric: &str| format!("{metric} of {} line {}", row["system"], row["line"]);
        same(bleu::sentence(hypothesis, &reference, tokenizer(&row)), &row["bleu_eff"], &what("BLEU"));
        same(chrf::sentence(hypothesis, &reference, Words::None), &row["chrf"], &what("chrF"));
        same(chrf::sentence(hypothesis, &reference, Words::Pairs), &row["chrf++"], &what("chrF++"));
        same(ter::sentence(hypothesis, &reference), &row["ter"], &what("TER"));
    }
}

#[needs_oracles]
#[test]
fn corpora_score_as_sacrebleu_scores_them() {
    let path = oracle!("data/sacrebleu_oracle/wmt22_corpus_scores.json");
    let corpora: Vec<Value> = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let text = |name: &str| fs::read_to_string(oracle!(format!("data/wmt22/{name}"))).unwrap();
    let mut compared = 0;
    for c in corpora {
        let (pair, system) = (c["pair"].as_str().unwrap(), c["system"].as_str().unwrap());
        let target = &pair[3..];
        if !path.with_file_name(format!("../wmt22/{pair}.hyp.{system}.{target}")).exists() {
            println!("skipped: the texts of {pair} {system} are not there");
            continue;
        }
        compared += 1;
        let hypotheses = text(&format!("{pair}.hyp.{system}.{target}"));
        let names = ["A", "B"].into_iter().take(c["refs"].as_u64().unwrap() as usize);
        let references: Vec<(&str, String)> =
            names.map(|name| (name, text(&format!("{pair}.ref.{name}.{target}")))).collect();
        let with = |chosen: &[usize]| -> Vec<(&str, Vec<&str>)> {
            let mut columns: Vec<_> = chosen.iter().map(|i| references[*i].1.lines()).collect();
            hypotheses.lines().map(|h| (h, columns.iter_mut().map(|c| c.next().unwrap()).collect())).collect()
        };
        for (i, (name, _)) in references.iter().enumerate() {
            let what = |metric: &str| format!("{metric} of {pair} {system} with {name}");
            same(bleu::corpus(with(&[i]), tokenizer(&c)), &c[format!("bleu_{name}")], &what("BLEU"));
            same(chrf::corpus(with(&[i]), Words::None), &c[format!("chrf_{name}")], &what("chrF"));
            same(chrf::corpus(with(&[i]), Words::Pairs), &c[format!("chrfpp_{name}")], &what("chrF++"));
        }
        if references.len() > 1 {
            same(bleu::corpus(with(&[0, 1]), tokenizer(&c)), &c["bleu_all"], &format!("BLEU of {pair} {system}"));
        }
    }
    assert!(compared > 3, "{compared} systems");
}

#[needs_oracles]
#[test]
fn summaries_score_as_rouge_score_scores_them() {
    let rows = rows("data/rouge_oracle/dialogsum_s2_vs_s1.jsonl");
    for row in rows {
        let (target, prediction) = (row["target"].as_str().unwrap(), row["prediction"].as_str().unwrap());
        let scores = [
            ("rouge1", rouge::n(prediction, target, 1)),
            ("rouge2", rouge::n(prediction, target, 2)),
            ("rougeL", rouge::l(prediction, target)),
            ("rougeLsum", rouge::lsum(prediction, target)),
        ];
        for (name, s) in scores {
            for (i, got) in [s.precision, s.recall, s.f1].into_iter().enumerate() {
                same(got, &row[name][i], &format!("{name} of {}", row["fname"]));
            }
        }
    }
}

/// How many of a file's pairs of reference and reply are judged as Math-Verify's tests expect.
struct Agreement {
    right: usize,
    all: usize,
}

fn agreement(file: &str) -> Agreement {
    let mut found = Agreement { right: 0, all: 0 };
    let mut worst = Duration::ZERO;
    for row in rows(file) {
        let (Some(gold), Some(reply), Some(expected)) =
            (row["gold"].as_str(), row["pred"].as_str(), row["expected_bool"].as_bool())
        else {
            continue;
        };
        let rules = MathRules {
            decimal_places: row["precision"].as_i64().map_or(6, |p| p as i32),
            strict: row["strict"].as_bool().unwrap_or(true),
            sets_for_relations: row["allow_set_relation_comp"].as_bool().unwrap_or(false),
        };
        let clock = Instant::now();
        let got = equivalent(reply, gold, rules);
        worst = worst.max(clock.elapsed());
        found.all += 1;
        found.right += usize::from(got == expected);
        if got != expected {
            println!("{gold:?} and {reply:?}: {got}, not {expected}");
        }
    }
    println!("{file}: {} of {}, the slowest in {worst:?}", found.right, found.all);
    found
}

#[needs_oracles]
#[test]
fn mathematical_answers_are_judged_as_math_verify_expects() {
    let Agreement { right, all } = agreement("data/math_verify_cases/cases.jsonl");
    assert!(all > 100 && right as f64 >= 0.97 * all as f64, "{right} of {all}");
}

#[needs_oracles]
#[test]
fn the_rest_of_math_verifys_cases_is_judged_as_it_expects() {
    /// Of 106 cases; the others are printed.
    const RIGHT_AT_LEAST: usize = 104;
    let Agreement { right, all } = agreement("data/math_verify_cases/cases_rest.jsonl");
    assert_eq!(all, 106);
    assert!(right >= RIGHT_AT_LEAST, "{right} of {all}");
}

#[needs_oracles]
#[test]
fn solutions_of_models_are_judged_as_their_labels_say() {
    let rows = rows("data/gsm8k/example_model_solutions.jsonl");
    let mut all = 0;
    for row in rows {
        let gold = row["ground_truth"].as_str().unwrap();
        for (model, solution) in row.as_object().unwrap() {
            let Some(label) = solution.get("is_correct") else { continue };
            let label = label.as_bool().unwrap_or_else(|| label == "True");
            let reply = solution["solution"].as_str().unwrap();
            assert_eq!(equivalent(reply, gold, MathRules::default()), label, "{model}: {reply:?} beside {gold:?}");
            all += 1;
        }
    }
    assert_eq!(all, 5276);
}

#[needs_oracles]
#[test]
fn each_answer_of_math_500_is_found_in_its_own_solution_only() {
    let rows = rows("data/math500/test.jsonl");
    let answers: Vec<(&str, &str)> =
        rows.iter().map(|r| (r["answer"].as_str().unwrap(), r["solution"].as_str().unwrap())).collect();
    assert_eq!(answers.len(), 500);
    for (i, (answer, solution)) in answers.iter().enumerate() {
        assert!(equivalent(solution, answer, MathRules::default()), "{answer:?} in {solution:?}");
        // Another answer, chosen by index.
        let (other, _) = answers[(i * 7 + 3) % answers.len()];
        if !equivalent(other, answer, MathRules::default()) {
            assert!(!equivalent(solution, other, MathRules::default()), "{other:?} in {solution:?}");
        }
    }
}

#[needs_oracles]
#[test]
fn each_final_answer_of_gsm8k_is_found_in_its_own_solution() {
    let mut all = 0;
    for file in ["data/gsm8k/train.jsonl", "data/gsm8k/test.jsonl"] {
        for row in rows(file) {
            let solution = row["answer"].as_str().unwrap();
            let (reasoning, answer) = solution.split_once("####").unwrap();
            let answer = answer.trim();
            for (reply, reference) in [
                (solution, answer),
                (answer, solution),
                (&format!("{reasoning}\\boxed{{{answer}}}"), answer),
                (&format!("The answer is {answer}."), answer),
            ] {
                assert!(equivalent(reply, reference, MathRules::default()), "{reply:?} beside {reference:?}");
            }
            all += 1;
        }
    }
    assert_eq!(all, 8792);
}

#[needs_oracles]
#[test]
fn instructions_are_checked_as_recorded() {
    let prompts = rows("data/ifeval/input_data.jsonl");
    let by_prompt: BTreeMap<&str, &Value> = prompts.iter().map(|r| (r["prompt"].as_str().unwrap(), r)).collect();
    for mode in ["strict", "loose"] {
        let file = format!("data/ifeval/m_ifeval_Qwen__Qwen2.5-0.5B-Instruct-GPTQ-Int4__eval_results_{mode}.jsonl");
        let (mut right, mut all, mut differ) = (0, 0, BTreeMap::<String, usize>::new());
        for row in rows(&file) {
            // One of the recorded prompts is missing in the published data.
            let Some(asked) = by_prompt.get(row["prompt"].as_str().unwrap()) else { continue };
            for (i, id) in row["instruction_id_list"].as_array().unwrap().iter().enumerate() {
                let (id, arguments, reply) =
                    (id.as_str().unwrap(), &asked["kwargs"][i], row["response"].as_str().unwrap());
                let check = if mode == "loose" { ifeval::follows_loosely } else { ifeval::follows };
                let got = check(id, arguments, reply).unwrap();
                all += 1;
                right += usize::from(Some(got) == row["follow_instruction_list"][i].as_bool());
                if Some(got) != row["follow_instruction_list"][i].as_bool() {
                    *differ.entry(id.to_owned()).or_default() += 1;
                }
            }
        }
        println!("{mode}: {right} of {all}; differing: {differ:?}");
        assert!(all > 800 && right as f64 >= 0.99 * f64::from(all), "{right} of {all}: {differ:?}");
    }
}
