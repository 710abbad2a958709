//! Standard output and standard error of every command: one writer, which shows nothing that acts on a terminal, ends
//! quietly when its reader goes away, and says when the disk is full.

mod listing;

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::OnceLock;

pub(super) use self::listing::{ListCell, cut, glimpse, table};
use crate::domain::{printable, printable_block, printable_json, printable_lines};

/// Prints a line for people. Line breaks of the format stay; a foreign text in it goes through
/// [`crate::domain::printable`] first, or its line breaks would stay, too.
macro_rules! say {
    ($($argument:tt)*) => { $crate::cli::output::line(&format!($($argument)*)) };
}

/// Prints a JSON text and ends the line. Its values are exact; on a terminal, what acts is a `\u` escape.
macro_rules! say_json {
    ($($argument:tt)*) => { $crate::cli::output::json(&format!($($argument)*)) };
}

/// Prints a line on standard error.
macro_rules! complain {
    ($($argument:tt)*) => { $crate::cli::output::error_line(&format!($($argument)*)) };
}

pub(super) use {complain, say, say_json};

/// Bytes of [`JsonLines`] that are written at once.
const BLOCK: usize = 1 << 16;

/// Why nothing more can be printed. Work that changes something goes on without its output; reading stops.
static ENDED: OnceLock<io::Error> = OnceLock::new();

/// See [`say`].
pub(super) fn line(text: &str) {
    write(&[&*printable_block(text), "\n"]);
}

/// See [`say_json`].
pub(super) fn json(text: &str) {
    if io::stdout().is_terminal() {
        write(&[&*printable_json(text), "\n"]);
    } else {
        write(&[text, "\n"]);
    }
}

/// Many JSON texts, a line each, written by blocks.
#[derive(Default)]
pub(super) struct JsonLines(String);

impl JsonLines {
    pub fn push(&mut self, text: &str) {
        if io::stdout().is_terminal() {
            self.0.push_str(&printable_json(text));
        } else {
            self.0.push_str(text);
        }
        self.0.push('\n');
        if self.0.len() >= BLOCK {
            self.flush();
        }
    }

    pub fn flush(&mut self) {
        write(&[&*self.0]);
        self.0.clear();
    }
}

/// Prints text without ending the line, as for a question.
pub(super) fn part(text: &str) {
    write(&[&*printable_block(text)]);
}

/// See [`complain`].
pub(super) fn error_line(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", printable_lines(text));
}

/// Overwrites the last line of a terminal on standard error.
pub(super) fn overwrite(text: &str) {
    let _ = write!(io::stderr().lock(), "\r{}", printable_lines(text));
}

/// Returns texts under one another, each on one printable line.
pub(super) fn shown_lines<T: AsRef<str>>(texts: &[T]) -> String {
    texts.iter().map(|text| printable(text.as_ref())).collect::<Vec<_>>().join("\n")
}

fn write(parts: &[&str]) {
    if has_ended() {
        return;
    }
    let mut out = io::stdout().lock();
    let written = parts.iter().try_for_each(|part| out.write_all(part.as_bytes())).and_then(|()| out.flush());
    if let Err(error) = written {
        let _ = ENDED.set(error);
    }
}

/// Returns whether what is printed now is lost: a command that only reads has nothing left to do.
pub(super) fn has_ended() -> bool {
    ENDED.get().is_some()
}

/// Returns why the output is not whole; `None` if it is, or if its reader wanted no more of it.
pub(super) fn failure() -> Option<String> {
    let error = ENDED.get().filter(|error| error.kind() != io::ErrorKind::BrokenPipe)?;
    Some(format!("standard output: {error}; what was printed is not whole"))
}
