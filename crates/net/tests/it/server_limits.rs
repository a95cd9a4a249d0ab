//! The limits of servers: the length of the context, and the number of chats at a time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rlar_net::llm::{AdaptiveLimit, ChatPermit, ChatRequest, Llm, LlmError, OpenAi, OpenAiSettings, chat_all};
use serde_json::{Value, json};

use crate::server::{ask, client, good, piece, reply, serve, serve_telling, settings, stream};
use crate::traced::traced;

const NOTHING: (&str, String) = ("404 Not Found", String::new());

/// A request with a prompt of 1605 bytes, and room for 4096 tokens of the reply.
fn long() -> ChatRequest {
    let mut request = ChatRequest { max_tokens: 4096, ..ask("it") };
    request.messages[1].content = "x".repeat(1600);
    request
}

/// The limits of tokens that a server was asked for.
type Asked = Arc<Mutex<Vec<u64>>>;

/// How often a server was asked at each path.
type Questions = Arc<Mutex<BTreeMap<String, usize>>>;

/// A server that gives this answer at one path and none at the other. Keeps the limits of tokens that are asked for, and
/// counts the questions at each path.
fn telling(path: &'static str, answer: Value) -> (String, Asked, Questions) {
    let (asked, questions) = (Asked::default(), Questions::default());
    let (keep, keep_questions) = (asked.clone(), questions.clone());
    let about = move |at: &str| {
        *keep_questions.lock().unwrap().entry(at.to_owned()).or_default() += 1;
        if at == path { ("200 OK", answer.to_string()) } else { NOTHING }
    };
    let (url, _) = serve_telling(about, move |_, _, body, s| {
        let body: Value = serde_json::from_str(body).unwrap();
        keep.lock().unwrap().push(body["max_tokens"].as_u64().unwrap());
        good(s, "yes");
    });
    (url, asked, questions)
}

#[test]
fn a_server_is_asked_for_its_context_once_and_the_reply_fits_into_it() {
    let llama = json!({"default_generation_settings": {"n_ctx": 512}, "total_slots": 2});
    let vllm = json!({"data": [{"id": "other", "max_model_len": 99}, {"id": "small", "max_model_len": 512}]});
    for (path, answer) in [("/props", llama), ("/v1/models", vllm)] {
        let (url, asked, questions) = telling(path, answer);
        let model = client(&url);
        assert_eq!(model.context(), Some(512));
        model.chat(&long()).unwrap();
        // The prompt fills the context: the server decides whether the estimate was right.
        let mut longer = long();
        longer.messages[1].content = "x".repeat(4000);
        model.chat(&longer).unwrap();
        model.chat(&ask("it")).unwrap();
        // The prompt is estimated as 5 + 400 tokens.
        assert_eq!(*asked.lock().unwrap(), [512 - 405, 64, 64]);
        assert_eq!(questions.lock().unwrap().values().sum::<usize>(), 2, "one question at each path");
    }
}

#[test]
fn a_context_that_is_set_holds_and_one_that_is_not_told_is_unknown() {
    let (url, asked, _) = telling("/props", json!({"default_generation_settings": {"n_ctx": 512}}));
    let model = OpenAi::new(OpenAiSettings { context: Some(1000), ..settings(&url) }).unwrap();
    assert_eq!(model.context(), Some(1000));
    model.chat(&long()).unwrap();
    assert_eq!(*asked.lock().unwrap(), [1000 - 405]);
    let silent = [
        json!({"default_generation_settings": {"n_ctx": 0}}),
        json!({"default_generation_settings": "many"}),
        json!({"data": [{"id": "a", "max_model_len": 9}, {"id": "b", "max_model_len": 9}]}),
        json!({"data": 3}),
        json!(null),
    ];
    for answer in silent {
        for path in ["/props", "/v1/models"] {
            let (url, asked, _) = telling(path, answer.clone());
            let model = client(&url);
            model.chat(&long()).unwrap();
            assert_eq!((model.context(), asked.lock().unwrap()[0]), (None, 4096), "{path} {answer}");
        }
    }
}

#[test]
fn a_server_that_still_loads_its_model_is_asked_again() {
    let questions = AtomicUsize::new(0);
    let about = move |path: &str| match path {
        "/props" if questions.fetch_add(1, Ordering::SeqCst) == 0 => ("503 Loading", String::new()),
        "/props" => ("200 OK", json!({"default_generation_settings": {"n_ctx": 512}}).to_string()),
        _ => NOTHING,
    };
    let (url, _) = serve_telling(about, |_, _, _, s| good(s, "yes"));
    let model = client(&url);
    assert_eq!([model.context(), model.context()], [None, Some(512)]);
}

