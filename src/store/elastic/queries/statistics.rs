//! Numbers over many records: runs per day, counts per value, counts per span. Exact: everything is counted by composite
//! aggregations, which the engines page and do not estimate; nothing is sampled, sketched or cut.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use chrono_tz::Tz;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::rows::AsText;
use super::super::search::EngineReader;
use super::Outcome;
use super::buckets::{Bucket, Stats};
use super::conditions::EngineQuestion;
use super::zones::{self, Stretch};
use crate::domain::query::{Breakdown, BreakdownCounts, BreakdownTally, Day, DayTallies};
use crate::domain::{FaultKind, RecordId, SinkFault, Timestamp};

#[derive(Deserialize)]
struct Ends {
    first: End,
    last: End,
}

#[derive(Deserialize)]
struct End {
    /// Milliseconds; none where nothing is found.
    value: Option<f64>,
}

#[derive(Deserialize)]
struct UserKey {
    /// Milliseconds.
    day: i64,
    user: AsText<RecordId>,
}

#[derive(Deserialize)]
struct TokensKey {
    /// Milliseconds.
    day: i64,
    tokens: i64,
}

#[derive(Deserialize)]
struct BreakdownKey {
    value: String,
    /// Milliseconds; only where rows are counted by time.
    #[serde(default)]
    span: i64,
}

impl EngineReader<'_> {
    pub(super) async fn daily(&self, question: EngineQuestion, zone: Tz) -> Result<Vec<Day>, SinkFault> {
        let question = self.without_superseded(question).await?;
        let Some((first, last)) = self.ends(&question).await? else { return Ok(Vec::new()) };
        let mut days = DayTallies::default();
        for stretch in zones::stretches(zone, first, last) {
            let mut question = question.clone();
            question.created(stretch.range);
            self.tally(&question, &stretch, &mut days).await?;
        }
        Ok(days.finish())
    }

    /// Adds up a stretch of time, by day and user.
    async fn tally(
        &self,
        question: &EngineQuestion,
        stretch: &Stretch,
        days: &mut DayTallies,
    ) -> Result<(), SinkFault> {
        let day = day_source(stretch);
        let user = json!({ "user": { "terms": { "field": "created_by" } } });
        let stats = json!({ "tokens": { "stats": { "field": "total_tokens" } } });
        let mut tokens = BTreeMap::<_, i128>::new();
        let mut is_exact = true;
        self.each_bucket(question, &json!([day, user]), Some(&stats), |bucket: Bucket<UserKey>| {
            let date = zones::date(bucket.key.day.div_euclid(1_000), stretch.offset);
            days.add_runs(date, bucket.key.user.0, bucket.doc_count);
            match bucket.tokens.as_ref().and_then(Stats::exact_sum) {
                Some(sum) => *tokens.entry(date).or_default() += sum,
                None => is_exact = false,
            }
        })
        .await?;
        if !is_exact {
            // The engines add up doubles. Where that may have rounded, the rows are counted by value, and added up here.
            tokens.clear();
            let value = json!({ "tokens": { "terms": { "field": "total_tokens" } } });
            self.each_bucket(question, &json!([day, value]), None, |bucket: Bucket<TokensKey>| {
                let date = zones::date(bucket.key.day.div_euclid(1_000), stretch.offset);
                *tokens.entry(date).or_default() += i128::from(bucket.key.tokens) * i128::from(bucket.doc_count);
            })
            .await?;
        }
        for (date, sum) in tokens {
            days.add_tokens(date, sum);
        }
        Ok(())
    }

    /// Returns the first and the last `created_at` that a question finds, to the millisecond.
    async fn ends(&self, question: &EngineQuestion) -> Result<Option<(Timestamp, Timestamp)>, SinkFault> {
        let of = |end: &str| json!({ end: { "field": "created_at" } });
        let body = json!({ "size": 0, "aggs": { "first": of("min"), "last": of("max") } });
        let outcome: Outcome<Ends> = self.ask(question, body).await?;
        let Some(Ends { first: End { value: Some(first) }, last: End { value: Some(last) } }) = outcome.aggregations
        else {
            return Ok(None);
        };
        #[allow(clippy::cast_possible_truncation, reason = "milliseconds since 1970 are whole below 2^53")]
        let instant = |milliseconds: f64| {
            let at = Timestamp::from_micros((milliseconds as i64).saturating_mul(1_000));
            at.map_err(|_| SinkFault::new(FaultKind::Malformed, "created_at is at no instant"))
        };
        Ok(Some((instant(first)?, instant(last)?)))
    }

    /// Counts by value and by span in one search as far as the buckets of each fit into an answer, which is most often all.
    pub(super) async fn break_down(
        &self,
        question: EngineQuestion,
        by: &Breakdown,
    ) -> Result<BreakdownCounts, SinkFault> {
        let terms = |field: &str| json!({ "terms": { "field": field } });
        let columns =
            by.facets.iter().enumerate().filter_map(|(place, facet)| Some((place, facet.column(question.kind)?)));
        let mut groups: Vec<_> =
            columns.map(|(place, column)| (Counted::Value(place), json!([{ "value": terms(column) }]))).collect();
        if let Some(seconds) = by.seconds {
            let interval = format!("{}s", seconds.max(1));
            let span = json!({ "date_histogram": { "field": "created_at", "fixed_interval": interval } });
            groups.push((Counted::Span, json!([{ "value": terms("status") }, { "span": span }])));
        }
        let question = self.without_superseded(question).await?;
        let mut tally = BreakdownTally::new(by);
        self.each_bucket_of(&question, &groups, None, |counted, bucket: Bucket<BreakdownKey>| {
            let BreakdownKey { value, span } = bucket.key;
            match counted {
                Counted::Value(place) => tally.add_whole_value(*place, &value, bucket.doc_count),
                Counted::Span => tally.add_span(&value, span.saturating_mul(1_000), bucket.doc_count),
            }
            // An answer that is refused needs no more pages.
            if tally.is_cut() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .await?;
        tally.finish().map_err(|_| SinkFault::new(FaultKind::Malformed, "a span begins at no instant"))
    }
}

/// What a bucket of a breakdown counts.
enum Counted {
    /// A value of the facet at this place.
    Value(usize),
    Span,
}

fn day_source(stretch: &Stretch) -> Value {
    let zone = zones::spelled(stretch.offset);
    json!({ "day": { "date_histogram": { "field": "created_at", "calendar_interval": "1d", "time_zone": zone } } })
}
