//! Replies are found in a step, over all steps, by their prompt, and with what the judge was asked about them.

use std::fs;

use rlar_data::{Column, parquet};
use serde_json::{Value, json};

use crate::client::{Asked, ask, asked, found};
use crate::fixture::{FixtureReply, write, write_rollouts, write_run};
use crate::serve;

fn reply(group: i64, completion: &str, reward: f64) -> FixtureReply<'_> {
    let verdicts = json!([["strict", 1.0, { "scored": reward }, null]]);
    FixtureReply {
        group,
        prompt: "What is 6 * 7?",
        completion,
        reward: Some(reward),
        advantage: Some(reward),
        verdicts,
    }
}

#[test]
fn replies_of_a_step_are_chosen_by_domain_advantage_and_score() {
    let folder = tempfile::tempdir().unwrap();
    write_run(&folder.path().join("one"));
    let server = serve(folder.path());
    let rows = |more: &[Asked]| {
        let parameters: Vec<Asked> = [asked("run", "one"), asked("step", "1")]
            .into_iter()
            .chain(more.iter().map(|parameter| asked(parameter.name, parameter.value)))
            .collect();
        let list = found(&server, "replies", &parameters);
        list["replies"].as_array().unwrap().iter().map(|reply| reply["row"].as_u64().unwrap()).collect::<Vec<u64>>()
    };
    assert_eq!(rows(&[asked("domain", "words")]), [3, 4]);
    assert_eq!(rows(&[asked("domain", "other")]), Vec::<u64>::new());
    assert_eq!(rows(&[asked("advantage", "positive")]), [1]);
    assert_eq!(rows(&[asked("advantage", "negative")]), [2]);
    assert_eq!(rows(&[asked("advantage", "zero")]), [3, 4]);
    assert_eq!(rows(&[asked("advantage", "none")]), [0]);
    // The fixture's reply of more than 20 bytes reached the length limit.
    assert_eq!(rows(&[asked("finish", "length")]), [2]);
    assert_eq!(rows(&[asked("finish", "stop"), asked("advantage", "zero")]), [3, 4]);
    assert_eq!(rows(&[asked("finish", "nothing")]), Vec::<u64>::new());
    // A bound lets no unknown advantage through.
    assert_eq!(rows(&[asked("least_advantage", "-0.5"), asked("most_advantage", "0")]), [2, 3, 4]);
    assert_eq!(rows(&[asked("tool", "exact, or nearly"), asked("most_score", "0.5")]), [0]);
    assert_eq!(rows(&[asked("tool", "strict"), asked("least_score", "-1000")]), Vec::<u64>::new());
    assert_eq!(found(&server, "groups", &[asked("run", "one"), asked("step", "1")])["groups"][1]["domain"], "words");
}

#[test]
fn a_reply_has_the_trainers_log_probs_where_the_file_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    let server = serve(folder.path());
    let log_probs = |step: &str| {
        let reply = found(&server, "reply", &[asked("run", "one"), asked("step", step), asked("row", "0")]);
        (reply["log_probs"].clone(), reply["trainer_log_probs"].clone())
    };
    assert_eq!(log_probs("4"), (json!([-0.5, -1.25]), json!([])));
    let text = |text: &str| Column::Text(vec![text.to_owned()]);
    let columns = [
        ("completion".to_owned(), text("a reply")),
        ("log_probs".to_owned(), text("[-0.5,null]")),
        ("trainer_log_probs".to_owned(), text("[-0.75,-1.0]")),
    ];
    fs::write(run.join("rollouts/step-000001.parquet"), parquet(&columns).unwrap()).unwrap();
    assert_eq!(log_probs("1"), (json!([-0.5, null]), json!([-0.75, -1.0])));
}

#[test]
fn files_of_earlier_versions_have_no_domain_and_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    let columns = [("completion".to_owned(), Column::Text(vec!["old".to_owned()]))];
    fs::write(run.join("rollouts/step-000001.parquet"), parquet(&columns).unwrap()).unwrap();
    let server = serve(folder.path());
    let list = found(&server, "replies", &[asked("run", "one"), asked("step", "1")]);
    assert_eq!((&list["replies"][0]["completion"]["text"], &list["replies"][0]["domain"]), (&json!("old"), &json!("")));
}

