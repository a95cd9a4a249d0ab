//! Columns under other names: by templates, or because their form is recognised.

use std::path::Path;

use rlar_data::{
    ColumnTemplates, DataRow, ExampleSet, Needs, Role, examples, preferences, read_preferences, read_rows,
};
use serde_json::{Value, json};

fn rows(values: &[Value]) -> Vec<DataRow> {
    let text = values.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    read_rows(Path::new("x.jsonl"), text.as_bytes()).unwrap()
}

fn read(values: &[Value]) -> Result<ExampleSet, String> {
    examples(rows(values), None, Needs::Prompt).map_err(|e| e.to_string())
}

#[test]
fn templates_map_columns() {
    let columns = ColumnTemplates {
        prompt: Some("Q: {{ task }}".into()),
        reference: Some("{{ gold.split('|')[-1] | trim }}".into()),
        domain: Some("{{ meta.kind }}".into()),
        system: Some("Be brief.".into()),
        id: Some("row-{{ nr }}".into()),
        ..ColumnTemplates::default()
    };
    let row = json!({"task": "1 + 1?", "gold": "one and one | 2", "meta": {"kind": "sums"}, "nr": 7});
    let set = examples(rows(std::slice::from_ref(&row)), Some(&columns.compile().unwrap()), Needs::Reference).unwrap();
    let example = &set.examples[0];
    assert_eq!((example.prompt(), example.reference.as_deref()), ("Q: 1 + 1?", Some("2")));
    assert_eq!((example.domain.as_deref(), example.id.as_str()), (Some("sums"), "row-7"));
    assert_eq!((example.messages[0].role, example.messages[0].content.as_str()), (Role::System, "Be brief."));
    assert_eq!(example.columns["gold"], row["gold"]);
}

