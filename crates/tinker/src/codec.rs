//! How passes and samples are written. All else is JSON in every version of the API; these are protobuf in SkyRL 0.4 and
//! in the hosted service, because they are large. Requests for samples are JSON there, too.

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde::de::DeserializeOwned;

use crate::datum::Datum;
use crate::loss::LossFunction;
use crate::sampler::SampledSequence;

/// How passes and samples are written.
pub trait Codec: Debug + Send + Sync {
    /// The media type of what it writes and reads, such as `application/json`.
    fn media_type(&self) -> &'static str;

    /// Writes the request of a pass.
    fn encode_pass(&self, request: &PassRequest<'_>) -> PassCall;

    /// Reads the result of a pass.
    fn decode_pass(&self, body: &Body) -> Result<PassOutput, CodecError>;

    /// Reads completions.
    fn decode_samples(&self, body: &Body) -> Result<Vec<SampledSequence>, CodecError>;
}

/// The request of a pass as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassCall {
    /// The path below `/api/v1/`.
    pub path: &'static str,
    /// What is sent there.
    pub body: Body,
}

/// The body of a request or an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The media type, such as `application/json`.
    pub content_type: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Body {
    /// Whether it has this media type, whatever its parameters.
    pub fn has_type(&self, media_type: &str) -> bool {
        self.content_type.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(media_type))
    }

    /// Whether it is JSON.
    pub fn is_json(&self) -> bool {
        self.has_type("application/json")
    }

    /// Reads it as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, CodecError> {
        serde_json::from_slice(&self.bytes).map_err(|error| {
            if error.is_eof() {
                return CodecError::Cut;
            }
            let place = error.line().checked_sub(1).map_or(0, |line| {
                let before: usize = self.bytes.split(|b| *b == b'\n').take(line).map(|l| l.len() + 1).sum();
                before + error.column().saturating_sub(1)
            });
            // Python writes NaN and infinity into JSON, which has no such numbers.
            if ["NaN", "Infinity", "-Infinity"].iter().any(|word| is_near(&self.bytes, place, word)) {
                return CodecError::NotFinite(format!("a value at byte {place}"));
            }
            CodecError::Wrong(error.to_string())
        })
    }
}

/// Whether `word` stands at `place`, or so near to it that the parser may have failed at one of its letters.
fn is_near(bytes: &[u8], place: usize, word: &str) -> bool {
    let near = place.saturating_sub(word.len())..(place + word.len()).min(bytes.len());
    bytes.get(near).is_some_and(|near| near.windows(word.len()).any(|part| part == word.as_bytes()))
}

/// Why a body cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodecError {
    /// It ends too early.
    Cut,
    /// It contains NaN or an infinite value; the text says where.
    NotFinite(String),
    /// It is not what the protocol says; the text says how.
    Wrong(String),
}

/// Numbers without their gaps. `place` is the name of one number, with `{}` for its position.
pub(crate) fn all_finite(values: impl IntoIterator<Item = Option<f32>>, place: &str) -> Result<Vec<f32>, CodecError> {
    let values = values.into_iter().enumerate().map(|(i, value)| match value {
        Some(value) if value.is_finite() => Ok(value),
        _ => Err(CodecError::NotFinite(place.replace("{}", &i.to_string()))),
    });
    values.collect()
}

/// What a pass does besides giving log-probs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassKind {
    /// Nothing.
    Forward,
    /// It adds gradients to those of the passes since the last optimizer step.
    ForwardBackward,
}

/// The request of a pass.
#[derive(Clone, Copy, Debug)]
pub struct PassRequest<'a> {
    /// What the pass does.
    pub kind: PassKind,
    /// The model's id.
    pub model_id: &'a str,
    /// The sequences.
    pub data: &'a [Datum],
    /// The loss.
    pub loss: LossFunction,
    /// The request's number among those of the model, from 1. A request that is sent again has the same number.
    pub seq_id: u64,
}

/// The result of a pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PassOutput {
    /// The result of every datum, in the order of the request.
    pub data: Vec<DatumOutput>,
    /// What the server measured, by the server's names.
    pub metrics: BTreeMap<String, f64>,
}

/// The result of one datum.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DatumOutput {
    /// The log-probability of every target token. Shape `[time]`.
    pub logprobs: Vec<f32>,
    /// The loss at every position, before the server averages. Shape `[time]`; `None` if the server does not say.
    pub losses: Option<Vec<f32>>,
}
