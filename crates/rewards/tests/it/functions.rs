//! Users' Python functions as tools.

use std::fs;
use std::path::Path;

use rlar_data::{Completion, Example, Needs, read_examples};
use rlar_rewards::{
    Library, Orchestrator, OrchestratorConfig, Outcome, PythonFunction, RewardError, Status, examine, read_source,
};
use serde_json::{Value, json};

use crate::context;

/// An example of a row with these columns.
fn row(columns: &Value) -> Example {
    read_examples(Path::new("x.jsonl"), columns.to_string().as_bytes(), Needs::Prompt).unwrap().remove(0)
}

/// A library with the functions in `text`, a file `reward.py` in `folder`, that the entries name; with its name alone an
/// entry has the defaults.
fn library(folder: &Path, text: &str, entries: &[PythonFunction]) -> Library {
    fs::write(folder.join("reward.py"), text).unwrap();
    let mut library = Library::default();
    for entry in entries {
        let source = read_source(&folder.join("reward.py"), entry.address().unwrap().function).unwrap();
        library.add_function(entry, &source, &[]).unwrap();
    }
    library
}

fn entry(function: &str) -> PythonFunction {
    PythonFunction::new(&format!("reward.py:{function}"))
}

/// An orchestrator whose tool is the function `f` in `text`.
fn with_function(text: &str, entry: PythonFunction) -> (Orchestrator, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let config = OrchestratorConfig {
        allow_unadmitted: true,
        defaults: vec![entry.weighted()],
        ..OrchestratorConfig::default()
    };
    (Orchestrator::new(library(folder.path(), text, &[entry]), context(), config), folder)
}

/// The outcomes of the function `f` in `text` for replies to one prompt.
fn outcomes(text: &str, replies: &[&str]) -> Vec<Outcome> {
    let (mut rewards, _folder) = with_function(text, entry("f"));
    let example = row(&json!({ "prompt": "2 + 3 =", "answer": "5", "level": 2, "domain": "sums" }));
    let replies: Vec<Completion> = replies.iter().map(|r| Completion::whole(*r)).collect();
    let items: Vec<(&Example, &Completion)> = replies.iter().map(|r| (&example, r)).collect();
    rewards.open("f").unwrap().score(&items).unwrap()
}