#[test]
fn a_search_goes_back_over_the_steps_in_bounded_parts() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    for step in 10..15 {
        write_rollouts(&run, step, &[reply(0, "a Straße, a NEEDLE, and hay", 1.0), reply(1, "hay", 0.0)]);
    }
    fs::write(run.join("rollouts/step-000012.parquet"), "damaged").unwrap();
    let server = serve(folder.path());
    let search = |up_to: Option<&str>| {
        let mut parameters = vec![asked("run", "one"), asked("search", "needle"), asked("limit", "2")];
        parameters.extend(up_to.map(|step| asked("up_to", step)));
        found(&server, "search", &parameters)
    };
    let steps = |page: &Value| {
        page["replies"].as_array().unwrap().iter().map(|reply| reply["step"].as_u64().unwrap()).collect::<Vec<u64>>()
    };
    let first = search(None);
    assert_eq!((steps(&first), &first["next"], &first["searched"]), (vec![14, 13], &json!(12), &json!(2)));
    assert_eq!((&first["steps"], &first["newest"], &first["oldest"]), (&json!(7), &json!(14), &json!(13)));
    let found_reply = &first["replies"][0];
    assert_eq!(
        (&found_reply["row"], &found_reply["excerpt"], &found_reply["place"]),
        (&json!(0), &json!("a Straße, a NEEDLE, and hay"), &json!("completion"))
    );
    let second = search(Some("12"));
    assert_eq!((steps(&second), &second["next"]), (vec![11, 10], &json!(4)));
    assert_eq!(second["problems"][0]["file"], "rollouts/step-000012.parquet");
    let last = search(Some("4"));
    assert_eq!((steps(&last), &last["next"]), (vec![], &Value::Null));
    // Every reply of a step fits: only so many are listed, and the others are counted.
    let all = found(&server, "search", &[asked("run", "one"), asked("limit", "1"), asked("up_to", "1")]);
    assert_eq!((all["replies"].as_array().unwrap().len(), &all["left_out"]), (1, &json!(4)));
}

#[test]
fn a_prompt_is_followed_over_the_steps() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    write_rollouts(&run, 5, &[reply(1, "other prompt", 1.0)]);
    let server = serve(folder.path());
    let history = |example: &str, limit: &str| {
        ask(&server, "prompt", &[asked("run", "one"), asked("example", example), asked("limit", limit)])
    };
    let all = history("example-0", "50").json();
    assert_eq!((&all["with_prompt"], &all["of"], &all["next"]), (&json!(2), &json!(3), &Value::Null));
    assert_eq!(all["prompt"]["text"], "What is 6 * 7?");
    let facts = |step: &Value| {
        let names =
            ["step", "group", "replies", "unscored", "cut_off", "mean", "lowest", "highest", "sample", "reward"];
        names.map(|name| step[name].clone())
    };
    let numbers = [json!(0), json!(3), json!(1), json!(1), json!(0.5), json!(0.0), json!(1.0), json!(1), json!(1.0)];
    assert_eq!(facts(&all["steps"][0])[1..], numbers);
    assert_eq!((&all["steps"][0]["step"], &all["steps"][1]["step"]), (&json!(4), &json!(1)));
    assert_eq!(history("example-0", "1").json()["next"], 1);
    // A step that comes later, and one that is written anew, are seen.
    write_rollouts(&run, 9, &[reply(0, "42", 1.0)]);
    write_rollouts(&run, 4, &[reply(1, "another prompt now", 1.0)]);
    let steps = |page: &Value| page["steps"].as_array().unwrap().iter().map(|s| s["step"].clone()).collect::<Vec<_>>();
    assert_eq!(steps(&history("example-0", "50").json()), [json!(9), json!(1)]);
    history("example-7", "50").is_refused(404, "no_example", &["example-7"]);
    // A file that cannot be read is named, and is none of those that the index has no room for.
    fs::write(run.join("rollouts/step-000006.parquet"), "damaged").unwrap();
    let damaged = history("example-0", "50").json();
    assert_eq!(damaged["problems"][0]["file"], "rollouts/step-000006.parquet");
    assert_eq!((steps(&damaged), &damaged["left_out"]), (vec![json!(9), json!(1)], &json!(0)));
}

