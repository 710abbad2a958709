//! How far from now the month of a message's record may lie.

use super::*;

/// Returns a run that was created at an instant.
pub(super) fn run_of(created_at: &str) -> Record {
    let mut record = generator().run().remove(0);
    let Record::Run(run) = &mut record else { panic!("a run") };
    run.created_at = created_at.parse().unwrap();
    record
}

#[tokio::test(start_paused = true)]
async fn months_far_from_now_are_dead_letters_and_make_no_place() {
    let settings = PipelineSettings { months_back: 2, months_ahead: 1, ..PipelineSettings::default() };
    let mut flow = Flow::start(settings);
    for (created_at, setting) in [
        ("1970-01-05T00:00:00", Some("pipeline.months_back")),
        ("2026-08-31T23:59:59.999999", Some("pipeline.months_back")),
        ("2026-09-01T00:00:00", None),
        ("2026-12-31T23:59:59.999999", None),
        ("2027-01-01T00:00:00", Some("pipeline.months_ahead")),
        ("2261-07-05T00:00:00", Some("pipeline.months_ahead")),
    ] {
        flow.send_record(&run_of(created_at)).await;
        match (flow.settled().await.outcome, setting) {
            (LedgerAction::Ack, None) => {}
            (LedgerAction::DeadLetter(letter), Some(setting)) => {
                let said = format!("{letter:?}");
                assert!(said.contains(setting) && said.contains("DateOutOfRange"), "{created_at}: {said}");
            }
            (outcome, _) => panic!("{created_at}: {outcome:?}"),
        }
    }
    let (_, sink) = flow.finish().await;
    assert_eq!(sink.documents().len(), 2);
}
