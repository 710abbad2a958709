//! Numbers over many records: runs per day, counts per value, counts per span. Exact: everything is counted by composite
//! aggregations, which the engines page and do not estimate; nothing is sampled, sketched or cut.

use std::collections::{BTreeMap, HashSet};

use chrono_tz::Tz;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::super::rows::AsText;
use super::super::search::Reader;
use super::Outcome;
use super::buckets::{BUCKETS, Bucket, Stats};
use super::conditions::Question;
use super::zones::{self, Stretch};
use crate::domain::query::{Day, Facet, FacetCount, HistogramBucket};
use crate::domain::{FaultKind, Kind, RecordId, SinkFault, Timestamp};

#[derive(Default)]
struct Tally {
    runs: u64,
    users: HashSet<RecordId>,
    tokens: i128,
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

impl Reader<'_> {
    pub(super) async fn daily(&self, question: Question, zone: Tz) -> Result<Vec<Day>, SinkFault> {
        let question = self.without_superseded(question).await?;
        let (Some(first), Some(last)) = (self.end(&question, "asc").await?, self.end(&question, "desc").await?) else {
            return Ok(Vec::new());
        };
        let mut days = BTreeMap::<_, Tally>::new();
        for stretch in zones::stretches(zone, first, last) {
            let mut question = question.clone();
            question.created(stretch.range);
            self.tally(&question, &stretch, &mut days).await?;
        }
        let day = |(date, tally): (_, Tally)| Day {
            date,
            runs: tally.runs,
            users: tally.users.len() as u64,
            tokens: tally.tokens,
        };
        Ok(days.into_iter().map(day).collect())
    }

    /// Adds up a stretch of time, by day and user.
    async fn tally(
        &self,
        question: &Question,
        stretch: &Stretch,
        days: &mut BTreeMap<chrono::NaiveDate, Tally>,
    ) -> Result<(), SinkFault> {
        let day = day_source(stretch);
        let user = json!({ "user": { "terms": { "field": "created_by" } } });
        let stats = json!({ "tokens": { "stats": { "field": "total_tokens" } } });
        let mut tokens = BTreeMap::<_, i128>::new();
        let mut is_exact = true;
        self.each_bucket(question, &json!([day, user]), Some(&stats), |bucket: Bucket<UserKey>| {
            let date = zones::date(bucket.key.day.div_euclid(1_000), stretch.offset);
            let tally = days.entry(date).or_default();
            tally.runs += bucket.doc_count;
            tally.users.insert(bucket.key.user.0);
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
            days.entry(date).or_default().tokens += sum;
        }
        Ok(())
    }

    /// The first or last `created_at` that a question finds.
    async fn end(&self, question: &Question, order: &str) -> Result<Option<Timestamp>, SinkFault> {
        let body = json!({ "size": 1, "sort": [{ "created_at": order }] });
        let outcome: Outcome<IgnoredAny> = self.ask(question, body).await?;
        outcome.hits.hits.first().map(super::Hit::created_at).transpose()
    }

    pub(super) async fn facet(
        &self,
        question: Question,
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
        let mut counts: Vec<FacetCount> = Vec::new();
        let sources = json!([{ "value": { "terms": { "field": field } } }]);
        self.each_bucket(&question, &sources, None, |bucket: Bucket<ValueKey>| {
            // Values may be many: what can no longer be among the most frequent is dropped on the way.
            if counts.len() >= limit.saturating_mul(2).max(BUCKETS) {
                most_frequent(&mut counts, limit);
            }
            counts.push(FacetCount { value: bucket.key.value.into(), count: bucket.doc_count });
        })
        .await?;
        most_frequent(&mut counts, limit);
        Ok(counts)
    }

    pub(super) async fn histogram(&self, question: Question, seconds: u32) -> Result<Vec<HistogramBucket>, SinkFault> {
        let question = self.without_superseded(question).await?;
        let interval = format!("{}s", seconds.max(1));
        let span = json!({ "date_histogram": { "field": "created_at", "fixed_interval": interval } });
        let mut spans = Vec::new();
        self.each_bucket(&question, &json!([{ "span": span }]), None, |bucket: Bucket<SpanKey>| {
            spans.push((bucket.key.span, bucket.doc_count));
        })
        .await?;
        let bucket = |(milliseconds, count): (i64, u64)| {
            let from = Timestamp::from_micros(milliseconds.saturating_mul(1_000));
            let from = from.map_err(|_| SinkFault::new(FaultKind::Malformed, "a span begins at no instant"))?;
            Ok(HistogramBucket { from, count })
        };
        spans.into_iter().map(bucket).collect()
    }
}

fn day_source(stretch: &Stretch) -> Value {
    let zone = zones::spelled(stretch.offset);
    json!({ "day": { "date_histogram": { "field": "created_at", "calendar_interval": "1d", "time_zone": zone } } })
}

fn most_frequent(counts: &mut Vec<FacetCount>, limit: usize) {
    counts.sort_by(|one, other| other.count.cmp(&one.count).then_with(|| one.value.cmp(&other.value)));
    counts.truncate(limit);
}
