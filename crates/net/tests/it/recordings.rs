//! Recording, replaying and caching of exchanges.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rlar_net::llm::{ChatReply, ChatRequest, Llm, LlmCache, LlmError, OpenAi, OpenAiSettings, Record, Replay};
use serde_json::json;

use crate::server::{KEY, ask, client, good, serve, settings};

#[test]
fn recorded_exchanges_are_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chats.jsonl");
    let (url, count) = serve(|n, _, _, s| good(s, &format!("answer {n}\nwith a second line")));
    let recorded: Vec<ChatReply> = {
        let record = Record::new(Arc::new(client(&url)), &path).unwrap();
        assert_eq!((record.name(), record.concurrency()), (client(&url).name(), 1));
        ["a", "b", "a"].map(|task| record.chat(&ask(task)).unwrap()).into()
    };
    // The third request was sent, but the file keeps the first reply; a second recorder finds it there.
    assert_eq!(count.load(Ordering::SeqCst), 3);
    Record::new(Arc::new(client(&url)), &path).unwrap().chat(&ask("b")).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 2);
    assert!(!text.contains(KEY) && text.contains("small at http://127.0.0.1"), "{text}");
    let replay = Replay::load(&path).unwrap();
    assert_eq!(replay.len(), 2);
    assert_eq!(replay.chat(&ask("a")).unwrap(), recorded[0]);
    assert_eq!(replay.chat(&ask("b")).unwrap(), recorded[1]);
    // White space, token limit, temperature and schema are no part of a request's identity.
    let mut other = ChatRequest { max_tokens: 1, temperature: 1.0, schema: Some(json!({})), ..ask("a") };
    other.messages[1].content = " Is\n a   right?\t".into();
    assert_eq!(replay.chat(&other).unwrap(), recorded[0]);
    assert_eq!(count.load(Ordering::SeqCst), 4);
}

#[test]
fn a_cached_request_is_sent_once_per_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chats.jsonl");
    let (url, count) = serve(|n, _, _, s| good(s, &format!("answer {n}")));
    let ask_twice = |cache: &LlmCache| {
        let [first, second] = [(); 2].map(|()| cache.chat(&ask("a")).unwrap());
        assert_eq!(first.text, second.text);
        assert_eq!((second.prompt_tokens, second.completion_tokens), (0, 0), "a cached reply counts no tokens");
        first.text
    };
    let first = ask_twice(&LlmCache::new(Arc::new(client(&url)), &path).unwrap());
    assert_eq!(ask_twice(&LlmCache::new(Arc::new(client(&url)), &path).unwrap()), first);
    assert_eq!(count.load(Ordering::SeqCst), 1);
    let other = OpenAiSettings { model: "large".into(), ..settings(&url) };
    let cache = LlmCache::new(Arc::new(OpenAi::new(other).unwrap()), &path).unwrap();
    assert_ne!(ask_twice(&cache), first);
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[test]
fn a_recording_that_was_cut_short_is_continued() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chats.jsonl");
    let (url, _) = serve(|_, _, _, s| good(s, "yes"));
    let model = Arc::new(client(&url));
    let record = Record::new(model.clone(), &path).unwrap();
    record.chat(&ask("a")).unwrap();
    let Err(LlmError::Replay { message }) = Record::new(model.clone(), &path) else { panic!("recorded twice at once") };
    assert!(message.contains("recorded into by another"), "{message}");
    drop(record);
    let whole = fs::read_to_string(&path).unwrap();
    // A last line without a line break is kept; half a line is removed.
    for (text, lines) in [(whole.trim_end().to_owned(), 2), (format!("{whole}{}", &whole[..40]), 2)] {
        fs::write(&path, text).unwrap();
        Record::new(model.clone(), &path).unwrap().chat(&ask("b")).unwrap();
        assert_eq!(Replay::load(&path).unwrap().len(), lines);
    }
    assert!(Record::new(model, &folder.path().join("chats.yaml")).is_err());
}

