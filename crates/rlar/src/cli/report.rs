//! `rlar report` and `rlar plot`: runs as files that can be passed on.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use crate::cli::path::path;

#[derive(Args)]
#[command(group = ArgGroup::new("output").required(true).multiple(true).args(["html", "markdown"]))]
pub struct ReportArguments {
    /// The folders of the runs; several are overlaid in the same plots.
    #[arg(required = true, value_name = "RUN", value_parser = path())]
    pub runs: Vec<PathBuf>,
    /// Write a page that needs no other file, no script and no network.
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub html: Option<PathBuf>,
    /// Write the results for a README or a model card; `-` prints them.
    #[arg(long, value_name = "FILE | -", value_parser = path())]
    pub markdown: Option<PathBuf>,
    /// With `--markdown FILE`, show plots in the text and write them beside it, as `FILE`'s name with `-reward.svg` and so
    /// on.
    #[arg(long, requires = "markdown")]
    pub plots: bool,
    /// Smooth the curves: the weight of an exponential moving average, from 0 to below 1, as in TensorBoard.
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.0, value_parser = smoothing)]
    pub smooth: f64,
    /// Use logarithmic scales; values that are not above 0 are left out.
    #[arg(long)]
    pub log: bool,
}

#[derive(Args)]
pub struct PlotArguments {
    /// The folders of the runs.
    #[arg(required = true, value_name = "RUN", value_parser = path())]
    pub runs: Vec<PathBuf>,
    /// What is drawn: `reward`, `accuracy`, `kl`, `tools`, `seconds` … or the name of a metric, such as `reward/q90`; a wrong
    /// name lists those that exist.
    #[arg(required = true)]
    pub metric: String,
    /// Write the plot into this file; without it, it is printed.
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub svg: Option<PathBuf>,
    /// Smooth the curves: the weight of an exponential moving average, from 0 to below 1, as in TensorBoard.
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.0, value_parser = smoothing)]
    pub smooth: f64,
    /// Use a logarithmic scale; values that are not above 0 are left out.
    #[arg(long)]
    pub log: bool,
}

/// Parses the weight of a moving average.
fn smoothing(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(weight) if (0.0..1.0).contains(&weight) => Ok(weight),
        _ => Err("it must be a number from 0 to below 1, such as 0.9".to_owned()),
    }
}