#[test]
fn an_expression_may_give_a_list() {
    let columns = ColumnTemplates {
        messages: Some("{{ dialog }}".into()),
        reference: Some("{{ golds }}".into()),
        ..ColumnTemplates::default()
    };
    let row = json!({"dialog": [{"role": "user", "content": "Hi"}], "golds": ["a", "b"], "prompt": "unused"});
    let set = examples(rows(&[row]), Some(&columns.compile().unwrap()), Needs::Reference).unwrap();
    assert_eq!(set.examples[0].prompt(), "Hi");
    assert_eq!(set.examples[0].references().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn a_column_without_braces_is_refused_where_it_would_be_the_same_text_for_all_rows() {
    let columns = ColumnTemplates {
        system: Some("You add.".into()),
        domain: Some("math".into()),
        prompt: Some("{% if a %}{{ a }}{% endif %}".into()),
        ..ColumnTemplates::default()
    };
    assert!(columns.compile().is_ok());
    let error = ColumnTemplates { reference: Some("answer".into()), ..columns }.compile().unwrap_err();
    assert!(error.name == "reference" && error.reason.contains("`{{ answer }}`"), "{error:?}");
}

#[test]
fn a_template_that_uses_a_missing_column_names_the_row_and_its_columns() {
    let columns = ColumnTemplates { prompt: Some("{{ question }}".into()), ..ColumnTemplates::default() };
    let error = examples(rows(&[json!({"query": "x"})]), Some(&columns.compile().unwrap()), Needs::Prompt);
    let error = error.unwrap_err().to_string();
    assert!(
        error.starts_with("x.jsonl:1: `data.columns`, `prompt`") && error.ends_with("the row has: query"),
        "{error}"
    );
}

#[test]
fn forms_of_other_tools_are_recognised() {
    // verl.
    let chat = json!([{"role": "user", "content": "1 + 1 ="}]);
    let set = read(&[json!({"data_source": "sums/tiny", "prompt": chat, "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": "2"}, "extra_info": {"index": 0}})])
    .unwrap();
    let example = &set.examples[0];
    assert_eq!((example.reference.as_deref(), example.domain.as_deref()), (Some("2"), Some("sums/tiny")));
    assert!(example.conversational && example.columns["extra_info"]["index"] == 0);
    assert_eq!(set.notes, ["`data_source` is the domain", "`reward_model.ground_truth` is the reference"]);
    // TRL.
    let set = read(&[json!({"prompt": "1 + 1 =", "solution": "2"})]).unwrap();
    assert_eq!((set.examples[0].reference.as_deref(), set.examples[0].conversational), (Some("2"), false));
    // A question with a worked solution, under names of its own.
    let worked = |a: u32| json!({"problem": format!("{a} + 1 ="), "solution": format!("We add one to {a} and get {}, so it is $\\boxed{{{}}}$.", a + 1, a + 1)});
    let set = read(&(1..20).map(worked).collect::<Vec<_>>()).unwrap();
    assert_eq!(set.examples[4].reference.as_deref(), Some("6"));
    // Alpaca and ShareGPT.
    let set = read(&[json!({"instruction": "Add.", "input": "1, 1", "output": "2"})]).unwrap();
    assert_eq!((set.examples[0].prompt(), set.examples[0].demonstration.as_deref()), ("Add.\n\n1, 1", Some("2")));
    let set = read(&[json!({"conversations": [{"from": "human", "value": "Hi"}]})]).unwrap();
    assert_eq!((set.examples[0].messages[0].role, set.examples[0].prompt()), (Role::User, "Hi"));
    // APPS: tests stay in their form, which the tool that runs programs reads.
    let tests = json!({"inputs": ["1\n2\n", ["3", "4"]], "outputs": ["3\n", ["7"]]}).to_string();
    let set = read(&[json!({"question": "Add two numbers.", "input_output": tests, "solutions": "[]"})]).unwrap();
    assert_eq!((set.examples[0].columns["tests"].as_str(), &set.examples[0].reference), (Some(tests.as_str()), &None));
    let tests = json!({"fn_name": "add", "inputs": [[1, true]], "outputs": [[2]]}).to_string();
    let set = read(&[json!({"prompt": "Write add.", "reward_model": {"ground_truth": tests}})]).unwrap();
    assert_eq!(set.examples[0].columns["tests"].as_str(), Some(tests.as_str()));
    assert_eq!(set.notes, ["`reward_model.ground_truth` holds tests"]);
}

#[test]
fn null_columns_count_as_missing() {
    let set = read(&[json!({"prompt": null, "messages": [{"role": "user", "content": "1 + 1 ="}], "reference": null,
        "answer": 2})])
    .unwrap();
    assert_eq!((set.examples[0].prompt(), set.examples[0].reference.as_deref()), ("1 + 1 =", Some("2")));
}

#[test]
fn messages_come_with_parts_tools_and_nulls() {
    let call = json!({"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}, "index": null});
    let set = read(&[json!({"messages": [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "1 + "}, {"type": "text", "text": "1?"}]},
        {"role": "assistant", "content": null, "tool_calls": [call, null]},
        {"role": "tool", "content": "2", "tool_call_id": "c1", "tool_calls": null}]})])
    .unwrap();
    let messages = &set.examples[0].messages;
    assert_eq!((messages[0].role, messages[1].content.as_str()), (Role::Developer, "1 + 1?"));
    assert_eq!(messages[2].tool_calls[0].get("index"), None);
    assert_eq!((messages[3].role, messages[3].tool_call_id.as_deref()), (Role::Tool, Some("c1")));
    let wrong = |message: Value| read(&[json!({"messages": [message]})]).unwrap_err();
    assert!(wrong(json!({"role": "critic", "content": "x"})).contains("the role `critic` is none of"));
    let image = json!([{"type": "image_url", "image_url": {"url": "x"}}]);
    assert!(wrong(json!({"role": "user", "content": image})).contains("a part of the type `image_url`"));
    assert!(wrong(json!({"role": "user", "content": null})).contains("has no `content`"));
}

#[test]
fn several_files_have_ids_with_their_names() {
    let one = read_rows(Path::new("a/one.jsonl"), br#"{"prompt":"1"}"#).unwrap();
    let two = read_rows(Path::new("a/two.jsonl"), br#"{"prompt":"2"}"#).unwrap();
    let set = examples(one.into_iter().chain(two).collect(), None, Needs::Prompt).unwrap();
    let ids: Vec<&str> = set.examples.iter().map(|e| e.id.as_str()).collect();
    assert_eq!(ids, ["one.jsonl:1", "two.jsonl:1"]);
}

#[test]
fn preferences_are_mapped_and_recognised() {
    let columns = ColumnTemplates {
        chosen: Some("{{ better }}".into()),
        rejected: Some("{{ worse }}".into()),
        ..ColumnTemplates::default()
    };
    let row = json!({"question": "Hi?", "better": "Hello.", "worse": "No.", "system": "Be kind."});
    let pairs = preferences(rows(&[row]), Some(&columns.compile().unwrap())).unwrap();
    assert_eq!((pairs[0].chosen.as_str(), pairs[0].messages.len()), ("Hello.", 2));
    let turns = |reply: &str| json!([{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": reply}]);
    let row = json!({"prompt": null, "chosen": turns("Hello."), "rejected": turns("No."), "margin": "1.5"});
    let pairs = read_preferences(Path::new("x.jsonl"), row.to_string().as_bytes()).unwrap();
    assert_eq!((pairs[0].messages[0].content.as_str(), pairs[0].margin), ("Hi?", 1.5));
}
