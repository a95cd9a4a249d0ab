//! Streamed replies: their pieces, and servers that break off, stall, repeat themselves or go on without end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use rlar_net::llm::{
    Budget, ChatProgress, ChatReply, ChatRequest, FunctionCall, Llm, LlmError, OpenAi, OpenAiSettings,
};
use serde_json::json;

use crate::server::{
    EVENTS, ask, client, delta, end, good, piece, reply, serve, settings, stream, stream_and_wait, weather,
};
use crate::traced::traced;

/// The longest wait for what must happen.
const SOON: Duration = Duration::from_secs(30);

/// The reply to a request, and the progress that was reported.
fn watched(model: &OpenAi, request: &ChatRequest) -> (Result<ChatReply, LlmError>, Vec<ChatProgress>) {
    let mut seen = Vec::new();
    let reply = model.chat_with_progress(request, &mut |progress| seen.push(progress));
    (reply, seen)
}

/// The reply to events that a server sends at once.
fn reply_to(events: String) -> Result<ChatReply, LlmError> {
    let (url, _) = serve(move |_, _, _, s| stream(s, &events));
    client(&url).chat(&ask("it"))
}

#[test]
fn a_streamed_reply_is_put_together_and_its_progress_is_reported() {
    let events = [
        ": wait\n\n".to_owned(),
        delta(&json!({"role": "assistant", "content": ""})),
        delta(&json!({"reasoning_content": "Let me see."})),
        piece("Größe").replace('\n', "\r\n"),
        "event: message\nid: 7\n".to_owned() + &piece(" — 2 µm"),
        // One chunk over two lines of data.
        "data: {\"choices\":\ndata: [{\"delta\": {\"content\": \" 🙂\"}}]}\n\n".to_owned(),
        end("stop"),
    ];
    let bytes = (EVENTS.to_owned() + &events.concat()).into_bytes();
    // Every byte by itself, so that characters are split.
    let (url, _) = serve(move |_, _, _, mut s| {
        s.set_nodelay(true).unwrap();
        for byte in &bytes {
            let _ = s.write_all(&[*byte]);
        }
    });
    let (reply, seen) = watched(&client(&url), &ask("it"));
    let reply = reply.unwrap();
    assert_eq!((reply.text.as_str(), reply.finish.as_str()), ("Größe — 2 µm 🙂", "stop"));
    assert_eq!((reply.prompt_tokens, reply.completion_tokens), (30, 12));
    let reasoning: Vec<bool> = seen.iter().map(|progress| progress.is_reasoning).collect();
    assert_eq!(reasoning, [true, false, false, false]);
    assert!(seen.is_sorted_by(|a, b| a.tokens < b.tokens && a.seconds <= b.seconds), "{seen:?}");
    assert!(seen[0].seconds < 1.0, "the time is counted from the first token");
}

#[test]
fn a_stream_without_counts_finish_or_end_is_accepted_as_far_as_it_is_complete() {
    // Four pieces of one byte each: servers send a token in each piece.
    let pieces: String = ["1", "2", "3", "4"].map(piece).concat();
    let reply = reply_to(pieces.clone() + "data: [DONE]\n\n").unwrap();
    assert_eq!((reply.text.as_str(), reply.finish.as_str(), reply.completion_tokens), ("1234", "", 4));
    let last = "data: {\"choices\": [{\"delta\": {}, \"finish_reason\": \"length\"}]}";
    let reply = reply_to(pieces.clone() + last).unwrap();
    assert_eq!((reply.text.as_str(), reply.finish.as_str(), reply.prompt_tokens), ("1234", "length", 8));
    // A server that has said why the reply ended, and then keeps the connection.
    let (url, _) = serve(move |_, _, _, s| stream_and_wait(s, &format!("{pieces}{last}\n\n")));
    assert_eq!(client(&url).chat(&ask("it")).unwrap().text, "1234");
}

#[test]
fn a_reply_of_reasoning_alone_is_empty() {
    let thought = delta(&json!({"content": null, "reasoning": "Hm."})) + &end("length");
    let reply_of_stream = reply_to(thought).unwrap();
    let message = json!({"content": null, "reasoning_content": "Hm."});
    let body = json!({"choices": [{"message": message, "finish_reason": "length"}]}).to_string();
    let (url, _) = serve(move |_, _, _, s| reply(s, "200 OK", "", &body));
    for reply in [reply_of_stream, client(&url).chat(&ask("it")).unwrap()] {
        assert_eq!((reply.text.as_str(), reply.finish.as_str()), ("", "length"));
    }
}

