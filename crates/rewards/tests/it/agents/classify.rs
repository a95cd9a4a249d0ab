use rlar_data::Example;
use serde_json::json;

use super::{agents, counts, exchanges, rows};

/// Three prompts of a domain.
fn prompts_of(domain: &str) -> Vec<Example> {
    let row = |i| json!({ "id": format!("{domain}-{i}"), "prompt": format!("Question {i}?"), "domain": domain });
    rows(&(0..3).map(row).collect::<Vec<_>>())
}

#[test]
fn a_reply_is_used_or_repaired_or_the_builtin_agent_labels() {
    // The domain, its label, the number of requests, the repairs among them, and whether the builtin agent had to label.
    for (domain, label, requests, repairs, fell_back) in [
        ("plain", "translation", 3, 0, false),
        ("chatty", "summarisation", 3, 0, false),
        ("sums", "math", 3, 0, false),
        ("torn", "riddle", 3, 0, false),
        ("dialogue summary", "summarisation", 3, 0, false),
        ("wordy", "letter counting", 4, 1, false),
        ("refusing", "refusing", 6, 4, true),
        ("parrot", "parrot", 6, 4, true),
        ("numbered", "numbered", 6, 4, true),
        ("truncated", "planning", 4, 1, false),
        ("injected", "injected", 6, 4, true),
        ("silent", "silent", 6, 4, true),
        ("huge", "code", 4, 1, false),
        ("german", "buchstaben zählen", 3, 0, false),
        ("scattered", "scattered", 3, 0, true),
        ("vague", "proof reading", 4, 1, false),
    ] {
        let agents = agents(exchanges("classify"));
        let examples = prompts_of(domain);
        let labels = agents.classify(&examples.iter().collect::<Vec<_>>());
        assert!(examples.iter().all(|e| labels.label_of(e) == label), "{domain}: {labels:?}");
        let counts = counts(&agents, "classify");
        assert_eq!((counts.requests, counts.repairs), (requests, repairs), "{domain}");
        assert_eq!(counts.fallbacks, u64::from(fell_back), "{domain}");
    }
}

#[test]
fn a_known_task_that_prompts_declare_is_their_label_and_nothing_is_asked() {
    let agents = agents(exchanges("classify"));
    let examples = [prompts_of("code"), prompts_of("dialogue"), prompts_of("Math problems")].concat();
    let labels = agents.classify(&examples.iter().collect::<Vec<_>>());
    let found: Vec<String> = examples.iter().step_by(3).map(|e| labels.label_of(e)).collect();
    assert_eq!(found, ["code", "dialogue", "math"]);
    assert!(agents.usage().is_empty(), "{:?}", agents.usage());
}

#[test]
fn domains_that_mean_the_same_get_one_label() {
    let agents = agents(exchanges("classify"));
    let examples = [prompts_of("letters a"), prompts_of("letters b"), prompts_of("sums")].concat();
    let labels = agents.classify(&examples.iter().collect::<Vec<_>>());
    let by_declared_task: Vec<&str> = labels.by_declared_task.values().map(String::as_str).collect();
    assert_eq!(by_declared_task, ["letter counting", "letter counting", "math"]);
    assert_eq!(counts(&agents, "classify").requests, 9);
}

#[test]
fn the_order_of_the_groups_changes_no_label() {
    let mut examples =
        [prompts_of("letters b"), prompts_of("sums"), prompts_of("letters a"), prompts_of("torn")].concat();
    let label = |examples: &[Example]| agents(exchanges("classify")).classify(&examples.iter().collect::<Vec<_>>());
    let labels = label(&examples);
    examples.rotate_left(3);
    assert_eq!(label(&examples), labels);
}

#[test]
fn how_the_votes_fell_is_kept() {
    let examples = prompts_of("torn");
    let labels = agents(exchanges("classify")).classify(&examples.iter().collect::<Vec<_>>());
    let votes = &labels.votes[0];
    assert_eq!((votes.group.as_str(), votes.examples, votes.label.as_str()), ("torn", 3, "riddle"));
    assert_eq!(
        votes.answers.iter().map(|(label, n)| (label.as_str(), *n)).collect::<Vec<_>>(),
        [("code", 1), ("riddle", 2)]
    );
}

#[test]
fn steps_are_asked_of_long_instructions_alone() {
    let long = |domain: &str| {
        let mut examples = prompts_of(domain);
        examples[0].messages[0].content = "Write a letter that thanks the reader. ".repeat(12);
        examples
    };
    let steps =
        |examples: &[Example]| agents(exchanges("classify")).classify(&examples.iter().collect::<Vec<_>>()).steps;
    assert_eq!(steps(&long("long"))["letter writing"].len(), 3);
    assert!(steps(&prompts_of("short")).is_empty());
    let restless = &steps(&long("restless"))["letter writing"];
    assert!(restless.len() == 6 && restless.iter().all(|step| step.chars().count() < 210), "{restless:?}");
    assert!(steps(&long("single")).is_empty());
}

#[test]
fn prompts_that_show_no_task_are_labelled_one_by_one_where_the_answers_differ() {
    let row = |i: usize| json!({ "id": i.to_string(), "prompt": format!("Give {i} speeches.") });
    let examples = rows(&(0..7).map(row).collect::<Vec<_>>());
    let agents = agents(exchanges("classify"));
    let labels = agents.classify(&examples.iter().collect::<Vec<_>>());
    assert_eq!(counts(&agents, "classify").requests, 12);
    let found: Vec<String> = examples.iter().map(|e| labels.label_of(e)).collect();
    let (qa, speech) = ("question answering", "speech writing");
    assert_eq!(found, [qa, speech, qa, qa, speech, qa, qa], "the recipe is none, so the commonest label stands");
}

#[test]
fn without_a_model_the_builtin_agent_labels_and_no_request_is_sent() {
    let agents = rlar_rewards::agents::Agents { llm: None, ..agents(exchanges("classify")) };
    let examples = prompts_of("refusing");
    let labels = agents.classify(&examples.iter().collect::<Vec<_>>());
    assert_eq!(labels.label_of(&examples[0]), "refusing");
    assert!(agents.usage().is_empty());
}
