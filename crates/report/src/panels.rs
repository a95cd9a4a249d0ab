//! Which metrics are shown together, as on the page of `rlar view`.

use rlar_view::metric_table::MetricTable;

/// Metrics that are shown in one plot.
#[derive(Debug)]
pub struct Panel {
    /// The name under which `rlar plot` draws it.
    pub name: &'static str,
    /// Its title, with the unit.
    pub title: &'static str,
    /// Names of columns of the metrics; `*` stands for any name.
    columns: &'static [&'static str],
}

/// A column of a panel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanelColumn {
    /// The column's name in the metrics.
    pub name: String,
    /// The words that tell it apart from other columns of the panel; empty if it is the only one.
    pub label: String,
}

const fn panel(name: &'static str, title: &'static str, columns: &'static [&'static str]) -> Panel {
    Panel { name, title, columns }
}

/// The panels in their order.
pub const PANELS: [Panel; 20] = [
    panel("reward", "Mean reward", &["reward/mean"]),
    panel("accuracy", "Accuracy", &["accuracy"]),
    panel("heldout_accuracy", "Held-out accuracy", &["eval/accuracy"]),
    panel("cut_off", "Replies cut off (share)", &["cut_off"]),
    panel("zero_spread", "Groups without spread (share)", &["zero_spread_groups"]),
    panel("kl", "KL to the reference, k3 (nats per token)", &["kl/k3"]),
    panel("entropy", "Entropy of the next token (nats)", &["entropy"]),
    panel("grad_norm", "Gradient norm", &["grad_norm"]),
    panel("reply_tokens", "Length of replies (tokens)", &["reply_tokens/mean"]),
    panel("loss", "Loss", &["loss"]),
    panel("margin", "Margin of the pairs", &["margin"]),
    panel("unscored", "Replies without a score", &["unscored"]),
    panel("tools", "Scores of the tools (means)", &["tools/*/score/mean"]),
    panel("domains", "Reward by domain", &["domains/*/reward"]),
    panel("domain_accuracy", "Accuracy by domain", &["domains/*/accuracy"]),
    panel("audit", "Audit", &["audit"]),
    panel("tokens_per_second", "Tokens per second", &["tokens_per_second/step"]),
    panel(
        "seconds",
        "Seconds by phase",
        &["seconds/sampling", "seconds/scoring", "seconds/training", "seconds/evaluation", "seconds/other"],
    ),
    panel("sampler_trainer_gap", "Sampler and trainer apart (nats)", &["sampler_trainer_gap"]),
    panel("learning_rate", "Learning rate", &["learning_rate"]),
];

impl Panel {
    /// The panel that `rlar plot` draws under a name.
    pub fn named(name: &str) -> Option<&'static Self> {
        PANELS.iter().find(|panel| panel.name == name)
    }

    /// The columns of the panel that a run has.
    pub fn columns_of(&self, table: &MetricTable) -> Vec<PanelColumn> {
        let column = |pattern: &&'static str| -> Vec<PanelColumn> {
            let Some((before, after)) = pattern.split_once('*') else {
                let label = if self.columns.len() > 1 { pattern.rsplit('/').next().unwrap_or(pattern) } else { "" };
                let is_there = table.columns.contains_key(*pattern);
                let found = is_there.then(|| PanelColumn { name: (*pattern).to_owned(), label: label.to_owned() });
                return found.into_iter().collect();
            };
            let between = |name: &String| {
                let label = name.strip_prefix(before)?.strip_suffix(after).filter(|label| !label.is_empty())?;
                Some(PanelColumn { name: name.clone(), label: label.to_owned() })
            };
            table.columns.keys().filter_map(between).collect()
        };
        self.columns.iter().flat_map(column).collect()
    }
}
