//! The parts that the explorers of runs and nodes share: search, time range, facets, pages, and what to take away.

mod counts;
mod take;

pub(super) use self::counts::{Counted, ListCounts};

use std::sync::OnceLock;

use maud::{Markup, html};

use super::access::PageReader;
use super::charts::Bars;
use super::format::{count, line, short};
use super::i18n::PageTexts;
use super::layout::{Screen, path};
use super::names;
use super::state::{AddressState, Span};
use super::states::nothing;
use super::times::time_bar;
use crate::domain::query::FacetCount;
use crate::domain::{AppId, Timestamp};
use crate::http::api::params::Paging;
use crate::http::api::problem::Problem;
use crate::query::{AppNames, SearchPage, Snippet};

/// Rows of a page.
pub(super) const ROWS: u16 = 50;
/// Values of a facet.
pub(super) const VALUES: usize = 8;

/// One explorer with its state.
pub(super) struct View<'a> {
    pub reader: &'a PageReader,
    pub state: &'a AddressState,
    pub span: &'a Span,
    pub screen: Screen,
    /// What is searched in: name of the parameter's value, and the word for it.
    pub fields: &'a [(&'static str, &'static str)],
    /// Where a keyword is looked for unless it is said: what every store has indexed.
    pub searched: &'static str,
    /// The filters that are shown as facets or chips.
    pub filters: &'a [(&'static str, &'static str)],
    /// What the apps that it shows are called, once that was looked up.
    pub apps: OnceLock<AppNames>,
}

/// What an explorer shows of the records that it found.
pub(super) struct Results<'a> {
    pub bars: &'a Bars,
    /// What a bar counts.
    pub per_span: &'a str,
    pub total: u64,
    /// The list of the API that has the same rows.
    pub list: &'a str,
    pub table: Markup,
    pub next: Option<&'a str>,
}

