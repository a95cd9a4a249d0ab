//! Exceptions of a program as its tests see them.

use std::process::Command;

use rlar_sandbox::{Program, TestVerdict, Tests, Tier};

use crate::programs::{judge, limits};
use crate::sandbox;

const PROGRAM: &str = "
import json, decimal, struct, collections, zlib, re, fractions, statistics, socket, subprocess
class Empty(IndexError): pass
class Deeper(Empty): pass
class Both(KeyError, IndexError): pass
class Plain(Exception): pass
class Coded(ValueError):
    def __init__(self, text, code):
        super().__init__(text)
        self.code = code
    def __str__(self): return 'coded ' + self.args[0]
class Missing(FileNotFoundError): pass
class Unhashed(ArithmeticError):
    def __init__(self, a, *, b): self.a = a
def f(kind, text='no'):
    raise {'empty': Empty, 'deeper': Deeper, 'both': Both, 'plain': Plain, 'missing': Missing, 'value': ValueError,
           'key': KeyError, 'stop': StopIteration, 'assertion': AssertionError, 'exit': SystemExit,
           'interrupt': KeyboardInterrupt, 'warning': DeprecationWarning, 'os': OSError, 'not': NotImplementedError}[kind](text)
def coded(): raise Coded('text', 3)
def unhashed(): raise Unhashed(1, b=2)
def loads(s): return json.loads(s)
def divide(a, b): return a / b
def exactly(a, b): return decimal.Decimal(a) / decimal.Decimal(b)
def decoded(b): return b.decode('utf-8')
def encoded(s): return s.encode('ascii')
def unpacked(b): return struct.unpack('i', b)
def deflated(b): return zlib.decompress(b)
def matched(p): return re.compile(p)
def mean(xs): return statistics.mean(xs)
def opened(p): return open(p)
def nothing(*_): return None
def two(): raise ValueError('a', 2)
def chained():
    try: {}['x']
    except KeyError as e: raise LookupError('outer') from e
";

/// The verdicts of plain Python, with program and test in one namespace: whether each test passes.
fn in_plain_python(tests: &[String]) -> Vec<bool> {
    let python = std::env::var("RLAR_PYTHON").unwrap_or_else(|_| "python3".into());
    let run = |test: &String| {
        let out = Command::new(&python).arg("-c").arg(format!("{PROGRAM}\n{test}")).output().unwrap();
        out.status.success()
    };
    tests.iter().map(run).collect()
}

fn in_sandbox(tests: &[String]) -> Vec<TestVerdict> {
    let verdict = |test: &String| judge(PROGRAM, &[test.as_str()]).remove(0);
    tests.iter().map(verdict).collect()
}

/// A test that passes if `call` raises something that the clause `except` catches.
fn catches(call: &str, clause: &str) -> String {
    format!("ok = False\ntry:\n    {call}\nexcept {clause}:\n    ok = True\nassert ok")
}

#[test]
fn a_test_catches_the_exceptions_that_it_catches_in_plain_python() {
    let pairs = [
        ("loads('{')", "ValueError"),
        ("loads('{')", "KeyError"),
        ("loads('{')", "(TypeError, ValueError)"),
        ("f('empty')", "IndexError"),
        ("f('empty')", "LookupError"),
        ("f('empty')", "KeyError"),
        ("f('deeper')", "IndexError"),
        ("f('both')", "KeyError"),
        ("f('both')", "IndexError"),
        ("f('both')", "ValueError"),
        ("f('plain')", "Exception"),
        ("f('plain')", "ValueError"),
        ("f('missing')", "FileNotFoundError"),
        ("f('missing')", "OSError"),
        ("coded()", "ValueError"),
        ("unhashed()", "ArithmeticError"),
        ("unhashed()", "ZeroDivisionError"),
        ("f('value')", "ValueError"),
        ("f('key')", "LookupError"),
        ("f('assertion')", "AssertionError"),
        ("f('warning')", "Warning"),
        ("f('not')", "RuntimeError"),
        ("f('exit')", "SystemExit"),
        ("f('exit')", "Exception"),
        ("f('interrupt')", "KeyboardInterrupt"),
        ("f('stop')", "StopIteration"),
        ("f('stop')", "ValueError"),
        ("divide(1, 0)", "ArithmeticError"),
        ("exactly(1, 0)", "ZeroDivisionError"),
        ("exactly('x', 0)", "ArithmeticError"),
        ("decoded(b'\\xff')", "UnicodeDecodeError"),
        ("decoded(b'\\xff')", "ValueError"),
        ("encoded('\\xe9')", "UnicodeError"),
        ("deflated(b'x')", "Exception"),
        ("deflated(b'x')", "ValueError"),
        ("mean([])", "ValueError"),
        ("opened('/no/such')", "FileNotFoundError"),
        ("opened('/no/such')", "OSError"),
        ("opened('/no/such')", "PermissionError"),
        ("chained()", "KeyError"),
        ("chained()", "LookupError"),
        ("loads(nothing())", "TypeError"),
        ("nothing().x", "AttributeError"),
        // Classes of the library and of the program.
        ("loads('{')", "__import__('json').JSONDecodeError"),
        ("f('empty')", "Empty"),
        ("f('deeper')", "Empty"),
        ("f('deeper')", "(KeyError, Empty)"),
        ("f('empty')", "Deeper"),
        ("f('plain')", "Plain"),
        ("f('value')", "Empty"),
        ("nothing()", "Empty"),
        ("f('both')", "Both"),
    ];
    let mut tests: Vec<String> = pairs.iter().map(|(call, clause)| catches(call, clause)).collect();
    tests.extend(
        [
            "import json\ntry:\n    loads('{')\nexcept json.JSONDecodeError:\n    pass",
            "import decimal\ntry:\n    exactly('x', 1)\nexcept decimal.InvalidOperation:\n    pass",
            "import struct\ntry:\n    unpacked(b'')\nexcept struct.error:\n    pass",
            "import zlib\ntry:\n    deflated(b'x')\nexcept zlib.error:\n    pass",
            "import re\ntry:\n    matched('(')\nexcept re.error:\n    pass",
            "import struct\ntry:\n    deflated(b'x')\nexcept struct.error:\n    pass",
            "try:\n    f('value', 'must be positive')\nexcept ValueError as e:\n    assert str(e) == 'must be positive'",
            "try:\n    f('value', 'must be positive')\nexcept ValueError as e:\n    assert str(e) == 'ValueError: must be positive'",
            "try:\n    f('key', 'k')\nexcept KeyError as e:\n    assert str(e) == \"'k'\" and e.args == ('k',)",
            "try:\n    two()\nexcept ValueError as e:\n    assert e.args == ('a', 2)",
            "try:\n    coded()\nexcept ValueError as e:\n    assert str(e) == 'coded text'",
            "try:\n    f('empty')\nexcept IndexError as e:\n    assert type(e).__name__ == 'Empty' and isinstance(e, LookupError)",
            "try:\n    f('value')\nexcept Exception as e:\n    assert type(e) is ValueError and not isinstance(e, KeyError)",
            "try:\n    f('exit', 3)\nexcept SystemExit as e:\n    assert e.code == 3",
            "try:\n    opened('/no/such')\nexcept OSError as e:\n    assert e.errno == 2",
            "import unittest\nwith unittest.TestCase().assertRaises(IndexError):\n    f('empty')",
            "import unittest\nwith unittest.TestCase().assertRaises(KeyError):\n    f('empty')",
            "import contextlib\nwith contextlib.suppress(LookupError):\n    f('empty')\n    assert False",
            "def raises(kind, call):\n    try: call()\n    except kind: return True\n    return False\nassert raises(ValueError, lambda: loads('['))",
        ]
        .map(str::to_owned),
    );
    let wanted = in_plain_python(&tests);
    assert!(wanted.iter().filter(|passes| !**passes).count() >= 12 && wanted.iter().filter(|p| **p).count() >= 40);
    for ((test, wanted), verdict) in tests.iter().zip(wanted).zip(in_sandbox(&tests)) {
        assert_eq!(verdict == TestVerdict::Passed, wanted, "{verdict:?}\n{test}");
    }
}

