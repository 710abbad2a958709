//! Deliveries to envelopes: decode, redact, take the graph out, truncate, compute the revision.
//!
//! Pure work on one message; what cannot become a document comes out as a refusal with the receipt it belongs to.

use std::ops::{Range, RangeInclusive};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::time::Instant;

use super::intake::Charge;
use super::receipt::{Delivery, DeliveryContent, Receipt};
use crate::codec::{self, Cleaned, Decoded, PayloadPolicy, truncate};
use crate::domain::document::PayloadField;
use crate::domain::record::RecordKey;
use crate::domain::{Disposition, Document, Graph, JsonText, Month, Origin, Record, Refusal, RefusalClass, Revision};

/// A value with the right to settle the delivery it came from.
pub struct Envelope<T> {
    pub payload: T,
    pub receipt: Receipt,
}

/// A document ready to be sent, with what must be durable before its delivery is acked.
#[derive(Clone)]
pub struct Prepared {
    pub document: Arc<Document>,
    /// The run's graph.
    pub graph: Option<Arc<Graph>>,
    /// Full texts of truncated payloads, for the payload store.
    pub offloads: Vec<Arc<truncate::Cut>>,
    /// Bytes that this takes in memory and in a bulk request, about.
    pub bytes: usize,
    /// When the delivery arrived.
    pub received: Instant,
    /// Times that the store did not take it.
    pub attempts: u32,
    /// What it takes of the memory for unfolded messages, until the last clone is gone.
    pub charge: Option<Arc<Charge>>,
}

/// Where a document goes: two snapshots with the same slot replace each other.
pub type DocumentSlot = (RecordKey, Month);

impl Prepared {
    pub fn slot(&self) -> DocumentSlot {
        (self.document.key(), self.document.month())
    }

    pub fn revision(&self) -> Revision {
        self.document.revision
    }
}

/// What became of one delivery.
#[derive(Default)]
pub struct Preparation {
    pub envelopes: Vec<Envelope<Prepared>>,
    pub refusals: Vec<Envelope<Refusal>>,
    pub cleaned: Cleaned,
}

/// How a message becomes records; [`codec::decode`] but in tests.
pub type Decode = fn(&codec::Message, codec::DecodeLimits) -> Result<Decoded, Refusal>;

/// Limits on what one message may be.
#[derive(Debug, Clone)]
pub struct PrepareLimits {
    pub decode: codec::DecodeLimits,
    pub policy: PayloadPolicy,
    /// In which months the records of messages may lie. Rows that are prepared already are not asked.
    pub months: RangeInclusive<Month>,
    pub decoder: Decode,
}

impl PrepareLimits {
    /// A month that is too far away takes a file or indices for a date that most often is a mistake.
    fn refuse_month(&self, month: Month) -> Option<Refusal> {
        let (first, last) = (self.months.start(), self.months.end());
        let setting = match month {
            month if month < *first => "pipeline.months_back",
            month if month > *last => "pipeline.months_ahead",
            _ => return None,
        };
        let detail = format!("created_at lies in {month}, outside {first} to {last}: {setting} bounds it");
        Some(Refusal::new(RefusalClass::DateOutOfRange, detail))
    }
}

/// What a message holds, before anything of it has a receipt.
enum Contents {
    One(Box<Prepared>),
    Parts(Vec<(Range<usize>, Result<Prepared, Refusal>)>),
}

/// Decodes one delivery into envelopes and refusals; every receipt of it is in one of the two. `charge` is kept by all that
/// it unfolds to.
///
/// A panic while decoding is a refusal of the message: it would come again after a restart, and end the process again.
pub fn prepare(
    delivery: Delivery,
    limits: &PrepareLimits,
    received: Instant,
    charge: Option<&Arc<Charge>>,
) -> Preparation {
    let Delivery { content, receipt } = delivery;
    let mut preparation = Preparation::default();
    let message = match content {
        DeliveryContent::Message(message) => message,
        DeliveryContent::Prepared(prepared) => {
            preparation.envelopes.push(Envelope { payload: Prepared { received, ..*prepared }, receipt });
            return preparation;
        }
    };
    // Nothing of the message is kept but what is returned.
    let read = catch_unwind(AssertUnwindSafe(|| read(&message, limits, received)));
    let read = read.unwrap_or_else(|_| {
        let detail = "decoding panicked: a defect of difylog; the log says where";
        Err(Refusal::new(RefusalClass::UndecodableBody, detail))
    });
    match read {
        Err(refusal) => preparation.refusals.push(Envelope { payload: refusal, receipt }),
        Ok((contents, cleaned)) => {
            preparation.cleaned = cleaned;
            preparation.fill(contents, receipt, charge);
        }
    }
    preparation
}

