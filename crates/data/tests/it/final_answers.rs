//! References that hold a worked solution: the final answer is found, or the references are refused.

use std::path::Path;

use rlar_data::{FinalAnswers, Needs, examples, find_final_answers, read_rows};
use rlar_oracles::{needs_oracles, oracle};
use serde_json::{Value, json};

/// Twelve little problems with a worked solution each and their answers.
fn solutions(ending: impl Fn(usize, &str) -> String) -> (Vec<String>, Vec<String>) {
    let answers: Vec<String> = (0..12).map(|i| (3 * i + 7).to_string()).collect();
    let people = ["Ada", "Ben", "Cleo", "Dan"];
    let texts = answers.iter().enumerate().map(|(i, answer)| {
        let who = people[i % people.len()];
        let work = format!("{who} has {} + 7 = {answer} marbles in the end, {} more than before.", 3 * i, 7);
        format!("{work}{}", ending(i, answer))
    });
    (texts.collect(), answers)
}

fn found(texts: &[String]) -> Vec<Option<String>> {
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    match find_final_answers(&texts) {
        FinalAnswers::Found { answers, .. } => answers,
        other => panic!("{other:?} for {}", texts[0]),
    }
}

#[test]
fn any_mark_that_all_references_share_leads_to_the_answer() {
    let endings: [fn(&str) -> String; 16] = [
        |a| format!("\n#### {a}"),
        |a| format!("\n####{a}\n"),
        |a| format!(" So $\\boxed{{{a}}}$."),
        |a| format!("\nThe answer is {a}."),
        |a| format!(" The final answer is: ${a}$"),
        |a| format!("\n**Answer:** {a}"),
        |a| format!("\n<answer>{a}</answer>"),
        |a| format!("\nA: {a}"),
        |a| format!("\n=> {a}"),
        |a| format!(" ||| {a}"),
        |a| format!("\nResult = {a}."),
        |a| format!("\n[[{a}]]"),
        |a| format!("\n<ans>{a}</ans>"),
        |a| format!("\nIn total: {a} marbles"),
        |a| format!("\n>>> {a} marbles"),
        |a| format!("\nANS {a}"),
    ];
    for ending in endings {
        let (texts, answers) = solutions(|_, answer| ending(answer));
        let expected: Vec<Option<String>> = answers
            .iter()
            .map(|a| Some(if texts[0].ends_with("marbles") { format!("{a} marbles") } else { a.clone() }))
            .collect();
        assert_eq!(found(&texts), expected, "{}", texts[0]);
    }
}

#[test]
fn notes_show_an_answer_of_each_domain_where_it_was_found() {
    let long = format!("{}\n#### 7\n(checked by two people)", "a".repeat(70));
    let rows = [
        json!({ "prompt": "p", "domain": "sums", "answer": "Ada has \u{1b}2 + 3 = 5.\n#### 5" }),
        json!({ "prompt": "p", "domain": "sums", "answer": "Ben has 2 + 4 = 6.\n#### 6" }),
        json!({ "prompt": "p", "domain": "tales", "answer": long }),
        json!({ "prompt": "p", "answer": "So $\\boxed{\\frac{1}{2}}$ is what she has, and so it is." }),
    ];
    let lines = rows.map(|row| format!("{row}\n")).concat();
    let path = Path::new("rows.jsonl");
    let set = examples(read_rows(path, lines.as_bytes()).unwrap(), None, Needs::Prompt).unwrap();
    let expected = [
        "the reference is what follows `####` or is in `\\boxed{…}` (4 of 4 rows)".to_owned(),
        "row `1` of `sums`: the reference `5` was taken from \"Ada has 2 + 3 = 5. #### 5\"".to_owned(),
        // 60 characters before the answer, and 20 behind it.
        format!(
            "row `3` of `tales`: the reference `7` was taken from \"…{} #### 7 (checked by two peo…\"",
            "a".repeat(54)
        ),
        "row `4`: the reference `\\frac{1}{2}` was taken from \"So $\\boxed{\\frac{1}{2}}$ is what she has,…\""
            .to_owned(),
    ];
    assert_eq!(set.notes, expected);
}

#[test]
fn marks_may_be_mixed() {
    let (texts, answers) = solutions(|i, answer| match i % 4 {
        0 => format!("\n#### {answer}"),
        1 => format!("\nThe answer is \\boxed{{{answer}}}."),
        2 => format!("\nThe answer is {answer}."),
        _ => format!("\n<answer>{answer}</answer>"),
    });
    assert_eq!(found(&texts), answers.into_iter().map(Some).collect::<Vec<_>>());
}