/// The refusals of servers, with the numbers of tokens in the prompt and in the context that they name.
fn refusals() -> Vec<(Value, Option<u64>, Option<u64>)> {
    let message = |text: &str| json!({"error": {"message": text}});
    vec![
        (
            json!({"error": {
                "code": 400,
                "type": "exceed_context_size_error",
                "message": "the request exceeds the available context size, try increasing it",
                "n_prompt_tokens": 9412,
                "n_ctx": 8192,
            }}),
            Some(9412),
            Some(8192),
        ),
        (
            message("request (9412 tokens) exceeds the available context size (8192 tokens), try increasing it"),
            Some(9412),
            Some(8192),
        ),
        (
            message(
                "This model's maximum context length is 4097 tokens. However, you requested 4203 tokens (3703 in the \
                 messages, 500 in the completion). Please reduce the length of the messages or completion.",
            ),
            Some(3703),
            Some(4097),
        ),
        (
            json!({"error": {
                "code": "context_length_exceeded",
                "message": "This model's maximum context length is 4097 tokens. However, your messages resulted in 6164 \
                            tokens.",
            }}),
            Some(6164),
            Some(4097),
        ),
        (
            json!({"message": "This model's maximum context length is 4096 tokens. However, your request has 5000 input \
                               tokens."}),
            Some(5000),
            Some(4096),
        ),
        (
            message(
                "You passed 5001 input tokens and requested 100 output tokens. However, the model's context length is \
                 only 4096 tokens, resulting in a maximum input length of 3996 tokens.",
            ),
            Some(5001),
            Some(4096),
        ),
        (
            json!({"object": "error", "message": "The decoder prompt (length 5000) is longer than the maximum model \
                                                  length of 4096."}),
            Some(5000),
            Some(4096),
        ),
        (message("Requested tokens (2285) exceed context window of 2048"), Some(2285), Some(2048)),
        (
            message("The input (5000 tokens) is longer than the model's context length (4096 tokens)."),
            Some(5000),
            Some(4096),
        ),
        (
            json!({"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4500 \
                             `inputs` tokens and 100 `max_new_tokens`"}),
            Some(4500),
            Some(4096),
        ),
        (message("prompt is too long: 210000 tokens > 200000 maximum"), Some(210_000), None),
        (message("Your input exceeds the context window of this model."), None, None),
    ]
}

#[test]
fn a_prompt_that_is_too_long_is_refused_once_and_the_context_is_learned() {
    for (body, prompt, context) in refusals() {
        let (whole, events) = (body.to_string(), format!("data: {body}\n\n"));
        let (refusing, refusals) = serve(move |_, _, _, s| reply(s, "400 Bad Request", "", &whole));
        let (streaming, streams) = serve(move |_, _, _, s| stream(s, &events));
        // Only an error in the form of the protocol can be told from a chunk of the reply.
        let streaming = body.get("error").is_some().then_some((streaming, streams));
        for (url, count) in [(refusing, refusals)].into_iter().chain(streaming) {
            let model = client(&url);
            let failed = model.chat(&ask("it")).unwrap_err();
            let LlmError::ContextTooLong { message, prompt_tokens, context: named } = failed else {
                panic!("{failed}")
            };
            assert_eq!((prompt_tokens, named), (prompt, context), "{message}");
            assert!(message.contains("127.0.0.1") && message.contains("give the server a longer context"), "{message}");
            assert_eq!(model.context(), context);
            assert_eq!(count.load(Ordering::SeqCst), 1);
        }
    }
}

