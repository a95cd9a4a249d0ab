//! Shows what a server of the Tinker API refuses, and the errors that say so.
//!
//!     cargo run --release -p rlar-tinker --example refusals -- URL
#![allow(clippy::print_stdout)]

use std::error::Error;

use rlar_tinker::{CheckpointPath, Datum, LossFunction, NewModel, TinkerError, TinkerServer, TinkerSettings};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).ok_or("usage: refusals URL")?;
    for error in refusals(&TinkerServer::new(TinkerSettings::new(&url))?).await? {
        println!("{error}\n");
    }
    Ok(())
}

/// The errors for: another model, a rank above every limit, a checkpoint that is not there, one that is there already, and
/// log-probs that make the loss infinite.
pub async fn refusals(server: &TinkerServer) -> Result<Vec<TinkerError>, Box<dyn Error>> {
    let offered = server.supported_models().await?.into_iter().next().ok_or("the server offers no model")?;
    let session = server.start_session(&["rlar", "example"]).await?;
    let new = |base_model: &str, rank| NewModel { base_model: base_model.to_owned(), rank, seed: Some(1) };
    let mut errors = Vec::new();
    errors.extend(session.create_model(&new("another/model", 8)).await.err());
    errors.extend(session.create_model(&new(&offered, 4096)).await.err());
    let nowhere = CheckpointPath::parse("tinker://model_none/weights/none")?;
    errors.extend(session.create_model_from(&new(&offered, 8), &nowhere).await.err());

    let mut model = session.create_model(&new(&offered, 8)).await?;
    model.save_weights("once").await?;
    errors.extend(model.save_weights("once").await.err());
    let pass = [(LossFunction::CrossEntropy, -1.0), (LossFunction::Ppo { clip_low: 0.8, clip_high: 1.2 }, -1.0)];
    for (loss, logprob) in pass.into_iter().chain([(LossFunction::ImportanceSampling, -500.0)]) {
        let data = [Datum::completion(&[1, 2], &[3, 4], &[logprob; 2], 1.0)];
        errors.extend(model.forward_backward(&data, loss).await?.result().await.err());
    }
    model.unload().await?;
    Ok(errors)
}
