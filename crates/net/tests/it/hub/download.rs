//! Downloads that go well, sooner or later.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rlar_net::hub::serve::HttpResponse;
use rlar_net::hub::{Hub, HubError, HubLimits, HubSettings, Search};

use super::shop::{ID, Shop, Stuck, WEIGHTS, cut_off, get, is_weights, sha256, weights};

#[test]
fn a_model_comes_whole_and_into_the_official_layout() {
    let shop = Shop::plain();
    let mut heard = Vec::new();
    let mut progress = |p: &rlar_net::hub::DownloadProgress| heard.push((p.name.to_owned(), p.done, p.total));
    let folder = shop.hub().download(ID, "main", &[], &HubLimits::default(), &mut progress).unwrap();
    let commit = shop.info().commit;
    let model = shop.cache.path().join("models--acme--small-model");
    assert_eq!(folder, model.join("snapshots").join(&commit));
    assert_eq!(fs::read_to_string(model.join("refs/main")).unwrap(), commit);
    assert_eq!(fs::read(folder.join(WEIGHTS)).unwrap(), weights());
    let hash = sha256(&weights());
    let target = |name: &str| fs::read_link(folder.join(name)).unwrap().into_os_string().into_string().unwrap();
    assert_eq!(target(WEIGHTS), format!("../../blobs/{hash}"));
    assert!(target("onnx/a b \u{e9}\u{1f600}+%.txt").starts_with("../../../blobs/"));
    assert!(shop.cache.path().join(format!(".locks/models--acme--small-model/{hash}.lock")).exists());
    assert_eq!(shop.blob_names().len(), 5);
    assert!(heard.contains(&(WEIGHTS.into(), 3_000_000, 3_000_000)) && heard.contains(&(WEIGHTS.into(), 0, 3_000_000)));
    assert!(heard.is_sorted_by(|a, b| a.0 != b.0 || a.1 <= b.1), "progress does not go back");
}

#[test]
fn what_is_there_is_not_asked_for_again() {
    let shop = Shop::plain();
    let folder = get(&shop.hub(), &["config.json"]).unwrap();
    assert!(!folder.join(WEIGHTS).exists(), "only what was named");
    assert_eq!(shop.bodies().len(), 1);
    get(&shop.hub(), &[]).unwrap();
    assert_eq!(shop.bodies().len(), 4, "an empty file needs no request");
    shop.forget();
    assert_eq!(get(&shop.hub(), &[]).unwrap(), folder);
    assert!(shop.bodies().is_empty() && !shop.seen().is_empty());
    let commit = folder.file_name().unwrap().to_str().unwrap();
    shop.forget();
    shop.hub().download(ID, commit, &[], &HubLimits::default(), &mut |_| {}).unwrap();
    assert!(shop.seen().is_empty(), "a whole commit needs no network");
}

#[test]
fn a_cut_off_download_continues_with_a_range() {
    let count = AtomicUsize::new(0);
    let shop = Shop::with(move |r| {
        let is_first = is_weights(r) && count.fetch_add(1, Ordering::SeqCst) == 0;
        is_first.then(|| cut_off(&weights(), 1_234_567))
    });
    let folder = get(&shop.hub(), &[WEIGHTS]).unwrap();
    assert_eq!(fs::read(folder.join(WEIGHTS)).unwrap(), weights());
    assert_eq!(shop.bodies(), [None, Some("bytes=1234567-".to_owned())]);
}

#[test]
fn progress_between_failures_earns_more_tries() {
    let count = AtomicUsize::new(0);
    let shop = Shop::with(move |r| {
        let n = if is_weights(r) { count.fetch_add(1, Ordering::SeqCst) } else { 99 };
        // Ten times, a little more comes.
        (n < 10).then(|| {
            let (all, from) = (weights(), n * 1000);
            let mut response = HttpResponse::new(if n == 0 { 200 } else { 206 }, all[from..from + 1000].to_vec());
            response.length = Some((all.len() - from) as u64);
            let range = format!("bytes {from}-{}/{}", all.len() - 1, all.len());
            if n == 0 { response } else { response.with("content-range", &range) }
        })
    });
    let hub = Hub::new(HubSettings { tries: 2, ..shop.settings() }).unwrap();
    assert_eq!(fs::read(get(&hub, &[WEIGHTS]).unwrap().join(WEIGHTS)).unwrap(), weights());
    assert_eq!(shop.bodies().len(), 11);
}

