//! One bulk request from a batch: what it carries, how it is sent, and which verdict belongs to which envelope.
//!
//! Full texts of truncated payloads are in the payload store before their documents are sent; a document whose upload
//! failed is not sent at all. A run's graph travels in the same request, before the run, once for all runs that share it;
//! the run counts as stored only if its graph does.

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use tokio::time::Instant;

use super::prepare::{Envelope, Prepared};
use crate::domain::{BulkAction, FaultKind, Graph, GraphHash, Month, RetryCause, SinkFault, TenantId, Verdict};
use crate::store::BulkSink;
use crate::store::payload::PayloadStore;

/// What makes two graphs the same stored graph.
pub type GraphKey = (TenantId, Month, GraphHash);

/// Uploads to the payload store at once, per request. So many failures without a success end the uploads of a request: a
/// payload store that is away would otherwise be waited for once per text.
const CONCURRENT_UPLOADS: usize = 4;

/// Where documents go: the store, and the payload store beside it.
#[derive(Clone)]
pub struct Destination {
    pub sink: Arc<dyn BulkSink>,
    pub payloads: Arc<PayloadStore>,
}

/// A batch, before it is known which of it can be sent.
pub struct BulkRequest {
    envelopes: Vec<Envelope<Prepared>>,
    /// Positions of runs whose graph is known to be durable, and is not sent.
    without_graph: HashSet<usize>,
    /// The store's generation that this knowledge is of.
    generation: u64,
}

/// What became of one envelope.
pub enum ItemResult {
    Verdict(Verdict),
    /// Not sent, because the payload store did not take its full texts.
    NotUploaded(String),
}

/// The answer to one envelope.
pub struct EnvelopeResult {
    pub envelope: Envelope<Prepared>,
    pub result: ItemResult,
}

/// How the uploads of a request went.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Uploads {
    pub done: usize,
    /// In the words of the payload store.
    pub fault: Option<String>,
}

/// A request that came back.
pub struct RequestResult {
    /// One result per envelope; or the whole batch back, with the fault.
    pub outcome: Result<Vec<EnvelopeResult>, (SinkFault, Vec<Envelope<Prepared>>)>,
    /// Graphs that are durable now.
    pub durable_graphs: Vec<GraphKey>,
    pub uploads: Uploads,
    /// [`BulkSink::generation`] after the request.
    pub generation: u64,
    pub took: Duration,
}

/// The actions that carry a batch, as far as its uploads succeeded: graphs first, then one document per envelope.
#[derive(Default)]
struct Layout {
    actions: Vec<BulkAction>,
    graphs: Vec<GraphKey>,
    /// Per envelope: its document's place behind the graphs, and the place of its graph.
    places: Vec<Option<(usize, Option<usize>)>>,
}

/// What an attempt brought.
struct Attempt {
    layout: Layout,
    not_uploaded: HashMap<usize, String>,
    uploads: Uploads,
    answer: Result<Vec<Verdict>, SinkFault>,
}

pub fn graph_key(graph: &Graph) -> GraphKey {
    (graph.tenant_id, graph.month, graph.hash)
}

impl BulkRequest {
    /// Returns a request for a batch. `is_durable` says which graphs need not be sent again, as of `generation` of the
    /// store.
    pub fn new(envelopes: Vec<Envelope<Prepared>>, generation: u64, is_durable: impl Fn(&GraphKey) -> bool) -> Self {
        let known = |envelope: &Envelope<Prepared>| {
            envelope.payload.graph.as_ref().is_some_and(|graph| is_durable(&graph_key(graph)))
        };
        let without_graph =
            envelopes.iter().enumerate().filter(|(_, envelope)| known(envelope)).map(|(position, _)| position);
        Self { without_graph: without_graph.collect(), generation, envelopes }
    }