#[test]
fn a_stop_iteration_never_ends_the_loop_of_a_test() {
    let source = "def f(x): raise StopIteration\nclass Done(StopIteration): pass\ndef g(x): raise Done\n\
                  class Mixed(ValueError, StopIteration): pass\ndef h(x): raise Mixed\n";
    for function in ["f", "g", "h"] {
        for test in [
            "assert all(map(F, [1, 2]))",
            "assert list(map(F, [1])) == []",
            "assert sum(filter(F, [1])) == 0",
            "assert list(iter(lambda: F(1), 0)) == []",
            "assert all(F(x) for x in [1])",
            "from itertools import starmap\nassert list(starmap(F, [(1,)])) == []",
            "class Each:\n    def __iter__(self): return self\n    def __next__(self): return F(1)\nassert all(Each())",
            "class Each:\n    def __getitem__(self, i): return F(1)\nassert all(Each())",
            "for x in map(F, [1]): assert False",
        ] {
            for handler in ["", "\ntry:\n    F(1)\nexcept StopIteration:\n    pass"] {
                let setup = if test.contains("itertools") { "from itertools import starmap" } else { "" };
                let tests = Tests::Functions {
                    setup: setup.into(),
                    functions: vec![function.into()],
                    tests: vec![format!("{test}{handler}").replace('F', function)],
                };
                let judged = Program { source: source.into(), tests }.judge(&sandbox(Tier::A), &limits()).unwrap();
                assert_ne!(judged.tests[0].verdict, TestVerdict::Passed, "{function}: {test}{handler}");
            }
        }
    }
    assert_eq!(judge(source, &[&catches("f(1)", "StopIteration")]), [TestVerdict::Passed]);
    assert_eq!(judge(source, &[&catches("g(1)", "(ValueError, StopIteration)")]), [TestVerdict::Passed]);
}

#[test]
fn an_exception_that_no_test_expects_is_the_programs_error() {
    let verdict = |test: &str| judge(PROGRAM, &[test]).remove(0);
    let names = [("f('empty')", "Empty: no"), ("f('exit')", "SystemExit: no"), ("coded()", "Coded: coded text")];
    for (call, text) in names {
        assert_eq!(verdict(&format!("assert {call} == 1")), TestVerdict::RuntimeError(text.into()), "{call}");
    }
    // Classes that the program has no right to: those of the sandbox itself, and those that are no errors.
    let source = "class Event(BaseException): pass\nEvent.__module__ = '__main__'\ndef f(x): raise Event\n\
                  class Fake(Exception): pass\nFake.__module__, Fake.__name__ = 'unittest.case', 'SkipTest'\ndef g(x): raise Fake\n\
                  def h(x): raise GeneratorExit\n";
    for function in ["f", "g", "h"] {
        let verdict = judge(source, &[&format!("assert {function}(1) == 1")]).remove(0);
        assert!(matches!(verdict, TestVerdict::RuntimeError(_)), "{verdict:?}");
    }
}
