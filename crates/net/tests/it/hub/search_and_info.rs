//! Search, model information, small texts and the token's owner.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rlar_net::Secret;
use rlar_net::hub::serve::{HttpRequest, HttpResponse};
use rlar_net::hub::{GatedAccess, Hub, HubError, HubSettings, ModelSummary, Search, Sort};

use super::test_hub::{ID, TOKEN, TestHub, WEIGHTS, sha256, weights};

fn ids(found: &[ModelSummary]) -> Vec<&str> {
    found.iter().map(|f| f.id.as_str()).collect()
}

#[test]
fn models_are_found_by_text_task_tag_author_and_order() {
    let test_hub = TestHub::plain();
    let hub = test_hub.hub();
    let search = |search: Search| hub.search(&Search { limit: search.limit.max(10), ..search }).unwrap();
    assert_eq!(ids(&search(Search::default())), ["acme/gated", ID, "zeta/bare"], "most downloads first");
    let found = search(Search { query: "SMALL".into(), ..Search::default() });
    assert_eq!(ids(&found), [ID]);
    let tags = ["transformers", "tiny", "test", "license:apache-2.0"].map(str::to_owned);
    let ModelSummary { sha, last_modified, .. } = found[0].clone();
    assert!(sha.clone().is_some_and(|s| s.len() == 40) && last_modified.is_some());
    let expected = ModelSummary {
        id: ID.into(),
        sha,
        downloads: 12,
        likes: 3,
        tags: tags.to_vec(),
        pipeline_tag: Some("text-generation".into()),
        library_name: Some("transformers".into()),
        licence: Some("apache-2.0".into()),
        gated: GatedAccess::No,
        last_modified,
    };
    assert_eq!(found[0], expected);
    let task = Search { pipeline_tag: Some("text-classification".into()), ..Search::default() };
    let found = search(task);
    assert_eq!((ids(&found), found[0].gated), (vec!["acme/gated"], GatedAccess::Auto));
    assert_eq!(ids(&search(Search { filter: vec!["license:mit".into()], ..Search::default() })), ["acme/gated"]);
    assert_eq!(ids(&search(Search { author: Some("zeta".into()), ..Search::default() })), ["zeta/bare"]);
    assert_eq!(ids(&search(Search { sort: Sort::Likes, ..Search::default() }))[0], ID);
    assert_eq!(ids(&hub.search(&Search { limit: 2, ..Search::default() }).unwrap()), ["acme/gated", ID]);
}

#[test]
fn pages_are_followed_on_the_same_server_only() {
    let page = |r: &HttpRequest| {
        (r.path == ["api", "models"] && r.query("cursor").is_none()).then(|| {
            let next = format!("</api/models?cursor=1&limit=1000>; rel=\"next\", <{}>; rel=\"first\"", r.target);
            HttpResponse::json(&serde_json::json!([{"id": "acme/first"}])).with("link", &next)
        })
    };
    let test_hub = TestHub::with(page);
    let found = test_hub.hub().search(&Search { limit: 10, ..Search::default() }).unwrap();
    assert_eq!(ids(&found), ["acme/first", ID, "zeta/bare"]);
    let away = |_: &HttpRequest| {
        let answer = HttpResponse::json(&serde_json::json!([{"id": "acme/first"}]));
        Some(answer.with("link", "<http://127.0.0.2:9/api/models?cursor=1>; rel=\"next\""))
    };
    let found = TestHub::with(away).hub().search(&Search { limit: 10, ..Search::default() }).unwrap();
    assert_eq!(ids(&found), ["acme/first"]);
    let round = |r: &HttpRequest| {
        let answer = HttpResponse::json(&serde_json::json!([{"id": "acme/first"}]));
        Some(answer.with("link", &format!("<{}>; rel=\"next\"", r.target)))
    };
    let test_hub = TestHub::with(round);
    assert_eq!(test_hub.hub().search(&Search { limit: 100_000, ..Search::default() }).unwrap().len(), 100);
}

