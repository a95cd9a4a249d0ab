//! What a run's files say reaches the page, from the curves down to the reason of a score.

use serde_json::{Value, json};

use crate::client::{ask, asked, found};
use crate::fixture::{record, write, write_metrics, write_run};
use crate::serve;

#[test]
fn every_number_leads_to_the_replies_behind_it_and_every_reply_to_its_reasons() {
    let folder = tempfile::tempdir().unwrap();
    write_run(&folder.path().join("math/one"));
    let server = serve(folder.path());
    let runs = found(&server, "runs", &[]);
    let run = &runs["runs"][0];
    assert_eq!(
        (&run["name"], &run["method"], &run["seed"], &run["steps"], &run["last_step"], &run["ended"]),
        (&json!("math/one"), &json!("grpo"), &json!(3), &json!(5), &json!(5), &json!("all steps are done"))
    );
    let name = asked("run", "math/one");
    let columns = asked("columns", "reward/mean\ntools/exact, or nearly/score/mean\nno such column");
    let metrics = found(&server, "metrics", &[name, columns]);
    assert_eq!(metrics["last_steps"], json!([1, 2, 3, 4, 5]));
    let names: Vec<&Value> = metrics["columns"].as_array().unwrap().iter().map(|column| &column["name"]).collect();
    assert_eq!(names, ["reward/mean", "tools/exact, or nearly/score/mean"]);
    let of = |path: &str, more: &str| {
        found(&server, path, &[asked("run", "math/one"), asked("step", "4"), asked("group", more), asked("row", more)])
    };
    assert_eq!(of("steps", "0")["steps"].as_array().unwrap().iter().map(|s| &s["step"]).collect::<Vec<_>>(), [1, 4]);
    let groups = of("groups", "0")["groups"].clone();
    let facts = |group: &Value| {
        ["group", "replies", "unscored", "cut_off", "mean", "zero_spread"].map(|key| group[key].clone())
    };
    assert_eq!(facts(&groups[0]), [json!(0), json!(3), json!(1), json!(1), json!(0.5), json!(false)]);
    assert_eq!(facts(&groups[1]), [json!(1), json!(2), json!(0), json!(0), json!(1.0), json!(true)]);
    let group = of("group", "0");
    assert_eq!((&group["prompt"]["text"], &group["reference"]["text"]), (&json!("What is 6 * 7?"), &json!("42")));
    let verdicts = &group["replies"][0]["verdicts"];
    assert_eq!(
        verdicts,
        &json!([
            { "tool": "exact, or nearly", "weight": 1.0, "outcome": "scored", "score": 0.5, "why": null,
              "reason": "found 41, wanted 42" },
            { "tool": "strict", "weight": 0.5, "outcome": "failed", "score": null, "why": "raised ValueError", "reason": null },
            { "tool": "polite", "weight": 1.0, "outcome": "abstained", "score": null,
              "why": "no greeting in the prompt", "reason": null },
        ])
    );
    assert_eq!(group["replies"][0]["reward"], Value::Null);
    let reply = of("reply", "1");
    assert_eq!(
        (&reply["rendered_prompt"]["text"], &reply["log_probs"]),
        (&json!("<|user|>What is 6 * 7?"), &json!([-0.5, -1.25]))
    );
}

#[test]
fn neighbouring_steps_share_a_point_and_no_peak_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path());
    let records: Vec<Value> = (1..=1000).map(|step| record(step, if step == 777 { 9.0 } else { 0.0 })).collect();
    write_metrics(folder.path(), &records);
    let server = serve(folder.path());
    let name = folder.path().file_name().unwrap().to_str().unwrap();
    let columns = || asked("columns", "reward/mean");
    let all = found(&server, "metrics", &[asked("run", name), columns(), asked("points", "10")]);
    assert_eq!(all["last_steps"].as_array().unwrap().len(), 10);
    assert_eq!((&all["first_steps"][7], &all["last_steps"][7]), (&json!(701), &json!(800)));
    let column = &all["columns"][0];
    assert_eq!((&column["low"][7], &column["mean"][7], &column["high"][7]), (&json!(0.0), &json!(0.09), &json!(9.0)));
    let part = found(&server, "metrics", &[asked("run", name), columns(), asked("from", "776"), asked("to", "778")]);
    assert_eq!(part["columns"][0]["mean"], json!([0.0, 9.0, 0.0]));
}

#[test]
fn replies_are_found_by_text_tool_outcome_and_in_an_order() {
    let folder = tempfile::tempdir().unwrap();
    write_run(&folder.path().join("one"));
    let server = serve(folder.path());
    let rows = |more: &[(&str, &str)]| {
        let mut parameters = vec![asked("run", "one"), asked("step", "1")];
        parameters.extend(more.iter().map(|(name, value)| asked(name, value)));
        let list = found(&server, "replies", &parameters);
        list["replies"].as_array().unwrap().iter().map(|reply| reply["row"].as_u64().unwrap()).collect::<Vec<u64>>()
    };
    assert_eq!(rows(&[("search", "FAR TOO")]), [2]);
    assert_eq!(rows(&[("outcome", "failed")]), [0]);
    assert_eq!(rows(&[("tool", "strict"), ("outcome", "scored")]), Vec::<u64>::new());
    assert_eq!(rows(&[("sort", "worst")])[0], 2);
    assert_eq!(rows(&[("sort", "longest"), ("limit", "1")]), [2]);
}

