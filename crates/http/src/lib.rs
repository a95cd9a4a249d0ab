//! The shell that rlar's HTTP servers share: it serves connections within bounds, knows the names of this machine, and
//! waits for the signals that end a server. What is answered is each server's own.

mod connections;
mod loopback;
mod open_files;
mod signals;

pub use connections::{ConnectionLimits, OpenConnections, accept, listen};
pub use loopback::is_loopback_host;
pub use open_files::allow_open_files;
pub use signals::{StopSignal, is_drained};
