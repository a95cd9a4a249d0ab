//! Passes and samples as protobuf: what is written has the schema's form, what is read is right or refused by name.

use std::sync::Arc;

use rlar_tinker::{
    Body, Codec, CodecError, Datum, DatumOutput, JsonCodec, LossFunction, NewModel, PassKind, PassOutput, PassRequest,
    ProtobufCodec, StopReason, TinkerError, TinkerServer,
};
use serde_json::{Value, json};

use crate::bad_answers::{completions_from, result_with};
use crate::protobuf::{self, Message, PROTOBUF, batched, pass_output, record, samples, sequence};
use crate::serve::{self, Reply, settings};
use crate::training_server::{self, BASE, Form, Kind};

/// Numbers that look random and are the same in every run (Numerical Recipes, "An Even Quicker Generator").
struct Numbers(u32);

impl Numbers {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) % limit
    }

    fn floats(&mut self, length: usize) -> Vec<f32> {
        // Eighths, whose decimal form is exact.
        (0..length).map(|_| (self.below(800) as f32 - 400.0) / 8.0).collect()
    }
}

fn body(bytes: Vec<u8>) -> Body {
    Body { content_type: PROTOBUF.into(), bytes }
}

fn decoded(output: &Message) -> Result<PassOutput, CodecError> {
    ProtobufCodec.decode_pass(&body(output.bytes.clone()))
}

fn reply(bytes: &[u8]) -> Reply {
    Reply { body: bytes.to_vec(), ..serve::text(200, PROTOBUF, "") }
}

#[test]
fn a_pass_says_the_same_in_protobuf_as_in_json() {
    let numbers = &mut Numbers(1);
    for round in 0..200_u64 {
        let data: Vec<Datum> = (0..=numbers.below(4))
            .map(|_| {
                let length = 1 + numbers.below(40) as usize;
                let mut tokens = || (0..length).map(|_| numbers.below(1 << 24)).collect::<Vec<u32>>();
                let (tokens, targets) = (tokens(), tokens());
                let weights = (0..length).map(|_| numbers.below(2) as f32).collect();
                let mut optional = |is_there: bool| is_there.then(|| numbers.floats(length));
                let (logprobs, advantages) = (optional(round.is_multiple_of(2)), optional(round.is_multiple_of(3)));
                Datum { tokens, targets, weights, logprobs, advantages }
            })
            .collect();
        let loss = match round % 3 {
            0 => LossFunction::CrossEntropy,
            1 => LossFunction::ImportanceSampling,
            _ => LossFunction::Ppo { clip_low: 0.75, clip_high: 1.25 },
        };
        for kind in [PassKind::Forward, PassKind::ForwardBackward] {
            let request = PassRequest { kind, model_id: "model_1", data: &data, loss, seq_id: 1 + round };
            let call = ProtobufCodec.encode_pass(&request);
            assert_eq!(call.path, "forward_backward");
            assert!(call.body.has_type(PROTOBUF));
            let expected: Value = JsonCodec.encode_pass(&request).body.json().unwrap();
            assert_eq!(protobuf::pass_request(&call.body.bytes), expected);
        }
    }
}

#[test]
fn numbers_are_written_exactly() {
    let values = [f32::MIN_POSITIVE, -0.0, 1e-45, f32::MAX, -std::f32::consts::PI, 0.1];
    let token = i32::MAX as u32;
    let logprobs = Some(values.to_vec());
    let datum =
        Datum { tokens: vec![token; 6], targets: vec![token; 6], weights: vec![1.0; 6], logprobs, advantages: None };
    let (kind, loss) = (PassKind::Forward, LossFunction::CrossEntropy);
    let request = PassRequest { kind, model_id: "m", data: &[datum], loss, seq_id: 1 };
    let written = protobuf::pass_request(&ProtobufCodec.encode_pass(&request).body.bytes);
    let datum = &written["forward_input"]["data"][0];
    let written = datum["loss_fn_inputs"]["logprobs"]["data"].as_array().unwrap();
    let bits: Vec<u32> = written.iter().map(|value| (value.as_f64().unwrap() as f32).to_bits()).collect();
    assert_eq!(bits, values.map(f32::to_bits));
    assert_eq!(datum["model_input"]["chunks"][0]["tokens"], json!(vec![token; 6]));
    assert_eq!(datum["loss_fn_inputs"]["target_tokens"]["data"], json!(vec![token; 6]));
}

