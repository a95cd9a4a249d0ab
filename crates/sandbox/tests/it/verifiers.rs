use std::time::{Duration, Instant};

use rlar_oracles::{needs_oracles, oracle};
use rlar_sandbox::{Packages, SandboxError, SandboxLimits, Tier, Verdict, Verifier};

use crate::sandbox;

fn limits() -> SandboxLimits {
    SandboxLimits { wall: Duration::from_secs(1), ..SandboxLimits::default() }
}

fn start(source: &str) -> Result<Verifier, SandboxError> {
    Verifier::start(&sandbox(Tier::A), source, "f", limits())
}

/// Where packages are kept between runs of the tests.
fn cache() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages")
}

/// The verdict of `body` as the body of `f(x)`, for one call.
fn verdict(body: &str) -> Verdict {
    let source = format!("def f(x):\n    {}\n", body.replace('\n', "\n    "));
    let out = start(&source).unwrap().score(&[vec!["a".into()]]).unwrap();
    out[0].verdict.clone()
}

#[test]
fn a_score_is_a_score_and_nothing_else_is() {
    assert_eq!(verdict("return 0.25"), Verdict::Score(0.25));
    assert_eq!(verdict("return 3"), Verdict::Score(3.0));
    assert_eq!(verdict("return float('nan')"), Verdict::NotFinite("nan".into()));
    assert_eq!(verdict("return float('-inf')"), Verdict::NotFinite("-inf".into()));
    assert!(matches!(verdict("return 10**400"), Verdict::NotFinite(_)));
    assert_eq!(verdict("return True"), Verdict::NotANumber("bool".into()));
    assert_eq!(verdict("return '1.0'"), Verdict::NotANumber("str".into()));
    assert_eq!(verdict("return None"), Verdict::NotANumber("NoneType".into()));
    assert_eq!(verdict("class F(float): pass\nreturn F(1)"), Verdict::NotANumber("F".into()));
    assert_eq!(verdict("return 1 / 0"), Verdict::Raised("ZeroDivisionError: division by zero".into()));
}

#[test]
fn limits_are_hard_and_named() {
    let began = Instant::now();
    assert_eq!(verdict("while True: pass"), Verdict::TimeLimit(Duration::from_secs(1)));
    assert_eq!(verdict("import time\ntime.sleep(100)"), Verdict::TimeLimit(Duration::from_secs(1)));
    assert!(began.elapsed() < Duration::from_secs(8));
    assert_eq!(verdict("return len(bytearray(1 << 32))"), Verdict::MemoryLimit);
    assert!(matches!(verdict("import os\nos._exit(0)"), Verdict::Crashed(_)));
    assert!(matches!(verdict("import ctypes\nctypes.string_at(0)"), Verdict::Crashed(_)));
}

#[test]
fn a_flood_of_output_is_cut_off() {
    let flood = "import os\nwhile True:\n    for fd in range(3, 10):\n        try: os.write(fd, b'x' * 4096)\n        except OSError: pass";
    assert_eq!(verdict(flood), Verdict::OutputLimit);
    assert_eq!(verdict("print('x' * 100000)\nreturn 1.0"), Verdict::Score(1.0));
}

#[test]
fn prints_are_kept_up_to_a_bound_and_change_no_verdict() {
    let source = "import sys\ndef f(x):\n    if x == 'loud': print('é' * 5_000_000)\n    \
                  if x == 'odd': print('\\ud800', '\\x1b[31m')\n    if x == 'raw': sys.stdout.buffer.write(b'\\xff')\n    \
                  if x == 'spoilt': sys.stdout.kept, sys.stdout.length = None, 9\n    \
                  if x == 'raises':\n        print('seen', x)\n        raise ValueError('no')\n    return 0.5\n";
    let calls: Vec<Vec<String>> =
        ["loud", "odd", "raw", "spoilt", "raises", "quiet"].iter().map(|x| vec![(*x).into()]).collect();
    for verifier in [start(source).unwrap(), start(source).unwrap().strict()] {
        let out = verifier.score(&calls).unwrap();
        for (i, m) in out.iter().enumerate().filter(|(i, _)| *i != 4) {
            assert_eq!(m.verdict, Verdict::Score(0.5), "{:?}", calls[i]);
        }
        assert_eq!(out[4].verdict, Verdict::Raised("ValueError: no".into()));
        let loud = &out[0].printed;
        assert!(loud.starts_with("ééé") && loud.chars().count() < 600, "{loud}");
        let others: Vec<&str> = out[1..].iter().map(|m| m.printed.as_str()).collect();
        assert_eq!(others, ["? \u{1b}[31m\n", "", "", "seen raises\n", ""]);
    }
}

