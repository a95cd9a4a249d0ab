//! Quantised matrices: their values, their products, and what is refused.
#![allow(clippy::unwrap_used)]

mod reference;
mod dequantise;
mod products;
mod refused;
