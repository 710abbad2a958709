//! The `compression` header of Celery: which ones are read, and never beyond the largest message.

use std::borrow::Cow;
use std::io::Read;

use crate::codec::{DecodeLimits, Message};
use crate::domain::{Refusal, RefusalClass};

/// The body, decompressed as its header says.
pub(super) fn body_of(message: &Message, limits: DecodeLimits) -> Result<Cow<'_, [u8]>, Refusal> {
    let body = &*message.body;
    match message.compression.as_deref() {
        None | Some("") => Ok(Cow::Borrowed(body)),
        // Celery's name for a zlib stream; a real gzip file is told by its magic number.
        Some("application/x-gzip") if body.starts_with(&[0x1f, 0x8b]) => {
            decompressed(flate2::read::MultiGzDecoder::new(body), limits)
        }
        Some("application/x-gzip") => decompressed(flate2::read::ZlibDecoder::new(body), limits),
        Some("application/x-bz2") => decompressed(bzip2::read::MultiBzDecoder::new(body), limits),
        Some(other) => Err(Refusal::new(RefusalClass::UnsupportedCompression, other)),
    }
}

fn decompressed<'a>(reader: impl Read, limits: DecodeLimits) -> Result<Cow<'a, [u8]>, Refusal> {
    let mut body = Vec::new();
    let limit = u64::try_from(limits.message_bytes).unwrap_or(u64::MAX);
    if let Err(error) = reader.take(limit.saturating_add(1)).read_to_end(&mut body) {
        return Err(Refusal::new(RefusalClass::UndecodableBody, format!("compression is broken: {error}")));
    }
    limits.check(body.len())?;
    Ok(Cow::Owned(body))
}
