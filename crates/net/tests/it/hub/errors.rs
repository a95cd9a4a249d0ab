//! Errors, and what they say.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rlar_net::Secret;
use rlar_net::hub::serve::{HttpRequest, HttpResponse, HubServer};
use rlar_net::hub::{Hub, HubError, HubLimits, HubSettings};
use serde_json::{Value, json};

use crate::traced::traced;

use super::test_hub::{ID, Stuck, TOKEN, TestHub, WEIGHTS, cut_off, get, is_weights, sha256, weights};

fn limited(file: u64, all: u64) -> HubLimits {
    HubLimits { file, all, ..HubLimits::default() }
}

/// A Hub that answers every request with the same error.
fn refusing(status: u16, code: &'static str, words: &'static str) -> TestHub {
    TestHub::with(move |_| {
        Some(HttpResponse::text(status, "no").with("x-error-code", code).with("x-error-message", words))
    })
}

#[test]
fn each_refusal_says_what_to_do() {
    let refused = |status, code, words| get(&refusing(status, code, words).hub(), &[]).unwrap_err();
    let error = refused(401, "", "Invalid username or password.");
    assert!(matches!(&error, HubError::NotFound { .. }) && error.to_string().contains("HF_TOKEN"), "{error}");
    let error = refused(401, "", "Invalid credentials in Authorization header");
    assert!(matches!(&error, HubError::Token { .. }), "{error}");
    let error = refused(404, "RepoNotFound", "Repository not found").to_string();
    assert!(error.contains("check the id"), "{error}");
    assert!(matches!(refused(404, "RevisionNotFound", ""), HubError::Revision { .. }));
    let error = refused(403, "GatedRepo", "").to_string();
    assert!(error.contains("accept the terms at http://127.0.0.1") && error.contains("/acme/small-model"), "{error}");
    assert!(matches!(refused(403, "", "Access to this resource is disabled."), HubError::Disabled { .. }));
    let error = refused(403, "", "not for you");
    assert!(matches!(&error, HubError::Forbidden { .. }) && error.to_string().contains("not for you"), "{error}");
    assert!(matches!(refused(400, "", ""), HubError::Request { .. }));
    let error = refused(500, "", "").to_string();
    assert!(error.contains("500") && error.contains("tried 3 times"), "{error}");
    let test_hub = TestHub::plain();
    assert!(matches!(get(&test_hub.hub(), &["no.txt"]), Err(HubError::File { .. })));
    let missing = test_hub.hub().text(ID, "main", "no.txt", 10).unwrap_err();
    assert!(matches!(missing, HubError::File { .. }), "{missing}");
    assert!(matches!(test_hub.hub().info("acme/none", "main"), Err(HubError::NotFound { .. })));
    assert!(matches!(test_hub.hub().info(ID, "v2"), Err(HubError::Revision { .. })));
}

#[test]
fn too_many_requests_are_retried_a_few_times() {
    let test_hub = TestHub::with(|_| Some(HttpResponse::text(429, "slow down").with("retry-after", "3600")));
    let error = test_hub.hub().info(ID, "main").unwrap_err();
    assert!(matches!(&error, HubError::Busy { .. }) && error.to_string().contains("wait 3600 s"), "{error}");
    assert_eq!(test_hub.seen().len(), 1);
    let test_hub = TestHub::with(|_| Some(HttpResponse::text(429, "slow down").with("retry-after", "0")));
    let error = test_hub.hub().info(ID, "main").unwrap_err();
    assert!(matches!(&error, HubError::Busy { .. }) && error.to_string().contains("tried 3 times"), "{error}");
}

#[test]
fn a_gated_model_opens_with_a_token() {
    let test_hub = TestHub::plain();
    let get = |hub: &Hub| hub.download("acme/gated", "main", &[], &HubLimits::default(), &mut |_| {});
    let error = get(&test_hub.hub()).unwrap_err();
    assert!(matches!(&error, HubError::Gated { .. }) && error.to_string().contains("/acme/gated"), "{error}");
    get(&Hub::new(HubSettings { token: Some(Secret::new(TOKEN)), ..test_hub.settings() }).unwrap()).unwrap();
}

