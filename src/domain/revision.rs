//! The total order of the snapshots of one record.
//!
//! Dify's messages are complete snapshots without a version, and they arrive late, twice and out of order. The revision
//! is computed from a snapshot's own fields, so that a live message, a redelivery, a replay and a row read from
//! PostgreSQL agree, and any order and repetition of the same snapshots ends in the same document. It fits the engines'
//! external versions: a positive 63-bit integer.
//!
//! From the most significant bit, each part deciding only where those before it are equal:
//!
//! | bits | part | why |
//! |---|---|---|
//! | 1 | ended | a terminal state never goes back |
//! | 46 | event time, in 1/16 ms | `finished_at`, else `created_at`: a resumed run starts later than it was paused |
//! | 14 | index | a retried node keeps its `created_at` and takes a later index |
//! | 2 | rank | before the end, of the status: pending, running, paused or retry. After it, how many payloads are there |
//!
//! Newer versions of Dify commit the row of a run that ended without its graph, inputs and outputs, and publish the
//! message that has them afterwards, both with the same times. So the rank of what has ended counts the payloads that
//! hold something: a snapshot that lacks some of another's is the older one. Documents that earlier versions of difylog
//! stored have the greatest rank there.

use super::{JsonText, Month, NodeExecution, NodeStatus, Record, RunStatus, Timestamp, WorkflowRun};

const TIME_BITS: u32 = 46;
const INDEX_BITS: u32 = 14;
const RANK_BITS: u32 = 2;

/// Position of a snapshot among the snapshots of its record: greater is newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(i64);

/// The order of the copies of one record, over all months: the greatest is the record, every other copy is superseded.
///
/// A record has several copies when its start moved to another month (a run that was resumed, a node that was restarted).
/// What ended wins, then the later event; of the same event, the copy in the later month: its start is that of the
/// resumption, which the live message of the end carried, while PostgreSQL may have kept the first start (and a node's
/// first index, so that the index must not decide here).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Precedence {
    /// The revision's first two parts: ended, and when.
    event: i64,
    month: Month,
    revision: Revision,
}

impl Precedence {
    /// That of a copy: its revision, and the month that it lies in.
    #[must_use]
    pub const fn new(revision: Revision, month: Month) -> Self {
        Self { event: revision.0 >> (INDEX_BITS + RANK_BITS), month, revision }
    }

    /// Returns the revision of the copy.
    #[must_use]
    pub const fn revision(self) -> Revision {
        self.revision
    }

    /// Returns the month that the copy lies in.
    #[must_use]
    pub const fn month(self) -> Month {
        self.month
    }

    /// Returns whether no other month can hold a copy that supersedes this one: it ended within its own month, and a
    /// record ends once. What has not ended, or ended after its month, has to be looked up in the other months.
    #[must_use]
    pub fn is_final(self) -> bool {
        self.revision.has_ended() && self.revision < Revision::least_ended_at(self.month.end())
    }
}

/// Progress of a record, coarser than its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rank {
    Waiting,
    Running,
    Held,
    /// With so many payloads, at most three.
    Ended(i64),
}

impl Rank {
    const fn bits(self) -> i64 {
        match self {
            Self::Waiting => 0,
            Self::Running => 1,
            Self::Held => 2,
            Self::Ended(payloads) => payloads,
        }
    }
}

impl Revision {
    /// Returns the number itself: positive, at most 2^63 - 1.
    #[must_use]
    pub const fn value(self) -> i64 {
        self.0
    }

    /// Takes back a number that a store returned.
    #[must_use]
    pub const fn from_stored(value: i64) -> Self {
        Self(value)
    }

    /// Returns whether it is of a record that has ended: every such revision is greater than all others.
    #[must_use]
    pub const fn has_ended(self) -> bool {
        self.0 >> (TIME_BITS + INDEX_BITS + RANK_BITS) > 0
    }

    /// Returns the least revision of a record that ended at an instant, or after it.
    #[must_use]
    pub fn least_ended_at(at: Timestamp) -> Self {
        Self(1 << (TIME_BITS + INDEX_BITS + RANK_BITS) | Self::time(at) << (INDEX_BITS + RANK_BITS))
    }

