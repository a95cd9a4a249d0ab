//! The error type of [`get_text`](crate::get_text) and [`get_file`](crate::get_file).

/// An error of [`get_text`](crate::get_text) or [`get_file`](crate::get_file).
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// A download failed, after all retries.
    #[error("{address}: {message}")]
    Request {
        /// The address that was requested, without user, password and query.
        address: String,
        /// What went wrong in the last try, with the number of tries.
        message: String,
    },
}
