//! A chat server on loopback, and requests and settings for it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rlar_net::llm::{ChatMessage, ChatRequest, FunctionDefinition, OpenAi, OpenAiSettings, Secret};
use serde_json::{Value, json};

pub const KEY: &str = "sk-not-for-your-eyes";

/// Answers each request in a thread: `answer` gets the request's number, head and body, and the stream. Returns the
/// base address and the count of requests. The server tells nothing about itself.
pub fn serve(answer: impl Fn(usize, &str, &str, TcpStream) + Send + Sync + 'static) -> (String, Arc<AtomicUsize>) {
    serve_telling(|_| ("404 Not Found", String::new()), answer)
}

/// The paths at which a client asks for a server's limits.
pub const ABOUT: [&str; 2] = ["/props", "/v1/models"];

/// Serves like [`serve`]. What the server tells about itself is the status and the body that `about` gives for a path of
/// [`ABOUT`]; such requests are not counted.
pub fn serve_telling(
    about: impl Fn(&str) -> (&'static str, String) + Send + Sync + 'static,
    answer: impl Fn(usize, &str, &str, TcpStream) + Send + Sync + 'static,
) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/v1", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let (seen, about, answer) = (count.clone(), Arc::new(about), Arc::new(answer));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (seen, about, answer) = (seen.clone(), about.clone(), answer.clone());
            std::thread::spawn(move || {
                let (head, body) = request(&mut stream);
                let path = head.strip_prefix("GET ").and_then(|rest| rest.split(' ').next());
                if let Some(path) = path.filter(|path| ABOUT.contains(path)) {
                    let (status, told) = about(path);
                    return reply(stream, status, "", &told);
                }
                answer(seen.fetch_add(1, Ordering::SeqCst), &head, &body, stream);
            });
        }
    });
    (address, count)
}

/// Reads a request, over as many reads as it takes.
fn request(stream: &mut TcpStream) -> (String, String) {
    let (mut text, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let n = stream.read(&mut piece).unwrap_or(0);
        text.extend_from_slice(&piece[..n]);
        let whole = String::from_utf8_lossy(&text).into_owned();
        let (head, body) = whole.split_once("\r\n\r\n").unwrap_or((&whole, ""));
        let header = |l: &str| l.to_lowercase().strip_prefix("content-length:").map(|n| n.trim().parse().unwrap());
        let length: usize = head.lines().find_map(header).unwrap_or(0);
        if n == 0 || (whole.contains("\r\n\r\n") && body.len() >= length) {
            return (head.to_owned(), body.to_owned());
        }
    }
}

/// Sends a complete response; `more` are further header lines.
pub fn reply(mut stream: TcpStream, status: &str, more: &str, body: &str) {
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\n{more}content-length: {length}\r\nconnection: close\r\n\r\n{body}");
    let _ = stream.write_all(text.as_bytes());
}

/// The body of a chat's response.
pub fn answer(text: &str) -> String {
    json!({
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 30, "completion_tokens": 12},
    })
    .to_string()
}

pub fn good(stream: TcpStream, text: &str) {
    reply(stream, "200 OK", "", &answer(text));
}

/// The head of a streamed response.
pub const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

/// The event of a chunk with this delta.
pub fn delta(delta: &Value) -> String {
    format!("data: {}\n\n", json!({"model": "small", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]}))
}

/// The event of a chunk with a piece of text.
pub fn piece(text: &str) -> String {
    delta(&json!({"content": text}))
}

/// The events at the end of a streamed reply: the finish reason, the token counts and the end mark.
pub fn end(finish: &str) -> String {
    let last = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]});
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 12}});
    format!("data: {last}\n\ndata: {usage}\n\ndata: [DONE]\n\n")
}

/// Sends a streamed response and closes the connection.
pub fn stream(mut stream: TcpStream, events: &str) {
    let _ = stream.write_all(format!("{EVENTS}{events}").as_bytes());
}

/// Sends the beginning of a streamed response, and waits until the client closes the connection.
pub fn stream_and_wait(mut stream: TcpStream, events: &str) {
    let _ = stream.write_all(format!("{EVENTS}{events}").as_bytes());
    let _ = stream.read(&mut [0]);
}

pub fn settings(url: &str) -> OpenAiSettings {
    OpenAiSettings {
        key: Some(Secret::new(KEY)),
        deadline: Duration::from_mins(1),
        tries: 3,
        concurrency: 1,
        ..OpenAiSettings::new(url, "small")
    }
}

pub fn client(url: &str) -> OpenAi {
    OpenAi::new(settings(url)).unwrap()
}

pub fn ask(task: &str) -> ChatRequest {
    let say = |role: &str, content: &str| ChatMessage { role: role.into(), content: content.into() };
    ChatRequest {
        role: "judge".into(),
        template: "judge-1".into(),
        task: task.into(),
        attempt: 0,
        messages: vec![say("system", "You judge replies."), say("user", &format!("Is {task} right?"))],
        max_tokens: 64,
        temperature: 0.5,
        schema: None,
        tools: Vec::new(),
    }
}

pub fn weather() -> FunctionDefinition {
    let city = json!({"type": "string", "description": "The city's name."});
    FunctionDefinition {
        name: "weather".into(),
        description: "Tells the weather of a city.".into(),
        parameters: json!({"type": "object", "properties": {"city": city}, "required": ["city"]}),
    }
}

/// The body of a chat's response that calls a function.
pub fn calling(arguments: &str) -> String {
    let call = json!({"id": "1", "type": "function", "function": {"name": "weather", "arguments": arguments}});
    let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    json!({"choices": [{"message": message, "finish_reason": "tool_calls"}]}).to_string()
}
