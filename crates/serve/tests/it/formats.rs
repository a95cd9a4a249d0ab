//! The formats of other engines. The requests are as their clients send them.

use rlar_serve::{OnFailure, ServeOptions};
use serde_json::{Value, json};

use crate::client::Client;
use crate::scripted::{grade, scripted};
use crate::{options, plain_server, start, two_tools};

/// A request as verl sends it to SandboxFusion.
fn run_code(code: &str, language: &str) -> Value {
    json!({
        "compile_timeout": 10, "run_timeout": 2, "code": code, "stdin": "3\n", "memory_limit_MB": 512,
        "language": language, "files": {}, "fetch_files": [],
    })
}

#[cfg(target_os = "linux")]
#[test]
fn programs_run_as_in_sandbox_fusion() {
    let folder = two_tools();
    let server = plain_server(&folder);
    let client = Client::of(&server);
    for (code, status, run_status, return_code, stdout) in [
        ("print(int(input()) + 1)", "Success", "Finished", json!(0), "4\n"),
        ("raise ValueError('no')", "Failed", "Finished", json!(1), ""),
        ("import sys\nprint('x')\nsys.exit(3)", "Failed", "Finished", json!(3), "x\n"),
        ("while True: pass", "Failed", "TimeLimitExceeded", Value::Null, ""),
    ] {
        let answer = client.post("/run_code", &run_code(code, "python"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = answer.json();
        assert_eq!(answer["status"], status, "{code}: {answer}");
        assert_eq!(answer["run_result"]["status"], run_status, "{code}");
        assert_eq!(answer["run_result"]["return_code"], return_code, "{code}");
        assert_eq!(answer["run_result"]["stdout"], stdout, "{code}");
        assert_eq!((&answer["compile_result"], &answer["files"]), (&Value::Null, &json!({})));
    }
    let failed = client.post("/run_code", &run_code("raise ValueError('no')", "python")).json();
    assert!(failed["run_result"]["stderr"].as_str().unwrap().contains("ValueError: no"));
}

#[test]
fn other_languages_are_refused_as_sandbox_fusion_refuses_unknown_ones() {
    let folder = two_tools();
    let server = plain_server(&folder);
    let client = Client::of(&server);
    let answer = client.post("/run_code", &run_code("int main() {}", "cpp"));
    assert_eq!(answer.status, 422);
    assert_eq!(answer.json()["detail"][0]["loc"], json!(["body", "language"]));
    let mut with_files = run_code("print(1)", "python");
    with_files["files"] = json!({ "a.txt": "YQ==" });
    assert_eq!(client.post("/run_code", &with_files).json()["status"], "SandboxError");
}

#[test]
fn what_is_no_json_is_refused_in_every_format() {
    let folder = two_tools();
    let server = plain_server(&folder);
    let client = Client::of(&server);
    let deep = format!(r#"{{"x": {}"#, "[".repeat(5000));
    for path in ["/run_code", "/openrlhf", "/verify"] {
        for body in ["", "{", "NaN", r#"{"x": Infinity}"#, deep.as_str()] {
            let answer = client.post_text(path, body);
            assert_eq!((answer.status, answer.code().as_str()), (400, "malformed_json"), "{path}: {body:.20}");
        }
        for body in ["3", "[1, 2]"] {
            assert_eq!(client.post_text(path, body).code(), "wrong_fields", "{path}: {body}");
        }
    }
}

/// A request as OpenRLHF's `SingleTurnAgentExecutor` sends it.
fn openrlhf(reply: &str, label: &str) -> Value {
    let prompt = "2 + 2 =";
    json!({ "query": [format!("{prompt}{reply}<eos>")], "prompts": [prompt], "labels": [label] })
}

#[test]
fn openrlhf_gets_lists_of_one_form() {
    let folder = two_tools();
    let server = plain_server(&folder);
    let client = Client::of(&server);
    let answer = client.post("/openrlhf", &openrlhf(" 4", "4")).json();
    assert_eq!((&answer["rewards"], &answer["scores"]), (&json!([1.0]), &json!([1.0])));
    assert_eq!(answer["extra_logs"]["rlar_unscored"], json!([0.0]));
    let label = json!({ "reference": "5", "domain": "sums" }).to_string();
    assert_eq!(client.post("/openrlhf", &openrlhf(" 4", &label)).json()["rewards"], json!([0.0]));
    let empty = client.post("/openrlhf", &json!({ "query": [], "prompts": [], "labels": [] })).json();
    assert_eq!((&empty["rewards"], &empty["scores"]), (&json!([]), &json!([])));
    let keys = |answer: &Value| answer["extra_logs"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&answer), keys(&empty));
    let uneven = json!({ "query": ["a", "b"], "prompts": ["a"], "labels": ["x"] });
    assert_eq!(client.post("/openrlhf", &uneven).status, 400);
    let foreign = json!({ "query": ["something else"], "prompts": ["2 + 2 ="], "labels": ["4"] });
    assert_eq!(client.post("/openrlhf", &foreign).status, 400);
}

/// A label that has the judge score.
fn judged() -> String {
    json!({ "tools": ["judge"] }).to_string()
}

#[test]
fn a_failure_is_an_error_unless_the_user_chose_a_number() {
    let folder = two_tools();
    let llm = scripted(|_| "no JSON".into());
    let server = start(options(), folder.path(), &llm);
    let answer = Client::of(&server).post("/openrlhf", &openrlhf(" 4", &judged()));
    assert_eq!((answer.status, answer.code().as_str()), (503, "not_scored"));
    let chosen = ServeOptions { on_failure: OnFailure::Value(-1.0), ..options() };
    let server = start(chosen, folder.path(), &llm);
    let client = Client::of(&server);
    let answer = client.post("/openrlhf", &openrlhf(" 4", &judged())).json();
    assert_eq!((&answer["rewards"], &answer["extra_logs"]["rlar_unscored"]), (&json!([-1.0]), &json!([1.0])));
    assert!(client.get("/metrics").text().contains("rlar_chosen_values_total{route=\"/openrlhf\"} 1"));
    // The server's own format has a word for it.
    let own = crate::results(&server, &json!([crate::chat("x")]));
    assert_eq!((&own[0]["status"], &own[0]["reward"]), (&json!("failed"), &Value::Null));
}

#[test]
fn a_held_answer_comes_when_the_tool_works_again() {
    let folder = two_tools();
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let llm = scripted(move |_| match tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 => "no JSON".into(),
        _ => grade(10),
    });
    let server = start(ServeOptions { on_failure: OnFailure::Hold, ..options() }, folder.path(), &llm);
    let answer = Client::of(&server).post("/openrlhf", &openrlhf(" 4", &judged())).json();
    assert_eq!((&answer["rewards"], &answer["extra_logs"]["rlar_unscored"]), (&json!([1.0]), &json!([0.0])));
}

/// A request as NeMo Gym's agent sends it to a resources server.
fn verify(reply: &str, more: &Value) -> Value {
    let mut row = json!({
        "responses_create_params": { "input": [{ "role": "user", "content": "2 + 2 =" }] },
        "response": { "id": "resp", "object": "response", "output": [
            { "type": "reasoning", "id": "rs", "summary": [] },
            { "type": "message", "id": "msg", "role": "assistant", "status": "completed",
              "content": [{ "type": "output_text", "text": reply, "annotations": [] }] } ] },
        "reference": "4",
    });
    row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    row
}

#[test]
fn verify_gives_the_row_back_with_its_reward() {
    let folder = two_tools();
    let server = plain_server(&folder);
    let client = Client::of(&server);
    for (reply, reward) in [("It is 4.", 1.0), ("It is 5.", 0.0)] {
        let row = verify(reply, &json!({ "uuid": "a" }));
        let answer = client.post("/verify", &row).json();
        assert_eq!((&answer["reward"], &answer["mask_sample"]), (&json!(reward), &json!(false)));
        assert_eq!(answer["reward_components"], json!({ "numbers": reward }));
        for key in ["uuid", "response", "responses_create_params", "reference"] {
            assert_eq!(answer[key], row[key], "{key}");
        }
    }
    assert_eq!(client.post("/verify", &json!({ "response": {} })).code(), "wrong_fields");
}

#[test]
fn verify_masks_a_number_that_the_user_chose() {
    let folder = two_tools();
    let llm = scripted(|_| "no JSON".into());
    let row = verify("It is 4.", &json!({ "tools": ["judge"] }));
    let server = start(options(), folder.path(), &llm);
    assert_eq!(Client::of(&server).post("/verify", &row).status, 503);
    let chosen = ServeOptions { on_failure: OnFailure::Value(0.0), ..options() };
    let server = start(chosen, folder.path(), &llm);
    let answer = Client::of(&server).post("/verify", &row).json();
    assert_eq!((&answer["reward"], &answer["mask_sample"]), (&json!(0.0), &json!(true)));
    assert_eq!(answer["_ng_failure_class"], "judge_failed");
}
