//! One HTTP client for all tests.

use std::sync::LazyLock;

/// Returns a client that keeps no connection: any test's runtime may use it, and the server behind an address may be another
/// one meanwhile. Made once, because making one reads the certificates of the system.
pub fn client() -> &'static reqwest::Client {
    static CLIENT: LazyLock<reqwest::Client> =
        LazyLock::new(|| reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap());
    &CLIENT
}
