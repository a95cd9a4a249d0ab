use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rlar_data::Example;
use rlar_net::llm::{ChatRequest, Llm, LlmError, OpenAi, OpenAiSettings, Secret};
use rlar_rewards::agents::{AgentEvent, Agents, VerifierCounts};
use rlar_rewards::{FetchReport, FetchRequest, Library, Status, fetch_rewards};
use serde_json::json;

use super::{Watched, exchanges, letters, rows, running};

/// Requests of a whole fetch.
const REQUESTS: usize = 11;

/// Fills a library for the counting of letters, with replies cached in the folder `cache`; returns the report and the messages.
fn fetch(library: &Path, cache: &Path, llm: Arc<dyn Llm>) -> (FetchReport, String) {
    fetch_for(&letters("letters"), library, &running(llm).with_cache(cache).unwrap())
}

/// Fills a library for some prompts; returns the report and the messages.
fn fetch_for(examples: &[Example], library: &Path, agents: &Agents) -> (FetchReport, String) {
    let request = FetchRequest { folder: library, examples, demonstrations: &[], sources: &[], always: &[] };
    let mut messages = String::new();
    let mut on_event = |event: AgentEvent| {
        if let AgentEvent::Message(message) = event {
            messages += &message;
            messages.push('\n');
        }
    };
    let report = fetch_rewards(&request, agents, &mut on_event).unwrap();
    (report, messages)
}

/// All files below a folder.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for path in fs::read_dir(next).unwrap().map(|e| e.unwrap().path()) {
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                found.insert(name, fs::read_to_string(path).unwrap());
            }
        }
    }
    found
}

/// A library and a cache of replies, in temporary folders.
struct Folders {
    library: tempfile::TempDir,
    cache: tempfile::TempDir,
}

impl Folders {
    fn new() -> Self {
        Self { library: tempfile::tempdir().unwrap(), cache: tempfile::tempdir().unwrap() }
    }

    fn fetch(&self, llm: Arc<dyn Llm>) -> (FetchReport, String) {
        fetch(self.library.path(), self.cache.path(), llm)
    }

    fn files(&self) -> BTreeMap<String, String> {
        files(self.library.path())
    }
}

fn unreachable() -> LlmError {
    LlmError::Deadline { address: "https://llm.example/v1".into(), message: "no answer within 60 s".into() }
}

fn spent() -> LlmError {
    LlmError::Budget("the budget is used up: 1000 of 1000 tokens in 4 requests; raise `rewards.llm.max_tokens`".into())
}

fn killed() -> LlmError {
    panic!("killed")
}

#[test]
fn a_fetch_writes_the_admitted_tools_and_reports_the_others() {
    let folders = Folders::new();
    let llm = Watched::new(exchanges("fetch"));
    let (report, messages) = folders.fetch(llm.clone());
    assert_eq!(llm.requests().len(), REQUESTS);
    assert_eq!(
        report.verifiers,
        VerifierCounts { written: 3, runnable: 2, admitted: 2, first_runnable: 1, wrappers: 0 }
    );
    let names: Vec<&str> = report.fetched.iter().map(|f| f.tool.as_str()).collect();
    assert_eq!(names, ["count_is_right", "last_number", "one_number"]);
    assert!(
        messages.contains("count_is_right, draft 2: admitted") && messages.contains("charm: not written"),
        "{messages}"
    );
    assert_eq!(report.usage["synthesise"].fallbacks, 1);
    let library = Library::load(folders.library.path()).unwrap();
    assert!(names.iter().all(|name| library.is_admitted(name)));
}

#[test]
fn a_finished_fetch_sends_no_request_and_changes_nothing_when_it_is_repeated() {
    let folders = Folders::new();
    let (first, _) = folders.fetch(exchanges("fetch"));
    let before = folders.files();
    let llm = Watched::new(exchanges("fetch"));
    let (second, _) = folders.fetch(llm.clone());
    assert!(llm.requests().is_empty() && folders.files() == before);
    assert_eq!(second.fetched, first.fetched);
}

#[test]
fn a_fetch_that_was_interrupted_anywhere_resumes_with_the_same_result() {
    let whole = Folders::new();
    whole.fetch(exchanges("fetch"));
    for from in 0..REQUESTS {
        for (how, kills) in [(unreachable as fn() -> LlmError, false), (killed, true)] {
            let folders = Folders::new();
            let first = Watched::failing(exchanges("fetch"), from, how);
            let ended = catch_unwind(AssertUnwindSafe(|| folders.fetch(first.clone())));
            assert_eq!(ended.is_err(), kills, "{from}");
            let second = Watched::new(exchanges("fetch"));
            folders.fetch(second.clone());
            let mut keys: Vec<String> =
                [first.requests(), second.requests()].concat().iter().map(ChatRequest::key).collect();
            keys.sort();
            keys.dedup();
            assert_eq!(
                first.requests().len() + second.requests().len(),
                keys.len(),
                "{from}: a request was sent twice"
            );
            assert_eq!(keys.len(), REQUESTS, "{from}");
            assert_eq!(folders.files(), whole.files(), "{from}");
        }
    }
}

