//! The attacks that ship with rlar: hostile code that shows whether the sandbox contains it on this machine.

use std::collections::BTreeSet;
use std::time::Duration;

use include_dir::{Dir, include_dir};

use crate::verdict::{TestVerdict, Verdict};
use crate::{Program, Sandbox, SandboxError, SandboxLimits, Termination, Tests, Verifier, run};

static ATTACKS: Dir = include_dir!("$CARGO_MANIFEST_DIR/attacks");

/// How the code of an attack is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttackForm {
    /// The attack is a whole program, which runs on its own.
    Script,
    /// The attack is a function `add`, which tests call.
    Function,
    /// The attack is a verifier: a scoring function `f`.
    Verifier,
}

/// Hostile code to run in the sandbox, with the signs by which its containment is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attack {
    /// Name of the attack's file, without the extension.
    pub name: String,
    /// What the attack tries to do, as text for people.
    pub description: String,
    /// Names of defences (such as `seccomp`) or of verdicts (such as `time limit`), at least one of which must occur in
    /// [`AttackReport::contained_by`] if the attack is contained.
    pub expected: Vec<String>,
    /// How the attack's code is run.
    pub form: AttackForm,
    source: String,
}

/// What happened when an attack was run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttackReport {
    /// What stopped the attack. If the attacking code ran as a script: names of the defences that visibly stopped
    /// something. If it ran as a function under test or as a verifier: the kinds of result that its tests or calls had,
    /// such as `wrong answer`, `crashed` or `time limit`.
    pub contained_by: BTreeSet<String>,
    /// What the attack achieved, one text each; empty if it achieved nothing.
    pub breaches: Vec<String>,
}

impl AttackReport {
    /// Whether the attack achieved nothing and an expected defence contained it.
    pub fn is_contained(&self, attack: &Attack) -> bool {
        self.breaches.is_empty() && attack.expected.iter().any(|e| self.contained_by.contains(e))
    }
}

/// Python code that is put in front of every script. A script calls its functions to report which attempts were refused
/// and which succeeded.
const PRELUDE: &str = include_str!("../python/attempt.py");

impl Attack {
    /// All attacks that ship with rlar, sorted by form and name.
    pub fn all() -> Vec<Self> {
        let folder = |name, form| {
            let files = ATTACKS.get_dir(name).into_iter().flat_map(Dir::files);
            files.filter_map(move |file| {
                let name = file.path().file_stem()?.to_str()?.to_owned();
                Self::parse(&name, form, file.contents_utf8()?)
            })
        };
        let all = folder("scripts", AttackForm::Script).chain(folder("programs", AttackForm::Function));
        let mut all: Vec<Self> = all.chain(folder("verifiers", AttackForm::Verifier)).collect();
        all.sort_by(|a, b| (a.form as u8, &a.name).cmp(&(b.form as u8, &b.name)));
        all
    }

    /// Parses an attack whose source begins with two comment lines: what it tries, and the names for
    /// [`Attack::expected`]. `None` if a line is missing.
    fn parse(name: &str, form: AttackForm, source: &str) -> Option<Self> {
        let mut lines = source.lines().map(|l| l.trim_start_matches("# "));
        let (description, expected) = (lines.next()?.to_owned(), lines.next()?);
        let expected = expected.split(", ").map(str::to_owned).collect();
        Some(Self { name: name.to_owned(), description, expected, form, source: source.to_owned() })
    }

    /// Runs the attack with limits of 1 s of wall time per call and 512 MiB of memory.
    pub fn launch(&self, sandbox: &Sandbox) -> Result<AttackReport, SandboxError> {
        let limits = SandboxLimits {
            wall: Duration::from_secs(1),
            total: Duration::from_secs(5),
            cpu: Duration::from_secs(10),
            memory: 512 << 20,
            output: 64 << 10,
        };
        match self.form {
            AttackForm::Script => self.as_script(sandbox, &limits),
            AttackForm::Function => self.as_function(sandbox, &limits),
            AttackForm::Verifier => self.as_verifier(sandbox, &limits),
        }
    }

