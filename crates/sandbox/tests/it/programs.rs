use std::time::Duration;

use rlar_oracles::{needs_oracles, oracle};
use rlar_sandbox::{Comparison, IoTest, Program, Sandbox, SandboxLimits, TestResults, TestVerdict, Tests, Tier, run};
use serde_json::Value;

use crate::{each_tier, sandbox};

pub fn limits() -> SandboxLimits {
    SandboxLimits { wall: Duration::from_secs(2), ..SandboxLimits::default() }
}

fn functions(source: &str, tests: &[&str]) -> Program {
    let tests = tests.iter().map(|t| (*t).to_owned()).collect();
    Program { source: source.into(), tests: Tests::Functions { setup: String::new(), functions: Vec::new(), tests } }
}

pub fn judge(source: &str, tests: &[&str]) -> Vec<TestVerdict> {
    let judged = functions(source, tests).judge(&sandbox(Tier::A), &limits()).unwrap();
    judged.tests.into_iter().map(|m| m.verdict).collect()
}

fn stream(source: &str, input: &str, output: &str, compare: Comparison) -> TestVerdict {
    let stream = IoTest { input: input.into(), output: output.into(), compare };
    let program = Program { source: source.into(), tests: Tests::InputOutput(vec![stream]) };
    program.judge(&sandbox(Tier::A), &limits()).unwrap().tests[0].verdict.clone()
}

