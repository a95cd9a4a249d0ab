//! `rlar sandbox`: shows and tries how untrusted code is confined.

/// Fails with the reason that the sandbox gives: it needs Linux.
#[cfg(not(target_os = "linux"))]
pub fn run(_: crate::cli::SandboxCommand) -> anyhow::Result<()> {
    rlar_sandbox::Sandbox::open()?;
    Ok(())
}

#[cfg(target_os = "linux")]
pub use linux::run;

#[cfg(target_os = "linux")]
mod linux {
    use std::path::Path;
    use std::time::Duration;

    use anyhow::{Context, Result, bail};
    use rlar_eval::table::render;
    use rlar_sandbox::attack::Attack;
    use rlar_sandbox::{Sandbox, SandboxError, SandboxLimits, Termination, Tier};

    use crate::cli::{SandboxCommand, SandboxRunArguments, TierArgument};
    use crate::error::BadRequestExt;
    use crate::output::{print, print_error};

    pub fn run(command: SandboxCommand) -> Result<()> {
        match command {
            SandboxCommand::Status => print(open(None)?.describe()),
            SandboxCommand::Run(arguments) => run_program(&arguments),
            SandboxCommand::Attack { tier } => attack(tier),
        }
    }

    fn open(tier: Option<TierArgument>) -> Result<Sandbox, SandboxError> {
        match tier {
            None => Sandbox::open(),
            Some(TierArgument::A) => Sandbox::open_tier(Tier::A),
            Some(TierArgument::B) => Sandbox::open_tier(Tier::B),
        }
    }

    const DAY: Duration = Duration::from_hours(24);

    /// A Python program with its input and its limits.
    struct SandboxedProgram {
        source: String,
        input: Vec<u8>,
        limits: SandboxLimits,
    }

    impl SandboxedProgram {
        fn read(arguments: &SandboxRunArguments) -> Result<Self> {
            let read = |path: &Path| std::fs::read(path).with_context(|| path.display().to_string());
            let source = String::from_utf8(read(&arguments.file)?)
                .with_context(|| format!("{} is not UTF-8", arguments.file.display()))?;
            let input = arguments.input.as_deref().map_or(Ok(Vec::new()), read)?;
            let wall = Duration::try_from_secs_f64(arguments.seconds).ok().filter(|d| !d.is_zero() && *d <= DAY);
            let wall = wall.context("--seconds must be more than 0 and at most a day")?;
            let memory = arguments.megabytes.saturating_mul(1 << 20);
            Ok(Self {
                source,
                input,
                limits: SandboxLimits { wall, memory, output: 16 << 20, ..SandboxLimits::default() },
            })
        }
    }

    fn run_program(arguments: &SandboxRunArguments) -> Result<()> {
        let program = SandboxedProgram::read(arguments).bad_request()?;
        let sandbox = open(arguments.tier)?;
        let done = rlar_sandbox::run(&sandbox, &program.source, &program.input, &program.limits)?;
        let (result, usage) = (done.verdict, done.usage);
        let end = match &result.termination {
            Termination::Exited(code) => format!("exit code {code}"),
            Termination::NotAllowed(what) => what.clone(),
            Termination::TimeLimit(limit) => format!("no end within {limit:?}"),
            Termination::MemoryLimit => format!("out of memory ({} MB)", arguments.megabytes),
            Termination::OutputLimit => "more output than 16 MB".into(),
            Termination::Crashed(how) => how.clone(),
        };
        let wall = usage.wall.as_secs_f64() * 1e3;
        let cpu = usage.cpu.map_or_else(|| "unknown".into(), |t| format!("{:.1} ms", t.as_secs_f64() * 1e3));
        let peak = usage.peak_memory.map_or_else(|| "unknown".into(), |b| format!("{:.1} MB", b as f64 / 1e6));
        print(&result.stdout)?;
        print_error(&result.stderr)?;
        print_error(format!("{end}; {wall:.1} ms, CPU {cpu}, memory {peak}; tier {}\n", done.tier))?;
        match result.termination {
            Termination::Exited(0) => Ok(()),
            _ => bail!("{} failed: {end}", arguments.file.display()),
        }
    }

    fn attack(tier: Option<TierArgument>) -> Result<()> {
        let sandbox = open(tier)?;
        let mut rows = vec![["attack", "what it tries", "contained by"].map(str::to_owned).to_vec()];
        let mut escaped = 0;
        for attack in Attack::all() {
            let report = attack.launch(&sandbox)?;
            let by = report.contained_by.iter().cloned().collect::<Vec<_>>().join(", ");
            let by = if report.is_contained(&attack) {
                by
            } else {
                escaped += 1;
                format!("NOT CONTAINED: {}", if report.breaches.is_empty() { by } else { report.breaches.join("; ") })
            };
            rows.push(vec![attack.name, attack.description, by]);
        }
        let attacks = rows.len() - 1;
        let summary = format!("{} of {attacks} attacks contained on tier {}", attacks - escaped, sandbox.tier());
        print(format!("{}\n{summary}\n", render(&rows)))?;
        if escaped > 0 {
            bail!("{escaped} attacks were not contained");
        }
        Ok(())
    }
}
