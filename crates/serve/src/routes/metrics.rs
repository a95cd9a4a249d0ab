//! `GET /metrics`.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use crate::metrics::{Gauge, Label, labels};
use crate::server::ServeState;

pub async fn answer(State(state): State<ServeState>) -> Response {
    let library = state.libraries.current();
    let load = state.queue.load();
    let plain = |name, help, value: usize| Gauge { name, help, labels: String::new(), value: value as f64 };
    let mut gauges = vec![
        plain("rlar_connections", "Open connections.", state.connections.count()),
        plain("rlar_queue_items", "Items that wait to be scored.", load.waiting),
        plain("rlar_queue_capacity", "Largest number of items that may wait.", state.queue.capacity()),
        plain("rlar_scoring_items", "Items that are being scored.", load.running),
        Gauge {
            name: "rlar_serving_delay_seconds",
            help: "How long a request waits before a thread of the server reads it.",
            labels: String::new(),
            value: state.serving_delay.get().as_secs_f64(),
        },
        Gauge {
            name: "rlar_queue_wait_seconds",
            help: "How long an item that comes now will probably wait.",
            labels: String::new(),
            value: load.expected_wait.as_secs_f64(),
        },
        Gauge {
            name: "rlar_library_info",
            help: "The hash of the present library, as a label.",
            labels: labels(&[Label { name: "hash", value: &library.hash }]),
            value: 1.0,
        },
    ];
    gauges.extend(library.suspended().iter().map(|tool| Gauge {
        name: "rlar_tool_suspended",
        help: "Tools that are out of use because they failed too often.",
        labels: labels(&[Label { name: "tool", value: tool }]),
        value: 1.0,
    }));
    let usage = library.usage();
    for (name, help, of) in [
        ("rlar_llm_requests", "Requests to the language model that chooses tools, by role.", false),
        ("rlar_llm_tokens", "Tokens of the language model that chooses tools, by role.", true),
    ] {
        gauges.extend(usage.iter().map(|(role, used)| Gauge {
            name,
            help,
            labels: labels(&[Label { name: "role", value: role }]),
            value: if of { used.tokens as f64 } else { used.requests as f64 },
        }));
    }
    let text = state.metrics.render(&gauges);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
