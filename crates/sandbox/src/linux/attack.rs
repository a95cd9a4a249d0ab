//! Attacks that come with rlar: what a person runs to see for themselves what holds.

use std::collections::BTreeSet;
use std::time::Duration;

use include_dir::{Dir, include_dir};

use crate::verdict::{TestVerdict, Verdict};
use crate::{End, Limits, Program, Sandbox, SandboxError, Tests, Verifier, run};

static ATTACKS: Dir = include_dir!("$CARGO_MANIFEST_DIR/attacks");

/// What an attack pretends to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disguise {
    /// A whole program.
    Script,
    /// A function `add` under test.
    Function,
    /// A verifier `f`.
    Verifier,
}

/// Hostile code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attack {
    /// Its name.
    pub name: String,
    /// What it tries.
    pub what: String,
    /// What is to contain it: any of these.
    pub expected: Vec<String>,
    /// What it pretends to be.
    pub disguise: Disguise,
    source: String,
}

/// What became of an attack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What contained it, as far as it could be seen.
    pub by: BTreeSet<String>,
    /// What it achieved.
    pub bites: Vec<String>,
}

impl Report {
    /// Whether it achieved nothing, and what was to contain it did.
    pub fn contained(&self, attack: &Attack) -> bool {
        self.bites.is_empty() && attack.expected.iter().any(|e| self.by.contains(e))
    }
}

/// What attacks in the form of scripts use to say how they fare.
const PRELUDE: &str = include_str!("../python/attempt.py");

impl Attack {
    /// All that come with rlar, by name.
    pub fn all() -> Vec<Self> {
        let folder = |name, disguise| {
            let files = ATTACKS.get_dir(name).into_iter().flat_map(Dir::files);
            files.filter_map(move |file| {
                let name = file.path().file_stem()?.to_str()?.to_owned();
                Self::parse(&name, disguise, file.contents_utf8()?)
            })
        };
        let all = folder("scripts", Disguise::Script).chain(folder("programs", Disguise::Function));
        let mut all: Vec<Self> = all.chain(folder("verifiers", Disguise::Verifier)).collect();
        all.sort_by(|a, b| (a.disguise as u8, &a.name).cmp(&(b.disguise as u8, &b.name)));
        all
    }

    /// A source that begins with two comments: what it tries, and what is to contain it.
    fn parse(name: &str, disguise: Disguise, source: &str) -> Option<Self> {
        let mut lines = source.lines().map(|l| l.trim_start_matches("# "));
        let (what, expected) = (lines.next()?.to_owned(), lines.next()?);
        let expected = expected.split(", ").map(str::to_owned).collect();
        Some(Self { name: name.to_owned(), what, expected, disguise, source: source.to_owned() })
    }

    /// Lets it loose.
    pub fn launch(&self, sandbox: &Sandbox) -> Result<Report, SandboxError> {
        let limits = Limits {
            wall: Duration::from_secs(1),
            total: Duration::from_secs(5),
            cpu: Duration::from_secs(10),
            memory: 512 << 20,
            output: 64 << 10,
        };
        match self.disguise {
            Disguise::Script => self.as_script(sandbox, &limits),
            Disguise::Function => self.as_function(sandbox, &limits),
            Disguise::Verifier => self.as_verifier(sandbox, &limits),
        }
    }

