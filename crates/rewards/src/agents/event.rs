//! Messages about the progress of the agents, for the user.

use rlar_net::hub::DownloadProgress;

/// Something that the user should see while the agents work.
pub enum AgentEvent<'a> {
    /// A message to the user, of one line or more.
    Message(String),
    /// The download of a reward model has progressed.
    Download {
        /// The Hub id of the model that is downloaded, `owner/name`.
        model: &'a str,
        /// The file that is downloaded, and its number of bytes so far.
        progress: &'a DownloadProgress<'a>,
    },
}
