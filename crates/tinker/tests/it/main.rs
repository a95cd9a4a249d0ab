//! Tests of the client against servers on loopback: recorded exchanges of SkyRL 0.3.0 and 0.4.0, and servers that are made after its
//! sources.
#![allow(clippy::unwrap_used)]

mod bad_answers;
mod bad_input;
mod exactly_once;
mod protobuf;
mod protobuf_codec;
mod proxy;
mod recorded;
mod serve;
mod sessions;
mod training_server;
