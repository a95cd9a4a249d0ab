//! Serves a folder of models with the Hub's protocol and downloads one of them, without the Internet.
//!
//!     cargo run --release -p rlar-net --example local_hub
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs;

use rlar_net::hub::serve::HubServer;
use rlar_net::hub::{Hub, HubLimits, HubSettings, Search};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let model = folder.path().join("models/acme/small-model");
    fs::create_dir_all(&model)?;
    fs::write(model.join("README.md"), "---\nlicense: apache-2.0\npipeline_tag: text-generation\n---\n# Small\n")?;
    fs::write(model.join("config.json"), "{\"model_type\": \"llama\"}\n")?;

    let server = HubServer::start(&folder.path().join("models"), "127.0.0.1:0", None)?;
    println!("serving at {}", server.endpoint());

    let cache = folder.path().join("cache").display().to_string();
    let environment = |name: &str| match name {
        "HF_ENDPOINT" => Some(server.endpoint()),
        "HF_HUB_CACHE" => Some(cache.clone()),
        "HF_HOME" => Some(folder.path().display().to_string()),
        _ => None,
    };
    let hub = Hub::new(HubSettings::from_env(environment)?)?;
    for found in hub.search(&Search { query: "small".into(), ..Search::default() })? {
        let licence = found.licence.unwrap_or_default();
        println!("found {} ({licence}, {})", found.id, found.pipeline_tag.unwrap_or_default());
    }

    let limits = HubLimits { all: 1 << 20, ..HubLimits::default() };
    let snapshot = hub.download("acme/small-model", "main", &[], &limits, &mut |progress| {
        println!("{}: {} of {} bytes", progress.name, progress.done, progress.total);
    })?;
    println!("config.json: {}", fs::read_to_string(snapshot.join("config.json"))?.trim_end());
    Ok(())
}
