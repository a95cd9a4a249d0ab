//! Prompts that list instructions in the form of `IFEval`: what they ask for is scored beside the tools of their task.

use std::path::Path;

use rlar_data::{Completion, Example, Needs, read_examples};
use rlar_rewards::agents::eligible::eligible;
use rlar_rewards::{Assignment, CombineAs, Library, Orchestrator, OrchestratorConfig, Outcome};
use serde_json::{Value, json};

use crate::{context, curated, with_config};

/// A prompt with the columns of `row` that asks for a reply in double quotes.
fn quoted(mut row: Value) -> Example {
    row["instruction_id_list"] = json!(["startend:quotation"]);
    row["kwargs"] = json!([{}]);
    read(&row)
}

fn read(row: &Value) -> Example {
    read_examples(Path::new("x.jsonl"), row.to_string().as_bytes(), Needs::Prompt).unwrap().remove(0)
}

/// The tools of an example with their weights.
fn tools(rewards: &Orchestrator, example: &Example) -> Vec<(String, f64)> {
    rewards.choose(example).unwrap().tools.into_iter().map(|t| (t.tool, t.weight)).collect()
}

fn chosen_by(by: &str, weight: f64) -> Assignment {
    let tools = serde_json::from_value(json!([{ "tool": "token_f1", "weight": weight }])).unwrap();
    Assignment { example: "talk".into(), tools, by: by.into(), why: "a test".into() }
}

#[test]
fn what_a_prompt_lists_is_scored_beside_the_tool_of_its_task() {
    let rewards = curated();
    for row in [
        json!({ "prompt": "12 + 30 =", "reference": "42" }),
        json!({ "prompt": "12 + 30 =", "reference": "42", "domain": "sums" }),
        json!({ "prompt": "Translate the words: a dog", "reference": "ein Hund" }),
        json!({ "prompt": "Name the capital of France.", "reference": "Paris" }),
        json!({ "prompt": "Write f.", "tests": ["assert f(1) == 2"] }),
    ] {
        let plain = tools(&rewards, &read(&row));
        let [(tool, 1.0)] = &plain[..] else { panic!("without instructions: {row}: {plain:?}") };
        assert_ne!(tool, "instructions");
        let both = [(tool.clone(), 1.0), ("instructions".to_owned(), 1.0)];
        assert_eq!(tools(&rewards, &quoted(row.clone())), both, "{row}");
    }
}

#[test]
fn instructions_are_the_task_of_a_prompt_that_has_nothing_else_to_judge_by() {
    let rewards = curated();
    let alone = [("instructions".to_owned(), 1.0)];
    let long = "Rivers carry water from the mountains to the sea.";
    for row in
        [json!({ "prompt": "Write about rivers." }), json!({ "prompt": "Write about rivers.", "reference": long })]
    {
        assert_eq!(tools(&rewards, &quoted(row.clone())), alone, "{row}");
    }
    let mut empty = json!({ "prompt": "Write about rivers.", "reference": long, "kwargs": [] });
    empty["instruction_id_list"] = json!([]);
    assert_eq!(tools(&rewards, &read(&empty)), tools(&rewards, &read(&json!({ "prompt": "p", "reference": long }))));
}

#[test]
fn they_are_added_to_what_agents_choose_for_a_domain_and_not_to_what_a_person_gives() {
    let row = json!({ "prompt": "Hello?", "reference": "Hello, friend.", "domain": "talk" });
    let (plain, with_list) = (read(&row), quoted(row));
    let mut rewards = curated();
    rewards.assign_domain("talk", chosen_by("some-model", 0.5));
    assert_eq!(tools(&rewards, &plain), [("token_f1".to_owned(), 0.5)]);
    assert_eq!(tools(&rewards, &with_list), [("token_f1".to_owned(), 0.5), ("instructions".to_owned(), 0.5)]);
    for by in ["config", "suite"] {
        rewards.assign_domain("talk", chosen_by(by, 0.5));
        assert_eq!(tools(&rewards, &with_list), [("token_f1".to_owned(), 0.5)], "{by}");
    }
    rewards.assign_domain("talk", chosen_by("some-model", 0.5));
    rewards.suspend("instructions");
    assert_eq!(tools(&rewards, &with_list), [("token_f1".to_owned(), 0.5)], "suspended");
}

#[test]
fn they_are_scored_alone_where_no_tool_of_the_task_may_score() {
    let mut rewards = curated();
    let row = json!({ "prompt": "Name the capital of France.", "reference": "Paris" });
    let others: Vec<String> = rewards.library().cards().map(|card| card.name.clone()).collect();
    others.iter().filter(|name| *name != "instructions").for_each(|name| rewards.suspend(name));
    assert!(rewards.choose(&read(&row)).is_err());
    let assignment = rewards.choose(&quoted(row)).unwrap();
    assert_eq!((assignment.tools[0].tool.as_str(), assignment.tools.len()), ("instructions", 1));
    assert!(assignment.why.contains("no tool of the library"), "{}", assignment.why);
}

#[test]
fn what_always_says_of_them_holds() {
    let always = serde_json::from_value(json!([{ "tool": "instructions", "as": "gate" }])).unwrap();
    let config = OrchestratorConfig { always, ..OrchestratorConfig::default() };
    let rewards = with_config(Library::curated().unwrap(), context(), config);
    let assignment = rewards.choose(&quoted(json!({ "prompt": "12 + 30 =", "reference": "42" }))).unwrap();
    let [number, rule] = &assignment.tools[..] else { panic!("{assignment:?}") };
    assert_eq!(
        (number.tool.as_str(), rule.tool.as_str(), rule.combine),
        ("numeric_match", "instructions", CombineAs::Gate)
    );
}

#[test]
fn the_language_model_is_not_asked_whether_they_count() {
    let library = Library::curated().unwrap();
    let names = |example: &Example, task: &str| -> Vec<String> {
        eligible(&library, example, task).into_iter().map(|card| card.name.clone()).collect()
    };
    let sum = quoted(json!({ "prompt": "12 + 30 =", "reference": "42" }));
    assert!(!names(&sum, "instructions").contains(&"instructions".to_owned()), "{:?}", names(&sum, "instructions"));
    let open = quoted(json!({ "prompt": "Write about rivers." }));
    assert!(names(&open, "controlled generation").contains(&"instructions".to_owned()), "they are its task");
}

#[test]
fn both_scores_count_in_the_reward() {
    let mut rewards = curated();
    let sum = quoted(json!({ "prompt": "12 + 30 =", "reference": "42" }));
    rewards.assign(&sum).unwrap();
    let replies = ["\"42\"", "42", "\"41\"", "41"].map(Completion::whole);
    let items: Vec<(&Example, &Completion)> = replies.iter().map(|reply| (&sum, reply)).collect();
    let scores = rewards.score(&items).unwrap();
    let totals: Vec<Option<f64>> = scores.iter().map(rlar_rewards::Scores::total).collect();
    assert_eq!(totals, [Some(2.0), Some(1.0), Some(1.0), Some(0.0)]);
    assert!(scores.iter().flat_map(|s| &s.tools).all(|s| matches!(s.outcome, Outcome::Scored(_))));
}

#[test]
fn whether_an_instruction_is_followed_is_no_matter_of_learned_weights() {
    let library = Library::curated().unwrap();
    let card = library.card("instructions").unwrap();
    assert!(!card.is_fuzzy() && !card.is_verifier(), "it neither shares weights nor decides alone");
}
