//! The building blocks of verifiers, the functions of the Python module `rlar_tools`.

use std::time::Duration;

use rlar_sandbox::{
    BUILDING_BLOCKS, ConfinedFunction, FunctionSource, GroupVerdict, ReplyResult, SandboxLimits, Tier,
    UnconfinedFunction, Verdict, Verifier, building_blocks, uses_building_blocks,
};
use serde_json::json;

use crate::reward_functions::{group, source};
use crate::{each_tier, sandbox};

/// The verdicts of a verifier's function `f` on calls.
fn verdicts(verifier: &Verifier, calls: &[Vec<String>]) -> Vec<Verdict> {
    verifier.score(calls).unwrap().into_iter().map(|execution| execution.verdict).collect()
}

fn start(source: &str) -> Verifier {
    Verifier::start(&sandbox(Tier::A), source, "f", SandboxLimits::default()).unwrap()
}

#[test]
fn every_public_function_is_listed_with_a_summary_and_in_the_documentation() {
    let blocks = building_blocks();
    let public = BUILDING_BLOCKS.lines().filter_map(|l| l.strip_prefix("def ")).filter(|l| !l.starts_with('_'));
    let names: Vec<&str> = public.map(|l| l.split('(').next().unwrap()).collect();
    assert_eq!(blocks.iter().map(|b| b.name).collect::<Vec<_>>(), names);
    for name in ["last_number", "final_answer", "chrf", "rouge_1", "token_f1", "code_block", "same_program"] {
        assert!(names.contains(&name), "{name}");
    }
    let documentation = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/tools.md");
    let documentation = std::fs::read_to_string(documentation).unwrap();
    for block in &blocks {
        assert!((20..110).contains(&block.summary.len()) && block.example.contains(block.name), "{block:?}");
        let call = block.signature.split(" -> ").next().unwrap();
        assert!(documentation.contains(&format!("`{call}`")), "docs/reference/tools.md lacks `{call}`");
    }
    let last_number = blocks.iter().find(|b| b.name == "last_number").unwrap().to_string();
    assert_eq!(last_number, "last_number(text) -> float | None: The last number in the text, or None if there is none");
}

#[test]
fn every_example_is_true() {
    let source =
        "import rlar_tools\ndef f(example):\n    return float(eval(example, dict(vars(rlar_tools))) is True)\n";
    let calls: Vec<Vec<String>> = building_blocks().iter().map(|b| vec![b.example.to_owned()]).collect();
    each_tier(|sandbox| {
        let verifier = Verifier::start(sandbox, source, "f", SandboxLimits::default()).unwrap();
        for (call, verdict) in calls.iter().zip(verdicts(&verifier, &calls)) {
            assert_eq!(verdict, Verdict::Score(1.0), "{call:?}");
        }
    });
}

#[test]
fn every_function_has_a_value_for_every_text_in_time() {
    let source = "import inspect, math, rlar_tools\n\
                  def f(name, text):\n    \
                      function = getattr(rlar_tools, name)\n    \
                      names = list(inspect.signature(function).parameters)\n    \
                      value = function(text, *(2 if n == 'n' else text[::-1] for n in names[1:]))\n    \
                      return float(not isinstance(value, float) or math.isfinite(value))\n";
    let length = 20_000;
    let of = |part: &str| part.repeat(length / part.len());
    let texts = [
        String::new(),
        of("\0"),
        of(" "),
        of("\n"),
        of("."),
        of("9"),
        of("1,"),
        of("("),
        of("not "),
        of("x = x + 1\n"),
        of("f()"),
        of("`"),
        of("~~~\n"),
        of("\\boxed{"),
        of("answer is "),
        of("Größe, 你好! हिन्दी 👩‍👧 "),
    ];
    let names = building_blocks().into_iter().map(|b| b.name);
    let calls: Vec<Vec<String>> =
        names.flat_map(|name| texts.iter().map(move |text| vec![name.to_owned(), text.clone()])).collect();
    for (call, verdict) in calls.iter().zip(verdicts(&start(source), &calls)) {
        let shown: String = call[1].chars().take(10).collect();
        assert_eq!(verdict, Verdict::Score(1.0), "{} of {shown:?}", call[0]);
    }
}

