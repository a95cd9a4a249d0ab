//! Protobuf on the wire, written and read here by the format's rules (protobuf.dev, "Encoding") and not by the client's messages;
//! and what SkyRL 0.4.0 makes of passes and results (`skyrl/tinker/proto_serialization.py`).

use serde_json::{Value, json};

pub const PROTOBUF: &str = "application/x-protobuf";

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Wire {
    Integer(u64),
    Eight([u8; 8]),
    Bytes(Vec<u8>),
}

/// A field with its number.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub number: u64,
    pub value: Wire,
}

/// A message in the making.
#[derive(Clone, Debug, Default)]
pub struct Message {
    pub bytes: Vec<u8>,
}

impl Message {
    pub fn integer(mut self, number: u64, value: u64) -> Self {
        self.varint(number << 3);
        self.varint(value);
        self
    }

    pub fn bytes(mut self, number: u64, value: &[u8]) -> Self {
        self.varint((number << 3) | 2);
        self.varint(value.len() as u64);
        self.bytes.extend_from_slice(value);
        self
    }

    pub fn text(self, number: u64, value: &str) -> Self {
        self.bytes(number, value.as_bytes())
    }

    pub fn message(self, number: u64, value: &Message) -> Self {
        self.bytes(number, &value.bytes)
    }

    pub fn double(mut self, number: u64, value: f64) -> Self {
        self.varint((number << 3) | 1);
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

/// The fields of a whole message.
pub fn fields(mut rest: &[u8]) -> Vec<Field> {
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let key = varint(&mut rest);
        let value = match key & 7 {
            0 => Wire::Integer(varint(&mut rest)),
            1 => Wire::Eight(taken(&mut rest, 8).try_into().unwrap()),
            2 => {
                let length = varint(&mut rest) as usize;
                Wire::Bytes(taken(&mut rest, length).to_vec())
            }
            other => panic!("wire type {other}"),
        };
        fields.push(Field { number: key >> 3, value });
    }
    fields
}

fn varint(rest: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = taken(rest, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
    }
    panic!("an integer of more than ten bytes");
}

fn taken<'a>(rest: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, after) = rest.split_at(length);
    *rest = after;
    taken
}

fn all_bytes(message: &[u8], number: u64) -> Vec<Vec<u8>> {
    let bytes = fields(message).into_iter().filter(|field| field.number == number);
    bytes.filter_map(|field| if let Wire::Bytes(bytes) = field.value { Some(bytes) } else { None }).collect()
}

fn one(message: &[u8], number: u64) -> Vec<u8> {
    all_bytes(message, number).pop().unwrap_or_default()
}

fn integer(message: &[u8], number: u64) -> u64 {
    let found = fields(message).into_iter().rfind(|field| field.number == number);
    found.map_or(0, |field| if let Wire::Integer(value) = field.value { value } else { panic!("{field:?}") })
}

fn text(message: &[u8], number: u64) -> String {
    String::from_utf8(one(message, number)).unwrap()
}

fn int32s(bytes: &[u8]) -> Vec<i32> {
    let (fours, []) = bytes.as_chunks() else { panic!("{} bytes", bytes.len()) };
    fours.iter().map(|four| i32::from_le_bytes(*four)).collect()
}

/// The tensor of an input: int64 or float32, as a list.
fn tensor(message: &[u8]) -> Value {
    let dense = one(message, 1);
    let (dtype, data, length): (_, Value, _) = match integer(message, 3) {
        1 => {
            let (fours, []) = dense.as_chunks::<4>() else { panic!("{} bytes", dense.len()) };
            ("float32", fours.iter().map(|four| f32::from_le_bytes(*four)).collect(), fours.len())
        }
        2 => {
            let (eights, []) = dense.as_chunks::<8>() else { panic!("{} bytes", dense.len()) };
            ("int64", eights.iter().map(|eight| i64::from_le_bytes(*eight)).collect(), eights.len())
        }
        other => panic!("dtype {other}"),
    };
    // Packed integers.
    assert_eq!(one(message, 4), Message::default().packed(length as u64), "the shape is that of a list");
    json!({"data": data, "dtype": dtype, "shape": [length]})
}

