//! The tests of the reward crate.
// Scores in these tests are exact.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::float_cmp)]

mod admission;
mod agents;
mod answers;
mod building_blocks;
mod evidence;
mod folders;
mod functions;
mod instructions;
mod kinds;
mod look_alikes;
mod programs;
mod reasons;
mod scripted;
mod start_tools;
mod store;
mod weights;

use std::fs;
use std::path::Path;
use std::time::Duration;

use rlar_data::{Completion, Example, Needs, read_examples};
use rlar_oracles::{needs_oracles, oracle};
use rlar_rewards::agents::Agents;
use rlar_rewards::{
    Failure, FetchRequest, FetchedTool, Library, Orchestrator, OrchestratorConfig, Outcome, RewardError, ToolContext,
    fetch_rewards,
};
use rlar_sandbox::SandboxLimits;

fn example(prompt: &str, reference: Option<&str>) -> Example {
    let row = serde_json::json!({ "prompt": prompt, "reference": reference, "id": prompt });
    read_examples(Path::new("x.jsonl"), row.to_string().as_bytes(), Needs::Prompt).unwrap().remove(0)
}

fn context() -> ToolContext {
    ToolContext::new(SandboxLimits { wall: Duration::from_millis(500), ..SandboxLimits::default() })
}

fn orchestrator(library: Library) -> Orchestrator {
    with_config(library, context(), OrchestratorConfig::default())
}

/// An orchestrator that also uses tools without admission.
fn with_config(library: Library, context: ToolContext, config: OrchestratorConfig) -> Orchestrator {
    Orchestrator::new(library, context, OrchestratorConfig { allow_unadmitted: true, ..config })
}

fn curated() -> Orchestrator {
    orchestrator(Library::curated().unwrap())
}

fn score(tool: &str, reply: &str, reference: Option<&str>) -> Outcome {
    let mut rewards = curated();
    let tool = rewards.open(tool).unwrap();
    tool.score(&[(&example("p", reference), &Completion::whole(reply))]).unwrap().remove(0)
}

#[test]
fn both_number_tools_find_the_same_last_number() {
    let cases = [
        ("7+8=15; 4+3+1=8; 85", "85", 1.0),
        ("85.", "85", 1.0),
        ("it is 1,085", "1085", 1.0),
        ("85.0", "85", 1.0),
        ("-3", "-3", 1.0),
        ("-3", "3", 0.0),
        ("x = -3.50", "-3.5", 1.0),
        ("85 or 86", "85", 0.0),
        ("no number", "85", 0.0),
        ("", "85", 0.0),
        ("007", "7", 1.0),
        ("so 7-3", "3", 1.0),
        ("so 7-3", "-3", 0.0),
    ];
    for (reply, reference, want) in cases {
        for tool in ["numeric_match", "last_number"] {
            assert_eq!(
                score(tool, reply, Some(reference)),
                Outcome::Scored(want),
                "{tool}: `{reply}` against {reference}"
            );
        }
    }
}

#[test]
fn numeric_tolerance_reads_numbers_as_people_write_them() {
    for (reply, reference, want) in [
        ("about 3.14159", "3.1415926", 1.0),
        ("3.2", "3.1415926", 0.0),
        ("6.022e23 per mole", "6.02214e23", 1.0),
        ("6.022 × 10^{23}", "602214000000000000000000", 1.0),
        ("6.022 x 10^22", "6.02214e23", 0.0),
        ("-1.602 * 10^-19 C", "-1.6021e-19", 1.0),
        ("it is 1,234,567", "1234567.5", 1.0),
        ("so 7-3", "3", 1.0),
        ("so −3", "-3", 1.0),
        (".5", "0.5", 1.0),
        ("12, 13", "12", 0.0),
        ("1e999", "5", 0.0),
        ("", "5", 0.0),
    ] {
        let got = score("numeric_tolerance", reply, Some(reference));
        assert_eq!(got, Outcome::Scored(want), "`{reply}` against {reference}");
    }
    for reference in ["no number", "1 or 2", "1e999"] {
        assert!(matches!(score("numeric_tolerance", "1", Some(reference)), Outcome::Abstained(_)), "{reference}");
    }
}

#[test]
fn words_are_counted_in_scripts_without_spaces_too() {
    let chinese = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏";
    assert_eq!(score("concise", &chinese.repeat(4), None), Outcome::Scored(1.0));
    assert!(score("concise", &chinese.repeat(12), None).score().unwrap() < 1.0);
    let repetition = score("no_repetition", &chinese.repeat(12), None).score().unwrap();
    assert!(repetition < 0.5 && score("no_repetition", chinese, None) == Outcome::Scored(1.0), "{repetition}");
}

