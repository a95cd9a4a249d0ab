//! Standard output.

use std::io::Write;

use anyhow::Result;

/// Writes a text, now.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
