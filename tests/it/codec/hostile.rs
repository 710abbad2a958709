//! Hostile input: whatever the bytes, decoding answers, and never panics.

use std::sync::LazyLock;

use difylog::codec::{DecodeLimits, Decoded, DecodedEvents, Message, QueueFormat, decode};
use difylog::domain::Refusal;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::codec::celery::{NODE_TASK, RUN_TASK};
use crate::codec::native;
use crate::support::corpus;

/// Captured messages of moderate size, and native events.
static SEEDS: LazyLock<Vec<Message>> = LazyLock::new(|| {
    let captured = ["celery_messages.jsonl", "celery_edge_messages.jsonl"].map(corpus::lines).into_iter().flatten();
    let captured = captured.map(|line| corpus::message(&line));
    let event = native::run_event(r#", "outputs": {"a": [NaN, "\ud83d"]}, "inputs": "{\"q\": 1}", "error": "x""#);
    let natives = [event.clone(), format!("[{event}, {event}]")].map(native::message);
    captured.filter(|message| message.body.len() < 10_000).chain(natives).collect()
});

/// Parts lie within the body, in order, apart from each other.
fn check(message: &Message, decoded: Result<Decoded, Refusal>) -> Result<(), TestCaseError> {
    if let Ok(Decoded { content: DecodedEvents::Parts(parts), .. }) = decoded {
        let mut end = 0;
        for part in parts {
            prop_assert!(end <= part.range.start && part.range.start < part.range.end, "{:?}", part.range);
            end = part.range.end;
            prop_assert!(end <= message.body.len());
        }
    }
    Ok(())
}

fn mutated(body: &[u8], mutations: &[(Index, u8, Vec<u8>)]) -> Vec<u8> {
    let mut body = body.to_vec();
    for (position, kind, bytes) in mutations {
        let at = position.index(body.len() + 1);
        let end = (at + bytes.len()).min(body.len());
        match kind % 4 {
            0 => drop(body.splice(at..end, bytes.iter().copied())),
            1 => drop(body.splice(at..at, bytes.iter().copied())),
            2 => drop(body.drain(at..end)),
            _ => body.truncate(at),
        }
    }
    body
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_bytes(body in vec(any::<u8>(), 0..200), native in any::<bool>(), node in any::<bool>(),
        compression in select(vec![None, Some("application/x-gzip"), Some("application/x-bz2")])) {
        let source = if native { QueueFormat::Native } else { QueueFormat::Celery };
        let task = Some(if node { NODE_TASK } else { RUN_TASK }.into());
        let message = Message { source, content_type: None, compression: compression.map(Box::from), task, body: body.into() };
        check(&message, decode(&message, DecodeLimits { message_bytes: 1 << 20 }))?;
    }

    #[test]
    fn mutated_messages(seed in any::<Index>(),
        mutations in vec((any::<Index>(), any::<u8>(), vec(prop_oneof![any::<u8>(), select(b"{}[]\",:\\u\xed".to_vec())], 1..6)), 1..8)) {
        let seed = seed.get(&SEEDS);
        let message = Message { body: mutated(&seed.body, &mutations).into(), ..seed.clone() };
        check(&message, decode(&message, DecodeLimits { message_bytes: 1 << 20 }))?;
    }
}