fn error_of(replay: &Replay, request: &ChatRequest) -> String {
    let Err(LlmError::Replay { message }) = replay.chat(request) else { panic!("it was recorded") };
    message
}

const CHATS: &str = r#"
- request: {role: judge, template: judge-1, task: a, messages: [{role: user, content: "Is this one right or wrong?"}]}
  reply: {text: "yes"}
- request: {role: judge, template: judge-1, task: b, messages: [{role: user, content: "Is that one right?"}]}
  reply: {text: "no", finish: length}
- request: {role: select, template: select-1, task: b, attempt: 1, messages: [{role: user, content: "Which?"}]}
  reply: {text: "third"}
"#;

#[test]
fn a_request_without_a_recording_shows_the_nearest_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chats.yaml");
    fs::write(&path, CHATS).unwrap();
    let replay = Replay::load(&path).unwrap();
    let mut request = ask("b");
    request.messages.remove(0);
    request.messages[0].content = "Is that one right?".into();
    assert_eq!(replay.chat(&request).unwrap().finish, "length");
    request.messages[0].content = "Is that two right?".into();
    let message = error_of(&replay, &request);
    for part in [r#"role "judge", template "judge-1", task "b", attempt 0"#, "nearest, item 2, differs in message 1"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(
        message.contains(r#"recorded "user: Is that one right?", requested "user: Is that two right?""#),
        "{message}"
    );
    // The role counts most, then the template, then the task, then the messages.
    request.messages[0].content = "Is this".into();
    request.task = "c".into();
    assert!(error_of(&replay, &request).contains(r#"nearest, item 1, differs in task (recorded "a"), message 1"#));
    request.role = "select".into();
    let message = error_of(&replay, &request);
    assert!(
        message.contains(r#"item 3, differs in template (recorded "select-1"), task (recorded "b"), attempt"#),
        "{message}"
    );
    fs::write(&path, "[]").unwrap();
    let empty = Replay::load(&path).unwrap();
    assert!(error_of(&empty, &request).contains("the file is empty"));
    assert_ne!(empty.name(), replay.name());
}

fn refused(path: &Path, text: &str) -> String {
    fs::write(path, text).unwrap();
    let Err(LlmError::Replay { message }) = Replay::load(path) else { panic!("the recording was accepted") };
    message
}

#[test]
fn invalid_and_ambiguous_recordings_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (jsonl, yaml) = (folder.path().join("chats.jsonl"), folder.path().join("chats.yml"));
    let line = |content: &str, text: &str| {
        let messages = json!([{"role": "user", "content": content}]);
        let request = json!({"role": "judge", "template": "judge-1", "task": "a", "attempt": 0, "messages": messages});
        json!({"request": request, "reply": {"text": text}}).to_string()
    };
    let twice = format!("{}\n\n{}\n", line("a b", "yes"), line("a  b", "no"));
    let message = refused(&jsonl, &twice);
    assert!(message.contains("chats.jsonl: line 3") && message.contains("another reply than in line 1"), "{message}");
    // The same reply twice is not ambiguous.
    fs::write(&jsonl, format!("{}\n{}\n", line("a", "yes"), line("a", "yes"))).unwrap();
    assert_eq!(Replay::load(&jsonl).unwrap().len(), 1);
    let broken = format!("{}\n{{\n", line("a", "yes"));
    assert!(refused(&jsonl, &broken).contains("chats.jsonl: line 2"));
    assert!(refused(&yaml, &format!("{CHATS}- {{}}")).contains("chats.yml: item 4: missing field `request`"));
    assert!(refused(&yaml, "a: b").contains("chats.yml: not a list of exchanges"));
    assert!(refused(&yaml, &CHATS.replacen("task", "taks", 1)).contains("item 1: "));
    assert!(matches!(Replay::load(&folder.path().join("none.jsonl")), Err(LlmError::Io { .. })));
}
