//! Reward functions of users: their three forms, their results, and what a confined one cannot do.

use std::time::Duration;

use rlar_sandbox::{
    ConfinedFunction, FunctionForm, FunctionSource, GroupCall, GroupResult, GroupVerdict, ReplyResult, SandboxError,
    SandboxLimits, Tier,
};
use serde_json::{Value, json};

use crate::sandbox;

/// A source with these files; the function is `f` in the first.
pub fn source(files: &[(&str, &str)]) -> FunctionSource {
    FunctionSource {
        function: "f".into(),
        file: files[0].0.into(),
        files: files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect(),
        ..FunctionSource::default()
    }
}

/// A call with a prompt, a reference, columns and replies.
pub fn group(replies: &[&str], columns: &Value) -> GroupCall {
    GroupCall {
        prompt: "2 + 3 =".into(),
        messages: json!([{ "role": "user", "content": "2 + 3 =" }]),
        conversational: false,
        reference: "5".into(),
        columns: columns.as_object().unwrap().clone(),
        replies: replies.iter().map(|r| (*r).to_owned()).collect(),
        ids: replies.iter().map(|r| r.bytes().map(u32::from).collect()).collect(),
        state: json!({ "global_step": 7, "max_steps": 10 }).as_object().unwrap().clone(),
    }
}

fn start(text: &str) -> Result<ConfinedFunction, SandboxError> {
    let limits = SandboxLimits { wall: Duration::from_secs(1), ..SandboxLimits::default() };
    ConfinedFunction::start(&sandbox(Tier::A), source(&[("reward.py", text)]), limits)
}

fn call(text: &str, call: GroupCall) -> GroupResult {
    start(text).unwrap().call_until(&[call], &|| false).unwrap().remove(0)
}

fn verdict(text: &str, replies: &[&str]) -> GroupVerdict {
    call(text, group(replies, &json!({ "solution": "5", "level": [1, 2] }))).verdict
}

fn scores(values: &[f64]) -> GroupVerdict {
    GroupVerdict::Replies(values.iter().map(|v| ReplyResult::Score(*v)).collect())
}