    fn as_script(&self, sandbox: &Sandbox, limits: &Limits) -> Result<Report, SandboxError> {
        let run_of = |source: &str| run(sandbox, source, b"", limits);
        let done = run_of(&format!("{PRELUDE}\n{}", self.source))?.verdict;
        let mut report = Report { by: BTreeSet::new(), bites: Vec::new() };
        report.by.extend(match &done.end {
            End::Exited(_) if done.stdout.is_empty() => Some("its own process".to_owned()),
            End::Exited(_) => None,
            End::TimeLimit(_) => Some("deadline".into()),
            End::MemoryLimit => Some("memory limit".into()),
            End::OutputLimit => Some("output limit".into()),
            End::Crashed(_) => Some("its own process".into()),
        });
        for line in String::from_utf8_lossy(&done.stdout).lines() {
            let word = |n| line.split(' ').nth(n).unwrap_or_default();
            match (word(0), facility(word(1))) {
                ("refused", []) => report.bites.push(format!("it reached the kernel: {line}")),
                ("refused", by) => report.by.extend(by.iter().map(|b| (*b).to_owned())),
                ("BITES", _) => report.bites.push(line.to_owned()),
                _ => {
                    report.by.insert("its own process".into());
                }
            }
        }
        // Whoever comes next must find everything as it was.
        let next = run_of(
            "import os, json, sys, math\ntry: print(sorted(os.listdir('/tmp')), len('ab'))\nexcept OSError: print([], 2)",
        )?;
        if next.verdict.stdout != b"[] 2\n" {
            report.bites.push(format!("the next run found {:?}", String::from_utf8_lossy(&next.verdict.stdout)));
        }
        Ok(report)
    }

    fn as_function(&self, sandbox: &Sandbox, limits: &Limits) -> Result<Report, SandboxError> {
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
        let judged = Program { source: self.source.clone(), tests }.judge(sandbox, limits)?;
        let passed = judged.0.iter().filter(|t| t.verdict == TestVerdict::Passed).count();
        let bites = if passed > 0 { vec![format!("{passed} tests passed")] } else { Vec::new() };
        let name = |v: &TestVerdict| match v {
            TestVerdict::Passed => "passed",
            TestVerdict::WrongAnswer(_) => "wrong answer",
            TestVerdict::RuntimeError(_) => "runtime error",
            TestVerdict::TimeLimit(_) => "time limit",
            TestVerdict::MemoryLimit => "memory limit",
            TestVerdict::OutputLimit => "output limit",
            TestVerdict::Crashed(_) => "crashed",
            TestVerdict::Forged(_) => "forged",
            TestVerdict::Unsupported(_) => "unsupported",
        };
        Ok(Report { by: judged.0.iter().map(|t| name(&t.verdict).to_owned()).collect(), bites })
    }

    fn as_verifier(&self, sandbox: &Sandbox, limits: &Limits) -> Result<Report, SandboxError> {
        let verifier = Verifier::start(sandbox, &self.source, "f", *limits)?;
        let calls = vec![vec!["x".to_owned()]; 4];
        let verdicts = verifier.score(&calls)?;
        let name = |v: &Verdict| match v {
            Verdict::Score(_) => "score",
            Verdict::NotFinite(_) => "not finite",
            Verdict::NotANumber(_) => "not a number",
            Verdict::Raised(_) => "raised",
            Verdict::NotAsked => "not asked",
            Verdict::TimeLimit(_) => "time limit",
            Verdict::MemoryLimit => "memory limit",
            Verdict::OutputLimit => "output limit",
            Verdict::Crashed(_) => "crashed",
            Verdict::Unrepeatable { .. } => "unrepeatable",
        };
        let by: BTreeSet<String> = verdicts.iter().map(|v| name(&v.verdict).to_owned()).collect();
        let bites =
            if by.len() == 1 && by.contains("score") { vec!["every call gave a score".to_owned()] } else { Vec::new() };
        Ok(Report { by, bites })
    }
}

/// What stands behind an error number.
fn facility(error: &str) -> &'static [&'static str] {
    match error {
        "EPERM" | "ENOSYS" | "RuntimeError" | "BlockingIOError" | "gaierror" => &["seccomp"],
        "EACCES" => &["Landlock"],
        "ENOENT" | "ENOTDIR" | "FileNotFoundError" | "IndexError" => &["own root"],
        "EROFS" => &["read-only"],
        "ENOSPC" => &["scratch limit"],
        "EFBIG" | "EMFILE" | "ENOMEM" | "ValueError" => &["its own limits"],
        "EMPTY" => &["empty environment"],
        "FRESH" => &["fresh process", "fresh scratch folder"],
        _ => &[],
    }
}
