use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rlar_net::llm::{Budget, ChatRequest, Llm, LlmError, OpenAi, OpenAiSettings, Secret};
use rlar_rewards::agents::News;
use rlar_rewards::{Library, Report, Status, Wanted, fetch_rewards};

use super::{Watched, exchanges, letters, running};

/// Questions of the whole fetch.
const QUESTIONS: usize = 8;

/// Fills a library for the counting of letters, with what the folder `memory` remembers; gives the report and what was said.
fn fetch(library: &Path, memory: &Path, llm: Arc<dyn Llm>) -> (Report, String) {
    let examples = letters("letters");
    let wanted = Wanted { folder: library, examples: &examples, shown: &[], sources: &[], always: &[] };
    let agents = running(llm).remembering(memory).unwrap();
    let mut said = String::new();
    let mut tell = |news: News| {
        if let News::Line(line) = news {
            said += &line;
            said.push('\n');
        }
    };
    let report = fetch_rewards(&wanted, &agents, &mut tell).unwrap();
    (report, said)
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

struct Place(tempfile::TempDir, tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap())
    }

    fn fetch(&self, llm: Arc<dyn Llm>) -> (Report, String) {
        fetch(self.0.path(), self.1.path(), llm)
    }

    fn files(&self) -> BTreeMap<String, String> {
        files(self.0.path())
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
fn a_fetch_writes_the_tools_that_were_admitted_and_says_what_became_of_the_others() {
    let place = Place::new();
    let llm = Watched::new(exchanges("fetch"));
    let (report, said) = place.fetch(llm.clone());
    assert_eq!(llm.asked().len(), QUESTIONS);
    assert_eq!(report.written, [3, 2, 2]);
    let names: Vec<&str> = report.fetched.iter().map(|f| f.tool.as_str()).collect();
    assert_eq!(names, ["count_is_right", "last_number", "one_number"]);
    assert!(said.contains("count_is_right, version 2: admitted") && said.contains("charm: not written"), "{said}");
    assert_eq!(report.tally["synthesise"].fallbacks, 1);
    let library = Library::load(place.0.path()).unwrap();
    assert!(names.iter().all(|name| library.is_admitted(name)));
}

#[test]
fn a_finished_fetch_asks_nothing_and_changes_nothing_when_it_is_run_again() {
    let place = Place::new();
    let (first, _) = place.fetch(exchanges("fetch"));
    let before = place.files();
    let llm = Watched::new(exchanges("fetch"));
    let (second, _) = place.fetch(llm.clone());
    assert!(llm.asked().is_empty() && place.files() == before);
    assert_eq!(second.fetched, first.fetched);
}

#[test]
fn a_fetch_that_ended_anywhere_goes_on_and_ends_as_an_unbroken_one() {
    let whole = Place::new();
    whole.fetch(exchanges("fetch"));
    for from in 0..QUESTIONS {
        for (how, kills) in [(unreachable as fn() -> LlmError, false), (killed, true)] {
            let place = Place::new();
            let first = Watched::failing(exchanges("fetch"), from, how);
            let ended = catch_unwind(AssertUnwindSafe(|| place.fetch(first.clone())));
            assert_eq!(ended.is_err(), kills, "{from}");
            let second = Watched::new(exchanges("fetch"));
            place.fetch(second.clone());
            let mut keys: Vec<String> = [first.asked(), second.asked()].concat().iter().map(ChatRequest::key).collect();
            keys.sort();
            keys.dedup();
            assert_eq!(first.asked().len() + second.asked().len(), keys.len(), "{from}: something was asked twice");
            assert_eq!(keys.len(), QUESTIONS, "{from}");
            assert_eq!(place.files(), whole.files(), "{from}");
        }
    }
}

#[test]
fn a_budget_that_ends_while_a_tool_is_mended_leaves_the_finished_ones_and_says_so() {
    let place = Place::new();
    let llm = Watched::failing(exchanges("fetch"), 4, spent);
    let (report, said) = place.fetch(llm);
    let names: Vec<&str> = report.fetched.iter().map(|f| f.tool.as_str()).collect();
    assert_eq!(names, ["last_number", "one_number"]);
    assert!(said.contains("count_is_right: not written: the budget is used up"), "{said}");
    assert!(said.contains("raise `rewards.llm.max_tokens`"), "{said}");
    assert!(!place.0.path().join("refused").exists(), "what nobody answered about is not given up");
}

#[test]
fn a_key_that_expired_is_named_and_the_builtin_agents_tools_are_there() {
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
        url: format!("http://{address}/v1"),
        model: "m".into(),
        key: Some(Secret::new("sk-expired-long-ago")),
        deadline: Duration::from_secs(20),
        tries: 3,
        concurrency: 1,
        budget: Budget::default(),
    };
    let place = Place::new();
    let (report, said) = place.fetch(Arc::new(OpenAi::new(settings).unwrap()));
    assert_eq!(report.fetched.iter().map(|f| f.tool.as_str()).collect::<Vec<_>>(), ["last_number"]);
    assert!(said.contains("401") && !said.contains("sk-expired"), "{said}");
    let log = fs::read_to_string(place.1.path().join("agents.jsonl")).unwrap();
    assert!(log.contains("401") && !log.contains("sk-expired"), "{log}");
}

#[test]
fn a_tool_that_a_person_retired_or_changed_stays_as_it_is() {
    let place = Place::new();
    place.fetch(exchanges("fetch"));
    let report = place.0.path().join("count_is_right/admission.json");
    let mut admission: rlar_rewards::Admission = serde_json::from_str(&fs::read_to_string(&report).unwrap()).unwrap();
    admission.status = Status::Retired;
    fs::write(&report, serde_json::to_string(&admission).unwrap()).unwrap();
    let source = place.0.path().join("one_number/verifier.py");
    fs::write(&source, fs::read_to_string(&source).unwrap() + "# mine\n").unwrap();
    let before = place.files();
    place.fetch(exchanges("fetch"));
    assert_eq!(place.files(), before);
}

#[test]
fn a_refused_tool_whose_reason_was_never_written_is_not_taken_for_done() {
    let place = Place::new();
    let half = place.0.path().join("refused/count_is_right");
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join("tool.yaml"), "name: cou").unwrap();
    let (report, _) = place.fetch(exchanges("fetch"));
    assert!(report.fetched.iter().any(|f| f.tool == "count_is_right"));
}
