//! How log lines look: one event, one line, whatever is in its fields.

use std::fmt::{self, Debug};

use tracing::Subscriber;
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use crate::domain::printable;

/// The section `log.format` of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Starts logging to standard error. `filter` is a directive list such as `info` or `difylog=debug,lapin=warn`.
///
/// # Errors
/// If the filter cannot be read, or logging was started before.
pub fn install_logging(format: LogFormat, filter: &str) -> Result<(), String> {
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let subscriber = subscriber(format, filter, colours, std::io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|error| error.to_string())
}

/// Returns what writes events to `writer`, one line each. Text fields and messages hold foreign words (a task's name, a
/// server's complaint), so they are printed as [`printable`]; JSON escapes by itself.
fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    colours: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, String>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        // A closed standard error must not end the process.
        .log_internal_errors(false);
    Ok(match format {
        LogFormat::Text => Box::new(
            builder.fmt_fields(debug_fn(write_field).delimited(" ")).with_ansi(colours).with_target(false).finish(),
        ),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    })
}

fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    let text = format!("{value:?}");
    match field.name() {
        "message" => write!(writer, "{}", printable(&text)),
        name => write!(writer, "{name}={}", printable(&text)),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = subscriber(format, "info", false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let foreign = "x\r\n\x1b[31mRED\x07 \u{9b}2J \u{202e}";
            let span = tracing::info_span!("span", task = %foreign);
            let _entered = span.enter();
            tracing::warn!(detail = %foreign, debugged = ?foreign, text = foreign, number = 7, "of {foreign}");
        });
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn an_event_is_one_line_of_visible_characters_whatever_its_fields_hold() {
        let line = logged(LogFormat::Text);
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        let body = line.strip_suffix('\n').unwrap();
        assert_eq!(printable(body), body);
        assert!(body.contains("of x\\r\\n\\x1b[31mRED\\x07") && body.contains("detail=x\\r\\n"), "{body}");
        assert!(body.contains("number=7"), "{body}");
    }

    #[test]
    fn json_keeps_the_values() {
        let event: serde_json::Value = serde_json::from_str(&logged(LogFormat::Json)).unwrap();
        assert_eq!(event["detail"], "x\r\n\x1b[31mRED\x07 \u{9b}2J \u{202e}");
    }
}