#[test]
fn a_server_that_goes_silent_is_asked_again() {
    let count = AtomicUsize::new(0);
    let shop = Shop::with(move |r| {
        let is_first = is_weights(r) && count.fetch_add(1, Ordering::SeqCst) == 0;
        is_first.then(|| {
            let mut response = HttpResponse::new(200, Vec::new());
            (response.length, response.body) = (Some(3_000_000), Box::new(Stuck(weights()[..5000].to_vec(), 0)));
            response
        })
    });
    let hub = Hub::new(HubSettings { idle_timeout: Duration::from_millis(300), ..shop.settings() }).unwrap();
    assert_eq!(fs::read(get(&hub, &[WEIGHTS]).unwrap().join(WEIGHTS)).unwrap(), weights());
    assert_eq!(shop.bodies(), [None, Some("bytes=5000-".to_owned())]);
}

#[test]
fn servers_without_ranges_and_wrong_beginnings_cost_a_new_begin() {
    // One that answers a range with the whole file.
    let shop =
        Shop::with(|r| (is_weights(r) && r.header("range").is_some()).then(|| HttpResponse::new(200, weights())));
    let begin = |shop: &Shop, bytes: &[u8]| {
        fs::create_dir_all(shop.blobs()).unwrap();
        fs::write(shop.blobs().join(format!("{}.incomplete", sha256(&weights()))), bytes).unwrap();
    };
    let whole = |shop: &Shop| fs::read(get(&shop.hub(), &[WEIGHTS]).unwrap().join(WEIGHTS)).unwrap() == weights();
    begin(&shop, &weights()[..77]);
    assert!(whole(&shop));
    assert_eq!(shop.bodies(), [Some("bytes=77-".to_owned())]);
    let shop = Shop::plain();
    begin(&shop, b"something else");
    assert!(whole(&shop), "a beginning of other bytes is thrown away");
    assert_eq!(shop.bodies(), [Some("bytes=14-".to_owned()), None]);
    let shop = Shop::plain();
    begin(&shop, &vec![0; 3_000_001]);
    assert!(whole(&shop), "and so is one that is too long");
    let shop = Shop::plain();
    begin(&shop, &weights());
    assert!(whole(&shop) && shop.bodies().is_empty(), "a whole one is taken");
    let shop = Shop::with(|r| (is_weights(r) && r.header("range").is_some()).then(|| HttpResponse::text(416, "no")));
    begin(&shop, &weights()[..77]);
    assert!(whole(&shop));
    assert_eq!(shop.bodies(), [Some("bytes=77-".to_owned()), None]);
}

#[test]
fn a_busy_server_is_asked_again() {
    let count = AtomicUsize::new(0);
    let shop = Shop::with(move |r| match (is_weights(r), count.fetch_add(1, Ordering::SeqCst)) {
        (_, 0) => Some(HttpResponse::text(503, "busy")),
        (_, 1) => Some(HttpResponse::text(429, "slow").with("retry-after", "0")),
        _ => None,
    });
    get(&shop.hub(), &[]).unwrap();
    assert_eq!(shop.blob_names().len(), 5);
}

#[test]
fn offline_the_cache_answers_and_nothing_else() {
    let shop = Shop::plain();
    let missing = |names: &[&str]| get(&shop.offline(), names).unwrap_err().to_string();
    assert!(missing(&[]).contains("acme/small-model at `main` is not in the cache"), "{}", missing(&[]));
    let folder = get(&shop.hub(), &["config.json", "README.md"]).unwrap();
    shop.forget();
    assert_eq!(get(&shop.offline(), &["config.json"]).unwrap(), folder);
    assert!(missing(&[WEIGHTS]).contains("model.safetensors") && missing(&[]).contains("HF_HUB_OFFLINE"));
    assert!(shop.offline().text(ID, "main", "README.md", 1000).unwrap().contains("# Small"));
    assert!(matches!(shop.offline().info(ID, "main"), Err(HubError::Offline { .. })));
    assert!(matches!(shop.offline().search(&Search::default()), Err(HubError::Offline { .. })));
    assert!(shop.seen().is_empty());
    get(&shop.hub(), &[]).unwrap();
    assert_eq!(get(&shop.offline(), &[]).unwrap(), folder, "the list of files says that this is all");
}

#[test]
fn threads_that_want_the_same_share_one_download() {
    let shop = Shop::plain();
    let hub = shop.hub();
    std::thread::scope(|scope| {
        let threads = [(); 6].map(|()| scope.spawn(|| get(&hub, &[]).unwrap()));
        for thread in threads {
            assert_eq!(fs::read(thread.join().unwrap().join(WEIGHTS)).unwrap(), weights());
        }
    });
    assert_eq!(shop.bodies().len(), 4);
    assert_eq!(shop.blob_names().len(), 5);
}
