//! Files as text: decompression and encoding.

use std::borrow::Cow;
use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::error::DataError;

/// The first bytes of a gzipped file.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Maximum size in bytes to which a gzipped file may expand.
const MAX_DECOMPRESSED: u64 = 4 << 30;
/// The byte order mark that some editors and spreadsheets put before UTF-8 text.
const BOM: &str = "\u{feff}";

/// The contents of a file; those of a gzipped file are decompressed. Fails where the data are damaged or too large.
pub fn decompress<'b>(path: &Path, bytes: &'b [u8]) -> Result<Cow<'b, [u8]>, DataError> {
    if !bytes.starts_with(&GZIP) {
        return Ok(bytes.into());
    }
    let mut out = Vec::new();
    let read = MultiGzDecoder::new(bytes).take(MAX_DECOMPRESSED).read_to_end(&mut out);
    let wrong = |message: String| DataError::File { path: path.to_owned(), message };
    read.map_err(|e| wrong(format!("cannot be decompressed: {e}; fetch it again")))?;
    if out.len() as u64 == MAX_DECOMPRESSED {
        return Err(wrong(format!("decompresses to more than {MAX_DECOMPRESSED} bytes")));
    }
    Ok(out.into())
}

/// The contents of a file as text, without a byte order mark. Fails where they are not UTF-8.
pub fn utf8<'b>(path: &Path, bytes: &'b [u8]) -> Result<&'b str, DataError> {
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
        let hint = if utf16 { "; it looks like UTF-16, save it as UTF-8" } else { "" };
        let message = format!("not text: byte {} is not UTF-8{hint}", e.valid_up_to());
        DataError::File { path: path.to_owned(), message }
    })?;
    Ok(text.strip_prefix(BOM).unwrap_or(text))
}
