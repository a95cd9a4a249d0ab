//! What `rlar eval --out` wrote: from a figure to its items to a reply, and two results prompt by prompt. And what else is
//! compared between runs.

use std::path::Path;

use serde_json::{Value, json};

use crate::client::{ask, asked, found};
use crate::fixture::{FixtureReply, write, write_rollouts, write_run};
use crate::serve;

/// Writes the results of a suite whose prompts `0`, `1` … have these scores; `None` stands for a missing reply.
fn write_suite(folder: &Path, engine: &str, scores: &[Option<f64>]) {
    let results = json!({ "suite": "sums", "engine": engine, "prompts": scores.len(), "samples": 1, "unanswered": 1,
                          "unscored": 0,
                          "figures": { "accuracy": { "value": 0.5, "interval": [0.25, 0.75] }, "score": { "value": null } },
                          "groups": { "easy": { "prompts": 3, "value": 0.5 } } });
    write(&folder.join("results.json"), results.to_string());
    let line = |(i, score): (usize, &Option<f64>)| {
        let reply = score.map(|_| format!("reply <b>{i}</b>"));
        let mut line = json!({ "id": i.to_string(), "sample": 0, "prompt": format!("prompt {i}"), "reply": reply,
                               "score": score, "right": score.is_some_and(|score| score >= 0.5) });
        if score.is_none() {
            line["why"] = json!("the server is gone");
        }
        format!("{line}\n")
    };
    write(&folder.join("verdicts.jsonl"), scores.iter().enumerate().map(line).collect::<String>());
}

