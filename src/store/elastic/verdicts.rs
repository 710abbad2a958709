//! From one item of a bulk answer to its verdict: the table of statuses. Each item is judged by its own status, never
//! by the answer's `errors` flag.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::hosts::not_understood;
use super::reason::Words;
use crate::domain::{FaultKind, Refusal, RefusalClass, RetryCause, SinkFault, Verdict};

/// A bulk answer, as far as verdicts need it.
#[derive(Deserialize)]
pub(super) struct BulkAnswer<'a> {
    #[serde(borrow)]
    items: Vec<Item<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Item<'a> {
    #[serde(borrow)]
    Index(ItemOutcome<'a>),
    #[serde(borrow)]
    Create(ItemOutcome<'a>),
}

/// What the engine says of one action.
#[derive(Deserialize)]
pub(super) struct ItemOutcome<'a> {
    status: Option<u16>,
    #[serde(rename = "_seq_no")]
    sequence: Option<i64>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    /// Whether the action was to store under a name that is the content's hash.
    #[serde(skip)]
    by_content: bool,
}

impl ItemOutcome<'_> {
    /// Returns whether it was the first operation of its shard: the index was just created, by us or by the engine.
    pub(super) fn is_first(&self) -> bool {
        self.sequence == Some(0)
    }
}

/// What follows for one action.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    Final(Verdict),
    /// 404: the index is gone. It can be created and the action sent again, once.
    IndexMissing(RetryCause),
}

/// Returns the outcomes in the order of the actions.
///
/// # Errors
/// If the answer is no bulk answer, or has another number of items than there were actions.
pub(super) fn outcomes(body: &[u8], actions: usize) -> Result<Vec<ItemOutcome<'_>>, SinkFault> {
    let answer: BulkAnswer = serde_json::from_slice(body).map_err(|error| not_understood(&error))?;
    if answer.items.len() != actions {
        let detail = format!("the answer has {} items for {actions} actions", answer.items.len());
        return Err(SinkFault::new(FaultKind::Malformed, detail));
    }
    let outcome = |item| match item {
        Item::Index(outcome) => outcome,
        Item::Create(outcome) => ItemOutcome { by_content: true, ..outcome },
    };
    Ok(answer.items.into_iter().map(outcome).collect())
}

/// Returns the table.
pub(super) fn judge(outcome: &ItemOutcome<'_>) -> Judgement {
    let Some(status) = outcome.status else {
        return retry(RetryCause::new(None, "the store gave no status for this action"));
    };
    let words = || outcome.error.map(Words::of).unwrap_or_default();
    match status {
        200..=299 => Judgement::Final(Verdict::Stored),
        // What is there under its content's hash is the same: as stored as can be.
        409 if outcome.by_content => Judgement::Final(Verdict::Stored),
        409 => Judgement::Final(Verdict::Superseded),
        404 => Judgement::IndexMissing(RetryCause::new(status, words().detail())),
        413 => refused(Refusal { class: RefusalClass::TooLarge, ..Refusal::by_store(Some(413), words().detail()) }),
        400 | 402 | 405..=407 | 410..=412 | 414..=428 | 430..=499 => {
            let words = words();
            match blameless(&words) {
                Some(hint) => retry(RetryCause::new(status, hint)),
                None => refused(Refusal::by_store(Some(status), words.detail())),
            }
        }
        // 401, 403, 408, 429, 5xx, and whatever is no final answer at all.
        _ => {
            let words = words();
            let remedy = blameless(&words);
            let overload = remedy.is_none() && is_overload(status, &words);
            let detail = remedy.unwrap_or_else(|| advice(status, &words));
            retry(RetryCause { overload, ..RetryCause::new(status, detail) })
        }
    }
}

fn refused(refusal: Refusal) -> Judgement {
    Judgement::Final(Verdict::Refused(refusal))
}

fn retry(cause: RetryCause) -> Judgement {
    Judgement::Final(Verdict::Retry(cause))
}

/// Errors of the cluster's state that come with a status of the document's fault (400), or say nothing of their
/// remedy: dead-lettering for them would drain the queue. The text says what to do.
pub(super) fn blameless(words: &Words) -> Option<String> {
    let remedy = match words.kind.as_str() {
        "cluster_block_exception" if words.reason.contains("flood-stage") || words.reason.contains("/12/") => {
            "a data node is past the flood-stage disk watermark: free disk; the block lifts by itself"
        }
        "cluster_block_exception" => "the index or the cluster is blocked for writing: lift the block",
        "index_closed_exception" => "the index is closed: open it, or drop the month",
        "index_create_block_exception" => "the cluster forbids new indices: lift the block cluster.blocks.create_index",
        "validation_exception" | "illegal_argument_exception" if words.reason.contains("shards open") => {
            "raise cluster.max_shards_per_node, drop old months, or use tenancy = \"shared\""
        }
        _ => return None,
    };
    Some(format!("{remedy} ({})", words.detail()))
}

/// Returns whether the engine has too much to do. Its 503 for a shard that is away says nothing of the others.
fn is_overload(status: u16, words: &Words) -> bool {
    status == 429 || words.kind.contains("rejected_execution") || words.kind == "circuit_breaking_exception"
}