#[test]
fn a_budget_that_ends_during_a_repair_leaves_the_finished_tools_and_is_reported() {
    let folders = Folders::new();
    let llm = Watched::failing(exchanges("fetch"), 7, spent);
    let (report, messages) = folders.fetch(llm);
    let names: Vec<&str> = report.fetched.iter().map(|f| f.tool.as_str()).collect();
    assert_eq!(names, ["last_number", "one_number"]);
    assert!(messages.contains("count_is_right: not written: the budget is used up"), "{messages}");
    assert!(messages.contains("raise `rewards.llm.max_tokens`"), "{messages}");
    assert!(!folders.library.path().join("refused").exists(), "an unanswered request does not reject the tool");
}

#[test]
fn an_expired_key_is_reported_and_the_builtin_agents_tools_are_written() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 8192]);
            let body = r#"{"error": {"message": "the key has expired", "code": "invalid_api_key"}}"#;
            let head = "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\nconnection: close";
            let _ = write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        }
    });
    let settings = OpenAiSettings {
        key: Some(Secret::new("sk-expired-long-ago")),
        deadline: Duration::from_secs(20),
        tries: 3,
        concurrency: 1,
        ..OpenAiSettings::new(format!("http://{address}/v1"), "m")
    };
    let folders = Folders::new();
    let (report, messages) = folders.fetch(Arc::new(OpenAi::new(settings).unwrap()));
    assert_eq!(report.fetched.iter().map(|f| f.tool.as_str()).collect::<Vec<_>>(), ["last_number"]);
    assert!(messages.contains("401") && !messages.contains("sk-expired"), "{messages}");
    let log = fs::read_to_string(folders.cache.path().join("agents.jsonl")).unwrap();
    assert!(log.contains("401") && !log.contains("sk-expired"), "{log}");
}

#[test]
fn a_tool_that_was_retired_or_edited_by_hand_stays_unchanged() {
    let folders = Folders::new();
    folders.fetch(exchanges("fetch"));
    let report = folders.library.path().join("count_is_right/admission.json");
    let mut admission: rlar_rewards::Admission = serde_json::from_str(&fs::read_to_string(&report).unwrap()).unwrap();
    admission.status = Status::Retired;
    fs::write(&report, serde_json::to_string(&admission).unwrap()).unwrap();
    let source = folders.library.path().join("one_number/verifier.py");
    fs::write(&source, fs::read_to_string(&source).unwrap() + "# mine\n").unwrap();
    let before = folders.files();
    folders.fetch(exchanges("fetch"));
    assert_eq!(folders.files(), before);
}

#[test]
fn a_refused_tool_without_its_reason_is_written_again() {
    let folders = Folders::new();
    let half = folders.library.path().join("refused/count_is_right");
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join("tool.yaml"), "name: cou").unwrap();
    let (report, _) = folders.fetch(exchanges("fetch"));
    assert!(report.fetched.iter().any(|f| f.tool == "count_is_right"));
}

#[test]
fn tools_that_agents_made_for_other_data_are_named_in_the_first_line() {
    let folders = Folders::new();
    for _ in 0..2 {
        let (_, messages) = folders.fetch(exchanges("fetch"));
        assert!(!messages.contains("other data"), "{messages}");
    }
    let sum = |n: u32| json!({ "prompt": format!("{n} + 5 ="), "reference": (n + 5).to_string(), "domain": "math" });
    let sums = rows(&(1..6).map(sum).collect::<Vec<_>>());
    let silent = running(Watched::failing(exchanges("fetch"), 0, unreachable));
    let builtin = Agents { llm: None, ..running(exchanges("fetch")) };
    for agents in [silent, builtin] {
        let (_, messages) = fetch_for(&sums, folders.library.path(), &agents);
        let first = messages.lines().next().unwrap_or_default();
        let named = "`count_is_right` (for letter counting), `one_number` (for letter counting). They stay";
        assert!(first.contains(named) && first.contains("to start anew"), "{messages}");
        assert!(!first.contains("last_number"), "a curated tool is not from agents: {first}");
    }
}