#[test]
fn a_failed_assertion_says_what_the_program_returned() {
    let source = "class Odd: pass\ndef made(kind, *more):\n    if kind == 'odd': return Odd()\n    \
                  if kind == 'big': return [16 ** 3000, 'x' * 9000, '\\ud800']\n    return kind\n";
    let verdicts = judge(
        source,
        &[
            "assert made(1, 2) == 3",
            "for n in range(3):\n    assert made(\n        n) == 0",
            "assert made('odd') is None",
            "assert not made('big')",
            "assert False and made(1)",
            "assert made(1) == 2, 'two'",
        ],
    );
    let texts: Vec<&str> = verdicts
        .iter()
        .map(|verdict| match verdict {
            TestVerdict::WrongAnswer(text) => text.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    let big = format!("`made('big')` returned [<int>, '{}'…, '\\ud800']", "x".repeat(76));
    let expected = [
        "`made(1, 2)` returned 1",
        "`assert made( n) == 0`: `made(1)` returned 1",
        "`made('odd')` returned <Odd>",
        big.as_str(),
        "",
        "AssertionError: two",
    ];
    assert_eq!(texts, expected);
}

#[test]
fn every_test_has_its_own_verdict() {
    let source = "def f(x):\n    if x == 1: raise ValueError('one')\n    if x == 2:\n        while True: pass\n    \
                  if x == 3: return bytearray(1 << 33)\n    if x == 4: return 'x' * (1 << 20)\n    \
                  if x == 5:\n        import os; os._exit(3)\n    if x == 6: return f\n    return x\n";
    let tests: Vec<String> = (0..8).map(|i| format!("assert f({i}) == {i}")).collect();
    let mut tests: Vec<&str> = tests.iter().map(String::as_str).collect();
    tests.push("assert f(8) == 9, 'eight'");
    let verdicts = judge(source, &tests);
    assert_eq!(verdicts[0], TestVerdict::Passed);
    assert_eq!(verdicts[1], TestVerdict::RuntimeError("ValueError: one".into()));
    assert_eq!(verdicts[2], TestVerdict::TimeLimit(Duration::from_secs(2)));
    assert_eq!(verdicts[3], TestVerdict::MemoryLimit);
    assert_eq!(verdicts[4], TestVerdict::OutputLimit);
    assert!(matches!(&verdicts[5], TestVerdict::Crashed(how) if how.contains('3')), "{:?}", verdicts[5]);
    assert!(matches!(&verdicts[6], TestVerdict::Unsupported(what) if what.contains("function")), "{:?}", verdicts[6]);
    assert_eq!(verdicts[7], TestVerdict::Passed);
    assert_eq!(verdicts[8], TestVerdict::WrongAnswer("AssertionError: eight".into()));
    let judged = functions(source, &tests[..2]).judge(&sandbox(Tier::A), &limits()).unwrap();
    assert_eq!(judged.pass_rate(), Some(0.5));
    let usage = judged.tests[0].usage;
    assert!(usage.cpu.unwrap() > Duration::ZERO && usage.peak_memory.unwrap() > 1 << 20 && usage.bytes > 0);
    assert_eq!(TestResults { tests: Vec::new() }.pass_rate(), None);
}

#[test]
fn a_program_or_tests_that_do_not_load_are_named() {
    assert!(
        matches!(&judge("def f(:", &["assert f(1)"])[..], [TestVerdict::RuntimeError(e)] if e.contains("SyntaxError"))
    );
    assert!(matches!(&judge("while True: pass", &["assert f(1)"])[..], [TestVerdict::TimeLimit(_)]));
    assert!(matches!(&judge("x = 1", &["assert f(1) == 1"])[..], [TestVerdict::RuntimeError(e)] if e.contains("`f`")));
    let error = functions("def f(): return 1", &["assert ("]).judge(&sandbox(Tier::A), &limits()).unwrap_err();
    assert!(error.to_string().contains("tests themselves"), "{error}");
}

#[test]
fn plain_data_crosses_unchanged() {
    let same = "def same(x): return x";
    for value in [
        "None",
        "True",
        "-7",
        "2**80",
        "-(3**500)",
        "0.1",
        "float('inf')",
        "'\\ud800 é'",
        "b'\\x00\\xff'",
        "(1, (2, [3]))",
        "{1: 'a', (2, 3): {4}}",
        "frozenset({1, 2})",
        "1 + 2j",
        "range(0, 10, 3)",
        "[]",
        "{}",
        "set()",
        "Counter('hello')",
        "Fraction(1, 3)",
        "Decimal('1.10')",
        "deque([1, 2])",
        "OrderedDict([(1, 2), (0, 1)])",
        "int",
        "[str, ValueError]",
    ] {
        let tests =
            [format!("assert same({value}) == {value}"), format!("assert type(same({value})) is type({value})")];
        assert_eq!(judge(same, &[&tests[0], &tests[1]]), vec![TestVerdict::Passed; 2], "{value}");
    }
    assert_eq!(judge(same, &["assert same(float('nan')) != same(float('nan'))"]), [TestVerdict::Passed]);
    assert_eq!(judge(same, &["assert str(same(-0.0)) == '-0.0'"]), [TestVerdict::Passed]);
}

#[test]
fn what_is_not_plain_is_carried_or_reported_never_passed() {
    let program = functions(
        "class Stack:\n    def __init__(self): self.items = []\n    def push(self, x): self.items.append(x)\n    \
         def pop(self): return self.items.pop()\n    def __eq__(self, other): return True\n\
         def double(l):\n    for i in range(len(l)): l[i] *= 2\n\
         def count(n):\n    for i in range(n): yield i\n\
         def forever():\n    while True: yield 0\n",
        &[
            "s = Stack(); s.push(3); s.push(4); assert s.pop() == 4; assert s.items == [3]",
            "l = [1, 2]; m = l; double(l); assert m == [2, 4]",
            "assert list(count(3)) == [0, 1, 2]; assert next(count(1)) == 0",
            "assert Stack() == 5",
            "assert Stack()",
            "try:\n    assert Stack() != 5\nexcept BaseException: pass",
            "next(forever())",
            "assert sorted(map(lambda x: x, [2, 1])) == [1, 2]",
            "assert Stack(lambda: 1)",
            "assert callable(Stack())",
            "assert not isinstance(Stack(), int)",
            "assert Stack() // 2",
        ],
    );
    let error = program.judge(&sandbox(Tier::A), &limits()).unwrap_err();
    assert!(error.to_string().contains("`count` may be the program's or the library's"), "{error}");
    let Tests::Functions { setup, tests, .. } = program.tests else { unreachable!() };
    let functions = ["Stack", "double", "count", "forever"].map(str::to_owned).into();
    let program = Program { tests: Tests::Functions { setup, functions, tests }, ..program };
    let judged = program.judge(&sandbox(Tier::A), &limits()).unwrap();
    let verdicts: Vec<TestVerdict> = judged.tests.into_iter().map(|m| m.verdict).collect();
    assert_eq!(verdicts[..3], vec![TestVerdict::Passed; 3]);
    // An object that cannot be called is not callable, and that much is known of it.
    assert!(matches!(verdicts[9], TestVerdict::WrongAnswer(_)), "{:?}", verdicts[9]);
    for v in verdicts[3..7].iter().chain(&verdicts[8..9]).chain(&verdicts[10..]) {
        assert!(matches!(v, TestVerdict::Unsupported(_)), "{v:?}");
    }
    assert_eq!(verdicts[7], TestVerdict::Passed);
}

#[test]
fn exceptions_of_a_program_can_be_expected_by_a_test() {
    let source =
        "def f(x):\n    if x < 0: raise ValueError('negative')\n    class Odd(Exception): pass\n    raise Odd('no')\n";
    let expect = |kind: &str, x: i32| {
        format!("try:\n    f({x})\n    assert False, 'it did not raise'\nexcept {kind}:\n    pass")
    };
    let tests = [expect("ValueError", -1), expect("KeyError", -1), expect("Exception", 1)];
    let verdicts = judge(source, &[&tests[0], &tests[1], &tests[2]]);
    assert_eq!(verdicts[0], TestVerdict::Passed);
    assert_eq!(verdicts[1], TestVerdict::RuntimeError("ValueError: negative".into()));
    assert_eq!(verdicts[2], TestVerdict::Passed);
}

#[test]
fn names_of_the_library_are_never_the_programs() {
    let source =
        "class math:\n    def isclose(*_): return True\nisclose = math.isclose\ndef f(x): return 0\nCounter = f\n";
    for test in ["assert math.isclose(f(1), 5)", "assert isclose(f(1), 5)", "assert f(1) == Counter('ab')"] {
        assert!(matches!(judge(source, &[test])[..], [TestVerdict::WrongAnswer(_)]), "{test}");
    }
}

#[test]
fn whole_programs_are_judged_by_what_they_print() {
    let add = "a, b = map(int, input().split())\nprint(a + b)\n";
    assert_eq!(stream(add, "2 3\n", "5\n", Comparison::Exact), TestVerdict::Passed);
    assert_eq!(stream(add, "2 3\n", "5", Comparison::Exact), TestVerdict::WrongAnswer("line 2 differs".into()));
    assert_eq!(stream(add, "2 3\n", "  5", Comparison::Words), TestVerdict::Passed);
    assert!(
        matches!(stream(add, "2 3\n", "6", Comparison::Words), TestVerdict::WrongAnswer(w) if w.contains("`5`, not `6`"))
    );
    assert_eq!(stream("print(1 / 3)", "", "0.3333333", Comparison::Numbers(1e-6)), TestVerdict::Passed);
    assert!(matches!(stream("print(1 / 3)", "", "0.334", Comparison::Numbers(1e-6)), TestVerdict::WrongAnswer(_)));
    assert!(matches!(stream("print(float('nan'))", "", "0.3", Comparison::Numbers(9.0)), TestVerdict::WrongAnswer(_)));
    assert!(
        matches!(stream(add, "2\n", "5", Comparison::Words), TestVerdict::RuntimeError(e) if e.contains("ValueError"))
    );
    assert!(matches!(stream("import sys; sys.exit(3)", "", "", Comparison::Words), TestVerdict::RuntimeError(_)));
    assert_eq!(stream("while True: pass", "", "", Comparison::Words), TestVerdict::TimeLimit(Duration::from_secs(2)));
    assert_eq!(stream("while True: print('x')", "", "", Comparison::Words), TestVerdict::OutputLimit);
    assert_eq!(stream("x = bytearray(1 << 40)", "", "", Comparison::Words), TestVerdict::MemoryLimit);
    assert!(matches!(stream("import ctypes; ctypes.string_at(0)", "", "", Comparison::Words), TestVerdict::Crashed(_)));
    assert_eq!(stream("if __name__ == '__main__': print('main')", "", "main", Comparison::Words), TestVerdict::Passed);
    assert_eq!(
        stream("import atexit; atexit.register(print, 'bye')", "", "bye", Comparison::Words),
        TestVerdict::Passed
    );
    let long = "x\n".repeat(200_000);
    let copy = "import sys\nprint(len(sys.stdin.read()))";
    assert_eq!(stream(copy, &long, "400000", Comparison::Words), TestVerdict::Passed);
}

#[test]
fn scratch_is_empty_for_every_run() {
    each_tier(|sandbox| {
        let write = "import os\ntry:\n    print(os.getcwd(), os.listdir())\n    open('left', 'w').write('x')\n    \
                     print('kept')\nexcept OSError as e: print(e.strerror)";
        for _ in 0..3 {
            let out = run(sandbox, write, b"", &limits()).unwrap().verdict;
            let text = String::from_utf8(out.stdout).unwrap();
            match sandbox.tier() {
                Tier::A => assert_eq!(text, "/tmp []\nkept\n"),
                Tier::B => assert_eq!(text, "Permission denied\n"),
            }
        }
    });
}

/// The programs of a data set with their tests, a mutant of each, and whether they pass in plain Python.
fn corpus(path: &str) -> Vec<Value> {
    let file = oracle!(path);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/corpus.py");
    let out = std::process::Command::new("python3").arg(script).arg(file).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// The program of a row: its `source` or its `mutant`.
fn program(row: &Value, source: &str) -> Program {
    let strings = |key: &str| serde_json::from_value(row[key].clone()).unwrap();
    let setup = row["setup"].as_str().unwrap().to_owned();
    let tests = Tests::Functions { setup, functions: strings("functions"), tests: strings("tests") };
    Program { source: row[source].as_str().unwrap().into(), tests }
}

/// Asserts that the sandbox judges the programs of a data set and their mutants as plain Python does. Returns how many
/// mutants the tests killed, and how many there are.
fn agrees_with_cpython(rows: &[Value], sandbox: &Sandbox) -> (usize, usize) {
    let limits =
        SandboxLimits { wall: Duration::from_secs(20), total: Duration::from_secs(30), ..SandboxLimits::default() };
    let mut killed = 0;
    let mut mutants = 0;
    for (key, passes) in [("source", "source_passes"), ("mutant", "mutant_passes")] {
        let rows: Vec<&Value> = rows.iter().filter(|r| r[key].is_string()).collect();
        let programs: Vec<Program> = rows.iter().map(|r| program(r, key)).collect();
        let judged = Program::judge_all(&programs, sandbox, &limits).unwrap();
        for (row, judged) in rows.iter().zip(&judged) {
            let judged = judged.as_ref().unwrap();
            let ours = judged.all_passed();
            assert_eq!(ours, row[passes].as_bool().unwrap(), "{} {key}: {:?}\n{}", row["id"], judged.tests, row[key]);
            if key == "mutant" {
                mutants += 1;
                killed += usize::from(!ours);
            }
        }
    }
    (killed, mutants)
}

#[needs_oracles]
#[test]
fn humaneval_and_its_mutants_are_judged_as_cpython_does() {
    let rows = corpus("data/humaneval/HumanEval.jsonl.gz");
    assert!(rows.len() == 164 && rows.iter().all(|r| r["source_passes"] == true));
    each_tier(|sandbox| {
        let (killed, mutants) = agrees_with_cpython(&rows, sandbox);
        println!("tier {}: tests killed {killed} of {mutants} mutants", sandbox.tier());
    });
}

#[needs_oracles]
#[test]
fn mbpp_and_its_mutants_are_judged_as_cpython_does() {
    let rows = corpus("data/mbpp/mbpp.jsonl");
    let (killed, mutants) = agrees_with_cpython(&rows, &sandbox(Tier::A));
    println!("tests killed {killed} of {mutants} mutants");
}

#[test]
fn what_a_program_does_to_the_setup_is_its_own_verdict() {
    let judge = |source: &str, setup: &str| {
        let tests = vec!["assert f(node) == 1".to_owned()];
        let tests = Tests::Functions { setup: setup.into(), functions: Vec::new(), tests };
        let program = Program { source: source.into(), tests };
        program.judge(&sandbox(Tier::A), &limits()).map(|j| j.tests[0].verdict.clone())
    };
    let source = "class Node:\n    def __init__(self, x):\n        if x < 0: raise ValueError('negative')\n        self.x = x\n\
                  def f(node): return node.x\n";
    assert_eq!(judge(source, "node = Node(1)").unwrap(), TestVerdict::Passed);
    assert_eq!(judge(source, "node = Node(-1)").unwrap(), TestVerdict::RuntimeError("ValueError: negative".into()));
    let swallowed = "try:\n    node = Node(1) == 1\nexcept BaseException:\n    node = Node(1)";
    assert!(matches!(judge(source, swallowed).unwrap(), TestVerdict::Unsupported(_)));
    assert!(judge(source, "node = 1 / 0").unwrap_err().to_string().contains("ZeroDivisionError"));
}

#[test]
fn changes_of_arguments_travel_back_wherever_they_are() {
    let source = "from collections import Counter\ndef f(x, y=None):\n    for a in (x, y):\n        if isinstance(a, Counter): a['k'] += 1\n        \
                  elif isinstance(a, list): a.append(9)\n        elif isinstance(a, tuple): a[0].append(9)\n";
    let passed = [
        "l = [1]\nf(0, y=l)\nassert l == [1, 9]",
        "from collections import Counter\nc = Counter('k')\nf(c)\nassert c['k'] == 2",
    ];
    assert_eq!(judge(source, &passed), vec![TestVerdict::Passed; 2]);
    assert!(matches!(judge(source, &["t = ([1],)\nf(t)\nassert t == ([1],)"])[..], [TestVerdict::Unsupported(_)]));
    assert_eq!(
        judge(source, &["f(iter([1, 2]))", "f({3, 4, 5})", "f((frozenset('abc'), [1])[0])"]),
        vec![TestVerdict::Passed; 3]
    );
}

#[test]
fn a_test_that_runs_the_programs_text_cannot_spoil_the_next_program() {
    let hack = "Link = __import__('sys').modules['__main__'].Link; Link.value = lambda *_: 1; Link.ask = lambda *_: {'value': 1}";
    let source = format!("def f(): return {hack:?}\n");
    let verdicts = judge(&source, &["exec(f())\nassert f() == 1"]);
    assert_eq!(verdicts, [TestVerdict::Passed], "the text must have its way with the test that runs it");
    for _ in 0..3 {
        assert!(matches!(judge("def g(x): return None\n", &["assert g(1) == 1"])[..], [TestVerdict::WrongAnswer(_)]));
    }
}

#[test]
fn the_time_of_a_whole_program_is_bounded() {
    let slow = "import time\ndef f(x):\n    time.sleep(0.4)\n    return x\n";
    let limits = SandboxLimits { total: Duration::from_secs(1), ..limits() };
    let tests: Vec<String> = (0..20).map(|i| format!("assert f({i}) == {i}")).collect();
    let tests: Vec<&str> = tests.iter().map(String::as_str).collect();
    let began = std::time::Instant::now();
    let judged = functions(slow, &tests).judge(&sandbox(Tier::A), &limits).unwrap();
    assert!(began.elapsed() < Duration::from_secs(4));
    assert_eq!(judged.tests.len(), 20);
    assert_eq!(judged.tests[19].verdict, TestVerdict::TimeLimit(Duration::from_secs(1)));
    let stream = IoTest { input: String::new(), output: String::new(), compare: Comparison::Words };
    let program =
        Program { source: "import time; time.sleep(0.4)".into(), tests: Tests::InputOutput(vec![stream; 20]) };
    let judged = program.judge(&sandbox(Tier::A), &limits).unwrap();
    assert!(began.elapsed() < Duration::from_secs(8));
    assert_eq!(judged.tests[19].verdict, TestVerdict::TimeLimit(Duration::from_secs(1)));
}
