//! Examples of large data sets, of which few are in memory.

use std::path::Path;

use rlar_data::{
    Column, DataFile, Example, ExampleList, FoundFiles, ListedExamples, Needs, examples, list_examples, parquet,
    read_rows,
};
use serde_json::json;

fn files(name: &str, bytes: &[u8]) -> FoundFiles {
    FoundFiles::Whole(vec![DataFile { path: name.into(), bytes: bytes.to_vec() }])
}

fn all(list: &ExampleList) -> Vec<Example> {
    list.iter().collect::<Result<_, _>>().unwrap()
}

#[test]
fn an_example_comes_back_as_it_was_added() {
    let row = json!({
        "id": "é", "prompt": [{ "role": "system", "content": "s" }, { "role": "user", "content": "u", "name": "n" }],
        "messages": "a further column", "reference": ["7", "seven"], "domain": "math", "demonstration": "it is 7",
        "worked_solution": 0.1, "conversational": "no", "z": { "b": [1e300, -0.0, null], "a": u64::MAX }, "a": 1.0,
    });
    let row = row.to_string();
    let mut added =
        examples(read_rows(Path::new("x.jsonl"), row.as_bytes()).unwrap(), None, Needs::Prompt).unwrap().examples;
    added.push(Example { worked_solution: Some("6 + 1 = 7".into()), ..Example::new("2", "plain") });
    assert!(added[0].conversational && added[0].columns.len() == 5 && added[0].further_references == ["seven"]);
    let list = ExampleList::try_from(added.clone()).unwrap();
    assert_eq!(all(&list), added);
    assert_eq!(list.get(1).unwrap(), added[1]);
    // A resumed run compares the hash of this text.
    assert_eq!(serde_json::to_string(&list.get(0).unwrap()).unwrap(), serde_json::to_string(&added[0]).unwrap());
    assert!(list.get(2).is_err());
}

#[test]
fn a_list_that_is_too_large_for_memory_is_read_back_from_disk() {
    let long = |i: usize| Example::new(i.to_string(), i.to_string().repeat(100_000));
    let mut list = ExampleList::default();
    for block in 0..4 {
        list.push_all((0..50).map(|i| long(block * 50 + i)).collect()).unwrap();
    }
    let mut joined = ExampleList::try_from(vec![Example::new("first", "of another set")]).unwrap();
    joined.append(list);
    assert_eq!(joined.len(), 201);
    assert_eq!(joined.get(0).unwrap().id, "first");
    for i in [199, 0, 100] {
        assert_eq!(joined.get(i + 1).unwrap(), long(i));
    }
    let blocks: Vec<Vec<Example>> = joined.blocks().collect::<Result<_, _>>().unwrap();
    assert!(blocks.len() > 5, "{} blocks", blocks.len());
    let ids: Vec<String> = blocks.concat().into_iter().skip(1).map(|example| example.id).collect();
    assert_eq!(ids, (0..200).map(|i| i.to_string()).collect::<Vec<String>>());
}

#[test]
fn a_large_file_gives_the_same_examples_and_notes_as_a_small_one() {
    let row = |i: usize| json!({ "question": format!("{i} + 1"), "answer": format!("{i} and one makes\n#### {}", i + 1), "domain": "sums" });
    let lines: Vec<String> = (0..20_000).map(|i| row(i).to_string()).collect();
    let text = lines.join("\n");
    let small = examples(read_rows(Path::new("x.jsonl"), text.as_bytes()).unwrap(), None, Needs::Reference).unwrap();
    let ListedExamples { examples: list, notes, unclear_references } =
        list_examples(files("x.jsonl", text.as_bytes()), None, Needs::Reference).unwrap();
    assert_eq!(all(&list), small.examples);
    assert_eq!((&notes, &unclear_references), (&small.notes, &small.unclear_references));
    assert!(notes.iter().any(|note| note.contains("follows `####` (20000 of 20000 rows)")), "{notes:?}");
    assert_eq!(list.get(19_999).unwrap().reference.as_deref(), Some("20000"));
    assert_eq!(list.get(19_999).unwrap().id, "20000");
    // Few examples keep the text from which the answer was taken.
    assert_eq!(small.examples.iter().filter(|example| example.worked_solution.is_some()).count(), 1000);
    assert_eq!(list.worked_solutions(), 1000);
    let as_list = format!("[{}]", lines.join(","));
    let listed = list_examples(files("x.json", as_list.as_bytes()), None, Needs::Reference).unwrap();
    assert_eq!(all(&listed.examples), small.examples, "without line ends, rows are numbered");
}

#[test]
fn rows_of_a_parquet_file_are_read_in_blocks() {
    let prompts = Column::Text((0..20_000).map(|i| format!("{i} + 1 =")).collect());
    let references = Column::Whole((1..=20_000).collect());
    let bytes = parquet(&[("prompt".into(), prompts), ("reference".into(), references)]).unwrap();
    let list = list_examples(files("x.parquet", &bytes), None, Needs::Reference).unwrap().examples;
    let rows = examples(read_rows(Path::new("x.parquet"), &bytes).unwrap(), None, Needs::Reference).unwrap();
    assert_eq!(all(&list), rows.examples);
    let cut = list_examples(files("x.parquet", &bytes[..bytes.len() - 9]), None, Needs::Prompt).unwrap_err();
    assert!(cut.to_string().contains("cut short"), "{cut}");
}

#[test]
fn what_is_wrong_far_down_a_file_is_named_by_its_line() {
    let line = |i: usize| json!({ "id": format!("row {i}"), "prompt": "p" }).to_string();
    let mut lines: Vec<String> = (1..=20_000).map(line).collect();
    let error = |lines: &[String]| {
        list_examples(files("x.jsonl", lines.join("\n").as_bytes()), None, Needs::Prompt).unwrap_err().to_string()
    };
    lines[18_000] = line(7);
    assert_eq!(error(&lines), "x.jsonl:18001: the id `row 7` is also that of line 7");
    lines[17_000] = "{".to_owned();
    assert!(error(&lines).starts_with("x.jsonl:17001: not JSON"), "{}", error(&lines));
    assert_eq!(error(&[String::new()]), "x.jsonl: the data set is empty");
}