#[test]
fn tokens_have_their_texts_where_the_run_has_a_tokenizer() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    let server = serve(folder.path());
    let texts = || {
        let reply = found(&server, "reply", &[asked("run", "one"), asked("step", "1"), asked("row", "1")]);
        (reply["token_ids"].clone(), reply["token_texts"].clone())
    };
    assert_eq!(texts(), (json!([7, 8]), json!([])));
    // Byte-level as in GPT-2: `Ġ` is a space, and `ä` is the two bytes of `Ã¤`, here in two tokens.
    let byte_level = json!({ "added_tokens": [{ "id": 9, "content": "<end>" }], "decoder": { "type": "ByteLevel" },
                             "model": { "vocab": { "ĠÃ": 7, "¤Ċ": 8 }, "merges": ["a b"] } });
    write(&run.join("start/tokenizer.json"), byte_level.to_string());
    assert_eq!(texts().1, json!([" ", "ä\n"]));
    let pieces: Vec<Value> =
        (0..7).map(|_| json!(["x", 0.0])).chain([json!(["▁six", -1.5]), json!(["<0x2A>", -2.0])]).collect();
    write(&run.join("final/tokenizer.json"), json!({ "model": { "vocab": pieces } }).to_string());
    assert_eq!(texts().1, json!([" six", "*"]));
    write(&run.join("final/tokenizer.json"), "{\"model\": {\"vocab\": 3}}");
    assert_eq!(texts().1, json!([]));
}

#[test]
fn a_reply_leads_to_what_its_judge_was_asked() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    write(&run.join("library/kind/tool.yaml"), "name: kind\nkind: judge\n");
    let verdicts = json!([["kind", 1.0, { "scored": 1.0 }, "polite"], ["strict", 1.0, { "scored": 1.0 }, null]]);
    let judged = |completion| FixtureReply { verdicts: verdicts.clone(), ..reply(0, completion, 1.0) };
    write_rollouts(&run, 1, &[judged("4"), judged("42"), judged("thought: 6 * 7\nanswer: 43")]);
    let exchange = |task: &str, reply: &str| {
        let content =
            format!("<conversation-1>\nuser: What is 6 * 7?\n</conversation-1>\n<reply-2>\n{reply}\n</reply-2>\n");
        json!({ "role": "judge", "task": task, "model": "m", "messages": [{ "role": "user", "content": content }],
                "reply": { "text": "{\"score\": 5, \"by\": \"sk-abcdefghijklmnop1234\"}", "prompt_tokens": 3 } })
    };
    let lines = [exchange("kind", "42"), exchange("kind", "4"), exchange("other", "42"), exchange("kind", "43")];
    write(&run.join("judges.jsonl"), lines.map(|line| format!("{line}\n")).concat());
    // What the same judge said before, in the file that was full.
    write(&run.join("judges-before.jsonl"), format!("{}\nnonsense\n", exchange("kind", "4")));
    let server = serve(folder.path());
    let lines = |row: &str| {
        let answer = found(&server, "judged", &[asked("run", "one"), asked("step", "1"), asked("row", row)]);
        assert_eq!(answer["judges"], json!(["kind"]));
        answer["exchanges"].as_array().unwrap().iter().map(|e| e["line"].as_u64().unwrap()).collect::<Vec<u64>>()
    };
    // The reply `42` has the reply `4` in it, but was itself shown to the judge.
    assert_eq!((lines("0"), lines("1")), (vec![1, 2], vec![1]));
    // Of the third reply a part was scored; `4` is a part of it, too.
    assert_eq!(lines("2"), [1, 2, 4]);
    let answer = found(&server, "judged", &[asked("run", "one"), asked("step", "1"), asked("row", "1")]);
    let shown = &answer["exchanges"][0];
    assert_eq!(
        (&shown["task"], &shown["reply"]["text"]),
        (&json!("kind"), &json!("{\"score\": 5, \"by\": \"[secret]\"}"))
    );
    assert!(shown["messages"][0]["content"]["text"].as_str().unwrap().contains("\n42\n</reply-2>"), "{shown}");
    // Without a judge among its tools, a reply has no such exchange.
    let plain = found(&server, "judged", &[asked("run", "one"), asked("step", "4"), asked("row", "1")]);
    assert_eq!(plain, json!({ "judges": [], "exchanges": [], "problems": [] }));
}
