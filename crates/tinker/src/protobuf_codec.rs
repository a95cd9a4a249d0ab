//! The protobuf of SkyRL 0.4 and of the hosted service.

use prost::Message;

use crate::codec::{Body, Codec, CodecError, DatumOutput, PassCall, PassKind, PassOutput, PassRequest, all_finite};
use crate::datum::Datum;
use crate::messages::{
    ArrayRecord, BatchedTensor, ChunkMessage, DataType, DatumMessage, EncodedTextChunk, PassMessage, PassOutputMessage,
    SamplesMessage, SequenceMessage, StopCode, TensorMessage,
};
use crate::sampler::{SampledSequence, StopReason};

/// Most completions, records and metrics in one result. An empty one takes two bytes there and much more in memory.
const MAX_FIELDS: usize = 1 << 20;

/// Passes and results of samples as protobuf, as SkyRL 0.4 and the Python package `tinker` from 0.25 on speak it. Both kinds of
/// passes go to `forward_backward`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProtobufCodec;

impl Codec for ProtobufCodec {
    fn media_type(&self) -> &'static str {
        "application/x-protobuf"
    }

    fn encode_pass(&self, request: &PassRequest<'_>) -> PassCall {
        let config = request.loss.config().unwrap_or_default().into_iter();
        let message = PassMessage {
            model_id: request.model_id.to_owned(),
            // Numbers above 2^31 become negative ones, which are distinct from all others up to 2^32.
            seq_id: request.seq_id as i32,
            data: request.data.iter().map(datum_message).collect(),
            loss_fn: request.loss.name().to_owned(),
            loss_fn_config: config.map(|(key, value)| (key.to_owned(), f64::from(value))).collect(),
            forward_only: request.kind == PassKind::Forward,
        };
        let body = Body { content_type: self.media_type().to_owned(), bytes: message.encode_to_vec() };
        PassCall { path: "forward_backward", body }
    }

    fn decode_pass(&self, body: &Body) -> Result<PassOutput, CodecError> {
        let message: PassOutputMessage = decode(&body.bytes)?;
        let mut data = Vec::new();
        for record in &message.loss_fn_outputs {
            let outputs = outputs(record, data.len())?;
            data.extend(outputs);
        }
        // SkyRL writes NaN for a metric that is not there.
        let metrics = message.metrics.into_iter().filter(|(_, value)| value.is_finite()).collect();
        Ok(PassOutput { data, metrics })
    }

    fn decode_samples(&self, body: &Body) -> Result<Vec<SampledSequence>, CodecError> {
        let message: SamplesMessage = decode(&body.bytes)?;
        message.sequences.iter().enumerate().map(|(i, sequence)| sampled(i, sequence)).collect()
    }
}

fn datum_message(datum: &Datum) -> DatumMessage {
    let optional = [("logprobs", &datum.logprobs), ("advantages", &datum.advantages)];
    let optional = optional.into_iter().filter_map(|(name, values)| Some((name, floats_message(values.as_deref()?))));
    let inputs = [("target_tokens", targets_message(&datum.targets)), ("weights", floats_message(&datum.weights))];
    let tokens = datum.tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    DatumMessage {
        model_input: vec![ChunkMessage { encoded_text: Some(EncodedTextChunk { tokens }) }],
        loss_fn_inputs: inputs.into_iter().chain(optional).map(|(name, tensor)| (name.to_owned(), tensor)).collect(),
    }
}

fn targets_message(values: &[u32]) -> TensorMessage {
    tensor_message(values, DataType::Int64, |value| i64::from(value).to_le_bytes())
}

fn floats_message(values: &[f32]) -> TensorMessage {
    tensor_message(values, DataType::Float32, f32::to_le_bytes)
}

/// A list of numbers, each in `N` bytes.
fn tensor_message<T: Copy, const N: usize>(
    values: &[T],
    dtype: DataType,
    bytes: impl Fn(T) -> [u8; N],
) -> TensorMessage {
    let dense = values.iter().flat_map(|value| bytes(*value)).collect();
    TensorMessage { dense: Some(dense), dtype: dtype.into(), shape: vec![values.len() as i64] }
}

/// Reads a message.
fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M, CodecError> {
    check_fields(bytes)?;
    M::decode(bytes).map_err(|error| CodecError::Wrong(error.to_string()))
}

/// Refuses a message that ends in the middle of a field, and one with more fields than a result has.
fn check_fields(mut rest: &[u8]) -> Result<(), CodecError> {
    for _ in 0..MAX_FIELDS {
        if rest.is_empty() {
            return Ok(());
        }
        // The lowest three bits of a key are the wire type of what follows (protobuf.dev, "Encoding").
        let length = match varint(&mut rest)? & 7 {
            0 => varint(&mut rest).map(|_| 0)?,
            1 => 8,
            2 => varint(&mut rest)?,
            5 => 4,
            other => return Err(CodecError::Wrong(format!("no protobuf message: wire type {other}"))),
        };
        rest = usize::try_from(length).ok().and_then(|length| rest.get(length..)).ok_or(CodecError::Cut)?;
    }
    Err(CodecError::Wrong(format!("it has more than {MAX_FIELDS} parts")))
}