/// Random results of data, and the message in which they are spread over records.
fn random_output(numbers: &mut Numbers, has_losses: bool) -> (Vec<DatumOutput>, Message) {
    let mut outputs = Vec::new();
    let records: Vec<Message> = (0..=numbers.below(3))
        .map(|_| {
            let data: Vec<DatumOutput> = (0..numbers.below(5))
                .map(|_| {
                    let length = numbers.below(6) as usize;
                    DatumOutput { logprobs: numbers.floats(length), losses: has_losses.then(|| numbers.floats(length)) }
                })
                .collect();
            let lists = |of: fn(&DatumOutput) -> Vec<f32>| batched(&data.iter().map(of).collect::<Vec<_>>());
            let mut fields = vec![("logprobs", lists(|datum| datum.logprobs.clone()))];
            if has_losses {
                fields.push(("elementwise_loss", lists(|datum| datum.losses.clone().unwrap())));
            }
            let record = record(&fields, data.len() as u64);
            outputs.extend(data);
            record
        })
        .collect();
    (outputs, pass_output(&records))
}

#[test]
fn results_of_passes_are_read_in_the_order_of_the_data() {
    let numbers = &mut Numbers(2);
    for round in 0..200 {
        let (data, message) = random_output(numbers, round % 2 == 0);
        assert_eq!(decoded(&message).unwrap().data, data);
    }
    // Some servers do not count the data. A metric that is not there is NaN.
    let metric = |name: &str, value| Message::default().text(1, name).double(2, value);
    let output = pass_output(&[record(&[("logprobs", batched(&[vec![-1.0], vec![-2.0, -3.0]]))], 0)]);
    let output = decoded(&output.message(3, &metric("loss", 0.5)).message(3, &metric("gone", f64::NAN))).unwrap();
    assert_eq!(output.data[1].logprobs, [-2.0, -3.0]);
    assert_eq!(output.metrics, [("loss".to_owned(), 0.5)].into());
}

#[test]
fn a_result_that_is_cut_is_never_taken_for_a_whole_one() {
    let logprobs = batched(&[vec![-1.0, -2.0], vec![-3.0]]);
    let whole = pass_output(&[record(&[("logprobs", logprobs.clone()), ("elementwise_loss", logprobs)], 2)]).bytes;
    for length in 0..whole.len() {
        match ProtobufCodec.decode_pass(&body(whole[..length].to_vec())) {
            // Between two fields, what is left is a message of its own, and has no data.
            Ok(output) => assert!(output.data.is_empty(), "{length}"),
            Err(error) => assert_eq!(error, CodecError::Cut, "{length}"),
        }
    }
    let sequences = [sequence(1, &[5, 6], &[-1.0, -2.0]), sequence(0, &[7], &[-3.0])];
    let whole = samples(&sequences);
    for length in 0..whole.len() {
        match ProtobufCodec.decode_samples(&body(whole[..length].to_vec())) {
            Ok(sequences) => assert!(sequences.len() < 2, "{length}"),
            Err(error) => assert_eq!(error, CodecError::Cut, "{length}"),
        }
    }
}

#[test]
fn bytes_that_are_changed_anywhere_give_finite_numbers_or_an_error() {
    let numbers = &mut Numbers(3);
    let is_finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
    let (mut read, mut refused) = (0, 0);
    for _ in 0..5000 {
        let (_, output) = random_output(numbers, true);
        let sampled = samples(&[sequence(numbers.below(2).into(), &[5, 6], &[-1.0, -2.0])]);
        let [output, sampled] = [output.bytes, sampled].map(|mut bytes| {
            for _ in 0..=numbers.below(3) {
                let at = numbers.below(bytes.len() as u32) as usize;
                bytes[at] = numbers.below(256) as u8;
            }
            body(bytes)
        });
        let all_finite = ProtobufCodec.decode_pass(&output).map(|output| {
            output.data.iter().all(|d| is_finite(&d.logprobs) && d.losses.iter().all(|losses| is_finite(losses)))
        });
        let sampled = ProtobufCodec.decode_samples(&sampled).map(|all| all.iter().all(|s| is_finite(&s.logprobs)));
        for result in [all_finite, sampled] {
            assert!(*result.as_ref().unwrap_or(&true));
            *if result.is_ok() { &mut read } else { &mut refused } += 1;
        }
    }
    assert!(read > 100 && refused > 100, "{read} read, {refused} refused");
}

