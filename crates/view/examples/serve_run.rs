//! Shows the runs of a folder until Ctrl-C: `cargo run --release -p rlar-view --example serve_run -- FOLDER [PORT]`.
#![allow(clippy::print_stdout)]

use std::error::Error;

use rlar_view::{ViewOptions, ViewServer};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("name a folder")?.into();
    let port = arguments.next().map_or(Ok(0), |port| port.parse())?;
    let server = ViewServer::start(&ViewOptions::new(folder, port))?;
    let signal = server.listen()?;
    println!("{}", server.url());
    server.wait(signal)?;
    server.stop();
    Ok(())
}
