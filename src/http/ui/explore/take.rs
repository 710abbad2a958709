//! A view by the parameters of the API: what can be taken away, and how many newer rows there are.

use maud::{Markup, html};

use super::{ROWS, View};
use crate::http::api::params::encoded;

impl View<'_> {
    /// This view by the parameters of the API.
    pub(in crate::http::ui) fn parameters(&self, paged: bool) -> String {
        let mut pairs = self.conditions();
        let created = self.span.created;
        pairs.extend(created.from.map(|from| ("created_at_from", from.to_string())));
        pairs.extend(created.until.map(|until| ("created_at_until", until.to_string())));
        pairs.extend(self.state.owned("order").map(|order| ("order", order)));
        if paged {
            pairs.push(("limit", ROWS.to_string()));
            pairs.extend(["sort", "cursor"].into_iter().filter_map(|name| Some((name, self.state.owned(name)?))));
        }
        query_of(&pairs)
    }

    /// Returns where a script asks how many newer rows there are; `None` where newer rows do not belong on the page.
    pub(super) fn newer(&self, kind: &str) -> Option<String> {
        let is_newest_first = ["cursor", "sort", "order"].iter().all(|name| self.state.get(name).is_none());
        if !is_newest_first || self.span.created.until.is_some() {
            return None;
        }
        let mut pairs = self.conditions();
        pairs.push(("created_at_from", self.reader.viewer.now.to_string()));
        pairs.push(("limit", "1".to_owned()));
        Some(format!("/ui/data/{}/{kind}{}", self.reader.tenant_id(), query_of(&pairs)))
    }

    /// Returns the filters and the keyword by the parameters of the API.
    fn conditions(&self) -> Vec<(&str, String)> {
        let mut pairs: Vec<(&str, String)> = Vec::new();
        for (name, _) in self.filters {
            pairs.extend(self.state.owned(name).map(|value| (*name, value)));
        }
        if let Some(q) = self.state.owned("q") {
            pairs.extend([("q", q), ("in", self.within())]);
        }
        pairs
    }

    pub(in crate::http::ui) fn take_away(&self, kind: &str) -> Markup {
        let texts = self.texts();
        let base = format!("/ui/data/{}", self.reader.tenant_id());
        let all = self.parameters(false);
        html! {
            p.take { (texts.take_away) ": "
                a href={ (base) "/" (kind) (self.parameters(true)) } { "JSON" } " · "
                a href={ (base) "/export/" (kind) (all) "&format=csv" } { "CSV" } " · "
                a href={ (base) "/export/" (kind) (all) } { "NDJSON" }
            }
        }
    }
}

fn query_of(pairs: &[(&str, String)]) -> String {
    let joined = pairs.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&");
    format!("?{joined}")
}
