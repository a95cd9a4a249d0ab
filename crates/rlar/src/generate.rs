//! `rlar generate`: one reply, or a chat.

use std::io::{BufRead, IsTerminal};

use anyhow::{Context, Result, anyhow};
use rlar_policy::{ComputeDevice, Conversation, Finish, GenerationRequest, Policy, Sampling, StreamControl};
use serde_json::{Value, json};

use crate::cli::GenerateArguments;
use crate::error::{BadRequestExt, bad_request};
use crate::model;
use crate::output::{print, print_error, print_note};

pub fn run(arguments: &GenerateArguments) -> Result<()> {
    let device = ComputeDevice::new(&arguments.device).bad_request()?;
    // Options are checked before the model is read, which may take long; the model's own settings are checked with it.
    sampling(arguments, Sampling::default()).check().map_err(bad_request)?;
    let model = model::find(&arguments.model).bad_request()?;
    let policy = Policy::load_frozen(&model.path, &device).bad_request()?;
    let sampling = sampling(arguments, policy.sampling().clone());
    match &arguments.prompt {
        Some(prompt) => reply_once(&policy, prompt, arguments, &sampling),
        None if policy.tokenizer.has_template() => chat(&policy, arguments, &sampling),
        None => Err(bad_request("this model has no chat template; pass --prompt")),
    }
}

/// The model's sampling settings, overridden by those of the command line.
fn sampling(arguments: &GenerateArguments, model: Sampling) -> Sampling {
    Sampling {
        temperature: arguments.temperature.unwrap_or(model.temperature),
        top_p: arguments.top_p.unwrap_or(model.top_p),
        top_k: arguments.top_k.unwrap_or(model.top_k),
        min_p: arguments.min_p.unwrap_or(model.min_p),
        repetition_penalty: arguments.repetition_penalty.unwrap_or(model.repetition_penalty),
        max_tokens: arguments.max_tokens,
        stop: arguments.stop.clone(),
        include_stop: false,
        stop_tokens: model.stop_tokens,
    }
}

fn reply_once(policy: &Policy, prompt: &str, arguments: &GenerateArguments, sampling: &Sampling) -> Result<()> {
    let tokens = if arguments.plain || !policy.tokenizer.has_template() {
        policy.tokenizer.encode_whole(prompt)?
    } else {
        let mut messages = system_message(arguments);
        messages.push(json!({ "role": "user", "content": prompt }));
        chat_tokens(policy, messages)?
    };
    reply(policy, tokens, arguments.seed, sampling, true)?;
    Ok(())
}

/// Replies to each line of standard input, until the input ends.
fn chat(policy: &Policy, arguments: &GenerateArguments, sampling: &Sampling) -> Result<()> {
    let mut messages = system_message(arguments);
    let is_terminal = std::io::stdin().is_terminal();
    let show_cursor = || if is_terminal { print("> ") } else { Ok(()) };
    show_cursor()?;
    for (turn, line) in std::io::stdin().lock().split(b'\n').enumerate() {
        let line = String::from_utf8_lossy(&line.context("standard input")?).into_owned();
        if line.trim().is_empty() {
            show_cursor()?;
            continue;
        }
        messages.push(json!({ "role": "user", "content": line }));
        let tokens = chat_tokens(policy, messages.clone())?;
        let (length, positions) = (tokens.len(), policy.decoder.config().max_position_embeddings);
        if length >= positions {
            return Err(anyhow!(
                "the conversation has {length} tokens, but the model's context holds {positions}: start a new one"
            ));
        }
        let text = reply(policy, tokens, arguments.seed.wrapping_add(turn as u64), sampling, messages.len() < 3)?;
        messages.push(json!({ "role": "assistant", "content": text }));
        show_cursor()?;
    }
    Ok(())
}

/// The messages before the first user message: that of `--system`, if given.
fn system_message(arguments: &GenerateArguments) -> Vec<Value> {
    arguments.system.iter().map(|text| json!({ "role": "system", "content": text })).collect()
}

/// The tokens of a conversation in the model's chat template, up to where the assistant's reply starts.
fn chat_tokens(policy: &Policy, messages: Vec<Value>) -> Result<Vec<u32>> {
    let conversation = Conversation { messages, generation: true, ..Conversation::default() };
    Ok(policy.tokenizer.encode(&policy.tokenizer.render(&conversation)?.text)?)
}

/// Generates a reply, prints it while it is generated, and returns it. For the first reply of the process (`is_first`),
/// also prints the memory that the generation needs.
fn reply(policy: &Policy, prompt: Vec<u32>, seed: u64, sampling: &Sampling, is_first: bool) -> Result<String> {
    let room = policy.decoder.config().max_position_embeddings.saturating_sub(prompt.len());
    let request = [GenerationRequest { prompt, seeds: vec![seed] }];
    let engine = policy.engine(1);
    if is_first {
        print_note(format!("{}\n", engine.plan(&request, sampling)))?;
    }
    let mut printed = Ok(());
    let samples = engine.stream(&request, sampling, &mut |event| {
        printed = print(event.text);
        if printed.is_ok() { StreamControl::Continue } else { StreamControl::EndAll }
    })?;
    printed?;
    print("\n")?;
    let Some(sample) = samples.into_iter().flatten().next() else { return Ok(String::new()) };
    if sample.finish == Finish::Length {
        let why = if room <= sampling.max_tokens { "the model's context is full" } else { "--max-tokens is reached" };
        print_error(format!("cut off: {why}\n"))?;
    }
    Ok(sample.text)
}
