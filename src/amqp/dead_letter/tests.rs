//! Which letters a selection means.

use super::*;

fn found(reason: &str, at: Option<&str>) -> Found {
    let heading = Heading {
        reason: reason.to_owned(),
        detail: None,
        status: None,
        attempts: 1,
        exchange: None,
        routing_key: None,
        queue: None,
        source: None,
        sha256: None,
        at: at.map(|at| at.parse().unwrap()),
        left_out: None,
    };
    let tenant = Some("669dd85a-0949-4cda-99c9-4984b192aea0".parse().unwrap());
    let hash = ContentHash::new([7; 32]);
    Found { position: 1, hash, body_bytes: 0, heading, tenant, kind: Some(Kind::WorkflowRun), doubt: None }
}

#[test]
fn a_selection_means_what_has_all_that_is_asked_for() {
    let letter = found("invalid-id", Some("2026-11-24T12:00:00"));
    let at = |text: &str| Some(text.parse().unwrap());
    for (selection, expected) in [
        (Selection::default(), true),
        (Selection { reason: Some("invalid-id".into()), ..Selection::default() }, true),
        (Selection { reason: Some("too-large".into()), ..Selection::default() }, false),
        (Selection { kind: Some(Kind::AppLog), ..Selection::default() }, false),
        (Selection { tenant: letter.tenant, kind: letter.kind, ..Selection::default() }, true),
        (Selection { since: at("2026-11-24T12:00:00"), ..Selection::default() }, true),
        (Selection { until: at("2026-11-24T12:00:00"), ..Selection::default() }, false),
        (Selection { until: at("2026-11-24T12:00:01"), ..Selection::default() }, true),
        (Selection { hashes: vec![letter.hash], ..Selection::default() }, true),
        (Selection { hashes: vec![ContentHash::new([8; 32])], ..Selection::default() }, false),
    ] {
        assert_eq!(selection.matches(&letter), expected, "{selection:?}");
    }
    let doubtful = Selection { doubtful: true, ..Selection::default() };
    assert!(!doubtful.matches(&letter) && doubtful.matches(&Found { doubt: Some("forged".into()), ..letter.clone() }));
    let undated = found("invalid-id", None);
    assert!(!Selection { since: at("1970-01-01T00:00:00"), ..Selection::default() }.matches(&undated));
}
