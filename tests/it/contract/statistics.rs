//! Statistics: exact, each record once, by local days and by spans.

use chrono_tz::Tz;
use difylog::domain::query::ListFilter as Rows;
use difylog::domain::query::{Breakdown, Facet, NodeFilter, RunFilter};

use crate::contract::queries::{fill, questions};
use crate::contract::subject::Subject;

/// With an hour that comes twice on one of the days, of whole hours, of a quarter of an hour, and none at all.
const ZONES: [Tz; 4] = [Tz::America__New_York, Tz::Asia__Shanghai, Tz::Asia__Kathmandu, Tz::UTC];

const FACETS: [Facet; 5] = [Facet::Status, Facet::AppId, Facet::TriggeredFrom, Facet::CreatedBy, Facet::NodeType];

pub async fn days_are_as_the_model_says(subject: &Subject) {
    let mut world = subject.world(8);
    let records = world.runs(150);
    let model = fill(subject, records).await;
    for zone in ZONES {
        for number in 0..questions() / ZONES.len() {
            let filter = if number == 0 { RunFilter::all(world.tenants[0]) } else { world.run_filter() };
            let expected = model.daily(&filter, zone);
            assert!(number > 0 || expected.iter().any(|day| day.tokens > i128::from(i64::MAX)));
            assert_eq!(subject.store.daily(&filter, zone).await.unwrap(), expected, "{zone} {filter:?}");
        }
    }
}

pub async fn facets_and_histograms_are_as_the_model_says(subject: &Subject) {
    let mut world = subject.world(9);
    let records = world.runs(100).into_iter().chain(world.nodes(100)).collect();
    let model = fill(subject, records).await;
    let all = [Rows::Runs(RunFilter::all(world.tenants[0])), Rows::Nodes(NodeFilter::all(world.tenants[1]))];
    let some: Vec<_> =
        (0..questions() / 6).flat_map(|_| [Rows::Runs(world.run_filter()), Rows::Nodes(world.node_filter())]).collect();
    for rows in all.iter().chain(&some) {
        for limit in [1, 3, 100] {
            let by = Breakdown { facets: FACETS.to_vec(), values: limit, seconds: None };
            let found = subject.store.break_down(rows, &by).await.unwrap();
            assert_eq!(found.facets, FACETS.map(|facet| model.facet(rows, facet, limit)), "{limit} {rows:?}");
        }
        let found = subject.store.facet(rows, Facet::Status, 3).await.unwrap();
        assert_eq!(found, model.facet(rows, Facet::Status, 3), "{rows:?}");
        for seconds in [1, 60, 3_600, 7_000, 86_400] {
            let found = subject.store.histogram(rows, seconds).await.unwrap();
            assert_eq!(found, model.histogram(rows, seconds), "{seconds} {rows:?}");
        }
        let by = Breakdown { facets: FACETS.to_vec(), values: 3, seconds: Some(3_600) };
        let found = subject.store.break_down(rows, &by).await.unwrap();
        assert_eq!(found.facets, FACETS.map(|facet| model.facet(rows, facet, 3)), "{rows:?}");
        assert_eq!(found.spans, model.spans(rows, 3_600), "{rows:?}");
        assert_eq!(found.other_spans, [], "{rows:?}");
    }
}
