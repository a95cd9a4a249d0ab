//! What becomes of items, and of requests as a whole.

use std::collections::BTreeSet;

use rlar_serve::{AccessToken, ROUTES, RewardServer, ServeOptions};
use serde_json::{Value, json};

use crate::client::Client;
use crate::scripted::{grade, scripted};
use crate::{ask, chat, options, plain_server, results, source, start, sum, two_tools};

#[test]
fn every_item_gets_one_answer_and_only_scored_ones_a_number() {
    let folder = two_tools();
    let server = plain_server(&folder);
    let items = json!([
        { "id": "right", "prompt": "2 + 2 =", "reference": "4", "response": "It is 4." },
        { "id": "wrong", "prompt": "2 + 2 =", "reference": "4", "response": "It is 5." },
        { "id": 7, "messages": [
            { "role": "user", "content": "2 + 2 =" }, { "role": "assistant", "content": "4" } ], "reference": "4" },
        { "prompt": "Tell me of the sea.", "response": "It is wide.", "domain": "dialogue" },
        { "id": "no reply", "prompt": "2 + 2 =", "reference": "4" },
        { "id": "no prompt", "response": "4" },
        "not an object",
        { "id": "no such tool", "prompt": "p", "response": "r", "tools": ["../../etc/passwd"] },
        { "id": "judged", "prompt": "p", "response": "r", "tools": [{ "tool": "judge", "weight": 0.5 }] },
        { "id": ["wrong"], "prompt": "p", "response": "r" },
    ]);
    let answer = ask(&server, &items);
    assert_eq!(answer.status, 200);
    let results = answer.json()["results"].as_array().unwrap().clone();
    let seen: Vec<(Value, &str, Value)> =
        results.iter().map(|r| (r["id"].clone(), r["status"].as_str().unwrap(), r["reward"].clone())).collect();
    let null = Value::Null;
    assert_eq!(
        seen,
        [
            (json!("right"), "ok", json!(1.0)),
            (json!("wrong"), "ok", json!(0.0)),
            (json!(7), "ok", json!(1.0)),
            (json!(3), "ok", json!(1.0)),
            (json!("no reply"), "failed", null.clone()),
            (json!("no prompt"), "failed", null.clone()),
            (json!(6), "failed", null.clone()),
            (json!("no such tool"), "failed", null.clone()),
            (json!("judged"), "ok", json!(0.5)),
            (json!(9), "failed", null.clone()),
        ]
    );
    for result in &results {
        assert_eq!(result["status"] == "ok", result["reward"].is_number(), "{result}");
        assert_eq!(result["status"] == "ok", result["reason"].is_null(), "{result}");
    }
    let hash = answer.json()["library"].as_str().unwrap().to_owned();
    assert_eq!(hash.len(), 16);
    let part = &results[0]["parts"][0];
    assert_eq!(part["tool"], "numbers");
    assert_eq!((&part["value"], &part["weight"], &part["outcome"]), (&json!(1.0), &json!(1.0), &json!("scored")));
    assert_eq!(part["hash"].as_str().unwrap().len(), 16);
    assert_eq!(results[0]["chosen"]["by"], "builtin");
    assert_eq!(results[8]["chosen"]["by"], "request");
}

#[test]
fn a_prompt_that_no_tool_fits_is_abstained_from() {
    let folder = tempfile::tempdir().unwrap();
    crate::write_tool(folder.path(), "numbers", crate::NUMBERS);
    let server = plain_server(&folder);
    let answers = results(&server, &json!([{ "prompt": "Tell me of the sea.", "response": "It is wide." }]));
    assert_eq!((&answers[0]["status"], &answers[0]["reward"]), (&json!("abstained"), &Value::Null));
    assert!(answers[0]["reason"].as_str().unwrap().contains("no reference"), "{}", answers[0]);
}

