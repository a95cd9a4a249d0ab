//! Logits of a model whose matrices stay in quantised blocks, for `scripts/quantised-accuracy.py`:
//!
//!     logits MODEL.gguf TOKENS OUT exact|rounded
//!
//! `TOKENS` has a sequence per line, as token ids with spaces between. `exact` computes all tokens of a sequence at once, without
//! rounding; `rounded` one after the other, as in sampling, with activations in 8 bits. `OUT` gets the logits as 32-bit floats,
//! `[tokens, vocab]` for each sequence.
#![allow(clippy::print_stderr)]

use std::error::Error;
use std::fs::{File, read_to_string};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use rlar_policy::{ComputeDevice, Decoder, Policy, floats};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("logits: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let [model, tokens, out, form] = arguments else {
        return Err("usage: logits MODEL TOKENS OUT exact|rounded".into());
    };
    let compute = match form.as_str() {
        "exact" => exact,
        "rounded" => rounded,
        other => return Err(format!("`{other}` is neither exact nor rounded").into()),
    };
    let policy = Policy::load_frozen(Path::new(model), &ComputeDevice::new("cpu")?)?;
    let mut out = BufWriter::new(File::create(out)?);
    for line in read_to_string(tokens)?.lines() {
        let ids = line.split_whitespace().map(str::parse).collect::<Result<Vec<u32>, _>>()?;
        compute(&policy.decoder, &ids, &mut |logits| logits.iter().try_for_each(|x| out.write_all(&x.to_le_bytes())))?;
    }
    Ok(out.flush()?)
}

/// Takes the logits of some of the tokens, `[tokens, vocab]`.
type Sink<'a> = dyn FnMut(&[f32]) -> std::io::Result<()> + 'a;

fn exact(decoder: &Decoder, ids: &[u32], sink: &mut Sink) -> std::io::Result<()> {
    sink(&floats(&decoder.logits(&decoder.hidden(ids, &[ids.len()])).flatten(0, 1)))
}

fn rounded(decoder: &Decoder, ids: &[u32], sink: &mut Sink) -> std::io::Result<()> {
    let decoder = decoder.for_sampling();
    let mut cache = decoder.cache();
    cache.push(1);
    ids.iter().try_for_each(|id| {
        let hidden = decoder.extend(&[*id], &[1], &mut cache);
        sink(&floats(&decoder.logits(&hidden).flatten(0, 1)))
    })
}
