//! Signing in. The cookie holds the key itself, sealed under a secret that is derived from the key's hash: any replica
//! that knows the key can open it, and it is worth nothing once the key is removed. Whoever reads the keys file cannot make
//! one, since it holds no key; whoever steals one does not learn the key from it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;

use crate::domain::Timestamp;

/// How long a sign-in lasts.
pub(super) const SESSION: Duration = Duration::from_secs(12 * 3600);
/// Wrong keys of one address, and of all, within [`WINDOW`].
const MOST_OF_ADDRESS: u32 = 10;
const MOST: u32 = 100;
const WINDOW: Duration = Duration::from_secs(60);
/// Longest key, and longest cookie, that is looked at.
const MAX_KEY: usize = 512;
const MAX_COOKIE: usize = 1024;
const ID: usize = 8;

/// What a process remembers of signing in: wrong keys of the last minute, and the link that it printed.
#[derive(Default)]
pub(in crate::http) struct Sessions {
    wrong: Mutex<Wrong>,
    /// The hash of a link's token, and the key that it signs in with.
    entry: Mutex<Option<([u8; 32], Box<str>)>>,
}

#[derive(Default)]
struct Wrong {
    since: Option<Instant>,
    all: u32,
    of: HashMap<IpAddr, u32>,
}

impl Sessions {
    /// Returns whether an address has tried too often.
    pub(super) fn is_limited(&self, address: Option<IpAddr>) -> bool {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if wrong.since.is_some_and(|since| since.elapsed() >= WINDOW) {
            *wrong = Wrong::default();
        }
        let of_address = address.and_then(|address| wrong.of.get(&address)).copied().unwrap_or(0);
        wrong.all >= MOST || of_address >= MOST_OF_ADDRESS
    }

    /// Counts a wrong key.
    pub(super) fn note_wrong(&self, address: Option<IpAddr>) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.since.get_or_insert_with(Instant::now);
        wrong.all += 1;
        if let Some(address) = address {
            // At most MOST addresses: no more wrong keys are counted than that.
            *wrong.of.entry(address).or_default() += 1;
        }
    }

    /// Lets whoever has `token` sign in with `key`, once.
    pub(in crate::http) fn offer(&self, token: &str, key: &str) {
        let offered = (Sha256::digest(token).into(), key.into());
        *self.entry.lock().unwrap_or_else(PoisonError::into_inner) = Some(offered);
    }

    /// Returns the key of a link; a second time there is none.
    pub(super) fn redeem(&self, token: &str) -> Option<Box<str>> {
        let mut entry = self.entry.lock().unwrap_or_else(PoisonError::into_inner);
        let hash: [u8; 32] = Sha256::digest(token).into();
        let fits = entry.as_ref().is_some_and(|(known, _)| bool::from(known.ct_eq(&hash)));
        if fits { entry.take().map(|(_, key)| key) } else { None }
    }
}

fn derived(hash: &[u8; 32], purpose: &[u8]) -> [u8; 32] {
    // A MAC takes a key of any length.
    let Ok(mac) = Hmac::<Sha256>::new_from_slice(hash) else { return [0; 32] };
    mac.chain_update(purpose).finalize().into_bytes().into()
}

/// Names the key in the cookie, so that one secret is tried and not all. It tells nothing of the key.
fn name(hash: &[u8; 32]) -> [u8; ID] {
    let mut name = [0; ID];
    name.iter_mut().zip(derived(hash, b"difylog session name 1")).for_each(|(byte, of)| *byte = of);
    name
}

fn secret(hash: &[u8; 32]) -> Option<LessSafeKey> {
    let secret = derived(hash, b"difylog session secret 1");
    UnboundKey::new(&CHACHA20_POLY1305, &secret).ok().map(LessSafeKey::new)
}

