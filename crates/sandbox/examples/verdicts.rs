//! What a verdict costs, in CPU time of all processes that take part: `just bench-sandbox`.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use rlar_sandbox::{Judged, Limits, Measured, Program, Sandbox, Tests, Tier, Verifier};

const LAST_NUMBER: &str = "import re

def compute_last_number(prompt, reply, reference):
    found = re.findall(r'-?\\d+(?:\\.\\d+)?', reply.replace(',', ''))
    return 1.0 if found and float(found[-1]) == float(reference) else 0.0
";

fn main() {
    for tier in [Tier::A, Tier::B] {
        let began = Instant::now();
        match Sandbox::open_tier(tier) {
            Ok(sandbox) => measure(&sandbox, began.elapsed()),
            Err(e) => println!("tier {tier}: {e}"),
        }
    }
}

/// CPU time of this process so far.
fn own_cpu() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

fn report<V>(what: &str, calls: usize, wall: Duration, own: Duration, all: &[Measured<V>]) {
    let theirs: Duration = all.iter().filter_map(|m| m.usage.cpu).sum();
    let per = |d: Duration| d.as_secs_f64() * 1e6 / calls as f64;
    println!(
        "{what:<28} {calls:>7} calls  {:>8.1} µs wall  {:>8.1} µs CPU here  {:>8.1} µs CPU there",
        per(wall),
        per(own),
        per(theirs)
    );
}

fn measure(sandbox: &Sandbox, opened: Duration) {
    println!("tier {}\nopened in {opened:?}", sandbox.tier());
    let began = Instant::now();
    let fresh = Sandbox::open_tier(sandbox.tier()).unwrap();
    let half = began.elapsed();
    fresh.warm().unwrap();
    println!("second opening {half:?}, all fork servers after {:?}", began.elapsed());

    let call = vec!["What is 6 * 7?".to_owned(), "First 6 * 7 is 42. So the answer is 42".into(), "42".into()];
    let verifier = Verifier::start(sandbox, LAST_NUMBER, "compute_last_number", Limits::default()).unwrap();
    let calls = vec![call; 20_000];
    verifier.score(&calls[..100]).unwrap();
    let (cpu, began) = (own_cpu(), Instant::now());
    let all = verifier.score(&calls).unwrap();
    report("verifier, many calls", calls.len(), began.elapsed(), own_cpu() - cpu, &all);

    let strict = verifier.strict();
    let (cpu, began) = (own_cpu(), Instant::now());
    let all = strict.score(&calls[..1000]).unwrap();
    report("verifier, strict", 1000, began.elapsed(), own_cpu() - cpu, &all);

    let program = Program {
        source: "def add(a, b):\n    return a + b\n".into(),
        tests: Tests::Functions {
            setup: String::new(),
            functions: Vec::new(),
            tests: vec!["assert add(1, 2) == 3\nassert add(2, 2) == 4\nassert add(-1, 1) == 0".into()],
        },
    };
    let programs = vec![program; 500];
    let (cpu, began) = (own_cpu(), Instant::now());
    let all = Program::judge_all(&programs, sandbox, &Limits::default()).unwrap();
    assert!(all.iter().all(Judged::passed), "{:?}", all.iter().find(|j| !j.passed()));
    let all: Vec<_> = all.into_iter().flat_map(|j| j.0).collect();
    report("program, two processes", programs.len(), began.elapsed(), own_cpu() - cpu, &all);
}
