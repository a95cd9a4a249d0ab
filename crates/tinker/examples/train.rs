//! Trains a LoRA adapter by policy gradients on a server of the Tinker API, for a reward that is easy to check: the share
//! of a completion's tokens with a number below 128.
//!
//!     cargo run --release -p rlar-tinker --example train -- URL [STEPS [COMPLETIONS [FOLDER]]]
//!
//! The key is taken from the environment variable `TINKER_API_KEY`. The adapter is written into FOLDER.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::Path;

use rlar_net::Secret;
use rlar_tinker::{
    AdamParams, AdapterFiles, Datum, LossFunction, NewModel, SampleRequest, StopAt, TinkerServer, TinkerSettings,
    TrainingModel,
};

const PROMPT: [u32; 4] = [17, 18, 11, 29];
const MAX_TOKENS: u32 = 8;

/// What a training brought.
pub struct Training {
    /// Mean reward of every step's completions, before the step.
    pub rewards: Vec<f32>,
    /// Largest difference between the sampler's and the trainer's log-probs of the same tokens.
    pub logprob_gap: f32,
    /// Largest difference between the log-probs before saving and after loading into a new model.
    pub checkpoint_gap: f32,
    /// The trained adapter.
    pub adapter: AdapterFiles,
    /// Whether the server recognises repeated requests.
    pub recognises_repeats: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("usage: train URL [STEPS [COMPLETIONS [FOLDER]]]")?;
    let steps = arguments.next().map_or(Ok(8), |text| text.parse())?;
    let completions = arguments.next().map_or(Ok(16), |text| text.parse())?;
    let settings = TinkerSettings { key: Secret::from_env("TINKER_API_KEY"), ..TinkerSettings::new(&url) };
    let server = TinkerServer::new(settings)?;
    let training = train(&server, steps, completions).await?;
    for (step, reward) in training.rewards.iter().enumerate() {
        println!("step {step}: reward {reward:.3}");
    }
    println!("log-probs of sampler and trainer differ by at most {:e}", training.logprob_gap);
    println!("log-probs after loading the checkpoint differ by at most {:e}", training.checkpoint_gap);
    println!("the server takes passes as {}", server.pass_type().unwrap_or("nothing"));
    println!("the server recognises repeated requests: {}", training.recognises_repeats);
    println!("the adapter has {} bytes", training.adapter.weights.len());
    println!("{:?}", server.traffic());
    if let Some(folder) = arguments.next() {
        std::fs::create_dir_all(&folder)?;
        training.adapter.write(Path::new(&folder))?;
    }
    Ok(())
}

/// Trains, saves, and compares what was saved.
pub async fn train(server: &TinkerServer, steps: u32, completions: u32) -> Result<Training, Box<dyn Error>> {
    server.check_health().await?;
    let base_model = server.supported_models().await?.into_iter().next().ok_or("the server offers no model")?;
    let session = server.start_session(&["rlar", "example"]).await?;
    let new = NewModel { base_model, rank: 4, seed: Some(1) };
    let mut model = session.create_model(&new).await?;
    let (mut rewards, mut logprob_gap) = (Vec::new(), 0.0);
    for number in 0..steps {
        let step = step(&mut model, number, completions).await?;
        rewards.push(step.reward);
        logprob_gap = f32::max(logprob_gap, step.logprob_gap);
    }

    let datum = [Datum::supervised(&PROMPT, &[1, 2, 3, 200])];
    let before = model.forward(&datum, LossFunction::CrossEntropy).await?.result().await?;
    let checkpoint = model.save_weights("final").await?;
    let saved = model.save_adapter("adapter").await?;
    let adapter = server.download_adapter(&saved).await?;
    let mut loaded = session.create_model_from(&new, &checkpoint).await?;
    let after = loaded.forward(&datum, LossFunction::CrossEntropy).await?.result().await?;
    let checkpoint_gap = gap(&before.data[0].logprobs, &after.data[0].logprobs);
    let recognises_repeats = model.recognises_repeats();
    loaded.unload().await?;
    model.unload().await?;
    Ok(Training { rewards, logprob_gap, checkpoint_gap, adapter, recognises_repeats })
}

/// The result of one step.
struct Step {
    reward: f32,
    logprob_gap: f32,
}

/// Samples completions with the present weights, and takes a step towards those above the mean reward.
async fn step(model: &mut TrainingModel, number: u32, completions: u32) -> Result<Step, Box<dyn Error>> {
    let request = SampleRequest {
        prompt: PROMPT.to_vec(),
        count: completions,
        max_tokens: MAX_TOKENS,
        temperature: 1.0,
        seed: number * completions,
        stop: StopAt::Tokens(Vec::new()),
    };
    let sampled = model.sampler().await?.sample(&request).await?.result().await?;
    let share = |tokens: &[u32]| tokens.iter().filter(|t| **t < 128).count() as f32 / tokens.len().max(1) as f32;
    let rewards: Vec<f32> = sampled.iter().map(|s| share(&s.tokens)).collect();
    let mean = rewards.iter().sum::<f32>() / rewards.len() as f32;
    let data = sampled.iter().zip(&rewards);
    let data: Vec<Datum> =
        data.map(|(s, reward)| Datum::completion(&PROMPT, &s.tokens, &s.logprobs, reward - mean)).collect();
    // Both requests are on their way before the first result is there. A training that matters waits for the pass first: see
    // `TrainingModel`.
    let pass = model.forward_backward(&data, LossFunction::ImportanceSampling).await?;
    let step = model.optim_step(AdamParams { learning_rate: 2e-2, eps: 1e-8, ..AdamParams::default() }).await?;
    let pass = pass.result().await?;
    step.result().await?;
    let gaps = pass.data.iter().zip(&sampled).map(|(d, s)| gap(&d.logprobs[PROMPT.len() - 1..], &s.logprobs));
    Ok(Step { reward: mean, logprob_gap: gaps.fold(0.0, f32::max) })
}

/// The largest difference between two lists.
fn gap(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