#[test]
fn a_tool_that_fails_one_time_in_five_gives_no_number_for_these_and_is_not_suspended() {
    let folder = two_tools();
    let llm = scripted(|reply| if reply.ends_with('0') || reply.ends_with('5') { "no JSON".into() } else { grade(10) });
    let server = start(options(), folder.path(), &llm);
    let items: Vec<Value> = (0..200).map(|i| chat(&format!("reply {i}"))).collect();
    for (i, result) in results(&server, &json!(items)).iter().enumerate() {
        let expected = if i % 5 == 0 { ("failed", Value::Null) } else { ("ok", json!(1.0)) };
        assert_eq!((result["status"].as_str().unwrap(), result["reward"].clone()), expected, "{result}");
        if i % 5 == 0 {
            assert_eq!(result["parts"][0]["outcome"], "failed");
            assert!(result["reason"].as_str().unwrap().contains("judge"));
        }
    }
    let metrics = Client::of(&server).get("/metrics").text();
    assert!(metrics.contains("rlar_tool_scores_total{tool=\"judge\",outcome=\"failed\"} 40"), "{metrics}");
    assert!(metrics.contains("rlar_items_total{status=\"ok\"} 160"), "{metrics}");
}

#[test]
fn a_tool_that_fails_too_often_is_suspended_until_the_library_is_loaded_again() {
    let folder = two_tools();
    let server = start(options(), folder.path(), &scripted(|_| "no JSON".into()));
    let items: Vec<Value> = (0..100).map(|i| chat(&format!("reply {i}"))).collect();
    assert!(results(&server, &json!(items)).iter().all(|r| r["status"] == "failed"));
    let client = Client::of(&server);
    let tools = client.get("/v1/tools").json();
    assert_eq!(tools["tools"][0]["name"], "judge");
    assert_eq!((&tools["tools"][0]["suspended"], &tools["tools"][1]["suspended"]), (&json!(true), &json!(false)));
    let chosen = json!({ "prompt": "Tell me of the sea.", "response": "It is wide.", "domain": "dialogue" });
    for result in results(&server, &json!([chat("x"), chosen])) {
        assert_eq!((&result["status"], &result["reward"]), (&json!("suspended"), &Value::Null), "{result}");
        assert!(result["reason"].as_str().unwrap().contains("judge"));
    }
    assert_eq!(results(&server, &json!([sum("4")]))[0]["reward"], 1.0);
    assert!(client.get("/metrics").text().contains("rlar_tool_suspended{tool=\"judge\"} 1"));
    assert_eq!(client.post("/v1/reload", &json!({})).json()["changed"], false);
    assert_eq!(results(&server, &json!([chat("x")]))[0]["status"], "failed");
}

#[cfg(target_os = "linux")]
#[test]
fn a_verifier_that_hangs_has_failed_and_delays_no_other_tool() {
    let folder = two_tools();
    let card = "kind: verifier\nfunction: endless\nfile: v.py\nrole: quality\ntasks: [dialogue]\n\
                needs_reference: false\nrange: [0, 1]\n";
    crate::write_tool(folder.path(), "endless", card);
    let code = "def endless(prompt, reply, reference):\n    while True:\n        pass\n";
    std::fs::write(folder.path().join("endless/v.py"), code).unwrap();
    let server = plain_server(&folder);
    let hanging = json!({ "prompt": "p", "response": "r", "tools": ["endless"] });
    let answers = results(&server, &json!([hanging, sum("4")]));
    assert_eq!((&answers[0]["status"], &answers[0]["reward"]), (&json!("failed"), &Value::Null));
    assert!(answers[0]["reason"].as_str().unwrap().contains("limit"), "{}", answers[0]);
    assert_eq!(answers[1]["reward"], 1.0);
}

#[test]
fn a_tool_that_panics_has_failed_and_the_server_serves_on() {
    let folder = two_tools();
    let llm = scripted(|reply| if reply == "panic" { panic!("as the test wants") } else { grade(10) });
    let server = start(ServeOptions { workers: 1, ..options() }, folder.path(), &llm);
    for _ in 0..3 {
        let answers = results(&server, &json!([chat("panic"), sum("4")]));
        assert_eq!((&answers[0]["status"], &answers[0]["reward"]), (&json!("failed"), &Value::Null));
        assert!(answers[0]["reason"].as_str().unwrap().contains("panicked"), "{}", answers[0]);
        assert_eq!(answers[1]["reward"], 1.0);
    }
    assert_eq!(results(&server, &json!([chat("calm")]))[0]["reward"], 1.0);
}

