use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rlar_data::Example;
use rlar_net::llm::{ChatReply, ChatRequest, Llm, LlmError};
use rlar_rewards::agents::Agents;
use rlar_rewards::agents::background::{AgentRequest, AgentResult, BackgroundAgents};
use rlar_rewards::agents::client::LlmClient;
use rlar_rewards::monitor::{DriftAlert, DriftSignal};
use rlar_rewards::{Admission, CardCase, Library, Status};
use serde_json::json;

use super::{Watched, agents, exchanges, letters, rows, running};
use crate::scripted::{fenced, scripted};

/// Never answers, and signals that a request has come.
#[derive(Debug)]
struct Hanging {
    called: Mutex<Sender<()>>,
    never: Mutex<Receiver<()>>,
}

impl Llm for Hanging {
    fn chat(&self, _: &ChatRequest) -> Result<ChatReply, LlmError> {
        self.called.lock().unwrap().send(()).unwrap();
        let _ = self.never.lock().unwrap().recv();
        Err(LlmError::Cancelled)
    }

    fn name(&self) -> String {
        "hanging".into()
    }
}

#[test]
fn a_language_model_that_hangs_blocks_no_caller() {
    let ((called, is_called), (gate, never)) = (channel(), channel());
    let llm = Hanging { called: Mutex::new(called), never: Mutex::new(never) };
    let background = BackgroundAgents::start(agents(Arc::new(llm)), Library::curated().unwrap()).unwrap();
    background.submit(AgentRequest::SelectTools(letters("letters").into_iter().enumerate().collect()));
    is_called.recv().unwrap();
    // The request hangs until the end of this test.
    assert!(background.take_results().is_empty());
    background.submit(AgentRequest::SelectTools(letters("more").into_iter().enumerate().collect()));
    assert!(background.take_results().is_empty() && background.usage().is_empty());
    drop(background);
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

/// Chooses the first offered tool by name that is not a constraint, for the whole task except for the last prompt.
fn first_offered(request: &ChatRequest) -> String {
    let lines = request.messages[1].content.lines().filter_map(|l| l.strip_prefix("- ")?.split_once(" ("));
    let tool = lines.filter(|(_, about)| !about.starts_with("constraint")).map(|(tool, _)| tool).min().unwrap();
    let whole = !request.messages[1].content.contains("Capital of France");
    json!({ "tools": [{ "tool": tool, "weight": 1.0 }], "task_decides": whole, "reason": "It is the first." })
        .to_string()
}

/// For a domain whose name is no task label, the candidates still include the tools that suit the features of its prompts.
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
    let background = BackgroundAgents::start(agents(llm), Library::curated().unwrap()).unwrap();
    background.submit(AgentRequest::SelectTools(prompts()[..1].to_vec()));
    let results = results_until(&background, |r| matches!(r, AgentResult::Domain(..)));
    assert!(matches!(&results[..], [AgentResult::Domain(name, _)] if name == "sums"), "{results:?}");
}

/// The reason of a choice.
fn why(result: &AgentResult) -> &str {
    match result {
        AgentResult::Prompt(_, assignment) | AgentResult::Domain(_, assignment) => &assignment.why,
        AgentResult::Replacement(_) => panic!("{result:?}"),
    }
}

/// The results for all prompts, up to the last one.
fn results_for(agents: Agents, library: Library) -> Vec<AgentResult> {
    let background = BackgroundAgents::start(agents, library).unwrap();
    background.submit(AgentRequest::SelectTools(prompts()));
    results_until(&background, |r| matches!(r, AgentResult::Prompt(300, _)))
}

/// Collects results until the latest one satisfies `is_last`.
fn results_until(background: &BackgroundAgents, is_last: impl Fn(&AgentResult) -> bool) -> Vec<AgentResult> {
    let (mut all, began) = (Vec::new(), Instant::now());
    while !all.last().is_some_and(&is_last) {
        assert!(began.elapsed() < Duration::from_mins(5), "no more results come: {all:?}");
        all.extend(background.take_results());
        std::thread::yield_now();
    }
    all
}

#[test]
fn three_hundred_prompts_of_three_tasks_take_three_choices() {
    let llm = scripted(|r| Ok(first_offered(r)));
    let results = results_for(agents(llm.clone()), Library::curated().unwrap());
    let domains: Vec<&str> = results
        .iter()
        .filter_map(|f| if let AgentResult::Domain(name, _) = f { Some(name.as_str()) } else { None })
        .collect();
    assert_eq!((domains, results.len()), (vec!["sums", "trivia", "summary"], 4));
    let settled = "settled for the whole task `sums`, because the language model says that the task alone decides: It is the first.";
    assert_eq!(why(&results[0]), settled);
    assert_eq!(why(&results[3]), "the language model chose for this prompt: It is the first.");
    assert_eq!(llm.asked.load(Ordering::SeqCst), 8, "two requests for each choice, and a choice for the last prompt");
}

