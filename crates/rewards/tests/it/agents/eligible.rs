//! Which tools the agents may choose for a prompt.

use rlar_data::Example;
use rlar_rewards::agents::eligible::eligible;
use rlar_rewards::{Library, Status, ToolEvidence};
use serde_json::json;

use super::rows;

const TASK: &str = "question answering";

fn question() -> Example {
    rows(&[json!({ "id": "a", "prompt": "Capital of France?", "reference": "Paris" })]).remove(0)
}

/// The curated library, in which these tools have this AUC on the task.
fn measured(tools: &[(&str, Option<f64>)]) -> Library {
    let mut library = Library::curated().unwrap();
    for (tool, auc) in tools {
        let identity = library.identity(tool).unwrap();
        library.set_evidence(
            TASK,
            tool,
            ToolEvidence { identity, auc: *auc, half_right_auc: None, status: Status::Admitted },
        );
    }
    library
}

fn names(library: &Library, example: &Example) -> Vec<String> {
    eligible(library, example, TASK).into_iter().map(|c| c.name.clone()).collect()
}

#[test]
fn tools_that_were_measured_to_be_clearly_worse_are_not_offered() {
    let all = names(&Library::curated().unwrap(), &question());
    for tool in ["exact_match", "token_f1", "multiple_choice", "rouge_l", "concise"] {
        assert!(all.iter().any(|name| name == tool), "{tool}: {all:?}");
    }
    let library = measured(&[
        ("exact_match", Some(0.95)),
        ("token_f1", Some(0.79)),
        ("multiple_choice", Some(0.8)),
        ("rouge_l", None),
    ]);
    let expected: Vec<String> = all.iter().filter(|name| *name != "token_f1").cloned().collect();
    assert_eq!(names(&library, &question()), expected);
    assert!(eligible(&library, &question(), "short answers").iter().any(|c| c.name == "token_f1"), "of another task");
}

#[test]
fn where_no_tool_was_measured_to_be_good_all_are_offered() {
    let library = measured(&[("exact_match", Some(0.79)), ("token_f1", Some(0.1))]);
    assert_eq!(names(&library, &question()), names(&Library::curated().unwrap(), &question()));
}

#[test]
fn what_was_measured_of_an_earlier_version_of_a_tool_does_not_count() {
    let mut library = measured(&[("exact_match", Some(1.0))]);
    let stale = ToolEvidence {
        identity: "0123456789abcdef".into(),
        auc: Some(0.1),
        half_right_auc: None,
        status: Status::Refused,
    };
    library.set_evidence(TASK, "token_f1", stale);
    assert!(names(&library, &question()).iter().any(|name| name == "token_f1"));
    assert_eq!(library.evidence(TASK, "token_f1"), None);
}

#[test]
fn a_tool_that_needs_a_reference_is_not_offered_for_a_prompt_without_one() {
    let library = Library::curated().unwrap();
    let bare = Example { reference: None, ..question() };
    let cards = eligible(&library, &bare, TASK);
    assert!(!cards.is_empty() && cards.iter().all(|c| !c.needs_reference), "{cards:?}");
}

/// Likeness to a reference pays a hedge or half of the answer, too.
#[test]
fn where_a_tool_tells_right_from_wrong_those_that_measure_likeness_are_not_offered() {
    let library = measured(&[("exact_match", Some(0.97)), ("token_f1", Some(0.99)), ("rouge_l", None)]);
    let offered = names(&library, &question());
    assert!(offered.iter().any(|name| name == "exact_match") && !offered.iter().any(|name| name == "token_f1"));
    assert!(offered.iter().any(|name| name == "rouge_l"), "nothing was measured of it: {offered:?}");
    assert!(offered.iter().any(|name| name == "concise"), "a constraint: {offered:?}");
    let poor = measured(&[("exact_match", Some(0.9)), ("token_f1", Some(0.92))]);
    assert!(names(&poor, &question()).iter().any(|name| name == "token_f1"), "it does not decide");
}

/// A policy that is not perfect yet learns nothing from a comparison that pays for the perfect reply only.
#[test]
fn where_replies_can_be_half_right_those_that_measure_likeness_are_offered() {
    let mut library = measured(&[("exact_match", Some(1.0)), ("token_f1", Some(0.99))]);
    let evidence = library.evidence(TASK, "exact_match").unwrap().clone();
    library.set_evidence(TASK, "exact_match", ToolEvidence { half_right_auc: Some(0.5), ..evidence });
    let offered = names(&library, &question());
    assert!(["exact_match", "token_f1"].iter().all(|tool| offered.iter().any(|name| name == tool)), "{offered:?}");
}
