//! Numbers over many records: runs per day, counts per value, counts per span. Exact: everything is counted by composite
//! aggregations, which the engines page and do not estimate; nothing is sampled, sketched or cut.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::rows::AsText;
use super::super::search::EngineReader;
use super::Outcome;
use super::buckets::{BUCKETS, Bucket, Stats};
use super::conditions::EngineQuestion;
use super::zones::{self, Stretch};
use crate::domain::query::{Day, DayTallies, Facet, FacetCount, HistogramBucket, SpanCounts, ValueCounts};
use crate::domain::{FaultKind, Kind, RecordId, SinkFault, Timestamp};

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
struct ValueKey {
    value: String,
}

#[derive(Deserialize)]
struct SpanKey {
    /// Milliseconds.
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

    pub(super) async fn facet(
        &self,
        question: EngineQuestion,
        facet: Facet,
        limit: usize,
    ) -> Result<Vec<FacetCount>, SinkFault> {
        let field = match facet {
            Facet::Status => "status",
            Facet::AppId => "app_id",
            Facet::TriggeredFrom => "triggered_from",
            Facet::CreatedBy => "created_by",
            Facet::NodeType if question.kind == Kind::NodeExecution => "node_type",
            Facet::NodeType => return Ok(Vec::new()),
        };
        let question = self.without_superseded(question).await?;
        let mut counts = ValueCounts::default();
        let sources = json!([{ "value": { "terms": { "field": field } } }]);
        self.each_bucket(&question, &sources, None, |bucket: Bucket<ValueKey>| {
            // Values may be many: what can no longer be among the most frequent is dropped on the way.
            if counts.len() >= limit.saturating_mul(2).max(BUCKETS) {
                counts.keep_most_frequent(limit);
            }
            counts.add(bucket.key.value, bucket.doc_count);
        })
        .await?;
        Ok(counts.most_frequent(limit))
    }

    pub(super) async fn histogram(
        &self,
        question: EngineQuestion,
        seconds: u32,
    ) -> Result<Vec<HistogramBucket>, SinkFault> {
        let question = self.without_superseded(question).await?;
        let interval = format!("{}s", seconds.max(1));
        let span = json!({ "date_histogram": { "field": "created_at", "fixed_interval": interval } });
        let mut spans = SpanCounts::new(seconds);
        self.each_bucket(&question, &json!([{ "span": span }]), None, |bucket: Bucket<SpanKey>| {
            spans.add(bucket.key.span.saturating_mul(1_000), bucket.doc_count);
        })
        .await?;
        spans.finish().map_err(|_| SinkFault::new(FaultKind::Malformed, "a span begins at no instant"))
    }
}

fn day_source(stretch: &Stretch) -> Value {
    let zone = zones::spelled(stretch.offset);
    json!({ "day": { "date_histogram": { "field": "created_at", "calendar_interval": "1d", "time_zone": zone } } })
}