#[test]
fn worked_solutions_without_a_mark_are_refused() {
    let ends = ["", " That is a lot.", " Good!", "\nWell done, and nothing is left over."];
    let (texts, _) = solutions(|i, _| ends[i % ends.len()].into());
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    assert!(matches!(find_final_answers(&texts), FinalAnswers::Unclear(_)));
}

#[test]
fn a_number_within_a_sentence_is_no_final_answer() {
    let (texts, _) = solutions(|_, _| String::new());
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    assert!(matches!(find_final_answers(&texts), FinalAnswers::Unclear(_)), "{:?}", find_final_answers(&texts));
}

#[test]
fn a_mark_that_some_references_lack_is_refused_with_the_count() {
    let (texts, _) = solutions(|i, answer| if i < 9 { format!("\n#### {answer}") } else { String::new() });
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let FinalAnswers::Unclear(why) = find_final_answers(&texts) else { panic!("{:?}", find_final_answers(&texts)) };
    assert!(why.starts_with("9 of 12 references"), "{why}");
}

#[test]
fn answers_and_ordinary_texts_stay_as_they_are() {
    let answers = ["42", "x = 3", "Paris", "12 apples", "\\frac{1}{2}", "(B)"];
    assert_eq!(find_final_answers(&answers), FinalAnswers::AsTheyAre);
    let texts = [
        "Ein Mann in einem blauen Hemd steht auf einer Leiter und putzt ein Fenster.",
        "Zwei Männer stehen am Herd und bereiten Essen zu, während 3 Kinder zusehen.",
        "Ein kleines Mädchen klettert in ein Spielhaus aus Holz, das im Garten steht.",
        "Drei Leute sitzen an einem Tisch im Freien und spielen bis 10 Uhr Karten.",
    ];
    assert_eq!(find_final_answers(&texts), FinalAnswers::AsTheyAre);
}

/// The values of a column of a JSONL file of an oracle.
fn column(path: &std::path::Path, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.map(|row| row[name].as_str().unwrap().to_owned()).collect()
}

#[needs_oracles]
#[test]
fn the_published_references_of_gsm8k_lead_to_its_answers() {
    for (file, rows) in [(oracle!("data/gsm8k/train.jsonl"), 7473), (oracle!("data/gsm8k/test.jsonl"), 1319)] {
        let texts = column(&file, "answer");
        let expected: Vec<Option<String>> =
            texts.iter().map(|text| Some(text.rsplit("####").next().unwrap().trim().to_owned())).collect();
        assert_eq!((found(&texts), texts.len()), (expected, rows));
    }
    // The same solutions with another mark, as a file of model outputs has them.
    let texts = column(&oracle!("data/gsm8k/example_model_solutions.jsonl"), "ground_truth");
    let expected: Vec<Option<String>> =
        texts.iter().map(|text| Some(text.rsplit("A: ").next().unwrap().trim().to_owned())).collect();
    assert_eq!(found(&texts), expected);
}

#[needs_oracles]
#[test]
fn the_published_solutions_of_math_500_lead_to_its_answers() {
    let file = oracle!("data/math500/test.jsonl");
    let (solutions, answers) = (column(&file, "solution"), column(&file, "answer"));
    let answers_found = found(&solutions);
    let spaceless = |text: &str| text.split_whitespace().collect::<String>();
    let different: Vec<(&str, &str)> = answers_found
        .iter()
        .zip(&answers)
        .map(|(found, answer)| (found.as_deref().unwrap_or("nothing"), answer.as_str()))
        .filter(|(found, answer)| spaceless(found) != spaceless(answer))
        .collect();
    assert!(different.is_empty(), "{different:?}");
}

#[needs_oracles]
#[test]
fn translations_and_summaries_have_no_final_answer() {
    for file in [oracle!("data/dialogsum"), oracle!("data/multi30k"), oracle!("data/wmt22")] {
        for entry in std::fs::read_dir(file).unwrap() {
            let path = entry.unwrap().path();
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            let is_lines = path.extension().is_none_or(|e| e != "jsonl" && e != "md" && e != "json");
            let lines: Vec<&str> = text.lines().filter(|_| is_lines).take(1000).collect();
            assert_eq!(find_final_answers(&lines), FinalAnswers::AsTheyAre, "{}", path.display());
        }
    }
}
