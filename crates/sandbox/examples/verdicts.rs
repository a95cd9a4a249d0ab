//! Measures CPU and wall time per verdict, with the CPU time of all processes involved, for `scripts/bench-sandbox.py`.
//!
//! The argument is optional: a JSONL file of programs to judge as well (`source`, `setup`, `functions`, `tests`), or
//! `--smallest`, which makes a fiftieth of the calls.
//!
//! Prints lines of JSON. For each tier: one with `opening_ms` and `fork_servers_ms`, medians of 5, or with `unavailable`, the
//! reason; then one for each kind of verdict: `what`, `calls`, and `cpu_us` and `wall_us` for each call, medians of 3.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use rlar_sandbox::{Program, Sandbox, SandboxLimits, TestResults, Tests, Tier, Verdict, Verifier};
use serde_json::{Value, json};

const LAST_NUMBER: &str = "import re

def compute_last_number(prompt, reply, reference):
    found = re.findall(r'-?\\d+(?:\\.\\d+)?', reply.replace(',', ''))
    return 1.0 if found and float(found[-1]) == float(reference) else 0.0
";

fn main() {
    let argument = std::env::args().nth(1);
    let is_smallest = argument.as_deref() == Some("--smallest");
    let programs = argument.filter(|_| !is_smallest).map(|path| read(&path));
    let [shared, single, programs_judged] = [50_000, 1_000, 500].map(|n| if is_smallest { n / 50 } else { n });
    for tier in [Tier::A, Tier::B] {
        if let Err(e) = Sandbox::open_tier(tier) {
            println!("{}", json!({ "tier": tier.to_string(), "unavailable": e.to_string() }));
            continue;
        }
        let (open, warm): (Vec<_>, Vec<_>) = (0..5).map(|_| start(tier)).unzip();
        let ms = |times| median(times).as_secs_f64() * 1e3;
        println!("{}", json!({ "tier": tier.to_string(), "opening_ms": ms(open), "fork_servers_ms": ms(warm) }));
        let idle = median((0..5).map(|_| cpu_of(tier, |_| ()).0).collect());
        let report = |what: &str, calls: usize, work: &dyn Fn(&Sandbox)| {
            let runs: Vec<(Duration, Duration)> = (0..3).map(|_| cpu_of(tier, work)).collect();
            let per = |d: Duration| d.as_secs_f64() * 1e6 / calls as f64;
            let cpu = median(runs.iter().map(|r| r.0.saturating_sub(idle)).collect());
            let wall = median(runs.iter().map(|r| r.1).collect());
            let line = json!({ "tier": tier.to_string(), "what": what, "calls": calls, "cpu_us": per(cpu), "wall_us": per(wall) });
            println!("{line}");
        };
        report("verifier, shared processes", shared, &|s| verify(s, shared, false));
        report("verifier, a process per call", single, &|s| verify(s, single, true));
        report("program, two processes", programs_judged, &|s| judge(s, &vec![trivial(); programs_judged]));
        if let Some(programs) = &programs {
            report("programs of the file, two processes", programs.len(), &|s| judge(s, programs));
        }
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// How long it takes to open a sandbox, and then to start all its fork servers.
fn start(tier: Tier) -> (Duration, Duration) {
    let began = Instant::now();
    let sandbox = Sandbox::open_tier(tier).unwrap();
    let open = began.elapsed();
    let began = Instant::now();
    sandbox.restart().unwrap();
    (open, began.elapsed())
}

/// CPU time of this process and of all processes that it waited for, and wall time of `work` alone.
fn cpu_of(tier: Tier, work: impl Fn(&Sandbox)) -> (Duration, Duration) {
    let before = used();
    let sandbox = Sandbox::open_tier(tier).unwrap();
    sandbox.warm().unwrap();
    let began = Instant::now();
    work(&sandbox);
    let wall = began.elapsed();
    drop(sandbox);
    (used().saturating_sub(before), wall)
}

#[allow(unsafe_code)]
fn used() -> Duration {
    let of = |who| {
        // SAFETY: plain data that the call fills.
        let u = unsafe {
            let mut u: libc::rusage = std::mem::zeroed();
            libc::getrusage(who, &raw mut u);
            u
        };
        let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
        time(u.ru_utime) + time(u.ru_stime)
    };
    of(libc::RUSAGE_SELF) + of(libc::RUSAGE_CHILDREN)
}

fn verify(sandbox: &Sandbox, calls: usize, strict: bool) {
    let call = vec!["What is 6 * 7?".to_owned(), "First 6 * 7 is 42. So the answer is 42".into(), "42".into()];
    let verifier = Verifier::start(sandbox, LAST_NUMBER, "compute_last_number", SandboxLimits::default()).unwrap();
    let verifier = if strict { verifier.strict() } else { verifier };
    let verdicts = verifier.score(&vec![call; calls]).unwrap();
    assert!(verdicts.iter().all(|m| m.verdict == Verdict::Score(1.0)));
}

fn judge(sandbox: &Sandbox, programs: &[Program]) {
    let judged = Program::judge_all(programs, sandbox, &SandboxLimits::default()).unwrap();
    let judged: Vec<TestResults> = judged.into_iter().map(Result::unwrap).collect();
    assert!(judged.iter().all(TestResults::all_passed), "{:?}", judged.iter().find(|j| !j.all_passed()));
}

fn trivial() -> Program {
    let tests = vec!["assert add(1, 2) == 3".into(), "assert add(2, 2) == 4".into(), "assert add(-1, 1) == 0".into()];
    let tests = Tests::Functions { setup: String::new(), functions: Vec::new(), tests };
    Program { source: "def add(a, b):\n    return a + b\n".into(), tests }
}

fn read(path: &str) -> Vec<Program> {
    let program = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        let list = |key: &str| serde_json::from_value(row[key].clone()).unwrap();
        let tests = Tests::Functions { setup: text("setup"), functions: list("functions"), tests: list("tests") };
        Program { source: text("source"), tests }
    };
    std::fs::read_to_string(path).unwrap().lines().map(program).collect()
}
