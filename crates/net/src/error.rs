//! The error of a plain download.

/// An error of [`get_text`](crate::get_text) or [`get_file`](crate::get_file).
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The download failed, after all retries.
    #[error("{address}: {message}")]
    Request {
        /// The address, without user, password and query.
        address: String,
        /// The last error and the number of tries.
        message: String,
    },
}