impl View<'_> {
    pub(super) fn texts(&self) -> &'static PageTexts {
        self.reader.viewer.look.texts()
    }

    /// Looks up what these apps are called, and the one that is filtered by.
    pub(super) async fn learn(&self, mut apps: Vec<AppId>) {
        apps.extend(self.state.get("app_id").and_then(|id| id.parse::<AppId>().ok()));
        let names = self.reader.logs.app_names(apps).await;
        let _ = self.apps.set(names);
    }

    /// Returns an app by the text of its id.
    pub(super) fn app(&self, id: &str) -> Markup {
        match self.apps.get() {
            Some(known) => names::app(known, id),
            None => names::app(&AppNames::default(), id),
        }
    }

    /// Says so where names could not be looked up.
    pub(super) fn names_note(&self, creators_missing: bool) -> Markup {
        let missing = creators_missing || self.apps.get().is_some_and(AppNames::are_missing);
        html! { @if missing { p.note { (self.texts().names_missing) } } }
    }

    pub(super) fn path(&self) -> String {
        path(self.reader.tenant_id(), self.screen)
    }

    pub(super) fn href(&self, state: &AddressState) -> String {
        state.href(&self.path())
    }

    /// Returns the same view over another preset range, from its first page.
    pub(super) fn over(&self, range: &str) -> String {
        self.href(&self.state.over(range))
    }

    /// Returns what stands where nothing was found: the way to all time, unless it is that already, and out of the
    /// filters.
    pub(super) fn none_found(&self, text: &str, without_filters: Option<&str>) -> Markup {
        let longer = (!self.span.is_all()).then(|| self.over("all"));
        nothing(self.reader.viewer.look, text, longer.as_deref(), without_filters)
    }

    /// Returns the facets beside what was found; `None`: nothing was.
    pub(super) fn explorer(&self, facets: &Markup, results: Option<&Results<'_>>) -> Markup {
        let texts = self.texts();
        html! {
            div.explorer {
                aside { details.facets open { summary { (texts.filters) } (facets) } }
                div.results { @match results {
                    None => { (self.none_found(texts.none, Some(&self.without_filters()))) }
                    Some(found) => {
                        (found.bars.markup(texts, found.per_span, self.state, self.reader.viewer.look.zone))
                        @if let Some(newer) = self.newer(found.list) {
                            p.newer role="status" data-newer=(newer) data-word=(texts.newer) { a href=(self.href(self.state)) hidden { (texts.newer) } }
                        }
                        div.above { (total(texts, found.total)) (self.take_away(found.list)) }
                        (found.table)
                        (self.pager(found.next))
                    }
                } }
            }
        }
    }

    /// Returns where a keyword is looked for.
    pub(super) fn within(&self) -> String {
        self.state.get("in").unwrap_or(self.searched).to_owned()
    }

    /// Returns the page of the search.
    pub(super) fn search_page(&self) -> Result<SearchPage, Problem> {
        let state = self.state;
        let paging = Paging {
            cursor: state.owned("cursor"),
            limit: Some(ROWS),
            sort: state.owned("sort"),
            order: state.owned("order"),
        };
        // The total comes with the other counts.
        Ok(SearchPage { count_to: None, ..paging.page()? })
    }

    pub(super) fn search_bar(&self, hint: &str) -> Markup {
        let texts = self.texts();
        let within = self.within();
        html! {
            form.search role="search" method="get" action=(self.path()) {
                @for (name, value) in self.state.pairs().filter(|(name, _)| !matches!(*name, "q" | "in" | "cursor" | "page")) {
                    input type="hidden" name=(name) value=(value);
                }
                label.sr for="q" { (texts.search) }
                input #q type="search" name="q" value=[self.state.get("q")] placeholder=(hint) maxlength="1000" autocomplete="off";
                @if !self.fields.is_empty() { fieldset { legend { (texts.search_in) } @for (name, word) in self.fields {
                    label { input type="checkbox" name="in" value=(name) checked[within.split(',').any(|known| known == *name)]; (word) }
                } } }
                button type="submit" { (texts.search) }
            }
        }
    }

    pub(super) fn time_bar(&self) -> Markup {
        time_bar(self.reader.viewer.look, self.state, self.span, &self.path())
    }

    /// Returns the filters in force, each with a link that takes it away.
    pub(super) fn chips(&self) -> Markup {
        let texts = self.texts();
        let set: Vec<_> =
            self.filters.iter().filter_map(|(name, word)| Some((*name, *word, self.state.get(name)?))).collect();
        html! {
            @if !set.is_empty() {
                ul.chips aria-label=(texts.filters) {
                    @for (name, word, value) in &set {
                        li { span { (word) ": " } @match *name {
                            "status" => { (value.split(',').map(|status| texts.status(status)).collect::<Vec<_>>().join(", ")) }
                            "app_id" => { (self.app(value)) }
                            _ => { (line(&shown(value), 60)) }
                        } " " a href=(self.href(&self.state.with(name, None))) aria-label={ (texts.remove) ": " (word) } { "×" } }
                    }
                    @if set.len() > 1 || self.state.get("q").is_some() { li.last { a href=(self.without_filters()) { (texts.reset) } } }
                }
            }
        }
    }

    pub(super) fn without_filters(&self) -> String {
        let bare = self
            .filters
            .iter()
            .fold(self.state.with("q", None).with("in", None), |state, (name, _)| state.with(name, None));
        self.href(&bare)
    }

    /// Returns the counts of a facet; each value switches its filter.
    pub(super) fn facet(&self, name: &str, word: &str, found: &[FacetCount]) -> Markup {
        let texts = self.texts();
        html! {
            @if !found.is_empty() {
                section.facet {
                    h2 { (word) }
                    ul { @for FacetCount { value, count: number } in found.iter().take(VALUES) {
                        @let chosen = self.state.holds(name, value);
                        li { a href=(self.href(&self.switched(name, value))) aria-current=[chosen.then_some("true")] {
                            span.value { @match name {
                                "status" => { (super::format::status(texts, value)) }
                                "app_id" => { (self.app(value)) }
                                _ => { (line(value, 40)) }
                            } }
                            span.number { (count((*number).into())) }
                        } }
                    } }
                }
            }
        }
    }

    fn switched(&self, name: &str, value: &str) -> AddressState {
        // The API takes one app, and any of several statuses.
        if name == "app_id" {
            self.state.with(name, (!self.state.holds(name, value)).then_some(value))
        } else {
            self.state.toggled(name, value)
        }
    }

    /// Returns a column's head that sorts by it.
    pub(super) fn sorted(&self, by: &str, word: &str, class: &str) -> Markup {
        let is_current = self.state.get("sort").unwrap_or("created_at") == by;
        let ascending = self.state.get("order") == Some("asc");
        let order = if is_current && !ascending { Some("asc") } else { None };
        let next = self.state.with("sort", (by != "created_at").then_some(by)).with("order", order);
        let direction = if ascending { "ascending" } else { "descending" };
        html! {
            th.(class) scope="col" aria-sort=[is_current.then_some(direction)] {
                a href=(self.href(&next)) { (word) @if is_current { span aria-hidden="true" { @if ascending { " ↑" } @else { " ↓" } } } }
            }
        }
    }

    /// Returns how many, and where the next ones are. The next page is of exactly this span, however much later it is
    /// asked for.
    pub(super) fn pager(&self, next: Option<&str>) -> Markup {
        let texts = self.texts();
        let fixed = || {
            let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
            let created = self.span.created;
            if self.span.is_all() {
                self.state.with("range", Some("all"))
            } else {
                self.state.spanning(text(created.from).as_deref(), text(created.until).as_deref())
            }
        };
        html! {
            nav.pager aria-label=(texts.page) {
                @if self.state.get("cursor").is_some() { a.button.quiet href=(self.href(&self.state.with("cursor", None))) { (texts.first) } }
                @if let Some(next) = next { a.button rel="next" href=(self.href(&fixed().with("cursor", Some(next)))) { (texts.next) } }
            }
        }
    }
}

