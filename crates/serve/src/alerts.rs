//! Tells people what needs a look, by log, metric and webhook: drifting rewards, and tools that are suspended.

use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use rlar_net::post_json;
use rlar_rewards::monitor::DriftAlert;
use serde_json::{Value, json};

use crate::metrics::{Label, Metrics, labels};
use crate::served_library::SuspendedTool;

/// Longest time to deliver an alert to the webhook, with all tries.
const DELIVERY: Duration = Duration::from_secs(30);

/// Number of alerts that may wait for the webhook; further ones are only logged and counted.
const MAX_WAITING: usize = 64;

/// Where alerts go.
#[derive(Debug)]
pub struct Alerts {
    /// The queue of the thread that posts to the webhook; `None` without one.
    webhook: Option<SyncSender<Value>>,
}

impl Alerts {
    /// Starts the thread that posts alerts to an address, if there is one. The thread ends with the server.
    pub fn start(webhook: Option<&str>) -> std::io::Result<Self> {
        let Some(address) = webhook.map(str::to_owned) else { return Ok(Self { webhook: None }) };
        let (sender, alerts) = sync_channel::<Value>(MAX_WAITING);
        std::thread::Builder::new().name("alerts".into()).spawn(move || {
            for alert in alerts {
                if let Err(error) = post_json(&address, &alert, DELIVERY) {
                    tracing::warn!("an alert was not delivered: {error}");
                }
            }
        })?;
        Ok(Self { webhook: Some(sender) })
    }

    /// Tells of rewards that no longer tell good replies from bad ones.
    pub fn drift(&self, alert: &DriftAlert, metrics: &Metrics) {
        let (domain, signal, tools) = (&alert.domain, alert.signal.to_string(), alert.tools.join(", "));
        let (what, figures) = (&alert.summary, &alert.figures);
        tracing::warn!(domain, signal, tools, "the rewards need a look: {what} ({figures})");
        let series = labels(&[Label { name: "domain", value: domain }, Label { name: "signal", value: &signal }]);
        metrics.count("rlar_drift_alerts_total", "Alerts of the monitor of rewards.", series, 1.0);
        self.post(json!({
            "alert": "drift", "domain": domain, "signal": signal, "tools": alert.tools, "what": what, "figures": figures,
        }));
    }

    /// Tells of a tool that was suspended.
    pub fn suspended(&self, suspended: &SuspendedTool, library: &str, metrics: &Metrics) {
        let SuspendedTool { tool, failures, scores, last } = suspended;
        tracing::warn!(tool, failures, scores, "suspended: too many of its latest scores failed; the last: it {last}");
        let series = labels(&[Label { name: "tool", value: tool }]);
        metrics.count("rlar_suspensions_total", "Times that a tool was suspended.", series, 1.0);
        self.post(json!({
            "alert": "suspended", "tool": tool, "failures": failures, "scores": scores, "last_failure": last,
            "library": library,
        }));
    }

    fn post(&self, alert: Value) {
        let Some(webhook) = &self.webhook else { return };
        match webhook.try_send(alert) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => {
                tracing::warn!("{MAX_WAITING} alerts wait for the webhook, so this one is not sent");
            }
        }
    }
}
