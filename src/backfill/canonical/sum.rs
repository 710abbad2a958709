//! One hash for many records, whatever their order.

use crate::domain::document::ContentHash;

/// A sum of hashes that does not depend on their order: four sums modulo 2^64. It finds mistakes and damage, not forgeries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum([u64; 4]);

impl Sum {
    /// Adds a hash.
    pub fn add(&mut self, hash: &[u8; 32]) {
        let (lanes, _) = hash.as_chunks::<8>();
        for (sum, lane) in self.0.iter_mut().zip(lanes) {
            *sum = sum.wrapping_add(u64::from_be_bytes(*lane));
        }
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: Self) {
        for (sum, lane) in self.0.iter_mut().zip(other.0) {
            *sum = sum.wrapping_add(lane);
        }
    }

    /// Returns the sum as one hash.
    #[must_use]
    pub fn to_hash(self) -> ContentHash {
        let mut bytes = [0; 32];
        for (chunk, lane) in bytes.chunks_exact_mut(8).zip(self.0) {
            chunk.copy_from_slice(&lane.to_be_bytes());
        }
        ContentHash::new(bytes)
    }
}
