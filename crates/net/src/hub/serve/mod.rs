//! A server of local models with the Hub's protocol, for machines that cannot reach the Hub.
//!
//! With `HF_ENDPOINT` set to the server's address, the official Python client and a [`Hub`](crate::hub::Hub) find and
//! download the models of a folder, which has the layout `FOLDER/owner/name/files…`. The server only reads. Tags, task,
//! library, licence, downloads and likes come from the YAML at the top of a model's README. A model's commit is a hash
//! of its files. They are hashed at the first request for the model, whose response therefore takes as long as reading
//! all files.

mod access;
mod api;
mod files;
mod http1;
mod local_models;
mod model_card;
mod server;

pub use http1::{HttpRequest, HttpResponse};
pub use server::{Hook, HubServer};
