//! The labels that the agents gave to prompts when they filled a library, in `tasks.json`, decide which tools later
//! prompts get.

use std::path::Path;
use std::sync::atomic::Ordering;

use rlar_data::Example;
use rlar_net::llm::ChatRequest;
use rlar_rewards::agents::background::{AgentRequest, AgentResult, BackgroundAgents};
use rlar_rewards::agents::classify::task_label;
use rlar_rewards::library::task_labels::{PromptLabel, TASKS};
use rlar_rewards::{Library, Orchestrator, OrchestratorConfig, RewardError};
use serde_json::{Value, json};

use super::{agents, rows};
use crate::scripted::scripted;

/// Questions that declare no task, and whose features show none.
fn questions() -> Vec<Example> {
    let row = |i: usize| json!({ "id": i.to_string(), "prompt": format!("Who was number {i}?") });
    rows(&(0..30).map(row).collect::<Vec<_>>())
}

fn translations() -> Vec<Example> {
    let row = |i: usize| json!({ "id": i.to_string(), "prompt": format!("Translate into German: number {i}"), "reference": format!("Nummer {i}") });
    rows(&(0..30).map(row).collect::<Vec<_>>())
}

/// A library of curated tools and one for conversations, filled for prompts with these labels.
fn library(folder: &Path, tools: &[&str], labels: &Value) -> Library {
    let curated = Library::curated().unwrap();
    for tool in tools {
        std::fs::create_dir(folder.join(tool)).unwrap();
        for (name, text) in curated.files(tool) {
            std::fs::write(folder.join(tool).join(name), text).unwrap();
        }
    }
    let card = json!({
        "name": "lively", "kind": "builtin", "builtin": "exact_match", "role": "quality", "measures": "Liveliness.",
        "tasks": ["dialogue"], "needs_reference": false, "range": [0, 1], "origin": "test",
    });
    std::fs::create_dir(folder.join("lively")).unwrap();
    std::fs::write(folder.join("lively/tool.yaml"), card.to_string()).unwrap();
    std::fs::write(folder.join(TASKS), labels.to_string()).unwrap();
    Library::load(folder).unwrap()
}

fn tool_of(library: Library, example: &Example) -> Result<String, RewardError> {
    let config = OrchestratorConfig { allow_unadmitted: true, ..OrchestratorConfig::default() };
    let context = agents(scripted(|_| Ok(String::new()))).context;
    let assignment = Orchestrator::new(library, context, config).choose(example)?;
    Ok(assignment.tools[0].tool.clone())
}

#[test]
fn a_prompt_gets_the_tools_of_the_label_that_it_was_given() {
    let questions = questions();
    let labelled = PromptLabel::new(&questions[0], "chat".into());
    let labels = json!({ "groups": [], "rows": [labelled] });
    let folder = tempfile::tempdir().unwrap();
    let library = library(folder.path(), &[], &labels);
    assert_eq!(task_label(&library, &questions[0]), "chat");
    assert_eq!(tool_of(library.clone(), &questions[0]).unwrap(), "lively");
    // Another prompt with the same id is another prompt.
    let other = Example { id: questions[0].id.clone(), ..questions[1].clone() };
    assert_eq!(task_label(&library, &other), "dialogue", "the builtin agent's label");
    let declared = Example { domain: Some("riddles".into()), ..questions[0].clone() };
    assert!(tool_of(library, &declared).is_err(), "what a prompt declares is not overruled");
}

#[test]
fn prompts_that_show_the_same_task_share_its_label() {
    let labels = json!({ "groups": [{ "group": "like translation", "label": "english to german" }], "rows": [] });
    let folder = tempfile::tempdir().unwrap();
    let library = library(folder.path(), &["chrf"], &labels);
    assert_eq!(task_label(&library, &translations()[7]), "english to german");
    assert_eq!(tool_of(library, &translations()[7]).unwrap(), "chrf", "the features find the tool");
}

#[test]
fn a_damaged_file_of_labels_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(TASKS), "{").unwrap();
    let error = Library::load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("tasks.json") && error.contains("delete the file"), "{error}");
}

/// Without a declared task all prompts have one domain, so that the label tells tasks apart.
#[test]
fn what_is_chosen_for_a_whole_task_is_asked_once_though_prompts_declare_none() {
    let labels = json!({ "groups": [{ "group": "like translation", "label": "translation" }], "rows": [] });
    let folder = tempfile::tempdir().unwrap();
    let library = library(folder.path(), &["chrf", "bleu"], &labels);
    let llm = scripted(|_: &ChatRequest| {
        Ok(json!({ "tools": [{ "tool": "bleu", "weight": 1 }], "task_decides": true, "reason": "r" }).to_string())
    });
    let background = BackgroundAgents::start(agents(llm.clone()), library).unwrap();
    let prompts = translations();
    background.submit(AgentRequest::SelectTools(prompts.iter().cloned().enumerate().collect()));
    let mut results = Vec::new();
    while results.len() < prompts.len() {
        results.extend(background.take_results());
        std::thread::yield_now();
    }
    for (i, (result, prompt)) in results.iter().zip(&prompts).enumerate() {
        let AgentResult::Prompt(index, assignment) = result else { panic!("{result:?}") };
        assert_eq!((*index, &assignment.example, assignment.tools[0].tool.as_str()), (i, &prompt.id, "bleu"));
    }
    assert_eq!(llm.asked.load(Ordering::SeqCst), 2, "one question, in two orders");
}
