//! Why there is no report, or no plot.

/// Why runs cannot be reported or plotted. All of these are mistakes of the request.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The folder is no run, or one of another version; the text says which and why.
    #[error("{0}")]
    NoRun(String),
    /// The folder holds runs, and is none itself.
    #[error("{folder} is a folder of runs; name one of them, such as {folder}/{run}")]
    FolderOfRuns {
        /// The folder.
        folder: String,
        /// A run below it.
        run: String,
    },
    /// A run is named twice.
    #[error("{0} is named twice")]
    NamedTwice(String),
    /// No run has the metric.
    #[error("no run has the metric `{metric}`{nearest}. Plots of several metrics: {panels}. Metrics: {metrics}")]
    NoMetric {
        /// What was asked for.
        metric: String,
        /// The most similar name, as a clause; empty if none is similar.
        nearest: String,
        /// The panels that the runs have values for.
        panels: String,
        /// The names of all metrics of the runs.
        metrics: String,
    },
    /// A logarithmic scale was asked for, and the metric has no value above 0.
    #[error("`{0}` has no value above 0, so it has no logarithmic plot; leave out --log")]
    NothingAboveZero(String),
    /// The runs have no steps yet.
    #[error("no step is recorded yet in {0}; plots begin with the first step")]
    NoSteps(String),
}