#[test]
fn what_is_not_scored_by_the_deadline_has_failed() {
    let folder = two_tools();
    let llm = crate::scripted::always(10);
    let server = start(ServeOptions { workers: 1, ..options() }, folder.path(), &llm);
    llm.close();
    let body = json!({ "items": [chat("a"), chat("b")], "deadline_s": 0.2 });
    let answer = Client::of(&server).post("/v1/rewards", &body);
    llm.open();
    for result in answer.json()["results"].as_array().unwrap() {
        assert_eq!((&result["status"], &result["reward"]), (&json!("failed"), &Value::Null));
    }
    for wrong in [json!(0), json!(-1), json!(1e9)] {
        let answer = Client::of(&server).post("/v1/rewards", &json!({ "items": [], "deadline_s": wrong }));
        assert_eq!((answer.status, answer.code().as_str()), (400, "wrong_deadline"));
    }
}

#[test]
fn equal_replies_come_from_the_cache_and_say_so() {
    let folder = two_tools();
    let server = plain_server(&folder);
    let first = results(&server, &json!([chat("same")]));
    let again = results(&server, &json!([chat("same")]));
    assert_eq!((&first[0]["cached"], &again[0]["cached"]), (&json!(false), &json!(true)));
    assert_eq!(first[0]["reward"], again[0]["reward"]);
    assert_eq!(again[0]["parts"][0]["reason"], "as scripted");
}

