use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rlar_data::Example;
use rlar_net::llm::{ChatReply, ChatRequest, Llm, LlmError};
use rlar_rewards::agents::Agents;
use rlar_rewards::agents::ask::Asker;
use rlar_rewards::agents::background::{Found, Request, Worker};
use rlar_rewards::monitor::{Breach, Sign};
use rlar_rewards::{Admission, CardCase, Library, Status};
use serde_json::json;

use super::{Watched, agents, exchanges, letters, rows, running};
use crate::scripted::scripted;

/// Never answers, and says when it is asked.
#[derive(Debug)]
struct Hanging {
    asked: Mutex<Sender<()>>,
    never: Mutex<Receiver<()>>,
}

impl Llm for Hanging {
    fn chat(&self, _: &ChatRequest) -> Result<ChatReply, LlmError> {
        self.asked.lock().unwrap().send(()).unwrap();
        let _ = self.never.lock().unwrap().recv();
        Err(LlmError::NotAsked)
    }

    fn name(&self) -> String {
        "hanging".into()
    }
}

#[test]
fn nobody_waits_for_a_language_model_that_hangs() {
    let ((asked, is_asked), (gate, never)) = (channel(), channel());
    let llm = Hanging { asked: Mutex::new(asked), never: Mutex::new(never) };
    let worker = Worker::start(agents(Arc::new(llm)), Library::curated().unwrap()).unwrap();
    worker.ask(Request::Select(letters("letters").into_iter().enumerate().collect()));
    is_asked.recv().unwrap();
    // The question hangs until the end of this test.
    assert!(worker.found().is_empty());
    worker.ask(Request::Select(letters("more").into_iter().enumerate().collect()));
    assert!(worker.found().is_empty() && worker.tally().is_empty());
    drop(worker);
    drop(gate);
}

/// Prompts of three domains, and one of a fourth that is the last.
fn prompts() -> Vec<(usize, Example)> {
    let row = |i: usize| match i % 3 {
        0 => {
            json!({ "id": i.to_string(), "prompt": format!("{i} + 1 ="), "reference": (i + 1).to_string(), "domain": "sums" })
        }
        1 => {
            json!({ "id": i.to_string(), "prompt": format!("Who was number {i}?"), "reference": "Ada", "domain": "trivia" })
        }
        _ => {
            json!({ "id": i.to_string(), "prompt": "Summarise it.", "reference": "A long text that says it.", "domain": "summary" })
        }
    };
    let mut all: Vec<_> = (0..300).map(row).collect();
    all.push(json!({ "id": "last", "prompt": "Capital of France?", "reference": "Paris", "domain": "capitals" }));
    rows(&all).into_iter().enumerate().collect()
}

/// Takes the first tool that is offered and is no constraint, for the whole task but where it is asked about the last prompt.
fn first_offered(request: &ChatRequest) -> String {
    let lines = request.messages[1].content.lines().filter_map(|l| l.strip_prefix("- ")?.split_once(" ("));
    let tool = lines.clone().find(|(_, about)| !about.starts_with("constraint")).unwrap().0;
    let whole = !request.messages[1].content.contains("Capital of France");
    json!({ "tools": [{ "tool": tool, "weight": 1.0 }], "task_decides": whole, "reason": "It is the first." })
        .to_string()
}

/// A domain whose name says nothing of its task is still offered the tools that suit what its prompts look like.
#[test]
fn a_tool_that_the_builtin_agent_would_choose_is_among_those_offered() {
    let llm = scripted(|request: &ChatRequest| {
        assert!(
            request.messages[1].content.contains("\n- numeric_match (correctness"),
            "{}",
            request.messages[1].content
        );
        Ok(first_offered(request))
    });
    let worker = Worker::start(agents(llm), Library::curated().unwrap()).unwrap();
    worker.ask(Request::Select(prompts()[..1].to_vec()));
    let found = all_found(&worker, |f| matches!(f, Found::Domain(..)));
    assert!(matches!(&found[..], [Found::Domain(name, _)] if name == "sums"), "{found:?}");
}

/// What a worker finds for the prompts, up to the last one.
fn found(agents: Agents, library: Library) -> Vec<Found> {
    let worker = Worker::start(agents, library).unwrap();
    worker.ask(Request::Select(prompts()));
    all_found(&worker, |f| matches!(f, Found::Prompt(300, _)))
}

