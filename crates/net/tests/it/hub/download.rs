//! Downloads that succeed, at once or after retries.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use rlar_net::hub::serve::HttpResponse;
use rlar_net::hub::{Hub, HubError, HubLimits, HubSettings, Search};

use super::test_hub::{ID, Stuck, TestHub, WEIGHTS, cut_off, get, is_weights, sha256, weights};

#[test]
fn a_download_has_the_layout_of_the_official_client() {
    let test_hub = TestHub::plain();
    let mut events = Vec::new();
    let mut progress = |p: &rlar_net::hub::DownloadProgress| events.push((p.name.to_owned(), p.done, p.total));
    let folder = test_hub.hub().download(ID, "main", &[], &HubLimits::default(), &mut progress).unwrap();
    let commit = test_hub.info().commit;
    let model = test_hub.cache.path().join("models--acme--small-model");
    assert_eq!(folder, model.join("snapshots").join(&commit));
    assert_eq!(fs::read_to_string(model.join("refs/main")).unwrap(), commit);
    assert_eq!(fs::read(folder.join(WEIGHTS)).unwrap(), weights());
    let hash = sha256(&weights());
    let target = |name: &str| fs::read_link(folder.join(name)).unwrap().into_os_string().into_string().unwrap();
    assert_eq!(target(WEIGHTS), format!("../../blobs/{hash}"));
    assert!(target("onnx/a b \u{e9}\u{1f600}+%.txt").starts_with("../../../blobs/"));
    assert!(test_hub.cache.path().join(format!(".locks/models--acme--small-model/{hash}.lock")).exists());
    assert_eq!(test_hub.blob_names().len(), 5);
    assert!(
        events.contains(&(WEIGHTS.into(), 3_000_000, 3_000_000)) && events.contains(&(WEIGHTS.into(), 0, 3_000_000))
    );
    assert!(events.is_sorted_by(|a, b| a.0 != b.0 || a.1 <= b.1), "progress does not go back");
}

#[test]
fn without_links_a_snapshot_has_the_files_themselves() {
    let test_hub = TestHub::plain();
    let hub = Hub::new(HubSettings { symlinks: false, ..test_hub.settings() }).unwrap();
    let folder = get(&hub, &[]).unwrap();
    assert!(fs::symlink_metadata(folder.join(WEIGHTS)).unwrap().is_file());
    assert!(fs::symlink_metadata(folder.join("onnx/a b \u{e9}\u{1f600}+%.txt")).unwrap().is_file());
    assert_eq!(fs::read(folder.join(WEIGHTS)).unwrap(), weights());
    assert!(test_hub.blob_names().is_empty(), "no file is stored twice: {:?}", test_hub.blob_names());
    // The snapshot is whole, with and without links, and without a network.
    test_hub.forget();
    assert_eq!(get(&hub, &[]).unwrap(), folder);
    assert_eq!(get(&test_hub.hub(), &[]).unwrap(), folder);
    assert!(test_hub.bodies().is_empty());
    assert_eq!(get(&Hub::new(HubSettings { offline: true, ..hub.settings().clone() }).unwrap(), &[]).unwrap(), folder);
}

#[test]
fn a_blob_that_other_snapshots_are_linked_to_is_copied() {
    let test_hub = TestHub::plain();
    let linked = get(&test_hub.hub(), &[WEIGHTS]).unwrap();
    // Another snapshot of the same model lacks the file, as another commit with the same weights would.
    fs::remove_file(linked.join(WEIGHTS)).unwrap();
    let hub = Hub::new(HubSettings { symlinks: false, ..test_hub.settings() }).unwrap();
    let folder = get(&hub, &[WEIGHTS]).unwrap();
    assert!(fs::symlink_metadata(folder.join(WEIGHTS)).unwrap().is_file());
    assert!(test_hub.blob_names().contains(&sha256(&weights())), "links to the blob stay valid");
    assert_eq!(test_hub.bodies().len(), 1, "the bytes are downloaded once");
}

#[test]
fn another_file_under_the_same_name_is_another_snapshot() {
    let test_hub = TestHub::plain();
    let before = get(&test_hub.hub(), &[]).unwrap();
    let other = [weights(), vec![7]].concat();
    fs::write(test_hub.folder.path().join(ID).join(WEIGHTS), &other).unwrap();
    test_hub.forget();
    let after = get(&test_hub.hub(), &[]).unwrap();
    assert_ne!(before, after);
    assert_eq!(test_hub.bodies(), [None], "files that did not change are not downloaded again");
    assert_eq!(fs::read(before.join(WEIGHTS)).unwrap(), weights());
    assert_eq!(fs::read(after.join(WEIGHTS)).unwrap(), other);
    assert_eq!(get(&test_hub.offline(), &[]).unwrap(), after);
}

