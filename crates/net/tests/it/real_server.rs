//! A real server and a real model: llama.cpp and SmolLM2, by `scripts/chat-server.py`.
//!
//! `RLAR_MODELS` names the folder of models, `RLAR_CHAT_PYTHON` a Python that has `xllamacpp` (else `python3`).

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rlar_net::llm::{
    Budget, ChatMessage, ChatReply, ChatRequest, Llm, LlmError, OpenAi, OpenAiSettings, Secret, chat_all,
};
use serde_json::{Value, json};

use crate::server::{KEY, ask, weather};

/// The longest time until the server is ready, and for each chat: small machines may be busy with other tests.
const LONGEST: Duration = Duration::from_mins(5);

/// A server that ends when this is dropped. It also ends when this process does: its standard input is closed then.
struct Server {
    child: Child,
    url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a server, or prints why there is none.
fn start() -> Option<Server> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // Tests run in their crate's folder; the variables are relative to the workspace.
    let Some(models) = std::env::var_os("RLAR_MODELS") else {
        println!("skipped: RLAR_MODELS is not set");
        return None;
    };
    let model = root.join(models).join("SmolLM2-135M-Instruct.Q4_1.gguf");
    if !model.exists() {
        println!("skipped: {} is missing; scripts/fetch-smollm2.sh gets it", model.display());
        return None;
    }
    let python = match std::env::var_os("RLAR_CHAT_PYTHON").map(PathBuf::from) {
        // A bare name is looked for in the path.
        Some(path) if path.components().count() > 1 => root.join(path),
        Some(name) => name,
        None => "python3".into(),
    };
    let find = "import importlib.util, sys; sys.exit(importlib.util.find_spec('xllamacpp') is None)";
    if !Command::new(&python).args(["-c", find]).status().is_ok_and(|status| status.success()) {
        println!("skipped: {} has no xllamacpp; `just chat-python` installs it", python.display());
        return None;
    }
    let mut command = Command::new(&python);
    command.arg(root.join("scripts/chat-server.py")).arg(model).args(["--until-eof", "--slots", "2", "--template"]);
    command.arg(root.join("scripts/chatml-tools.jinja")).env("RLAR_CHAT_KEY", KEY);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut server = Server { child, url: String::new() };
    let lines = BufReader::new(server.child.stdout.take().unwrap()).lines();
    let (send, first) = mpsc::channel();
    // The reader goes on to the end: a full pipe would stop the server.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(send.send(line))));
    server.url = first.recv_timeout(LONGEST).expect("the server ended or printed no address in time");
    Some(server)
}

fn client(url: &str, key: &str) -> OpenAi {
    let key = Some(Secret::new(key));
    let (url, model, budget) = (url.into(), "SmolLM2-135M-Instruct.Q4_1".into(), Budget::default());
    OpenAi::new(OpenAiSettings { url, model, key, deadline: LONGEST, tries: 1, concurrency: 2, budget }).unwrap()
}

fn chat(turns: &[(&str, &str)], max_tokens: u32) -> ChatRequest {
    let say = |(role, content): &(&str, &str)| ChatMessage { role: (*role).into(), content: (*content).into() };
    ChatRequest { messages: turns.iter().map(say).collect(), max_tokens, temperature: 0.0, ..ask("it") }
}

fn show(what: &str, began: Instant, said: &Result<ChatReply, LlmError>) {
    println!("{what} ({:.1} s): {said:?}", began.elapsed().as_secs_f64());
}

#[test]
fn a_real_server_answers() {
    let Some(server) = start() else { return };
    println!("serving at {}", server.url);
    let model = client(&server.url, KEY);
    let asked = |what: &str, request: &ChatRequest| {
        let began = Instant::now();
        let said = model.chat(request);
        show(what, began, &said);
        said
    };

    let said = asked("plain", &chat(&[("user", "What is the capital of France? Answer in one word.")], 16)).unwrap();
    assert!(!said.text.trim().is_empty() && said.prompt_tokens > 0 && said.completion_tokens > 0);
    assert!(said.calls.is_empty());

    let said = asked("bounded", &chat(&[("user", "Count from one to a hundred, in words.")], 4)).unwrap();
    assert_eq!((said.finish.as_str(), said.completion_tokens), ("length", 4));

    let mut form = chat(&[("user", "Is water wet? Grade the claim.")], 48);
    let grade = json!({"type": "string", "enum": ["right", "wrong"]});
    let fields = json!({"grade": grade, "sure": {"type": "boolean"}});
    let (kind, required) = ("object", ["grade", "sure"]);
    form.schema =
        Some(json!({"type": kind, "properties": fields, "required": required, "additionalProperties": false}));
    let said = asked("schema", &form).unwrap();
    let graded: Value = serde_json::from_str(&said.text).unwrap();
    assert!(["right", "wrong"].contains(&graded["grade"].as_str().unwrap()) && graded["sure"].is_boolean());
    assert_eq!(graded.as_object().unwrap().len(), 2);

    // Nobody showed it how: so small a model may speak instead.
    let mut free = chat(&[("user", "What is the weather in Paris?")], 24);
    free.tools = vec![weather()];
    let said = asked("functions", &free).unwrap();
    assert!(!said.calls.is_empty() || !said.text.is_empty());

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
    let said = asked("functions after two examples", &shown).unwrap();
    for call in &said.calls {
        let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
        assert!(call.name == "weather" && arguments["city"].is_string(), "{call:?}");
    }
    assert!(!said.calls.is_empty() || !said.text.is_empty());

    let began = Instant::now();
    let said = chat_all(&model, &["Say hello.", "Say goodbye."].map(|text| chat(&[("user", text)], 8)), &|| false);
    for said in said {
        show("two at once", began, &said);
        assert!(!said.unwrap().text.is_empty());
    }

    let began = Instant::now();
    let refused = client(&server.url, "another-key").chat(&chat(&[("user", "Hello")], 4));
    show("another key", began, &refused);
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("401") && refused.contains("does not accept the key"), "{refused}");

    let began = Instant::now();
    let refused = model.chat(&chat(&[("user", &"word ".repeat(4000))], 4));
    show("too long", began, &refused);
    assert!(matches!(refused, Err(LlmError::Request { .. })));
}