fn failure(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Failed(failure) => failure.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_replies_to_a_prompt_reach_the_function_in_one_call_with_the_columns_of_the_row() {
    let text = "def f(prompts, completions, answer, level, domain, id, reference, **rest):\n    assert len(set(prompts)) == \
                1 and answer == reference == ['5'] * 3 and domain == ['sums'] * 3 and id == ['1'] * 3 and level == [2] * 3\n    \
                return [float(len(completions))] * 3";
    assert_eq!(outcomes(text, &["5", "5", "8"]), vec![Outcome::Scored(3.0); 3]);
}

#[test]
fn none_for_a_whole_group_is_an_abstention_and_for_a_part_of_it_a_failure() {
    let text = "def f(completions, **kwargs):\n    return [None if c == 'x' else 1.0 for c in completions]";
    assert!(outcomes(text, &["x", "x"]).iter().all(|o| matches!(o, Outcome::Abstained(_))));
    let mixed = outcomes(text, &["x", "y"]);
    assert!(failure(&mixed[0]).contains("returned None, but scores for other replies"));
    assert_eq!(mixed[1], Outcome::Scored(1.0));
}

#[test]
fn a_reply_that_breaks_the_function_does_not_take_its_group_along() {
    let text = "def f(completions, **kwargs):\n    numbers = [int(c) for c in completions]\n    return [n / max(numbers) for \
                n in numbers]";
    let found = outcomes(text, &["2", "two", "4"]);
    assert_eq!((&found[0], &found[2]), (&Outcome::Scored(0.5), &Outcome::Scored(1.0)));
    assert!(failure(&found[1]).contains("raised ValueError") && failure(&found[1]).contains("(reward.py:2)"));
    // If no reply alone is to blame, the whole group has failed.
    let text = "def f(completions, **kwargs):\n    return [1.0] if len(completions) == 1 else []";
    let found = outcomes(text, &["a", "b"]);
    assert!(found.iter().all(|o| failure(o).contains("returned 0 values for 2 completions")), "{found:?}");
    let text =
        "def f(completions, **kwargs):\n    while 'loop' in completions: pass\n    return [1.0 for c in completions]";
    let found = outcomes(text, &["a", "loop"]);
    assert_eq!(found[0], Outcome::Scored(1.0));
    assert!(failure(&found[1]).contains("no answer within"));
}

#[test]
fn a_range_makes_scores_outside_it_failures() {
    let text = "def f(completions, **kwargs):\n    return [float(c) for c in completions]";
    assert_eq!(outcomes(text, &["-7.5", "1e9"]), [Outcome::Scored(-7.5), Outcome::Scored(1e9)]);
    let (mut rewards, _folder) = with_function(text, PythonFunction { range: Some([0.0, 1.0]), ..entry("f") });
    let example = row(&json!({ "prompt": "p" }));
    let reply = Completion::whole("2");
    let found = rewards.open("f").unwrap().score(&[(&example, &reply)]).unwrap();
    assert!(failure(&found[0]).contains("outside its range of 0 to 1"));
}

#[test]
fn several_functions_are_summed_by_weight_and_a_gate_closes() {
    let folder = tempfile::tempdir().unwrap();
    let text = "def right(prompt, reply, reference):\n    return float(reference in reply)\ndef brief(completions, **kw):\n    \
                return [-len(c) for c in completions]\ndef tagged(solution_str, ground_truth):\n    return '<' in solution_str";
    let entries = [
        entry("right"),
        PythonFunction { weight: 0.5, ..entry("brief") },
        PythonFunction { combine: rlar_rewards::CombineAs::Gate, least: Some(0.5), ..entry("tagged") },
    ];
    let library = library(folder.path(), text, &entries);
    let defaults = entries.iter().map(PythonFunction::weighted).collect();
    let config = OrchestratorConfig { allow_unadmitted: true, defaults, ..OrchestratorConfig::default() };
    let mut rewards = Orchestrator::new(library, context(), config);
    let example = row(&json!({ "prompt": "p", "reference": "5" }));
    let replies = ["<5>", "5"].map(Completion::whole);
    let scores = rewards.score(&[(&example, &replies[0]), (&example, &replies[1])]).unwrap();
    assert_eq!(scores[0].total(), Some(1.0 - 1.5));
    assert_eq!(scores[1].total(), Some(-0.5), "the gate leaves the negative score alone");
    assert!(rewards.choose(&example).unwrap().why.contains("rewards.python"));
}

#[test]
fn a_suspended_function_is_not_replaced_by_another_tool() {
    let (mut rewards, _folder) = with_function("def f(completions, **kw): return [0.0]", entry("f"));
    let example = row(&json!({ "prompt": "2 + 3 =", "reference": "5" }));
    assert!(rewards.choose(&example).is_ok());
    rewards.suspend("f");
    assert!(rewards.choose(&example).unwrap_err().to_string().contains("`f` (from `rewards.python`) is suspended"));
}

#[test]
fn a_refused_import_names_the_ways_out() {
    let open = |entry: PythonFunction| {
        let (mut rewards, _folder) = with_function("import nonesuch\ndef f(completions): return []", entry);
        rewards.open("f").unwrap_err().to_string()
    };
    let message = open(entry("f"));
    for word in ["reward.py:1", "--package nonesuch", "`packages`", "trusted: true", "`import` statement"] {
        assert!(message.contains(word), "{message}");
    }
    let message = open(PythonFunction { trusted: true, ..entry("f") });
    assert!(message.contains("install `nonesuch`") && message.contains("RLAR_PYTHON"), "{message}");
    let message = open(PythonFunction { packages: vec!["nonesuch".into()], ..entry("f") });
    assert!(message.contains("`nonesuch` is not allowed"), "{message}");
}

/// Sums with their references; the first has the id 2, the prompt `1 + 2 =` and the reference 3.
fn sums(count: usize) -> Vec<Example> {
    let sum =
        |i: usize| json!({ "prompt": format!("1 + {i} ="), "reference": (1 + i).to_string(), "id": i.to_string() });
    (2..2 + count).map(|i| row(&sum(i))).collect()
}

/// What the admission checks say against the function `f` in `text`.
fn refusal(text: &str) -> String {
    let (rewards, _folder) = with_function(text, entry("f"));
    let examples = sums(4);
    let admission = examine(&rewards.for_admission("f").unwrap(), &examples, &[]).unwrap();
    assert_eq!(admission.status, Status::Refused);
    admission.failed().map(|check| format!("{}: {}\n", check.name, check.evidence)).collect::<Vec<_>>().concat()
}

#[test]
fn a_refused_function_is_told_the_example_the_reply_and_what_it_gave() {
    let text = refusal("def f(completions, **kwargs):\n    return [float(c) for c in completions]");
    assert!(text.contains("raised ValueError") && text.contains("(reward.py:2)"), "{text}");
    assert!(text.contains("for \"\", a reply to the example `2`"), "{text}");
    let text = refusal("def f(completions, **kwargs):\n    return [float('nan')] * len(completions)");
    assert!(
        text.contains("gives finite scores") && text.contains("returned nan for \"3\", a reply to the example `2`"),
        "{text}"
    );
    let text = refusal(
        "import random\nR = random.SystemRandom()\ndef f(completions, **kwargs):\n    return [R.random() for c in completions]",
    );
    assert!(text.contains("for the same call in a fresh process"), "{text}");
    let text = refusal("def f(completions, solution):\n    return [1.0]");
    assert!(text.contains("needs `solution`") && text.contains("it has: answer, id, prompt, reference"), "{text}");
}

#[test]
fn a_function_without_a_role_is_not_asked_to_rank_and_one_with_a_role_is() {
    let text = "def f(completions, **kwargs):\n    return [float(len(c)) for c in completions]";
    let examples = sums(4);
    let status = |entry: PythonFunction| {
        let (rewards, _folder) = with_function(text, entry);
        examine(&rewards.for_admission("f").unwrap(), &examples, &[]).unwrap()
    };
    let plain = status(entry("f"));
    assert_eq!(plain.status, Status::Admitted, "{:?}", plain.failed().collect::<Vec<_>>());
    let ranked = status(PythonFunction { role: Some(rlar_rewards::ToolRole::Correctness), ..entry("f") });
    assert_eq!(ranked.status, Status::Refused);
    assert!(ranked.failed().any(|check| check.name.contains("ranks good replies")));
}

#[test]
fn a_changed_file_or_helper_is_another_tool_and_a_library_keeps_all_files() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("project");
    fs::create_dir_all(home.join("parts")).unwrap();
    fs::write(home.join("helper.py"), "import parts.scale\nHALF = parts.scale.HALF").unwrap();
    fs::write(home.join("parts/__init__.py"), "").unwrap();
    fs::write(home.join("parts/scale.py"), "HALF = 0.5").unwrap();
    fs::write(home.join("unused.py"), "").unwrap();
    let text = "from helper import HALF\ndef f(completions, **kwargs):\n    return [HALF for c in completions]";
    let first = library(&home, text, &[entry("f")]);
    let mut files: Vec<String> = first.files("f").into_iter().map(|(name, _)| name).collect();
    files.sort();
    assert_eq!(files, ["helper.py", "parts/__init__.py", "parts/scale.py", "reward.py", "tool.yaml"]);
    fs::write(home.join("parts/scale.py"), "HALF = 0.25 + 0.25").unwrap();
    let second = library(&home, text, &[entry("f")]);
    assert_ne!(first.identity("f"), second.identity("f"));
    // The files make a library folder that loads and scores.
    let copy = folder.path().join("library/f");
    for (name, text) in first.files("f") {
        fs::create_dir_all(copy.join(&name).parent().unwrap()).unwrap();
        fs::write(copy.join(name), text).unwrap();
    }
    let loaded = Library::load(&folder.path().join("library")).unwrap();
    assert_eq!(loaded.identity("f"), first.identity("f"));
    let example = row(&json!({ "prompt": "p" }));
    let reply = Completion::whole("r");
    let tool = loaded.open("f", &context()).unwrap();
    assert_eq!(tool.score(&[(&example, &reply)]).unwrap(), [Outcome::Scored(0.5)]);
}