#[test]
fn cached_files_are_not_requested_again() {
    let test_hub = TestHub::plain();
    let folder = get(&test_hub.hub(), &["config.json"]).unwrap();
    assert!(!folder.join(WEIGHTS).exists(), "only the named file is downloaded");
    assert_eq!(test_hub.bodies().len(), 1);
    get(&test_hub.hub(), &[]).unwrap();
    assert_eq!(test_hub.bodies().len(), 4, "an empty file needs no request");
    test_hub.forget();
    assert_eq!(get(&test_hub.hub(), &[]).unwrap(), folder);
    assert!(test_hub.bodies().is_empty() && !test_hub.seen().is_empty());
    let commit = folder.file_name().unwrap().to_str().unwrap();
    test_hub.forget();
    test_hub.hub().download(ID, commit, &[], &HubLimits::default(), &mut |_| {}).unwrap();
    assert!(test_hub.seen().is_empty(), "a whole commit needs no network");
}

#[test]
fn a_cut_off_download_continues_with_a_range() {
    let count = AtomicUsize::new(0);
    let test_hub = TestHub::with(move |r| {
        let is_first = is_weights(r) && count.fetch_add(1, Ordering::SeqCst) == 0;
        is_first.then(|| cut_off(&weights(), 1_234_567))
    });
    let folder = get(&test_hub.hub(), &[WEIGHTS]).unwrap();
    assert_eq!(fs::read(folder.join(WEIGHTS)).unwrap(), weights());
    assert_eq!(test_hub.bodies(), [None, Some("bytes=1234567-".to_owned())]);
}

#[test]
fn progress_between_failures_allows_more_tries() {
    let count = AtomicUsize::new(0);
    let test_hub = TestHub::with(move |r| {
        let n = if is_weights(r) { count.fetch_add(1, Ordering::SeqCst) } else { 99 };
        // Each of the first ten responses ends after 1000 more bytes.
        (n < 10).then(|| {
            let (all, from) = (weights(), n * 1000);
            let mut response = HttpResponse::new(if n == 0 { 200 } else { 206 }, all[from..from + 1000].to_vec());
            response.length = Some((all.len() - from) as u64);
            let range = format!("bytes {from}-{}/{}", all.len() - 1, all.len());
            if n == 0 { response } else { response.with("content-range", &range) }
        })
    });
    let hub = Hub::new(HubSettings { tries: 2, ..test_hub.settings() }).unwrap();
    assert_eq!(fs::read(get(&hub, &[WEIGHTS]).unwrap().join(WEIGHTS)).unwrap(), weights());
    assert_eq!(test_hub.bodies().len(), 11);
}

#[test]
fn a_stalled_download_is_retried() {
    let count = AtomicUsize::new(0);
    let test_hub = TestHub::with(move |r| {
        let is_first = is_weights(r) && count.fetch_add(1, Ordering::SeqCst) == 0;
        is_first.then(|| {
            let mut response = HttpResponse::new(200, Vec::new());
            (response.length, response.body) = (Some(3_000_000), Box::new(Stuck(weights()[..5000].to_vec(), 0)));
            response
        })
    });
    let hub = Hub::new(HubSettings { idle_timeout: Duration::from_millis(300), ..test_hub.settings() }).unwrap();
    assert_eq!(fs::read(get(&hub, &[WEIGHTS]).unwrap().join(WEIGHTS)).unwrap(), weights());
    assert_eq!(test_hub.bodies(), [None, Some("bytes=5000-".to_owned())]);
}

