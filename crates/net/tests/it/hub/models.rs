//! Models by their names: which names there are, which files of a repository are a model, and which commit a name means.

use std::fs;
use std::path::{Path, PathBuf};

use rlar_net::hub::{Hub, HubError, ModelName};

use super::test_hub::{ID, TestHub, WEIGHTS, put};

fn name(text: &str) -> ModelName {
    ModelName::parse(text).unwrap()
}

fn fetch(hub: &Hub, text: &str) -> Result<PathBuf, HubError> {
    let found = hub.find_model(&name(text))?;
    hub.download_model(&found, &mut |_| {})
}

/// The names of the files in a folder, sorted.
fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn commit(snapshot: &Path) -> &str {
    snapshot.file_name().unwrap().to_str().unwrap()
}

#[test]
fn names_of_models_are_told_from_paths() {
    let parts = |text: &str| {
        let ModelName { id, revision, file } = name(text);
        assert_eq!(name(&name(text).to_string()), name(text), "the whole name means the same");
        [id, revision, file.unwrap_or_default()]
    };
    assert_eq!(parts("acme/small"), ["acme/small", "main", ""]);
    assert_eq!(parts("acme/small@v1"), ["acme/small", "v1", ""]);
    assert_eq!(parts("acme/small@refs/pr/1"), ["acme/small", "refs/pr/1", ""]);
    assert_eq!(parts("acme/small-GGUF/q4.gguf"), ["acme/small-GGUF", "main", "q4.gguf"]);
    assert_eq!(parts("acme/small@v1/sub/q4.GGUF"), ["acme/small", "v1", "sub/q4.GGUF"]);
    assert_eq!(name("acme/small/q4.gguf").to_string(), "acme/small@main/q4.gguf");
    let paths = [
        "",
        "small",
        "/acme/small",
        "./small",
        "../small",
        "~/small",
        "acme/small/",
        "acme/small/final",
        "models/q4.gguf",
        "acme/small@",
        "acme/small@..",
        "acme/small@v1/../q4.gguf",
        "acme//q4.gguf",
        "acme\\small",
        "acme/a--b",
    ];
    for path in paths {
        assert_eq!(ModelName::parse(path), None, "{path}");
    }
}

#[test]
fn only_files_that_are_needed_to_load_a_model_are_downloaded() {
    let test_hub = TestHub::plain();
    assert_eq!(files(&fetch(&test_hub.hub(), ID).unwrap()), ["config.json", WEIGHTS]);
    let sharded = test_hub.folder.path().join("zeta/sharded");
    let index =
        r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}}"#;
    put(&sharded, "model.safetensors.index.json", index.as_bytes());
    for file in
        ["model-1.safetensors", "model-2.safetensors", "consolidated.safetensors", "tokenizer.json", "vocab.txt"]
    {
        put(&sharded, file, file.as_bytes());
    }
    let expected = ["model-1.safetensors", "model-2.safetensors", "model.safetensors.index.json", "tokenizer.json"];
    assert_eq!(files(&fetch(&test_hub.hub(), "zeta/sharded").unwrap()), expected);
    let adapter = test_hub.folder.path().join("zeta/adapter");
    for file in ["adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "optimizer.pt"] {
        put(&adapter, file, file.as_bytes());
    }
    let expected = ["adapter_config.json", "adapter_model.safetensors", "tokenizer.json"];
    assert_eq!(files(&fetch(&test_hub.hub(), "zeta/adapter").unwrap()), expected);
}

#[test]
fn of_several_gguf_files_one_must_be_named() {
    let test_hub = TestHub::plain();
    let folder = test_hub.folder.path().join("zeta/small-GGUF");
    put(&folder, "q4.gguf", b"four");
    assert_eq!(fs::read(fetch(&test_hub.hub(), "zeta/small-GGUF").unwrap()).unwrap(), b"four");
    put(&folder, "sub/q8.gguf", b"eight");
    let error = fetch(&test_hub.hub(), "zeta/small-GGUF").unwrap_err().to_string();
    for part in ["several GGUF files", "zeta/small-GGUF@main/q4.gguf", "zeta/small-GGUF@main/sub/q8.gguf"] {
        assert!(error.contains(part), "{error}");
    }
    let path = fetch(&test_hub.hub(), "zeta/small-GGUF/sub/q8.gguf").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"eight");
    let snapshot = path.parent().unwrap().parent().unwrap();
    assert!(!snapshot.join("q4.gguf").exists(), "the other file is not downloaded");
    let error = fetch(&test_hub.hub(), "zeta/small-GGUF/q5.gguf").unwrap_err().to_string();
    assert!(error.contains("no file `q5.gguf`") && error.contains("small-GGUF@main/q4.gguf"), "{error}");
}

#[test]
fn a_repository_without_a_model_says_why() {
    let test_hub = TestHub::plain();
    let why = |text: &str| fetch(&test_hub.hub(), text).unwrap_err().to_string();
    assert!(why("zeta/bare").contains("neither safetensors"), "{}", why("zeta/bare"));
    put(&test_hub.folder.path().join("zeta/pickled"), "pytorch_model.bin", b"x");
    assert!(why("zeta/pickled").contains("pickles"), "{}", why("zeta/pickled"));
    assert!(why("zeta/bare/x.gguf").contains("its GGUF files: none"), "{}", why("zeta/bare/x.gguf"));
    assert!(matches!(fetch(&test_hub.hub(), "zeta/none"), Err(HubError::NotFound { .. })));
    assert!(matches!(fetch(&test_hub.hub(), "zeta/bare@v9"), Err(HubError::Revision { .. })));
    put(&test_hub.folder.path().join("acme/gated"), WEIGHTS, b"x");
    assert!(matches!(fetch(&test_hub.hub(), "acme/gated"), Err(HubError::Gated { .. })));
}

#[test]
fn a_commit_and_offline_mode_need_no_requests_and_a_branch_moves() {
    let test_hub = TestHub::plain();
    let missing = fetch(&test_hub.offline(), ID).unwrap_err().to_string();
    assert!(missing.contains("acme/small-model at `main` is not in the cache"), "{missing}");
    let old = fetch(&test_hub.hub(), ID).unwrap();
    let pinned = format!("{ID}@{}", commit(&old));
    test_hub.forget();
    assert_eq!(fetch(&test_hub.offline(), ID).unwrap(), old);
    assert_eq!(fetch(&test_hub.hub(), &pinned).unwrap(), old);
    assert!(test_hub.seen().is_empty());
    put(&test_hub.folder.path().join(ID), "config.json", b"{\"model_type\": \"another\"}");
    let new = fetch(&test_hub.hub(), ID).unwrap();
    assert_ne!(new, old);
    test_hub.forget();
    assert_eq!(fetch(&test_hub.hub(), &pinned).unwrap(), old, "the server no longer has this commit");
    assert_eq!(fetch(&test_hub.offline(), ID).unwrap(), new);
    // The official client keeps no list of a commit's files.
    fs::remove_dir_all(test_hub.cache.path().join("models--acme--small-model/trees")).unwrap();
    assert_eq!(fetch(&test_hub.offline(), ID).unwrap(), new);
    assert_eq!(fetch(&test_hub.offline(), &pinned).unwrap(), old);
    assert!(test_hub.seen().is_empty());
    fs::remove_file(new.join(WEIGHTS)).unwrap();
    let missing = fetch(&test_hub.offline(), ID).unwrap_err().to_string();
    assert!(missing.contains("not in the cache"), "{missing}");
}
