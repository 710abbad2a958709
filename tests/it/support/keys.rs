//! Keys of the API.

use difylog::http::api::{ApiKey, Right};

use crate::support::records;

/// A key of `tenants`; without any, of an administrator.
pub fn key(name: &str, secret: &str, tenants: Vec<String>, rights: &[Right]) -> ApiKey {
    let admin = tenants.is_empty();
    ApiKey {
        name: name.into(),
        sha256: records::sha256(secret).to_string(),
        tenants,
        admin,
        apps: None,
        rights: rights.to_vec(),
        expires: None,
    }
}