    /// Uploads, sends, and reads off the verdicts. A panic of a store is a fault of the request: its envelopes come back.
    pub async fn send(self, destination: &Destination) -> RequestResult {
        let begin = Instant::now();
        let attempt = AssertUnwindSafe(self.attempt(destination)).catch_unwind().await;
        let (took, generation) = (begin.elapsed(), destination.sink.generation());
        let Ok(attempt) = attempt else {
            let fault = SinkFault::new(FaultKind::Malformed, "the request panicked: see the log, and report it");
            return self.failed(fault, Uploads::default(), generation, took);
        };
        match attempt.answer {
            Err(fault) => self.failed(fault, attempt.uploads, generation, took),
            Ok(verdicts) => {
                let (layout, uploads) = (attempt.layout, attempt.uploads);
                self.result(&layout, &verdicts, attempt.not_uploaded, (uploads, generation, took))
            }
        }
    }

    async fn attempt(&self, destination: &Destination) -> Attempt {
        let (mut not_uploaded, uploads) = self.upload(&destination.payloads).await;
        let layout = self.lay_out(&not_uploaded);
        let answer = if layout.actions.is_empty() {
            Ok(Vec::new())
        } else {
            destination.sink.apply(&layout.actions).await.and_then(|verdicts| layout.complete(verdicts))
        };
        if let Ok(verdicts) = &answer {
            not_uploaded.extend(self.lost_texts(&layout, verdicts, &destination.payloads).await);
        }
        Attempt { layout, not_uploaded, uploads, answer }
    }

    /// Looks for the full texts of the documents that were stored. A removal of what no document names may have come
    /// between the upload and the document (`store/payload/unnamed.rs`). Returns which envelopes begin again.
    async fn lost_texts(
        &self,
        layout: &Layout,
        verdicts: &[Verdict],
        payloads: &PayloadStore,
    ) -> HashMap<usize, String> {
        let mut lost = HashMap::new();
        for (position, Envelope { payload, .. }) in self.envelopes.iter().enumerate() {
            if layout.own_verdict(position, verdicts) != Some(&Verdict::Stored) {
                continue;
            }
            let (tenant, month) = (payload.document.tenant_id(), payload.document.month());
            for cut in &payload.offloads {
                let why = match payloads.has(tenant, month, cut.truncation.sha256).await {
                    Ok(true) => continue,
                    Ok(false) => "a full text was removed before its document was stored".to_owned(),
                    Err(fault) => fault.to_string(),
                };
                lost.insert(position, why);
            }
        }
        lost
    }