/// A Hub whose weights are on another server, which answers with the given response and records its requests.
fn weights_elsewhere(
    answer: impl Fn() -> HttpResponse + Send + Sync + 'static,
) -> (TestHub, HubServer, Arc<Mutex<Vec<HttpRequest>>>) {
    let received = Arc::new(Mutex::new(Vec::new()));
    let keep = received.clone();
    let note = move |r: &HttpRequest| {
        keep.lock().unwrap().push(r.clone());
        Some(answer())
    };
    let empty = tempfile::TempDir::new().unwrap();
    let other = HubServer::start(empty.path(), "127.0.0.1:0", Some(Box::new(note))).unwrap();
    let to = format!("{}/signed?secret=1", other.endpoint());
    let test_hub = TestHub::with(move |r| {
        let commit = r.path.get(3).cloned().unwrap_or_default();
        r.target.ends_with(WEIGHTS).then(|| {
            let response = HttpResponse::text(302, "").with("location", &to).with("x-repo-commit", &commit);
            let response = response.with("x-linked-etag", &format!("\"{}\"", sha256(&weights())));
            response.with("x-linked-size", "3000000")
        })
    });
    (test_hub, other, received)
}

#[test]
fn the_token_stays_with_the_endpoint() {
    let (test_hub, _other, received) = weights_elsewhere(|| HttpResponse::new(200, weights()));
    let hub = Hub::new(HubSettings { token: Some(Secret::new(TOKEN)), ..test_hub.settings() }).unwrap();
    assert_eq!(fs::read(get(&hub, &[WEIGHTS]).unwrap().join(WEIGHTS)).unwrap(), weights());
    assert!(test_hub.seen().iter().all(|r| r.header("authorization") == Some("Bearer hf_not_for_your_eyes")));
    let received = received.lock().unwrap().clone();
    assert_eq!(received.len(), 1, "requests for sizes are not redirected");
    assert!(received[0].header("authorization").is_none() && !format!("{received:?}").contains(TOKEN));
    let (test_hub, _other, _) = weights_elsewhere(|| HttpResponse::text(403, TOKEN).with("x-error-message", TOKEN));
    let hub = Hub::new(HubSettings { token: Some(Secret::new(TOKEN)), ..test_hub.settings() }).unwrap();
    let (error, log) = traced(|| get(&hub, &[WEIGHTS]).unwrap_err());
    let error = format!("{error} {error:?} {hub:?}");
    assert!(!log.contains(TOKEN) && !error.contains(TOKEN), "{log} {error}");
    assert!(error.contains("403") && error.contains("tried 3 times") && !error.contains("secret=1"), "{error}");
}

#[test]
fn redirects_have_an_end_and_stay_with_http() {
    let round = TestHub::with(|r| Some(HttpResponse::text(302, "").with("location", &format!("{}&x", r.target))));
    let error = round.hub().info(ID, "main").unwrap_err().to_string();
    assert!(error.contains("redirected more than 5 times"), "{error}");
    assert_eq!(round.seen().len(), 6);
    let file = TestHub::with(|_| Some(HttpResponse::text(302, "").with("location", "file:///etc/passwd")));
    assert!(matches!(file.hub().info(ID, "main"), Err(HubError::Reply { .. })));
}

#[test]
fn a_renamed_model_is_found() {
    let test_hub = TestHub::with(|r| {
        r.target.contains("old-name").then(|| {
            let to = r.target.replace("acme/old-name", ID);
            HttpResponse::text(307, "").with("location", &to)
        })
    });
    let folder = test_hub.hub().download("acme/old-name", "main", &[], &HubLimits::default(), &mut |_| {}).unwrap();
    assert_eq!(fs::read(folder.join(WEIGHTS)).unwrap(), weights());
}

#[test]
fn wrong_bytes_never_reach_the_cache() {
    let test_hub = TestHub::with(|r| {
        let mut wrong = weights();
        wrong[2_000_000] ^= 1;
        is_weights(r).then(|| HttpResponse::new(200, wrong))
    });
    let error = get(&test_hub.hub(), &[WEIGHTS]).unwrap_err();
    assert!(matches!(&error, HubError::Damaged { name, .. } if name == WEIGHTS), "{error}");
    assert!(test_hub.blob_names().is_empty(), "{:?}", test_hub.blob_names());
    assert!(matches!(get(&test_hub.offline(), &[WEIGHTS]), Err(HubError::Offline { .. })));
    let is_config = |r: &HttpRequest| r.method == "GET" && r.target.ends_with("config.json");
    let test_hub =
        TestHub::with(move |r| is_config(r).then(|| HttpResponse::new(200, b"{\"model_type\": \"wrong\"}\n".to_vec())));
    assert!(
        matches!(get(&test_hub.hub(), &["config.json"]), Err(HubError::Damaged { .. })),
        "git's hash is checked as well"
    );
}

