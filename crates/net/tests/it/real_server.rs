//! A real server and a real model: llama.cpp with SmolLM2, started by `scripts/chat-server.py`.
//!
//! `RLAR_MODELS` names the folder of models, `RLAR_CHAT_PYTHON` a Python that has `xllamacpp`; without the variable it
//! is the one that `just chat-python` installs.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rlar_net::llm::{ChatMessage, ChatReply, ChatRequest, Llm, LlmError, OpenAi, OpenAiSettings, Secret, chat_all};
use rlar_oracles::{model, needs_chat_python, needs_models};
use serde_json::{Value, json};

use crate::server::{KEY, ask, weather};

/// The longest wait for the server and for each chat, because small machines may be busy with other tests.
const TIMEOUT: Duration = Duration::from_mins(5);

/// A server process that is killed on drop. It also exits with this process, which closes its standard input.
struct ChatServer {
    child: Child,
    url: String,
}

impl Drop for ChatServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start() -> ChatServer {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let model = model!("SmolLM2-135M-Instruct.Q4_1.gguf");
    let python = match std::env::var_os("RLAR_CHAT_PYTHON").map(PathBuf::from) {
        // Tests run in their crate's folder; the variable is relative to the workspace.
        Some(path) if path.components().count() > 1 => root.join(path),
        // A bare name is looked up in PATH.
        Some(name) => name,
        None => root.join("target/chat-python/bin/python"),
    };
    let mut command = Command::new(&python);
    command.arg(root.join("scripts/chat-server.py")).arg(model).args(["--until-eof", "--slots", "2", "--template"]);
    command.arg(root.join("scripts/chatml-tools.jinja")).env("RLAR_CHAT_KEY", KEY);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut server = ChatServer { child, url: String::new() };
    let lines = BufReader::new(server.child.stdout.take().unwrap()).lines();
    let (send, first) = mpsc::channel();
    // Reads all lines, because a full pipe would block the server.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(send.send(line))));
    server.url = first.recv_timeout(TIMEOUT).expect("the server exited or printed no address in time");
    server
}

fn client(url: &str, key: &str) -> OpenAi {
    let settings = OpenAiSettings {
        key: Some(Secret::new(key)),
        deadline: TIMEOUT,
        first_token: TIMEOUT,
        next_token: TIMEOUT,
        tries: 1,
        concurrency: 2,
        ..OpenAiSettings::new(url, "SmolLM2-135M-Instruct.Q4_1")
    };
    OpenAi::new(settings).unwrap()
}

fn chat(turns: &[(&str, &str)], max_tokens: u32) -> ChatRequest {
    let say = |(role, content): &(&str, &str)| ChatMessage { role: (*role).into(), content: (*content).into() };
    ChatRequest { messages: turns.iter().map(say).collect(), max_tokens, temperature: 0.0, ..ask("it") }
}

fn show(what: &str, began: Instant, reply: &Result<ChatReply, LlmError>) {
    println!("{what} ({:.1} s): {reply:?}", began.elapsed().as_secs_f64());
}

#[needs_models]
#[needs_chat_python]
#[test]
fn a_real_server_answers() {
    let server = start();
    println!("serving at {}", server.url);
    let model = client(&server.url, KEY);
    let chat_and_show = |what: &str, request: &ChatRequest| {
        let began = Instant::now();
        let reply = model.chat(request);
        show(what, began, &reply);
        reply
    };

    let reply =
        chat_and_show("plain", &chat(&[("user", "What is the capital of France? Answer in one word.")], 16)).unwrap();
    assert!(!reply.text.trim().is_empty() && reply.prompt_tokens > 0 && reply.completion_tokens > 0);
    assert!(reply.calls.is_empty());

    let reply = chat_and_show("bounded", &chat(&[("user", "Count from one to a hundred, in words.")], 4)).unwrap();
    assert_eq!((reply.finish.as_str(), reply.completion_tokens), ("length", 4));

    let context = model.context();
    println!("context: {context:?}");
    assert!(context.is_some_and(|context| context >= 2048), "{context:?}");
    let mut tokens = Vec::new();
    let count = chat(&[("user", "Count from one to a hundred, in digits.")], 24);
    let reply = model.chat_with_progress(&count, &mut |progress| tokens.push(progress.tokens)).unwrap();
    println!("progress {tokens:?}: {reply:?}");
    assert!(tokens.len() > 1 && tokens.is_sorted());

    let mut form = chat(&[("user", "Is water wet? Grade the claim.")], 48);
    let grade = json!({"type": "string", "enum": ["right", "wrong"]});
    let fields = json!({"grade": grade, "sure": {"type": "boolean"}});
    let (kind, required) = ("object", ["grade", "sure"]);
    form.schema =
        Some(json!({"type": kind, "properties": fields, "required": required, "additionalProperties": false}));
    let reply = chat_and_show("schema", &form).unwrap();
    let graded: Value = serde_json::from_str(&reply.text).unwrap();
    assert!(["right", "wrong"].contains(&graded["grade"].as_str().unwrap()) && graded["sure"].is_boolean());
    assert_eq!(graded.as_object().unwrap().len(), 2);

    // Without examples, so small a model may reply with text instead of a call.
    let mut free = chat(&[("user", "What is the weather in Paris?")], 24);
    free.tools = vec![weather()];
    let reply = chat_and_show("functions", &free).unwrap();
    assert!(!reply.calls.is_empty() || !reply.text.is_empty());

    let call = |city: &str| {
        format!("<tool_call>\n{{\"name\": \"weather\", \"arguments\": {{\"city\": \"{city}\"}}}}\n</tool_call>")
    };
    let (rome, oslo) = (call("Rome"), call("Oslo"));
    let turns = [
        ("user", "What is the weather in Rome?"),
        ("assistant", &rome),
        ("user", "What is the weather in Oslo?"),
        ("assistant", &oslo),
        ("user", "What is the weather in Paris?"),
    ];
    let shown = ChatRequest { tools: vec![weather()], ..chat(&turns, 48) };
    let reply = chat_and_show("functions after two examples", &shown).unwrap();
    for call in &reply.calls {
        let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
        assert!(call.name == "weather" && arguments["city"].is_string(), "{call:?}");
    }
    assert!(!reply.calls.is_empty() || !reply.text.is_empty());

    let began = Instant::now();
    let replies = chat_all(&model, &["Say hello.", "Say goodbye."].map(|text| chat(&[("user", text)], 8)), &|| false);
    for reply in replies {
        show("two at once", began, &reply);
        assert!(!reply.unwrap().text.is_empty());
    }

    let began = Instant::now();
    let refused = client(&server.url, "another-key").chat(&chat(&[("user", "Hello")], 4));
    show("another key", began, &refused);
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("401") && refused.contains("does not accept the key"), "{refused}");

    let began = Instant::now();
    let refused = model.chat(&chat(&[("user", &"word ".repeat(4000))], 4));
    show("too long", began, &refused);
    let Err(LlmError::ContextTooLong { prompt_tokens, context: named, .. }) = refused else { panic!("it fits") };
    assert!(prompt_tokens > context && named == context, "{prompt_tokens:?} {named:?} {context:?}");
}
