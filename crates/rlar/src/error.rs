//! How an error ends the program: its exit code and its message.

use std::error::Error;
use std::fmt::{self, Display};
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use serde_json::json;

use crate::output::{self, ReaderGone};

/// An error that the user's request caused: the command line, the config, or a file that they name.
///
/// With one of these anywhere in the chain of an error, rlar exits with 2 instead of 1.
#[derive(Debug)]
struct BadRequest(anyhow::Error);

impl Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for BadRequest {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

/// Marks errors as caused by the user's request.
pub trait BadRequestExt<T> {
    /// Marks the error, if there is one, as caused by the request.
    fn bad_request(self) -> Result<T>;
}

impl<T, E: Into<anyhow::Error>> BadRequestExt<T> for Result<T, E> {
    fn bad_request(self) -> Result<T> {
        self.map_err(|error| BadRequest(error.into()).into())
    }
}

/// Makes an error with this message that the user's request caused.
pub fn bad_request(message: impl Display) -> anyhow::Error {
    BadRequest(anyhow!("{message}")).into()
}

/// The text of an error with those of its causes. The text of many errors contains that of their cause, which is then not
/// repeated.
pub fn message(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |message, cause| match cause.to_string() {
        cause if message.contains(&cause) => message,
        cause if message.is_empty() => cause,
        cause => format!("{message}: {cause}"),
    })
}

/// Prints an error as one message on standard error and gives the exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    // `anyhow::Error::downcast_ref` does not look into the sources of other error types, so the whole chain is
    // searched.
    if error.chain().any(<dyn Error>::is::<ReaderGone>) {
        return ExitCode::SUCCESS;
    }
    // Without standard error there is nowhere left to report to.
    let message = message(error);
    let _ = output::print_error(format!("error: {message}\n"));
    let code: u8 = if error.chain().any(<dyn Error>::is::<BadRequest>) { 2 } else { 1 };
    output::mode().event("error", json!({ "message": message, "exit_code": code }));
    ExitCode::from(code)
}