#[test]
fn the_outside_world_cannot_be_touched() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "secret").unwrap();
    let path = secret.path().display();
    for attempt in [
        format!("open({path:?}).read()", path = path.to_string()),
        format!("open({path:?}, 'w')", path = path.to_string()),
        "open('/etc/passwd').read()".into(),
        "open('/proc/self/environ').read()".into(),
        "open('/tmp/rlar-escape', 'w')".into(),
        "__import__('os').listdir('/root')".into(),
        "__import__('os').mkdir('/tmp/rlar-escape-dir')".into(),
        "__import__('socket').socket()".into(),
        "__import__('subprocess').run(['/bin/true'])".into(),
        "__import__('os').fork()".into(),
        "__import__('os').kill(1, 0)".into(),
        "__import__('os').execv('/bin/true', ['true'])".into(),
        "__import__('os').setuid(1000)".into(),
        "__import__('os').memfd_create('x')".into(),
        "__import__('resource').setrlimit(0, (-1, -1))".into(),
    ] {
        let got = verdict(&format!("{attempt}\nreturn 1.0"));
        let Verdict::Raised(error) = &got else { panic!("{attempt} gave {got:?}") };
        let known =
            ["PermissionError", "BlockingIOError", "RuntimeError", "OSError", "ValueError", "FileNotFoundError"];
        assert!(known.iter().any(|k| error.starts_with(k)), "{attempt}: {error}");
    }
    assert_eq!(std::fs::read_to_string(secret.path()).unwrap(), "secret");
}

#[test]
fn the_environment_is_empty() {
    let body = "import os\nreturn float(set(os.environ) - {'PYTHONHASHSEED', 'PYTHONUTF8', 'LC_ALL', 'LC_CTYPE', 'OPENBLAS_NUM_THREADS', 'HOME'} == set())";
    assert_eq!(verdict(body), Verdict::Score(1.0));
}

#[test]
fn sets_have_the_same_order_in_every_process() {
    let body = "return float(int.from_bytes(''.join({'alpha', 'beta', 'gamma', 'delta'}).encode(), 'big') % 1000003)";
    assert_eq!(verdict(body), verdict(body));
}

#[test]
fn a_broken_call_does_not_cost_its_neighbours() {
    let source = "def f(x):\n    import os, time\n    if x == 'die': os._exit(3)\n    if x == 'hang': time.sleep(9)\n    return float(x)\n";
    let verifier = Verifier::start(&sandbox(Tier::A), source, "f", limits()).unwrap();
    let calls: Vec<Vec<String>> =
        ["1", "die", "2", "hang", "3", "4", "word", "5"].iter().map(|x| vec![(*x).into()]).collect();
    let out: Vec<Verdict> = verifier.score(&calls).unwrap().into_iter().map(|m| m.verdict).collect();
    for (i, score) in [(0, 1.0), (2, 2.0), (4, 3.0), (5, 4.0), (7, 5.0)] {
        assert_eq!(out[i], Verdict::Score(score));
    }
    assert!(
        matches!(out[1], Verdict::Crashed(_))
            && matches!(out[3], Verdict::TimeLimit(_))
            && matches!(out[6], Verdict::Raised(_))
    );
}

#[test]
fn a_verifier_that_does_not_load_is_refused_with_the_reason() {
    let reason = |source: &str| start(source).map(|_| ()).unwrap_err().to_string();
    assert!(reason("def f(x) return 1").contains("SyntaxError"));
    assert!(reason("def g(x): return 1").contains("no function `f`"));
    assert!(reason("import numpy\ndef f(x): return 1").contains("ModuleNotFoundError"));
    assert!(reason("import os\nos._exit(0)").contains("ended while loading"));
}

