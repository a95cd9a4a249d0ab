//! Progress of the agents, for the user.

use rlar_net::hub::DownloadProgress;

/// Something that the user should see while the agents work.
pub enum AgentEvent<'a> {
    /// A message of one line or more.
    Message(String),
    /// A download has progressed.
    Download {
        /// The Hub id of the model, `owner/name`.
        model: &'a str,
        /// The file and its bytes so far.
        progress: &'a DownloadProgress<'a>,
    },
}
