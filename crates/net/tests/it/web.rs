//! Web searches, against servers on loopback.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rlar_net::web::{Brave, Hit, SerpApi, WebError, WebSearch};
use serde_json::json;

use crate::server::{KEY, reply, serve};
use crate::traced::traced;

fn env(name: &str) -> Option<String> {
    matches!(name, "SERPAPI_API_KEY" | "BRAVE_API_KEY").then(|| format!(" {KEY}\n"))
}

fn both(url: &str, deadline: Duration) -> [Box<dyn WebSearch>; 2] {
    let base = url.trim_end_matches("/v1");
    [
        Box::new(SerpApi::from_env(env).unwrap().with_server(base, deadline)),
        Box::new(Brave::from_env(env).unwrap().with_server(base, deadline)),
    ]
}

const SOON: Duration = Duration::from_secs(10);

#[test]
fn pages_are_found_and_cleaned() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let keep = heads.clone();
    let (url, _) = serve(move |_, head, _, s| {
        keep.lock().unwrap().push(head.to_owned());
        let page = |n: u32| {
            let (title, text) = (format!("Page {n} <b>bold</b>"), "1 < 2 &amp; <strong>more</strong>\u{1b}[31m\n");
            let to = format!("https://example.org/{n}");
            json!({"title": title, "link": to, "url": to, "snippet": text, "description": text})
        };
        let odd = [json!({"title": "no address"}), json!({"url": "javascript:alert(1)", "link": "file:///etc/passwd"})];
        let list = [odd.to_vec(), (0..5).map(page).collect()].concat();
        reply(s, "200 OK", "", &json!({"organic_results": list, "web": {"results": list}}).to_string());
    });
    for service in both(&url, SOON) {
        let hits = service.search("language models & more", 2).unwrap();
        let snippet = "1 < 2 & more[31m ".to_owned();
        assert_eq!(hits.len(), 2);
        assert_eq!(hits[0], Hit { title: "Page 0 bold".into(), url: "https://example.org/0".into(), snippet });
        assert!(!format!("{service:?}").contains("sk-not"));
    }
    let heads = heads.lock().unwrap();
    let serp = format!("GET /search.json?engine=google&q=language+models+%26+more&num=2&api_key={KEY} HTTP/1.1");
    assert!(heads[0].starts_with(&serp), "{}", heads[0]);
    assert!(heads[1].starts_with("GET /res/v1/web/search?q=language+models+%26+more&count=2 HTTP/1.1"), "{}", heads[1]);
    assert!(heads[1].to_lowercase().contains(&format!("x-subscription-token: {KEY}")), "{}", heads[1]);
}

#[test]
fn no_result_is_an_empty_list() {
    let (url, _) = serve(|_, _, _, s| reply(s, "200 OK", "", r#"{"error": "nothing"}"#));
    for service in both(&url, SOON) {
        assert_eq!(service.search("x", 3).unwrap(), []);
    }
}

#[test]
fn a_key_must_be_set_and_never_shows() {
    let error = SerpApi::from_env(|_| Some("  ".into())).unwrap_err().to_string();
    assert!(error.contains("set SERPAPI_API_KEY"), "{error}");
    assert!(matches!(Brave::from_env(|_| None), Err(WebError::Key { variable: "BRAVE_API_KEY", .. })));
    for status in ["401 Unauthorized", "403 Forbidden", "404 Not Found", "500 Oh", "302 Found"] {
        let (url, _) = serve(move |_, _, _, s| reply(s, status, "location: http://127.0.0.1:9/\r\n", KEY));
        for service in both(&url, SOON) {
            let (error, log) = traced(|| service.search("x", 3).unwrap_err());
            let shown = format!("{error} {error:?} {log}");
            assert!(shown.contains(&status[..3]) && !shown.contains("sk-not"), "{shown}");
        }
    }
    for service in both("http://127.0.0.1:9", SOON) {
        let shown = service.search("x", 3).unwrap_err().to_string();
        assert!(shown.contains("tried 3 times") && !shown.contains("sk-not"), "{shown}");
    }
}

#[test]
fn busy_services_are_retried_and_waits_end_at_the_deadline() {
    let (url, _) = serve(|n, _, _, s| match n % 2 {
        0 => reply(s, "429 Too Many Requests", "retry-after: 0\r\n", ""),
        _ => reply(s, "200 OK", "", "{}"),
    });
    for service in both(&url, SOON) {
        service.search("x", 3).unwrap();
    }
    let (url, _) = serve(|_, _, _, s| std::mem::forget(s));
    for service in both(&url, Duration::from_millis(300)) {
        let began = Instant::now();
        assert!(service.search("x", 3).is_err() && began.elapsed() < Duration::from_secs(3));
    }
    let (url, _) = serve(|_, _, _, s| reply(s, "200 OK", "", &" ".repeat(5 << 20)));
    for service in both(&url, SOON) {
        let error = service.search("x", 3).unwrap_err();
        assert!(matches!(&error, WebError::Reply { message, .. } if message.contains("longer than 4 MiB")), "{error}");
    }
}

#[test]
fn an_invalid_response_is_an_error() {
    for body in ["", "[", r#"{"organic_results": 1, "web": {"results": {}}}"#] {
        let (url, _) = serve(move |_, _, _, s| reply(s, "200 OK", "", body));
        for service in both(&url, SOON) {
            assert!(matches!(service.search("x", 3), Err(WebError::Reply { .. })), "{body:?}");
        }
    }
}
