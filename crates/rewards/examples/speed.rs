//! Measures the orchestrator: its overhead per score, cached scores per second, and the time of a batch with a Python verifier.
//!
//!     cargo run --release -p rlar-rewards --example speed
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::time::Instant;

use rlar_data::{Completion, Example, Needs, read_examples};
use rlar_rewards::{Library, Orchestrator, OrchestratorConfig, STORE, Store, ToolContext};
use rlar_sandbox::SandboxLimits;

/// The median of nine measurements.
fn median(mut figure: impl FnMut(usize) -> Result<f64, Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let mut figures = (0..9).map(&mut figure).collect::<Result<Vec<f64>, _>>()?;
    figures.sort_by(f64::total_cmp);
    Ok(figures[4])
}

/// The seconds that a piece of work takes.
fn timed<T, E: Into<Box<dyn Error>>>(work: impl FnOnce() -> Result<T, E>) -> Result<f64, Box<dyn Error>> {
    let clock = Instant::now();
    work().map_err(Into::into)?;
    Ok(clock.elapsed().as_secs_f64())
}

/// Examples with references: word problems or expressions.
fn rows(prompts: usize, words: bool) -> Result<Vec<Example>, Box<dyn Error>> {
    let row = |i: usize| {
        let prompt = if words { format!("Tom has {i} apples and gets one. How many?") } else { format!("{i} + 1 =") };
        serde_json::json!({ "prompt": prompt, "reference": (i + 1).to_string() }).to_string() + "\n"
    };
    Ok(read_examples("rows".as_ref(), (0..prompts).map(row).collect::<String>().as_bytes(), Needs::Prompt)?)
}

/// Eight replies to each example, different in every round.
fn replies(examples: &[Example], round: usize) -> Vec<(&Example, Completion)> {
    let reply = |e: &Example, i: usize| format!("Round {round}: it is {} or so, {i}.", e.id);
    examples.iter().flat_map(|e| (0..8).map(move |i| (e, Completion::whole(reply(e, i))))).collect()
}

fn items<'a>(replies: &'a [(&'a Example, Completion)]) -> Vec<(&'a Example, &'a Completion)> {
    replies.iter().map(|(e, c)| (*e, c)).collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let library = Library::curated()?;
    let store = || Store::open(&folder.path().join(STORE));
    let new = || {
        Orchestrator::new(library.clone(), ToolContext::new(SandboxLimits::default()), OrchestratorConfig::default())
    };

    let expressions = rows(1250, false)?;
    let (mut bare, mut logging) = (new(), new().with_store(store()));
    let mut tools = new();
    let tool = tools.open("numeric_match")?;
    for (name, rewards) in [("without a log", &mut bare), ("with a log of calls", &mut logging)] {
        rewards.score(&items(&replies(&expressions, 99)))?;
        let over = median(|round| {
            let replies = replies(&expressions, round);
            let items = items(&replies);
            let alone = timed(|| tool.score(&items))?;
            Ok(1e6 * (timed(|| rewards.score(&items))? - alone) / items.len() as f64)
        })?;
        println!("overhead at 10,000 scores, {name}: {over:.2} µs each");
    }

    let words = rows(1250, true)?;
    let known = replies(&words, 0);
    let known = items(&known);
    logging.score(&known)?;
    let per_second = |seconds: f64| known.len() as f64 / seconds;
    let held = median(|_| Ok(per_second(timed(|| logging.score(&known))?)))?;
    println!("cached scores, held in memory and logged: {held:.0} per second");
    let read = median(|_| {
        let mut fresh = new().with_store(store());
        fresh.score(&known[..8])?;
        Ok(per_second(timed(|| fresh.score(&known))?))
    })?;
    println!("cached scores, by a new process, assignments included: {read:.0} per second");

    let batch = rows(256, true)?;
    let mut rewards = new().with_store(store());
    rewards.score(&items(&replies(&batch, 99)))?;
    let took = median(|round| {
        let replies = replies(&batch, 1000 + round);
        timed(|| rewards.score(&items(&replies)))
    })?;
    println!("2,048 rollouts with a Python verifier: {took:.3} s");
    Ok(())
}
