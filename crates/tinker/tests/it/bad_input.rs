//! Wrong settings, data and servers are refused by name.

use std::net::TcpListener;

use rlar_net::Secret;
use rlar_tinker::{CheckpointPath, Datum, LossFunction, NewModel, TinkerError, TinkerServer, TinkerSettings};
use serde_json::json;

use crate::serve::{self, Reply, serve, settings};
use crate::training_server::{self, BASE};

#[test]
fn addresses_that_cannot_be_used_are_refused_at_once() {
    for url in ["", "127.0.0.1:8000", "ftp://host", "http://", "http://host?key=abc", "http://me:abc@host"] {
        let error = TinkerServer::new(TinkerSettings::new(url)).unwrap_err();
        assert!(matches!(error, TinkerError::Settings { .. }), "{url}: {error}");
        assert!(error.to_string().contains("http://HOST:8000"), "{error}");
        assert!(!error.to_string().contains("abc"), "{error}");
    }
}

#[tokio::test]
async fn the_path_of_the_api_may_be_in_the_address() {
    let (served, _state) = training_server::start(true);
    for end in ["", "/", "/api/v1", "/api/v1/"] {
        TinkerServer::new(settings(&format!("{}{end}", served.url()))).unwrap().check_health().await.unwrap();
    }
}

