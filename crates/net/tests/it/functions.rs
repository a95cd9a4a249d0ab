//! Function calling.

use std::fs;
use std::sync::{Arc, Mutex};

use rlar_net::llm::{
    Budget, ChatReply, ChatRequest, FunctionCall, Llm, LlmError, OpenAi, OpenAiSettings, Record, Replay,
};
use serde_json::{Value, json};

use crate::server::{ask, calling, client, good, reply, serve, settings, weather};

fn with_tools(task: &str) -> ChatRequest {
    ChatRequest { tools: vec![weather()], ..ask(task) }
}

#[test]
fn functions_are_offered_and_calls_come_back() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = seen.clone();
    let (url, _) = serve(move |_, _, body, s| {
        keep.lock().unwrap().push(serde_json::from_str::<Value>(body).unwrap());
        reply(s, "200 OK", "", &calling(r#"{"city": "Oslo"}"#));
    });
    let reply = client(&url).chat(&with_tools("it")).unwrap();
    let call = FunctionCall { name: "weather".into(), arguments: r#"{"city": "Oslo"}"#.into() };
    assert_eq!((reply.text.as_str(), reply.finish.as_str(), reply.calls), ("", "tool_calls", vec![call]));
    let body = &seen.lock().unwrap()[0];
    let function = serde_json::to_value(weather()).unwrap();
    assert_eq!(body["tools"], json!([{"type": "function", "function": function}]));
    assert_eq!(body["tool_choice"], "required");
}

#[test]
fn a_text_instead_of_a_call_is_accepted() {
    let (url, _) = serve(|_, _, _, s| good(s, "It rains."));
    let rain = client(&url).chat(&with_tools("it")).unwrap();
    assert_eq!((rain.text.as_str(), rain.calls.len()), ("It rains.", 0));
    let empty = r#"{"choices": [{"message": {"content": "yes", "tool_calls": []}}]}"#;
    let (url, _) = serve(move |_, _, _, s| reply(s, "200 OK", "", empty));
    assert_eq!(client(&url).chat(&with_tools("it")).unwrap().text, "yes");
}

#[test]
fn invalid_calls_are_an_error_that_says_why() {
    let one = json!({"function": {"name": "weather", "arguments": "{}"}});
    let cases = [
        (json!("weather"), "`choices[0].message.tool_calls` is not a list"),
        (json!([one, "weather"]), "call 2 of `choices[0].message.tool_calls` has no text as `function.name`"),
        (json!([{"function": {"name": "weather", "arguments": {"city": "Oslo"}}}]), "as `function.arguments`"),
        (json!([{"function": {"name": null, "arguments": "{}"}}]), "as `function.name`"),
        (json!(vec![one; 65]), "has 65 calls, more than 64"),
        (json!([]), "`choices[0].message.content` is null, not a text"),
    ];
    for (calls, why) in cases {
        let body = json!({"choices": [{"message": {"content": null, "tool_calls": calls}}]}).to_string();
        let (url, _) = serve(move |_, _, _, s| reply(s, "200 OK", "", &body));
        let failed = client(&url).chat(&with_tools("it")).unwrap_err();
        assert!(matches!(&failed, LlmError::Reply(message) if message.contains(why)), "{failed}");
    }
}

#[test]
fn estimates_count_functions_and_calls() {
    let (url, _) = serve(|_, _, _, s| reply(s, "200 OK", "", &calling("12345678")));
    let budget = Budget::default();
    let model = OpenAi::new(OpenAiSettings { budget: budget.clone(), ..settings(&url) }).unwrap();
    let reply = model.chat(&with_tools("it")).unwrap();
    let parameters = weather().parameters.to_string().len() as u64;
    assert_eq!((reply.prompt_tokens, reply.completion_tokens), (8 + 2 + 7 + parameters.div_ceil(4), 2 + 2));
    assert_eq!(budget.usage().tokens(), reply.prompt_tokens + reply.completion_tokens);
}

#[test]
fn calls_are_recorded_and_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chats.jsonl");
    let (url, _) = serve(|_, _, _, s| reply(s, "200 OK", "", &calling("{}")));
    let recorded = Record::new(Arc::new(client(&url)), &path).unwrap().chat(&with_tools("a")).unwrap();
    let replay = Replay::load(&path).unwrap();
    assert_eq!(replay.chat(&with_tools("a")).unwrap(), recorded);
    // Functions are no part of a request's identity.
    assert_eq!(replay.chat(&ask("a")).unwrap(), recorded);
    let text = fs::read_to_string(&path).unwrap();
    // Another call is another reply, and another reply gives the replay another name.
    let other = text.replace(r#""arguments":"{}""#, r#""arguments":"[]""#);
    fs::write(&path, &other).unwrap();
    assert_ne!(Replay::load(&path).unwrap().name(), replay.name());
    fs::write(&path, text + &other).unwrap();
    let Err(LlmError::Replay { message }) = Replay::load(&path) else { panic!("two replies to one request") };
    assert!(message.contains("another reply than in line 1"), "{message}");
}

#[test]
fn exchanges_without_functions_have_no_key_for_them() {
    let request = serde_json::to_value(ask("it")).unwrap();
    let reply: ChatReply = serde_json::from_str(r#"{"text": "yes"}"#).unwrap();
    assert!(request.get("tools").is_none() && serde_json::to_value(reply).unwrap().get("calls").is_none());
}
