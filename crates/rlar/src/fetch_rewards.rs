//! `rlar fetch-rewards`: fills a library folder with the tools that a config's data needs.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rlar_eval::table::render;
use rlar_rewards::agents::{AgentEvent, Agents, ModelCounts, RejectedTool, VerifierCounts};
use rlar_rewards::{FetchReport, FetchRequest, FetchedTool, UncoveredTask, fetch_rewards};
use serde_json::{Map, Value, json};

use crate::agent_progress::AgentProgress;
use crate::cli::FetchRewardsArguments;
use crate::error::BadRequestExt;
use crate::output::{DownloadBar, mode, print_result};
use crate::setup;
use crate::setup::LoadedConfig;

pub fn run(arguments: &FetchRewardsArguments) -> Result<()> {
    let (loaded, agents) = load(arguments).bad_request()?;
    let rewards = &loaded.config.rewards;
    let configured = rewards.library.as_ref().map(PathBuf::from);
    let folder = arguments.library.clone().or(configured).unwrap_or_else(|| "library".into());
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let progress = AgentProgress::default();
    let agents = agents.with_cache(&folder)?.observed_by(progress.observer());
    // Functions of the config score all prompts, so no tool is needed for them.
    let has_tools = !rewards.python.is_empty();
    let mut examples = if has_tools { Vec::new() } else { loaded.train.iter().collect::<Result<Vec<_>, _>>()? };
    examples.extend(loaded.heldout.iter().filter(|_| !has_tools).cloned());
    let request = FetchRequest {
        folder: &folder,
        examples: &examples,
        demonstrations: &loaded.demonstrations,
        sources: &rewards.sources,
        always: &rewards.always,
    };
    mode().event("start", json!({ "library": folder, "prompts": loaded.train.len() + loaded.heldout.len() }));
    let mut bar = DownloadBar::default();
    let report = fetch_rewards(&request, &agents, &mut |event| show(event, &mut bar))?;
    drop(bar);
    progress.end();
    print_result(|| result(&report, &folder), || summary(&report, &folder))?;
    if let Some(first) = report.unanswered.first() {
        let count = report.unanswered.len();
        bail!("the library is incomplete, run the same command again to continue: {first} ({count} such problems)");
    }
    if let Some((task, UncoveredTask { prompts, reason })) = report.uncovered.iter().next() {
        bail!("{prompts} prompts of `{task}` have no tool; the first: {reason}");
    }
    Ok(())
}

/// The config and the agents that find its reward tools. The policy's model is not looked for, because rewards do not
/// depend on it.
fn load(arguments: &FetchRewardsArguments) -> Result<(LoadedConfig, Agents)> {
    let loaded = setup::load(&arguments.config, |_| Ok(()))?;
    if loaded.train.is_empty() && loaded.heldout.is_empty() {
        bail!("{}: names no prompts that need rewards", loaded.path.display());
    }
    let context = setup::tool_context(&loaded)?;
    let agents = setup::agents(&loaded.config, &context)?;
    Ok((loaded, agents))
}

/// Shows what the agents are doing on standard error: a message, or the progress of a download.
fn show(event: AgentEvent, bar: &mut DownloadBar) {
    match event {
        AgentEvent::Message(line) => {
            *bar = DownloadBar::default();
            mode().say(&line);
            mode().event("note", json!({ "message": line }));
        }
        AgentEvent::Download { model, progress } => {
            bar.show(&format!("{model} {}", progress.name), progress.done, progress.total);
        }
    }
}

/// The result of the command as a JSON object, for `--json`.
fn result(report: &FetchReport, folder: &Path) -> Value {
    let tool =
        |f: &FetchedTool| json!({ "tool": f.tool, "identity": f.identity, "prompts": f.examples, "why": f.reason });
    let refused = |r: &RejectedTool| json!({ "tool": r.name, "why": r.reason });
    let uncovered =
        |(task, u): (&String, &UncoveredTask)| json!({ "task": task, "prompts": u.prompts, "why": u.reason });
    json!({
        "library": folder,
        "tools": report.fetched.iter().map(tool).collect::<Vec<_>>(),
        "refused": report.rejected.iter().map(refused).collect::<Vec<_>>(),
        "uncovered": report.uncovered.iter().map(uncovered).collect::<Vec<_>>(),
        "unanswered": report.unanswered,
        "verifiers": counts(&report.verifiers),
        "verifiers_by_task": report.verifiers_by_task.iter().map(|(task, c)| (task.clone(), counts(c))).collect::<Map<_, _>>(),
        "unfit": report.unfit,
        "usage": report.usage,
    })
}

fn counts(counts: &VerifierCounts) -> Value {
    let VerifierCounts { written, runnable, admitted, first_runnable, wrappers } = counts;
    json!({
        "written": written, "first_runnable": first_runnable, "runnable": runnable, "admitted": admitted,
        "wrappers": wrappers,
    })
}

/// The printed result: the admitted tools, the refused tools with the reasons, and how much the agents did.
fn summary(report: &FetchReport, folder: &Path) -> String {
    let mut rows = vec![["tool", "identity", "prompts"].map(str::to_owned).to_vec()];
    rows.extend(report.fetched.iter().map(|f| vec![f.tool.clone(), f.identity.clone(), f.examples.to_string()]));
    let mut out = render(&rows);
    out.push('\n');
    for f in &report.fetched {
        let _ = writeln!(out, "{}: {}", f.tool, f.reason);
    }
    if !report.rejected.is_empty() {
        out.push_str("\nNot taken:\n");
        for rejected in &report.rejected {
            let _ = writeln!(out, "{}: {}", rejected.name, rejected.reason.replace('\n', "\n  "));
        }
    }
    let percent = |count: usize, total: usize| 100.0 * count as f64 / total as f64;
    let VerifierCounts { written, runnable, admitted, first_runnable, wrappers } = report.verifiers;
    if written > 0 {
        let _ = writeln!(
            out,
            "\nVerifiers: {written} written, {first_runnable} run at first ({:.1} %), {runnable} in the end ({:.1} %), {admitted} \
             admitted ({:.1} %), {wrappers} of these only call one building block",
            percent(first_runnable, written),
            percent(runnable, written),
            percent(admitted, written)
        );
    }
    if let Some(why) = &report.unfit {
        let _ = writeln!(out, "\n{why}.");
    }
    let ModelCounts { considered, admitted } = report.models;
    if considered > 0 {
        let percent = percent(admitted, considered);
        let _ = writeln!(out, "Models: {considered} considered, {admitted} taken ({percent:.1} %)");
    }
    for (role, c) in &report.usage {
        let _ = writeln!(
            out,
            "{role}: {} questions, {} of them repairs, {} fallbacks, {} tokens",
            c.requests, c.repairs, c.fallbacks, c.tokens
        );
    }
    let _ = writeln!(out, "\nThe library is in {}", folder.display());
    out
}
