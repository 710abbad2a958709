//! The parameters of a console request. What is unknown, given twice or not plainly right is Dify's to judge.

use std::collections::HashMap;

use axum::http::Uri;

use super::answer::PassOnReason;
use crate::domain::{RecordId, Timestamp};

pub(super) const JUDGE: PassOnReason = PassOnReason::Dify("parameters that Dify judges");

/// Parameters by name.
pub(super) struct Query(HashMap<String, String>);

impl Query {
    /// # Errors
    /// A parameter that is given twice.
    pub(super) fn of(uri: &Uri) -> Result<Self, PassOnReason> {
        let mut all = HashMap::new();
        for (name, value) in url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            if all.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(JUDGE);
            }
        }
        Ok(Self(all))
    }

    /// # Errors
    /// A parameter that is not among `known`.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), PassOnReason> {
        if self.0.keys().all(|name| known.contains(&name.as_str())) { Ok(()) } else { Err(JUDGE) }
    }

    /// Returns a parameter; an empty one is none.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// Returns a number from `least` to `most`, or `default` if there is none.
    ///
    /// # Errors
    /// Anything else.
    pub(super) fn number(&self, name: &str, default: usize, least: usize, most: usize) -> Result<usize, PassOnReason> {
        let Some(text) = self.0.get(name) else { return Ok(default) };
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        number.ok_or(JUDGE)
    }

    /// Returns one of `values`, `None` if there is none.
    ///
    /// # Errors
    /// Anything else.
    pub(super) fn one_of(&self, name: &str, values: &[&'static str]) -> Result<Option<&'static str>, PassOnReason> {
        let Some(text) = self.0.get(name) else { return Ok(None) };
        values.iter().find(|value| *value == text).map(|value| Some(*value)).ok_or(JUDGE)
    }

    /// Returns a hyphenated uuid.
    ///
    /// # Errors
    /// Anything else.
    pub(super) fn id(&self, name: &str) -> Result<Option<RecordId>, PassOnReason> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| JUDGE)
    }

    /// Returns an instant with an offset, or without one in UTC.
    ///
    /// # Errors
    /// Anything else.
    pub(super) fn instant(&self, name: &str) -> Result<Option<Timestamp>, PassOnReason> {
        let Some(text) = self.text(name) else { return Ok(None) };
        Timestamp::bound(text).map(Some).map_err(|_| JUDGE)
    }
}

/// Returns a path with parameters behind it, encoded.
pub(super) fn with_query<'a>(path: &str, parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(parameters);
    format!("{path}?{}", query.finish())
}
