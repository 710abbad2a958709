//! Which letters a selection means.

use super::*;

fn found(reason: &str, at: Option<&str>) -> LetterSummary {
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
    LetterSummary { position: 1, hash, body_bytes: 0, heading, tenant, kind: Some(Kind::WorkflowRun), doubt: None }
}

#[test]
fn a_selection_means_what_has_all_that_is_asked_for() {
    let letter = found("invalid-id", Some("2026-11-24T12:00:00"));
    let at = |text: &str| Some(text.parse().unwrap());
    for (selection, expected) in [
        (LetterSelection::default(), true),
        (LetterSelection { reason: Some("invalid-id".into()), ..LetterSelection::default() }, true),
        (LetterSelection { reason: Some("too-large".into()), ..LetterSelection::default() }, false),
        (LetterSelection { kind: Some(Kind::AppLog), ..LetterSelection::default() }, false),
        (LetterSelection { tenant: letter.tenant, kind: letter.kind, ..LetterSelection::default() }, true),
        (LetterSelection { since: at("2026-11-24T12:00:00"), ..LetterSelection::default() }, true),
        (LetterSelection { until: at("2026-11-24T12:00:00"), ..LetterSelection::default() }, false),
        (LetterSelection { until: at("2026-11-24T12:00:01"), ..LetterSelection::default() }, true),
        (LetterSelection { hashes: vec![letter.hash], ..LetterSelection::default() }, true),
        (LetterSelection { hashes: vec![ContentHash::new([8; 32])], ..LetterSelection::default() }, false),
    ] {
        assert_eq!(selection.matches(&letter), expected, "{selection:?}");
    }
    let doubtful = LetterSelection { doubtful: true, ..LetterSelection::default() };
    assert!(
        !doubtful.matches(&letter)
            && doubtful.matches(&LetterSummary { doubt: Some("forged".into()), ..letter.clone() })
    );
    let undated = found("invalid-id", None);
    assert!(!LetterSelection { since: at("1970-01-01T00:00:00"), ..LetterSelection::default() }.matches(&undated));
}
