//! Tokens and price per model. The model of a call is in its payloads, so a bounded number of the newest calls is read; an
//! answer says how many.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde_json::value::RawValue;

use super::{NodeQuery, QueryError, TenantLogs};
use crate::domain::query::{Content, Page};
use crate::domain::{JsonText, NodeExecution, NodeStatus, Record, Timestamp};

/// Types of nodes that call a model and name it.
const TYPES: [&str; 3] = ["llm", "question-classifier", "parameter-extractor"];
/// What of a call is read.
const USAGE: Content = Content::Only(&["process_data", "execution_metadata"]);
/// Calls that are looked at, the newest, and bytes of what is read of them.
const MOST_CALLS: usize = 20_000;
const MOST_BYTES: usize = 256 << 20;
/// Time after which no further stretch is read.
const MOST_MICROS: i64 = 3_000_000;
/// Calls of one question.
const STRETCH: usize = 500;
/// Characters of a name that tell it from others.
const TELLING: usize = 100;
/// Characters of a price: more than any has.
const MOST_DIGITS: usize = 64;
/// Decimal places of a price. What a binary fraction adds behind them is rounded away.
const PLACES: u32 = 12;

/// What calls are added up by. A sum is of one currency.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModelKey {
    /// `None`: the calls do not name it. So for the others.
    pub provider: Option<Box<str>>,
    pub model: Option<Box<str>>,
    pub currency: Option<Box<str>>,
}

/// The calls of a model in one currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ModelUsage {
    pub calls: u64,
    pub tokens: i128,
    pub price: Decimal,
    /// Calls that do not say what they cost; they are not in the price.
    pub unpriced: u64,
}

/// Models of a query, most tokens first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelUsages {
    pub models: Vec<(ModelKey, ModelUsage)>,
    /// Calls that were looked at, the newest.
    pub looked_at: usize,
    /// There are older ones, which began before this instant or at it. `None`: all were looked at.
    pub cut_at: Option<Timestamp>,
}

/// Returns the members of an object by name; of those with the same name the last counts, as in Python.
fn members(text: &str) -> BTreeMap<Cow<'_, str>, &RawValue> {
    serde_json::from_str(text).unwrap_or_default()
}

/// Returns a name, clipped; what is no text or empty names nothing.
fn name(value: Option<&&RawValue>) -> Option<Box<str>> {
    let text: Cow<'_, str> = serde_json::from_str(value?.get()).ok()?;
    let clipped: String = text.chars().take(TELLING).collect();
    (!clipped.trim().is_empty()).then(|| clipped.into())
}

/// Returns the digits of a number, which may be written as a text.
fn digits<'a>(value: Option<&&'a RawValue>) -> Option<&'a str> {
    let raw = value?.get();
    Some(raw.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(raw))
}

/// Returns a price, never through a binary fraction.
fn price_of(value: Option<&&RawValue>) -> Option<Decimal> {
    let digits = digits(value).filter(|digits| digits.len() <= MOST_DIGITS)?;
    let read = if digits.contains(['e', 'E']) { Decimal::from_scientific(digits) } else { digits.parse() };
    read.ok().filter(|price| !price.is_sign_negative()).map(|price| price.round_dp(PLACES).normalize())
}

/// Returns what one call used. The usage that the call itself was answered with has prices as they were computed; the metadata,
/// which count where there is none, have them as binary fractions.
fn usage(node: &NodeExecution) -> (ModelKey, ModelUsage) {
    let process = members(node.process_data.as_ref().map_or("", JsonText::as_str));
    let metadata = members(node.execution_metadata.as_ref().map_or("", JsonText::as_str));
    let answered = members(process.get("usage").map_or("", |usage| usage.get()));
    let price = |from: &BTreeMap<Cow<'_, str>, &RawValue>| {
        Some((price_of(from.get("total_price"))?, name(from.get("currency"))))
    };
    let tokens = |from: &BTreeMap<Cow<'_, str>, &RawValue>| digits(from.get("total_tokens"))?.parse::<u64>().ok();
    let tokens = tokens(&metadata).or_else(|| tokens(&answered));
    let (price, currency) = price(&answered).or_else(|| price(&metadata)).map_or((None, None), |(p, c)| (Some(p), c));
    let key = ModelKey {
        provider: name(process.get("model_provider")),
        model: name(process.get("model_name")),
        currency: currency.or_else(|| name(metadata.get("currency"))),
    };
    let unpriced = u64::from(price.is_none());
    (key, ModelUsage { calls: 1, tokens: tokens.unwrap_or(0).into(), price: price.unwrap_or_default(), unpriced })
}

impl ModelUsage {
    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.tokens += other.tokens;
        self.price = self.price.saturating_add(other.price).normalize();
        self.unpriced += other.unpriced;
    }
}