#[test]
fn a_hub_that_closes_in_mid_file_every_time_is_an_error_that_keeps_the_bytes() {
    let is_mended = Arc::new(AtomicBool::new(false));
    let mended = is_mended.clone();
    let test_hub = TestHub::with(move |r| {
        (is_weights(r) && !mended.load(Ordering::SeqCst)).then(|| {
            if r.header("range").is_none() {
                return cut_off(&weights(), 1_234_567);
            }
            let mut response = HttpResponse::new(206, Vec::new());
            response.length = Some(3_000_000 - 1_234_567);
            response.with("content-range", "bytes 1234567-2999999/3000000")
        })
    });
    let hub = Hub::new(HubSettings { tries: 2, ..test_hub.settings() }).unwrap();
    let error = get(&hub, &[WEIGHTS]).unwrap_err();
    assert!(matches!(&error, HubError::Request { .. }) && error.to_string().contains("tried 2 times"), "{error}");
    assert_eq!(test_hub.blob_names(), [format!("{}.incomplete", sha256(&weights()))]);
    assert!(matches!(get(&test_hub.offline(), &[WEIGHTS]), Err(HubError::Offline { .. })), "half a file is no file");
    is_mended.store(true, Ordering::SeqCst);
    test_hub.forget();
    assert_eq!(fs::read(get(&hub, &[WEIGHTS]).unwrap().join(WEIGHTS)).unwrap(), weights());
    assert_eq!(test_hub.bodies(), [Some("bytes=1234567-".to_owned())]);
}

#[test]
fn a_file_that_changes_between_two_parts_of_its_download_is_not_patched_together() {
    let other: Vec<u8> = weights().iter().map(|byte| byte ^ 0x55).collect();
    let test_hub = TestHub::with(move |r| {
        is_weights(r).then(|| match r.header("range") {
            None => cut_off(&weights(), 1_234_567),
            Some(_) => HttpResponse::new(206, other[1_234_567..].to_vec())
                .with("content-range", "bytes 1234567-2999999/3000000"),
        })
    });
    let error = get(&test_hub.hub(), &[WEIGHTS]).unwrap_err();
    assert!(matches!(&error, HubError::Damaged { name, .. } if name == WEIGHTS), "{error}");
    assert!(test_hub.blob_names().is_empty(), "{:?}", test_hub.blob_names());
}

#[test]
fn size_limits_are_checked_before_the_first_byte() {
    let test_hub = TestHub::plain();
    let get = |limits: &HubLimits| test_hub.hub().download(ID, "main", &[], limits, &mut |_| {}).unwrap_err();
    let error = get(&limited(2_999_999, u64::MAX));
    assert!(matches!(&error, HubError::TooLarge { bytes: 3_000_000, limit: 2_999_999, .. }), "{error}");
    assert!(error.to_string().contains(WEIGHTS), "{error}");
    assert!(matches!(get(&limited(u64::MAX, 3_000_000)), HubError::TooLarge { .. }));
    assert!(test_hub.seen().iter().all(|r| r.path[0] == "api") && test_hub.blob_names().is_empty());
}

#[test]
fn a_download_ends_at_its_deadline_and_keeps_its_bytes() {
    let test_hub = TestHub::with(|r| {
        is_weights(r).then(|| {
            let mut response = HttpResponse::new(200, Vec::new());
            (response.length, response.body) = (Some(3_000_000), Box::new(Stuck(weights()[..5000].to_vec(), 0)));
            response
        })
    });
    let limits = HubLimits { deadline: Duration::from_millis(500), ..HubLimits::default() };
    let error = test_hub.hub().download(ID, "main", &[WEIGHTS], &limits, &mut |_| {}).unwrap_err();
    assert!(matches!(&error, HubError::Deadline { .. }) && error.to_string().contains("continues"), "{error}");
    assert_eq!(test_hub.blob_names(), [format!("{}.incomplete", sha256(&weights()))]);
}