#[test]
fn a_model_is_described_with_sizes_and_hashes() {
    let test_hub = TestHub::plain();
    let info = test_hub.hub().info(ID, "main").unwrap();
    assert_eq!((info.model.id.as_str(), info.model.licence.as_deref()), (ID, Some("apache-2.0")));
    assert_eq!(info.card["pipeline_tag"], "text-generation");
    let names: Vec<_> = info.siblings.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["README.md", "config.json", "empty.txt", WEIGHTS, "onnx/a b \u{e9}\u{1f600}+%.txt"]);
    let weights_file = &info.siblings[3];
    assert_eq!((weights_file.size, weights_file.sha256.clone()), (Some(3_000_000), Some(sha256(&weights()))));
    // The output of `git hash-object` for an empty file.
    assert_eq!(info.siblings[2].blob.as_deref(), Some("e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"));
    assert_eq!(test_hub.hub().info(ID, &info.commit).unwrap().commit, info.commit, "a commit is a revision");
    std::fs::write(test_hub.folder.path().join(ID).join("config.json"), "{\"changed\": true}").unwrap();
    assert_ne!(test_hub.hub().info(ID, "main").unwrap().commit, info.commit, "other bytes give another commit");
    assert!(
        matches!(test_hub.hub().info(ID, &info.commit), Err(HubError::Revision { .. })),
        "the server has only the present commit"
    );
}

/// An endless text that counts the bytes read.
struct Endless(Arc<AtomicUsize>);

impl Read for Endless {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        to.fill(b'x');
        self.0.fetch_add(to.len(), Ordering::SeqCst);
        Ok(to.len())
    }
}

#[test]
fn a_text_is_transferred_up_to_a_length_only() {
    let test_hub = TestHub::plain();
    assert!(test_hub.hub().text(ID, "main", "README.md", 10_000).unwrap().contains("# Small"));
    let all = test_hub.hub().text(ID, "main", "README.md", 10_000).unwrap();
    let at = all.find('\u{e9}').unwrap() as u64;
    assert!(test_hub.hub().text(ID, "main", "README.md", at + 1).unwrap().ends_with("model. "), "no half characters");
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let test_hub = TestHub::with(move |r| {
        (r.path.iter().any(|p| p == "resolve")).then(|| {
            let mut endless = HttpResponse::new(200, Vec::new());
            (endless.length, endless.body) = (Some(10 << 30), Box::new(Endless(count.clone())));
            endless
        })
    });
    assert_eq!(test_hub.hub().text(ID, "main", "README.md", 5000).unwrap(), "x".repeat(5000));
    assert!(sent.load(Ordering::SeqCst) < 64 << 20, "the transfer stops");
}

#[test]
fn endless_and_invalid_responses_are_errors() {
    let flood = TestHub::with(|_| {
        let mut endless = HttpResponse::new(200, Vec::new());
        (endless.length, endless.body) = (None, Box::new(Endless(Arc::default())));
        Some(endless)
    });
    let error = flood.hub().info(ID, "main").unwrap_err();
    assert!(matches!(&error, HubError::Reply { message, .. } if message.contains("longer than")), "{error}");
    let silent = TestHub::with(|_| {
        std::thread::sleep(Duration::from_secs(2));
        None
    });
    let settings = HubSettings { deadline: Duration::from_millis(300), ..silent.settings() };
    let began = Instant::now();
    let error = Hub::new(settings).unwrap().info(ID, "main").unwrap_err();
    assert!(matches!(error, HubError::Deadline { .. }) && began.elapsed() < Duration::from_secs(2), "{error}");
    for body in ["[]", "{", "null", r#"{"id": "a/b"}"#, r#"{"id": "../b", "sha": "0"}"#] {
        let test_hub = TestHub::with(move |_| Some(HttpResponse::new(200, body.into())));
        assert!(matches!(test_hub.hub().info(ID, "main"), Err(HubError::Reply { .. })), "{body}");
    }
}

#[test]
fn whoami_names_the_owner_of_a_token() {
    let test_hub = TestHub::plain();
    let with = |token: &str| Hub::new(HubSettings { token: Some(Secret::new(token)), ..test_hub.settings() }).unwrap();
    assert_eq!(with(TOKEN).whoami().unwrap(), "local");
    assert!(matches!(test_hub.hub().whoami(), Err(HubError::Token { .. })));
    assert!(!format!("{:?}", with(TOKEN)).contains("hf_not"));
}

#[test]
fn asynchronous_code_gets_an_error_instead_of_a_panic() {
    let test_hub = TestHub::plain();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(async { test_hub.hub().info(ID, "main").unwrap_err() });
    assert!(error.to_string().contains("asynchronous"), "{error}");
}