/// Seals a known key into the text of a cookie; `None` for a key that is too long.
pub(super) fn seal(key: &str, now: Timestamp) -> Option<String> {
    if key.len() > MAX_KEY {
        return None;
    }
    let hash: [u8; 32] = Sha256::digest(key).into();
    let (name, nonce) = (name(&hash), rand::random::<[u8; NONCE_LEN]>());
    let mut sealed = now.micros().to_be_bytes().to_vec();
    sealed.extend(key.as_bytes());
    let nonce_of = Nonce::assume_unique_for_key(nonce);
    secret(&hash)?.seal_in_place_append_tag(nonce_of, Aad::from(name), &mut sealed).ok()?;
    Some(URL_SAFE_NO_PAD.encode([&name[..], &nonce[..], &sealed].concat()))
}

/// Returns the key of a cookie that is neither forged nor too old. Whether the key is still good is for the caller to
/// see.
pub(super) fn unseal(cookie: &str, hashes: impl Iterator<Item = [u8; 32]>, now: Timestamp) -> Option<String> {
    if cookie.len() > MAX_COOKIE {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(cookie).ok()?;
    let (named, rest) = bytes.split_first_chunk::<ID>()?;
    let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
    let hash = { hashes }.find(|hash| name(hash) == *named)?;
    let mut sealed = sealed.to_vec();
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let opened = secret(&hash)?.open_in_place(nonce, Aad::from(*named), &mut sealed).ok()?;
    let (issued, key) = opened.split_first_chunk()?;
    let age = now.micros().saturating_sub(i64::from_be_bytes(*issued));
    let is_fresh = (-60_000_000..i64::try_from(SESSION.as_micros()).ok()?).contains(&age);
    if is_fresh { String::from_utf8(key.to_vec()).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(key: &str) -> [u8; 32] {
        Sha256::digest(key).into()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000).unwrap()
    }

    #[test]
    fn a_cookie_is_opened_by_whoever_knows_the_key_and_for_a_while() {
        let cookie = seal("a key", at(1000)).unwrap();
        let keys = || [hash("another"), hash("a key")].into_iter();
        assert_eq!(unseal(&cookie, keys(), at(1001)).as_deref(), Some("a key"));
        assert_eq!(unseal(&cookie, [hash("another")].into_iter(), at(1001)), None, "the key was removed");
        assert_eq!(unseal(&cookie, keys(), at(1000 + 12 * 3600)), None, "too old");
        assert_eq!(unseal(&cookie, keys(), at(100)), None, "of the future");
        assert!(!cookie.contains("a key"));
        assert_ne!(cookie, seal("a key", at(1000)).unwrap());
    }

    #[test]
    fn a_changed_cookie_is_none() {
        let bytes = URL_SAFE_NO_PAD.decode(seal("a key", at(1000)).unwrap()).unwrap();
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            let cookie = URL_SAFE_NO_PAD.encode(changed);
            assert_eq!(unseal(&cookie, [hash("a key")].into_iter(), at(1001)), None, "{place}");
        }
        for text in ["", "%", "AAAA", &"A".repeat(5000)] {
            assert_eq!(unseal(text, [hash("a key")].into_iter(), at(1001)), None, "{text}");
        }
        assert_eq!(seal(&"k".repeat(MAX_KEY + 1), at(1)), None);
    }

    #[test]
    fn a_link_signs_in_once() {
        let sessions = Sessions::default();
        sessions.offer("token", "a key");
        assert_eq!(sessions.redeem("another"), None);
        assert_eq!(sessions.redeem("token").as_deref(), Some("a key"));
        assert_eq!(sessions.redeem("token"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_keys_are_limited_for_a_minute() {
        let sessions = Sessions::default();
        let address = |last| Some(IpAddr::from([192, 0, 2, last]));
        for _ in 0..MOST_OF_ADDRESS {
            assert!(!sessions.is_limited(address(1)));
            sessions.note_wrong(address(1));
        }
        assert!(sessions.is_limited(address(1)));
        assert!(!sessions.is_limited(address(2)));
        tokio::time::advance(WINDOW).await;
        assert!(!sessions.is_limited(address(1)));
    }
}
