//! The builtins that compare a reply's answer with the reference.

use rlar_oracles::{needs_oracles, oracle};
use rlar_rewards::Outcome;
use serde_json::Value;

use crate::score;

#[needs_oracles]
#[test]
fn answers_of_public_reports_are_scored_as_expected() {
    let file = std::fs::read_to_string(oracle!("oracles/reports/cases.jsonl")).unwrap();
    let mut tried = 0;
    let mut wrong = Vec::new();
    for line in file.lines() {
        let report: Value = serde_json::from_str(line).unwrap();
        let (area, run) = (report["area"].as_str().unwrap(), report["input"]["run"].as_str().unwrap_or(""));
        let Some(cases) = report["input"]["cases"].as_array().filter(|_| area.contains("math")) else { continue };
        let Some(tool) = run.split_whitespace().skip_while(|w| *w != "--tool").nth(1) else { continue };
        for case in cases {
            let (reference, reply) = (case["reference"].as_str().unwrap(), case["response"].as_str().unwrap());
            let got = score(tool, reply, Some(reference));
            tried += 1;
            if got != Outcome::Scored(case["expected_score"].as_f64().unwrap()) {
                wrong.push(format!("{}: {tool}, `{reply}` against `{reference}`: {got:?}", report["id"]));
            }
        }
    }
    assert!(tried > 30, "{tried}");
    assert!(wrong.is_empty(), "{} of {tried}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_letter_with_its_options_text_is_a_choice() {
    for (reply, reference, want) in [
        ("\\boxed{D: the mitral valve}", "D", 1.0),
        ("\\boxed{D. the mitral valve}", "D", 1.0),
        ("\\boxed{D) the mitral valve}", "D", 1.0),
        ("\\boxed{(D) the mitral valve}", "D", 1.0),
        ("\\boxed{\\text{D: the mitral valve}}", "D", 1.0),
        ("\\boxed{\\textbf{(D)}\\ 45}", "D", 1.0),
        ("\\boxed{D: Vitamin C}", "D", 1.0),
        ("\\boxed{D: Vitamin C}", "C", 0.0),
        ("\\boxed{D: A vitamin}", "D", 1.0),
        ("\\boxed{D - a vitamin}", "D", 1.0),
        ("\\boxed{d: a vitamin}", "D", 1.0),
        ("\\boxed{d}", "D", 1.0),
        ("\\boxed{\\text{D}}", "D", 1.0),
        ("\\boxed{D}", "C", 0.0),
        ("\\boxed{A, D}", "D", 0.0),
        ("\\boxed{A, D}", "A", 0.0),
        ("\\boxed{A or D}", "A", 0.0),
        ("\\boxed{(A) or (D)}", "A", 0.0),
        ("\\boxed{A: one, D: two}", "A", 0.0),
        ("D: the mitral valve", "D", 1.0),
        ("(D) the mitral valve", "D", 1.0),
        ("D. Vitamin C", "D", 1.0),
        ("A) one\nB) two\nC) three", "A", 0.0),
        ("The answer is D: Vitamin C", "D", 1.0),
        ("The answer is (D) Vitamin C.", "D", 1.0),
        ("Answer: D. Vitamin C", "D", 1.0),
        ("**Answer: D**", "D", 1.0),
        ("The answer is **(D)**.", "D", 1.0),
        ("the mitral valve", "D", 0.0),
        ("\\boxed{D}", "D: the mitral valve", 1.0),
        ("\\boxed{C}", "D: the mitral valve", 0.0),
        ("D", "(D) Vitamin C", 1.0),
    ] {
        let got = score("multiple_choice", reply, Some(reference));
        assert_eq!(got, Outcome::Scored(want), "`{reply}` against `{reference}`");
    }
}

#[test]
fn a_letter_that_is_rejected_or_only_explained_is_no_choice() {
    for (reply, reference, want) in [
        ("The correct answer is D, not B.", "D", 1.0),
        ("The correct answer is D, not B.", "B", 0.0),
        ("The answer is D and not B.", "D", 1.0),
        ("The answer is not B but D.", "D", 1.0),
        ("The answer is not B but D.", "B", 0.0),
        ("The answer is not B.", "B", 0.0),
        ("The answer is neither A nor B but D.", "D", 1.0),
        ("The answer is D, not A, B or C.", "D", 1.0),
        ("The answer is (D) because B is wrong.", "D", 1.0),
        ("The answer is (D) because B is wrong.", "B", 0.0),
        ("The answer is D since A and C contradict the text.", "D", 1.0),
        ("The answer is D, as C is too small.", "D", 1.0),
        ("The answer is D rather than C.", "D", 1.0),
        ("The answer is D instead of C.", "D", 1.0),
        ("The answer is D, whereas A is a distractor.", "D", 1.0),
        ("The answer is D. A is wrong because it is too small.", "D", 1.0),
        ("The answer is option D, not option C.", "D", 1.0),
        ("The answer is A or D.", "A", 0.0),
        ("The answer is A or D.", "D", 0.0),
        ("The answer is A, D.", "D", 0.0),
        ("The answer is D, but it could be A.", "D", 0.0),
        ("The answer is both A and D.", "A", 0.0),
        ("I choose D, not C.", "D", 1.0),
        ("D because C is wrong", "D", 1.0),
        ("because C is wrong", "C", 0.0),
        ("The answer is A.", "A", 1.0),
        ("The answer is a dog.", "A", 0.0),
    ] {
        let got = score("multiple_choice", reply, Some(reference));
        assert_eq!(got, Outcome::Scored(want), "`{reply}` against `{reference}`");
    }
}

#[test]
fn powers_of_ten_are_numbers_in_every_notation() {
    for (reply, reference, want) in [
        ("$3 \\times 10^{4}$", "3e4", 1.0),
        ("$3 \\times 10^4$", "30000", 1.0),
        ("3\\times10^{4}", "3e4", 1.0),
        ("$3 \\cdot 10^{4}$", "3e4", 1.0),
        ("3·10^4", "3e4", 1.0),
        ("3⋅10⁴", "3e4", 1.0),
        ("3 × 10⁴", "3e4", 1.0),
        ("3 * 10**4", "3e4", 1.0),
        ("3x10^4", "3e4", 1.0),
        ("3\\,\\times\\,10^{4}", "3e4", 1.0),
        ("$3 \\times 10^{4}$", "4", 0.0),
        ("$3 \\times 10^{4}$", "3", 0.0),
        ("$3 \\times 10^{4}$", "10", 0.0),
        ("$2.5 \\times 10^{-3}$", "0.0025", 1.0),
        ("2.5 × 10⁻³", "0.0025", 1.0),
        ("2.5 \\times 10^{−3}", "0.0025", 1.0),
        ("-2.5 \\times 10^{3}", "-2500", 1.0),
        ("10^4", "1e4", 1.0),
        ("10^{4}", "10000", 1.0),
        ("10⁴", "10000", 1.0),
        ("10^4", "4", 0.0),
        ("about $6.0 \\times 10^{23}$ atoms", "6e23", 1.0),
        ("1\\,000", "1000", 1.0),
        ("1{,}000", "1000", 1.0),
        ("3e4", "3 \\times 10^{4}", 1.0),
        ("30000", "$3 \\times 10^{4}$", 1.0),
        ("3", "$3 \\times 10^{4}$", 0.0),
        ("3 \\times 4", "4", 1.0),
    ] {
        let got = score("numeric_tolerance", reply, Some(reference));
        assert_eq!(got, Outcome::Scored(want), "`{reply}` against `{reference}`");
    }
}

#[test]
fn prose_with_several_numbers_is_no_reference() {
    for reference in ["Ann has 4 pens and Ben has 9", "4 out of 9", "at least 4 of the 9"] {
        let Outcome::Abstained(why) = score("math_equivalence", "9", Some(reference)) else {
            panic!("{reference} was scored");
        };
        assert!(why.contains("several numbers") && why.contains("\\boxed"), "{why}");
    }
    for reference in ["Ann has 9 pens", "4 + 5 = 9 pens", "Ann has 4, Ben 5. The answer is 9", "4 and 5 pens #### 9"] {
        assert_eq!(score("math_equivalence", "9", Some(reference)), Outcome::Scored(1.0), "{reference}");
    }
}

#[test]
fn a_reward_counts_and_finds_the_same_paragraphs() {
    let with = |reply: &str, nth: usize| {
        let row = serde_json::json!({
            "prompt": "p", "instruction_id_list": ["length_constraints:nth_paragraph_first_word"],
            "kwargs": [{ "num_paragraphs": 2, "nth_paragraph": nth, "first_word": "then" }],
        });
        let path = std::path::Path::new("x.jsonl");
        let example =
            rlar_data::read_examples(path, row.to_string().as_bytes(), rlar_data::Needs::Prompt).unwrap().remove(0);
        let mut rewards = crate::curated();
        let tool = rewards.open("instructions").unwrap();
        tool.score(&[(&example, &rlar_data::Completion::whole(reply))]).unwrap().remove(0)
    };
    for (reply, nth, want) in [
        ("First a.\n\nThen b.", 2, 1.0),
        ("First a.\n\n\n\nThen b.", 2, 1.0),
        ("First a.\n\n\nThen b.", 2, 1.0),
        ("\n\nFirst a.\n\nThen b.", 2, 1.0),
        ("\n\nThen a.\n\nFirst b.", 1, 1.0),
        ("First a.\n \nThen b.\n\n", 2, 1.0),
        ("First a.\r\n\r\nThen b.", 2, 1.0),
        ("\n\nFirst a.\n\nThen b.", 1, 0.0),
        ("First a.\n\n\n\nLast b.", 2, 0.0),
        ("First a.\nThen b.", 2, 0.0),
        ("First a.\n\nThen b.\n\nLast c.", 2, 0.0),
    ] {
        assert_eq!(with(reply, nth), Outcome::Scored(want), "{reply:?}");
    }
}
