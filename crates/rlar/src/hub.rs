//! `rlar hub serve`: models for machines without a network.

use anyhow::{Context, anyhow};
use rlar_net::hub::serve::HubServer;

use crate::Failure;
use crate::cli::HubServe;
use crate::output::print;

pub fn serve(arguments: &HubServe) -> Result<(), Failure> {
    let folder = &arguments.folder;
    if !folder.is_dir() {
        let message = format!("{} is no folder; one with models in OWNER/NAME is expected", folder.display());
        return Err(Failure::Request(anyhow!(message)));
    }
    let address = format!("127.0.0.1:{}", arguments.port);
    let server = HubServer::start(folder, &address, None).with_context(|| format!("cannot serve at {address}"));
    let server = server.map_err(Failure::Job)?;
    print(&format!("HF_ENDPOINT={}\n", server.endpoint())).map_err(Failure::Job)?;
    loop {
        std::thread::park();
    }
}