#[test]
fn what_is_wrong_with_a_result_of_a_pass_is_named() {
    let ints = |values: &[i64]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let tensor =
        |data: &[u8], offsets: &[u8], dtype| Message::default().bytes(1, data).bytes(2, offsets).integer(3, dtype);
    let good = batched(&[vec![-1.0], vec![-2.0]]);
    let cases = [
        (tensor(&[0; 8], &ints(&[0, 4, 8]), 4), "dtype of every log-prob is Bfloat16 (4)"),
        (tensor(&[0; 8], &ints(&[0, 4, 8]), 0), "Unspecified (0)"),
        (tensor(&[0; 8], &ints(&[0, 4, 8]), 99), "(99), not float32"),
        (good.clone().bytes(4, &[2, 3]), "the shape [2, 3]"),
        (tensor(&[0; 8], &ints(&[0, 4, 8])[..20], 1), "offsets of every log-prob do not divide its 8 bytes"),
        (tensor(&[0; 8], &ints(&[4, 4, 8]), 1), "offsets"),
        (tensor(&[0; 8], &ints(&[0, 4, 4]), 1), "offsets"),
        (tensor(&[0; 8], &ints(&[0, 12, 8]), 1), "offsets"),
        (tensor(&[0; 8], &ints(&[0, -4, 8]), 1), "offsets"),
        (tensor(&[0; 8], &ints(&[0, i64::MAX, 8]), 1), "offsets"),
        (tensor(&[0; 8], &[], 1), "offsets"),
        (tensor(&[0; 8], &ints(&[0, 3, 8]), 1), "log-prob 0 of datum 0 has fewer than four bytes"),
        (batched(&[vec![-1.0]]), "`logprobs` has 1 lists for 2 data"),
    ];
    for (tensor, what) in cases {
        let error = decoded(&pass_output(&[record(&[("logprobs", tensor)], 2)])).unwrap_err();
        assert!(matches!(&error, CodecError::Wrong(message) if message.contains(what)), "{what}: {error:?}");
    }
    let losses =
        |losses: &[Vec<f32>], data| record(&[("logprobs", good.clone()), ("elementwise_loss", batched(losses))], data);
    let outputs = [
        (record(&[], 1_000_000_000_000), "it has no `logprobs`"),
        (record(&[("logprobs", good.clone())], u64::MAX), "2 lists for -1 data"),
        (losses(&[vec![0.0]], 0), "2 data have log-probs and 1 have losses"),
        (losses(&[vec![0.0]], 2), "`elementwise_loss` has 1 lists for 2 data"),
        (Message::default().text(3, "no number"), "PassOutputMessage.loss_fn_outputs"),
    ];
    for (record, what) in outputs {
        let error = decoded(&pass_output(&[record])).unwrap_err();
        assert!(matches!(&error, CodecError::Wrong(message) if message.contains(what)), "{what}: {error:?}");
    }
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let records =
            [record(&[("logprobs", good.clone())], 2), record(&[("logprobs", batched(&[vec![-1.0, value]]))], 1)];
        let expected = CodecError::NotFinite("log-prob 1 of datum 2".into());
        assert_eq!(decoded(&pass_output(&records)), Err(expected));
        let expected = CodecError::NotFinite("loss 0 of datum 1".into());
        assert_eq!(decoded(&pass_output(&[losses(&[vec![0.0], vec![value]], 2)])), Err(expected));
    }
}

#[test]
fn what_is_wrong_with_completions_is_named() {
    let read = |sequences: &[Message]| ProtobufCodec.decode_samples(&body(samples(sequences)));
    let good = read(&[sequence(1, &[5, 6], &[-1.0, -2.0]), Message::default().bytes(2, &[7, 0, 0, 0])]).unwrap();
    assert_eq!((good[0].tokens.as_slice(), good[0].stop_reason), ([5, 6].as_slice(), StopReason::Length));
    // The first value of an enum is not written, and log-probs may be absent: the client compares their number with the tokens.
    assert_eq!((good[1].tokens.as_slice(), good[1].stop_reason), ([7].as_slice(), StopReason::Stop));
    assert!(good[1].logprobs.is_empty());
    let cases = [
        (sequence(2, &[5], &[-1.0]), "sequence 0 has the unknown stop reason 2"),
        (sequence(0, &[5, -6], &[-1.0, -1.0]), "token 1 of sequence 0 is negative"),
        (Message::default().bytes(2, &[0; 6]), "token 1 of sequence 0 has fewer than four bytes"),
        (Message::default().bytes(3, &[0; 9]), "log-prob 2 of sequence 0 has fewer than four bytes"),
        (Message::default().integer(2, 5), "SequenceMessage.tokens"),
    ];
    for (sequence, what) in cases {
        let error = read(&[sequence]).unwrap_err();
        assert!(matches!(&error, CodecError::Wrong(message) if message.contains(what)), "{what}: {error:?}");
    }
    let error = read(&[sequence(0, &[5], &[-1.0]), sequence(0, &[5], &[f32::NAN])]);
    assert_eq!(error, Err(CodecError::NotFinite("log-prob 0 of sequence 1".into())));
    for bytes in [b"<p>Please log in</p>".to_vec(), vec![0x0f], vec![0xff; 11]] {
        let error = ProtobufCodec.decode_samples(&body(bytes)).unwrap_err();
        assert!(matches!(&error, CodecError::Wrong(message) if message.contains("no protobuf message")), "{error:?}");
    }
    // Two bytes each, and without an end.
    let error = ProtobufCodec.decode_samples(&body([0x0a, 0].repeat((1 << 20) + 1))).unwrap_err();
    assert!(matches!(&error, CodecError::Wrong(message) if message.contains("more than 1048576 parts")), "{error:?}");
}

