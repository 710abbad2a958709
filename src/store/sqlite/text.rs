//! Text columns that may be long. A short text is stored as TEXT, a long one as a zstd frame in a BLOB: the type of the
//! value is the flag, so both can stand in one column and the setting can change at any time.

use std::cell::RefCell;

use rusqlite::Connection;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};
use zstd::bulk::{Compressor, Decompressor};

use crate::domain::node::metadata_text;
use crate::domain::query::Keyword;

/// Below this many bytes a frame saves too little for what it costs.
const COMPRESS_FROM: usize = 200;

/// Measured against level 3: see the module documentation of `sqlite`.
const LEVEL: i32 = 1;

/// A graph is compressed once and is large.
const GRAPH_LEVEL: i32 = 3;

/// Longest text that is read back. SQLite itself stores no longer value.
const MAX_TEXT: u64 = 1 << 30;

/// A zstd context costs more to set up than a small text to compress: one per thread is kept, with its buffer.
struct Packer {
    compressor: Option<Compressor<'static>>,
    buffer: Vec<u8>,
}

/// A text as a zstd frame.
pub type StoredText = Box<[u8]>;

thread_local! {
    static PACKER: RefCell<Packer> = const { RefCell::new(Packer { compressor: None, buffer: Vec::new() }) };
    static UNPACKER: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Compresses a text, unless it is short or does not get smaller.
pub fn pack(text: &str) -> Option<StoredText> {
    pack_at(LEVEL, text)
}

/// Compresses a graph.
pub fn pack_graph(text: &str) -> Option<StoredText> {
    pack_at(GRAPH_LEVEL, text)
}

fn pack_at(level: i32, text: &str) -> Option<StoredText> {
    if text.len() < COMPRESS_FROM {
        return None;
    }
    PACKER.with_borrow_mut(|packer| packer.pack(level, text.as_bytes()))
}

impl Packer {
    /// `None` also where zstd has no memory for a context: the text is then stored as it is.
    fn pack(&mut self, level: i32, text: &[u8]) -> Option<StoredText> {
        let compressor = match &mut self.compressor {
            Some(compressor) => compressor,
            none => none.insert(Compressor::new(level).ok()?),
        };
        compressor.set_parameter(zstd::zstd_safe::CParameter::CompressionLevel(level)).ok()?;
        self.buffer.clear();
        self.buffer.reserve(zstd::zstd_safe::compress_bound(text.len()));
        compressor.compress_to_buffer(text, &mut self.buffer).ok()?;
        let frame = (self.buffer.len() < text.len()).then(|| self.buffer.as_slice().into());
        // One huge payload must not pin its buffer for the life of the thread.
        if self.buffer.capacity() > 1 << 20 {
            self.buffer = Vec::new();
        }
        frame
    }
}

/// Returns the value to bind: the frame if there is one, else the text.
pub fn value<'a>(text: Option<&'a str>, frame: Option<&'a [u8]>) -> ToSqlOutput<'a> {
    ToSqlOutput::Borrowed(match (frame, text) {
        (Some(frame), _) => ValueRef::Blob(frame),
        (None, Some(text)) => ValueRef::Text(text.as_bytes()),
        (None, None) => ValueRef::Null,
    })
}

/// Reads a value back.
pub fn unpack(value: ValueRef<'_>) -> FromSqlResult<Option<Box<str>>> {
    match value {
        ValueRef::Null => Ok(None),
        ValueRef::Text(text) => std::str::from_utf8(text).map(|text| Some(text.into())).map_err(FromSqlError::other),
        ValueRef::Blob(frame) => decompress(frame).map(|text| Some(text.into_boxed_str())),
        ValueRef::Integer(_) | ValueRef::Real(_) => Err(FromSqlError::InvalidType),
    }
}

/// Gives a connection the functions that statements use on texts.
pub fn add_functions(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("metadata_text", 2, flags, |context| {
        let text = unpack(context.get_raw(0))?;
        let key = context.get_raw(1).as_str()?;
        Ok(text.and_then(|text| metadata_text(&text, key)).map(String::from))
    })?;
    connection.create_scalar_function("text_contains", 2, flags, |context| contains(context, Keyword::is_in_text))?;
    connection.create_scalar_function("json_contains", 2, flags, |context| contains(context, Keyword::is_in_json))
}

/// Returns whether the first argument holds the second, a keyword.
fn contains(context: &Context<'_>, is_in: impl Fn(&Keyword, &str) -> bool) -> rusqlite::Result<bool> {
    // The keyword is the same for all rows: it is made ready once for a statement.
    let keyword = context.get_or_create_aux(1, |value| value.as_str().map(Keyword::new))?;
    let text = unpack(context.get_raw(0))?;
    Ok(text.is_some_and(|text| is_in(&keyword, &text)))
}

fn decompress(frame: &[u8]) -> FromSqlResult<String> {
    let size = match zstd::zstd_safe::get_frame_content_size(frame) {
        Ok(Some(size)) if size <= MAX_TEXT => usize::try_from(size).map_err(FromSqlError::other)?,
        _ => return Err(FromSqlError::Other("not a zstd frame of a text".into())),
    };
    let bytes = UNPACKER.with_borrow_mut(|unpacker| {
        let unpacker = match unpacker {
            Some(unpacker) => unpacker,
            none => none.insert(Decompressor::new()?),
        };
        unpacker.decompress(frame, size)
    });
    String::from_utf8(bytes.map_err(FromSqlError::other)?).map_err(FromSqlError::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_shrink_and_come_back() {
        for text in [r#"{"answer": "你好 🦀"}"#.repeat(50), "x".repeat(3 << 20)] {
            for frame in [pack(&text).unwrap(), pack_graph(&text).unwrap()] {
                assert!(frame.len() < text.len() / 4);
                assert_eq!(unpack(ValueRef::Blob(&frame)).unwrap().as_deref(), Some(text.as_str()));
            }
        }
    }

    #[test]
    fn short_texts_stay_as_they_are() {
        assert_eq!(pack(&"x".repeat(COMPRESS_FROM - 1)), None);
        assert_eq!(unpack(ValueRef::Text("é".as_bytes())).unwrap().as_deref(), Some("é"));
    }

    #[test]
    fn damage_is_an_error() {
        let frame = pack(&"abc".repeat(500)).unwrap();
        for broken in [&b""[..], b"{}", &frame[..frame.len() - 3], &[0xff; 40]] {
            assert!(unpack(ValueRef::Blob(broken)).is_err());
        }
        assert!(unpack(ValueRef::Text(&[0xff])).is_err());
        assert!(unpack(ValueRef::Integer(1)).is_err());
    }
}
