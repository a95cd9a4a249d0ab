//! Every pass and every step is done once, whatever happens to one of the requests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rlar_tinker::{
    AdamParams, Datum, LossFunction, NewModel, TinkerError, TinkerServer, TinkerSettings, TrainingModel,
    TrainingSession,
};

use crate::proxy::{self, Fault};
use crate::serve::settings;
use crate::training_server::{self, BASE, Form, Kind, State};

const STEPS: u32 = 2;

fn new_model() -> NewModel {
    NewModel { base_model: BASE.into(), rank: 4, seed: Some(1) }
}

async fn session(settings: TinkerSettings) -> Result<TrainingSession, TinkerError> {
    TinkerServer::new(settings)?.start_session(&[]).await
}

/// One pass and one step, both acknowledged before the results are read.
async fn step(model: &mut TrainingModel, number: u32) -> Result<(), TinkerError> {
    let datum = Datum::completion(&[1, 2], &[3], &[-1.0], number as f32 + 1.0);
    let pass = model.forward_backward(&[datum], LossFunction::ImportanceSampling).await?;
    let adam = AdamParams { learning_rate: 0.1 * f64::from(number + 1), ..AdamParams::default() };
    let step = model.optim_step(adam).await?;
    pass.result().await?;
    step.result().await?;
    Ok(())
}

/// Trains, with a checkpoint before every step. A request that may have been taken makes it go back to the last checkpoint.
/// Returns how often that happened, and the last model's id.
async fn train(settings: TinkerSettings) -> Result<Trained, TinkerError> {
    let session = session(settings).await?;
    let mut model = session.create_model(&new_model()).await?;
    let mut times_back = 0;
    for number in 0..STEPS {
        let checkpoint = model.save_weights(&format!("before-{number}")).await?;
        while let Err(error) = step(&mut model, number).await {
            assert!(matches!(error, TinkerError::Unacknowledged { .. }), "{error}");
            let refused = model.optim_step(AdamParams::default()).await.err();
            assert!(matches!(refused, Some(TinkerError::Uncertain { .. })), "a model in doubt worked on");
            model = session.create_model_from(&new_model(), &checkpoint).await?;
            times_back += 1;
        }
    }
    Ok(Trained { times_back, model: model.id().to_owned() })
}

struct Trained {
    times_back: u32,
    model: String,
}

/// The weight that [`train`] brings without a fault: `w ← w / 2 + rate · (1 + advantage)`.
fn expected_weight() -> f64 {
    (0..STEPS).map(f64::from).fold(0.0, |weight, n| 0.5 * weight + 0.1 * (n + 1.0) * (n + 2.0))
}

fn assert_trained(state: &Arc<Mutex<State>>, trained: &Trained, what: &str) {
    let state = state.lock().unwrap();
    let weight = state.models[&trained.model].weight;
    assert!((weight - expected_weight()).abs() < 1e-9, "{what}: the weight is {weight}, not {}", expected_weight());
    assert_eq!(state.done_twice, 0, "{what}");
}

/// The requests of a training without a fault.
async fn requests(kind: Kind) -> Vec<String> {
    let (server, state) = training_server::start_kind(kind);
    let trained = train(settings(&server.url())).await.unwrap();
    assert_trained(&state, &trained, "no fault");
    assert_eq!(trained.times_back, 0);
    state.lock().unwrap().paths.clone()
}

/// Trains with one fault at one request.
async fn train_with(kind: Kind, at: usize, fault: Fault) -> (Trained, Arc<Mutex<State>>) {
    let (server, state) = training_server::start_kind(kind);
    let proxy = proxy::start(server.address, at, fault).await;
    let mut settings = settings(&proxy.url());
    if fault == Fault::HoldAnswer {
        settings.deadlines.answer = Duration::from_millis(500);
    }
    let trained = train(settings).await.unwrap_or_else(|error| panic!("{kind:?}: {fault:?} at request {at}: {error}"));
    assert_trained(&state, &trained, &format!("{kind:?}: {fault:?} at request {at}"));
    (trained, state)
}

fn changes(path: &str) -> bool {
    matches!(path, "forward_backward" | "optim_step")
}

const FAULTS: [Fault; 4] = [Fault::DropRequest, Fault::DropAnswer, Fault::CutAnswer, Fault::HalveBody];

/// Every fault at every request of a training, with a server that recognises repeats.
async fn each_request_is_done_once(form: Form) {
    let kind = Kind { recognises_repeats: true, form };
    for (at, path) in requests(kind).await.iter().enumerate() {
        for fault in FAULTS {
            let (trained, state) = train_with(kind, at, fault).await;
            assert_eq!(trained.times_back, 0, "{fault:?} at {path}");
            let model = state.lock().unwrap().models[&trained.model].clone();
            assert_eq!((model.passes, model.steps), (u64::from(STEPS), u64::from(STEPS)), "{fault:?} at {path}");
        }
    }
}

/// Every fault at every request of a training, with a server that does not.
async fn no_request_is_sent_twice(form: Form) {
    let (kind, mut changed) = (Kind { recognises_repeats: false, form }, 0);
    for (at, path) in requests(kind).await.iter().enumerate() {
        for fault in FAULTS {
            let (trained, _) = train_with(kind, at, fault).await;
            // Only what changes the model is in doubt; all else is sent again.
            assert_eq!(trained.times_back, u32::from(changes(path)), "{fault:?} at {path}");
        }
        changed += u32::from(changes(path));
    }
    assert_eq!(changed, 2 * STEPS);
}

#[tokio::test]
async fn a_server_that_recognises_repeats_does_each_request_once() {
    each_request_is_done_once(Form::Json).await;
}