    /// Puts the full texts of truncated payloads where the marks say they are. Returns which envelopes failed, and why.
    async fn upload(&self, payloads: &PayloadStore) -> (HashMap<usize, String>, Uploads) {
        let mut texts = Vec::new();
        for (position, Envelope { payload, .. }) in self.envelopes.iter().enumerate() {
            let (tenant, month) = (payload.document.tenant_id(), payload.document.month());
            texts.extend(payload.offloads.iter().map(|cut| (position, tenant, month, Arc::clone(cut))));
        }
        let (done, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (done, failed) = (&done, &failed);
        let faults: Vec<(usize, String)> = futures::stream::iter(texts)
            .map(|(position, tenant, month, cut)| async move {
                if failed.load(Ordering::Relaxed) >= CONCURRENT_UPLOADS && done.load(Ordering::Relaxed) == 0 {
                    return Some((position, "not tried: the payload store takes nothing".to_owned()));
                }
                let put = payloads.put(tenant, month, cut.truncation.sha256, cut).await;
                let counter = if put.is_ok() { done } else { failed };
                counter.fetch_add(1, Ordering::Relaxed);
                put.err().map(|fault| (position, fault.to_string()))
            })
            .buffer_unordered(CONCURRENT_UPLOADS)
            .filter_map(async |fault| fault)
            .collect()
            .await;
        let uploads = Uploads { done: done.load(Ordering::Relaxed), fault: faults.first().map(|(_, why)| why.clone()) };
        (faults.into_iter().collect(), uploads)
    }

    fn lay_out(&self, not_uploaded: &HashMap<usize, String>) -> Layout {
        let mut layout = Layout::default();
        let mut sent: HashMap<GraphKey, usize> = HashMap::new();
        let mut documents = Vec::with_capacity(self.envelopes.len());
        for (position, envelope) in self.envelopes.iter().enumerate() {
            if not_uploaded.contains_key(&position) {
                layout.places.push(None);
                continue;
            }
            let wanted = envelope.payload.graph.as_ref().filter(|_| !self.without_graph.contains(&position));
            let graph = wanted.map(|graph| {
                *sent.entry(graph_key(graph)).or_insert_with(|| {
                    layout.actions.push(BulkAction::Graph(Arc::clone(graph)));
                    layout.graphs.push(graph_key(graph));
                    layout.actions.len() - 1
                })
            });
            layout.places.push(Some((documents.len(), graph)));
            documents.push(BulkAction::Document(Arc::clone(&envelope.payload.document)));
        }
        layout.actions.append(&mut documents);
        layout
    }

    fn failed(self, fault: SinkFault, uploads: Uploads, generation: u64, took: Duration) -> RequestResult {
        RequestResult { outcome: Err((fault, self.envelopes)), durable_graphs: Vec::new(), uploads, generation, took }
    }

    fn result(
        self,
        layout: &Layout,
        verdicts: &[Verdict],
        mut not_uploaded: HashMap<usize, String>,
        (uploads, generation, took): (Uploads, u64, Duration),
    ) -> RequestResult {
        let without_graph = self.without_graph;
        // Since the cache was asked, which is before the request was made: what it knew may have gone with an old place.
        let made_anew = self.generation != generation;
        let results = self.envelopes.into_iter().enumerate().map(|(position, envelope)| {
            let result = match not_uploaded.remove(&position) {
                Some(fault) => ItemResult::NotUploaded(fault),
                None => ItemResult::Verdict(layout.verdict(
                    position,
                    verdicts,
                    made_anew && without_graph.contains(&position),
                )),
            };
            EnvelopeResult { envelope, result }
        });
        let outcome = Ok(results.collect());
        // A graph that was written while a place was made anew may lie in the old one.
        let durable_graphs = if made_anew { Vec::new() } else { layout.durable_graphs(verdicts) };
        RequestResult { outcome, durable_graphs, uploads, generation, took }
    }
}

impl Layout {
    /// A sink that answers another number of verdicts than actions has broken its contract: nothing is believed.
    fn complete(&self, verdicts: Vec<Verdict>) -> Result<Vec<Verdict>, SinkFault> {
        if verdicts.len() == self.actions.len() {
            return Ok(verdicts);
        }
        let detail = format!("{} verdicts for {} actions", verdicts.len(), self.actions.len());
        Err(SinkFault::new(FaultKind::Malformed, detail))
    }

    /// Returns the verdict on the document of an envelope, if it was sent.
    fn own_verdict<'a>(&self, position: usize, verdicts: &'a [Verdict]) -> Option<&'a Verdict> {
        let (document, _) = self.places.get(position).copied().flatten()?;
        verdicts.get(self.graphs.len() + document)
    }

    /// Returns the verdict on an envelope: that on its graph, unless the graph is durable. `lost_graph`: the graph was
    /// not sent because it was durable, and the store has made a place anew since, perhaps the graph's.
    fn verdict(&self, position: usize, verdicts: &[Verdict], lost_graph: bool) -> Verdict {
        let retry = |detail: &str| Verdict::Retry(RetryCause::new(None, detail));
        let Some((_, graph)) = self.places.get(position).copied().flatten() else {
            return retry("not sent");
        };
        let of_graph = graph.and_then(|graph| verdicts.get(graph)).filter(|verdict| !is_durable(verdict));
        match of_graph.or_else(|| self.own_verdict(position, verdicts)) {
            Some(verdict) if lost_graph && is_durable(verdict) => {
                retry("an index or file was made anew meanwhile: sent again with its graph")
            }
            Some(verdict) => verdict.clone(),
            None => retry("no verdict"),
        }
    }

    fn durable_graphs(&self, verdicts: &[Verdict]) -> Vec<GraphKey> {
        self.graphs.iter().zip(verdicts).filter_map(|(graph, verdict)| is_durable(verdict).then_some(*graph)).collect()
    }
}

/// Returns whether what was sent is in the store.
pub const fn is_durable(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Stored | Verdict::Superseded)
}
