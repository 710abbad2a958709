//! The scripted double: a sink in memory whose verdicts a test can dictate. It keeps nothing on disk.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::BulkSink;
use crate::domain::record::RecordKey;
use crate::domain::{BulkAction, Document, Month, SinkFault, Verdict};

/// What the double answers to one request instead of storing it.
pub type Script = Box<dyn FnOnce(&[BulkAction]) -> Result<Vec<Verdict>, SinkFault> + Send>;

/// Keeps documents by key and month with the same rule as the real stores: a newer or equal revision wins.
#[derive(Default)]
pub struct MemorySink {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    documents: HashMap<(RecordKey, Month), Arc<Document>>,
    requests: usize,
    script: VecDeque<Script>,
}

impl MemorySink {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Dictates the answer to the next request that has no answer yet.
    pub fn script(&self, answer: Script) {
        self.lock().script.push_back(answer);
    }

    /// The stored documents, ordered by key and month.
    #[must_use]
    pub fn documents(&self) -> Vec<Arc<Document>> {
        let mut documents: Vec<_> = self.lock().documents.values().cloned().collect();
        documents.sort_by_key(|document| (document.key(), document.month()));
        documents
    }

    /// Requests answered so far, scripted ones included.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.lock().requests
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn store(&mut self, action: &BulkAction) -> Verdict {
        let BulkAction::Document(document) = action else {
            return Verdict::Stored;
        };
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
impl BulkSink for MemorySink {
    async fn apply(&self, actions: &[BulkAction]) -> Result<Vec<Verdict>, SinkFault> {
        let mut state = self.lock();
        state.requests += 1;
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
        Ok(())
    }
}