/// What a worker finds until something is among it.
fn all_found(worker: &Worker, is_last: impl Fn(&Found) -> bool) -> Vec<Found> {
    let (mut all, began) = (Vec::new(), Instant::now());
    while !all.last().is_some_and(&is_last) {
        assert!(began.elapsed() < Duration::from_mins(5), "nothing more is found: {all:?}");
        all.extend(worker.found());
        std::thread::yield_now();
    }
    all
}

#[test]
fn three_hundred_prompts_of_three_tasks_take_three_questions() {
    let llm = scripted(|r| Ok(first_offered(r)));
    let found = found(agents(llm.clone()), Library::curated().unwrap());
    let domains: Vec<&str> =
        found.iter().filter_map(|f| if let Found::Domain(name, _) = f { Some(name.as_str()) } else { None }).collect();
    assert_eq!((domains, found.len()), (vec!["sums", "trivia", "summary"], 4));
    assert_eq!(llm.asked.load(Ordering::SeqCst), 4, "and one for the last prompt");
}

#[test]
fn a_choice_that_is_made_twice_in_a_row_holds_for_the_domain() {
    let llm = scripted(|r| Ok(first_offered(r).replace("true", "false")));
    let worker = Worker::start(agents(llm.clone()), Library::curated().unwrap()).unwrap();
    worker.ask(Request::Select(prompts()[..300].to_vec()));
    let found = all_found(&worker, |f| matches!(f, Found::Domain(name, _) if name == "summary"));
    assert!(matches!(&found[..3], [Found::Prompt(0, _), Found::Prompt(1, _), Found::Prompt(2, _)]), "{found:?}");
    assert!(found.len() == 6 && found[3..].iter().all(|f| matches!(f, Found::Domain(..))), "{found:?}");
}

#[test]
fn a_model_that_chooses_anew_for_every_prompt_is_asked_no_more_than_its_share() {
    let count = AtomicUsize::new(1);
    let llm = scripted(move |r: &ChatRequest| {
        let weight = 1.0 / count.fetch_add(1, Ordering::SeqCst) as f64;
        let answer = first_offered(r).replace("true", "false");
        Ok(answer.replace("\"weight\":1.0", &format!("\"weight\":{weight}")))
    });
    let worker = Worker::start(agents(llm.clone()), Library::curated().unwrap()).unwrap();
    worker.ask(Request::Select(prompts()));
    let mut found = Vec::new();
    while found.len() < 23 {
        found.extend(all_found(&worker, |_| true));
    }
    // A few at the beginning, and one for every hundred.
    worker.ask(Request::Select(prompts()[..100].to_vec()));
    found.extend(all_found(&worker, |_| true));
    assert!(found.len() == 24 && found.iter().all(|f| matches!(f, Found::Prompt(..))), "{found:?}");
    assert_eq!(llm.asked.load(Ordering::SeqCst), 24);
}

#[test]
fn a_new_tool_of_another_task_asks_nothing_again_and_neither_does_another_process() {
    let memory = tempfile::tempdir().unwrap();
    let mut library = Library::curated().unwrap();
    let first = found(agents(scripted(|r| Ok(first_offered(r)))).remembering(memory.path()).unwrap(), library.clone());
    let card = "name: chess\nkind: builtin\nbuiltin: exact_match\nrole: correctness\nmeasures: m\ntasks: [chess]\n\
                needs_reference: true\nrange: [0, 1]\norigin: test\n";
    library.add(Path::new("chess/tool.yaml"), card.into(), String::new(), None).unwrap();
    let identity = library.identity("chess").unwrap();
    let version = library.admission("exact_match").unwrap().version.clone();
    let admission =
        Admission { identity, version, llm: None, status: Status::Admitted, examples: 0, checks: Vec::new() };
    library.set_admission("chess", admission);
    assert!(library.is_admitted("chess"));
    let llm = scripted(|r| Ok(first_offered(r)));
    // The first worker lets go of the file once its thread has ended.
    let began = Instant::now();
    let again = loop {
        match agents(llm.clone()).remembering(memory.path()) {
            Ok(agents) => break agents,
            Err(e) => assert!(began.elapsed() < Duration::from_mins(1), "{e}"),
        }
        std::thread::yield_now();
    };
    let second = found(again, library);
    assert_eq!(llm.asked.load(Ordering::SeqCst), 0);
    assert_eq!(second, first);
}