/// Returns the apps of a facet.
pub(super) fn apps_of(found: &[FacetCount]) -> Vec<AppId> {
    found.iter().filter_map(|app| app.value.parse().ok()).collect()
}

/// Returns a filter's value: an id is short.
fn shown(value: &str) -> String {
    if value.parse::<uuid::Uuid>().is_ok() { short(value) } else { value.to_owned() }
}

/// Returns how many a search found.
pub(super) fn total(texts: &PageTexts, total: u64) -> Markup {
    html! { p.total role="status" { strong { (count(total.into())) } " " (texts.found) } }
}

/// Returns where the keyword stands, marked.
pub(super) fn snippet(snippet: &Snippet, word: &str) -> Markup {
    let characters: Vec<char> = snippet.text.chars().collect();
    let part = |from: usize, to: usize| {
        let text: String = characters.get(from..to.min(characters.len())).unwrap_or_default().iter().collect();
        crate::domain::printable(&text).into_owned()
    };
    let mut parts = Vec::new();
    let mut done = 0;
    for place in &snippet.highlights {
        parts.push((false, part(done, place.start)));
        parts.push((true, part(place.start, place.end)));
        done = place.end;
    }
    parts.push((false, part(done, characters.len())));
    html! {
        p.snippet { span.field { (word) } bdi { "…" @for (marked, text) in parts {
            @if marked { mark { (text) } } @else { (text) }
        } "…" } }
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "the ranges are places in a text")]
mod tests {
    use super::*;
    use crate::domain::query::TextField;

    #[test]
    fn a_snippet_marks_its_places_and_is_never_markup() {
        let found = Snippet { field: TextField::Inputs, text: "<b>你好</b>".into(), highlights: vec![3..5] };
        let shown = snippet(&found, "Inputs").into_string();
        assert!(shown.contains("&lt;b&gt;<mark>你好</mark>&lt;/b&gt;"), "{shown}");
        let beyond = Snippet { field: TextField::Inputs, text: "ab".into(), highlights: vec![1..9, 12..14] };
        assert!(snippet(&beyond, "Inputs").into_string().contains("a<mark>b</mark>"));
    }
}
