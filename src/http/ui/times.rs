//! The choice of a time range: presets, and exact bounds in the viewer's zone.

use maud::{Markup, html};

use super::format::instant;
use super::state::{AddressState, RANGES, Span};
use super::viewer::Look;
use crate::domain::Timestamp;
use crate::domain::query::TimeRange;

/// Returns the links and the form that show the page of `path` over another span.
pub(super) fn time_bar(look: Look, state: &AddressState, span: &Span, path: &str) -> Markup {
    let texts = look.texts();
    let field = |at: Option<Timestamp>| at.map(|at| instant(at, look.zone, "%Y-%m-%dT%H:%M"));
    let exact = if span.preset.is_none() { span.created } else { TimeRange::default() };
    html! {
        div.times {
            div.presets role="group" aria-label=(texts.time) {
                @for range in RANGES {
                    a href=(state.over(range).href(path))
                        aria-current=[(span.preset.as_deref() == Some(range)).then_some("true")] {
                        @if range == "all" { (texts.all_time) } @else { (range) }
                    }
                }
            }
            details.exact open[span.preset.is_none()] {
                summary { (texts.exact) }
                form method="get" action=(path) {
                    // Another span begins at its first page.
                    @for (name, value) in state.pairs().filter(|(name, _)| !matches!(*name, "range" | "from" | "until" | "cursor" | "page")) {
                        input type="hidden" name=(name) value=(value);
                    }
                    label { (texts.from) input type="datetime-local" name="from" value=[field(exact.from)]; }
                    label { (texts.until) input type="datetime-local" name="until" value=[field(exact.until)]; }
                    button type="submit" { (texts.apply) }
                }
            }
        }
    }
}
