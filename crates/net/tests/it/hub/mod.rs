//! Models of a Hub: asked about, downloaded, refused and shared with the official client.

mod ask;
mod download;
mod kill;
mod official;
mod refuse;
mod settings;
mod shop;