#[test]
fn a_reply_that_ignores_the_schema_comes_back_as_it_is() {
    let (url, _) = serve(|_, _, _, s| stream(s, &(piece("Sure! {\"grade\": ") + &end("stop"))));
    let request = ChatRequest { schema: Some(json!({"type": "object"})), ..ask("it") };
    assert_eq!(client(&url).chat(&request).unwrap().text, "Sure! {\"grade\": ");
}

#[test]
fn calls_are_put_together_by_index_or_by_name() {
    let call = |index: Option<u64>, id: Option<&str>, name: Option<&str>, arguments: &str| {
        let function = json!({"name": name, "arguments": arguments});
        let mut call = json!({"id": id, "function": function});
        if let Some(index) = index {
            call["index"] = index.into();
        }
        delta(&json!({"tool_calls": [call]}))
    };
    let name = Some("weather");
    let by_index = [
        call(Some(0), Some("a"), name, ""),
        call(Some(0), None, None, "{\"city\": "),
        call(Some(1), Some("b"), name, "{\"city\": \"Oslo\"}"),
        call(Some(0), None, None, "\"Rome\"}"),
    ];
    // One server gives no index, another the same one to all calls.
    let [by_name, by_id] = [None, Some(0)].map(|index| {
        let second = call(index, Some("b"), name, "{\"city\": ") + &call(index, None, None, "\"Oslo\"}");
        [call(index, Some("a"), name, "{\"city\": \"Rome\"}"), second]
    });
    for events in [by_index.concat(), by_name.concat(), by_id.concat()] {
        let (url, _) = serve(move |_, _, _, s| stream(s, &format!("{events}{}", end("tool_calls"))));
        let reply = client(&url).chat(&ChatRequest { tools: vec![weather()], ..ask("it") }).unwrap();
        let call = |city: &str| FunctionCall { name: "weather".into(), arguments: format!("{{\"city\": \"{city}\"}}") };
        assert_eq!((reply.text.as_str(), reply.finish.as_str()), ("", "tool_calls"));
        assert_eq!(reply.calls, [call("Rome"), call("Oslo")]);
    }
}

#[test]
fn invalid_chunks_are_an_error_without_a_retry() {
    let half =
        [b"data: {\"choices\": [{\"delta\": {\"content\": \"Gr\xC3".as_slice(), b"\"}}]}\n\n".as_slice()].concat();
    let cases = [
        (half, "not UTF-8"),
        (b"data: {\"choices\": [\n\n".to_vec(), "not JSON"),
        (delta(&json!({"content": ["a"]})).into_bytes(), "`content` in a chunk is a list, not a text"),
        (delta(&json!({"tool_calls": "a"})).into_bytes(), "is a text, not a list"),
        (b"data: [DONE]\n\n".to_vec(), "`choices[0].message.content` is null, not a text"),
    ];
    for (events, why) in cases {
        let (url, count) = serve(move |_, _, _, mut s| {
            let _ = s.write_all(&[EVENTS.as_bytes(), &events].concat());
        });
        let failed = client(&url).chat(&ask("it")).unwrap_err();
        assert!(matches!(&failed, LlmError::Reply(message) if message.contains(why)), "{failed}");
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn a_reply_that_is_broken_off_is_asked_for_again_and_what_came_of_it_is_charged() {
    let pieces: String = ["a", "b", "c"].map(piece).concat();
    // The last event breaks off within a character.
    let half = [pieces.as_bytes(), b"data: {\"choices\": [{\"delta\": {\"content\": \"Gr\xC3"].concat();
    for beginning in [pieces.into_bytes(), half] {
        let broken = beginning.clone();
        let (url, count) = serve(move |n, _, _, mut s| match n {
            0 => s.write_all(&[EVENTS.as_bytes(), &broken].concat()).unwrap(),
            _ => good(s, "yes"),
        });
        let budget = Budget::default();
        let model = OpenAi::new(OpenAiSettings { budget: budget.clone(), ..settings(&url) }).unwrap();
        assert_eq!(model.chat(&ask("it")).unwrap().text, "yes");
        assert_eq!(count.load(Ordering::SeqCst), 2);
        let usage = budget.usage();
        // The prompt of the first try is estimated as 8 tokens.
        assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.requests), (8 + 30, 3 + 12, 2));
        let (url, _) = serve(move |_, _, _, mut s| s.write_all(&[EVENTS.as_bytes(), &beginning].concat()).unwrap());
        let model = OpenAi::new(OpenAiSettings { tries: 1, ..settings(&url) }).unwrap();
        let failed = model.chat(&ask("it")).unwrap_err().to_string();
        assert!(failed.contains("closed the connection in mid-answer after 3 tokens"), "{failed}");
    }
}