/// The text that says what is wrong with a result.
fn wrong(verdict: GroupVerdict) -> String {
    match verdict {
        GroupVerdict::Wrong(text) | GroupVerdict::Raised(text) => text,
        GroupVerdict::Replies(mut results) => match results.remove(0) {
            ReplyResult::Wrong(text) => text,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn refused(text: &str) -> String {
    start(text).unwrap_err().to_string()
}

#[test]
fn the_signature_tells_the_form_and_every_form_scores() {
    let trl = "def f(completions, solution, **kwargs):\n    return [c == s for c, s in zip(completions, solution)]";
    let named = "def f(prompts, completions, level, completion_ids, trainer_state):\n    return [len(p) + len(i) + l[1] + \
                 trainer_state.global_step for p, i, l in zip(prompts, completion_ids, level)]";
    let everything = "def f(**given):\n    return [float(len(given)) for _ in given['completions']]";
    let verl = "def f(data_source, solution_str, ground_truth, extra_info=None):\n    return {'score': \
                float(solution_str == ground_truth), 'level': extra_info['level']}";
    let rlar = "def f(prompt, candidate_response, reference_response):\n    return float(prompt == '2 + 3 =' and \
                candidate_response == reference_response)";
    let row = json!({ "solution": "5", "reference": "5", "level": [1, 2] });
    for (text, form, expected) in [
        (trl, FunctionForm::Trl, [1.0, 0.0]),
        (named, FunctionForm::Trl, [17.0, 18.0]),
        (everything, FunctionForm::Trl, [7.0, 7.0]),
        (verl, FunctionForm::Verl, [1.0, 0.0]),
        (rlar, FunctionForm::Rlar, [1.0, 0.0]),
    ] {
        let function = start(text).unwrap();
        assert_eq!(function.form(), form);
        let result = function.call_until(&[group(&["5", "12"], &row)], &|| false).unwrap().remove(0);
        assert_eq!(result.verdict, scores(&expected), "{text}");
    }
}

#[test]
fn conversations_reach_a_trl_function_as_messages() {
    let text = "def f(prompts, completions, **kwargs):\n    return [float(len(p[-1]['content']) + len(c[0]['content'])) for \
                p, c in zip(prompts, completions) if c[0]['role'] == 'assistant']";
    let conversation = GroupCall { conversational: true, ..group(&["5", "12"], &json!({})) };
    assert_eq!(call(text, conversation).verdict, scores(&[8.0, 9.0]));
}

#[test]
fn verl_finds_the_ground_truth_of_its_own_data_and_else_the_reference() {
    let text = "def f(data_source, solution_str, ground_truth, extra_info):\n    return float(data_source == 'gsm8k' and \
                solution_str == ground_truth and extra_info == {'index': 3})";
    let row = json!({ "data_source": "gsm8k", "reward_model": { "ground_truth": "9" }, "extra_info": { "index": 3 } });
    assert_eq!(call(text, group(&["9", "5"], &row)).verdict, scores(&[1.0, 0.0]));
    let text = "def f(solution_str, ground_truth):\n    return float(solution_str == ground_truth)";
    assert_eq!(call(text, group(&["9", "5"], &json!({ "reference": "5" }))).verdict, scores(&[0.0, 1.0]));
}

#[test]
fn values_that_are_no_scores_are_named_with_the_function_and_its_line() {
    let f = |body: &str| format!("# A comment.\ndef f(completions, **kwargs):\n    {body}\n");
    assert_eq!(
        verdict(&f("return [None for c in completions]"), &["a", "b"]),
        GroupVerdict::Replies(vec![ReplyResult::Nothing, ReplyResult::Nothing])
    );
    for (body, words) in [
        ("return [float('nan')] * 2", ["nan", "`f` (reward.py:2)"]),
        ("return [float('inf')] * 2", ["inf", "`f` (reward.py:2)"]),
        ("return ['1.0'] * 2", ["type str", "`f` (reward.py:2)"]),
        ("return [10 ** 20] * 2", ["2**53", "reward.py:2"]),
        ("return [1.0]", ["1 values for 2 completions", "reward.py:2"]),
        ("return 1.0", ["type float; a list", "reward.py:2"]),
        ("return int(completions[0])", ["ValueError: invalid literal", "(reward.py:3)"]),
        ("pass", ["type NoneType; a list", "reward.py:2"]),
        ("raise SystemExit(3)", ["SystemExit: 3", "(reward.py:3)"]),
    ] {
        let text = wrong(verdict(&f(body), &["a", "b"]));
        assert!(words.iter().all(|word| text.contains(word)), "{body}: {text}");
    }
    let verl = "def f(solution_str, ground_truth):\n    return {'reward': 1.0}";
    assert!(wrong(verdict(verl, &["a"])).contains("a dict without `score`"));
    let rlar = "def f(prompt, reply, reference):\n    return True";
    assert!(wrong(verdict(rlar, &["a"])).contains("type bool"));
}

#[test]
fn a_missing_column_function_or_form_is_named_with_what_there_is() {
    let text = wrong(verdict("def f(completions, soluton):\n    return []", &["a"]));
    assert!(text.contains("needs `soluton`") && text.contains("did you mean `solution`?"), "{text}");
    let text = refused("def ff(completions): return []\ndef g(x): return []");
    assert!(text.contains("holds no function `f`; did you mean `ff`?; its functions: ff, g"), "{text}");
    let text = refused("def f(text, answer):\n    return 0.0");
    for word in ["(reward.py:1)", "takes (text, answer)", "completions", "solution_str", "candidate_response"] {
        assert!(text.contains(word), "{text}");
    }
    assert!(refused("def f(completions:\n    pass").contains("(reward.py:1)"));
    assert!(refused("\n\nimport no_such_package").contains("No module named 'no_such_package' (reward.py:3)"));
}

#[test]
fn every_form_gets_the_keyword_arguments_of_the_source() {
    let started = |text: &str, kwargs: &Value| {
        let kwargs = kwargs.as_object().unwrap().clone();
        let limits = SandboxLimits { wall: Duration::from_secs(1), ..SandboxLimits::default() };
        let source = FunctionSource { kwargs, ..source(&[("reward.py", text)]) };
        ConfinedFunction::start(&sandbox(Tier::A), source, limits)
    };
    // A function that changes an argument finds it unchanged in the next call.
    let trl = "def f(completions, level, scale):\n    scale.append(1)\n    return [level * scale[0] + len(scale) for c in \
               completions]";
    let all = "def f(completions, **given):\n    return [given['level'] * given['scale'][0] for c in completions]";
    let verl =
        "def f(data_source, solution_str, ground_truth, extra_info, level, scale=[0]):\n    return level * scale[0]";
    let rlar = "def f(prompt, reply, reference, scale, *, level):\n    return level * scale[0]";
    // The row has another `level`.
    let row = json!({ "level": [1, 2] });
    let kwargs = json!({ "level": 3, "scale": [0.5, "x"] });
    for (text, score) in [(trl, 4.5), (all, 1.5), (verl, 1.5), (rlar, 1.5)] {
        let function = started(text, &kwargs).unwrap();
        let calls = [group(&["5", "12"], &row), group(&["5", "12"], &row)];
        for result in function.call_until(&calls, &|| false).unwrap() {
            assert_eq!(result.verdict, scores(&[score, score]), "{text}");
        }
    }
    let refused = |text: &str, kwargs: &Value| started(text, kwargs).unwrap_err().to_string();
    let message = refused(verl, &json!({ "level": 3, "scal": 1 }));
    for word in ["`f` (reward.py:1) does not take", "`scal` of `kwargs`; did you mean `scale`?", "takes: level, scale"]
    {
        assert!(message.contains(word), "{message}");
    }
    assert!(refused("def f(completions): return []", &json!({ "scale": 1 })).contains("no further ones"));
    for (text, name) in [(trl, "completions"), (all, "trainer_state"), (verl, "solution_str"), (rlar, "reply")] {
        let message = refused(text, &json!({ "level": 3, "scale": [1], name: 1 }));
        assert!(message.contains(&format!("the argument `{name}`, which every call has already")), "{message}");
    }
}

#[test]
fn modules_beside_the_file_are_imported_and_named_in_errors() {
    let files = [
        (
            "reward.py",
            "from parse import number\nimport parts.deep as deep\ndef f(completions, **kwargs):\n    return \
                       [number(c) + deep.ONE for c in completions]",
        ),
        ("parse.py", "def number(text):\n    return float(text)"),
        ("parts/__init__.py", ""),
        ("parts/deep.py", "from . import other\nONE = other.ONE"),
        ("parts/other.py", "ONE = 1.0"),
    ];
    let function = ConfinedFunction::start(&sandbox(Tier::A), source(&files), SandboxLimits::default()).unwrap();
    let one = |reply: &str| function.call_until(&[group(&[reply], &json!({}))], &|| false).unwrap().remove(0).verdict;
    assert_eq!(one("2"), scores(&[3.0]));
    assert!(wrong(one("x")).ends_with("(parse.py:2)"));
}

#[test]
fn prints_are_kept_up_to_a_bound_and_do_not_disturb() {
    let text = "import sys\nprint('loaded')\ndef f(completions, **kwargs):\n    print('seen', completions[0])\n    \
                print('x' * 100000, file=sys.stderr)\n    return [1.0 for c in completions]";
    let function = start(text).unwrap();
    assert_eq!(function.printed(), "loaded\n");
    let result = function.call_until(&[group(&["a"], &json!({}))], &|| false).unwrap().remove(0);
    assert_eq!(result.verdict, scores(&[1.0]));
    assert!(result.printed.starts_with("seen a\nxxx") && result.printed.len() < 5000);
    assert!(result.printed.ends_with("more characters)\n"), "{}", &result.printed[4000..]);
}

#[test]
fn what_is_printed_for_one_reply_is_kept_for_it_if_replies_are_scored_one_by_one() {
    let rlar = "def f(prompt, reply, reference):\n    print('saw', reply)\n    return 1.0";
    let verl =
        "def f(solution_str, ground_truth):\n    print('saw', solution_str)\n    print('é' * 100000)\n    return 1.0";
    let trl = "def f(completions, **kwargs):\n    print('saw', completions)\n    return [1.0 for c in completions]";
    let printed = |text: &str| {
        let result = call(text, group(&["a", "b"], &json!({})));
        assert_eq!(result.verdict, scores(&[1.0, 1.0]), "{text}");
        (result.printed, result.prints)
    };
    assert_eq!(printed(rlar), ("saw a\nsaw b\n".into(), vec!["saw a\n".into(), "saw b\n".into()]));
    assert_eq!(printed(trl), ("saw ['a', 'b']\n".into(), Vec::new()));
    let (_, prints) = printed(verl);
    assert!(prints[0].starts_with("saw a\néé") && prints[1].starts_with("saw b\néé"), "{prints:?}");
    assert!(prints.iter().all(|text| text.chars().count() < 600), "{prints:?}");
}

#[test]
fn a_coroutine_that_waits_for_nothing_outside_scores_in_the_sandbox() {
    let text = "async def f(prompt, reply, reference):\n    return float(reply == reference)";
    assert_eq!(call(text, group(&["5", "12"], &json!({}))).verdict, scores(&[1.0, 0.0]));
}

#[test]
fn limits_end_a_call_and_the_next_one_gets_a_fresh_process() {
    let text = "import os\ndef f(completions, **kwargs):\n    if completions[0] == 'hang':\n        while True: pass\n    if \
                completions[0] == 'die': os._exit(0)\n    if completions[0] == 'eat': bytearray(1 << 34)\n    return [1.0]";
    let function = start(text).unwrap();
    let one = |reply: &str| function.call_until(&[group(&[reply], &json!({}))], &|| false).unwrap().remove(0).verdict;
    for _ in 0..2 {
        assert_eq!(one("hang"), GroupVerdict::TimeLimit(Duration::from_secs(1)));
        assert!(matches!(one("die"), GroupVerdict::Crashed(_)));
        assert_eq!(one("eat"), GroupVerdict::MemoryLimit);
        assert_eq!(one("fine"), scores(&[1.0]));
    }
}

#[test]
fn a_confined_function_reaches_nothing_outside() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "secret").unwrap();
    let path = secret.path().display();
    for attempt in [
        format!("open('{path}').read()"),
        "__import__('socket').socket()".into(),
        "__import__('socket').create_connection(('127.0.0.1', 80))".into(),
        "__import__('subprocess').run(['/bin/true'])".into(),
        "__import__('os').fork()".into(),
        "open('/proc/%d/mem' % __import__('os').getppid(), 'rb').read(1)".into(),
        "__import__('os').kill(__import__('os').getppid(), 9)".into(),
    ] {
        let text = format!("def f(completions, **kwargs):\n    {attempt}\n    return [1.0]");
        let found = verdict(&text, &["a"]);
        assert!(matches!(found, GroupVerdict::Raised(_) | GroupVerdict::Crashed(_)), "{attempt}: {found:?}");
    }
}

#[test]
fn a_function_cannot_read_the_references_of_groups_to_come_nor_use_those_of_earlier_ones() {
    let search = "import gc\ndef f(completions, **kwargs):\n    texts = [o for o in gc.get_objects() if isinstance(o, \
                  (dict, list))]\n    found = any('MARK-' + 'other' in repr(o)[:100000] for o in texts if len(o) < 100)\n    \
                  return [float(found) for c in completions]";
    let own = |mark: &str| GroupCall { reference: mark.into(), ..group(&["a"], &json!({ "reference": mark })) };
    let first = start(search).unwrap().call_until(&[own("MARK-own"), own("MARK-other")], &|| false).unwrap().remove(0);
    assert_eq!(first.verdict, scores(&[0.0]));
    // A function that keeps references and uses them gives other scores in a fresh process.
    let hoard = "SEEN = []\ndef f(completions, reference, **kwargs):\n    SEEN.extend(reference)\n    return \
                 [float(len(SEEN)) for c in completions]";
    let function = start(hoard).unwrap();
    let calls: Vec<GroupCall> = (0..32).map(|i| own(&format!("MARK-{i}"))).collect();
    let results = function.call_until(&calls, &|| false).unwrap();
    let caught = results.iter().filter(|r| matches!(r.verdict, GroupVerdict::Unrepeatable(_))).count();
    assert!(caught >= 3, "{results:?}");
}
