//! Endless responses, expired keys and used-up budgets.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rlar_net::llm::{Budget, Llm, LlmError, LlmLimits, OpenAi, OpenAiSettings, Secret, chat_all};

use crate::server::{EVENTS, ask, client, good, reply, serve, settings};

/// Sends a head, then the same piece repeatedly until the client disconnects.
fn repeat(mut stream: TcpStream, head: &str, piece: &str, pause: Duration) {
    let _ = stream.write_all(head.as_bytes());
    while stream.write_all(piece.as_bytes()).is_ok() {
        std::thread::sleep(pause);
    }
}

/// An event that says nothing of a reply.
const NOTE: &str = "data: {\"id\": \"and so on\"}\n\n";

#[test]
fn an_endless_stream_without_a_reply_ends_at_the_limit_or_the_deadline() {
    let many = NOTE.repeat(1000);
    let (url, count) = serve(move |_, _, _, s| repeat(s, EVENTS, &many, Duration::ZERO));
    let failed = client(&url).chat(&ask("it")).unwrap_err();
    assert!(matches!(&failed, LlmError::Reply(message) if message.contains("longer than 8 MiB")), "{failed}");
    assert_eq!(count.load(Ordering::SeqCst), 1);
    let (url, _) = serve(|_, _, _, s| repeat(s, EVENTS, NOTE, Duration::from_millis(20)));
    ends_in_time(&url);
}

/// Chats with a deadline of half a second: the result must be an error, and soon.
fn ends_in_time(url: &str) -> LlmError {
    let model = OpenAi::new(OpenAiSettings { deadline: Duration::from_millis(500), ..settings(url) }).unwrap();
    let began = Instant::now();
    let failed = model.chat(&ask("it")).unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(10), "{failed}");
    failed
}

#[test]
fn endless_headers_and_error_bodies_end_too() {
    let status = "HTTP/1.1 200 OK\r\n";
    let refusal = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n";
    let slow = Duration::from_millis(20);
    let (url, _) = serve(move |_, _, _, s| repeat(s, status, "x-more: yes\r\n", Duration::ZERO));
    ends_in_time(&url);
    let (url, _) = serve(move |_, _, _, s| repeat(s, status, "x-more: yes\r\n", slow));
    ends_in_time(&url);
    let (url, _) = serve(move |_, _, _, s| repeat(s, "", "HTTP/1.1 100 Continue\r\n\r\n", slow));
    ends_in_time(&url);
    let (url, _) = serve(move |_, _, _, s| repeat(s, refusal, &"no ".repeat(10_000), Duration::ZERO));
    let failed = client(&url).chat(&ask("it")).unwrap_err().to_string();
    assert!(failed.contains("400") && failed.len() < 450, "{failed}");
}

#[test]
fn a_response_nested_too_deeply_is_not_json() {
    let (url, _) = serve(|_, _, _, s| reply(s, "200 OK", "", &"[".repeat(1 << 20)));
    let failed = client(&url).chat(&ask("it")).unwrap_err();
    assert!(matches!(&failed, LlmError::Reply(message) if message.contains("not JSON")), "{failed}");
}

#[test]
fn a_key_that_expires_is_final_and_says_what_to_do() {
    // Any variable that is set; cargo sets this one for every test.
    let variable = "CARGO_MANIFEST_DIR";
    let value = std::env::var(variable).unwrap();
    let advice = [
        (Secret::from_env(variable), format!("does not accept the key in {variable}: set a valid one")),
        (Some(Secret::new(&value)), "does not accept the key: give a valid one".into()),
        (Some(Secret::new(" ")), "no key was sent: set the environment variable with it, `OPENAI_API_KEY` unless `rewards.llm.key` names another".into()),
        (None, "no key was sent".into()),
    ];
    for (key, advice) in advice {
        let refusal = format!(r#"{{"error": {{"message": "{value} has expired"}}}}"#);
        let secret = key.as_ref().is_some_and(|k| *k != Secret::new(""));
        let (url, count) = serve(move |n, _, _, s| match n {
            0 => good(s, "yes"),
            _ => reply(s, "401 Unauthorized", "", &refusal),
        });
        let model = OpenAi::new(OpenAiSettings { key, ..settings(&url) }).unwrap();
        assert_eq!(model.chat(&ask("a")).unwrap().text, "yes");
        let failed = model.chat(&ask("b")).unwrap_err();
        let shown = format!("{failed} {failed:?} {model:?}");
        assert!(matches!(failed, LlmError::Request { .. }) && shown.contains(&advice), "{shown}");
        assert!(!secret || (!shown.contains(&value) && shown.contains("[secret] has expired")), "{shown}");
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }
    assert_eq!(Secret::from_env("RLAR_NO_SUCH_VARIABLE"), None);
}

#[test]
fn a_used_up_budget_stops_the_next_request_and_the_next_try() {
    let limits = LlmLimits { max_tokens: Some(42), ..LlmLimits::default() };
    let (url, count) = serve(|_, _, _, s| good(s, "yes"));
    let model = OpenAi::new(OpenAiSettings { budget: Budget::new(limits), ..settings(&url) }).unwrap();
    let answers = chat_all(&model, &["a", "b", "c"].map(ask), &|| false);
    assert!(answers[0].is_ok());
    assert!(answers[1..].iter().all(|a| matches!(a, Err(LlmError::Budget(_)))), "{answers:?}");
    assert_eq!(count.load(Ordering::SeqCst), 1);
    // Another client uses up the budget during the pause before the second try.
    let budget = Budget::new(limits);
    let other = OpenAi::new(OpenAiSettings { budget: budget.clone(), ..settings(&url) }).unwrap();
    let (url, count) = serve(move |_, _, _, s| {
        other.chat(&ask("it")).unwrap();
        reply(s, "503 Busy", "", "");
    });
    let model = OpenAi::new(OpenAiSettings { budget, ..settings(&url) }).unwrap();
    assert!(matches!(model.chat(&ask("it")), Err(LlmError::Budget(_))));
    assert_eq!(count.load(Ordering::SeqCst), 1);
}