/// A Hub whose information on its model is changed.
fn with_info(change: impl Fn(&mut Value) + Send + Sync + 'static) -> TestHub {
    let info = TestHub::plain();
    let source = Hub::new(info.settings()).unwrap().info(ID, "main").unwrap();
    let siblings = source.siblings.iter().map(|s| {
        let mut about = json!({"rfilename": s.name, "size": s.size, "blobId": s.blob});
        if let Some(sha256) = &s.sha256 {
            about["lfs"] = json!({"sha256": sha256, "size": s.size, "pointerSize": 130});
        }
        about
    });
    let mut about = json!({"id": ID, "sha": source.commit, "siblings": siblings.collect::<Vec<_>>()});
    change(&mut about);
    TestHub::with(move |r| (r.path[0] == "api").then(|| HttpResponse::json(&about)))
}

#[test]
fn sizes_and_hashes_that_do_not_agree_are_refused() {
    let test_hub = with_info(|_| {});
    get(&test_hub.hub(), &[]).unwrap();
    let test_hub = with_info(|about| about["siblings"][1]["size"] = 1000.into());
    assert!(matches!(get(&test_hub.hub(), &[]), Err(HubError::Reply { .. })));
    let test_hub = with_info(|about| about["siblings"][3]["lfs"]["sha256"] = "a".repeat(64).into());
    assert!(matches!(get(&test_hub.hub(), &[]), Err(HubError::Reply { .. })));
    assert!(test_hub.bodies().is_empty());
}

#[test]
fn a_file_longer_than_announced_is_refused() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let test_hub = TestHub::with(move |r| {
        let count = count.clone();
        (r.method == "GET" && r.target.ends_with("config.json")).then(|| {
            let mut flood = HttpResponse::new(200, Vec::new());
            let bytes = std::iter::repeat_with(move || {
                count.fetch_add(1, Ordering::SeqCst);
                b'x'
            });
            (flood.length, flood.body) = (None, Box::new(Bytes(bytes)));
            flood
        })
    });
    let error = get(&test_hub.hub(), &["config.json"]).unwrap_err();
    assert!(matches!(error, HubError::Damaged { .. }), "{error}");
    assert!(test_hub.blob_names().is_empty() && sent.load(Ordering::SeqCst) < 64 << 20);
    let test_hub = TestHub::with(|r| {
        let long = || cut_off(&vec![0; 1 << 20], 1 << 20);
        (r.method == "GET" && r.target.ends_with("config.json")).then(long)
    });
    let error = get(&test_hub.hub(), &["config.json"]).unwrap_err();
    assert!(matches!(&error, HubError::Reply { message, .. } if message.contains("1048576")), "{error}");
}

struct Bytes<I>(I);

impl<I: Iterator<Item = u8>> std::io::Read for Bytes<I> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        to.iter_mut().zip(&mut self.0).map(|(to, byte)| *to = byte).count();
        Ok(to.len())
    }
}

#[test]
fn a_disk_without_room_is_an_error_before_the_download() {
    let hash = "a".repeat(64);
    let listed = hash.clone();
    let test_hub = TestHub::with(move |r| {
        let commit = "b".repeat(40);
        if r.path[0] == "api" {
            let file =
                json!({"rfilename": WEIGHTS, "size": 1_u64 << 60, "lfs": {"sha256": listed, "size": 1_u64 << 60}});
            return Some(HttpResponse::json(&json!({"id": ID, "sha": commit, "siblings": [file]})));
        }
        let response = HttpResponse::text(200, "").with("x-repo-commit", &commit).with("x-linked-etag", &listed);
        Some(response.with("x-linked-size", &(1_u64 << 60).to_string()))
    });
    let error = get(&test_hub.hub(), &[]).unwrap_err();
    assert!(matches!(&error, HubError::Disk { need, .. } if *need == 1 << 60), "{error}");
    assert!(error.to_string().contains("HF_HUB_CACHE") && test_hub.blob_names().is_empty());
}

