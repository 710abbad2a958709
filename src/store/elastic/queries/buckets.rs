//! Composite aggregations: every bucket, in the order of their keys, counted and not estimated.

use std::collections::HashMap;
use std::ops::ControlFlow;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::super::search::EngineReader;
use super::Outcome;
use super::conditions::EngineQuestion;
use crate::domain::SinkFault;

/// Buckets of one answer; the engines allow 65,535.
pub(super) const BUCKETS: usize = 5_000;

/// Whole numbers below it are exact as doubles, and so is every sum that stays below it.
const EXACT: f64 = 9_007_199_254_740_992.0;

#[derive(Deserialize)]
#[serde(bound = "K: DeserializeOwned")]
struct Composite<K> {
    buckets: Vec<Bucket<K>>,
    after_key: Option<Value>,
}

#[derive(Deserialize)]
#[serde(bound = "K: DeserializeOwned")]
pub(super) struct Bucket<K> {
    pub(super) key: K,
    pub(super) doc_count: u64,
    pub(super) tokens: Option<Stats>,
}

/// What a `stats` aggregation tells.
#[derive(Deserialize)]
pub(super) struct Stats {
    count: u64,
    min: Option<f64>,
    max: Option<f64>,
    sum: f64,
}

impl Stats {
    /// Returns the sum, if it is certain that no step of adding it up was rounded: then it is a whole number below
    /// 2^53.
    #[allow(clippy::cast_possible_truncation, reason = "bounded just before")]
    pub(super) fn exact_sum(&self) -> Option<i128> {
        let largest = self.min.unwrap_or(0.0).abs().max(self.max.unwrap_or(0.0).abs());
        (largest * (self.count as f64) < EXACT).then_some(self.sum as i128)
    }
}

/// Where the next page of buckets begins: after this key.
pub(super) type AfterKey = Value;

/// A page of buckets, and where the next one begins; `None`: it is the last.
type BucketPage<K> = (Vec<Bucket<K>>, Option<AfterKey>);

impl EngineReader<'_> {
    /// Returns a page of the buckets of each grouping, which are given by their sources and where the page begins.
    async fn pages<K: DeserializeOwned>(
        &self,
        question: &EngineQuestion,
        groupings: &[(&Value, Option<&AfterKey>)],
        aggregations: Option<&Value>,
    ) -> Result<Vec<BucketPage<K>>, SinkFault> {
        let mut asked = Map::new();
        for (place, (sources, after)) in groupings.iter().enumerate() {
            let mut composite = json!({ "size": BUCKETS, "sources": sources });
            if let (Some(after), Some(composite)) = (after, composite.as_object_mut()) {
                composite.insert("after".to_owned(), (*after).clone());
            }
            let mut grouping = json!({ "composite": composite });
            if let (Some(aggregations), Some(grouping)) = (aggregations, grouping.as_object_mut()) {
                grouping.insert("aggs".to_owned(), aggregations.clone());
            }
            asked.insert(place.to_string(), grouping);
        }
        let outcome: Outcome<HashMap<String, Composite<K>>> =
            self.ask(question, json!({ "size": 0, "aggs": asked })).await?;
        let mut answered = outcome.aggregations.unwrap_or_default();
        let page = |place: usize| match answered.remove(&place.to_string()) {
            Some(Composite { buckets, after_key }) => {
                let is_last = buckets.len() < BUCKETS;
                (buckets, after_key.filter(|_| !is_last))
            }
            None => (Vec::new(), None),
        };
        Ok((0..groupings.len()).map(page).collect())
    }

    /// Returns a page of buckets.
    pub(super) async fn buckets<K: DeserializeOwned>(
        &self,
        question: &EngineQuestion,
        sources: &Value,
        after: Option<&AfterKey>,
    ) -> Result<BucketPage<K>, SinkFault> {
        Ok(self.pages(question, &[(sources, after)], None).await?.pop().unwrap_or_default())
    }

    /// Walks all buckets.
    pub(super) async fn each_bucket<K: DeserializeOwned>(
        &self,
        question: &EngineQuestion,
        sources: &Value,
        aggregations: Option<&Value>,
        mut each: impl FnMut(Bucket<K>) + Send,
    ) -> Result<(), SinkFault> {
        let each = |(): &(), bucket| {
            each(bucket);
            ControlFlow::Continue(())
        };
        self.each_bucket_of(question, &[((), sources.clone())], aggregations, each).await
    }

    /// Walks all buckets of several groupings of the same rows, side by side, until `each` breaks. No bucket comes twice.
    pub(super) async fn each_bucket_of<K: DeserializeOwned, G: Sync>(
        &self,
        question: &EngineQuestion,
        groupings: &[(G, Value)],
        aggregations: Option<&Value>,
        mut each: impl FnMut(&G, Bucket<K>) -> ControlFlow<()> + Send,
    ) -> Result<(), SinkFault> {
        let mut unread: Vec<_> = groupings.iter().map(|grouping| (grouping, None)).collect();
        while !unread.is_empty() {
            let asked: Vec<_> = unread.iter().map(|((_, sources), after)| (sources, after.as_ref())).collect();
            let pages = self.pages(question, &asked, aggregations).await?;
            let mut rest = Vec::new();
            for ((grouping, _), (buckets, next)) in unread.into_iter().zip(pages) {
                for bucket in buckets {
                    if each(&grouping.0, bucket).is_break() {
                        return Ok(());
                    }
                }
                rest.extend(next.map(|next| (grouping, Some(next))));
            }
            unread = rest;
        }
        Ok(())
    }
}