#[test]
fn keyword_arguments_belong_to_the_identity_of_the_tool() {
    let folder = tempfile::tempdir().unwrap();
    let text = "def f(solution_str, tolerance=1.0): return tolerance";
    let with = |kwargs: &Value| PythonFunction { kwargs: kwargs.as_object().unwrap().clone(), ..entry("f") };
    let identity = |kwargs: &Value| library(folder.path(), text, &[with(kwargs)]).identity("f");
    let half = json!({ "tolerance": 0.5 });
    assert_ne!(identity(&half), identity(&json!({ "tolerance": 0.25 })));
    assert_ne!(identity(&half), library(folder.path(), text, &[entry("f")]).identity("f"));
    let first = library(folder.path(), text, &[with(&half)]);
    let copy = folder.path().join("library/f");
    fs::create_dir_all(&copy).unwrap();
    for (name, text) in first.files("f") {
        fs::write(copy.join(name), text).unwrap();
    }
    let loaded = Library::load(&folder.path().join("library")).unwrap();
    let trusted = library(folder.path(), text, &[PythonFunction { trusted: true, ..with(&half) }]);
    let (example, reply) = (row(&json!({ "prompt": "p" })), Completion::whole("r"));
    for library in [first, loaded, trusted] {
        let tool = library.open("f", &context()).unwrap();
        assert_eq!(tool.score(&[(&example, &reply)]).unwrap(), [Outcome::Scored(0.5)]);
    }
}

