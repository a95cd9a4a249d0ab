//! Reports and plots of training runs as files that can be passed on: one HTML page without script or network, Markdown for
//! model cards, and plots as SVG.
//!
//! 1. [`MeasuredRun`] reads the metrics of a run, [`ReportedRun`] everything else, with the readers of `rlar-view`:
//!    `tool_choices`, `sample_replies`, `environment`; `run_summary` says of a run what matters most.
//! 2. `panels` says which metrics are shown together; `figure` makes curves of them, and `plot` draws these with `scale`.
//! 3. `comparison` puts runs side by side; `interval` says how sure a share is.
//! 4. [`Report`] writes the page (`html`) and the summary (`markdown`), with the `commands` that reproduce their figures.
//!    Every text of a run goes through `shown`.

mod commands;
mod comparison;
mod environment;
mod error;
mod figure;
mod html;
mod interval;
mod markdown;
mod measured_run;
mod panels;
mod plot;
mod report;
mod reported_run;
mod run_summary;
mod sample_replies;
mod scale;
mod shown;
mod tool_choices;

pub use comparison::{ConfigDifference, LAST_STEPS, MetricMean, config_differences, last_means};
pub use environment::RunEnvironment;
pub use error::ReportError;
pub use figure::PlotLook;
pub use html::{accuracy_text, figure_text, short_accuracy_text};
pub use markdown::{MarkdownReport, PlotFile};
pub use measured_run::MeasuredRun;
pub use plot::plot_metric;
pub use report::Report;
pub use reported_run::ReportedRun;
pub use sample_replies::SampleGroup;
pub use tool_choices::{ToolChoice, ToolChoices};
