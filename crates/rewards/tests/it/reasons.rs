//! The reasons that scores have.

use std::path::Path;

use rlar_data::{Completion, Example, Needs, read_examples};
use rlar_rewards::{Library, OrchestratorConfig, Outcome, Reason, ScoreRecord, ToolContext, ToolScore};
use serde_json::{Value, json};

use crate::kinds::folder;
use crate::scripted::scripted;
use crate::{context, curated, example, library_of, orchestrator, with_config};

/// The text of a record's reason; empty if there is none.
fn text(record: ScoreRecord) -> String {
    record.reason.map(|reason| reason.as_str().to_owned()).unwrap_or_default()
}

/// The reason of the score that a curated tool gives.
fn reason(tool: &str, example: &Example, reply: &str) -> String {
    let mut rewards = curated();
    let tool = rewards.open(tool).unwrap();
    text(tool.score_records(&[(example, &Completion::whole(reply))], &|| false).unwrap().remove(0))
}

#[test]
fn a_comparison_shows_the_two_values() {
    for (tool, reply, reference, shown) in [
        ("math_equivalence", "So the answer is $\\boxed{\\frac{1}{2}}$.", "0.5", "`\\frac{1}{2}` against `0.5`"),
        ("math_equivalence", "It is 7.", "8", "`7` against `8`"),
        ("math_equivalence", " ", "8", "no answer against `8`"),
        ("numeric_match", "It is 1,234.50", "85", "`1234.5` against `85`"),
        ("numeric_match", "nothing", "85", "no answer against `85`"),
        ("numeric_tolerance", "It is 1.5e3", "1400", "`1500` against `1400`"),
        ("exact_match", "new\n  york", "York", "`new york` against `York`"),
        ("multiple_choice", "The answer is B.", "C", "`B` against `C`"),
    ] {
        assert_eq!(reason(tool, &example("p", Some(reference)), reply), shown, "{tool}");
    }
    assert_eq!(
        reason("math_equivalence", &example("Expand (x+1)^2", Some("x^2+2x+1")), "(x+1)^2"),
        "the reply repeats the prompt"
    );
    let long = reason("exact_match", &example("p", Some("b")), &"a".repeat(1 << 20));
    assert!(long.ends_with("…` against `b`") && long.chars().count() < 200, "{long}");
}

#[test]
fn the_curated_verifier_of_last_numbers_says_which_it_compared() {
    for (reply, reference, shown) in [
        ("48 + 24 = 70.", "So it is 72.", "the last number is 70, the reference's is 72"),
        ("It is 1,234.50", "1234.5", "the last number is 1234.50, the reference's is 1234.5"),
        ("I do not know.", "72", "the reply has no number, the reference's is 72"),
        ("It is 7.", "seven", "the last number is 7, the reference has none"),
    ] {
        assert_eq!(reason("last_number", &example("What is 48 + 24?", Some(reference)), reply), shown);
    }
}

#[test]
fn a_program_shows_the_first_test_that_failed_and_what_it_returned() {
    let row = |columns: Value| {
        read_examples(Path::new("x.jsonl"), columns.to_string().as_bytes(), Needs::Prompt).unwrap().remove(0)
    };
    let calls = row(json!({ "prompt": "Add.", "tests": ["assert add(1, 2) == 3", "assert add(2, 2) == 4"] }));
    let stream = row(
        json!({ "prompt": "Double.", "tests": [{ "input": "2", "output": "4" }, { "input": "5", "output": "10" }] }),
    );
    let check = row(json!({ "prompt": "Write a function `def total(x)` that sums a list.", "entry_point": "total",
        "test": "def check(candidate):\n    assert candidate([]) == 0\n    assert candidate([1, 2]) == 3\n" }));
    for (asked, reply, shown) in [
        (&calls, "def add(a, b): return a + b", "2 of 2 tests passed"),
        (
            &calls,
            "def add(a, b): return a * b",
            "1 of 2 tests passed; test 1, `assert add(1, 2) == 3`: `add(1, 2)` returned 2",
        ),
        (
            &calls,
            "def add(a, b): raise ValueError('no')",
            "0 of 2 tests passed; test 1, `assert add(1, 2) == 3`: failed with ValueError: no",
        ),
        (&stream, "print(4)", "1 of 2 tests passed; test 2, input `5`: word 1 is `4`, not `10`"),
        (
            &check,
            "def total(x):\n    return 0",
            "0 of 1 tests passed; test 1, `check(total)`: `assert candidate([1, 2]) == 3`: `total([1, 2])` returned 0",
        ),
    ] {
        assert_eq!(reason("code_tests", asked, reply), shown, "{reply}");
    }
}

