//! The log of every exchange.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use chrono::DateTime;
use rlar_net::llm::{ChatReply, Llm, LlmError, LlmLog, Secret};
use serde_json::Value;

use crate::server::{KEY, ask, calling, client, good, reply, serve};

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn successful_and_failed_exchanges_are_logged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("llm.jsonl");
    let (url, _) = serve(|n, _, _, s| match n {
        0 | 1 => good(s, "yes"),
        2 => reply(s, "200 OK", "", &calling("{}")),
        _ => reply(s, "400 Bad Request", "", &format!("{KEY} is bad")),
    });
    let log = LlmLog::new(Arc::new(client(&url)), &path).unwrap();
    assert_eq!((log.name(), log.concurrency()), (client(&url).name(), 1));
    let results: Vec<_> = ["a", "a", "b", "c"].iter().map(|task| log.chat(&ask(task))).collect();
    let kept = lines(&path);
    assert_eq!(kept.len(), 4, "the same request twice is two exchanges");
    for (line, result) in kept.iter().zip(&results) {
        let time = line["time"].as_str().unwrap();
        assert!(DateTime::parse_from_rfc3339(time).is_ok() && time.ends_with('Z'), "{time}");
        assert!(line["seconds"].as_f64().unwrap() > 0.0);
        assert_eq!(line["model"], log.name());
        let reply = line.get("reply").map(|r| serde_json::from_value::<ChatReply>(r.clone()).unwrap());
        assert_eq!(reply.as_ref(), result.as_ref().ok());
        assert_eq!(
            line.get("error").map(|e| e.as_str().unwrap()),
            result.as_ref().err().map(ToString::to_string).as_deref()
        );
    }
    assert_eq!(kept[0]["messages"], serde_json::to_value(ask("a").messages).unwrap());
    let head = ["role", "template", "task", "attempt"].map(|field| kept[3][field].to_string());
    assert_eq!(head, [r#""judge""#, r#""judge-1""#, r#""c""#, "0"]);
    assert!(kept[3]["error"].as_str().unwrap().contains("[secret] is bad"));
    assert!(!fs::read_to_string(&path).unwrap().contains(KEY));
}

#[test]
fn secrets_are_redacted_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("llm.jsonl");
    let secrets = ["hf_one", "hf_one_and_more", "qu\"ote\\", ""];
    let reply = r#"hf_one_and_more, hf_one, qu"ote\ and {"key": "qu\"ote\\"}"#;
    let (url, _) = serve(move |_, _, _, s| good(s, reply));
    let log = LlmLog::new(Arc::new(client(&url)), &path).unwrap().redacting(secrets.map(Secret::new).into());
    let mut request = ask("hf_one");
    request.messages[0].content = format!("{reply}{}", "x".repeat(100_000));
    assert_eq!(log.chat(&request).unwrap().text, reply, "the reply itself is not changed");
    let line = &lines(&path)[0];
    let clean = r#"[secret], [secret], [secret] and {"key": "[secret]"}"#;
    assert_eq!(line["reply"]["text"], clean);
    assert_eq!(line["messages"][0]["content"], format!("{clean}{}", "x".repeat(100_000)));
    assert_eq!(line["task"], "[secret]");
    assert!(!format!("{log:?}").contains("hf_one"));
}

/// A model that replies with the second message of the request.
#[derive(Debug)]
struct Echo;

impl Llm for Echo {
    fn chat(&self, request: &rlar_net::llm::ChatRequest) -> Result<ChatReply, LlmError> {
        let text = request.messages[1].content.clone();
        Ok(ChatReply { text, prompt_tokens: 1, completion_tokens: 1, finish: "stop".into(), calls: Vec::new() })
    }

    fn name(&self) -> String {
        "echo".into()
    }
}

#[test]
fn lines_of_many_writers_stay_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("llm.jsonl");
    // Two logs of one file, as two processes would open them.
    let logs = [(); 2].map(|()| LlmLog::new(Arc::new(Echo), &path).unwrap());
    std::thread::scope(|scope| {
        for n in 0..8 {
            let log = &logs[n % 2];
            scope.spawn(move || {
                for k in 0..50 {
                    log.chat(&ask(&format!("{n}-{k}-{}", "é".repeat(20_000 + n * 1000)))).unwrap();
                }
            });
        }
    });
    assert_eq!(lines(&path).len(), 400);
}

#[test]
fn a_bounded_log_keeps_the_newest_exchanges_in_two_files() {
    let folder = tempfile::tempdir().unwrap();
    let (path, before) = (folder.path().join("log.jsonl"), folder.path().join("log-before.jsonl"));
    let tasks =
        |path: &Path| lines(path).iter().map(|line| line["task"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let open = |limit| LlmLog::new(Arc::new(Echo), &path).unwrap().bounded(limit);
    open(u64::MAX).chat(&ask("0")).unwrap();
    let line = fs::metadata(&path).unwrap().len();
    assert!(!before.exists());
    // Seconds have up to twenty digits more or less, so a file for three lines and a half has room for three.
    let limit = 3 * line + line / 2;
    // Half way, another process goes on.
    for range in [1..5, 5..9] {
        let log = open(limit);
        for n in range {
            log.chat(&ask(&n.to_string())).unwrap();
            assert!(fs::metadata(&path).unwrap().len() <= limit);
        }
    }
    assert_eq!(
        (tasks(&before), tasks(&path)),
        (vec!["3".into(), "4".into(), "5".into()], vec!["6".into(), "7".into(), "8".into()])
    );
    // A line that is too large is not lost.
    open(10).chat(&ask("9")).unwrap();
    assert_eq!((tasks(&before).len(), tasks(&path)), (3, vec!["9".to_owned()]));
}

#[test]
fn a_line_that_was_cut_short_leaves_the_next_one_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("llm.jsonl");
    fs::write(&path, r#"{"time": "20"#).unwrap();
    LlmLog::new(Arc::new(Echo), &path).unwrap().chat(&ask("it")).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines[0]), (2, r#"{"time": "20"#));
    assert!(serde_json::from_str::<Value>(lines[1]).is_ok());
}

/// A writer that collects the program's own warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<u8>>>);

impl Write for Warnings {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_log_that_cannot_be_written_warns_once_and_the_chats_go_on() {
    let warnings = Warnings::default();
    let writer = warnings.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        // A device whose disk is always full.
        let log = LlmLog::new(Arc::new(Echo), Path::new("/dev/full")).unwrap();
        for _ in 0..3 {
            assert_eq!(log.chat(&ask("it")).unwrap().text, "Is it right?");
        }
    });
    let warnings = String::from_utf8(warnings.0.lock().unwrap().clone()).unwrap();
    assert_eq!(warnings.matches("/dev/full").count(), 1, "{warnings}");
    assert!(warnings.contains("No space left"), "{warnings}");
    assert!(matches!(LlmLog::new(Arc::new(Echo), Path::new("/no/such/folder/llm.jsonl")), Err(LlmError::Io { .. })));
}
