//! Which connections are open, of whom, and which of them may be closed to make room.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::counter;
use tokio_util::sync::CancellationToken;

use super::ConnectionSettings;
use crate::telemetry::names;

/// All connections of a listener. Cheap to clone.
#[derive(Clone)]
pub(super) struct Registry(Arc<Mutex<Open>>);

struct Open {
    max: usize,
    max_per_address: usize,
    /// Numbers everything that happens, so that what rests longest is known without a clock.
    turn: u64,
    entries: HashMap<u64, Entry>,
}

struct Entry {
    address: IpAddr,
    /// Requests that are being answered.
    requests: usize,
    /// Those of them whose client is waited for.
    awaited: usize,
    /// When it was opened, its last request ended, or its client began to be waited for.
    rests_since: u64,
    closing: CancellationToken,
}

/// An open connection, as its requests see it.
#[derive(Clone)]
pub(in crate::http) struct Connection {
    registry: Registry,
    id: u64,
    address: IpAddr,
}

/// The place of a connection; dropping it gives the place back.
pub(super) struct ConnectionPlace(Connection);

/// A request that is being answered.
pub(super) struct Busy(Connection);

/// A request whose client is waited for.
pub(in crate::http) struct Resting(Connection);

impl Registry {
    pub fn new(settings: ConnectionSettings) -> Self {
        Self::bounded(settings.max.min(descriptors() / 2).max(1), settings.max_per_address)
    }

    fn bounded(max: usize, max_per_address: usize) -> Self {
        Self(Arc::new(Mutex::new(Open { max, max_per_address, turn: 0, entries: HashMap::new() })))
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a place for a connection, and what tells it to close. Where there is none left, the connection without a
    /// request that rests longest is closed for it; `None`: every one has a request.
    pub fn admit(&self, address: IpAddr) -> Option<(ConnectionPlace, CancellationToken)> {
        let mut open = self.open();
        let of_address = open.entries.values().filter(|entry| entry.address == address).count();
        let made = if of_address >= open.max_per_address {
            open.make_room(Some(address))
        } else {
            open.entries.len() < open.max || open.make_room(None)
        };
        if !made {
            counter!(names::CONNECTIONS_CLOSED, "reason" => "refused").increment(1);
            return None;
        }
        let (id, closing) = (open.next(), CancellationToken::new());
        open.entries.insert(id, Entry { address, requests: 0, awaited: 0, rests_since: id, closing: closing.clone() });
        Some((ConnectionPlace(Connection { registry: self.clone(), id, address }), closing))
    }
}

impl Open {
    fn next(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }

    fn make_room(&mut self, address: Option<IpAddr>) -> bool {
        let rests =
            |entry: &Entry| entry.requests <= entry.awaited && address.is_none_or(|address| entry.address == address);
        let longest = self.entries.iter().filter(|(_, entry)| rests(entry)).min_by_key(|(_, entry)| entry.rests_since);
        let Some(id) = longest.map(|(id, _)| *id) else { return false };
        if let Some(entry) = self.entries.remove(&id) {
            entry.closing.cancel();
            counter!(names::CONNECTIONS_CLOSED, "reason" => "made_room").increment(1);
        }
        true
    }
}

impl Connection {
    /// Returns the client's address, or that of the proxy before it.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    pub(super) fn begin(&self) -> Busy {
        if let Some(entry) = self.registry.open().entries.get_mut(&self.id) {
            entry.requests += 1;
        }
        Busy(self.clone())
    }

    /// Counts the request of the connection as none while its client is waited for, until the result is dropped: the
    /// connection may be closed to make room.
    pub fn rest(&self) -> Resting {
        let mut open = self.registry.open();
        let turn = open.next();
        if let Some(entry) = open.entries.get_mut(&self.id) {
            (entry.awaited, entry.rests_since) = (entry.awaited + 1, turn);
        }
        Resting(self.clone())
    }
}

impl Drop for Resting {
    fn drop(&mut self) {
        if let Some(entry) = self.0.registry.open().entries.get_mut(&self.0.id) {
            entry.awaited = entry.awaited.saturating_sub(1);
        }
    }
}

impl ConnectionPlace {
    pub fn connection(&self) -> Connection {
        self.0.clone()
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        self.0.registry.open().entries.remove(&self.0.id);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut open = self.0.registry.open();
        let turn = open.next();
        if let Some(entry) = open.entries.get_mut(&self.0.id) {
            entry.requests = entry.requests.saturating_sub(1);
            entry.rests_since = turn;
        }
    }
}

/// Descriptors that this process may open.
fn descriptors() -> usize {
    rlimit::getrlimit(rlimit::Resource::NOFILE).map_or(1024, |(soft, _)| usize::try_from(soft).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn the_connection_that_rests_longest_makes_room() {
        let registry = Registry::bounded(3, 3);
        let places: Vec<_> = (0..3).map(|_| registry.admit(ONE).unwrap()).collect();
        let busy = places[0].0.connection().begin();
        drop(places[1].0.connection().begin());
        let (fourth, _) = registry.admit(OTHER).unwrap();
        let closed: Vec<_> = places.iter().map(|(_, closing)| closing.is_cancelled()).collect();
        assert_eq!(
            closed,
            [false, false, true],
            "the first is busy, the second had a request after the third was opened"
        );
        let _busy = [fourth.connection().begin(), places[1].0.connection().begin()];
        assert!(registry.admit(OTHER).is_none(), "every connection has a request");
        drop(busy);
        assert!(registry.admit(OTHER).is_some());
        assert!(places[0].1.is_cancelled());
    }

    #[test]
    fn a_request_whose_client_is_waited_for_makes_room() {
        let registry = Registry::bounded(2, 2);
        let places: Vec<_> = (0..2).map(|_| registry.admit(ONE).unwrap()).collect();
        let busy: Vec<_> = places.iter().map(|(place, _)| place.connection().begin()).collect();
        drop(places[0].0.connection().rest());
        assert!(registry.admit(OTHER).is_none(), "what was waited for has come");
        let resting = places[1].0.connection().rest();
        assert!(registry.admit(OTHER).is_some());
        let closed: Vec<_> = places.iter().map(|(_, closing)| closing.is_cancelled()).collect();
        assert_eq!(closed, [false, true]);
        // An answer may end before the body of its request.
        drop((busy, resting));
        assert!(registry.open().entries.values().all(|entry| (entry.requests, entry.awaited) == (0, 0)));
    }

    #[test]
    fn an_address_takes_no_more_than_its_share() {
        let registry = Registry::bounded(10, 2);
        let first = registry.admit(OTHER).unwrap();
        let places: Vec<_> = (0..4).map(|_| registry.admit(ONE).unwrap()).collect();
        let open = places.iter().filter(|(_, closing)| !closing.is_cancelled()).count();
        assert_eq!((open, first.1.is_cancelled()), (2, false));
        drop(places);
        assert_eq!(registry.open().entries.len(), 1, "a place is given back");
    }
}