impl TenantLogs {
    /// Returns tokens and price per model and currency over the newest ended calls of a query: 20,000 of them, or 256 MB of
    /// payloads, or as many as three seconds allow. `query.node_types` and `query.statuses` do not count.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub async fn model_usage(&self, query: &NodeQuery) -> Result<ModelUsages, QueryError> {
        let node_types = TYPES.map(Into::into).into();
        let statuses = NodeStatus::ENDED.map(Into::into).into();
        let list = self.reader.list(&NodeQuery { node_types, statuses, ..query.clone() });
        let end = self.reader.now().micros().saturating_add(MOST_MICROS);
        let mut sums = BTreeMap::<ModelKey, ModelUsage>::new();
        let (mut page, mut looked_at, mut bytes, mut cut_at) = (Page::newest(STRETCH), 0, 0, None);
        loop {
            let found = self.reader.documents(&list, &page, USAGE).await?;
            for document in found.documents {
                bytes += document.whole_footprint();
                let Record::Node(node) = self.shown(document).record else { continue };
                looked_at += 1;
                cut_at = Some(node.created_at);
                let (key, used) = usage(&node);
                sums.entry(key).or_default().add(used);
            }
            let Some(next) = found.next else {
                cut_at = None;
                break;
            };
            if looked_at >= MOST_CALLS || bytes > MOST_BYTES || self.reader.now().micros() > end {
                break;
            }
            page.after = Some(next);
        }
        let mut models: Vec<_> = sums.into_iter().collect();
        models.sort_by_key(|(_, used)| std::cmp::Reverse((used.tokens, used.calls)));
        Ok(ModelUsages { models, looked_at, cut_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(process_data: &str, metadata: &str) -> (ModelKey, ModelUsage) {
        let json = |text: &str| (!text.is_empty()).then(|| JsonText::from_clean(text.to_owned()));
        let (process_data, execution_metadata) = (json(process_data), json(metadata));
        usage(&NodeExecution { process_data, execution_metadata, ..NodeExecution::default() })
    }

    fn shown(process_data: &str, metadata: &str) -> [String; 5] {
        let (key, used) = used(process_data, metadata);
        let text = |name: Option<Box<str>>| name.map_or_else(|| "-".to_owned(), Into::into);
        let price = if used.unpriced == 1 { "-".to_owned() } else { used.price.to_string() };
        [text(key.provider), text(key.model), text(key.currency), used.tokens.to_string(), price]
    }

    #[test]
    fn a_call_says_what_it_used() {
        let named = r#"{"model_provider": "p", "model_name": "m", "usage": {"total_tokens": 5, "total_price": "0.002428", "currency": "USD"}}"#;
        let metadata = r#"{"total_tokens": 7, "total_price": 0.0024280000000000003, "currency": "EUR"}"#;
        assert_eq!(shown(named, metadata), ["p", "m", "USD", "7", "0.002428"]);
        assert_eq!(shown(named, ""), ["p", "m", "USD", "5", "0.002428"]);
        assert_eq!(shown(r#"{"model_name": "m"}"#, metadata), ["-", "m", "EUR", "7", "0.002428"]);
        assert_eq!(shown("", ""), ["-", "-", "-", "0", "-"]);
        assert_eq!(shown("", r#"{"total_price": 2.8e-05}"#), ["-", "-", "-", "0", "0.000028"]);
    }

    #[test]
    fn prices_are_added_as_they_are_written() {
        let sum = |price: &str, times: u32| {
            let raw: Box<RawValue> = serde_json::from_str(price).unwrap();
            let used = ModelUsage { price: price_of(Some(&&*raw)).unwrap(), ..ModelUsage::default() };
            let mut all = ModelUsage::default();
            (0..times).for_each(|_| all.add(used));
            all.price.to_string()
        };
        for (price, times, expected) in [
            ("0.1", 3, "0.3"),
            ("0.30000000000000004", 10, "3"),
            ("\"0.0024280\"", 1_000, "2.428"),
            ("2.8e-05", 1_000_000, "28"),
            ("0", 5, "0"),
            ("79228162514264337593543950335", 2, "79228162514264337593543950335"),
        ] {
            assert_eq!(sum(price, times), expected, "{price}");
        }
    }

    #[test]
    fn what_is_none_of_that_is_not_counted() {
        for process_data in
            ["[]", "null", "7", r#"{"model_name": 3, "usage": []}"#, r#"{"model_name": "  ", "usage": "x"}"#, "{"]
        {
            assert_eq!(shown(process_data, ""), ["-", "-", "-", "0", "-"], "{process_data}");
        }
        for metadata in [
            r#"{"total_tokens": -5, "total_price": -1, "currency": 3}"#,
            r#"{"total_tokens": 1.5, "total_price": "much"}"#,
            r#"{"total_tokens": 99999999999999999999, "total_price": 1e300}"#,
            r#"{"total_tokens": {}, "total_price": []}"#,
        ] {
            assert_eq!(shown("", metadata), ["-", "-", "-", "0", "-"], "{metadata}");
        }
        let twice = r#"{"total_tokens": 1, "total_tokens": 2}"#;
        assert_eq!(shown("", twice)[3], "2");
        let long = format!(r#"{{"model_name": "{}"}}"#, "m".repeat(100_000));
        assert_eq!(shown(&long, "")[1].len(), TELLING);
    }
}
