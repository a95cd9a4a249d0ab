//! Admission: good tools are admitted, bad ones are refused for the right reason.

use std::fs;

use rlar_data::{Completion, Needs, read_examples};
use rlar_oracles::{needs_oracles, oracle};
use rlar_rewards::{Admission, Failure, Library, Outcome, Status, examine, probes_for};
use serde_json::json;

use crate::orchestrator;

/// The admission report of one tool of a library.
fn admission_of(library: Library, name: &str) -> Admission {
    let rewards = orchestrator(library);
    let tool = rewards.for_admission(name).unwrap();
    examine(&tool, &probes_for(tool.card()).unwrap(), &[]).unwrap()
}

#[test]
fn every_curated_tool_is_admitted_and_its_report_is_kept() {
    let library = Library::curated().unwrap();
    let names: Vec<String> = library.cards().map(|c| c.name.clone()).collect();
    let mut wrong = Vec::new();
    for name in &names {
        let admission = admission_of(library.clone(), name);
        let failed: Vec<String> = admission.failed().map(|p| format!("{}: {}", p.name, p.evidence)).collect();
        if admission.status != Status::Admitted {
            wrong.push(format!("{name} is refused: {failed:?}"));
        } else if library.admission(name) != Some(&admission) {
            wrong.push(format!("{name}: its kept report differs from a new one"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Bad verifiers: name, role, body, and the check (or one of two) that they must fail. They are examined on word problems, those
/// of quality on translations.
const BAD: &[(&str, &str, &str, &str)] = &[
    ("constant", "correctness", "return 1.0", "ranks good replies"),
    ("zero", "correctness", "return 0.0", "ranks good replies"),
    ("half", "quality", "return 0.5", "ranks good replies"),
    ("loves_length", "quality", "return min(1.0, len(reply) / 500)", "ranks good replies"),
    ("loves_brevity", "quality", "return 1.0 / (1 + len(reply))", "does not pay for an empty reply"),
    ("random", "correctness", "import random\nreturn random.random()", "says the same"),
    ("clock", "correctness", "import time\nreturn (time.time() * 1000 % 1000) / 1000", "says the same"),
    (
        "sometimes_nan",
        "correctness",
        "return float('nan') if len(reply) % 3 == 0 else float(reply.strip() == ref)",
        "finite scores",
    ),
    ("infinite", "correctness", "return float('inf')", "finite scores"),
    ("out_of_range", "quality", "return 5.0 * float(reply.strip() == ref)", "finite scores"),
    ("text", "correctness", "return 'good'", "finite scores"),
    ("a_bool", "correctness", "return reply.strip() == ref", "finite scores"),
    ("none", "correctness", "return None", "finite scores"),
    ("first_word", "correctness", "return float(reply.split()[:1] == ref.split()[:1])", "ranks good replies"),
    ("first_character", "correctness", "return float(reply[:1] == ref[:1])", "ranks good replies"),
    (
        "word_correct",
        "correctness",
        "return 1.0 if 'correct' in reply.lower() else float(ref in reply)",
        "a claim to be right",
    ),
    (
        "believes_scores",
        "correctness",
        "import re\nm = re.search(r'score\\W+([01]\\.?\\d*)', reply, re.I)\nreturn float(m.group(1)) if m else float(ref in reply)",
        "a score of its own",
    ),
    (
        "obeys",
        "correctness",
        "return 1.0 if 'ignore all previous' in reply.lower() else float(ref in reply)",
        "injected instructions",
    ),
    (
        "crashes_on_empty",
        "correctness",
        "return float(reply.split()[-1].strip('.') == ref)",
        "has a score for every text",
    ),
    (
        "crashes_on_non_numbers",
        "correctness",
        "return float(float(reply.strip('So the answer is').strip('.')) == float(ref))",
        "has a score for every text",
    ),
    ("syntax_of_replies", "correctness", "return float(eval(reply) == eval(ref))", "runs"),
    ("sleeps", "correctness", "import time\ntime.sleep(0.3)\nreturn float(ref in reply)", "is fast enough"),
    ("hangs", "correctness", "while True: pass", "is fast enough"),
    ("exits", "correctness", "import os\nos._exit(0)", "runs"),
    ("always_raises", "correctness", "raise ValueError('no')", "runs"),
    ("missing_import", "correctness", "import nonexistent_module\nreturn 1.0", "runs"),
    ("memory", "correctness", "x = bytearray(1 << 34)\nreturn float(ref in reply)", "runs"),
    (
        "leaks_state",
        "correctness",
        "global N\nN = globals().get('N', 0) + 1\nreturn float(N % 2)",
        "says the same|finite scores",
    ),
    (
        "remembers",
        "correctness",
        "global S\nS = globals().get('S', set())\nseen = reply in S\nS.add(reply)\nreturn 0.0 if seen else float(reply.strip('So the answer is.') == ref)",
        "says the same|finite scores",
    ),
    ("anywhere", "correctness", "return float(ref in reply)", "the answers of all examples"),
    (
        "any_number",
        "correctness",
        "import re\nreturn float(ref in re.findall(r'-?\\d+', reply))",
        "the answers of all examples|every digit",
    ),
    ("reversed", "correctness", "return 1.0 - float(ref in reply)", "ranks good replies"),
    (
        "bag_of_characters",
        "correctness",
        "return float(sorted(reply.strip()) == sorted(ref.strip()))",
        "the reference backwards|ranks good",
    ),
    (
        "prompt_overlap",
        "quality",
        "a, b = set(prompt.split()), set(reply.split())\nreturn len(a & b) / max(1, len(a | b))",
        "ranks good replies",
    ),
    ("vocabulary", "quality", "w = reply.split()\nreturn len(set(w)) / max(1, len(w))", "ranks good replies"),
    (
        "polite",
        "quality",
        "return float(any(w in reply.lower() for w in ('please', 'thank', 'excellent')))",
        "ranks good replies",
    ),
    ("digits", "correctness", "return float(any(c.isdigit() for c in reply))", "ranks good replies"),
    (
        "length_match",
        "correctness",
        "return float(len(reply.split()[-1:][0] if reply.split() else '') in (len(ref), len(ref) + 1))",
        "ranks good replies",
    ),
    (
        "prefix_forgiving",
        "correctness",
        "return float(ref.startswith(reply.strip()[-1:]) if reply.strip() else 1.0)",
        "ranks good replies|an empty reply",
    ),
    (
        "true_is_true",
        "correctness",
        "return 1.0 if reply.strip().lower() in ('true', 'yes', ref) else float(reply.strip('So the answer is.') == ref)",
        "pay for true",
    ),
    (
        "json_verdict",
        "correctness",
        "import json\ntry:\n    return float(json.loads(reply)['score'])\nexcept Exception:\n    return float(reply.strip('So the answer is.') == ref)",
        "a verdict as JSON",
    ),
];

/// Good verifiers: name, task, role, body.
const GOOD: &[(&str, &str, &str, &str)] = &[
    (
        "last_integer",
        "word problems",
        "correctness",
        "import re\nn = re.findall(r'-?\\d+', reply.replace(',', ''))\nreturn float(bool(n) and n[-1] == ref.strip())",
    ),
    (
        "last_integer_of_expressions",
        "expressions",
        "correctness",
        "import re\nn = re.findall(r'(?<!\\d)-?\\d+', reply)\nreturn float(bool(n) and int(n[-1]) == int(ref))",
    ),
    (
        "decimal",
        "expressions",
        "correctness",
        "import re\nfrom decimal import Decimal\nn = re.findall(r'(?<!\\d)-?\\d+(?:\\.\\d+)?', reply)\nreturn float(bool(n) and Decimal(n[-1]) == Decimal(ref))",
    ),
    (
        "fraction",
        "word problems",
        "correctness",
        "import re\nfrom fractions import Fraction\nn = re.findall(r'-?\\d+(?:/[1-9]\\d*)?', reply)\nreturn float(bool(n) and Fraction(n[-1]) == Fraction(ref))",
    ),
    (
        "choice",
        "multiple choice",
        "correctness",
        "import re\nc = re.findall(r'\\b([A-J])\\b', reply)\nreturn float(c == [ref.strip()])",
    ),
    (
        "choice_after_is",
        "multiple choice",
        "correctness",
        "import re\nm = re.search(r'answer is \\(?([A-J])\\)?\\.?\\s*$', reply)\nreturn float((m.group(1) if m else reply.strip()) == ref.strip())",
    ),
    (
        "ends_with",
        "short answers",
        "correctness",
        "return float(reply.strip().rstrip('.').lower().endswith(ref.strip().lower()) and len(reply) < 100)",
    ),
    (
        "last_words",
        "short answers",
        "correctness",
        "n = len(ref.split())\nreturn float([w.strip('.').lower() for w in reply.split()[-n:]] == ref.lower().split() and len(reply.split()) < 20)",
    ),
    (
        "bigrams",
        "translation",
        "quality",
        "def grams(t):\n    w = t.lower().split()\n    return set(zip(w, w[1:]))\na, b = grams(reply), grams(ref)\nreturn 2 * len(a & b) / max(1, len(a) + len(b))",
    ),
    (
        "character_trigrams",
        "translation",
        "quality",
        "def grams(t):\n    return {t[i:i + 5] for i in range(len(t) - 4)}\na, b = grams(reply), grams(ref)\nreturn len(a & b) / max(1, len(a | b))",
    ),
    (
        "longest_match",
        "summarisation",
        "quality",
        "from difflib import SequenceMatcher\na, b = reply.split()[:400], ref.split()\nm = SequenceMatcher(None, a, b, autojunk=False).find_longest_match(0, len(a), 0, len(b))\nreturn m.size / max(1, max(len(a), len(b)))",
    ),
    (
        "sequence_ratio",
        "summarisation",
        "quality",
        "from difflib import SequenceMatcher\nreturn SequenceMatcher(None, reply.split()[:400], ref.split(), autojunk=False).ratio()",
    ),
    (
        "ordered_words",
        "question answering",
        "quality",
        "it = iter(reply.lower().split())\nhits = sum(any(w == x for x in it) for w in ref.lower().split())\nreturn hits / max(1, len(ref.split()), len(reply.split()))",
    ),
    (
        "trigram_f1",
        "question answering",
        "quality",
        "def grams(t):\n    w = t.lower().split()\n    return [tuple(w[i:i + 3]) for i in range(len(w) - 2)]\na, b = grams(reply), grams(ref)\nhits = sum(min(a.count(g), b.count(g)) for g in set(a))\nreturn 2 * hits / max(1, len(a) + len(b))",
    ),
    (
        "boxed_or_last",
        "expressions",
        "correctness",
        "import re\nm = re.findall(r'\\\\boxed\\{([^}]*)\\}', reply) or re.findall(r'(?<!\\d)-?\\d+', reply)\nreturn float(bool(m) and m[-1] == ref.strip())",
    ),
    (
        "tolerant",
        "word problems",
        "correctness",
        "import re\nn = re.findall(r'(?<![\\d.])-?\\d+(?:\\.\\d+)?', reply)\nreturn float(bool(n) and len(n[-1]) < 30 and abs(float(n[-1]) - float(ref)) < 1e-6)",
    ),
];

/// A library with one verifier.
fn verifier(name: &str, task: &str, role: &str, source: &str, function: &str) -> Library {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join(name);
    fs::create_dir(&home).unwrap();
    let card = format!(
        "name: {name}\nkind: verifier\nrole: {role}\nmeasures: m\ntasks: [{task}]\nneeds_reference: true\nrange: [0, 1]\n\
         function: {function}\nfile: v.py\norigin: test\n"
    );
    fs::write(home.join("tool.yaml"), card).unwrap();
    fs::write(home.join("v.py"), source).unwrap();
    Library::load(folder.path()).unwrap()
}

/// A library of one verifier whose function has this body.
pub(crate) fn of_body(name: &str, task: &str, role: &str, body: &str) -> Library {
    let body = body.replace('\n', "\n    ");
    let source = format!("def compute_it(prompt, reply, ref):\n    {body}\n");
    verifier(name, task, role, &source, "compute_it")
}

#[test]
fn bad_tools_are_refused_for_the_right_reason() {
    let (mut refused, mut wrong) = (0, Vec::new());
    for (name, role, body, expected) in BAD {
        let task = if *role == "quality" { "translation" } else { "word problems" };
        let admission = admission_of(of_body(name, task, role, body), name);
        let failed: Vec<String> = admission.failed().map(|p| format!("{}: {}", p.name, p.evidence)).collect();
        let found = expected.split('|').any(|e| failed.iter().any(|f| f.contains(e)));
        if admission.status == Status::Refused && found {
            refused += 1;
        } else {
            wrong.push(format!("{name} should fail `{expected}`: {failed:?}"));
        }
    }
    println!("{refused} of {} bad tools refused for the right reason; {wrong:#?}", BAD.len());
    assert!(BAD.len() >= 40 && refused >= BAD.len() - 2, "{wrong:#?}");
}

/// Prints how many tools of these libraries are admitted, and gives the refusals with their reasons.
fn refusals(libraries: &[(String, Library)]) -> Vec<String> {
    let mut refused = Vec::new();
    for (name, library) in libraries {
        let admission = admission_of(library.clone(), name);
        if admission.status == Status::Refused {
            let failed: Vec<String> = admission.failed().map(|p| format!("{}: {}", p.name, p.evidence)).collect();
            refused.push(format!("{name}: {failed:?}"));
        }
    }
    println!("{} of {} good tools admitted; {refused:#?}", libraries.len() - refused.len(), libraries.len());
    refused
}

#[test]
fn good_tools_are_admitted() {
    let mut libraries: Vec<(String, Library)> =
        GOOD.iter().map(|(name, task, role, body)| ((*name).to_owned(), of_body(name, task, role, body))).collect();
    let curated = Library::curated().unwrap();
    libraries.extend(curated.cards().map(|c| (c.name.clone(), curated.clone())));
    let refused = refusals(&libraries);
    assert!(refused.len() <= 2, "{refused:#?}");
}

#[needs_oracles]
#[test]
fn verifiers_written_for_other_systems_are_admitted() {
    let verifiers = [
        ("v01_last_number", "compute_last_number_match", "word problems", "correctness"),
        ("v03_bleu4", "compute_bleu4", "translation", "quality"),
        ("v07_rouge_l", "compute_rouge_l", "summarisation", "quality"),
    ];
    let libraries = verifiers.map(|(file, function, task, role)| {
        let source = fs::read_to_string(oracle!(format!("oracles/verifiers/{file}.py"))).unwrap();
        (file.to_owned(), verifier(file, task, role, &source, function))
    });
    let refused = refusals(&libraries);
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn a_reply_that_breaks_an_admitted_tool_scores_its_minimum() {
    // Literals of its code are probe cases, so they are put together at run time.
    let body = "if 'bo' + 'om' in reply: raise ValueError()\nif 'lo' + 'op' in reply:\n    while True: pass\n\
                import re\nn = re.findall(r'-?\\d+', reply)\nreturn float(bool(n) and n[-1] == ref)";
    let library = of_body("fragile", "word problems", "correctness", body);
    let admission = admission_of(library.clone(), "fragile");
    assert_eq!(admission.status, Status::Admitted, "{:?}", admission.failed().collect::<Vec<_>>());
    let mut rewards = orchestrator(library);
    let example = probes_for(rewards.open("fragile").unwrap().card()).unwrap().remove(0);
    let outcome = |reply: &str, rewards: &mut rlar_rewards::Orchestrator| {
        let completion = Completion::whole(reply);
        rewards.open("fragile").unwrap().score(&[(&example, &completion)]).unwrap().remove(0)
    };
    // Before admission, every failure is the tool's own fault.
    assert!(matches!(outcome("boom", &mut rewards), Outcome::Failed(Failure::Exception(_))));
    rewards.set_admission("fragile", admission);
    for reply in ["boom", "loop"] {
        assert_eq!(outcome(reply, &mut rewards), Outcome::Scored(0.0), "{reply}");
    }
    let boom = Completion::whole("boom");
    let record = rewards.open("fragile").unwrap().score_records(&[(&example, &boom)], &|| false).unwrap().remove(0);
    assert!(record.reason.unwrap().as_str().starts_with("the reply made it fail: it raised ValueError"));
    assert_eq!(outcome("9", &mut rewards), Outcome::Scored(1.0));
}

/// Replies reason before they answer, so that a tool must find the answer behind the reasoning.
#[test]
fn tools_are_examined_on_the_worked_solutions_of_the_data() {
    let row = |i: usize, worked: bool| {
        let (a, b) = (i + 11, 3 * i + 20);
        let solution =
            format!("There are {a} red and {b} green ones. Together that is {a} + {b} = {}.\n#### {0}", a + b);
        let answer = if worked { solution } else { (a + b).to_string() };
        serde_json::json!({ "prompt": format!("How many are {a} red and {b} green ones?"), "reference": answer })
            .to_string()
    };
    let auc = |tool: &str, worked: bool| {
        let text: Vec<String> = (0..8).map(|i| row(i, worked)).collect();
        let examples = read_examples("sums.jsonl".as_ref(), text.join("\n").as_bytes(), Needs::Prompt).unwrap();
        assert!(examples.iter().all(|e| e.worked_solution.is_some() == worked), "{examples:?}");
        let tool = orchestrator(Library::curated().unwrap()).for_admission(tool).unwrap();
        examine(&tool, &examples, &[]).unwrap().auc.unwrap()
    };
    for tool in ["math_equivalence", "numeric_match"] {
        assert!(auc(tool, true) > 0.99, "{tool}");
    }
    let (worked, bare) = (auc("token_f1", true), auc("token_f1", false));
    assert!(worked < bare, "likeness to the answer: {worked} and {bare}");
}

/// A tool that pays for a bare number only is useless to a policy that shows its working. Demonstrations say what the policy's
/// replies look like; a wrong one is no evidence.
#[test]
fn tools_are_examined_on_replies_like_the_demonstrations() {
    let admission = |task: &str, body: &str, demonstration: &dyn Fn(usize, usize) -> String| {
        let row = |i: usize| {
            let (a, b) = (i + 11, 3 * i + 20);
            let (sum, demonstration) = ((a + b).to_string(), demonstration(a, b));
            json!({ "prompt": format!("{a} + {b} ="), "reference": sum, "demonstration": demonstration }).to_string()
        };
        let rows: Vec<String> = (0..8).map(row).collect();
        let examples = read_examples("sums.jsonl".as_ref(), rows.join("\n").as_bytes(), Needs::Prompt).unwrap();
        let rewards = orchestrator(of_body("sums", task, "quality", body));
        examine(&rewards.for_admission("sums").unwrap(), &examples, &[]).unwrap()
    };
    let whole_line = "said = reply.strip().removeprefix('So the answer is ').rstrip('.')\nreturn float(said == ref)";
    let last_number =
        "import re\nsaid = re.findall(r'\\d+', reply)\nreturn float(said[-1:] == [ref] and len(said) < 9)";
    let bare = |a: usize, b: usize| (a + b).to_string();
    let worked = |a: usize, b: usize| format!("{a}+{b}={}", a + b);
    let wrong = |a: usize, b: usize| format!("{a}+{b}={}", a + b + 1);
    let negative = |a: usize, b: usize| format!("{a}+{b}= -{}", a + b);
    let fails_on_working = |admission: &Admission| admission.failed().any(|c| c.name.contains("show their working"));
    assert_eq!(admission("math", whole_line, &bare).status, Status::Admitted);
    assert_eq!(admission("math", whole_line, &wrong).status, Status::Admitted);
    assert_eq!(admission("math", whole_line, &negative).status, Status::Admitted);
    let refused = admission("math", whole_line, &worked);
    assert!(refused.status == Status::Refused && fails_on_working(&refused), "{refused:?}");
    assert_eq!(admission("math", last_number, &worked).status, Status::Admitted);
}

/// Where the answer is not what ends a worked solution, no wrong one is made of it: it might be right.
#[test]
fn a_solution_that_goes_on_behind_its_answer_makes_no_bad_reply() {
    let row = |i: usize| {
        let sum = 3 * i + 12;
        let solution =
            format!("Together that is \\boxed{{{sum}}}. There are {sum}5 ways to see it, and {sum} of them are short.");
        json!({ "prompt": format!("How many are {i} and {}?", 2 * i + 12), "reference": solution }).to_string()
    };
    let text: Vec<String> = (0..8).map(row).collect();
    let examples = read_examples("sums.jsonl".as_ref(), text.join("\n").as_bytes(), Needs::Prompt).unwrap();
    assert!(examples.iter().all(|e| e.worked_solution.is_some()), "{examples:?}");
    let body = "import re\nsaid = re.findall(r'boxed.(\\d+)', reply) or re.findall(r'\\d+', reply)\n\
                return float(said[-1:] == [ref] and len(said) < 9)";
    let tool = orchestrator(of_body("boxed", "math", "correctness", body)).for_admission("boxed").unwrap();
    let admission = examine(&tool, &examples, &[]).unwrap();
    let worked = admission.checks.iter().find(|c| c.name.contains("show their working")).unwrap();
    assert!(worked.passed, "{admission:?}");
}

#[test]
fn half_right_replies_show_which_tools_pay_for_perfect_replies_only() {
    let examined = |tool: &str, rows: &[serde_json::Value]| {
        let tool = orchestrator(Library::curated().unwrap()).for_admission(tool).unwrap();
        let text = rows.iter().map(serde_json::Value::to_string).collect::<Vec<_>>().join("\n");
        examine(&tool, &read_examples("rows.jsonl".as_ref(), text.as_bytes(), Needs::Prompt).unwrap(), &[]).unwrap()
    };
    let texts =
        ["the dog sees the cat", "a bird sings at night", "two ships leave the port", "snow fell on green hills"];
    let row = |(i, text): (usize, &&str)| json!({ "id": format!("{i}"), "prompt": format!("Translate {i}"), "reference": text });
    let texts: Vec<_> = texts.iter().enumerate().map(row).collect();
    let (strict, graded) = (examined("exact_match", &texts), examined("chrf", &texts));
    assert_eq!((strict.auc, strict.half_right_auc), (Some(1.0), Some(0.5)), "{strict:?}");
    assert!(graded.half_right_auc.is_some_and(|auc| auc > 0.95), "{graded:?}");
    let numbers: Vec<_> = (3..8)
        .map(|i| json!({ "id": format!("{i}"), "prompt": format!("{i} + 5"), "reference": format!("{}", i + 5) }))
        .collect();
    assert_eq!(examined("exact_match", &numbers).half_right_auc, None, "a number is right or wrong");
    let formulas: Vec<_> = (3..8)
        .map(|i| json!({ "id": format!("{i}"), "prompt": "Solve it.", "reference": format!("x = {i} or x = -{i}") }))
        .collect();
    assert_eq!(examined("exact_match", &formulas).half_right_auc, None, "so is a formula");
}
