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
    // The domain, its label, the number of requests, and whether the builtin agent had to label.
    for (domain, label, requests, fell_back) in [
        ("plain", "translation", 1, false),
        ("chatty", "summarisation", 1, false),
        ("sums", "math", 1, false),
        ("torn", "riddle", 1, false),
        ("wordy", "letter counting", 2, false),
        ("miscounted", "code", 3, false),
        ("prose", "question answering", 2, false),
        ("refusing", "refusing", 3, true),
        ("truncated", "planning", 2, false),
        ("injected", "injected", 3, true),
        ("silent", "silent", 3, true),
        ("huge", "code", 2, false),
        ("german", "buchstaben zählen", 1, false),
        ("undecided", "cloze", 2, false),
        ("vague", "proof reading", 2, false),
        ("listed", "code", 3, false),
    ] {
        let agents = agents(exchanges("classify"));
        let examples = prompts_of(domain);
        let labels = agents.classify(&examples.iter().collect::<Vec<_>>());
        assert!(examples.iter().all(|e| labels.label_of(e) == label), "{domain}: {labels:?}");
        let counts = counts(&agents, "classify");
        assert_eq!((counts.requests, counts.repairs), (requests, requests - 1), "{domain}");
        assert_eq!(counts.fallbacks, u64::from(fell_back), "{domain}");
    }
}

#[test]
fn domains_that_mean_the_same_get_one_label() {
    let agents = agents(exchanges("classify"));
    let examples = [prompts_of("letters a"), prompts_of("letters b"), prompts_of("sums")].concat();
    let labels = agents.classify(&examples.iter().collect::<Vec<_>>());
    let by_declared_task: Vec<&str> = labels.by_declared_task.values().map(String::as_str).collect();
    assert_eq!(by_declared_task, ["letter counting", "letter counting", "math"]);
    assert_eq!(counts(&agents, "classify").requests, 3);
}

#[test]
fn the_order_of_the_examples_changes_no_label() {
    let mut examples =
        [prompts_of("letters b"), prompts_of("sums"), prompts_of("letters a"), prompts_of("torn")].concat();
    let label = |examples: &[Example]| agents(exchanges("classify")).classify(&examples.iter().collect::<Vec<_>>());
    let labels = label(&examples);
    examples.rotate_left(3);
    assert_eq!(label(&examples), labels);
}

#[test]
fn steps_are_kept_of_long_instructions_alone() {
    let mut examples = prompts_of("long");
    examples[0].messages[0].content = "Write a letter that thanks the reader. ".repeat(12);
    let steps =
        |examples: &[Example]| agents(exchanges("classify")).classify(&examples.iter().collect::<Vec<_>>()).steps;
    assert_eq!(steps(&examples)["letter writing"].len(), 3);
    assert!(steps(&prompts_of("short")).is_empty());
    assert!(steps(&prompts_of("restless")).is_empty(), "seven steps are too many, and a short instruction has none");
}

#[test]
fn prompts_without_a_domain_come_in_batches_and_the_steps_go_to_the_long_one() {
    let row = |i: usize| {
        let times = if i == 21 { 10 } else { 1 };
        json!({ "id": i.to_string(), "prompt": "Give a speech that greets the guests warmly. ".repeat(times) })
    };
    let examples = rows(&(0..23).map(row).collect::<Vec<_>>());
    let agents = agents(exchanges("classify"));
    let labels = agents.classify(&examples.iter().collect::<Vec<_>>());
    assert_eq!(counts(&agents, "classify").requests, 2);
    let label = |i: usize| labels.label_of(&examples[i]);
    assert_eq!(
        [label(0), label(19), label(20), label(21)],
        ["question answering", "recipe", "recipe", "speech writing"]
    );
    assert_eq!(labels.steps.keys().collect::<Vec<_>>(), ["speech writing"]);
}

#[test]
fn without_a_model_the_builtin_agent_labels_and_no_request_is_sent() {
    let agents = rlar_rewards::agents::Agents { llm: None, ..agents(exchanges("classify")) };
    let examples = prompts_of("refusing");
    let labels = agents.classify(&examples.iter().collect::<Vec<_>>());
    assert_eq!(labels.label_of(&examples[0]), "refusing");
    assert!(agents.usage().is_empty());
}
