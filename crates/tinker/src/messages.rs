//! The protobuf messages of passes and samples: what this client writes and reads of the schema `tinker_public` (proto3), which the
//! Python package `tinker` contains as `tinker/proto/tinker_public_pb2.py` (versions 0.25 to 0.38). Fields that are left out are
//! skipped when they arrive. Names differ from the schema's where the crate has another type of that name.

use std::collections::BTreeMap;

use prost::{Enumeration, Message};

/// The request of a pass (`ForwardBackwardRequest`).
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PassMessage {
    #[prost(string, tag = "1")]
    pub model_id: String,
    /// From 1; 0 is none.
    #[prost(int32, tag = "2")]
    pub seq_id: i32,
    #[prost(message, repeated, tag = "3")]
    pub data: Vec<DatumMessage>,
    #[prost(string, tag = "4")]
    pub loss_fn: String,
    #[prost(btree_map = "string, double", tag = "5")]
    pub loss_fn_config: BTreeMap<String, f64>,
    /// Whether the pass gives no gradients.
    #[prost(bool, tag = "6")]
    pub forward_only: bool,
}

/// One sequence of a pass (`Datum`).
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DatumMessage {
    #[prost(message, repeated, tag = "1")]
    pub model_input: Vec<ChunkMessage>,
    #[prost(btree_map = "string, message", tag = "2")]
    pub loss_fn_inputs: BTreeMap<String, TensorMessage>,
}

/// A part of a sequence (`Chunk`), of which one kind is needed.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ChunkMessage {
    #[prost(message, optional, tag = "1")]
    pub encoded_text: Option<EncodedTextChunk>,
}

/// Tokens.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct EncodedTextChunk {
    /// int32, little-endian.
    #[prost(bytes = "vec", tag = "1")]
    pub tokens: Vec<u8>,
}

/// Numbers with a shape (`Tensor`), of whose two encodings one is needed.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TensorMessage {
    /// The values, little-endian. It is written when empty, too: its presence says that the tensor is dense.
    #[prost(bytes = "vec", optional, tag = "1")]
    pub dense: Option<Vec<u8>>,
    #[prost(enumeration = "DataType", tag = "3")]
    pub dtype: i32,
    #[prost(int64, repeated, tag = "4")]
    pub shape: Vec<i64>,
}

/// The types of numbers (`DType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(crate) enum DataType {
    Unspecified = 0,
    Float32 = 1,
    Int64 = 2,
    Int32 = 3,
    Bfloat16 = 4,
}

/// The result of a pass (`ForwardBackwardOutput`).
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PassOutputMessage {
    /// Together, the results of all data in the order of the request.
    #[prost(message, repeated, tag = "2")]
    pub loss_fn_outputs: Vec<ArrayRecord>,
    #[prost(btree_map = "string, double", tag = "3")]
    pub metrics: BTreeMap<String, f64>,
}

/// The results of several data.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ArrayRecord {
    /// By name, such as `logprobs`.
    #[prost(btree_map = "string, message", tag = "2")]
    pub fields: BTreeMap<String, BatchedTensor>,
    /// The number of data; 0 where a server does not say it.
    #[prost(int64, tag = "3")]
    pub num_datums: i64,
}

/// One list of numbers for every datum, all in a row.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct BatchedTensor {
    /// The values, little-endian.
    #[prost(bytes = "vec", tag = "1")]
    pub data: Vec<u8>,
    /// Where each list begins in `data`, in bytes, and where the last one ends: int64, little-endian, one more than there are
    /// lists.
    #[prost(bytes = "vec", tag = "2")]
    pub offsets: Vec<u8>,
    #[prost(enumeration = "DataType", tag = "3")]
    pub dtype: i32,
    /// The shape of one value; empty for numbers.
    #[prost(int64, repeated, tag = "4")]
    pub trailing_shape: Vec<i64>,
}

/// Completions (`SampleResponse`).
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SamplesMessage {
    #[prost(message, repeated, tag = "1")]
    pub sequences: Vec<SequenceMessage>,
}

/// One completion (`SampledSequence`).
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SequenceMessage {
    #[prost(enumeration = "StopCode", tag = "1")]
    pub stop_reason: i32,
    /// int32, little-endian.
    #[prost(bytes = "vec", tag = "2")]
    pub tokens: Vec<u8>,
    /// float32, little-endian.
    #[prost(bytes = "vec", optional, tag = "3")]
    pub logprobs: Option<Vec<u8>>,
}

/// Why a completion ended (`StopReason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(crate) enum StopCode {
    Stop = 0,
    Length = 1,
}