#[test]
fn text_tools_score_what_their_cards_say() {
    assert_eq!(score("exact_match", "  New  york ", Some("New York")), Outcome::Scored(1.0));
    assert_eq!(score("token_f1", "the cat sat", Some("a cat sat down")), Outcome::Scored(0.8));
    assert_eq!(score("token_f1", "", Some("cat")), Outcome::Scored(0.0));
    assert_eq!(score("brevity", &"word ".repeat(100), None), Outcome::Scored(0.5));
}

#[test]
fn abstention_depends_on_the_example_alone() {
    for reply in ["85", "", "anything"] {
        assert!(matches!(score("numeric_match", reply, None), Outcome::Abstained(_)));
        assert!(matches!(score("numeric_match", reply, Some("no number")), Outcome::Abstained(_)));
    }
}

#[test]
fn the_agent_gives_each_kind_of_prompt_its_tool_and_a_reason() {
    let mut rewards = curated();
    for (prompt, reference, tool) in [
        ("47 + 38 =", "85", "numeric_match"),
        ("12 + 1 = 13\n47 + 38 =", "85", "numeric_match"),
        ("Tom has 3 apples and eats 1. How many?", "2", "last_number"),
        ("Capital of France?", "Paris", "exact_match"),
        ("1 / 0 =", "nan", "exact_match"),
        ("10 ** 5 =", "1e5", "exact_match"),
        ("Summarise it.", "a long text of many more words than five", "rouge_l"),
        ("Simplify it.", "\\frac{1}{2}", "math_equivalence"),
        ("Which?\nA) one\nB) two", "B", "multiple_choice"),
    ] {
        let assignment = rewards.assign(&example(prompt, Some(reference))).unwrap();
        assert_eq!(assignment.tools[0].tool, tool, "{prompt}");
        assert!(assignment.why.starts_with("fixed rules chose: ") && assignment.why.contains(tool));
    }
    let error = rewards.assign(&example("Write a poem", None)).unwrap_err().to_string();
    assert!(error.contains("Write a poem") && error.contains("no reference"), "{error}");
}

/// A library of one verifier for word problems.
fn library_of(source: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("tool");
    fs::create_dir(&home).unwrap();
    let card = "name: tool\nkind: verifier\nrole: correctness\nmeasures: m\ntasks: [word problems]\nneeds_reference: true\n\
                range: [0, 1]\nfunction: compute_x\nfile: v.py\norigin: test\n";
    fs::write(home.join("tool.yaml"), card).unwrap();
    fs::write(home.join("v.py"), source).unwrap();
    folder
}

#[test]
fn the_first_tag_may_be_open_already_because_the_prompt_opens_it() {
    for (reply, form) in [
        ("Add them.</think><answer>5</answer>", 1.0),
        ("\nAdd them.\n</think>\n\n<answer>5</answer>\n", 1.0),
        ("<think>Add them.</think><answer>5</answer>", 1.0),
        ("</think><answer>5</answer>", 0.0),
        ("Add them.<answer>5</answer>", 0.0),
        ("Add them.</think>5</answer>", 0.0),
        ("Add</think>them.</think><answer>5</answer>", 0.0),
        ("Add them.</think><answer>5</answer><think>", 0.0),
        ("5", 0.0),
    ] {
        assert_eq!(score("think_answer", reply, None), Outcome::Scored(form), "{reply:?}");
    }
}

/// The entry of a report with this id.
fn reported(id: &str) -> serde_json::Value {
    let cases = fs::read_to_string(oracle!("oracles/reports/cases.jsonl")).unwrap();
    let mut cases = cases.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    cases.find(|case| case["id"] == id).unwrap()["input"].clone()
}

#[needs_oracles]
#[test]
fn the_reported_reply_to_an_open_tag_has_the_form() {
    let input = reported("b42");
    let command = input["run"].as_str().unwrap();
    let (_, reply) = command.split_once("--response $'").unwrap();
    let reply = reply.trim_end_matches('\'').replace("\\n", "\n");
    assert_eq!(score("think_answer", &reply, None).score(), input["expected_score"].as_f64());
}

