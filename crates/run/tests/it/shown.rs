//! What a run shows while it works.

use std::time::{Duration, Instant};

use rlar_run::{Activity, COLUMNS, fill, wrap};

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
