//! Web search.
//!
//! A [`WebSearch`] answers a query with a list of [`Hit`]s. [`SerpApi`] and [`Brave`] implement it.

mod brave;
mod error;
mod search;
mod serpapi;
mod service;

pub use brave::Brave;
pub use error::WebError;
pub use search::{Hit, WebSearch};
pub use serpapi::SerpApi;
