//! The Hugging Face Hub: searches for models, model information, downloads, and a server of local models.
//!
//! A [`Hub`] is a client of a server with the Hub's protocol. Downloads are kept in the cache of the official Python
//! client (`huggingface_hub`), so that this client and the official one find each other's downloads.
//! [`serve::HubServer`] serves a folder of models with the same protocol.

mod cache;
mod client;
mod connection;
mod digest;
mod download;
mod error;
mod fetch;
mod lock;
mod model;
mod model_files;
mod names;
pub mod serve;
mod settings;

pub use client::Hub;
pub use digest::lfs as file_sha256;
pub use download::{DownloadProgress, HubLimits};
pub use error::HubError;
pub use model::{GatedAccess, ModelInfo, ModelSummary, Search, Sibling, Sort};
pub use model_files::{FoundHubModel, ModelName};
pub use settings::HubSettings;
