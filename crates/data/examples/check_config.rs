//! A YAML file with three mistakes, each reported with its line and the nearest valid name.
#![allow(clippy::print_stdout)]

use std::path::Path;

use rlar_data::{ConfigError, Document};
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of a job.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// How many steps to take.
    #[schemars(range(min = 1))]
    steps: u32,
    /// How the learning rate develops.
    schedule: Schedule,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Schedule {
    Constant,
    Cosine,
}

fn read(text: &str) -> Result<Settings, ConfigError> {
    let schema = schemars::schema_for!(Settings).to_value();
    Document::parse(Path::new("job.yaml"), text)?.check(&schema)
}

fn main() -> Result<(), ConfigError> {
    let Settings { steps, schedule } = read("steps: 100\nschedule: cosine\n")?;
    println!("valid: {steps} steps, schedule {schedule:?}\n");
    match read("stepps: 100\nsteps: 0\nschedule: cosin\n") {
        Ok(settings) => println!("valid: {settings:?}"),
        Err(error) => println!("{error}"),
    }
    Ok(())
}