#[test]
fn a_reply_that_has_no_room_is_asked_for_again_with_the_room_that_the_server_names() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let keep = asked.clone();
    let refusal = "'max_tokens' or 'max_completion_tokens' is too large: 4096. This model's maximum context length is 512 \
                   tokens and your request has 30 input tokens (4096 > 512 - 30).";
    let refusal = json!({"error": {"message": refusal, "code": 400}}).to_string();
    let (url, _) = serve(move |_, _, body, s| {
        let body: Value = serde_json::from_str(body).unwrap();
        let tokens = body["max_tokens"].as_u64().unwrap();
        keep.lock().unwrap().push(tokens);
        if tokens > 482 { reply(s, "400 Bad Request", "", &refusal) } else { good(s, "yes") }
    });
    let model = client(&url);
    assert_eq!(model.chat(&ChatRequest { max_tokens: 4096, ..ask("it") }).unwrap().text, "yes");
    assert_eq!(*asked.lock().unwrap(), [4096, 482]);
    assert_eq!(model.context(), Some(512));
    // A server that refuses that, too, is not asked for ever.
    let refusals =
        json!({"error": {"message": "maximum context length is 512 tokens, and 30 input tokens"}}).to_string();
    let (url, count) = serve(move |_, _, _, s| reply(s, "400 Bad Request", "", &refusals));
    let failed = client(&url).chat(&ChatRequest { max_tokens: 4096, ..ask("it") });
    assert!(matches!(failed, Err(LlmError::ContextTooLong { .. })));
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[test]
fn the_limit_of_chats_halves_once_per_round_and_grows_with_successes() {
    let limit = AdaptiveLimit::new(8);
    let round = limit.round();
    // Chats that began before the limit was lowered say nothing of the new one.
    assert_eq!([limit.overloaded(round), limit.overloaded(round)], [Some(4), None]);
    assert_eq!(limit.overloaded(limit.round()), Some(2));
    assert_eq!(limit.overloaded(limit.round()), Some(1));
    assert_eq!(limit.overloaded(limit.round()), None, "at least one chat is under way");
    let grown: Vec<usize> = (0..40)
        .map(|_| {
            limit.succeeded();
            limit.limit()
        })
        .collect();
    assert_eq!(grown[..10], [2, 2, 3, 3, 3, 4, 4, 4, 4, 5]);
    assert_eq!(grown[39], 8, "never beyond the maximum");
    limit.cap(3);
    (0..40).for_each(|_| limit.succeeded());
    assert_eq!(limit.limit(), 3);
    assert_eq!(AdaptiveLimit::new(0).limit(), 1);
}

/// The permit of a chat that can begin at once.
async fn begin(limit: &AdaptiveLimit) -> Option<ChatPermit<'_>> {
    tokio::time::timeout(Duration::ZERO, limit.acquire()).await.ok()
}

#[test]
fn a_lowered_limit_holds_back_chats_until_enough_have_ended() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let limit = AdaptiveLimit::new(4);
        let mut permits = Vec::new();
        for _ in 0..3 {
            permits.push(begin(&limit).await.unwrap());
        }
        assert_eq!(limit.overloaded(limit.round()), Some(2));
        assert!(begin(&limit).await.is_none());
        permits.pop();
        assert!(begin(&limit).await.is_none(), "two chats are still under way");
        permits.pop();
        let second = begin(&limit).await.unwrap();
        assert!(begin(&limit).await.is_none());
        drop((permits, second));
        // Room for one more while two chats are under way.
        let two = [begin(&limit).await.unwrap(), begin(&limit).await.unwrap()];
        limit.succeeded();
        limit.succeeded();
        assert!(begin(&limit).await.is_some());
        drop(two);
    });
}

#[test]
fn an_overloaded_server_gets_fewer_chats_at_a_time() {
    let (busy, _) = serve(|n, _, _, s| if n == 0 { reply(s, "503 Busy", "", "") } else { good(s, "yes") });
    let (silent, _) = serve(|n, _, _, s| if n == 0 { std::mem::forget(s) } else { good(s, "yes") });
    for (url, first_token) in [(busy, Duration::from_mins(1)), (silent, Duration::from_secs(2))] {
        let model = OpenAi::new(OpenAiSettings { concurrency: 5, first_token, ..settings(&url) }).unwrap();
        let (reply, log) = traced(|| model.chat(&ask("it")));
        assert_eq!(reply.unwrap().text, "yes");
        assert!(log.contains("at most 2 chats at a time"), "{log}");
    }
}

#[test]
fn a_server_gets_no_more_chats_at_a_time_than_it_has_slots() {
    let (now, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    let about = |path: &str| if path == "/props" { ("200 OK", json!({"total_slots": 1}).to_string()) } else { NOTHING };
    let (url, _) = serve_telling(about, move |_, _, _, s| {
        seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let events = piece("yes") + "data: [DONE]\n\n";
        now.fetch_sub(1, Ordering::SeqCst);
        stream(s, &events);
    });
    let model = OpenAi::new(OpenAiSettings { concurrency: 8, ..settings(&url) }).unwrap();
    let requests: Vec<_> = (0..32).map(|n| ask(&n.to_string())).collect();
    assert!(chat_all(&model, &requests, &|| false).iter().all(Result::is_ok));
    assert_eq!(most.load(Ordering::SeqCst), 1);
}
