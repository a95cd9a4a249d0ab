//! The JSON of SkyRL 0.3.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::codec::{Body, Codec, CodecError, DatumOutput, PassCall, PassKind, PassOutput, PassRequest, all_finite};
use crate::connection::json_body;
use crate::datum::Datum;
use crate::sampler::{SampledSequence, StopReason};

/// Passes and samples as JSON, as SkyRL 0.3 speaks it.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonCodec;

impl Codec for JsonCodec {
    fn media_type(&self) -> &'static str {
        "application/json"
    }

    fn encode_pass(&self, request: &PassRequest<'_>) -> PassCall {
        let input = PassInput {
            data: request.data.iter().map(DatumBody::new).collect(),
            loss_fn: request.loss.name(),
            loss_fn_config: request.loss.config(),
        };
        let (path, forward_input, forward_backward_input) = match request.kind {
            PassKind::Forward => ("forward", Some(input), None),
            PassKind::ForwardBackward => ("forward_backward", None, Some(input)),
        };
        let (model_id, seq_id) = (request.model_id, request.seq_id);
        let body = json_body(&PassBody { model_id, forward_input, forward_backward_input, seq_id });
        PassCall { path, body }
    }

    fn decode_pass(&self, body: &Body) -> Result<PassOutput, CodecError> {
        let result: PassResult = body.json()?;
        let data = result.loss_fn_outputs.into_iter().enumerate().map(|(i, output)| {
            let logprobs = output.logprobs.finite(&format!("log-prob {{}} of datum {i}"))?;
            let losses = output.elementwise_loss.map(|t| t.finite(&format!("loss {{}} of datum {i}"))).transpose()?;
            Ok(DatumOutput { logprobs, losses })
        });
        let data = data.collect::<Result<_, CodecError>>()?;
        let metrics = result.metrics.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        Ok(PassOutput { data, metrics })
    }

    fn decode_samples(&self, body: &Body) -> Result<Vec<SampledSequence>, CodecError> {
        let result: SampleResult = body.json()?;
        let sequences = result.sequences.into_iter().enumerate().map(|(i, sequence)| {
            let logprobs =
                all_finite(sequence.logprobs.unwrap_or_default(), &format!("log-prob {{}} of sequence {i}"))?;
            let stop_reason = match sequence.stop_reason.as_str() {
                "length" => StopReason::Length,
                "stop" => StopReason::Stop,
                other => return Err(CodecError::Wrong(format!("sequence {i} has the unknown stop reason `{other}`"))),
            };
            Ok(SampledSequence { tokens: sequence.tokens, logprobs, stop_reason })
        });
        sequences.collect()
    }
}

#[derive(Serialize)]
struct PassBody<'a> {
    model_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    forward_input: Option<PassInput<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forward_backward_input: Option<PassInput<'a>>,
    seq_id: u64,
}

#[derive(Serialize)]
struct PassInput<'a> {
    data: Vec<DatumBody<'a>>,
    loss_fn: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    loss_fn_config: Option<BTreeMap<&'static str, f32>>,
}

#[derive(Serialize)]
struct DatumBody<'a> {
    model_input: ModelInput<'a>,
    loss_fn_inputs: LossInputs<'a>,
}

impl<'a> DatumBody<'a> {
    fn new(datum: &'a Datum) -> Self {
        Self {
            model_input: ModelInput::new(&datum.tokens),
            loss_fn_inputs: LossInputs {
                target_tokens: Tensor::new(&datum.targets, "int64"),
                weights: Tensor::new(&datum.weights, "float32"),
                logprobs: datum.logprobs.as_deref().map(|values| Tensor::new(values, "float32")),
                advantages: datum.advantages.as_deref().map(|values| Tensor::new(values, "float32")),
            },
        }
    }
}

/// Tokens as the API takes them: in chunks, of which texts need one.
#[derive(Serialize)]
pub(crate) struct ModelInput<'a> {
    chunks: [Chunk<'a>; 1],
}

impl<'a> ModelInput<'a> {
    /// Tokens in one chunk.
    pub fn new(tokens: &'a [u32]) -> Self {
        Self { chunks: [Chunk { kind: "encoded_text", tokens }] }
    }
}

#[derive(Serialize)]
struct Chunk<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    tokens: &'a [u32],
}

#[derive(Serialize)]
struct LossInputs<'a> {
    target_tokens: Tensor<'a, u32>,
    weights: Tensor<'a, f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<Tensor<'a, f32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    advantages: Option<Tensor<'a, f32>>,
}

#[derive(Serialize)]
struct Tensor<'a, T> {
    data: &'a [T],
    dtype: &'static str,
    shape: [usize; 1],
}

impl<'a, T> Tensor<'a, T> {
    fn new(data: &'a [T], dtype: &'static str) -> Self {
        Self { data, dtype, shape: [data.len()] }
    }
}

#[derive(Deserialize)]
struct PassResult {
    loss_fn_outputs: Vec<LossOutput>,
    #[serde(default)]
    metrics: BTreeMap<String, Option<f64>>,
}

#[derive(Deserialize)]
struct LossOutput {
    logprobs: FloatTensor,
    elementwise_loss: Option<FloatTensor>,
}

#[derive(Deserialize)]
struct FloatTensor {
    data: Vec<Option<f32>>,
    dtype: Option<String>,
    shape: Option<Vec<usize>>,
}

impl FloatTensor {
    /// The values, whose shape must be that of a list.
    fn finite(self, place: &str) -> Result<Vec<f32>, CodecError> {
        if self.dtype.as_deref().is_some_and(|dtype| dtype != "float32") {
            return Err(CodecError::Wrong(format!("the dtype is {}, not float32", self.dtype.unwrap_or_default())));
        }
        if self.shape.as_ref().is_some_and(|shape| shape.as_slice() != [self.data.len()]) {
            let shape = self.shape.unwrap_or_default();
            return Err(CodecError::Wrong(format!("{} values have the shape {shape:?}", self.data.len())));
        }
        all_finite(self.data, place)
    }
}

#[derive(Deserialize)]
struct SampleResult {
    sequences: Vec<SequenceBody>,
}

#[derive(Deserialize)]
struct SequenceBody {
    tokens: Vec<u32>,
    logprobs: Option<Vec<Option<f32>>>,
    stop_reason: String,
}
