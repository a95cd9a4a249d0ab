//! Downloads in separate processes: killed ones, several at once, and one that cannot make links.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rlar_net::hub::serve::HttpResponse;
use rlar_net::hub::{Hub, HubSettings};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter_all_threads};

use super::test_hub::{Stuck, TestHub, WEIGHTS, get, is_weights, sha256, weights};

/// The variables with the Hub's address and the cache's folder for a download process.
const VARIABLES: [&str; 2] = ["RLAR_TEST_HUB", "RLAR_TEST_CACHE"];
/// The variable of a download process that must not be able to make links.
const NO_LINKS: &str = "RLAR_TEST_NO_LINKS";

/// The body of the download processes of the other tests; without the variables it does nothing.
#[test]
fn a_process_downloads_what_its_variables_say() {
    let [Ok(endpoint), Ok(cache)] = VARIABLES.map(std::env::var) else { return };
    if std::env::var_os(NO_LINKS).is_some() {
        refuse_links();
        let refused = symlink("target", Path::new(&cache).join("link")).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    }
    let (deadline, idle_timeout) = (Duration::from_secs(20), Duration::from_secs(20));
    let settings = HubSettings {
        endpoint,
        cache: cache.into(),
        token: None,
        offline: false,
        symlinks: true,
        deadline,
        idle_timeout,
        tries: 3,
    };
    get(&Hub::new(settings).unwrap(), &[]).unwrap_or_else(|error| panic!("{error}"));
}

/// Completes a command that ends in the path of this program: it downloads the model.
fn download(command: &mut Command, test_hub: &TestHub) {
    command.args(["--exact", "hub::processes::a_process_downloads_what_its_variables_say", "--nocapture"]);
    command.env(VARIABLES[0], test_hub.server.endpoint()).env(VARIABLES[1], test_hub.cache.path());
}

/// Lets every later `symlink` of this process fail with the error that a file system without links, such as FAT, gives.
fn refuse_links() {
    let calls = [
        libc::SYS_symlinkat,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_symlink,
    ];
    let rules = BTreeMap::from(calls.map(|call| (call, Vec::new())));
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let arch = TargetArch::try_from(std::env::consts::ARCH).unwrap();
    let filter: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).unwrap().try_into().unwrap();
    apply_filter_all_threads(&filter).unwrap();
}

fn start(test_hub: &TestHub) -> Child {
    download_command(test_hub).spawn().unwrap()
}

/// The command that downloads the model of a Hub in a process of its own.
fn download_command(test_hub: &TestHub) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    download(&mut command, test_hub);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn a_killed_download_is_continued_by_another_process() {
    let count = AtomicUsize::new(0);
    let test_hub = TestHub::with(move |r| {
        let is_first = is_weights(r) && count.fetch_add(1, Ordering::SeqCst) == 0;
        is_first.then(|| {
            let mut response = HttpResponse::new(200, Vec::new());
            (response.length, response.body) = (Some(3_000_000), Box::new(Stuck(weights()[..1_000_000].to_vec(), 0)));
            response
        })
    });
    let mut child = start(&test_hub);
    let part = test_hub.blobs().join(format!("{}.incomplete", sha256(&weights())));
    let length = || fs::metadata(&part).map_or(0, |m| m.len());
    let began = Instant::now();
    while length() < 1_000_000 && began.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(10));
    }
    // SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(length(), 1_000_000);
    assert!(!test_hub.blob_names().contains(&sha256(&weights())), "half a file is not in the cache");
    test_hub.forget();
    let folder = get(&test_hub.hub(), &[]).unwrap();
    assert_eq!(fs::read(folder.join(WEIGHTS)).unwrap(), weights());
    assert!(test_hub.bodies().contains(&Some("bytes=1000000-".to_owned())), "{:?}", test_hub.bodies());
    assert!(test_hub.blob_names().iter().all(|name| !name.ends_with(".incomplete")));
}

#[test]
fn processes_that_download_the_same_model_share_one_download() {
    let test_hub = TestHub::plain();
    let children = [(); 3].map(|()| start(&test_hub));
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(test_hub.bodies().len(), 4);
    assert_eq!(fs::read(get(&test_hub.offline(), &[]).unwrap().join(WEIGHTS)).unwrap(), weights());
}

#[test]
fn a_download_that_fills_the_disk_ends_with_an_error_and_keeps_its_bytes() {
    let test_hub = TestHub::plain();
    // No file of the process can grow beyond one or two megabytes; the blocks of `ulimit` have 512 or 1024 bytes. Without the
    // signal, which would end the process, writing more is an error, as on a full disk.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 2000; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    download(&mut command, &test_hub);
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let hash = sha256(&weights());
    assert!(!output.status.success() && errors.contains("File too large"), "{errors}");
    assert!(errors.contains(&format!("{hash}.incomplete")) && errors.contains("HF_HUB_CACHE"), "{errors}");
    assert_eq!(test_hub.bodies().len(), 3, "what cannot succeed is not tried again");
    assert!(!test_hub.blob_names().contains(&hash), "half a file is not in the cache");
    let length = fs::metadata(test_hub.blobs().join(format!("{hash}.incomplete"))).unwrap().len();
    assert!(length > 500_000 && length < 3_000_000, "{length} bytes");
    // Where there is room, the download continues.
    test_hub.forget();
    assert_eq!(fs::read(get(&test_hub.hub(), &[]).unwrap().join(WEIGHTS)).unwrap(), weights());
    assert!(test_hub.bodies().contains(&Some(format!("bytes={length}-"))), "{:?}", test_hub.bodies());
}

#[test]
fn where_links_are_refused_a_snapshot_has_the_files_themselves() {
    let test_hub = TestHub::plain();
    let without_links = || assert!(download_command(&test_hub).env(NO_LINKS, "1").status().unwrap().success());
    without_links();
    let folder = get(&test_hub.offline(), &[]).unwrap();
    let is_file = |name: &str| fs::symlink_metadata(folder.join(name)).unwrap().is_file();
    assert!(is_file(WEIGHTS) && is_file("onnx/a b \u{e9}\u{1f600}+%.txt"));
    assert_eq!(fs::read(folder.join(WEIGHTS)).unwrap(), weights());
    assert!(test_hub.blob_names().is_empty(), "no file is stored twice: {:?}", test_hub.blob_names());
    // A blob to which other snapshots may be linked is copied.
    fs::remove_file(folder.join(WEIGHTS)).unwrap();
    get(&test_hub.hub(), &[WEIGHTS]).unwrap();
    assert!(!is_file(WEIGHTS));
    fs::remove_file(folder.join(WEIGHTS)).unwrap();
    without_links();
    assert!(is_file(WEIGHTS));
    assert_eq!(test_hub.blob_names(), [sha256(&weights())]);
}
