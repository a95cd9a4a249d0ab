//! Tells open pages which runs have grown, as server-sent events.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::Frame;
use serde::Serialize;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::catalogue::RunCatalogue;

/// After how many quiet looks a page gets a comment, which shows that the connection lives.
const HEARTBEAT: u32 = 15;
/// Number of events that a slow page may be behind.
const BEHIND: usize = 64;

/// The runs that have grown, changed or gone since the last event.
#[derive(Debug, Serialize)]
struct GrowthEvent<'a> {
    runs: Vec<&'a str>,
}

/// Where pages listen.
#[derive(Clone, Debug)]
pub struct GrowthChannel(broadcast::Sender<Bytes>);

impl Default for GrowthChannel {
    fn default() -> Self {
        Self(broadcast::Sender::new(BEHIND))
    }
}

/// The traces of all runs, by name.
#[derive(Debug)]
pub struct RunTraces(BTreeMap<String, RunTrace>);

/// The sizes and times of the files of a run that change when it goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct RunTrace(Vec<Option<FileTrace>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct FileTrace {
    length: u64,
    modified: Option<SystemTime>,
}

impl RunTraces {
    /// Looks at the files of all runs.
    pub fn of(catalogue: &RunCatalogue) -> Self {
        let files = [
            "metrics.jsonl",
            "warmup.jsonl",
            "rollouts",
            "report.json",
            "agents.jsonl",
            "evolution",
            "library",
            "environment.jsonl",
        ];
        let trace = |path: PathBuf| {
            let metadata = fs::metadata(path).ok()?;
            Some(FileTrace { length: metadata.len(), modified: metadata.modified().ok() })
        };
        let runs = catalogue.runs().into_iter();
        Self(
            runs.map(|run| (run.name, RunTrace(files.iter().map(|file| trace(run.path.join(file))).collect())))
                .collect(),
        )
    }

    /// The runs that have changed, come or gone.
    fn changed_since<'a>(&'a self, before: &'a BTreeMap<String, RunTrace>) -> Vec<&'a str> {
        let names = self.0.keys().chain(before.keys().filter(|name| !self.0.contains_key(*name)));
        names.filter(|name| self.0.get(*name) != before.get(*name)).map(String::as_str).collect()
    }
}

impl GrowthChannel {
    /// Looks at the runs of a catalogue as long as a page listens, and tells of every change since `seen`, until `stopped`
    /// turns true.
    pub async fn watch(
        self,
        catalogue: Arc<RunCatalogue>,
        mut seen: RunTraces,
        every: Duration,
        mut stopped: watch::Receiver<bool>,
    ) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut quiet = 0;
        loop {
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return,
                _ = ticks.tick() => {}
            }
            // What changes meanwhile is told to the next page that listens.
            if self.0.receiver_count() == 0 {
                continue;
            }
            let looking = tokio::task::spawn_blocking({
                let catalogue = Arc::clone(&catalogue);
                move || RunTraces::of(&catalogue)
            });
            let Ok(now) = looking.await else { continue };
            let before = std::mem::replace(&mut seen, now).0;
            let changed = seen.changed_since(&before);
            quiet += 1;
            if !changed.is_empty() {
                let event = serde_json::to_string(&GrowthEvent { runs: changed }).unwrap_or_default();
                // Nobody listens any more: then nobody misses it.
                let _ = self.0.send(format!("event: growth\ndata: {event}\n\n").into());
                quiet = 0;
            } else if quiet >= HEARTBEAT {
                let _ = self.0.send(Bytes::from_static(b": no news\n\n"));
                quiet = 0;
            }
        }
    }

    /// The events from now on as an answer, which ends when the page goes or `stopped` turns true.
    pub fn answer(&self, mut stopped: watch::Receiver<bool>) -> Response {
        let mut events = self.0.subscribe();
        let (sender, receiver) = mpsc::channel(4);
        tokio::spawn(async move {
            let mut next = Bytes::from_static(b"retry: 2000\n\n");
            loop {
                if sender.send(next).await.is_err() {
                    return;
                }
                next = tokio::select! {
                    _ = stopped.wait_for(|stopped| *stopped) => return,
                    () = sender.closed() => return,
                    event = events.recv() => match event {
                        Ok(event) => event,
                        // A page that was behind reads everything anew.
                        Err(broadcast::error::RecvError::Lagged(_)) => Bytes::from_static(b"event: behind\ndata: {}\n\n"),
                        Err(broadcast::error::RecvError::Closed) => return,
                    },
                };
            }
        });
        let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
        (headers, Body::new(EventBody(receiver))).into_response()
    }
}

/// A body that is as long as there are events.
struct EventBody(mpsc::Receiver<Bytes>);

impl hyper::body::Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.get_mut().0.poll_recv(context).map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}
