//! Generative judges have the prompts, the parsing and the scoring of the reference implementation (recorded from rewardbench 0.1.4).

use rlar_data::Role;
use rlar_eval::item_metric::mean_label_of_best;
use rlar_eval::judge::best_of_four::{self, Position, PromptStyle};
use rlar_eval::judge::{JudgeMode, JudgeResult, judge_benchmark, ratings};
use rlar_eval::readers::judgebench::{Decision, votes};
use rlar_eval::reward_bench_2::RewardBenchVersion;
use rlar_eval::{Benchmark, BenchmarkReport};
use rlar_net::llm::{ChatReply, ChatRequest, Llm, LlmError};
use serde_json::Value;

use crate::text;

fn record() -> Value {
    serde_json::from_str(include_str!("../fixtures/rewardbench.json")).unwrap()
}

#[test]
fn prompts_are_the_references_to_the_byte() {
    let record = record();
    let question = record["question"].as_str().unwrap();
    let answers: Vec<&str> = record["answers"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
    let answers: [&str; 4] = answers.try_into().unwrap();
    let cases = record["four"].as_array().unwrap();
    assert_eq!(cases.len(), 8);
    for case in cases {
        let position = Position::new(case["place"].as_u64().unwrap() as u8);
        let user = case["user"].as_str().unwrap();
        if case["bare"].as_bool().unwrap() {
            let messages = best_of_four::prompt(question, answers, position, PromptStyle::Bare);
            assert_eq!((messages.len(), messages[0].content.as_str()), (1, user));
        } else {
            let messages = best_of_four::prompt(question, answers, position, PromptStyle::System);
            let system = case["system"].as_str().unwrap();
            assert_eq!((messages[0].role, messages[0].content.as_str()), (Role::System, system));
            assert_eq!((messages[1].role, messages[1].content.as_str()), (Role::User, user));
            let merged = best_of_four::prompt(question, answers, position, PromptStyle::Merged);
            assert_eq!(merged[0].content, format!("{system}\n\n{user}"));
        }
    }
    for (key, ties) in [("ratings", false), ("ratings_ties", true)] {
        let messages = ratings::prompt(question, answers[2], ties);
        assert_eq!((messages.len(), messages[0].content.as_str()), (1, record[key].as_str().unwrap()));
    }
}

#[test]
fn replies_are_read_as_the_reference_reads_them() {
    let record = record();
    for case in record["replies"].as_array().unwrap() {
        let ours = ratings::parse(case[0].as_str().unwrap()).map_or(-1, i64::from);
        assert_eq!(ours, case[1].as_i64().unwrap(), "{case}");
    }
    for case in record["verdicts"].as_array().unwrap() {
        let ours = best_of_four::parse(case[0].as_str().unwrap()).map(|v| char::from(b'A' + v).to_string());
        assert_eq!(ours.as_deref().unwrap_or("error"), case[1].as_str().unwrap(), "{case}");
    }
}

#[test]
fn verdicts_have_the_value_that_the_reference_gives_them() {
    let labels = [Some(1.0), Some(0.0), Some(0.0), Some(0.0)];
    for position in 0..4 {
        for verdict in 0..4 {
            let scores = best_of_four::scores(Some(verdict), Position::new(position));
            let right = f64::from(u8::from(verdict == position));
            assert_eq!(mean_label_of_best(&labels, &scores), Some(right));
        }
        // A reply without a verdict is a tie.
        assert_eq!(
            mean_label_of_best(
                &labels,
                &best_of_four::scores(best_of_four::parse("I like all"), Position::new(position))
            ),
            Some(0.25)
        );
    }
    let worth = |given: [Option<u8>; 4]| mean_label_of_best(&labels, &ratings::scores(&given)).unwrap();
    assert_eq!(worth([Some(9), Some(9), Some(3), None]), 0.5);
    assert_eq!(worth([None, Some(1), Some(3), None]), 0.0);
    assert_eq!(worth([Some(1), None, None, None]), 1.0);
    assert_eq!(worth([None; 4]), 0.25);
    assert_eq!(ratings::scores(&[None, Some(2)]), [-1.0, 2.0]);
}

#[test]
fn positions_are_uniform_and_repeat_with_their_seed() {
    let draw = |seed| (0..4000).map(|i| Position::draw(seed, i).order()[0]).collect::<Vec<_>>();
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    for position in 0..4 {
        let share = draw(3).iter().filter(|p| **p == position).count();
        assert!((900..1100).contains(&share), "{share}");
    }
}

#[test]
fn both_orders_of_a_pair_are_counted_as_judgebench_does() {
    use Decision::{First, Second, Tie};
    // The right answer is the first: won when more games go to it. The second game shows it second.
    let won = |shown, swapped| {
        let [right, wrong] = votes(shown, swapped);
        right > wrong
    };
    assert!(won(Some(First), Some(Second)));
    assert!(won(Some(First), Some(Tie)) && won(Some(Tie), Some(Second)));
    assert!(won(Some(First), None) && won(None, Some(Second)));
    assert!(!won(Some(First), Some(First)) && !won(Some(Second), Some(Second)));
    assert!(!won(Some(Tie), Some(Tie)) && !won(None, None) && !won(Some(Second), Some(First)));
}

/// A judge that knows the correct completions by their text.
#[derive(Debug)]
struct Knowing {
    says: fn(&str) -> Result<String, ()>,
}

impl Llm for Knowing {
    fn chat(&self, request: &ChatRequest) -> Result<ChatReply, LlmError> {
        let reply = (self.says)(&request.messages.last().unwrap().content);
        let text = reply.map_err(|()| LlmError::Request { address: "judge".into(), message: "503".into() })?;
        Ok(ChatReply { text, prompt_tokens: 10, completion_tokens: 2, finish: "stop".into(), calls: Vec::new() })
    }
    fn name(&self) -> String {
        "knowing".into()
    }
}

const FOUR: JudgeMode = JudgeMode::BestOfFour { style: PromptStyle::System, seed: 3 };

/// Ten items of Math with one right completion of four, and a pair of rows of Ties.
fn mixed() -> Benchmark {
    let math = |i: usize| {
        format!(
            r#"{{"id":"{i}","subset":"Math","prompt":"p{i}","chosen":["GOOD {i}"],"rejected":["bad a","bad b","bad c"]}}"#
        )
    };
    let ties = |id: &str| {
        format!(r#"{{"id":"{id}:1","subset":"Ties","prompt":"t","chosen":["GOOD"],"rejected":["bad a","bad b"]}}"#)
    };
    let rows: Vec<String> = (0..10).map(math).chain([ties("ref"), ties("tied")]).collect();
    text("rows.jsonl", &rows.join("\n")).unwrap()
}

fn judged(way: JudgeMode, says: fn(&str) -> Result<String, ()>) -> JudgeResult {
    judge_benchmark(&mixed(), &Knowing { says }, way, &|| false, &mut |_| ()).unwrap().unwrap()
}

/// The verdict for the correct completion of four, or the rating of a completion.
#[allow(clippy::unnecessary_wraps)]
fn right(prompt: &str) -> Result<String, ()> {
    let shown = ["A", "B", "C", "D"].into_iter().find(|l| {
        let begin = format!("[The Start of Assistant {l}'s Answer]");
        prompt.split(&begin).nth(1).is_some_and(|rest| rest.trim_start().starts_with("GOOD"))
    });
    Ok(match shown {
        Some(letter) => format!("It is best. [[{letter}]]"),
        None => if prompt.contains("GOOD") { "9" } else { "2" }.into(),
    })
}

#[test]
fn a_perfect_judge_gets_everything_right_at_any_position() {
    let benchmark = mixed();
    for way in [JudgeMode::Ratings, FOUR] {
        let result = judged(way, right);
        assert_eq!((result.without_verdict, result.scores.failed()), (0, 0));
        let report = BenchmarkReport::new(&benchmark, &result.scores, RewardBenchVersion::Newest, None);
        assert_eq!(report.categories[0].1.score, 1.0, "{way:?}");
        let calls = if way == JudgeMode::Ratings { 10 * 4 + 6 } else { 10 + 6 };
        assert_eq!((result.answers, result.scores.cost().llm_calls), (calls, calls as u64));
    }
}

#[test]
fn a_judge_without_verdicts_has_the_value_of_a_guess_and_is_counted() {
    let benchmark = mixed();
    for way in [JudgeMode::Ratings, FOUR] {
        let result = judged(way, |_| Ok("I like them all!".into()));
        assert_eq!(result.without_verdict, result.answers);
        let report = BenchmarkReport::new(&benchmark, &result.scores, RewardBenchVersion::Newest, None);
        assert_eq!(report.categories[0].1.score, 0.25, "{way:?}");
        assert_eq!(report.overall.failed, 0, "an answer without a verdict is one, as in the reference");
    }
}

#[test]
fn a_request_without_a_reply_leaves_its_item_without_scores() {
    let result = judged(JudgeMode::Ratings, |prompt| if prompt.contains("GOOD 3") { Err(()) } else { right(prompt) });
    let report = BenchmarkReport::new(&mixed(), &result.scores, RewardBenchVersion::Newest, None);
    let math = &report.categories[0].1;
    assert_eq!((math.score, math.failed, math.scored_only), (0.9, 1, Some(1.0)));
    assert!(report.terminal().contains("lower bound"));
    let unreachable = judge_benchmark(&mixed(), &Knowing { says: |_| Err(()) }, FOUR, &|| false, &mut |_| ());
    assert!(unreachable.unwrap_err().to_string().contains("gave no reply about the first items: judge: 503"));
    assert_eq!(judge_benchmark(&mixed(), &Knowing { says: right }, FOUR, &|| true, &mut |_| ()).unwrap(), None);
}