#[test]
fn tools_come_with_their_checks_code_and_who_chose_them() {
    let folder = tempfile::tempdir().unwrap();
    write_run(&folder.path().join("one"));
    let server = serve(folder.path());
    let library = found(&server, "library", &[asked("run", "one")]);
    let tool = &library["tools"][0];
    assert_eq!((&tool["name"], &tool["admission"]["status"]), (&json!("strict"), &json!("refused")));
    assert_eq!(tool["admission"]["checks"][1], json!({ "name": "is fast", "passed": false, "evidence": "9 s" }));
    assert_eq!(
        (&tool["source"]["file"], &tool["source"]["text"]["text"]),
        (&json!("tool.py"), &json!("def compute_score(): ...\n"))
    );
    assert_eq!(library["replacements"][0]["step"], 3);
    let all = found(&server, "assignments", &[asked("run", "one")]);
    assert_eq!(all["tools"], json!([{ "name": "exact, or nearly", "count": 2 }, { "name": "strict", "count": 2 }]));
    let one = found(&server, "assignments", &[asked("run", "one"), asked("search", "a model")]);
    assert_eq!(
        (&one["total"], &one["matching"], &one["rows"][0]["example"]),
        (&json!(2), &json!(1), &json!("example-1"))
    );
    assert_eq!(one["rows"][0]["tools"][0], json!({ "tool": "strict", "weight": 0.5, "combine": "gate" }));
}

#[test]
fn exchanges_are_shown_newest_first_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    write_run(&folder.path().join("one"));
    let server = serve(folder.path());
    let page = found(&server, "exchanges", &[asked("run", "one")]);
    assert_eq!(
        (&page["total"], &page["rows"][0]["role"], &page["rows"][0]["line"]),
        (&json!(2), &json!("synthesise"), &json!(2))
    );
    assert_eq!(page["roles"][0]["prompt_tokens"], 10);
    let one = ask(&server, "exchange", &[asked("run", "one"), asked("line", "2")]);
    let reply = "use [secret] and Authorization: Bearer [secret] of http://me:[secret]@host/";
    assert_eq!(
        (&one.json()["messages"][0]["content"]["text"], &one.json()["reply"]["text"]),
        (&json!(reply), &json!(reply))
    );
    for secret in ["sk-abc", "hunter2", "abcdefghijklmnop"] {
        assert!(!one.body.contains(secret), "{secret} is in {}", one.body);
    }
}

#[test]
fn a_run_that_went_on_elsewhere_shows_what_changed() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    let server = serve(folder.path());
    let environment = || found(&server, "environment", &[asked("run", "one")]);
    assert_eq!(environment(), json!({ "processes": [], "problems": [] }));
    let process = |step: u64, cpu: &str, gpus: Value| {
        let line = json!({ "step": step, "version": "0.1.0", "commit": null, "features": ["cuda"], "cpu": cpu, "cores": 2,
                           "memory": 3u64 << 29, "gpus": gpus });
        format!("{line}\n")
    };
    let lines =
        [process(0, "EPYC", json!(["H200"])), process(7, "EPYC", json!(["H200"])), process(9, "Xeon", json!([]))];
    write(&run.join("environment.jsonl"), format!("{}nonsense\n", lines.concat()));
    let answer = environment();
    let facts = json!([
        { "name": "rlar", "value": "0.1.0, with cuda" },
        { "name": "CPU", "value": "EPYC" },
        { "name": "cores", "value": "2" },
        { "name": "memory", "value": "1.5 GiB" },
        { "name": "GPUs", "value": "H200" },
    ]);
    assert_eq!(answer["processes"][0], json!({ "step": 0, "facts": facts, "changed": [] }));
    assert_eq!(answer["processes"][1], json!({ "step": 7, "facts": facts, "changed": [] }));
    assert_eq!(answer["processes"][2]["changed"], json!(["CPU", "GPUs"]));
    assert_eq!(
        (&answer["problems"][0]["file"], &answer["problems"][0]["line"]),
        (&json!("environment.jsonl"), &json!(4))
    );
}

#[test]
fn evaluations_and_marks_have_their_steps() {
    let folder = tempfile::tempdir().unwrap();
    write_run(&folder.path().join("one"));
    let server = serve(folder.path());
    let view = found(&server, "evaluations", &[asked("run", "one")]);
    assert_eq!(view["heldout"][0]["after"], json!({ "answers": 8, "right": 6, "unscored": 0 }));
    assert_eq!((&view["suites"][0]["figure"], &view["suites"][0]["after"]["value"]), (&json!("pass@1"), &json!(0.5)));
    assert_eq!(view["during"], json!([{ "step": 4, "eval": { "accuracy": 0.75, "decides": 0.75 } }]));
    let marks = found(&server, "hints", &[asked("run", "one")])["marks"].clone();
    let told: Vec<String> = marks.as_array().unwrap().iter().map(|m| format!("{} {}", m["step"], m["kind"])).collect();
    assert_eq!(told, ["3 \"news\"", "3 \"hint\"", "5 \"hint\""]);
    let values = found(&server, "config", &[asked("run", "one")])["values"].clone();
    assert!(values.as_array().unwrap().contains(&json!({ "key": "train.steps", "value": "5" })), "{values}");
}
