//! `rlar generate`: one reply, or a chat.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Context, Result, anyhow};
use rlar_policy::{ComputeDevice, Conversation, Engine, Finish, GenerationRequest, Policy, Sampling, StreamControl};
use serde_json::{Value, json};

use crate::cli::Generate;
use crate::output::print;
use crate::{Failure, assets};

pub fn run(arguments: &Generate) -> Result<(), Failure> {
    if let Some(policy) = assets::policy_of_run(&arguments.model) {
        let run = arguments.model.display();
        return Err(Failure::Request(anyhow!("{run} is a run; its model is {}", policy.display())));
    }
    if !arguments.model.exists() {
        let path = arguments.model.display();
        let message = "does not exist; a Hugging Face folder or a GGUF file is expected there";
        return Err(Failure::Request(anyhow!("model {path} {message}")));
    }
    let device = ComputeDevice::new(&arguments.device).map_err(|e| Failure::Request(e.into()))?;
    // The options are checked before a large model is read; what the model says itself is checked with it.
    sampling(arguments, Sampling::default()).check().map_err(|why| Failure::Request(anyhow!(why)))?;
    let policy = Policy::load(&arguments.model, &device).map_err(|e| Failure::Job(e.into()))?;
    let sampling = sampling(arguments, policy.sampling().clone());
    match &arguments.prompt {
        Some(prompt) => once(&policy, prompt, arguments, &sampling).map_err(Failure::Job),
        None if policy.tokenizer.has_template() => chat(&policy, arguments, &sampling).map_err(Failure::Job),
        None => Err(Failure::Request(anyhow!("this model has no chat template; pass --prompt"))),
    }
}

/// The model's own settings with those of the command line.
fn sampling(arguments: &Generate, own: Sampling) -> Sampling {
    Sampling {
        temperature: arguments.temperature.unwrap_or(own.temperature),
        top_p: arguments.top_p.unwrap_or(own.top_p),
        top_k: arguments.top_k.unwrap_or(own.top_k),
        min_p: arguments.min_p.unwrap_or(own.min_p),
        repetition_penalty: arguments.repetition_penalty.unwrap_or(own.repetition_penalty),
        max_tokens: arguments.max_tokens,
        stop: arguments.stop.clone(),
        stop_tokens: own.stop_tokens,
    }
}

fn once(policy: &Policy, prompt: &str, arguments: &Generate, sampling: &Sampling) -> Result<()> {
    let tokens = if arguments.plain || !policy.tokenizer.has_template() {
        policy.tokenizer.encode_whole(prompt)?
    } else {
        let messages = opening(arguments).into_iter().chain([json!({ "role": "user", "content": prompt })]).collect();
        chat_tokens(policy, messages)?
    };
    reply(policy, tokens, arguments.seed, sampling, true)?;
    Ok(())
}

/// Turn by turn until standard input ends.
fn chat(policy: &Policy, arguments: &Generate, sampling: &Sampling) -> Result<()> {
    let mut messages: Vec<Value> = opening(arguments).into_iter().collect();
    let asking = std::io::stdin().is_terminal();
    let ask = || if asking { print("> ") } else { Ok(()) };
    ask()?;
    for (turn, line) in std::io::stdin().lock().split(b'\n').enumerate() {
        let line = String::from_utf8_lossy(&line.context("standard input")?).into_owned();
        if line.trim().is_empty() {
            ask()?;
            continue;
        }
        messages.push(json!({ "role": "user", "content": line }));
        let tokens = chat_tokens(policy, messages.clone())?;
        let room = policy.decoder.config().max_position_embeddings;
        if tokens.len() >= room {
            let have = tokens.len();
            return Err(anyhow!("the conversation has {have} tokens and the model {room} positions: start a new one"));
        }
        let text = reply(policy, tokens, arguments.seed.wrapping_add(turn as u64), sampling, messages.len() < 3)?;
        messages.push(json!({ "role": "assistant", "content": text }));
        ask()?;
    }
    Ok(())
}

fn opening(arguments: &Generate) -> Option<Value> {
    arguments.system.as_ref().map(|text| json!({ "role": "system", "content": text }))
}

fn chat_tokens(policy: &Policy, messages: Vec<Value>) -> Result<Vec<u32>> {
    let conversation = Conversation { messages, generation: true, ..Conversation::default() };
    Ok(policy.tokenizer.encode(&policy.tokenizer.render(&conversation)?.text)?)
}

/// Writes a reply as it is drawn, and gives it; the first one with what it takes.
fn reply(policy: &Policy, prompt: Vec<u32>, seed: u64, sampling: &Sampling, first: bool) -> Result<String> {
    let room = policy.decoder.config().max_position_embeddings.saturating_sub(prompt.len());
    let request = [GenerationRequest { prompt, seeds: vec![seed] }];
    let engine = Engine::new(&policy.decoder, &policy.tokenizer, 1);
    if first {
        writeln!(std::io::stderr(), "{}", engine.plan(&request, sampling))?;
    }
    let mut broken = Ok(());
    let out = engine.stream(&request, sampling, &mut |event| {
        broken = print(event.text);
        if broken.is_ok() { StreamControl::Continue } else { StreamControl::EndAll }
    })?;
    broken?;
    print("\n")?;
    let Some(sample) = out.into_iter().flatten().next() else { return Ok(String::new()) };
    if sample.finish == Finish::Length {
        let why =
            if room <= sampling.max_tokens { "the model's positions are used up" } else { "--max-tokens is reached" };
        writeln!(std::io::stderr(), "cut off: {why}")?;
    }
    Ok(sample.text)
}