    /// Runs the attack as a whole program, and then a harmless program, on which the attack must have had no effect.
    fn as_script(&self, sandbox: &Sandbox, limits: &SandboxLimits) -> Result<AttackReport, SandboxError> {
        let run_script = |source: &str| run(sandbox, source, b"", limits);
        let attack = run_script(&format!("{PRELUDE}\n{}", self.source))?.verdict;
        let mut report = AttackReport { contained_by: BTreeSet::new(), breaches: Vec::new() };
        report.contained_by.extend(match &attack.termination {
            Termination::Exited(_) | Termination::NotAllowed(_) => {
                attack.stdout.is_empty().then(|| "separate process".to_owned())
            }
            Termination::TimeLimit(_) => Some("deadline".into()),
            Termination::MemoryLimit => Some("memory limit".into()),
            Termination::OutputLimit => Some("output limit".into()),
            Termination::Crashed(_) => Some("separate process".into()),
        });
        for line in String::from_utf8_lossy(&attack.stdout).lines() {
            let word = |n| line.split(' ').nth(n).unwrap_or_default();
            match (word(0), defences_behind(word(1))) {
                ("refused", []) => report.breaches.push(format!("it reached the kernel: {line}")),
                ("refused", defences) => report.contained_by.extend(defences.iter().map(|d| (*d).to_owned())),
                ("BITES", _) => report.breaches.push(line.to_owned()),
                _ => {
                    report.contained_by.insert("separate process".into());
                }
            }
        }
        // The next run must find everything as it was.
        let next = run_script(
            "import os, json, sys, math\ntry: print(sorted(os.listdir('/tmp')), len('ab'))\nexcept OSError: print([], 2)",
        )?;
        if next.verdict.stdout != b"[] 2\n" {
            report.breaches.push(format!("the next run found {:?}", String::from_utf8_lossy(&next.verdict.stdout)));
        }
        Ok(report)
    }

    /// Runs tests against the attack's function; a test that passes is a breach.
    fn as_function(&self, sandbox: &Sandbox, limits: &SandboxLimits) -> Result<AttackReport, SandboxError> {
        let tests = [
            "assert add(2, 3) == 5",
            "assert add(20, 7) == 27",
            "assert len([add(2, 2)]) == 1 and math.isclose(add(2, 4), 6)",
            "assert all(map(lambda n: add(n, 1) == n + 1, [1, 2, 3]))",
        ];
        let tests = Tests::Functions {
            setup: "import math".into(),
            functions: vec!["add".into()],
            tests: tests.map(str::to_owned).into(),
        };
        let results = Program { source: self.source.clone(), tests }.judge(sandbox, limits)?;
        let passed = results.tests.iter().filter(|t| t.verdict == TestVerdict::Passed).count();
        let breaches = if passed > 0 { vec![format!("{passed} tests passed")] } else { Vec::new() };
        let name = |v: &TestVerdict| match v {
            TestVerdict::Passed => "passed",
            TestVerdict::WrongAnswer(_) => "wrong answer",
            TestVerdict::RuntimeError(_) => "runtime error",
            TestVerdict::NotAllowed(_) => "not allowed",
            TestVerdict::TimeLimit(_) => "time limit",
            TestVerdict::MemoryLimit => "memory limit",
            TestVerdict::OutputLimit => "output limit",
            TestVerdict::Crashed(_) => "crashed",
            TestVerdict::Forged(_) => "forged",
            TestVerdict::Unsupported(_) => "unsupported",
        };
        let contained_by = results.tests.iter().map(|t| name(&t.verdict).to_owned()).collect();
        Ok(AttackReport { contained_by, breaches })
    }

    /// Calls the attack's function four times; it is a breach if every call gives a score.
    fn as_verifier(&self, sandbox: &Sandbox, limits: &SandboxLimits) -> Result<AttackReport, SandboxError> {
        let verifier = Verifier::start(sandbox, &self.source, "f", *limits)?;
        let calls = vec![vec!["x".to_owned()]; 4];
        let verdicts = verifier.score(&calls)?;
        let name = |v: &Verdict| match v {
            Verdict::Score(_) => "score",
            Verdict::NotFinite(_) => "not finite",
            Verdict::NotANumber(_) => "not a number",
            Verdict::Raised(_) => "raised",
            Verdict::Skipped => "skipped",
            Verdict::TimeLimit(_) => "time limit",
            Verdict::MemoryLimit => "memory limit",
            Verdict::OutputLimit => "output limit",
            Verdict::Crashed(_) => "crashed",
            Verdict::Unrepeatable { .. } => "unrepeatable",
        };
        let contained_by: BTreeSet<String> = verdicts.iter().map(|v| name(&v.verdict).to_owned()).collect();
        let only_scores = contained_by.len() == 1 && contained_by.contains("score");
        let breaches = if only_scores { vec!["every call gave a score".to_owned()] } else { Vec::new() };
        Ok(AttackReport { contained_by, breaches })
    }
}

/// Names of the defences that can have caused an error, given as [`PRELUDE`] prints the error; empty for other errors.
fn defences_behind(error: &str) -> &'static [&'static str] {
    match error {
        "EPERM" | "ENOSYS" | "RuntimeError" | "BlockingIOError" | "gaierror" => &["seccomp"],
        "EACCES" => &["Landlock"],
        "ENOENT" | "ENOTDIR" | "FileNotFoundError" | "IndexError" => &["private root"],
        "EROFS" => &["read-only"],
        "ENOSPC" => &["scratch limit"],
        "EFBIG" | "EMFILE" | "ENOMEM" | "ValueError" => &["resource limits"],
        "EMPTY" => &["empty environment"],
        "FRESH" => &["fresh process", "fresh scratch folder"],
        _ => &[],
    }
}
