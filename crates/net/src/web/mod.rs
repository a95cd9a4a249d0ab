//! Searches the web through search services.
//!
//! A [`WebSearch`] is a search service, which answers a query with a list of [`Hit`]s. [`SerpApi`] and [`Brave`] are
//! such services.

mod brave;
mod error;
mod search;
mod serpapi;
mod service;

pub use brave::Brave;
pub use error::WebError;
pub use search::{Hit, WebSearch};
pub use serpapi::SerpApi;
