//! Chats with servers that answer, fail, stall and redirect.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use rlar_net::llm::{Budget, Llm, LlmError, LlmLimits, OpenAi, OpenAiSettings, Secret, chat_all};
use rlar_oracles::{needs_oracles, oracle};
use serde_json::{Value, json};

use crate::server::{KEY, answer, ask, client, good, reply, serve, settings};

fn error(model: &OpenAi) -> String {
    model.chat(&ask("it")).unwrap_err().to_string()
}

#[test]
fn an_exchange_follows_the_protocol() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = seen.clone();
    let (url, _) = serve(move |_, head, body, s| {
        keep.lock().unwrap().push((head.to_owned(), body.to_owned()));
        good(s, "yes");
    });
    let model = client(&format!("{url}/"));
    let reply = model.chat(&ask("it")).unwrap();
    assert_eq!((reply.text.as_str(), reply.prompt_tokens, reply.completion_tokens), ("yes", 30, 12));
    assert_eq!(reply.finish, "stop");
    assert_eq!(model.name(), format!("small at {url}/"), "the name contains the server");
    let mut with_schema = ask("it");
    with_schema.schema = Some(json!({"type": "object"}));
    model.chat(&with_schema).unwrap();
    let seen = seen.lock().unwrap();
    assert!(seen[0].0.starts_with("POST /v1/chat/completions HTTP/1.1"), "{}", seen[0].0);
    assert!(seen[0].0.to_lowercase().contains(&format!("authorization: bearer {KEY}")));
    let body = |n: usize| serde_json::from_str::<Value>(&seen[n].1).unwrap();
    let messages = serde_json::to_value(ask("it").messages).unwrap();
    let plain = json!({
        "model": "small",
        "messages": messages,
        "max_tokens": 64,
        "temperature": 0.5,
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    assert_eq!(body(0), plain);
    assert_eq!(body(1)["response_format"]["json_schema"]["schema"], json!({"type": "object"}));
}

#[test]
fn a_busy_server_is_retried_a_few_times() {
    let (url, count) = serve(|n, _, _, s| match n {
        0 => reply(s, "429 Too Many Requests", "retry-after: 0\r\n", ""),
        1 => drop(s),
        _ => good(s, "yes"),
    });
    assert_eq!(client(&url).chat(&ask("it")).unwrap().text, "yes");
    assert_eq!(count.load(Ordering::SeqCst), 3);
    let (url, count) = serve(|_, _, _, s| reply(s, "503 Busy", "", r#"{"error": {"message": "come back"}}"#));
    let message = error(&client(&url));
    assert!(message.contains("503") && message.contains("come back") && message.contains("tried 3 times"), "{message}");
    assert_eq!(count.load(Ordering::SeqCst), 3);
}

#[test]
fn a_server_that_loads_its_model_is_waited_for() {
    let (url, count) = serve(|n, _, _, s| match n {
        0..5 => reply(s, "503 Service Unavailable", "", r#"{"error": {"message": "Loading model"}}"#),
        _ => good(s, "yes"),
    });
    assert_eq!(client(&url).chat(&ask("it")).unwrap().text, "yes");
    assert_eq!(count.load(Ordering::SeqCst), 6);
}

/// A server that refuses the first of `parameters` that a request has, in the words of `say`. Keeps the bodies.
fn picky(parameters: &'static [&str], say: fn(&str) -> String) -> (OpenAi, Arc<Mutex<Vec<Value>>>) {
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let keep = bodies.clone();
    let (url, _) = serve(move |_, _, body, s| {
        let body: Value = serde_json::from_str(body).unwrap();
        let refused = parameters.iter().find(|parameter| body.get(**parameter).is_some());
        keep.lock().unwrap().push(body);
        match refused {
            Some(parameter) => reply(s, "400 Bad Request", "", &say(parameter)),
            None => good(s, "yes"),
        }
    });
    (client(&url), bodies)
}

#[test]
fn a_parameter_that_the_server_refuses_is_left_out_from_then_on() {
    let openai: fn(&str) -> String = |parameter| {
        let message = format!("Unsupported value: '{parameter}' does not support 0.5 with this model.");
        json!({"error": {"message": message, "param": parameter, "code": "unsupported_value"}}).to_string()
    };
    let bare: fn(&str) -> String = |parameter| json!({"detail": format!("`{parameter}` is deprecated")}).to_string();
    let renamed: fn(&str) -> String = |parameter| match parameter {
        "max_tokens" => r#"{"error": "send max_completion_tokens instead of max_tokens"}"#.to_owned(),
        other => json!({"message": format!("{other}: Extra inputs are not permitted")}).to_string(),
    };
    for say in [openai, bare, renamed] {
        let (model, bodies) = picky(&["max_tokens", "temperature"], say);
        assert_eq!(model.chat(&ask("it")).unwrap().text, "yes");
        assert_eq!(model.chat(&ask("that")).unwrap().text, "yes");
        let bodies = bodies.lock().unwrap();
        assert_eq!(bodies.len(), 4, "two refusals, and none of the second chat");
        for body in &bodies[2..] {
            assert_eq!(body["max_completion_tokens"], 64);
            assert!(body.get("max_tokens").is_none() && body.get("temperature").is_none(), "{body}");
        }
    }
}

#[test]
fn a_server_that_refuses_to_stream_is_asked_for_the_whole_reply() {
    let openai: fn(&str) -> String =
        |parameter| json!({"error": {"message": format!("Unsupported parameter: '{parameter}'")}}).to_string();
    let (model, bodies) = picky(&["stream_options", "stream"], openai);
    assert_eq!(model.chat(&ask("it")).unwrap().text, "yes");
    let streams: Vec<bool> = bodies.lock().unwrap().iter().map(|body| body.get("stream").is_some()).collect();
    assert_eq!(streams, [true, true, false], "first without the options, then without the stream");
    let bare: fn(&str) -> String = |_| r#"{"detail": "Streaming is not supported by this model"}"#.to_owned();
    let (model, bodies) = picky(&["stream"], bare);
    assert_eq!(model.chat(&ask("it")).unwrap().text, "yes");
    let bodies = bodies.lock().unwrap();
    assert_eq!(bodies.len(), 2);
    assert!(bodies[1].get("stream").is_none() && bodies[1].get("stream_options").is_none(), "{}", bodies[1]);
}

#[test]
fn a_server_that_refuses_every_form_of_a_parameter_or_its_value_is_an_error() {
    let openai: fn(&str) -> String =
        |parameter| json!({"error": {"message": format!("Unsupported parameter: '{parameter}'")}}).to_string();
    let (model, bodies) = picky(&["max_tokens", "max_completion_tokens"], openai);
    assert_eq!(model.chat(&ask("it")).unwrap().text, "yes");
    assert_eq!(bodies.lock().unwrap().len(), 3);
    let (model, bodies) = picky(&["messages"], openai);
    assert!(error(&model).contains("messages"));
    assert_eq!(bodies.lock().unwrap().len(), 1);
    let too_large: fn(&str) -> String =
        |parameter| json!({"error": {"message": format!("{parameter} is too large: at most 16")}}).to_string();
    let (model, bodies) = picky(&["max_tokens"], too_large);
    assert!(error(&model).contains("too large"));
    assert_eq!(bodies.lock().unwrap().len(), 1);
}

#[test]
fn chats_at_the_same_time_each_do_without_a_refused_parameter() {
    let openai: fn(&str) -> String =
        |parameter| json!({"error": {"message": format!("'{parameter}' is not supported")}}).to_string();
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let (keep, barrier) = (bodies.clone(), Barrier::new(4));
    let (url, _) = serve(move |n, _, body, s| {
        let body: Value = serde_json::from_str(body).unwrap();
        keep.lock().unwrap().push(n);
        if n < 4 {
            barrier.wait();
        }
        if body.get("temperature").is_some() {
            reply(s, "400 Bad Request", "", &openai("temperature"));
        } else {
            good(s, "yes");
        }
    });
    let model = OpenAi::new(OpenAiSettings { concurrency: 4, ..settings(&url) }).unwrap();
    let requests: Vec<_> = ["a", "b", "c", "d"].map(ask).to_vec();
    assert!(chat_all(&model, &requests, &|| false).iter().all(Result::is_ok));
    assert_eq!(bodies.lock().unwrap().len(), 8);
}

#[needs_oracles]
#[test]
fn the_reported_refusal_of_max_tokens_ends_in_a_reply() {
    let cases = std::fs::read_to_string(oracle!("oracles/reports/cases.jsonl")).unwrap();
    let case = cases.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).find(|c| c["id"] == "b47");
    let server = case.unwrap()["input"]["server"].as_str().unwrap().to_owned();
    let refusal = server[server.find('{').unwrap()..].to_owned();
    let (url, _) = serve(move |_, _, body, s| {
        let body: Value = serde_json::from_str(body).unwrap();
        if body.get("max_tokens").is_some() { reply(s, "400 Bad Request", "", &refusal) } else { good(s, "yes") }
    });
    assert_eq!(client(&url).chat(&ask("it")).unwrap().text, "yes");
}

#[test]
fn a_wait_past_the_deadline_fails_at_once() {
    let far = ["3600", "Fri, 31 Dec 2100 23:59:59 GMT"];
    for when in far {
        let (url, count) =
            serve(move |_, _, _, s| reply(s, "429 Too Many Requests", &format!("retry-after: {when}\r\n"), ""));
        let failed = client(&url).chat(&ask("it")).unwrap_err();
        assert!(matches!(&failed, LlmError::Deadline { message, .. } if message.contains("past the deadline of 60 s")));
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }
    let (url, _) = serve(|n, _, _, s| match n {
        0 => reply(s, "503 Busy", "retry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n", ""),
        _ => good(s, "yes"),
    });
    assert_eq!(client(&url).chat(&ask("it")).unwrap().text, "yes");
}

/// A writer that collects log lines.
#[derive(Clone, Default)]
struct LogWriter(Arc<Mutex<Vec<u8>>>);

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_refusal_is_final_and_the_key_never_shows() {
    let log = LogWriter::default();
    // The key must not show even if a control character splits it, or if the message is cut within it.
    let (begin, end) = KEY.split_at(7);
    let server_message = format!("{begin}\u{1}{end}\n{}{KEY}{}", "x".repeat(280), "y".repeat(500));
    let body = json!({"error": {"message": server_message}}).to_string();
    for status in ["400 Bad Request", "401 Unauthorized", "403 Forbidden", "404 Not Found"] {
        let body = body.clone();
        let (url, count) = serve(move |n, _, _, s| reply(s, if n == 0 { "500 Oh" } else { status }, "", &body));
        let model = client(&url.replace("http://", "http://user:password@"));
        let failed = tracing::subscriber::with_default(subscriber_of(&log), || model.chat(&ask("it")).unwrap_err());
        let shown = format!("{failed} {failed:?} {model:?} {:?}", settings(&url));
        assert!(
            shown.contains(&status[..3]) && shown.contains("tried 2 times") && shown.contains("[secret]"),
            "{shown}"
        );
        assert!(!shown.contains("sk-not") && !shown.contains("password") && !shown.contains('\u{1}'), "{shown}");
        assert!(failed.to_string().len() < 500, "{failed}");
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("500") && !log.contains("sk-not") && !log.contains("password"), "{log}");
    let key = Secret::new(" k3y\n");
    assert_eq!(format!("{key} {key:?} {}", serde_json::to_string(&key).unwrap()), r#"[secret] [secret] "[secret]""#);
}

fn subscriber_of(log: &LogWriter) -> impl tracing::Subscriber + Send + Sync + use<> {
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish()
}

/// Sends the head of an endless response and returns the stream.
fn endless(mut stream: TcpStream) -> TcpStream {
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{");
    stream
}

#[test]
fn silence_and_a_trickle_end_at_the_deadline() {
    let silent = |_: usize, _: &str, _: &str, s: TcpStream| std::mem::forget(s);
    let trickle = |_: usize, _: &str, _: &str, s: TcpStream| {
        let mut s = endless(s);
        while s.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    for (url, count) in [serve(silent), serve(trickle)] {
        let model =
            OpenAi::new(OpenAiSettings { deadline: Duration::from_millis(600), tries: 2, ..settings(&url) }).unwrap();
        let began = Instant::now();
        let failed = model.chat(&ask("it")).unwrap_err();
        assert!(matches!(&failed, LlmError::Deadline { message, .. } if message.contains("within 0.6 s")), "{failed}");
        assert!(failed.to_string().contains("`rewards.llm.deadline`"), "{failed}");
        assert!(began.elapsed() < Duration::from_secs(10));
        assert!(count.load(Ordering::SeqCst) <= 2);
    }
}

#[test]
fn a_try_that_hangs_leaves_time_for_another() {
    let (url, _) = serve(|n, _, _, s| if n == 0 { std::mem::forget(s) } else { good(s, "yes") });
    let model = OpenAi::new(OpenAiSettings { first_token: Duration::from_secs(2), ..settings(&url) }).unwrap();
    assert_eq!(model.chat(&ask("it")).unwrap().text, "yes");
}

#[test]
fn an_endless_response_ends_at_the_size_limit() {
    let (url, count) = serve(|_, _, _, s| {
        let mut s = endless(s);
        while s.write_all(&[b' '; 1 << 14]).is_ok() {}
    });
    let message = error(&client(&url));
    assert!(message.contains("longer than 8 MiB"), "{message}");
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn a_redirect_is_refused_and_its_target_sees_nothing() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    other.set_nonblocking(true).unwrap();
    let target = other.local_addr().unwrap();
    for status in ["302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let (url, count) =
            serve(move |_, _, _, s| reply(s, status, &format!("location: http://u:pw@{target}/v1?token=t\r\n"), ""));
        let message = error(&client(&url));
        assert!(message.contains(&format!("points to http://{target}/v1, which is not followed")), "{message}");
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }
    assert_eq!(other.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn an_invalid_response_is_an_error_without_a_retry() {
    let long = r#"{"choices": [{"message": {"content": null}, "finish_reason": "length"}]}"#;
    let cases = [
        (r#"{"choices": ["#, "not JSON"),
        ("{}", "`choices` is not a list"),
        (r#"{"choices": []}"#, "`choices` is empty"),
        (r#"{"choices": [{"message": {"content": ["a"]}}]}"#, "is a list, not a text"),
        (long, r#"is null, not a text (`finish_reason` is "length")"#),
    ];
    for (body, why) in cases {
        let (url, count) = serve(move |_, _, _, s| reply(s, "200 OK", "", body));
        let failed = client(&url).chat(&ask("it")).unwrap_err();
        assert!(matches!(&failed, LlmError::Reply(message) if message.contains(why)), "{failed}");
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn a_budget_stops_and_is_shared() {
    let (url, count) = serve(|_, _, _, s| good(s, "yes"));
    let tokens = LlmLimits { max_tokens: Some(80), ..LlmLimits::default() };
    let money = LlmLimits { max_cost: Some(0.0001), prompt_price: 1.0, completion_price: 2.0, ..LlmLimits::default() };
    for (limits, key) in [(tokens, "rewards.llm.max_tokens"), (money, "rewards.llm.max_cost")] {
        let budget = Budget::new(limits);
        let with = |budget: &Budget| OpenAi::new(OpenAiSettings { budget: budget.clone(), ..settings(&url) }).unwrap();
        let (one, two) = (with(&budget), with(&budget));
        one.chat(&ask("a")).unwrap();
        two.chat(&ask("b")).unwrap();
        let failed = one.clone().chat(&ask("c")).unwrap_err();
        assert!(matches!(&failed, LlmError::Budget(message) if message.contains(key)), "{failed}");
        let usage = budget.usage();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.requests), (60, 24, 2));
        assert!((usage.cost - if key.ends_with("cost") { 0.000_108 } else { 0.0 }).abs() < 1e-12, "{usage:?}");
    }
    assert_eq!(count.load(Ordering::SeqCst), 4);
}

#[test]
fn tokens_that_a_server_does_not_count_are_estimated() {
    let (url, _) = serve(|_, _, _, s| reply(s, "200 OK", "", r#"{"choices": [{"message": {"content": "12345"}}]}"#));
    let reply = client(&url).chat(&ask("it")).unwrap();
    assert_eq!((reply.prompt_tokens, reply.completion_tokens, reply.finish.as_str()), (8, 2, ""));
}

#[test]
fn no_more_requests_than_allowed_are_under_way() {
    const LIMIT: usize = 3;
    let (now, most, barrier) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)), Barrier::new(LIMIT));
    let seen = most.clone();
    let (url, _) = serve(move |_, _, body, s| {
        seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        // With fewer requests than the limit, this waits until the deadline and fails the test.
        barrier.wait();
        now.fetch_sub(1, Ordering::SeqCst);
        let body: Value = serde_json::from_str(body).unwrap();
        good(s, body["messages"][1]["content"].as_str().unwrap());
    });
    let model = OpenAi::new(OpenAiSettings { concurrency: LIMIT, ..settings(&url) }).unwrap();
    let requests: Vec<_> = (0..4 * LIMIT).map(|n| ask(&n.to_string())).collect();
    // Two callers share the limit.
    std::thread::scope(|scope| {
        let (a, b) = requests.split_at(2 * LIMIT);
        for half in [a, b] {
            let model = model.clone();
            scope.spawn(move || {
                let answers = chat_all(&model, half, &|| false);
                for (request, answer) in half.iter().zip(answers) {
                    assert_eq!(answer.unwrap().text, request.messages[1].content);
                }
            });
        }
    });
    assert_eq!(most.load(Ordering::SeqCst), LIMIT);
}

#[test]
fn cancelled_requests_are_not_sent() {
    let is_cancelled = Arc::new(AtomicBool::new(false));
    let cancel = is_cancelled.clone();
    let (url, count) = serve(move |n, _, _, s| {
        cancel.store(n == 1, Ordering::SeqCst);
        good(s, "yes");
    });
    let requests = ["a", "b", "c", "d"].map(ask);
    let answers = chat_all(&client(&url), &requests, &|| is_cancelled.load(Ordering::SeqCst));
    let were_sent: Vec<bool> = answers.iter().map(|a| !matches!(a, Err(LlmError::Cancelled))).collect();
    assert_eq!(were_sent, [true, true, false, false]);
    assert_eq!(count.load(Ordering::SeqCst), 2);
    assert!(chat_all(&client(&url), &[], &|| false).is_empty());
}

#[test]
fn asynchronous_code_gets_an_error_instead_of_a_panic() {
    let (url, _) = serve(|_, _, _, s| reply(s, "200 OK", "", &answer("yes")));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let model = client(&url);
        assert!(error(&model).contains("this call blocks"));
    });
}

#[test]
fn settings_that_cannot_work_are_an_error() {
    for (url, key) in [("not an address", "k"), ("ftp://host/v1", "k"), ("http://host/v1", "a\nb")] {
        let failed = OpenAi::new(OpenAiSettings { key: Some(Secret::new(key)), ..settings(url) }).unwrap_err();
        assert!(matches!(failed, LlmError::Request { .. }));
    }
}
