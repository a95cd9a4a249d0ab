//! The official Python client: each finds what the other has downloaded, and both create the same cache.
//!
//! `RLAR_HF_PYTHON` names a Python that has `huggingface_hub`; without the variable it is the one that `just
//! hub-python` installs, and without that one the tests are ignored.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rlar_net::hub::{Hub, HubSettings};
use rlar_oracles::needs_hub_python;
use serde_json::Value;

use super::test_hub::{ID, TestHub, WEIGHTS, get, sha256, weights};

/// Runs a script with the official client, for the test's Hub and the given cache. Returns the JSON that it prints.
fn python(test_hub: &TestHub, cache: &Path, more: &[(&str, &str)], script: &str) -> Value {
    let installed = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/hub-python/bin/python");
    let python = std::env::var_os("RLAR_HF_PYTHON").map_or_else(installed, PathBuf::from);
    let home = cache.join("home");
    let mut command = Command::new(python);
    command.args(["-c", &format!("import json\nfrom huggingface_hub import *\n{script}")]);
    command.env("HF_ENDPOINT", test_hub.server.endpoint()).env("HF_HUB_CACHE", cache.join("hub")).env("HF_HOME", home);
    command.env("HF_HUB_DISABLE_TELEMETRY", "1").env("HF_HUB_DISABLE_PROGRESS_BARS", "1").env_remove("HF_TOKEN");
    command.env("HF_HUB_DISABLE_UPDATE_CHECK", "1").env_remove("HF_HUB_OFFLINE").envs(more.iter().copied());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

const SNAPSHOT: &str = "print(json.dumps(snapshot_download('acme/small-model')))";

/// All entries below a folder: the targets of links, and the modes and hashes of files.
fn layout(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            if let Ok(target) = fs::read_link(&path) {
                found.insert(name, format!("-> {}", target.display()));
            } else if path.is_dir() {
                found.insert(name, "folder".into());
                folders.push(path);
            } else {
                let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
                // The official client makes its list of files private to its owner, on which nothing depends.
                let mode = if name.contains("/trees/") { 0 } else { mode };
                found.insert(name, format!("{mode:o} {}", sha256(&fs::read(&path).unwrap())));
            }
        }
    }
    found
}

fn hub(test_hub: &TestHub, cache: &Path) -> Hub {
    Hub::new(HubSettings { cache: cache.join("hub"), ..test_hub.settings() }).unwrap()
}

#[needs_hub_python]
#[test]
fn both_make_the_same_cache() {
    let test_hub = TestHub::plain();
    let theirs = test_hub.cache.path().join("theirs");
    let folder = python(&test_hub, &theirs, &[], SNAPSHOT);
    let ours = test_hub.cache.path().join("ours");
    let mine = get(&hub(&test_hub, &ours), &[]).unwrap();
    assert_eq!(mine.strip_prefix(&ours).unwrap(), Path::new(folder.as_str().unwrap()).strip_prefix(&theirs).unwrap());
    let (theirs, ours) = (layout(&theirs.join("hub")), layout(&ours.join("hub")));
    assert_eq!(theirs, ours);
    assert!(ours.len() > 20 && ours.keys().any(|name| name.ends_with(WEIGHTS)), "{ours:?}");
}

#[needs_hub_python]
#[test]
fn each_uses_what_the_other_downloaded() {
    let test_hub = TestHub::plain();
    let (one, two) = (test_hub.cache.path().join("one"), test_hub.cache.path().join("two"));
    let folder = python(&test_hub, &one, &[], SNAPSHOT);
    assert!(!test_hub.bodies().is_empty());
    test_hub.forget();
    assert_eq!(get(&hub(&test_hub, &one), &[]).unwrap(), Path::new(folder.as_str().unwrap()));
    let offline = Hub::new(HubSettings { offline: true, ..hub(&test_hub, &one).settings().clone() }).unwrap();
    assert_eq!(get(&offline, &[]).unwrap(), Path::new(folder.as_str().unwrap()));
    assert!(test_hub.bodies().is_empty(), "we use their files: {:?}", test_hub.bodies());
    let mine = get(&hub(&test_hub, &two), &[]).unwrap();
    test_hub.forget();
    assert_eq!(python(&test_hub, &two, &[], SNAPSHOT), mine.to_str().unwrap());
    let offline = [("HF_HUB_OFFLINE", "1")];
    assert_eq!(python(&test_hub, &two, &offline, SNAPSHOT), mine.to_str().unwrap());
    assert!(test_hub.bodies().is_empty(), "they use our files: {:?}", test_hub.bodies());
    let three = test_hub.cache.path().join("three");
    get(&hub(&test_hub, &three), &["config.json"]).unwrap();
    let partial = "try:\n    snapshot_download('acme/small-model')\nexcept Exception as e:\n    \
        print(json.dumps(type(e).__name__))";
    let error = python(&test_hub, &three, &offline, partial);
    assert_eq!(error, "IncompleteSnapshotError", "they know which files are missing");
}

