//! A client of the Tinker API, with which a server trains a LoRA adapter: the server keeps weights, gradients and
//! optimizer, the client sends tokens with log-probs and advantages, and says when to step.
//!
//! The servers are SkyRL and others that speak the same protocol. What is proven with which version is in
//! `docs/how-to/scale.md`.
//!
//! - [`TinkerServer`]: an address with its key; what the server offers.
//! - [`TrainingSession`]: keeps models alive by heartbeats, and creates them.
//! - [`TrainingModel`]: forward and backward passes on [`Datum`]s, optimizer steps, checkpoints. A request that the server
//!   may have taken is sent again only to a server that recognises it by its sequence number.
//! - [`Pending`]: the result of a request, awaited by long polling.
//! - [`RemoteSampler`]: completions of the weights of one moment.
//! - [`AdapterFiles`]: the trained adapter in PEFT's format.
//! - [`Codec`]: how passes and samples are written: [`JsonCodec`] for SkyRL 0.3, [`ProtobufCodec`] for SkyRL 0.4 and the
//!   hosted service. Which one a server takes, its answer to the first pass shows.

mod error;
mod settings;
mod connection;
mod server;
mod session;
mod datum;
mod loss;
mod adam;
mod codec;
mod json_codec;
mod messages;
mod protobuf_codec;
mod server_codec;
mod pending;
mod model;
mod model_bodies;
mod checkpoint;
mod sampler;
mod adapter;

pub use adam::AdamParams;
pub use adapter::AdapterFiles;
pub use checkpoint::CheckpointPath;
pub use codec::{Body, Codec, CodecError, DatumOutput, PassCall, PassKind, PassOutput, PassRequest};
pub use connection::Traffic;
pub use datum::Datum;
pub use error::TinkerError;
pub use json_codec::JsonCodec;
pub use loss::LossFunction;
pub use model::{StepOutput, TrainingModel};
pub use pending::{Pending, ServerQueue};
pub use protobuf_codec::ProtobufCodec;
pub use sampler::{RemoteSampler, SampleRequest, SampledSequence, StopAt, StopReason};
pub use server::TinkerServer;
pub use session::{NewModel, TrainingSession};
pub use settings::{Deadlines, Retries, TinkerSettings};
