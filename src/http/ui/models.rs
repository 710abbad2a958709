//! Tokens and price per model of an app, as a table with a bar for the tokens. It says how many calls it is of.

use maud::{Markup, html};

use super::explore::View;
use super::format::{count, line, time};
use crate::domain::AppId;
use crate::domain::query::TimeRange;
use crate::http::api::params::encoded;
use crate::query::{ModelUsages, NodeQuery};

/// Rows shown.
const MOST_MODELS: usize = 50;

/// Returns the calls of an app in a span.
pub(super) fn query(app_id: AppId, created: TimeRange) -> NodeQuery {
    NodeQuery { app_id: Some(app_id), created, ..NodeQuery::default() }
}

/// Returns a price with its whole part in groups.
fn price(price: rust_decimal::Decimal) -> String {
    let text = price.to_string();
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), ""), |(whole, fraction)| (whole, fraction));
    let whole = whole.parse().map_or_else(|_| whole.to_owned(), count);
    if fraction.is_empty() { whole } else { format!("{whole}.{fraction}") }
}

/// Returns the section of the calls of an app in a span.
pub(super) fn section(view: &View<'_>, app_id: AppId, created: TimeRange, found: &ModelUsages) -> Markup {
    let texts = view.texts();
    let zone = view.reader.viewer.look.zone;
    let spans = [("created_at_from", created.from), ("created_at_until", created.until)];
    let spans = spans.into_iter().filter_map(|(name, at)| Some(format!("&{name}={}", encoded(&at?.to_string()))));
    let more = found.models.len().saturating_sub(MOST_MODELS);
    let most = found.models.iter().map(|(_, used)| used.tokens).max().unwrap_or(0).max(1) as f64;
    let named = |name: &Option<Box<str>>| html! { @match name { Some(name) => (line(name, 60)), None => span.faint { (texts.not_named) } } };
    html! {
        section.models {
            h2 { (texts.per_model) }
            @match found.cut_at {
                None => { p.faint { (texts.models_all) " " (count(found.looked_at as i128)) } }
                Some(at) => { p.note { (texts.models_newest) " " (count(found.looked_at as i128)) ". " (texts.models_oldest) " " (time(at, zone)) } }
            }
            @if !found.models.is_empty() {
                p.take { (texts.take_away) ": "
                    a href={ "/ui/data/" (view.reader.tenant_id()) "/nodes/models?app_id=" (app_id) (spans.collect::<String>()) } { "JSON" } }
                table.framed {
                    thead { tr {
                        th scope="col" { (texts.model) }
                        th.wide scope="col" { (texts.provider) }
                        th.number scope="col" { (texts.calls) }
                        th.number scope="col" { (texts.tokens) }
                        th.wide scope="col" { span.sr { (texts.tokens) } }
                        th.number scope="col" { (texts.price) }
                    } }
                    tbody { @for (key, used) in found.models.iter().take(MOST_MODELS) { tr {
                        th scope="row" { (named(&key.model)) }
                        td.wide { (named(&key.provider)) }
                        td.number { (count(used.calls.into())) }
                        td.number { (count(used.tokens)) }
                        td.wide { svg.amount viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" {
                            rect.plain height="8" width=(format!("{:.1}", used.tokens as f64 / most * 100.0)) {}
                        } }
                        td.number {
                            @if used.unpriced == used.calls { "–" } @else { (price(used.price)) " " (line(key.currency.as_deref().unwrap_or("?"), 20)) }
                            @if used.unpriced > 0 && used.unpriced < used.calls { br; span.faint { (texts.unpriced) " " (count(used.unpriced.into())) } }
                        }
                    } } }
                }
            }
            @if more > 0 { p.note { "+" (count(more as i128)) " " (texts.more_models) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_has_all_its_places() {
        for (digits, shown) in [("1234567.000012", "1,234,567.000012"), ("0.5", "0.5"), ("12", "12")] {
            assert_eq!(price(digits.parse().unwrap()), shown);
        }
    }
}