#[test]
fn a_library_cannot_ask_to_run_a_function_unconfined() {
    let folder = tempfile::tempdir().unwrap();
    let trusted = PythonFunction { trusted: true, ..entry("f") };
    let own = library(folder.path(), "def f(completions): return [1.0 for c in completions]", &[trusted]);
    assert!(own.open("f", &context()).is_ok());
    let copy = folder.path().join("library/f");
    fs::create_dir_all(&copy).unwrap();
    for (name, text) in own.files("f") {
        fs::write(copy.join(name), text).unwrap();
    }
    let loaded = Library::load(&folder.path().join("library")).unwrap();
    let refused = loaded.open("f", &context()).unwrap_err();
    assert!(matches!(refused, RewardError::Tool { .. }) && refused.to_string().contains("unconfined"), "{refused}");
}

#[test]
fn token_ids_the_training_step_and_prints_go_through() {
    let text = "def f(completions, completion_ids, trainer_state):\n    print('step', trainer_state.global_step)\n    return \
                [float(sum(ids)) + trainer_state.max_steps for ids in completion_ids]";
    let (mut rewards, folder) = with_function(text, entry("f"));
    rewards.functions().set_step(4, 1000);
    let example = row(&json!({ "prompt": "p", "id": "seven" }));
    let sampled = Completion::whole("ab").with_tokens(vec![7, 8, 9]);
    let found = rewards.score(&[(&example, &sampled)]).unwrap();
    assert_eq!(found[0].total(), Some(1024.0));
    assert_eq!(rewards.functions().take(), "── f, step 5, example `seven`\nstep 4\n");
    let log = folder.path().join("prints.log");
    rewards.functions().log_to(&log).unwrap();
    for _ in 0..3 {
        rewards.score(&[(&example, &Completion::whole("c"))]).unwrap();
    }
    assert_eq!(fs::read_to_string(&log).unwrap().matches("step 4").count(), 3);
    for _ in 0..400 {
        rewards.functions().keep("f", None, &"x".repeat(4000));
    }
    let length = fs::metadata(&log).unwrap().len();
    assert!((1 << 20..(1 << 20) + 5000).contains(&length), "{length}");
}

#[test]
fn what_a_function_prints_for_a_reply_is_the_reason_of_its_score() {
    let reasons = |text: &str| {
        let (mut rewards, _folder) = with_function(text, entry("f"));
        let example = row(&json!({ "prompt": "p" }));
        let replies = ["a", "b"].map(Completion::whole);
        let items: Vec<(&Example, &Completion)> = replies.iter().map(|r| (&example, r)).collect();
        let scores = rewards.score(&items).unwrap();
        scores.iter().map(|scores| scores.tools[0].why()).collect::<Vec<_>>()
    };
    let alone = "def f(prompt, reply, reference):\n    print('saw', reply)\n    if reply == 'b': raise ValueError('no')\n    \
                 return 1.0";
    let found = reasons(alone);
    assert_eq!(found[0], "saw a");
    assert!(found[1].starts_with("it raised ValueError: no") && found[1].ends_with("\nsaw b"), "{}", found[1]);
    let together = "def f(completions):\n    print('saw', len(completions))\n    return [1.0 for c in completions]";
    assert_eq!(reasons(together), ["printed for the group: saw 2", "printed for the group: saw 2"]);
}

#[test]
fn a_trusted_function_is_examined_with_few_calls_and_need_not_repeat_itself() {
    let folder = tempfile::tempdir().unwrap();
    let calls = folder.path().join("calls");
    let text = format!(
        "import random\ndef f(completions, **kwargs):\n    open({:?}, 'a').write('c')\n    return [random.random() for c in \
         completions]",
        calls.display().to_string()
    );
    let trusted = PythonFunction { trusted: true, ..entry("f") };
    let library = library(folder.path(), &text, &[trusted]);
    let tool = Orchestrator::new(library, context(), OrchestratorConfig::default()).for_admission("f").unwrap();
    let examples = sums(20);
    let admission = examine(&tool, &examples, &[]).unwrap();
    assert_eq!(admission.status, Status::Admitted, "{admission:?}");
    let calls = fs::metadata(&calls).unwrap().len();
    assert!(calls <= 40, "{calls} calls");
}

#[test]
fn an_entry_says_what_is_wrong_with_it() {
    let problem = |entry: PythonFunction| entry.problem().unwrap_or_default();
    assert_eq!(problem(entry("f")), "");
    assert!(problem(PythonFunction::new("reward.py")).contains("as `reward.py:accuracy`"));
    assert!(problem(PythonFunction::new("reward:f")).contains("as `reward.py:accuracy`"));
    assert!(problem(PythonFunction { weight: 0.0, ..entry("f") }).contains("other than 0"));
    assert!(problem(PythonFunction { range: Some([1.0, 0.0]), ..entry("f") }).contains("the lower first"));
    let gate = PythonFunction { combine: rlar_rewards::CombineAs::Gate, ..entry("f") };
    assert!(problem(gate.clone()).contains("`least` or `range`"));
    assert_eq!(problem(PythonFunction { range: Some([0.0, 1.0]), ..gate }), "");
}
