//! A program judged by tests, a verifier that is not deterministic, and a script that reaches for the network.
#![allow(clippy::print_stdout)]

#[cfg(target_os = "linux")]
fn main() -> Result<(), rlar_sandbox::SandboxError> {
    use rlar_sandbox::{Program, Sandbox, SandboxLimits, Tests, Verifier, run};

    let sandbox = Sandbox::open()?;
    let limits = SandboxLimits::default();
    println!("{}", sandbox.describe());

    let tests = Tests::Functions {
        setup: String::new(),
        functions: vec!["double".into()],
        tests: vec![
            "assert double(2) == 4".into(),
            "assert double('a') == 'aa'".into(),
            "assert double(None) == 0".into(),
        ],
    };
    let program = Program { source: "def double(x):\n    return 2 * x\n".into(), tests };
    let results = program.judge(&sandbox, &limits)?;
    for execution in &results.tests {
        println!("test: {:?} in {:?}", execution.verdict, execution.usage.wall);
    }
    println!("pass rate: {:?}\n", results.pass_rate());

    let source = "import random\n\ndef lottery(reply):\n    return random.random()\n";
    let verifier = Verifier::start(&sandbox, source, "lottery", limits)?;
    let executions = verifier.score(&[vec!["A reply.".to_owned()]])?;
    println!("verifier: {:?}\n", executions[0].verdict);

    let source = "import socket\nsocket.create_connection(('example.org', 80))\n";
    let execution = run(&sandbox, source, b"", &limits)?;
    let error = String::from_utf8_lossy(&execution.verdict.stderr);
    println!("script: {:?}, {}", execution.verdict.termination, error.trim());
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("the sandbox needs Linux");
}