fn logprobs(values: &[f32]) -> Vec<u8> {
    pass_output(&[record(&[("logprobs", batched(&[values.to_vec()]))], 1)]).bytes
}

#[tokio::test]
async fn results_in_protobuf_have_as_many_finite_logprobs_as_targets() {
    let result = async |bytes: Vec<u8>| result_with(move |_| reply(&bytes)).await;
    assert_eq!(result(logprobs(&[-1.0, -2.0, -3.0])).await.unwrap().data[0].logprobs, [-1.0, -2.0, -3.0]);
    for values in [vec![-1.0; 2], vec![-1.0; 4], vec![]] {
        let error = result(logprobs(&values)).await.unwrap_err();
        let is_right =
            matches!(&error, TinkerError::WrongLength { received, expected: 3, .. } if *received == values.len());
        assert!(is_right && error.to_string().contains("log-probs of datum 0"), "{error}");
    }
    let error = result(Vec::new()).await.unwrap_err();
    assert!(matches!(error, TinkerError::WrongLength { received: 0, expected: 1, .. }), "{error}");
    let error = result(logprobs(&[-1.0, f32::NAN, -3.0])).await.unwrap_err();
    assert!(matches!(error, TinkerError::NotFinite { call: "forward_backward", .. }), "{error}");
    assert!(error.to_string().contains("log-prob 1 of datum 0"), "{error}");
    let error = result(b"<p>Please log in</p>".to_vec()).await.unwrap_err();
    assert!(matches!(error, TinkerError::Malformed { call: "forward_backward", .. }), "{error}");
    let cut = logprobs(&[-1.0, -2.0, -3.0])[..30].to_vec();
    let error = result(cut).await.unwrap_err();
    assert!(
        matches!(&error, TinkerError::Unreachable { message, .. } if message.contains("ends too early")),
        "{error}"
    );
}

#[tokio::test]
async fn completions_in_protobuf_need_a_logprob_for_every_token() {
    let completions = async |sequences: &[Message]| {
        let bytes = samples(sequences);
        completions_from(move || reply(&bytes)).await
    };
    assert_eq!(completions(&[sequence(1, &[5, 6], &[-1.0, -2.0])]).await.unwrap()[0].tokens, [5, 6]);
    for logprobs in [vec![-1.0], vec![], vec![-1.0; 3]] {
        let error = completions(&[sequence(1, &[5, 6], &logprobs)]).await.unwrap_err();
        assert!(matches!(error, TinkerError::WrongLength { expected: 2, .. }), "{error}");
    }
    let error = completions(&[]).await.unwrap_err();
    assert!(matches!(error, TinkerError::WrongLength { received: 0, expected: 1, .. }), "{error}");
}

#[tokio::test]
async fn a_result_of_an_unknown_type_is_refused_with_the_call_and_what_to_do() {
    for kind in ["text/html", "application/x-msgpack", ""] {
        let error = result_with(move |_| serve::text(200, kind, "\u{1}")).await.unwrap_err();
        let is_right = matches!(&error, TinkerError::WrongVersion { call: "forward_backward", message, .. } if message.contains(kind));
        assert!(is_right && error.to_string().contains("check the address and the server's version"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_takes_no_form_of_passes_is_refused_before_anything_is_trained() {
    let (served, state) = training_server::start_kind(Kind { recognises_repeats: true, form: Form::Protobuf });
    let server = TinkerServer::with_codec(settings(&served.url()), Arc::new(JsonCodec)).unwrap();
    let session = server.start_session(&[]).await.unwrap();
    let new = NewModel { base_model: BASE.into(), rank: 4, seed: None };
    let error = session.create_model(&new).await.unwrap_err();
    let is_right =
        matches!(&error, TinkerError::WrongVersion { call: "forward", message, .. } if message.contains("Not Found"));
    assert!(is_right && error.to_string().contains("does not take passes as `application/json`"), "{error}");
    let is_untrained = state.lock().unwrap().models.values().all(|model| model.passes == 0 && model.steps == 0);
    assert!(is_untrained);

    let (_served, state) = training_server::start(false);
    let closed = serve::serve(move |received| match received.path.as_str() {
        "forward" | "forward_backward" => serve::json(415, &json!({"detail": "only msgpack"})),
        _ => state.lock().unwrap().answer(&received),
    });
    let session = TinkerServer::new(settings(&closed.url())).unwrap().start_session(&[]).await.unwrap();
    let error = session.create_model(&new).await.unwrap_err();
    for part in ["as `application/json` (", "nor as `application/x-protobuf` (", "415: only msgpack"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}