#[tokio::test]
async fn a_server_that_recognises_repeats_does_each_request_in_protobuf_once() {
    each_request_is_done_once(Form::Protobuf).await;
}

#[tokio::test]
async fn a_server_that_does_not_gets_no_request_twice_and_the_step_is_repeated_from_a_checkpoint() {
    no_request_is_sent_twice(Form::Json).await;
}

#[tokio::test]
async fn a_server_that_does_not_gets_no_request_in_protobuf_twice() {
    no_request_is_sent_twice(Form::Protobuf).await;
}

#[tokio::test]
async fn a_model_gets_the_weights_of_a_checkpoint_whatever_happens_to_a_request() {
    for kind in Kind::all() {
        let (server, state) = training_server::start_kind(kind);
        let first = session(settings(&server.url())).await.unwrap();
        let mut model = first.create_model(&new_model()).await.unwrap();
        step(&mut model, 0).await.unwrap();
        let checkpoint = model.save_weights("trained").await.unwrap();
        let weight = state.lock().unwrap().models[model.id()].weight;
        assert!(weight != 0.0);
        let before = state.lock().unwrap().paths.len();
        let loaded = async |url: &str| {
            let session = session(settings(url)).await?;
            session.create_model_from(&new_model(), &checkpoint).await
        };
        loaded(&server.url()).await.unwrap();
        let paths = state.lock().unwrap().paths[before..].to_vec();
        for (at, path) in paths.iter().enumerate() {
            for fault in FAULTS {
                let proxy = proxy::start(server.address, at, fault).await;
                let model =
                    loaded(&proxy.url()).await.unwrap_or_else(|error| panic!("{kind:?}: {fault:?} at {path}: {error}"));
                let loaded = state.lock().unwrap().models[model.id()].weight;
                assert!((loaded - weight).abs() < 1e-12, "{kind:?}: {fault:?} at {path}: {loaded}, not {weight}");
            }
        }
    }
}

#[tokio::test]
async fn an_answer_that_never_comes_counts_as_lost() {
    for kind in Kind::all() {
        let requests = requests(kind).await;
        let at = requests.iter().position(|path| path == "optim_step").unwrap();
        let (trained, _) = train_with(kind, at, Fault::HoldAnswer).await;
        assert_eq!(trained.times_back, u32::from(!kind.recognises_repeats));
    }
}

#[tokio::test]
async fn the_server_shows_whether_it_recognises_repeats_and_in_which_form_it_takes_passes() {
    for kind in Kind::all() {
        let (served, state) = training_server::start_kind(kind);
        let server = TinkerServer::new(settings(&served.url())).unwrap();
        assert_eq!(server.pass_type(), None);
        let session = server.start_session(&[]).await.unwrap();
        for _ in 0..2 {
            let model = session.create_model(&new_model()).await.unwrap();
            assert_eq!(model.recognises_repeats(), kind.recognises_repeats);
        }
        let (form, refused) = match kind.form {
            Form::Json => ("application/json", 0),
            Form::Protobuf => ("application/x-protobuf", 1),
        };
        assert_eq!(server.pass_type(), Some(form));
        assert_eq!(state.lock().unwrap().wrong_forms, refused, "the form is asked for once");
    }
}

#[tokio::test]
async fn a_request_that_is_given_up_leaves_the_model_in_doubt() {
    let (server, _state) = training_server::start(false);
    // Requests of `create_model`: session, capabilities, model, its result, the probe twice, their results.
    let proxy = proxy::start(server.address, 8, Fault::HoldAnswer).await;
    let session = session(settings(&proxy.url())).await.unwrap();
    let mut model = session.create_model(&new_model()).await.unwrap();
    let given_up = tokio::time::timeout(Duration::from_millis(200), model.optim_step(AdamParams::default())).await;
    assert!(given_up.is_err());
    let error = model.optim_step(AdamParams::default()).await.unwrap_err();
    assert!(matches!(error, TinkerError::Uncertain { since: "optim_step", .. }), "{error}");
}

#[tokio::test]
async fn an_unknown_address_after_a_lost_answer_leaves_the_model_in_doubt() {
    for form in [Form::Json, Form::Protobuf] {
        let kind = Kind { recognises_repeats: true, form };
        let first_pass = requests(kind).await.iter().position(|path| path == "forward_backward").unwrap();
        let (server, _state) = training_server::start_kind(kind);
        let proxy = proxy::start(server.address, first_pass, Fault::DropAnswerThenUnknown).await;
        let session = session(settings(&proxy.url())).await.unwrap();
        let mut model = session.create_model(&new_model()).await.unwrap();
        // The training saves a checkpoint before its first pass.
        model.save_weights("before").await.unwrap();
        let error = step(&mut model, 0).await.unwrap_err();
        assert!(!matches!(error, TinkerError::Uncertain { .. }), "{form:?}: {error}");
        let error = step(&mut model, 0).await.unwrap_err();
        assert!(matches!(error, TinkerError::Uncertain { since: "forward_backward", .. }), "{form:?}: {error}");
    }
}

#[tokio::test]
async fn a_model_that_is_unloaded_leaves_no_gradient_to_the_next_one() {
    let (server, state) = training_server::start(false);
    let session = session(settings(&server.url())).await.unwrap();
    let mut model = session.create_model(&new_model()).await.unwrap();
    let datum = Datum::completion(&[1], &[2], &[-1.0], 1.0);
    model.forward_backward(&[datum], LossFunction::ImportanceSampling).await.unwrap().result().await.unwrap();
    model.unload().await.unwrap();
    let paths = state.lock().unwrap().paths.clone();
    let last: Vec<&str> = paths.iter().rev().take(4).rev().map(String::as_str).collect();
    assert_eq!(last, ["optim_step", "retrieve_future", "unload_model", "retrieve_future"]);
}
