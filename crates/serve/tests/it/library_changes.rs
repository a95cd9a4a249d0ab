//! Tools that enter while the server runs, and clients that keep theirs.

use std::fs;
use std::time::Duration;

use rlar_serve::ServeOptions;
use serde_json::json;

use crate::client::Client;
use crate::{NUMBERS, options, start, two_tools, write_tool};

/// A card of a tool that gives every reply a score by its length.
const LENGTH: &str = "kind: builtin\nbuiltin: brevity\nrole: quality\ntasks: [dialogue]\nneeds_reference: false\n\
                      range: [0, 1]\n";

#[test]
fn a_new_tool_enters_and_a_pinned_client_keeps_its_library() {
    let folder = two_tools();
    let server = start(options(), folder.path(), &crate::scripted::always(10));
    let client = Client::of(&server);
    let body = json!({ "items": [{ "prompt": "p", "response": "r", "tools": ["length"] }] });
    let before = client.post("/v1/rewards", &body).json();
    assert_eq!(before["results"][0]["status"], "failed", "the library has no such tool yet");
    let old = before["library"].as_str().unwrap().to_owned();

    write_tool(folder.path(), "length", LENGTH);
    let reloaded = client.post("/v1/reload", &json!({})).json();
    assert_eq!(reloaded["changed"], true);
    let after = client.post("/v1/rewards", &body).json();
    assert_eq!(after["results"][0]["status"], "ok");
    assert_eq!(after["library"], reloaded["library"]);
    assert_ne!(after["library"], before["library"]);

    let pinned = client.post(&format!("/v1/rewards?library={old}"), &body);
    assert_eq!(pinned.json()["library"], old.as_str());
    assert_eq!(pinned.json()["results"][0]["status"], "failed");
    assert_eq!(client.get(&format!("/v1/tools?library={old}")).json()["tools"].as_array().unwrap().len(), 2);
    assert_eq!(client.get("/v1/tools").json()["pinnable"], json!([after["library"], old]));
}

#[test]
fn an_unknown_hash_is_refused_and_only_a_few_earlier_libraries_are_kept() {
    let folder = two_tools();
    let server = start(options(), folder.path(), &crate::scripted::always(10));
    let client = Client::of(&server);
    let body = json!({ "items": [] });
    let answer = client.post("/v1/rewards?library=0000000000000000", &body);
    assert_eq!((answer.status, answer.code().as_str()), (409, "other_library"));
    let first = client.get("/v1/tools").json()["library"].as_str().unwrap().to_owned();
    for i in 0..4 {
        assert_eq!(client.post(&format!("/v1/rewards?library={first}"), &body).status, 200);
        write_tool(folder.path(), &format!("more_{i}"), NUMBERS);
        client.post("/v1/reload", &json!({}));
    }
    assert_eq!(client.post(&format!("/v1/rewards?library={first}"), &body).status, 409);
}

#[test]
fn a_library_that_cannot_be_loaded_leaves_the_earlier_one_in_service() {
    let folder = two_tools();
    let server = start(options(), folder.path(), &crate::scripted::always(10));
    let client = Client::of(&server);
    let before = client.get("/v1/tools").json()["library"].clone();
    fs::write(folder.path().join("judge/tool.yaml"), "name: judge\nkind: nonsense\n").unwrap();
    let answer = client.post("/v1/reload", &json!({}));
    assert_eq!((answer.status, answer.code().as_str()), (500, "not_loaded"));
    assert!(answer.text().contains("tool.yaml"), "{}", answer.text());
    assert_eq!(client.get("/v1/tools").json()["library"], before);
    assert_eq!(client.post("/v1/rewards", &json!({ "items": [crate::sum("4")] })).status, 200);
}

#[test]
fn a_watched_folder_is_loaded_again_by_itself() {
    let folder = two_tools();
    let watching = ServeOptions { watch: Some(Duration::from_millis(10)), ..options() };
    let server = start(watching, folder.path(), &crate::scripted::always(10));
    let client = Client::of(&server);
    let before = client.get("/v1/tools").json()["library"].clone();
    write_tool(folder.path(), "length", LENGTH);
    while client.get("/v1/tools").json()["library"] == before {
        std::thread::yield_now();
    }
    assert_eq!(client.get("/v1/tools").json()["tools"].as_array().unwrap().len(), 3);
}
