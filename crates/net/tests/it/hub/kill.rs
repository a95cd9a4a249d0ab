//! Downloads in processes of their own: killed, and side by side.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rlar_net::hub::serve::HttpResponse;
use rlar_net::hub::{Hub, HubSettings};

use super::shop::{Shop, Stuck, WEIGHTS, get, is_weights, sha256, weights};

/// The variables that tell a process what to download, and where to.
const VARIABLES: [&str; 2] = ["RLAR_TEST_HUB", "RLAR_TEST_CACHE"];

/// Not a test of its own: what the processes of the others do.
#[test]
fn a_process_downloads_what_its_variables_say() {
    let [Ok(endpoint), Ok(cache)] = VARIABLES.map(std::env::var) else { return };
    let (deadline, idle_timeout) = (Duration::from_secs(20), Duration::from_secs(20));
    let settings =
        HubSettings { endpoint, cache: cache.into(), token: None, offline: false, deadline, idle_timeout, tries: 3 };
    get(&Hub::new(settings).unwrap(), &[]).unwrap();
}

fn start(shop: &Shop) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "hub::kill::a_process_downloads_what_its_variables_say"]);
    command.env(VARIABLES[0], shop.server.endpoint()).env(VARIABLES[1], shop.cache.path());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_killed_download_is_continued_by_another_process() {
    let count = AtomicUsize::new(0);
    let shop = Shop::with(move |r| {
        let is_first = is_weights(r) && count.fetch_add(1, Ordering::SeqCst) == 0;
        is_first.then(|| {
            let mut response = HttpResponse::new(200, Vec::new());
            (response.length, response.body) = (Some(3_000_000), Box::new(Stuck(weights()[..1_000_000].to_vec(), 0)));
            response
        })
    });
    let mut child = start(&shop);
    let part = shop.blobs().join(format!("{}.incomplete", sha256(&weights())));
    let length = || fs::metadata(&part).map_or(0, |m| m.len());
    let began = Instant::now();
    while length() < 1_000_000 && began.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(10));
    }
    // SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(length(), 1_000_000);
    assert!(!shop.blob_names().contains(&sha256(&weights())), "half a file is not in the cache");
    shop.forget();
    let folder = get(&shop.hub(), &[]).unwrap();
    assert_eq!(fs::read(folder.join(WEIGHTS)).unwrap(), weights());
    assert!(shop.bodies().contains(&Some("bytes=1000000-".to_owned())), "{:?}", shop.bodies());
    assert!(shop.blob_names().iter().all(|name| !name.ends_with(".incomplete")));
}

#[test]
fn processes_that_want_the_same_share_one_download() {
    let shop = Shop::plain();
    let children = [(); 3].map(|()| start(&shop));
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(shop.bodies().len(), 4);
    assert_eq!(fs::read(get(&shop.offline(), &[]).unwrap().join(WEIGHTS)).unwrap(), weights());
}
