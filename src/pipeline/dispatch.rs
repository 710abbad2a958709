//! One bulk request from a batch: what it carries, how it flies, and which verdict belongs to which envelope.
//!
//! A run's graph travels in the same request, before the run, once for all runs that share it; the run counts as stored
//! only if its graph does. Full texts of truncated payloads are in the payload store before the request is sent.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::time::Instant;

use super::prepare::{Envelope, Prepared};
use crate::domain::{BulkAction, Graph, GraphHash, Month, RetryCause, SinkFault, TenantId, Verdict};
use crate::store::BulkSink;
use crate::store::payload::PayloadStore;

/// What makes two graphs the same stored graph.
pub type GraphKey = (TenantId, Month, GraphHash);

/// Uploads to the payload store at once, per request.
const CONCURRENT_UPLOADS: usize = 4;

/// A batch with the actions that carry it.
pub struct Request {
    envelopes: Vec<Envelope<Prepared>>,
    /// Graphs first, then one document per envelope.
    actions: Vec<BulkAction>,
    graphs: Vec<GraphKey>,
    /// Per envelope: the action of its graph, unless that is durable already.
    graph_of: Vec<Option<usize>>,
}

/// The answer to one envelope.
pub struct Landed {
    pub envelope: Envelope<Prepared>,
    pub verdict: Verdict,
}

/// A request that came back.
pub struct Landing {
    /// One verdict per envelope; or the whole batch back, with the fault.
    pub outcome: Result<Vec<Landed>, (SinkFault, Vec<Envelope<Prepared>>)>,
    /// Graphs that are durable now.
    pub durable_graphs: Vec<GraphKey>,
    pub took: Duration,
}

pub fn graph_key(graph: &Graph) -> GraphKey {
    (graph.tenant_id, graph.month, graph.hash)
}

impl Request {
    /// Lays out the actions of a batch. `is_durable` says which graphs need not be sent again.
    pub fn new(envelopes: Vec<Envelope<Prepared>>, is_durable: impl Fn(&GraphKey) -> bool) -> Self {
        let mut actions = Vec::with_capacity(envelopes.len() + 8);
        let mut sent: HashMap<GraphKey, usize> = HashMap::new();
        let mut graphs = Vec::new();
        let mut graph_of = Vec::with_capacity(envelopes.len());
        for envelope in &envelopes {
            let graph = envelope.payload.graph.as_ref().filter(|graph| !is_durable(&graph_key(graph)));
            graph_of.push(graph.map(|graph| {
                *sent.entry(graph_key(graph)).or_insert_with(|| {
                    actions.push(BulkAction::Graph(Arc::clone(graph)));
                    graphs.push(graph_key(graph));
                    actions.len() - 1
                })
            }));
        }
        actions.extend(envelopes.iter().map(|envelope| BulkAction::Document(Arc::clone(&envelope.payload.document))));
        Self { envelopes, actions, graphs, graph_of }
    }

    /// Sends the request and reads off the verdicts.
    pub async fn fly(self, sink: Arc<dyn BulkSink>, payloads: Arc<PayloadStore>) -> Landing {
        let begin = Instant::now();
        let mut upload_faults = self.upload(&payloads).await;
        let answer = sink.apply(&self.actions).await.and_then(|verdicts| self.complete(verdicts));
        if let Ok(verdicts) = &answer {
            upload_faults.extend(self.lost_texts(verdicts, &payloads).await);
        }
        let took = begin.elapsed();
        match answer {
            Ok(verdicts) => self.land(&verdicts, upload_faults, took),
            Err(fault) => Landing { outcome: Err((fault, self.envelopes)), durable_graphs: Vec::new(), took },
        }
    }

    /// Puts the full texts of truncated payloads where the marks say they are. Answers which envelopes failed, and why:
    /// their documents are sent all the same (a mark that cannot be followed yet harms nobody) but count as not stored.
    async fn upload(&self, payloads: &PayloadStore) -> HashMap<usize, RetryCause> {
        let uploads: Vec<_> = self
            .envelopes
            .iter()
            .enumerate()
            .flat_map(|(position, Envelope { payload, .. })| {
                let (tenant, month) = (payload.document.tenant_id(), payload.document.month());
                payload.offloads.iter().map(move |cut| (position, tenant, month, Arc::clone(cut)))
            })
            .collect();
        futures::stream::iter(uploads)
            .map(|(position, tenant, month, cut)| async move {
                let fault = payloads.put(tenant, month, cut.truncation.sha256, cut).await.err()?;
                Some((position, RetryCause { status: None, detail: fault.to_string() }))
            })
            .buffer_unordered(CONCURRENT_UPLOADS)
            .filter_map(async |fault| fault)
            .collect()
            .await
    }

    /// Looks for the full texts of the documents that were stored. A removal of what no document names may have come
    /// between the upload and the document (`store/payload/unnamed.rs`). Answers which envelopes begin again.
    async fn lost_texts(&self, verdicts: &[Verdict], payloads: &PayloadStore) -> HashMap<usize, RetryCause> {
        let own = verdicts.get(self.graphs.len()..).unwrap_or_default();
        let mut lost = HashMap::new();
        for (position, (Envelope { payload, .. }, verdict)) in self.envelopes.iter().zip(own).enumerate() {
            if *verdict != Verdict::Stored {
                continue;
            }
            let (tenant, month) = (payload.document.tenant_id(), payload.document.month());
            for cut in &payload.offloads {
                let detail = match payloads.has(tenant, month, cut.truncation.sha256).await {
                    Ok(true) => continue,
                    Ok(false) => "a full text was removed before its document was stored".to_owned(),
                    Err(fault) => fault.to_string(),
                };
                lost.insert(position, RetryCause { status: None, detail });
            }
        }
        lost
    }

    /// A sink that answers another number of verdicts than actions has broken its contract: nothing is believed.
    fn complete(&self, verdicts: Vec<Verdict>) -> Result<Vec<Verdict>, SinkFault> {
        if verdicts.len() == self.actions.len() {
            return Ok(verdicts);
        }
        let detail = format!("{} verdicts for {} actions", verdicts.len(), self.actions.len());
        Err(SinkFault::new(crate::domain::FaultKind::Malformed, detail))
    }

    fn land(self, verdicts: &[Verdict], mut upload_faults: HashMap<usize, RetryCause>, took: Duration) -> Landing {
        let (graph_verdicts, document_verdicts) = verdicts.split_at(self.graphs.len().min(verdicts.len()));
        let is_durable = |verdict: &Verdict| matches!(verdict, Verdict::Stored | Verdict::Superseded);
        let landed = self
            .envelopes
            .into_iter()
            .zip(document_verdicts)
            .zip(self.graph_of)
            .enumerate()
            .map(|(position, ((envelope, own), graph))| {
                let graph = graph.and_then(|index| graph_verdicts.get(index)).filter(|verdict| !is_durable(verdict));
                let verdict = match upload_faults.remove(&position) {
                    Some(cause) => Verdict::Retry(cause),
                    None => graph.unwrap_or(own).clone(),
                };
                Landed { envelope, verdict }
            })
            .collect();
        let durable_graphs = self
            .graphs
            .into_iter()
            .zip(graph_verdicts)
            .filter_map(|(graph, verdict)| is_durable(verdict).then_some(graph))
            .collect();
        Landing { outcome: Ok(landed), durable_graphs, took }
    }
}