#[test]
fn names_that_would_leave_their_folder_are_refused() {
    let test_hub = TestHub::plain();
    let bad = ["", "a/b/c", "../etc", "a/..", "a--b", "-a/b", "a/b.", "a/b.git", "a b", "a/\u{e9}", "/a", "a/", "a\0b"];
    for id in bad.into_iter().map(str::to_owned).chain(["a".repeat(97)]) {
        assert!(matches!(test_hub.hub().info(&id, "main"), Err(HubError::Name(_))), "{id:?}");
    }
    let files = ["../x", "/etc/passwd", "a/../b", "a\\b", "a//b", "./a", "a/.", "", "C:x", "a/c:b", "a\nb", "a\u{7f}b"];
    for name in files {
        assert!(matches!(get(&test_hub.hub(), &[name]), Err(HubError::Name(_))), "{name:?}");
        assert!(matches!(test_hub.hub().text(ID, "main", name, 9), Err(HubError::Name(_))), "{name:?}");
        let listing = with_info(move |about| about["siblings"][0]["rfilename"] = name.into());
        assert!(matches!(get(&listing.hub(), &[]), Err(HubError::Reply { .. })), "{name:?}");
    }
    for revision in ["..", "../main", "a//b", "/main", "a b", ".hidden", "a.lock", "", "refs/../x"] {
        assert!(matches!(test_hub.hub().info(ID, revision), Err(HubError::Name(_))), "{revision:?}");
    }
    let twice = with_info(|about| about["siblings"][1]["rfilename"] = "README.md".into());
    assert!(matches!(get(&twice.hub(), &[]), Err(HubError::Reply { .. })));
    let many = with_info(|about| {
        about["siblings"] = (0..60_000).map(|n| json!({"rfilename": format!("f{n}")})).collect();
    });
    let error = get(&many.hub(), &[]).unwrap_err().to_string();
    assert!(error.contains("60000 files"), "{error}");
    let etag = TestHub::with(|r| {
        (r.method == "HEAD").then(|| {
            let response = HttpResponse::text(200, "").with("etag", "\"../../../etc/passwd\"");
            response.with("x-repo-commit", &r.path[3]).with("x-linked-size", "23")
        })
    });
    let error = get(&etag.hub(), &["config.json"]).unwrap_err().to_string();
    assert!(error.contains("not a hash"), "{error}");
}

#[test]
fn the_server_serves_only_its_folder() {
    let test_hub = TestHub::plain();
    let outside = tempfile::TempDir::new().unwrap();
    fs::write(outside.path().join("secret.txt"), "secret").unwrap();
    std::os::unix::fs::symlink(outside.path(), test_hub.folder.path().join("acme/linked")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret.txt"), test_hub.folder.path().join(ID).join("s.txt"))
        .unwrap();
    fs::write(test_hub.folder.path().join("above.txt"), "above").unwrap();
    let ask = |head: &str| {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(test_hub.server.address()).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let get = |target: &str| ask(&format!("GET {target} HTTP/1.1\r\nconnection: close\r\n\r\n"));
    for name in
        ["../../above.txt", "..%2F..%2Fabove.txt", "%2e%2e/%2e%2e/above.txt", "s.txt", "/etc/passwd", "a\\..\\b", "%00"]
    {
        let text = get(&format!("/{ID}/resolve/main/{name}"));
        assert!(text.starts_with("HTTP/1.1 404") && !text.contains("above") && !text.contains("secret"), "{text}");
    }
    assert!(get("/acme/linked/resolve/main/secret.txt").starts_with("HTTP/1.1 404"));
    assert!(get("/../../etc/passwd").starts_with("HTTP/1.1 404"));
    assert!(get("/api/models/..%2F../x").starts_with("HTTP/1.1 404"));
    assert!(get("/%zz").starts_with("HTTP/1.1 400") && ask("nonsense\r\n\r\n").starts_with("HTTP/1.1 400"));
    assert!(ask("POST /api/models HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405"));
    assert!(ask(&format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(20_000))).starts_with("HTTP/1.1 431"));
    let part = |range: &str| {
        ask(&format!("GET /{ID}/resolve/main/config.json HTTP/1.1\r\nrange: {range}\r\nconnection: close\r\n\r\n"))
    };
    assert!(part("bytes=2-6").starts_with("HTTP/1.1 206") && part("bytes=2-6").ends_with("\r\n\r\nmodel"));
    assert!(part("bytes=-2").ends_with("\r\n\r\n}\n") && part("bytes=24-").starts_with("HTTP/1.1 416"));
    assert!(part("bytes=9-2").starts_with("HTTP/1.1 200") && part("lines=1-").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_dropped_server_is_stopped() {
    let test_hub = TestHub::plain();
    let address = test_hub.server.address();
    let stream = std::net::TcpStream::connect(address).unwrap();
    drop(test_hub);
    assert!(std::net::TcpStream::connect(address).is_err());
    drop(stream);
}
