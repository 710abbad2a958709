//! Whatever the order of settlements, the broker hears of each delivery exactly once.

use super::*;
use proptest::prelude::*;

/// The broker's side of a channel: which tags wait for an ack.
#[derive(Default)]
struct Broker {
    waiting: Vec<u64>,
}

impl Broker {
    /// As RabbitMQ does it: the tag itself must be waiting, or the channel is closed.
    fn ack(&mut self, tag: u64, multiple: bool) -> Vec<u64> {
        assert!(self.waiting.contains(&tag), "unknown delivery tag {tag}");
        let (acked, waiting) = self.waiting.iter().partition(|&&w| w == tag || (multiple && w < tag));
        self.waiting = waiting;
        acked
    }
}

#[derive(Debug, Clone)]
enum Step {
    Arrive,
    Settle(prop::sample::Index),
    Lend(prop::sample::Index),
    GiveBack(prop::sample::Index),
    Nack,
    AckPrefix,
    AckStragglers,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Arrive),
        4 => any::<prop::sample::Index>().prop_map(Step::Settle),
        1 => any::<prop::sample::Index>().prop_map(Step::Lend),
        1 => any::<prop::sample::Index>().prop_map(Step::GiveBack),
        1 => Just(Step::Nack),
        1 => Just(Step::AckPrefix),
        1 => Just(Step::AckStragglers),
    ]
}

proptest! {
    #[test]
    fn each_tag_is_told_once_and_only_settled_ones_are_acked(steps in prop::collection::vec(step(), 0..200)) {
        let now = Instant::now();
        let mut slots = Slots::default();
        let mut broker = Broker::default();
        let (mut last, mut settled, mut returned) = (0, Vec::new(), Vec::new());
        let mut acked = Vec::new();
        let finish = [Step::Nack, Step::AckPrefix, Step::AckStragglers];
        for step in steps.into_iter().chain(finish) {
            match step {
                Step::Arrive => {
                    last += 1;
                    broker.waiting.push(last);
                    slots.hold(last, (), now);
                }
                Step::Settle(index) if last > 0 => {
                    let tag = index.index(usize::try_from(last).unwrap()) as u64 + 1;
                    let fresh = !settled.contains(&tag) && !returned.contains(&tag);
                    prop_assert_eq!(slots.settle(tag, Ending::Stored), fresh);
                    if fresh { settled.push(tag) }
                }
                Step::Lend(index) if last > 0 => {
                    let tag = index.index(usize::try_from(last).unwrap()) as u64 + 1;
                    if let Some(((), claim)) = slots.lend(tag) {
                        prop_assert!(claim.upgrade().is_some());
                        prop_assert!(slots.lend(tag).is_none(), "lent once");
                    }
                }
                Step::GiveBack(index) if last > 0 => {
                    let tag = index.index(usize::try_from(last).unwrap()) as u64 + 1;
                    if slots.give_back(tag) {
                        returned.push(tag);
                    }
                }
                Step::Nack => slots.take_returned().into_iter().for_each(|tag| {
                    broker.ack(tag, false);
                }),
                Step::AckPrefix => {
                    if let Some((tag, tally)) = slots.ack_prefix() {
                        let told = broker.ack(tag, true);
                        prop_assert_eq!(told.len() as u64, tally.stored);
                        acked.extend(told);
                    }
                }
                Step::AckStragglers => {
                    for (tag, _) in slots.ack_stragglers() {
                        acked.extend(broker.ack(tag, false));
                    }
                }
                Step::Settle(_) | Step::Lend(_) | Step::GiveBack(_) => {}
            }
            prop_assert_eq!(slots.outstanding(), broker.waiting.len());
        }
        acked.sort_unstable();
        settled.sort_unstable();
        prop_assert_eq!(acked, settled);
        prop_assert_eq!(slots.unsettled(), broker.waiting.len());
    }
}

#[test]
fn one_ack_covers_the_prefix_and_none_the_gap() {
    let mut slots = Slots::default();
    for tag in 1..=6 {
        slots.hold(tag, (), Instant::now());
    }
    for tag in [2, 1, 3, 5] {
        assert!(slots.settle(tag, Ending::Stored));
    }
    assert!(slots.give_back(6));
    assert_eq!(slots.take_returned(), [6]);
    assert_eq!(slots.ack_prefix(), Some((3, EndingCounts { stored: 3, dead_lettered: 0 })));
    assert_eq!(slots.ack_prefix(), None);
    assert!(slots.has_stragglers());
    assert_eq!(slots.ack_stragglers(), [(5, Ending::Stored)]);
    assert!(slots.settle(4, Ending::DeadLettered));
    assert_eq!(slots.ack_prefix(), Some((4, EndingCounts { stored: 0, dead_lettered: 1 })));
    assert_eq!(slots.outstanding(), 0);
}

#[test]
fn no_ack_passes_a_delivery_that_is_still_to_be_nacked() {
    let mut slots = Slots::default();
    for tag in 1..=3 {
        slots.hold(tag, (), Instant::now());
    }
    assert!(slots.settle(1, Ending::Stored) && slots.give_back(2) && slots.settle(3, Ending::Stored));
    let one = EndingCounts::of(Ending::Stored);
    assert_eq!(slots.ack_prefix(), Some((1, one)));
    assert_eq!(slots.ack_prefix(), None);
    assert_eq!(slots.take_returned(), [2]);
    assert_eq!(slots.ack_prefix(), Some((3, one)));
}

#[test]
fn a_claim_ends_when_the_delivery_is_given_back_or_its_channel_is_lost() {
    let mut slots = Slots::default();
    slots.hold(1, "one", Instant::now());
    slots.hold(2, "two", Instant::now());
    let (_, first) = slots.lend(1).unwrap();
    let (_, second) = slots.lend(2).unwrap();
    assert!(slots.give_back(1));
    assert!(first.upgrade().is_none());
    assert!(!slots.settle(1, Ending::DeadLettered), "a late answer is ignored");
    assert!(second.upgrade().is_some());
    drop(slots);
    assert!(second.upgrade().is_none());
}

#[test]
fn what_comes_and_goes_behind_a_held_delivery_takes_no_room() {
    let mut slots = Slots::default();
    slots.hold(1, (), Instant::now());
    for tag in 2..=100_000 {
        slots.hold(tag, (), Instant::now());
        match tag % 3 {
            0 => assert!(slots.give_back(tag) && slots.take_returned() == [tag]),
            _ => assert!(slots.settle(tag, Ending::Stored) && slots.ack_stragglers() == [(tag, Ending::Stored)]),
        }
        assert!(slots.window.len() <= 1, "{tag}: {} slots", slots.window.len());
    }
    assert_eq!((slots.oldest().map(|(tag, _)| tag), slots.outstanding()), (Some(1), 1));
}
