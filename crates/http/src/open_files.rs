//! The number of files that the process may open, of which every connection is one.

/// Largest number of files that connections leave to everything else that a server opens.
#[cfg(unix)]
const OTHERS: u64 = 256;

/// Lets the process open as many files more as there may be connections, as far as the system allows. Returns how many
/// connections there may be, so that they leave a quarter of the files, or 256, to everything else.
#[cfg(unix)]
pub fn allow_open_files(connections: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let Some(mut current) = limit.current else { return connections };
    let wanted = current.saturating_add(connections as u64);
    let wanted = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    if wanted > current {
        match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }) {
            Ok(()) => current = wanted,
            Err(error) => tracing::debug!("the limit of open files stays at {current}: {error}"),
        }
    }
    let room = current - OTHERS.min(current / 4);
    if room < connections as u64 {
        tracing::info!(
            "only {room} connections are served at a time, because at most {current} files may be open (`ulimit -n`)"
        );
    }
    connections.min(room as usize)
}

/// Other systems have no such limit.
#[cfg(not(unix))]
pub fn allow_open_files(connections: usize) -> usize {
    connections
}
