//! The state of a screen is its address: parameters by name, changed one at a time to make the links.

use std::fmt::Write as _;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use chrono_tz::Tz;

use crate::domain::Timestamp;
use crate::domain::query::TimeRange;
use crate::http::api::params::encoded;
use crate::http::api::problem::Problem;
use crate::query::{last, local_instant};

/// Presets of the time range, shortest first.
pub(super) const RANGES: [&str; 6] = ["1h", "6h", "24h", "7d", "30d", "all"];
const DEFAULT_RANGE: &str = "24h";
/// Parameters at most, and characters of a value.
const MOST: usize = 64;

/// The parameters of an address, in their order, repeated ones joined by commas, empty ones left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct AddressState(Vec<(String, String)>);

impl AddressState {
    /// Returns a parameter's value.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn owned(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    /// Returns the values of a parameter that holds several.
    pub(super) fn list(&self, name: &str) -> Vec<&str> {
        self.get(name).into_iter().flat_map(|text| text.split(',')).filter(|value| !value.is_empty()).collect()
    }

    /// Returns the same state with another value of a parameter, at the beginning of its list.
    pub(super) fn with(&self, name: &str, value: Option<&str>) -> Self {
        let mut pairs: Vec<_> =
            self.0.iter().filter(|(known, _)| known != name && known != "cursor" && known != "page").cloned().collect();
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            pairs.push((name.to_owned(), value.to_owned()));
        }
        Self(pairs)
    }

    /// Returns the same state over another span.
    pub(super) fn spanning(&self, from: Option<&str>, until: Option<&str>) -> Self {
        self.with("range", None).with("from", from).with("until", until)
    }

    /// Returns the same state over a preset range.
    pub(super) fn over(&self, range: &str) -> Self {
        self.spanning(None, None).with("range", Some(range))
    }

    /// With a value of a list added, or taken away if it was there.
    pub(super) fn toggled(&self, name: &str, value: &str) -> Self {
        let mut values = self.list(name);
        match values.iter().position(|known| *known == value) {
            Some(place) => {
                values.remove(place);
            }
            None => values.push(value),
        }
        let joined = values.join(",");
        self.with(name, Some(&joined))
    }

    /// Returns whether a list of a parameter holds a value.
    pub(super) fn holds(&self, name: &str, value: &str) -> bool {
        self.list(name).contains(&value)
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns a link to a path with this state.
    pub(super) fn href(&self, path: &str) -> String {
        let mut href = path.to_owned();
        for (place, (name, value)) in self.0.iter().enumerate() {
            let separator = if place == 0 { '?' } else { '&' };
            let _ = write!(href, "{separator}{}={}", encoded(name), encoded(value));
        }
        href
    }

    /// Refuses what no screen knows: a filter with a typing error must not find everything.
    pub(super) fn only(self, known: &[&str]) -> Result<Self, Problem> {
        let unknown = self.0.iter().find(|(name, _)| !known.contains(&name.as_str()));
        match unknown {
            Some((name, _)) => {
                let name: String = name.chars().take(100).collect();
                Err(Problem::param(&name, &format!("unknown parameter; there are: {}", known.join(", "))))
            }
            None => Ok(self),
        }
    }

    /// Returns the span of time that is looked at.
    pub(super) fn span(&self, zone: Tz, now: Timestamp) -> Result<Span, Problem> {
        let from = bound("from", self.get("from"), zone)?;
        let until = bound("until", self.get("until"), zone)?;
        if from.is_some() || until.is_some() {
            return Ok(Span { preset: None, created: TimeRange { from, until } });
        }
        let preset = self.get("range").unwrap_or(DEFAULT_RANGE);
        if preset == "all" {
            return Ok(Span { preset: Some("all".into()), created: TimeRange::default() });
        }
        let micros = last(preset).ok_or_else(|| Problem::param("range", "expected such as 30m, 24h, 7d, or all"))?;
        // Whole seconds, so that the links of one page are of one span.
        let begin = now.micros().saturating_sub(micros).max(0) / 1_000_000 * 1_000_000;
        let created = TimeRange { from: Timestamp::from_micros(begin).ok(), until: None };
        Ok(Span { preset: Some(preset.into()), created })
    }
}

/// A span of time and how it was chosen.
#[derive(Debug, Clone)]
pub(super) struct Span {
    /// `None`: by exact bounds.
    pub preset: Option<Box<str>>,
    pub created: TimeRange,
}

impl Span {
    /// Without bounds.
    pub(super) fn is_all(&self) -> bool {
        self.created == TimeRange::default()
    }
}

/// Returns an instant of an address: with an offset, or as a form writes it, in the viewer's zone.
fn bound(name: &str, text: Option<&str>, zone: Tz) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let local = text.replacen('T', " ", 1);
    if let Some(minute) = local.get(..16)
        && matches!(local.len(), 16 | 19)
        && let Some(at) = local_instant(minute, zone)
    {
        return Ok(Some(at));
    }
    let expected = || Problem::param(name, "expected such as 2025-12-01T08:00 or 2025-12-01T08:00:00Z");
    text.parse::<Timestamp>().map(Some).map_err(|_| expected())
}

impl<S: Send + Sync> FromRequestParts<S> for AddressState {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|rejection| Problem::bad_request(rejection.body_text()))?;
        if pairs.len() > MOST {
            return Err(Problem::bad_request("the address has too many parameters"));
        }
        let mut state = Vec::<(String, String)>::new();
        for (name, value) in pairs {
            // Forms send empty fields, and a space after a word is not meant.
            let value = value.trim();
            if value.is_empty() {
                continue;
            }
            match state.iter_mut().find(|(known, _)| *known == name) {
                Some((_, joined)) => {
                    joined.push(',');
                    joined.push_str(value);
                }
                None => state.push((name, value.to_owned())),
            }
        }
        Ok(Self(state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(pairs: &[(&str, &str)]) -> AddressState {
        AddressState(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn a_change_keeps_the_rest_and_leaves_the_page() {
        let state = state(&[("q", "a b&c"), ("status", "failed"), ("cursor", "x")]);
        assert_eq!(state.toggled("status", "stopped").href("/p"), "/p?q=a%20b%26c&status=failed,stopped");
        assert_eq!(state.toggled("status", "failed").href("/p"), "/p?q=a%20b%26c");
        assert_eq!(state.with("q", None).href("/p"), "/p?status=failed");
        assert!(state.only(&["q", "status"]).is_err());
    }

    #[test]
    fn spans_are_presets_or_bounds() {
        let now = "2025-12-20T12:00:00.5Z".parse().unwrap();
        let span = |pairs: &[(&str, &str)]| state(pairs).span(Tz::Asia__Shanghai, now).map(|span| span.created);
        let at = |text: &str| text.parse::<Timestamp>().ok();
        assert_eq!(span(&[]).unwrap(), TimeRange { from: at("2025-12-19T12:00:00Z"), until: None });
        assert_eq!(span(&[("range", "all")]).unwrap(), TimeRange::default());
        assert_eq!(
            span(&[("from", "2025-12-01T08:00"), ("until", "2025-12-02T00:00:00.000001Z")]).unwrap(),
            TimeRange { from: at("2025-12-01T00:00:00Z"), until: at("2025-12-02T00:00:00.000001Z") }
        );
        assert!(span(&[("range", "soon")]).is_err());
        assert!(span(&[("from", "yesterday")]).is_err());
    }
}
