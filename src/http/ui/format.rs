//! Numbers, times and statuses as people read them.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use maud::{Markup, html};

use super::i18n::PageTexts;
use crate::domain::{Timestamp, printable};

/// Digits in groups of three.
pub(super) fn count(number: i128) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if number < 0 {
        shown.push('−');
    }
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// Seconds, in the unit that suits them.
pub(super) fn seconds(seconds: f64) -> String {
    match seconds {
        _ if !seconds.is_finite() || seconds < 0.0 => "–".to_owned(),
        0.0 => "0 s".to_owned(),
        _ if seconds < 0.001 => format!("{:.0} µs", seconds * 1e6),
        _ if seconds < 1.0 => format!("{:.0} ms", seconds * 1e3),
        _ if seconds < 10.0 => format!("{seconds:.2} s"),
        _ if seconds < 60.0 => format!("{seconds:.1} s"),
        _ => {
            let whole = seconds.round();
            let (minutes, rest) = ((whole / 60.0).floor(), whole % 60.0);
            if minutes < 60.0 {
                format!("{minutes:.0} min {rest:.0} s")
            } else {
                format!("{:.0} h {:.0} min", (minutes / 60.0).floor(), minutes % 60.0)
            }
        }
    }
}

/// Seconds of a record that may go on.
pub(super) fn took(elapsed: f64, finished_at: Option<Timestamp>) -> String {
    if finished_at.is_none() && elapsed == 0.0 { "–".to_owned() } else { seconds(elapsed) }
}

/// Bytes, in the unit that suits them.
pub(super) fn bytes(bytes: u64) -> String {
    let number = bytes as f64;
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KB", number / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MB", number / 1_048_576.0),
        _ => format!("{:.1} GB", number / 1_073_741_824.0),
    }
}

fn local(at: Timestamp, zone: Tz) -> DateTime<Tz> {
    DateTime::<Utc>::from_timestamp_micros(at.micros()).unwrap_or_default().with_timezone(&zone)
}

/// Returns an instant in a pattern of chrono's.
pub(super) fn instant(at: Timestamp, zone: Tz, pattern: &str) -> String {
    local(at, zone).format(pattern).to_string()
}

/// Returns an instant, to the second; the exact one is in the tooltip.
pub(super) fn time(at: Timestamp, zone: Tz) -> Markup {
    let exact = at.to_string();
    html! {
        time datetime=(exact) title=(exact) {
            span { (instant(at, zone, "%Y-%m-%d")) } " " span { (instant(at, zone, "%H:%M:%S")) }
        }
    }
}

/// Returns the first eight digits of an id.
pub(super) fn short(id: &str) -> String {
    id.chars().take(8).collect()
}

/// Returns a text of at most so many characters.
pub(super) fn clipped(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Foreign text on one line: what acts is written out, and its direction stays its own.
pub(super) fn line(text: &str, most: usize) -> Markup {
    html! { bdi { (printable(&clipped(text, most))) } }
}

/// Returns the class of a status: its colour, never the only mark of it.
pub(super) fn class(status: &str) -> &'static str {
    match status {
        "succeeded" => "ok",
        "failed" => "bad",
        "exception" | "partial-succeeded" => "warn",
        "running" | "pending" | "scheduled" => "live",
        "paused" => "wait",
        "retry" => "again",
        "stopped" => "off",
        _ => "other",
    }
}

/// Returns a status by shape, colour and word.
pub(super) fn status(texts: &PageTexts, status: &str) -> Markup {
    html! { span.status.(class(status)) { (mark(status)) bdi { (texts.status(status)) } } }
}

/// Returns the shape of a status alone.
pub(super) fn mark(status: &str) -> Markup {
    let shape = match class(status) {
        "ok" => "M3 8.5l3 3 7-7",
        "bad" => "M4 4l8 8M12 4l-8 8",
        "warn" => "M8 3v6M8 12v.5",
        "live" => "M8 2a6 6 0 1 1-6 6",
        "wait" => "M5.5 4v8M10.5 4v8",
        "again" => "M12 5a5 5 0 1 0 1 4M12 2v3H9",
        "off" => "M4.5 4.5h7v7h-7z",
        _ => "M4 8h8",
    };
    html! { svg.mark viewBox="0 0 16 16" aria-hidden="true" { path d=(shape) {} } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        for (number, shown) in [(0, "0"), (999, "999"), (1000, "1,000"), (-1_234_567, "−1,234,567")] {
            assert_eq!(count(number), shown);
        }
        for (number, shown) in [
            (0.0, "0 s"),
            (0.000_05, "50 µs"),
            (0.25, "250 ms"),
            (1.5, "1.50 s"),
            (12.34, "12.3 s"),
            (59.99, "60.0 s"),
            (61.0, "1 min 1 s"),
            (3725.0, "1 h 2 min"),
            (f64::NAN, "–"),
            (-1.0, "–"),
        ] {
            assert_eq!(seconds(number), shown);
        }
        assert_eq!((bytes(10), bytes(1536), bytes(5 << 20)), ("10 B".into(), "1.5 KB".into(), "5.0 MB".into()));
    }

    #[test]
    fn foreign_text_is_never_markup_and_does_not_act() {
        let shown = line("<b>\u{202e}x\u{0}\n", 100).into_string();
        assert_eq!(shown, r"<bdi>&lt;b&gt;\u{202e}x\x00\n</bdi>");
        assert_eq!(clipped("你好世界", 2), "你好…");
    }
}