#[test]
fn what_needs_a_reference_is_not_offered_to_a_prompt_without_one() {
    let offered = Arc::new(Mutex::new(Vec::new()));
    let seen = offered.clone();
    let llm = scripted(move |request: &ChatRequest| {
        seen.lock().unwrap().push(request.messages[1].content.clone());
        Ok(json!({ "tools": [{ "tool": "exact_match", "weight": 1 }], "task_decides": true, "reason": "r" })
            .to_string())
    });
    let worker = Worker::start(agents(llm.clone()), Library::curated().unwrap()).unwrap();
    let bare = json!({ "id": "bare", "prompt": "Capital of France?", "domain": "question answering" });
    let known = json!({ "id": "known", "prompt": "Capital of France?", "reference": "Paris", "domain": "capitals" });
    worker.ask(Request::Select(rows(&[bare, known]).into_iter().enumerate().collect()));
    let found = all_found(&worker, |f| matches!(f, Found::Domain(..)));
    assert!(found.iter().all(|f| matches!(f, Found::Domain(name, _) if name == "capitals")), "{found:?}");
    assert_eq!(worker.tally()["select"].fallbacks, 1);
    let offered = offered.lock().unwrap();
    assert!(offered[..offered.len() - 1].iter().all(|q| !q.contains("with a reference")), "{offered:?}");
}

fn breach(domain: &str) -> Breach {
    Breach {
        domain: domain.into(),
        sign: Sign::Hacking,
        step: 7,
        tools: vec!["last_number".into()],
        what: "the policy is paid for replies that an audit finds wrong".into(),
        figures: "4 of 10 audited replies".into(),
        overpaid: vec![CardCase {
            reply: "0 1 2 3 4".into(),
            good: false,
            prompt: "How many times does b occur in bo-ba-lu?".into(),
            reference: None,
            columns: serde_json::Map::new(),
        }],
    }
}

#[test]
fn a_breach_brings_a_new_tool_for_the_domain_and_a_page_that_tells_of_it() {
    let worker = Worker::start(running(exchanges("fetch")), Library::curated().unwrap()).unwrap();
    worker.ask(Request::Renew(breach("letters"), letters("letters")));
    let found = all_found(&worker, |f| matches!(f, Found::Renewed(_)));
    let Some(Found::Renewed(renewal)) = found.last() else { panic!("{found:?}") };
    let tool = renewal.tool.as_ref().unwrap();
    assert_eq!(tool.name, "count_is_right");
    assert!(tool.card.contains("0 1 2 3 4"), "the overpaid reply is a case of the new tool");
    let assignment = renewal.assignment.as_ref().unwrap();
    assert_eq!((assignment.example.as_str(), assignment.tools[0].tool.as_str()), ("letters", "count_is_right"));
    for said in ["# hacking of `letters` at step 7", "0 1 2 3 4", "version 1: ", "def compute_count_is_right"] {
        assert!(renewal.page.contains(said), "{said}: {}", renewal.page);
    }
}

#[test]
fn a_breach_without_a_new_tool_leaves_everything_as_it_is_and_says_so() {
    let llm = Watched::failing(exchanges("fetch"), 0, || LlmError::Budget("the budget is used up".into()));
    let worker = Worker::start(running(llm), Library::curated().unwrap()).unwrap();
    worker.ask(Request::Renew(breach("letters"), letters("letters")));
    let found = all_found(&worker, |f| matches!(f, Found::Renewed(_)));
    let Some(Found::Renewed(renewal)) = found.last() else { panic!("{found:?}") };
    assert!(renewal.tool.is_none() && renewal.assignment.is_none());
    assert!(renewal.page.contains("no new tool was admitted") && renewal.page.contains("the budget is used up"));
}

#[test]
fn without_a_language_model_the_worker_finds_nothing_and_does_not_end() {
    let agents = Agents { asker: None::<Asker>, ..running(exchanges("fetch")) };
    let worker = Worker::start(agents, Library::curated().unwrap()).unwrap();
    worker.ask(Request::Select(prompts()));
    worker.ask(Request::Renew(breach("letters"), letters("letters")));
    let found = all_found(&worker, |f| matches!(f, Found::Renewed(_)));
    assert!(matches!(&found[..], [Found::Renewed(r)] if r.tool.is_none()), "{found:?}");
}
