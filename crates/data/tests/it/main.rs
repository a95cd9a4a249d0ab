//! Tests of reading examples and checking YAML.
#![allow(clippy::unwrap_used)]

mod columns;
mod example_lists;
mod final_answers;
mod rows;

use std::path::Path;

use rlar_data::{Completion, Document, KeyProblem, Needs, ScoredPart, expand_home_of, read_examples};
use schemars::JsonSchema;
use serde::Deserialize;

fn rows(text: &str, needs: Needs) -> Result<Vec<rlar_data::Example>, String> {
    read_examples(Path::new("x.jsonl"), text.as_bytes(), needs).map_err(|e| e.to_string())
}

#[test]
fn prompts_come_as_text_or_as_messages() {
    let text = r#"{"prompt":"2+2?","answer":4,"kind":"add","level":3}
        {"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hi"}],"id":"b"}"#;
    let examples = rows(text, Needs::Prompt).unwrap();
    assert_eq!((examples[0].id.as_str(), examples[0].prompt(), examples[0].kind()), ("1", "2+2?", "add"));
    assert_eq!(examples[0].reference.as_deref(), Some("4"));
    assert_eq!(examples[0].columns["level"], 3);
    assert_eq!((examples[1].prompt(), examples[1].messages.len(), examples[1].kind()), ("hi", 2, "all"));
}

