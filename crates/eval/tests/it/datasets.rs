//! Published data sets have the expected hash, or are not there.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rlar_eval::datasets::{DataFile, DatasetManifest, FetchOutcome, data_folder, fetch, hub_file, is_fetched};
use rlar_run::sha256;

/// Serves the responses one after the other, the last one repeatedly, and records the requests.
fn serve(answers: &[(&str, &[u8])]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = seen.clone();
    let answers: Vec<(String, Vec<u8>)> = answers.iter().map(|(s, b)| ((*s).to_owned(), b.to_vec())).collect();
    std::thread::spawn(move || {
        for (n, mut stream) in listener.incoming().flatten().enumerate() {
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).unwrap_or(0);
            kept.lock().unwrap().push(String::from_utf8_lossy(&request[..read]).into_owned());
            let (status, body) = &answers[n.min(answers.len() - 1)];
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        }
    });
    (address, seen)
}

fn source(url: String, sha256: Option<String>) -> DataFile {
    DataFile { file: "sums/rows.jsonl".into(), url, sha256 }
}

fn no_env(_: &str) -> Option<String> {
    None
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder.join("sums")).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_file_comes_once_with_its_right_hash_or_not_at_all() {
    let home = tempfile::tempdir().unwrap();
    let (url, seen) = serve(&[("200 OK", b"changed"), ("503 Busy", b""), ("200 OK", b"rows")]);
    let right = source(url, Some(sha256(b"rows")));
    let get = || fetch(home.path(), &right, no_env, &mut |_, _| ());
    let error = get().unwrap_err().to_string();
    assert!(error.contains(&sha256(b"changed")) && error.contains("changed at its origin"), "{error}");
    assert_eq!(names(home.path()), [""; 0], "nothing of a wrong file is left");
    assert_eq!(get().unwrap(), FetchOutcome::Downloaded, "a busy server is asked again");
    assert_eq!((get().unwrap(), seen.lock().unwrap().len()), (FetchOutcome::AlreadyThere, 3));
    // A file that was changed is fetched again.
    std::fs::write(home.path().join("sums/rows.jsonl"), "mine").unwrap();
    assert!(!is_fetched(home.path(), &right));
    assert_eq!(get().unwrap(), FetchOutcome::Downloaded);
    assert_eq!(std::fs::read(home.path().join("sums/rows.jsonl")).unwrap(), b"rows");
    let gone = source(serve(&[("404 Not Found", b"")]).0, None);
    let other = tempfile::tempdir().unwrap();
    let error = fetch(other.path(), &gone, no_env, &mut |_, _| ()).unwrap_err().to_string();
    assert!(error.contains("404"), "{error}");
}

#[test]
fn a_file_without_a_known_hash_is_trusted_once() {
    let home = tempfile::tempdir().unwrap();
    let (url, _) = serve(&[("200 OK", b"rows"), ("200 OK", b"other rows")]);
    let unknown = source(url, None);
    let get = || fetch(home.path(), &unknown, no_env, &mut |_, _| ());
    assert_eq!(get().unwrap(), FetchOutcome::Unverified(sha256(b"rows")));
    assert_eq!(names(home.path()), ["rows.jsonl", "rows.jsonl.sha256"]);
    assert_eq!(get().unwrap(), FetchOutcome::AlreadyThere);
    std::fs::remove_file(home.path().join("sums/rows.jsonl")).unwrap();
    assert!(get().unwrap_err().to_string().contains("changed at its origin"));
}

#[test]
fn a_file_of_the_hub_is_asked_for_as_the_python_client_does() {
    let home = tempfile::tempdir().unwrap();
    let (url, seen) = serve(&[("200 OK", b"rows")]);
    let file = hub_file("hub:openai/gsm8k@main/main/test.parquet").unwrap();
    let env = |name: &str| match name {
        "HF_ENDPOINT" => Some(url.clone()),
        "HF_TOKEN" => Some("hf_secret".into()),
        "HOME" => Some(home.path().to_string_lossy().into_owned()),
        _ => None,
    };
    fetch(home.path(), &file, env, &mut |_, _| ()).unwrap();
    assert!(home.path().join("hub/openai/gsm8k/main/main/test.parquet").is_file());
    let request = seen.lock().unwrap()[0].to_lowercase();
    assert!(request.starts_with("get /datasets/openai/gsm8k/resolve/main/main/test.parquet http/1.1"), "{request}");
    assert!(request.contains("authorization: bearer hf_secret"), "{request}");
    let offline = |name: &str| if name == "HF_HUB_OFFLINE" { Some("1".into()) } else { env(name) };
    let other = tempfile::tempdir().unwrap();
    let error = fetch(other.path(), &file, offline, &mut |_, _| ()).unwrap_err().to_string();
    assert!(error.contains("HF_HUB_OFFLINE"), "{error}");
    for bad in ["hub:a/b", "hub:a/b@c/../x", "hub:a/../x/y", "a/b@c/d"] {
        assert_eq!(hub_file(bad), None, "{bad}");
    }
}

#[test]
fn lists_of_data_sets_cannot_lead_out_of_their_folder() {
    let list = |file: &str, hash: &str| {
        let yaml = format!(
            "version: 1\nsets:\n  sums:\n    about: a\n    licence: MIT\n    files:\n      - file: {file}\n        url: http://x/y\n        sha256: {hash}\n"
        );
        DatasetManifest::parse(Path::new("o.yaml"), &yaml).map_err(|e| e.to_string())
    };
    let hash = sha256(b"rows");
    let fine = list("rows.jsonl", &hash).unwrap();
    assert_eq!(
        (fine.dataset_of("sums/rows.jsonl"), fine.dataset_of("sums/other"), fine.dataset_of("rows.jsonl")),
        (Some("sums"), None, None)
    );
    for file in ["../rows", "/etc/passwd", "a//b", ".hidden"] {
        let error = list(file, &hash).unwrap_err();
        assert!(error.contains("o.yaml:7: `sets.sums.files[0]`") && error.contains(file), "{error}");
    }
    assert!(list("rows", "abc").unwrap_err().contains("64 hexadecimal digits"));
}

#[test]
fn the_folder_is_where_caches_are() {
    let folder = |set: &'static [(&str, &str)]| {
        data_folder(|name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    };
    assert_eq!(folder(&[("HOME", "/h")]).unwrap(), Path::new("/h/.cache/rlar/data"));
    assert_eq!(folder(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")]).unwrap(), Path::new("/c/rlar/data"));
    assert_eq!(folder(&[("HOME", "/h"), ("RLAR_DATA", "/d")]).unwrap(), Path::new("/d"));
    assert_eq!(folder(&[]), None);
}
