//! The server of `rlar view`, asked over real connections about runs that the tests write.
#![allow(clippy::unwrap_used)]

mod client;
mod finding;
mod fixture;
mod growing;
mod hostile;
mod measured;
mod page;
mod reading;
mod refusals;
mod results;
mod tools;

use std::path::Path;
use std::time::Duration;

use rlar_view::{ViewOptions, ViewServer};

/// A server on any free port that looks at the runs often.
fn serve(folder: &Path) -> ViewServer {
    let options = ViewOptions { look_every: Duration::from_millis(5), ..ViewOptions::new(folder.to_owned(), 0) };
    ViewServer::start(&options).unwrap()
}
