//! Programs that look alike: made from references, they are right and wrong as they claim, and tell comparisons of texts from
//! those of programs.

use std::fs;
use std::time::Duration;

use rlar_data::{Completion, Example, Needs, read_examples};
use rlar_oracles::{needs_oracles, oracle};
use rlar_rewards::admission::look_alikes::LookAlikes;
use rlar_rewards::agents::block_evidence::measured_blocks;
use rlar_rewards::{Admission, Library, Orchestrator, OrchestratorConfig, Status, ToolContext, examine};
use rlar_sandbox::SandboxLimits;
use serde_json::{Value, json};

use crate::admission::of_body;
use crate::{context, orchestrator};

#[test]
fn a_program_is_renamed_and_gets_an_error() {
    let of = |source: &str| LookAlikes::of(source).unwrap();
    let even = "import math\n\ndef even(numbers, start=0):\n    \"\"\"the numbers\"\"\"\n    found = [n for n in numbers[start:] if n % 2 == 0]\n    return found\n";
    assert_eq!(
        of(even),
        LookAlikes {
            renamed: "import math\n\ndef even(value_3, value_4=0):\n    \"\"\"the numbers\"\"\"\n    value_1 = [value_2 for value_2 in value_3[value_4:] if value_2 % 2 == 0]\n    return value_1\n".into(),
            faulty: even.replace("==", "!="),
        }
    );
    // Attributes, keyword arguments, functions and imports keep their names; `**` and a sign are no arithmetic.
    let kept = "from math import floor\ndef area(side, *, scale):\n    return floor(side.real ** 2, unit=-scale)\ndef total(side):\n    return area(side, scale=1)";
    let LookAlikes { renamed, faulty } = of(kept);
    assert_eq!(renamed, kept.replace("side", "value_1"));
    assert_eq!(faulty, kept.replace("** 2", "** 3"));
    assert_eq!(of("def both(a, b):\r\n  return a and b\r\n").faulty, "def both(a, b):\r\n  return a or b\r\n");
}

/// What a program takes from elsewhere keeps its name, and what is written the same way keeps its meaning.
#[test]
fn builtins_keyword_arguments_and_imports_keep_their_names() {
    for (source, renamed) in [
        (
            "def add(x: int, y: int = 1) -> int:\n    return x + y",
            "def add(value_1: int, value_2: int = 1) -> int:\n    return value_1 + value_2",
        ),
        ("def f(xs): return list(map(int, xs)) + [1]", "def f(value_1): return list(map(int, value_1)) + [1]"),
        (
            "def f(x):\n    if isinstance(x, str): x = int(x)\n    return x + 1",
            "def f(value_1):\n    if isinstance(value_1, str): value_1 = int(value_1)\n    return value_1 + 1",
        ),
        (
            "def f(n, it):\n    n.next = next(it)\n    return n + 1",
            "def f(value_2, value_1):\n    value_2.next = next(value_1)\n    return value_2 + 1",
        ),
        ("def f(x=dict(a=1)):\n    return x['a'] + 1", "def f(value_1=dict(a=1)):\n    return value_1['a'] + 1"),
        (
            "def f(x):\n    y = 1; import math\n    return math.floor(x) + y",
            "def f(value_1):\n    y = 1; import math\n    return math.floor(value_1) + y",
        ),
        (
            "def f(xs):\n    for _ in xs: pass\n    return len(xs) + 1",
            "def f(value_1):\n    for _ in value_1: pass\n    return len(value_1) + 1",
        ),
    ] {
        assert_eq!(LookAlikes::of(source).unwrap().renamed, renamed);
    }
    // A star at the start of a line is no operator, a default of an argument no place for another name.
    let starred = "def f(xs):\n    n = len(xs)\n    *a, b = xs\n    return max(a, max=n)[0]";
    assert_eq!(LookAlikes::of(starred).unwrap().faulty, starred.replace("max(a", "min(a"));
}

#[test]
fn what_cannot_be_renamed_or_broken_for_sure_gives_no_program() {
    for reference in [
        "42",
        "def is a keyword of Python.",
        "function f(x) { return x + 1; }",
        "x = 1 + 2",
        "def f(x):\n    return x",
        "def f():\n    return 1 + 2",
        "def f(x):\n    return f'{x + 1}'",
        "def f(x):\n    global count\n    count = x + 1",
        "from math import *\ndef f(r):\n    return pow(r, e) + 1",
        "def area(w, h):\n    return w * h\ndef f(sizes):\n    return area(**sizes)",
        "class A:\n    def f(self, x):\n        return x + 1",
        "def f(x):\n    return 'x + 1",
        "",
    ] {
        assert_eq!(LookAlikes::of(reference), None, "{reference}");
    }
}

