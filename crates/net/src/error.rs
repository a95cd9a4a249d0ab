//! The error type of [`get_text`](crate::get_text), [`get_file`](crate::get_file) and
//! [`post_json`](crate::post_json).

/// An error of [`get_text`](crate::get_text), [`get_file`](crate::get_file) or [`post_json`](crate::post_json).
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// A request failed, after all retries.
    #[error("{address}: {message}")]
    Request {
        /// The address that was requested, without user, password and query.
        address: String,
        /// What went wrong in the last try, with the number of tries.
        message: String,
    },
}
