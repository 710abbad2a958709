//! What stands beside a list: its facets, its histogram, its total. All of it is counted in one pass over the rows, but for
//! facets whose own filter is in force.

use std::cmp::Reverse;

use futures::future::{try_join, try_join_all};

use super::{VALUES, View};
use crate::domain::query::{Breakdown, Facet, FacetCount, HistogramBucket, ListFilter, Scoped};
use crate::http::api::problem::Problem;
use crate::http::ui::charts::{Bars, width};

/// A facet that is shown.
pub(in crate::http::ui) struct Counted<C> {
    facet: Facet,
    /// The query without the facet's own filter, where that is in force.
    without: Option<C>,
}

impl<C> Counted<C> {
    /// Returns a facet without a filter.
    pub(in crate::http::ui) const fn shown(facet: Facet) -> Self {
        Self { facet, without: None }
    }

    /// Returns a facet that counts what its own filter leaves out, too, so that one can change one's mind. `without` takes
    /// the filter out of the query.
    pub(in crate::http::ui) fn filtered(facet: Facet, query: &C, without: impl FnOnce(&mut C)) -> Self
    where
        C: Clone + PartialEq,
    {
        let mut other = query.clone();
        without(&mut other);
        Self { facet, without: (other != *query).then_some(other) }
    }
}

/// The counts beside a list.
pub(in crate::http::ui) struct ListCounts<const N: usize> {
    /// In the order in which they were asked for.
    pub facets: [Vec<FacetCount>; N],
    pub bars: Bars,
    pub total: u64,
}

/// Returns the statuses that most rows have, as many as a facet shows.
fn most_frequent(mut spans: Vec<(Box<str>, Vec<HistogramBucket>)>) -> Vec<(Box<str>, Vec<HistogramBucket>)> {
    spans.sort_by_key(|(_, buckets)| Reverse(buckets.iter().map(|bucket| bucket.count).sum::<u64>()));
    spans.truncate(VALUES);
    spans
}

impl View<'_> {
    /// Returns the counts beside the list of a query.
    pub(in crate::http::ui) async fn counts<C, const N: usize>(
        &self,
        query: &C,
        counted: [Counted<C>; N],
    ) -> Result<ListCounts<N>, Problem>
    where
        C: Clone + Sync,
        ListFilter: From<Scoped<C>>,
    {
        let logs = &self.reader.logs;
        let (created, now) = (self.span.created, self.reader.viewer.now);
        let seconds = width(created, now);
        let together = counted.iter().filter(|one| one.without.is_none()).map(|one| one.facet).collect();
        let together = Breakdown { facets: together, values: VALUES, seconds: Some(seconds) };
        let apart = counted.iter().filter_map(|one| Some((one.facet, one.without.as_ref()?)));
        let apart = apart.map(|(facet, query)| logs.facet(query, facet, VALUES));
        let (found, apart) = try_join(logs.break_down(query, &together), try_join_all(apart)).await?;
        let total = found.all_spans().map(|span| span.count).sum();
        let (mut together, mut apart) = (found.facets.into_iter(), apart.into_iter());
        let facets = counted.map(|one| {
            let counts = if one.without.is_some() { apart.next() } else { together.next() };
            counts.unwrap_or_default()
        });
        let bars = Bars::new(most_frequent(found.spans), created, now, seconds);
        Ok(ListCounts { facets, bars, total })
    }
}
