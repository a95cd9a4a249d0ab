//! A tiny language model with random weights learns to say one sentence: training, sampling and saving, offline in a
//! second.
#![allow(clippy::print_stdout)]

use rlar_policy::{
    AdamW, ComputeDevice, GenerationRequest, Gradients, ModelConfig, Moments, Policy, Sampling, SavedActivations,
    Sequence, Tokenizer,
};

const CONFIG: &str = r#"{
    "model_type": "llama", "vocab_size": 290, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64
}"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tokenizer = Tokenizer::train(["one two three four"], 290)?;
    let device = ComputeDevice::new("cpu")?;
    let mut policy = Policy::random(ModelConfig::parse(CONFIG)?, tokenizer, 0, &device)?;
    println!("{} weights", policy.layout().parameters());

    let prompt = policy.tokenizer.encode("one two")?;
    let mut completion = policy.tokenizer.encode(" three four")?;
    completion.extend(policy.tokenizer.eos().first());
    let sequences = [Sequence { prompt: &prompt, completion: &completion }];

    let adam = AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, max_norm: 1.0 };
    let mut moments = Moments::zeros(&policy.decoder);
    for step in 0..60 {
        let mut gradients = Gradients::default();
        // The mean negative log-likelihood of the completion's tokens.
        let loss = gradients.add(&policy.decoder, &sequences, 1.0, SavedActivations::All, |s| s.log_probs.mean().neg());
        adam.step(&mut policy.decoder, &mut moments, gradients, 1e-2);
        if step % 20 == 0 {
            println!("step {step}: loss {loss:.3}");
        }
    }

    let greedy = Sampling { temperature: 0.0, max_tokens: 16, ..Sampling::default() };
    let request = GenerationRequest { prompt: prompt.clone(), seeds: vec![0] };
    for sample in policy.engine(1).generate(&[request], &greedy)?.concat() {
        println!("one two{} ({:?})", sample.text, sample.finish);
    }
    let files: Vec<&str> = policy.files()?.into_iter().map(|(name, _)| name).collect();
    println!("files of the saved model: {}", files.join(", "));
    Ok(())
}