impl Message {
    fn packed(mut self, value: u64) -> Vec<u8> {
        self.varint(value);
        self.bytes
    }
}

/// The request of a pass in the JSON of SkyRL 0.3.
pub fn pass_request(message: &[u8]) -> Value {
    let data: Vec<Value> = all_bytes(message, 3)
        .iter()
        .map(|datum| {
            let chunks = all_bytes(datum, 1);
            let chunks =
                chunks.iter().map(|chunk| json!({"type": "encoded_text", "tokens": int32s(&one(&one(chunk, 1), 1))}));
            let inputs = all_bytes(datum, 2);
            let inputs = inputs.iter().map(|entry| (text(entry, 1), tensor(&one(entry, 2))));
            json!({
                "model_input": {"chunks": chunks.collect::<Vec<_>>()},
                "loss_fn_inputs": inputs.collect::<serde_json::Map<_, _>>(),
            })
        })
        .collect();
    let mut input = json!({"data": data, "loss_fn": text(message, 4)});
    let config = all_bytes(message, 5);
    if !config.is_empty() {
        let config = config.iter().map(|entry| {
            let value = fields(entry).into_iter().find(|field| field.number == 2);
            let Some(Field { value: Wire::Eight(bytes), .. }) = value else { panic!("{value:?}") };
            (text(entry, 1), f64::from_le_bytes(bytes).into())
        });
        input["loss_fn_config"] = config.collect::<serde_json::Map<_, _>>().into();
    }
    let name = if is_forward_only(message) { "forward_input" } else { "forward_backward_input" };
    json!({"model_id": text(message, 1), name: input, "seq_id": integer(message, 2)})
}

pub fn is_forward_only(message: &[u8]) -> bool {
    integer(message, 6) == 1
}

/// A list of numbers for every datum.
pub fn batched(lists: &[Vec<f32>]) -> Message {
    let data: Vec<u8> = lists.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
    let ends = lists.iter().scan(0, |end, list| {
        *end += 4 * list.len() as i64;
        Some(*end)
    });
    let offsets: Vec<u8> = std::iter::once(0).chain(ends).flat_map(i64::to_le_bytes).collect();
    Message::default().bytes(1, &data).bytes(2, &offsets).integer(3, 1)
}

/// The result of data with these lists, each by its name.
pub fn record(fields: &[(&str, Message)], data: u64) -> Message {
    let entry = |(name, tensor): &(&str, Message)| Message::default().text(1, name).message(2, tensor);
    let record = fields.iter().map(entry).fold(Message::default(), |record, entry| record.message(2, &entry));
    record.integer(3, data)
}

/// The result of a pass.
pub fn pass_output(records: &[Message]) -> Message {
    records.iter().fold(Message::default().text(1, "scalar"), |output, record| output.message(2, record))
}

/// The result of a pass from the JSON of SkyRL 0.3.
pub fn pass_result(result: &Value) -> Vec<u8> {
    let outputs = result["loss_fn_outputs"].as_array().unwrap();
    let lists: Vec<Vec<f32>> = outputs
        .iter()
        .map(|output| {
            let numbers = output["logprobs"]["data"].as_array().unwrap();
            numbers.iter().map(|number| number.as_f64().unwrap() as f32).collect()
        })
        .collect();
    pass_output(&[record(&[("logprobs", batched(&lists))], lists.len() as u64)]).bytes
}

/// A completion.
pub fn sequence(stop_reason: u64, tokens: &[i32], logprobs: &[f32]) -> Message {
    let tokens: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    let logprobs: Vec<u8> = logprobs.iter().flat_map(|value| value.to_le_bytes()).collect();
    Message::default().integer(1, stop_reason).bytes(2, &tokens).bytes(3, &logprobs)
}

/// Completions.
pub fn samples(sequences: &[Message]) -> Vec<u8> {
    sequences.iter().fold(Message::default(), |all, sequence| all.message(1, sequence)).bytes
}
