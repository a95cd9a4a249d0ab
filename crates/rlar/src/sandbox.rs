//! `rlar sandbox`: what confines untrusted code, seen from outside.

/// Refuses, for a reason that the sandbox gives.
#[cfg(not(target_os = "linux"))]
pub fn run(_: crate::cli::SandboxCommand) -> Result<(), crate::Failure> {
    rlar_sandbox::Sandbox::open().map(|_| ()).map_err(|e| crate::Failure::Job(e.into()))
}

#[cfg(target_os = "linux")]
pub use linux::run;

#[cfg(target_os = "linux")]
mod linux {
    use std::io::Write;
    use std::time::Duration;

    use anyhow::{Context, Result};
    use rlar_eval::table::render;
    use rlar_sandbox::attack::Attack;
    use rlar_sandbox::{Sandbox, SandboxError, SandboxLimits, Termination, Tier};

    use crate::Failure;
    use crate::cli::{self, SandboxCommand, SandboxRun};
    use crate::output::print;

    pub fn run(command: SandboxCommand) -> Result<(), Failure> {
        match command {
            SandboxCommand::Status => {
                let sandbox = open(None)?;
                print(&sandbox.describe()).map_err(Failure::Job)
            }
            SandboxCommand::Run(arguments) => run_program(&arguments),
            SandboxCommand::Attack { tier } => attack(tier),
        }
    }

    fn open(tier: Option<cli::Tier>) -> Result<Sandbox, Failure> {
        let opened = match tier {
            None => Sandbox::open(),
            Some(cli::Tier::A) => Sandbox::open_tier(Tier::A),
            Some(cli::Tier::B) => Sandbox::open_tier(Tier::B),
        };
        opened.map_err(job)
    }

    fn job(error: SandboxError) -> Failure {
        Failure::Job(error.into())
    }

    const DAY: Duration = Duration::from_hours(24);

    fn run_program(arguments: &SandboxRun) -> Result<(), Failure> {
        let read = |path: &std::path::Path| std::fs::read(path).with_context(|| path.display().to_string());
        let source = read(&arguments.file).and_then(|bytes| {
            String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8", arguments.file.display()))
        });
        let source = source.map_err(Failure::Request)?;
        let input = arguments.input.as_deref().map_or(Ok(Vec::new()), read).map_err(Failure::Request)?;
        let wall = Duration::try_from_secs_f64(arguments.seconds).ok().filter(|d| !d.is_zero() && *d <= DAY);
        let wall = wall.context("--seconds must be a time above 0, of a day at most").map_err(Failure::Request)?;
        let limits = SandboxLimits {
            wall,
            memory: arguments.megabytes.saturating_mul(1 << 20),
            output: 16 << 20,
            ..SandboxLimits::default()
        };
        let sandbox = open(arguments.tier)?;
        let done = rlar_sandbox::run(&sandbox, &source, &input, &limits).map_err(job)?;
        let (did, used) = (done.verdict, done.usage);
        let how = match &did.termination {
            Termination::Exited(code) => format!("exit code {code}"),
            Termination::TimeLimit(limit) => format!("no end within {limit:?}"),
            Termination::MemoryLimit => format!("out of memory ({} MB)", arguments.megabytes),
            Termination::OutputLimit => "more output than 16 MB".into(),
            Termination::Crashed(how) => how.clone(),
        };
        let cpu = used.cpu.map_or_else(|| "unknown".into(), |t| format!("{:.1} ms", t.as_secs_f64() * 1e3));
        let peak = used.peak_memory.map_or_else(|| "unknown".into(), |b| format!("{:.1} MB", b as f64 / 1e6));
        let wall = used.wall.as_secs_f64() * 1e3;
        let show = || -> Result<()> {
            std::io::stdout().write_all(&did.stdout)?;
            let mut err = std::io::stderr().lock();
            err.write_all(&did.stderr)?;
            Ok(writeln!(err, "{how}; {wall:.1} ms, CPU {cpu}, memory {peak}; tier {}", done.tier)?)
        };
        show().map_err(Failure::Job)?;
        match did.termination {
            Termination::Exited(0) => Ok(()),
            _ => Err(Failure::Job(anyhow::anyhow!("{} did not end well: {how}", arguments.file.display()))),
        }
    }

    fn attack(tier: Option<cli::Tier>) -> Result<(), Failure> {
        let sandbox = open(tier)?;
        let mut rows = vec![["attack", "what it tries", "contained by"].map(str::to_owned).to_vec()];
        let mut loose = 0;
        for attack in Attack::all() {
            let report = attack.launch(&sandbox).map_err(job)?;
            let by = report.contained_by.iter().cloned().collect::<Vec<_>>().join(", ");
            let by = if report.is_contained(&attack) {
                by
            } else {
                loose += 1;
                format!("NOT CONTAINED: {}", if report.breaches.is_empty() { by } else { report.breaches.join("; ") })
            };
            rows.push(vec![attack.name, attack.description, by]);
        }
        let attacks = rows.len() - 1;
        let summary = format!("{} of {attacks} attacks contained on tier {}", attacks - loose, sandbox.tier());
        print(&format!("{}\n{summary}\n", render(&rows))).map_err(Failure::Job)?;
        if loose == 0 { Ok(()) } else { Err(Failure::Job(anyhow::anyhow!("{loose} attacks were not contained"))) }
    }
}