#[tokio::test]
async fn an_unreachable_server_is_named() {
    // A port on which no server listens any more.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = TinkerServer::new(settings(&format!("http://{address}"))).unwrap().check_health().await.unwrap_err();
    assert!(matches!(error, TinkerError::Unreachable { call: "healthz", .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&address.to_string()) && text.contains("tried 3 times"), "{text}");
}

#[tokio::test]
async fn a_wrong_key_is_refused_without_being_shown() {
    let served = serve(|received| {
        let key = received.headers.get("x-api-key").map(|key| key.to_str().unwrap().to_owned());
        serve::json(401, &json!({"detail": format!("unknown key {}", key.unwrap_or_default())}))
    });
    for (key, shown) in [(Some("tml-very-secret"), "the key"), (None, "a request without a key")] {
        let settings = TinkerSettings { key: key.map(Secret::new), ..settings(&served.url()) };
        let error = TinkerServer::new(settings).unwrap().supported_models().await.unwrap_err();
        assert!(matches!(error, TinkerError::KeyRefused { status: 401, .. }), "{error}");
        assert!(error.to_string().contains(shown) && !format!("{error}{error:?}").contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn a_reason_that_quotes_the_key_is_redacted() {
    let served = serve(|_| serve::json(402, &json!({"detail": "no money left for tml-very-secret"})));
    let settings = TinkerSettings { key: Some(Secret::new("tml-very-secret")), ..settings(&served.url()) };
    let error = TinkerServer::new(settings).unwrap().supported_models().await.unwrap_err();
    assert!(matches!(error, TinkerError::Refused { status: 402, .. }), "{error}");
    assert!(error.to_string().contains("no money left for [secret]"), "{error}");
}

#[tokio::test]
async fn another_kind_of_server_is_recognised() {
    type Answer = fn() -> Reply;
    let cases: [(Answer, &str); 4] = [
        (|| serve::text(404, "text/html", "<h1>Not Found</h1>"), "does not know this call"),
        (|| serve::json(404, &json!({"detail": "Not Found"})), "does not know this call"),
        (|| serve::text(200, "text/html", "<h1>Welcome</h1>"), "not JSON"),
        (|| serve::json(415, &json!({"detail": "Unsupported content type"})), "does not take this form"),
    ];
    for (answer, what) in cases {
        let served = serve(move |_| answer());
        let error = TinkerServer::new(settings(&served.url())).unwrap().supported_models().await.unwrap_err();
        assert!(matches!(&error, TinkerError::WrongVersion { message, .. } if message.contains(what)), "{error}");
    }
}

#[tokio::test]
async fn another_model_is_refused_before_anything_is_created() {
    let (served, state) = training_server::start(true);
    let session = TinkerServer::new(settings(&served.url())).unwrap().start_session(&[]).await.unwrap();
    let new = NewModel { base_model: "Qwen/Qwen3-8B".into(), rank: 4, seed: None };
    let error = session.create_model(&new).await.unwrap_err();
    assert!(matches!(&error, TinkerError::WrongModel { offered, .. } if offered == "`tiny-llama`"), "{error}");
    assert!(state.lock().unwrap().models.is_empty());
}

#[tokio::test]
async fn data_that_a_server_would_pad_are_refused_and_not_sent() {
    let (served, state) = training_server::start(true);
    let session = TinkerServer::new(settings(&served.url())).unwrap().start_session(&[]).await.unwrap();
    let new = NewModel { base_model: BASE.into(), rank: 4, seed: None };
    let mut model = session.create_model(&new).await.unwrap();
    let sent = state.lock().unwrap().paths.len();
    let good = Datum::completion(&[1, 2], &[3, 4], &[-1.0; 2], 0.5);
    let bad = [
        (Datum::default(), "no position"),
        (Datum { targets: vec![2, 3], ..good.clone() }, "2 targets"),
        (Datum { weights: vec![1.0; 4], ..good.clone() }, "4 weights"),
        (Datum { tokens: vec![1, 1 << 31, 3], ..good.clone() }, "2147483648"),
        (Datum { targets: vec![u32::MAX, 3, 4], ..good.clone() }, "4294967295"),
        (Datum { weights: vec![f32::NAN; 3], ..good.clone() }, "weight"),
        (Datum { weights: vec![-1.0; 3], ..good.clone() }, "weight"),
        (Datum { logprobs: Some(vec![-1.0; 2]), ..good.clone() }, "2 log-probs"),
        (Datum { logprobs: Some(vec![f32::NEG_INFINITY; 3]), ..good.clone() }, "log-probs"),
        (Datum { advantages: Some(vec![f32::NAN; 3]), ..good.clone() }, "advantages"),
        (Datum { advantages: None, ..good.clone() }, "needs advantages"),
        (Datum::supervised(&[1, 2], &[3]), "needs log-probs"),
        (Datum::completion(&[1, 2], &[3, 4], &[-1.0], 0.5), "2 log-probs"),
    ];
    for (datum, what) in bad {
        let data = [good.clone(), datum];
        let error = model.forward_backward(&data, LossFunction::ImportanceSampling).await.unwrap_err();
        assert!(
            matches!(&error, TinkerError::BadDatum { index: 1, message } if message.contains(what)),
            "{what}: {error}"
        );
    }
    assert!(matches!(model.forward(&[], LossFunction::CrossEntropy).await, Err(TinkerError::BadDatum { .. })));
    assert_eq!(state.lock().unwrap().paths.len(), sent, "something was sent");
    // None of them has used up a number, and the model goes on.
    let pass = model.forward_backward(&[good], LossFunction::ImportanceSampling).await.unwrap();
    assert_eq!(pass.result().await.unwrap().data[0].logprobs.len(), 3);
}

#[test]
fn a_completion_is_shifted_by_one() {
    let datum = Datum::completion(&[10, 11, 12], &[13, 14], &[-0.5, -0.25], 2.0);
    assert_eq!(datum.tokens, [10, 11, 12, 13]);
    assert_eq!(datum.targets, [11, 12, 13, 14]);
    assert_eq!(datum.weights, [0.0, 0.0, 1.0, 1.0]);
    assert_eq!(datum.logprobs, Some(vec![0.0, 0.0, -0.5, -0.25]));
    assert_eq!(datum.advantages, Some(vec![0.0, 0.0, 2.0, 2.0]));
    assert_eq!(Datum::supervised(&[], &[1, 2, 3]).weights, [1.0, 1.0]);
    assert_eq!(Datum::supervised(&[], &[]), Datum::default());
}

#[test]
fn paths_of_checkpoints_are_read() {
    for path in ["tinker://m_1/weights/a-b", "tinker://m_1/sampler_weights/a-b", "tinker://m_1/a-b"] {
        let checkpoint = CheckpointPath::parse(path).unwrap();
        assert_eq!((checkpoint.model_id(), checkpoint.name(), checkpoint.as_str()), ("m_1", "a-b", path));
    }
    for path in [
        "",
        "m/weights/a",
        "tinker://m",
        "tinker://m/weights/",
        "tinker://m/other/a",
        "tinker://m/../a",
        "tinker://m/weights/a/b",
    ] {
        assert!(matches!(CheckpointPath::parse(path), Err(TinkerError::BadCheckpoint { .. })), "{path}");
    }
}
