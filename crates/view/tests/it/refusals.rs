//! What the server refuses, by name: folders that are no runs, runs that are gone, requests from elsewhere.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rlar_view::{ViewOptions, ViewServer};

use crate::client::{ask, asked, found, get, send};
use crate::fixture::{write, write_run};
use crate::serve;

fn refusal(folder: &Path) -> String {
    ViewServer::start(&ViewOptions::new(folder.to_owned(), 0)).unwrap_err().to_string()
}

#[test]
fn a_folder_without_a_run_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    assert!(refusal(folder.path()).contains("is no run and holds none"));
    let missing = folder.path().join("missing");
    assert!(refusal(&missing).contains("missing: No such file"), "{}", refusal(&missing));
    let file = folder.path().join("file");
    write(&file, "text");
    assert!(refusal(&file).contains("is a file"));
}

#[test]
fn a_run_of_another_version_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("later");
    write_run(&run);
    write(&run.join("config.yaml"), "version: 7\n");
    assert!(refusal(&run).contains("later is of version 7"), "{}", refusal(&run));
    // Beside others it is listed with the reason.
    write_run(&folder.path().join("now"));
    let server = serve(folder.path());
    let runs = found(&server, "runs", &[]);
    assert!(runs["runs"][0]["problem"].as_str().unwrap().contains("version 7"), "{runs}");
    assert_eq!(runs["runs"][1]["problem"], serde_json::Value::Null);
    ask(&server, "metrics", &[asked("run", "later")]).is_refused(422, "other_version", &["later", "version 7"]);
}

#[test]
fn a_run_that_is_deleted_while_it_is_viewed_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    let server = serve(folder.path());
    found(&server, "metrics", &[asked("run", "one")]);
    fs::remove_dir_all(&run).unwrap();
    for path in ["metrics", "groups", "library", "config"] {
        ask(&server, path, &[asked("run", "one")]).is_refused(410, "run_deleted", &["one", "deleted"]);
    }
}

#[test]
fn a_name_cannot_lead_out_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    write_run(&folder.path().join("inside/one"));
    write_run(&folder.path().join("outside"));
    let server = serve(&folder.path().join("inside"));
    for name in ["../outside", "/etc", "one/../../outside", "", "."] {
        ask(&server, "metrics", &[asked("run", name)]).is_refused(404, "no_run", &["has no run called"]);
    }
    for path in ["/page/../Cargo.toml", "/page/%2e%2e/Cargo.toml", "/page/vendor", "/elsewhere"] {
        assert_eq!(get(&server, path).status, 404, "{path}");
    }
}

#[test]
fn requests_of_other_machines_and_other_pages_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_run(&folder.path().join("one"));
    let server = serve(folder.path());
    let own = server.address();
    let request = |method: &str, host: &str, more: &str| {
        send(own, &format!("{method} /api/runs HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{more}\r\n"))
    };
    request("GET", "evil.example", "").is_refused(403, "not_local", &["loopback"]);
    request("GET", &own.to_string(), "origin: http://evil.example\r\n").is_refused(403, "not_local", &[]);
    request("GET", &own.to_string(), "origin: null\r\n").is_refused(403, "not_local", &[]);
    for (site, mode, status) in [
        ("cross-site", "no-cors", 403),
        ("same-site", "no-cors", 403),
        ("cross-site", "navigate", 200),
        ("same-origin", "cors", 200),
        ("none", "navigate", 200),
    ] {
        let more = format!("sec-fetch-site: {site}\r\nsec-fetch-mode: {mode}\r\n");
        assert_eq!(request("GET", &own.to_string(), &more).status, status, "{site}, {mode}");
    }
    request("POST", &own.to_string(), "content-length: 0\r\n").is_refused(405, "wrong_method", &["GET"]);
    for more in ["", &format!("origin: http://{own}\r\n")] {
        let answer = request("GET", &own.to_string(), more);
        assert_eq!(answer.status, 200);
        assert!(answer.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    ask(&server, "groups", &[asked("run", "one"), asked("step", "minus one")]).is_refused(400, "bad_request", &[]);
}

#[test]
fn a_port_in_use_gives_the_next_free_one() {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let server = ViewServer::start(&ViewOptions::new(folder.path().to_owned(), port)).unwrap();
    assert!(server.address().port() > port && server.address().ip().is_loopback());
}

/// The files of a folder with their contents and times.
fn state(folder: &Path) -> BTreeMap<PathBuf, (Option<Vec<u8>>, SystemTime)> {
    let mut files = BTreeMap::new();
    let mut left = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let modified = path.metadata().unwrap().modified().unwrap();
        files.insert(path.clone(), (fs::read(&path).ok(), modified));
    }
    files
}

#[test]
fn nothing_is_written_into_a_run() {
    let folder = tempfile::tempdir().unwrap();
    write_run(&folder.path().join("one"));
    let before = state(folder.path());
    let server = serve(folder.path());
    let paths = [
        "runs",
        "config",
        "metrics",
        "hints",
        "steps",
        "groups",
        "group",
        "replies",
        "reply",
        "library",
        "assignments",
        "exchanges",
        "evaluations",
    ];
    for path in paths {
        found(&server, path, &[asked("run", "one"), asked("step", "1")]);
    }
    found(&server, "exchange", &[asked("run", "one"), asked("line", "1")]);
    server.stop();
    assert!(state(folder.path()) == before, "a file has changed");
}