#[test]
fn an_error_in_mid_answer_is_retried_unless_it_is_about_the_request() {
    let temporary = [r#"data: {"error": {"message": "out of memory"}}"#, r#"error: {"code": 500, "message": "oh"}"#];
    for error in temporary {
        let (url, count) = serve(move |n, _, _, s| match n {
            0 => stream(s, &format!("{}{error}\n\n", piece("a"))),
            _ => stream(s, &(piece("yes") + &end("stop"))),
        });
        assert_eq!(client(&url).chat(&ask("it")).unwrap().text, "yes");
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }
    let final_error = r#"{"error": {"code": 400, "message": "no such grammar"}}"#;
    let events = format!("data: {final_error}\n\n");
    let (streaming, streaming_count) = serve(move |_, _, _, s| stream(s, &events));
    let (whole, whole_count) = serve(move |_, _, _, s| reply(s, "200 OK", "", final_error));
    for (url, count) in [(streaming, streaming_count), (whole, whole_count)] {
        let failed = client(&url).chat(&ask("it")).unwrap_err();
        assert!(
            matches!(&failed, LlmError::Request { message, .. } if message.contains("no such grammar")),
            "{failed}"
        );
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }
}

/// A server that sends the beginning of a stream and nothing more. The receiver hears when the client closes the
/// connection.
fn stalling(events: String) -> (String, mpsc::Receiver<()>) {
    let (send, closed) = mpsc::channel();
    let send = Mutex::new(send);
    let (url, _) = serve(move |_, _, _, s| {
        stream_and_wait(s, &events);
        let _ = send.lock().unwrap().send(());
    });
    (url, closed)
}

#[test]
fn a_server_that_sends_a_token_a_minute_is_given_up_and_sees_the_connection_close() {
    let (url, closed) = stalling(piece("one"));
    let budget = Budget::default();
    let next_token = Duration::from_millis(100);
    let limits = OpenAiSettings { next_token, tries: 1, budget: budget.clone(), ..settings(&url) };
    let model = OpenAi::new(limits).unwrap();
    let failed = model.chat(&ask("it")).unwrap_err().to_string();
    assert!(failed.contains("within 0.1 s after 1 token; raise `rewards.llm.next_token`"), "{failed}");
    closed.recv_timeout(SOON).unwrap();
    assert_eq!((budget.usage().prompt_tokens, budget.usage().completion_tokens), (8, 1));
}

#[test]
fn a_server_that_sends_no_first_token_is_given_up_and_sees_the_connection_close() {
    // Neither a comment nor the author of the reply is a token.
    let (streaming, streaming_closed) = stalling(": wait\n\n".to_owned() + &delta(&json!({"role": "assistant"})));
    let (send, silent_closed) = mpsc::channel();
    let send = Mutex::new(send);
    let (silent, _) = serve(move |_, _, _, mut s| {
        let _ = s.read(&mut [0]);
        let _ = send.lock().unwrap().send(());
    });
    for (url, closed) in [(streaming, streaming_closed), (silent, silent_closed)] {
        let first_token = Duration::from_millis(100);
        let model = OpenAi::new(OpenAiSettings { first_token, tries: 1, ..settings(&url) }).unwrap();
        let failed = model.chat(&ask("it")).unwrap_err().to_string();
        assert!(failed.contains("no token within 0.1 s; raise `rewards.llm.first_token`"), "{failed}");
        closed.recv_timeout(SOON).unwrap();
    }
}

#[test]
fn a_server_that_does_not_stream_has_the_time_of_the_first_token_for_its_whole_reply() {
    let (url, _) = serve(|_, _, _, mut s| {
        let _ = s.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{");
        let _ = s.read(&mut [0]);
    });
    let first_token = Duration::from_millis(100);
    let model = OpenAi::new(OpenAiSettings { first_token, tries: 1, ..settings(&url) }).unwrap();
    let failed = model.chat(&ask("it")).unwrap_err().to_string();
    assert!(failed.contains("no complete answer within 0.1 s; raise `rewards.llm.first_token`"), "{failed}");
}

#[test]
fn the_deadline_closes_the_connection_in_mid_answer() {
    let (url, closed) = stalling(piece("one"));
    let model = OpenAi::new(OpenAiSettings { deadline: Duration::from_millis(500), ..settings(&url) }).unwrap();
    assert!(matches!(model.chat(&ask("it")), Err(LlmError::Deadline { .. })));
    closed.recv_timeout(SOON).unwrap();
}

/// Sends pieces until the client closes the connection, and says so.
fn endless(mut s: TcpStream, first: &str, next: impl Fn(usize) -> String, closed: &Mutex<mpsc::Sender<()>>) {
    let _ = s.write_all(format!("{EVENTS}{first}").as_bytes());
    let mut n = 0;
    while s.write_all(next(n).as_bytes()).is_ok() {
        n += 1;
    }
    let _ = closed.lock().unwrap().send(());
}

#[test]
fn a_reply_that_repeats_itself_without_end_is_cut_after_the_first_unit() {
    let in_reasoning: fn(&str) -> String = |text| delta(&json!({"reasoning_content": text}));
    for (say, text) in [(piece as fn(&str) -> String, "Well: the same"), (in_reasoning, "")] {
        let (send, closed) = mpsc::channel();
        let send = Mutex::new(send);
        let (url, count) = serve(move |_, _, _, s| endless(s, &say("Well: "), |_| say("the same "), &send));
        let long = ChatRequest { max_tokens: 10_000, ..ask("it") };
        let reply = client(&url).chat(&long).unwrap();
        assert_eq!((reply.text.as_str(), reply.finish.as_str()), (text, "repetition"));
        assert!(reply.completion_tokens < 1000, "{}", reply.completion_tokens);
        closed.recv_timeout(SOON).unwrap();
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }
    let call = |arguments: &str| {
        delta(&json!({"tool_calls": [{"index": 0, "function": {"name": "weather", "arguments": arguments}}]}))
    };
    let (send, _closed) = mpsc::channel();
    let send = Mutex::new(send);
    let (url, _) = serve(move |_, _, _, s| endless(s, &call("{\"city\": \""), |_| call("Oslo, "), &send));
    let long = ChatRequest { max_tokens: 10_000, tools: vec![weather()], ..ask("it") };
    let reply = client(&url).chat(&long).unwrap();
    assert_eq!((reply.finish.as_str(), reply.calls[0].arguments.as_str()), ("repetition", "{\"city\": \"Oslo, "));
}

#[test]
fn a_server_that_ignores_the_limit_of_tokens_is_cut() {
    let (send, closed) = mpsc::channel();
    let send = Mutex::new(send);
    let (url, _) = serve(move |_, _, _, s| endless(s, "", |n| piece(&format!("{n} ")), &send));
    let reply = client(&url).chat(&ask("it")).unwrap();
    assert!(reply.text.starts_with("0 1 2 3 ") && reply.finish == "length", "{reply:?}");
    assert!((64..400).contains(&reply.completion_tokens), "{}", reply.completion_tokens);
    closed.recv_timeout(SOON).unwrap();
}

#[test]
fn a_change_of_the_model_is_warned_of_once() {
    let (url, _) = serve(|n, _, _, s| {
        let model = if n < 2 { "small-1" } else { "small-2" };
        let chunk = json!({"model": model, "choices": [{"delta": {"content": "yes"}, "finish_reason": "stop"}]});
        // Streamed or not, the reply names the model.
        let message = json!({"model": model, "choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]});
        if n % 2 == 0 { stream(s, &format!("data: {chunk}\n\n")) } else { reply(s, "200 OK", "", &message.to_string()) }
    });
    let model = client(&url);
    let name = model.name();
    let ((), log) = traced(|| {
        for task in ["a", "b", "c", "d"] {
            assert_eq!(model.chat(&ask(task)).unwrap().text, "yes");
        }
    });
    assert_eq!(log.matches("has changed its model from small-1 to small-2").count(), 1, "{log}");
    assert_eq!(model.name(), name, "caches and recordings keep their keys");
}