fn read(message: &codec::Message, limits: &PrepareLimits, received: Instant) -> Result<(Contents, Cleaned), Refusal> {
    let prepared = |record: Record, extra: Option<JsonText>| match limits.refuse_month(record.created_at().month()) {
        Some(refusal) => Err(refusal),
        None => Ok(prepare_record(record, extra, Vec::new(), None, &limits.policy, received)),
    };
    let Decoded { content, cleaned, mut extras } = (limits.decoder)(message, limits.decode)?;
    let contents = match content {
        codec::DecodedEvents::One(record) => Contents::One(Box::new(prepared(record, extras.remove(&0))?)),
        codec::DecodedEvents::Parts(parts) => {
            let parts = parts.into_iter().enumerate().map(|(position, part)| {
                let extra = extras.remove(&position);
                (part.range, part.record.and_then(|record| prepared(record, extra)))
            });
            Contents::Parts(parts.collect())
        }
    };
    Ok((contents, cleaned))
}

impl Preparation {
    fn fill(&mut self, contents: Contents, receipt: Receipt, charge: Option<&Arc<Charge>>) {
        let charged = |prepared| Prepared { charge: charge.cloned(), ..prepared };
        match contents {
            Contents::One(prepared) => self.envelopes.push(Envelope { payload: charged(*prepared), receipt }),
            Contents::Parts(parts) => {
                let (ranges, records): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
                for (receipt, record) in receipt.split(ranges).into_iter().zip(records) {
                    match record {
                        Ok(prepared) => self.envelopes.push(Envelope { payload: charged(prepared), receipt }),
                        Err(refusal) => self.refusals.push(Envelope { payload: refusal, receipt }),
                    }
                }
            }
        }
    }
}

/// Makes the document of a record. `extra` is what its row or event had besides; `full_texts` are those of payloads that were truncated before the record came here:
/// the record keeps its text, and the mark names the true original.
pub fn prepare_record(
    mut record: Record,
    mut extra: Option<JsonText>,
    full_texts: Vec<truncate::Cut>,
    origin: Option<Origin>,
    policy: &PayloadPolicy,
    received: Instant,
) -> Prepared {
    let revision = Revision::of(&record);
    let mut cuts = full_texts;
    policy.redact(&mut record, &mut extra, &mut cuts);
    let limits = &policy.truncate;
    for cut in truncate::fit(&mut record, limits) {
        if cuts.iter().all(|known| known.truncation.field != cut.truncation.field) {
            cuts.push(cut);
        }
    }
    let graph = match &mut record {
        Record::Run(run) => truncate::take_graph(run).map(Arc::new),
        _ => None,
    };
    let (extra, too_large) = match extra {
        Some(extra) if extra.len() > limits.field_bytes => (None, Some(extra)),
        extra => (extra, None),
    };
    cuts.extend(too_large.map(|extra| truncate::Cut::of_full_text(PayloadField::Extra, extra)));
    let document = Document {
        graph: graph.as_ref().map(|graph| graph.hash),
        truncated: cuts.iter().map(|cut| cut.truncation).collect(),
        record,
        revision,
        origin,
        extra,
    };
    let bytes = document.footprint()
        + graph.as_ref().map_or(0, |graph| graph.text.len())
        + cuts.iter().map(|cut| cut.full.len()).sum::<usize>();
    Prepared {
        document: Arc::new(document),
        graph,
        offloads: cuts.into_iter().map(Arc::new).collect(),
        bytes,
        received,
        attempts: 0,
        charge: None,
    }
}

/// Cuts the payloads of a document that the store found too large to a fraction of their limits.
///
/// `None` when there is nothing left to cut. The graph and the full texts stay as they are: the full texts of payloads
/// that are cut here for the first time are added.
pub fn truncate_harder(prepared: &Prepared, limits: &truncate::Limits) -> Option<Prepared> {
    let mut document = Document::clone(&prepared.document);
    let harder = truncate::Limits {
        field_bytes: limits.field_bytes.min(document.footprint() / 4).max(1024),
        document_bytes: limits.document_bytes.min(document.footprint() / 2).max(4096),
    };
    let mut cuts = truncate::fit(&mut document.record, &harder);
    if let Some(extra) = document.extra.take_if(|extra| extra.len() > harder.field_bytes) {
        cuts.push(truncate::Cut::of_full_text(PayloadField::Extra, extra));
    }
    if cuts.is_empty() {
        return None;
    }
    let mut offloads = prepared.offloads.clone();
    for cut in cuts {
        // The mark of a payload that was cut before names its true original; only the text got shorter.
        if document.truncated.iter().all(|mark| mark.field != cut.truncation.field) {
            document.truncated.push(cut.truncation);
            offloads.push(Arc::new(cut));
        }
    }
    Some(Prepared { document: Arc::new(document), offloads, ..prepared.clone() })
}

impl Envelope<Refusal> {
    /// Settles as a dead letter.
    pub fn dead_letter(self) {
        self.receipt.settle(&Disposition::DeadLetter(self.payload));
    }
}