#[test]
fn a_failure_is_never_a_number() {
    let source =
        "def compute_x(prompt, candidate_response, reference_response):\n    return eval(candidate_response)\n";
    let folder = library_of(source);
    let mut rewards = orchestrator(Library::load(folder.path()).unwrap());
    let example = example("How many?", Some("2"));
    let outcome = |rewards: &mut Orchestrator, reply: &str| {
        let completion = Completion::whole(reply);
        rewards.score(&[(&example, &completion)]).unwrap()[0].tools[0].outcome.clone()
    };
    assert_eq!(outcome(&mut rewards, "0.5"), Outcome::Scored(0.5));
    for (reply, want) in [
        ("1/0", "Exception"),
        ("float('nan')", "Reply"),
        ("7.0", "Reply"),
        ("'1'", "Reply"),
        ("True", "Reply"),
        ("[x for x in iter(int, 1)]", "Limit"),
        ("__import__('os')._exit(0)", "Crash"),
    ] {
        let got = outcome(&mut rewards, reply);
        let kind = match &got {
            Outcome::Failed(Failure::Exception(_)) => "Exception",
            Outcome::Failed(Failure::Reply(_)) => "Reply",
            Outcome::Failed(Failure::Limit(_)) => "Limit",
            Outcome::Failed(Failure::Crash(_)) => "Crash",
            Outcome::Failed(Failure::Late | Failure::Unanswered(_)) | Outcome::Scored(_) | Outcome::Abstained(_) => {
                "none"
            }
        };
        assert_eq!(kind, want, "{reply}: {got:?}");
        assert_eq!(got.score(), None);
    }
    assert_eq!(outcome(&mut rewards, "1.0"), Outcome::Scored(1.0));
}

#[test]
fn a_broken_library_is_refused_with_file_and_line() {
    let folder = library_of("def compute_x(a, b, c): return 0.0");
    let card = folder.path().join("tool/tool.yaml");
    let text = fs::read_to_string(&card).unwrap();
    let with = |from: &str, to: &str| {
        fs::write(&card, text.replace(from, to)).unwrap();
        Library::load(folder.path()).unwrap_err().to_string()
    };
    assert!(with("role: correctness", "role: corectness").contains("tool.yaml:3: `role` is `corectness`"));
    assert!(with("range: [0, 1]", "range: [1, 0]").contains("tool.yaml:7: `range`"));
    assert!(with("file: v.py", "file: ../v.py").contains("in its own folder"));
    assert!(with("file: v.py", "file: w.py").contains("w.py"));
    assert!(with("kind: verifier", "kind: builtin").contains("no such builtin"));
    for (builtin, settings, why) in [
        ("length", "max_words: three", "`max_words` of the builtin `length` must be a number"),
        ("regex", "pattern: '('", "no regular expression"),
        ("tags", "tags: answer", "must be a list of names"),
        ("json_schema", "schema: { type: nothing }", "no JSON schema"),
        ("repetition", "n: 0", "at least 1"),
    ] {
        let said = with("kind: verifier", &format!("kind: builtin\nbuiltin: {builtin}\nsettings: {{ {settings} }}"));
        assert!(said.contains(why), "{said}");
    }
}

fn fetch(folder: &Path, examples: &[Example]) -> Result<Vec<FetchedTool>, RewardError> {
    let agents = Agents { llm: None, hub: None, webs: Vec::new(), context: context(), secrets: Vec::new() };
    let wanted = FetchRequest { folder, examples, demonstrations: &[], sources: &[], always: &[] };
    Ok(fetch_rewards(&wanted, &agents, &mut |_| ())?.fetched)
}

#[test]
fn fetching_fills_a_folder_that_loads_and_can_be_fetched_again() {
    let folder = tempfile::tempdir().unwrap();
    let examples = [example("1 + 1 =", Some("2")), example("2 + 1 =", Some("3")), example("How many?", Some("2"))];
    let fetched = fetch(folder.path(), &examples).unwrap();
    let names: Vec<(&str, usize)> = fetched.iter().map(|f| (f.tool.as_str(), f.examples)).collect();
    assert_eq!(names, [("last_number", 1), ("numeric_match", 2)]);
    let library = Library::load(folder.path()).unwrap();
    for f in &fetched {
        assert_eq!(library.identity(&f.tool).as_ref(), Some(&f.identity));
    }
    assert_eq!(fetch(folder.path(), &examples).unwrap(), fetched);
    fs::write(folder.path().join("last_number/verifier.py"), "mine").unwrap();
    let error = fetch(folder.path(), &examples).unwrap_err().to_string();
    assert!(error.contains("last_number") && error.contains("was edited"), "{error}");
}