#[test]
fn results_of_suites_lead_to_their_replies() {
    let folder = tempfile::tempdir().unwrap();
    for run in ["one", "two"] {
        write_run(&folder.path().join(run));
    }
    let scores = [Some(1.0), Some(0.0), None, Some(1.0)];
    write_suite(&folder.path().join("one/eval/sums"), "elsewhere/model.gguf", &scores);
    write_suite(&folder.path().join("evals/sums"), "runs/two/final", &scores);
    write_suite(&folder.path().join("evals/other"), "two/final", &scores);
    write(&folder.path().join("evals/bad/results.json"), "{\"suite\": 3}");
    let server = serve(folder.path());
    let results = found(&server, "results", &[]);
    let known: Vec<Value> =
        results["suites"].as_array().unwrap().iter().map(|s| json!([s["name"], s["run"]])).collect();
    // Results belong to the run in whose folder they lie, or whose model made them.
    assert_eq!(known, [json!(["evals/other", "two"]), json!(["evals/sums", null]), json!(["one/eval/sums", "one"])]);
    let figure = json!({ "name": "accuracy", "value": { "value": 0.5, "low": 0.25, "high": 0.75 } });
    assert_eq!(results["suites"][2]["figures"], json!([figure, { "name": "score", "value": null }]));
    assert_eq!(results["suites"][2]["groups"][0]["value"]["value"], 0.5);
    let rows = |outcome: &str, search: &str| {
        let question = [asked("result", "one/eval/sums"), asked("outcome", outcome), asked("search", search)];
        let page = found(&server, "suite_replies", &question);
        assert_eq!(page["total"], 4);
        page["rows"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(rows("", ""), ["0", "1", "2", "3"]);
    assert_eq!(
        (rows("right", ""), rows("wrong", ""), rows("unscored", "")),
        (vec!["0".into(), "3".into()], vec!["1".into()], vec!["2".into()])
    );
    assert_eq!(rows("", "PROMPT 3"), ["3"]);
    let reply = found(&server, "suite_reply", &[asked("result", "one/eval/sums"), asked("line", "2")]);
    assert_eq!((&reply["reply"]["text"], &reply["right"]), (&json!("reply <b>1</b>"), &json!(false)));
    let missing = found(&server, "suite_reply", &[asked("result", "one/eval/sums"), asked("line", "3")]);
    assert_eq!((&missing["reply"], &missing["why"]), (&Value::Null, &json!("the server is gone")));
    for name in ["../one/eval/sums", "/etc", "", "one"] {
        ask(&server, "suite_replies", &[asked("result", name)]).is_refused(404, "no_result", &["no results called"]);
    }
    ask(&server, "suite_reply", &[asked("result", "one/eval/sums"), asked("line", "9")]).is_refused(
        404,
        "no_reply",
        &["9"],
    );
}

#[test]
fn results_are_found_in_folders_of_any_name_but_not_among_the_models_of_a_run() {
    let folder = tempfile::tempdir().unwrap();
    write_run(&folder.path().join("one"));
    for name in ["evals/final", "evals/library", "one/library", "one/eval"] {
        write_suite(&folder.path().join(name), "", &[Some(1.0)]);
    }
    let results = found(&serve(folder.path()), "results", &[]);
    let names: Vec<&Value> = results["suites"].as_array().unwrap().iter().map(|suite| &suite["name"]).collect();
    assert_eq!(names, ["evals/final", "evals/library", "one/eval"]);
}

#[test]
fn results_of_a_model_that_several_runs_could_have_made_belong_to_none() {
    let folder = tempfile::tempdir().unwrap();
    for run in ["a/one", "b/one", "b/two"] {
        write_run(&folder.path().join(run));
    }
    for (name, engine) in [("1", "one/final"), ("2", "b/one/final"), ("3", "./two/final"), ("4", "")] {
        write_suite(&folder.path().join("evals").join(name), engine, &[Some(1.0)]);
    }
    let results = found(&serve(folder.path()), "results", &[]);
    let runs: Vec<&Value> = results["suites"].as_array().unwrap().iter().map(|suite| &suite["run"]).collect();
    assert_eq!(runs, [&Value::Null, &json!("b/one"), &json!("b/two"), &Value::Null]);
}

#[test]
fn the_order_of_the_replies_to_a_prompt_decides_nothing() {
    let folder = tempfile::tempdir().unwrap();
    write_run(&folder.path().join("one"));
    // The sums of these numbers differ in their last digit.
    for (name, scores) in [("a", [0.1, 0.2, 0.3]), ("b", [0.3, 0.2, 0.1])] {
        write(&folder.path().join(name).join("results.json"), "{\"suite\": \"sums\"}");
        let line = |score: f64| format!("{}\n", json!({ "id": "0", "score": score }));
        write(&folder.path().join(name).join("verdicts.jsonl"), scores.map(line).concat());
    }
    let paired = found(&serve(folder.path()), "paired", &[asked("result", "a"), asked("other", "b")]);
    assert_eq!(["wins", "losses", "ties"].map(|name| paired[name].as_u64().unwrap()), [0, 0, 1]);
    assert_eq!(paired["rows"], json!([]));
}

#[test]
fn two_results_are_compared_prompt_by_prompt() {
    let folder = tempfile::tempdir().unwrap();
    write_run(&folder.path().join("one"));
    let scores = |score: fn(usize) -> f64| (0..20).map(|i| Some(score(i))).collect::<Vec<_>>();
    write_suite(&folder.path().join("a"), "", &[scores(|_| 0.5), vec![None, Some(1.0)]].concat());
    write_suite(
        &folder.path().join("b"),
        "",
        &[
            scores(|i| {
                if i < 12 {
                    1.0
                } else if i < 16 {
                    0.0
                } else {
                    0.5
                }
            }),
            vec![Some(1.0)],
        ]
        .concat(),
    );
    let server = serve(folder.path());
    let paired = found(&server, "paired", &[asked("result", "a"), asked("other", "b"), asked("limit", "3")]);
    let counts = ["prompts", "wins", "losses", "ties", "unpaired"].map(|name| paired[name].as_u64().unwrap());
    assert_eq!(counts, [20, 12, 4, 4, 2]);
    // 12 differences of 0.5, 4 of -0.5 and 4 of 0: their mean is 0.2, their variance (16 * 0.25 - 20 * 0.04) / 19.
    let half = 1.96 * ((16.0 * 0.25 - 20.0 * 0.04) / 19.0_f64 / 20.0).sqrt();
    let difference = ["value", "low", "high"].map(|name| paired["difference"][name].as_f64().unwrap());
    for (value, wanted) in difference.into_iter().zip([0.2, 0.2 - half, 0.2 + half]) {
        assert!((value - wanted).abs() < 1e-12, "{difference:?}");
    }
    let rows = paired["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| row["first"] == 0.5 && row["second"] != 0.5));
    let line = rows[0]["second_line"].as_u64().unwrap();
    let reply = found(&server, "suite_reply", &[asked("result", "b"), asked("line", &line.to_string())]);
    assert_eq!((&reply["id"], &reply["score"]), (&rows[0]["id"], &rows[0]["second"]));
}

/// Writes the files of a reward model and of a judge on two subsets and Ties, as `reward-bench` does.
fn write_benchmark(folder: &Path) {
    let message = |role: &str, content: &str| json!({ "role": role, "content": content });
    let said = |prompt: &str, text: &str| json!([message("user", prompt), message("assistant", text)]);
    let texts =
        |i: usize| json!([said(&format!("prompt {i}"), "right one"), said(&format!("prompt {i}"), "wrong one")]);
    let shared = json!({ "id": ["0", "1", "2", "3"], "subset": ["Math", "Math", "Focus", "Ties"],
                         "num_correct": [1, 1, 1, 1] });
    let mut model = shared.clone();
    model["text"] = (0..4).map(texts).collect();
    model["scores"] = json!([[2.0, 1.0], [[0.5], [0.75]], null, [3.0, 1.0]]);
    model["results"] = json!([1, 0.0, 0.0, 1.0]);
    write(&folder.join("eval-set-scores/rlar/model.json"), model.to_string());
    write(
        &folder.join("eval-set/rlar/model.json"),
        json!({ "model": "rlar/model", "Math": 0.5, "Focus": 0.0, "Ties": 1.01 }).to_string(),
    );
    let mut judge = shared;
    judge["texts_chosen"] = (0..4).map(|i| json!([texts(i)[0]])).collect();
    judge["texts_rejected"] = (0..4).map(|i| json!([texts(i)[1]])).collect();
    judge["scores"] = json!([null, null, null, [1.0, 1.0]]);
    judge["results"] = json!([0.0, 1.0, 0.25, null]);
    write(&folder.join("eval-set-scores/judge.json"), judge.to_string());
    write(&folder.join("eval-set-scores/cut.json"), &model.to_string()[..100]);
}

#[test]
fn a_benchmark_of_rewards_leads_from_subsets_to_items_to_texts() {
    let folder = tempfile::tempdir().unwrap();
    write_run(&folder.path().join("one"));
    write_benchmark(&folder.path().join("one/rb2"));
    let server = serve(folder.path());
    let result = || asked("result", "one/rb2");
    assert_eq!(found(&server, "results", &[])["benchmarks"], json!([{ "name": "one/rb2", "run": "one" }]));
    let view = found(&server, "benchmark", &[result()]);
    assert_eq!(view["problems"][0]["file"], "eval-set-scores/cut.json");
    let tools: Vec<&Value> = view["tools"].as_array().unwrap().iter().map(|tool| &tool["tool"]).collect();
    assert_eq!(tools, ["judge", "rlar/model"]);
    let score = |subset: &str, score: f64| json!({ "subset": subset, "score": score });
    assert_eq!(view["tools"][1]["scores"], json!([score("Math", 0.5), score("Focus", 0.0), score("Ties", 1.01)]));
    assert_eq!((&view["tools"][1]["items"], &view["tools"][1]["unscored"]), (&json!(4), &json!(1)));
    // The judge's file has no scores of subsets beside it, so they are means of results; an unknown one counts as 0.
    assert_eq!(view["tools"][0]["scores"], json!([score("Focus", 0.25), score("Math", 0.5), score("Ties", 0.0)]));
    // The best tool of each subset, and of each item: each of the two wins another item of Math.
    assert_eq!(view["routes"][0]["scores"], json!([score("Focus", 0.25), score("Math", 0.5)]));
    assert_eq!(view["routes"][1]["scores"], json!([score("Focus", 0.25), score("Math", 1.0)]));
    let ids = |tool: &str, subset: &str, outcome: &str| {
        let question = [result(), asked("tool", tool), asked("subset", subset), asked("outcome", outcome)];
        let page = found(&server, "items", &question);
        page["rows"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids("rlar/model", "Math", ""), ["0", "1"]);
    assert_eq!(
        (ids("rlar/model", "", "lost"), ids("rlar/model", "", "unscored")),
        (vec!["1".into()], vec!["2".into()])
    );
    assert_eq!((ids("judge", "", "shared"), ids("judge", "", "won")), (vec!["2".into()], vec!["1".into()]));
    let item =
        |tool: &str, index: &str| found(&server, "item", &[result(), asked("tool", tool), asked("index", index)]);
    let one = item("rlar/model", "1");
    assert_eq!((&one["prompt"]["text"], &one["scores"]), (&json!("prompt 1"), &json!([0.5, 0.75])));
    let facts = |item: &Value, i: usize| {
        let completion = &item["completions"][i];
        json!([completion["is_right"], completion["score"], completion["text"]["text"]])
    };
    assert_eq!((facts(&one, 0), facts(&one, 1)), (json!([true, 0.5, "right one"]), json!([false, 0.75, "wrong one"])));
    assert_eq!(facts(&item("judge", "0"), 1), json!([false, null, "wrong one"]));
    for tool in ["../../config", "rlar/../judge", "nobody"] {
        ask(&server, "items", &[result(), asked("tool", tool)]).is_refused(404, "no_tool", &["no scores of"]);
    }
    ask(&server, "benchmark", &[asked("result", "..")]).is_refused(404, "no_result", &[]);
    ask(&server, "items", &[result(), asked("tool", "cut")]).is_refused(422, "unreadable", &["not a file of scores"]);
}

#[test]
fn tables_of_routing_are_shown_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    write_run(&folder.path().join("one"));
    let results = folder.path().join("rb2");
    write_benchmark(&results);
    let server = serve(folder.path());
    let view = || found(&server, "benchmark", &[asked("result", "rb2")]);
    assert_eq!(view()["tables"], json!([]));
    let rows = json!([["", "overall"], ["route builtin", "61.5"]]);
    let tables = json!([{ "title": "Choosing among tools", "note": null, "rows": rows }, 3]);
    write(&results.join("routing.json"), tables.to_string());
    let made = &view()["tables"];
    assert_eq!(made[0], json!({ "title": "Choosing among tools", "note": "", "rows": rows }));
    assert_eq!(made[1], json!({ "title": "", "note": "", "rows": [] }));
    write(&results.join("routing.json"), "[{");
    assert!(view()["problems"].to_string().contains("routing.json"));
}

#[test]
fn prompts_of_training_have_their_means_over_the_last_steps() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    let reply = |group, reward| FixtureReply {
        group,
        prompt: "p",
        completion: "c",
        reward,
        advantage: None,
        verdicts: json!([]),
    };
    for step in 100..125 {
        let is_first = step == 100;
        write_rollouts(
            &run,
            step,
            &[reply(0, Some(if is_first { 9.0 } else { 1.0 })), reply(0, Some(0.0)), reply(1, None)],
        );
    }
    let server = serve(folder.path());
    let means = found(&server, "prompt_means", &[asked("run", "one")]);
    assert_eq!((&means["steps"][0], means["steps"].as_array().unwrap().len()), (&json!(124), 20));
    let prompt = json!({ "text": "p", "chars": 1, "cut": false });
    assert_eq!(means["prompts"], json!([{ "example": "example-0", "prompt": prompt, "mean": 0.5, "replies": 40 }]));
}

#[test]
fn files_of_data_are_known_by_what_was_read_from_them() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    write(
        &run.join("config.yaml"),
        "version: 1\ndata:\n  train: { prompt: a.txt }\n  heldout: ./b.jsonl\n  format: chat\n",
    );
    write(&run.join("inputs.json"), "{\"train\": \"abc\", \"heldout\": null, \"format\": \"no hash\"}");
    let server = serve(folder.path());
    let values = found(&server, "config", &[asked("run", "one")])["values"].clone();
    let of = |key: &str| values.as_array().unwrap().iter().find(|value| value["key"] == key).unwrap().clone();
    assert_eq!(of("data.train.prompt"), json!({ "key": "data.train.prompt", "value": "a.txt", "data": "abc" }));
    assert_eq!(of("data.heldout"), json!({ "key": "data.heldout", "value": "./b.jsonl" }));
    assert_eq!(of("data.format"), json!({ "key": "data.format", "value": "chat" }));
}