#[test]
fn a_bad_row_is_named_by_file_and_line() {
    let good = r#"{"prompt":"p","reference":"r"}"#;
    let error = |second: &str, needs| rows(&format!("{good}\n\n{second}"), needs).unwrap_err();
    assert_eq!(
        error(r#"{"text":"p","reference":"r"}"#, Needs::Prompt),
        "x.jsonl:3: the row has no `prompt` (or `messages`); the row has: text, reference; name the right one, for \
         example `data.columns: { prompt: \"{{ text }}\" }`"
    );
    let missing = error(r#"{"prompt":"p","gold":"r"}"#, Needs::Reference);
    assert!(missing.starts_with("x.jsonl:3: the row has no `reference` (or `answer`), which this job needs; "));
    assert!(missing.ends_with("`data.columns: { reference: \"{{ gold }}\" }`"), "{missing}");
    assert!(error(r#"{"prompt":"p","reference":"r"}"#, Needs::Demonstration).starts_with("x.jsonl:1: "));
    assert!(error(r#"{"prompt":" "}"#, Needs::Prompt).ends_with("the prompt is empty"));
    assert!(error(r#"{"prompt":7}"#, Needs::Prompt).ends_with("not a number"));
    assert!(error("[1]", Needs::Prompt).ends_with("a row must be a JSON object, not a list"));
    assert!(error("{oops", Needs::Prompt).starts_with("x.jsonl:3: not JSON"));
    assert!(error(r#"{"prompt":"p","id":"1"}"#, Needs::Prompt).ends_with("the id `1` is also that of line 1"));
    assert_eq!(rows("\n", Needs::Prompt).unwrap_err(), "x.jsonl: the data set is empty");
}

#[test]
fn only_the_part_after_the_marker_is_scored() {
    assert_eq!(Completion::whole("<think>7</think> 8").scored_text(), "<think>7</think> 8");
    let part = |after: Option<&str>, within: Option<&str>| ScoredPart {
        after: after.map(str::to_owned),
        within: within.map(str::to_owned),
    };
    for (part, reply, scored) in [
        (part(None, None), "<think>7</think> 8", "<think>7</think> 8"),
        (part(Some("</think>"), None), "<think>7</think> 8</think> 9", " 9"),
        (part(Some("</think>"), None), "8, and no thought", ""),
        (part(None, Some("answer")), "It is <answer>é 8</answer>, or <answer>9</answer>!", "9"),
        (part(None, Some("answer")), "<answer>8", ""),
        (part(None, Some("answer")), "8</answer>", ""),
        (part(Some("</think>"), Some("answer")), "<answer>7</answer></think><answer>8</answer>", "8"),
        (part(Some("</think>"), Some("answer")), "<answer>7</answer></think> 8", ""),
    ] {
        assert_eq!(part.completion(reply).scored_text(), scored, "{reply}");
        assert_eq!(part.completion(reply).text, reply);
    }
    assert_eq!(Completion::whole("é8").scored_text(), "é8");
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    steps: u32,
    #[serde(default)]
    rate: Rate,
    inner: Option<Inner>,
}

#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Rate {
    #[default]
    Constant,
    Linear,
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Inner {
    #[schemars(range(min = 0, max = 1))]
    share: f64,
    names: Vec<String>,
}

fn check(text: &str) -> Result<Settings, String> {
    let schema = schemars::schema_for!(Settings).to_value();
    let document = Document::parse(Path::new("c.yaml"), text).map_err(|e| e.to_string())?;
    document.check(&schema).map_err(|e| e.to_string())
}

#[test]
fn a_right_document_is_built() {
    let got = check("steps: 3\nrate: linear\ninner:\n  share: 0.5\n  names: [a, b]\n").unwrap();
    let inner = Inner { share: 0.5, names: vec!["a".into(), "b".into()] };
    assert_eq!(got, Settings { steps: 3, rate: Rate::Linear, inner: Some(inner) });
    assert!(check("steps: 3\ninner: null\n").unwrap().inner.is_none());
}

#[test]
fn every_problem_is_reported_with_its_line_and_the_nearest_name() {
    let text = "stesp: 3\nrate: linaer\ninner:\n  share: 1.5\n  names: [a, 7]\n  extra: 1\n";
    let lines: Vec<String> = check(text).unwrap_err().lines().map(str::to_owned).collect();
    assert_eq!(
        lines,
        [
            "c.yaml:1: unknown key `stesp`; did you mean `steps`?",
            "c.yaml:1: the key `steps` is missing",
            "c.yaml:2: `rate` is `linaer`; possible: constant, linear; did you mean `linear`?",
            "c.yaml:4: `inner.share` is 1.5; it must be at least 0 and at most 1",
            "c.yaml:5: `inner.names[1]` must be text, not `7`",
            "c.yaml:6: unknown key `inner.extra`",
        ]
    );
}

#[test]
fn wrong_types_and_broken_yaml_are_named() {
    assert_eq!(check("steps: many").unwrap_err(), "c.yaml:1: `steps` must be a whole number, not the text `many`");
    assert_eq!(check("steps: 1\ninner: [1]").unwrap_err(), "c.yaml:2: `inner` must be a mapping, not a list");
    assert!(check("steps: [1").unwrap_err().starts_with("c.yaml:"));
    assert_eq!(check("").unwrap_err(), "c.yaml:1: is empty");
    assert_eq!(check("steps: -1").unwrap_err(), "c.yaml:1: `steps` is -1; it must be at least 0");
}

#[test]
fn impossible_combinations_point_to_the_line_of_their_key() {
    let document = Document::parse(Path::new("c.yaml"), "a: 1\nb:\n  c: 2\n  d: 3\n").unwrap();
    let error =
        document.reject(vec![KeyProblem::new("b.d", "clashes with a"), KeyProblem::new("b.missing", "is needed")]);
    assert_eq!(error.unwrap_err().to_string(), "c.yaml:2: `b.missing`: is needed\nc.yaml:4: `b.d`: clashes with a");
}

#[test]
fn a_tilde_at_the_beginning_of_a_path_is_the_home_folder_or_refused() {
    let of = |path: &str| expand_home_of(path, Some("/home/ada/"));
    for (path, expanded) in [
        ("~", "/home/ada"),
        ("~/runs/x", "/home/ada/runs/x"),
        ("~/", "/home/ada/"),
        ("runs/~/x", "runs/~/x"),
        ("./~/x", "./~/x"),
        ("/a~", "/a~"),
        ("", ""),
    ] {
        assert_eq!(of(path).as_deref(), Ok(expanded));
    }
    assert!(of("~bob/x").unwrap_err().contains("./~bob/x"));
    assert!(of("~x").is_err());
    for home in [None, Some("")] {
        assert!(expand_home_of("~/x", home).unwrap_err().contains("HOME"));
        assert_eq!(expand_home_of("x", home).as_deref(), Ok("x"));
    }
}