#[test]
fn the_same_choice_twice_in_a_row_is_taken_for_the_whole_domain() {
    let llm = scripted(|r| Ok(first_offered(r).replace("true", "false")));
    let background = BackgroundAgents::start(agents(llm.clone()), Library::curated().unwrap()).unwrap();
    background.submit(AgentRequest::SelectTools(prompts()[..300].to_vec()));
    let results = results_until(&background, |r| matches!(r, AgentResult::Domain(name, _) if name == "summary"));
    assert!(
        matches!(&results[..3], [AgentResult::Prompt(0, _), AgentResult::Prompt(1, _), AgentResult::Prompt(2, _)]),
        "{results:?}"
    );
    assert!(results.len() == 6 && results[3..].iter().all(|r| matches!(r, AgentResult::Domain(..))), "{results:?}");
    assert_eq!(why(&results[0]), "the language model chose for this prompt: It is the first.");
    let settled =
        "settled for the whole task `sums`, because two prompts in a row got the same tools: It is the first.";
    assert_eq!(why(&results[3]), settled);
}

#[test]
fn a_model_that_never_decides_for_a_task_makes_a_limited_number_of_choices() {
    let count = AtomicUsize::new(1);
    let llm = scripted(move |r: &ChatRequest| {
        let weight = 1.0 / count.fetch_add(1, Ordering::SeqCst) as f64;
        let answer = first_offered(r).replace("true", "false");
        Ok(answer.replace("\"weight\":1.0", &format!("\"weight\":{weight}")))
    });
    let background = BackgroundAgents::start(agents(llm.clone()), Library::curated().unwrap()).unwrap();
    background.submit(AgentRequest::SelectTools(prompts()));
    let mut results = Vec::new();
    while results.len() < 23 {
        results.extend(results_until(&background, |_| true));
    }
    // A few at the beginning, and one for every hundred.
    background.submit(AgentRequest::SelectTools(prompts()[..100].to_vec()));
    results.extend(results_until(&background, |_| true));
    assert!(results.len() == 24 && results.iter().all(|r| matches!(r, AgentResult::Prompt(..))), "{results:?}");
    assert_eq!(llm.asked.load(Ordering::SeqCst), 48);
}

#[test]
fn cached_choices_outlive_a_new_tool_of_another_task_and_a_restart() {
    let cache = tempfile::tempdir().unwrap();
    let mut library = Library::curated().unwrap();
    let first =
        results_for(agents(scripted(|r| Ok(first_offered(r)))).with_cache(cache.path()).unwrap(), library.clone());
    let card = "name: chess\nkind: builtin\nbuiltin: exact_match\nrole: correctness\nmeasures: m\ntasks: [chess]\n\
                needs_reference: true\nrange: [0, 1]\norigin: test\n";
    library.add(Path::new("chess/tool.yaml"), card.into(), String::new(), None).unwrap();
    let identity = library.identity("chess").unwrap();
    let version = library.admission("exact_match").unwrap().version.clone();
    let admission = Admission {
        identity,
        version,
        llm: None,
        status: Status::Admitted,
        examples: 0,
        auc: None,
        half_right_auc: None,
        checks: Vec::new(),
    };
    library.set_admission("chess", admission);
    assert!(library.is_admitted("chess"));
    let llm = scripted(|r| Ok(first_offered(r)));
    // The first agents release the file when their thread ends.
    let began = Instant::now();
    let again = loop {
        match agents(llm.clone()).with_cache(cache.path()) {
            Ok(agents) => break agents,
            Err(e) => assert!(began.elapsed() < Duration::from_mins(1), "{e}"),
        }
        std::thread::yield_now();
    };
    let second = results_for(again, library);
    assert_eq!(llm.asked.load(Ordering::SeqCst), 0);
    assert_eq!(second, first);
}