fn advice(status: u16, words: &Words) -> String {
    match status {
        401 | 403 => format!("the user may not write to the index ({})", words.detail()),
        _ => words.detail(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(item: &str) -> Judgement {
        let body = format!(r#"{{"took":1,"errors":false,"items":[{{"index":{item}}}]}}"#);
        judge(&outcomes(body.as_bytes(), 1).unwrap()[0])
    }

    fn fate(item: &str) -> &'static str {
        match verdict(item) {
            Judgement::Final(Verdict::Stored) => "stored",
            Judgement::Final(Verdict::Superseded) => "superseded",
            Judgement::Final(Verdict::Retry(_)) => "retry",
            Judgement::Final(Verdict::Refused(_)) => "refused",
            Judgement::IndexMissing(_) => "missing",
        }
    }

    #[test]
    fn every_status_has_its_fate() {
        for status in 0..=999_u16 {
            let expected = match status {
                200..=299 => "stored",
                404 => "missing",
                409 => "superseded",
                401 | 403 | 408 | 429 => "retry",
                400..=499 => "refused",
                _ => "retry",
            };
            assert_eq!(fate(&format!(r#"{{"status":{status}}}"#)), expected, "{status}");
        }
        let graph = r#"{"items":[{"create":{"status":409}}]}"#;
        let there = judge(&outcomes(graph.as_bytes(), 1).unwrap()[0]);
        assert_eq!(there, Judgement::Final(Verdict::Stored), "a graph that is there");
        assert_eq!(fate("{}"), "retry", "no status");
        assert_eq!(fate(r#"{"status":null}"#), "retry");
    }

    #[test]
    fn the_state_of_the_cluster_is_not_the_fault_of_a_document() {
        for (error, hint) in [
            (r#"{"type":"index_closed_exception","reason":"closed"}"#, "open it"),
            (
                r#"{"type":"validation_exception","reason":"Validation Failed: 1: this action would add [2] shards, but this cluster currently has [999]/[1000] maximum normal shards open;"}"#,
                "max_shards_per_node",
            ),
            (
                r#"{"type":"cluster_block_exception","reason":"index [x] blocked by: [FORBIDDEN/8/index write (api)];"}"#,
                "lift the block",
            ),
            (
                r#"{"type":"cluster_block_exception","reason":"index [x] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark, index has read-only-allow-delete block];"}"#,
                "free disk",
            ),
        ] {
            for status in [400, 403, 429] {
                let Judgement::Final(Verdict::Retry(cause)) =
                    verdict(&format!(r#"{{"status":{status},"error":{error}}}"#))
                else {
                    panic!("{status} {error}");
                };
                assert!(cause.detail.contains(hint), "{}", cause.detail);
                assert_eq!(cause.status, Some(status));
            }
        }
    }

    #[test]
    fn only_too_much_to_do_is_overload() {
        for (status, kind, expected) in [
            (429, "es_rejected_execution_exception", true),
            (429, "rejected_execution_exception", true),
            (503, "es_rejected_execution_exception", true),
            (429, "circuit_breaking_exception", true),
            (429, "", true),
            (429, "cluster_block_exception", false),
            (503, "unavailable_shards_exception", false),
            (503, "", false),
            (403, "security_exception", false),
        ] {
            let item = format!(r#"{{"status":{status},"error":{{"type":"{kind}","reason":"such"}}}}"#);
            let Judgement::Final(Verdict::Retry(cause)) = verdict(&item) else { panic!("{item}") };
            assert_eq!(cause.overload, expected, "{item}");
        }
    }

    #[test]
    fn refusals_carry_status_class_and_words() {
        let item = r#"{"status":400,"error":{"type":"mapper_parsing_exception","reason":"failed to parse field [a] of type [long] in document with id '1'. Preview of field's value: 'x'"}}"#;
        let Judgement::Final(Verdict::Refused(refusal)) = verdict(item) else { panic!() };
        assert_eq!((refusal.class, refusal.status), (RefusalClass::RefusedByStore, Some(400)));
        assert!(refusal.detail.starts_with("mapper_parsing_exception: failed to parse field [a]"));
        assert!(!refusal.detail.contains("Preview"));
        let Judgement::Final(Verdict::Refused(refusal)) = verdict(r#"{"status":413}"#) else { panic!() };
        assert_eq!((refusal.class, refusal.status), (RefusalClass::TooLarge, Some(413)));
    }

    #[test]
    fn an_answer_of_another_shape_has_no_verdicts() {
        for body in [
            "",
            "<html>",
            "{}",
            r#"{"items":[]}"#,
            r#"{"items":[{"delete":{"status":200}}]}"#,
            r#"{"items":[{"index":{"status":201}},{"create":{"status":201}}]}"#,
            r#"{"items":[{"index":{"status":"201"}}]}"#,
        ] {
            assert_eq!(
                outcomes(body.as_bytes(), 1).err().map(|fault| fault.kind),
                Some(FaultKind::Malformed),
                "{body}"
            );
        }
    }
}
