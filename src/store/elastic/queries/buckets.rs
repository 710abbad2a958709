//! Composite aggregations: every bucket, in the order of their keys, counted and not estimated.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

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
struct Groups<K> {
    groups: Composite<K>,
}

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

impl EngineReader<'_> {
    /// Returns a page of buckets, and where the next one begins; `None`: it is the last.
    pub(super) async fn buckets<K: DeserializeOwned>(
        &self,
        question: &EngineQuestion,
        sources: &Value,
        aggregations: Option<&Value>,
        after: Option<&AfterKey>,
    ) -> Result<(Vec<Bucket<K>>, Option<AfterKey>), SinkFault> {
        let mut composite = json!({ "size": BUCKETS, "sources": sources });
        if let (Some(after), Some(composite)) = (after, composite.as_object_mut()) {
            composite.insert("after".to_owned(), after.clone());
        }
        let mut groups = json!({ "composite": composite });
        if let (Some(aggregations), Some(groups)) = (aggregations, groups.as_object_mut()) {
            groups.insert("aggs".to_owned(), aggregations.clone());
        }
        let body = json!({ "size": 0, "aggs": { "groups": groups } });
        let outcome: Outcome<Groups<K>> = self.ask(question, body).await?;
        let Some(Groups { groups }) = outcome.aggregations else { return Ok((Vec::new(), None)) };
        let is_last = groups.buckets.len() < BUCKETS;
        Ok((groups.buckets, groups.after_key.filter(|_| !is_last)))
    }

    /// Walks all buckets.
    pub(super) async fn each_bucket<K: DeserializeOwned>(
        &self,
        question: &EngineQuestion,
        sources: &Value,
        aggregations: Option<&Value>,
        mut each: impl FnMut(Bucket<K>) + Send,
    ) -> Result<(), SinkFault> {
        let mut after = None;
        loop {
            let (buckets, next) = self.buckets(question, sources, aggregations, after.as_ref()).await?;
            buckets.into_iter().for_each(&mut each);
            match next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }
}