#[test]
fn a_request_that_cannot_be_read_is_refused_with_a_code() {
    let folder = two_tools();
    let server = plain_server(&folder);
    let client = Client::of(&server);
    let deep = format!(r#"{{"items": {}{}}}"#, "[".repeat(5000), "]".repeat(5000));
    for (body, code) in [
        ("", "malformed_json"),
        ("{", "malformed_json"),
        (r#"{"items": [{"prompt": "p", "response": "r", "x": NaN}]}"#, "malformed_json"),
        (r#"{"items": [{"prompt": "p", "response": "r", "x": 1e999}]}"#, "malformed_json"),
        (r#"{"items": [{"prompt": "p", "response": "half of a pair: \ud83d"}]}"#, "malformed_json"),
        (r#"{"items": [{"prompt": "p", "response": "\x41"}]}"#, "malformed_json"),
        ("{\"items\": [{\"prompt\": \"p\", \"response\": \"a\nb\"}]}", "malformed_json"),
        (deep.as_str(), "malformed_json"),
        (r#"{"items": 3}"#, "wrong_fields"),
        (r#"{"rows": []}"#, "wrong_fields"),
        ("{}", "wrong_fields"),
    ] {
        let answer = client.post_text("/v1/rewards", body);
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{body:.60}: {}", answer.text());
    }
    assert_eq!(client.post("/v1/rewards", &json!({ "items": [] })).json()["results"], json!([]));
    let twice = client.post("/v1/rewards?library=a&library=b", &json!({ "items": [] }));
    assert_eq!((twice.status, twice.code().as_str()), (400, "wrong_query"));
    let plain = client.head("POST", "/v1/rewards", "content-type: text/plain\r\ncontent-length: 2\r\n") + "{}";
    assert_eq!(client.send(&plain).status, 415);
    assert_eq!(client.get("/v1/rewards").status, 405);
    for path in ["/", "/v1", "/../../etc/passwd", "/v1/tools/../../../etc/passwd", "/v1/tools/%2e%2e%2f", "//v1/tools"]
    {
        let answer = client.get(path);
        assert_eq!((answer.status, answer.code().as_str()), (404, "no_route"), "{path}");
    }
}

#[test]
fn texts_with_escapes_come_back_as_they_were() {
    let folder = two_tools();
    let llm = scripted(|reply| json!({ "reason": reply, "score": 10 }).to_string());
    let server = start(options(), folder.path(), &llm);
    for text in
        ["\"quoted\" \\ back\\slash", "line\nbreak\ttab", "nul \0 bell \u{7}", "\u{2028}\u{feff}", "𝄞 é \u{10ffff}"]
    {
        let result =
            &results(&server, &json!([{ "id": text, "prompt": text, "response": text, "tools": ["judge"] }]))[0];
        assert_eq!((&result["id"], &result["reward"]), (&json!(text), &json!(1.0)), "{result}");
    }
    // The same in escapes, pairs of surrogates among them.
    let escaped = r#"{"items": [{"id": "\ud834\udd1e \u00e9\/\u0041",
        "prompt": "2 + 2 =", "reference": "4", "response": "\u0034"}]}"#;
    let answer = Client::of(&server).post_text("/v1/rewards", escaped).json();
    assert_eq!((&answer["results"][0]["id"], &answer["results"][0]["reward"]), (&json!("𝄞 é/A"), &json!(1.0)));
}

#[test]
fn a_request_keeps_its_id_or_gets_one() {
    let folder = two_tools();
    let server = plain_server(&folder);
    let client = Client::of(&server);
    assert_eq!(client.with("x-request-id", "step-17").get("/healthz").header("x-request-id"), Some("step-17"));
    let made: BTreeSet<String> =
        (0..3).map(|_| client.get("/healthz").header("x-request-id").unwrap().to_owned()).collect();
    assert_eq!(made.len(), 3);
    for unusable in ["x".repeat(200), "two words".into(), "tab\there".into(), "ümlaut".into(), String::new()] {
        let answer = client.with("x-request-id", &unusable).get("/healthz");
        let id = answer.header("x-request-id").unwrap();
        assert!(id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit()), "`{id}` for `{unusable}`");
    }
    // Refused requests have an id as well.
    for path in ["/nowhere", "/v1/rewards"] {
        assert_eq!(client.with("x-request-id", "step-18").get(path).header("x-request-id"), Some("step-18"), "{path}");
    }
}

#[test]
fn only_the_token_opens_a_server_that_has_one() {
    let folder = two_tools();
    let token = AccessToken::new("a token of the tests").unwrap();
    let server = start(ServeOptions { token: Some(token), ..options() }, folder.path(), &crate::scripted::always(1));
    let client = Client::of(&server);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(client.get(path).status, 200, "{path}");
    }
    for route in ROUTES.iter().filter(|route| !matches!(route.path, "/healthz" | "/readyz")) {
        let send = |client: &Client| match route.method {
            "GET" => client.get(route.path),
            _ => client.post(route.path, &json!({})),
        };
        assert_eq!(send(&client).code(), "no_token", "{}", route.path);
        for wrong in ["Bearer a token of the test", "Bearer ", "Basic a token of the tests", "a token of the tests"] {
            assert_eq!(send(&client.with("authorization", wrong)).status, 401, "{} with `{wrong}`", route.path);
        }
        let right = client.with("authorization", "bearer a token of the tests");
        assert_ne!(send(&right).status, 401, "{}", route.path);
    }
    assert!(AccessToken::new("short").is_err());
}

#[test]
fn without_a_token_neither_other_machines_nor_web_pages_are_answered() {
    let folder = two_tools();
    let public = ServeOptions { address: "0.0.0.0:0".parse().unwrap(), ..options() };
    let refused = RewardServer::start(public, source(folder.path(), crate::scripted::always(1)));
    assert!(refused.unwrap_err().to_string().contains("token"));
    let server = plain_server(&folder);
    let client = Client::of(&server);
    assert_eq!(client.with("origin", "https://example.org").get("/v1/tools").code(), "not_local");
    let rebound = "GET /v1/tools HTTP/1.1\r\nhost: example.org\r\nconnection: close\r\n\r\n";
    assert_eq!(client.send(rebound).code(), "not_local");
    for host in ["localhost", "localhost:1", "127.0.0.1", "[::1]:80", "[::1]"] {
        let request = format!("GET /v1/tools HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        assert_eq!(client.send(&request).status, 200, "{host}");
    }
}

#[test]
fn the_openapi_document_names_every_route() {
    let folder = two_tools();
    let server = plain_server(&folder);
    let document = Client::of(&server).get("/v1/openapi.json").json();
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), ROUTES.len());
    for route in ROUTES {
        let operation = &paths[route.path][route.method.to_ascii_lowercase()];
        assert!(operation["responses"]["200"].is_object(), "{}", route.path);
    }
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

#[test]
fn health_readiness_and_metrics_say_how_the_server_is() {
    let folder = two_tools();
    let server = plain_server(&folder);
    let client = Client::of(&server);
    assert_eq!(client.get("/healthz").status, 200);
    let ready = client.get("/readyz").json();
    results(&server, &json!([sum("4"), sum("5")]));
    let metrics = client.get("/metrics");
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let text = metrics.text();
    for line in [
        "rlar_requests_total{route=\"/v1/rewards\",status=\"200\"} 1",
        "rlar_request_seconds_count{route=\"/v1/rewards\"} 1",
        "rlar_tool_scores_total{tool=\"numbers\",outcome=\"scored\"} 2",
        "rlar_queue_items 0",
        &format!("rlar_library_info{{hash=\"{}\"}} 1", ready["library"].as_str().unwrap()),
    ] {
        assert!(text.lines().any(|l| l == line), "no `{line}` in\n{text}");
    }
}