#[test]
fn a_judge_gives_its_words() {
    let card = |mode: &str| {
        format!(
            "kind: judge\nrole: quality\ntasks: [any]\nneeds_reference: true\nrange: [0, 1]\njudge: {{ rubric: r, mode: {mode} }}\n"
        )
    };
    let words = |mode: &str, answer: String| {
        let folder = folder(&[("judge", &card(mode))]);
        let context = ToolContext { llm: Some(scripted(move |_| Ok(answer.clone()))), ..context() };
        let mut rewards = with_config(Library::load(folder.path()).unwrap(), context, OrchestratorConfig::default());
        let asked = example("Say hello.", Some("Hello."));
        text(rewards.records_with("judge", &[(&asked, &Completion::whole("Hi."))]).unwrap().remove(0))
    };
    assert_eq!(words("pointwise", r#"{"reason": "It greets.", "score": 4}"#.into()), "It greets.");
    assert_eq!(words("pointwise", r#"{"reason": " ", "score": 4}"#.into()), "");
    let both = words("pairwise", r#"{"reason": "A is shorter.", "better": "A"}"#.into());
    assert_eq!(both, "with the reply as A: A is shorter.\nwith the reply as B: A is shorter.");
    let long = words("pointwise", format!(r#"{{"reason": "{}", "score": 4}}"#, "é".repeat(100_000)));
    assert!(long.chars().count() == 500 && long.ends_with("é…"), "{long}");
}

#[test]
fn what_a_verifier_prints_is_the_reason_of_its_score() {
    let source = "def compute_x(prompt, reply, reference):\n    print('read', repr(reply))\n    \
                  if reply == 'huge': print('x' * 3_000_000)\n    if reply == 'odd': print('\\x00\\x1b[31m \\ud800 \\r')\n    \
                  if reply == 'broken': raise ValueError('no')\n    return 0.5\n";
    let folder = library_of(source);
    let mut rewards = orchestrator(Library::load(folder.path()).unwrap());
    let asked = example("How many?", Some("2"));
    let mut score = |reply: &str| rewards.score(&[(&asked, &Completion::whole(reply))]).unwrap()[0].tools[0].clone();
    assert_eq!((score("2").outcome, score("2").why()), (Outcome::Scored(0.5), "read '2'".into()));
    let huge = score("huge").why();
    assert!(huge.starts_with("read 'huge'\nxxx") && huge.chars().count() == 500, "{huge}");
    assert_eq!(score("odd").why(), "read 'odd'\n\u{fffd}\u{fffd}[31m ?");
    assert_eq!(score("broken").why(), "it raised ValueError: no\nread 'broken'");
}

#[test]
fn scores_without_reasons_are_read_and_written_as_before() {
    let old = r#"["tool",1.0,{"scored":0.5}]"#;
    let score: ToolScore = serde_json::from_str(old).unwrap();
    assert_eq!((score.reason.clone(), serde_json::to_string(&score).unwrap()), (None, old.into()));
    let explained = ToolScore { reason: Reason::new("  because\u{7}  "), ..score };
    let new = serde_json::to_string(&explained).unwrap();
    assert_eq!(new, r#"["tool",1.0,{"scored":0.5},"because�"]"#);
    assert_eq!(serde_json::from_str::<ToolScore>(&new).unwrap(), explained);
}
