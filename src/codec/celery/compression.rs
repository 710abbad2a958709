//! The `compression` header of Celery: which ones are read, and never beyond the largest message.

use std::borrow::Cow;
use std::io::Read;

use crate::codec::{DecodeLimits, Message};
use crate::domain::{Refusal, RefusalClass};

/// Returns whether the header names a compression that is read.
pub(in crate::codec) fn is_compressed(message: &Message) -> bool {
    matches!(message.compression.as_deref(), Some("application/x-gzip" | "application/x-bz2"))
}

/// Bytes that the body unfolds to, counted without keeping them; what lies behind the largest message or a break is not
/// counted.
pub(in crate::codec) fn unfolded_bytes(message: &Message, limits: DecodeLimits) -> u64 {
    let Some(reader) = reader(message) else {
        return message.body.len() as u64;
    };
    let mut reader = reader.take(most(limits));
    let (mut chunk, mut bytes) = (vec![0; 64 * 1024], 0);
    while let Ok(read @ 1..) = reader.read(&mut chunk) {
        bytes += read as u64;
    }
    bytes
}

/// Returns the body, decompressed as its header says.
pub(super) fn body_of(message: &Message, limits: DecodeLimits) -> Result<Cow<'_, [u8]>, Refusal> {
    match (message.compression.as_deref(), reader(message)) {
        (None | Some(""), _) => Ok(Cow::Borrowed(&*message.body)),
        (_, Some(reader)) => decompressed(reader, limits),
        (Some(other), None) => Err(Refusal::new(RefusalClass::UnsupportedCompression, other)),
    }
}

fn reader(message: &Message) -> Option<Box<dyn Read + '_>> {
    let body = &*message.body;
    match message.compression.as_deref()? {
        // Celery's name for a zlib stream; a real gzip file is told by its magic number.
        "application/x-gzip" if body.starts_with(&[0x1f, 0x8b]) => {
            Some(Box::new(flate2::read::MultiGzDecoder::new(body)))
        }
        "application/x-gzip" => Some(Box::new(flate2::read::ZlibDecoder::new(body))),
        "application/x-bz2" => Some(Box::new(bzip2::read::MultiBzDecoder::new(body))),
        _ => None,
    }
}

/// One byte more than the largest message, so that a larger one is seen.
fn most(limits: DecodeLimits) -> u64 {
    u64::try_from(limits.message_bytes).unwrap_or(u64::MAX).saturating_add(1)
}

fn decompressed<'a>(reader: impl Read, limits: DecodeLimits) -> Result<Cow<'a, [u8]>, Refusal> {
    let mut body = Vec::new();
    if let Err(error) = reader.take(most(limits)).read_to_end(&mut body) {
        return Err(Refusal::new(RefusalClass::UndecodableBody, format!("compression is broken: {error}")));
    }
    limits.check(body.len())?;
    Ok(Cow::Owned(body))
}
