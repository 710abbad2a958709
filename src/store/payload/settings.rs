//! Where payloads are kept. Nothing here prints a secret.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{ClientOptions, RetryConfig};
use serde::Deserialize;

use super::PayloadError;
use crate::domain::address::{Address, redacted};

/// Settings of the payload store.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PayloadSettings {
    /// The local directory, unless `s3` is set.
    pub dir: PathBuf,
    /// An S3 bucket, or one of a compatible server.
    pub s3: Option<S3Settings>,
}

/// An S3 bucket.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3Settings {
    pub bucket: String,
    pub region: String,
    /// The server, e.g. `https://minio.example:9000`. None: AWS.
    pub endpoint: Option<String>,
    /// None: the role of the instance that it runs on.
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<String>,
    /// Whether an endpoint without TLS may be used.
    pub allow_http: bool,
    /// Put before every object's name; empty: the root of the bucket.
    pub prefix: String,
    /// How long one request may take, in milliseconds.
    pub timeout_ms: u64,
}

impl Default for PayloadSettings {
    fn default() -> Self {
        Self { dir: PathBuf::from("data/payloads"), s3: None }
    }
}

impl Default for S3Settings {
    fn default() -> Self {
        Self {
            bucket: String::new(),
            region: String::from("us-east-1"),
            endpoint: None,
            access_key_id: None,
            secret_access_key: None,
            allow_http: false,
            prefix: String::new(),
            timeout_ms: 30_000,
        }
    }
}

impl S3Settings {
    /// Returns the bucket and its server, for errors.
    pub(super) fn place(&self) -> String {
        let endpoint = self.endpoint.as_deref().unwrap_or("AWS");
        format!("bucket {} at {endpoint}", self.bucket)
    }

    /// `section`: its name in the settings, for errors.
    pub(super) fn client(&self, section: &str) -> Result<AmazonS3, PayloadError> {
        let invalid = |text: &str| Err(PayloadError::Settings(format!("{section}.{text}")));
        if self.bucket.is_empty() {
            return invalid("bucket is empty");
        }
        if self.access_key_id.is_some() != self.secret_access_key.is_some() {
            return invalid("secret_access_key and access_key_id are needed together, or neither");
        }
        if let Some(endpoint) = &self.endpoint {
            let address = Address::parse(endpoint).map_err(|error| {
                let problem = format!("{section}.endpoint is not a URL such as https://minio.example:9000: {error}");
                PayloadError::Settings(problem)
            })?;
            if address.user.is_some() {
                return invalid("endpoint holds credentials: set access_key_id and secret_access_key instead");
            }
        }
        let http = self.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        if http && !self.allow_http {
            return invalid("allow_http is false, and the endpoint has no TLS: use https, or set it");
        }
        // Times out well before the pipeline gives up; the pipeline itself holds and tries again, with its own pauses.
        let timeout = Duration::from_millis(self.timeout_ms);
        let retry = RetryConfig { max_retries: 2, retry_timeout: timeout, ..RetryConfig::default() };
        let options = ClientOptions::new().with_timeout(timeout).with_allow_http(self.allow_http);
        let mut builder = AmazonS3Builder::new()
            .with_client_options(options)
            .with_bucket_name(&self.bucket)
            .with_region(&self.region)
            .with_retry(retry);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let (Some(id), Some(secret)) = (&self.access_key_id, &self.secret_access_key) {
            builder = builder.with_access_key_id(id).with_secret_access_key(secret);
        }
        builder.build().map_err(|error| PayloadError::Settings(format!("{section}: {error}")))
    }
}

impl fmt::Debug for S3Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Settings")
            .field("bucket", &self.bucket)
            .field("region", &self.region)
            .field("endpoint", &self.endpoint.as_deref().map(redacted))
            .field("access_key_id", &self.access_key_id)
            .field("secret_access_key", &self.secret_access_key.as_ref().map(|_| "***"))
            .field("allow_http", &self.allow_http)
            .field("prefix", &self.prefix)
            .field("timeout_ms", &self.timeout_ms)
            .finish()
    }
}