    /// Returns the revision of a snapshot.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        match record {
            Record::Run(run) => Self::of_run(run),
            Record::Node(node) => Self::of_node(node),
            Record::AppLog(log) => Self::of_immutable(log.created_at),
            Record::Offload(offload) => Self::of_immutable(offload.created_at),
        }
    }

    fn of_run(run: &WorkflowRun) -> Self {
        let rank = match run.status {
            RunStatus::Scheduled => Rank::Waiting,
            RunStatus::Running => Rank::Running,
            RunStatus::Paused => Rank::Held,
            RunStatus::Succeeded | RunStatus::Failed | RunStatus::Stopped | RunStatus::PartialSucceeded => {
                Rank::Ended(3)
            }
            RunStatus::Other(_) => rank_of_unknown(run.finished_at),
        };
        let rank = of_payloads(rank, [&run.graph, &run.inputs, &run.outputs]);
        Self::pack(rank, run.created_at, run.finished_at, 0)
    }

    fn of_node(node: &NodeExecution) -> Self {
        let rank = match node.status {
            NodeStatus::Pending => Rank::Waiting,
            NodeStatus::Running => Rank::Running,
            NodeStatus::Paused | NodeStatus::Retry => Rank::Held,
            NodeStatus::Succeeded | NodeStatus::Failed | NodeStatus::Exception | NodeStatus::Stopped => Rank::Ended(3),
            NodeStatus::Other(_) => rank_of_unknown(node.finished_at),
        };
        // No version of Dify writes metadata apart from these, and two bits have no room for a fourth.
        let rank = of_payloads(rank, [&node.inputs, &node.process_data, &node.outputs]);
        Self::pack(rank, node.created_at, node.finished_at, node.index)
    }

    /// For records that are written once and never change.
    fn of_immutable(created_at: Timestamp) -> Self {
        Self::pack(Rank::Ended(3), created_at, None, 0)
    }

    fn pack(rank: Rank, created_at: Timestamp, finished_at: Option<Timestamp>, index: i64) -> Self {
        let event_time = finished_at.map_or(created_at, |finished| finished.max(created_at));
        let time = Self::time(event_time);
        let index = index.clamp(0, (1 << INDEX_BITS) - 1);
        let ended = i64::from(matches!(rank, Rank::Ended(_)));
        Self((((ended << TIME_BITS | time) << INDEX_BITS | index) << RANK_BITS) | rank.bits())
    }

    /// Microseconds to sixteenths of a millisecond: 46 bits of them reach the year 2109, later instants saturate.
    fn time(at: Timestamp) -> i64 {
        let sixteenths = at.micros() / 125 * 2 + i64::from(at.micros() % 125 >= 63);
        sixteenths.clamp(0, (1 << TIME_BITS) - 1)
    }
}

/// A status that this version does not know counts as ended once the snapshot says when it ended.
const fn rank_of_unknown(finished_at: Option<Timestamp>) -> Rank {
    if finished_at.is_some() { Rank::Ended(3) } else { Rank::Running }
}

