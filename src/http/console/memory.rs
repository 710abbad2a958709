//! What was learned of callers, for a moment, under keyed hashes of their credentials.

use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, Mac as _};
use quick_cache::sync::Cache;
use rand::RngCore as _;
use sha2::Sha256;
use tokio::time::Instant;

use super::access::Access;

/// Callers and apps that are remembered at once.
const REMEMBERED: usize = 10_000;

/// A name for a caller.
pub(super) type Name = [u8; 32];

/// Remembers each yes for the same while; a no is never kept.
pub(super) struct Memory {
    trust: Duration,
    key: [u8; 64],
    known: Cache<Name, (Instant, Arc<Access>)>,
}

impl Memory {
    pub(super) fn new(trust: Duration) -> Self {
        let mut key = [0; 64];
        rand::rng().fill_bytes(&mut key);
        Self { trust, key, known: Cache::new(REMEMBERED) }
    }

    /// Returns a name that tells nothing of its parts, not even to a reader of this memory's copy in another process.
    pub(super) fn name<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> Name {
        let mut mac = Hmac::<Sha256>::new(&self.key.into());
        for part in parts {
            // With their lengths, so that no two different lists read the same.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// Returns what is known, unless it is too old.
    pub(super) fn get(&self, name: &Name) -> Option<Arc<Access>> {
        self.known.get(name).and_then(|(until, access)| (Instant::now() < until).then_some(access))
    }

    /// Returns the instant up to which what is learned from now on is believed.
    pub(super) fn until(&self) -> Instant {
        Instant::now() + self.trust
    }

    pub(super) fn put(&self, name: Name, until: Instant, access: &Arc<Access>) {
        if !self.trust.is_zero() {
            self.known.insert(name, (until, Arc::clone(access)));
        }
    }
}