#[test]
fn without_a_tool_that_can_judge_a_prompt_nothing_is_asked() {
    let prompts = Arc::new(Mutex::new(Vec::new()));
    let seen = prompts.clone();
    let llm = scripted(move |request: &ChatRequest| {
        seen.lock().unwrap().push(fenced(request, "prompt").to_owned());
        Ok(first_offered(request))
    });
    let background = BackgroundAgents::start(agents(llm.clone()), Library::curated().unwrap()).unwrap();
    // Without a reference only constraints are left.
    let bare = json!({ "id": "bare", "prompt": "Who was it?", "domain": "question answering" });
    let known = json!({ "id": "known", "prompt": "Who was she?", "reference": "Ada", "domain": "names" });
    background.submit(AgentRequest::SelectTools(rows(&[bare, known]).into_iter().enumerate().collect()));
    let results = results_until(&background, |r| matches!(r, AgentResult::Domain(..)));
    assert!(results.iter().all(|r| matches!(r, AgentResult::Domain(name, _) if name == "names")), "{results:?}");
    assert_eq!(background.usage()["select"].fallbacks, 1);
    assert_eq!(*prompts.lock().unwrap(), ["Who was she?", "Who was she?"]);
}

#[test]
fn cheap_tools_score_two_replies_to_the_prompt_before_a_choice_among_them() {
    let messages = Arc::new(Mutex::new(Vec::new()));
    let seen = messages.clone();
    let llm = scripted(move |request: &ChatRequest| {
        let message = request.messages[1].content.clone();
        seen.lock().unwrap().push((message, fenced(request, "wrong-reply").to_owned()));
        Ok(first_offered(request))
    });
    let background = BackgroundAgents::start(agents(llm.clone()), Library::curated().unwrap()).unwrap();
    background.submit(AgentRequest::SelectTools(prompts()[..1].to_vec()));
    results_until(&background, |r| matches!(r, AgentResult::Domain(..)));
    let messages = messages.lock().unwrap();
    assert!(messages[0].0.contains("\n- numeric_match: reference 1.00, wrong reply 0.00\n"), "{messages:?}");
    assert!(messages.len() == 2 && messages[0].1 == "2", "{messages:?}");
}

fn alert(domain: &str) -> DriftAlert {
    DriftAlert {
        domain: domain.into(),
        signal: DriftSignal::Hacking,
        step: 7,
        tools: vec!["last_number".into()],
        summary: "the policy is paid for replies that an audit finds wrong".into(),
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
fn an_alert_brings_a_new_tool_for_the_domain_and_a_report() {
    let background = BackgroundAgents::start(running(exchanges("fetch")), Library::curated().unwrap()).unwrap();
    background.submit(AgentRequest::ReplaceTools { alert: alert("letters"), examples: letters("letters") });
    let results = results_until(&background, |r| matches!(r, AgentResult::Replacement(_)));
    let Some(AgentResult::Replacement(replacement)) = results.last() else { panic!("{results:?}") };
    let tool = replacement.tool.as_ref().unwrap_or_else(|| panic!("{}", replacement.page));
    assert_eq!(tool.name, "count_is_right");
    assert!(tool.card.contains("0 1 2 3 4"), "the overpaid reply is a case of the new tool");
    let assignment = replacement.assignment.as_ref().unwrap();
    assert_eq!((assignment.example.as_str(), assignment.tools[0].tool.as_str()), ("letters", "count_is_right"));
    for text in ["# hacking of `letters` at step 7", "0 1 2 3 4", "draft 1: ", "def compute_count_is_right"] {
        assert!(replacement.page.contains(text), "{text}: {}", replacement.page);
    }
}

#[test]
fn an_alert_without_a_new_tool_changes_nothing_and_the_report_says_so() {
    let llm = Watched::failing(exchanges("fetch"), 0, || LlmError::Budget("the budget is used up".into()));
    let background = BackgroundAgents::start(running(llm), Library::curated().unwrap()).unwrap();
    background.submit(AgentRequest::ReplaceTools { alert: alert("letters"), examples: letters("letters") });
    let results = results_until(&background, |r| matches!(r, AgentResult::Replacement(_)));
    let Some(AgentResult::Replacement(replacement)) = results.last() else { panic!("{results:?}") };
    assert!(replacement.tool.is_none() && replacement.assignment.is_none());
    assert!(
        replacement.page.contains("no new tool was admitted") && replacement.page.contains("the budget is used up")
    );
}

#[test]
fn without_a_language_model_the_background_agents_find_nothing_and_do_not_end() {
    let agents = Agents { llm: None::<LlmClient>, ..running(exchanges("fetch")) };
    let background = BackgroundAgents::start(agents, Library::curated().unwrap()).unwrap();
    background.submit(AgentRequest::SelectTools(prompts()));
    background.submit(AgentRequest::ReplaceTools { alert: alert("letters"), examples: letters("letters") });
    let results = results_until(&background, |r| matches!(r, AgentResult::Replacement(_)));
    assert!(matches!(&results[..], [AgentResult::Replacement(r)] if r.tool.is_none()), "{results:?}");
}
