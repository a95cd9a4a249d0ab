//! The gradient of a model's loss on given tokens, for `scripts/bf16-gradients.py`:
//!
//!     gradients MODEL TOKENS OUT f32|bf16
//!
//! `TOKENS` has a sequence per line, as token ids with spaces between. The loss is the mean of the negative log-probs of all tokens
//! but the first of each sequence, in nats. `OUT` gets the gradients of all tensors as 32-bit floats, one tensor after the other, in
//! the order of their names.
#![allow(clippy::print_stderr)]

use std::error::Error;
use std::fs::{read_to_string, write};
use std::path::Path;
use std::process::ExitCode;

use rlar_policy::{ComputeDevice, Gradients, Policy, Precision, SavedActivations, Sequence};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("gradients: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let [model, tokens, out, precision] = arguments else {
        return Err("usage: gradients MODEL TOKENS OUT f32|bf16".into());
    };
    let precision: Precision = serde_json::from_value(precision.as_str().into())?;
    let policy = Policy::load(Path::new(model), &ComputeDevice::with_precision("cpu", precision)?)?;
    let ids = |line: &str| line.split_whitespace().map(str::parse).collect::<Result<Vec<u32>, _>>();
    let ids = read_to_string(tokens)?.lines().map(ids).collect::<Result<Vec<_>, _>>()?;
    if ids.iter().any(|sequence| sequence.len() < 2) {
        return Err(format!("{tokens}: a sequence has fewer than two tokens").into());
    }
    let sequences: Vec<Sequence> =
        ids.iter().map(|ids| Sequence { prompt: &ids[..1], completion: &ids[1..] }).collect();
    let mut gradients = Gradients::default();
    gradients.add(&policy.decoder, &sequences, 1.0, SavedActivations::All, |s| s.log_probs.mean().neg());
    let values = gradients.to_map().into_values().flatten();
    Ok(write(out, values.flat_map(f32::to_le_bytes).collect::<Vec<u8>>())?)
}
