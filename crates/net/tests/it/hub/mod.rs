//! Models of a Hub: search, information, downloads, errors, and the cache shared with the official client.

mod download;
mod errors;
mod models;
mod official;
mod processes;
mod search_and_info;
mod settings;
mod test_hub;