#[needs_hub_python]
#[test]
fn the_official_client_finds_and_reads_our_models() {
    let test_hub = TestHub::plain();
    let script = "api = HfApi()\ninfo = api.model_info('acme/small-model', files_metadata=True)\n\
        lfs = [s for s in info.siblings if s.lfs][0]\n\
        print(json.dumps({'found': [m.id for m in api.list_models(search='small')], \
        'sorted': [m.id for m in api.list_models(sort='downloads', limit=2)], \
        'paged': len([m.id for m in api.list_models(limit=3)]), \
        'full': [m.sha for m in api.list_models(author='acme', search='small', full=True)], \
        'task': [m.id for m in api.list_models(pipeline_tag='text-generation')], \
        'filter': [m.id for m in api.list_models(filter=['tiny', 'license:apache-2.0'])], \
        'sha': info.sha, 'licence': info.card_data.license, 'size': lfs.size, 'hash': lfs.lfs.sha256, \
        'tree': [f.path for f in api.list_repo_tree('acme/small-model')], \
        'who': api.whoami(token='hf_x')['name'], 'exists': api.file_exists('acme/small-model', 'config.json'), \
        'lacks': api.file_exists('acme/small-model', 'no.json'), 'none': api.repo_exists('acme/none'), \
        'gated': api.model_info('acme/gated').gated, 'files': len(api.list_repo_files('acme/small-model'))}))";
    let reply = python(&test_hub, test_hub.cache.path(), &[], script);
    let info = test_hub.info();
    for key in ["found", "task", "filter"] {
        assert_eq!(reply[key], serde_json::json!([ID]), "{key}");
    }
    assert_eq!(reply["sorted"], serde_json::json!(["acme/gated", ID]));
    assert_eq!((&reply["paged"], &reply["files"]), (&3.into(), &5.into()));
    assert_eq!((&reply["sha"], &reply["full"][0]), (&info.commit.as_str().into(), &info.commit.as_str().into()));
    assert_eq!((&reply["licence"], &reply["who"]), (&"apache-2.0".into(), &"local".into()));
    assert_eq!((&reply["size"], &reply["hash"]), (&3_000_000.into(), &sha256(&weights()).into()));
    assert_eq!(reply["tree"], serde_json::json!(["README.md", "config.json", "empty.txt", WEIGHTS, "onnx"]));
    assert_eq!((&reply["exists"], &reply["lacks"], &reply["none"]), (&true.into(), &false.into(), &false.into()));
    assert_eq!(reply["gated"], "auto");
}

#[needs_hub_python]
#[test]
fn both_at_once_share_one_cache() {
    let test_hub = TestHub::plain();
    let cache = test_hub.cache.path().join("both");
    std::thread::scope(|scope| {
        let theirs = scope.spawn(|| python(&test_hub, &cache, &[], SNAPSHOT));
        let ours = scope.spawn(|| get(&hub(&test_hub, &cache), &[]).unwrap());
        let ours = ours.join().unwrap();
        assert_eq!(theirs.join().unwrap(), ours.to_str().unwrap());
        assert_eq!(fs::read(ours.join(WEIGHTS)).unwrap(), weights());
    });
}

#[needs_hub_python]
#[test]
fn the_official_client_explains_a_gated_model() {
    let test_hub = TestHub::plain();
    let script = "try:\n    snapshot_download('acme/gated')\nexcept Exception as e:\n    \
        print(json.dumps(type(e).__name__))";
    assert_eq!(python(&test_hub, test_hub.cache.path(), &[], script), "GatedRepoError");
    let with = [("HF_TOKEN", "hf_x")];
    assert!(
        python(&test_hub, test_hub.cache.path(), &with, "print(json.dumps(snapshot_download('acme/gated')))")
            .is_string()
    );
}
