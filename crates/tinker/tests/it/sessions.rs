//! Sessions live as long as they are held, and end when the server forgets them.

use std::time::Duration;

use rlar_tinker::{AdamParams, NewModel, TinkerError, TinkerServer, TinkerSettings};
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::serve::settings;
use crate::training_server::{self, BASE};

fn beating(url: &str) -> TinkerSettings {
    TinkerSettings { heartbeat: Duration::from_millis(1), ..settings(url) }
}

#[tokio::test]
async fn heartbeats_end_with_the_last_of_session_and_models() {
    let (served, state) = training_server::start(false);
    let beats = || state.lock().unwrap().heartbeats;
    let server = TinkerServer::new(beating(&served.url())).unwrap();
    let session = server.start_session(&["test"]).await.unwrap();
    let new = NewModel { base_model: BASE.into(), rank: 4, seed: None };
    let model = session.create_model(&new).await.unwrap();
    drop(session);
    let before = beats();
    let beaten = async {
        while beats() < before + 3 {
            yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), beaten).await.expect("the model does not keep its session alive");
    drop(model);
    let after = beats();
    for _ in 0..50 {
        server.check_health().await.unwrap();
    }
    // One may have been on its way.
    assert!(beats() <= after + 1, "{} heartbeats after the end", beats() - after);
}

#[tokio::test]
async fn a_session_that_the_server_forgot_is_lost() {
    let (served, state) = training_server::start(false);
    let session = TinkerServer::new(beating(&served.url())).unwrap().start_session(&[]).await.unwrap();
    let new = NewModel { base_model: BASE.into(), rank: 4, seed: None };
    let mut model = session.create_model(&new).await.unwrap();
    state.lock().unwrap().is_session_forgotten = true;
    let noticed = async {
        while session.check_alive().is_ok() {
            yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), noticed).await.expect("the session is not noticed to be lost");
    let error = model.optim_step(AdamParams::default()).await.unwrap_err();
    assert!(
        matches!(&error, TinkerError::SessionLost { message, .. } if message.contains("Session not found")),
        "{error}"
    );
}

#[tokio::test]
async fn a_session_without_answered_heartbeats_is_lost_after_its_deadline() {
    let (served, _state) = training_server::start(false);
    let mut settings = settings(&served.url());
    settings.deadlines.session = Duration::ZERO;
    let session = TinkerServer::new(settings).unwrap().start_session(&[]).await.unwrap();
    let error = session.check_alive().unwrap_err();
    assert!(matches!(error, TinkerError::SessionLost { .. }), "{error}");
}