/// Reads an integer of seven bits per byte, the lowest first.
fn varint(rest: &mut &[u8]) -> Result<u64, CodecError> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().ok_or(CodecError::Cut)?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(CodecError::Wrong("no protobuf message: an integer has more than ten bytes".into()))
}

/// The results of the data in a record, of which the first has the number `first` in the request.
fn outputs(record: &ArrayRecord, first: usize) -> Result<Vec<DatumOutput>, CodecError> {
    let lists = |field: &str, what: &str| {
        let lists = record.fields.get(field).map(|tensor| float_lists(tensor, what, first)).transpose()?;
        match lists {
            Some(lists) if record.num_datums != 0 && record.num_datums != lists.len() as i64 => {
                let (data, lists) = (record.num_datums, lists.len());
                Err(CodecError::Wrong(format!("`{field}` has {lists} lists for {data} data")))
            }
            lists => Ok(lists),
        }
    };
    let logprobs = lists("logprobs", "log-prob")?.ok_or_else(|| CodecError::Wrong("it has no `logprobs`".into()))?;
    let Some(losses) = lists("elementwise_loss", "loss")? else {
        return Ok(logprobs.into_iter().map(|logprobs| DatumOutput { logprobs, losses: None }).collect());
    };
    if losses.len() != logprobs.len() {
        let (losses, logprobs) = (losses.len(), logprobs.len());
        return Err(CodecError::Wrong(format!("{logprobs} data have log-probs and {losses} have losses")));
    }
    let pairs = logprobs.into_iter().zip(losses);
    Ok(pairs.map(|(logprobs, losses)| DatumOutput { logprobs, losses: Some(losses) }).collect())
}

/// The numbers of every datum. `what` is the name of one number, `first` that of the first datum.
fn float_lists(tensor: &BatchedTensor, what: &str, first: usize) -> Result<Vec<Vec<f32>>, CodecError> {
    if tensor.dtype != i32::from(DataType::Float32) {
        let dtype = DataType::try_from(tensor.dtype).unwrap_or(DataType::Unspecified);
        return Err(CodecError::Wrong(format!(
            "the dtype of every {what} is {dtype:?} ({}), not float32",
            tensor.dtype
        )));
    }
    if !tensor.trailing_shape.is_empty() {
        return Err(CodecError::Wrong(format!(
            "every {what} has the shape {:?}, not that of a number",
            tensor.trailing_shape
        )));
    }
    let wrong =
        || CodecError::Wrong(format!("the offsets of every {what} do not divide its {} bytes", tensor.data.len()));
    let (offsets, []) = tensor.offsets.as_chunks::<8>() else { return Err(wrong()) };
    let offsets = offsets.iter().map(|bytes| usize::try_from(i64::from_le_bytes(*bytes)).map_err(|_| wrong()));
    let offsets: Vec<usize> = offsets.collect::<Result<_, _>>()?;
    let covers_all = offsets.first() == Some(&0) && offsets.last() == Some(&tensor.data.len());
    // Without a list, there may be no offset at all.
    let is_empty = offsets.is_empty() && tensor.data.is_empty();
    if !covers_all && !is_empty {
        return Err(wrong());
    }
    let lists = offsets.windows(2).enumerate().map(|(i, pair)| {
        let bytes = tensor.data.get(pair[0]..pair[1]).ok_or_else(wrong)?;
        floats(bytes, &format!("{what} {{}} of datum {}", first + i))
    });
    lists.collect()
}

/// Numbers of four bytes each. `place` is the name of one number, with `{}` for its position.
fn floats(bytes: &[u8], place: &str) -> Result<Vec<f32>, CodecError> {
    all_finite(fours(bytes, place)?.iter().map(|four| Some(f32::from_le_bytes(*four))), place)
}

fn fours<'a>(bytes: &'a [u8], place: &str) -> Result<&'a [[u8; 4]], CodecError> {
    match bytes.as_chunks::<4>() {
        (fours, []) => Ok(fours),
        (fours, _) => {
            let place = place.replace("{}", &fours.len().to_string());
            Err(CodecError::Wrong(format!("{place} has fewer than four bytes")))
        }
    }
}

/// Reads completion `i`.
fn sampled(i: usize, sequence: &SequenceMessage) -> Result<SampledSequence, CodecError> {
    let stop_reason = match StopCode::try_from(sequence.stop_reason) {
        Ok(StopCode::Length) => StopReason::Length,
        Ok(StopCode::Stop) => StopReason::Stop,
        Err(_) => {
            let message = format!("sequence {i} has the unknown stop reason {}", sequence.stop_reason);
            return Err(CodecError::Wrong(message));
        }
    };
    let tokens = fours(&sequence.tokens, &format!("token {{}} of sequence {i}"))?.iter().enumerate();
    let tokens = tokens.map(|(at, four)| {
        u32::try_from(i32::from_le_bytes(*four))
            .map_err(|_| CodecError::Wrong(format!("token {at} of sequence {i} is negative")))
    });
    let logprobs = sequence.logprobs.as_deref().unwrap_or_default();
    let logprobs = floats(logprobs, &format!("log-prob {{}} of sequence {i}"))?;
    Ok(SampledSequence { tokens: tokens.collect::<Result<_, _>>()?, logprobs, stop_reason })
}