/// The examples of MBPP, with their programs as references.
fn mbpp() -> Vec<Example> {
    let text = fs::read_to_string(oracle!("data/mbpp/mbpp.jsonl")).unwrap();
    let row = |line: &str| {
        let mut row: Value = serde_json::from_str(line).unwrap();
        row["prompt"] = row["text"].take();
        row["reference"] = row["code"].take();
        row["id"] = row["task_id"].to_string().into();
        row.to_string()
    };
    let rows: Vec<String> = text.lines().map(row).collect();
    read_examples("mbpp.jsonl".as_ref(), rows.join("\n").as_bytes(), Needs::Prompt).unwrap()
}

#[needs_oracles]
#[test]
fn renamed_programs_pass_the_tests_and_faulty_ones_fail_them() {
    let limits = SandboxLimits { wall: Duration::from_secs(1), ..SandboxLimits::default() };
    let config = OrchestratorConfig::default();
    let mut rewards = Orchestrator::new(Library::curated().unwrap(), ToolContext::new(limits), config);
    let tests = rewards.open("code_tests").unwrap();
    // Every fourth, because programs that never end take their time.
    let examples: Vec<Example> = mbpp().into_iter().step_by(4).collect();
    let passes = |replies: &[(&Example, String)]| -> Vec<bool> {
        let replies: Vec<(&Example, Completion)> =
            replies.iter().map(|(e, text)| (*e, Completion::whole(text.as_str()))).collect();
        let items: Vec<(&Example, &Completion)> = replies.iter().map(|(e, reply)| (*e, reply)).collect();
        tests.score(&items).unwrap().iter().map(|outcome| outcome.score() == Some(1.0)).collect()
    };
    let references: Vec<(&Example, String)> = examples.iter().map(|e| (e, e.reference.clone().unwrap())).collect();
    let right = passes(&references);
    let pairs: Vec<(&Example, LookAlikes)> = references
        .iter()
        .zip(&right)
        .filter(|(_, passed)| **passed)
        .filter_map(|((example, reference), _)| Some((*example, LookAlikes::of(reference)?)))
        .collect();
    let renamed: Vec<(&Example, String)> = pairs.iter().map(|(e, pair)| (*e, pair.renamed.clone())).collect();
    let faulty: Vec<(&Example, String)> = pairs.iter().map(|(e, pair)| (*e, pair.faulty.clone())).collect();
    let broken: Vec<&str> = renamed
        .iter()
        .zip(passes(&renamed))
        .filter(|(_, passed)| !passed)
        .map(|((_, text), _)| text.as_str())
        .collect();
    let harmless = passes(&faulty).iter().filter(|passed| **passed).count();
    let of = pairs.len();
    println!("{of} of {} programs: {} renamed ones fail, {harmless} faulty ones pass", references.len(), broken.len());
    assert!(of * 10 >= references.len() * 7, "only {of} of {} programs", references.len());
    assert!(broken.is_empty(), "{} renamed programs fail, such as\n{}", broken.len(), broken[0]);
    assert!(harmless * 20 <= of, "{harmless} of {of} faulty programs pass");
}

/// Examples with programs as references.
fn programs() -> Vec<Example> {
    let row = |i: usize| {
        let (shift, limit) = (i + 2, 3 * i + 10);
        let reference = format!(
            "def f_{i}(numbers):\n    total = {i}\n    for number in numbers:\n        if number < {limit}:\n            \
             total += number + {shift}\n    return total\n"
        );
        json!({ "prompt": format!("Write f_{i}."), "reference": reference, "domain": "code" }).to_string()
    };
    let rows: Vec<String> = (0..8).map(row).collect();
    read_examples("programs.jsonl".as_ref(), rows.join("\n").as_bytes(), Needs::Prompt).unwrap()
}

/// The report of a verifier with this body on programs as references.
fn admission(body: &str) -> Admission {
    let rewards = orchestrator(of_body("programs", "code", "quality", body));
    examine(&rewards.for_admission("programs").unwrap(), &programs(), &[]).unwrap()
}

/// A policy that is paid for likeness to a text learns to write what looks right.
#[test]
fn likeness_to_the_text_of_a_program_is_refused_and_likeness_of_what_it_does_is_not() {
    for block in ["bleu", "rouge_2", "rouge_l", "chrf", "token_f1", "edit_similarity", "exact_match"] {
        let report = admission(&format!("from rlar_tools import {block}\nreturn float({block}(reply, ref))"));
        let is_told = report.failed().any(|check| check.name.contains("looks like the reference"));
        assert!(report.status == Status::Refused && is_told, "{block}: {report:?}");
    }
    let report =
        admission("from rlar_tools import code_block, same_program\nreturn same_program(code_block(reply), ref)");
    let told: Vec<_> = report.checks.iter().filter(|check| check.name.contains("looks like the reference")).collect();
    assert!(told.len() == 1 && told[0].passed, "{report:?}");
}

#[test]
fn a_language_model_is_shown_what_compares_programs_and_not_what_compares_their_texts() {
    let examples = programs();
    let examples: Vec<&Example> = examples.iter().collect();
    let blocks = measured_blocks("code", &examples, &context());
    let comparing: Vec<&str> = blocks.iter().filter(|m| m.auc.is_some()).map(|m| m.block.name).collect();
    assert_eq!(comparing, ["same_program"], "{blocks:?}");
}
