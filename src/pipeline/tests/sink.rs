//! A sink in memory whose verdicts a test can dictate. It keeps nothing on disk.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::domain::record::RecordKey;
use crate::domain::{BulkAction, Document, FaultKind, Month, Refusal, RetryCause, SinkFault, TenantId, Verdict};
use crate::store::BulkSink;

/// What the double answers to one request instead of storing it.
pub type Script = Box<dyn FnOnce(&[BulkAction]) -> Result<Vec<Verdict>, SinkFault> + Send>;

/// Keeps documents by key and month with the same rule as the real stores: a newer or equal revision wins.
#[derive(Default)]
pub struct ScriptedSink {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    documents: HashMap<(RecordKey, Month), Arc<Document>>,
    requests: usize,
    script: VecDeque<Script>,
    down: bool,
    blocked: bool,
    blocked_tenants: HashSet<TenantId>,
    retired: HashSet<Month>,
    writes: HashMap<RecordKey, usize>,
    panics: usize,
    graphs: usize,
    generation: u64,
    refusal: Option<Refusal>,
    poison: HashSet<RecordKey>,
    /// Requests that carry this document are too large while it takes more than so many bytes.
    too_large: Option<(RecordKey, usize)>,
}

impl ScriptedSink {
    pub fn new() -> Self {
        Self::default()
    }

    /// Dictates the answer to the next request that has no answer yet.
    pub fn script(&self, answer: Script) {
        self.lock().script.push_back(answer);
    }

    /// While down, every request and probe fails as if nobody listened.
    pub fn set_down(&self, down: bool) {
        self.lock().down = down;
    }

    /// While blocked, probes succeed and every document is answered with 429, as by an engine past its flood stage.
    pub fn set_blocked(&self, blocked: bool) {
        self.lock().blocked = blocked;
    }

    /// While a tenant is blocked, its documents wait, as those of an index whose shards are away.
    pub fn set_tenant_blocked(&self, tenant: TenantId, blocked: bool) {
        let mut state = self.lock();
        if blocked {
            state.blocked_tenants.insert(tenant);
        } else {
            state.blocked_tenants.remove(&tenant);
        }
    }

    /// Answers `Superseded` to every document of a month from now on, and looks at none.
    pub fn retire(&self, month: Month) {
        self.lock().retired.insert(month);
    }

    /// How often a document was sent.
    pub fn writes_of(&self, key: RecordKey) -> usize {
        self.lock().writes.get(&key).copied().unwrap_or(0)
    }

    /// So many requests and probes from now on panic.
    pub fn panic_next(&self, requests: usize) {
        self.lock().panics = requests;
    }

    /// As if somebody had removed everything; the next write notices.
    pub fn forget_everything(&self) {
        let mut state = self.lock();
        state.documents.clear();
        state.generation += 1;
    }

    /// Graphs received so far.
    pub fn graphs(&self) -> usize {
        self.lock().graphs
    }

    /// Refuses every document for good, as a broken mapping does.
    pub fn refuse_everything(&self, refusal: Option<Refusal>) {
        self.lock().refusal = refusal;
    }

    /// Refuses these documents for good, and no others.
    pub fn refuse_these(&self, keys: impl IntoIterator<Item = RecordKey>) {
        self.lock().poison.extend(keys);
    }

    /// Finds requests with this document too large while its payloads take more than `bytes`.
    pub fn refuse_requests_with(&self, key: RecordKey, bytes: usize) {
        self.lock().too_large = Some((key, bytes));
    }

    /// Returns the stored documents, ordered by key and month.
    pub fn documents(&self) -> Vec<Arc<Document>> {
        let mut documents: Vec<_> = self.lock().documents.values().cloned().collect();
        documents.sort_by_key(|document| (document.key(), document.month()));
        documents
    }

    /// Requests answered so far, scripted ones included.
    pub fn requests(&self) -> usize {
        self.lock().requests
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_too_large(&self, actions: &[BulkAction]) -> bool {
        let Some((key, bytes)) = self.too_large else { return false };
        actions.iter().any(|action| match action {
            BulkAction::Document(document) => document.key() == key && document.footprint() > bytes,
            BulkAction::Graph(_) => false,
        })
    }

    fn store(&mut self, action: &BulkAction) -> Verdict {
        let BulkAction::Document(document) = action else {
            self.graphs += 1;
            return Verdict::Stored;
        };
        *self.writes.entry(document.key()).or_default() += 1;
        if self.retired.contains(&document.month()) {
            return Verdict::Superseded;
        }
        if self.blocked {
            return Verdict::Retry(RetryCause::new(429, "blocked by a test"));
        }
        if self.blocked_tenants.contains(&document.tenant_id()) {
            return Verdict::Retry(RetryCause::new(503, "unavailable_shards_exception"));
        }
        if let Some(refusal) = &self.refusal {
            return Verdict::Refused(refusal.clone());
        }
        if self.poison.contains(&document.key()) {
            return Verdict::Refused(Refusal::by_store(Some(400), "poison, says a test"));
        }
        let place = (document.key(), document.month());
        match self.documents.get(&place) {
            Some(stored) if stored.revision > document.revision => Verdict::Superseded,
            _ => {
                self.documents.insert(place, Arc::clone(document));
                Verdict::Stored
            }
        }
    }
}

#[async_trait]
impl BulkSink for ScriptedSink {
    async fn apply(&self, actions: &[BulkAction]) -> Result<Vec<Verdict>, SinkFault> {
        let mut state = self.lock();
        state.requests += 1;
        if state.down {
            return Err(SinkFault::new(FaultKind::Unreachable, "set down by a test"));
        }
        if state.panics > 0 {
            state.panics -= 1;
            drop(state);
            std::panic::resume_unwind(Box::new("dictated by a test"));
        }
        if state.is_too_large(actions) {
            return Err(SinkFault::new(FaultKind::TooLarge, "found too large by a test"));
        }
        let scripted = state.script.pop_front();
        match scripted {
            Some(answer) => {
                drop(state);
                answer(actions)
            }
            None => Ok(actions.iter().map(|action| state.store(action)).collect()),
        }
    }

    async fn probe(&self) -> Result<(), SinkFault> {
        let mut state = self.lock();
        if state.down {
            return Err(SinkFault::new(FaultKind::Unreachable, "set down by a test"));
        }
        if state.panics > 0 {
            state.panics -= 1;
            drop(state);
            std::panic::resume_unwind(Box::new("dictated by a test"));
        }
        Ok(())
    }

    fn generation(&self) -> u64 {
        self.lock().generation
    }
}