/// Returns the rank of what has ended, by its payloads; any other stays.
fn of_payloads(rank: Rank, payloads: [&Option<JsonText>; 3]) -> Rank {
    match rank {
        Rank::Ended(_) => Rank::Ended(payloads.into_iter().flatten().map(|json| i64::from(!json.is_void())).sum()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(rank: Rank, created: i64, finished: Option<i64>, index: i64) -> Revision {
        let at = |micros| Timestamp::from_micros(micros).unwrap();
        Revision::pack(rank, at(created), finished.map(at), index)
    }

    const T0: i64 = 1_795_447_714_729_072;

    /// Every sequence that was seen (or is specified) of one record, oldest snapshot first.
    #[test]
    fn legal_sequences_ascend() {
        let run_paused_and_resumed = [
            pack(Rank::Running, T0, None, 0),
            pack(Rank::Held, T0, None, 0),
            pack(Rank::Running, T0 + 64_000, None, 0),
            pack(Rank::Ended(3), T0 + 64_000, Some(T0 + 76_000), 0),
        ];
        let node_retried_by_restarting = [
            pack(Rank::Running, T0, None, 2),
            pack(Rank::Running, T0, None, 4),
            pack(Rank::Running, T0, None, 5),
            pack(Rank::Ended(3), T0, Some(T0 + 11_000), 5),
        ];
        let node_retried_with_history = [
            pack(Rank::Running, T0, None, 2),
            pack(Rank::Held, T0, Some(T0 + 1_000), 2),
            pack(Rank::Held, T0, Some(T0 + 2_000), 2),
            pack(Rank::Ended(3), T0, Some(T0 + 3_000), 2),
        ];
        let node_paused_then_restarted = [
            pack(Rank::Running, T0, None, 2),
            pack(Rank::Held, T0, Some(T0 + 5_000), 2),
            pack(Rank::Running, T0 + 64_000, None, 1),
            pack(Rank::Ended(3), T0 + 64_000, Some(T0 + 70_000), 1),
        ];
        let ended_within_its_first_instant =
            [pack(Rank::Waiting, T0, None, 1), pack(Rank::Running, T0, None, 1), pack(Rank::Ended(3), T0, Some(T0), 1)];
        for sequence in [
            &run_paused_and_resumed[..],
            &node_retried_by_restarting,
            &node_retried_with_history,
            &node_paused_then_restarted,
            &ended_within_its_first_instant,
        ] {
            assert!(sequence.is_sorted_by(|a, b| a < b), "{sequence:?}");
        }
    }

    #[test]
    fn an_ended_record_never_goes_back() {
        let ended = pack(Rank::Ended(3), T0, Some(T0 + 10), 1);
        assert!(ended.has_ended() && ended.value() >= 4_611_686_018_427_387_904, "stores have an index by this number");
        assert!(!pack(Rank::Running, T0 + 1_000_000_000_000, None, 9_999).has_ended());
        assert!(pack(Rank::Running, T0 + 1_000_000_000_000, None, 9_999) < ended);
    }

    /// Whatever is among the payloads of a snapshot, one with more of them is newer, and what stands for nothing is none.
    #[test]
    fn a_snapshot_without_some_of_the_payloads_is_the_older_one() {
        let text = |there: bool, other: &str| Some(JsonText::from_clean(if there { "{\"a\":1}" } else { other }));
        let ended = |payloads: u8, other: &str| {
            let payloads = [0, 1, 2].map(|bit| text(payloads >> bit & 1 == 1, other));
            of_payloads(Rank::Ended(3), [&payloads[0], &payloads[1], &payloads[2]])
        };
        for (fuller, poorer) in (0..8).flat_map(|one| (0..8).map(move |other| (one, other))) {
            let is_subset = poorer & fuller == poorer && poorer != fuller;
            for nothing in ["{}", " { }", "null", ""] {
                let [fuller, poorer] = [fuller, poorer].map(|set| pack(ended(set, nothing), T0, Some(T0 + 9), 1));
                assert!(!is_subset || poorer < fuller, "{poorer:?} {fuller:?}");
                assert!(fuller.has_ended() && fuller > pack(Rank::Held, T0, Some(T0 + 9), 1));
            }
        }
    }

    #[test]
    fn of_copies_in_two_months_the_end_counts_then_the_later_month() {
        let [october, november]: [Month; 2] = ["2026-10", "2026-11"].map(|month| month.parse().unwrap());
        let boundary = november.start().micros();
        let (first, resumed, end) = (boundary - 3_600_000_000, boundary + 1_000_000, boundary + 5_000_000);
        let paused = Precedence::new(pack(Rank::Held, first, None, 0), october);
        let live = Precedence::new(pack(Rank::Ended(3), resumed, Some(end), 1), november);
        // PostgreSQL keeps the first start, and a node's first index.
        let row = Precedence::new(pack(Rank::Ended(3), first, Some(end), 2), october);
        assert!(row.revision() > live.revision());
        assert!(paused < row && row < live);
        assert_eq!([paused, row, live].map(Precedence::is_final), [false, false, true]);
        let within = |end| Precedence::new(pack(Rank::Ended(3), first, Some(end), 0), october);
        assert!(within(boundary - 1_000).is_final());
        assert!(!within(boundary).is_final());
    }

    #[test]
    fn extremes_stay_positive_and_63_bits_wide() {
        let first = pack(Rank::Waiting, 0, None, i64::MIN);
        let last = pack(Rank::Ended(3), Timestamp::MAX.micros(), None, i64::MAX);
        assert_eq!(first.value(), 0);
        assert_eq!(last.value(), i64::MAX);
    }
}
