//! The number of files that the process may open, of which every connection is one.

/// Lets the process open this many files more than it may now, as far as the system allows.
#[cfg(unix)]
pub fn allow_open_files(more: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let Some(current) = limit.current else { return };
    let wanted = limit.maximum.map_or(current + more, |maximum| maximum.min(current + more));
    if wanted > current && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).is_err() {
        tracing::debug!("the limit of open files stays at {current}");
    }
}

/// Other systems have no such limit.
#[cfg(not(unix))]
pub fn allow_open_files(_: u64) {}
