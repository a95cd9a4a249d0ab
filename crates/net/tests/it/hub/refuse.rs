//! What is refused, and in which words.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rlar_net::Secret;
use rlar_net::hub::serve::{HttpRequest, HttpResponse, HubServer};
use rlar_net::hub::{Hub, HubError, HubLimits, HubSettings};
use serde_json::{Value, json};

use crate::traces::traced;

use super::shop::{ID, Shop, Stuck, TOKEN, WEIGHTS, cut_off, get, is_weights, sha256, weights};

fn limited(file: u64, all: u64) -> HubLimits {
    HubLimits { file, all, ..HubLimits::default() }
}

/// Answers with one refusal whatever is asked.
fn refusing(status: u16, code: &'static str, words: &'static str) -> Shop {
    Shop::with(move |_| {
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
    let shop = Shop::plain();
    assert!(matches!(get(&shop.hub(), &["no.txt"]), Err(HubError::File { .. })));
    let missing = shop.hub().text(ID, "main", "no.txt", 10).unwrap_err();
    assert!(matches!(missing, HubError::File { .. }), "{missing}");
    assert!(matches!(shop.hub().info("acme/none", "main"), Err(HubError::NotFound { .. })));
    assert!(matches!(shop.hub().info(ID, "v2"), Err(HubError::Revision { .. })));
}

#[test]
fn too_many_requests_are_waited_for_but_not_for_ever() {
    let shop = Shop::with(|_| Some(HttpResponse::text(429, "slow down").with("retry-after", "3600")));
    let error = shop.hub().info(ID, "main").unwrap_err();
    assert!(matches!(&error, HubError::Busy { .. }) && error.to_string().contains("wait 3600 s"), "{error}");
    assert_eq!(shop.seen().len(), 1);
    let shop = Shop::with(|_| Some(HttpResponse::text(429, "slow down").with("retry-after", "0")));
    let error = shop.hub().info(ID, "main").unwrap_err();
    assert!(matches!(&error, HubError::Busy { .. }) && error.to_string().contains("tried 3 times"), "{error}");
}

#[test]
fn a_gated_model_opens_with_a_token() {
    let shop = Shop::plain();
    let get = |hub: &Hub| hub.download("acme/gated", "main", &[], &HubLimits::default(), &mut |_| {});
    let error = get(&shop.hub()).unwrap_err();
    assert!(matches!(&error, HubError::Gated { .. }) && error.to_string().contains("/acme/gated"), "{error}");
    get(&Hub::new(HubSettings { token: Some(Secret::new(TOKEN)), ..shop.settings() }).unwrap()).unwrap();
}

/// A shop whose weights are on another server, which answers with the given response and notes what it is told.
fn elsewhere(
    answer: impl Fn() -> HttpResponse + Send + Sync + 'static,
) -> (Shop, HubServer, Arc<Mutex<Vec<HttpRequest>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let keep = told.clone();
    let note = move |r: &HttpRequest| {
        keep.lock().unwrap().push(r.clone());
        Some(answer())
    };
    let empty = tempfile::TempDir::new().unwrap();
    let other = HubServer::start(empty.path(), "127.0.0.1:0", Some(Box::new(note))).unwrap();
    let to = format!("{}/signed?secret=1", other.endpoint());
    let shop = Shop::with(move |r| {
        let commit = r.path.get(3).cloned().unwrap_or_default();
        r.target.ends_with(WEIGHTS).then(|| {
            let response = HttpResponse::text(302, "").with("location", &to).with("x-repo-commit", &commit);
            let response = response.with("x-linked-etag", &format!("\"{}\"", sha256(&weights())));
            response.with("x-linked-size", "3000000")
        })
    });
    (shop, other, told)
}

#[test]
fn the_token_stays_with_the_endpoint() {
    let (shop, _other, told) = elsewhere(|| HttpResponse::new(200, weights()));
    let hub = Hub::new(HubSettings { token: Some(Secret::new(TOKEN)), ..shop.settings() }).unwrap();
    assert_eq!(fs::read(get(&hub, &[WEIGHTS]).unwrap().join(WEIGHTS)).unwrap(), weights());
    assert!(shop.seen().iter().all(|r| r.header("authorization") == Some("Bearer hf_not_for_your_eyes")));
    let told = told.lock().unwrap().clone();
    assert_eq!(told.len(), 1, "and asking for sizes does not leave it");
    assert!(told[0].header("authorization").is_none() && !format!("{told:?}").contains(TOKEN));
    let (shop, _other, _) = elsewhere(|| HttpResponse::text(403, TOKEN).with("x-error-message", TOKEN));
    let hub = Hub::new(HubSettings { token: Some(Secret::new(TOKEN)), ..shop.settings() }).unwrap();
    let (error, log) = traced(|| get(&hub, &[WEIGHTS]).unwrap_err());
    let error = format!("{error} {error:?} {hub:?}");
    assert!(!log.contains(TOKEN) && !error.contains(TOKEN), "{log} {error}");
    assert!(error.contains("403") && error.contains("tried 3 times") && !error.contains("secret=1"), "{error}");
}

#[test]
fn redirects_have_an_end_and_stay_with_http() {
    let round = Shop::with(|r| Some(HttpResponse::text(302, "").with("location", &format!("{}&x", r.target))));
    let error = round.hub().info(ID, "main").unwrap_err().to_string();
    assert!(error.contains("redirected more than 5 times"), "{error}");
    assert_eq!(round.seen().len(), 6);
    let file = Shop::with(|_| Some(HttpResponse::text(302, "").with("location", "file:///etc/passwd")));
    assert!(matches!(file.hub().info(ID, "main"), Err(HubError::Reply { .. })));
}

#[test]
fn a_renamed_model_is_found() {
    let shop = Shop::with(|r| {
        r.target.contains("old-name").then(|| {
            let to = r.target.replace("acme/old-name", ID);
            HttpResponse::text(307, "").with("location", &to)
        })
    });
    let folder = shop.hub().download("acme/old-name", "main", &[], &HubLimits::default(), &mut |_| {}).unwrap();
    assert_eq!(fs::read(folder.join(WEIGHTS)).unwrap(), weights());
}

#[test]
fn wrong_bytes_never_reach_the_cache() {
    let shop = Shop::with(|r| {
        let mut wrong = weights();
        wrong[2_000_000] ^= 1;
        is_weights(r).then(|| HttpResponse::new(200, wrong))
    });
    let error = get(&shop.hub(), &[WEIGHTS]).unwrap_err();
    assert!(matches!(&error, HubError::Damaged { name, .. } if name == WEIGHTS), "{error}");
    assert!(shop.blob_names().is_empty(), "{:?}", shop.blob_names());
    assert!(matches!(get(&shop.offline(), &[WEIGHTS]), Err(HubError::Offline { .. })));
    let is_config = |r: &HttpRequest| r.method == "GET" && r.target.ends_with("config.json");
    let shop =
        Shop::with(move |r| is_config(r).then(|| HttpResponse::new(200, b"{\"model_type\": \"wrong\"}\n".to_vec())));
    assert!(matches!(get(&shop.hub(), &["config.json"]), Err(HubError::Damaged { .. })), "git's hash counts as well");
}

#[test]
fn budgets_are_checked_before_a_byte_is_asked_for() {
    let shop = Shop::plain();
    let get = |limits: &HubLimits| shop.hub().download(ID, "main", &[], limits, &mut |_| {}).unwrap_err();
    let error = get(&limited(2_999_999, u64::MAX));
    assert!(matches!(&error, HubError::TooLarge { bytes: 3_000_000, limit: 2_999_999, .. }), "{error}");
    assert!(error.to_string().contains(WEIGHTS), "{error}");
    assert!(matches!(get(&limited(u64::MAX, 3_000_000)), HubError::TooLarge { .. }));
    assert!(shop.seen().iter().all(|r| r.path[0] == "api") && shop.blob_names().is_empty());
}

#[test]
fn a_download_ends_at_its_deadline_and_keeps_what_came() {
    let shop = Shop::with(|r| {
        is_weights(r).then(|| {
            let mut response = HttpResponse::new(200, Vec::new());
            (response.length, response.body) = (Some(3_000_000), Box::new(Stuck(weights()[..5000].to_vec(), 0)));
            response
        })
    });
    let limits = HubLimits { deadline: Duration::from_millis(500), ..HubLimits::default() };
    let error = shop.hub().download(ID, "main", &[WEIGHTS], &limits, &mut |_| {}).unwrap_err();
    assert!(matches!(&error, HubError::Deadline { .. }) && error.to_string().contains("continues"), "{error}");
    assert_eq!(shop.blob_names(), [format!("{}.incomplete", sha256(&weights()))]);
}

/// A shop that says something else of its model.
fn saying(change: impl Fn(&mut Value) + Send + Sync + 'static) -> Shop {
    let info = Shop::plain();
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
    Shop::with(move |r| (r.path[0] == "api").then(|| HttpResponse::json(&about)))
}

#[test]
fn sizes_and_hashes_that_do_not_agree_are_refused() {
    let shop = saying(|_| {});
    get(&shop.hub(), &[]).unwrap();
    let shop = saying(|about| about["siblings"][1]["size"] = 1000.into());
    assert!(matches!(get(&shop.hub(), &[]), Err(HubError::Reply { .. })));
    let shop = saying(|about| about["siblings"][3]["lfs"]["sha256"] = "a".repeat(64).into());
    assert!(matches!(get(&shop.hub(), &[]), Err(HubError::Reply { .. })));
    assert!(shop.bodies().is_empty());
}

#[test]
fn a_file_that_is_longer_than_it_says_is_not_followed() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let shop = Shop::with(move |r| {
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
    let error = get(&shop.hub(), &["config.json"]).unwrap_err();
    assert!(matches!(error, HubError::Damaged { .. }), "{error}");
    assert!(shop.blob_names().is_empty() && sent.load(Ordering::SeqCst) < 64 << 20);
    let shop = Shop::with(|r| {
        let long = || cut_off(&vec![0; 1 << 20], 1 << 20);
        (r.method == "GET" && r.target.ends_with("config.json")).then(long)
    });
    let error = get(&shop.hub(), &["config.json"]).unwrap_err();
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
fn a_disk_without_room_is_noticed_first() {
    let hash = "a".repeat(64);
    let listed = hash.clone();
    let shop = Shop::with(move |r| {
        let commit = "b".repeat(40);
        if r.path[0] == "api" {
            let file =
                json!({"rfilename": WEIGHTS, "size": 1_u64 << 60, "lfs": {"sha256": listed, "size": 1_u64 << 60}});
            return Some(HttpResponse::json(&json!({"id": ID, "sha": commit, "siblings": [file]})));
        }
        let response = HttpResponse::text(200, "").with("x-repo-commit", &commit).with("x-linked-etag", &listed);
        Some(response.with("x-linked-size", &(1_u64 << 60).to_string()))
    });
    let error = get(&shop.hub(), &[]).unwrap_err();
    assert!(matches!(&error, HubError::Disk { need, .. } if *need == 1 << 60), "{error}");
    assert!(error.to_string().contains("HF_HUB_CACHE") && shop.blob_names().is_empty());
}

#[test]
fn names_that_would_leave_their_folder_are_refused() {
    let shop = Shop::plain();
    let bad = ["", "a/b/c", "../etc", "a/..", "a--b", "-a/b", "a/b.", "a/b.git", "a b", "a/\u{e9}", "/a", "a/", "a\0b"];
    for id in bad.into_iter().map(str::to_owned).chain(["a".repeat(97)]) {
        assert!(matches!(shop.hub().info(&id, "main"), Err(HubError::Name(_))), "{id:?}");
    }
    let files = ["../x", "/etc/passwd", "a/../b", "a\\b", "a//b", "./a", "a/.", "", "C:x", "a/c:b", "a\nb", "a\u{7f}b"];
    for name in files {
        assert!(matches!(get(&shop.hub(), &[name]), Err(HubError::Name(_))), "{name:?}");
        assert!(matches!(shop.hub().text(ID, "main", name, 9), Err(HubError::Name(_))), "{name:?}");
        let listing = saying(move |about| about["siblings"][0]["rfilename"] = name.into());
        assert!(matches!(get(&listing.hub(), &[]), Err(HubError::Reply { .. })), "{name:?}");
    }
    for revision in ["..", "../main", "a//b", "/main", "a b", ".hidden", "a.lock", "", "refs/../x"] {
        assert!(matches!(shop.hub().info(ID, revision), Err(HubError::Name(_))), "{revision:?}");
    }
    let twice = saying(|about| about["siblings"][1]["rfilename"] = "README.md".into());
    assert!(matches!(get(&twice.hub(), &[]), Err(HubError::Reply { .. })));
    let many = saying(|about| {
        about["siblings"] = (0..60_000).map(|n| json!({"rfilename": format!("f{n}")})).collect();
    });
    let error = get(&many.hub(), &[]).unwrap_err().to_string();
    assert!(error.contains("60000 files"), "{error}");
    let etag = Shop::with(|r| {
        (r.method == "HEAD").then(|| {
            let response = HttpResponse::text(200, "").with("etag", "\"../../../etc/passwd\"");
            response.with("x-repo-commit", &r.path[3]).with("x-linked-size", "23")
        })
    });
    let error = get(&etag.hub(), &["config.json"]).unwrap_err().to_string();
    assert!(error.contains("not a hash"), "{error}");
}

#[test]
fn the_server_serves_its_folder_alone() {
    let shop = Shop::plain();
    let outside = tempfile::TempDir::new().unwrap();
    fs::write(outside.path().join("secret.txt"), "secret").unwrap();
    std::os::unix::fs::symlink(outside.path(), shop.folder.path().join("acme/linked")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret.txt"), shop.folder.path().join(ID).join("s.txt")).unwrap();
    fs::write(shop.folder.path().join("above.txt"), "above").unwrap();
    let ask = |head: &str| {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(shop.server.address()).unwrap();
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
fn a_dropped_server_is_gone() {
    let shop = Shop::plain();
    let address = shop.server.address();
    let stream = std::net::TcpStream::connect(address).unwrap();
    drop(shop);
    assert!(std::net::TcpStream::connect(address).is_err());
    drop(stream);
}