#[needs_oracles]
#[test]
fn verifiers_as_language_models_write_them_run() {
    let folder = oracle!("oracles/verifiers");
    let inputs: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("inputs.json")).unwrap()).unwrap();
    let mut ran = 0;
    for file in std::fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "py"))
    {
        let stem = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let source = std::fs::read_to_string(&file).unwrap();
        let name = source.lines().find_map(|l| l.strip_prefix("def compute_")).unwrap().split('(').next().unwrap();
        let arguments = inputs.get(&stem[..3]).unwrap_or(&inputs["*"]);
        let arguments: Vec<String> = serde_json::from_value(arguments.clone()).unwrap();
        let verifier = Verifier::start(&sandbox(Tier::A), &source, &format!("compute_{name}"), limits());
        if let Some(package) = ["sympy", "nltk"]
            .into_iter()
            .find(|p| source.contains(&format!("import {p}")) || source.contains(&format!("from {p}")))
        {
            // Without the package, importing it fails, at the start or in the call.
            let without =
                verifier.and_then(|v| v.score(std::slice::from_ref(&arguments))).map(|v| v[0].verdict.clone());
            let said = format!("{without:?}");
            assert!(said.contains("ModuleNotFoundError"), "{stem}: {said}");
            let allowed = Packages { allowed: vec![package.into()], cache: Some(cache()) };
            let refusal = sandbox(Tier::A).with_packages(&["numpy".into()], &allowed).unwrap_err().to_string();
            assert!(refusal.contains("`numpy` is not allowed") && refusal.contains(package), "{refusal}");
            for tier in [Tier::A, Tier::B] {
                let with =
                    sandbox(tier).with_packages(&[package.into()], &allowed).unwrap_or_else(|e| panic!("{stem}: {e}"));
                let limits = SandboxLimits { wall: Duration::from_secs(20), ..SandboxLimits::default() };
                let verifier = Verifier::start(&with, &source, &format!("compute_{name}"), limits).unwrap();
                let verdict = verifier.score(std::slice::from_ref(&arguments)).unwrap()[0].verdict.clone();
                assert!(matches!(verdict, Verdict::Score(s) if s > 0.0), "{stem} on tier {tier}: {verdict:?}");
            }
            ran += 1;
            continue;
        }
        let verdicts = verifier.unwrap_or_else(|e| panic!("{stem}: {e}")).score(&[arguments]).unwrap();
        assert!(matches!(verdicts[0].verdict, Verdict::Score(_)), "{stem}: {:?}", verdicts[0]);
        ran += 1;
    }
    assert_eq!(ran, 12);
}

#[test]
fn a_requirement_is_a_package_and_nothing_else() {
    for odd in ["--index-url=http://evil", "./here", "../up", "git+https://x", "a b", "/etc/passwd", "x; import os"] {
        let allowed = Packages { allowed: vec![odd.into()], cache: Some(cache()) };
        let error = sandbox(Tier::A).with_packages(&[odd.into()], &allowed).unwrap_err().to_string();
        assert!(error.contains("is not a package"), "{odd}: {error}");
    }
}

#[test]
fn state_that_leaks_between_calls_is_found_and_a_fresh_process_has_none() {
    let source = "seen = []\ndef f(x):\n    seen.append(x)\n    return float(len(seen))\n";
    let verdicts = |v: Verifier| -> Vec<Verdict> {
        v.score(&vec![vec!["x".to_owned()]; 40]).unwrap().into_iter().map(|m| m.verdict).collect()
    };
    let shared = verdicts(start(source).unwrap());
    assert!(shared.iter().any(|v| matches!(v, Verdict::Unrepeatable { .. })), "{shared:?}");
    let strict = verdicts(start(source).unwrap().strict());
    assert!(strict.iter().all(|v| *v == Verdict::Score(1.0)), "{strict:?}");
}

#[test]
fn every_verdict_says_what_it_took() {
    let source = "def f(x):\n    y = bytearray(50 << 20)\n    return float(sum(i for i in range(200000)) > 0)\n";
    for verifier in [start(source).unwrap(), start(source).unwrap().strict()] {
        for m in verifier.score(&vec![vec!["x".to_owned()]; 3]).unwrap() {
            assert_eq!((m.verdict, m.tier), (Verdict::Score(1.0), Tier::A));
            assert!(m.usage.cpu.unwrap() > Duration::from_millis(2) && m.usage.wall > Duration::from_millis(2));
            assert!(m.usage.peak_memory.unwrap() > 50 << 20 && m.usage.bytes > 0);
        }
    }
}
