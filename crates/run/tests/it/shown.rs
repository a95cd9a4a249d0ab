//! What a run shows while it works.

use std::time::{Duration, Instant};

use rlar_run::{Activity, COLUMNS, fill, percent, shortened, wrap};

#[test]
fn the_same_share_is_the_same_percentage_however_it_was_computed() {
    // Of every share of a whole number of replies: the quotient, the quotient of the percentage, and neighbours of both.
    for answers in [16u32, 80, 100, 400, 1319, 2000] {
        for right in 0..=answers {
            let (right, answers) = (f64::from(right), f64::from(answers));
            let text = percent(right / answers);
            let others = [100.0 * right / answers / 100.0, (right / answers).next_up(), (right / answers).next_down()];
            assert!(others.into_iter().all(|other| percent(other) == text), "{right} of {answers}: {text}");
            let error = text.parse::<f64>().unwrap() - 100.0 * right / answers;
            assert!(error.abs() <= 0.05 + 1e-9, "{right} of {answers}: {text}");
        }
    }
    // Halves go to the even digit.
    let texts = [153.0 / 400.0, 23.0 / 80.0, 763.0 / 2000.0, 1.0, 0.0, -0.00375, -1e-9].map(percent);
    assert_eq!(texts, ["38.2", "28.8", "38.2", "100.0", "0.0", "-0.4", "0.0"]);
    assert_eq!([f64::NAN, f64::INFINITY].map(percent), ["NaN", "NaN"]);
}

#[test]
fn an_activity_counts_its_phases_and_names_a_slow_tool() {
    let activity = Activity::default();
    assert_eq!(activity.describe(Instant::now()), "");
    let sampling = activity.phase("sampling", 128, "replies");
    sampling.add(34);
    sampling.add_token();
    sampling.add_token();
    let scoring = activity.phase("scoring", 128, "replies");
    let (first, later) = (activity.tool("code_tests", 20), activity.tool("brevity", 30));
    let now = Instant::now();
    assert_eq!(activity.describe(now), "sampling 34/128 replies (2 tokens), scoring 0/128 replies");
    let line = activity.describe(now + Duration::from_secs(5));
    assert!(line.starts_with("`code_tests` has been scoring 20 replies for 5 s, sampling 34/128"), "{line}");
    drop(first);
    let line = activity.describe(now + Duration::from_secs(5));
    assert!(line.starts_with("`brevity` has been scoring 30 replies for 5 s"), "{line}");
    drop((sampling, later));
    scoring.set(20);
    assert_eq!(activity.describe(now + Duration::from_secs(5)), "scoring 20/128 replies");
}

#[test]
fn a_text_that_is_too_long_ends_after_a_word() {
    for (text, shown) in [
        ("one two six", "one two six"),
        ("one two seven", "one two …"),
        ("one two  sixteen", "one two …"),
        ("once twenty-four", "once …"),
        ("épée à côté d'été", "épée à …"),
        ("one-two-three", "one-two-t …"),
        ("a one-two-three", "a one-two …"),
        ("", ""),
    ] {
        let cut = shortened(text, 11);
        assert_eq!(cut, shown);
        assert!(cut.chars().count() <= 11, "{cut}");
    }
}

#[test]
fn text_is_divided_between_words_and_parts() {
    let words = ["word"; 40].join(" ");
    let lines = wrap(&words);
    assert!(lines.lines().all(|line| line.chars().count() < COLUMNS) && lines.lines().count() == 3, "{lines}");
    assert_eq!(lines.replace('\n', " "), words);
    assert_eq!(wrap("two  spaces stay in a short line"), "two  spaces stay in a short line");
    let parts = ["sampling 19.4 s"; 5];
    assert_eq!(fill(parts, ", "), format!("{},\n{}", parts[..4].join(", "), parts[4]));
    let long = "x".repeat(200);
    assert_eq!(fill(["a", &long, "b"], " "), format!("a\n{long}\nb"));
}
