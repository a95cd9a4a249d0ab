//! `rlar hub serve`: a model hub for machines without a network.

use anyhow::{Context, Result};
use rlar_net::hub::serve::HubServer;

use crate::cli::HubServeArguments;
use crate::error::bad_request;
use crate::output::print;

/// Prints the server's address and serves until the process is killed.
pub fn serve(arguments: &HubServeArguments) -> Result<()> {
    let folder = &arguments.folder;
    if !folder.is_dir() {
        return Err(bad_request(format!(
            "{} is not a folder; a folder with a subfolder OWNER/NAME per model is expected",
            folder.display()
        )));
    }
    let address = format!("127.0.0.1:{}", arguments.port);
    let server = HubServer::start(folder, &address, None).with_context(|| format!("cannot serve at {address}"))?;
    print(format!("HF_ENDPOINT={}\n", server.endpoint()))?;
    loop {
        std::thread::park();
    }
}