#[test]
fn numbers_answers_and_sentences_are_found_as_people_write_them() {
    let source = "from rlar_tools import *\ndef f(expression, expected):\n    \
                  got, expected = eval(expression), eval(expected)\n    assert got == expected, repr(got)\n    return 1.0\n";
    let cases = [
        ("numbers('H2O, x_1 and 42kg for $1,234.50')", "[42.0, 1234.5]"),
        ("numbers('7-3, −3, 6.02e23, .5 and 12, 13')", "[7.0, 3.0, -3.0, 6.02e23, 0.5, 12.0, 13.0]"),
        ("numbers('共42个 3×4 1e999')", "[42.0, 3.0, 4.0]"),
        ("same_number(last_number('so 1,000.0'), 1000)", "True"),
        ("same_number(last_number('none'), last_number('none'))", "False"),
        ("final_answer('2 + 2 = 4\\n#### 4 \\n')", "'4'"),
        (r"final_answer('Thus \\boxed{1}, or \\boxed{\\frac{1}{2}}.')", r"'\\frac{1}{2}'"),
        ("final_answer('The answer is **42**. That is all.')", "'42'"),
        ("final_answer('**Answer:** B')", "'B'"),
        ("final_answer('Die Antwort lautet: Berlin.')", "'Berlin'"),
        ("final_answer('one\\n two \\n')", "'two'"),
        ("words(\"Don't go, Größe! 你好\")", "[\"don't\", 'go', 'größe', '你', '好']"),
        (
            "sentences('I met Dr. Lee. So z. B. Anna! \"Go.\" 1. No')",
            "['I met Dr. Lee.', 'So z. B. Anna!', '\"Go.\"', '1. No']",
        ),
        ("code_block('a\\n```python\\nx = 1\\n```\\nb\\n~~~\\ny = 2\\n~~~')", "'y = 2\\n'"),
        ("code_block('```\\nopen')", "'open'"),
        ("defined_functions('class A:\\n  def m(self): pass\\ndef f(): pass')", "['m', 'f']"),
        ("same_program('def f(a):\\n  \"doc\"\\n  return max(a)', 'def g(xs):\\n  return max(xs)  # x')", "1.0"),
        ("same_program('def f(a): return max(a)', 'def f(a): return min(a)') < 1.0", "True"),
        ("same_program('x =', 'x =')", "0.0"),
        ("longest_common_subsequence(list('abcbdab'), list('bdcaba'))", "4"),
        ("edit_similarity('kitten', 'sitting') == 1 - 3 / 7", "True"),
        ("contains_all('Red and\\nGREEN', ['red', 'green', ''])", "1.0"),
    ];
    let calls: Vec<Vec<String>> = cases.iter().map(|(call, value)| vec![(*call).into(), (*value).into()]).collect();
    for (call, verdict) in calls.iter().zip(verdicts(&start(source), &calls)) {
        assert_eq!(verdict, Verdict::Score(1.0), "{}", call[0]);
    }
}

#[test]
fn the_module_is_there_only_for_sources_that_mention_it() {
    let import = "def f(name):\n    return float(hasattr(__import__(name), 'chrf'))\n";
    assert!(!uses_building_blocks(import) && uses_building_blocks("from rlar_tools import chrf"));
    let call = vec![vec!["rlar_tools".to_owned()]];
    let without = verdicts(&start(import), &call);
    assert!(matches!(&without[0], Verdict::Raised(why) if why.contains("No module named")), "{without:?}");
    let mentioned = format!("# rlar_tools\n{import}");
    assert_eq!(verdicts(&start(&mentioned), &call), [Verdict::Score(1.0)]);
    assert_eq!(verdicts(&start(&mentioned).strict(), &call), [Verdict::Score(1.0)]);
}

#[test]
fn a_verifier_that_changes_the_module_is_found_out() {
    let source = "import rlar_tools\ndef f(text):\n    count = len(rlar_tools.words(text))\n    \
                  rlar_tools.words = lambda text: [text]\n    return float(count)\n";
    let calls = vec![vec!["one two".to_owned()]; 40];
    let shared = verdicts(&start(source), &calls);
    assert!(shared.iter().any(|v| matches!(v, Verdict::Unrepeatable { .. })), "{shared:?}");
    let strict = verdicts(&start(source).strict(), &calls);
    assert!(strict.iter().all(|v| *v == Verdict::Score(2.0)), "{strict:?}");
}

#[test]
fn reward_functions_of_users_can_import_the_building_blocks_too() {
    let text = "from rlar_tools import last_number\ndef f(completions, **kwargs):\n    \
                return [last_number(c) for c in completions]\n";
    let call = [group(&["it is 5", "6 or 7"], &json!({}))];
    let confined = |source: FunctionSource| {
        let limits = SandboxLimits { wall: Duration::from_secs(1), ..SandboxLimits::default() };
        let function = ConfinedFunction::start(&sandbox(Tier::A), source, limits).unwrap();
        function.call_until(&call, &|| false).unwrap().remove(0).verdict
    };
    let numbers = |a, b| GroupVerdict::Replies(vec![ReplyResult::Score(a), ReplyResult::Score(b)]);
    assert_eq!(confined(source(&[("reward.py", text)])), numbers(5.0, 7.0));
    let own = ("rlar_tools.py", "def last_number(text): return 1.0");
    assert_eq!(confined(source(&[("reward.py", text), own])), numbers(1.0, 1.0));
    let trusted = UnconfinedFunction::start(source(&[("reward.py", text)]), Duration::from_secs(5)).unwrap();
    assert_eq!(trusted.call_until(&call, &|| false).unwrap().remove(0).verdict, numbers(5.0, 7.0));
}