#[test]
fn a_download_starts_again_if_it_cannot_be_resumed() {
    // A server that answers a range with the whole file.
    let test_hub =
        TestHub::with(|r| (is_weights(r) && r.header("range").is_some()).then(|| HttpResponse::new(200, weights())));
    let write_partial = |test_hub: &TestHub, bytes: &[u8]| {
        fs::create_dir_all(test_hub.blobs()).unwrap();
        fs::write(test_hub.blobs().join(format!("{}.incomplete", sha256(&weights()))), bytes).unwrap();
    };
    let whole =
        |test_hub: &TestHub| fs::read(get(&test_hub.hub(), &[WEIGHTS]).unwrap().join(WEIGHTS)).unwrap() == weights();
    write_partial(&test_hub, &weights()[..77]);
    assert!(whole(&test_hub));
    assert_eq!(test_hub.bodies(), [Some("bytes=77-".to_owned())]);
    let test_hub = TestHub::plain();
    write_partial(&test_hub, b"something else");
    assert!(whole(&test_hub), "a partial file of other bytes is deleted");
    assert_eq!(test_hub.bodies(), [Some("bytes=14-".to_owned()), None]);
    let test_hub = TestHub::plain();
    write_partial(&test_hub, &vec![0; 3_000_001]);
    assert!(whole(&test_hub), "and so is one that is too long");
    let test_hub = TestHub::plain();
    write_partial(&test_hub, &weights());
    assert!(whole(&test_hub) && test_hub.bodies().is_empty(), "a complete one is used");
    let test_hub =
        TestHub::with(|r| (is_weights(r) && r.header("range").is_some()).then(|| HttpResponse::text(416, "no")));
    write_partial(&test_hub, &weights()[..77]);
    assert!(whole(&test_hub));
    assert_eq!(test_hub.bodies(), [Some("bytes=77-".to_owned()), None]);
}

#[test]
fn a_busy_server_is_retried() {
    let count = AtomicUsize::new(0);
    let test_hub = TestHub::with(move |r| match (is_weights(r), count.fetch_add(1, Ordering::SeqCst)) {
        (_, 0) => Some(HttpResponse::text(503, "busy")),
        (_, 1) => Some(HttpResponse::text(429, "slow").with("retry-after", "0")),
        _ => None,
    });
    get(&test_hub.hub(), &[]).unwrap();
    assert_eq!(test_hub.blob_names().len(), 5);
}

#[test]
fn offline_mode_uses_the_cache_only() {
    let test_hub = TestHub::plain();
    let missing = |names: &[&str]| get(&test_hub.offline(), names).unwrap_err().to_string();
    assert!(missing(&[]).contains("acme/small-model at `main` is not in the cache"), "{}", missing(&[]));
    let folder = get(&test_hub.hub(), &["config.json", "README.md"]).unwrap();
    test_hub.forget();
    assert_eq!(get(&test_hub.offline(), &["config.json"]).unwrap(), folder);
    assert!(missing(&[WEIGHTS]).contains("model.safetensors") && missing(&[]).contains("HF_HUB_OFFLINE"));
    assert!(test_hub.offline().text(ID, "main", "README.md", 1000).unwrap().contains("# Small"));
    assert!(matches!(test_hub.offline().info(ID, "main"), Err(HubError::Offline { .. })));
    assert!(matches!(test_hub.offline().search(&Search::default()), Err(HubError::Offline { .. })));
    assert!(test_hub.seen().is_empty());
    get(&test_hub.hub(), &[]).unwrap();
    assert_eq!(get(&test_hub.offline(), &[]).unwrap(), folder, "the list of files says that this is all");
}

#[test]
fn threads_that_want_the_same_share_one_download() {
    let test_hub = TestHub::plain();
    let hub = test_hub.hub();
    std::thread::scope(|scope| {
        let threads = [(); 6].map(|()| scope.spawn(|| get(&hub, &[]).unwrap()));
        for thread in threads {
            assert_eq!(fs::read(thread.join().unwrap().join(WEIGHTS)).unwrap(), weights());
        }
    });
    assert_eq!(test_hub.bodies().len(), 4);
    assert_eq!(test_hub.blob_names().len(), 5);
}

#[test]
fn threads_that_want_the_same_share_one_download_without_links() {
    let (checked, both_checked) = (Mutex::new(0), Condvar::new());
    // No byte is sent before both threads have found that the cache lacks the file.
    let test_hub = TestHub::with(move |request| {
        let mut checked = checked.lock().unwrap();
        if request.method == "HEAD" && request.path[0] != "lfs" {
            *checked += 1;
            both_checked.notify_all();
        } else if is_weights(request) {
            drop(both_checked.wait_timeout_while(checked, Duration::from_secs(2), |n| *n < 2).unwrap());
        }
        None
    });
    let hub = Hub::new(HubSettings { symlinks: false, ..test_hub.settings() }).unwrap();
    std::thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(|| get(&hub, &[WEIGHTS]).unwrap()));
        for thread in threads {
            assert_eq!(fs::read(thread.join().unwrap().join(WEIGHTS)).unwrap(), weights());
        }
    });
    assert_eq!(test_hub.bodies().len(), 1);
    assert!(test_hub.blob_names().is_empty(), "{:?}", test_hub.blob_names());
}
